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
pub mod rights;
pub mod schemas;
mod seldom;
#[cfg(test)]
mod simulation;
pub mod supervise;
pub mod watch;
pub mod whole;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use arc_swap::ArcSwap;

use crate::health::HealthBoard;
use crate::intake::rules::IntakeRules;
use crate::kafka::client::Connection;
use crate::kafka::session::Session;
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

    /// Asked by every role that writes to shards or reads them, before it does: with another number it would put teams where nobody looks for
    /// them, or a second time.
    ///
    /// # Errors
    /// [`Unrecoverable`] where the shard log has another number of partitions; the cluster does not answer, or has no such topic.
    pub fn check_shard_count(&self, link: &Session) -> Result<()> {
        let topic = &self.topics.shard_log;
        let found = link.partition_count(topic)?;
        let count = self.shard_count;
        if u32::try_from(found).ok() != Some(count) {
            bail!(Unrecoverable(format!(
                "topic '{topic}' has {found} partitions, shards.count is {count}: the number is fixed at creation, set it to {found}"
            )));
        }
        Ok(())
    }

    /// A name that no other worker of this group has or had: transactions are told apart by it.
    pub fn incarnation(&self, role: &str, thread: usize) -> String {
        format!("{}@{:x}", self.connection.transactional_id(role, thread), crate::clock::now().0)
    }
}

/// Retention has removed what was to be read next, up to `low`. Nobody can tell any more what it was: markers of a producer's transactions
/// take offsets too, and are all that there was where it wrote nothing after what was read.
fn removed_unread(topic: &str, partition: i32, next: i64, low: i64, mend: &str) -> Unrecoverable {
    Unrecoverable(format!(
        "{topic}[{partition}] begins at {low}, but {next} is the next to read: retention has removed {} offsets unread, {next} to {}. What stood \
         there is lost, unless it was only the markers of a producer's transactions: if nothing was written after what was read, nothing is \
         lost. {mend}",
        low - next,
        low - 1,
    ))
}

/// How a role that keeps nothing but its offsets goes on with the first record that is left; no other partition moves.
fn go_on_behind(connection: &Connection, role: &str, topic: &str, partition: i32, low: i64) -> String {
    let Connection { bootstrap_servers, application_id, .. } = connection;
    format!(
        "Once no process runs that role, `kafka-consumer-groups --bootstrap-server {bootstrap_servers} --group {application_id}-{role} --topic \
         {topic}:{partition} --reset-offsets --to-offset {low} --execute` goes on with what is left"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_that_retention_was_faster_is_told_what_is_lost_and_how_to_go_on() {
        let servers = "a:9092,b:9092".to_string();
        let connection = Connection { bootstrap_servers: servers, application_id: "tollgate".to_string(), ..Connection::default() };
        let mend = go_on_behind(&connection, whole::NAMES[0], "resource-events", 3, 52);
        let said = removed_unread("resource-events", 3, 50, 52, &mend).to_string();
        assert!(
            said.starts_with(
                "resource-events[3] begins at 52, but 50 is the next to read: retention has removed 2 offsets unread, 50 to 51."
            )
        );
        assert!(said.contains("if nothing was written after what was read, nothing is lost"), "{said}");
        let command = "`kafka-consumer-groups --bootstrap-server a:9092,b:9092 --group tollgate-resources --topic resource-events:3 \
                       --reset-offsets --to-offset 52 --execute`";
        assert!(said.contains(command), "{said}");
    }
}
