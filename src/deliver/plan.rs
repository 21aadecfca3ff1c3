//! Which revisions of an alert are worth a mail, and to whom.

use std::collections::BTreeMap;

use crate::model::alert::{Alert, AlertState};
use crate::model::money::Nanos;

use super::receipt::{Receipt, ReceiverState, Told, in_hand, is_closed};
use super::rules::{DeliverRules, Receiver, may_hear, route};

/// An amendment is worth a mail when the excess differs from what the receiver was told by a tenth of it.
const WORTH_AMENDING: i128 = 10;

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
    Skip(Skip),
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

/// One entry per receiver: those whom the routes name, then those who were told earlier and still may hear of it.
pub fn plan(rules: &DeliverRules, alert: &Alert, receipt: Option<&Receipt>) -> Vec<Planned> {
    let mut receivers = route(&rules.routes, alert);
    for (key, state) in receipt.iter().flat_map(|receipt| &receipt.receivers) {
        let Some(receiver) = Receiver::parse(key) else { continue };
        if state.told.is_some() && !receivers.contains(&receiver) && may_hear(&rules.routes, &alert.team, &receiver) {
            receivers.push(receiver);
        }
    }
    let planned = |receiver: Receiver| {
        let state = receipt.and_then(|receipt| receipt.receivers.get(&receiver.to_string()));
        let verdict = match reason_to_skip(alert, state, rules.update_growth) {
            Some(skip) => Verdict::Skip(skip),
            None => Verdict::Send { earlier: state.and_then(|state| state.told.clone()) },
        };
        Planned { receiver, verdict }
    };
    receivers.into_iter().map(planned).collect()
}

/// What is left of a backlog: the newest revision of each alert, the severest first, else in the order they came.
pub fn newest(batch: impl IntoIterator<Item = Alert>) -> Vec<Alert> {
    let mut by_id: BTreeMap<String, (usize, Alert)> = BTreeMap::new();
    for (order, alert) in batch.into_iter().enumerate() {
        if by_id.get(&alert.id).is_none_or(|(_, known)| known.revision <= alert.revision) {
            by_id.insert(alert.id.clone(), (order, alert));
        }
    }
    let mut newest: Vec<(usize, Alert)> = by_id.into_values().collect();
    newest.sort_by_key(|(order, alert)| (std::cmp::Reverse(alert.severity), *order));
    newest.into_iter().map(|(_, alert)| alert).collect()
}

fn reason_to_skip(alert: &Alert, state: Option<&ReceiverState>, growth: f64) -> Option<Skip> {
    let told = state.and_then(|state| state.told.as_ref());
    let gave_up = state.and_then(|state| state.gave_up.as_ref());
    if !alert.notify {
        return Some(Skip::Quiet);
    }
    if told.is_some_and(|told| told.revision >= alert.revision) {
        return Some(Skip::AlreadySent);
    }
    if gave_up.is_some_and(|gave_up| gave_up.revision >= alert.revision) {
        return Some(Skip::GaveUp);
    }
    if in_hand(alert) {
        return Some(Skip::InHand);
    }
    match told {
        // Also for later states: the opening may have been too light for him, or compacted away.
        None => is_closed(alert).then_some(Skip::NeverTold),
        Some(told) => (!is_news(alert, told, growth)).then_some(Skip::NothingNew),
    }
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

fn has_grown(now: Nanos, told: Nanos, growth: f64) -> bool {
    // A ratio of two amounts: nothing is added up.
    now > told && now.0 as f64 >= told.0 as f64 * growth
}

fn differs(now: Nanos, told: Nanos) -> bool {
    let difference = now.saturating_sub(told).0.abs();
    difference != 0 && difference.saturating_mul(WORTH_AMENDING) >= told.0.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;
    use crate::deliver::retry::Backoff;
    use crate::deliver::rules::{Route, Routes};
    use crate::model::alert::Severity;
    use crate::model::time::Timestamp;

    fn rules() -> DeliverRules {
        let route =
            Route { teams: vec!["search".into()], receivers: vec!["ada@x".into()], least_severity: Severity::Warning, ..Route::default() };
        let routes = Routes { routes: vec![route], fallback: vec![] };
        DeliverRules { mail: None, routes, backoff: Backoff::default(), update_growth: 2.0, repeat_interval_ms: 0 }
    }

    fn ada() -> Receiver {
        Receiver::Mail("ada@x".into())
    }

    fn revision(revision: u32, state: AlertState, excess: i64) -> Alert {
        let closed_at = matches!(state, AlertState::Resolved | AlertState::Retracted).then_some(Timestamp(9));
        Alert { revision, state, closed_at, excess: Nanos::from_units(excess), severity: Severity::Warning, ..sample::spike() }
    }

    fn told_of(alert: &Alert) -> Receipt {
        let mut receipt = Receipt::new(&alert.id);
        receipt.record_sent(alert, &ada(), "<first@x>", Timestamp(1));
        receipt
    }

    fn verdict(alert: &Alert, receipt: Option<&Receipt>) -> Option<Skip> {
        match plan(&rules(), alert, receipt).remove(0).verdict {
            Verdict::Send { .. } => None,
            Verdict::Skip(skip) => Some(skip),
        }
    }

    #[test]
    fn what_one_who_knows_nothing_gets() {
        let cases = [
            (AlertState::Open, None),
            (AlertState::Updated, None),
            (AlertState::Reopened, None),
            (AlertState::Amended, None),
            (AlertState::Escalated, None),
            (AlertState::Acknowledged, Some(Skip::InHand)),
            (AlertState::Expected, Some(Skip::InHand)),
            (AlertState::Resolved, Some(Skip::NeverTold)),
            (AlertState::Retracted, Some(Skip::NeverTold)),
        ];
        for (state, expected) in cases {
            assert_eq!(verdict(&revision(3, state, 100), None), expected, "{state:?}");
            let quiet = Alert { notify: false, ..revision(3, state, 100) };
            assert_eq!(verdict(&quiet, None), Some(Skip::Quiet), "{state:?}");
        }
        let closed = Alert { closed_at: Some(Timestamp(9)), ..revision(3, AlertState::Amended, 100) };
        assert_eq!(verdict(&closed, None), Some(Skip::NeverTold));
    }

    #[test]
    fn what_one_who_was_told_of_the_opening_gets() {
        let told = told_of(&revision(1, AlertState::Open, 100));
        let cases = [
            (AlertState::Updated, 199, Some(Skip::NothingNew)),
            (AlertState::Updated, 200, None),
            (AlertState::Reopened, 100, None),
            (AlertState::Escalated, 100, None),
            (AlertState::Amended, 109, Some(Skip::NothingNew)),
            (AlertState::Amended, 110, None),
            (AlertState::Amended, 90, None),
            (AlertState::Acknowledged, 500, Some(Skip::InHand)),
            (AlertState::Expected, 500, Some(Skip::InHand)),
            (AlertState::Resolved, 100, None),
            (AlertState::Retracted, 0, None),
        ];
        for (state, excess, expected) in cases {
            assert_eq!(verdict(&revision(2, state, excess), Some(&told)), expected, "{state:?} {excess}");
            assert_eq!(verdict(&revision(1, state, excess), Some(&told)), Some(Skip::AlreadySent), "{state:?}");
        }
        let severer = Alert { severity: Severity::Critical, ..revision(2, AlertState::Updated, 100) };
        assert_eq!(verdict(&severer, Some(&told)), None);
    }

    #[test]
    fn what_one_who_was_told_of_the_end_gets() {
        let told = told_of(&revision(5, AlertState::Resolved, 100));
        assert_eq!(verdict(&revision(6, AlertState::Resolved, 101), Some(&told)), Some(Skip::NothingNew));
        assert_eq!(verdict(&revision(6, AlertState::Retracted, 100), Some(&told)), None);
        let missed_the_reopening = revision(7, AlertState::Updated, 100);
        assert_eq!(verdict(&missed_the_reopening, Some(&told)), None);
        let missed_the_end = Alert { closed_at: Some(Timestamp(9)), ..revision(8, AlertState::Amended, 100) };
        assert_eq!(verdict(&missed_the_end, Some(&told_of(&revision(1, AlertState::Open, 100)))), None);
    }

    #[test]
    fn follow_ups_are_part_of_the_conversation_even_when_lighter() {
        let told = told_of(&revision(1, AlertState::Open, 100));
        let resolved = Alert { severity: Severity::Info, ..revision(2, AlertState::Resolved, 100) };
        let planned = plan(&rules(), &resolved, Some(&told));
        let [Planned { receiver, verdict: Verdict::Send { earlier: Some(earlier) } }] = planned.as_slice() else { panic!("{planned:?}") };
        assert_eq!((receiver, earlier.first_message_id.as_str()), (&ada(), "<first@x>"));
        assert_eq!(plan(&rules(), &resolved, None), [], "too light for a first mail");
        let mut without_ada = rules();
        without_ada.routes.routes[0].receivers = vec![];
        assert_eq!(plan(&without_ada, &resolved, Some(&told)), [], "she was taken off the routes");
    }

    #[test]
    fn what_was_refused_for_good_is_not_tried_again() {
        let alert = revision(1, AlertState::Open, 100);
        let mut receipt = Receipt::new(&alert.id);
        receipt.record_failed(&alert, &ada(), "550", Timestamp(1), None);
        assert_eq!(verdict(&alert, Some(&receipt)), Some(Skip::GaveUp));
        assert_eq!(verdict(&revision(2, AlertState::Updated, 100), Some(&receipt)), None);
    }

    #[test]
    fn of_a_backlog_the_newest_revisions_are_left() {
        let other = Alert { id: "ads/1".into(), severity: Severity::Critical, ..revision(1, AlertState::Open, 5) };
        let batch =
            [revision(1, AlertState::Open, 100), revision(3, AlertState::Resolved, 200), other, revision(2, AlertState::Updated, 150)];
        let left: Vec<(String, u32)> = newest(batch).into_iter().map(|alert| (alert.team, alert.revision)).collect();
        assert_eq!(left, [("search".to_string(), 1), ("search".to_string(), 3)]);
    }
}
