//! What a receipt brings up without a new revision: what failed or waited, what is told again, and who is told because nobody has answered.

use crate::model::alert::Alert;
use crate::model::time::Timestamp;

use super::channels::forms::{Form, STANDS_FOR_MS};
use super::plan::{Wait, escalations};
use super::receipt::{Receipt, in_hand, is_closed};
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
    if is_changed && alert.notify && !is_closed(&alert) && !in_hand(&alert) {
        let untold: Vec<Receiver> = named.into_iter().filter(|receiver| !receipt.knows(receiver)).collect();
        untold.iter().for_each(|receiver| receipt.postpone(&alert, receiver, now, "named since"));
    }
    is_changed
}

/// Whether rules still have somebody for whom a letter waits. The fallback may have been told when no route was for the alert.
fn stays(rules: &DeliverRules, alert: &Alert, receiver: &Receiver) -> bool {
    may_hear(&rules.routes, &alert.team, receiver) || rules.routes.is_fallback(receiver)
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
    use crate::deliver::plan::held;
    use crate::deliver::render::sample;
    use crate::deliver::rules::{Mute, Route, Routes, When};
    use crate::model::alert::AlertState;
    use crate::model::time::{DAY_MS, HOUR_MS};

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
