//! The only place that reads the time, and what the process takes. The core is handed it; tests of the shell hand in their own.
#![allow(clippy::disallowed_methods, reason = "this is the place")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::time::Timestamp;

/// Wall clock.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Monotonic clock, for measuring and waiting.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Memory of this process that is resident, in bytes, as Linux tells it; `None` elsewhere.
pub fn resident_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}
