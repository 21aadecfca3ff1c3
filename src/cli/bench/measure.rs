//! What a run took: CPU time and memory of this process, as the kernel counts them (Linux; elsewhere they are not shown).

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Stopwatch;
use crate::model::money::Nanos;

/// CPU time of the process, threads that have ended included, in steps of 10 ms.
fn cpu_of_process() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// CPU time of this thread, to the nanosecond.
fn cpu_of_thread() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(stat.split_whitespace().next()?.parse().ok()?))
}

/// The most memory that the process has held at once, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1_024)
}

/// Tasks that are running or wait for a processor, on average over the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Whose CPU time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Process,
    Thread,
}

impl Of {
    fn cpu(self) -> Option<Duration> {
        match self {
            Of::Process => cpu_of_process(),
            Of::Thread => cpu_of_thread(),
        }
    }
}

/// Time that adds up over the pieces of a run that count.
#[derive(Debug)]
pub struct Meter {
    of: Of,
    wall: Duration,
    cpu: Option<Duration>,
}

impl Meter {
    pub fn new(of: Of) -> Meter {
        Meter { of, wall: Duration::ZERO, cpu: Some(Duration::ZERO) }
    }

    pub fn count<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (watch, before) = (Stopwatch::start(), self.of.cpu());
        let result = work();
        let after = self.of.cpu();
        self.add(watch.elapsed(), after.zip(before).map(|(after, before)| after.saturating_sub(before)));
        result
    }

    pub fn add(&mut self, wall: Duration, cpu: Option<Duration>) {
        self.wall += wall;
        self.cpu = self.cpu.zip(cpu).map(|(sum, more)| sum + more);
    }

    pub fn finish(self, name: &'static str, events: u64) -> Measured {
        Measured { name, events, wall: self.wall, cpu: self.cpu, peak_memory: peak_memory(), load: load(), more: Vec::new(), sums: None }
    }
}

/// CPU time of the process between two moments that no closure lies between.
pub fn process_cpu() -> Option<Duration> {
    cpu_of_process()
}

/// One line of the result.
#[derive(Debug)]
pub struct Measured {
    pub name: &'static str,
    pub events: u64,
    pub wall: Duration,
    pub cpu: Option<Duration>,
    peak_memory: Option<u64>,
    load: Option<f64>,
    /// Further figures, by name.
    pub more: Vec<(&'static str, f64)>,
    /// What came out, where the run has an output.
    pub sums: Option<Sums>,
}

/// What stands in the output.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    pub events: u64,
    pub cost: Nanos,
}

impl Measured {
    /// CPU seconds for a million events, which is microseconds for one.
    pub fn cpu_per_million(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / self.events.max(1) as f64)
    }

    fn events_per_second(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    pub fn text(&self) -> String {
        let known = |value: Option<f64>, digits: usize| value.map_or("?".to_owned(), |value| format!("{value:.digits$}"));
        let mut text = format!(
            "{:<12} {:>10} events {:>12.0} events/s {:>8} CPU s per million {:>8} MiB peak   load {}",
            self.name,
            self.events,
            self.events_per_second(),
            known(self.cpu_per_million(), 3),
            known(self.peak_memory.map(|bytes| bytes as f64 / 1_048_576.0), 0),
            known(self.load, 1),
        );
        for (name, value) in &self.more {
            text.push_str(&format!("\n{:<12} {name}: {value:.3}", ""));
        }
        if let Some(Sums { events, cost }) = self.sums {
            text.push_str(&format!("\n{:<12} in the output: {events} events, {cost}", ""));
        }
        text
    }

    pub fn json(&self) -> Value {
        let mut json = Map::new();
        json.insert("name".to_owned(), json!(self.name));
        json.insert("events".to_owned(), json!(self.events));
        json.insert("wall_s".to_owned(), json!(self.wall.as_secs_f64()));
        json.insert("events_per_s".to_owned(), json!(self.events_per_second()));
        json.insert("cpu_s_per_million".to_owned(), json!(self.cpu_per_million()));
        json.insert("peak_rss_bytes".to_owned(), json!(self.peak_memory));
        json.insert("load".to_owned(), json!(self.load));
        if let Some(Sums { events, cost }) = self.sums {
            json.insert("events_in_output".to_owned(), json!(events));
            json.insert("cost_in_output".to_owned(), json!(cost.to_string()));
        }
        json.extend(self.more.iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))));
        Value::Object(json)
    }
}
