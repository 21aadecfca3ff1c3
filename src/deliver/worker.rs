//! The loop of the DELIVER thread: alerts in, mails out, receipts kept. A consumer group of its own: slow mail never slows detection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;

use super::again;
use super::channels::Channels;
use super::channels::email::SendError;
use super::gather::Gathering;
use super::inhibit::{self, Standing};
use super::lane::Due;
use super::outbox::{Desk, Ended, Outbox};
use super::owned::{self, Owned};
use super::plan::{self, Verdict, Wait};
use super::receipt::{Receipt, is_closed, repeat_number};
use super::render::Renderer;
use super::retry;
use super::rules::{DeliverRules, Receiver};
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

/// Alerts that are read before the ones before them are planned.
const LARGEST_ROUND: usize = 256;
/// Letters of earlier rounds that one lane is given at once, so that new ones need not wait behind all of them.
const MOST_AGAIN: usize = 128;
/// Letters whose time has come are looked for this often, and sooner where lanes were too full for all of them.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Receipts that are no longer needed are looked for this often.
const TIDY: Duration = Duration::from_secs(3_600);

/// What this role needs besides what all roles are given.
pub struct Delivery {
    pub rules: ArcSwap<DeliverRules>,
    /// None set up: alerts stay on their topic and nobody is told.
    pub channels: Arc<Channels>,
    pub renderer: Arc<Renderer>,
}

/// What all partitions of a thread share. `VIOLATIONS`: it tells people of these, in a group of its own.
pub struct Deliver<'a, const VIOLATIONS: bool> {
    setup: &'a Setup,
    delivery: &'a Delivery,
    rules: Arc<DeliverRules>,
    outbox: Outbox,
    gathering: Gathering,
    /// Read, not planned yet.
    round: Vec<Read>,
    /// When retries were last looked for.
    looked: Duration,
    /// There was more to send again than lanes would take.
    look_again: bool,
    /// When receipts that are no longer needed were last looked for.
    tidied: Duration,
    /// Nothing new is begun.
    is_finishing: bool,
    /// Offsets have moved, or receipts have changed.
    is_dirty: bool,
}

/// An alert and where it stands.
struct Read {
    partition: i32,
    offset: i64,
    alert: Alert,
}

/// A partition whose receipts are being read.
pub struct Loading {
    opening: Opening,
    is_read: bool,
    receipts: BTreeMap<String, Receipt>,
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
    /// No threads, or templates that cannot be read.
    pub fn new(setup: &'a Setup, delivery: &'a Delivery) -> Result<Self> {
        let topics = &setup.topics;
        let topic = if VIOLATIONS { &topics.governance_violations } else { &topics.alerts }.clone();
        let desk = Desk { channels: Arc::clone(&delivery.channels), renderer: Arc::clone(&delivery.renderer), topic };
        Ok(Deliver {
            setup,
            delivery,
            rules: delivery.rules.load_full(),
            outbox: Outbox::new(desk)?,
            gathering: Gathering::new(delivery.channels.machines()),
            round: Vec::new(),
            looked: Duration::ZERO,
            look_again: false,
            tidied: Duration::ZERO,
            is_finishing: false,
            is_dirty: false,
        })
    }

    /// Rules of a reload count for what waits too, not only for what is read.
    fn refresh(&mut self, partitions: &mut Partitions) {
        let rules = self.delivery.rules.load_full();
        if !Arc::ptr_eq(&rules, &self.rules) {
            self.rules = rules;
            owned::review(&self.rules, &mut self.outbox, partitions, clock::now());
        }
    }

    /// Decides who is to hear of the alerts that were read. One that is being told right now waits: what comes of it decides how the next
    /// revision is told. What only waits for its turn makes way for the newer revision.
    fn plan_round(&mut self, partitions: &mut Partitions) {
        let round = std::mem::take(&mut self.round);
        let mut places: BTreeMap<String, (i32, Vec<i64>)> = BTreeMap::new();
        for read in &round {
            places.entry(read.alert.id.clone()).or_insert_with(|| (read.partition, Vec::new())).1.push(read.offset);
            if let Some(owned) = partitions.get_mut(&read.partition).filter(|owned| owned.receipts.contains_key(&read.alert.id)) {
                owned.receipt(&read.alert.id).note_turn(&read.alert);
            }
        }
        let teams = round.iter().map(|read| read.alert.team.clone()).collect();
        let mut standing = self.standing(partitions, &teams);
        for alert in plan::newest(round.into_iter().map(|read| read.alert)) {
            let Some((partition, offsets)) = places.remove(&alert.id) else { continue };
            let Some(owned) = partitions.get_mut(&partition) else { continue };
            let Some(offset) = offsets.iter().max().copied() else { continue };
            offsets.into_iter().filter(|earlier| *earlier != offset).for_each(|earlier| owned.release(Some(earlier)));
            for due in self.outbox.withdraw(&alert.id) {
                owned.release(due.offset);
            }
            if self.outbox.is_sending(&alert.id) {
                self.round.push(Read { partition, offset, alert });
                continue;
            }
            let letters = self.plan_alert(owned, &mut standing, partition, offset, Arc::new(alert));
            owned.open.insert(offset, letters + 1);
            owned.release(Some(offset));
        }
    }

    /// Puts letters about one alert into their lanes; how many.
    fn plan_alert(&mut self, owned: &mut Owned, standing: &mut Vec<Standing>, partition: i32, offset: i64, alert: Arc<Alert>) -> usize {
        if owned.receipts.contains_key(&alert.id) {
            owned.receipt(&alert.id).supersede(&alert, clock::now());
        }
        let (mut letters, mut told) = (0, BTreeSet::new());
        let now = clock::now();
        for planned in plan::plan(&self.rules, &alert, owned.receipts.get(&alert.id), standing, now) {
            let receiver = planned.receiver;
            let verdict = match planned.verdict {
                Verdict::Send { .. } if self.delivery.channels.is_empty() => continue,
                Verdict::Send { earlier } => match self.gathering.hold(&self.rules, &alert, &receiver, now) {
                    Some((until, why)) => Verdict::Wait(until, why),
                    None => Verdict::Send { earlier },
                },
                other => other,
            };
            match verdict {
                Verdict::Send { earlier } => {
                    told.insert(receiver.to_string());
                    let alert = Arc::clone(&alert);
                    self.outbox.add(Due { partition, offset: Some(offset), alert, receiver, earlier, with: Vec::new() });
                    letters += 1;
                }
                Verdict::Wait(until, why) => self.postpone(owned.receipt(&alert.id), &alert, &receiver, until, why),
                Verdict::Skip(skip) => self.setup.metrics.mail_skipped(skip.as_str()),
            }
        }
        if !told.is_empty() && !is_closed(&alert) {
            standing.push(Standing { alert: Alert { history: Vec::new(), ..(*alert).clone() }, told });
        }
        letters
    }

    fn postpone(&self, receipt: &mut Receipt, alert: &Alert, receiver: &Receiver, until: Timestamp, why: Wait) {
        receipt.postpone(alert, receiver, until, why.as_str());
        self.setup.metrics.mail_skipped(why.as_str());
    }

    /// What is open of these teams, or of all of them where rules reach beyond a team, and who knows of it.
    fn standing(&self, partitions: &Partitions, teams: &BTreeSet<String>) -> Vec<Standing> {
        inhibit::standing(&self.rules, partitions.values().flat_map(|owned| owned.receipts.values()), teams)
    }

    fn is_time_to_look(&self, moment: Moment) -> bool {
        moment.uptime.saturating_sub(self.looked) >= if self.look_again { LOOK_AGAIN } else { LOOK }
    }

    /// Letters of earlier rounds whose time has come, again or at last.
    fn look(&mut self, partitions: &mut Partitions, moment: Moment) {
        self.looked = moment.uptime;
        self.look_again = false;
        let is_well = !VIOLATIONS && !partitions.is_empty() && self.setup.health.ready(clock::now()).healthy;
        self.outbox.tidy(is_well.then_some(moment.uptime));
        if moment.uptime.saturating_sub(self.tidied) >= TIDY {
            self.tidied = moment.uptime;
            partitions.values_mut().for_each(|owned| owned.tidy(clock::now()));
        }
        if self.delivery.channels.is_empty() {
            return;
        }
        let now = clock::now();
        let (mut all, letters, soonest) = (Vec::new(), self.outbox.letters(), plan::soonest_escalation(&self.rules));
        for (partition, owned) in partitions.iter_mut() {
            owned.hand_over(&self.rules, &letters, now);
            for receipt in owned.receipts.values() {
                let mut due = again::due(&self.rules, soonest, receipt, now);
                due.retain(|(alert, receiver)| !letters.contains(&(alert.id.clone(), receiver.clone())));
                all.extend(due.into_iter().map(|(alert, receiver)| {
                    let earlier = receipt.told(&receiver).cloned();
                    Due { partition: *partition, offset: None, alert: Arc::new(alert), receiver, earlier, with: Vec::new() }
                }));
            }
        }
        if all.is_empty() {
            return;
        }
        // What waited for the end of a mute may find another one, and what failed or comes again may come after hours.
        let standing = self.standing(partitions, &all.iter().map(|due| due.alert.team.clone()).collect());
        all.retain(|due| {
            let held = plan::held(&self.rules, &due.alert, &due.receiver, due.earlier.as_ref(), &standing, now);
            let Some((until, why)) = held else { return true };
            if let Some(owned) = partitions.get_mut(&due.partition) {
                self.postpone(owned.receipt(&due.alert.id), &due.alert, &due.receiver, until, why);
            }
            false
        });
        let roomy: BTreeSet<Receiver> =
            all.iter().map(|due| due.receiver.clone()).filter(|to| self.outbox.has_room(to, MOST_AGAIN, moment.uptime)).collect();
        let (fitting, later): (Vec<Due>, Vec<Due>) = all.into_iter().partition(|due| roomy.contains(&due.receiver));
        self.look_again = !later.is_empty();
        for letter in self.gathering.bundle(&self.rules, fitting, now) {
            if self.outbox.has_room(&letter.receiver, MOST_AGAIN, moment.uptime) {
                self.outbox.add(letter);
            } else {
                self.look_again = true;
            }
        }
    }

    /// Sends what may go, and notes what became of letters under way.
    fn send(&mut self, partitions: &mut Partitions, moment: Moment) {
        let ended = if self.is_finishing {
            self.outbox.ended_at_last(moment.uptime)
        } else {
            self.outbox.start(self.rules.in_flight, moment.uptime);
            self.outbox.ended(self.rules.in_flight, moment.uptime)
        };
        for ended in ended {
            self.record(&ended, partitions);
        }
        let now = clock::now();
        for (due, left, why) in self.outbox.postponed(MOST_AGAIN, moment.uptime) {
            let Some(owned) = partitions.get_mut(&due.partition) else { continue };
            let again = now.plus_ms(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
            owned.receipt(&due.alert.id).postpone(&due.alert, &due.receiver, again, why);
            owned.release(due.offset);
        }
    }

    fn record(&self, ended: &Ended, partitions: &mut Partitions) {
        for due in ended.due.all() {
            // Not ours any more: its new owner sends it again, under the same id.
            let Some(owned) = partitions.get_mut(&due.partition) else { continue };
            owned.release(due.offset);
            // What went together comes together again.
            self.record_one(due, &ended.due.alert.id, &ended.sent, owned.receipt(&due.alert.id));
        }
    }

    fn record_one(&self, due: &Due, leader: &str, sent: &Result<String, SendError>, receipt: &mut Receipt) {
        let now = clock::now();
        match sent {
            Ok(message_id) => {
                receipt.record_sent(&due.alert, &due.receiver, message_id, now);
                if repeat_number(due.earlier.as_ref(), &due.alert) > 0 {
                    self.setup.metrics.mail_repeated();
                } else {
                    self.setup.metrics.mail_sent(due.alert.ingest_time, now);
                }
                tracing::info!(alert = due.alert.id, revision = due.alert.revision, receiver = %due.receiver, "told");
            }
            Err(error) => {
                let attempt = receipt.attempts(&due.receiver, due.alert.revision).saturating_add(1);
                let name = format!("{leader}/{}", due.receiver);
                let least_ms = error.least_wait_ms();
                let retry = error.is_worth_retrying().then(|| retry::next_attempt(&self.rules.backoff, attempt, now, least_ms, &name));
                let next = retry.flatten();
                let error = error.to_string();
                receipt.record_failed(&due.alert, &due.receiver, &error, now, next);
                self.setup.metrics.mail_failed(next.is_some());
                let (alert, receiver) = (&due.alert.id, &due.receiver);
                match next {
                    Some(at) => tracing::warn!(alert, %receiver, attempt, next = at.to_string(), error, "not told"),
                    None => tracing::error!(alert, attempt, error, "{}", again::given_up(&due.alert, receiver, receipt)),
                }
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
            let forget = owned.receipts.get(&id).is_none_or(|receipt| receipt.may_forget(now, owned::KEEP_RECEIPTS_MS));
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
        let mut owned =
            Owned { next, committed: next, staged: next, open: BTreeMap::new(), receipts: loading.receipts, changed: BTreeSet::new() };
        owned.tidy(clock::now());
        // The rules may be others than when it began to wait.
        owned.review(&self.rules, clock::now());
        Ok(owned)
    }

    fn take(&mut self, owned: &mut Owned, batch: &Batch, from: usize, _moment: Moment) -> Result<usize> {
        for index in from..batch.len() {
            if self.round.len() >= LARGEST_ROUND || self.outbox.is_full() {
                return Ok(index);
            }
            let Some(record) = batch.get(index) else { break };
            owned.next = record.offset + 1;
            self.is_dirty = true;
            let Some(value) = record.value else { continue };
            let form = record.header("content-type");
            let read = if VIOLATIONS {
                wire::violation_of_record(form, value).map(|violation| as_alert(&violation))
            } else {
                wire::alert_of_record(form, value)
            };
            match read {
                Ok(alert) => {
                    owned.open.insert(record.offset, 1);
                    self.round.push(Read { partition: record.partition, offset: record.offset, alert });
                }
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

    fn stand_at(&mut self, owned: &mut Owned, next: i64) -> bool {
        owned.next = owned.next.max(next);
        true
    }

    fn demand(&self, moment: Moment) -> Demand {
        if self.is_time_to_look(moment) {
            return Demand::Now;
        }
        // Without anybody to tell, offsets can wait for the next look: each transaction costs the broker as much as one of watch's.
        let has_news = self.is_dirty || !self.round.is_empty();
        if self.outbox.has_work(self.rules.in_flight, moment.uptime) || (has_news && !self.delivery.channels.is_empty()) {
            return Demand::Since(Duration::ZERO);
        }
        Demand::Nothing
    }

    /// Sends some letters, and gives the receipts of those that ended. The offsets wait for the last letter of each alert.
    fn stage(&mut self, partitions: &mut Partitions, moment: Moment) -> Result<Staged> {
        self.refresh(partitions);
        if !self.round.is_empty() {
            self.plan_round(partitions);
        }
        if !self.is_finishing && self.is_time_to_look(moment) {
            self.look(partitions, moment);
        }
        self.send(partitions, moment);
        (self.is_dirty, self.is_finishing) = (false, false);
        let mut shares = BTreeMap::new();
        for (number, owned) in partitions.iter_mut() {
            owned.staged = owned.done();
            if owned.staged > owned.committed || !owned.changed.is_empty() {
                shares.insert(*number, Share { position: owned.staged, records: self.receipt_records(*number, owned)? });
            }
        }
        Ok(Staged { shares, common: Vec::new() })
    }

    fn finishing(&mut self) {
        self.is_finishing = true;
    }

    fn committed(&mut self, partitions: &mut Partitions, _took: Duration) {
        for owned in partitions.values_mut() {
            owned.committed = owned.staged;
        }
        self.outbox.committed();
    }

    fn dropped(&mut self, gone: &[i32], _left: &Partitions) -> Result<()> {
        self.round.retain(|read| !gone.contains(&read.partition));
        self.outbox.forget(gone);
        Ok(())
    }
}
