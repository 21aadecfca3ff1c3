//! The loop of every role: a group member on one thread, its partitions, their state, and transactions.
//!
//! [`Worker`] knows groups, restoring and committing; a [`Role`] knows what records mean. Both see Kafka through [`Link`] only, so that
//! the simulation runs them on a model of a broker.

mod answer;
mod behind;
mod role;
mod transact;

pub use role::{Demand, Moment, Opening, Role, Source};

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::answer::Given;
use self::behind::Behind;
use self::transact::Pending;
use super::assignment::{Action, Assignment, Event, Phase};
use super::pace::{Pace, is_filling};
use super::{Setup, Stop};
use crate::health::RoleState;
use crate::kafka::link::{Batch, Committed, Link, Partition, Read, Rebalance};
use crate::metrics::{Rebalanced, Spent};

/// Records of one partition that are taken before the next one has its turn.
const FETCH: usize = 1_000;
/// Records of a state that are read before the running partitions have their turn.
const RESTORE: usize = 5_000;
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// Without anything to do the loop looks around this often.
const IDLE: Duration = Duration::from_millis(100);
/// Where only the offsets of markers are to be committed, it is done after this: each transaction costs the brokers, and whoever is killed
/// before it may find, once retention has removed the markers, that something is missing that was never there.
const BEYOND: Duration = Duration::from_secs(10);
/// Lag and time budget are told this often.
const TELL: Duration = Duration::from_secs(1);
const WITH_WORK: Duration = Duration::from_millis(1);

struct Slot {
    /// Offset that fetching began at, and what the group had.
    opening: Opening,
    /// Last known to be committed.
    seen: Option<Committed>,
    /// Fetched, not taken yet: batch and index.
    backlog: Option<(Batch, usize)>,
    behind: Behind,
    /// Behind the last record that was taken, and, at the end of the partition, behind the markers that follow it.
    taken: i64,
    end: Option<i64>,
    /// Since when only the offsets of such markers are to be committed.
    beyond: Option<Duration>,
}

impl Slot {
    /// The next record that is not committed.
    fn position(&self) -> i64 {
        let committed = self.seen.as_ref().map_or(self.opening.low, |seen| seen.offset);
        if committed >= self.taken { committed.max(self.end.unwrap_or(committed)) } else { committed }
    }
}

/// A partition whose state is being read.
struct Restoring<T> {
    partition: i32,
    loading: T,
    /// What is open to be read; nothing between two sources.
    reads: Option<Reads>,
}

struct Reads {
    source: Source,
    /// The offset that reading began at, once it has.
    first: Option<i64>,
}

pub struct Worker<'a, L: Link, R: Role> {
    pub role: R,
    setup: &'a Setup,
    thread: usize,
    assignment: Assignment,
    slots: BTreeMap<i32, Slot>,
    parts: BTreeMap<i32, R::Part>,
    restoring: Option<Restoring<R::Loading>>,
    restoring_since: Option<Duration>,
    /// Partitions that were restored since it was last told, and how long that took.
    restored: (usize, Duration),
    given: Given,
    pending: Option<Pending>,
    pace: Pace,
    /// Tells transactions of this worker from all others.
    incarnation: String,
    transactions: u64,
    has_committed: bool,
    /// The partition that has its turn first.
    turn: i32,
    spent: Spent,
    spent_until: Duration,
    told: Duration,
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
            restored: (0, Duration::ZERO),
            given: Given::default(),
            pending: None,
            pace,
            incarnation,
            transactions: 0,
            has_committed: false,
            turn: 0,
            spent: Spent::default(),
            spent_until: link.uptime(),
            told: link.uptime(),
            link,
        }
    }

    /// Until asked to stop; then finishes what was begun.
    ///
    /// # Errors
    /// What this worker cannot go on from. What is committed stays, and a new worker begins from there.
    pub fn run(&mut self, stop: &Stop) -> Result<()> {
        let mut ran = Ok(());
        while !stop.asked() && ran.is_ok() {
            ran = self.step();
        }
        if ran.is_ok() {
            return self.finish_all();
        }
        // Others may take them over, or we again in a while: lag and ages of now are nobody's word then.
        self.slots.keys().for_each(|partition| self.forget_metrics(*partition));
        self.setup.metrics.assigned(R::NAME, self.thread, 0);
        ran
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
        self.spend(|spent| &mut spent.poll);
        if self.pending.is_some() {
            self.go_on_committing()?;
            if self.pending.is_some() {
                self.link.wait(FIRST_RETRY);
                self.spend(|spent| &mut spent.commit);
                return Ok(());
            }
        }
        self.spend(|spent| &mut spent.commit);
        let restored = self.restore()?;
        if restored {
            self.spend(|spent| &mut spent.restore);
        }
        let took = self.take()?;
        self.spend(|spent| &mut spent.process);
        let moment = self.moment();
        let due = match self.role.demand(moment) {
            Demand::Nothing => false,
            Demand::Since(since) => {
                let is_filling = |full| is_filling(full, self.unread(), moment.uptime.saturating_sub(since));
                self.pace.is_due(!took, moment.uptime, since, self.setup.commit_interval) && !(took && R::FULL.is_some_and(is_filling))
            }
            Demand::Urgent(since) => self.pace.is_due(true, moment.uptime, since, self.setup.commit_interval),
            Demand::Now => true,
        };
        if due || self.is_beyond(moment.uptime) {
            self.stage()?;
            self.go_on_committing()?;
            self.spend(|spent| &mut spent.commit);
        } else if !took && !restored {
            let idle = matches!(self.role.demand(moment), Demand::Nothing);
            self.link.wait(if idle { IDLE } else { WITH_WORK });
            self.spend(|spent| &mut spent.idle);
        }
        self.tell_now_and_then();
        Ok(())
    }

    /// The time since the last call went into this.
    fn spend(&mut self, phase: impl FnOnce(&mut Spent) -> &mut Duration) {
        let uptime = self.link.uptime();
        *phase(&mut self.spent) += uptime.saturating_sub(self.spent_until);
        self.spent_until = uptime;
    }

    fn tell_now_and_then(&mut self) {
        let uptime = self.link.uptime();
        if uptime.saturating_sub(self.told) < TELL {
            return;
        }
        self.told = uptime;
        self.setup.metrics.spent(R::NAME, self.thread, &std::mem::take(&mut self.spent));
        let group = self.group();
        for (partition, slot) in &mut self.slots {
            let place = Partition { topic: self.role.topic().to_string(), partition: *partition };
            let Some(end) = self.link.end_seen(&place) else { continue };
            let position = slot.position();
            let (lag, age) = (end.saturating_sub(position).max(0), slot.behind.age(position, end, uptime));
            self.setup.metrics.lag(&group, &place.topic, *partition, lag, age);
        }
    }

    /// Commits what was taken and gives everything up. What cannot be committed within the budget is done again by the next owner: no reason
    /// to end with an error.
    ///
    /// # Errors
    /// librdkafka refuses to stop reading.
    pub fn finish_all(&mut self) -> Result<()> {
        let actions = self.assignment.on(Event::Closing);
        if let Err(error) = self.act(actions) {
            tracing::warn!(
                role = R::NAME,
                error = format!("{error:#}"),
                "stopped before everything was committed; the next start does it again"
            );
        }
        self.link.close()
    }

    /// The state of each partition that takes records.
    pub fn parts(&self) -> &BTreeMap<i32, R::Part> {
        &self.parts
    }

    fn moment(&self) -> Moment {
        Moment { now: self.link.now(), uptime: self.link.uptime() }
    }

    fn group(&self) -> String {
        format!("{}-{}", self.setup.connection.application_id, R::NAME)
    }

    fn partition(&self, partition: i32) -> Partition {
        Partition { topic: self.role.topic().to_string(), partition }
    }

    // ---- the group

    fn rebalance(&mut self, event: Rebalance) -> Result<()> {
        match event {
            Rebalance::Assign(partitions) => {
                self.given.assigned(partitions);
                Ok(())
            }
            Rebalance::Revoke { partitions, lost } => {
                self.given.revoked(&partitions);
                let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
                let (event, what) =
                    if lost { (Event::Lost(numbers), Rebalanced::Lost) } else { (Event::Revoked(numbers), Rebalanced::Revoked) };
                let actions = self.assignment.on(event);
                // Answered in any case: an unanswered revoke would keep the member from ever closing.
                let acted = self.act(actions);
                self.link.unassign(&partitions)?;
                self.rebalanced(what);
                acted
            }
            Rebalance::Failed(reason) => bail!("the group's rebalance failed: {reason}"),
        }
    }

    fn rebalanced(&self, what: Rebalanced) {
        self.setup.metrics.rebalanced(R::NAME, self.thread, what, self.assignment.partitions().count());
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

    fn forget_metrics(&self, partition: i32) {
        self.setup.metrics.forget_partition(&self.group(), R::NAME, self.role.topic(), partition);
    }

    fn forget(&mut self, partitions: &[i32]) -> Result<()> {
        let mut held = Vec::new();
        for partition in partitions {
            self.slots.remove(partition);
            if self.parts.remove(partition).is_some() {
                held.push(*partition);
            }
            self.forget_metrics(*partition);
        }
        if let Some(pending) = &mut self.pending {
            if !pending.staged.leave_out(partitions) {
                bail!("{} partitions were taken away before their transaction went through", partitions.len());
            }
            if pending.staged.is_empty() {
                self.pending = None;
            }
        }
        // Of one whose state was not even read nothing is anywhere.
        if held.is_empty() { Ok(()) } else { self.role.dropped(&held, &self.parts) }
    }

    /// Something is to be committed that can wait for long, and has.
    fn is_beyond(&self, uptime: Duration) -> bool {
        self.slots.values().any(|slot| slot.beyond.is_some_and(|since| uptime.saturating_sub(since) >= BEYOND))
    }

    /// Records that have not been fetched, of the partitions that take them.
    fn unread(&self) -> i64 {
        let takes = self.slots.iter().filter(|(_, slot)| slot.backlog.is_none() && slot.taken >= 0);
        let unread =
            takes.filter_map(|(partition, slot)| Some(self.link.end_seen(&self.partition(*partition))?.saturating_sub(slot.taken)));
        unread.sum()
    }

    fn report_state(&self) {
        let state = if self.assignment.is_running() && self.given.has_all_begun() { RoleState::Running } else { RoleState::Restoring };
        self.setup.health.report(R::NAME, self.thread, state, self.link.now());
    }

    // ---- restoring

    fn begin_restoring(&mut self, partition: i32) -> Result<()> {
        let Some(slot) = self.slots.get(&partition) else { return Ok(()) };
        self.restoring_since = Some(self.link.uptime());
        let loading = self.role.begin_loading(slot.opening.clone())?;
        self.restoring = Some(Restoring { partition, loading, reads: None });
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
        let Some(Restoring { partition, mut loading, mut reads }) = self.restoring.take() else { return Ok(false) };
        let place = || format!("{}: cannot restore partition {partition}", R::NAME);
        if reads.is_none() && self.role.load_own(&mut loading).with_context(place)? {
            self.restoring = Some(Restoring { partition, loading, reads });
            return Ok(true);
        }
        if reads.is_none() {
            match self.role.next_source(&mut loading).with_context(place)? {
                Some(source) => {
                    self.link.open(&source.partition, source.from, source.until)?;
                    reads = Some(Reads { source, first: None });
                }
                None => {
                    let part = self.role.finish_loading(loading).with_context(place)?;
                    self.restored(partition, part);
                    return Ok(true);
                }
            }
        }
        match self.link.read(RESTORE)? {
            Read::Records(batch) => {
                for record in batch.iter() {
                    self.role.load(&mut loading, &record).with_context(place)?;
                }
                if let (Some(reads), Some((next, end))) = (&mut reads, self.link.reading()) {
                    let first = *reads.first.get_or_insert(next);
                    let whole = |offsets: i64| u64::try_from(offsets).unwrap_or_default();
                    let Partition { topic, partition } = &reads.source.partition;
                    self.setup.metrics.restoring(R::NAME, topic, *partition, whole(next - first), whole(end - first));
                }
            }
            Read::Finished { .. } => reads = None,
        }
        self.restoring = Some(Restoring { partition, loading, reads });
        Ok(true)
    }

    fn restored(&mut self, partition: i32, part: R::Part) {
        self.parts.insert(partition, part);
        self.assignment.on(Event::Restored(partition));
        if let Some(since) = self.restoring_since.take() {
            let took = self.link.uptime().saturating_sub(since);
            self.setup.metrics.restored(R::NAME, took);
            tracing::debug!(role = R::NAME, partition, seconds = took.as_secs_f64(), "partition restored");
            self.restored = (self.restored.0 + 1, self.restored.1 + took);
        }
        // One line for all that came together: a start has some hundred partitions.
        if self.assignment.is_running() {
            let (partitions, took) = std::mem::take(&mut self.restored);
            tracing::info!(role = R::NAME, thread = self.thread, partitions, seconds = took.as_secs_f64(), "restored");
        }
        self.report_state();
    }

    // ---- records

    /// A batch of each running partition, whatever is due already: where commits take longer than the time between two that are due, nothing
    /// would ever be taken otherwise. How much is too much is the role's to say, by taking less than it is offered. Whether there was any.
    fn take(&mut self) -> Result<bool> {
        let running: Vec<i32> = self.assignment.in_phase(Phase::Running).collect();
        // The one after the last that was taken from begins, so that a full batch does not always favour the same.
        let split = running.iter().position(|partition| *partition > self.turn).unwrap_or(0);
        let (later, first) = running.split_at(split);
        let mut took = false;
        for partition in first.iter().chain(later) {
            if self.take_of(*partition)? {
                took = true;
                self.turn = *partition;
            }
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
        self.role.looked(part, moment);
        if batch.is_empty() && !batch.end {
            return Ok(false);
        }
        let next = self.role.take(part, &batch, from, moment)?;
        if let Some(last) = next.checked_sub(1).filter(|last| *last >= from).and_then(|last| batch.get(last)) {
            (slot.taken, slot.end, slot.beyond) = (last.offset + 1, None, None);
        }
        if next < batch.len() {
            slot.backlog = Some((batch, next));
        } else if let Some(end) = batch.next {
            slot.end = Some(end);
            let is_news = self.role.stand_at(part, end) && slot.seen.as_ref().is_some_and(|seen| seen.offset < end);
            slot.beyond = is_news.then(|| slot.beyond.unwrap_or(moment.uptime));
        }
        Ok(next > from)
    }
}
