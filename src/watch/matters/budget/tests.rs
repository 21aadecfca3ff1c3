//! Budgets from sums to alerts: each threshold once, in seconds; a month that ends; a forecast with its band; a pace; nothing else.

use super::*;
use crate::model::alert::Alert;
use crate::model::leaf::Measure;
use crate::model::money::Currency;
use crate::model::partial::{Marker, ShardRecord, Source};
use crate::model::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::watch::matters::rules::MatterRules;
use crate::watch::tests::{partial, rules};

/// 2026-03-01T00:00:00Z.
pub(super) const MARCH: Minute = Minute(1_772_323_200 / 60);

pub(super) fn rule() -> BudgetRule {
    BudgetRule {
        name: "all of search".into(),
        team: "search".into(),
        cost_center: None,
        project: None,
        model: None,
        measure: Measure::Estimated,
        currency: Currency::USD,
        amount: Nanos::from_units(1000),
        period: Period::Month,
        thresholds: vec![0.5, 0.8, 0.85, 1.0],
        forecast: false,
        burn_rate: 0.0,
    }
}

/// Money an hour of the team's project, over days of March.
fn play(budget: BudgetRule, days: i64, money: impl Fn(i64) -> f64) -> Vec<Alert> {
    let rules = WatchRules { matters: MatterRules { budgets: vec![budget], ..MatterRules::default() }, ..rules() };
    let mut shard = Shard::new(0, 1, &rules);
    let mut alerts = Vec::new();
    for hour in 0..days * 24 {
        let minute = Minute(MARCH.0 + hour * 60);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        let partials = vec![partial(minute, "search", "ranker", "ann", money(hour)), partial(minute, "ads", "bidder", "bob", 50.0)];
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = shard.apply_whole(&record, hour, minute.start().plus_ms(MINUTE_MS), &rules);
        alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }
    alerts.retain(|alert| alert.kind == AlertKind::Budget);
    alerts
}

#[test]
fn each_threshold_is_told_once_and_a_month_ends() {
    // 2 USD an hour are 1488 in March: 500 after 250 hours.
    let alerts = play(rule(), 40, |_| 2.0);
    let told: Vec<(AlertState, i64)> = alerts.iter().map(|alert| (alert.state, (alert.event_time.0 - MARCH.start().0) / HOUR_MS)).collect();
    let expected = [
        (AlertState::Open, 249),
        (AlertState::Escalated, 399),
        (AlertState::Escalated, 424),
        (AlertState::Escalated, 499),
        // The first hour of April has closed by then.
        (AlertState::Resolved, told[4].1),
    ];
    assert_eq!(told, expected, "{:#?}", alerts.iter().map(|alert| &alert.summary).collect::<Vec<_>>());
    assert!(told[4].1 >= 31 * 24);
    assert_eq!(alerts[3].severity, Severity::Critical);
    assert!(alerts[0].summary.contains("has passed 50 % of 1000.00 USD for March 2026"), "{}", alerts[0].summary);
    assert!(
        alerts[0].summary.contains("forecast by Tue 31 Mar: 1488 USD") && alerts[0].summary.contains("used up about Sat 21 Mar"),
        "{}",
        alerts[0].summary
    );
    assert!(alerts[4].summary.contains("March 2026 is over"), "{}", alerts[4].summary);
    assert!(alerts.iter().all(|alert| alert.id == alerts[0].id && alert.dimensions["budget"] == "all of search"));
}

fn states(alerts: &[Alert]) -> Vec<AlertState> {
    alerts.iter().map(|alert| alert.state).collect()
}

/// Half of it comes back, then nearly all; a month says so, as days that roll on do.
#[test]
fn what_is_refunded_is_taken_back() {
    use AlertState::*;
    let refunded = |hour: i64| match hour {
        300 => -500.0,
        400 => -400.0,
        hour if hour < 300 => 4.0,
        _ => 0.01,
    };
    let alerts = play(rule(), 20, refunded);
    assert_eq!(states(&alerts), [Open, Escalated, Escalated, Escalated, Amended, Resolved]);
    let (amended, over) = (&alerts[4], &alerts[5]);
    assert_eq!((alerts[3].severity, amended.severity), (Severity::Critical, Severity::Warning));
    assert!(amended.summary.contains("less is spent") && amended.summary.contains("700.00 USD are spent, 70 %"), "{}", amended.summary);
    assert!(over.summary.contains("is below its thresholds again") && over.summary.contains("for March 2026"), "{}", over.summary);
    // What passes a threshold again is told again.
    let again = play(rule(), 20, |hour| if hour > 420 { 20.0 } else { refunded(hour) });
    assert!(states(&again)[6..].starts_with(&[Reopened]), "{:?}", states(&again));
}

#[test]
fn a_forecast_that_has_fallen_ends_its_alert() {
    let budget = BudgetRule { forecast: true, thresholds: vec![1.0], ..rule() };
    let alerts = play(budget, 31, |hour| if hour < 9 * 24 { 2.2 } else { 0.2 });
    assert_eq!(
        states(&alerts),
        [AlertState::Open, AlertState::Resolved],
        "{:#?}",
        alerts.iter().map(|alert| &alert.summary).collect::<Vec<_>>()
    );
    assert!(alerts[0].summary.contains("will not last") && alerts[1].event_time < Minute(MARCH.0 + 25 * 1440).start());
}

#[test]
fn what_keeps_within_its_budget_is_never_told() {
    assert_eq!(play(BudgetRule { forecast: true, burn_rate: 6.0, ..rule() }, 40, |_| 0.6), []);
    // Another project's, model's or currency's money does not count.
    let others = [
        BudgetRule { project: Some("crawler".into()), ..rule() },
        BudgetRule { model: Some("other".into()), ..rule() },
        BudgetRule { currency: Currency::parse("EUR").unwrap(), ..rule() },
        BudgetRule { measure: Measure::Billed, ..rule() },
    ];
    for other in others {
        assert_eq!(play(other, 31, |_| 2.0), []);
    }
    assert!(!play(BudgetRule { project: Some("ranker".into()), model: Some("gpt-4o".into()), ..rule() }, 31, |_| 2.0).is_empty());
}

#[test]
fn a_forecast_is_told_long_before_the_money_is_gone() {
    let only = BudgetRule { forecast: true, thresholds: vec![1.0], ..rule() };
    let alerts = play(only.clone(), 31, |hour| 2.0 + 0.2 * ((hour * 7) % 5) as f64 - 0.4);
    let first = &alerts[0];
    assert!(first.summary.contains("will not last") && first.state == AlertState::Open, "{}", first.summary);
    let day = (first.event_time.0 - MARCH.start().0) / DAY_MS;
    assert!((7..=9).contains(&day), "day {day}");
    assert_eq!(alerts.len(), 2, "then the amount itself");
    // A month that is about at its budget is not told: its band reaches below it.
    let noisy = |hour: i64| if hour / 24 % 3 == 0 { 2.8 } else { 0.7 };
    assert_eq!(play(BudgetRule { amount: Nanos::from_units(1100), ..only }, 31, noisy), []);
}

#[test]
fn a_pace_is_told_once() {
    let alerts =
        play(BudgetRule { burn_rate: 6.0, thresholds: vec![1.0], ..rule() }, 31, |hour| if (50..60).contains(&hour) { 12.0 } else { 0.5 });
    let [alert] = &alerts[..] else { panic!("{:#?}", alerts.iter().map(|alert| &alert.summary).collect::<Vec<_>>()) };
    assert!(alert.summary.contains("times an even pace"), "{}", alert.summary);
}

/// The last hours of March close when usage of April has come.
#[test]
fn the_pace_of_a_month_that_is_over_is_not_told() {
    let budget = BudgetRule { burn_rate: 6.0, thresholds: vec![0.3], ..rule() };
    // Only the six hours before midnight together are at six times an even pace.
    let alerts = play(budget, 57, |hour| if (31 * 24 - 6..31 * 24).contains(&hour) { 8.5 } else { 0.5 });
    let told: Vec<(AlertState, u32)> = alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
    assert_eq!(told, [(AlertState::Open, 1), (AlertState::Resolved, 2), (AlertState::Open, 1)], "{alerts:#?}");
    assert!(alerts[0].id == alerts[1].id && alerts[1].id != alerts[2].id, "April's is an alert of its own");
    assert!(alerts[2].summary.contains("for April 2026"), "{}", alerts[2].summary);
}

#[test]
fn the_last_days_roll_on() {
    let rolling = BudgetRule { period: Period::Rolling(7), amount: Nanos::from_units(200), thresholds: vec![1.0], ..rule() };
    let alerts = play(rolling, 40, |hour| if (240..300).contains(&hour) || (600..660).contains(&hour) { 4.0 } else { 0.5 });
    let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
    assert_eq!(states, [AlertState::Open, AlertState::Resolved, AlertState::Reopened, AlertState::Resolved]);
    assert!(alerts.iter().all(|alert| alert.id == alerts[0].id));
}

#[test]
fn a_pace_of_the_last_days_ends_and_is_told_again() {
    let rolling = BudgetRule { period: Period::Rolling(7), amount: Nanos::from_units(700), burn_rate: 6.0, ..rule() };
    // An even pace is 4.17 an hour; half of the amount is never spent.
    let alerts = play(rolling, 30, |hour| if (240..246).contains(&hour) || (480..486).contains(&hour) { 26.0 } else { 1.0 });
    let told: Vec<(AlertState, u32)> = alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
    let expected = [(AlertState::Open, 1), (AlertState::Resolved, 2), (AlertState::Reopened, 3), (AlertState::Resolved, 4)];
    assert_eq!(told, expected, "{:#?}", alerts.iter().map(|alert| &alert.summary).collect::<Vec<_>>());
    assert!(alerts.iter().all(|alert| alert.id == alerts[0].id));
    assert!(alerts[2].summary.contains("times an even pace"), "{}", alerts[2].summary);
    let over = &alerts[1].summary;
    assert!(over.contains("is below its thresholds again: 306.00 USD in 7 days, 44 %"), "{over}");
}

/// Alerts of hours of March at 2 USD each, by rules of one budget, then of others; with a restart in between if asked for.
fn play_then(first: Vec<BudgetRule>, hours: [i64; 3], others: Vec<BudgetRule>, is_restarted: bool) -> (Vec<Alert>, usize) {
    play_teams(&[("search", "ranker", 2.0)], first, hours, others, is_restarted)
}

/// The same, of what some teams and their projects spend an hour.
fn play_teams(
    spends: &[(&str, &str, f64)],
    first: Vec<BudgetRule>,
    hours: [i64; 3],
    others: Vec<BudgetRule>,
    is_restarted: bool,
) -> (Vec<Alert>, usize) {
    let of = |budgets, revision| WatchRules { revision, matters: MatterRules { budgets, ..MatterRules::default() }, ..rules() };
    let rules = [of(first.clone(), 1), of(others, 2), of(first, 3)];
    let mut shard = Shard::new(0, 1, &rules[0]);
    let (mut alerts, mut changelog, mut begin) = (Vec::new(), BTreeMap::new(), 0);
    for (rules, end) in rules.iter().zip(hours) {
        for hour in begin..end {
            let minute = Minute(MARCH.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let partials = spends.iter().map(|(team, project, money)| partial(minute, team, project, "ann", *money)).collect();
            let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
            let effects = shard.apply_whole(&record, hour, minute.start().plus_ms(MINUTE_MS), rules);
            alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        }
        begin = end;
        if is_restarted {
            shard.save_all();
            for change in shard.take_changes() {
                match change.value {
                    Some(value) => changelog.insert(change.key, value),
                    None => changelog.remove(&change.key),
                };
            }
            let mut restorer = crate::watch::Restorer::new(1);
            changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
            restorer.changelog_read(rules).unwrap().unwrap();
            shard = restorer.finish().unwrap();
        }
    }
    alerts.retain(|alert| alert.kind == AlertKind::Budget);
    (alerts, shard.open_alerts())
}

#[test]
fn a_budget_that_is_taken_out_of_the_config_ends_its_alert_and_says_why() {
    for is_restarted in [false, true] {
        let project = BudgetRule { project: Some("ranker".into()), ..rule() };
        let (alerts, open) = play_then(vec![project.clone()], [300, 302, 302], Vec::new(), is_restarted);
        let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
        assert_eq!((&states[..], open), (&[AlertState::Open, AlertState::Resolved][..], 0));
        let last = &alerts[1];
        assert_eq!((&last.id, last.revision, &*last.team), (&alerts[0].id, 2, "search"));
        assert_eq!((&last.dimensions, last.expected), (&alerts[0].dimensions, Nanos::from_units(1000)));
        assert!(
            last.summary.contains("'all of search' is no longer in the config, so that its alert ends: 500.00 of 1000.00 USD"),
            "{}",
            last.summary
        );
        // With the first record by the new rules, not an hour later.
        assert_eq!(last.decided_at, Minute(MARCH.0 + 300 * 60).start().plus_ms(MINUTE_MS));
        // Written back, it is told again, under the same id.
        let (alerts, open) = play_then(vec![project.clone()], [300, 302, 304], Vec::new(), is_restarted);
        let again = alerts.last().unwrap();
        assert_eq!((again.state, again.revision, &again.id, open), (AlertState::Reopened, 3, &alerts[0].id, 1));
        // The twins: it stays, with another amount; or another one goes.
        let (alerts, open) = play_then(
            vec![project.clone()],
            [300, 302, 302],
            vec![BudgetRule { amount: Nanos::from_units(1001), ..project.clone() }],
            is_restarted,
        );
        assert_eq!((alerts.len(), open), (1, 1));
        let other = BudgetRule { name: "other".into(), amount: Nanos::from_units(1_000_000), ..rule() };
        let (alerts, open) = play_then(vec![project.clone(), other], [300, 302, 302], vec![project], is_restarted);
        assert_eq!((alerts.len(), open), (1, 1));
    }
}

/// 1020 of 1000 USD are spent, and the month goes on.
#[test]
fn a_budget_that_is_raised_is_told_of_again() {
    let to = |units: i64| vec![BudgetRule { amount: Nanos::from_units(units), ..rule() }];
    let passed = [AlertState::Open, AlertState::Escalated, AlertState::Escalated, AlertState::Escalated];
    for is_restarted in [false, true] {
        // 80 % of it are spent already: the alert says so, and goes on with what is to come.
        let (alerts, open) = play_then(vec![rule()], [510, 730, 730], to(1250), is_restarted);
        let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
        assert_eq!(states, [&passed[..], &[AlertState::Amended, AlertState::Escalated, AlertState::Escalated]].concat(), "{alerts:#?}");
        let (amended, last) = (&alerts[4].summary, &alerts[6].summary);
        assert!(amended.contains("was raised to 1250.00 USD for March 2026: 1022.00 USD are spent, 82 %"), "{amended}");
        assert!(last.contains("has passed 100 % of 1250.00 USD") && open == 1, "{last}");
        assert!(alerts.iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == alerts[0].id));
        // None of its thresholds is reached: the alert ends, and comes again with the first.
        let (alerts, open) = play_then(vec![rule()], [510, 730, 730], to(2400), is_restarted);
        let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
        assert_eq!(states, [&passed[..], &[AlertState::Resolved, AlertState::Reopened]].concat(), "{alerts:#?}");
        let (over, again) = (&alerts[4].summary, &alerts[5].summary);
        assert!(over.contains("is below its thresholds again: 1022.00 of 2400.00 USD for March 2026, 43 %"), "{over}");
        assert!(again.contains("has passed 50 % of 2400.00 USD") && open == 1, "{again}");
        assert!(alerts.iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == alerts[0].id));
    }
}

#[test]
fn the_forecast_of_a_budget_that_is_raised_is_looked_at_again() {
    let of = |units: i64| vec![BudgetRule { amount: Nanos::from_units(units), forecast: true, thresholds: vec![1.0], ..rule() }];
    // 1488 USD are to be expected.
    for (amount, next, words) in [
        (1400, AlertState::Escalated, "of 1400.00 USD for March 2026 will not last"),
        (1600, AlertState::Resolved, "of 1600.00 USD for March"),
    ] {
        let (alerts, _) = play_then(of(1000), [300, 330, 330], of(amount), false);
        let told: Vec<(AlertState, u32)> = alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
        assert_eq!(told, [(AlertState::Open, 1), (next, 2)], "{alerts:#?}");
        assert!(alerts[1].summary.contains(words), "{}", alerts[1].summary);
    }
}

#[test]
fn a_rolling_budget_that_becomes_a_months_ends_its_alert() {
    let rolling = BudgetRule { period: Period::Rolling(30), ..rule() };
    for is_restarted in [false, true] {
        let (alerts, open) = play_then(vec![rolling.clone()], [300, 302, 304], vec![rule()], is_restarted);
        // Of the month, and of the days again, 500 USD are spent as well.
        let told: Vec<(AlertState, u32)> = alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
        let expected = [(AlertState::Open, 1), (AlertState::Resolved, 2), (AlertState::Open, 1)];
        assert_eq!((&told[..], open), (&expected[..], 1), "{alerts:#?}");
        assert!(alerts[0].id == alerts[1].id && alerts[1].id != alerts[2].id);
        assert!(alerts[1].summary.contains("is counted by month from now on"), "{}", alerts[1].summary);
        // Back and forth in quick succession: no revision is told twice.
        let quiet = BudgetRule { amount: Nanos::from_units(5000), ..rule() };
        let (alerts, _) = play_then(vec![rolling.clone()], [300, 320, 340], vec![quiet], is_restarted);
        let known: std::collections::BTreeSet<(&str, u32)> = alerts.iter().map(|alert| (&*alert.id, alert.revision)).collect();
        assert_eq!((alerts.len(), known.len()), (3, 3), "{alerts:#?}");
    }
}

/// Revisions never go back, whoever writes a budget into the config again.
#[test]
fn a_rolling_budget_that_is_written_back_after_months_goes_on_with_its_revisions() {
    let rolling = BudgetRule { period: Period::Rolling(20), ..rule() };
    let after = 300 + (KEPT_DAYS + 2) * 24;
    let (alerts, open) = play_then(vec![rolling], [300, after, after + 300], Vec::new(), true);
    let told: Vec<(AlertState, u32)> = alerts.iter().map(|alert| (alert.state, alert.revision)).collect();
    assert_eq!(told, [(AlertState::Open, 1), (AlertState::Resolved, 2), (AlertState::Reopened, 3)]);
    assert!(alerts.iter().all(|alert| alert.id == alerts[0].id) && open == 1);
}

#[test]
fn a_budget_that_goes_to_another_team_ends_once_and_counts_that_teams_money_only() {
    let rule = BudgetRule { thresholds: vec![0.5], forecast: true, ..rule() };
    let others = vec![BudgetRule { team: "ads".into(), ..rule.clone() }];
    let told = |alerts: &[Alert]| alerts.iter().map(|alert| (alert.state, alert.team.clone())).collect::<Vec<_>>();
    let search = |state| (state, "search".to_string());
    let ads = |state| (state, "ads".to_string());
    for is_restarted in [false, true] {
        // Both teams in one shard. From hour 300 on ads has spent 0.10 USD an hour: far from 50 % of 1000, and not by forecast either.
        let both = [("search", "ranker", 2.0), ("ads", "bidder", 0.1)];
        let (alerts, open) = play_teams(&both, vec![rule.clone()], [300, 400, 400], others.clone(), is_restarted);
        assert_eq!(told(&alerts).last(), Some(&search(AlertState::Resolved)), "{:#?}", told(&alerts));
        assert_eq!((alerts.iter().filter(|alert| alert.state == AlertState::Resolved).count(), open), (1, 0));
        let last = alerts.last().unwrap();
        let summary = &last.summary;
        assert!(summary.contains("is no longer team search's but team ads's, so that its alert ends: "), "{summary}");
        assert_eq!(last.decided_at, Minute(MARCH.0 + 300 * 60).start().plus_ms(MINUTE_MS));
        // Ads' own money: 500 of 1000 USD after 50 hours, under an id of ads.
        let both = [("search", "ranker", 2.0), ("ads", "bidder", 10.0)];
        let (alerts, open) = play_teams(&both, vec![rule.clone()], [300, 360, 360], others.clone(), is_restarted);
        let of_ads: Vec<&Alert> = alerts.iter().filter(|alert| alert.team == "ads").collect();
        let [alert] = of_ads[..] else { panic!("{:#?}", told(&alerts)) };
        assert_eq!((told(&of_ads.iter().map(|alert| (*alert).clone()).collect::<Vec<_>>()), open), (vec![ads(AlertState::Open)], 1));
        assert!(alert.id.starts_with("ads/") && alert.actual == Nanos::from_units(500), "{} {}", alert.id, alert.actual);
        assert_eq!(alert.revision, 1);
        // Another shard has ads: this one says nothing in its name, even when the month turns and the forecast of search's days is high.
        let (alerts, open) =
            play_teams(&[("search", "ranker", 2.0)], vec![rule.clone()], [300, 40 * 24, 40 * 24], others.clone(), is_restarted);
        assert!(alerts.iter().all(|alert| alert.team == "search" && alert.id.starts_with("search/")), "{:#?}", told(&alerts));
        assert_eq!((told(&alerts).last(), open), (Some(&search(AlertState::Resolved)), 0), "{:#?}", told(&alerts));
        // It comes back: search's alert goes on under its id, and no revision is used twice.
        let (alerts, open) = play_teams(&both, vec![rule.clone()], [300, 310, 312], others.clone(), is_restarted);
        let of_search: Vec<&Alert> = alerts.iter().filter(|alert| alert.team == "search").collect();
        assert!(of_search.iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == of_search[0].id));
        let after: Vec<AlertState> = of_search.iter().map(|alert| alert.state).skip_while(|state| *state != AlertState::Resolved).collect();
        assert_eq!((&after[..2], open), (&[AlertState::Resolved, AlertState::Reopened][..], 1), "{:#?}", told(&alerts));
    }
}

#[test]
fn a_budget_that_counts_something_else_begins_anew() {
    let spends = [("search", "ranker", 2.0), ("search", "crawler", 10.0)];
    let of = |project: &str| vec![BudgetRule { project: Some(project.into()), thresholds: vec![0.5], ..rule() }];
    for is_restarted in [false, true] {
        // 500 of 1000 USD of the ranker are told; the crawler's 10 an hour count from then on.
        let (alerts, open) = play_teams(&spends, of("ranker"), [300, 360, 360], of("crawler"), is_restarted);
        let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
        assert_eq!((&states[..], open), (&[AlertState::Open, AlertState::Resolved, AlertState::Reopened][..], 1), "{alerts:#?}");
        let (over, again) = (&alerts[1], &alerts[2]);
        assert!(over.summary.contains("counts something else by now than it did, so that its alert ends: 500.00 of"), "{}", over.summary);
        assert_eq!((over.dimensions["project"].as_str(), again.dimensions["project"].as_str()), ("ranker", "crawler"));
        assert_eq!(over.decided_at, Minute(MARCH.0 + 300 * 60).start().plus_ms(MINUTE_MS));
        assert_eq!(again.actual, Nanos::from_units(500));
        assert!(alerts.iter().zip(1..).all(|(alert, revision)| alert.revision == revision && alert.id == alerts[0].id));
        // What it has counted before is not what is billed, or of another model or currency.
        let others = [
            BudgetRule { measure: Measure::Billed, ..rule() },
            BudgetRule { model: Some("other".into()), ..rule() },
            BudgetRule { currency: Currency::parse("EUR").unwrap(), ..rule() },
            BudgetRule { cost_center: Some("cc-12".into()), ..rule() },
        ];
        for other in others {
            let (alerts, open) = play_then(vec![rule()], [300, 360, 360], vec![other], is_restarted);
            let states: Vec<AlertState> = alerts.iter().map(|alert| alert.state).collect();
            assert_eq!((&states[..], open), (&[AlertState::Open, AlertState::Resolved][..], 0), "{alerts:#?}");
        }
    }
}

/// A budget that an earlier version left with another team's alert, and one that was never told of.
#[test]
fn what_an_earlier_version_mixed_up_is_sorted_out_at_the_next_hour() {
    let rules = |team: &str| WatchRules {
        matters: MatterRules { budgets: vec![BudgetRule { team: team.into(), ..rule() }], ..MatterRules::default() },
        ..rules()
    };
    let mut shard = Shard::new(0, 1, &rules("search"));
    let mut play = |hours: std::ops::Range<i64>, rules: &WatchRules| {
        let mut alerts = Vec::new();
        for hour in hours {
            let minute = Minute(MARCH.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let partials = vec![partial(minute, "search", "ranker", "ann", 2.0), partial(minute, "ads", "bidder", "bob", 0.1)];
            let effects =
                shard.apply_whole(&ShardRecord { partials, markers: vec![marker], events: Vec::new() }, hour, minute.start(), rules);
            alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        }
        // As that version kept it.
        shard.matters.subjects.clear();
        alerts.retain(|alert| alert.kind == AlertKind::Budget);
        alerts
    };
    assert_eq!(play(0..300, &rules("search")).len(), 1);
    // The same revision of the rules: nothing but the alert's id says whose it is.
    let [alert] = &play(300..320, &rules("ads"))[..] else { panic!("one alert ends") };
    assert_eq!((alert.state, alert.team.as_str()), (AlertState::Resolved, "search"));
    assert!(alert.summary.contains("but team ads's, so that its alert ends"), "{}", alert.summary);
}

/// A backlog is read faster than its hours close: a team that lags holds them back.
#[test]
fn hours_that_close_late_do_not_take_back_what_newer_usage_led_to() {
    let of = |period, forecast| BudgetRule { period, forecast, amount: Nanos::from_units(105), thresholds: vec![1.0], ..rule() };
    for budget in [of(Period::Rolling(90), false), of(Period::Month, true)] {
        let rules = WatchRules { matters: MatterRules { budgets: vec![budget], ..MatterRules::default() }, ..rules() };
        let mut shard = Shard::new(0, 1, &rules);
        let mut alerts = Vec::new();
        // 10 USD a day up to the evening of 31 March, 30 more within the first hours of April.
        let last = 31 * 24;
        let mut take = |hour: i64, money: f64, watermark: i64, offset: i64| {
            let at = |hour: i64| Minute(MARCH.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(at(watermark).start()), idle: false, partitions_of_topic: 1 };
            let record = ShardRecord {
                partials: vec![partial(at(hour), "search", "ranker", "ann", money)],
                markers: vec![marker],
                events: Vec::new(),
            };
            let effects = shard.apply_whole(&record, offset, at(last + 4).start(), &rules);
            alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
        };
        for hour in last - 240..last + 4 {
            take(hour, if hour < last { 10.0 / 24.0 } else { 7.5 }, last - 240, hour);
        }
        for hour in last - 240..last + 4 {
            take(last + 3, 0.0, hour, 10_000 + hour);
        }
        alerts.retain(|alert| alert.kind == AlertKind::Budget);
        let told: Vec<(AlertState, &str)> = alerts.iter().map(|alert| (alert.state, alert.summary.as_str())).collect();
        match rules.matters.budgets[0].period {
            Period::Rolling(_) => assert!(matches!(told[..], [(AlertState::Open, _)]), "{told:#?}"),
            Period::Month => assert!(told.iter().all(|(_, summary)| !summary.contains("March")), "{told:#?}"),
        }
    }
}

#[test]
fn months_are_those_of_the_team() {
    let berlin = crate::model::time::zone("Europe/Berlin").unwrap();
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let last = day_of(at("2026-03-31T21:30:00Z"), &berlin);
    let first = day_of(at("2026-03-31T22:30:00Z"), &berlin);
    assert_eq!((month_of(last).end, month_of(first).first), (first, first));
    assert_eq!(start_of(first, &berlin), at("2026-03-31T22:00:00Z"));
    assert_eq!(month_of(day_of(at("2028-02-29T12:00:00Z"), &jiff::tz::TimeZone::UTC)).end - month_of(last).first, 731);
}
