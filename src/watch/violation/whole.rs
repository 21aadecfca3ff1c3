//! What policies say of events that come whole: resources as they stand, and what somebody did.
//!
//! What is known of a model from earlier events of its team (where its data comes from, who approved it) is added to what the event says.

use serde::{Deserialize, Serialize};

use super::Key;
use super::life::{self, Hit};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Said, ShardEvent};
use crate::model::resource::ResourceSample;
use crate::model::time::Timestamp;
use crate::policy::fields::Subject;
use crate::policy::stream::Told;
use crate::policy::{Given, Sample};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Models that are remembered; of more nothing is known but what the event itself says, and what is not known is no pass.
const MOST_MODELS: usize = 20_000;

/// What earlier events said of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownModel {
    pub origin_region: Option<Text>,
    pub approval: Option<Text>,
    pub approved_until: Option<Timestamp>,
}

/// An event that is not summed, held against the policies for its kind.
pub(crate) fn judge_event(shard: &mut Shard, event: &ShardEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.policies.is_empty() {
        return;
    }
    match event {
        ShardEvent::Resource(sample) => judge_resource(shard, sample, rules, effects),
        ShardEvent::Activity(activity) => judge_activity(shard, activity, rules, effects),
        ShardEvent::Feedback(_) => {}
    }
}

/// What all violations of one event have in common.
struct Seen<'a> {
    team: &'a Text,
    at: Timestamp,
    identity: u128,
    currency: Option<Currency>,
    hourly: Option<Nanos>,
    user: Option<&'a Text>,
    lasts: bool,
}

fn judge_resource(shard: &mut Shard, sample: &ResourceSample, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let facts = rules.policies.of_resource(sample);
    let seen = Seen {
        team: &sample.team,
        at: sample.event_time,
        identity: hash128(&[sample.source.as_bytes(), sample.event_id.as_bytes()]),
        currency: sample.currency,
        hourly: sample.hourly_cost.filter(|_| sample.currency.is_some()),
        user: sample.owner.as_ref(),
        lasts: false,
    };
    let told = rules.policies.of_sample(&facts, &sample.team, sample.event_time);
    hits(shard, &facts, &told, &seen, rules, effects);
    end_what_is_mended(shard, &facts, &told, &seen, rules, effects);
}

/// A resource that does not violate a policy any more does not wait for a day.
fn end_what_is_mended(shard: &mut Shard, facts: &Sample, told: &[Told], seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    for place in rules.policies.of_subject(Subject::Resource) {
        let Some(policy) = rules.policies.policy(place).filter(|_| !told.iter().any(|told| told.policy == place)) else { continue };
        if !shard.violations.has_open(seen.team, &policy.id) {
            continue;
        }
        let subject = facts.with_facts(|facts| policy.finding(facts).subject);
        let key = Key { team: seen.team.clone(), policy: policy.id.clone(), subject, currency: seen.currency };
        if shard.violations.get(&key).is_some_and(|tracked| tracked.is_open() && tracked.last_seen <= seen.at) {
            life::end(shard, key, seen.at, rules, effects);
        }
    }
}

fn judge_activity(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let action = activity.action.as_deref().unwrap_or_default();
    learn(shard, activity, action);
    if matches!(action, "undeployment" | "approval" | "revoke" | "offboarded") {
        end_what_it_undoes(shard, activity, rules, effects);
    }
    let mut facts = rules.policies.of_activity(activity);
    if let Some(known) = activity.model.as_ref().and_then(|model| shard.violations.model(&activity.team, model)) {
        let approval = known.approval.as_ref().filter(|_| known.approved_until.is_none_or(|until| activity.event_time < until));
        for (name, text) in [("origin_region", known.origin_region.as_ref()), ("approval", approval)] {
            if let Some(text) = text.filter(|_| facts.given(name).is_none()) {
                // Both are texts.
                let _ = facts.set(name, Given::Text(text.to_string()));
            }
        }
        rules.policies.locate(&mut facts);
    }
    let seen = Seen {
        team: &activity.team,
        at: activity.event_time,
        identity: hash128(&[activity.source.as_bytes(), activity.event_id.as_bytes()]),
        currency: None,
        hourly: None,
        user: activity.actor.as_ref(),
        lasts: matches!(action, "deployment" | "grant"),
    };
    let told = rules.policies.of_sample(&facts, &activity.team, activity.event_time);
    hits(shard, &facts, &told, &seen, rules, effects);
}

/// Where a model's data comes from, and who approved it.
fn learn(shard: &mut Shard, activity: &ActivityEvent, action: &str) {
    let Some(model) = &activity.model else { return };
    let is_approval = action == "approval" && activity.approval.is_some();
    let origin = activity.origin_region.as_ref().filter(|_| action == "model_registered");
    if !is_approval && origin.is_none() {
        return;
    }
    let Some(mut known) = shard.violations.model_to_change(&activity.team, model, MOST_MODELS) else { return };
    if let Some(origin) = origin {
        known.origin_region = Some(origin.clone());
    }
    if is_approval {
        (known.approval, known.approved_until) = (activity.approval.clone(), activity.expires_at);
    }
    shard.violations.keep_model(&activity.team, model, known);
}

fn hits(shard: &mut Shard, facts: &Sample, told: &[Told], seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    for told in told {
        let Some(policy) = rules.policies.policy(told.policy) else { continue };
        shard.violations.count(&policy.id, told.said, 1);
        if told.said != Said::Violates {
            continue;
        }
        let hit = Hit {
            place: told.policy,
            policy,
            finding: facts.with_facts(|facts| policy.finding(facts)),
            team: seen.team,
            currency: seen.currency,
            events: 1,
            cost: Nanos::ZERO,
            hourly: seen.hourly,
            event_time: seen.at,
            ingest_time: seen.at,
            identity: Some(seen.identity),
            leaf: None,
            users: seen.user.into_iter().collect(),
            lasts: seen.lasts,
        };
        life::hit(shard, hit, rules, effects);
    }
}

/// An undeployment ends what a deployment began, a revocation what a grant did, an approval both: as far as they name the same.
fn end_what_it_undoes(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let named = [
        ("model", &activity.model),
        ("dataset", &activity.dataset),
        ("resource_id", &activity.resource_id),
        ("region", &activity.region),
        ("provider", &activity.provider),
    ];
    let keys: Vec<Key> = shard.violations.lasting(&activity.team, |dimensions| {
        let of = |name: &str| dimensions.get(name).map(String::as_str);
        let is_another =
            |(name, stated): &(&str, &Option<Text>)| stated.as_deref().zip(of(name)).is_some_and(|(stated, known)| stated != known);
        let is_same = |(name, stated): &(&str, &Option<Text>)| stated.as_deref().is_some_and(|stated| of(name) == Some(stated));
        named.iter().take(3).any(is_same) && !named.iter().any(is_another)
    });
    for key in keys {
        life::end(shard, key, activity.event_time, rules, effects);
    }
}
