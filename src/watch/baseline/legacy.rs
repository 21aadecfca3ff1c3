//! Baselines as format versions 1 and 2 wrote them. What they lack is learnt in the days after the upgrade.

use serde::Deserialize;

use super::experts::Experts;
use super::faded::Faded;
use super::slots::{Slots, WeekSlots};
use super::tail::Tail;
use super::{Baseline, packed};
use crate::model::time::Hour;

/// `Week` = its hours of the week.
#[derive(Deserialize)]
struct Old<Week> {
    born: Hour,
    next: Hour,
    hours_seen: u32,
    #[serde(with = "packed")]
    recent: [f32; 3],
    day: Slots<24>,
    week: Option<Box<Week>>,
    losses: [(f32, f32); 3],
    pooled_noise: (f32, f32),
    noise: Slots<24>,
    size: (f32, f32),
    allowance: f32,
    largest: f32,
    tail: OldTail,
}

#[derive(Deserialize)]
struct OldTail {
    #[serde(with = "packed")]
    bins: [f32; 40],
    total: f32,
}

#[derive(Deserialize)]
pub struct Baseline1(Old<Slots<168>>);

#[derive(Deserialize)]
pub struct Baseline2(Old<WeekSlots>);

impl From<Baseline1> for Baseline {
    fn from(old: Baseline1) -> Baseline {
        let week = old.0.week.as_ref().map(|week| Box::new(WeekSlots::from_slots(week)));
        baseline(old.0, week)
    }
}

impl From<Baseline2> for Baseline {
    fn from(mut old: Baseline2) -> Baseline {
        let week = old.0.week.take();
        baseline(old.0, week)
    }
}

fn baseline<Week>(old: Old<Week>, week: Option<Box<WeekSlots>>) -> Baseline {
    let mut new = Baseline::new(old.born);
    let size = old.size;
    let mean = if size.1 > 0.0 { size.0 / size.1 } else { 0.0 };
    (new.next, new.seen, new.allowance, new.largest) = (old.next, old.hours_seen, old.allowance, old.largest);
    new.experts = Experts::from_parts(old.recent, old.day, week, old.losses);
    new.pooled_noise = Faded { sum: old.pooled_noise.0, weight: old.pooled_noise.1 };
    new.noise = old.noise;
    new.size = Faded { sum: size.0, weight: size.1 };
    // Taken for always active, at its mean size, until it has shown otherwise.
    new.activity = Faded { sum: size.1, weight: size.1 };
    new.active_size = new.size;
    new.active_spread = new.pooled_noise;
    new.windows.begin_at(f64::from(mean));
    new.tails[0] = Tail::from_weights(&old.tail.bins, old.tail.total);
    new
}
