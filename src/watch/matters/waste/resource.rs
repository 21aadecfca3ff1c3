//! What is kept of one resource: who it belongs to, what it costs, and how long its pause is by now.

use serde::{Deserialize, Serialize};

use super::super::matter::Matter;
use super::super::rules::{Sign, WasteClass, WasteRules};
use crate::model::Text;
use crate::model::money::{Currency, Nanos};
use crate::model::resource::ResourceSample;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};

/// Samples that may be so far apart, at least, and in parts of a window: beyond it nobody knows what was between them.
const LEAST_GAP_MS: i64 = 3 * HOUR_MS;
const GAPS_PER_WINDOW: i64 = 8;
/// A resource that was known for so long before a pause has shown its weekends.
const HABITS_AFTER_MS: i64 = 7 * DAY_MS;
/// A pause has to be so many times the longest one so far; once habits are known, a window may be halved where pauses are short.
const BEYOND_HABIT: f64 = 1.25;
const FAR_BEYOND_HABIT: f64 = 2.5;
const LONGEST_WINDOW: i64 = 4;
/// Fewer samples than that are no pause.
const LEAST_SAMPLES: u32 = 3;
/// States of a resource that nothing is attached to, that something is, that does not run, and that is gone.
const UNATTACHED: [&str; 5] = ["unattached", "detached", "available", "unassociated", "unused"];
const ATTACHED: [&str; 4] = ["attached", "in-use", "in_use", "associated"];
const STOPPED: [&str; 4] = ["stopped", "deallocated", "suspended", "terminated"];
const DELETED: [&str; 2] = ["deleted", "destroyed"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub first_seen: Timestamp,
    /// Event time of the latest sample.
    pub last_seen: Timestamp,
    pub resource_type: Text,
    pub project: Text,
    pub provider: Text,
    pub region: Text,
    pub environment: Text,
    pub hourly_cost: Option<Nanos>,
    pub currency: Currency,
    pub is_stopped: bool,
    /// The last one that was named, also after it has gone.
    pub owner: Option<Text>,
    pub owner_gone: Option<Timestamp>,
    /// The owner was said to have left.
    pub has_left: bool,
    pub last_used: Option<Timestamp>,
    /// The highest utilisation of any sample.
    pub peak: Option<f64>,
    /// The longest pause that ended in use.
    pub longest_pause_ms: i64,
    pub pause: Option<Pause>,
    /// What the latest pause cost.
    pub wasted: Nanos,
    /// The latest sample lacked what has to be known.
    pub is_unknown: bool,
    pub matter: Option<Matter>,
}

/// A time without use, up to the latest sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    pub since: Timestamp,
    pub samples: u32,
    /// Of these, how many lacked what has to be known.
    pub unknown: u32,
    pub peak: Option<f64>,
    /// Requests were counted, and there were none.
    pub no_requests: bool,
    pub cost: Nanos,
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    Used,
    Idle,
    /// Nothing either way.
    Unknown,
    /// It costs nothing (any more): stopped, deleted.
    Free,
    /// Older than what is known already.
    Late,
}

/// What independent things say of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    LowPeak,
    NoRequests,
    Unattached,
    Stopped,
    NeverUsed,
    OwnerGone,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub since: Timestamp,
    pub length_ms: i64,
    /// The pause is long enough to be told.
    pub is_due: bool,
    pub is_forgotten: bool,
    pub is_orphaned: bool,
    pub signals: Vec<Signal>,
    pub peak: Option<f64>,
    pub cost: Nanos,
}

impl Finding {
    /// More than one thing says so.
    pub fn is_sure(&self) -> bool {
        self.signals.len() > 1
    }
}

impl Resource {
    pub fn new(sample: &ResourceSample, currency: Currency) -> Resource {
        let text = |value: &Option<Text>| value.clone().unwrap_or_default();
        Resource {
            first_seen: sample.event_time,
            last_seen: Timestamp(i64::MIN),
            resource_type: text(&sample.resource_type),
            project: text(&sample.project),
            provider: text(&sample.provider),
            region: text(&sample.region),
            environment: text(&sample.environment),
            hourly_cost: None,
            currency: sample.currency.unwrap_or(currency),
            is_stopped: false,
            owner: None,
            owner_gone: None,
            has_left: false,
            last_used: None,
            peak: None,
            longest_pause_ms: 0,
            pause: None,
            wasted: Nanos::ZERO,
            is_unknown: false,
            matter: None,
        }
    }

    pub fn known_ms(&self) -> i64 {
        self.last_seen.0.saturating_sub(self.first_seen.0)
    }

    /// Takes a sample, and says what it means.
    pub fn take(&mut self, sample: &ResourceSample, class: &WasteClass) -> Sampled {
        let at = sample.event_time;
        let sampled = reading(sample, class);
        if at <= self.last_seen {
            self.take_late(at, sampled);
            return Sampled::Late;
        }
        let gap_ms = (class.window_ms / GAPS_PER_WINDOW).max(LEAST_GAP_MS);
        let before = self.last_seen;
        self.note(sample);
        let is_torn = before.0 != i64::MIN && at.0 - before.0 > gap_ms;
        if is_torn && self.matter.as_ref().is_none_or(|matter| !matter.is_open()) {
            self.pause = None;
        }
        self.is_unknown = sampled == Sampled::Unknown;
        match sampled {
            Sampled::Used => {
                if let Some(pause) = self.pause.take() {
                    self.longest_pause_ms = self.longest_pause_ms.max(before.0 - pause.since.0);
                }
                self.last_used = Some(at);
            }
            Sampled::Free | Sampled::Late => self.pause = None,
            Sampled::Unknown if self.pause.is_none() => {}
            Sampled::Idle | Sampled::Unknown => {
                // Use is counted since the sample before.
                let from = if before.0 == i64::MIN { at } else { before.max(at.minus_ms(gap_ms)) };
                self.lengthen(sample, sampled, from);
            }
        }
        sampled
    }

    fn lengthen(&mut self, sample: &ResourceSample, sampled: Sampled, from: Timestamp) {
        let cost = self.hourly_cost.unwrap_or_default();
        let elapsed = i128::from(sample.event_time.0.saturating_sub(from.0));
        let fresh = || Pause { since: from, samples: 0, unknown: 0, peak: None, no_requests: true, cost: Nanos::ZERO };
        let pause = self.pause.get_or_insert_with(fresh);
        pause.samples = pause.samples.saturating_add(1);
        pause.unknown = pause.unknown.saturating_add(u32::from(sampled == Sampled::Unknown));
        pause.peak = [pause.peak, sample.utilization].into_iter().flatten().reduce(f64::max);
        pause.no_requests &= sampled == Sampled::Unknown || sample.requests == Some(0);
        pause.cost = pause.cost.saturating_add(cost.checked_mul_div(elapsed, i128::from(HOUR_MS)).unwrap_or_default());
        self.wasted = pause.cost;
    }

    /// Use that is heard of late shortens the pause; the rest of a late sample is known better by now.
    fn take_late(&mut self, at: Timestamp, sampled: Sampled) {
        if sampled != Sampled::Used {
            return;
        }
        self.last_used = self.last_used.max(Some(at));
        if let Some(pause) = self.pause.as_mut().filter(|pause| pause.since < at) {
            let cost = self.hourly_cost.unwrap_or_default();
            let left = i128::from(self.last_seen.0.saturating_sub(at.0));
            pause.since = at;
            pause.cost = pause.cost.min(cost.checked_mul_div(left, i128::from(HOUR_MS)).unwrap_or_default());
        }
    }

    /// What a sample says of the resource itself; what it leaves out stays as it was.
    fn note(&mut self, sample: &ResourceSample) {
        self.last_seen = sample.event_time;
        let own = [
            (&mut self.resource_type, &sample.resource_type),
            (&mut self.project, &sample.project),
            (&mut self.provider, &sample.provider),
            (&mut self.region, &sample.region),
            (&mut self.environment, &sample.environment),
        ];
        for (own, new) in own {
            if let Some(new) = new.as_ref().filter(|new| *new != own) {
                *own = new.clone();
            }
        }
        self.hourly_cost = sample.hourly_cost.or(self.hourly_cost);
        let currency = sample.currency.unwrap_or(self.currency);
        if currency != self.currency {
            // What the pause has cost so far is other money.
            self.currency = currency;
            self.wasted = Nanos::ZERO;
            self.pause.iter_mut().for_each(|pause| pause.cost = Nanos::ZERO);
        }
        self.is_stopped = is_one_of(sample, &STOPPED);
        self.peak = [self.peak, sample.utilization].into_iter().flatten().reduce(f64::max);
        match (&sample.owner, &self.owner) {
            (Some(owner), known) if known.as_ref() != Some(owner) => {
                (self.owner, self.owner_gone, self.has_left) = (Some(owner.clone()), None, false);
            }
            // Who has left is named by what they left behind.
            (Some(_), _) if self.has_left => {}
            (Some(_), _) => self.owner_gone = None,
            (None, Some(_)) => self.owner_gone = self.owner_gone.or(Some(sample.event_time)),
            // A source that names no owners says nothing by it.
            (None, None) => {}
        }
    }

    /// Whether it was theirs, and is nobody's now; also where nobody was named for a while.
    pub fn lose_owner(&mut self, who: &Text, at: Timestamp) -> bool {
        let is_theirs = self.owner.as_ref() == Some(who) && !self.has_left;
        if is_theirs {
            (self.owner_gone, self.has_left) = (self.owner_gone.or(Some(at)), true);
        }
        is_theirs
    }

    /// Whether it was left behind by who is back.
    pub fn regain_owner(&mut self, who: &Text, at: Timestamp) -> bool {
        let is_theirs = self.owner.as_ref() == Some(who) && self.has_left && self.owner_gone.is_none_or(|gone| gone < at);
        if is_theirs {
            (self.owner_gone, self.has_left) = (None, false);
        }
        is_theirs
    }

    /// Too many samples lack what has to be known, or nobody knows what it costs.
    pub fn is_undetermined(&self, waste: &WasteRules) -> bool {
        match &self.pause {
            Some(pause) => self.hourly_cost.is_none() || f64::from(pause.unknown) > waste.most_unknown * f64::from(pause.samples),
            None => self.is_unknown || self.hourly_cost.is_none(),
        }
    }

    /// What is to be said of the pause, if anything can be said at all.
    pub fn finding(&self, waste: &WasteRules) -> Option<Finding> {
        let pause = self.pause.as_ref()?;
        let class = waste.class(&self.resource_type)?;
        if self.is_undetermined(waste) || pause.samples < LEAST_SAMPLES {
            return None;
        }
        let length_ms = self.last_seen.0.saturating_sub(pause.since.0);
        let orphaned_since = self.owner_gone.map(|gone| gone.max(pause.since));
        let is_orphaned = orphaned_since.is_some_and(|since| self.last_seen.0 - since.0 >= waste.orphaned_after_ms);
        let is_idle = length_ms >= self.needed_ms(class, pause.since);
        let mut signals = Vec::new();
        let mut note = |signal, holds: bool| signals.extend(holds.then_some(signal));
        note(Signal::LowPeak, pause.peak.is_some() && class.sign != Sign::Attachment && !self.is_stopped);
        note(Signal::NoRequests, pause.no_requests);
        note(Signal::Unattached, class.sign == Sign::Attachment && !pause.no_requests);
        note(Signal::Stopped, self.is_stopped);
        note(Signal::NeverUsed, self.last_used.is_none() && is_idle);
        note(Signal::OwnerGone, is_orphaned);
        Some(Finding {
            since: pause.since,
            length_ms,
            is_due: is_idle || is_orphaned,
            is_forgotten: is_idle && (self.last_used.is_none() || length_ms >= waste.forgotten_after_ms),
            is_orphaned,
            signals,
            peak: pause.peak,
            cost: pause.cost,
        })
    }

    /// How long a pause has to be, by what is usual for the kind and for this one.
    fn needed_ms(&self, class: &WasteClass, since: Timestamp) -> i64 {
        let times = |factor: f64| (self.longest_pause_ms as f64 * factor) as i64;
        let needed = if self.last_used.is_some() && since.0.saturating_sub(self.first_seen.0) >= HABITS_AFTER_MS {
            times(FAR_BEYOND_HABIT).max(class.window_ms / 2)
        } else {
            times(BEYOND_HABIT).max(class.window_ms)
        };
        needed.min(class.window_ms.saturating_mul(LONGEST_WINDOW))
    }
}

fn is_one_of(sample: &ResourceSample, states: &[&str]) -> bool {
    sample.state.as_deref().is_some_and(|state| states.iter().any(|name| state.eq_ignore_ascii_case(name)))
}

fn reading(sample: &ResourceSample, class: &WasteClass) -> Sampled {
    if is_one_of(sample, &DELETED) || sample.hourly_cost.is_some_and(|cost| cost <= Nanos::ZERO) {
        return Sampled::Free;
    }
    if is_one_of(sample, &STOPPED) {
        return Sampled::Idle;
    }
    // A disk that is full is not in use for it.
    let is_busy = class.sign != Sign::Attachment && sample.utilization.is_some_and(|used| used >= class.least_utilization);
    let is_attached = class.sign == Sign::Attachment && is_one_of(sample, &ATTACHED);
    if is_busy || is_attached || sample.requests.is_some_and(|requests| requests > 0) {
        return Sampled::Used;
    }
    let is_known = match class.sign {
        Sign::Utilization => sample.utilization.is_some(),
        Sign::Requests => sample.requests.is_some(),
        Sign::Attachment => is_one_of(sample, &UNATTACHED) || sample.requests.is_some(),
        Sign::Any => sample.utilization.is_some() || sample.requests.is_some(),
    };
    if is_known { Sampled::Idle } else { Sampled::Unknown }
}
