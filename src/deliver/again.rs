//! What a receipt brings up without a new revision: what failed or waited, what is told again, and who is told because nobody has answered.

use crate::model::alert::Alert;
use crate::model::time::Timestamp;

use super::channels::forms::{Form, STANDS_FOR_MS};
use super::plan::{Wait, escalations};
use super::receipt::{Receipt, ReceiverState, in_hand, is_closed};
use super::render::language::Language;
use super::render::subject::subject;
use super::rules::{DeliverRules, Receiver, may_hear, route};

/// What is to be told by now, and to whom. `soonest`: see [`escalations`].
pub fn due(rules: &DeliverRules, soonest: Option<i64>, receipt: &Receipt, now: Timestamp) -> Vec<(Alert, Receiver)> {
    let retries = receipt.waiting.iter().flat_map(|alert| {
        // One that was under way when its receiver was taken off may have failed since.
        let receivers = receipt.due(now).into_iter().filter(|receiver| stays(rules, alert, receiver));
        receivers.map(|receiver| ((**alert).clone(), receiver))
    });
    let again = receipt.open.iter().flat_map(|alert| {
        let receivers = again(rules, receipt, now).into_iter();
        receivers.filter(|receiver| may_hear(&rules.routes, &alert.team, receiver)).map(|receiver| ((**alert).clone(), receiver))
    });
    retries.chain(again).chain(escalations(rules, soonest, receipt, now)).collect()
}

/// What waits, by rules that are others now: mutes and hours may be over, who was taken off the routes is told nothing, and who is named in
/// his place is. Whether others wait than before.
pub fn review(rules: &DeliverRules, receipt: &mut Receipt, now: Timestamp) -> bool {
    receipt.look_anew(&[Wait::Muted.as_str(), Wait::Hours.as_str()], now);
    let Some(alert) = receipt.waiting.as_deref().cloned() else { return false };
    let named: Vec<Receiver> = route(&rules.routes, &alert, now).into_iter().map(|named| named.receiver).collect();
    let is_changed = receipt.drop_waiting(|receiver| stays(rules, &alert, receiver));
    if is_changed && is_for_people(&alert) {
        tell_instead(receipt, &alert, named, now);
    }
    is_changed
}

/// What was held back until now, a mute say, and is for people whose turn is over by now: those who are on call are told in their place, but
/// of what is on its way already. Whether others wait than before.
pub fn hand_over(rules: &DeliverRules, receipt: &mut Receipt, is_going: impl Fn(&Receiver) -> bool, now: Timestamp) -> bool {
    let is_off = |receiver: &Receiver| rules.routes.is_off_duty(receiver, now) && !is_going(receiver);
    let mut off: Vec<Receiver> = receipt.due(now).into_iter().filter(is_off).collect();
    let Some(alert) = receipt.waiting.as_deref().filter(|alert| !off.is_empty() && is_for_people(alert)).cloned() else { return false };
    let named: Vec<Receiver> = route(&rules.routes, &alert, now).into_iter().map(|named| named.receiver).collect();
    // Who was told of it before, or was tried, goes on with it.
    off.retain(|receiver| receipt.told(receiver).is_none() && receipt.attempts(receiver, alert.revision) == 0 && !named.contains(receiver));
    // Somebody has to hear of it.
    if off.is_empty() || named.is_empty() {
        return false;
    }
    receipt.drop_waiting(|receiver| !off.contains(receiver));
    tell_instead(receipt, &alert, named, now);
    true
}

fn tell_instead(receipt: &mut Receipt, alert: &Alert, named: Vec<Receiver>, now: Timestamp) {
    let untold: Vec<Receiver> = named.into_iter().filter(|receiver| !receipt.knows(receiver)).collect();
    untold.iter().for_each(|receiver| receipt.postpone(alert, receiver, now, "named since"));
}

fn is_for_people(alert: &Alert) -> bool {
    alert.notify && !is_closed(alert) && !in_hand(alert)
}

/// Whether rules still have somebody for whom a letter waits. The fallback may have been told when no route was for the alert.
pub fn stays(rules: &DeliverRules, alert: &Alert, receiver: &Receiver) -> bool {
    may_hear(&rules.routes, &alert.team, receiver) || rules.routes.is_fallback(receiver)
}

/// What nobody tries any more, for people who read the log.
pub fn given_up(alert: &Alert, receiver: &Receiver, receipt: &Receipt) -> String {
    let own = receiver.to_string();
    let others = || receipt.receivers.iter().filter(|(key, _)| **key != own);
    let named = |is: fn(&ReceiverState) -> bool| others().filter(|(_, state)| is(state)).map(|(key, _)| key.as_str()).collect::<Vec<_>>();
    let told = named(|state| state.told.is_some());
    let tried = named(|state| state.told.is_none() && state.retry.is_some());
    let others = match (told.is_empty(), tried.is_empty()) {
        (true, true) => "nobody else knows of it".to_string(),
        (true, false) => format!("nobody else knows of it yet, {} is tried", tried.join(", ")),
        (false, _) => format!("{} knows of it", told.join(", ")),
    };
    format!("given up for good: {receiver} was not told of \"{}\"; {others}", subject(alert, receipt.told(receiver), Language::English))
}

/// Who is told again what he was told before, because it has been open for long.
fn again(rules: &DeliverRules, receipt: &Receipt, now: Timestamp) -> Vec<Receiver> {
    let forgets = |receiver: &Receiver| rules.form(receiver).is_some_and(Form::forgets);
    let interval_ms = rules.repeat_interval_ms;
    let mut receivers = receipt.due_again(now, interval_ms);
    receivers.retain(|receiver| !forgets(receiver));
    // In hand, or not to be repeated to anybody: it is open all the same.
    let lest_it_forgets = if interval_ms > 0 { interval_ms } else { STANDS_FOR_MS / 2 };
    receivers.extend(receipt.unheard_for(now, lest_it_forgets).into_iter().filter(forgets));
    receivers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::deliver::calendar::Rotation;
    use crate::deliver::plan::held;
    use crate::deliver::render::sample;
    use crate::deliver::rules::{Mute, Route, Routes, When};
    use crate::model::alert::AlertState;
    use crate::model::time::{DAY_MS, HOUR_MS};

    #[test]
    fn what_is_given_up_is_said_with_who_knows_of_it() {
        let (spike, who) = (sample::spike(), |name: &str| Receiver::Mail(name.into()));
        let mut receipt = Receipt::new(&spike.id);
        receipt.record_failed(&spike, &who("ada@x"), "550", Timestamp(1), None);
        let said = |receipt: &Receipt| given_up(&spike, &who("ada@x"), receipt);
        let what = "given up for good: mail:ada@x was not told of \"[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)\"";
        assert_eq!(said(&receipt), format!("{what}; nobody else knows of it"));
        receipt.record_failed(&spike, &who("bob@x"), "451", Timestamp(1), Some(Timestamp(9)));
        assert_eq!(said(&receipt), format!("{what}; nobody else knows of it yet, mail:bob@x is tried"));
        receipt.record_sent(&spike, &who("eve@x"), "<1@x>", Timestamp(2));
        assert_eq!(said(&receipt), format!("{what}; mail:eve@x knows of it"));
    }

    #[test]
    fn what_takes_silence_for_the_end_is_told_again_as_long_as_it_is_open() {
        let hook = |name: &str| Receiver::Hook(name.into());
        let names = ["chat", "manager", "pager"];
        let route = Route { receivers: names.map(|name| format!("hook:{name}")).into(), ..Route::default() };
        let mut rules = DeliverRules { routes: Routes { routes: vec![route], ..Routes::default() }, ..DeliverRules::default() };
        rules.hooks = [("chat", Form::Slack), ("manager", Form::Alertmanager), ("pager", Form::PagerDuty)]
            .map(|(name, form)| (name.to_string(), form))
            .into();
        let open = sample::spike();
        let mut receipt = Receipt::new(&open.id);
        names.iter().for_each(|name| receipt.record_sent(&open, &hook(name), "x", Timestamp(1)));
        let told = |rules: &DeliverRules, receipt: &Receipt, after: i64| {
            due(rules, None, receipt, Timestamp(1 + after)).into_iter().map(|(_, receiver)| receiver).collect::<Vec<_>>()
        };
        assert_eq!(told(&rules, &receipt, DAY_MS - 1), []);
        assert_eq!(told(&rules, &receipt, DAY_MS), [hook("manager")], "nothing is repeated to the others");
        rules.repeat_interval_ms = HOUR_MS;
        assert_eq!(told(&rules, &receipt, HOUR_MS), [hook("chat"), hook("pager"), hook("manager")], "each once");
        for state in [AlertState::Acknowledged, AlertState::Expected] {
            let mut receipt = receipt.clone();
            receipt.supersede(&Alert { revision: 2, state, notify: state == AlertState::Acknowledged, ..open.clone() }, Timestamp(2));
            assert_eq!(told(&rules, &receipt, HOUR_MS), [hook("manager")], "{state:?}");
        }
        // It takes a letter that it refuses for silence too: the next one may suit it.
        let mut refused = receipt.clone();
        names.iter().for_each(|name| refused.record_failed(&open, &hook(name), "400", Timestamp(2), None));
        assert_eq!((told(&rules, &refused, HOUR_MS), told(&rules, &refused, HOUR_MS + 1)), (vec![], vec![hook("manager")]));
        let mut over = receipt.clone();
        over.supersede(&Alert { revision: 2, ..sample::resolved() }, Timestamp(2));
        assert_eq!(told(&rules, &over, 9 * DAY_MS), []);

        // And in quiet times: it disturbs nobody.
        let when = When::Between(Timestamp(0), Timestamp(9 * DAY_MS));
        rules.routes.mutes = vec![Mute { teams: vec![], kinds: vec![], only: BTreeMap::new(), when, note: String::new() }];
        let is_held = |name: &str| held(&rules, &open, &hook(name), receipt.told(&hook(name)), &[], Timestamp(5)).is_some();
        assert_eq!(names.map(is_held), [true, false, true]);
        assert!(held(&rules, &open, &hook("manager"), None, &[], Timestamp(5)).is_some(), "the beginning waits");
    }

    #[test]
    fn a_letter_that_a_mute_held_back_goes_to_whoever_is_on_call_by_then() {
        let mail = |name: &str| Receiver::Mail(format!("{name}@x"));
        let rotation = Rotation {
            zone: jiff::tz::TimeZone::UTC,
            people: vec!["ada@x".into(), "bob@x".into()],
            starts: "1970-01-01T00:00".parse().unwrap(),
            turn_days: 1,
            swaps: Vec::new(),
        };
        let route =
            Route { receivers: vec!["oncall:team".into(), "lead@x".into()], escalate_to: vec!["oncall:boss".into()], ..Route::default() };
        let boss = Rotation { people: vec!["eva@x".into(), "joe@x".into()], ..rotation.clone() };
        let rotations = [("team".to_string(), rotation), ("boss".to_string(), boss)].into();
        let rules = DeliverRules { routes: Routes { routes: vec![route], rotations, ..Routes::default() }, ..DeliverRules::default() };
        let (open, hour) = (sample::spike(), |hour: i64| Timestamp(hour * HOUR_MS));
        let mut muted = Receipt::new(&open.id);
        ["ada", "lead", "eva"].iter().for_each(|name| muted.postpone(&open, &mail(name), hour(30), "muted"));
        let handed = |receipt: &Receipt, at, going: &[Receiver]| {
            let mut receipt = receipt.clone();
            let is_changed = hand_over(&rules, &mut receipt, |receiver| going.contains(receiver), at);
            (is_changed, receipt.due(at).iter().map(|receiver| receiver.address().replace("@x", "")).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(handed(&muted, hour(30), &[]), (true, "bob eva lead".to_string()), "an escalation goes to whom it was for");
        assert_eq!(handed(&muted, hour(50), &[]), (false, "ada eva lead".to_string()), "it is her turn again");
        assert_eq!(handed(&muted, hour(30), &[mail("ada")]), (false, "ada eva lead".to_string()), "it is on its way");
        assert_eq!(handed(&muted, hour(29), &[]), (false, String::new()), "not yet");
        // She knows of it, or was tried: she goes on with it.
        let mut told = muted.clone();
        told.record_sent(&open, &mail("ada"), "<1@x>", hour(1));
        let newer = Alert { revision: 2, ..open.clone() };
        told.postpone(&newer, &mail("ada"), hour(30), "muted");
        let mut tried = muted.clone();
        tried.record_failed(&open, &mail("ada"), "451", hour(23), Some(hour(30)));
        for receipt in [&told, &tried] {
            assert_eq!(handed(receipt, hour(30), &[]), (false, "ada eva lead".to_string()));
        }
        // Nobody is in his place, if the route is for others at that time.
        let mut none = rules.clone();
        none.routes.routes[0].kinds = vec!["budget".into()];
        assert!(!hand_over(&none, &mut muted.clone(), |_| false, hour(30)), "somebody has to hear of it");
    }

    #[test]
    fn what_waits_goes_to_those_who_are_named_now() {
        let mail = |name: &str| Receiver::Mail(format!("{name}@x"));
        let to = |names: &[&str]| {
            let route = Route { receivers: names.iter().map(|name| format!("{name}@x")).collect(), ..Route::default() };
            DeliverRules { routes: Routes { routes: vec![route], ..Routes::default() }, ..DeliverRules::default() }
        };
        let open = sample::spike();
        let mut waits = Receipt::new(&open.id);
        waits.postpone(&open, &mail("ada"), Timestamp(DAY_MS), "muted");
        let reviewed = |rules: &DeliverRules, receipt: &Receipt| {
            let mut receipt = receipt.clone();
            let is_changed = review(rules, &mut receipt, Timestamp(5));
            let due = due(rules, None, &receipt, Timestamp(5)).into_iter().map(|(_, receiver)| receiver).collect::<Vec<_>>();
            (is_changed, due, receipt.waiting.is_some())
        };
        assert_eq!(reviewed(&to(&["ada", "bob"]), &waits), (false, vec![mail("ada")], true));
        assert_eq!(reviewed(&to(&["bob"]), &waits), (true, vec![mail("bob")], true), "nobody would hear of it");
        assert_eq!(reviewed(&DeliverRules::default(), &waits), (true, vec![], false));
        // Of a team's route that is not for it, the fallback is told all the same.
        let mut fallback = to(&["bob"]);
        fallback.routes.routes[0].kinds = vec!["budget".into()];
        fallback.routes.fallback = vec!["ada@x".into()];
        assert_eq!(reviewed(&fallback, &waits), (false, vec![mail("ada")], true));
        fallback.routes.routes[0].kinds.clear();
        assert_eq!(reviewed(&fallback, &waits), (false, vec![mail("ada")], true), "the route is for it by now");
        // An end is not for those who never knew.
        let mut over = Receipt::new(&open.id);
        over.record_failed(&sample::resolved(), &mail("ada"), "451", Timestamp(1), Some(Timestamp(5)));
        assert_eq!(reviewed(&to(&["bob"]), &over), (true, vec![], false));
        assert_eq!(due(&to(&["bob"]), None, &over, Timestamp(5)), [], "nor if it failed after they were taken off");
    }
}
