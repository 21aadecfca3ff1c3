//! What each role says of itself, shared between its threads and whoever asks. Time is handed in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleState {
    Starting,
    /// Reads its state back.
    Restoring,
    Running,
    /// Partitions move between members of the group.
    Rebalancing,
    Failed,
}

impl RoleState {
    pub fn as_str(self) -> &'static str {
        match self {
            RoleState::Starting => "starting",
            RoleState::Restoring => "restoring",
            RoleState::Running => "running",
            RoleState::Rebalancing => "rebalancing",
            RoleState::Failed => "failed",
        }
    }
}

/// One thread of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleReport {
    pub role: String,
    pub thread: usize,
    pub state: RoleState,
    pub since: Timestamp,
    /// When its loop last came round.
    pub last_beat: Timestamp,
}

/// Reports by role and thread, for as long as the process lives.
#[derive(Debug, Default)]
pub struct HealthBoard {
    reports: Mutex<BTreeMap<(String, usize), RoleReport>>,
}

impl HealthBoard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, usize), RoleReport>> {
        // A thread that panicked while it wrote left a whole report behind.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of state, which is a sign of life too.
    pub fn report(&self, role: &str, thread: usize, state: RoleState, now: Timestamp) {
        let mut reports = self.lock();
        let fresh = || RoleReport { role: role.to_string(), thread, state, since: now, last_beat: now };
        let report = reports.entry((role.to_string(), thread)).or_insert_with(fresh);
        if report.state != state {
            report.state = state;
            report.since = now;
        }
        report.last_beat = now;
    }

    /// A sign of life. Says nothing of threads that never reported.
    pub fn beat(&self, role: &str, thread: usize, now: Timestamp) {
        let mut reports = self.lock();
        if let Some((_, report)) = reports.iter_mut().find(|((name, number), _)| name == role && *number == thread) {
            report.last_beat = now;
        }
    }

    pub fn reports(&self) -> Vec<RoleReport> {
        self.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_a_beginning_and_a_beat() {
        let board = HealthBoard::default();
        board.beat("watch", 0, Timestamp(1));
        assert!(board.reports().is_empty());
        board.report("watch", 0, RoleState::Restoring, Timestamp(10));
        board.report("watch", 0, RoleState::Restoring, Timestamp(20));
        board.beat("watch", 0, Timestamp(30));
        board.report("watch", 1, RoleState::Running, Timestamp(40));
        let reports = board.reports();
        assert_eq!((reports[0].since, reports[0].last_beat), (Timestamp(10), Timestamp(30)));
        assert_eq!((reports[1].thread, reports[1].state), (1, RoleState::Running));
    }
}
