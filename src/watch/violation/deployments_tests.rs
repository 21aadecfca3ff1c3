//! What runs is judged again: approvals that cover a part, end or are taken back, origins found late, gaps that nobody fills in time.

use super::tests::{Bench, in_asia, states, told_by_lineage, used};
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{Open, Reopened, Resolved, Updated};
use crate::model::leaf::Leaf;
use crate::model::lineage::{DatasetUse, OriginRule};
use crate::model::partial::{Partial, ShardEvent};
use crate::model::time::{MINUTE_MS, Minute};
use crate::model::violation::Violation;
use crate::policy::fields::Subject;
use crate::policy::stream::tests::{policy_over, stream};
use crate::policy::{Exemption, Policy};
use crate::watch::Restorer;
use crate::watch::tests::START;

const TOKYO: &str = "ap-northeast-1";
const MUMBAI: &str = "ap-south-1";

fn per_region(policy: Policy) -> Policy {
    Policy { per: ["model", "region"].iter().map(|name| Subject::Activity.field(name).unwrap()).collect(), ..policy }
}

fn deploy(bench: &mut Bench, minute: i64, region: &str, approval: Option<&str>) -> Vec<Violation> {
    bench.activity(minute, "deployment", |activity| {
        (activity.region, activity.approval) = (Some(region.into()), approval.map(Into::into));
        activity.event_id = format!("deploy-{region}").as_str().into();
    })
}

fn approve(bench: &mut Bench, minute: i64, id: &str, region: Option<&str>, until: Option<i64>, basis: Option<&str>) -> Vec<Violation> {
    bench.activity(minute, "approval", |activity| {
        (activity.approval, activity.region) = (Some(id.into()), region.map(Into::into));
        activity.expires_at = until.map(|minute| Minute(START.0 + minute).start());
        activity.tags.extend(basis.map(|basis| ("basis".into(), basis.into())));
    })
}

fn european(activity: &mut ActivityEvent) {
    activity.origin_region = Some("eu-central-1".into());
}

fn of(told: &[Violation]) -> Vec<(crate::model::alert::AlertState, &str)> {
    told.iter().map(|violation| (violation.state, violation.subject.as_str())).collect()
}

#[test]
fn an_approval_covers_what_it_names_until_it_ends_or_is_taken_back() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    assert_eq!(states(&deploy(&mut bench, 1, TOKYO, None)), [(Open, 1)]);
    assert_eq!(states(&deploy(&mut bench, 2, MUMBAI, None)), [(Open, 1)]);
    let ended = approve(&mut bench, 3, "RV-1", Some(TOKYO), Some(600), None);
    assert_eq!(of(&ended), [(Resolved, "model=m-7;region=ap-northeast-1")], "Mumbai is not what was reviewed");
    assert_eq!(approve(&mut bench, 4, "RV-1", Some(TOKYO), Some(600), None), [], "said twice");
    assert_eq!(bench.minute(598, vec![]), []);
    let over = bench.minute(599, vec![]);
    assert_eq!((of(&over), over[0].revision), (vec![(Reopened, "model=m-7;region=ap-northeast-1")], 3), "its time is over, whatever comes");
    assert_eq!(bench.minute(700, vec![]), []);
    // A new one of all regions, which is then taken back.
    assert_eq!(of(&approve(&mut bench, 701, "RV-2", None, None, None)).len(), 2);
    let back = bench.activity(710, "revoke", |activity| (activity.model, activity.approval) = (None, Some("RV-2".into())));
    assert_eq!(states(&back), [(Reopened, 5), (Reopened, 3)]);
    // It runs no more.
    assert_eq!(bench.activity(720, "undeployment", |_| {}).len(), 2);
    assert_eq!(approve(&mut bench, 730, "RV-3", None, Some(740), None), []);
    assert_eq!(bench.minute(800, vec![]), []);
}

#[test]
fn who_rests_on_an_approval_that_has_ended_has_none() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    approve(&mut bench, 1, "RV-1", Some(TOKYO), Some(60), None);
    assert_eq!(deploy(&mut bench, 2, MUMBAI, Some("RV-1")), [], "the deployment says by itself what it rests on");
    assert_eq!(states(&bench.minute(60, vec![])), [(Open, 1)], "and that has ended");
    assert_eq!(states(&deploy(&mut bench, 70, TOKYO, Some("RV-1"))), [(Open, 1)]);
    assert_eq!(deploy(&mut bench, 71, "ap-southeast-1", Some("RV-77")), [], "of one that nobody has sent nothing else is known");
}

/// Topics keep no order among partitions, and producers send again.
#[test]
fn what_comes_late_or_again_says_nothing_new() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    assert_eq!(states(&deploy(&mut bench, 1, TOKYO, None)), [(Open, 1)]);
    let back = |bench: &mut Bench, minute| bench.activity(minute, "revoke", |activity| activity.approval = Some("RV-1".into()));
    // Taken back before it came.
    assert_eq!(back(&mut bench, 20), []);
    let late = |bench: &mut Bench, minute: i64, of: i64| {
        bench.activity(minute, "approval", |activity| {
            (activity.approval, activity.event_time) = (Some("RV-1".into()), Minute(START.0 + of).start());
        })
    };
    assert_eq!(late(&mut bench, 21, 10), [], "it was taken back since");
    let approved = approve(&mut bench, 30, "RV-1", None, None, None);
    assert_eq!((states(&approved), approved[0].evidence["ended"].as_str()), (vec![(Resolved, 2)], "approved (RV-1)"), "given anew");
    assert_eq!(states(&back(&mut bench, 40)), [(Reopened, 3)]);
    assert_eq!(late(&mut bench, 41, 30), [], "the same again");
    // An undeployment, and then the deployment once more, or one that began before it.
    let gone = bench.activity(50, "undeployment", |activity| activity.region = Some(TOKYO.into()));
    assert_eq!((states(&gone), gone[0].evidence["ended"].as_str()), (vec![(Resolved, 4)], "it does not run like that any more"));
    let before = bench.activity(51, "deployment", |activity| {
        (activity.region, activity.event_time) = (Some(TOKYO.into()), Minute(START.0 + 1).start());
    });
    assert_eq!(before, []);
    bench.activity(52, "model_registered", |activity| activity.origin_region = Some("eu-west-1".into()));
    assert_eq!(bench.minute(53, vec![]), [], "it runs no more, whatever is known of it");
}

/// Nothing was open before: what a deployment would begin that is over, nothing would end.
#[test]
fn a_deployment_that_is_heard_of_after_its_end_opens_nothing() {
    let of = |version: &'static str, minute: i64, approval: Option<&'static str>| {
        move |activity: &mut ActivityEvent| {
            (activity.region, activity.model_version) = (Some(TOKYO.into()), Some(version.into()));
            (activity.approval, activity.event_time) = (approval.map(Into::into), Minute(START.0 + minute).start());
        }
    };
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    bench.activity(50, "undeployment", of("1", 50, None));
    assert_eq!(bench.activity(51, "deployment", of("1", 1, None)), [], "it is undeployed");
    assert_eq!(bench.activity(60, "deployment", of("2", 60, Some("RV-1"))), []);
    assert_eq!(bench.activity(61, "deployment", of("2", 2, None)), [], "another one has taken its place");
    assert_eq!(states(&bench.activity(62, "deployment", of("1", 52, None))), [(Open, 1)], "and that runs again since");
    assert_eq!(bench.shard.open_violations(), 1);
}

/// The second of two deployments in one place is what runs there.
#[test]
fn a_deployment_takes_the_place_of_the_one_before() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    assert_eq!(states(&deploy(&mut bench, 1, MUMBAI, None)), [(Open, 1)]);
    assert_eq!(states(&deploy(&mut bench, 2, TOKYO, None)), [(Open, 1)]);
    let reviewed =
        bench.activity(3, "deployment", |activity| (activity.region, activity.approval) = (Some(TOKYO.into()), Some("RV-1".into())));
    assert_eq!(of(&reviewed), [(Resolved, "model=m-7;region=ap-northeast-1")]);
    for minute in 10..90 {
        bench.activity(minute, "deployment", |activity| (activity.region, activity.approval) = (Some(TOKYO.into()), Some("RV-1".into())));
    }
    let wrong = bench.activity(100, "model_registered", |activity| activity.origin_region = Some("us-east-1".into()));
    assert_eq!(of(&wrong), [(Resolved, "model=m-7;region=ap-south-1")], "and pushes no other out");
}

/// Found at once by what becomes known later, or one after the other.
#[test]
fn a_violation_of_several_deployments_ends_with_the_last_of_them() {
    let endpoint = |name: &'static str| {
        move |activity: &mut ActivityEvent| {
            (activity.region, activity.resource_id) = (Some(TOKYO.into()), Some(name.into()));
        }
    };
    let from = |bench: &mut Bench, minute, region: &str| {
        bench.activity(minute, "model_registered", |activity| activity.origin_region = Some(region.into()))
    };
    let opened = || {
        let mut bench = Bench::new(vec![per_region(in_asia())]);
        for (minute, name) in [(0, "ep-1"), (1, "ep-2"), (2, "ep-3")] {
            assert_eq!(bench.activity(minute, "deployment", endpoint(name)), []);
        }
        assert_eq!(states(&from(&mut bench, 3, "eu-central-1")), [(Open, 1)]);
        bench
    };
    let mut bench = opened();
    assert_eq!(bench.activity(4, "undeployment", endpoint("ep-1")), []);
    assert_eq!(states(&from(&mut bench, 5, "us-east-1")), [(Resolved, 2)], "an error, and what began it has gone");
    assert_eq!(states(&from(&mut bench, 6, "eu-central-1")), [(Reopened, 3)]);
    assert_eq!(bench.activity(7, "undeployment", endpoint("ep-2")), [], "the third runs");
    assert_eq!(states(&bench.activity(8, "undeployment", endpoint("ep-3"))), [(Resolved, 4)]);
    // One that is deployed again and again.
    let mut bench = opened();
    let again: Vec<Violation> = (10..400).flat_map(|minute| bench.activity(minute, "deployment", endpoint("ep-3"))).collect();
    assert!(again.iter().all(|violation| violation.state == Updated), "{again:?}");
    assert_eq!(bench.activity(400, "undeployment", endpoint("ep-3")), []);
    assert_eq!(bench.activity(401, "undeployment", endpoint("ep-1")), []);
    assert_eq!(states(&from(&mut bench, 402, "us-east-1"))[0].0, Resolved);
}

/// What is known of one of them says nothing of the others.
#[test]
fn a_violation_of_several_models_ends_with_the_last_of_them() {
    let per = vec![Subject::Activity.field("region").unwrap()];
    let of_model = |name: &'static str, id: &'static str| {
        move |activity: &mut ActivityEvent| {
            (activity.model, activity.region) = (Some(name.into()), Some(TOKYO.into()));
            activity.approval = Some(id.into()).filter(|_| !id.is_empty());
            activity.event_id = format!("{name}-{}-{id}", activity.event_time).as_str().into();
        }
    };
    let opened = || {
        let mut bench = Bench::new(vec![Policy { per: per.clone(), ..in_asia() }]);
        for (minute, name) in [(0, "m-1"), (1, "m-2"), (2, "m-3")] {
            bench.activity(minute, "model_registered", |activity| {
                (activity.model, activity.origin_region) = (Some(name.into()), Some("eu-central-1".into()));
            });
            let told = bench.activity(minute, "deployment", of_model(name, ""));
            assert_eq!(states(&told), if name == "m-1" { vec![(Open, 1)] } else { vec![] });
        }
        bench
    };
    let mut bench = opened();
    assert_eq!(bench.activity(3, "undeployment", of_model("m-1", "")), [], "the others run");
    assert_eq!(bench.activity(4, "approval", of_model("m-2", "RV-2")), [], "the third has none");
    let over = bench.activity(5, "model_registered", |activity| {
        (activity.model, activity.origin_region) = (Some("m-3".into()), Some("us-east-1".into()));
    });
    assert_eq!(states(&over), [(Resolved, 2)], "an error, and nothing else is wrong");
    let back = bench.activity(6, "revoke", of_model("m-2", "RV-2"));
    assert_eq!(states(&back), [(Reopened, 3)]);
    // Other rules allow some of them.
    let mut bench = opened();
    bench.rules.revision = 2;
    let fewer = policy_over(Subject::Activity, "asia", "action == 'deployment' && model == 'm-3' && 'ASIA' in blocs", None);
    bench.rules.policies = stream(vec![Policy { per: per.clone(), ..fewer }], vec![]);
    assert_eq!(bench.minute(10, vec![]), [], "one of them is wrong as before");
    assert_eq!(states(&bench.activity(11, "undeployment", of_model("m-3", ""))), [(Resolved, 2)]);
}

/// Usage that was seen last may be allowed, and other usage of the day not.
#[test]
fn a_violation_of_the_usage_of_several_models_ends_with_the_last_of_them() {
    let when = "'EEA' in origin_blocs && 'ASIA' in blocs";
    let mut bench = Bench::new(vec![policy_over(Subject::Usage, "answers", when, Some("has(usage.approval)"))]);
    let answers = |minute, model: &str| {
        let partial = used(minute, "openai", "ranker", 2.0);
        vec![Partial { leaf: Leaf { model: model.into(), region: TOKYO.into(), ..partial.leaf.clone() }, ..partial }]
    };
    let approve = |bench: &mut Bench, minute, model: &str| {
        bench.activity(minute, "approval", |activity| {
            (activity.model, activity.approval) = (Some(model.into()), Some(format!("RV-{model}").as_str().into()));
        })
    };
    for model in ["m-1", "m-2"] {
        bench.activity(0, "model_registered", |activity| {
            (activity.model, activity.origin_region) = (Some(model.into()), Some("eu-central-1".into()));
        });
    }
    assert_eq!(states(&bench.minute(1, answers(1, "m-1"))), [(Open, 1)]);
    assert_eq!(bench.minute(2, answers(2, "m-2")), []);
    assert_eq!(approve(&mut bench, 200, "m-2"), [], "the first was used, too");
    assert_eq!(states(&approve(&mut bench, 201, "m-1")), [(Resolved, 2)]);
}

/// A grant that somebody loses is no matter of where a model runs.
#[test]
fn a_revoked_grant_ends_no_deployment() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    deploy(&mut bench, 1, TOKYO, None);
    for (minute, action) in [(2, "revoke"), (3, "offboarded")] {
        assert_eq!(bench.activity(minute, action, |activity| activity.actor = Some("ann".into())), [], "{action}");
    }
    assert_eq!(bench.shard.open_violations(), 1);
}

fn exempt_until(minute: i64) -> Exemption {
    Exemption {
        policy: "asia".into(),
        only: Vec::new(),
        reason: "moving".into(),
        approved_by: "legal".into(),
        until: Minute(START.0 + minute).start(),
    }
}

/// Without a restart, and whatever else is told in between.
#[test]
fn what_new_rules_say_of_later_reaches_what_runs_when_its_time_comes() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    assert_eq!(states(&deploy(&mut bench, 1, TOKYO, None)), [(Open, 1)]);
    bench.rules.revision = 2;
    bench.rules.policies = stream(vec![per_region(in_asia())], vec![exempt_until(60)]);
    assert_eq!(states(&bench.minute(10, vec![])), [(Resolved, 2)], "exempt now");
    assert_eq!(bench.minute(58, vec![]), []);
    assert_eq!(states(&bench.minute(59, vec![])), [(Reopened, 3)], "no more");
    bench.rules.revision = 3;
    let later = |minute| Policy { since: Some(Minute(START.0 + minute).start()), ..per_region(in_asia()) };
    bench.rules.policies = stream(vec![later(90)], vec![]);
    assert_eq!(states(&bench.minute(61, vec![])), [(Resolved, 4)], "it does not hold yet");
    assert_eq!(states(&bench.minute(89, vec![])), [(Reopened, 5)]);
}

#[test]
fn other_rules_and_an_exemption_that_ends_reach_what_runs() {
    let mut bench = Bench::new(vec![]);
    bench.rules.policies = stream(vec![per_region(in_asia())], vec![exempt_until(60)]);
    bench.activity(0, "model_registered", european);
    assert_eq!(deploy(&mut bench, 1, TOKYO, None), [], "exempt");
    assert_eq!(bench.minute(58, vec![]), []);
    assert_eq!(states(&bench.minute(60, vec![])), [(Open, 1)], "no more");
    bench.rules.revision = 2;
    let relaxed = policy_over(Subject::Activity, "asia", "action == 'deployment' && 'CN' in origin_blocs", None);
    bench.rules.policies = stream(vec![per_region(relaxed)], vec![]);
    assert_eq!(states(&bench.minute(61, vec![])), [(Resolved, 2)], "the rule allows it now");
    bench.rules.revision = 3;
    bench.rules.policies = stream(vec![per_region(in_asia())], vec![]);
    assert_eq!(states(&bench.minute(62, vec![])), [(Reopened, 3)], "and now it does not");
}

/// The law wants more than that somebody has looked at it.
#[test]
fn what_an_approval_rests_on_is_told_by_its_tag() {
    let when = "action in ['transfer', 'deployment'] && 'EEA' in origin_blocs && !('EEA' in blocs)";
    let law = policy_over(Subject::Activity, "law", when, Some("has(activity.approval_basis) && approval_basis in ['scc', 'bcr']"));
    let mut bench = Bench::new(vec![per_region(law)]);
    bench.activity(0, "model_registered", european);
    assert_eq!(states(&deploy(&mut bench, 1, TOKYO, None)), [(Open, 1)]);
    assert_eq!(approve(&mut bench, 2, "RV-1", None, None, None), [], "a review that rests on nothing");
    assert_eq!(states(&approve(&mut bench, 3, "RV-2", None, None, Some("scc"))), [(Resolved, 2)]);
}

#[test]
fn data_is_held_against_the_origin_that_the_config_names_and_approvals_of_its_own() {
    let when = "action in ['access', 'transfer'] && origin_country == 'DE' && country != 'DE'";
    let trapped = policy_over(Subject::Activity, "trapped", when, Some("has(activity.approval)"));
    let mut bench = Bench::new(vec![trapped]);
    bench.rules.data_origins = vec![OriginRule { dataset: "s3://health/*".into(), regions: vec!["eu-central-1".into()] }];
    let mut read = |minute, dataset: &str, region: &str| {
        bench.activity(minute, "access", |activity| {
            (activity.model, activity.dataset, activity.region) = (None, Some(dataset.into()), Some(region.into()));
        })
    };
    assert_eq!(read(0, "s3://health/scans", "eu-central-1"), []);
    assert_eq!(read(1, "s3://shop/orders", "us-east-1"), [], "nobody says where that comes from");
    assert_eq!(states(&read(2, "s3://health/scans", "us-east-1")), [(Open, 1)]);
    bench.activity(3, "approval", |activity| {
        (activity.model, activity.dataset, activity.approval) = (None, Some("s3://health/notes".into()), Some("RV-9".into()));
    });
    let mut read = |minute, dataset: &str| {
        bench.activity(minute, "access", |activity| {
            (activity.model, activity.dataset, activity.region) = (None, Some(dataset.into()), Some("us-east-1".into()));
        })
    };
    assert_eq!(read(4, "s3://health/notes"), [], "somebody has reviewed that");
    assert_eq!(read(5, "s3://health/scans").len(), 0, "the same matter goes on");
    assert_eq!(read(70, "s3://health/scans").len(), 1, "and is told each hour");
}

/// The event says nothing of it; lineage knows where it comes from, at once or later, and is asked for no more than that.
#[test]
fn data_is_held_against_the_origin_that_lineage_knows() {
    let when = "action in ['access', 'transfer'] && origin_country == 'DE' && country != 'DE'";
    let trapped = policy_over(Subject::Activity, "trapped", when, Some("has(activity.approval)"));
    let mut bench = Bench::new(vec![trapped, policy_over(Subject::Activity, "any", "action == 'access'", None)]);
    let mut read = ActivityEvent::default();
    let told = bench.activity(0, "access", |activity| {
        (activity.model, activity.dataset, activity.region) = (None, Some("s3://health/scans".into()), Some("us-east-1".into()));
        read = activity.clone();
    });
    assert_eq!(told.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(), ["any"]);
    let mut known = |minute, origins: &[&str]| {
        let origins = origins.iter().map(|origin| (*origin).into()).collect();
        let used = DatasetUse { activity: read.clone(), origins };
        bench.record(minute, Vec::new(), vec![ShardEvent::DatasetUse(Box::new(used))])
    };
    assert_eq!(known(1, &["US"]), [], "it may be read there; what asks for no origin has been told");
    let told = known(2, &["US", "eu-central-1"]);
    assert_eq!((told.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(), told[0].count), (vec!["trapped"], 1));
    assert_eq!(known(90, &["IN", "US", "eu-central-1"]), [], "one use is one, however often it is told");
}

/// The deployment passed when it came; what its model was made of is known better now.
#[test]
fn a_later_discovery_is_held_against_what_passed() {
    let mut bench = Bench::new(vec![in_asia()]);
    assert_eq!(told_by_lineage(&mut bench, 0, None, &["US"], false), []);
    assert_eq!(deploy(&mut bench, 1, TOKYO, None), []);
    assert_eq!(told_by_lineage(&mut bench, 2, None, &["US", "JP"], false), []);
    let found = told_by_lineage(&mut bench, 3, None, &["FR", "JP", "US"], false);
    assert_eq!((states(&found), found[0].evidence["origin_blocs"].as_str()), (vec![(Open, 1)], "EEA, EU"));
    assert_eq!(told_by_lineage(&mut bench, 4, None, &["DE", "FR", "JP", "US"], false), [], "it is open already");
    assert_eq!(states(&told_by_lineage(&mut bench, 5, None, &["JP", "US"], false)), [(Resolved, 2)], "it was an error");
}

#[test]
fn a_gap_counts_when_nobody_has_filled_it_in_time() {
    let gap = policy_over(Subject::Activity, "gap", "action == 'deployment' && has(activity.lineage) && lineage == 'unknown'", None);
    let answers = policy_over(Subject::Usage, "answers", "has(usage.lineage) && lineage == 'unknown'", None);
    let mut bench = Bench::new(vec![gap, answers]);
    let usage = |minute| {
        let partial = used(minute, "openai", "ranker", 2.0);
        vec![Partial { leaf: Leaf { model: "m-7".into(), ..partial.leaf.clone() }, ..partial }]
    };
    assert_eq!(deploy(&mut bench, 0, TOKYO, None), [], "lineage has never heard of it");
    assert_eq!(told_by_lineage(&mut bench, 1, None, &["US"], true), []);
    assert_eq!(bench.minute(59, usage(59)), []);
    assert_eq!(told_by_lineage(&mut bench, 60, None, &["US", "JP"], true), [], "still there: its time goes on");
    let told: Vec<Violation> = [61, 62].into_iter().flat_map(|minute| bench.minute(minute, usage(minute))).collect();
    let named: Vec<(&str, u64)> = told.iter().map(|violation| (violation.policy.as_str(), violation.revision)).collect();
    assert_eq!(named, [("gap", 1), ("answers", 1)]);
    let filled = told_by_lineage(&mut bench, 90, None, &["US", "JP"], false);
    assert_eq!(states(&filled), [(Resolved, 2), (Resolved, 2)]);
    // Filled in time it is never told; a new one has its own time.
    told_by_lineage(&mut bench, 100, None, &[], true);
    assert_eq!(told_by_lineage(&mut bench, 150, None, &["US"], false), []);
    assert_eq!(bench.minute(300, usage(300)), []);
    told_by_lineage(&mut bench, 301, None, &[], true);
    assert_eq!(states(&bench.minute(361, vec![])), [(Reopened, 3)]);
}

/// What was said of leaves by the time before is kept no longer than that.
#[test]
fn another_time_for_gaps_reaches_what_runs_and_what_answers() {
    let gap = policy_over(Subject::Activity, "gap", "action == 'deployment' && has(activity.lineage) && lineage == 'unknown'", None);
    let answers = policy_over(Subject::Usage, "answers", "has(usage.lineage) && lineage == 'unknown'", None);
    let mut bench = Bench::new(vec![gap, answers]);
    let usage = |minute| {
        let partial = used(minute, "openai", "ranker", 2.0);
        vec![Partial { leaf: Leaf { model: "m-7".into(), ..partial.leaf.clone() }, ..partial }]
    };
    deploy(&mut bench, 0, TOKYO, None);
    told_by_lineage(&mut bench, 1, None, &["US"], true);
    assert_eq!(bench.minute(10, usage(10)), []);
    bench.rules.lineage_grace_ms = 5 * MINUTE_MS;
    let told = bench.minute(11, usage(11));
    let named: Vec<_> = told.iter().map(|violation| (violation.policy.as_str(), violation.state)).collect();
    assert_eq!(named, [("gap", Open), ("answers", Open)]);
    bench.rules.lineage_grace_ms = 120 * MINUTE_MS;
    assert_eq!(states(&bench.minute(12, usage(12))), [(Resolved, 2), (Resolved, 2)], "there is time again");
    assert_eq!(bench.minute(13, usage(13)), []);
}

/// A restart in between asks nothing twice.
#[test]
fn what_is_restored_goes_on_as_what_ran() {
    let mut bench = Bench::new(vec![per_region(in_asia())]);
    bench.activity(0, "model_registered", european);
    deploy(&mut bench, 1, TOKYO, None);
    approve(&mut bench, 2, "RV-1", Some(TOKYO), Some(60), None);
    told_by_lineage(&mut bench, 3, None, &["DE"], true);
    let mut kept = std::collections::BTreeMap::new();
    let mut restored = |bench: &mut Bench| {
        for change in bench.shard.take_changes() {
            match change.value {
                Some(value) => kept.insert(change.key, value),
                None => kept.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        for (key, value) in &kept {
            restorer.put(key, Some(value)).unwrap();
        }
        restorer.changelog_read(&bench.rules).unwrap();
        bench.shard = restorer.finish().unwrap();
    };
    restored(&mut bench);
    assert_eq!(states(&bench.minute(60, vec![])), [(Reopened, 3)], "the approval is known, and that it ends");
    restored(&mut bench);
    assert_eq!(bench.minute(61, vec![]), [], "and that it has ended");
    assert_eq!(states(&approve(&mut bench, 62, "RV-2", None, None, None)), [(Resolved, 4)]);
}
