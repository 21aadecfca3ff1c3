//! The loop of the DELIVER thread: alerts in, mails out, receipts kept. A consumer group of its own: slow mail never slows detection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use futures_util::StreamExt as _;

use super::channels::{Channels, Letter};
use super::plan::{self, Verdict};
use super::receipt::{Receipt, Told, repeat_number};
use super::render::{Context, Renderer};
use super::retry;
use super::rules::{DeliverRules, Receiver, may_hear};
use super::violation::as_alert;
use crate::clock;
use crate::kafka::link::{Batch, Committed, From, OutRecord, Partition, Record, Until};
use crate::kafka::session::Session;
use crate::model::alert::Alert;
use crate::model::time::Timestamp;
use crate::model::wire;
use crate::runtime::commit::{Share, Staged};
use crate::runtime::worker::{Demand, Moment, Opening, Role, Source, Worker};
use crate::runtime::{Setup, Stop};

/// Mails that are under way at once; after a crash at most these are sent again, under the same Message-IDs.
const IN_FLIGHT: usize = 16;
/// Mails of one round, roughly: at 30 s each and 16 at once a round stays far below max.poll.interval.ms (5 min).
const LARGEST_ROUND: usize = 64;
/// Mails whose time has come are looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// A receipt is forgotten this long after its alert was over, in ms.
const KEEP_RECEIPTS_MS: i64 = 30 * crate::model::time::DAY_MS;

/// What this role needs besides what all roles are given.
pub struct Delivery {
    pub rules: ArcSwap<DeliverRules>,
    /// None set up: alerts stay on their topic and nobody is told.
    pub channels: Channels,
}

/// What all partitions of a thread share. `VIOLATIONS`: it tells people of these, in a group of its own.
pub struct Deliver<'a, const VIOLATIONS: bool> {
    setup: &'a Setup,
    delivery: &'a Delivery,
    runtime: tokio::runtime::Runtime,
    renderer: Renderer,
    rules: Arc<DeliverRules>,
    /// Read, not planned yet.
    round: Vec<(i32, Alert)>,
    /// Planned, not sent yet.
    due: VecDeque<Due>,
    /// When the oldest alert of the round was taken.
    since: Option<Duration>,
    /// When retries were last looked for.
    looked: Duration,
}

/// Position and receipts of a partition of `alerts`.
pub struct Owned {
    next: i64,
    /// Every alert below it is done with.
    done: i64,
    /// What the group was last told.
    committed: i64,
    receipts: BTreeMap<String, Receipt>,
    changed: BTreeSet<String>,
}

/// A partition whose receipts are being read.
pub struct Loading {
    opening: Opening,
    is_read: bool,
    receipts: BTreeMap<String, Receipt>,
}

/// One mail that is to go out now.
struct Due {
    partition: i32,
    alert: Alert,
    receiver: Receiver,
    earlier: Option<Told>,
}

/// # Errors
/// What this thread cannot go on from: no broker, an unreadable receipt, transactions that do not go through. Mail that fails is no error here.
pub fn run<const VIOLATIONS: bool>(setup: &Setup, delivery: &Delivery, thread: usize, stop: &Stop) -> Result<()> {
    let name = Deliver::<VIOLATIONS>::NAME;
    let role = Deliver::<VIOLATIONS>::new(setup, delivery)?;
    let topic = role.topic();
    let link = Session::join(&setup.connection, name, thread, topic, setup.is_exactly_once())?;
    link.partition_count(topic)?;
    Worker::new(link, role, setup, thread, setup.incarnation(name, thread)).run(stop)
}

type Partitions = BTreeMap<i32, Owned>;

impl<'a, const VIOLATIONS: bool> Deliver<'a, VIOLATIONS> {
    /// # Errors
    /// No mail client, or templates that cannot be read.
    pub fn new(setup: &'a Setup, delivery: &'a Delivery) -> Result<Self> {
        Ok(Deliver {
            setup,
            delivery,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the mail client")?,
            renderer: Renderer::new().context("cannot read the mail templates")?,
            rules: delivery.rules.load_full(),
            round: Vec::new(),
            due: VecDeque::new(),
            since: None,
            looked: Duration::ZERO,
        })
    }

    /// Decides who is to hear of the alerts that were read, and finds the mails of earlier rounds whose time has come.
    fn plan(&mut self, partitions: &mut Partitions) {
        self.rules = self.delivery.rules.load_full();
        let retries = self.retries(partitions);
        self.due.extend(retries);
        let planned = self.plan_round(partitions);
        self.due.extend(planned);
        self.since = None;
    }

    fn plan_round(&mut self, partitions: &mut Partitions) -> Vec<Due> {
        let round = std::mem::take(&mut self.round);
        let places: BTreeMap<String, i32> = round.iter().map(|(partition, alert)| (alert.id.clone(), *partition)).collect();
        let mut due = Vec::new();
        for alert in plan::newest(round.into_iter().map(|(_, alert)| alert)) {
            let Some(partition) = places.get(&alert.id).copied() else { continue };
            let Some(owned) = partitions.get_mut(&partition) else { continue };
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
    fn retries(&self, partitions: &Partitions) -> Vec<Due> {
        let now = clock::now();
        let newer: BTreeSet<&str> = self.round.iter().map(|(_, alert)| alert.id.as_str()).collect();
        let mut due = Vec::new();
        for (partition, owned) in partitions {
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

    fn send_all(&self, due: Vec<Due>, partitions: &mut Partitions) {
        let channels = &self.delivery.channels;
        if channels.is_empty() {
            return;
        }
        let base_url = self.rules.mail.as_ref().and_then(|mail| mail.base_url.as_deref());
        let (renderer, topic) = (&self.renderer, self.topic());
        let sends = futures_util::stream::iter(due).map(|due| async move {
            let context = Context { topic, base_url, earlier: due.earlier.as_ref() };
            let letter = Letter { alert: &due.alert, receiver: &due.receiver, earlier: due.earlier.as_ref(), date: clock::now() };
            let sent = channels.send(&letter, renderer, &context).await.map_err(|error| (error.to_string(), error.is_worth_retrying()));
            (due, sent)
        });
        let results: Vec<_> = self.runtime.block_on(sends.buffer_unordered(IN_FLIGHT).collect());
        for (due, sent) in results {
            self.record(&due, sent, partitions);
        }
    }

    fn record(&self, due: &Due, sent: Result<String, (String, bool)>, partitions: &mut Partitions) {
        let now = clock::now();
        let Some(owned) = partitions.get_mut(&due.partition) else { return };
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
                tracing::info!(alert = due.alert.id, revision = due.alert.revision, receiver = %due.receiver, "told");
            }
            Err((error, retriable)) => {
                let attempt = receipt.attempts(&due.receiver, due.alert.revision).saturating_add(1);
                let name = format!("{}/{}/{}", due.alert.id, due.alert.revision, due.receiver);
                let next = if retriable { retry::next_attempt(&self.rules.backoff, attempt, now, &name) } else { None };
                receipt.record_failed(&due.alert, &due.receiver, &error, now, next);
                self.setup.metrics.mail_failed(next.is_some());
                let next = next.map(|at| at.to_string());
                tracing::warn!(alert = due.alert.id, receiver = %due.receiver, attempt, next, error, "not told");
            }
        }
    }

    fn receipts(&self) -> &str {
        if VIOLATIONS { &self.setup.topics.violation_receipts } else { &self.setup.topics.receipts }
    }

    /// Receipts that have changed, as records; one that is no longer needed is deleted.
    fn receipt_records(&self, number: i32, owned: &mut Owned) -> Result<Vec<OutRecord>> {
        let now = clock::now();
        let mut records = Vec::new();
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
                topic: self.receipts().to_string(),
                partition: Some(number),
                key: Some(id.into_bytes()),
                value,
                headers: Vec::new(),
            });
        }
        Ok(records)
    }
}

impl<const VIOLATIONS: bool> Role for Deliver<'_, VIOLATIONS> {
    type Part = Owned;
    type Loading = Loading;

    const NAME: &'static str = if VIOLATIONS { "deliver-violations" } else { "deliver" };

    fn topic(&self) -> &str {
        if VIOLATIONS { &self.setup.topics.governance_violations } else { &self.setup.topics.alerts }
    }

    /// Without an offset of its own a partition is read from its beginning: the topic is compacted, so that is what is open now, and
    /// what is over and was never told is not mailed.
    fn start(&self, committed: Option<&Committed>, low: i64, _high: i64) -> i64 {
        committed.map_or(low, |committed| committed.offset).max(low)
    }

    fn begin_loading(&mut self, opening: Opening) -> Result<Loading> {
        Ok(Loading { opening, is_read: false, receipts: BTreeMap::new() })
    }

    fn next_source(&mut self, loading: &mut Loading) -> Result<Option<Source>> {
        if std::mem::replace(&mut loading.is_read, true) {
            return Ok(None);
        }
        let partition = Partition { topic: self.receipts().to_string(), partition: loading.opening.partition };
        Ok(Some(Source { partition, from: From::Beginning, until: Until::End }))
    }

    fn load(&mut self, loading: &mut Loading, record: &Record<'_>) -> Result<()> {
        let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
        let place = || format!("receipt '{key}' at offset {} of {}", record.offset, record.topic);
        match record.value {
            Some(value) => loading.receipts.insert(key.clone(), Receipt::decode(value).with_context(place)?),
            None => loading.receipts.remove(&key),
        };
        Ok(())
    }

    fn finish_loading(&mut self, loading: Loading) -> Result<Owned> {
        let Opening { committed, low, high, .. } = loading.opening;
        let next = self.start(committed.as_ref(), low, high);
        // Looked at once per assignment: what was over long ago is forgotten with the next commit.
        let old = |receipt: &&Receipt| receipt.may_forget(clock::now(), KEEP_RECEIPTS_MS);
        let changed = loading.receipts.values().filter(old).map(|receipt| receipt.alert_id.clone()).collect();
        Ok(Owned { next, done: next, committed: next, receipts: loading.receipts, changed })
    }

    fn take(&mut self, owned: &mut Owned, batch: &Batch, from: usize, moment: Moment) -> Result<usize> {
        for index in from..batch.len() {
            if self.round.len() >= LARGEST_ROUND || !self.due.is_empty() {
                return Ok(index);
            }
            let Some(record) = batch.get(index) else { break };
            owned.next = record.offset + 1;
            self.since.get_or_insert(moment.uptime);
            let Some(value) = record.value else { continue };
            let form = record.header("content-type");
            let read = if VIOLATIONS {
                wire::violation_of_record(form, value).map(|violation| as_alert(&violation))
            } else {
                wire::alert_of_record(form, value)
            };
            match read {
                Ok(alert) => self.round.push((record.partition, alert)),
                Err(error) => {
                    // Not ours, or of a later version: it stays on the topic for whoever can read it.
                    let Record { topic, partition, offset, .. } = record;
                    tracing::error!(topic, partition, offset, %error, "alert not readable, nobody is mailed");
                    self.setup.metrics.mail_unreadable();
                }
            }
        }
        Ok(batch.len())
    }

    fn demand(&self, moment: Moment) -> Demand {
        if !self.due.is_empty() || self.round.len() >= LARGEST_ROUND || moment.uptime.saturating_sub(self.looked) >= LOOK {
            return Demand::Now;
        }
        // Without anybody to tell, offsets can wait for the next look: each transaction costs the broker as much as one of watch's.
        let since = self.since.filter(|_| !self.delivery.channels.is_empty());
        since.map_or(Demand::Nothing, Demand::Since)
    }

    /// Sends some mails, and gives their receipts. The offsets wait for the last mail, so that a crash repeats the others only.
    fn stage(&mut self, partitions: &mut Partitions, moment: Moment) -> Result<Staged> {
        self.looked = moment.uptime;
        if self.due.is_empty() {
            self.plan(partitions);
        }
        let some = self.due.drain(..self.due.len().min(IN_FLIGHT)).collect();
        self.send_all(some, partitions);
        let is_done = self.due.is_empty();
        let mut shares = BTreeMap::new();
        for (number, owned) in partitions.iter_mut() {
            if is_done {
                owned.done = owned.next;
            }
            if owned.done > owned.committed || !owned.changed.is_empty() {
                shares.insert(*number, Share { position: owned.done, records: self.receipt_records(*number, owned)? });
            }
        }
        Ok(Staged { shares, common: Vec::new() })
    }

    fn committed(&mut self, partitions: &mut Partitions, _took: Duration) {
        for owned in partitions.values_mut() {
            owned.committed = owned.done;
        }
    }

    fn dropped(&mut self, gone: &[i32], _left: &Partitions) -> Result<()> {
        self.round.retain(|(partition, _)| !gone.contains(partition));
        self.due.retain(|due| !gone.contains(&due.partition));
        Ok(())
    }
}
