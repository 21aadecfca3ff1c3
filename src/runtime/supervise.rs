//! Starts the threads of all roles and starts a failed one again; gives up when it fails too often.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::{NothingCommitted, Setup, Stop, Unrecoverable};
use crate::clock;
use crate::health::RoleState;

/// A thread that fails this often within [`FAILURE_WINDOW`] ends the process; whoever runs it restarts it, with a message in the log.
const MOST_FAILURES: usize = 5;
const FAILURE_WINDOW: Duration = Duration::from_secs(300);
/// A thread that has worked for this long was well: what failed before does not count any more.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// Where transactions never go through, each try takes a minute, and what goes before it (joining, restoring) takes some time as well.
const FAILURE_WINDOW_OF_COMMITS: Duration = Duration::from_secs(900);

/// The loop of a thread: runs until asked to stop, or fails.
pub type Loop = Box<dyn Fn(&Stop) -> Result<()> + Send>;

/// One thread of one role.
pub struct Role {
    pub name: &'static str,
    pub thread: usize,
    pub run: Loop,
}

/// Runs all roles until `stop` is asked for or one of them fails for good; returns after every thread has ended.
///
/// # Errors
/// The first role that failed for good.
pub fn supervise(setup: &Setup, roles: Vec<Role>, stop: &Stop) -> Result<()> {
    setup.metrics.begin(&roles.iter().map(|role| role.name).collect::<Vec<_>>());
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for role in roles {
            let name = format!("{}-{}", role.name, role.thread);
            let stop = stop.clone();
            let handle = thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || keep_running(setup, &role, &stop));
            handles.push((name, handle.context("cannot start a thread")?));
        }
        let mut first_error = Ok(());
        for (name, handle) in handles {
            let ended = handle.join().unwrap_or_else(|_| Err(anyhow!("broken invariant, see above")));
            if let Err(error) = ended {
                stop.ask();
                if first_error.is_ok() {
                    first_error = Err(error.context(format!("role {name} ended")));
                }
            }
        }
        first_error
    })
}

fn keep_running(setup: &Setup, role: &Role, stop: &Stop) -> Result<()> {
    // A panic is a broken invariant: the others must not go on as if nothing had happened.
    struct AskOnPanic<'a>(&'a Stop);
    impl Drop for AskOnPanic<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.ask();
            }
        }
    }
    let _guard = AskOnPanic(stop);
    let mut failures: Vec<clock::Stopwatch> = Vec::new();
    loop {
        setup.health.report(role.name, role.thread, RoleState::Starting, clock::now());
        let started = clock::Stopwatch::start();
        let Err(error) = (role.run)(stop) else { return Ok(()) };
        let is_running = setup.health.state(role.name, role.thread) == Some(RoleState::Running);
        let counts_within = counts_within(started.elapsed(), is_running, error.is::<NothingCommitted>());
        setup.health.report(role.name, role.thread, RoleState::Failed, clock::now());
        setup.metrics.role_failed(role.name);

        failures.retain(|at| at.elapsed() < counts_within);
        failures.push(clock::Stopwatch::start());
        if stop.asked() || failures.len() >= MOST_FAILURES || error.is::<Unrecoverable>() {
            stop.ask();
            return Err(error);
        }
        let wait = Duration::from_millis(200 << failures.len().min(6));
        tracing::warn!(
            role = role.name,
            thread = role.thread,
            error = format!("{error:#}"),
            wait_ms = wait.as_millis(),
            "role starts again from what is committed"
        );
        let until = clock::Stopwatch::start();
        while until.elapsed() < wait && !stop.asked() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How long ago an earlier failure may be to count beside this one, of a thread that ran for so long. Who runs for a while without an end to
/// its first transaction has got nothing done: it was not well.
fn counts_within(ran: Duration, is_running: bool, nothing_committed: bool) -> Duration {
    if nothing_committed {
        return FAILURE_WINDOW_OF_COMMITS;
    }
    if ran >= WELL_AFTER && is_running { Duration::ZERO } else { FAILURE_WINDOW }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many failures count after each of these runs, with the longest wait between them.
    fn counted(runs: &[(u64, bool, bool)]) -> Vec<usize> {
        let (mut now, mut failures) = (Duration::ZERO, Vec::new());
        let count = |(seconds, is_running, nothing_committed): &(u64, bool, bool)| {
            let ran = Duration::from_secs(*seconds);
            now += ran;
            let within = counts_within(ran, *is_running, *nothing_committed);
            failures.retain(|at| now.saturating_sub(*at) < within);
            failures.push(now);
            now += Duration::from_millis(200 << 6);
            failures.len()
        };
        runs.iter().map(count).collect()
    }

    #[test]
    fn who_never_commits_is_given_up() {
        assert_eq!(counted(&[(62, true, true); 5]), [1, 2, 3, 4, MOST_FAILURES]);
        assert_eq!(counted(&[(180, true, true); 5]), [1, 2, 3, 4, MOST_FAILURES], "restoring takes two minutes each time");
        assert_eq!(counted(&[(5, false, false); 5]), [1, 2, 3, 4, MOST_FAILURES], "nor who does not come so far");
    }

    #[test]
    fn who_was_well_begins_anew() {
        assert_eq!(counted(&[(62, true, true), (62, true, true), (600, true, false), (62, true, true)]), [1, 2, 1, 2]);
        assert_eq!(counted(&[(62, true, false); 9]), [1; 9], "it committed something each time");
        assert_eq!(counted(&[(5, false, false), (5, false, false), (86_400, true, true)]), [1, 2, 1], "idle for a day");
    }
}
