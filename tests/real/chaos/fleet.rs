//! Three `tollgate run` processes of one deployment, behind the proxies, and whoever restarts one that ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::real::parts::{Cluster, Guarded, free_port, run, temp_folder, unique};

pub const WORKERS: usize = 3;
pub const SHARDS: u32 = 12;
pub const INPUT_PARTITIONS: i32 = 6;
/// The least that config allows: it has to be more than the transaction timeout, whose least is 10 s.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(11);
/// In offsets of a partition.
pub const DEDUPE_WINDOW: u64 = 20_000;
const READY: Duration = Duration::from_secs(240);

/// Each of these stands for five failures of a role within minutes, or for a state that contradicts itself.
const MOST_GIVEN_UP: usize = 30;

pub struct Fleet {
    pub prefix: String,
    pub application: String,
    workers: Vec<Worker>,
    /// How each that ended without being told to ended: number and last words.
    pub ended: Vec<String>,
    /// How each that ended with a failure after SIGTERM ended.
    pub unclean: Vec<String>,
}

struct Worker {
    config: PathBuf,
    log: PathBuf,
    http: u16,
    process: Option<Guarded>,
    frozen: bool,
}

/// What the logs of all workers say, counted.
#[derive(Clone, Debug, Default)]
pub struct LogCounts {
    pub role_restarts: BTreeMap<String, usize>,
    pub panics: Vec<String>,
    /// Complaints about a state that contradicts itself.
    pub contradictions: Vec<String>,
}

impl Fleet {
    /// Creates the topics; `logs` is where the workers' logs stay.
    pub fn new(cluster: &Cluster, logs: &Path) -> Fleet {
        let prefix = format!("{}-", unique("chaos"));
        let application = format!("{prefix}app");
        let folder = temp_folder("chaos");
        let worker = |number: usize| {
            let (http, config) = (free_port(), folder.join(format!("worker-{number}.toml")));
            fs::write(&config, config_text(cluster, &prefix, &application, number, http)).unwrap();
            Worker { config, log: logs.join(format!("worker-{number}.log")), http, process: None, frozen: false }
        };
        let workers = (0..WORKERS).map(worker).collect();
        let fleet = Fleet { prefix, application, workers, ended: Vec::new(), unclean: Vec::new() };
        let mut create = Command::new(binary());
        create.args(["topics", "create", "--config"]).arg(&fleet.workers[0].config);
        run(&mut create, "", READY).expect_success();
        cluster.wait_for_isr().unwrap();
        fleet
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn internal(&self, name: &str) -> String {
        format!("{}{}-{name}", self.prefix, self.application)
    }

    pub fn group(&self, role: &str) -> String {
        format!("{}-{role}", self.application)
    }

    pub fn config(&self) -> &Path {
        &self.workers[0].config
    }

    pub fn start_all(&mut self) {
        for number in 0..WORKERS {
            self.start(number);
        }
        self.wait_until_ready().unwrap();
    }

    pub fn start(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let log = fs::OpenOptions::new().create(true).append(true).open(&worker.log).unwrap();
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&worker.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        worker.process = Some(Guarded::spawn(&mut command));
    }

    pub fn kill9(&mut self, number: usize) {
        self.workers[number].process.take().expect("the worker runs").kill9();
    }

    /// SIGTERM; it has to end by itself. A status that is no success is noted: nothing is lost by it.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn terminate(&mut self, number: usize) -> Result<(), String> {
        let mut process = self.workers[number].process.take().expect("the worker runs");
        process.signal("TERM");
        match process.wait(Duration::from_secs(120)) {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                self.unclean.push(format!("worker {number}, {status}: {}", self.last_words(number)));
                Ok(())
            }
            None => Err(format!("worker {number} did not end within 120 s of SIGTERM: {}", self.last_words(number))),
        }
    }

    pub fn freeze(&mut self, number: usize) {
        self.workers[number].process.as_ref().expect("the worker runs").signal("STOP");
        self.workers[number].frozen = true;
    }

    pub fn thaw(&mut self, number: usize) {
        self.workers[number].process.as_ref().expect("the worker runs").signal("CONT");
        self.workers[number].frozen = false;
    }

    /// As a service manager does: whoever ended without being told to is noted and started again.
    pub fn tend(&mut self) {
        for number in 0..WORKERS {
            let worker = &mut self.workers[number];
            let status = match &mut worker.process {
                Some(process) if !worker.frozen => process.ended(),
                _ => None,
            };
            if let Some(status) = status {
                let words = self.last_words(number);
                self.ended.push(format!("worker {number} ended by itself with {status}: {words}"));
                self.start(number);
            }
        }
    }

    /// Restarting does not cure it: workers give up again and again.
    pub fn hopeless(&self) -> Option<String> {
        let given_up = self.ended.len();
        (given_up > MOST_GIVEN_UP).then(|| format!("workers gave up {given_up} times, the last one: {}", self.ended[given_up - 1]))
    }

    /// Every role of every worker has joined its group and restored its state.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_until_ready(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < READY {
            self.tend();
            if self.workers.iter().all(Worker::is_ready) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let words: Vec<String> = (0..WORKERS).map(|number| self.last_words(number)).collect();
        Err(format!("three workers are not ready within {READY:?}: {words:#?}"))
    }

    pub fn log_counts(&self) -> LogCounts {
        let mut counts = LogCounts::default();
        for worker in &self.workers {
            let log = fs::read_to_string(&worker.log).unwrap_or_default();
            for line in log.lines() {
                if line.contains("role starts again") {
                    *counts.role_restarts.entry(error_of(line, &self.prefix)).or_default() += 1;
                }
                if line.contains("panicked at") || line.contains("broken invariant") {
                    counts.panics.push(line.to_owned());
                }
                if ["disagree:", "own key says", "has no key for it", "changelog is empty"].iter().any(|words| line.contains(words)) {
                    counts.contradictions.push(line.to_owned());
                }
            }
        }
        counts
    }

    fn last_words(&self, number: usize) -> String {
        let log = fs::read_to_string(&self.workers[number].log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

/// The error of a log line without what differs each time: the run's prefix and numbers.
fn error_of(line: &str, prefix: &str) -> String {
    let error = line.split_once("error=").map_or(line, |(_, error)| error);
    let error = error.split(" wait_ms").next().unwrap_or(error).replace(prefix, "");
    let mut short = String::new();
    for c in error.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
        if !(c == '#' && short.ends_with('#')) {
            short.push(c);
        }
    }
    short.chars().take(200).collect()
}

impl Worker {
    fn is_ready(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.http)) else { return false };
        // A frozen process takes connections and never answers.
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let asked = stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    }
}

/// The program under test: this build, or the one that TOLLGATE_CHAOS_BINARY names (an optimised one, a broken one).
fn binary() -> PathBuf {
    std::env::var("TOLLGATE_CHAOS_BINARY").map_or_else(|_| env!("CARGO_BIN_EXE_tollgate").into(), PathBuf::from)
}

fn config_text(cluster: &Cluster, prefix: &str, application: &str, number: usize, http: u16) -> String {
    format!(
        r#"
version = 1
[kafka]
bootstrap_servers = "{bootstrap}"
application_id = "{application}"
topic_prefix = "{prefix}"
instance_id = "worker-{number}"
message_timeout = "9s"
transaction_timeout = "10s"
session_timeout = "{session}s"
replication_factor = 3
[topics]
input_partitions = {INPUT_PARTITIONS}
output_partitions = 3
[shards]
count = {SHARDS}
[intake]
out_of_orderness = "10m"
dedupe_window = {DEDUPE_WINDOW}
[watch]
lateness = "5m"
[http]
listen = "127.0.0.1:{http}"
"#,
        bootstrap = cluster.proxied_bootstrap(),
        session = SESSION_TIMEOUT.as_secs(),
    )
}
