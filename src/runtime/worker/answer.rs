//! Where a worker begins in the partitions that the group has given to it.

use std::time::Duration;

use anyhow::Result;

use super::behind::Behind;
use super::{Event, Opening, Role, Slot, Worker};
use crate::kafka::link::{Link, Partition};
use crate::metrics::Rebalanced;

/// A broker that is started anew is back, and a leader elected, within this; from then on it is said what is waited for, now and then.
const PATIENCE: Duration = Duration::from_secs(10);
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Asking holds up the partitions that have begun.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the group has given, and has not begun yet.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Waits for an answer: until then the group decides nothing new.
    unanswered: Option<Vec<Partition>>,
    /// Answered for, but nobody says where it begins: its leader is away. Asked again from then on.
    leaderless: Vec<Partition>,
    ask_at: Duration,
    /// When it is to be said that this takes long.
    say_at: Option<Duration>,
}

/// Where partitions begin, what is known of them, and those of which it is not to be had now; `Err`: nothing is, and why.
type Beginnings = std::result::Result<(Vec<(Partition, i64)>, Vec<Opening>, Vec<Partition>), String>;

impl Given {
    pub(super) fn assigned(&mut self, partitions: Vec<Partition>) {
        self.unanswered = Some(partitions);
    }

    /// Taken away before we could say where to begin: then it must not be begun.
    pub(super) fn revoked(&mut self, partitions: &[Partition]) {
        self.leaderless.retain(|partition| !partitions.contains(partition));
        if let Some(waiting) = &mut self.unanswered {
            waiting.retain(|partition| !partitions.contains(partition));
        }
        self.unanswered.take_if(|waiting| waiting.is_empty());
    }

    pub(super) fn has_all_begun(&self) -> bool {
        self.unanswered.is_none() && self.leaderless.is_empty()
    }
}

impl<L: Link, R: Role> Worker<'_, L, R> {
    /// Begins what the group has given. Where, depends on the group's offsets, which may not be decided yet: asked again until they are. A
    /// partition without a leader does not hold up the others.
    pub(super) fn answer(&mut self) -> Result<()> {
        if let Some(partitions) = self.given.unanswered.clone() {
            match self.beginnings(partitions)? {
                // Also where none can begin: who does not answer keeps the group from its next step.
                Ok((starts, openings, missing)) => {
                    self.given.unanswered = None;
                    self.given.leaderless.extend(missing);
                    self.given.ask_at = self.link.uptime() + ASK_AGAIN;
                    self.begin(&starts, openings)?;
                }
                Err(missing) => self.say_what_is_missing(&missing),
            }
            return Ok(());
        }
        if self.given.leaderless.is_empty() {
            self.given.say_at = None;
            return Ok(());
        }
        if self.link.uptime() < self.given.ask_at { Ok(()) } else { self.ask_again() }
    }

    /// For partitions that had no leader when the group gave them.
    fn ask_again(&mut self) -> Result<()> {
        let found = self.beginnings(self.given.leaderless.clone())?;
        self.given.ask_at = self.link.uptime() + ASK_AGAIN;
        // Asking takes its time, in which they may have been taken away, or all be lost: what is begun after that would seem ours again.
        if let Some(event) = self.link.event()? {
            return self.rebalance(event);
        }
        match found {
            Ok((starts, openings, missing)) => {
                if !missing.is_empty() {
                    self.say_what_is_missing(&leaders_of(&missing));
                }
                self.given.leaderless = missing;
                if starts.is_empty() { Ok(()) } else { self.begin(&starts, openings) }
            }
            Err(missing) => {
                self.say_what_is_missing(&missing);
                Ok(())
            }
        }
    }

    fn begin(&mut self, starts: &[(Partition, i64)], openings: Vec<Opening>) -> Result<()> {
        self.link.assign(starts)?;
        for opening in openings {
            let (seen, taken) = (opening.committed.clone(), i64::MIN);
            let slot = Slot { seen, opening, backlog: None, behind: Behind::new(self.link.uptime()), taken, end: None, beyond: None };
            self.slots.entry(slot.opening.partition).or_insert(slot);
        }
        let numbers = starts.iter().map(|(partition, _)| partition.partition).collect();
        let actions = self.assignment.on(Event::Assigned(numbers));
        self.act(actions)?;
        self.rebalanced(Rebalanced::Assigned);
        self.report_state();
        Ok(())
    }

    fn beginnings(&mut self, partitions: Vec<Partition>) -> Result<Beginnings> {
        let Some(committed) = self.link.committed(&partitions)? else {
            return Ok(Err(format!(
                "the committed offsets of group {}: its coordinator does not answer, or a transaction on them is not decided yet; nothing of \
                 this thread begins before",
                self.group()
            )));
        };
        let bounds = self.link.bounds(&partitions)?;
        let (mut starts, mut openings, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for ((partition, committed), bounds) in partitions.into_iter().zip(committed).zip(bounds) {
            let Some((low, high)) = bounds else {
                missing.push(partition);
                continue;
            };
            starts.push((partition.clone(), self.role.start(committed.as_ref(), low, high)));
            openings.push(Opening { partition: partition.partition, committed, low, high });
        }
        Ok(Ok((starts, openings, missing)))
    }

    fn say_what_is_missing(&mut self, missing: &str) {
        let uptime = self.link.uptime();
        let say_at = *self.given.say_at.get_or_insert(uptime + PATIENCE);
        if uptime >= say_at {
            self.given.say_at = Some(uptime + SAY_AGAIN);
            tracing::warn!(role = R::NAME, thread = self.thread, "waiting for {missing}");
        }
    }
}

fn leaders_of(missing: &[Partition]) -> String {
    let names: Vec<String> = missing.iter().map(|Partition { topic, partition }| format!("{topic}[{partition}]")).collect();
    format!("a leader of {}: none answers, and what is in there is not watched before", names.join(", "))
}
