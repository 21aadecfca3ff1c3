//! RUNTIME: what keeps the roles alive. One thread per role and number, each with its consumer, its producer and its state.
//!
//! `supervise` starts and restarts them; `worker` is the loop that all roles share, on `assignment`, the state machine of what is ours, and
//! `commit`, the one routine in which effects become visible. `intake` and `watch` say what records mean, `encode` turns an effect into
//! bytes. Beside all of them `copy` keeps the local copy of watch's changelog, `caretaker` the shard log in bounds, and `owners` looks that no
//! partition is left to nobody.

mod assignment;
pub mod billing;
pub mod caretaker;
pub mod commit;
pub mod copy;
pub mod encode;
mod flood;
pub mod intake;
pub mod ledger;
pub mod lineage;
pub mod owners;
mod pace;
pub mod schemas;
#[cfg(test)]
mod simulation;
pub mod supervise;
pub mod watch;
pub mod whole;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::health::HealthBoard;
use crate::intake::rules::IntakeRules;
use crate::kafka::client::Connection;
use crate::kafka::topics::TopicNames;
use crate::lineage::rules::LineageRules;
use crate::metrics::Metrics;
use crate::watch::rules::WatchRules;

/// What every role is started with. Rules may be swapped while it runs; the rest needs a restart.
pub struct Setup {
    pub connection: Connection,
    pub topics: TopicNames,
    pub shard_count: u32,
    pub delivery: Delivery,
    /// Longest time that work waits for its transaction.
    pub commit_interval: Duration,
    pub intake_rules: ArcSwap<IntakeRules>,
    pub watch_rules: ArcSwap<WatchRules>,
    pub lineage_rules: ArcSwap<LineageRules>,
    pub schemas: schemas::Source,
    /// Intake stops when more than this share of a sample could not be read.
    pub dead_letter_ratio: f64,
    pub dead_letter_sample: u32,
    pub output: encode::Output,
    /// Shard-log records that a shard may be behind before intake waits.
    pub most_shard_lag: i64,
    pub care: caretaker::Care,
    /// Absent: restarts read the changelog alone.
    pub copies: Option<copy::Copies>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<HealthBoard>,
}

impl Setup {
    pub fn is_exactly_once(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce
    }

    /// A name that no other worker of this group has or had: transactions are told apart by it.
    pub fn incarnation(&self, role: &str, thread: usize) -> String {
        format!("{}@{:x}", self.connection.transactional_id(role, thread), crate::clock::now().0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    ExactlyOnce,
    /// Only for the demo's broker, which has no transactions.
    AtLeastOnce,
}

/// What starting again cannot cure: the process ends and says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unrecoverable(pub String);

/// No transaction of a worker went through since it began: that it ran for a while does not say that it was well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NothingCommitted(pub String);

/// Asks every thread to finish what it has begun and end.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
