//! Grants that violate: who has got what. A violation of theirs lasts until the last of them is taken back or has expired, or
//! whoever has it has left.
//!
//! Revocations and departures are told to every shard, whichever team tells them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::life::{self, Tracked};
use super::{Key, deployments};
use crate::model::Text;
use crate::model::access::{GrantName, Object, principal};
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::partial::ShardEvent;
use crate::model::time::Timestamp;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Of one violation. Of what is more nobody hears when it is the last.
pub(super) const MOST: usize = 500;

/// A part of a violation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Granted {
    principal: Text,
    /// `None`: neither a model nor a dataset.
    object: Option<Object>,
    role: Option<Text>,
}

impl Granted {
    /// As the book has it.
    fn name(&self) -> Option<GrantName> {
        let object = self.object.clone()?;
        Some(GrantName { object, principal: self.principal.clone(), role: self.role.clone() })
    }
}

/// What an event grants; nothing if it is no grant, or one to nobody.
pub(super) fn of(activity: &ActivityEvent) -> Vec<Granted> {
    let is_grant = activity.action.as_deref() == Some("grant");
    let Some(who) = principal(activity).filter(|_| is_grant) else { return Vec::new() };
    let mut objects: Vec<Option<Object>> = Object::versions_of(activity).into_iter().map(Some).collect();
    if objects.is_empty() {
        objects.push(None);
    }
    objects.into_iter().map(|object| Granted { principal: who.clone(), object, role: activity.role.clone() }).collect()
}

/// Those of an event's grants that nobody has taken back since, as far as is known: topics keep no order among partitions, and nothing would
/// ever end what such a one began. `before`: what has come with it, and is not in the book yet.
pub(super) fn standing(shard: &Shard, activity: &ActivityEvent, given: &[Granted], before: &[ShardEvent]) -> Vec<Granted> {
    let (book, at) = (&shard.matters.access, activity.event_time);
    let is_known = |granted: &Granted| {
        // The book knows of no resources.
        let name = granted.name().filter(|_| activity.resource_id.is_none());
        let back = name.and_then(|name| book.taken_back(&name));
        back.is_some_and(|back| back > at) || book.left(&granted.principal).is_some_and(|left| left >= at)
    };
    let is_just_told = |granted: &Granted| {
        let mut later = before.iter().filter_map(|event| if let ShardEvent::Grant(later) = event { Some(later) } else { None });
        let own = |later: &ActivityEvent| is_of_another(activity.resource_id.as_deref(), later);
        later.any(|later| later.event_time > at && !own(later) && is_taken_back(granted, later))
    };
    given.iter().filter(|granted| !is_known(granted) && !is_just_told(granted)).cloned().collect()
}

fn has_left(activity: &ActivityEvent) -> bool {
    activity.action.as_deref() == Some("offboarded")
}

/// Whether an event takes back a grant of before it: without a model or dataset whatever it is of, without a role whichever it is.
fn is_taken_back(granted: &Granted, by: &ActivityEvent) -> bool {
    let is_revoke = by.action.as_deref() == Some("revoke") && by.approval.is_none();
    let objects = Object::versions_of(by);
    let is_of = |object: &Object| objects.contains(object) || object.whole().is_some_and(|whole| objects.contains(&whole));
    let is_meant = (objects.is_empty() || granted.object.as_ref().is_some_and(is_of)) && (by.role.is_none() || by.role == granted.role);
    principal(by) == Some(&granted.principal) && (has_left(by) || (is_revoke && is_meant))
}

/// Whether an event is about another resource than this.
fn is_of_another(resource: Option<&str>, by: &ActivityEvent) -> bool {
    !has_left(by) && resource.zip(by.resource_id.as_deref()).is_some_and(|(own, named)| own != named)
}

/// Somebody loses grants, or has left.
pub(super) fn take_back(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    // What is given later stands.
    let is_over = |granted: &Granted, at: Timestamp| at <= activity.event_time && is_taken_back(granted, activity);
    let is_another = |tracked: &Tracked| is_of_another(tracked.dimensions.get("resource_id").map(String::as_str), activity);
    let concerns =
        |tracked: &Tracked| tracked.is_open() && !is_another(tracked) && tracked.grants.iter().any(|(granted, at)| is_over(granted, *at));
    let why = if has_left(activity) { "whoever had the last of its grants has left" } else { "the last of its grants was revoked" };
    lose(shard, concerns, is_over, (activity.event_time, why), rules, effects);
}

/// Grants end by themselves, as far as the book knows: it knows of no resources.
pub(in crate::watch) fn expire(shard: &mut Shard, now: Timestamp, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let of_open = |tracked: &Tracked| tracked.is_open() && !tracked.dimensions.contains_key("resource_id");
    let granted = shard.violations.known.values().filter(|tracked| of_open(tracked)).flat_map(|tracked| tracked.grants.keys());
    let ends = granted.filter_map(|granted| Some((granted.clone(), shard.matters.access.expired(&granted.name()?, now)?)));
    let mut over: BTreeMap<Timestamp, BTreeSet<Granted>> = BTreeMap::new();
    for (granted, until) in ends {
        over.entry(until).or_default().insert(granted);
    }
    for (until, granted) in over {
        let is_over = |own: &Granted, _| granted.contains(own);
        lose(
            shard,
            |tracked| of_open(tracked) && granted.iter().any(|own| tracked.grants.contains_key(own)),
            is_over,
            (until, "the last of its grants has expired"),
            rules,
            effects,
        );
    }
}

/// Violations for which `concerns` holds lose the grants that are over; those that have no other end.
fn lose(
    shard: &mut Shard,
    concerns: impl Fn(&Tracked) -> bool,
    is_over: impl Fn(&Granted, Timestamp) -> bool,
    (at, why): (Timestamp, &str),
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let known = shard.violations.known.iter().filter(|(_, tracked)| concerns(tracked));
    let less: Vec<(Key, Tracked)> = known.map(|(key, tracked)| (key.clone(), tracked.clone())).collect();
    for (key, mut tracked) in less {
        tracked.grants.retain(|granted, at| !is_over(granted, *at));
        let is_last = tracked.grants.is_empty();
        shard.violations.keep(key.clone(), tracked);
        if is_last && !deployments::hold(shard, &key) {
            life::end(shard, key, at, why, rules, effects);
        }
    }
}
