//! What is told of grants: given, revoked, used elsewhere; who has left, who owns what.

use super::book::{Looked, UseName};
use super::rules::{AccessRules, Kind};
use super::{end, end_those, key, uses, words};
use crate::model::Text;
use crate::model::access::{GrantName, GrantUsed, Object, owner, principal};
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Whose it is, as a grant of this role says.
pub(super) const OWNER: &str = "owner";

pub(super) fn take(shard: &mut Shard, event: &ActivityEvent, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    match (event.action.as_deref(), principal(event)) {
        (Some("grant"), Some(who)) => grant(shard, event, who, access, rules, effects),
        (Some("revoke"), Some(who)) => revoke(shard, event, who, rules, effects),
        (Some("offboarded"), Some(who)) => offboard(shard, event, who, access, rules, effects),
        (Some("model_registered"), _) => {
            if let (Some(model), Some(owner)) = (&event.model, owner(event)) {
                shard.matters.access.set_owner(Object::Model(model.clone()), owner);
            }
        }
        _ => {}
    }
}

fn grant(shard: &mut Shard, event: &ActivityEvent, who: &Text, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    let book = &mut shard.matters.access;
    if event.role.as_deref() == Some(OWNER) {
        // Who owns a version speaks for the model.
        Object::versions_of(event).into_iter().chain(Object::all_of(event)).for_each(|object| book.set_owner(object, who));
    }
    for object in Object::versions_of(event) {
        let name = GrantName { object, principal: who.clone(), role: event.role.clone() };
        // A word that is heard first.
        let taken_back = book.taken_back(&name).filter(|at| *at > event.event_time);
        if !book.grants.contains_key(&name) {
            book.look(Looked { again: Some(now.plus_ms(access.grace_ms)), ..book.looked });
        }
        book.change_grant(&name, |grant| {
            if grant.team.is_none() {
                grant.known_since = now;
            }
            if event.event_time >= grant.as_of || grant.team.is_none() {
                grant.team = Some(event.team.clone());
                grant.principal_type = event.principal_type.clone().or(grant.principal_type.take());
            }
            grant.give(event.event_time, event.expires_at);
            if let Some(at) = taken_back {
                grant.revoke(at);
            }
        });
    }
    // Whoever gets a grant after having left is back.
    if book.gone.get(who).is_some_and(|left| *left < event.event_time) {
        book.set_gone(who, None);
        end_those(shard, Kind::Offboarded, event.event_time, |_, named| words::is_of(named, who), rules, effects);
    }
    // What was used without it is granted now; what still waits for one is told before it is over.
    let objects = Object::versions_of(event);
    let held =
        |object: &Object| shard.matters.access.grants_of(object, who).any(|(_, grant)| grant.holds(event.event_time, access.grace_ms));
    let granted: Vec<Object> = objects.into_iter().filter(held).collect();
    let concerns = |name: &UseName| {
        (name.principal == *who || **who == *words::team_principal(&name.team)) && granted.iter().any(|object| object.covers(&name.object))
    };
    uses::judge_those(shard, |name, _| concerns(name), access, rules, effects);
    let is_granted =
        |team: &Text, named: &_| words::may_be(named, who, team) && granted.iter().any(|object| words::is_about(named, object));
    end_those(shard, Kind::Ungranted, event.event_time, |key, named| is_granted(&key.team, named), rules, effects);
}

fn revoke(shard: &mut Shard, event: &ActivityEvent, who: &Text, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let book = &shard.matters.access;
    let objects = Object::versions_of(event);
    let is_meant = |name: &GrantName| {
        name.principal == *who
            && (objects.is_empty() || objects.contains(&name.object) || name.object.whole().is_some_and(|whole| objects.contains(&whole)))
            && (event.role.is_none() || event.role == name.role)
    };
    let mut meant: Vec<GrantName> = if objects.is_empty() {
        book.grants.keys().filter(|name| is_meant(name)).cloned().collect()
    } else {
        let of = objects.iter().flat_map(|object| book.grants_for(object, who));
        of.map(|(name, _)| name).filter(|name| is_meant(name)).cloned().collect()
    };
    // Told before the grant itself: it will come.
    for object in objects {
        if !meant.iter().any(|name| name.object == object) {
            meant.push(GrantName { object, principal: who.clone(), role: event.role.clone() });
        }
    }
    for name in meant {
        shard.matters.access.change_grant(&name, |grant| grant.revoke(event.event_time));
        end_unused(shard, &name, event.event_time, rules, effects);
    }
}

fn offboard(shard: &mut Shard, event: &ActivityEvent, who: &Text, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let left = event.event_time;
    let book = &mut shard.matters.access;
    let of_them = book.grants.iter().filter(|(name, _)| name.principal == *who);
    // Granted since: they are back.
    if of_them.clone().any(|(_, grant)| grant.as_of > left && !grant.is_revoked) {
        return;
    }
    let before = book.gone.get(who).copied();
    // They may have gone on until somebody told.
    let used = of_them.filter_map(|(name, grant)| Some((name.object.clone(), grant.used_by.clone()?, grant.last_used?)));
    let used: Vec<(Object, Text, Timestamp)> = used.filter(|(.., at)| at.0 - left.0 >= HOUR_MS && before.is_none()).collect();
    if before.is_none_or(|before| before < left) {
        book.set_gone(who, Some(left));
    }
    for (object, team, at) in used {
        uses::tell_gone(shard, &uses::Seen::late(&team, who, &object, at), left, access, rules, effects);
    }
}

/// A shard tells that it has seen a use.
pub(super) fn take_used(shard: &mut Shard, used: &GrantUsed, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if shard.matters.access.grants.contains_key(&used.grant) {
        shard.matters.access.change_grant(&used.grant, |grant| grant.last_used = grant.last_used.max(Some(used.at)));
        end_unused(shard, &used.grant, used.at, rules, effects);
    }
}

/// It was used, or there is nothing to use any more.
pub(super) fn end_unused(shard: &mut Shard, name: &GrantName, at: Timestamp, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if let Some(team) = shard.matters.access.grants.get(name).and_then(|grant| grant.team.clone()) {
        end(shard, key(Kind::UnusedGrant, &team, &words::of_grant(name)), at, rules, effects);
    }
}
