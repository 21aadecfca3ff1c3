//! The fault matrix: three workers on three brokers, a known log, faults by class and mixed, and an oracle that recomputes everything.
//!
//! The short run belongs to `make test`, the long one is `make chaos`. Environment: TOLLGATE_CHAOS_SEED, TOLLGATE_CHAOS_SCALE (per cent of
//! the faults of the long run), TOLLGATE_CHAOS_RATE (records a second), TOLLGATE_CHAOS_DIR (where results and logs are left),
//! TOLLGATE_CHAOS_BINARY (another build than this one), TOLLGATE_CHAOS_ONLY (a part of a class's name: of the long run this class alone).

mod dice;
mod faults;
mod fleet;
mod load;
pub mod observer;
mod oracle;
mod replay;
mod table;
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::dice::Dice;
use self::faults::{Campaign, Class};
use self::fleet::{Fleet, WORKERS};
use self::load::{Load, Shape, Written};
use self::observer::{Ends, Follower, Sampled, Sampler, reads};
use self::oracle::{Found, Seen};
use self::table::Cell;
use super::parts::{Admin, Cluster, Consumed, consume_with, wait_for};

/// Class, faults, and how many of them before a recovery is waited for.
type Plan = Vec<(Class, usize, usize)>;

/// Nothing that was written is rolled up for so long: it will not come any more.
const STANDSTILL: Duration = Duration::from_secs(300);

#[test]
fn faults_lose_nothing_and_double_nothing() {
    let seed = seed();
    let mut plan = vec![(Class::Cut, 12, 12), (Class::LeaderMove, 2, 2), (Class::Stall, 2, 2), (Class::RollingRestart, 1, 1)];
    Dice::new(seed).shuffle(&mut plan);
    // The slow ones at the end: a worker that is killed leaves its partitions to others until its session is over.
    plan.extend([(Class::WorkerKill, 3, 3), (Class::BrokerKill, 1, 1)]);
    let shape = Shape { seed, events_per_second: 60, hour: Duration::from_secs(1), planned: Duration::from_secs(110) };
    let outcome = campaign("short", shape, &plan);
    tests::every_kind_of_damage_is_found(&outcome.seen);
}

#[test]
#[ignore = "most of an hour: make chaos"]
fn the_long_one() {
    let seed = seed();
    let scale = setting("TOLLGATE_CHAOS_SCALE", 100);
    let of = |faults: usize| faults * usize::try_from(scale).unwrap() / 100;
    let mut plan: Plan = vec![
        (Class::WorkerKill, of(36), 1),
        (Class::WorkerPause, of(12), 1),
        (Class::BrokerKill, of(18), 1),
        (Class::LeaderMove, of(30), 1),
        (Class::Cut, of(120), 10),
        (Class::Stall, of(24), 1),
        (Class::RollingRestart, of(30), 3),
    ];
    Dice::new(seed).shuffle(&mut plan);
    plan.push((Class::Mixed, of(60), 4));
    let only = std::env::var("TOLLGATE_CHAOS_ONLY").ok();
    plan.retain(|(class, ..)| only.as_deref().is_none_or(|part| class.name().contains(part)));
    let planned = Duration::from_secs(3_000 * scale / 100);
    let shape = Shape { seed, events_per_second: setting("TOLLGATE_CHAOS_RATE", 100), hour: Duration::from_secs(2), planned };
    let outcome = campaign("long", shape, &plan);
    if scale >= 100 && only.is_none() {
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Mixed) {
            assert!(table::of_class(&outcome.cells, class) >= 10, "at least ten of each class: {}", class.name());
        }
        assert!(table::process_and_broker_faults(&outcome.cells) >= 150, "at least 150 process and broker faults");
    }
}

struct Outcome {
    seen: Seen,
    cells: Vec<Cell>,
}

/// The whole of it; the table is printed and left behind in any case, then a complaint fails the test.
fn campaign(name: &str, shape: Shape, plan: &Plan) -> Outcome {
    let folder = results_folder(name, shape.seed);
    eprintln!("[chaos] {name} run, TOLLGATE_CHAOS_SEED={}, logs and results in {}", shape.seed, folder.display());
    let start = Instant::now();
    let cluster = Cluster::start();
    let mut fleet = Fleet::new(&cluster, &folder);
    let admin = Admin::connect(&cluster.bootstrap());
    // Before the workers: where all inputs are idle event time is ours, and a log of long ago would be late from its first record on.
    let load = Load::start(&cluster.bootstrap(), &fleet.topic("usage-events"), shape, &folder);
    wait_for("the first records", Duration::from_secs(120), || (load.count() > 300).then_some(()));
    fleet.start_all();
    eprintln!("[chaos] three brokers and three workers after {:.1?}", start.elapsed());
    let sampler = Sampler::start(&cluster, &fleet);
    let mut follower = Follower::start(&cluster, &fleet);

    let mut campaign = Campaign::new(&cluster, &mut fleet, &admin, &load, &sampler, shape.seed);
    let inflicted: Result<(), String> = plan.iter().try_for_each(|(class, faults, together)| campaign.inflict(*class, *faults, *together));
    let Campaign { cells, mut complaints, .. } = campaign;
    complaints.extend(inflicted.err());

    let written = load.finish();
    complaints.extend(drain(&mut fleet, &mut follower, &written));
    for worker in 0..WORKERS {
        complaints.extend(fleet.terminate(worker).err());
    }
    eprintln!("[chaos] drained and stopped after {:.1?}", start.elapsed());
    complaints.extend(nothing_is_open(&cluster, &fleet, &admin));
    let sampled = sampler.now();
    drop(sampler);
    let seen = see(&cluster, &fleet);
    let (found, wrong) = oracle::check(&seen);
    complaints.extend(wrong);
    complaints.extend(written_is_there(&written, &found));
    if found.alerts == 0 || found.resolved == 0 {
        complaints.push("no alert was opened and resolved: the run shows nothing about alerts".to_owned());
    }
    let (replayed, wrong) = replay::check(&cluster, &fleet, &seen);
    complaints.extend(wrong);
    complaints.extend(sampled.stepped_back.iter().map(|step| format!("a committed offset went back: {step}")));

    let report = report(name, shape, &cells, &found, &replayed, &sampled, &fleet, &mut complaints, start.elapsed());
    std::fs::write(folder.join("results.md"), &report).unwrap();
    std::fs::write(folder.join("complaints.txt"), complaints.join("\n")).unwrap();
    eprintln!("{report}");
    let shown: Vec<&str> = complaints.iter().take(40).map(String::as_str).collect();
    assert!(complaints.is_empty(), "seed {}: {} complaints\n{}", shape.seed, complaints.len(), shown.join("\n"));
    Outcome { seen, cells }
}

/// Waits until every distinct valid event stands in a roll-up; more of them is as wrong as fewer.
fn drain(fleet: &mut Fleet, follower: &mut Follower, written: &Written) -> Option<String> {
    let expected: u64 = written.sums.values().map(|(_, events)| events).sum();
    let (mut last, mut since) = (0, Instant::now());
    loop {
        fleet.tend();
        if let Some(hopeless) = fleet.hopeless() {
            return Some(hopeless);
        }
        let events = follower.events();
        if events == expected {
            return None;
        }
        if events > expected {
            return Some(format!("{events} events are rolled up, {expected} were written"));
        }
        if events != last {
            (last, since) = (events, Instant::now());
        }
        if since.elapsed() > STANDSTILL {
            return Some(format!("only {events} of {expected} events are rolled up, and no more for {STANDSTILL:?}"));
        }
    }
}

/// No transaction is left open, and everything that was written to outputs and internal topics is decided.
fn nothing_is_open(cluster: &Cluster, fleet: &Fleet, admin: &Admin) -> Vec<String> {
    let mut complaints = Vec::new();
    let limit = Duration::from_secs(90);
    let start = Instant::now();
    let open = loop {
        let states = admin.transactions();
        let ours = |id: &String| id.starts_with(&fleet.application);
        let decided = |state: &str| ["CompleteCommit", "CompleteAbort", "Empty", "Dead"].contains(&state);
        let open: Result<Vec<String>, String> = states.map(|states| {
            let undecided = states.into_iter().filter(|(id, state)| ours(id) && !decided(state));
            undecided.map(|(id, state)| format!("transaction of {id} is {state}")).collect()
        });
        match open {
            Ok(open) if open.is_empty() => break open,
            Ok(open) if start.elapsed() > limit => break open,
            Err(error) if start.elapsed() > limit => break vec![format!("cannot list transactions: {error}")],
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    complaints.extend(open);
    for prefix in [fleet.prefix.as_str(), "__consumer_offsets"] {
        match admin.open_transactions(prefix) {
            Ok((open, partitions)) => {
                assert!(partitions > 3, "only {partitions} partitions of {prefix} were looked at");
                complaints.extend(open.into_iter().map(|open| format!("a transaction is left open on {open}")));
            }
            Err(error) => complaints.push(format!("cannot ask who writes to {prefix}: {error}")),
        }
    }
    let shards = i32::try_from(fleet::SHARDS).unwrap();
    let mut topics: Vec<(String, i32)> = reads(fleet).into_iter().map(|(_, topic, partitions)| (topic, partitions)).collect();
    topics.extend(["dead-letter", "spend-rollups", "governance-violations"].map(|name| (fleet.topic(name), 3)));
    topics.extend([(fleet.internal("watch-changelog"), shards), (fleet.internal("intake-changelog"), 1)]);
    topics.push((fleet.internal("receipts-changelog"), 3));
    let ends = Ends::of(cluster);
    for (topic, partitions) in topics {
        for partition in 0..partitions {
            match ends.ask(&topic, partition) {
                Ok((stable, high)) if stable == high => {}
                other => complaints.push(format!("{topic}[{partition}]: last stable offset and high watermark are {other:?}")),
            }
        }
    }
    complaints
}

/// All of the topics, read by a client that is not ours.
fn see(cluster: &Cluster, fleet: &Fleet) -> Seen {
    let read =
        |name: &str| -> Vec<Consumed> { consume_with(&cluster.bootstrap(), &fleet.topic(name), &["--to-end", "--timeout-ms", "280000"]) };
    Seen {
        input: read("usage-events"),
        rollups: read("spend-rollups"),
        alerts: read("alerts"),
        dead: read("dead-letter"),
        violations: read("governance-violations"),
    }
}

/// The input log itself is what its writer says it is; else the oracle would judge by a log that lost something.
fn written_is_there(written: &Written, found: &Found) -> Option<String> {
    let events: u64 = written.sums.values().map(|(_, events)| events).sum();
    let want = (written.records, events, written.duplicates, written.broken);
    let got = (found.records as u64, found.events, found.duplicates, found.broken as u64);
    (want != got).then(|| format!("the input log: records, events, duplicates, broken ones are {got:?}, written were {want:?}"))
}

#[expect(clippy::too_many_arguments, reason = "all that there is to tell")]
fn report(
    name: &str,
    shape: Shape,
    cells: &[Cell],
    found: &Found,
    replayed: &replay::Replayed,
    sampled: &Sampled,
    fleet: &Fleet,
    complaints: &mut Vec<String>,
    took: Duration,
) -> String {
    let logs = fleet.log_counts();
    complaints.extend(logs.panics.iter().map(|line| format!("a worker panicked: {line}")));
    complaints.extend(logs.contradictions.iter().map(|line| format!("a worker says: {line}")));
    let Shape { seed, events_per_second, .. } = shape;
    let restarts: Vec<String> = logs.role_restarts.iter().map(|(error, count)| format!("  {count} x {error}\n")).collect();
    let ended: Vec<String> = fleet.ended.iter().map(|words| format!("  {words}\n")).collect();
    format!(
        "Fault matrix, {name} run, seed {seed}, {events_per_second} records a second, {took:.0?}\n\n{table}\n\
         Input: {f_records} records = {events} events + {duplicates} duplicates + {broken} broken.\n\
         Output: {rollups} roll-ups ({restated} restatements, {supplements} supplements), {alerts} alerts in {revisions} revisions \
         ({resolved} resolved), {broken} dead letters.\n\
         Replayed: {replayed:?}. Committed offsets sampled {samples} times, {back} steps back.\n\
         Complaints: {count}.\n\nRoles that started again, by cause:\n{restarts}Processes that gave up:\n{ended}Ended with a failure after SIGTERM:\n{unclean}",
        table = table::table(cells),
        f_records = found.records,
        events = found.events,
        duplicates = found.duplicates,
        broken = found.broken,
        rollups = found.rollups,
        restated = found.restated,
        supplements = found.supplements,
        alerts = found.alerts,
        revisions = found.alert_revisions,
        resolved = found.resolved,
        samples = sampled.samples,
        back = sampled.stepped_back.len(),
        count = complaints.len(),
        restarts = restarts.concat(),
        ended = ended.concat(),
        unclean = fleet.unclean.iter().map(|words| format!("  {words}\n")).collect::<String>(),
    )
}

fn seed() -> u64 {
    let micros = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    setting("TOLLGATE_CHAOS_SEED", u64::try_from(micros % 1_000_000).unwrap())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Stays after the run, for whoever looks into it.
fn results_folder(name: &str, seed: u64) -> PathBuf {
    let parent = std::env::var("TOLLGATE_CHAOS_DIR").map_or_else(|_| Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos"), PathBuf::from);
    let folder = parent.join(format!("{name}-{seed}"));
    // Logs are appended to.
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
