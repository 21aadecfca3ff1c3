//! Oversized: a resource that is used, and never needs what it has. By the highest utilisation of every sample of a whole window and by
//! the mean; what size would do is the next power of two above the peak with some room to spare, at a price in proportion.
//!
//! Peak and mean are of one metric, so that it is one sign: a hint, told as info first. A sample above the bound takes it back at once; a
//! day in which nobody can say it any more does, too. What could have been saved counts from the first day of the window that said it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story, with};
use super::super::rules::{OversizedRules, Sign, WasteClass, WasteRules};
use super::resource::{Resource, Sampled};
use super::{HOURS_PER_MONTH, Name, dimensions, words};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, CAPACITY, Cause, INSTEAD, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::Nanos;
use crate::model::resource::ResourceSample;
use crate::model::time::{DAY_MS, HOUR_MS, Hour, Timestamp};
use crate::watch::Moment;

/// Capacities are compared in thousandths, so that money stays exact.
const PARTS: f64 = 1000.0;
/// How strange it is, for routes and lists: one sign.
const HINT: f64 = 0.6;

/// By team and id.
pub(crate) type Sizes = BTreeMap<Name, Size>;

/// What is kept of the use of one resource whose capacity is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    pub capacity: f64,
    /// The first sample with this capacity.
    pub since: Timestamp,
    pub last_seen: Timestamp,
    /// Of the window, oldest first.
    pub days: Vec<SizeDay>,
    /// The last sample with which a smaller size would have done.
    pub fitted: Timestamp,
    pub matter: Option<Matter>,
}

/// Utilisation of one day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeDay {
    /// Since 1970.
    pub day: i64,
    pub samples: u32,
    /// Of these, how many had no utilisation.
    pub unknown: u32,
    pub sum: f64,
    pub peak: f64,
}

/// What would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    pub capacity: f64,
    pub needed: f64,
    pub peak: f64,
    pub mean: f64,
    /// An hour.
    pub saved: Nanos,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    NeededAgain,
    Resized,
    /// Stopped, free, or not used at all, which is told by others.
    Gone,
    Silent,
    /// Use is not known for enough of the window, or the price.
    Unknown,
    TooLittle,
    /// Nobody wants to know any more.
    Off,
}

#[expect(clippy::too_many_arguments, reason = "all that is known of a sample")]
pub(super) fn take(
    sizes: &mut Sizes,
    resource: &Resource,
    name: &Name,
    (sample, sampled): (&ResourceSample, Sampled),
    class: &WasteClass,
    waste: &WasteRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> bool {
    let Some(rules) = &waste.oversized else { return false };
    let has_size = class.sign == Sign::Utilization || class.sign == Sign::Any;
    let capacity = sample.capacity.filter(|capacity| *capacity > 0.0 && has_size);
    let Some(capacity) = capacity.or_else(|| sizes.get(name).map(|size| size.capacity)) else { return false };
    let never = Timestamp(i64::MIN);
    let fresh = || Size { capacity, since: sample.event_time, last_seen: never, days: Vec::new(), fitted: never, matter: None };
    let size = sizes.entry(name.clone()).or_insert_with(fresh);
    if sample.event_time <= size.last_seen {
        return false;
    }
    let over = size.add((sample, sampled), capacity, resource, rules);
    let at = size.last_seen;
    match (over, size.fit(resource, class, waste, rules)) {
        (Some(over), _) => size.end(over, resource, name, at, moment, effects),
        (None, Ok(fit)) => {
            size.fitted = at;
            size.tell(&fit, resource, name, waste, moment, effects);
        }
        // A day may begin with a sample that says nothing.
        (None, Err(over)) if at.0.saturating_sub(size.fitted.0) >= DAY_MS => size.end(over, resource, name, at, moment, effects),
        (None, Err(_)) => {}
    }
    true
}

impl Size {
    /// Adds a sample, and says whether what was told of before is over.
    fn add(
        &mut self,
        (sample, sampled): (&ResourceSample, Sampled),
        capacity: f64,
        resource: &Resource,
        rules: &OversizedRules,
    ) -> Option<Over> {
        self.last_seen = sample.event_time;
        if capacity != self.capacity {
            (self.capacity, self.since) = (capacity, sample.event_time);
            self.days.clear();
            return Some(Over::Resized);
        }
        let is_idle = resource.matter.as_ref().is_some_and(Matter::is_open);
        // Deleted, with or without a price.
        let is_free = sampled == Sampled::Free || sample.hourly_cost == Some(Nanos::ZERO);
        if resource.is_stopped || is_idle || is_free {
            (self.days, self.since) = (Vec::new(), sample.event_time);
            return Some(Over::Gone);
        }
        let day = sample.event_time.0.div_euclid(DAY_MS);
        if self.days.last().is_none_or(|last| last.day != day) {
            self.days.push(SizeDay { day, samples: 0, unknown: 0, sum: 0.0, peak: 0.0 });
            self.days.retain(|known| known.day >= day - rules.window_days);
        }
        if let Some(today) = self.days.last_mut() {
            today.samples = today.samples.saturating_add(1);
            today.unknown = today.unknown.saturating_add(u32::from(sample.utilization.is_none()));
            today.sum += sample.utilization.unwrap_or_default();
            today.peak = today.peak.max(sample.utilization.unwrap_or_default());
        }
        sample.utilization.is_some_and(|used| used >= rules.most_peak).then_some(Over::NeededAgain)
    }

    /// A smaller size that would have done in the whole window; or why there is none.
    fn fit(&self, resource: &Resource, class: &WasteClass, waste: &WasteRules, rules: &OversizedRules) -> Result<Fit, Over> {
        let whole = usize::try_from(rules.window_days.saturating_add(1)).map_err(|_| Over::Unknown)?;
        // Every day of the window was seen, and the one before it began.
        if self.days.len() < whole || self.days.iter().any(|day| day.samples == day.unknown) {
            return Err(Over::Unknown);
        }
        let (samples, unknown) = self
            .days
            .iter()
            .fold((0_u32, 0_u32), |(all, unknown), day| (all.saturating_add(day.samples), unknown.saturating_add(day.unknown)));
        if f64::from(unknown) > waste.most_unknown * f64::from(samples) {
            return Err(Over::Unknown);
        }
        let mean = self.days.iter().map(|day| day.sum).sum::<f64>() / f64::from(samples - unknown);
        let peak = self.days.iter().map(|day| day.peak).fold(0.0, f64::max);
        if peak >= rules.most_peak || mean >= rules.most_mean {
            return Err(Over::NeededAgain);
        }
        // Below that it is idle, if anything.
        if peak < class.least_utilization {
            return Err(Over::Gone);
        }
        let needed = power_of_two(peak * self.capacity / rules.target);
        let spare = ((self.capacity - needed) * PARTS) as i128;
        if spare <= 0 {
            return Err(Over::NeededAgain);
        }
        let hourly = resource.hourly_cost.ok_or(Over::Unknown)?;
        let saved = hourly.checked_mul_div(spare, (self.capacity * PARTS) as i128).ok_or(Over::Unknown)?;
        if monthly(saved) < waste.least_per_month {
            return Err(Over::TooLittle);
        }
        Ok(Fit { capacity: self.capacity, needed, peak, mean, saved })
    }

    /// From when on it is too large: of what is told already as it was told, else the first day of the window that says it.
    fn onset(&self) -> Timestamp {
        let first = self.days.first().map_or(self.since, |day| Timestamp(day.day.saturating_mul(DAY_MS)));
        let told = self.matter.as_ref().filter(|matter| matter.is_open());
        told.map_or(self.since.max(first), |matter| matter.onset)
    }

    fn tell(&mut self, fit: &Fit, resource: &Resource, name: &Name, waste: &WasteRules, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let told = self.matter.as_ref().filter(|matter| matter.is_open());
        let is_past_grace = told.is_some_and(|matter| self.last_seen.0 - matter.opened_at.0 >= waste.grace_ms);
        let severity = if is_past_grace { Severity::Warning } else { Severity::Info };
        let onset = self.onset();
        let hours = i128::from(self.last_seen.0.saturating_sub(onset.0));
        let over_time = |hourly: Nanos| hourly.checked_mul_div(hours, i128::from(HOUR_MS)).unwrap_or_default();
        let (actual, excess) = (over_time(resource.hourly_cost.unwrap_or_default()), over_time(fit.saved));
        let expected = actual.saturating_sub(excess);
        let dimensions = dimensions(resource, &name.1);
        let sizes = [(CAPACITY, fit.capacity.to_string()), (INSTEAD, fit.needed.to_string())];
        let story = Story {
            kind: AlertKind::OversizedResource,
            severity,
            onset,
            causes: vec![Cause { dimensions: with(&dimensions, &sizes), actual, expected, share: 1.0 }],
            dimensions,
            measure: Measure::Estimated,
            currency: resource.currency,
            event_time: self.last_seen,
            ingest_time: moment.shard_time,
            actual,
            expected,
            excess,
            burn_rate: fit.saved,
            score: HINT,
            stage: Stage::Seasoned,
            normal: words::size_usual(fit, waste.oversized.as_ref()),
            summary: words::oversized(resource, &name.1, fit, self.days.len().saturating_sub(1), monthly(fit.saved)),
            next_steps: words::resize(fit),
            history: Vec::new(),
        };
        let growth = moment.rules.thresholds(&name.0, &resource.project, &resource.environment).update_growth;
        let id: [&[u8]; 3] = [b"size", name.1.as_bytes(), &resource.first_seen.0.to_be_bytes()];
        matter::tell(&mut self.matter, &name.0, &id, story, 2.0 * growth, moment, effects);
    }

    fn end(&mut self, over: Over, resource: &Resource, name: &Name, at: Timestamp, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let Some(told) = self.matter.as_ref().filter(|matter| matter.is_open()) else { return };
        let story = Story {
            kind: AlertKind::OversizedResource,
            severity: Severity::Info,
            onset: told.onset,
            dimensions: dimensions(resource, &name.1),
            measure: Measure::Estimated,
            currency: resource.currency,
            event_time: at,
            ingest_time: moment.shard_time,
            actual: told.told_excess,
            expected: Nanos::ZERO,
            excess: told.told_excess,
            burn_rate: Nanos::ZERO,
            score: 0.0,
            stage: Stage::Seasoned,
            normal: String::new(),
            summary: words::size_over(resource, &name.1, over, self.capacity, told.told_excess),
            causes: Vec::new(),
            next_steps: Vec::new(),
            history: Vec::new(),
        };
        matter::end(&mut self.matter, &name.0, AlertState::Resolved, at, story, moment, effects);
    }
}

/// Resources of which nothing was heard for long: what was told ends. Names of what has changed.
pub(super) fn look_for_silence(
    sizes: &mut Sizes,
    resources: &BTreeMap<(Text, Text), Resource>,
    hour: Hour,
    waste: &WasteRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<Name> {
    let mut changed = Vec::new();
    for (name, size) in sizes.iter_mut() {
        let is_silent = hour.end().0.saturating_sub(size.last_seen.0) > waste.silent_after_ms;
        let is_open = size.matter.as_ref().is_some_and(Matter::is_open);
        let Some(resource) = resources.get(name).filter(|_| is_silent && is_open) else { continue };
        let at = size.last_seen;
        size.end(Over::Silent, resource, name, at, moment, effects);
        changed.push(name.clone());
    }
    changed
}

/// Nobody wants to know of sizes any more: what was told ends. Names of what has changed.
pub(super) fn end_all(
    sizes: &mut Sizes,
    resources: &BTreeMap<(Text, Text), Resource>,
    at: Timestamp,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) -> Vec<Name> {
    let mut changed = Vec::new();
    for (name, size) in sizes.iter_mut().filter(|(_, size)| size.matter.as_ref().is_some_and(Matter::is_open)) {
        let Some(resource) = resources.get(name) else { continue };
        size.end(Over::Off, resource, name, at, moment, effects);
        changed.push(name.clone());
    }
    changed
}

fn monthly(hourly: Nanos) -> Nanos {
    hourly.checked_mul_div(HOURS_PER_MONTH, 1).unwrap_or(hourly)
}

/// The least power of two that is not below a need; machines come in such sizes.
fn power_of_two(need: f64) -> f64 {
    let mut size = 1.0;
    while size < need && size < 1e9 {
        size *= 2.0;
    }
    size
}
