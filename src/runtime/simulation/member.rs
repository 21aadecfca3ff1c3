//! The client's side of a group: what its background thread does by itself, and the events that the worker has to answer.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{Result, bail};

use super::broker::Broker;
use super::group::{Beat, Group, Refused};
use crate::kafka::link::{Partition, Rebalance};

pub struct Member {
    pub group: String,
    pub instance: Option<String>,
    id: Option<String>,
    generation: i32,
    /// Assigned and answered, though perhaps not fetched yet.
    owned: BTreeSet<Partition>,
    /// Sent its join and waits for the generation to be complete.
    has_joined: bool,
    /// Not handed out yet.
    events: VecDeque<Rebalance>,
    /// Handed out, not answered yet.
    asked: Option<Rebalance>,
    /// Joins again once everything is answered: what it gave up is to go to somebody.
    rejoins: bool,
    is_fenced: bool,
}

impl Member {
    pub fn new(group: &str, instance: Option<String>) -> Member {
        Member {
            group: group.to_string(),
            instance,
            id: None,
            generation: -1,
            owned: BTreeSet::new(),
            has_joined: false,
            events: VecDeque::new(),
            asked: None,
            rejoins: false,
            is_fenced: false,
        }
    }

    /// Member id and generation as they would be sent with offsets; `None` where the client has lost its membership.
    pub fn identity(&self) -> Option<(String, i32)> {
        self.id.clone().filter(|_| self.generation >= 0).map(|id| (id, self.generation))
    }

    /// What the client's own thread does: heartbeats, joining, taking over a generation. The worker learns of it by events.
    pub fn background(&mut self, broker: &mut Broker) {
        let now_ms = broker.uptime_ms;
        let Some(group) = broker.groups.get_mut(&self.group) else { return };
        let is_busy = self.asked.is_some() || !self.events.is_empty();
        let result = match self.id.clone() {
            _ if self.is_fenced => Ok(()),
            // Lost, and the worker has not said that it knows.
            None if is_busy => Ok(()),
            None => self.join(group, now_ms),
            Some(id) if is_busy => group.heartbeat(&id, self.instance.as_deref(), self.generation, now_ms).map(|_| ()),
            Some(_) if self.rejoins => self.join(group, now_ms),
            Some(id) if self.has_joined => self.sync(group, &id, now_ms),
            Some(id) => match group.heartbeat(&id, self.instance.as_deref(), self.generation, now_ms) {
                Ok(Beat::Fine) => Ok(()),
                Ok(Beat::Rejoin) => self.join(group, now_ms),
                Err(refused) => Err(refused),
            },
        };
        if let Err(refused) = result {
            self.refused(refused);
            broker.note("membership", || format!("{}: {refused:?}", self.group));
        }
    }

    fn join(&mut self, group: &mut Group, now_ms: i64) -> Result<(), Refused> {
        self.id = Some(group.join(self.id.as_deref(), self.instance.as_deref(), &self.owned, now_ms)?);
        self.has_joined = true;
        self.rejoins = false;
        Ok(())
    }

    fn sync(&mut self, group: &mut Group, id: &str, now_ms: i64) -> Result<(), Refused> {
        let (generation, assigned) = match group.sync(id, self.instance.as_deref(), now_ms) {
            Ok(None) => return Ok(()),
            Ok(Some(found)) => found,
            // The next generation is being formed already.
            Err(Refused::IllegalGeneration) => return self.join(group, now_ms),
            Err(refused) => return Err(refused),
        };
        self.has_joined = false;
        self.generation = generation;
        let revoked: Vec<Partition> = self.owned.difference(&assigned).cloned().collect();
        let added: Vec<Partition> = assigned.difference(&self.owned).cloned().collect();
        if !revoked.is_empty() {
            self.events.push_back(Rebalance::Revoke { partitions: revoked, lost: false });
            self.rejoins = true;
        }
        if !added.is_empty() || !self.rejoins {
            self.events.push_back(Rebalance::Assign(added));
        }
        Ok(())
    }

    fn refused(&mut self, refused: Refused) {
        match refused {
            Refused::FencedInstance => {
                self.is_fenced = true;
                self.id = None;
            }
            Refused::UnknownMember | Refused::IllegalGeneration | Refused::FencedProducer | Refused::InvalidState => {
                if refused == Refused::UnknownMember {
                    self.id = None;
                }
                self.generation = -1;
                self.has_joined = false;
                self.rejoins = self.id.is_some();
                // What was not handed out yet is void; what was is answered first.
                self.events.clear();
                if !self.owned.is_empty() {
                    self.events.push_back(Rebalance::Revoke { partitions: self.owned.iter().cloned().collect(), lost: true });
                }
            }
        }
    }

    /// The next event, once the last one is answered.
    pub fn event(&mut self) -> Result<Option<Rebalance>> {
        if self.is_fenced {
            bail!("the Kafka consumer cannot go on: another member has come under its instance id");
        }
        if self.asked.is_some() {
            return Ok(None);
        }
        self.asked = self.events.pop_front();
        Ok(self.asked.clone())
    }

    /// Whether an event waits for its answer.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub fn assigned(&mut self, partitions: &BTreeSet<Partition>) {
        match self.asked.take() {
            Some(Rebalance::Assign(asked)) if partitions.iter().all(|partition| asked.contains(partition)) => self.owned.extend(asked),
            // What could not be begun with the others.
            None if partitions.is_subset(&self.owned) => {}
            other => panic!("assign of {partitions:?} answers {other:?}"),
        }
        // Lost while the answer was waited for.
        for event in &mut self.events {
            if let Rebalance::Revoke { partitions, lost: true } = event {
                *partitions = self.owned.iter().cloned().collect();
            }
        }
        if self.id.is_none() && self.events.is_empty() && !self.owned.is_empty() {
            self.events.push_back(Rebalance::Revoke { partitions: self.owned.iter().cloned().collect(), lost: true });
        }
    }

    pub fn unassigned(&mut self, partitions: &[Partition]) {
        match self.asked.take() {
            Some(Rebalance::Revoke { partitions: asked, .. }) if asked == partitions => {}
            other => panic!("unassign of {partitions:?} answers {other:?}"),
        }
        self.owned.retain(|partition| !partitions.contains(partition));
    }

    /// A client that is closed says so; static members come back and do not.
    pub fn leave(&mut self, broker: &mut Broker) {
        let now_ms = broker.uptime_ms;
        if let (Some(id), None, Some(group)) = (&self.id, &self.instance, broker.groups.get_mut(&self.group)) {
            group.leave(id, now_ms);
        }
    }
}
