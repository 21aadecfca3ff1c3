//! The loop of every role: a group member on one thread, its partitions, their state, and transactions.
//!
//! [`Worker`] knows groups, restoring and committing; a [`Role`] knows what records mean. Both see Kafka through [`Link`] only, so that
//! the simulation runs them on a model of a broker.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::assignment::{Action, Assignment, Event, Phase};
use super::commit::{self, Outcome, Staged};
use super::pace::Pace;
use super::{Setup, Stop};
use crate::health::RoleState;
use crate::kafka::link::{Batch, Committed, From, Link, Partition, Read, Rebalance, Record, Until};
use crate::model::time::Timestamp;

/// Records of one partition that are taken before the next one has its turn.
const FETCH: usize = 1_000;
/// Records of a state that are read before the running partitions have their turn.
const RESTORE: usize = 5_000;
/// What was begun of a revoked partition is committed within this, or given up.
const REVOKE_BUDGET: Duration = Duration::from_secs(5);
/// Transactions that abort again and again for this long end the worker.
const RETRY_FOR: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Without anything to do the loop looks around this often.
const IDLE: Duration = Duration::from_millis(100);
const WITH_WORK: Duration = Duration::from_millis(1);

/// What the records of a topic mean, and what has to be remembered of each partition.
pub trait Role {
    /// State of a partition that takes records.
    type Part;
    /// State that is being put together.
    type Loading;

    const NAME: &'static str;

    /// The topic that the group reads.
    fn topic(&self) -> &str;

    /// The first record to fetch of a partition whose log holds `low..high`.
    fn start(&self, committed: Option<&Committed>, low: i64, high: i64) -> i64;

    fn begin_loading(&mut self, opening: Opening) -> Result<Self::Loading>;

    /// What has to be read next, until there is nothing more.
    fn next_source(&mut self, loading: &mut Self::Loading) -> Result<Option<Source>>;

    fn load(&mut self, loading: &mut Self::Loading, record: &Record<'_>) -> Result<()>;

    fn finish_loading(&mut self, loading: Self::Loading) -> Result<Self::Part>;

    /// Takes the records of `batch` from index `from` on; the index of the first one that could not be taken now. The others are offered
    /// again later, before anything else of this partition.
    fn take(&mut self, part: &mut Self::Part, batch: &Batch, from: usize, moment: Moment) -> Result<usize>;

    fn demand(&self, moment: Moment) -> Demand;

    /// Everything since the last call, for one transaction. All partitions that hold state are handed in.
    fn stage(&mut self, parts: &mut BTreeMap<i32, Self::Part>, moment: Moment) -> Result<Staged>;

    /// What `stage` gave is visible to everybody; `took` from begin to commit.
    fn committed(&mut self, parts: &mut BTreeMap<i32, Self::Part>, took: Duration);

    /// These are not ours any more, and nothing staged of theirs was or will be committed by us; `left` are those that stay.
    ///
    /// # Errors
    /// What is not staged yet cannot be taken apart: everything has to begin again from what is committed.
    fn dropped(&mut self, partitions: &[i32], left: &BTreeMap<i32, Self::Part>) -> Result<()>;
}

/// A partition that was assigned and whose state is to be read.
#[derive(Clone, Debug)]
pub struct Opening {
    pub partition: i32,
    pub committed: Option<Committed>,
    /// First and next offset of the partition at the time.
    pub low: i64,
    pub high: i64,
}

/// A stretch of some partition, committed records only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub partition: Partition,
    pub from: From,
    pub until: Until,
}

#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock, for what people read.
    pub now: Timestamp,
    /// Monotonic, for what is waited for.
    pub uptime: Duration,
}

/// Whether a role has something to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    /// Soon: since this moment (uptime) work waits.
    Since(Duration),
    /// As soon as the commits before it allow: somebody waits for it.
    Urgent(Duration),
    /// At once.
    Now,
}

struct Slot {
    /// Offset that fetching began at, and what the group had.
    opening: Opening,
    /// Last known to be committed.
    seen: Option<Committed>,
    /// Fetched, not taken yet: batch and index.
    backlog: Option<(Batch, usize)>,
}

/// Staged work on its way through its transaction.
struct Pending {
    staged: Staged,
    metadata: String,
    /// The outcome of the last attempt is unknown: look before anything else.
    look: bool,
    since: Duration,
    tried: u32,
    next_try: Duration,
}

pub struct Worker<'a, L: Link, R: Role> {
    pub role: R,
    setup: &'a Setup,
    thread: usize,
    assignment: Assignment,
    slots: BTreeMap<i32, Slot>,
    parts: BTreeMap<i32, R::Part>,
    restoring: Option<(i32, R::Loading, bool)>,
    restoring_since: Option<Duration>,
    /// Assigned by the group, not answered yet.
    unanswered: Option<Vec<Partition>>,
    pending: Option<Pending>,
    pace: Pace,
    /// Tells transactions of this worker from all others.
    incarnation: String,
    transactions: u64,
    /// The partition that has its turn first.
    turn: i32,
    /// Last: records that wait are given back before their client ends.
    pub link: L,
}

impl<'a, L: Link, R: Role> Worker<'a, L, R> {
    /// `incarnation` is unique among all workers that ever used this group.
    pub fn new(link: L, role: R, setup: &'a Setup, thread: usize, incarnation: String) -> Self {
        setup.health.report(R::NAME, thread, RoleState::Restoring, link.now());
        let pace = Pace::new(link.uptime());
        Worker {
            role,
            setup,
            thread,
            assignment: Assignment::default(),
            slots: BTreeMap::new(),
            parts: BTreeMap::new(),
            restoring: None,
            restoring_since: None,
            unanswered: None,
            pending: None,
            pace,
            incarnation,
            transactions: 0,
            turn: 0,
            link,
        }
    }

    /// Until asked to stop; then finishes what was begun.
    ///
    /// # Errors
    /// What this worker cannot go on from. What is committed stays, and a new worker begins from there.
    pub fn run(&mut self, stop: &Stop) -> Result<()> {
        while !stop.asked() {
            self.step()?;
        }
        self.finish_all()
    }

    /// One round: events, the transaction under way, a stretch of restoring, a batch of each partition, a new transaction.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn step(&mut self) -> Result<()> {
        let moment = self.moment();
        self.setup.health.beat(R::NAME, self.thread, moment.now);
        while let Some(event) = self.link.event()? {
            self.rebalance(event)?;
        }
        self.answer()?;
        if self.pending.is_some() {
            self.go_on_committing()?;
            if self.pending.is_some() {
                self.link.wait(FIRST_RETRY);
                return Ok(());
            }
        }
        let restored = self.restore()?;
        let took = self.take()?;
        let moment = self.moment();
        let due = match self.role.demand(moment) {
            Demand::Nothing => false,
            Demand::Since(since) => self.pace.is_due(!took, moment.uptime, since, self.setup.commit_interval),
            Demand::Urgent(since) => self.pace.is_due(true, moment.uptime, since, self.setup.commit_interval),
            Demand::Now => true,
        };
        if due {
            self.stage()?;
            self.go_on_committing()?;
        } else if !took && !restored {
            let idle = matches!(self.role.demand(moment), Demand::Nothing);
            self.link.wait(if idle { IDLE } else { WITH_WORK });
        }
        Ok(())
    }

    /// Commits what was taken and gives everything up.
    ///
    /// # Errors
    /// The last transaction did not go through.
    pub fn finish_all(&mut self) -> Result<()> {
        let actions = self.assignment.on(Event::Closing);
        self.act(actions)?;
        self.link.close()
    }

    /// The state of each partition that takes records.
    pub fn parts(&self) -> &BTreeMap<i32, R::Part> {
        &self.parts
    }

    fn moment(&self) -> Moment {
        Moment { now: self.link.now(), uptime: self.link.uptime() }
    }

    fn partition(&self, partition: i32) -> Partition {
        Partition { topic: self.role.topic().to_string(), partition }
    }

    // ---- the group

    fn rebalance(&mut self, event: Rebalance) -> Result<()> {
        match event {
            Rebalance::Assign(partitions) => {
                self.unanswered = Some(partitions);
                Ok(())
            }
            Rebalance::Revoke { partitions, lost } => {
                let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
                let event = if lost { Event::Lost(numbers) } else { Event::Revoked(numbers) };
                let actions = self.assignment.on(event);
                // Answered in any case: an unanswered revoke would keep the member from ever closing.
                let acted = self.act(actions);
                self.link.unassign(&partitions)?;
                acted
            }
            Rebalance::Failed(reason) => bail!("the group's rebalance failed: {reason}"),
        }
    }

    /// Where we begin depends on the group's offsets, which may not be decided yet: asked again until they are.
    fn answer(&mut self) -> Result<()> {
        let Some(partitions) = self.unanswered.clone() else { return Ok(()) };
        let Some(committed) = self.link.committed(&partitions)? else { return Ok(()) };
        let mut starts = Vec::new();
        let mut openings = Vec::new();
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let Some((low, high)) = self.link.bounds(&partition)? else { return Ok(()) };
            starts.push((partition.clone(), self.role.start(committed.as_ref(), low, high)));
            openings.push(Opening { partition: partition.partition, committed, low, high });
        }
        self.link.assign(&starts)?;
        self.unanswered = None;
        for opening in openings {
            let slot = Slot { seen: opening.committed.clone(), opening, backlog: None };
            self.slots.entry(slot.opening.partition).or_insert(slot);
        }
        let numbers = starts.iter().map(|(partition, _)| partition.partition).collect();
        let actions = self.assignment.on(Event::Assigned(numbers));
        self.act(actions)?;
        self.report_state();
        Ok(())
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            match action {
                // The partitions are being fetched; nobody takes their records before they run.
                Action::Fetch(_) => {}
                Action::Restore(partition) => self.begin_restoring(partition)?,
                Action::StopRestoring(_) => {
                    self.restoring = None;
                    self.link.close()?;
                }
                Action::Finish(_) => {
                    let finished = self.finish();
                    let actions = self.assignment.on(Event::Finished);
                    self.act(actions)?;
                    finished?;
                }
                Action::Drop(partitions) => self.forget(&partitions)?,
            }
        }
        Ok(())
    }

    fn forget(&mut self, partitions: &[i32]) -> Result<()> {
        for partition in partitions {
            self.slots.remove(partition);
            self.parts.remove(partition);
        }
        if let Some(pending) = &mut self.pending {
            if !pending.staged.leave_out(partitions) {
                bail!("{} partitions were taken away before their transaction went through", partitions.len());
            }
            if pending.staged.is_empty() {
                self.pending = None;
            }
        }
        self.role.dropped(partitions, &self.parts)
    }

    fn report_state(&self) {
        let state = if self.assignment.is_running() && self.unanswered.is_none() { RoleState::Running } else { RoleState::Restoring };
        self.setup.health.report(R::NAME, self.thread, state, self.link.now());
    }

    // ---- restoring

    fn begin_restoring(&mut self, partition: i32) -> Result<()> {
        let Some(slot) = self.slots.get(&partition) else { return Ok(()) };
        self.restoring_since = Some(self.link.uptime());
        let loading = self.role.begin_loading(slot.opening.clone())?;
        self.restoring = Some((partition, loading, false));
        Ok(())
    }

    /// A stretch of reading state; whether there was anything to do.
    fn restore(&mut self) -> Result<bool> {
        if self.restoring.is_none() {
            let actions = self.assignment.on(Event::CanRestore);
            if actions.is_empty() {
                return Ok(false);
            }
            self.act(actions)?;
        }
        let Some((partition, mut loading, mut is_open)) = self.restoring.take() else { return Ok(false) };
        let place = || format!("{}: cannot restore partition {partition}", R::NAME);
        if !is_open {
            match self.role.next_source(&mut loading).with_context(place)? {
                Some(source) => self.link.open(&source.partition, source.from, source.until)?,
                None => {
                    let part = self.role.finish_loading(loading).with_context(place)?;
                    self.restored(partition, part);
                    return Ok(true);
                }
            }
            is_open = true;
        }
        match self.link.read(RESTORE)? {
            Read::Records(batch) => {
                for record in batch.iter() {
                    self.role.load(&mut loading, &record).with_context(place)?;
                }
            }
            Read::Finished { .. } => is_open = false,
        }
        self.restoring = Some((partition, loading, is_open));
        Ok(true)
    }

    fn restored(&mut self, partition: i32, part: R::Part) {
        self.parts.insert(partition, part);
        self.assignment.on(Event::Restored(partition));
        if let Some(since) = self.restoring_since.take() {
            let took = self.link.uptime().saturating_sub(since);
            self.setup.metrics.restored(R::NAME, took);
            tracing::info!(role = R::NAME, partition, seconds = took.as_secs_f64(), "restored");
        }
        self.report_state();
    }

    // ---- records

    /// A batch of each running partition; whether there was any.
    fn take(&mut self) -> Result<bool> {
        let running: Vec<i32> = self.assignment.in_phase(Phase::Running).collect();
        // The one after the last that began begins, so that a full batch does not always favour the same.
        let split = running.iter().position(|partition| *partition > self.turn).unwrap_or(0);
        let (later, first) = running.split_at(split);
        let mut took = false;
        for partition in first.iter().chain(later) {
            if self.role.demand(self.moment()) == Demand::Now {
                break;
            }
            took |= self.take_of(*partition)?;
            self.turn = *partition;
        }
        Ok(took)
    }

    fn take_of(&mut self, partition: i32) -> Result<bool> {
        let place = self.partition(partition);
        let moment = self.moment();
        let (Some(slot), Some(part)) = (self.slots.get_mut(&partition), self.parts.get_mut(&partition)) else { return Ok(false) };
        let (batch, from) = match slot.backlog.take() {
            Some(backlog) => backlog,
            None => (self.link.fetch(&place, FETCH)?, 0),
        };
        if batch.is_empty() && !batch.end {
            return Ok(false);
        }
        let next = self.role.take(part, &batch, from, moment)?;
        if next < batch.len() {
            slot.backlog = Some((batch, next));
        }
        Ok(next > from)
    }

    // ---- transactions

    fn stage(&mut self) -> Result<()> {
        let moment = self.moment();
        let staged = self.role.stage(&mut self.parts, moment)?;
        if staged.is_empty() {
            return Ok(());
        }
        self.transactions += 1;
        let metadata = format!("v1 {}-{}", self.incarnation, self.transactions);
        let since = moment.uptime;
        self.pending = Some(Pending { staged, metadata, look: false, since, tried: 0, next_try: since });
        Ok(())
    }

    /// Tries the transaction under way once, if it is time.
    fn go_on_committing(&mut self) -> Result<()> {
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
            return Ok(());
        }
        let Some(pending) = &mut self.pending else { return Ok(()) };
        if self.link.is_tainted() {
            self.link.rebuild().with_context(|| format!("{}: new producer", R::NAME))?;
        }
        let started = self.link.uptime();
        match commit::attempt(&mut self.link, &topic, &pending.staged, &pending.metadata) {
            Outcome::Committed => self.went_through(started),
            Outcome::Aborted(reason) => {
                tracing::warn!(role = R::NAME, reason, tried = pending.tried, "transaction aborted, it is tried again");
                if uptime.saturating_sub(pending.since) > RETRY_FOR {
                    bail!("{}: no transaction went through for {RETRY_FOR:?}; the last one failed at {reason}", R::NAME);
                }
            }
            Outcome::Uncertain(reason) => {
                tracing::warn!(role = R::NAME, reason, "outcome of a transaction unknown, the producer is rebuilt");
                pending.look = true;
                pending.next_try = uptime;
                self.link.rebuild().with_context(|| format!("{}: new producer after: {reason}", R::NAME))?;
            }
        }
        Ok(())
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
                self.went_through(self.link.uptime());
                Ok(false)
            }
            Some(false) => {
                pending.look = false;
                Ok(true)
            }
            None => bail!("{}: somebody else has committed offsets of partitions that we took for ours", R::NAME),
        }
    }

    fn went_through(&mut self, started: Duration) {
        let Some(pending) = self.pending.take() else { return };
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
    fn finish(&mut self) -> Result<()> {
        let until = self.link.uptime() + REVOKE_BUDGET;
        let mut is_staged = false;
        loop {
            if self.pending.is_none() {
                if is_staged {
                    return Ok(());
                }
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
