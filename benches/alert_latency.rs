//! How long from an event that crosses its bound to an alert that a read_committed consumer can read, at 5,000 events/s on one node.
//!
//! `cargo bench --bench alert_latency` starts a real broker and the release binary, produces with the Java client, forces 1,200 alerts
//! (one event of a new team each, above the runaway guard's floor) and prints percentiles. A measurement, not a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a measurement, not the product")]

#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/real/parts/mod.rs"]
mod parts;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};

const FORCED: usize = 1_200;
const FORCED_PER_SECOND: &str = "20";
const EVENTS_PER_SECOND: &str = "5000";
const SECONDS: &str = "62";
/// Before the first forced alert: virtual machines compile, files and connections are opened. What is measured is a node that runs.
const WARM_UP: u64 = 25;
/// Delays are also told by so many seconds, so that a tail shows when it was.
const SLICE: i64 = 10_000;

fn main() {
    let broker = parts::kafka();
    let prefix = format!("{}-", parts::unique("latency"));
    let folder = parts::temp_folder("latency");
    let http = parts::free_port();
    let config = folder.join("tollgate.toml");
    let text = format!(
        "version = 1\n[kafka]\nbootstrap_servers = \"{}\"\napplication_id = \"{prefix}app\"\ntopic_prefix = \"{prefix}\"\n\
         instance_id = \"one\"\n[topics]\ninput_partitions = 4\n[shards]\ncount = 8\n[http]\nlisten = \"127.0.0.1:{http}\"\n",
        broker.bootstrap()
    );
    std::fs::write(&config, text).unwrap();
    let tollgate = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).arg("--config").arg(&config);
        command
    };
    parts::run(&mut tollgate(&["topics", "create"]), "", Duration::from_secs(60)).expect_success();
    let mut run = tollgate(&["run"]);
    run.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(folder.join("log")).unwrap());
    let mut process = parts::Guarded::spawn(&mut run);
    parts::wait_for("tollgate to be ready", Duration::from_secs(60), || {
        get(http, "/health/ready").filter(|page| page.starts_with("HTTP/1.1 200"))
    });

    let topic = format!("{prefix}usage-events");
    let delays = std::thread::scope(|scope| {
        let longer = (WARM_UP + 65).to_string();
        let all = background(&topic);
        scope.spawn(move || produce(broker.bootstrap(), &all, EVENTS_PER_SECOND, &longer));
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(WARM_UP));
            produce(broker.bootstrap(), &[forced(&topic)], FORCED_PER_SECOND, SECONDS);
        });
        read_alerts(broker.bootstrap(), &format!("{prefix}alerts"))
    });
    assert!(process.ended().is_none(), "tollgate ended");
    report(delays);
    let page = get(http, "/metrics").unwrap();
    page.lines()
        .filter(|line| line.contains("_sum") || line.contains("_count") || line.contains("intake_records"))
        .for_each(|line| println!("{line}"));
}

fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// Fifty teams that spend next to nothing.
fn background(topic: &str) -> Vec<Value> {
    (0..50).map(|team| event(topic, &format!("background-{team}"), "b${n}", "0.00001")).collect()
}

/// A new team each time, with money that no new team spends at once.
fn forced(topic: &str) -> Value {
    event(topic, "forced-${n}", "f${n}", "400")
}

fn event(topic: &str, team: &str, id: &str, cost: &str) -> Value {
    json!({"topic": topic, "key": id, "value": json!({"event_id": id, "source": "bench", "event_time": "${now}", "meter": "llm.tokens",
        "team": team, "project": "p", "model": "gpt-4o", "provider": "openai", "region": "eu", "user": "u", "input_tokens": 1000,
        "output_tokens": 100, "cost": cost, "currency": "USD"}).to_string()})
}

fn produce(bootstrap: &str, lines: &[Value], rate: &str, seconds: &str) {
    let counts = parts::produce_with(bootstrap, lines, &["--rate", rate, "--for-seconds", seconds]);
    println!("produced at {rate}/s: {counts}");
}

/// By team: the input record's Kafka timestamp (taken when the producer sent it), and the milliseconds from then to here.
fn read_alerts(bootstrap: &str, topic: &str) -> BTreeMap<String, (i64, i64)> {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "latency-reader").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "5");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut delays = BTreeMap::new();
    let started = Instant::now();
    while delays.len() < FORCED && started.elapsed() < Duration::from_secs(120 + WARM_UP) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let alert = tollgate::model::wire::alert_from_json(message.payload().unwrap()).unwrap();
        if alert.revision == 1 && alert.team.starts_with("forced-") {
            delays.insert(alert.team, (alert.ingest_time.0, now - alert.ingest_time.0));
        }
    }
    delays
}

fn report(delays: BTreeMap<String, (i64, i64)>) {
    let begin = delays.values().map(|(sent, _)| *sent).min().unwrap();
    let mut slices: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (sent, delay) in delays.values() {
        slices.entry((sent - begin) / SLICE).or_default().push(*delay);
    }
    let all: Vec<i64> = delays.into_values().map(|(_, delay)| delay).collect();
    println!("{} forced alerts, milliseconds from send to readable: {}", all.len(), percentiles(all));
    for (slice, delays) in slices {
        println!("  from second {:>3}: {}", slice * SLICE / 1_000, percentiles(delays));
    }
}

fn percentiles(mut sorted: Vec<i64>) -> String {
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    format!("p50 {} p90 {} p99 {} max {}", at(0.5), at(0.9), at(0.99), at(1.0))
}
