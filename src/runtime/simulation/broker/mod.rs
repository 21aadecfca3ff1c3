//! The model of a cluster: topics, the transaction coordinator, groups, virtual time, and requests that arrive late.
//!
//! Transactions are those before KIP-890: one epoch serves many of them, so that a request of an ended one may hit the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::dice::Dice;
use super::group::{Group, Refused};
use super::log::{Log, ProducerId};
use crate::kafka::link::{Committed, OwnedRecord, Partition};
use crate::model::hash::murmur2;

/// A transaction that stays open for longer is aborted, and its producer fenced.
pub const TRANSACTION_TIMEOUT_MS: i64 = 10_000;
/// Events that are kept to be told when a run fails.
const TRACE: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    /// Decided; markers are on their way to what is still listed.
    Preparing {
        commit: bool,
    },
    Complete {
        commit: bool,
    },
}

#[derive(Clone, Debug)]
struct Transaction {
    producer: ProducerId,
    state: State,
    partitions: BTreeSet<Partition>,
    groups: BTreeSet<String>,
    since_ms: i64,
}

/// Offsets as a producer sends them for its group.
#[derive(Clone, Debug)]
pub struct GroupOffsets {
    pub group: String,
    pub member: String,
    pub instance: Option<String>,
    pub generation: i32,
    pub offsets: BTreeMap<Partition, Committed>,
}

/// A request that was given up by its sender and is still on its way.
#[derive(Clone, Debug)]
pub enum Stray {
    End { id: String, producer: ProducerId, commit: bool },
    Offsets { id: String, producer: ProducerId, sent: Box<GroupOffsets> },
}

pub struct Broker {
    pub dice: Dice,
    pub uptime_ms: i64,
    pub wall_ms: i64,
    logs: BTreeMap<String, Vec<Log>>,
    /// Topics whose records get the broker's time.
    stamped: BTreeSet<String>,
    transactions: BTreeMap<String, Transaction>,
    producers: i64,
    pub groups: BTreeMap<String, Group>,
    strays: Vec<Stray>,
    /// Newer brokers ask the coordinator whether a transaction is open before its first record.
    verifies: bool,
    trace: Option<VecDeque<String>>,
    /// How often what happened: a simulation in which nothing happens proves nothing.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Broker {
    pub fn new(seed: u64, wall_ms: i64, traced: bool) -> Broker {
        let mut dice = Dice::new(seed);
        Broker {
            verifies: dice.chance(500),
            dice,
            uptime_ms: 1_000,
            wall_ms,
            logs: BTreeMap::new(),
            stamped: BTreeSet::new(),
            transactions: BTreeMap::new(),
            producers: 0,
            groups: BTreeMap::new(),
            strays: Vec::new(),
            trace: traced.then(VecDeque::new),
            counts: BTreeMap::new(),
        }
    }

    pub fn create(&mut self, topic: &str, partitions: i32, stamped: bool) {
        self.logs.insert(topic.to_string(), (0..partitions).map(|_| Log::default()).collect());
        if stamped {
            self.stamped.insert(topic.to_string());
        }
    }

    pub fn create_group(&mut self, group: &str, topic: &str) {
        let group_of = Group::of(self.partitions(topic));
        self.groups.insert(group.to_string(), group_of);
    }

    pub fn partitions(&self, topic: &str) -> Vec<Partition> {
        let count = i32::try_from(self.logs[topic].len()).unwrap();
        (0..count).map(|partition| Partition { topic: topic.to_string(), partition }).collect()
    }

    pub fn log(&self, partition: &Partition) -> &Log {
        &self.logs[&partition.topic][usize::try_from(partition.partition).unwrap()]
    }

    pub fn log_mut(&mut self, partition: &Partition) -> &mut Log {
        self.logs.get_mut(&partition.topic).and_then(|logs| logs.get_mut(usize::try_from(partition.partition).unwrap())).unwrap()
    }

    /// Notes what happened.
    pub fn note(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        *self.counts.entry(kind).or_default() += 1;
        let at = self.uptime_ms;
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE {
                trace.pop_front();
            }
            trace.push_back(format!("{at:>8} ms  {kind}: {}", what()));
        }
    }

    pub fn trace(&self) -> String {
        self.trace.iter().flatten().fold(String::new(), |all, line| all + line + "\n")
    }

    // ---- time

    pub fn advance(&mut self, ms: i64) {
        self.uptime_ms += ms;
        self.wall_ms += ms;
    }

    /// What happens without anybody asking: markers and strays arrive, transactions and members time out, generations are complete.
    pub fn pump(&mut self) {
        let ids: Vec<String> = self.transactions.keys().cloned().collect();
        for id in &ids {
            match self.transactions[id].state {
                State::Preparing { .. } if self.dice.chance(300) => self.write_marker(id),
                State::Ongoing if self.uptime_ms - self.transactions[id].since_ms > TRANSACTION_TIMEOUT_MS => self.time_out(id),
                State::Preparing { .. } | State::Ongoing | State::Empty | State::Complete { .. } => {}
            }
        }
        self.race();
        let now_ms = self.uptime_ms;
        self.groups.values_mut().for_each(|group| group.pass_time(now_ms));
    }

    pub fn delay(&mut self, stray: Stray) {
        self.note("delayed", || format!("{stray:?}"));
        self.strays.push(stray);
    }

    /// A stray may arrive.
    pub fn race(&mut self) {
        if !self.strays.is_empty() && self.dice.chance(100) {
            let stray = self.strays.remove(self.dice.roll(self.strays.len()));
            self.arrive(stray);
        }
    }

    fn arrive(&mut self, stray: Stray) {
        self.note("stray", || format!("{stray:?}"));
        let answer = match &stray {
            Stray::End { id, producer, commit } => self.end(id, *producer, *commit),
            Stray::Offsets { id, producer, sent } => self.receive_offsets(id, *producer, sent),
        };
        if answer == Ok(()) {
            self.note("stray taken", || format!("{stray:?}"));
        }
    }

    fn time_out(&mut self, id: &str) {
        self.note("transaction timed out", || id.to_string());
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        transaction.producer.epoch += 1;
        transaction.state = State::Preparing { commit: false };
        self.write_markers(id);
    }

    // ---- the transaction coordinator

    /// `init_transactions`: what is open is decided first, every older epoch is over.
    pub fn init(&mut self, id: &str) -> ProducerId {
        if !self.transactions.contains_key(id) {
            self.producers += 1;
            let producer = ProducerId { id: self.producers, epoch: -1 };
            let new = Transaction {
                producer,
                state: State::Empty,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
                since_ms: self.uptime_ms,
            };
            self.transactions.insert(id.to_string(), new);
        }
        self.write_markers(id);
        if self.transactions[id].state == State::Ongoing {
            self.note("left open, aborted by its successor", || id.to_string());
            let Some(transaction) = self.transactions.get_mut(id) else { unreachable!() };
            transaction.producer.epoch += 1;
            transaction.state = State::Preparing { commit: false };
            self.write_markers(id);
        }
        let Some(transaction) = self.transactions.get_mut(id) else { unreachable!() };
        transaction.producer.epoch += 1;
        transaction.state = State::Empty;
        transaction.producer
    }

    /// The transaction of a request that is not fenced.
    fn of(&mut self, id: &str, producer: ProducerId) -> Result<&mut Transaction, Refused> {
        let transaction = self.transactions.get_mut(id).ok_or(Refused::InvalidState)?;
        if transaction.producer == producer { Ok(transaction) } else { Err(Refused::FencedProducer) }
    }

    /// A request that adds something opens the transaction; while the last one's markers are written it waits.
    fn open(&mut self, id: &str, producer: ProducerId) -> Result<&mut Transaction, Refused> {
        self.of(id, producer)?;
        self.write_markers(id);
        let now_ms = self.uptime_ms;
        let transaction = self.of(id, producer)?;
        if transaction.state != State::Ongoing {
            transaction.state = State::Ongoing;
            transaction.since_ms = now_ms;
        }
        Ok(transaction)
    }

    pub fn add_partition(&mut self, id: &str, producer: ProducerId, partition: &Partition) -> Result<(), Refused> {
        self.open(id, producer)?.partitions.insert(partition.clone());
        Ok(())
    }

    /// A record of a transaction; which partition it is to go to, by key where it does not say.
    pub fn produce(&mut self, id: &str, producer: ProducerId, partition: &Partition, record: OwnedRecord) -> Result<i64, Refused> {
        if self.verifies && !self.log(partition).is_open_for(producer.id) {
            let transaction = self.of(id, producer)?;
            if transaction.state != State::Ongoing || !transaction.partitions.contains(partition) {
                return Err(Refused::InvalidState);
            }
        }
        self.append(partition, record, Some(producer)).ok_or(Refused::FencedProducer)
    }

    pub fn append(&mut self, partition: &Partition, record: OwnedRecord, producer: Option<ProducerId>) -> Option<i64> {
        // Clients stamp with their own time, brokers with theirs: here they agree.
        let keeps_own = record.timestamp > 0 && !self.stamped.contains(&partition.topic);
        let timestamp = if keeps_own { record.timestamp } else { self.wall_ms };
        self.log_mut(partition).append(OwnedRecord { timestamp, ..record }, producer).ok()
    }

    /// Where a record without a partition goes.
    pub fn place(&self, topic: &str, key: Option<&[u8]>) -> Partition {
        let count = u32::try_from(self.logs[topic].len()).unwrap();
        let number = key.map_or(0, |key| (murmur2(key) & 0x7fff_ffff) % count);
        Partition { topic: topic.to_string(), partition: i32::try_from(number).unwrap() }
    }

    /// AddOffsetsToTxn and TxnOffsetCommit.
    pub fn send_offsets(&mut self, id: &str, producer: ProducerId, sent: &GroupOffsets) -> Result<(), Refused> {
        self.open(id, producer)?.groups.insert(sent.group.clone());
        self.receive_offsets(id, producer, sent)
    }

    fn receive_offsets(&mut self, id: &str, producer: ProducerId, sent: &GroupOffsets) -> Result<(), Refused> {
        let transaction = self.of(id, producer)?;
        if transaction.state != State::Ongoing || !transaction.groups.contains(&sent.group) {
            return Err(Refused::InvalidState);
        }
        let group = self.groups.get_mut(&sent.group).ok_or(Refused::UnknownMember)?;
        group.stage(producer.id, (&sent.member, sent.instance.as_deref(), sent.generation), &sent.offsets)
    }

    /// EndTxn. Repeating the decision that was made is answered with success: a lost answer must not look like a failure.
    pub fn end(&mut self, id: &str, producer: ProducerId, commit: bool) -> Result<(), Refused> {
        let transaction = self.of(id, producer)?;
        match transaction.state {
            State::Ongoing => {
                transaction.state = State::Preparing { commit };
                // Markers may be written at once, or trickle in.
                if self.dice.chance(600) {
                    self.write_markers(id);
                }
                Ok(())
            }
            State::Preparing { commit: decided } | State::Complete { commit: decided } if decided == commit => Ok(()),
            State::Preparing { .. } | State::Complete { .. } | State::Empty => Err(Refused::InvalidState),
        }
    }

    fn write_markers(&mut self, id: &str) {
        while matches!(self.transactions[id].state, State::Preparing { .. }) {
            self.write_marker(id);
        }
    }

    /// One marker of a decided transaction, to any of the places that wait for one; without any it is complete.
    fn write_marker(&mut self, id: &str) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        let State::Preparing { commit } = transaction.state else { return };
        let producer = transaction.producer;
        let places: Vec<Partition> = transaction.partitions.iter().cloned().collect();
        if let Some(partition) = self.dice.pick(&places) {
            transaction.partitions.remove(partition);
            self.log_mut(partition).mark(producer, commit);
        } else if let Some(group) = transaction.groups.pop_first() {
            if let Some(group) = self.groups.get_mut(&group) {
                group.decide(producer.id, commit);
            }
        } else {
            transaction.state = State::Complete { commit };
        }
    }

    /// Names of transactions that are not decided, and partitions that wait for a marker.
    pub fn undecided(&self) -> Vec<String> {
        let is_undecided = |state| matches!(state, State::Ongoing | State::Preparing { .. });
        let transactions = self.transactions.iter().filter(|(_, transaction)| is_undecided(transaction.state));
        let mut all: Vec<String> = transactions.map(|(id, _)| format!("transaction {id}")).collect();
        for (topic, logs) in &self.logs {
            all.extend(
                logs.iter().enumerate().filter(|(_, log)| log.stable() < log.next()).map(|(number, _)| format!("{topic}[{number}]")),
            );
        }
        all
    }
}

#[cfg(test)]
mod tests;
