//! Advice: usage of AI that is bought dearer than it has to be. No prompt caching although prompts are long and many, work that could wait
//! and is not sent in batches, a dear model for small questions that a cheaper one of its family answers.
//!
//! Looked at once a day, from what is kept of hours anyway: a leaf costs no state until a day of it shows a sign. So many days with the
//! sign mark it (info: one sign is a hint), after a grace it is told to people, and some days in a row without the sign take it back: an app
//! that is another one at weekends stays marked. Days with next to no usage say nothing either way.

mod signs;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::signs::{Day, Saving, Sign};
use super::matter::{self, Matter, Story, with};
use super::rules::AdviceRules;
use super::{MatterKey, Matters};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, INSTEAD, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Measure};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Hour, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::{Moment, days, judge};

/// Only what counts tokens can be bought otherwise.
const LLM_TOKENS: &str = "llm.tokens";
const HOURS_PER_DAY: i64 = days::DAY as i64;
/// A month is billed with so many hours: a twelfth of a year.
const HOURS_PER_MONTH: i128 = 730;
/// Days in a row that say nothing: what was seen before is forgotten, and what was told ends.
const FORGET_AFTER_DAYS: u32 = 3;
const OVER_AFTER_DAYS: u32 = 7;
/// Days in a row without the sign that take back what is marked: longer than a weekend.
const ABSENT_DAYS: u32 = 3;
/// How strange it is, for routes and lists.
const HINT: f64 = 0.6;
const LIKELY: f64 = 0.8;

/// What is advised. Their order is that of state: new ones at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Advised {
    Caching,
    Batch,
    CheaperModel,
}

impl Advised {
    const ALL: [Advised; 3] = [Advised::Caching, Advised::Batch, Advised::CheaperModel];

    fn kind(self) -> AlertKind {
        match self {
            Advised::Caching => AlertKind::NoPromptCaching,
            Advised::Batch => AlertKind::NoBatch,
            Advised::CheaperModel => AlertKind::DearModel,
        }
    }
}

/// What is kept of one leaf's sign, while it is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// First hour of the first day.
    pub since: Hour,
    /// The last hour of the latest day that says something.
    pub last: Hour,
    /// Days with the sign, and days in a row that say nothing.
    pub seen: u32,
    pub unknown: u32,
    /// Days without the sign since the last one with it.
    pub absent: u32,
    pub cost: Nanos,
    pub saved: Nanos,
    pub requests: u64,
    /// Of the latest day.
    pub input_per_request: u64,
    pub output_per_request: u64,
    pub instead: Option<Text>,
    pub signs: u32,
    pub matter: Option<Matter>,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Absent,
    /// Too little usage, or no price.
    Unknown,
    /// The leaf has gone.
    Gone,
    /// Nobody wants to know any more.
    Off,
}

type Name = (Account, LeafDimensions, Advised);

/// An account's hour is closed and its totals are in their places: at the end of a day they are looked at.
pub(crate) fn close_account_hour(shard: &mut Shard, number: u32, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(advice) = &rules.matters.advice else { return };
    if !days::ends_with(hour) {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let Some(state) = shard.accounts.get(number).filter(|state| state.account.measure == Measure::Estimated) else { return };
    let account = state.account.clone();
    let first = Hour(hour.0 - HOURS_PER_DAY + 1);
    let off: Vec<bool> =
        (first.0..=hour.0).map(|hour| advice.batch.is_off(judge::local_hour_of(rules, &account.team, Hour(hour)).hour_of_day)).collect();
    let mut of_leaves = Vec::new();
    for (dimensions, _, leaf) in state.leaves().filter(|(dimensions, ..)| *dimensions.meter == *LLM_TOKENS) {
        let mut day = Day::default();
        for (at, totals) in leaf.recent.hours().iter().filter(|(at, _)| (first..=hour).contains(at)) {
            day.add(totals, off.get((at.0 - first.0) as usize).copied().unwrap_or_default());
        }
        let place = (account.clone(), dimensions.provider.clone());
        if day.has_cached() && !shard.matters.caches.contains_key(&place) {
            shard.matters.changed.insert(MatterKey::Caches(place.0.clone(), place.1.clone()));
            shard.matters.caches.insert(place, hour);
        }
        of_leaves.push((dimensions.clone(), day));
    }
    for (dimensions, mut day) in of_leaves {
        day.reports_caching = shard.matters.caches.contains_key(&(account.clone(), dimensions.provider.clone()));
        let leaf = dimensions.leaf_of(&account);
        for advised in Advised::ALL {
            let name = (account.clone(), dimensions.clone(), advised);
            let sign = signs::sign(advised, &leaf, &day, hour, advice);
            note(&mut shard.matters, name, &sign, &day, hour, advice, moment, effects);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "all that is known of a day")]
fn note(
    matters: &mut Matters,
    name: Name,
    sign: &Sign,
    day: &Day,
    hour: Hour,
    rules: &AdviceRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let known = matters.advice.contains_key(&name);
    match sign {
        Sign::Seen(saving) => {
            let advice = matters.advice.entry(name.clone()).or_insert_with(|| Advice::new(hour));
            advice.add(saving, day, hour);
            tell(advice, &name, rules, moment, effects);
        }
        _ if !known => return,
        Sign::Absent | Sign::Unknown => {
            let Some(advice) = matters.advice.get_mut(&name) else { return };
            let is_open = advice.matter.as_ref().is_some_and(Matter::is_open);
            let is_marked = is_open || advice.seen >= rules.least_days;
            let why = if *sign == Sign::Absent {
                (advice.absent, advice.unknown) = (advice.absent.saturating_add(1), 0);
                (advice.absent >= if is_marked { ABSENT_DAYS } else { 1 }).then_some(Over::Absent)
            } else {
                advice.unknown = advice.unknown.saturating_add(1);
                (advice.unknown >= if is_open { OVER_AFTER_DAYS } else { FORGET_AFTER_DAYS }).then_some(Over::Unknown)
            };
            if let Some(why) = why {
                advice.end(&name, why, hour, moment, effects);
                advice.forget();
            }
            // What was told keeps its id, so that no revision is ever used twice; it goes with its leaf.
            if advice.matter.is_none() && advice.seen == 0 {
                matters.advice.remove(&name);
            }
        }
    }
    matters.changed.insert(MatterKey::Advice(name.0, name.1, name.2));
}

/// A leaf has gone, five weeks after its last usage: so has what was advised.
pub(crate) fn forget(
    matters: &mut Matters,
    account: &Account,
    dimensions: &LeafDimensions,
    hour: Hour,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    for advised in Advised::ALL {
        let name = (account.clone(), dimensions.clone(), advised);
        if let Some(mut advice) = matters.advice.remove(&name) {
            advice.end(&name, Over::Gone, hour, moment, effects);
            matters.changed.insert(MatterKey::Advice(name.0, name.1, name.2));
        }
    }
}

/// What was advised ends when nobody wants to know of it any more.
pub(crate) fn end_unwanted(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.matters.advice.is_some() {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    let is_known = |advice: &Advice| advice.seen > 0 || advice.matter.as_ref().is_some_and(Matter::is_open);
    let known: Vec<Name> = matters.advice.iter().filter(|(_, advice)| is_known(advice)).map(|(name, _)| name.clone()).collect();
    for name in known {
        let Some(advice) = matters.advice.get_mut(&name) else { continue };
        advice.end(&name, Over::Off, hour, moment, effects);
        advice.forget();
        if advice.matter.is_none() {
            matters.advice.remove(&name);
        }
        matters.changed.insert(MatterKey::Advice(name.0, name.1, name.2));
    }
}

impl Advice {
    fn new(hour: Hour) -> Advice {
        Advice {
            since: Hour(hour.0 - HOURS_PER_DAY + 1),
            last: hour,
            seen: 0,
            unknown: 0,
            absent: 0,
            cost: Nanos::ZERO,
            saved: Nanos::ZERO,
            requests: 0,
            input_per_request: 0,
            output_per_request: 0,
            instead: None,
            signs: 0,
            matter: None,
        }
    }

    fn add(&mut self, saving: &Saving, day: &Day, hour: Hour) {
        if self.seen == 0 {
            self.since = Hour(hour.0 - HOURS_PER_DAY + 1);
        }
        (self.last, self.unknown, self.absent) = (hour, 0, 0);
        self.seen = self.seen.saturating_add(1);
        self.cost = self.cost.saturating_add(day.cost);
        self.saved = self.saved.saturating_add(saving.saved);
        self.requests = self.requests.saturating_add(day.requests);
        (self.input_per_request, self.output_per_request) = (day.input_per_request(), day.output_per_request());
        self.instead.clone_from(&saving.instead);
        self.signs = saving.signs;
    }

    /// Tells that it is over, if it was told of.
    fn end(&mut self, name: &Name, why: Over, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let story = over(self, name, why, hour, moment);
        matter::end(&mut self.matter, &name.0.team, AlertState::Resolved, hour.end(), story, moment, effects);
    }

    fn forget(&mut self) {
        *self = Advice { matter: self.matter.take(), ..Advice::new(self.last) };
    }

    /// Hours since the first day began, days without usage among them.
    fn hours(&self) -> i128 {
        i128::from(self.last.next().0 - self.since.0).max(1)
    }

    fn per_hour(&self) -> Nanos {
        self.saved.checked_mul_div(1, self.hours()).unwrap_or_default()
    }

    fn per_month(&self) -> Nanos {
        self.saved.checked_mul_div(HOURS_PER_MONTH, self.hours()).unwrap_or_default()
    }
}

fn tell(advice: &mut Advice, name: &Name, rules: &AdviceRules, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let is_open = advice.matter.as_ref().is_some_and(Matter::is_open);
    if !is_open && (advice.seen < rules.least_days || advice.per_month() < rules.least_per_month) {
        return;
    }
    let (account, dimensions, advised) = name;
    let told = advice.matter.as_ref().filter(|matter| matter.is_open());
    let is_past_grace = told.is_some_and(|matter| advice.last.end().0 - matter.opened_at.0 >= rules.grace_ms);
    let severity = if is_past_grace || advice.signs > 1 { Severity::Warning } else { Severity::Info };
    let story = Story { severity, ..story(advice, name, rules, moment) };
    let limits = moment.rules.thresholds(&account.team, &dimensions.project, &dimensions.environment);
    let scope = crate::model::leaf::Scope::Leaf(dimensions.clone()).to_string();
    // With its first day, so that a leaf that comes back after it was forgotten begins a new one.
    let (kind, since) = (advised.kind().as_str().as_bytes(), advice.since.0.to_be_bytes());
    let about: [&[u8]; 5] = [b"advice", kind, account.currency.as_str().as_bytes(), scope.as_bytes(), &since];
    // It grows by the day; what is news is a multiple of it.
    matter::tell(&mut advice.matter, &account.team, &about, story, 2.0 * limits.update_growth, moment, effects);
}

fn story(advice: &Advice, name: &Name, rules: &AdviceRules, moment: Moment<'_>) -> Story {
    let (account, leaf, advised) = name;
    let dimensions = super::missing::named(&leaf.leaf_of(account));
    let expected = advice.cost.saturating_sub(advice.saved);
    let instead: Vec<(&str, String)> = advice.instead.iter().map(|model| (INSTEAD, model.to_string())).collect();
    Story {
        kind: advised.kind(),
        severity: Severity::Info,
        onset: advice.since.start(),
        causes: vec![Cause { dimensions: with(&dimensions, &instead), actual: advice.cost, expected, share: 1.0 }],
        dimensions,
        measure: account.measure,
        currency: account.currency,
        event_time: advice.last.end(),
        ingest_time: moment.shard_time,
        actual: advice.cost,
        expected,
        excess: advice.saved,
        burn_rate: advice.per_hour(),
        score: if advice.signs > 1 { LIKELY } else { HINT },
        stage: stage(advice.since.start(), advice.last.end()),
        normal: words::usual(*advised, advice, rules),
        summary: words::summary(*advised, advice, account, leaf, rules),
        next_steps: words::next_steps(*advised, advice, leaf),
        history: Vec::new(),
    }
}

/// The last word.
fn over(advice: &Advice, name: &Name, why: Over, hour: Hour, moment: Moment<'_>) -> Story {
    let (account, leaf, advised) = name;
    let dimensions = super::missing::named(&leaf.leaf_of(account));
    Story {
        kind: advised.kind(),
        severity: Severity::Info,
        onset: advice.since.start(),
        dimensions,
        measure: account.measure,
        currency: account.currency,
        event_time: hour.end(),
        ingest_time: moment.shard_time,
        actual: advice.cost,
        expected: advice.cost.saturating_sub(advice.saved),
        excess: advice.saved,
        burn_rate: Nanos::ZERO,
        score: 0.0,
        stage: stage(advice.since.start(), hour.end()),
        normal: String::new(),
        summary: words::over(*advised, advice, account, leaf, why),
        causes: Vec::new(),
        next_steps: Vec::new(),
        history: Vec::new(),
    }
}

/// How long it has been looked at.
fn stage(since: Timestamp, until: Timestamp) -> Stage {
    if until.0 - since.0 < 14 * HOURS_PER_DAY * HOUR_MS { Stage::FirstWeeks } else { Stage::Seasoned }
}
