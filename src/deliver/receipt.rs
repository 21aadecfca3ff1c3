//! What was sent to whom about one alert, and what is still to be sent: a record of the compacted receipts topic, keyed by alert
//! id. It holds the waiting revision itself, so that a restart needs nothing but the receipts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::alert::{Alert, AlertState, Severity};
use crate::model::money::{Nanos, decimal};
use crate::model::time::Timestamp;

use super::render::clean::clean;
use super::rules::Receiver;

pub const RECEIPT_VERSION: u32 = 1;

const LONGEST_ERROR: usize = 500;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of this form; a reader refuses a higher one.
    pub version: u32,
    pub alert_id: String,
    /// By `Receiver` as text.
    pub receivers: BTreeMap<String, ReceiverState>,
    /// The revision that those with a `retry` still wait for.
    pub waiting: Option<Box<Alert>>,
    /// The newest revision, as long as the alert is open and somebody was told of it: what is repeated.
    #[serde(default)]
    pub open: Option<Box<Alert>>,
    /// When its end was seen, whoever was told of it; `None` while it is open, and in receipts of before this was noted.
    #[serde(default)]
    pub over_at: Option<Timestamp>,
    /// The last revision by which it came again or grew worse, as long as nobody has it in hand: news for all who were told of older ones
    /// only, also once a newer one has taken its place. 0 = none.
    #[serde(default)]
    pub turned: u32,
    /// Since when it is open and in nobody's hand; 0 in receipts of before this was noted.
    #[serde(default)]
    pub open_since: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiverState {
    pub told: Option<Told>,
    pub retry: Option<Retry>,
    pub gave_up: Option<GaveUp>,
}

/// The last mail that went out to a receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub revision: u32,
    pub at: Timestamp,
    /// When the conversation began, or began again after an end or an answer; 0 in receipts of before this was noted.
    #[serde(default)]
    pub first_at: Timestamp,
    /// Mails of this revision after the first.
    #[serde(default)]
    pub repeats: u32,
    /// With brackets; opens the conversation that later mails are part of.
    pub first_message_id: String,
    pub last_message_id: String,
    pub state: AlertState,
    pub severity: Severity,
    /// Whether it said that the matter is over.
    pub closed: bool,
    #[serde(with = "decimal")]
    pub actual: Nanos,
    #[serde(with = "decimal")]
    pub excess: Nanos,
    /// An Alertmanager was told the severity as a label; those of before this was noted were not.
    #[serde(default)]
    pub has_severity: bool,
}

/// A mail that did not go out and is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    pub revision: u32,
    /// Made so far.
    pub attempts: u32,
    pub next_attempt: Timestamp,
    pub error: String,
}

/// A mail that was refused for good, or too often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaveUp {
    pub revision: u32,
    pub at: Timestamp,
    pub error: String,
    /// When the first one was, since it is open; 0 in receipts of before this was noted.
    #[serde(default)]
    pub first_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    #[error("receipt is not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("receipt has version {found}, this program reads up to {RECEIPT_VERSION}: run the newer one")]
    TooNew { found: u32 },
}

impl Receipt {
    pub fn new(alert_id: &str) -> Receipt {
        Receipt {
            version: RECEIPT_VERSION,
            alert_id: alert_id.to_string(),
            receivers: BTreeMap::new(),
            waiting: None,
            open: None,
            over_at: None,
            turned: 0,
            open_since: Timestamp(0),
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        Ok(serde_json::to_vec(self)?)
    }

    pub fn decode(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        // First, because a newer form need not be readable at all.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.version > RECEIPT_VERSION {
            return Err(ReceiptError::TooNew { found: head.version });
        }
        let mut receipt: Receipt = serde_json::from_slice(bytes)?;
        // Of several spellings of one mailbox, what it was told last.
        let mut spelled: Vec<_> = std::mem::take(&mut receipt.receivers).into_iter().collect();
        spelled.sort_by_key(|(_, state)| state.told.as_ref().map(|told| told.revision));
        receipt.receivers = spelled.into_iter().map(|(key, state)| (Receiver::key(key), state)).collect();
        Ok(receipt)
    }

    pub fn told(&self, receiver: &Receiver) -> Option<&Told> {
        self.receivers.get(&receiver.to_string())?.told.as_ref()
    }

    /// Attempts made so far at sending this revision to this receiver.
    pub fn attempts(&self, receiver: &Receiver, revision: u32) -> u32 {
        let retry = self.receivers.get(&receiver.to_string()).and_then(|state| state.retry.as_ref());
        retry.filter(|retry| retry.revision == revision).map_or(0, |retry| retry.attempts)
    }

    /// A revision was read, be it told or not.
    pub fn note_turn(&mut self, alert: &Alert) {
        if matches!(alert.state, AlertState::Reopened | AlertState::Escalated) {
            self.turned = self.turned.max(alert.revision);
        } else if (is_closed(alert) || in_hand(alert)) && self.turned < alert.revision {
            self.turned = 0;
        }
    }

    /// Whether he has not heard yet that it came again or grew worse; to be refused is to have been told.
    pub fn missed_a_turn(&self, state: &ReceiverState) -> bool {
        let told = state.told.as_ref().map(|told| told.revision);
        let gave_up = state.gave_up.as_ref().map(|gave_up| gave_up.revision);
        told.max(gave_up).is_some_and(|revision| revision < self.turned)
    }

    /// A newer revision has come: what waits for an older one is dropped, the plan for the newer one decides anew.
    pub fn supersede(&mut self, alert: &Alert, now: Timestamp) {
        for state in self.receivers.values_mut() {
            state.retry = state.retry.take().filter(|retry| retry.revision >= alert.revision);
        }
        let is_unanswered = |alert: &Alert| !is_closed(alert) && !in_hand(alert);
        if is_unanswered(alert) && !self.open.as_deref().is_some_and(|open| open.revision > alert.revision || is_unanswered(open)) {
            self.open_since = now;
        }
        self.note_open(alert);
        self.over_at = (is_closed(alert) && self.open.is_none()).then_some(now);
        self.settle();
    }

    pub fn record_sent(&mut self, alert: &Alert, receiver: &Receiver, message_id: &str, at: Timestamp) {
        let open_since = self.open_since;
        let state = self.receivers.entry(receiver.to_string()).or_default();
        let repeats = repeat_number(state.told.as_ref(), alert);
        let first_at = state.told.as_ref().filter(|told| !told.closed && told.at >= open_since).map_or(at, Told::began);
        let first = state.told.take().map_or_else(|| message_id.to_string(), |told| told.first_message_id);
        state.told = Some(Told {
            revision: alert.revision,
            at,
            first_at,
            repeats,
            first_message_id: first,
            last_message_id: message_id.to_string(),
            state: alert.state,
            severity: alert.severity,
            closed: is_closed(alert),
            actual: alert.actual,
            excess: alert.excess,
            has_severity: true,
        });
        state.retry = None;
        state.gave_up = None;
        self.note_open(alert);
        self.settle();
    }

    /// An attempt failed; without a time for the next one, the mail is given up.
    pub fn record_failed(&mut self, alert: &Alert, receiver: &Receiver, error: &str, at: Timestamp, next_attempt: Option<Timestamp>) {
        let attempts = self.attempts(receiver, alert.revision).saturating_add(1);
        let (error, open_since) = (clean(error, LONGEST_ERROR), self.open_since);
        let state = self.receivers.entry(receiver.to_string()).or_default();
        match next_attempt {
            Some(next_attempt) => {
                state.retry = Some(Retry { revision: alert.revision, attempts, next_attempt, error });
                self.waiting = Some(Box::new(alert.clone()));
            }
            None => {
                state.retry = None;
                let began = state.gave_up.as_ref().map(GaveUp::began).filter(|began| *began >= open_since);
                state.gave_up = Some(GaveUp { revision: alert.revision, at, error, first_at: began.unwrap_or(at) });
                // Nobody else may know of it, and it is open all the same.
                self.note_open(alert);
            }
        }
        self.settle();
    }

    /// It was not even tried, for this reason: no attempt is counted.
    pub fn postpone(&mut self, alert: &Alert, receiver: &Receiver, next_attempt: Timestamp, why: &str) {
        let attempts = self.attempts(receiver, alert.revision);
        let state = self.receivers.entry(receiver.to_string()).or_default();
        // The last failure says more, if there was one.
        let failed = state.retry.take().filter(|retry| retry.attempts > 0);
        let error = failed.map_or_else(|| not_tried(why), |retry| retry.error);
        state.retry = Some(Retry { revision: alert.revision, attempts, next_attempt, error });
        self.waiting = Some(Box::new(alert.clone()));
    }

    /// What waits for one of these reasons, and was never tried, is looked at now.
    pub fn look_anew(&mut self, why: &[&str], now: Timestamp) {
        for retry in self.receivers.values_mut().filter_map(|state| state.retry.as_mut()).filter(|retry| retry.attempts == 0) {
            if why.iter().any(|why| retry.error == not_tried(why)) {
                retry.next_attempt = retry.next_attempt.min(now);
            }
        }
    }

    /// Nothing waits any more for those who are not to be kept; whether anything did.
    pub fn drop_waiting(&mut self, keep: impl Fn(&Receiver) -> bool) -> bool {
        let mut is_changed = false;
        for (key, state) in &mut self.receivers {
            if state.retry.is_some() && !Receiver::parse(key).is_some_and(|receiver| keep(&receiver)) {
                state.retry = None;
                is_changed = true;
            }
        }
        self.settle();
        is_changed
    }

    /// When something is to be tried again, the earliest first.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.receivers.values().filter_map(|state| state.retry.as_ref()).map(|retry| retry.next_attempt).min()
    }

    /// Who is to be tried again by now.
    pub fn due(&self, now: Timestamp) -> Vec<Receiver> {
        let is_due = |state: &ReceiverState| state.retry.as_ref().is_some_and(|retry| retry.next_attempt <= now);
        self.receivers.iter().filter(|(_, state)| is_due(state)).filter_map(|(key, _)| Receiver::parse(key)).collect()
    }

    /// Who was told last so long ago, of what is still open and in nobody's hand, that it is told again. Whoever was refused a mail is none
    /// of them.
    pub fn due_again(&self, now: Timestamp, interval_ms: i64) -> Vec<Receiver> {
        match &self.open {
            Some(open) if open.notify && !in_hand(open) => {
                let mut receivers = self.unheard_for(now, interval_ms);
                receivers.retain(|receiver| self.receivers.get(&receiver.to_string()).is_some_and(|state| state.gave_up.is_none()));
                receivers
            }
            _ => Vec::new(),
        }
    }

    /// Who has heard nothing for so long, 0 = for ever, of what is still open. Whoever waits for a mail is none of them; to be refused one
    /// counts as to have heard.
    pub fn unheard_for(&self, now: Timestamp, interval_ms: i64) -> Vec<Receiver> {
        if self.open.is_none() || interval_ms <= 0 {
            return Vec::new();
        }
        let is_due = |state: &ReceiverState| {
            let told = state.told.as_ref().filter(|told| !told.closed).map(|told| told.at);
            let last = told.max(state.gave_up.as_ref().map(|gave_up| gave_up.at));
            told.is_some() && state.retry.is_none() && last.is_some_and(|at| at.plus_ms(interval_ms) <= now)
        };
        self.receivers.iter().filter(|(_, state)| is_due(state)).filter_map(|(key, _)| Receiver::parse(key)).collect()
    }

    /// Who was told of what is open, and when first, if people are to be told and nobody has answered since. Whoever could not be told
    /// answers as little; who is about to hear that it came again has not been asked yet.
    pub fn unanswered(&self) -> Option<(&Alert, Vec<(Receiver, Timestamp)>)> {
        let open = self.open.as_deref().filter(|open| open.notify && !in_hand(open))?;
        let waits = |state: &ReceiverState| state.retry.as_ref().is_some_and(|retry| retry.attempts == 0);
        let since = |state: &ReceiverState| {
            let is_asked = |at: Timestamp| at >= self.open_since || !waits(state);
            let told = state.told.as_ref().filter(|told| !told.closed && is_asked(told.at)).map(Told::began);
            let refused = state.gave_up.as_ref().filter(|gave_up| is_asked(gave_up.at)).map(GaveUp::began);
            Some(told.or(refused)?.max(self.open_since))
        };
        let since = |(key, state): (&String, &ReceiverState)| Some((Receiver::parse(key)?, since(state)?));
        Some((open, self.receivers.iter().filter_map(since).collect()))
    }

    /// Whether this receiver was told, is being tried, or was refused. One whose letter made way for a newer revision is none of these.
    pub fn knows(&self, receiver: &Receiver) -> bool {
        let state = self.receivers.get(&receiver.to_string());
        state.is_some_and(|state| state.told.is_some() || state.retry.is_some() || state.gave_up.is_some())
    }

    fn note_open(&mut self, alert: &Alert) {
        if self.open.as_ref().is_none_or(|open| open.revision <= alert.revision) {
            self.open = (!is_closed(alert)).then(|| Box::new(alert.clone()));
        }
    }

    /// It was over before that was noted, and somebody was not told: its end counts from now on. Whether that is so.
    pub fn note_over(&mut self, now: Timestamp) -> bool {
        let is_untold = |state: &ReceiverState| state.told.as_ref().is_some_and(|told| !told.closed);
        let is_so = self.open.is_none() && self.over_at.is_none() && self.receivers.values().any(is_untold);
        if is_so {
            self.over_at = Some(now);
        }
        is_so
    }

    /// Whether the record may be deleted from the topic: all was over, for everybody, longer ago than this. Whoever was not told of the end
    /// has it for so long from when it was seen: until then his letter may be on its way.
    pub fn may_forget(&self, now: Timestamp, after_ms: i64) -> bool {
        let is_over = |state: &ReceiverState| {
            let last = state.told.as_ref().map(|told| told.at).max(state.gave_up.as_ref().map(|gave_up| gave_up.at)).max(self.over_at);
            let knows = state.told.as_ref().is_none_or(|told| told.closed);
            state.retry.is_none() && (knows || self.over_at.is_some()) && last.is_none_or(|at| at.plus_ms(after_ms) < now)
        };
        self.receivers.values().all(is_over)
    }

    /// Keeps revisions only as long as somebody waits for them, or may hear of them again.
    fn settle(&mut self) {
        if self.receivers.values().all(|state| state.retry.is_none()) {
            self.waiting = None;
        }
        // Who could not be told may be all there is, and others are to be told in his place.
        if self.receivers.values().all(|state| state.gave_up.is_none() && state.told.as_ref().is_none_or(|told| told.closed)) {
            self.open = None;
        }
    }
}

impl Told {
    fn began(&self) -> Timestamp {
        if self.first_at == Timestamp(0) { self.at } else { self.first_at }
    }
}

impl GaveUp {
    fn began(&self) -> Timestamp {
        if self.first_at == Timestamp(0) { self.at } else { self.first_at }
    }
}

fn not_tried(why: &str) -> String {
    format!("not tried: {why}")
}

/// Which mail of this revision the next one is: 0 = the first, else it repeats it.
pub fn repeat_number(told: Option<&Told>, alert: &Alert) -> u32 {
    told.filter(|told| told.revision == alert.revision).map_or(0, |told| told.repeats.saturating_add(1))
}

/// Somebody has taken care of it, or called it expected.
pub fn in_hand(alert: &Alert) -> bool {
    matches!(alert.state, AlertState::Acknowledged | AlertState::Expected)
}

/// Whether this revision says that the matter is over.
pub fn is_closed(alert: &Alert) -> bool {
    alert.closed_at.is_some() || matches!(alert.state, AlertState::Resolved | AlertState::Retracted)
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
