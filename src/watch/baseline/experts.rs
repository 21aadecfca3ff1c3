//! The forecasts of a bucket, each good for another kind of series; the one with the smallest loss lately is believed.

use serde::Deserialize;

use super::LocalHour;
use super::faded::Faded;
use super::pace::Pace;
use super::packed;
use super::slots::{Slots, WeekSlots};
use crate::model::alert::Stage;

/// Buckets of the recent median.
const RECENT: usize = 3;
const EXPERTS: usize = 4;
/// The hour of the week must be this much better than the others (DETECTION.md, section 6.3).
const WEEK_ADVANTAGE: f64 = 0.97;
/// Rates per visit: a slot of the day remembers about a week, a slot of the week about two months.
const DAY_RATE: f64 = 0.25;
const WEEK_RATE: f64 = 0.25;
/// Hours of history before hours of the week are kept: most short-lived series never need them.
const WEEK_FROM_HOURS: f64 = 24.0;
/// The hour of the week is known after so many hours, and three visits: buckets shorter than an hour come to a slot more than once a week.
const KNOWN_HOURS: f64 = 3.0 * 168.0;
/// The hour of the week may be so many times the hour of the day, which weekends and a holiday pull down.
const NEAR: f64 = 2.5;
/// Half-lives in hours: of losses, and of the level that the last hours are at.
const LOSS_HALF_LIFE: f64 = 72.0;
const LEVEL_HALF_LIFE: f64 = 4.0;
/// The level is known from so many buckets on, and is believed within these bounds.
const LEVEL_BUCKETS: f32 = 2.0;
const LEVEL_RANGE: (f64, f64) = (0.1, 10.0);

/// Which forecast is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Expert {
    None,
    RecentMedian,
    HourOfDay,
    HourOfWeek,
    /// The hour of the day at the level of the last hours.
    LevelledDay,
}

/// What each expert says of a bucket; `None` where it knows nothing yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecasts {
    pub recent: Option<f64>,
    pub day: Option<f64>,
    pub week: Option<f64>,
    /// The hour of the week has been seen so often that it is known, whoever is believed.
    pub is_week_known: bool,
    pub levelled: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Experts {
    /// Values of the last buckets, at (buckets seen) modulo their number.
    #[serde(with = "packed")]
    pub(super) recent: [f32; RECENT],
    pub(super) day: Slots<24>,
    pub(super) week: Option<Box<WeekSlots>>,
    /// What the last hours took, and what the hours of the day would have said.
    pub(super) level: (Faded, Faded),
    /// Discounted absolute error, in the order of [`Forecasts::all`].
    pub(super) losses: [Faded; EXPERTS],
}

/// What one bucket teaches the experts.
pub struct Lesson {
    /// The value as it was.
    pub value: f64,
    /// The value as far as centres may follow it.
    pub kept: f64,
    /// Centres move at most so far in one bucket; `None` = as far as the value lies.
    pub reach: Option<f64>,
    /// Errors beyond this count as this.
    pub most_loss: f64,
    pub is_alarmed: bool,
}

impl Forecasts {
    fn all(&self) -> [Option<f64>; EXPERTS] {
        [self.recent, self.day, self.week, self.levelled]
    }

    pub fn of(&self, expert: Expert) -> f64 {
        let forecast = match expert {
            Expert::None => None,
            Expert::RecentMedian => self.recent,
            Expert::HourOfDay => self.day,
            Expert::HourOfWeek => self.week,
            Expert::LevelledDay => self.levelled,
        };
        forecast.unwrap_or(0.0)
    }

    /// What the calendar alone says, whatever the last hours were like: what lasts is measured from it.
    pub fn seasonal(&self, expert: Expert) -> f64 {
        let by_week = self.week.filter(|_| expert == Expert::HourOfWeek);
        by_week.or(self.day).unwrap_or_else(|| self.of(expert))
    }

    /// The lowest and the highest of the believed forecast and those that could do as well. A spike is strange to all of them: an hour
    /// that is usual for its time of day, or like the hours just before, is none. Where weekends are known to differ, the hour of the
    /// day has no say.
    pub fn bounds(&self, stage: Stage, expert: Expert) -> (f64, f64) {
        let rivals = match (stage, expert) {
            (Stage::New | Stage::FirstDay, _) | (_, Expert::HourOfWeek) => [self.recent, None],
            (Stage::FirstWeeks | Stage::Seasoned, _) => [self.recent, self.day],
        };
        let expected = self.of(expert);
        rivals.into_iter().flatten().fold((expected, expected), |(low, high), rival| (low.min(rival), high.max(rival)))
    }

    /// What the hour of the week takes, if it has been seen often and is no relic of another level. A holiday lets it look wrong for some days,
    /// in which it is not believed.
    pub fn known_week(&self) -> Option<f64> {
        let is_near = |week: &f64| self.day.is_some_and(|day| week.abs() <= NEAR * day.abs());
        self.week.filter(|week| self.is_week_known && is_near(week))
    }

    /// Noise is kept by hour of the day; where the hour of the week is believed, a quiet day is less noisy than a busy one. The square
    /// root lies between noise that does not depend on the level and noise proportional to it.
    pub fn noise_of_day(&self, expert: Expert) -> f64 {
        match (expert, self.day, self.week) {
            (Expert::HourOfWeek, Some(day), Some(week)) if day.abs() > 0.0 => libm::sqrt((week / day).abs()).clamp(0.25, 4.0),
            _ => 1.0,
        }
    }
}

impl Experts {
    pub fn new() -> Experts {
        Experts {
            recent: [0.0; RECENT],
            day: Slots::new(),
            week: None,
            level: (Faded::default(), Faded::default()),
            losses: [Faded::default(); EXPERTS],
        }
    }

    /// From the parts that earlier formats had.
    pub fn from_parts(recent: [f32; RECENT], day: Slots<24>, week: Option<Box<WeekSlots>>, losses: [(f32, f32); 3]) -> Experts {
        let mut experts = Experts { recent, day, week, ..Experts::new() };
        for (loss, (sum, weight)) in experts.losses.iter_mut().zip(losses) {
            *loss = Faded { sum, weight };
        }
        experts
    }

    pub fn of_day(&self, slot: usize) -> Option<f64> {
        self.day.get(slot)
    }

    pub fn forecasts(&self, local: LocalHour, seen: u32, pace: Pace) -> Forecasts {
        let day = self.day.get(local.day_slot());
        let (took, said) = self.level;
        let level = if said.weight > LEVEL_BUCKETS && said.mean().abs() > 1e-12 { Some(took.mean() / said.mean()) } else { None };
        Forecasts {
            recent: self.recent_median(seen),
            day,
            week: self.week.as_ref().and_then(|week| week.get(local.week_slot())),
            is_week_known: pace.hours(seen) >= KNOWN_HOURS && self.week.as_ref().is_some_and(|week| week.is_known(local.week_slot())),
            levelled: day.zip(level).map(|(day, level)| day * level.clamp(LEVEL_RANGE.0, LEVEL_RANGE.1)),
        }
    }

    /// The expert with the least discounted loss among those the stage admits.
    pub fn believed(&self, stage: Stage, forecasts: &Forecasts) -> Expert {
        let all = forecasts.all();
        let loss = |expert: usize| {
            if all[expert].is_some() && !self.losses[expert].is_empty() { self.losses[expert].mean() } else { f64::INFINITY }
        };
        match stage {
            Stage::New => Expert::None,
            Stage::FirstDay => Expert::RecentMedian,
            Stage::FirstWeeks | Stage::Seasoned => {
                let mut best = (Expert::RecentMedian, loss(0));
                for (expert, at) in [(Expert::HourOfDay, 1), (Expert::LevelledDay, 3)] {
                    if loss(at) < best.1 {
                        best = (expert, loss(at));
                    }
                }
                let by_week = stage == Stage::Seasoned && loss(2) < WEEK_ADVANTAGE * best.1;
                if by_week { Expert::HourOfWeek } else { best.0 }
            }
        }
    }

    /// `seen`: buckets learnt before this one. Forecasts are those for the bucket.
    pub fn learn(&mut self, local: LocalHour, seen: u32, forecasts: &Forecasts, lesson: &Lesson, pace: Pace) {
        let keep_loss = pace.keep(LOSS_HALF_LIFE);
        for (forecast, loss) in forecasts.all().iter().zip(&mut self.losses) {
            if let Some(forecast) = forecast {
                loss.add((lesson.value - forecast).abs().min(lesson.most_loss), keep_loss);
            }
        }
        let near = |centre: f64| lesson.reach.map_or(lesson.value, |reach| lesson.value.clamp(centre - reach, centre + reach));
        self.recent[seen as usize % RECENT] = lesson.kept as f32;
        if let Some(day) = forecasts.day {
            let keep = pace.keep(LEVEL_HALF_LIFE);
            self.level.0.add(if lesson.is_alarmed { lesson.kept } else { near(day) }, keep);
            self.level.1.add(day, keep);
        }
        let day_slot = local.day_slot();
        let day_value = self.day.get(day_slot).map_or(lesson.kept, near);
        self.day.learn(day_slot, day_value, pace.rate(DAY_RATE));
        if pace.hours(seen) >= WEEK_FROM_HOURS {
            let week = self.week.get_or_insert_with(|| Box::new(WeekSlots::new()));
            let week_value = week.get(local.week_slot()).map_or(lesson.kept, near);
            week.learn(local.week_slot(), week_value, pace.rate(WEEK_RATE));
        }
    }

    /// Median of the last [`RECENT`] buckets; `None` before there are so many.
    fn recent_median(&self, seen: u32) -> Option<f64> {
        if (seen as usize) < RECENT {
            return None;
        }
        let mut last = self.recent;
        last.sort_by(f32::total_cmp);
        Some(f64::from(last[RECENT / 2]))
    }
}
