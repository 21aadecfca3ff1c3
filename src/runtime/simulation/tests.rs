//! Many runs. `cargo test simulation` runs some; `cargo test --release simulation -- --ignored` runs thousands.
//! `SIMULATION_SEEDS=7..8 cargo test simulation -- --ignored` runs one again, with the trace of what happened.
#![allow(clippy::disallowed_methods, reason = "a test's own variable, read by nobody else")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::broker::Broker;
use super::link::{Faults, Process, SimLink};
use super::scenario::{Report, Weather, on_a_slow_broker, run, setups, two_under_one_name};
use crate::intake::rules::IntakeRules;
use crate::kafka::link::{Batch, OwnedRecord, Partition};
use crate::model::time::Timestamp;
use crate::model::wire::decode_shard_record;
use crate::runtime::Setup;
use crate::runtime::billing::Billing;
use crate::runtime::intake::{Input, Intake, Topics};
use crate::runtime::whole::Whole;
use crate::runtime::worker::{Moment, Opening, Role, Worker};

/// What has to happen in the runs together, else they prove nothing.
const MUST_HAPPEN: [&str; 13] = [
    "crash",
    "freeze",
    "replaced",
    "kill",
    "leave",
    "rebalance",
    "begun later",
    "membership",
    "stray",
    "left open, aborted by its successor",
    "transaction timed out",
    "rules",
    "alert revisions",
];

fn run_all(seeds: Range<u64>) -> BTreeMap<&'static str, u64> {
    let setups = setups();
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        let Report { counts: more, complaints, .. } = run(seed, setups, Weather::Foul, false);
        if !complaints.is_empty() {
            // The same again, and this time with its story.
            let again = run(seed, setups, Weather::Foul, true);
            panic!(
                "seed {seed}:\n{}\n\nthe last that happened:\n{}",
                complaints.iter().take(12).cloned().collect::<Vec<_>>().join("\n"),
                again.trace
            );
        }
        more.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
    }
    counts
}

#[test]
fn nothing_is_lost_or_doubled_whatever_happens() {
    let halves = std::thread::scope(|scope| [0..60, 60..120].map(|seeds| scope.spawn(|| run_all(seeds))).map(|half| half.join().unwrap()));
    let missing: Vec<&&str> = MUST_HAPPEN.iter().filter(|kind| halves.iter().all(|half| !half.contains_key(**kind))).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}\n{halves:#?}");
}

#[test]
#[ignore = "thousands of runs"]
fn nothing_is_lost_or_doubled_in_thousands_of_runs() {
    let wanted = std::env::var("SIMULATION_SEEDS").unwrap_or_else(|_| "1000..6000".to_string());
    let (first, last) = wanted.split_once("..").unwrap();
    let counts = run_all(first.parse().unwrap()..last.parse().unwrap());
    println!("seeds {wanted}: {counts:#?}");
}

/// Whoever finds a seed has to find it again.
#[test]
fn a_seed_gives_the_same_run_again() {
    let setups = setups();
    let (one, other) = (run(4, setups, Weather::Foul, true), run(4, setups, Weather::Foul, true));
    assert_eq!((one.counts, one.trace), (other.counts, other.trace));
}

/// Partitions that move while their neighbours are in the middle of something: nobody has to begin anew for that.
#[test]
fn a_fleet_that_grows_in_peace_restarts_nobody() {
    let setups = setups();
    for seed in 0..10 {
        let report = run(seed, setups, Weather::Fair, true);
        assert!(report.complaints.is_empty(), "seed {seed}: {:?}", report.complaints);
        assert_eq!(report.counts.get("failed"), None, "seed {seed}\n{}", report.trace);
    }
}

/// Two processes under one name fence each other. Nothing is lost by it, but somebody has to say so.
#[test]
fn two_under_one_name_end_with_an_error() {
    let report = two_under_one_name(setups());
    assert!(report.counts.contains_key("failed"), "{}", report.trace);
    assert!(report.trace.contains("another process runs under the same instance id"), "{}", report.trace);
}

/// A tick is due whenever a commit has ended. It must not be all that is ever committed.
#[test]
fn commits_that_take_longer_than_a_tick_starve_nobody() {
    let report = on_a_slow_broker(setups());
    assert!(report.complaints.is_empty(), "{:?}", report.complaints);
}

/// Whether intake says, after a look at an input at its end and a commit, that it is idle.
fn is_idle(role: &mut Intake<'_>, inputs: &mut BTreeMap<i32, Input>, seconds: u64) -> bool {
    let moment = Moment { now: Timestamp(0), uptime: Duration::from_secs(seconds) };
    for (number, input) in inputs.iter_mut() {
        let partition = Partition { topic: role.topic().to_owned(), partition: *number };
        role.looked(input, moment);
        role.take(input, &Batch::owned(partition, Vec::new(), true), 0, moment).unwrap();
    }
    let staged = role.stage(inputs, moment).unwrap();
    role.committed(inputs, Duration::ZERO);
    let record = staged.common.first().expect("a tick");
    decode_shard_record(record.value.as_deref().unwrap()).unwrap().markers.iter().all(|marker| marker.idle)
}

/// Brokers that stand still for a while are no inputs that are silent: shards would go on without what is still to come, and all of that
/// would be late.
#[test]
fn time_in_which_nobody_looked_is_no_silence() {
    let topics = Topics { input: 1, changelog: 1, input_id: None };
    let mut role = Intake::new(&setups()[0], 0, topics).unwrap();
    let opening = Opening { partition: 0, committed: None, low: 0, high: 0 };
    let loading = role.begin_loading(opening).unwrap();
    let mut inputs = BTreeMap::from([(0, role.finish_loading(loading).unwrap())]);
    let mut idle = |seconds| is_idle(&mut role, &mut inputs, seconds);
    assert!((1..=10).all(|seconds| !idle(seconds)), "too short to say");
    assert!(idle(11));
    // A commit hangs until the thirtieth second.
    assert!(!idle(30));
    assert!((31..40).all(|seconds| !idle(seconds)));
    assert!(idle(40), "silent for as long as before");
}

/// What the first record of a topic comes to that was quiet while rules were changed: here the size that is taken.
fn first_after_new_rules<R: Role<Loading = Opening>>(role: &mut R, setup: &Setup) -> String {
    let moment = Moment { now: Timestamp(0), uptime: Duration::from_secs(1) };
    let mut parts = BTreeMap::from([(0, role.finish_loading(Opening { partition: 0, committed: None, low: 0, high: 0 }).unwrap())]);
    let rules = IntakeRules { largest_record: 3, ..(*setup.intake_rules.load_full()).clone() };
    setup.intake_rules.store(Arc::new(rules));
    let record = OwnedRecord { offset: 0, timestamp: 0, key: None, value: Some(b"{ \"a\": 1 }".to_vec()), headers: Vec::new() };
    let batch = Batch::owned(Partition { topic: role.topic().to_owned(), partition: 0 }, vec![record], true);
    for part in parts.values_mut() {
        role.take(part, &batch, 0, moment).unwrap();
    }
    let staged = role.stage(&mut parts, moment).unwrap();
    let headers = &staged.shares[&0].records[0].headers;
    headers.iter().map(|(name, value)| format!("{name}={} ", String::from_utf8_lossy(value))).collect()
}

/// Somebody changes attribution, and then imports the bill of a month: its rows go by the new rules, all of them.
#[test]
fn a_quiet_topic_begins_with_the_rules_of_now() {
    let (one, other) = (&setups()[0], &setups()[0]);
    let bill = first_after_new_rules(&mut Billing::new(one, 1).unwrap(), one);
    assert!(bill.contains("too_large"), "{bill}");
    let resources = first_after_new_rules(&mut Whole::<0>::new(other).unwrap(), other);
    assert!(resources.contains("too_large"), "{resources}");
}

/// A client whose every call takes 50 ms: what the group wants is not what a commit takes.
#[test]
fn time_with_the_group_is_told_apart() {
    let setup = &setups()[0];
    let mut broker = Broker::new(1, 0, false);
    for (topic, partitions) in [(&setup.topics.usage_events, 1), (&setup.topics.intake_changelog, 1), (&setup.topics.shard_log, 3)] {
        broker.create(topic, partitions, false);
    }
    broker.create_group("intake", &setup.topics.usage_events);
    let broker = Rc::new(RefCell::new(broker));
    let slow = broker.clone();
    let others = Box::new(move |_| slow.borrow_mut().advance(50));
    let faults = Rc::new(Cell::new(Faults { freeze: 1_000, ..Faults::default() }));
    let process = Rc::new(Process { is_dead: Cell::new(false), faults, others });
    let link = SimLink::join(broker, process, "intake", None, "id".to_owned());
    let role = Intake::new(setup, 0, Topics { input: 1, changelog: 1, input_id: None }).unwrap();
    let mut worker = Worker::new(link, role, setup, 0, "incarnation".to_owned());
    (0..100).for_each(|_| worker.step().unwrap());
    let page = setup.metrics.page();
    let took = |phase: &str| {
        let line =
            page.lines().find(|line| line.starts_with("tollgate_loop_seconds_total{") && line.contains(&format!("phase=\"{phase}\"")));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(took("poll") >= 4.0, "one call in each of a hundred rounds\n{page}");
}
