//! What policies say of events that come whole: resources as they stand, and what somebody did.
//!
//! What is known of a model from earlier events of its team (where its data comes from, who approved it) is added to what the event says.

use serde::{Deserialize, Serialize};

use super::Key;
use super::facts::gravest;
use super::life::{self, Hit};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Said, ShardEvent, ShardRecord};
use crate::model::resource::ResourceSample;
use crate::model::time::Timestamp;
use crate::model::wire::{decode_shard_record, encode_shard_record};
use crate::policy::fields::Subject;
use crate::policy::stream::{Origin, Told};
use crate::policy::{Given, Sample};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Models that are remembered; of more nothing is known but what the event itself says, and what is not known is no pass.
const MOST_MODELS: usize = 20_000;

/// Deployments of a model that wait for what is not known yet; of more the oldest wait no longer, and stay counted as indeterminate.
const MOST_WAITING: usize = 16;

/// What earlier events said of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownModel {
    pub origin_region: Option<Text>,
    pub approval: Option<Text>,
    pub approved_until: Option<Timestamp>,
    /// Deployments that some policies could not judge. Topics keep no order among partitions, so that what they ask for may come later.
    pub waiting: Vec<Waiting>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// As a record of the shard log, which has versions of its own.
    deployment: Vec<u8>,
    /// Ids.
    policies: Vec<Text>,
}

impl Waiting {
    fn deployment(&self) -> Option<Box<ActivityEvent>> {
        match decode_shard_record(&self.deployment).ok()?.events.pop()? {
            ShardEvent::Activity(activity) => Some(activity),
            _ => None,
        }
    }
}

impl KnownModel {
    pub fn origin(&self, at: Timestamp) -> Origin<'_> {
        let approval = self.approval.as_deref().filter(|_| self.approved_until.is_none_or(|until| at < until));
        Origin { region: self.origin_region.as_deref(), approval }
    }
}

/// An event that is not summed, held against the policies for its kind.
pub(crate) fn judge_event(shard: &mut Shard, event: &ShardEvent, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.policies.is_empty() {
        return;
    }
    match event {
        ShardEvent::Resource(sample) => judge_resource(shard, sample, rules, effects),
        ShardEvent::Activity(activity) => judge_activity(shard, activity, rules, effects),
        ShardEvent::Feedback(_) | ShardEvent::Facts(_) | ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) => {}
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
    let has_learnt = learn(shard, activity, action);
    if matches!(action, "undeployment" | "approval" | "revoke" | "offboarded") {
        end_what_it_undoes(shard, activity, rules, effects);
    }
    let told = judge_samples(shard, activity, None, rules, effects);
    if let Some(model) = &activity.model {
        if action == "deployment" {
            wait(shard, activity, model, &told, rules);
        }
        if has_learnt {
            judge_waiting(shard, &activity.team, model, rules, effects);
            life::judge_again(shard, Some((&activity.team, model)), rules, effects);
        }
    }
}

fn seen(activity: &ActivityEvent) -> Seen<'_> {
    Seen {
        team: &activity.team,
        at: activity.event_time,
        identity: hash128(&[activity.source.as_bytes(), activity.event_id.as_bytes()]),
        currency: None,
        hourly: None,
        user: activity.actor.as_ref(),
        lasts: matches!(activity.action.as_deref(), Some("deployment" | "grant")),
    }
}

/// Holds what somebody did against all policies, or against some, once for each origin that its model's data may have; what each says, the
/// gravest over all origins.
fn judge_samples(
    shard: &mut Shard,
    activity: &ActivityEvent,
    only: Option<&[Text]>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) -> Vec<Told> {
    let (samples, is_cleared) = samples_of(shard, activity, rules);
    let of = |sample: &Sample| rules.policies.of_sample(sample, &activity.team, activity.event_time);
    let mut told = gravest(samples.iter().map(of));
    told.retain(|(told, _)| {
        let policy = rules.policies.policy(told.policy);
        !(is_cleared && rules.policies.asks_for_origin(told))
            && policy.is_some_and(|policy| only.is_none_or(|only| only.contains(&policy.id)))
            // Of one that waited it is counted as indeterminate already.
            && (only.is_none() || told.said != Said::Indeterminate)
    });
    for (place, sample) in samples.iter().enumerate() {
        let of_sample: Vec<Told> = told.iter().filter(|(_, by)| *by == place).map(|(told, _)| *told).collect();
        hits(shard, sample, &of_sample, &seen(activity), rules, effects);
    }
    told.into_iter().map(|(told, _)| told).collect()
}

/// What the event says, and what is known of its model where it says nothing: one sample for each origin. Whether a step has taken all
/// origins away.
fn samples_of(shard: &Shard, activity: &ActivityEvent, rules: &WatchRules) -> (Vec<Sample>, bool) {
    let facts = rules.policies.of_activity(activity);
    let Some(model) = &activity.model else { return (vec![facts], false) };
    let known = shard.violations.origins(&activity.team, model, activity.model_version.as_ref(), activity.event_time);
    let states_origin = facts.given("origin_region").is_some();
    let kept = if states_origin { 1 } else { known.all.len() };
    let sample = |origin: &Origin<'_>| {
        let mut facts = facts.clone();
        for (name, text) in [("origin_region", origin.region), ("approval", origin.approval)] {
            if let Some(text) = text.filter(|_| facts.given(name).is_none()) {
                // Both are texts.
                let _ = facts.set(name, Given::Text(text.to_string()));
            }
        }
        rules.policies.locate(&mut facts);
        facts
    };
    (known.all.iter().take(kept).map(sample).collect(), known.is_cleared && !states_origin)
}

/// Where a model's data comes from, and who approved it. Whether that is news.
fn learn(shard: &mut Shard, activity: &ActivityEvent, action: &str) -> bool {
    let Some(model) = &activity.model else { return false };
    let Some(before) = shard.violations.model_to_change(&activity.team, model, MOST_MODELS) else { return false };
    let mut known = before.clone();
    match action {
        "model_registered" if activity.origin_region.is_some() => known.origin_region = activity.origin_region.clone(),
        "approval" if activity.approval.is_some() => {
            (known.approval, known.approved_until) = (activity.approval.clone(), activity.expires_at);
        }
        "undeployment" => known.waiting.retain(|waiting| waiting.deployment().is_some_and(|deployment| !undoes(activity, &deployment))),
        _ => {}
    }
    let is_news = known != before;
    if is_news {
        shard.violations.keep_model(&activity.team, model, known);
    }
    is_news
}

/// An undeployment that names no region is of all of them.
fn undoes(undeployment: &ActivityEvent, deployment: &ActivityEvent) -> bool {
    undeployment.region.is_none() || undeployment.region == deployment.region
}

/// Keeps a deployment that could not be judged by all policies.
fn wait(shard: &mut Shard, deployment: &ActivityEvent, model: &Text, told: &[Told], rules: &WatchRules) {
    let open = told.iter().filter(|told| told.said == Said::Indeterminate).filter_map(|told| rules.policies.policy(told.policy));
    let policies: Vec<Text> = open.map(|policy| policy.id.clone()).collect();
    if policies.is_empty() {
        return;
    }
    let Some(mut known) = shard.violations.model_to_change(&deployment.team, model, MOST_MODELS) else { return };
    let record = ShardRecord { events: vec![ShardEvent::Activity(Box::new(deployment.clone()))], ..ShardRecord::default() };
    // It has come in this form.
    let Ok(record) = encode_shard_record(&record) else { return };
    // Of one that comes twice the second.
    known.waiting.retain(|waiting| waiting.deployment != record);
    if known.waiting.len() >= MOST_WAITING {
        known.waiting.remove(0);
    }
    known.waiting.push(Waiting { deployment: record, policies });
    shard.violations.keep_model(&deployment.team, model, known);
}

/// Deployments of before, now that more is known of their model.
pub(super) fn judge_waiting(shard: &mut Shard, team: &Text, model: &Text, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(known) = shard.violations.model(team, model).filter(|known| !known.waiting.is_empty()).cloned() else { return };
    let mut still = Vec::new();
    for waiting in &known.waiting {
        let Some(deployment) = waiting.deployment() else { continue };
        judge_samples(shard, &deployment, Some(&waiting.policies), rules, effects);
        let (samples, is_cleared) = samples_of(shard, &deployment, rules);
        let told = gravest(samples.iter().map(|sample| rules.policies.of_sample(sample, team, deployment.event_time)));
        let is_open = |told: &Told| told.said == Said::Indeterminate && !(is_cleared && rules.policies.asks_for_origin(told));
        let open = told.iter().map(|(told, _)| told).filter(|told| is_open(told)).filter_map(|told| rules.policies.policy(told.policy));
        let open: Vec<Text> = open.map(|policy| policy.id.clone()).filter(|id| waiting.policies.contains(id)).collect();
        if !open.is_empty() {
            still.push(Waiting { policies: open, ..waiting.clone() });
        }
    }
    if still != known.waiting {
        shard.violations.keep_model(team, model, KnownModel { waiting: still, ..known });
    }
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
