//! A baseline at rest: the bytes that it takes between two hours, in memory as in the changelog. Most series are looked at once an hour;
//! as bytes they take half as much, go to the changelog by copying and come back from it without being taken apart. What the hours of the day
//! usually take loses a thousandth at most: with rates of a tenth and above a centre still follows what is half a percent away.

use serde::{Deserialize, Serialize};

use super::Baseline;
use super::experts::Experts;
use super::faded::Faded;
use super::pace::Pace;
use super::slots::{Slots, WEEK, WeekSlots};
use super::tail::{BINS, Tail};
use super::windows::Windows;
use crate::model::time::Hour;
use crate::watch::numbers::{in_one_piece, put, put_floats, put_signed, take, take_bytes, take_floats, take_signed};
use crate::watch::small::{pack, unpack};

/// Always bytes that can be read, but for [`Resting::stand_in`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Resting(Box<[u8]>);

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Bytes(#[serde(with = "in_one_piece")] Box<[u8]>);

/// Bits of the first byte.
const IN_STRANGE: u64 = 1;
const HAS_WEEK: u64 = 2;
/// Centres in two bytes; version 4 of the state had four.
const HAS_SMALL_CENTRES: u64 = 4;
/// Means that fade: seven of its own, four losses, seven of the windows.
const FADED: usize = 18;

impl Resting {
    pub fn new(baseline: &Baseline) -> Resting {
        let mut bytes = Vec::with_capacity(1_200);
        write(baseline, &mut bytes);
        Resting(bytes.as_slice().into())
    }

    /// Takes the place of one that is still to be read: costs nothing, and must not be woken.
    pub fn stand_in() -> Resting {
        Resting(Box::default())
    }

    pub fn wake(&self) -> Baseline {
        read(&self.0).unwrap_or_else(|| unreachable!("bytes that were not checked"))
    }

    /// What it has learnt since it was woken. `room` is written over: of many series one after the other, the same.
    pub fn rest(&mut self, baseline: &Baseline, room: &mut Vec<u8>) {
        room.clear();
        write(baseline, room);
        if room.len() == self.0.len() {
            self.0.copy_from_slice(room);
        } else {
            self.0 = room.as_slice().into();
        }
    }
}

impl TryFrom<Bytes> for Resting {
    type Error = &'static str;

    fn try_from(bytes: Bytes) -> Result<Resting, &'static str> {
        read(&bytes.0).map(|_| Resting(bytes.0)).ok_or("no baseline")
    }
}

impl From<Resting> for Bytes {
    fn from(resting: Resting) -> Bytes {
        Bytes(resting.0)
    }
}

fn write(baseline: &Baseline, bytes: &mut Vec<u8>) {
    // All of it by name, so that what is added to a baseline cannot be forgotten here.
    let Baseline {
        born,
        next,
        seen,
        pace,
        experts: Experts { recent, day, week, level, losses },
        pooled_noise,
        noise,
        size,
        activity,
        active_size,
        active_spread,
        windows,
        allowance,
        largest,
        in_strange,
        alerts,
        since_alarm,
        tails,
    } = baseline;
    let flags = HAS_SMALL_CENTRES | if *in_strange { IN_STRANGE } else { 0 } | if week.is_some() { HAS_WEEK } else { 0 };
    put(bytes, flags);
    put_signed(bytes, born.0);
    put_signed(bytes, next.0);
    for whole in [u64::from(*seen), u64::from(pace.minutes), u64::from(*since_alarm)] {
        put(bytes, whole);
    }
    put_floats(bytes, &[*allowance, *largest, *alerts]);
    put_floats(bytes, recent);
    let mut floats = [0.0; 2 * FADED];
    let single = [level.0, level.1, *pooled_noise, *size, *activity, *active_size, *active_spread];
    for (two, faded) in floats.as_chunks_mut::<2>().0.iter_mut().zip(single.iter().chain(losses).chain(&windows.all())) {
        *two = [faded.sum, faded.weight];
    }
    put_floats(bytes, &floats);
    for slots in [day, noise] {
        bytes.extend(slots.centres.iter().flat_map(|centre| pack(*centre).to_le_bytes()));
        bytes.extend(slots.visits);
    }
    if let Some(week) = week {
        bytes.extend(week.centres);
        bytes.extend(week.visits);
    }
    for tail in tails {
        write_tail(tail, bytes);
    }
}

fn read(bytes: &[u8]) -> Option<Baseline> {
    let mut rest = bytes;
    let rest = &mut rest;
    let flags = take(rest)?;
    let (born, next) = (Hour(take_signed(rest)?), Hour(take_signed(rest)?));
    let (seen, minutes, since_alarm) = (take(rest)?, take(rest)?, take(rest)?);
    let [allowance, largest, alerts] = take_floats(rest)?;
    let recent = take_floats(rest)?;
    let floats: [f32; 2 * FADED] = take_floats(rest)?;
    let faded: [Faded; FADED] = std::array::from_fn(|at| Faded { sum: floats[2 * at], weight: floats[2 * at + 1] });
    let [took, said, pooled_noise, size, activity, active_size, active_spread, l0, l1, l2, l3, windows @ ..] = faded;
    let (level, losses, windows) = ((took, said), [l0, l1, l2, l3], Windows::of(windows));
    let mut slots = || {
        let centres = if flags & HAS_SMALL_CENTRES != 0 { take_small(rest)? } else { take_floats(rest)? };
        Some(Slots { centres, visits: take_bytes(rest)? })
    };
    let (day, noise) = (slots()?, slots()?);
    let week = if flags & HAS_WEEK == 0 {
        None
    } else {
        Some(Box::new(WeekSlots { centres: take_bytes::<{ 2 * WEEK }>(rest)?, visits: take_bytes::<{ WEEK / 4 }>(rest)? }))
    };
    let mut tail = || read_tail(rest);
    let tails = [tail()?, tail()?, tail()?, tail()?, tail()?];
    let baseline = Baseline {
        born,
        next,
        seen: u32::try_from(seen).ok()?,
        pace: Pace { minutes: u16::try_from(minutes).ok()? },
        experts: Experts { recent, day, week, level, losses },
        pooled_noise,
        noise,
        size,
        activity,
        active_size,
        active_spread,
        windows,
        allowance,
        largest,
        in_strange: flags & IN_STRANGE != 0,
        alerts,
        since_alarm: u16::try_from(since_alarm).ok()?,
        tails,
    };
    rest.is_empty().then_some(baseline)
}

fn take_small(rest: &mut &[u8]) -> Option<[f32; 24]> {
    let bytes = take_bytes::<48>(rest)?;
    Some(std::array::from_fn(|at| unpack(u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]))))
}

/// Which bins count anything, a bit each, and those counts.
fn write_tail(tail: &Tail, bytes: &mut Vec<u8>) {
    let Tail { bins, total, age } = tail;
    put(bytes, u64::from(*total));
    put(bytes, u64::from(*age));
    let counted = bins.iter().enumerate().fold(0, |bits, (at, bin)| if *bin == 0 { bits } else { bits | 1 << at });
    bytes.extend(&u64::to_le_bytes(counted)[..BINS / 8]);
    for bin in bins.iter().filter(|bin| **bin != 0) {
        put(bytes, u64::from(*bin));
    }
}

fn read_tail(rest: &mut &[u8]) -> Option<Tail> {
    let (total, age) = (u16::try_from(take(rest)?).ok()?, u16::try_from(take(rest)?).ok()?);
    let mut counted = [0; 8];
    counted[..BINS / 8].copy_from_slice(&take_bytes::<{ BINS / 8 }>(rest)?);
    let mut counted = u64::from_le_bytes(counted);
    let mut bins = [0; BINS];
    // Some two hundred numbers a baseline, nearly all of one byte: a tenth of what closing an hour costs.
    let (bytes, mut at) = (*rest, 0);
    while counted != 0 {
        bins[counted.trailing_zeros() as usize] = match *bytes.get(at)? {
            low @ ..0x80 => {
                at += 1;
                u16::from(low)
            }
            _ => {
                let mut behind = &bytes[at..];
                let bin = u16::try_from(take(&mut behind)?).ok()?;
                at = bytes.len() - behind.len();
                bin
            }
        };
        counted &= counted - 1;
    }
    *rest = &bytes[at..];
    Some(Tail { bins, total, age })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::watch::baseline::{Learn, LocalHour};

    proptest! {
        #[test]
        fn a_baseline_wakes_as_it_went_to_rest(values in prop::collection::vec((-10.0_f64..1e7, 0_u8..4), 0..400), minutes in 1_u16..200) {
            let mut baseline = Baseline::paced(Hour(480_000), Pace::of_minutes(minutes));
            for (hour, (value, learn)) in (480_000..).map(Hour).zip(values) {
                let learn = [Learn::Normal, Learn::Mild, Learn::Strange, Learn::Alarmed][usize::from(learn)];
                baseline.observe(hour, LocalHour::at(hour, 0), value, learn);
            }
            let mut resting = Resting::new(&baseline);
            let centres = [&mut baseline.experts.day.centres, &mut baseline.noise.centres];
            centres.into_iter().flatten().for_each(|centre| *centre = unpack(pack(*centre)));
            prop_assert_eq!(&resting.wake(), &baseline);
            let bytes = postcard::to_stdvec(&resting).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<Resting>(&bytes).unwrap(), &resting);
            prop_assert!(postcard::from_bytes::<Resting>(&bytes[..bytes.len() - 1]).is_err());
            let hour = baseline.next_hour();
            baseline.observe(hour, LocalHour::at(hour, 0), 7.0, Learn::Normal);
            resting.rest(&baseline, &mut vec![7; 3]);
            prop_assert_eq!(resting, Resting::new(&baseline));
        }

        #[test]
        fn foreign_bytes_are_refused_and_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..1_500), length in 0_usize..1_500) {
            let _ = read(&bytes);
            let mut known = Vec::new();
            write(&Baseline::new(Hour(480_000)), &mut known);
            bytes.truncate(length);
            known.splice(known.len().min(length).., bytes);
            let _ = read(&known);
        }
    }
}
