//! Which revisions of an alert are worth a mail, and to whom.

use std::collections::BTreeMap;

use crate::model::alert::{Alert, AlertState};
use crate::model::money::Nanos;
use crate::model::time::{MINUTE_MS, Timestamp};

use super::channels::forms::Form;
use super::inhibit::{Standing, inhibited};
use super::receipt::{Receipt, Told, in_hand, is_closed};
use super::rules::{DeliverRules, Named, Receiver, escalation, may_hear, muted, route, waits};

#[cfg(test)]
mod tests;

/// An amendment is worth a mail when the excess differs from what the receiver was told by a tenth of it.
const WORTH_AMENDING: i128 = 10;

/// Whether an alert is still spoken for is looked at this often, in ms: when its parent is over, it is told by itself.
const SPOKEN_FOR_MS: i64 = 5 * MINUTE_MS;

/// What becomes of a revision for one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub receiver: Receiver,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// With what he was told before: the mail becomes part of that conversation.
    Send {
        earlier: Option<Told>,
    },
    /// Not now.
    Wait(Timestamp, Wait),
    Skip(Skip),
}

/// Why a letter waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Muted,
    /// The hours of its route have not begun.
    Hours,
    /// An alert that he knows of speaks for it.
    Inhibited,
    /// For others of its group.
    Group,
    /// He has had more letters than anybody reads: the next ones come as one.
    Storm,
}

impl Wait {
    pub fn as_str(self) -> &'static str {
        match self {
            Wait::Muted => "muted",
            Wait::Hours => "out_of_hours",
            Wait::Inhibited => "inhibited",
            Wait::Group => "group",
            Wait::Storm => "storm",
        }
    }
}

/// Why a receiver gets no mail for a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// The alert is for topics, not for people.
    Quiet,
    /// The receipt says that he has this revision or a later one.
    AlreadySent,
    /// This revision or a later one was refused for good.
    GaveUp,
    /// It is over, and he never knew.
    NeverTold,
    /// Somebody has taken care of it or called it expected.
    InHand,
    /// He knows as much.
    NothingNew,
}

impl Skip {
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Quiet => "quiet",
            Skip::AlreadySent => "already_sent",
            Skip::GaveUp => "gave_up",
            Skip::NeverTold => "never_told",
            Skip::InHand => "in_hand",
            Skip::NothingNew => "nothing_new",
        }
    }
}

/// One entry per receiver: those whom the routes name, then those who were told earlier and still may hear of it. `standing`: what else is
/// open.
pub fn plan(rules: &DeliverRules, alert: &Alert, receipt: Option<&Receipt>, standing: &[Standing], now: Timestamp) -> Vec<Planned> {
    let mut receivers = route(&rules.routes, alert, now);
    for (key, state) in receipt.iter().flat_map(|receipt| &receipt.receivers) {
        let Some(receiver) = Receiver::parse(key) else { continue };
        let is_named = receivers.iter().any(|named| named.receiver == receiver);
        if state.told.is_some() && !is_named && may_hear(&rules.routes, &alert.team, &receiver) {
            receivers.push(Named { receiver, waits_until: None });
        }
    }
    let planned = |named: Named| {
        let state = receipt.and_then(|receipt| receipt.receivers.get(&named.receiver.to_string()));
        let earlier = state.and_then(|state| state.told.as_ref());
        let held = held(rules, alert, &named.receiver, earlier, standing, now);
        let verdict = match (reason_to_skip(rules, alert, &named.receiver, receipt), held) {
            (Some(skip), _) => Verdict::Skip(skip),
            (None, Some((until, why))) => Verdict::Wait(until, why),
            (None, None) => Verdict::Send { earlier: earlier.cloned() },
        };
        Planned { receiver: named.receiver, verdict }
    };
    receivers.into_iter().map(planned).collect()
}

/// Until when a letter must not go at this moment, wherever it comes from, and why. `earlier`: what he was told before.
pub fn held(
    rules: &DeliverRules,
    alert: &Alert,
    receiver: &Receiver,
    earlier: Option<&Told>,
    standing: &[Standing],
    now: Timestamp,
) -> Option<(Timestamp, Wait)> {
    // An end disturbs nobody, and sets many at rest; nor does it that somebody has it in hand, or what only keeps it standing.
    let is_kept = earlier.is_some_and(|told| !told.closed) && rules.form(receiver).is_some_and(Form::forgets);
    if is_closed(alert) || in_hand(alert) || is_kept {
        return None;
    }
    if let Some((until, _)) = muted(&rules.routes, alert, now) {
        return Some((until, Wait::Muted));
    }
    if inhibited(rules.parents_inhibit, &rules.inhibits, alert, receiver, standing).is_some() {
        return Some((now.plus_ms(SPOKEN_FOR_MS), Wait::Inhibited));
    }
    waits(&rules.routes, alert, receiver, now).map(|until| (until, Wait::Hours))
}

/// Who is told as well by now, because nobody has answered: with the revision to tell, which says so.
pub fn escalations(rules: &DeliverRules, soonest: Option<i64>, receipt: &Receipt, now: Timestamp) -> Vec<(Alert, Receiver)> {
    // Asked of every open alert every second: most installations and most alerts are done with soon.
    let Some(soonest) = soonest else { return Vec::new() };
    let Some((open, told)) = receipt.unanswered() else { return Vec::new() };
    if told.iter().all(|(_, since)| since.plus_ms(soonest) > now) || muted(&rules.routes, open, now).is_some() {
        return Vec::new();
    }
    let receivers = escalation(&rules.routes, open, &told, now).into_iter().filter(|receiver| !receipt.knows(receiver));
    receivers.map(|receiver| (Alert { state: AlertState::Escalated, ..open.clone() }, receiver)).collect()
}

/// After how many ms the first route tells more people of what nobody has answered; `None`: none does.
pub fn soonest_escalation(rules: &DeliverRules) -> Option<i64> {
    rules.routes.routes.iter().map(|route| route.escalate_after_ms).filter(|after| *after > 0).min()
}

/// What is left of a backlog: the newest revision of each alert, the severest first, else a whole before its parts, else in the order they
/// came.
pub fn newest(batch: impl IntoIterator<Item = Alert>) -> Vec<Alert> {
    let mut by_id: BTreeMap<String, (usize, Alert)> = BTreeMap::new();
    for (order, alert) in batch.into_iter().enumerate() {
        if by_id.get(&alert.id).is_none_or(|(_, known)| known.revision <= alert.revision) {
            by_id.insert(alert.id.clone(), (order, alert));
        }
    }
    let mut newest: Vec<(usize, Alert)> = by_id.into_values().collect();
    // A whole before its parts: it may speak for them.
    newest.sort_by_key(|(order, alert)| (std::cmp::Reverse(alert.severity), alert.dimensions.len(), *order));
    newest.into_iter().map(|(_, alert)| alert).collect()
}

fn reason_to_skip(rules: &DeliverRules, alert: &Alert, receiver: &Receiver, receipt: Option<&Receipt>) -> Option<Skip> {
    let state = receipt.and_then(|receipt| receipt.receivers.get(&receiver.to_string()));
    let told = state.and_then(|state| state.told.as_ref());
    let gave_up = state.and_then(|state| state.gave_up.as_ref());
    let must_know = told.is_some_and(|told| must_know(alert, told, rules.form(receiver)));
    if !alert.notify && !must_know {
        return Some(Skip::Quiet);
    }
    if told.is_some_and(|told| told.revision >= alert.revision) {
        return Some(Skip::AlreadySent);
    }
    if gave_up.is_some_and(|gave_up| gave_up.revision >= alert.revision) {
        return Some(Skip::GaveUp);
    }
    if in_hand(alert) && !must_know {
        return Some(Skip::InHand);
    }
    match told {
        // Also for later states: the opening may have been too light for him, or compacted away.
        None => is_closed(alert).then_some(Skip::NeverTold),
        Some(told) => {
            // What told of it made way for this revision.
            let has_missed = !is_closed(alert) && receipt.zip(state).is_some_and(|(receipt, state)| receipt.missed_a_turn(state));
            (!must_know && !has_missed && !is_news(alert, told, rules.update_growth)).then_some(Skip::NothingNew)
        }
    }
}

/// What people need not hear, and programs have to: whatever opened an incident there would leave it open for ever.
fn must_know(alert: &Alert, told: &Told, form: Option<Form>) -> bool {
    let Some(form) = form else { return false };
    let is_end = is_closed(alert) && !form.is_for_people();
    let is_turn = in_hand(alert) && alert.state != told.state && form.holds_incidents();
    !told.closed && (is_end || is_turn)
}

/// Judged against what he was told, not against the revision before: he may have missed some.
fn is_news(alert: &Alert, told: &Told, growth: f64) -> bool {
    if told.closed != is_closed(alert) || alert.severity > told.severity {
        return true;
    }
    match alert.state {
        AlertState::Open | AlertState::Reopened | AlertState::Escalated => true,
        AlertState::Updated => has_grown(alert.excess, told.excess, growth),
        AlertState::Amended => differs(alert.excess, told.excess),
        AlertState::Resolved | AlertState::Retracted => alert.state != told.state || differs(alert.excess, told.excess),
        AlertState::Acknowledged | AlertState::Expected => false,
    }
}

/// Of what is missing as of what is extra.
fn has_grown(now: Nanos, told: Nanos, growth: f64) -> bool {
    let (now, told) = (now.0.unsigned_abs(), told.0.unsigned_abs());
    // A ratio of two amounts: nothing is added up.
    now > told && now as f64 >= told as f64 * growth
}

fn differs(now: Nanos, told: Nanos) -> bool {
    let difference = now.saturating_sub(told).0.abs();
    difference != 0 && difference.saturating_mul(WORTH_AMENDING) >= told.0.abs()
}
