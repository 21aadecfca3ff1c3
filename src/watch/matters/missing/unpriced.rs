//! Usage without a price of a team that has none with one: what it costs cannot even be guessed, so that it is no gap that money says how
//! large it is. It is noted once for each model, since a price list is what it lacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::{MatterKey, Matters};
use super::{clock, gap, many};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{Hour, Timestamp};
use crate::watch::account::AccountState;
use crate::watch::{Moment, judge};

/// Fewer events are somebody's trial.
const LEAST_EVENTS: u64 = 10;
/// Unused for so long it is over.
const OVER_AFTER_HOURS: i64 = 7 * 24;

/// Account, provider and model.
pub type UnpricedName = (Account, Text, Text);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unpriced {
    pub since: Timestamp,
    pub last: Hour,
    pub events: u64,
    pub requests: u64,
    /// Input and output.
    pub tokens: u64,
    pub last_event_time: Timestamp,
    pub last_ingest_time: Timestamp,
    pub matter: Option<Matter>,
}

/// A sum of a minute that has no price.
pub(super) fn take(matters: &mut Matters, name: &(Account, LeafDimensions), partial: &Partial) {
    let (events, hour, since) = (gap::unpriced_events(partial), partial.minute.hour(), partial.minute.start());
    if events == 0 {
        return;
    }
    let name = (name.0.clone(), name.1.provider.clone(), name.1.model.clone());
    let fresh = || Unpriced { since, last: hour, ..Unpriced::default() };
    let known = matters.unpriced.entry(name.clone()).or_insert_with(fresh);
    known.since = known.since.min(since);
    known.last = known.last.max(hour);
    known.events = known.events.saturating_add(events);
    known.requests = known.requests.saturating_add(gap::used_requests(partial));
    known.tokens = known.tokens.saturating_add(partial.tokens_input).saturating_add(partial.tokens_output);
    known.last_event_time = known.last_event_time.max(partial.last_event_time);
    known.last_ingest_time = known.last_ingest_time.max(partial.last_ingest_time);
    matters.changed.insert(MatterKey::Unpriced(name.0, name.1, name.2));
}

/// An account's hour is complete.
pub(super) fn close_hour(matters: &mut Matters, state: &AccountState, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let account = &state.account;
    let Matters { unpriced: all, gaps, changed, .. } = matters;
    let mut has_money = None;
    all.retain(|name, known| {
        if name.0 != *account {
            return true;
        }
        let is_of = |leaf: &LeafDimensions| (&leaf.provider, &leaf.model) == (&name.1, &name.2);
        let is_priced =
            || state.leaves().any(|(leaf, _, it)| is_of(leaf) && it.totals(hour).is_some_and(|totals| totals.cost > Nanos::ZERO));
        let of_model = || gaps.iter().filter(|((own, leaf), _)| own == account && is_of(leaf));
        let is_open = known.matter.as_ref().is_some_and(Matter::is_open);
        let over = match () {
            () if hour.0 - known.last.0 >= OVER_AFTER_HOURS => Some("is no longer used: nothing has come for a week"),
            () if is_open && is_priced() => Some("has a price again"),
            () if is_open && of_model().any(|(_, gap)| gap.is_told()) => Some("is told in another alert, with what it may have cost"),
            () => None,
        };
        if let Some(over) = over {
            let story = Story { summary: format!("{} {over}; what was used before has none", model_of(name)), ..known.story(name, moment) };
            matter::end(&mut known.matter, &account.team, AlertState::Resolved, hour.end(), story, moment, effects);
            changed.insert(MatterKey::Unpriced(name.0.clone(), name.1.clone(), name.2.clone()));
            return false;
        }
        // What it may cost is known by what was used before, or what was used long ago is nobody's concern any more.
        let is_guessed = of_model().any(|(_, gap)| gap.is_valued());
        let is_due = !is_open && !is_guessed && known.last >= hour && known.events >= LEAST_EVENTS;
        if is_due && !*has_money.get_or_insert_with(|| self::has_money(state)) {
            known.tell(name, moment, effects);
            changed.insert(MatterKey::Unpriced(name.0.clone(), name.1.clone(), name.2.clone()));
        }
        true
    });
}

/// Whether anything that it uses costs something, by which the rest could be guessed.
fn has_money(state: &AccountState) -> bool {
    state.leaves().any(|(_, _, leaf)| {
        let mut costs = leaf.hours.iter().any(|(_, totals)| totals.cost > Nanos::ZERO);
        leaf.recent.each_cost(|_, cost| costs |= cost > Nanos::ZERO);
        costs
    })
}

/// `gpt-6 at openai`.
fn model_of((account, provider, model): &UnpricedName) -> String {
    match (&**model, &**provider) {
        ("", "") => format!("usage of {}", account.team),
        ("", provider) => provider.to_string(),
        (model, "") => model.to_string(),
        (model, provider) => format!("{model} at {provider}"),
    }
}

impl Unpriced {
    fn tell(&mut self, name: &UnpricedName, moment: Moment<'_>, effects: &mut Vec<Effect>) {
        let (account, provider, model) = name;
        // With its beginning: one that comes after this was forgotten is another one.
        let about: [&[u8]; 6] = [
            b"unpriced",
            account.currency.as_str().as_bytes(),
            provider.as_bytes(),
            model.as_bytes(),
            &self.since.0.to_be_bytes(),
            &moment.shard_time.0.to_be_bytes(),
        ];
        let story = self.story(name, moment);
        matter::tell(&mut self.matter, &account.team, &about, story, 1.0, moment, effects);
    }

    fn story(&self, name: &UnpricedName, moment: Moment<'_>) -> Story {
        let (account, provider, model) = name;
        let zone = judge::zone_of(moment.rules, &account.team);
        let named = [("provider", provider), ("model", model)].into_iter().filter(|(_, value)| !value.is_empty());
        let dimensions: BTreeMap<String, String> = named.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (of, since) = (model_of(name), clock(self.since, &zone));
        let used = match (self.tokens, self.requests) {
            (0, 0) => format!("{} events", many(self.events)),
            (0, requests) => format!("{} requests", many(requests)),
            (tokens, _) => format!("{} tokens", many(tokens)),
        };
        let what = if model.is_empty() { of.as_str() } else { model };
        Story {
            kind: AlertKind::MissingMoney,
            severity: Severity::Info,
            onset: self.since,
            causes: vec![Cause { dimensions: dimensions.clone(), actual: Nanos::ZERO, expected: Nanos::ZERO, share: 1.0 }],
            dimensions,
            measure: account.measure,
            currency: account.currency,
            event_time: self.last_event_time,
            ingest_time: self.last_ingest_time,
            actual: Nanos::ZERO,
            expected: Nanos::ZERO,
            excess: Nanos::ZERO,
            burn_rate: Nanos::ZERO,
            score: 0.8,
            stage: Stage::FirstDay,
            normal: "no price is known, and none of the team's usage says what it may cost".to_string(),
            summary: format!("{} uses {of} without a price: {used} since {since} that count no money", account.team),
            next_steps: vec![
                format!(
                    "Add a price for {what} to a file of [prices] files, or have the source state its cost; what was used before is not priced \
                     again."
                ),
                "Until then it is in no budget and no alert on spend.".to_string(),
            ],
            history: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, unpriced, usage};
    use super::*;
    use crate::model::alert::Alert;
    use crate::model::partial::Failed;

    fn told(bench: &Bench) -> Vec<(AlertState, Severity, &str)> {
        let all = bench.told().into_iter().filter(|alert| alert.kind == AlertKind::MissingMoney);
        all.map(|alert: &Alert| (alert.state, alert.severity, &*alert.summary)).collect()
    }

    /// From two projects, which is one alert all the same; and another model.
    fn in_two_projects(at: i64) -> Vec<Partial> {
        let mut other = unpriced(at, 1_000_000);
        other.leaf.project = "crawler".into();
        vec![unpriced(at, 1_000_000), other]
    }

    #[test]
    fn a_team_that_has_only_usage_without_a_price_is_told_once() {
        let mut bench = Bench::new();
        bench.hours(0..72, in_two_projects);
        let [(state, severity, words)] = told(&bench)[..] else { panic!("{:#?}", bench.words()) };
        assert_eq!((state, severity), (AlertState::Open, Severity::Info));
        assert!(words.starts_with("search uses brand-new at openai without a price: 17.6 million tokens since"), "{words}");
        let alert = bench.told()[0];
        assert!(alert.next_steps[0].contains("Add a price for brand-new to a file of [prices] files"), "{:?}", alert.next_steps);
        assert_eq!((alert.dimensions["model"].as_str(), alert.dimensions.len(), bench.shard.matters.open()), ("brand-new", 2, 1));
        // A price is added.
        bench.hours(72..75, |at| {
            let mut priced = usage(at, "sandbox", 2.0, 1_000_000);
            priced.leaf.model = "brand-new".into();
            vec![priced]
        });
        let [_, (state, _, words)] = told(&bench)[..] else { panic!("{:#?}", bench.words()) };
        assert!(state == AlertState::Resolved && words.contains("brand-new at openai has a price again"), "{words}");
        assert!(bench.shard.matters.unpriced.is_empty() && bench.shard.matters.open() == 0);
    }

    #[test]
    fn what_is_tried_out_what_fails_and_what_money_tells_of_is_not_noted() {
        // A handful.
        let mut bench = Bench::new();
        bench.hours(0..30, |at| if at == 60 { vec![Partial { events: 9, unpriced_events: 9, ..unpriced(at, 1_000) }] } else { Vec::new() });
        assert_eq!(bench.words(), Vec::<String>::new());
        // Requests that failed.
        let mut bench = Bench::new();
        bench.hours(0..30, |at| {
            let all = unpriced(at, 0);
            let failed = Failed { events: all.events, requests: all.requests, unpriced_events: all.events };
            vec![Partial { failed, ..all }]
        });
        assert_eq!(bench.words(), Vec::<String>::new());
        // A team with usage that has a price, by which the rest is guessed; also where that is too little to tell.
        for tokens in [1_000_000, 1_000] {
            let mut bench = Bench::new();
            bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000), unpriced(at, tokens)]);
            assert!(told(&bench).iter().all(|told| told.1 != Severity::Info), "{:#?}", bench.words());
        }
    }

    #[test]
    fn what_is_told_with_money_is_not_noted_when_other_usage_has_stopped() {
        let mut bench = Bench::new();
        bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
        bench.hours(30..150, |at| vec![unpriced(at, 1_000_000)]);
        bench.hours(150..230, |_| Vec::new());
        let told = told(&bench);
        assert!(!told.is_empty() && told.iter().all(|told| told.1 != Severity::Info || told.0 == AlertState::Resolved), "{told:#?}");
    }

    #[test]
    fn what_was_noted_is_told_with_money_once_that_can_be_guessed() {
        let mut bench = Bench::new();
        bench.hours(0..24, |at| vec![unpriced(at, 1_000_000)]);
        bench.hours(24..40, |at| vec![usage(at, "ranker", 2.0, 1_000_000), unpriced(at, 1_000_000)]);
        let states: Vec<(AlertState, Severity)> = told(&bench).iter().map(|told| (told.0, told.1)).collect();
        assert_eq!(states[0], (AlertState::Open, Severity::Info), "{:#?}", bench.words());
        assert!(states.contains(&(AlertState::Open, Severity::Critical)), "{:#?}", bench.words());
        assert!(told(&bench).iter().any(|told| told.2.contains("is told in another alert")), "{:#?}", bench.words());
        assert_eq!(bench.shard.matters.open(), 1);
    }

    #[test]
    fn it_is_over_after_a_week_without_use() {
        let mut bench = Bench::new();
        bench.hours(0..8, in_two_projects);
        bench.hours(8..9 * 24, |_| Vec::new());
        let [_, (state, _, words)] = told(&bench)[..] else { panic!("{:#?}", bench.words()) };
        assert!(state == AlertState::Resolved && words.contains("nothing has come for a week"), "{words}");
        assert!(bench.shard.matters.unpriced.is_empty());
    }
}
