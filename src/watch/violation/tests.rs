//! Violations as a shard lives through them: what opens, grows, ends and opens again, and what stays silent.

use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{Open, Reopened, Resolved, Updated};
use crate::model::effect::Effect;
use crate::model::leaf::Leaf;
use crate::model::lineage::{ModelFacts, ModelName};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Marker, Partial, PolicyHit, Said, ShardEvent, ShardRecord, Source};
use crate::model::resource::ResourceSample;
use crate::model::time::{MINUTE_MS, Minute};
use crate::model::violation::Violation;
use crate::policy::fields::Subject;
use crate::policy::stream::tests::{policy, policy_over, stream};
use crate::policy::{Exemption, Message, Mode, Policy};
use crate::watch::Shard;
use crate::watch::rules::WatchRules;
use crate::watch::tests::{START, partial, rules};

pub(super) struct Bench {
    pub shard: Shard,
    pub rules: WatchRules,
    offset: i64,
    told: Vec<Violation>,
}

impl Bench {
    pub fn new(policies: Vec<Policy>) -> Bench {
        let rules = WatchRules { policies: stream(policies, Vec::new()), ..rules() };
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, told: Vec::new() }
    }

    /// What is told about these partials; the watermark is at the minute.
    pub fn minute(&mut self, minute: i64, partials: Vec<Partial>) -> Vec<Violation> {
        self.record(minute, partials, Vec::new())
    }

    fn resource(&mut self, minute: i64, change: impl FnOnce(&mut ResourceSample)) -> Vec<Violation> {
        let mut sample = ResourceSample {
            event_id: format!("{minute}").as_str().into(),
            event_time: Minute(START.0 + minute).start(),
            team: "search".into(),
            resource_id: Some("gpu-1".into()),
            hourly_cost: Some(Nanos::from_units(30)),
            currency: Some(Currency::USD),
            ..ResourceSample::default()
        };
        change(&mut sample);
        self.record(minute, Vec::new(), vec![ShardEvent::Resource(Box::new(sample))])
    }

    pub fn activity(&mut self, minute: i64, action: &str, change: impl FnOnce(&mut ActivityEvent)) -> Vec<Violation> {
        let mut activity = ActivityEvent {
            event_id: format!("{minute}-{action}").as_str().into(),
            event_time: Minute(START.0 + minute).start(),
            team: "search".into(),
            action: Some(action.into()),
            model: Some("m-7".into()),
            ..ActivityEvent::default()
        };
        change(&mut activity);
        self.record(minute, Vec::new(), vec![ShardEvent::Activity(Box::new(activity))])
    }

    pub fn record(&mut self, minute: i64, partials: Vec<Partial>, events: Vec<ShardEvent>) -> Vec<Violation> {
        let start = Minute(START.0 + minute).start();
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(start), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events };
        let effects = self.shard.apply_whole(&record, self.offset, start.plus_ms(MINUTE_MS), &self.rules);
        self.offset += 1;
        let of = |effect| if let Effect::Violation(violation) = effect { Some(*violation) } else { None };
        let told: Vec<Violation> = effects.into_iter().filter_map(of).collect();
        self.told.extend(told.iter().cloned());
        told
    }
}

pub(super) fn used(minute: i64, provider: &str, project: &str, money: f64) -> Partial {
    let partial = partial(Minute(START.0 + minute), "search", project, "ann", money);
    Partial { leaf: Leaf { provider: provider.into(), ..partial.leaf.clone() }, ..partial }
}

pub(super) fn states(told: &[Violation]) -> Vec<(crate::model::alert::AlertState, u64)> {
    told.iter().map(|violation| (violation.state, violation.revision)).collect()
}

const UNAPPROVED: &str = "!(provider in ['openai', 'aws'])";

#[test]
fn one_violation_of_a_policy_and_a_subject_lives_from_its_first_event_to_a_day_without() {
    let mut bench = Bench::new(vec![policy("approved", UNAPPROVED)]);
    assert_eq!(bench.minute(0, vec![used(0, "openai", "ranker", 5.0)]), []);
    let opened = bench.minute(1, vec![used(1, "deepseek", "ranker", 0.5), used(1, "deepseek", "crawler", 0.25)]);
    assert_eq!(states(&opened), [(Open, 1)], "two projects of one provider are one matter");
    assert_eq!((opened[0].team.as_str(), opened[0].subject.as_str()), ("search", "provider=deepseek"));
    assert_eq!((opened[0].count, opened[0].amount), (3, Some(Nanos(500_000_000))), "as it stood when it was told");
    assert_eq!(opened[0].message, "search uses deepseek");
    assert!(opened[0].id.starts_with("search/") && opened[0].incident_id == opened[0].id && opened[0].notify);
    assert_eq!(bench.minute(2, vec![used(2, "deepseek", "ranker", 0.5)]), [], "no news within the hour");
    let much = bench.minute(3, vec![used(3, "deepseek", "ranker", 40.0)]);
    assert_eq!((states(&much), much[0].amount), (vec![(Updated, 2)], Some(Nanos(41_250_000_000))), "much more is");
    assert_eq!(states(&bench.minute(61, vec![used(61, "deepseek", "ranker", 0.5)])), [(Updated, 3)], "and each hour of usage");
    assert_eq!(bench.minute(61 + 24 * 60, vec![]), [], "less than a day since the last event, which was 30 s later");
    let ended = bench.minute(62 + 24 * 60, vec![used(62 + 24 * 60, "openai", "ranker", 1.0)]);
    assert_eq!((states(&ended), ended[0].count), (vec![(Resolved, 4)], 15));
    assert_eq!(ended[0].evidence["ended"], "nothing of it has come for a day");
    assert_eq!(ended[0].closed_at, Some(Minute(START.0 + 61 + 24 * 60).start().plus_ms(30_000)));
    let again = bench.minute(3000, vec![used(3000, "deepseek", "ranker", 0.5)]);
    assert_eq!((states(&again), again[0].count, &again[0].id), (vec![(Reopened, 5)], 3, &opened[0].id));
    assert!(!again[0].evidence.contains_key("ended"));
    assert_eq!(bench.shard.open_violations(), 1);
    (bench.rules.revision, bench.rules.policies) = (2, stream(Vec::new(), Vec::new()));
    let gone = bench.minute(3001, vec![used(3001, "openai", "ranker", 0.5)]);
    assert_eq!((states(&gone), gone[0].evidence["ended"].as_str()), (vec![(Resolved, 6)], "the policy is gone"));
    bench.rules.policies = stream(vec![policy("approved", UNAPPROVED)], Vec::new());
    let again = bench.minute(3002, vec![used(3002, "deepseek", "ranker", 0.5)]);
    assert_eq!((states(&again), bench.shard.open_violations()), (vec![(Reopened, 7)], 1));
}

/// A backfill, or a partition that lags.
#[test]
fn usage_that_is_told_after_the_end_is_a_part_of_what_was() {
    let ended = || {
        let mut bench = Bench::new(vec![policy("approved", UNAPPROVED)]);
        assert_eq!(states(&bench.minute(1, vec![used(1, "deepseek", "ranker", 0.5)])), [(Open, 1)]);
        assert_eq!(states(&bench.minute(2 + 1440, vec![])), [(Resolved, 2)]);
        bench
    };
    let mut bench = ended();
    for minute in [0, 100, 900] {
        assert_eq!(bench.minute(3000, vec![used(minute, "deepseek", "ranker", 0.5)]), [], "a day has been quiet since: {minute}");
    }
    let kept = bench.shard.violations.known.values().next().unwrap();
    assert_eq!((kept.count, kept.amount, kept.is_open()), (12, Nanos::from_units(2), false));
    let again = bench.minute(3001, vec![used(3001, "deepseek", "ranker", 0.5)]);
    assert_eq!((states(&again), again[0].count), (vec![(Reopened, 3)], 3), "what is of after it begins anew");
    let mut bench = ended();
    let again = bench.minute(1450, vec![used(900, "deepseek", "ranker", 0.5)]);
    assert_eq!((states(&again), again[0].count, again[0].amount), (vec![(Reopened, 3)], 6, Some(Nanos::from_units(1))));
    assert_eq!(bench.minute(900 + 1440, vec![]), []);
    assert_eq!(states(&bench.minute(901 + 1440, vec![])), [(Resolved, 4)]);
}

#[test]
fn what_intake_said_of_single_events_counts_with_its_own_money() {
    let mut untagged = policy("cost-center", "!has(tags.cost_center)");
    untagged.per = vec![Subject::Usage.field("project").unwrap()];
    let mut bench = Bench::new(vec![untagged]);
    let hit = |policy: &str, said| PolicyHit { policy: policy.into(), said, events: 2, cost: Nanos(7) };
    let with = |minute, hits| Partial { hits, ..used(minute, "openai", "ranker", 1.0) };
    let quiet = vec![hit("cost-center", Said::Exempt), hit("cost-center", Said::Indeterminate), hit("gone", Said::Violates)];
    assert_eq!(bench.minute(0, vec![with(0, quiet)]), []);
    let told = bench.minute(1, vec![with(1, vec![hit("cost-center", Said::Violates)])]);
    assert_eq!((told[0].count, told[0].amount, told[0].subject.as_str()), (2, Some(Nanos(7)), "project=ranker"));
    let verdicts: Vec<(String, &str, u64)> =
        bench.shard.take_verdicts().into_iter().map(|((policy, said), events)| (policy.to_string(), said.as_str(), events)).collect();
    let counted = |said| ("cost-center".to_string(), said, 2);
    let expected = [counted("violates"), counted("exempt"), counted("indeterminate"), ("gone".to_string(), "violates", 2)];
    assert_eq!(verdicts, expected);
}

/// Who it was is known where all of a minute's sum violates, of single events too.
#[test]
fn a_message_names_who_did_it() {
    let message = || Message::parse("{user} of {team} uses {provider}", Subject::Usage).unwrap();
    let of_event = Policy { message: message(), ..policy("cost-center", "!has(tags.cost_center)") };
    let mut bench = Bench::new(vec![Policy { message: message(), ..policy("approved", UNAPPROVED) }, of_event]);
    let by = |minute, user: &str, events: u64| {
        let mut used = used(minute, "deepseek", "ranker", 40.0);
        used.users[0].user = user.into();
        let hit = PolicyHit { policy: "cost-center".into(), said: Said::Violates, events, cost: Nanos::from_units(30) };
        Partial { hits: if events > 0 { vec![hit] } else { Vec::new() }, ..used }
    };
    let said =
        |told: &[Violation], policy: &str| told.iter().filter(|told| told.policy == policy).map(|told| told.message.clone()).next_back();
    let first = bench.minute(0, vec![by(0, "bob", 0)]);
    assert_eq!(said(&first, "approved").as_deref(), Some("bob of search uses deepseek"));
    let next = bench.minute(61, vec![by(61, "ann", 3)]);
    assert_eq!(said(&next, "approved").as_deref(), Some("ann, bob of search uses deepseek"));
    assert_eq!(said(&next, "cost-center").as_deref(), Some("ann of search uses deepseek"));
    // Of two of three events nobody knows whose they are.
    let mut bench = Bench::new(vec![Policy { message: message(), ..policy("cost-center", "!has(tags.cost_center)") }]);
    let some = bench.minute(0, vec![by(0, "ann", 2)]);
    assert_eq!(said(&some, "cost-center").as_deref(), Some("(user of each event) of search uses deepseek"));
}

#[test]
fn a_policy_that_is_tried_out_and_a_field_that_is_missing_are_counted_and_tell_nobody() {
    let tried = Policy { mode: Mode::DryRun, ..policy("tried", UNAPPROVED) };
    let mut bench = Bench::new(vec![tried, policy("regional", "region == 'eu-central-1'")]);
    let nowhere = Partial { leaf: Leaf { region: "".into(), ..used(0, "x", "p", 1.0).leaf }, ..used(0, "deepseek", "p", 1.0) };
    assert_eq!(bench.minute(0, vec![nowhere]), []);
    let said: Vec<(&str, u64)> = bench.shard.take_verdicts().into_iter().map(|((_, said), events)| (said.as_str(), events)).collect();
    assert_eq!(said, [("indeterminate", 3), ("dry_run", 3)]);
}

/// The very series is asked again when the exemption ends, and events of before it stay exempt.
#[test]
fn an_exemption_ends_by_itself() {
    let until = Minute(START.0 + 100).start();
    let only = vec![(Subject::Usage.field("team").unwrap(), "search".into())];
    let exemption = Exemption { policy: "approved".into(), only, reason: "trial".into(), approved_by: "cto".into(), until };
    let mut bench = Bench::new(Vec::new());
    bench.rules.policies = stream(vec![policy("approved", UNAPPROVED)], vec![exemption]);
    for minute in [0, 99] {
        assert_eq!(bench.minute(minute, vec![used(minute, "deepseek", "ranker", 1.0)]), []);
    }
    assert_eq!(states(&bench.minute(100, vec![used(100, "deepseek", "ranker", 1.0)])), [(Open, 1)]);
    assert_eq!(bench.minute(101, vec![used(98, "deepseek", "ranker", 1.0)]), []);
    let said: Vec<u64> = bench.shard.take_verdicts().into_values().collect();
    assert_eq!(said, [3, 9], "violating, exempt");
}

#[test]
fn other_rules_end_what_they_allow_at_once_and_ask_again_about_all_else() {
    let mut bench = Bench::new(vec![policy("approved", UNAPPROVED), policy("gone", "project == 'ranker'")]);
    assert_eq!(bench.minute(0, vec![used(0, "deepseek", "ranker", 1.0), used(0, "grok", "crawler", 1.0)]).len(), 3);
    bench.rules.revision = 2;
    bench.rules.policies = stream(vec![policy("approved", "!(provider in ['openai', 'aws', 'deepseek'])")], Vec::new());
    let told = bench.minute(1, vec![]);
    let ended: Vec<(&str, &str)> = told.iter().map(|violation| (violation.policy.as_str(), violation.subject.as_str())).collect();
    assert_eq!(ended, [("approved", "provider=deepseek"), ("gone", "project=ranker")]);
    assert!(told.iter().all(|violation| violation.state == Resolved && violation.rules_revision == 2));
    assert_eq!(bench.minute(2, vec![used(2, "deepseek", "ranker", 1.0)]), []);
    let other = bench.minute(3, vec![used(3, "grok", "crawler", 1.0)]);
    assert_eq!(states(&other), [(Updated, 2)], "the policy is another one, and says so");
    assert_ne!(other[0].policy_hash, bench.told[2].policy_hash);
}

/// The provider that nobody approved makes the spike: one matter, under the alert's id.
#[test]
fn a_violation_joins_the_alert_that_it_explains() {
    let mut bench = Bench::new(vec![policy("approved", UNAPPROVED)]);
    let mut alerts = Vec::new();
    let mut minute = 0;
    while minute < 3 * 24 * 60 {
        bench.minute(minute, vec![used(minute, "openai", "ranker", 0.2)]);
        minute += 10;
    }
    for step in 0..30 {
        let at = minute + step;
        let record = ShardRecord {
            partials: vec![used(at, "openai", "ranker", 0.02), used(at, "deepseek", "ranker", 6.0)],
            ..ShardRecord::default()
        };
        let time = Minute(START.0 + at).start();
        for effect in bench.shard.apply_whole(&record, bench.offset, time, &bench.rules) {
            match effect {
                Effect::Alert(alert) => alerts.push(*alert),
                Effect::Violation(violation) => bench.told.push(*violation),
                _ => {}
            }
        }
        bench.offset += 1;
    }
    assert!(!alerts.is_empty());
    let last = bench.told.last().unwrap();
    assert_eq!(last.incident_id, alerts[0].incident_id, "{last:?}");
    assert_eq!(bench.told[0].incident_id, bench.told[0].id, "at first there was no alert");
}

/// Whoever sends ever new names gets one more violation, and no more than that.
#[test]
fn a_flood_of_subjects_is_one_violation_together() {
    let mut bench = Bench::new(vec![policy("approved", UNAPPROVED)]);
    for number in 0..700 {
        bench.minute(number / 100, vec![used(number / 100, &format!("p{number}"), "ranker", 1.0)]);
    }
    assert_eq!(bench.shard.open_violations(), 501);
    let together: Vec<&Violation> = bench.told.iter().filter(|violation| violation.subject == "(other)").collect();
    assert!(together.iter().all(|violation| violation.id == together[0].id), "{together:#?}");
    let last = together.last().unwrap();
    // Three events for a dollar.
    assert!(last.count > 3 && last.amount == Some(Nanos::from_units(i64::try_from(last.count).unwrap() / 3)), "{last:#?}");
}

#[test]
fn long_after_its_end_it_is_another_violation() {
    let mut bench = Bench::new(vec![policy("approved", UNAPPROVED)]);
    bench.minute(0, vec![used(0, "deepseek", "ranker", 1.0)]);
    bench.minute(25 * 60, vec![]);
    let later = 40 * 24 * 60;
    bench.minute(later - 1, vec![]);
    let again = bench.minute(later, vec![used(later, "deepseek", "ranker", 1.0)]);
    assert_eq!(states(&again), [(Open, 1)]);
    assert_ne!(again[0].id, bench.told[0].id);
}

fn owner_tag() -> Policy {
    policy_over(Subject::Resource, "owner", "!has(resource.owner)", None)
}

#[test]
fn a_resource_violates_until_it_is_right_again() {
    let mut bench = Bench::new(vec![owner_tag()]);
    let told = bench.resource(0, |_| {});
    assert_eq!((states(&told), told[0].subject.as_str(), told[0].amount), (vec![(Open, 1)], "resource_id=gpu-1", Some(Nanos::ZERO)));
    assert_eq!(states(&bench.resource(20, |sample| sample.resource_id = Some("gpu-2".into()))), [(Open, 1)], "each is a matter of its own");
    assert_eq!(states(&bench.resource(30, |_| {})), [(Updated, 2)], "15 dollars more");
    assert_eq!(bench.resource(30, |_| {}), [], "it came twice");
    let ended = bench.resource(40, |sample| sample.owner = Some("ann".into()));
    assert_eq!((states(&ended), ended[0].count), (vec![(Resolved, 3)], 2));
    assert_eq!(ended[0].amount, Some(Nanos::from_units(15)), "half an hour between the two");
    let late = bench.resource(41, |sample| sample.event_time = Minute(START.0 + 35).start());
    assert_eq!(late, [], "what stood before it was right opens nothing");
    assert_eq!(states(&bench.resource(50, |_| {})), [(Reopened, 4)]);
    assert_eq!(bench.shard.open_violations(), 2);
}

/// What stops has no price, and is the same resource.
#[test]
fn a_resource_is_one_matter_whether_it_is_told_what_it_costs_or_not() {
    let mut bench = Bench::new(vec![owner_tag()]);
    let unpriced = |sample: &mut ResourceSample| (sample.hourly_cost, sample.currency) = (None, None);
    assert_eq!(states(&bench.resource(0, |_| {})), [(Open, 1)]);
    assert_eq!(bench.resource(10, unpriced), []);
    let told = bench.resource(70, |_| {});
    assert_eq!((states(&told), told[0].count, told[0].amount), (vec![(Updated, 2)], 3, Some(Nanos::from_units(30))));
    let mended = |sample: &mut ResourceSample| {
        unpriced(sample);
        sample.owner = Some("ann".into());
    };
    assert_eq!(states(&bench.resource(80, mended)), [(Resolved, 3)]);
    assert_eq!(bench.shard.open_violations(), 0);
    let another = |sample: &mut ResourceSample| sample.resource_id = Some("gpu-2".into());
    let told = bench.resource(90, |sample| (unpriced(sample), another(sample)).1);
    assert_eq!((states(&told), told[0].amount), (vec![(Open, 1)], None), "of which it was never told what it costs");
    let mended = bench.resource(100, |sample| (another(sample), sample.owner = Some("ann".into())).1);
    assert_eq!(states(&mended), [(Resolved, 2)]);
}

/// By somebody's word, or since the policy is only tried out.
#[test]
fn a_resource_that_may_be_as_it_is_now_is_no_violation_any_more() {
    let (until, reason) = (Minute(START.0 + 60).start(), "moving".to_string());
    let exemption = Exemption { policy: "owner".into(), only: Vec::new(), reason, approved_by: "cto".into(), until };
    for (policy, exemptions) in [(owner_tag(), vec![exemption]), (Policy { mode: Mode::DryRun, ..owner_tag() }, Vec::new())] {
        let mut bench = Bench::new(vec![owner_tag()]);
        assert_eq!(states(&bench.resource(0, |_| {})), [(Open, 1)]);
        bench.rules.revision = 2;
        bench.rules.policies = stream(vec![policy], exemptions);
        assert_eq!(states(&bench.resource(10, |_| {})), [(Resolved, 2)]);
        assert_eq!(bench.resource(20, |_| {}), []);
    }
}

pub(super) fn in_asia() -> Policy {
    let when = "action == 'deployment' && 'EEA' in origin_blocs && 'ASIA' in blocs";
    policy_over(Subject::Activity, "asia", when, Some("has(activity.approval)"))
}

/// Topics keep no order among partitions: the model's origin may be told after its deployment.
#[test]
fn a_deployment_waits_for_what_is_told_of_its_model_and_lasts_until_it_ends() {
    let deployed = |activity: &mut ActivityEvent| activity.region = Some("ap-northeast-1".into());
    let registered = |activity: &mut ActivityEvent| activity.origin_region = Some("eu-central-1".into());
    for origin_first in [true, false] {
        let mut bench = Bench::new(vec![in_asia()]);
        let told = if origin_first {
            assert_eq!(bench.activity(0, "model_registered", registered), []);
            bench.activity(1, "deployment", deployed)
        } else {
            assert_eq!(bench.activity(0, "deployment", deployed), []);
            bench.activity(1, "model_registered", registered)
        };
        assert_eq!((states(&told), told[0].evidence["origin_blocs"].contains("EEA")), (vec![(Open, 1)], true));
        assert_eq!((told[0].count, told[0].amount, told[0].currency), (1, None, None), "it is not about money");
        assert_eq!(bench.activity(2, "model_registered", registered), [], "no news");
        assert_eq!(bench.minute(5 * 24 * 60, vec![]), [], "however quiet it is");
        let (action, at) = if origin_first { ("undeployment", 7_300) } else { ("approval", 7_300) };
        let ended = bench.activity(at, action, |activity| {
            activity.region = Some("ap-northeast-1".into()).filter(|_| origin_first);
            activity.approval = Some("RV-1".into()).filter(|_| !origin_first);
        });
        assert_eq!(states(&ended), [(Resolved, 2)]);
    }
    let mut bench = Bench::new(vec![in_asia()]);
    bench.activity(0, "deployment", deployed);
    bench.activity(1, "undeployment", |_| {});
    assert_eq!(bench.activity(2, "model_registered", registered), [], "it runs no more");
    let said: Vec<(&str, u64)> = bench.shard.take_verdicts().into_iter().map(|((_, said), events)| (said.as_str(), events)).collect();
    assert_eq!(said, [("indeterminate", 1)]);
}

/// Nobody has told of a deployment, but the model answers, and that costs money.
#[test]
fn usage_is_held_against_what_is_known_of_its_model() {
    let trained = policy_over(Subject::Usage, "answers", "'EEA' in origin_blocs && 'ASIA' in blocs", Some("has(usage.approval)"));
    let mut bench = Bench::new(vec![trained]);
    let answers = |minute| {
        let partial = used(minute, "openai", "ranker", 2.0);
        Partial { leaf: Leaf { model: "m-7".into(), region: "ap-northeast-1".into(), ..partial.leaf.clone() }, ..partial }
    };
    assert_eq!(bench.minute(0, vec![answers(0)]), [], "nothing is known of it yet");
    bench.activity(1, "model_registered", |activity| activity.origin_region = Some("eu-central-1".into()));
    let told = bench.minute(2, vec![answers(2)]);
    assert_eq!((states(&told), told[0].amount), (vec![(Open, 1)], Some(Nanos::from_units(2))));
    assert_eq!(told[0].subject, "origin_region=eu-central-1;region=ap-northeast-1");
    let ended = bench.activity(10, "approval", |activity| {
        (activity.approval, activity.expires_at) = (Some("RV-1".into()), Some(Minute(START.0 + 60).start()));
    });
    assert_eq!(states(&ended), [(Resolved, 2)], "at once");
    assert_eq!(bench.minute(59, vec![answers(59)]), []);
    assert_eq!(states(&bench.minute(60, vec![answers(60)])), [(Reopened, 3)], "the approval was for a time");
}

#[test]
fn egress_is_use_of_the_provider_whose_host_it_is() {
    let shadow = policy_over(Subject::Activity, "shadow", "action == 'egress' && has(activity.provider) && provider != 'openai'", None);
    let mut bench = Bench::new(vec![Policy { per: vec![Subject::Activity.field("provider").unwrap()], ..shadow }]);
    let mut to = |minute, host: &str, actor: &str| {
        bench.activity(minute, "egress", |activity| (activity.destination, activity.actor) = (Some(host.into()), Some(actor.into())))
    };
    assert_eq!(to(0, "api.openai.com", "ann"), []);
    assert_eq!(to(1, "example.com", "ann"), []);
    assert_eq!(states(&to(2, "https://api.deepseek.com/v1", "ben")), [(Open, 1)]);
    assert_eq!(to(3, "chat.deepseek.com", "ann"), []);
    let told = to(65, "api.deepseek.com", "ann");
    assert_eq!((states(&told), told[0].subject.as_str(), told[0].count), (vec![(Updated, 2)], "provider=deepseek", 3));
    assert_eq!(told[0].evidence["users"], "ann, ben");
    assert_eq!(told[0].evidence["first_seen"], Minute(START.0 + 2).start().to_string());
}

pub(super) fn told_by_lineage(bench: &mut Bench, minute: i64, version: Option<&str>, origins: &[&str], has_gap: bool) -> Vec<Violation> {
    let model = ModelName { model: "m-7".into(), version: version.map(Into::into) };
    let facts = ModelFacts { model, origins: origins.iter().map(|origin| (*origin).into()).collect(), has_gap };
    bench.record(minute, Vec::new(), vec![ShardEvent::Facts(Box::new(facts))])
}

/// Of a model with data from many places, one place is enough; what is discovered late counts for what runs already.
#[test]
fn what_lineage_tells_late_is_held_against_what_answers_and_what_is_deployed() {
    let trained = policy_over(Subject::Usage, "answers", "'EEA' in origin_blocs && 'ASIA' in blocs", None);
    let mut bench = Bench::new(vec![trained, in_asia()]);
    let answers = |minute| {
        let partial = used(minute, "openai", "ranker", 2.0);
        Partial { leaf: Leaf { model: "m-7".into(), region: "ap-northeast-1".into(), ..partial.leaf.clone() }, ..partial }
    };
    let deployed = |activity: &mut ActivityEvent| {
        (activity.region, activity.model_version) = (Some("ap-northeast-1".into()), Some("3".into()));
    };
    assert_eq!(bench.activity(0, "deployment", deployed), [], "nothing is known yet");
    assert_eq!(bench.minute(1, vec![answers(1)]), []);
    assert_eq!(told_by_lineage(&mut bench, 2, None, &["US", "JP"], true), []);
    assert_eq!(bench.minute(3, vec![answers(3)]), [], "from there, and from where nobody knows: no verdict");
    let waited = told_by_lineage(&mut bench, 4, Some("3"), &["JP", "eu-central-1"], false);
    assert_eq!((states(&waited), waited[0].policy.as_str()), (vec![(Open, 1)], "asia"), "the deployment waited for it");
    assert_eq!(told_by_lineage(&mut bench, 5, None, &["DE", "JP", "US"], false), []);
    let told = bench.minute(6, vec![answers(6)]);
    assert_eq!((states(&told), told[0].policy.as_str()), (vec![(Open, 1)], "answers"));
    assert_eq!(told[0].evidence["origin_blocs"], "EEA, EU", "the one that makes it a violation");
    // It was an error, or a step turns out to let nothing pass.
    let ended = told_by_lineage(&mut bench, 7, None, &[], false);
    assert_eq!(states(&ended), [(Resolved, 2)]);
    assert_eq!(bench.minute(8, vec![answers(8)]), []);
    bench.shard.take_verdicts();
    bench.minute(9, vec![answers(9)]);
    assert!(bench.shard.take_verdicts().is_empty(), "free of all origins is no gap");
}
