//! What each thread last said of itself: the base of `/health/live` and `/health/ready`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::model::time::Timestamp;

/// A thread that has said nothing for this long hangs. Longer than any mail round or commit may take.
const SILENT_MS: i64 = 180_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleState {
    Starting,
    /// Joining its group, reading its state.
    Restoring,
    Running,
    Failed,
}

#[derive(Debug, Default)]
pub struct HealthBoard {
    threads: Mutex<BTreeMap<String, ThreadHealth>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadHealth {
    pub state: RoleState,
    pub last_beat: Timestamp,
}

/// What the health pages show.
#[derive(Debug, Serialize)]
pub struct Report {
    pub healthy: bool,
    pub threads: BTreeMap<String, ThreadHealth>,
}

impl HealthBoard {
    pub fn report(&self, role: &str, thread: usize, state: RoleState, now: Timestamp) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.insert(format!("{role}-{thread}"), ThreadHealth { state, last_beat: now });
    }

    pub fn beat(&self, role: &str, thread: usize, now: Timestamp) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(health) = threads.get_mut(&format!("{role}-{thread}")) {
            health.last_beat = now;
        }
    }

    pub fn state(&self, role: &str, thread: usize) -> Option<RoleState> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.get(&format!("{role}-{thread}")).map(|health| health.state)
    }

    /// Alive: no thread hangs. A role that failed is started again, that is still alive.
    pub fn live(&self, now: Timestamp) -> Report {
        self.evaluate(|health| now.0 - health.last_beat.0 < SILENT_MS)
    }

    /// Ready: every thread has joined its group and restored its state.
    pub fn ready(&self, now: Timestamp) -> Report {
        self.evaluate(|health| health.state == RoleState::Running && now.0 - health.last_beat.0 < SILENT_MS)
    }

    fn evaluate(&self, is_well: impl Fn(&ThreadHealth) -> bool) -> Report {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { healthy: !threads.is_empty() && threads.values().all(is_well), threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_running_and_live_is_not_silent() {
        let board = HealthBoard::default();
        assert!(!board.ready(Timestamp(0)).healthy, "nothing has started");
        board.report("watch", 0, RoleState::Restoring, Timestamp(0));
        assert!(board.live(Timestamp(1)).healthy && !board.ready(Timestamp(1)).healthy);
        board.report("watch", 0, RoleState::Running, Timestamp(2));
        assert!(board.ready(Timestamp(3)).healthy);
        assert!(!board.live(Timestamp(SILENT_MS + 2)).healthy, "silent for three minutes");
        board.beat("watch", 0, Timestamp(SILENT_MS));
        assert!(board.live(Timestamp(SILENT_MS + 2)).healthy);
    }
}
