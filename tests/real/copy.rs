//! Restarts with a local copy of the changelog: killed at any moment it leads to what the changelog alone leads to, and where it may not be
//! used it is not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use super::parts::{Guarded, run_tool, wait_for};
use super::path::{Deployment, history, now_ms, rfc3339, usage};

const LIMIT: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
const SHARDS: u64 = 4;
const PARTITIONS: usize = 2;
const TEAMS: [&str; 5] = ["search", "ads", "support", "billing", "ml"];

fn labelled(deployment: &Deployment, sample: &str) -> u64 {
    let page = deployment.get("/metrics").1;
    page.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok()).unwrap_or(0)
}

/// How many shards were restored from the copy, and from the changelog.
fn restored(deployment: &Deployment) -> (u64, u64) {
    let from = |from: &str| labelled(deployment, &format!("tollgate_watch_shards_restored_total{{from=\"{from}\"}}"));
    (from("copy"), from("changelog"))
}

fn copies_are_current(deployment: &Deployment) {
    wait_for("the copies to be current", LIMIT, || {
        (labelled(deployment, "tollgate_watch_copies{state=\"current\"}") == SHARDS).then_some(())
    });
}

fn copy_of(deployment: &Deployment, shard: u64) -> PathBuf {
    let topic = format!("{0}{0}app-watch-changelog", deployment.prefix);
    deployment.config.with_file_name("copies").join(topic).join(format!("{shard}.copy"))
}

fn end(deployment: &Deployment, process: &mut Guarded) {
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
}

/// What closed hours came to, by key; once all events are counted.
fn totals(deployment: &Deployment, events: usize) -> BTreeMap<String, (Value, Value)> {
    wait_for("all hours to close", Duration::from_secs(120), || {
        let rollups = deployment.newest("spend-rollups");
        let counted: i64 = rollups.values().map(|rollup| rollup["events"].as_i64().unwrap()).sum();
        assert!(counted <= i64::try_from(events).unwrap(), "doubled: {counted}");
        (counted == i64::try_from(events).unwrap())
            .then(|| rollups.into_iter().map(|(key, rollup)| (key, (rollup["events"].clone(), rollup["cost"].clone()))).collect())
    })
}

/// Alerts by team: project, the user that caused it, and what each hour before `until` came to and would have been normally. Not the kind: an
/// alert is a runaway or a spike by the minute in which its events happen to arrive.
fn alerts(deployment: &Deployment, until: i64) -> BTreeMap<String, (Value, Value, Vec<Value>)> {
    let until = rfc3339(until);
    let what = |alert: &Value| {
        let hours = alert["history"].as_array().unwrap().iter().filter(|hour| hour["time"].as_str().unwrap() < until.as_str());
        (alert["dimensions"]["project"].clone(), alert["causes"][0]["dimensions"]["user"].clone(), hours.cloned().collect())
    };
    let found = deployment.newest("alerts").into_values();
    found.map(|alert| (alert["team"].as_str().unwrap().to_string(), what(&alert))).collect()
}

/// Sends each partition the same event over and over, so that none falls idle while parts are on their way: with all of them idle the clock
/// moves on, hours close with what they have, and what comes then is late. All but the first of each are duplicates.
struct Trickle {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Trickle {
    /// Returns once each partition has its first.
    fn start(deployment: &Deployment, until: i64) -> Trickle {
        let producer: BaseProducer = deployment.broker.client().create().unwrap();
        let topic = deployment.topic("usage-events");
        let (stop, stopped) = channel();
        let send = move || {
            for partition in 0..PARTITIONS {
                let event = usage(&format!("trickle-{partition}"), until - 40 * HOUR_MS, "trickle", "ann", "0.01").to_string();
                producer.send(BaseRecord::<(), str>::to(&topic).partition(i32::try_from(partition).unwrap()).payload(&event)).unwrap();
            }
            producer.flush(LIMIT).unwrap();
        };
        send();
        let again = move || {
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                send();
            }
        };
        Trickle { stop, thread: std::thread::spawn(again) }
    }

    fn end(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

#[test]
fn killed_again_and_again_it_goes_on_as_it_would_without_a_copy() {
    let copied = Deployment::without_mail("copied", "[state]\ndir = \"copies\"");
    let plain = Deployment::without_mail("plain", "");
    // All of it younger than what may still be amended: what comes late on a busy machine then changes its hour, and adds no record of its own.
    let until = now_ms() - 2 * HOUR_MS;
    let events = history(&TEAMS, 40, until);
    let parts: Vec<_> = events.chunks(events.len().div_ceil(4)).collect();
    let (trickle, all) = (Trickle::start(&copied, until), events.len() + PARTITIONS);
    let mut process = copied.start();
    assert_eq!(restored(&copied), (0, SHARDS), "there was no copy yet");
    copies_are_current(&copied);
    for part in &parts[..3] {
        copied.produce_usage(part);
        // In the middle of taking it in, of closing hours, and of writing the copy.
        process.kill9();
        process = copied.start();
        assert_eq!(restored(&copied), (SHARDS, 0), "{}", copied.log());
    }
    copied.produce_usage(parts[3]);
    trickle.end();
    for part in &parts {
        plain.produce_usage(part);
    }
    Trickle::start(&plain, until).end();
    let _plain = plain.start();
    let wild = |deployment: &Deployment| {
        let event = |n: i64| usage(&format!("wild-{n}"), now_ms() - 60_000 + n * 1000, "search", "eve", "2.5");
        deployment.produce_usage(&(0..40).map(event).collect::<Vec<_>>());
        wait_for("the alert", LIMIT, || Some(alerts(deployment, until)).filter(|alerts| alerts.contains_key("search")))
    };
    assert_eq!(totals(&copied, all), totals(&plain, all));
    end(&copied, &mut process);
    let mut process = copied.start();
    assert_eq!(restored(&copied), (SHARDS, 0), "{}", copied.log());
    // Judged by baselines that came from the copy.
    let judged = wild(&copied);
    assert!(judged["search"].2.iter().any(|hour| hour["upper"].is_number()), "no baselines: {judged:?}");
    assert_eq!(judged, wild(&plain));

    // Half a batch at the end of each file, and one file gone.
    copies_are_current(&copied);
    process.kill9();
    for shard in 1..SHARDS {
        let path = copy_of(&copied, shard);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    }
    std::fs::remove_file(copy_of(&copied, 0)).unwrap();
    let before = alerts(&copied, until);
    let _process = copied.start();
    assert_eq!(restored(&copied), (SHARDS - 1, 1), "{}", copied.log());
    assert_eq!(alerts(&copied, until), before);
    copies_are_current(&copied);
}

#[test]
fn a_copy_that_may_lack_something_is_not_used() {
    let deployment = Deployment::without_mail("uncopied", "[state]\ndir = \"copies\"");
    let events = history(&TEAMS[..2], 6, now_ms() - 2 * HOUR_MS);
    deployment.produce_usage(&events);
    let mut process = deployment.start();
    let before = totals(&deployment, events.len());
    copies_are_current(&deployment);
    end(&deployment, &mut process);

    // Another topic of the same name: what the copies hold is not what it held.
    deployment.command(&["reset", "--only", "watch", "--to-earliest", "--wait", "--yes"]);
    let mut process = deployment.start();
    assert_eq!(restored(&deployment), (0, SHARDS), "{}", deployment.log());
    assert!(deployment.log().contains("it is a copy of"), "{}", deployment.log());
    assert_eq!(totals(&deployment, events.len()), before);
    copies_are_current(&deployment);
    end(&deployment, &mut process);
    let mut process = deployment.start();
    assert_eq!(restored(&deployment), (SHARDS, 0), "the copies were begun anew: {}", deployment.log());
    end(&deployment, &mut process);

    // Deletions that the copies have not seen may be gone by now.
    let topic = format!("{0}{0}app-watch-changelog", deployment.prefix);
    let alter = ["--bootstrap-server", deployment.broker.bootstrap(), "--alter", "--entity-type", "topics", "--entity-name", &topic];
    let mut arguments = alter.to_vec();
    arguments.extend(["--add-config", "delete.retention.ms=2"]);
    run_tool("kafka.admin.ConfigCommand", &arguments, "").expect_success();
    let _process = deployment.start();
    assert_eq!(restored(&deployment), (0, SHARDS), "{}", deployment.log());
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    let deployment = Deployment::without_mail("nofolder", "[state]\ndir = \"copies\"");
    std::fs::write(deployment.config.with_file_name("copies"), "a file, not a folder").unwrap();
    let _process = deployment.start();
    assert_eq!(restored(&deployment), (0, SHARDS));
    wait_for("the warning", LIMIT, || deployment.log().contains("no local copy of the changelog").then_some(()));
    let event = usage("one", now_ms() - 1000, "search", "ann", "0.5");
    deployment.produce_usage(&[event]);
    wait_for("the event", LIMIT, || (deployment.metric("tollgate_watch_partials_merged_total") == 1).then_some(()));
}
