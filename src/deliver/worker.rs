//! The loop of the DELIVER thread: alerts in, mails out, receipts kept. A consumer group of its own: slow mail never slows detection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use futures_util::StreamExt as _;

use super::channels::{Channel, Letter};
use super::plan::{self, Verdict};
use super::receipt::{Receipt, Told, repeat_number};
use super::render::{Context, Renderer};
use super::retry;
use super::rules::{DeliverRules, Receiver, may_hear};
use crate::clock;
use crate::health::RoleState;
use crate::kafka::consumer::{Consumer, Partition, Polled, Rebalance};
use crate::kafka::producer::{OutRecord, Producer};
use crate::kafka::read::Reader;
use crate::kafka::{BorrowedMessage, Headers as _, Message as _};
use crate::model::alert::Alert;
use crate::model::time::Timestamp;
use crate::model::wire;
use crate::runtime::{Setup, Stop, commit, supervise};

const ROLE: &str = "deliver";
/// Mails that are under way at once; after a crash at most these are sent again, under the same Message-IDs.
const IN_FLIGHT: usize = 16;
/// Mails of one round, roughly: at 30 s each and 16 at once a round stays far below max.poll.interval.ms (5 min).
const LARGEST_ROUND: usize = 64;
/// A receipt is forgotten this long after its alert was over, in ms.
const KEEP_RECEIPTS_MS: i64 = 30 * crate::model::time::DAY_MS;

/// What this role needs besides what all roles are given.
pub struct Delivery {
    pub rules: ArcSwap<DeliverRules>,
    /// Absent: alerts stay on their topic and nobody is mailed.
    pub channel: Option<Channel>,
}

struct Worker<'a> {
    setup: &'a Setup,
    delivery: &'a Delivery,
    consumer: &'a Consumer,
    stop: &'a Stop,
    thread: usize,
    producer: Producer,
    runtime: tokio::runtime::Runtime,
    renderer: Renderer,
    rules: Arc<DeliverRules>,
    /// Position and receipts of each partition that is ours.
    partitions: BTreeMap<i32, Owned>,
    round: Vec<(i32, Alert)>,
    transactions: u64,
}

#[derive(Default)]
struct Owned {
    next: i64,
    committed: i64,
    receipts: BTreeMap<String, Receipt>,
    changed: BTreeSet<String>,
}

/// One mail that is to go out now.
struct Due {
    partition: i32,
    alert: Alert,
    receiver: Receiver,
    earlier: Option<Told>,
}

/// # Errors
/// What this thread cannot go on from: no broker, an unreadable receipt, a failed transaction. Mail that fails is no error here.
pub fn run(setup: &Setup, delivery: &Delivery, thread: usize, stop: &Stop) -> Result<()> {
    let consumer = Consumer::subscribe(&setup.connection.consumer_config(ROLE), &[&setup.topics.alerts])?;
    consumer.partition_count(&setup.topics.alerts)?;
    let mut worker = Worker {
        setup,
        delivery,
        consumer: &consumer,
        stop,
        thread,
        producer: supervise::start_producer(setup, ROLE, thread)?,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the mail client")?,
        renderer: Renderer::new().context("cannot read the mail templates")?,
        rules: delivery.rules.load_full(),
        partitions: BTreeMap::new(),
        round: Vec::new(),
        transactions: 0,
    };
    setup.health.report(ROLE, thread, RoleState::Restoring, clock::now());
    while !stop.asked() {
        worker.step()?;
        setup.health.beat(ROLE, thread, clock::now());
    }
    worker.finish_round()
}

impl Worker<'_> {
    fn step(&mut self) -> Result<()> {
        let consumer = self.consumer;
        let drained = match consumer.poll(Duration::from_millis(if self.round.is_empty() { 100 } else { 0 }))? {
            Polled::Message(message) => {
                self.take(&message);
                false
            }
            Polled::Rebalance(event) => {
                self.rebalance(event)?;
                true
            }
            Polled::EndOfPartition(_) | Polled::Nothing => true,
        };
        if drained || self.round.len() >= LARGEST_ROUND {
            self.finish_round()?;
        }
        Ok(())
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let Some(owned) = self.partitions.get_mut(&message.partition()) else { return };
        owned.next = message.offset() + 1;
        let Some(value) = message.payload() else { return };
        match decode(message, value) {
            Ok(alert) => self.round.push((message.partition(), alert)),
            Err(error) => {
                // Not ours, or of a later version: it stays on the topic for whoever can read it.
                tracing::error!(topic = message.topic(), partition = message.partition(), offset = message.offset(), %error, "alert not readable, nobody is mailed");
                self.setup.metrics.mail_unreadable();
            }
        }
    }

    /// Plans, sends, and commits receipts and offsets together.
    fn finish_round(&mut self) -> Result<()> {
        let mut due = self.retries();
        due.extend(self.plan_round());
        while !due.is_empty() {
            let rest = due.split_off(due.len().min(IN_FLIGHT));
            self.send_all(due);
            due = rest;
            if !due.is_empty() {
                // What was sent is on record at once; the offsets wait for the last mail, so that a crash repeats the others only.
                self.commit(false)?;
                if self.stop.asked() {
                    return Ok(());
                }
            }
        }
        if self.partitions.values().any(|owned| owned.next > owned.committed || !owned.changed.is_empty()) {
            self.commit(true)?;
        }
        self.rules = self.delivery.rules.load_full();
        Ok(())
    }

    fn plan_round(&mut self) -> Vec<Due> {
        let round = std::mem::take(&mut self.round);
        let places: BTreeMap<String, i32> = round.iter().map(|(partition, alert)| (alert.id.clone(), *partition)).collect();
        let mut due = Vec::new();
        for alert in plan::newest(round.into_iter().map(|(_, alert)| alert)) {
            let Some(partition) = places.get(&alert.id).copied() else { continue };
            let Some(owned) = self.partitions.get_mut(&partition) else { continue };
            if let Some(receipt) = owned.receipts.get_mut(&alert.id) {
                receipt.supersede(&alert);
                owned.changed.insert(alert.id.clone());
            }
            for planned in plan::plan(&self.rules, &alert, owned.receipts.get(&alert.id)) {
                match planned.verdict {
                    Verdict::Send { earlier } => due.push(Due { partition, alert: alert.clone(), receiver: planned.receiver, earlier }),
                    Verdict::Skip(skip) => self.setup.metrics.mail_skipped(skip.as_str()),
                }
            }
        }
        due
    }

    /// Mails of earlier rounds whose time has come, again or at last.
    fn retries(&self) -> Vec<Due> {
        let now = clock::now();
        let newer: BTreeSet<&str> = self.round.iter().map(|(_, alert)| alert.id.as_str()).collect();
        let mut due = Vec::new();
        for (partition, owned) in &self.partitions {
            for receipt in owned.receipts.values().filter(|receipt| !newer.contains(receipt.alert_id.as_str())) {
                for (alert, receiver) in self.due_of(receipt, now) {
                    let earlier = receipt.told(&receiver).cloned();
                    due.push(Due { partition: *partition, alert: alert.clone(), receiver, earlier });
                    if due.len() >= LARGEST_ROUND {
                        return due;
                    }
                }
            }
        }
        due
    }

    /// What failed before, and what is told again because it has been open for long.
    fn due_of<'r>(&self, receipt: &'r Receipt, now: Timestamp) -> Vec<(&'r Alert, Receiver)> {
        let retries = receipt.waiting.iter().flat_map(|alert| receipt.due(now).into_iter().map(|receiver| (&**alert, receiver)));
        let again = receipt.open.iter().flat_map(|alert| {
            let receivers = receipt.due_again(now, self.rules.repeat_interval_ms).into_iter();
            receivers.filter(|receiver| may_hear(&self.rules.routes, &alert.team, receiver)).map(|receiver| (&**alert, receiver))
        });
        retries.chain(again).collect()
    }

    fn send_all(&mut self, due: Vec<Due>) {
        let Some(channel) = &self.delivery.channel else { return };
        let base_url = self.rules.mail.as_ref().and_then(|mail| mail.base_url.as_deref());
        let (renderer, topic) = (&self.renderer, self.setup.topics.alerts.as_str());
        let sends = futures_util::stream::iter(due).map(|due| async move {
            let context = Context { topic, base_url, earlier: due.earlier.as_ref() };
            let sent = match renderer.render(&due.alert, &context) {
                Ok(rendered) => {
                    let letter = Letter {
                        alert: &due.alert,
                        receiver: &due.receiver,
                        earlier: due.earlier.as_ref(),
                        rendered: &rendered,
                        date: clock::now(),
                    };
                    channel.send(&letter).await.map_err(|error| (error.to_string(), error.is_worth_retrying()))
                }
                Err(error) => Err((error.to_string(), false)),
            };
            (due, sent)
        });
        let results: Vec<_> = self.runtime.block_on(sends.buffer_unordered(IN_FLIGHT).collect());
        for (due, sent) in results {
            self.record(&due, sent);
        }
    }

    fn record(&mut self, due: &Due, sent: Result<String, (String, bool)>) {
        let now = clock::now();
        let Some(owned) = self.partitions.get_mut(&due.partition) else { return };
        owned.changed.insert(due.alert.id.clone());
        let receipt = owned.receipts.entry(due.alert.id.clone()).or_insert_with(|| Receipt::new(&due.alert.id));
        match sent {
            Ok(message_id) => {
                receipt.record_sent(&due.alert, &due.receiver, &message_id, now);
                if repeat_number(due.earlier.as_ref(), &due.alert) > 0 {
                    self.setup.metrics.mail_repeated();
                } else {
                    self.setup.metrics.mail_sent(due.alert.ingest_time, now);
                }
                tracing::info!(alert = due.alert.id, revision = due.alert.revision, receiver = %due.receiver, "mail sent");
            }
            Err((error, retriable)) => {
                let attempt = receipt.attempts(&due.receiver, due.alert.revision).saturating_add(1);
                let name = format!("{}/{}/{}", due.alert.id, due.alert.revision, due.receiver);
                let next = if retriable { retry::next_attempt(&self.rules.backoff, attempt, now, &name) } else { None };
                receipt.record_failed(&due.alert, &due.receiver, &error, now, next);
                self.setup.metrics.mail_failed(next.is_some());
                let next = next.map(|at| at.to_string());
                tracing::warn!(alert = due.alert.id, receiver = %due.receiver, attempt, next, error, "mail not sent");
            }
        }
    }

    /// `advance`: every alert read so far is done with.
    fn commit(&mut self, advance: bool) -> Result<()> {
        let now = clock::now();
        let mut records = Vec::new();
        let mut offsets = Vec::new();
        for (number, owned) in &mut self.partitions {
            if advance {
                owned.committed = owned.next;
            }
            offsets.push((Partition { topic: self.setup.topics.alerts.clone(), partition: *number }, owned.committed));
            for id in std::mem::take(&mut owned.changed) {
                let forget = owned.receipts.get(&id).is_none_or(|receipt| receipt.may_forget(now, KEEP_RECEIPTS_MS));
                let value = match owned.receipts.get(&id) {
                    Some(receipt) if !forget => Some(receipt.encode()?),
                    _ => None,
                };
                if forget {
                    owned.receipts.remove(&id);
                }
                records.push(OutRecord {
                    topic: self.setup.topics.receipts.clone(),
                    partition: Some(*number),
                    key: Some(id.into_bytes()),
                    value,
                    headers: Vec::new(),
                });
            }
        }
        self.transactions += 1;
        let started = clock::Stopwatch::start();
        commit::commit(&self.producer, self.consumer, &records, &offsets, self.transactions).context("deliver: commit")?;
        self.setup.metrics.committed(ROLE, started.elapsed());
        Ok(())
    }

    fn rebalance(&mut self, event: Rebalance) -> Result<()> {
        match event {
            Rebalance::Assign(partitions) => {
                self.assign(&partitions)?;
                self.setup.health.report(ROLE, self.thread, RoleState::Running, clock::now());
                Ok(())
            }
            Rebalance::Revoke { partitions, lost } => {
                if lost {
                    self.consumer.unassign(&partitions)?;
                    bail!("lost {} partitions to another member of the group", partitions.len());
                }
                // Answered in any case: an unanswered revoke would keep the consumer from ever closing.
                let finished = self.finish_round();
                self.consumer.unassign(&partitions)?;
                for partition in &partitions {
                    self.partitions.remove(&partition.partition);
                }
                finished
            }
            Rebalance::Failed(reason) => bail!("the group's rebalance failed: {reason}"),
        }
    }

    /// Without an offset of its own a partition is read from its beginning: the topic is compacted, so that is what is open now, and
    /// what is over and was never told is not mailed.
    fn assign(&mut self, partitions: &[Partition]) -> Result<()> {
        if partitions.is_empty() {
            return self.consumer.assign(&[]);
        }
        let mut starts = Vec::new();
        let reader = Reader::new(&self.setup.connection)?;
        for (partition, committed) in self.consumer.committed(partitions)? {
            let mut owned = Owned::default();
            for (key, value) in reader.read(&self.setup.topics.receipts, partition.partition)? {
                let receipt = Receipt::decode(&value)
                    .with_context(|| format!("receipt '{}' in {}", String::from_utf8_lossy(&key), self.setup.topics.receipts))?;
                owned.receipts.insert(receipt.alert_id.clone(), receipt);
            }
            let (low, _) = self.consumer.bounds(&partition)?;
            owned.next = committed.unwrap_or(low).max(low);
            owned.committed = owned.next;
            // Looked at once per assignment: what was over long ago is forgotten with the next commit.
            let old = |receipt: &&Receipt| receipt.may_forget(clock::now(), KEEP_RECEIPTS_MS);
            owned.changed = owned.receipts.values().filter(old).map(|receipt| receipt.alert_id.clone()).collect();
            starts.push((partition.clone(), owned.next));
            self.partitions.insert(partition.partition, owned);
        }
        self.consumer.assign(&starts)
    }
}

/// By the header `content-type`: JSON as it is, Avro behind the five bytes of Confluent's framing.
fn decode(message: &BorrowedMessage<'_>, value: &[u8]) -> Result<Alert> {
    let content_type = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "content-type")?.value);
    if content_type.is_some_and(|form| form == b"application/json") {
        return Ok(wire::alert_from_json(value)?);
    }
    let (_, payload) = wire::confluent_unframe(value).context("neither JSON nor Avro in Confluent framing")?;
    Ok(wire::alert_from_avro(payload, None)?)
}
