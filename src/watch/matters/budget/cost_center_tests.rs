//! Budgets of cost centres: teams in several shards, one budget. What one shard sees for another passes through the log, and the state of each
//! through the changelog.

use std::collections::BTreeMap;

use super::tests::{MARCH, rule};
use super::*;
use crate::model::Text;
use crate::model::alert::Alert;
use crate::model::hash::shard_of;
use crate::model::leaf::Measure;
use crate::model::money::Currency;
use crate::model::partial::{Marker, ShardEvent, ShardRecord, Source};
use crate::model::spent::{Spent, SpentMinute};
use crate::model::time::MINUTE_MS;
use crate::model::wire::{decode_shard_record, encode_shard_record};
use crate::watch::Restorer;
use crate::watch::matters::rules::{CostCenterRule, MatterRules};
use crate::watch::tests::{partial, rules};

fn watch_rules() -> WatchRules {
    let centre = |name: &str, team: &str, project: Option<&str>| CostCenterRule {
        name: name.into(),
        team: team.into(),
        project: project.map(Text::from),
    };
    let budget = BudgetRule { name: "cc".into(), team: "platform".into(), cost_center: Some("cc-12".into()), ..rule() };
    let cost_centers = vec![centre("cc-12", "search", None), centre("cc-12", "ads", Some("bid*")), centre("cc-13", "*", None)];
    WatchRules { matters: MatterRules { budgets: vec![budget], cost_centers, ..MatterRules::default() }, ..rules() }
}

/// A shard and what is kept of it.
struct Home {
    shard: Shard,
    offset: i64,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Home {
    fn of(team: &str, shards: u32, rules: &WatchRules) -> Home {
        Home { shard: Shard::new(shard_of(team, shards), shards, rules), offset: 0, changelog: BTreeMap::new() }
    }

    fn apply(&mut self, at: Minute, record: &ShardRecord, rules: &WatchRules) -> Vec<Effect> {
        let record = decode_shard_record(&encode_shard_record(record).unwrap()).unwrap();
        let effects = self.shard.apply_whole(&record, self.offset, at.start().plus_ms(MINUTE_MS), rules);
        self.offset += 1;
        self.shard.save_all();
        for change in self.shard.take_changes() {
            match change.value {
                Some(value) => self.changelog.insert(change.key, value),
                None => self.changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(self.shard.header.shard_count);
        self.changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(rules).unwrap();
        let restored = restorer.finish().unwrap();
        assert_eq!(restored, self.shard);
        self.shard = restored;
        effects
    }
}

fn budgets(effects: &[Effect]) -> Vec<Alert> {
    let of = |effect: &Effect| if let Effect::Alert(alert) = effect { Some(*alert.clone()) } else { None };
    effects.iter().filter_map(of).filter(|alert| alert.kind == AlertKind::Budget).collect()
}

#[test]
fn a_cost_centre_is_counted_across_teams_and_shards() {
    // Three teams in as many shards; the owner with one of them; all in one.
    for (shards, known, passed_on) in [(8, 3, 2), (7, 2, 1), (1, 1, 0)] {
        counts(shards, known, passed_on);
    }
}

/// `passed_on`: records an hour that one shard sends to another.
fn counts(shards: u32, known: usize, passed_on: usize) {
    let rules = watch_rules();
    let of = |team: &str| (shard_of(team, shards), Home::of(team, shards, &rules));
    let mut homes: BTreeMap<u32, Home> = ["platform", "search", "ads"].map(of).into();
    assert_eq!(homes.len(), known, "{shards} shards");
    let owner = shard_of("platform", shards);
    let mut alerts: Vec<Alert> = Vec::new();
    for hour in 0..30 {
        let minute = Minute(MARCH.0 + hour * 60);
        let seen = [("platform", "x", 70.0), ("search", "ranker", 10.0), ("ads", "bidder", 10.0), ("ads", "crawler", 500.0)];
        let mut sent = Vec::new();
        for (team, project, money) in seen {
            let record = ShardRecord { partials: vec![partial(minute, team, project, "ann", money)], ..ShardRecord::default() };
            let effects = homes.get_mut(&shard_of(team, shards)).unwrap().apply(minute, &record, &rules);
            alerts.extend(budgets(&effects));
            sent.extend(
                effects
                    .into_iter()
                    .filter_map(|effect| if let Effect::Shard { shard, record } = effect { Some((shard, record)) } else { None }),
            );
        }
        assert_eq!(sent.len(), passed_on, "{shards} shards");
        for (shard, record) in sent {
            assert_eq!(shard, owner);
            alerts.extend(budgets(&homes.get_mut(&owner).unwrap().apply(minute, &record, &rules)));
        }
    }
    // 20 USD an hour: half of 1000 after 25 hours, and not a cent of cc-13.
    let [alert] = &alerts[..] else { panic!("{alerts:?}") };
    let cost_center = alert.dimensions["cost_center"].as_str();
    assert_eq!((alert.team.as_str(), cost_center, alert.actual), ("platform", "cc-12", Nanos::from_units(500)));
    assert_eq!(alert.event_time.hour().0 - MARCH.hour().0, 24);
    let days = &homes[&owner].shard.matters.budgets["cc"].days;
    assert_eq!(days.values().map(|day| day.0).sum::<i128>(), Nanos::from_units(600).0);
    homes.remove(&owner);
    assert!(homes.values().all(|home| home.shard.matters.budgets.is_empty()), "one shard keeps it");
}

#[test]
fn what_a_budget_is_of_may_have_changed_since_it_was_sent() {
    let rules = watch_rules();
    let mut home = Home::of("platform", 7, &rules);
    let spent = Spent {
        budget: "cc".into(),
        team: "platform".into(),
        cost_center: "cc-12".into(),
        measure: Measure::Estimated,
        currency: Currency::USD,
        minutes: vec![SpentMinute { minute: MARCH, cost: Nanos::from_units(900) }],
        without_pace: Vec::new(),
        last_event_time: MARCH.start(),
        last_ingest_time: MARCH.start(),
    };
    let others = [
        Spent { cost_center: "cc-11".into(), ..spent.clone() },
        Spent { team: "ads".into(), ..spent.clone() },
        Spent { measure: Measure::Billed, ..spent.clone() },
        Spent { budget: "old".into(), ..spent.clone() },
    ];
    for (other, counts) in others.into_iter().map(|other| (other, false)).chain([(spent, true)]) {
        let record = ShardRecord { events: vec![crate::model::partial::ShardEvent::Spent(Box::new(other))], ..ShardRecord::default() };
        let told = budgets(&home.apply(MARCH, &record, &rules));
        assert_eq!(told.len(), usize::from(counts), "{told:?}");
    }
}

/// 20 USD an hour, of which half of 1000 are told to platform; then somebody else is to be told.
#[test]
fn a_cost_centre_that_another_team_is_told_of_keeps_its_days_where_they_are() {
    for (shards, is_carried) in [(1, true), (8, false)] {
        let rules = watch_rules();
        let mut others = watch_rules();
        (others.matters.budgets[0].team, others.revision) = ("ads".into(), rules.revision + 1);
        assert_eq!(shard_of("ads", shards) == shard_of("platform", shards), is_carried);
        let mut home = Home::of("platform", shards, &rules);
        let mut alerts = Vec::new();
        for hour in 0..40 {
            let rules = if hour < 30 { &rules } else { &others };
            let minute = Minute(MARCH.0 + hour * 60);
            let spent = Spent {
                budget: "cc".into(),
                team: rules.matters.budgets[0].team.clone(),
                cost_center: "cc-12".into(),
                measure: Measure::Estimated,
                currency: Currency::USD,
                minutes: vec![SpentMinute { minute, cost: Nanos::from_units(20) }],
                without_pace: Vec::new(),
                last_event_time: minute.start(),
                last_ingest_time: minute.start(),
            };
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            // The other team's shard hears of it from then on.
            let events = if hour < 30 || is_carried { vec![ShardEvent::Spent(Box::new(spent))] } else { Vec::new() };
            let record = ShardRecord { partials: vec![partial(minute, "platform", "x", "ann", 1.0)], events, markers: vec![marker] };
            alerts.extend(budgets(&home.apply(minute, &record, rules)));
        }
        let told: Vec<(AlertState, &str)> = alerts.iter().map(|alert| (alert.state, alert.team.as_str())).collect();
        let of_platform = [(AlertState::Open, "platform"), (AlertState::Resolved, "platform")];
        if is_carried {
            let of_ads = [(AlertState::Open, "ads"), (AlertState::Escalated, "ads")];
            assert_eq!(told, [of_platform, of_ads].concat(), "{alerts:#?}");
            assert_eq!(alerts[3].actual, Nanos::from_units(800), "every day of it");
        } else {
            assert_eq!(told, of_platform, "{alerts:#?}");
        }
    }
}

/// As of a team's budget: it is spent, and no pace, whichever shard sees it.
#[test]
fn a_fee_of_a_cost_centre_has_no_pace() {
    let told = |shards: u32, meter: &str| {
        let mut rules = watch_rules();
        let own = rules.matters.budgets[0].clone();
        rules.matters.budgets = vec![BudgetRule { measure: Measure::Billed, burn_rate: 6.0, thresholds: vec![0.2], ..own }];
        let of = |team: &str| (shard_of(team, shards), Home::of(team, shards, &rules));
        let mut homes: BTreeMap<u32, Home> = ["platform", "search"].map(of).into();
        let (owner, seer) = (shard_of("platform", shards), shard_of("search", shards));
        let mut alerts = Vec::new();
        for hour in 0..4 {
            let minute = Minute(MARCH.0 + hour * 60);
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let mut fee = partial(minute, "search", "ranker", "ann", 300.0);
            (fee.leaf.measure, fee.leaf.meter) = (Measure::Billed, meter.into());
            let record = ShardRecord { partials: if hour == 0 { vec![fee] } else { Vec::new() }, ..ShardRecord::default() };
            let mut records = vec![(seer, record), (owner, ShardRecord { markers: vec![marker], ..ShardRecord::default() })];
            while let Some((shard, record)) = records.pop() {
                let effects = homes.get_mut(&shard).unwrap().apply(minute, &record, &rules);
                alerts.extend(budgets(&effects));
                let sent = |effect| if let Effect::Shard { shard, record } = effect { Some((shard, record)) } else { None };
                records.extend(effects.into_iter().filter_map(sent));
            }
        }
        let spent = homes[&owner].shard.matters.budgets["cc"].days.values().map(|day| day.0).sum::<i128>();
        assert_eq!(spent, Nanos::from_units(300).0, "counted once");
        alerts.iter().map(|alert| alert.summary.contains("an even pace")).collect::<Vec<_>>()
    };
    for shards in [8, 1] {
        assert_eq!(told(shards, "charge.long_period"), [false], "{shards}");
        assert_eq!(told(shards, "charge.purchase"), [false], "{shards}");
        assert!(told(shards, "").contains(&true), "{shards}");
    }
}
