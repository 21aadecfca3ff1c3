//! Totals of a leaf's closed hours that late data may still amend, in some fifteen bytes an hour.
//!
//! Times and all users of an hour are kept only while an episode holds it, since only then do they stand in an alert again. Otherwise
//! the largest users of the last day say what is usual for them, and older hours know no users.

use serde::{Deserialize, Serialize};

use super::series::HourTotals;
use crate::model::Text;
use crate::model::money::Nanos;
use crate::model::partial::UserCost;
use crate::model::time::{Hour, Timestamp};

/// Users kept of an hour that no episode holds.
const USUAL_USERS: usize = 4;
/// Hours with usage that say what is usual for a user.
pub const USUAL_HOURS: usize = 24;
/// An episode that opens now may have begun some minutes ago, in an hour that is closed.
const ONSET_MAY_LIE_BACK: usize = 2;

/// Names of users, then hours in order: hours since the one before, a word that says which numbers follow, and those.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(Box<[u8]>);

/// Which hours are needed in full.
pub struct Held<'a> {
    /// Whether an episode holds an hour.
    pub holds: &'a dyn Fn(Hour) -> bool,
    /// The first hour that is not past: what is usual is what was before.
    pub onset: Hour,
}

const COST: u64 = 1;
const QUANTITY: u64 = 1 << 1;
const UNPRICED: u64 = 1 << 2;
/// Requests differ from events.
const REQUESTS: u64 = 1 << 3;
const NEGATIVE: u64 = 1 << 4;
const TIMES: u64 = 1 << 5;
const USERS: u64 = 1 << 6;
/// Written other than once.
const REVISION: u64 = 1 << 7;
/// And the following bits: kinds of tokens.
const TOKENS: u64 = 1 << 8;
/// Users share the whole cost among them: the last one's part need not be written.
const SHARED: u64 = 1 << 13;

impl Recent {
    pub fn hours(&self) -> Vec<(Hour, HourTotals)> {
        read(&self.0).unwrap_or_default()
    }

    pub fn get(&self, hour: Hour) -> Option<HourTotals> {
        self.hours().into_iter().find(|(known, _)| *known == hour).map(|(_, totals)| totals)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_readable(&self) -> bool {
        read(&self.0).is_some()
    }

    /// Puts an hour in its place, and drops those up to `oldest`.
    pub fn put(&mut self, hour: Hour, totals: HourTotals, oldest: Hour, held: &Held<'_>) {
        let mut hours = self.hours();
        match hours.binary_search_by_key(&hour, |(known, _)| *known) {
            Ok(at) => hours[at].1 = totals,
            Err(at) => hours.insert(at, (hour, totals)),
        }
        self.keep(hours, oldest, held);
    }

    /// Drops hours up to `oldest`. Returns whether there were any.
    pub fn forget(&mut self, oldest: Hour, held: &Held<'_>) -> bool {
        let hours = self.hours();
        let is_due = hours.first().is_some_and(|(first, _)| *first <= oldest);
        if is_due {
            self.keep(hours, oldest, held);
        }
        is_due
    }

    fn keep(&mut self, mut hours: Vec<(Hour, HourTotals)>, oldest: Hour, held: &Held<'_>) {
        hours.retain(|(hour, _)| *hour > oldest);
        let past = hours.partition_point(|(hour, _)| *hour < held.onset);
        for (at, (hour, totals)) in hours.iter_mut().enumerate() {
            if (held.holds)(*hour) {
                continue;
            }
            (totals.last_event_time, totals.last_ingest_time) = (Timestamp::default(), Timestamp::default());
            if at + USUAL_HOURS + ONSET_MAY_LIE_BACK < past {
                totals.users = Vec::new();
            } else if totals.users.len() > USUAL_USERS {
                totals.users.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.user.cmp(&b.user)));
                totals.users.truncate(USUAL_USERS);
            }
        }
        self.0 = write(&hours).into();
    }
}

impl FromIterator<(Hour, HourTotals)> for Recent {
    fn from_iter<I: IntoIterator<Item = (Hour, HourTotals)>>(hours: I) -> Recent {
        let hours: Vec<(Hour, HourTotals)> = hours.into_iter().collect();
        Recent(write(&hours).into())
    }
}

fn write(hours: &[(Hour, HourTotals)]) -> Vec<u8> {
    if hours.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<&Text> = hours.iter().flat_map(|(_, totals)| totals.users.iter().map(|user| &user.user)).collect();
    names.sort_unstable();
    names.dedup();
    let mut bytes = Vec::with_capacity(1_024);
    put(&mut bytes, names.len() as u128);
    for name in &names {
        put(&mut bytes, name.len() as u128);
        bytes.extend(name.as_bytes());
    }
    let mut before = 0;
    for (hour, totals) in hours {
        put_signed(&mut bytes, i128::from(hour.0 - before));
        before = hour.0;
        write_hour(&mut bytes, *hour, totals, &names);
    }
    bytes
}

fn write_hour(bytes: &mut Vec<u8>, hour: Hour, totals: &HourTotals, names: &[&Text]) {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let has_times = totals.last_event_time != Timestamp::default() || totals.last_ingest_time != Timestamp::default();
    let mut word = bit(totals.cost != Nanos::ZERO, COST)
        | bit(totals.quantity != Nanos::ZERO, QUANTITY)
        | bit(totals.unpriced_events != 0, UNPRICED)
        | bit(totals.requests != totals.events, REQUESTS)
        | bit(totals.has_negative, NEGATIVE)
        | bit(has_times, TIMES)
        | bit(!totals.users.is_empty(), USERS)
        | bit(totals.revision != 1, REVISION);
    for (kind, tokens) in totals.tokens.iter().enumerate() {
        word |= bit(*tokens != 0, TOKENS << kind);
    }
    let of_users = totals.users.iter().try_fold(0_i128, |sum, user| sum.checked_add(user.cost.0));
    word |= bit(!totals.users.is_empty() && of_users == Some(totals.cost.0), SHARED);
    put(bytes, u128::from(word));
    put(bytes, u128::from(totals.events));
    for (value, bit) in [(totals.cost.0, COST), (totals.quantity.0, QUANTITY)] {
        if word & bit != 0 {
            put_signed(bytes, value);
        }
    }
    let counts = [(totals.unpriced_events, UNPRICED), (totals.requests, REQUESTS), (u64::from(totals.revision), REVISION)];
    for (value, bit) in counts {
        if word & bit != 0 {
            put(bytes, u128::from(value));
        }
    }
    for tokens in totals.tokens.iter().filter(|tokens| **tokens != 0) {
        put(bytes, u128::from(*tokens));
    }
    if has_times {
        put_signed(bytes, i128::from(totals.last_event_time.0 - hour.start().0));
        put_signed(bytes, i128::from(totals.last_ingest_time.0 - hour.start().0));
    }
    if !totals.users.is_empty() {
        put(bytes, totals.users.len() as u128);
        for (behind, user) in (0..totals.users.len()).rev().zip(&totals.users) {
            put(bytes, names.partition_point(|name| **name < user.user) as u128);
            if behind > 0 || word & SHARED == 0 {
                put_signed(bytes, user.cost.0);
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<Vec<(Hour, HourTotals)>> {
    let mut rest = bytes;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let count = take(&mut rest)?;
    let mut names: Vec<Text> = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(take(&mut rest)?).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        names.push(std::str::from_utf8(name).ok()?.into());
        rest = behind;
    }
    let mut hours = Vec::with_capacity(49);
    let mut hour = Hour(0);
    while !rest.is_empty() {
        hour = Hour(hour.0.checked_add(i64::try_from(take_signed(&mut rest)?).ok()?)?);
        hours.push((hour, read_hour(&mut rest, hour, &names)?));
    }
    Some(hours)
}

fn read_hour(rest: &mut &[u8], hour: Hour, names: &[Text]) -> Option<HourTotals> {
    let word = take_count(rest)?;
    let has = |bit: u64| word & bit != 0;
    let mut totals = HourTotals { events: take_count(rest)?, revision: 1, has_negative: has(NEGATIVE), ..HourTotals::default() };
    totals.requests = totals.events;
    if has(COST) {
        totals.cost = Nanos(take_signed(rest)?);
    }
    if has(QUANTITY) {
        totals.quantity = Nanos(take_signed(rest)?);
    }
    if has(UNPRICED) {
        totals.unpriced_events = take_count(rest)?;
    }
    if has(REQUESTS) {
        totals.requests = take_count(rest)?;
    }
    if has(REVISION) {
        totals.revision = u32::try_from(take(rest)?).ok()?;
    }
    for (kind, tokens) in totals.tokens.iter_mut().enumerate() {
        if has(TOKENS << kind) {
            *tokens = take_count(rest)?;
        }
    }
    if has(TIMES) {
        totals.last_event_time = hour.start().plus_ms(i64::try_from(take_signed(rest)?).ok()?);
        totals.last_ingest_time = hour.start().plus_ms(i64::try_from(take_signed(rest)?).ok()?);
    }
    if has(USERS) {
        let count = usize::try_from(take(rest)?).ok()?;
        let mut left = totals.cost.0;
        for behind in (0..count).rev() {
            let user = names.get(usize::try_from(take(rest)?).ok()?)?.clone();
            let cost = if behind > 0 || !has(SHARED) { take_signed(rest)? } else { left };
            left = left.wrapping_sub(cost);
            totals.users.push(UserCost { user, cost: Nanos(cost) });
        }
    }
    Some(totals)
}

/// Seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_signed(bytes: &mut Vec<u8>, value: i128) {
    put(bytes, ((value << 1) ^ (value >> 127)).cast_unsigned());
}

fn take(rest: &mut &[u8]) -> Option<u128> {
    let mut value = 0;
    for shift in (0..128).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_count(rest: &mut &[u8]) -> Option<u64> {
    u64::try_from(take(rest)?).ok()
}

fn take_signed(rest: &mut &[u8]) -> Option<i128> {
    let value = take(rest)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn totals()(
            cost in any::<i64>(), shares in any::<bool>(), quantity in 0_i64..1_000, counts in prop::array::uniform9(prop_oneof![Just(0_u64), any::<u64>()]),
            has_negative in any::<bool>(), times in (0_i64..4_000_000, 0_i64..4_000_000), revision in 0_u32..4,
            users in prop::collection::vec(("[a-c]{1,3}", any::<i32>()), 0..6),
        ) -> HourTotals {
            let of_users: i128 = users.iter().map(|(_, cost)| i128::from(*cost)).sum();
            HourTotals {
                cost: Nanos(if shares { of_users } else { i128::from(cost) }),
                quantity: Nanos(i128::from(quantity)),
                events: counts[0],
                unpriced_events: counts[1],
                requests: counts[2],
                tokens: [counts[3], counts[4], counts[5], counts[6], counts[7]],
                has_negative,
                last_event_time: Timestamp(times.0),
                last_ingest_time: Timestamp(times.1),
                users: users.into_iter().map(|(user, cost)| UserCost { user: user.as_str().into(), cost: Nanos(i128::from(cost)) }).collect(),
                revision,
            }
        }
    }

    proptest! {
        #[test]
        fn held_hours_read_back_as_they_were(all in prop::collection::vec(totals(), 1..50), from in -100_i64..500_000) {
            let held = Held { holds: &|_| true, onset: Hour(i64::MAX) };
            let mut recent = Recent::default();
            let hours: Vec<(Hour, HourTotals)> = (from..).step_by(2).map(Hour).zip(all).collect();
            for (hour, totals) in &hours {
                recent.put(*hour, totals.clone(), Hour(i64::MIN), &held);
            }
            prop_assert_eq!(recent.hours(), hours.clone());
            recent.forget(hours[hours.len() / 2].0, &held);
            prop_assert_eq!(&recent.hours()[..], &hours[hours.len() / 2 + 1..]);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Recent(bytes.into()).is_readable();
        }
    }

    #[test]
    fn what_no_episode_holds_keeps_the_largest_users_of_a_day() {
        let held = Held { holds: &|hour| hour == Hour(10), onset: Hour(40) };
        let users: Vec<UserCost> = (0..9).map(|n| UserCost { user: format!("u{n}").as_str().into(), cost: Nanos(n) }).collect();
        let totals = HourTotals { last_event_time: Timestamp(7), revision: 1, users, ..HourTotals::default() };
        let mut recent = Recent::default();
        for hour in 0..48 {
            recent.put(Hour(hour), totals.clone(), Hour(-1), &held);
        }
        for (hour, kept) in recent.hours() {
            let expected = if hour == Hour(10) {
                9
            } else if hour.0 < 40 - 26 {
                0
            } else {
                4
            };
            assert_eq!((kept.users.len(), kept.last_event_time.0 != 0), (expected, hour == Hour(10)), "{hour:?}");
            assert!(expected != 4 || kept.users[0].cost == Nanos(8));
        }
    }
}
