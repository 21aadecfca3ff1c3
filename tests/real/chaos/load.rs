//! The known log: usage of twenty teams at a steady rate, event time running faster than ours, with duplicates, broken records, late events
//! and teams that run wild. Java's idempotent producer writes it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dice::Dice;
use crate::real::parts::{Guarded, java, root};
use crate::real::path::{now_ms, rfc3339};

pub const HOUR_MS: i64 = 3_600_000;
const TEAMS: usize = 20;
/// Exact duplicates repeat one of so many last events: far within the dedupe window of the deployment.
const REPEATABLE: usize = 3_000;
const LAST_WORD: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seed: u64,
    pub events_per_second: u64,
    /// Our time that an hour of event time takes.
    pub hour: Duration,
    /// How long the run is expected to take; event time ends near now by then.
    pub planned: Duration,
}

/// What was written, as its writer knows it.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub records: u64,
    pub broken: u64,
    pub duplicates: u64,
    /// Nano-dollars and events of each team and hour, without duplicates.
    pub sums: BTreeMap<(String, i64), (i128, u64)>,
}

/// Runs until `finish`.
pub struct Load {
    pub records: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    feeding: JoinHandle<Written>,
    answer: JoinHandle<String>,
    process: Guarded,
}

impl Load {
    /// Its warnings go to a file in `logs`.
    pub fn start(bootstrap: &str, topic: &str, shape: Shape, logs: &Path) -> Load {
        let mut command = java();
        command.arg("-Xmx160m").arg(root().join("tests/parts/Produce.java")).args(["--bootstrap", bootstrap]);
        // It never gives up: an unacknowledged record would leave the log in doubt.
        for property in ["delivery.timeout.ms=900000", "max.block.ms=900000", "enable.idempotence=true", "reconnect.backoff.max.ms=300"] {
            command.args(["--property", property]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(logs.join("producer.log")).unwrap());
        let mut process = Guarded::spawn(&mut command);
        let stdin = process.child().stdin.take().expect("piped");
        let stdout = process.child().stdout.take().expect("piped");
        let answer = thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).last().unwrap_or_default());
        let (records, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, stopping, topic) = (records.clone(), stop.clone(), topic.to_owned());
        let feeding = thread::spawn(move || feed(stdin, &topic, shape, &counter, &stopping));
        Load { records, stop, feeding, answer, process }
    }

    pub fn count(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    /// Stops writing, waits until everything is acknowledged and tells what was written.
    pub fn finish(self) -> Written {
        let Load { stop, feeding, answer, mut process, .. } = self;
        stop.store(true, Ordering::SeqCst);
        let written = feeding.join().unwrap();
        let status = process.wait(LAST_WORD);
        let counts: Value = serde_json::from_str(&answer.join().unwrap()).expect("the producer's counts");
        assert!(status.is_some_and(|status| status.success()), "the producer: {status:?} {counts}");
        assert_eq!(counts["acked"], written.records, "{counts}");
        written
    }
}

fn feed(mut stdin: ChildStdin, topic: &str, shape: Shape, records: &AtomicU64, stop: &AtomicBool) -> Written {
    let mut events = Events::new(topic, shape);
    let start = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let due = u64::try_from(start.elapsed().as_millis()).unwrap() * shape.events_per_second / 1_000;
        while events.written.records < due {
            writeln!(stdin, "{}", events.next(start.elapsed())).expect("the producer reads");
            records.store(events.written.records, Ordering::SeqCst);
        }
        thread::sleep(Duration::from_millis(10));
    }
    events.written
}

struct Events {
    shape: Shape,
    topic: String,
    dice: Dice,
    start_ms: i64,
    /// Who spends far too much, and until which hour.
    wild: Option<(usize, i64)>,
    recent: VecDeque<Value>,
    written: Written,
}

impl Events {
    fn new(topic: &str, shape: Shape) -> Events {
        let hours = i64::try_from(shape.planned.as_millis() / shape.hour.as_millis()).unwrap();
        let start_ms = now_ms() / HOUR_MS * HOUR_MS - (hours + 4) * HOUR_MS;
        let dice = Dice::new(shape.seed);
        Events { shape, topic: topic.to_owned(), dice, start_ms, wild: None, recent: VecDeque::new(), written: Written::default() }
    }

    /// The next line for the producer.
    fn next(&mut self, elapsed: Duration) -> Value {
        self.written.records += 1;
        if self.dice.percent(1) {
            self.written.broken += 1;
            return self.broken();
        }
        if self.dice.percent(3) && !self.recent.is_empty() {
            self.written.duplicates += 1;
            let at = self.dice.roll(self.recent.len());
            return self.recent[at].clone();
        }
        let line = self.usage(elapsed);
        self.recent.push_back(line.clone());
        if self.recent.len() > REPEATABLE {
            self.recent.pop_front();
        }
        line
    }

    fn usage(&mut self, elapsed: Duration) -> Value {
        let passed = i64::try_from(elapsed.as_millis()).unwrap() * HOUR_MS / i64::try_from(self.shape.hour.as_millis()).unwrap();
        // A run that takes longer than planned goes on in our time; nothing is ever stamped in the future.
        let now = (self.start_ms + passed).min(now_ms() - 2 * HOUR_MS);
        let hour = (now - self.start_ms) / HOUR_MS;
        self.run_wild(hour);
        let late = match self.dice.roll(1_000) {
            0..8 => i64::try_from(self.dice.between(2, 30)).unwrap() * HOUR_MS,
            8..11 => i64::try_from(self.dice.between(60, 80)).unwrap() * HOUR_MS,
            _ => 0,
        };
        let at = now - late - i64::try_from(self.dice.roll(240_000)).unwrap();
        let mut team = self.dice.roll(TEAMS);
        // In nano-dollars: about half a dollar, to the last digit.
        let mut cost = 400_000_000 + i128::try_from(self.dice.roll(200_000_001)).unwrap();
        let mut user = format!("user-{}", self.dice.roll(5));
        if let Some((wild, _)) = self.wild
            && late == 0
            && self.dice.percent(15)
        {
            (team, cost, user) = (wild, 30 * cost, "eve".to_owned());
        }
        let team = format!("team-{team:02}");
        let id = format!("e{:08}", self.written.records);
        let sum = self.written.sums.entry((team.clone(), at.div_euclid(HOUR_MS))).or_default();
        *sum = (sum.0 + cost, sum.1 + 1);
        let (project, model) = (self.dice.roll(2), self.dice.roll(2));
        let event = json!({"event_id": id, "source": "gateway/eu1", "event_time": rfc3339(at), "meter": "llm.tokens", "team": team,
            "project": format!("project-{project}"), "model": format!("model-{model}"), "provider": "openai", "region": "eu-central-1",
            "environment": "prod", "user": user, "input_tokens": 1000, "output_tokens": 200, "currency": "USD",
            "cost": format!("{}.{:09}", cost / 1_000_000_000, cost % 1_000_000_000)});
        json!({"topic": self.topic, "key": id, "value_json": event})
    }

    /// After a day of quiet, every twelve hours somebody runs wild for three.
    fn run_wild(&mut self, hour: i64) {
        let over = self.wild.is_none_or(|(_, until)| hour >= until);
        if over && hour >= 24 && hour % 12 == 0 {
            self.wild = Some((self.dice.roll(TEAMS), hour + 3));
        } else if over {
            self.wild = None;
        }
    }

    /// Five ways to be unreadable; the key says that it is meant so.
    fn broken(&mut self) -> Value {
        let n = self.written.records;
        let mut line = json!({"topic": self.topic, "key": format!("broken-{n}")});
        let (form, value) = match self.dice.roll(5) {
            0 => ("value_json", json!({"event_id": n})),
            1 => ("value", json!(format!("not json {n}"))),
            2 => ("value", Value::Null),
            3 => ("value_json", json!({"event_id": format!("b{n}"), "event_time": "2026-01-01T00:00:00Z", "cost": "1"})),
            _ => ("value_json", json!({"event_id": format!("b{n}"), "source": "s", "event_time": "yesterday", "cost": "1"})),
        };
        line[form] = value;
        line
    }
}
