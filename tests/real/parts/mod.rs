//! Starts real parts on free loopback ports and ends them, whatever happens to the test process.
//!
//! `kafka()` is one broker for the whole process; a test that bounces its broker takes one of its
//! own with `Kafka::start_own()`, `Cluster::start()` is three of them. `Smtp::start(..)` is one mail server per test, and `produce` and
//! `consume` are Java programs, so that neither end of a test is our own code.

mod admin;
mod caretaker;
mod cluster;
mod door;
mod java;
mod kafka;
mod process;
mod proxy;
mod registry;
mod smtp;
mod tls;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use admin::Admin;
pub use caretaker::{Guarded, temp_folder};
pub use cluster::{Cluster, NODES};
pub use door::Door;
pub use java::{Consumed, consume, consume_text, consume_with, java, produce, produce_with, run_tool};
pub use kafka::{Kafka, guarded_kafka, kafka};
pub use process::{Ended, run};
pub use proxy::{Proxy, ProxyCounts, Way};
pub use registry::{Registry, registry};
pub use smtp::{Brief, Mail, Smtp, SmtpOptions, Tls as SmtpTls, python};
pub use tls::{TestCa, test_ca};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A name that no other test and no other run uses, also on a broker that is not ours.
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let micros = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("{name}-{micros:x}-{count}")
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks until there is an answer; fails the test, with what it waited for, when there is none in time.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first of the candidates for which the check succeeds.
fn first_that_works(candidates: &[&str], check: &[&str]) -> Option<PathBuf> {
    let works = |candidate: &&&str| {
        let quiet = std::process::Stdio::null;
        let mut command = std::process::Command::new(candidate);
        command.args(check).stdin(quiet()).stdout(quiet()).stderr(quiet());
        command.status().is_ok_and(|status| status.success())
    };
    candidates.iter().find(works).map(PathBuf::from)
}
