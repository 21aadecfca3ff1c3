//! A gap: usage of one leaf that counts no money although it cost some. Tokens at cost zero where they always cost something, usage that
//! nobody has a price for, requests that report no tokens where they always did.
//!
//! What is lost is counted at the leaf's own usual price, so a model that never cost anything has no gap.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::{MatterKey, Matters};
use super::{clock, many, named, place, unpriced, weighted};
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{HOUR_MS, Hour, MINUTE_MS, Timestamp};
use crate::watch::account::AccountState;
use crate::watch::rules::WatchRules;
use crate::watch::series::{Node, from_units, to_units};
use crate::watch::shard::Shard;
use crate::watch::{Moment, judge};

/// So many hours with money say what a token or a request usually costs.
const LEAST_HOURS: usize = 6;
/// A gap is told once it holds this part of the money that is worth an alert: within the hour it will be all of it.
const PART_OF_EXCESS: f64 = 0.25;
/// ... and this part of what the leaf used since it began, or since the hour before where that was less.
const LEAST_SHARE: f64 = 0.5;
/// Of what counts beside too little that does not, this part is left when an hour closes: else weeks of it would outweigh a gap that begins.
const LEFT: u64 = 4;
/// Usage that comes later than that after its hour has closed amends roll-ups only.
const LATEST_HOURS: i64 = 48;
/// Money in multiples of what is worth an alert from which it is critical.
const CRITICAL: f64 = 10.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// Tokens that the source, or its price, puts at zero.
    ZeroCost,
    /// Neither the source nor the price book knows a cost.
    NoPrice,
    /// Requests without tokens: streams that report no usage, for one.
    NoTokens,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub what: Missing,
    pub since: Timestamp,
    /// The latest hour with such usage.
    pub last: Hour,
    pub events: u64,
    pub requests: u64,
    pub tokens: u64,
    /// At the usual price.
    pub lost: Nanos,
    /// What the same leaf used since then that did count.
    pub counted_events: u64,
    /// What a weighted token and a request usually cost, in units.
    pub per_token: f64,
    pub per_request: f64,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
    pub quiet_hours: u32,
    pub matter: Option<Matter>,
}

/// Whether a sum of a minute may be part of a gap: most are not. What has failed costs nothing, and neither lacks money nor counts beside it.
pub(crate) fn is_suspect(partial: &Partial) -> bool {
    partial.cost == Nanos::ZERO && !partial.has_negative && used_events(partial) > 0
}

fn used_events(partial: &Partial) -> u64 {
    partial.events.saturating_sub(partial.failed.events)
}

pub(super) fn used_requests(partial: &Partial) -> u64 {
    partial.requests.saturating_sub(partial.failed.requests)
}

pub(super) fn unpriced_events(partial: &Partial) -> u64 {
    partial.unpriced_events.saturating_sub(partial.failed.unpriced_events)
}

fn has_no_price(partial: &Partial) -> bool {
    unpriced_events(partial) > 0
}

fn what(partial: &Partial, usual: &Usual) -> Option<Missing> {
    if has_no_price(partial) {
        return Some(Missing::NoPrice);
    }
    match weighted(&tokens(partial)) {
        0 if used_requests(partial) > 0 && usual.per_request > 0.0 && usual.has_tokens => Some(Missing::NoTokens),
        0 => None,
        _ => (usual.per_token > 0.0).then_some(Missing::ZeroCost),
    }
}

fn tokens(partial: &Partial) -> [u64; 5] {
    let Partial { tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning, .. } = *partial;
    [tokens_input, tokens_output, tokens_cached_input, tokens_cache_write, tokens_reasoning]
}

/// What a leaf's usage usually costs.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    per_token: f64,
    per_request: f64,
    has_tokens: bool,
}

fn usual(state: &AccountState, is_meant: impl Fn(&LeafDimensions) -> bool, before: Hour) -> Usual {
    let (mut cost, mut tokens, mut requests, mut hours) = (0.0, 0.0, 0.0, 0);
    for (_, _, leaf) in state.leaves().filter(|(dimensions, ..)| is_meant(dimensions)) {
        for (_, totals) in leaf.recent.hours().iter().filter(|(hour, totals)| *hour < before && totals.cost > Nanos::ZERO) {
            cost += to_units(totals.cost);
            tokens += weighted(&totals.tokens) as f64;
            requests += totals.requests as f64;
            hours += 1;
        }
    }
    let per = |count: f64| if hours >= LEAST_HOURS && count > 0.0 { cost / count } else { 0.0 };
    Usual { per_token: per(tokens), per_request: per(requests), has_tokens: tokens > 0.0 }
}

/// Takes a sum of a minute: into its leaf's gap, or beside it.
pub(crate) fn take(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let hour = partial.minute.hour();
    let account = partial.leaf.account();
    if moment.closed_through.is_some_and(|closed| closed.0 - hour.0 >= LATEST_HOURS) {
        return;
    }
    // As it is counted: ever new names of a team that has too many series share one gap, as they share one leaf.
    let is_in_other = shard.find(&partial.leaf).is_none() && shard.other_of(&partial.leaf).is_some();
    let name = (account, if is_in_other { LeafDimensions::other() } else { partial.leaf.dimensions() });
    if !is_suspect(partial) {
        if let Some(gap) = shard.matters.gaps.get_mut(&name).filter(|gap| hour >= gap.since.hour()) {
            gap.counted_events = gap.counted_events.saturating_add(used_events(partial));
            shard.matters.changed.insert(MatterKey::Gap(name.0, name.1));
        }
        return;
    }
    unpriced::take(&mut shard.matters, &name, partial);
    let Some(state) = shard.accounts.number_of(&name.0).and_then(|number| shard.accounts.get(number)) else { return };
    let is_late = moment.closed_through.is_some_and(|closed| hour <= closed);
    let is_first = shard.matters.gaps.get(&name).is_none_or(|gap| gap.last < hour);
    let counted = if is_late && is_first { counted_beside(state, &name.1, partial) } else { 0 };
    let known = shard.matters.gaps.get(&name);
    if known.is_none_or(Gap::is_empty) {
        let Some(mut fresh) = open(state, partial, &name.1) else { return };
        if let Some(known) = known {
            (fresh.events, fresh.counted_events, fresh.last) = (known.events, known.counted_events, known.last.max(hour));
        }
        shard.matters.gaps.insert(name.clone(), fresh);
    }
    let Some(gap) = shard.matters.gaps.get_mut(&name) else { return };
    gap.counted_events = gap.counted_events.saturating_add(counted);
    gap.add(partial);
    tell(gap, &name, moment, effects);
    shard.matters.changed.insert(MatterKey::Gap(name.0, name.1));
}

fn open(state: &AccountState, partial: &Partial, own: &LeafDimensions) -> Option<Gap> {
    let hour = partial.minute.hour();
    let mut usual = self::usual(state, |dimensions| dimensions == own, hour);
    let what = what(partial, &usual)?;
    if what == Missing::NoPrice && usual.per_token <= 0.0 {
        // Of a model that never had a price: as the team's tokens usually cost.
        usual = self::usual(state, |_| true, hour);
    }
    Some(Gap {
        what,
        since: partial.minute.start(),
        last: hour,
        events: 0,
        requests: 0,
        tokens: 0,
        lost: Nanos::ZERO,
        counted_events: 0,
        per_token: usual.per_token,
        per_request: usual.per_request,
        last_event_time: partial.last_event_time,
        last_ingest_time: partial.last_ingest_time,
        quiet_hours: 0,
        matter: None,
    })
}

/// What counted of a leaf in an hour that has closed, beside a sum that came late and is among it by now.
fn counted_beside(state: &AccountState, own: &LeafDimensions, partial: &Partial) -> u64 {
    let leaf = state.leaves().find(|(dimensions, ..)| *dimensions == own);
    let totals = leaf.and_then(|(_, _, leaf)| leaf.recent.get(partial.minute.hour())).filter(|totals| totals.cost > Nanos::ZERO);
    totals.map_or(0, |totals| totals.events.saturating_sub(partial.events))
}

impl Gap {
    fn add(&mut self, partial: &Partial) {
        let tokens = tokens(partial);
        let lost = match weighted(&tokens) {
            0 => used_requests(partial) as f64 * self.per_request,
            tokens => tokens as f64 * self.per_token,
        };
        self.lost = self.lost.saturating_add(from_units(lost));
        self.events = self.events.saturating_add(used_events(partial));
        self.requests = self.requests.saturating_add(used_requests(partial));
        self.tokens = self.tokens.saturating_add(tokens[0]).saturating_add(tokens[1]);
        self.since = self.since.min(partial.minute.start());
        // Until it is told: requests that fail have no tokens, and say nothing of those that have some.
        if self.matter.is_none() && self.what == Missing::NoTokens && tokens != [0; 5] && self.per_token > 0.0 {
            self.what = if has_no_price(partial) { Missing::NoPrice } else { Missing::ZeroCost };
        }
        // What comes late does not say that it goes on.
        if partial.minute.hour() >= self.last {
            self.quiet_hours = 0;
        }
        self.last = self.last.max(partial.minute.hour());
        self.last_event_time = self.last_event_time.max(partial.last_event_time);
        self.last_ingest_time = self.last_ingest_time.max(partial.last_ingest_time);
    }

    /// Part of what the leaf used since it began.
    fn share(&self) -> f64 {
        self.events as f64 / self.events.saturating_add(self.counted_events).max(1) as f64
    }

    pub(super) fn is_told(&self) -> bool {
        self.matter.as_ref().is_some_and(Matter::is_open)
    }

    /// What it may cost is known.
    pub(super) fn is_valued(&self) -> bool {
        self.per_token > 0.0 || self.per_request > 0.0
    }

    /// Nothing was lost since it was forgotten; the next such usage begins it anew.
    fn is_empty(&self) -> bool {
        self.matter.is_none() && (self.requests, self.tokens, self.lost) == (0, 0, Nanos::ZERO)
    }

    /// An hour has closed, and too little of what was used lacks its money: what is kept says how much that usually is.
    fn forget(&mut self, hour: Hour) {
        (self.events, self.counted_events) = (self.events / LEFT, self.counted_events.div_ceil(LEFT));
        (self.requests, self.tokens, self.lost, self.since) = (0, 0, Nanos::ZERO, hour.end());
    }

    /// Lost so far, over at least five minutes, as an hour's.
    fn burn_rate(&self) -> Nanos {
        let elapsed = (self.last_event_time.0 - self.since.0).max(5 * MINUTE_MS);
        self.lost.checked_mul_div(i128::from(HOUR_MS), i128::from(elapsed)).unwrap_or(self.lost)
    }
}

fn tell(gap: &mut Gap, name: &(Account, LeafDimensions), moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let (account, dimensions) = name;
    let limits = moment.rules.thresholds(&account.team, &dimensions.project, &dimensions.environment);
    let gate = to_units(limits.least_excess);
    let is_open = gap.matter.as_ref().is_some_and(Matter::is_open);
    let is_enough = to_units(gap.lost) >= PART_OF_EXCESS * gate && gap.share() >= LEAST_SHARE;
    if !is_open && !is_enough {
        return;
    }
    let severity = if to_units(gap.lost) >= CRITICAL * gate { Severity::Critical } else { Severity::Warning };
    let story = story(gap, name, severity, moment);
    let scope = dimensions.leaf_of(account);
    // Late usage may begin a gap at the minute of one that is over.
    let about: [&[u8]; 5] = [
        b"gap",
        account.currency.as_str().as_bytes(),
        &named(&scope).into_iter().fold(Vec::new(), |mut text, (name, value)| {
            text.extend_from_slice(format!("{name}={value};").as_bytes());
            text
        }),
        &gap.since.0.to_be_bytes(),
        &moment.shard_time.0.to_be_bytes(),
    ];
    // The id is frozen once it is told; late minutes before it change the onset only.
    matter::tell(&mut gap.matter, &account.team, &about, story, limits.update_growth, moment, effects);
}

fn story(gap: &Gap, name: &(Account, LeafDimensions), severity: Severity, moment: Moment<'_>) -> Story {
    let (account, dimensions) = name;
    let zone = judge::zone_of(moment.rules, &account.team);
    let named = named(&dimensions.leaf_of(account));
    Story {
        kind: AlertKind::MissingMoney,
        severity,
        onset: gap.since,
        causes: vec![Cause { dimensions: named.clone(), actual: gap.lost, expected: Nanos::ZERO, share: 1.0 }],
        dimensions: named,
        measure: account.measure,
        currency: account.currency,
        event_time: gap.last_event_time,
        ingest_time: gap.last_ingest_time,
        actual: gap.lost,
        expected: Nanos::ZERO,
        excess: gap.lost,
        burn_rate: gap.burn_rate(),
        score: if gap.what == Missing::ZeroCost { 0.95 } else { 0.8 },
        stage: Stage::FirstWeeks,
        normal: normal(gap, account),
        summary: summary(gap, account, dimensions, &zone),
        next_steps: next_steps(gap, dimensions),
        history: Vec::new(),
    }
}

fn normal(gap: &Gap, account: &Account) -> String {
    let currency = account.currency;
    match gap.what {
        Missing::NoTokens => format!("a request usually costs {} {currency}", from_units(gap.per_request).rounded(6)),
        Missing::ZeroCost | Missing::NoPrice if gap.per_token > 0.0 => {
            format!("a million tokens usually cost {} {currency}", from_units(gap.per_token * 1e6).rounded(2))
        }
        Missing::ZeroCost | Missing::NoPrice => "no price is known".to_string(),
    }
}

fn summary(gap: &Gap, account: &Account, dimensions: &LeafDimensions, zone: &jiff::tz::TimeZone) -> String {
    let (place, since, currency) = (place(account, dimensions), clock(gap.since, zone), account.currency);
    let lost = gap.lost.rounded(2);
    match gap.what {
        Missing::ZeroCost => format!(
            "{place} used {} tokens at cost zero since {since}: at the usual price they cost about {lost} {currency} that no estimate counts",
            many(gap.tokens)
        ),
        Missing::NoPrice => format!(
            "{place} used {} tokens since {since} that nobody has a price for: about {lost} {currency} that no estimate counts",
            many(gap.tokens)
        ),
        Missing::NoTokens => format!(
            "{place} made {} requests since {since} that report no tokens: as they usually cost, about {lost} {currency} that no estimate counts",
            many(gap.requests)
        ),
    }
}

fn next_steps(gap: &Gap, dimensions: &LeafDimensions) -> Vec<String> {
    let name = if dimensions.model.is_empty() { &dimensions.provider } else { &dimensions.model };
    let first = match gap.what {
        Missing::ZeroCost => {
            format!(
                "Look at what changed in the gateway since then: it writes the cost of {name} as 0. The provider bills it all the same."
            )
        }
        Missing::NoPrice => format!("Add a price for {name} to a file of [prices] files; what was used before is not priced again."),
        Missing::NoTokens => {
            "See whether all of them failed: then have the gateway say so in `status`, and nothing is missing. If not, have the client ask for usage in streams (stream_options.include_usage)."
                .to_string()
        }
    };
    vec![first, "Until then budgets, alerts and roll-ups of this usage are too low.".to_string()]
}

/// Usage without a price that began before anybody could say what the team's tokens cost: counted from its beginning once that is known.
fn appraise(matters: &mut Matters, state: &AccountState, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let is_unknown = |gap: &Gap| gap.what == Missing::NoPrice && gap.per_token <= 0.0;
    let mut unknown = matters.gaps.iter_mut().filter(|((own, _), gap)| *own == state.account && is_unknown(gap)).peekable();
    // Not with each amount: it is a look at all that the team has used.
    if unknown.peek().is_none() {
        return;
    }
    let usual = usual(state, |_| true, hour);
    if usual.per_token <= 0.0 {
        return;
    }
    for (name, gap) in unknown {
        (gap.per_token, gap.per_request) = (usual.per_token, usual.per_request);
        let lost = gap.tokens as f64 * weight_of_token(state, &name.1) * usual.per_token;
        gap.lost = gap.lost.saturating_add(from_units(lost));
        tell(gap, name, moment, effects);
        matters.changed.insert(MatterKey::Gap(name.0.clone(), name.1.clone()));
    }
}

/// A gap keeps how many tokens it has, not of which kinds: they are taken to be as those of the leaf's last hours.
fn weight_of_token(state: &AccountState, own: &LeafDimensions) -> f64 {
    let Some(leaf) = state.get(&Scope::Leaf(own.clone())).and_then(Node::leaf) else { return 1.0 };
    let recent = leaf.recent.hours();
    let (mut weights, mut tokens) = (0.0, 0.0);
    for (_, totals) in recent.iter().chain(leaf.hours.iter()) {
        weights += weighted(&totals.tokens) as f64;
        tokens += totals.tokens[0].saturating_add(totals.tokens[1]) as f64;
    }
    if tokens > 0.0 { weights / tokens } else { 1.0 }
}

/// Whether a leaf's usage counts after an hour, or there is none that could.
fn is_counted_since(state: &AccountState, own: &LeafDimensions, last: Hour, now: Hour) -> bool {
    let Some(leaf) = state.get(&Scope::Leaf(own.clone())).and_then(Node::leaf) else { return false };
    // What has failed costs nothing, and says nothing of what is used.
    let counts = |hour| leaf.totals(hour).is_some_and(|totals| totals.cost != Nanos::ZERO || totals.has_negative);
    (last.0 + 1..=now.0).map(Hour).any(counts)
}

/// An account's hour is complete: gaps without such usage for some hours are over, and what is none yet does not add up for weeks.
pub(crate) fn close_hour(matters: &mut Matters, state: &AccountState, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    appraise(matters, state, hour, moment, effects);
    let account = &state.account;
    let mut over = Vec::new();
    for (name, gap) in matters.gaps.iter_mut().filter(|((own, _), _)| own == account) {
        if gap.matter.is_none() && gap.share() < LEAST_SHARE {
            gap.forget(hour);
            matters.changed.insert(MatterKey::Gap(name.0.clone(), name.1.clone()));
        }
        if gap.last >= hour {
            continue;
        }
        let limits = moment.rules.thresholds(&account.team, &name.1.project, &name.1.environment);
        gap.quiet_hours = gap.quiet_hours.saturating_add(1);
        matters.changed.insert(MatterKey::Gap(name.0.clone(), name.1.clone()));
        if gap.quiet_hours < limits.quiet_hours_to_close {
            continue;
        }
        let zone = judge::zone_of(moment.rules, &account.team);
        let end = gap.last.end();
        let (place, since, lost, currency) = (place(account, &name.1), clock(end, &zone), gap.lost.rounded(2), account.currency);
        let story = Story {
            summary: if is_counted_since(state, &name.1, gap.last, hour) {
                format!("{place} is counted again since {since}; what was not came to about {lost} {currency}")
            } else {
                format!("{place} is no longer used: nothing has come since {since}, and about {lost} {currency} stay uncounted")
            },
            ..story(gap, name, Severity::Info, moment)
        };
        matter::end(&mut gap.matter, &account.team, AlertState::Resolved, end, story, moment, effects);
        over.push(name.clone());
    }
    for name in over {
        matters.gaps.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, unpriced, usage};
    use super::*;
    use crate::model::partial::Failed;

    #[test]
    fn ever_new_names_of_a_team_that_has_too_many_series_share_one_gap() {
        let mut bench = Bench::new();
        bench.rules.series_per_team = 8;
        bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
        bench.hours(30..36, |at| {
            let mut ever_new = unpriced(at, 1_000_000);
            ever_new.leaf.project = format!("sandbox-{at}").as_str().into();
            vec![usage(at, "ranker", 2.0, 1_000_000), ever_new]
        });
        let told = bench.words();
        let names: Vec<&LeafDimensions> = bench.shard.matters.gaps.keys().map(|(_, dimensions)| dimensions).collect();
        assert!(names.len() <= 4 && names.contains(&&LeafDimensions::other()), "{names:?}");
        let lost: f64 = bench.shard.matters.gaps.values().map(|gap| crate::watch::series::to_units(gap.lost)).sum();
        // Two dollars every ten minutes, but for the first ones, before it was known what a token of that place costs.
        assert!((60.0..73.0).contains(&lost) && !told.is_empty(), "{lost} {told:#?}");
    }

    /// What has failed costs nothing: neither is it missing, nor does it hide what is.
    #[test]
    fn requests_that_failed_lack_no_money() {
        let failing = |at| {
            let mut failed = Partial { events: 6, requests: 6, ..usage(at, "ranker", 0.0, 0) };
            failed.failed = Failed { events: 6, requests: 6, unpriced_events: 0 };
            failed
        };
        let mut bench = Bench::new();
        bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
        bench.hours(30..36, |at| vec![usage(at, "ranker", 2.0, 1_000_000), failing(at)]);
        bench.hours(36..40, |at| vec![failing(at)]);
        assert_eq!(bench.words(), Vec::<String>::new());
        // Of what reports no tokens, only what has not failed is counted.
        bench.hours(40..42, |at| {
            let silent = usage(at, "ranker", 0.0, 0);
            vec![Partial { events: silent.events + 6, requests: silent.requests + 6, ..failing(at) }]
        });
        let lost: Vec<f64> = bench.shard.matters.gaps.values().map(|gap| crate::watch::series::to_units(gap.lost)).collect();
        assert!(!bench.told().is_empty() && lost.len() == 1 && (10.0..=25.0).contains(&lost[0]), "{lost:?} {:#?}", bench.words());
    }

    /// Nothing is mended by its end.
    #[test]
    fn a_gap_whose_usage_has_stopped_is_not_called_counted_again() {
        let mut bench = Bench::new();
        bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000), usage(at, "crawler", 2.0, 1_000_000)]);
        bench.hours(30..36, |at| vec![usage(at, "ranker", 0.0, 1_000_000), usage(at, "crawler", 2.0, 1_000_000)]);
        bench.hours(36..44, |at| vec![usage(at, "crawler", 2.0, 1_000_000)]);
        let told = bench.words();
        let last = told.last().map(String::as_str).unwrap_or_default();
        assert!(last.starts_with("resolved missing_money") && last.contains("nothing has come since"), "{told:#?}");
        assert!(last.contains("stay uncounted") && !last.contains("again"), "{last}");
    }
}
