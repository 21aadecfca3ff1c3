//! One metric of one model version: the reference, which freezes, and the looks that are held against it.

use serde::{Deserialize, Serialize};

use super::mix::{self, Counts, Shift};
use super::rules::DriftRules;
use super::sums::{Against, Difference, Kind, Sums, compare};
use crate::model::time::{DAY_MS, Timestamp};

/// Identities of the latest values, which are known again when they come twice.
const MOST_LATEST: usize = 32;
/// Values, those of the reference included, that say how much values vary: so few that a drift which comes later is not among them. Days of
/// usage resemble the day before, and need more.
const MOST_SETTLED: [(Kind, u32); 2] = [(Kind::Evaluation, 16), (Kind::Usage, 40)];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub kind: Kind,
    /// Event time of the first value, and of the latest.
    pub since: Timestamp,
    pub last: Timestamp,
    /// What was measured before is of another time: somebody has accepted the model as it was from then on.
    pub from: Option<Timestamp>,
    pub reference: Sums,
    pub frozen: Option<Timestamp>,
    /// Looks since then that were no drift, the first of them: how much values vary.
    settled: Sums,
    /// Values that are not enough for a look yet.
    gathered: Sums,
    /// Consecutive looks outside of the reference, in one direction; of an open drift all of them.
    pub outside: Outside,
    /// Consecutive looks within it.
    within: u32,
    pub is_open: bool,
    /// Of a mix the same three: the reference, what is gathered, what was outside.
    mixes: [Counts; 3],
    latest: Vec<u128>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    pub looks: u32,
    /// Above the reference, not below.
    is_above: bool,
    /// Event time of the first of them.
    pub since: Timestamp,
    pub sums: Sums,
}

/// A value as it came.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    pub at: Timestamp,
    pub value: f64,
    pub samples: Option<u64>,
    /// It may come twice.
    pub identity: u128,
}

/// What a value has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is known already, or of another time: nothing has changed.
    Ignored,
    Taken,
    /// It has drifted.
    Opened,
    /// It is still outside.
    Grown,
    /// It is as it was when it was accepted.
    Back,
}

impl Series {
    pub fn new(kind: Kind, at: Timestamp, from: Option<Timestamp>) -> Series {
        Series { kind, since: at, last: at, from, ..Series::default() }
    }

    /// `is_accepted`: the reference need not wait for further days.
    pub fn take(&mut self, value: Value, is_accepted: bool, rules: &DriftRules) -> Step {
        if self.kind == Kind::Mix || !self.is_new(value.at, value.identity) {
            return Step::Ignored;
        }
        if self.frozen.is_none() {
            // What comes after the days that freeze it is no part of it.
            if !self.freeze(is_accepted, value.at, rules) {
                self.reference.add(value.value, value.samples);
                self.freeze(is_accepted, value.at, rules);
                return Step::Taken;
            }
        }
        // A value that does not say of how many is a look by itself; with what is gathered it would never be enough.
        if value.samples.is_none() {
            self.gathered = Sums::default();
        }
        self.gathered.add(value.value, value.samples);
        if !self.gathered.is_look(rules) {
            return Step::Taken;
        }
        let look = std::mem::take(&mut self.gathered);
        self.look(&look, value.at, rules)
    }

    /// The same with counts of categories.
    pub fn take_mix(&mut self, at: Timestamp, identity: u128, counts: &Counts, is_accepted: bool, rules: &DriftRules) -> Step {
        if self.kind != Kind::Mix || !self.is_new(at, identity) {
            return Step::Ignored;
        }
        let [reference, gathered, outside] = &mut self.mixes;
        if self.frozen.is_none() {
            let is_over = is_accepted || at.0 - self.since.0 >= rules.first_days * DAY_MS;
            if !(is_over && self.reference.is_reference(self.kind, rules)) {
                mix::join(reference, counts, None);
                self.reference.count(mix::total(counts));
                self.freeze(is_accepted, at, rules);
                return Step::Taken;
            }
            self.frozen = Some(at);
        }
        mix::join(gathered, counts, Some(reference));
        self.gathered.count(mix::total(counts));
        if !self.gathered.is_look(rules) {
            return Step::Taken;
        }
        let (look, sums) = (std::mem::take(gathered), std::mem::take(&mut self.gathered));
        let is_out = mix::compare(reference, &look, rules).is_out;
        if is_out {
            mix::join(outside, &look, None);
        }
        let step = self.advance(is_out, true, &sums, at, rules);
        if self.outside.looks == 0 {
            self.mixes[2].clear();
        }
        step
    }

    /// Whether a value is neither of another time nor known already; then it is known from now on.
    fn is_new(&mut self, at: Timestamp, identity: u128) -> bool {
        if self.from.is_some_and(|from| at < from) || self.latest.contains(&identity) {
            return false;
        }
        if self.latest.len() >= MOST_LATEST {
            self.latest.remove(0);
        }
        self.latest.push(identity);
        self.since = self.since.min(at);
        self.last = self.last.max(at);
        true
    }

    /// Freezes the reference if it is enough. Whether it is frozen.
    pub fn freeze(&mut self, is_accepted: bool, at: Timestamp, rules: &DriftRules) -> bool {
        let is_over = is_accepted || self.kind == Kind::Usage || at.0 - self.since.0 >= rules.first_days * DAY_MS;
        if self.frozen.is_none() && is_over && self.reference.is_reference(self.kind, rules) {
            self.frozen = Some(at);
        }
        self.frozen.is_some()
    }

    fn look(&mut self, look: &Sums, at: Timestamp, rules: &DriftRules) -> Step {
        let difference = compare(self.against(), look, rules);
        self.advance(difference.is_out, difference.now > difference.before, look, at, rules)
    }

    /// What a look means after those before it.
    fn advance(&mut self, is_out: bool, is_above: bool, look: &Sums, at: Timestamp, rules: &DriftRules) -> Step {
        if is_out && self.outside.looks > 0 && is_above != self.outside.is_above {
            self.settle_outside();
        }
        if !is_out {
            self.within = self.within.saturating_add(1);
            if !self.is_open {
                self.settle_outside();
                self.settle(look);
            } else if self.within >= rules.looks {
                (self.is_open, self.outside) = (false, Outside::default());
                return Step::Back;
            }
            return Step::Taken;
        }
        self.within = 0;
        if self.outside.looks == 0 {
            (self.outside.since, self.outside.is_above) = (at, is_above);
        }
        self.outside.looks = self.outside.looks.saturating_add(1);
        self.outside.sums.join(look);
        if self.is_open {
            return Step::Grown;
        }
        // All of them together as well: evaluations that vary much among each other are no evidence of anything.
        self.is_open = self.outside.looks >= rules.looks && (self.kind == Kind::Mix || self.difference(rules).is_out);
        if self.is_open { Step::Opened } else { Step::Taken }
    }

    fn against(&self) -> Against<'_> {
        Against { reference: &self.reference, settled: &self.settled, kind: self.kind }
    }

    fn settle(&mut self, look: &Sums) {
        let most = MOST_SETTLED.iter().find(|(kind, _)| *kind == self.kind).map_or(0, |(_, most)| *most);
        if self.reference.values.saturating_add(self.settled.values) < most {
            self.settled.join(look);
        }
    }

    /// What was outside for a moment was no drift.
    fn settle_outside(&mut self) {
        let outside = std::mem::take(&mut self.outside);
        if !self.is_open {
            self.settle(&outside.sums);
        }
    }

    /// Over, whatever its values say.
    pub fn close(&mut self) {
        (self.is_open, self.outside, self.within) = (false, Outside::default(), 0);
        self.mixes[2].clear();
    }

    /// Of a mix: how far it has drifted, over all looks since it began to.
    pub fn shift(&self, rules: &DriftRules) -> Option<Shift> {
        let [reference, _, outside] = &self.mixes;
        (self.kind == Kind::Mix).then(|| mix::compare(reference, outside, rules))
    }

    /// How far it has drifted, over all looks since it began to.
    pub fn difference(&self, rules: &DriftRules) -> Difference {
        compare(self.against(), &self.outside.sums, rules)
    }
}
