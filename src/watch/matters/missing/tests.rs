//! From sums to alerts: each kind of missing money is told, and its innocent twin is not.

use super::*;
use crate::model::alert::{Alert, AlertKind, AlertState};
use crate::model::feedback::Feedback;
use crate::model::partial::{Marker, ShardEvent, ShardRecord, Source};
use crate::model::time::{HOUR_MS, MINUTE_MS, Minute};
use crate::watch::Restorer;
use crate::watch::matters::rules::{MatterRules, MissingRules};
use crate::watch::matters::{MatterKey, Matters};
use crate::watch::tests::{START, partial, rules};

fn watch_rules() -> WatchRules {
    let missing = MissingRules {
        silent_after_ms: 3 * HOUR_MS,
        first_tolerance: 0.2,
        untagged_per_day: Nanos::from_units(25),
        metered: vec!["openai".into()],
        names: vec![("amazon web services".into(), "aws".into())],
    };
    WatchRules { matters: MatterRules { missing: Some(missing), ..MatterRules::default() }, ..rules() }
}

pub(super) struct Bench {
    pub shard: Shard,
    pub rules: WatchRules,
    offset: i64,
    pub alerts: Vec<Alert>,
}

impl Bench {
    pub fn new() -> Bench {
        let rules = watch_rules();
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, alerts: Vec::new() }
    }

    pub fn record(&mut self, at: i64, partials: Vec<Partial>) {
        let minute = Minute(START.0 + at);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        self.take(&ShardRecord { partials, markers: vec![marker], events: Vec::new() }, minute.start().plus_ms(MINUTE_MS));
    }

    pub fn hear(&mut self, word: Feedback) {
        let at = word.event_time;
        self.take(&ShardRecord { events: vec![ShardEvent::Feedback(Box::new(word))], ..ShardRecord::default() }, at);
    }

    fn take(&mut self, record: &ShardRecord, at: Timestamp) {
        let effects = self.shard.apply_whole(record, self.offset, at, &self.rules);
        self.offset += 1;
        self.alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }

    /// Every ten minutes of some hours.
    pub fn hours(&mut self, hours: std::ops::Range<i64>, uses: impl Fn(i64) -> Vec<Partial>) {
        for at in (hours.start * 6..hours.end * 6).map(|slot| slot * 10) {
            self.record(at, uses(at));
        }
    }

    /// Alerts of this room; those of series are others' matter.
    pub fn told(&self) -> Vec<&Alert> {
        self.alerts.iter().filter(|alert| alert.kind.is_matter()).collect()
    }

    pub fn words(&self) -> Vec<String> {
        self.told().iter().map(|alert| format!("{} {} {}", alert.state.as_str(), alert.kind.as_str(), alert.summary)).collect()
    }
}

/// So much money and so many tokens of a project; 6 of them are an hour.
pub(super) fn usage(at: i64, project: &str, money: f64, tokens: u64) -> Partial {
    let mut used = partial(Minute(START.0 + at), "search", project, "ann", money);
    (used.tokens_input, used.tokens_output) = (tokens, tokens / 10);
    used
}

#[test]
fn tokens_at_cost_zero_are_told_within_minutes_and_taken_back_when_they_count_again() {
    let mut bench = Bench::new();
    bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000), usage(at, "house-model", 0.0, 1_000_000)]);
    bench.hours(30..36, |at| vec![usage(at, "ranker", 0.0, 1_000_000), usage(at, "house-model", 0.0, 1_000_000)]);
    bench.hours(36..42, |at| vec![usage(at, "ranker", 2.0, 1_000_000), usage(at, "house-model", 0.0, 1_000_000)]);
    let told = bench.told();
    let first = told[0];
    assert_eq!((first.state, first.kind), (AlertState::Open, AlertKind::MissingMoney));
    assert_eq!(first.dimensions.get("project").map(String::as_str), Some("ranker"));
    let delay = (first.event_time.0 - Minute(START.0 + 30 * 60).start().0) / MINUTE_MS;
    assert!(delay <= 20, "{delay} minutes");
    assert!(first.summary.contains("at cost zero") && first.normal.contains("a million tokens usually cost"), "{}", first.summary);
    let last = told.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("is counted again"), "{:#?}", bench.words());
    // Six hours of 12 USD, and not one of the model that never cost anything.
    assert!((70.0..74.0).contains(&crate::watch::series::to_units(last.excess)), "{}", last.excess);
    assert!(told.iter().all(|alert| alert.id == first.id), "{:#?}", bench.words());
    assert_eq!(bench.shard.open_alerts(), 0);
    assert!(bench.shard.matters.gaps.is_empty());
}

#[test]
fn what_nobody_wants_to_know_of_any_more_ends() {
    let mut bench = Bench::new();
    bench.hours(0..24, |at| vec![usage(at, "ranker", 5.0, 1_000_000)]);
    bench.hours(24..25, |at| vec![usage(at, "ranker", 0.0, 100_000_000)]);
    let known = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    assert_eq!((known.kind, bench.shard.matters.open()), (AlertKind::MissingMoney, 1), "{:?}", bench.words());
    bench.rules.matters.missing = None;
    bench.hours(25..29, |at| vec![usage(at, "ranker", 5.0, 1_000_000)]);
    let last = bench.told().last().map(|alert| (*alert).clone()).unwrap();
    let is_next = last.id == known.id && last.revision == known.revision + 1;
    assert_eq!((last.state, is_next, bench.shard.matters.open()), (AlertState::Resolved, true, 0), "{:?}", bench.words());
    assert!(last.summary.contains("[missing_money] is off"), "{}", last.summary);
    assert!(bench.shard.matters.gaps.is_empty());
}

#[test]
fn a_few_free_calls_among_many_are_nothing() {
    let mut bench = Bench::new();
    bench.hours(0..60, |at| {
        // Answers from a cache: free, and a third of what is used.
        let free = Partial { cost: Nanos::ZERO, events: 1, ..usage(at, "ranker", 0.0, 500_000) };
        vec![usage(at, "ranker", 2.0, 1_000_000), free]
    });
    assert_eq!(bench.words(), Vec::<String>::new());
}

/// ... however long they were: what is free from one hour on is told within it, as of that hour.
#[test]
fn weeks_of_a_few_free_calls_do_not_hide_a_gap_that_begins() {
    let mut bench = Bench::new();
    bench.hours(0..60, |at| {
        let free = Partial { events: 1, ..usage(at, "ranker", 0.0, if at % 60 == 0 { 0 } else { 500_000 }) };
        vec![usage(at, "ranker", 2.0, 1_000_000), free]
    });
    assert_eq!(bench.words(), Vec::<String>::new());
    bench.hours(60..64, |at| vec![usage(at, "ranker", 0.0, 1_000_000)]);
    let told = bench.told();
    let first = told[0];
    let began = Minute(START.0 + 60 * 60).start().0;
    let minutes = (first.event_time.0 - began) / MINUTE_MS;
    assert!(first.state == AlertState::Open && minutes <= 60, "{minutes} minutes: {:#?}", bench.words());
    assert!((0..=20).contains(&((first.onset.0 - began) / MINUTE_MS)), "{}", first.summary);
    assert!(first.summary.contains("at cost zero"), "{}", first.summary);
    // 1.41 USD in ten minutes, since half of the tokens were free before; less what came before the hour before them closed.
    let lost: Vec<f64> = bench.shard.matters.gaps.values().map(|gap| crate::watch::series::to_units(gap.lost)).collect();
    assert!(lost.len() == 1 && (30.0..=34.0).contains(&lost[0]), "{lost:?}");
}

/// Usage that comes after its hour has closed, by minutes.
fn late(bench: &mut Bench, at: i64, used: Partial) {
    bench.take(&ShardRecord { partials: vec![used], ..ShardRecord::default() }, Minute(START.0 + at).start().plus_ms(MINUTE_MS));
}

#[test]
fn free_usage_of_an_hour_that_has_closed_is_told_too() {
    let usual = |at: i64| vec![usage(at, "ranker", 5.0, 1_000_000)];
    let mut bench = Bench::new();
    bench.hours(0..30, usual);
    late(&mut bench, 30 * 60, Partial { events: 30, ..usage(20 * 60, "ranker", 0.0, 300_000_000) });
    assert_eq!((bench.told().len(), bench.told()[0].kind), (1, AlertKind::MissingMoney), "{:?}", bench.words());
    assert_eq!(bench.told()[0].onset, Minute(START.0 + 20 * 60).start());
    // It does not go on: over after some hours.
    bench.hours(30..36, usual);
    assert_eq!(bench.told().last().unwrap().state, AlertState::Resolved, "{:?}", bench.words());
    assert_eq!(bench.shard.matters.open(), 0);
    // More of the same minute after that is an alert of its own: revisions never go back.
    let first = bench.told()[0].id.clone();
    late(&mut bench, 36 * 60, Partial { events: 300, ..usage(20 * 60, "ranker", 0.0, 300_000_000) });
    let again = *bench.told().last().unwrap();
    assert!((again.state, again.revision) == (AlertState::Open, 1) && again.id != first, "{:?}", bench.words());
    // The twins: a few free calls among many that counted, and what is later than anything is amended for.
    for (at, events) in [(20 * 60, 1), (-30 * 60, 1000)] {
        let mut bench = Bench::new();
        bench.hours(0..30, usual);
        late(&mut bench, 30 * 60, Partial { events, ..usage(at, "ranker", 0.0, 300_000_000) });
        assert_eq!(bench.words(), Vec::<String>::new(), "{events} events at {at}");
    }
}

/// Usage of a model that nobody has a price for.
pub(super) fn unpriced(at: i64, tokens: u64) -> Partial {
    let mut used = usage(at, "sandbox", 0.0, tokens);
    used.leaf.model = "brand-new".into();
    Partial { unpriced_events: used.events, ..used }
}

#[test]
fn usage_without_a_price_is_told_by_what_tokens_cost_elsewhere() {
    let mut bench = Bench::new();
    bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
    bench.hours(30..36, |at| vec![usage(at, "ranker", 2.0, 1_000_000), unpriced(at, 1_000_000)]);
    let told = bench.told();
    assert!(told[0].kind == AlertKind::MissingMoney && told[0].summary.contains("nobody has a price for"), "{:#?}", bench.words());
    assert_eq!(told[0].dimensions.get("model").map(String::as_str), Some("brand-new"));
    // The twin: so little that nobody needs to look.
    let mut bench = Bench::new();
    bench.hours(0..30, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
    bench.hours(30..36, |at| vec![usage(at, "ranker", 2.0, 1_000_000), unpriced(at, 1_000)]);
    assert_eq!(bench.words(), Vec::<String>::new());
}

#[test]
fn usage_without_a_price_from_the_first_hour_on_is_told_once_tokens_have_a_usual_price() {
    let mut bench = Bench::new();
    bench.hours(0..24, |at| vec![usage(at, "ranker", 2.0, 1_000_000), unpriced(at, 1_000_000)]);
    let told = bench.told();
    assert!(!told.is_empty() && told[0].summary.contains("nobody has a price for"), "{:#?}", bench.words());
    assert_eq!(told[0].onset, START.start());
    let hours = (told[0].detected_at.0 - told[0].onset.0) / HOUR_MS;
    assert!((6..=8).contains(&hours), "{hours} hours");
    // 12 USD an hour, the first hours among them.
    let lost: Vec<f64> = bench.shard.matters.gaps.values().map(|gap| crate::watch::series::to_units(gap.lost)).collect();
    assert!(lost.len() == 1 && (287.9..288.1).contains(&lost[0]), "{lost:?}");
}

#[test]
fn requests_that_report_no_tokens_are_told_where_they_always_did() {
    let silent = |at: i64, project: &str| Partial { requests: 300, ..usage(at, project, 0.0, 0) };
    let mut bench = Bench::new();
    bench.hours(0..30, |at| vec![Partial { requests: 300, ..usage(at, "ranker", 2.0, 1_000_000) }, silent(at, "images")]);
    bench.hours(30..36, |at| vec![silent(at, "ranker"), silent(at, "images")]);
    let told = bench.told();
    assert!(told[0].summary.contains("report no tokens"), "{:#?}", bench.words());
    assert!(told.iter().all(|alert| alert.dimensions["project"] == "ranker"), "{:#?}", bench.words());
}

#[test]
fn a_steady_provider_that_stops_is_told_and_who_sleeps_at_night_is_not() {
    let mut bench = Bench::new();
    bench.hours(0..9 * 24, |at| {
        let mut nightly = usage(at, "crawler", if at / 60 % 24 < 12 { 2.0 } else { 0.0 }, 1_000_000);
        nightly.leaf.provider = "mistral".into();
        let steady = usage(at, "ranker", 2.0, 1_000_000);
        if at / 60 % 24 < 12 { vec![steady, nightly] } else { vec![steady] }
    });
    assert_eq!(bench.words(), Vec::<String>::new());
    bench.hours(9 * 24..10 * 24, |_| Vec::new());
    let told = bench.told();
    let first = told[0];
    assert_eq!((first.kind, first.dimensions["provider"].as_str()), (AlertKind::ProviderSilent, "openai"));
    assert_eq!((first.event_time.0 - first.onset.0) / HOUR_MS, 3);
    assert!(first.excess < Nanos::ZERO && first.actual == Nanos::ZERO, "{}", first.excess);
    assert!(told.iter().all(|alert| alert.dimensions["provider"] == "openai"), "{:#?}", bench.words());
    bench.hours(10 * 24..10 * 24 + 3, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
    let last = *bench.told().last().unwrap();
    assert!(last.state == AlertState::Resolved && last.summary.contains("is heard of again"), "{:#?}", bench.words());
    // A day of 12 USD an hour: what the day before took, not what a forecast that follows the silence says.
    let lost = -crate::watch::series::to_units(last.excess);
    assert!((260.0..310.0).contains(&lost), "{:#?}", bench.words());
}

#[test]
fn a_provider_that_comes_back_after_weeks_is_watched_again_within_one() {
    let steady = |at: i64| vec![usage(at, "ranker", 2.0, 1_000_000)];
    let mut bench = Bench::new();
    bench.hours(0..9 * 24, steady);
    bench.hours(9 * 24..29 * 24, |_| Vec::new());
    assert!(bench.told().last().unwrap().summary.contains("is normal from now on"), "{:#?}", bench.words());
    bench.hours(29 * 24..38 * 24, steady);
    let before = bench.told().len();
    bench.hours(38 * 24..38 * 24 + 8, |_| Vec::new());
    let again: Vec<(AlertState, &str)> = bench.told()[before..].iter().map(|alert| (alert.state, &*alert.dimensions["provider"])).collect();
    assert_eq!(again.first(), Some(&(AlertState::Reopened, "openai")), "{:#?}", bench.words());
}

/// ... and after five weeks nothing is known of it, so that providers do not add up for ever.
#[test]
fn what_is_known_of_a_provider_goes_with_the_last_of_its_usage() {
    let of = |at: i64, provider: &str| {
        let mut used = usage(at, "ranker", 2.0, 1_000_000);
        used.leaf.provider = provider.into();
        used
    };
    let mut bench = Bench::new();
    bench.hours(0..9 * 24, |at| vec![of(at, "openai"), of(at, "mistral")]);
    let account = of(0, "openai").leaf.account();
    for provider in ["openai", "mistral"] {
        bench.shard.matters.caches.insert((account.clone(), provider.into()), Hour(0));
    }
    let known = |bench: &Bench| {
        let Matters { silences, caches, .. } = &bench.shard.matters;
        (silences.keys().map(|name| name.1.to_string()).collect::<Vec<_>>(), caches.len())
    };
    bench.hours(9 * 24..43 * 24, |at| vec![of(at, "openai")]);
    assert_eq!(known(&bench), (vec!["mistral".to_string(), "openai".to_string()], 2));
    let first = bench.told()[0].id.clone();
    bench.shard.take_changes();
    bench.hours(43 * 24..47 * 24, |at| vec![of(at, "openai")]);
    assert_eq!(known(&bench), (vec!["openai".to_string()], 1));
    let gone: Vec<MatterKey> =
        bench.shard.matters.take_changes().into_iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key).collect();
    let name = || (account.clone(), Text::from("mistral"));
    assert_eq!(gone, [MatterKey::Silence(name().0, name().1), MatterKey::Caches(name().0, name().1)], "also from the changelog");
    // It comes back and goes again: another alert, as nobody knows the revisions of the first one.
    let before = bench.told().len();
    bench.hours(47 * 24..56 * 24, |at| vec![of(at, "openai"), of(at, "mistral")]);
    bench.hours(56 * 24..57 * 24, |at| vec![of(at, "openai")]);
    let again = bench.told()[before];
    assert_eq!((again.kind, again.state, again.revision, again.id == first), (AlertKind::ProviderSilent, AlertState::Open, 1, false));
}

/// A line of a day's bill.
pub(super) fn billed(day: i64, provider: &str, money: f64) -> Partial {
    let mut line = usage(day * 24 * 60, "ranker", money, 0);
    line.leaf.measure = Measure::Billed;
    line.leaf.provider = provider.into();
    line.leaf.meter = String::new().as_str().into();
    line
}

/// Twenty days of usage; each day's bill comes a day later.
pub(super) fn with_bills(cached: u64, bill: impl Fn(i64) -> Vec<Partial>) -> Bench {
    with_bills_of(|used| Partial { tokens_cached_input: cached, tokens_output: 0, ..used }, bill)
}

pub(super) fn with_bills_of(of: impl Fn(Partial) -> Partial, bill: impl Fn(i64) -> Vec<Partial>) -> Bench {
    let mut bench = Bench::new();
    for day in 0..20 {
        bench.hours(day * 24..(day + 1) * 24, |at| {
            let used = usage(at, "ranker", 1.0, 1_000_000);
            let mut all = vec![of(used)];
            if at % 1440 == 60 && at > 1440 {
                all.extend(bill(at / 1440 - 1));
            }
            all
        });
    }
    bench
}

#[test]
fn a_bill_far_from_the_estimate_is_told_and_a_steady_discount_is_learnt() {
    // 144 USD a day are estimated, and 10 % less is billed; on day 12 twice as much.
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", if day == 12 { 259.2 } else { 129.6 + (day % 3) as f64 * 0.3 })]);
    let told = bench.told();
    let [alert, over] = &told[..] else { panic!("{:#?}", bench.words()) };
    assert_eq!((over.state, over.excess), (AlertState::Resolved, alert.excess), "{}", over.summary);
    assert_eq!((alert.kind, alert.measure, alert.onset), (AlertKind::BillMismatch, Measure::Billed, Minute(START.0 + 12 * 1440).start()));
    assert!(alert.summary.contains("259.20 USD") && alert.normal.contains("0.90 times the estimate"), "{} {}", alert.summary, alert.normal);
    // A tenth less, day by day, is told from no day.
    let bench = with_bills(0, |day| vec![billed(day, "OpenAI", 129.6)]);
    assert_eq!(bench.words(), Vec::<String>::new());
}

#[test]
fn cached_tokens_counted_twice_are_recognised() {
    // Of a million input tokens half are cached: with prices 1 and 0.1 a tenth of the estimate is what the cached ones were worth.
    let bench = with_bills(450_000, |day| vec![billed(day, "OpenAI", 34.0)]);
    let told = bench.told();
    assert!(told[0].summary.contains("cached tokens were counted twice"), "{:#?}", bench.words());
    assert!(told[0].next_steps[0].contains("input_includes_cached"));
    // Output that is all reasoning is as dear as any, and not twice.
    let thinks = |used| Partial { tokens_cached_input: 450_000, tokens_output: 100_000, tokens_reasoning: 100_000, ..used };
    let bench = with_bills_of(thinks, |day| vec![billed(day, "OpenAI", 70.0)]);
    assert!(bench.told()[0].summary.contains("cached tokens were counted twice"), "{:#?}", bench.words());
}

#[test]
fn billed_and_never_seen_is_told_for_providers_that_are_metered() {
    let bench = with_bills(0, |day| {
        vec![billed(day, "OpenAI", 144.0), billed(day, "Amazon Web Services", 500.0), {
            let mut other = billed(day, "OpenAI", 80.0);
            other.leaf.team = "ads".into();
            other
        }]
    });
    let told = bench.told();
    assert!(
        !told.is_empty() && told.iter().all(|alert| alert.kind == AlertKind::UnseenSpend && alert.team == "ads"),
        "{:#?}",
        bench.words()
    );
    assert!(told[0].summary.contains("no usage was ever seen"), "{:#?}", bench.words());
    // Taxes are no usage.
    let bench = with_bills(0, |day| {
        let mut tax = billed(day, "OpenAI", 80.0);
        tax.leaf.meter = "charge.tax".into();
        vec![billed(day, "OpenAI", 144.0), tax]
    });
    assert_eq!(bench.words(), Vec::<String>::new());
}

#[test]
fn a_day_that_the_bill_leaves_out_is_told_and_taken_back_when_it_comes() {
    let bench = with_bills(0, |day| match day {
        12 => Vec::new(),
        17 => vec![billed(17, "OpenAI", 144.0), billed(12, "OpenAI", 144.0)],
        day => vec![billed(day, "OpenAI", 144.0)],
    });
    let told = bench.told();
    let states: Vec<AlertState> = told.iter().map(|alert| alert.state).collect();
    assert_eq!(states, [AlertState::Open, AlertState::Resolved], "{:#?}", bench.words());
    assert_eq!((told[0].kind, told[0].onset), (AlertKind::BillMismatch, Minute(START.0 + 12 * 1440).start()));
    assert!(told[0].summary.contains("bills search nothing for"), "{}", told[0].summary);
    // The twin: a bill that is a week behind has no later days.
    let bench = with_bills(0, |day| if day < 12 { vec![billed(day, "OpenAI", 144.0)] } else { Vec::new() });
    assert_eq!(bench.words(), Vec::<String>::new());
}

#[test]
fn spend_without_a_team_is_told_by_provider_until_it_has_one() {
    let nobodys = |at: i64, money: f64| {
        let mut used = usage(at, "", money, 1_000_000);
        used.leaf.team = crate::model::leaf::UNATTRIBUTED.into();
        used
    };
    let mut bench = Bench::new();
    bench.hours(0..20, |at| vec![usage(at, "ranker", 2.0, 1_000_000), nobodys(at, 1.0)]);
    bench.hours(20..60, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
    let told = bench.told();
    let first = told[0];
    assert_eq!((first.kind, &*first.team), (AlertKind::UntaggedSpend, "unattributed"), "{:#?}", bench.words());
    // 6 USD an hour: five hours make it worth a word.
    assert_eq!(first.excess, Nanos::from_units(30));
    assert!(first.summary.contains("30.00 USD at openai") && first.causes.len() == 1, "{}", first.summary);
    let last = told.last().unwrap();
    assert!(last.state == AlertState::Resolved && last.id == first.id, "{:#?}", bench.words());
    // The twin: a little that nobody needs to look at.
    let mut bench = Bench::new();
    bench.hours(0..60, |at| vec![usage(at, "ranker", 2.0, 1_000_000), nobodys(at, 0.1)]);
    assert_eq!(bench.words(), Vec::<String>::new());
    // On a bill: once its day has settled.
    let bench = with_bills(0, |day| {
        let mut other = billed(day, "Elsewhere", 40.0);
        other.leaf.team = crate::model::leaf::UNATTRIBUTED.into();
        vec![billed(day, "OpenAI", 144.0), other]
    });
    let told = bench.told();
    assert_eq!(told.iter().map(|alert| (alert.kind, alert.measure)).collect::<Vec<_>>(), [(AlertKind::UntaggedSpend, Measure::Billed)]);
    assert!(told[0].summary.contains("40.00 USD at elsewhere on"), "{}", told[0].summary);
}

#[test]
fn teams_that_lose_one_provider_together_are_one_incident() {
    let mut bench = Bench::new();
    let of = |team: &str, provider: &str, at: i64| {
        let mut used = usage(at, "ranker", 2.0, 1_000_000);
        (used.leaf.team, used.leaf.provider) = (team.into(), provider.into());
        used
    };
    // At hour 200 openai is gone for all, for one of them seen an hour earlier; mistral goes for one team, ten hours later.
    bench.hours(0..220, |at| {
        let hour = at / 60;
        let mut all = vec![of("clock", "anthropic", at)];
        all.extend((hour < 200).then(|| of("search", "openai", at)));
        all.extend((hour < 200).then(|| of("ads", "openai", at)));
        all.extend((hour < 199).then(|| of("maps", "openai", at)));
        all.extend((hour < 210).then(|| of("ads", "mistral", at)));
        all
    });
    let opened: Vec<&Alert> = bench.told().into_iter().filter(|alert| alert.state == AlertState::Open).collect();
    let named: Vec<(&str, &str)> = opened.iter().map(|alert| (&*alert.team, &*alert.dimensions["provider"])).collect();
    assert_eq!(named.len(), 4, "{:#?}", bench.words());
    let incidents = |provider: &str| -> std::collections::BTreeSet<&str> {
        opened.iter().filter(|alert| alert.dimensions["provider"] == provider).map(|alert| &*alert.incident_id).collect()
    };
    assert_eq!((incidents("openai").len(), incidents("mistral").len()), (1, 1), "{named:?}");
    assert!(incidents("openai").is_disjoint(&incidents("mistral")));
    assert!(opened.iter().all(|alert| alert.id.starts_with(&*alert.team)), "each team's own alert keeps its own id");
}

#[test]
fn what_is_missing_is_restored_as_it_was() {
    let mut bench = Bench::new();
    let mut changelog = std::collections::BTreeMap::new();
    for slot in 0..40 * 6 {
        let at = slot * 10;
        let is_gap = (30..34).contains(&(at / 60));
        let mut all = vec![usage(at, "ranker", if is_gap { 0.0 } else { 2.0 }, 1_000_000)];
        if at % 480 == 0 {
            all.push(billed(at / 1440, "OpenAI", 50.0));
        }
        bench.record(at, all);
        for change in bench.shard.take_changes() {
            match change.value {
                Some(value) => changelog.insert(change.key, value),
                None => changelog.remove(&change.key),
            };
        }
        if slot % 17 == 0 {
            let mut restorer = Restorer::new(1);
            for (key, value) in &changelog {
                restorer.put(key, Some(value)).unwrap();
            }
            restorer.changelog_read(&bench.rules).unwrap().unwrap();
            assert_eq!(restorer.finish().unwrap().matters, bench.shard.matters, "at {at}");
        }
    }
    assert!(!bench.told().is_empty() && !bench.shard.matters.days.is_empty());
}
