//! Drift as a shard lives through it: what opens, what ends it, what stays silent, and that a restart changes nothing.

use std::collections::BTreeMap;

use super::rules::{AcceptedRule, DriftRules};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::alert::AlertState::{Open, Reopened, Resolved, Updated};
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::partial::{Marker, Partial, ShardEvent, ShardRecord, Source};
use crate::model::time::{DAY_MS, HOUR_MS, Minute, Timestamp};
use crate::model::violation::Violation;
use crate::policy::stream::tests::{policy, stream};
use crate::watch::rules::WatchRules;
use crate::watch::tests::{START, partial, rules};
use crate::watch::{Restorer, Shard};

pub fn drift_rules() -> DriftRules {
    DriftRules {
        owner: "model-risk".into(),
        severity: Severity::Warning,
        looks: 3,
        alpha: 0.001,
        least_samples: 100,
        reference_samples: 200,
        reference_values: 8,
        first_days: 7,
        least_share_change: 0.25,
        least_mean_change: 0.1,
        least_usage_change: 0.3,
        least_requests: 200,
        usage_days: 10,
        psi: 0.25,
        ignore: vec!["smoke_*".into()],
        accepted: Vec::new(),
    }
}

/// A shard, and its changelog as a broker would have compacted it.
pub struct Bench {
    pub shard: Shard,
    pub rules: WatchRules,
    offset: i64,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    pub told: Vec<Violation>,
}

pub fn at(hour: i64) -> Timestamp {
    START.start().plus_ms(hour * HOUR_MS)
}

impl Bench {
    pub fn new() -> Bench {
        let mut rules = rules();
        rules.matters.drift = Some(drift_rules());
        Bench { shard: Shard::new(0, 1, &rules), rules, offset: 0, changelog: BTreeMap::new(), told: Vec::new() }
    }

    pub fn own(&mut self) -> &mut DriftRules {
        self.rules.matters.drift.as_mut().unwrap()
    }

    pub fn record(&mut self, now: Timestamp, partials: Vec<Partial>, events: Vec<ShardEvent>) -> Vec<Violation> {
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(now), idle: false, partitions_of_topic: 1 };
        let record = ShardRecord { partials, markers: vec![marker], events };
        let effects = self.shard.apply_whole(&record, self.offset, now.plus_ms(60_000), &self.rules);
        self.offset += 1;
        let of = |effect| if let Effect::Violation(violation) = effect { Some(*violation) } else { None };
        let told: Vec<Violation> = effects.into_iter().filter_map(of).collect();
        self.told.extend(told.iter().cloned());
        for change in self.shard.take_changes() {
            match change.value {
                Some(value) => drop(self.changelog.insert(change.key, value)),
                None => drop(self.changelog.remove(&change.key)),
            }
        }
        told
    }

    /// As after a crash: what the changelog makes of it has to be what was running, and goes on.
    pub fn restart(&mut self) {
        let mut restorer = Restorer::new(1);
        for (key, value) in &self.changelog {
            restorer.put(key, Some(value)).unwrap();
        }
        restorer.changelog_read(&self.rules).unwrap();
        let restored = restorer.finish().unwrap();
        assert!(restored == self.shard, "restored is not what was running");
        self.shard = restored;
    }

    pub fn activity(&mut self, hour: i64, action: &str, change: impl FnOnce(&mut ActivityEvent)) -> Vec<Violation> {
        let mut activity = ActivityEvent {
            event_id: format!("{}-{action}", self.offset).as_str().into(),
            event_time: at(hour),
            team: "search".into(),
            action: Some(action.into()),
            model: Some("gpt-4o".into()),
            ..ActivityEvent::default()
        };
        change(&mut activity);
        self.record(at(hour), Vec::new(), vec![ShardEvent::Activity(Box::new(activity))])
    }

    /// An evaluation of version 2024-08.
    pub fn evaluation(&mut self, hour: i64, metric: &str, value: f64, samples: Option<u64>) -> Vec<Violation> {
        self.activity(hour, "evaluation", |activity| {
            activity.model_version = Some("2024-08".into());
            (activity.metric, activity.value, activity.samples) = (Some(metric.into()), Some(value), samples);
        })
    }

    pub fn accept(&mut self, hour: i64, version: &str) -> Vec<Violation> {
        self.activity(hour, "approval", |activity| {
            activity.model_version = Some(version).filter(|version| !version.is_empty()).map(Into::into);
            (activity.actor, activity.approval) = (Some("mara".into()), Some("RV-12".into()));
        })
    }

    /// Evaluated, accepted and deployed, as it should be.
    pub fn accepted() -> Bench {
        let mut bench = Bench::new();
        for hour in 0..2 {
            assert_eq!(bench.evaluation(hour, "refusal_rate", 0.02, Some(400)), []);
        }
        assert_eq!(bench.accept(2, "2024-08"), []);
        bench.activity(3, "deployment", |activity| {
            activity.model_version = Some("2024-08".into());
            (activity.resource_id, activity.region, activity.environment) =
                (Some("ep-7".into()), Some("eu-central-1".into()), Some("prod".into()));
        });
        bench
    }
}

pub fn states(told: &[Violation]) -> Vec<(crate::model::alert::AlertState, u64)> {
    told.iter().map(|violation| (violation.state, violation.revision)).collect()
}

#[test]
fn a_silent_change_is_told_with_its_evidence_and_a_new_accepted_version_ends_it() {
    let mut bench = Bench::accepted();
    for hour in 4..10 {
        assert_eq!(bench.evaluation(hour, "refusal_rate", 0.02, Some(400)), [], "as it was");
    }
    assert_eq!(bench.evaluation(10, "refusal_rate", 0.09, Some(400)), [], "one may be a bad one");
    bench.restart();
    assert_eq!(bench.evaluation(11, "refusal_rate", 0.09, Some(400)), []);
    let opened = bench.evaluation(12, "refusal_rate", 0.09, Some(400));
    assert_eq!(states(&opened), [(Open, 1)]);
    let told = &opened[0];
    assert_eq!((told.policy.as_str(), told.subject.as_str()), ("model-drift", "model=gpt-4o;model_version=2024-08"));
    assert_eq!(
        told.message,
        "gpt-4o 2024-08 of search no longer behaves as accepted: refusal rate 9 % over 1,200 samples, 2 % when it was accepted (ep-7 in \
         eu-central-1, prod)"
    );
    assert_eq!((told.dimensions["resource_id"].as_str(), told.dimensions["region"].as_str()), ("ep-7", "eu-central-1"));
    let evidence = &told.evidence["refusal_rate"];
    assert!(evidence.starts_with("9 % over 1,200 samples since ") && evidence.contains("reference 2 % over 800 samples"), "{evidence}");
    assert!(told.evidence["reference"].ends_with("by mara, approval RV-12"), "{told:?}");
    assert!(told.evidence["deployment"].starts_with("ep-7 in eu-central-1, prod, since "), "{told:?}");
    assert!(told.evidence.contains_key("silent_change"));
    assert_eq!((told.evidence["owner"].as_str(), told.count, told.amount), ("model-risk", 3, None));
    assert!(told.remedy.as_ref().unwrap().contains("approval of model gpt-4o and version 2024-08"));
    assert!(told.id.starts_with("search/") && told.notify);

    bench.restart();
    assert_eq!(bench.evaluation(13, "refusal_rate", 0.09, Some(400)), [], "no news within a day");
    bench.evaluation(14, "helpfulness", 0.9, Some(400));
    let elsewhere = bench.activity(15, "approval", |activity| activity.model = Some("claude".into()));
    assert_eq!(elsewhere, [], "another model");
    let ended = bench.accept(16, "2024-11");
    assert_eq!((states(&ended), &ended[0].id), (vec![(Resolved, 2)], &opened[0].id));
    assert_eq!(ended[0].closed_at, Some(at(16)));
    assert!(
        ended[0].message.contains("version 2024-11 was accepted in its place") && ended[0].message.ends_with("by mara, approval RV-12")
    );
    for hour in 17..25 {
        assert_eq!(bench.evaluation(hour, "refusal_rate", 0.2, Some(400)), [], "nobody asks for the old version any more");
    }
    // The new one has a reference of its own; what names no version is of the one that is accepted.
    let mut unnamed = |hour, value| {
        bench.activity(hour, "evaluation", |activity| {
            (activity.metric, activity.value, activity.samples) = (Some("refusal_rate".into()), Some(value), Some(300));
        })
    };
    let told: Vec<_> = (25..29).flat_map(|hour| unnamed(hour, 0.09)).collect();
    assert_eq!(told, []);
    let told: Vec<_> = (29..33).flat_map(|hour| unnamed(hour, 0.3)).collect();
    assert_eq!((states(&told), told[0].subject.as_str()), (vec![(Open, 1)], "model=gpt-4o;model_version=2024-11"));
    bench.restart();
}

#[test]
fn values_that_return_end_it_and_it_comes_back_under_its_id() {
    let mut bench = Bench::accepted();
    let mut feed = |from: i64, value: f64| {
        let told: Vec<Violation> = (from..from + 3).flat_map(|hour| bench.evaluation(hour, "refusal_rate", value, Some(400))).collect();
        bench.restart();
        told
    };
    assert_eq!(states(&feed(10, 0.09)), [(Open, 1)]);
    let back = feed(20, 0.02);
    assert_eq!((states(&back), back[0].closed_at), (vec![(Resolved, 2)], Some(at(22))));
    assert!(back[0].message.contains("its values are again as they were"));
    assert_eq!(states(&feed(30, 0.002)), [], "far fewer refusals are a change, too, but 2 % to 0.2 % is less than a point and a bit");
    assert_eq!(states(&feed(40, 0.09)), [(Reopened, 3)]);
    assert_eq!(bench.told.iter().map(|told| &told.id).collect::<std::collections::BTreeSet<_>>().len(), 1);
}

/// A metric may be given up, or be called otherwise from some version on.
#[test]
fn what_nobody_measures_any_more_does_not_stay_open() {
    let mut bench = Bench::accepted();
    for hour in 10..13 {
        bench.evaluation(hour, "refusal_rate", 0.09, Some(400));
    }
    let days = |bench: &mut Bench, days: std::ops::Range<i64>| -> Vec<Violation> {
        days.flat_map(|day| bench.record(at(day * 24), Vec::new(), Vec::new())).collect()
    };
    assert_eq!(days(&mut bench, 1..180), []);
    let ended = days(&mut bench, 180..185);
    assert_eq!(states(&ended), [(Resolved, 2)]);
    assert!(ended[0].message.contains("nobody has measured it for half a year"), "{}", ended[0].message);
    bench.restart();
}

#[test]
fn what_is_accepted_as_it_is_now_is_the_new_reference() {
    let mut bench = Bench::accepted();
    let feed = |bench: &mut Bench, hours: std::ops::Range<i64>, value: f64| -> Vec<Violation> {
        hours.flat_map(|hour| bench.evaluation(hour, "refusal_rate", value, Some(400))).collect()
    };
    assert_eq!(states(&feed(&mut bench, 10..13, 0.09)), [(Open, 1)]);
    assert_eq!(bench.accept(5, "2024-08"), [], "a word of before the drift says nothing of it");
    let accepted = bench.accept(13, "2024-08");
    assert!(accepted[0].message.contains("it was accepted as it is now"), "{accepted:?}");
    bench.restart();
    assert_eq!(feed(&mut bench, 10..12, 0.02), [], "a late value of before");
    assert_eq!(feed(&mut bench, 14..20, 0.09), [], "now 9 % is normal");
    assert_eq!(states(&feed(&mut bench, 20..23, 0.02)), [(Reopened, 3)], "and 2 % is not");
}

/// Two metrics of one version are one violation; it goes on until both are back.
#[test]
fn all_that_drifts_of_a_version_is_one_violation() {
    let mut bench = Bench::new();
    for hour in 0..9 {
        bench.evaluation(hour, "refusal_rate", 0.02, Some(400));
        bench.evaluation(hour, "helpfulness", 4.0 + 0.05 * (hour % 3) as f64, None);
    }
    bench.accept(9, "2024-08");
    let mut states_of = |from: i64, refusals: f64, score: f64| {
        let mut told = Vec::new();
        for hour in from..from + 3 {
            told.extend(bench.evaluation(hour, "refusal_rate", refusals, Some(400)));
            told.extend(bench.evaluation(hour, "helpfulness", score, None));
        }
        (states(&told), told)
    };
    let (both, told) = states_of(10, 0.09, 3.0);
    assert_eq!(both, [(Open, 1), (Updated, 2)]);
    assert!(
        told[1].message.contains("refusal rate 9 % over 1,200 samples, 2 % when it was accepted; helpfulness 3 over 3 values, 4.05"),
        "{told:?}"
    );
    let (one, told) = states_of(20, 0.02, 3.0);
    assert_eq!(one, [(Updated, 3)]);
    assert!(told[0].message.contains("helpfulness") && !told[0].message.contains("refusal"), "{told:?}");
    assert_eq!(states_of(30, 0.02, 4.0).0, [(Resolved, 4)]);
}

fn silent(what: &str, feed: impl Fn(&mut Bench)) {
    let mut bench = Bench::accepted();
    feed(&mut bench);
    bench.restart();
    assert_eq!(bench.told, [], "{what}");
}

#[test]
fn what_is_no_drift_is_silent() {
    silent("one bad evaluation, however large", |bench| {
        for hour in 10..40 {
            let (value, samples) = if hour % 10 == 5 { (0.5, 100_000) } else { (0.02, 400) };
            bench.evaluation(hour, "refusal_rate", value, Some(samples));
        }
    });
    silent("few samples: three refusals of 30", |bench| {
        for hour in 10..13 {
            bench.evaluation(hour, "refusal_rate", 0.1, Some(30));
        }
    });
    silent("the same event, come again and again", |bench| {
        let again = |bench: &mut Bench| {
            bench.activity(10, "evaluation", |activity| {
                (activity.event_id, activity.model_version) = ("e-1".into(), Some("2024-08".into()));
                (activity.metric, activity.value, activity.samples) = (Some("refusal_rate".into()), Some(0.3), Some(400));
            })
        };
        for _ in 0..10 {
            again(bench);
        }
    });
    silent("much significance, little change", |bench| {
        for hour in 10..30 {
            bench.evaluation(hour, "refusal_rate", 0.024, Some(1_000_000));
        }
    });
    silent("a metric that is not watched", |bench| {
        for hour in 10..40 {
            bench.evaluation(hour, "smoke_test", if hour < 20 { 0.01 } else { 0.9 }, Some(400));
        }
    });
    silent("another team's, and another version's, whatever they are like", |bench| {
        for hour in 10..20 {
            bench.activity(hour, "evaluation", |activity| {
                (activity.team, activity.model_version) = ("ads".into(), Some("2024-08".into()));
                (activity.metric, activity.value, activity.samples) = (Some("refusal_rate".into()), Some(0.3), Some(400));
            });
            bench.activity(hour, "evaluation", |activity| {
                activity.model_version = Some("2024-11".into());
                (activity.metric, activity.value, activity.samples) = (Some("refusal_rate".into()), Some(0.3), Some(400));
            });
        }
    });
}

#[test]
fn evaluations_that_always_differed_are_no_drift() {
    silent("evaluations that differ among each other by more than chance, and one of them is the reference", |bench| {
        for hour in 10..40 {
            bench.evaluation(hour, "accuracy", 0.8 + 0.05 * (hour % 5) as f64, Some(1000));
        }
    });
    silent("evaluations that differ so much before they are accepted", |bench| {
        let evaluation = |bench: &mut Bench, hour, value| {
            bench.activity(hour, "evaluation", |activity| {
                activity.model_version = Some("2024-11".into());
                (activity.metric, activity.value, activity.samples) = (Some("accuracy".into()), Some(value), Some(1000));
            })
        };
        for hour in 10..20 {
            evaluation(bench, hour, 0.8 + 0.05 * (hour % 5) as f64);
        }
        bench.accept(20, "2024-11");
        for hour in 21..30 {
            evaluation(bench, hour, 0.99);
        }
    });
    silent("it says nothing", |bench| {
        for hour in 10..20 {
            bench.activity(hour, "evaluation", |activity| activity.metric = Some("refusal_rate".into()));
            bench.activity(hour, "evaluation", |activity| activity.value = Some(0.5));
            bench.activity(hour, "evaluation", |activity| (activity.model, activity.value) = (None, Some(0.5)));
        }
    });
}

#[test]
fn a_version_that_nobody_has_accepted_is_held_against_its_first_days() {
    let mut bench = Bench::new();
    let day = DAY_MS / HOUR_MS;
    for of in 0..14 {
        assert_eq!(bench.evaluation(of * day, "refusal_rate", if of < 2 { 0.03 } else { 0.02 }, Some(400)), []);
    }
    let told: Vec<Violation> = (14..17).flat_map(|of| bench.evaluation(of * day, "refusal_rate", 0.1, Some(400))).collect();
    assert_eq!(states(&told), [(Open, 1)]);
    assert!(told[0].message.contains("10 % over 1,200 samples, 2.29 % at first"), "{told:?}");
    let reference = &told[0].evidence["reference"];
    assert!(reference.starts_with("nobody has accepted this version: what it did in its first 7 days"), "{reference}");
    assert_eq!(told[0].evidence["deployment"], "none is known");
}

/// Neither other policies, nor what is said of the same model elsewhere, nor a day of silence.
#[test]
fn nothing_else_ends_it_until_it_is_switched_off() {
    let mut bench = Bench::accepted();
    let told: Vec<_> = (10..13).flat_map(|hour| bench.evaluation(hour, "refusal_rate", 0.09, Some(400))).collect();
    assert_eq!(states(&told), [(Open, 1)]);
    bench.rules.policies = stream(vec![policy("approved", "provider == 'x'")], Vec::new());
    assert_eq!(bench.accept(14, ""), [], "of a model without versions");
    assert_eq!(bench.activity(15, "undeployment", |activity| activity.region = Some("us-east-1".into())), []);
    assert_eq!(bench.record(at(100), Vec::new(), Vec::new()), []);
    bench.restart();
    let told: Vec<_> = (101..103).flat_map(|hour| bench.evaluation(hour, "refusal_rate", 0.09, Some(400))).collect();
    assert_eq!(states(&told), [(Updated, 2)], "once a day while it goes on");
}

#[test]
fn config_accepts_versions_too() {
    let mut bench = Bench::accepted();
    let told: Vec<_> = (10..13).flat_map(|hour| bench.evaluation(hour, "refusal_rate", 0.09, Some(400))).collect();
    assert_eq!(states(&told), [(Open, 1)]);
    let rule = AcceptedRule { team: Some("search".into()), model: "gpt-4o".into(), version: Some("2024-11".into()), at: at(13) };
    bench.own().accepted = vec![AcceptedRule { team: Some("ads".into()), at: at(20), ..rule.clone() }, rule];
    let told = bench.evaluation(14, "refusal_rate", 0.09, Some(400));
    assert_eq!(states(&told), [(Resolved, 2)]);
    assert!(
        told[0].message.contains("version 2024-11 was accepted in its place") && told[0].message.ends_with("in the config"),
        "{told:?}"
    );
    assert_eq!(bench.evaluation(15, "refusal_rate", 0.09, Some(400)), [], "said once");
    bench.restart();
}

/// Whatever comes, in whatever order: what is restored goes on as what was running, and says the same.
#[test]
fn a_restart_anywhere_changes_nothing() {
    let run = |restart_at: Option<i64>| {
        let mut bench = Bench::accepted();
        for step in 10..60 {
            let value = [0.02, 0.09, 0.03, 0.15][usize::try_from(step / 8 % 4).unwrap()];
            bench.evaluation(step, "refusal_rate", value, Some(90 + 50 * u64::try_from(step % 7).unwrap()));
            if step == 33 {
                bench.accept(step, "2024-08");
            }
            if restart_at == Some(step) {
                bench.restart();
            }
        }
        bench.told
    };
    let expected = run(None);
    assert!(expected.len() >= 4, "{expected:?}");
    for step in 10..60 {
        assert_eq!(run(Some(step)), expected, "restarted at {step}");
    }
}

/// Days of usage: each of a project's requests has so many tokens of output. Days begin on a Monday; what is told.
fn used(bench: &mut Bench, days: std::ops::Range<i64>, by_project: &[(&str, u64)], weekend: u64) -> Vec<Violation> {
    let monday = 4 - START.0.div_euclid(1440).rem_euclid(7);
    let mut told = Vec::new();
    for day in days {
        let is_weekend = day.rem_euclid(7) >= 5;
        for hour in 0..24 {
            let minute = Minute(START.0 + (monday + 7 + day) * 1440 + hour * 60);
            let of = |(project, output): &(&str, u64)| {
                let mut partial = partial(minute, "search", project, "ann", 1.0);
                let output = (if is_weekend { weekend } else { *output }) + u64::try_from((day * 7 + hour) % 5).unwrap();
                (partial.requests, partial.events, partial.tokens_output, partial.tokens_input) = (100, 100, 100 * output, 100_000);
                partial
            };
            told.extend(bench.record(minute.start(), by_project.iter().map(of).collect(), Vec::new()));
        }
    }
    told
}

#[test]
fn another_length_of_answers_is_told_and_another_mix_of_traffic_is_not() {
    let mut bench = Bench::new();
    // Short answers at weekends; a small project with long ones.
    let told = used(&mut bench, 0..28, &[("ranker", 200), ("writer", 1000)], 50);
    assert_eq!(told, [], "a week has its shape");
    bench.restart();
    assert_eq!(used(&mut bench, 28..42, &[("writer", 1000)], 50), [], "one project has stopped: other answers, the same model");
    assert_eq!(used(&mut bench, 42..49, &[("writer", 1000), ("ranker", 200), ("new", 5)], 50), [], "a new one is like nothing before");
    let told = used(&mut bench, 49..54, &[("ranker", 320), ("writer", 1000)], 50);
    bench.restart();
    assert_eq!(states(&told), [(Open, 1), (Updated, 2)], "{told:#?}");
    let message = &told[0].message;
    assert!(message.contains("tokens of output per request (ranker, working days) 322 over 3 values, 202 at first"), "{message}");
    let told = used(&mut bench, 56..60, &[("ranker", 200), ("writer", 1000)], 50);
    assert_eq!(states(&told), [(Updated, 3), (Resolved, 4)], "the last day of before, and then three days as it was: {told:#?}");
}

#[test]
fn another_mix_of_inputs_is_told_by_its_index_and_largest_shift() {
    let mut bench = Bench::accepted();
    let mut mixed = |hour: i64, refunds: u64, all: u64| {
        let told = bench.activity(hour, "evaluation", |activity| {
            (activity.model_version, activity.metric) = (Some("2024-08".into()), Some("input_topics".into()));
            let counts = [("refunds", refunds.to_string()), ("orders", (all - refunds).to_string()), ("note", "nightly".to_string())];
            activity.tags = counts.iter().map(|(name, count)| (Text::from(*name), Text::from(count.as_str()))).collect();
        });
        bench.restart();
        told
    };
    let told: Vec<_> = (10..16).flat_map(|hour| mixed(hour, 80 + u64::try_from(hour % 3).unwrap() * 10, 400)).collect();
    assert_eq!(told, [], "as it was");
    assert_eq!((16..19).flat_map(|hour| mixed(hour, 20, 30)).collect::<Vec<_>>(), [], "few samples");
    assert_eq!(mixed(20, 300, 400), [], "one may be a bad one");
    assert_eq!((21..24).flat_map(|hour| mixed(hour, 80, 400)).collect::<Vec<_>>(), []);
    let told: Vec<_> = (30..33).flat_map(|hour| mixed(hour, 240, 400)).collect();
    assert_eq!(states(&told), [(Open, 1)]);
    let message = &told[0].message;
    assert!(message.contains("another mix of input topics over 1,200 samples: refunds 60 %, "), "{message}");
    assert!(told[0].evidence["input_topics"].starts_with("PSI "), "{told:?}");
    let told: Vec<_> = (33..36).flat_map(|hour| mixed(hour, 88, 400)).collect();
    assert_eq!(states(&told), [(Resolved, 2)]);
}
