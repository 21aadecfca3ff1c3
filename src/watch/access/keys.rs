//! Keys that many share, and duties that one person has where two should: what single events of a team add up to.

use std::collections::BTreeMap;

use super::book::{Caller, Duties};
use super::rules::{AccessRules, Kind};
use super::{Wrong, end_those, is_open, key, tell, uses, words};
use crate::model::Text;
use crate::model::access::{Object, principal};
use crate::model::activity::ActivityEvent;
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::violation::Key;

/// Regions, and users, that are remembered of one key.
const MOST_NAMES: usize = 32;
/// Keys of one shard.
const MOST_KEYS: usize = 20_000;
/// Models and datasets of one shard whose duties are remembered, and people of each.
const MOST_DUTIES: usize = 20_000;
const MOST_PEOPLE: usize = 64;
/// A duty is remembered for so long.
pub(super) const KEEP_DUTIES_MS: i64 = 35 * DAY_MS;

pub(super) fn take(shard: &mut Shard, event: &ActivityEvent, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let objects = Object::all_of(event);
    let governed: Vec<Object> = objects.into_iter().filter(|object| uses::is_governed(shard, object, access)).collect();
    if governed.is_empty() {
        return;
    }
    take_key(shard, event, access, rules, effects);
    for object in governed {
        take_duties(shard, event, &object, access, rules, effects);
    }
}

fn take_key(shard: &mut Shard, event: &ActivityEvent, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    // A service is meant to be called by many, from wherever it runs.
    let is_service = event.principal_type.as_deref() == Some("service");
    let Some(who) = event.actor.as_ref().filter(|_| event.action.as_deref() == Some("access") && !is_service) else { return };
    let at = event.event_time;
    let book = &mut shard.matters.access;
    let known = book.callers.get(&(event.team.clone(), who.clone())).cloned();
    if known.is_none() && book.callers.len() >= MOST_KEYS {
        return;
    }
    let mut caller = known.unwrap_or_default();
    let Caller { regions, users } = &mut caller;
    for (names, name) in [(&mut *regions, event.region.as_ref()), (&mut *users, event.tags.get(&access.user_tag))] {
        // A late event says nothing about what was done an hour after it, and takes nothing away of that.
        let newest = names.values().max().copied().unwrap_or(at);
        if newest.0 - at.0 >= HOUR_MS {
            continue;
        }
        names.retain(|_, last| at.0 - last.0 < HOUR_MS);
        if let Some(name) = name.filter(|name| names.contains_key(*name) || names.len() < MOST_NAMES) {
            let last = names.entry(name.clone()).or_insert(at);
            *last = at.max(*last);
        }
    }
    let is_many = |names: &BTreeMap<Text, Timestamp>, most: usize| most > 0 && names.len() >= most;
    let is_shared = is_many(regions, access.regions_per_key) || is_many(users, access.users_per_key);
    book.set_caller(&event.team, who, caller.clone());
    if is_shared {
        let wrong = Wrong {
            kind: Kind::SharedKey,
            severity: Severity::Warning,
            team: &event.team,
            finding: words::shared(who, &caller),
            at,
            ingest: at,
            identity: Some(hash128(&[event.source.as_bytes(), event.event_id.as_bytes()])),
            events: 1,
            users: vec![who],
            lasts: false,
        };
        tell(shard, wrong, access, rules, effects);
    }
}

/// Whose duty an event shows: by what was done, and by the role that it was done in or that was given.
fn duties_of(event: &ActivityEvent) -> Vec<(&Text, &Text)> {
    let action = event.action.as_ref();
    let receives = matches!(action.map(AsRef::as_ref), Some("grant" | "revoke" | "offboarded"));
    let done = event.actor.as_ref().zip(action).filter(|_| !receives || event.tags.contains_key("principal"));
    let is_given = action.is_some_and(|action| !matches!(&**action, "revoke" | "offboarded"));
    let role = principal(event).filter(|_| is_given).zip(event.role.as_ref());
    done.into_iter().chain(role).collect()
}

fn take_duties(
    shard: &mut Shard,
    event: &ActivityEvent,
    object: &Object,
    access: &AccessRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let is_kept = |duty: &Text| access.separate.iter().any(|pair| pair.contains(duty));
    let found: Vec<(&Text, &Text)> = duties_of(event).into_iter().filter(|(_, duty)| is_kept(duty)).collect();
    if found.is_empty() {
        return;
    }
    let what: Text = match (object, &event.model_version) {
        (Object::Model(model), Some(version)) => format!("{model} {version}").as_str().into(),
        _ => object.name().clone(),
    };
    let book = &mut shard.matters.access;
    let known = book.duties.get(&(event.team.clone(), what.clone())).cloned();
    if known.is_none() && book.duties.len() >= MOST_DUTIES {
        return;
    }
    let mut duties = known.unwrap_or_default();
    for own in duties.values_mut() {
        own.retain(|_, last| event.event_time.0 - last.0 < KEEP_DUTIES_MS);
    }
    duties.retain(|_, own| !own.is_empty());
    for (who, duty) in &found {
        if duties.contains_key(*who) || duties.len() < MOST_PEOPLE {
            let last = duties.entry(Text::clone(who)).or_default().entry(Text::clone(duty)).or_insert(event.event_time);
            *last = event.event_time.max(*last);
        }
    }
    book.set_duties(&event.team, &what, duties.clone());
    for (who, duty) in found {
        for pair in access.separate.iter().filter(|pair| pair.contains(duty)) {
            // The first of a pair is what somebody else has to have done, and has done now.
            if pair[0] == *duty {
                end_of_others(shard, event, (who, object, &what, pair), rules, effects);
            }
            let Some(at) = alone(&duties, who, pair) else { continue };
            let finding = words::duties(who, object, &what, pair, at);
            if is_open(shard, &key(Kind::SeparationOfDuties, &event.team, &finding.subject)) {
                continue;
            }
            let wrong = Wrong {
                kind: Kind::SeparationOfDuties,
                severity: Severity::Warning,
                team: &event.team,
                finding,
                at: event.event_time,
                ingest: event.event_time,
                identity: None,
                events: 1,
                users: vec![who],
                lasts: true,
            };
            tell(shard, wrong, access, rules, effects);
        }
    }
}

/// When somebody did both, if nobody else did the first.
fn alone(duties: &Duties, who: &Text, pair: &[Text; 2]) -> Option<[Timestamp; 2]> {
    let own = duties.get(who)?;
    let at = [*own.get(&pair[0])?, *own.get(&pair[1])?];
    let is_alone = |(other, own): (&Text, &BTreeMap<Text, Timestamp>)| other == who || !own.contains_key(&pair[0]);
    duties.iter().all(is_alone).then_some(at)
}

/// Whether somebody of the team has two duties alone that are not told by themselves, as long as they are remembered.
pub(super) fn is_told_with_others(shard: &Shard, team: &Text, access: &AccessRules) -> bool {
    let is_told = |object: &Object, who: &Text, what: &Text, pair: &[Text; 2], at: [Timestamp; 2]| {
        is_open(shard, &key(Kind::SeparationOfDuties, team, &words::duties(who, object, what, pair, at).subject))
    };
    let is_wrong = |what: &Text, duties: &Duties, who: &Text| {
        let mut found = access.separate.iter().filter_map(|pair| Some((pair, alone(duties, who, pair)?)));
        let objects = [Object::Model(what.clone()), Object::Dataset(what.clone())];
        found.any(|(pair, at)| !objects.iter().any(|object| is_told(object, who, what, pair, at)))
    };
    let mut own = shard.matters.access.duties.iter().filter(|((of, _), _)| of == team);
    own.any(|((_, what), duties)| duties.keys().any(|who| is_wrong(what, duties, who)))
}

/// What this person has done now nobody else did alone, however long ago they did both.
fn end_of_others(
    shard: &mut Shard,
    event: &ActivityEvent,
    done: (&Text, &Object, &Text, &[Text; 2]),
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let (who, object, what, pair) = done;
    let is_over =
        |key: &Key, named: &BTreeMap<String, String>| key.team == event.team && words::is_of_another(named, who, object, what, pair);
    end_those(shard, Kind::SeparationOfDuties, event.event_time, is_over, rules, effects);
}
