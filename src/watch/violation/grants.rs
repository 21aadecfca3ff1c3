//! Grants that violate: who has got what. A violation of theirs lasts until the last of them is taken back, or whoever has it has left.
//!
//! Both are told to every shard, whichever team tells them.

use serde::{Deserialize, Serialize};

use super::life::{self, Tracked};
use super::{Key, deployments};
use crate::model::Text;
use crate::model::access::{Object, principal};
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
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

/// Somebody loses grants, or has left.
pub(super) fn take_back(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let has_left = activity.action.as_deref() == Some("offboarded");
    let is_revoke = activity.action.as_deref() == Some("revoke") && activity.approval.is_none();
    let Some(who) = principal(activity).filter(|_| has_left || is_revoke) else { return };
    let objects = Object::versions_of(activity);
    let is_of = |object: &Object| objects.contains(object) || object.whole().is_some_and(|whole| objects.contains(&whole));
    let is_over = |granted: &Granted, at: Timestamp| {
        // What is given later stands; without a model or dataset all is taken back, without a role whichever it is.
        let is_meant = (objects.is_empty() || granted.object.as_ref().is_some_and(is_of))
            && (activity.role.is_none() || activity.role == granted.role);
        granted.principal == *who && at <= activity.event_time && (has_left || is_meant)
    };
    let is_another = |tracked: &Tracked| {
        let own = tracked.dimensions.get("resource_id").zip(activity.resource_id.as_deref());
        !has_left && own.is_some_and(|(own, named)| *own != *named)
    };
    let concerns =
        |tracked: &Tracked| tracked.is_open() && !is_another(tracked) && tracked.grants.iter().any(|(granted, at)| is_over(granted, *at));
    let known = shard.violations.known.iter().filter(|(_, tracked)| concerns(tracked));
    let less: Vec<(Key, Tracked)> = known.map(|(key, tracked)| (key.clone(), tracked.clone())).collect();
    for (key, mut tracked) in less {
        tracked.grants.retain(|granted, at| !is_over(granted, *at));
        let is_last = tracked.grants.is_empty();
        shard.violations.keep(key.clone(), tracked);
        if is_last && !deployments::hold(shard, &key) {
            life::end(shard, key, activity.event_time, rules, effects);
        }
    }
}
