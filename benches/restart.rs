//! How long a restart takes until every shard takes records again, from the changelog alone and from the local copy.
//!
//! `cargo bench --bench restart -- 100000` starts a real broker, writes a changelog of so many series (default 100,000) and runs
//! `tollgate run --only watch` of the same profile on it. What is written is what the engine itself writes: some thousand series that have
//! lived through 16 days of hours, and further teams with the same lives under other names. A second number says how many teams really
//! live (default 100), a third one `watch.threads` (default 1). A measurement, not a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a measurement, not the product")]

#[allow(dead_code, unused_imports, reason = "shared with the tests")]
#[path = "../tests/real/parts/mod.rs"]
mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tollgate::model::effect::StateChange;
use tollgate::model::hash::shard_of;
use tollgate::model::leaf::{Account, Leaf, Measure};
use tollgate::model::money::{Currency, Nanos};
use tollgate::model::partial::{Marker, Partial, ShardRecord, Source, UserCost};
use tollgate::model::time::{Minute, Timestamp};
use tollgate::watch::Shard;
use tollgate::watch::rules::WatchRules;
use tollgate::watch::state::{self, StateKey};

const SHARDS: u32 = 32;
/// Of each team; with the sums above them some 55 series.
const LEAVES: u64 = 40;
const HOURS: i64 = 16 * 24;
const TRANSACTION: usize = 20_000;
const LIMIT: Duration = Duration::from_secs(1_800);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let wanted = numbers.next().unwrap_or(100_000) as usize;
    let living = numbers.next().unwrap_or(100);
    let broker = parts::kafka();
    let bench = Bench::new(broker.bootstrap(), numbers.next().unwrap_or(1));
    let started = Instant::now();
    let templates = templates(living);
    println!("{} series lived through {HOURS} hours in {:.0?}", templates.series, started.elapsed());
    let started = Instant::now();
    let written = bench.write(&templates, wanted);
    println!(
        "{} series, {} keys, {:.0} MB of keys and values ({:.0} bytes a series), written in {:.0?}",
        written.series,
        written.keys,
        written.bytes as f64 / 1e6,
        written.bytes as f64 / written.series as f64,
        started.elapsed()
    );
    bench.restart("changelog", None, &written);
    bench.restart("changelog", None, &written);
    let copies = bench.folder.join("copies");
    bench.restart("changelog, first copy", Some(&copies), &written);
    for _ in 0..3 {
        bench.restart("copy", Some(&copies), &written);
    }
}

/// The state of the teams that lived, by team: keys and values of the changelog.
struct Templates {
    teams: Vec<Vec<(StateKey, Vec<u8>)>>,
    header: Vec<u8>,
    series: usize,
}

struct Written {
    series: usize,
    keys: usize,
    bytes: u64,
}

fn templates(living: u64) -> Templates {
    let rules: WatchRules = tollgate::config::load(None, std::iter::empty()).unwrap().watch;
    let now = Timestamp(i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    let first = now.minute().0 / 60 * 60 - HOURS * 60;
    let mut shard = Shard::new(0, SHARDS, &rules);
    let mut offset = 0;
    for slot in 0..HOURS * 2 {
        let minute = Minute(first + slot * 30);
        let mut partials: Vec<Partial> = (0..living * LEAVES).filter_map(|leaf| partial(leaf, minute)).collect();
        while !partials.is_empty() {
            let rest = partials.split_off(partials.len().min(500));
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let markers = if rest.is_empty() { vec![marker] } else { Vec::new() };
            shard.apply_whole(&ShardRecord { partials, markers, events: Vec::new() }, offset, minute.start().plus_ms(60_000), &rules);
            offset += 1;
            partials = rest;
        }
    }
    shard.save_all();
    let mut newest = BTreeMap::new();
    for StateChange { key, value } in shard.take_changes() {
        newest.insert(state::decode_key(&key).unwrap(), value);
    }
    let header = newest.remove(&StateKey::Header).flatten().unwrap();
    let mut teams: BTreeMap<Account, Vec<(StateKey, Vec<u8>)>> = BTreeMap::new();
    for (key, value) in newest {
        let (Some(value), Some(account)) = (value, account_of(&key)) else { continue };
        teams.entry(account).or_default().push((key, value));
    }
    Templates { teams: teams.into_values().collect(), header, series: shard.series_count() }
}

/// Its account, of keys that every copy of a team has.
fn account_of(key: &StateKey) -> Option<Account> {
    match key {
        StateKey::Node(account, _) | StateKey::LeafOpen(account, _) => Some(account.clone()),
        StateKey::Budget(account) | StateKey::Days(account) => Some(account.clone()),
        // Of what happened to happen, of the shard, or of older versions.
        _ => None,
    }
}

fn renamed(key: &StateKey, team: &str) -> StateKey {
    let mut key = key.clone();
    match &mut key {
        StateKey::Node(account, _) | StateKey::LeafOpen(account, _) | StateKey::Budget(account) | StateKey::Days(account) => {
            account.team = team.into();
        }
        _ => {}
    }
    key
}

/// What a leaf spends at that time, if anything: each its own level, day, noise, and hours without use.
fn partial(leaf: u64, minute: Minute) -> Option<Partial> {
    let dice = |salt: u64| {
        let mut x =
            leaf.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (minute.0.unsigned_abs().wrapping_add(salt)).wrapping_mul(0xd1b5_4a32_d192_ed03);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 32)
    };
    let (team, within) = (leaf / LEAVES, leaf % LEAVES);
    let hour = minute.0 / 60 % 24;
    let is_day = (7..20).contains(&hour);
    if dice(1) % 10 < (if is_day { 1 } else { 4 } + leaf % 3) {
        return None;
    }
    let text = |name: &str, number: u64| format!("{name}-{number}").into();
    let level = 100_000 + dice(2) % (1 + leaf % 900_000) + if is_day { 300_000 * (1 + leaf % 7) } else { 0 };
    let cost = Nanos(i128::from(level) * 1_000);
    let users = (0..3).map(|user| UserCost { user: text("user", dice(3 + user) % 12), cost: Nanos(cost.0 / 3) }).collect();
    Some(Partial {
        leaf: Leaf {
            team: text("template", team),
            project: text("project", within / 8),
            model: text("model", within % 8),
            provider: text("provider", within % 3),
            region: text("region", team % 4),
            environment: if within % 2 == 0 { "prod".into() } else { "dev".into() },
            meter: "llm.tokens".into(),
            currency: Currency::USD,
            measure: Measure::Estimated,
        },
        minute,
        events: 10 + dice(7) % 90,
        unpriced_events: 0,
        cost,
        has_negative: false,
        quantity: Nanos::ZERO,
        requests: 10 + dice(7) % 90,
        tokens_input: dice(8) % 500_000,
        tokens_output: dice(9) % 100_000,
        tokens_cached_input: dice(10) % 50_000,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: minute.start(),
        last_ingest_time: minute.start().plus_ms(1_000),
        users,
        hits: Vec::new(),
        failed: Default::default(),
    })
}

struct Bench {
    bootstrap: String,
    prefix: String,
    folder: PathBuf,
    http: u16,
    threads: u64,
}

impl Bench {
    fn new(bootstrap: &str, threads: u64) -> Bench {
        let prefix = format!("{}-", parts::unique("restart"));
        let (folder, http) = (parts::temp_folder("restart"), parts::free_port());
        let bench = Bench { bootstrap: bootstrap.to_string(), prefix, folder, http, threads };
        let mut create = bench.tollgate(&["topics", "create"], None);
        parts::run(&mut create, "", Duration::from_secs(120)).expect_success();
        bench
    }

    fn tollgate(&self, arguments: &[&str], copies: Option<&Path>) -> std::process::Command {
        let Bench { bootstrap, prefix, http, threads, .. } = self;
        let state = copies.map_or(String::new(), |dir| format!("[state]\ndir = \"{}\"\n", dir.display()));
        let text = format!(
            "version = 1\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\napplication_id = \"{prefix}app\"\ninstance_id = \"one\"\n\
             topic_prefix = \"{prefix}\"\n{state}[watch]\nthreads = {threads}\n[shards]\ncount = {SHARDS}\n[http]\nlisten = \"127.0.0.1:{http}\"\n"
        );
        let config = self.folder.join("tollgate.toml");
        std::fs::write(&config, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).arg("--config").arg(&config);
        command
    }

    fn changelog(&self) -> String {
        format!("{0}{0}app-watch-changelog", self.prefix)
    }

    /// Copies of the teams under new names until there are enough series, each team in its own shard, in transactions as watch's are.
    fn write(&self, templates: &Templates, wanted: usize) -> Written {
        let mut writer = Writer::new(&self.bootstrap, self.changelog());
        for number in 0.. {
            if writer.written.series >= wanted {
                break;
            }
            let name = format!("team-{number}");
            for (key, value) in &templates.teams[number % templates.teams.len()] {
                writer.send(shard_of(&name, SHARDS), &state::encode_key(&renamed(key, &name)), value);
                writer.written.series += usize::from(matches!(key, StateKey::Node(..)));
            }
            writer.commit_if(TRANSACTION);
        }
        let template = state::header(&templates.header).unwrap();
        let mut offsets = TopicPartitionList::new();
        for shard in 0..SHARDS {
            // As if all of it had come of a log that is empty now.
            let header = tollgate::watch::Header { shard, position: 0, replay_from: 0, ..template.clone() };
            writer.send(shard, &state::encode_key(&StateKey::Header), &state::encode(&header));
            let log = format!("{0}{0}app-shard-repartition", self.prefix);
            offsets.add_partition_offset(&log, shard.cast_signed(), Offset::Offset(0)).unwrap();
        }
        writer.commit_if(1);
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", format!("{}app-watch", self.prefix));
        let committer: BaseConsumer = config.create().unwrap();
        committer.commit(&offsets, CommitMode::Sync).unwrap();
        writer.written
    }

    /// From the start of the process to the moment when it is ready, with everything that this takes.
    fn restart(&self, name: &str, copies: Option<&Path>, written: &Written) {
        let mut command = self.tollgate(&["run", "--only", "watch"], copies);
        command.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(self.folder.join("log")).unwrap());
        let started = Instant::now();
        let mut process = parts::Guarded::spawn(&mut command);
        parts::wait_for("tollgate to be ready", LIMIT, || {
            assert!(process.ended().is_none(), "{}", std::fs::read_to_string(self.folder.join("log")).unwrap());
            get(self.http, "/health/ready").filter(|page| page.starts_with("HTTP/1.1 200"))
        });
        let seconds = started.elapsed().as_secs_f64();
        // A thread may tell what it restored after the page says that it is ready.
        let sample = |name: &str, least: f64| {
            let of_page = |page: String| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            parts::wait_for(name, LIMIT, || get(self.http, "/metrics").and_then(of_page).filter(|value| *value >= least))
        };
        let from = if name == "copy" { "copy" } else { "changelog" };
        // Threads that come one after the other begin with the same shards.
        let restored = sample(&format!("tollgate_watch_shards_restored_total{{from=\"{from}\"}}"), f64::from(SHARDS));
        assert!(self.threads > 1 || restored == f64::from(SHARDS), "{restored}");
        let restoring = sample("tollgate_restore_duration_seconds_sum{role=\"watch\"}", 0.0);
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let kib = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        println!(
            "{name}: ready after {seconds:.1} s, {restoring:.1} s of its threads reading state ({:.0} MB/s); RSS {:.0} MB, at most {:.0} MB",
            written.bytes as f64 / 1e6 / restoring,
            kib("VmRSS:").unwrap() / 1024.0,
            kib("VmHWM:").unwrap() / 1024.0,
        );
        if copies.is_some() {
            let current = format!("tollgate_watch_copies{{state=\"current\"}} {SHARDS}");
            parts::wait_for("the copies", LIMIT, || get(self.http, "/metrics").filter(|page| page.lines().any(|line| line == current)));
            println!("  copies current after {:.1} s", started.elapsed().as_secs_f64());
        }
        process.signal("TERM");
        assert!(process.wait(LIMIT).is_some_and(|status| status.success()));
    }
}

struct Writer {
    producer: BaseProducer,
    topic: String,
    in_transaction: usize,
    written: Written,
}

impl Writer {
    const PATIENCE: Duration = Duration::from_secs(60);

    fn new(bootstrap: &str, topic: String) -> Writer {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("transactional.id", parts::unique("restart")).set("compression.type", "zstd");
        config.set("linger.ms", "20").set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(Writer::PATIENCE).unwrap();
        Writer { producer, topic, in_transaction: 0, written: Written { series: 0, keys: 0, bytes: 0 } }
    }

    fn send(&mut self, partition: u32, key: &[u8], value: &[u8]) {
        if self.in_transaction == 0 {
            self.producer.begin_transaction().unwrap();
        }
        self.in_transaction += 1;
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value).partition(partition.cast_signed());
        while let Err((_, back)) = self.producer.send(record) {
            self.producer.poll(Duration::from_millis(1));
            record = back;
        }
        self.written.bytes += (key.len() + value.len()) as u64;
        self.written.keys += 1;
    }

    fn commit_if(&mut self, least: usize) {
        if self.in_transaction >= least {
            self.producer.commit_transaction(Writer::PATIENCE).unwrap();
            self.in_transaction = 0;
        }
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}
