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

/// Where each partition begins, and what is known of it; `Err`: what is not to be had now.
type Beginnings = std::result::Result<(Vec<(Partition, i64)>, Vec<Opening>), String>;

impl<L: Link, R: Role> Worker<'_, L, R> {
    /// Where we begin depends on the group's offsets, which may not be decided yet: asked again until they are. An assignment is
    /// answered as a whole: one partition without a leader holds up the others of it.
    pub(super) fn answer(&mut self) -> Result<()> {
        let Some(partitions) = self.unanswered.clone() else {
            self.say_at = None;
            return Ok(());
        };
        let (starts, openings) = match self.beginnings(partitions)? {
            Ok(known) => known,
            Err(missing) => {
                self.say_what_is_missing(&missing);
                return Ok(());
            }
        };
        self.link.assign(&starts)?;
        self.unanswered = None;
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
                "the committed offsets of group {}: its coordinator does not answer, or a transaction on them is not decided yet",
                self.group()
            )));
        };
        let (mut starts, mut openings) = (Vec::new(), Vec::new());
        for (partition, committed) in partitions.into_iter().zip(committed) {
            let Some((low, high)) = self.link.bounds(&partition)? else {
                return Ok(Err(format!("{}[{}]: no leader of it answers", partition.topic, partition.partition)));
            };
            starts.push((partition.clone(), self.role.start(committed.as_ref(), low, high)));
            openings.push(Opening { partition: partition.partition, committed, low, high });
        }
        Ok(Ok((starts, openings)))
    }

    fn say_what_is_missing(&mut self, missing: &str) {
        let uptime = self.link.uptime();
        let say_at = *self.say_at.get_or_insert(uptime + PATIENCE);
        if uptime >= say_at {
            self.say_at = Some(uptime + SAY_AGAIN);
            tracing::warn!(role = R::NAME, thread = self.thread, "waiting for {missing}; nothing of this thread begins before");
        }
    }
}
