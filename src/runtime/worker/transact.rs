//! A worker's transactions: staged once, tried until one went through, and looked for where nobody knows.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::super::NothingCommitted;
use super::super::commit::{self, Outcome, Staged};
use super::{FIRST_RETRY, Role, Worker};
use crate::kafka::link::{Committed, Link, Partition};
use crate::metrics::TransactionEnd;

/// What was begun of a revoked partition is committed within this, or given up.
const REVOKE_BUDGET: Duration = Duration::from_secs(5);
/// Transactions that abort again and again for this long end the worker.
const RETRY_FOR: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Staged work on its way through its transaction.
pub(super) struct Pending {
    pub staged: Staged,
    metadata: String,
    /// The outcome of the last attempt is unknown: look before anything else.
    look: bool,
    since: Duration,
    tried: u32,
    next_try: Duration,
    /// No other one of this worker went through.
    is_first: bool,
}

impl Pending {
    /// # Errors
    /// It has been tried for too long.
    fn give_up_after(&self, uptime: Duration, role: &str, reason: &str) -> Result<()> {
        if uptime.saturating_sub(self.since) > RETRY_FOR {
            let why = format!(
                "{role}: no transaction went through for {RETRY_FOR:?}; the last one failed at {reason}. Where it says fenced, another \
                 process runs under the same instance id"
            );
            return Err(if self.is_first { NothingCommitted(why).into() } else { anyhow!(why) });
        }
        Ok(())
    }
}

impl<L: Link, R: Role> Worker<'_, L, R> {
    pub(super) fn stage(&mut self) -> Result<()> {
        let moment = self.moment();
        // Whatever comes of it, it is not asked for again at once.
        self.slots.values_mut().for_each(|slot| slot.beyond = None);
        let staged = self.role.stage(&mut self.parts, moment)?;
        if staged.is_empty() {
            return Ok(());
        }
        self.transactions += 1;
        let metadata = format!("v1 {}-{}", self.incarnation, self.transactions);
        let since = moment.uptime;
        self.pending = Some(Pending { staged, metadata, look: false, since, tried: 0, next_try: since, is_first: !self.has_committed });
        Ok(())
    }

    /// Tries the transaction under way once, if it is time.
    pub(super) fn go_on_committing(&mut self) -> Result<()> {
        let topic = self.role.topic().to_string();
        let uptime = self.link.uptime();
        let Some(pending) = &mut self.pending else { return Ok(()) };
        if uptime < pending.next_try {
            return Ok(());
        }
        pending.tried += 1;
        let backoff = FIRST_RETRY.saturating_mul(1 << pending.tried.min(10)).min(LONGEST_RETRY);
        pending.next_try = uptime + backoff;
        if pending.look && !self.look()? {
            return match &self.pending {
                Some(pending) => pending.give_up_after(uptime, R::NAME, "asking what became of it"),
                None => Ok(()),
            };
        }
        if self.link.is_tainted() {
            self.rebuild()?;
        }
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let started = self.link.uptime();
        match commit::attempt(&mut self.link, &topic, &pending.staged, &pending.metadata) {
            Outcome::Committed => {
                self.setup.metrics.transaction(R::NAME, TransactionEnd::Committed);
                self.went_through(started);
            }
            Outcome::Aborted(reason) => {
                self.setup.metrics.transaction(R::NAME, TransactionEnd::Aborted);
                tracing::warn!(role = R::NAME, reason, tried = pending.tried, "transaction aborted, it is tried again");
                pending.give_up_after(uptime, R::NAME, &reason)?;
            }
            Outcome::Uncertain(reason) => {
                tracing::warn!(role = R::NAME, reason, "outcome of a transaction unknown, the producer is rebuilt");
                // Without an end to it, two processes under one name would fence each other for ever, and nobody would say so.
                pending.give_up_after(uptime, R::NAME, &reason)?;
                pending.look = true;
                pending.next_try = uptime;
                self.rebuild().with_context(|| format!("after: {reason}"))?;
            }
        }
        Ok(())
    }

    fn rebuild(&mut self) -> Result<()> {
        self.setup.metrics.producer_rebuilt(R::NAME);
        self.link.rebuild().with_context(|| format!("{}: cannot start a new producer", R::NAME))
    }

    /// After an uncertain outcome. True: it did not go through, and may be tried again.
    fn look(&mut self) -> Result<bool> {
        let topic = self.role.topic().to_string();
        let Some(pending) = &mut self.pending else { return Ok(false) };
        let place = |partition: &i32| Partition { topic: topic.clone(), partition: *partition };
        let partitions: Vec<Partition> = pending.staged.shares.keys().map(place).collect();
        let Some(found) = self.link.committed(&partitions)? else { return Ok(false) };
        let found = pending.staged.shares.keys().copied().zip(found).collect();
        let seen = |partition: &i32| self.slots.get(partition).and_then(|slot| slot.seen.clone());
        let before = pending.staged.shares.keys().map(|partition| (*partition, seen(partition))).collect();
        match commit::went_through(&pending.staged, &pending.metadata, &before, &found) {
            Some(true) => {
                tracing::info!(role = R::NAME, "the transaction had gone through");
                self.setup.metrics.transaction(R::NAME, TransactionEnd::UncertainCommitted);
                self.went_through(self.link.uptime());
                Ok(false)
            }
            Some(false) => {
                pending.look = false;
                self.setup.metrics.transaction(R::NAME, TransactionEnd::UncertainNotCommitted);
                Ok(true)
            }
            None => bail!(
                "{}: somebody else has committed offsets of partitions that we took for ours; if another process runs under the same \
                 kafka.instance_id, give each its own",
                R::NAME
            ),
        }
    }

    fn went_through(&mut self, started: Duration) {
        let Some(pending) = self.pending.take() else { return };
        self.has_committed = true;
        for (partition, share) in &pending.staged.shares {
            if let Some(slot) = self.slots.get_mut(partition) {
                slot.seen = Some(Committed { offset: share.position, metadata: pending.metadata.clone() });
            }
        }
        let uptime = self.link.uptime();
        let took = uptime.saturating_sub(started);
        self.pace.committed(uptime, took);
        self.setup.metrics.committed(R::NAME, took);
        self.role.committed(&mut self.parts, took);
    }

    /// Commits everything that was taken, within the budget of a revoke.
    pub(super) fn finish(&mut self) -> Result<()> {
        let until = self.link.uptime() + REVOKE_BUDGET;
        let mut is_staged = false;
        loop {
            if self.pending.is_none() {
                if is_staged {
                    return Ok(());
                }
                self.role.finishing();
                self.stage()?;
                is_staged = true;
                continue;
            }
            self.go_on_committing()?;
            if self.pending.is_some() {
                if self.link.uptime() >= until {
                    tracing::warn!(role = R::NAME, "given up: what was begun is not committed, the next owner does it again");
                    return Ok(());
                }
                self.link.wait(FIRST_RETRY);
            }
        }
    }
}
