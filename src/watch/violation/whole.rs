//! What policies say of events that come whole: resources as they stand, and what somebody did.
//!
//! What is known of a model from earlier events of its team (where its data comes from, who approved it) is added to what the event says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::deployments::{self, Deployment, MOST_MODELS};
use super::facts::gravest;
use super::grants::{self, Granted};
use super::life::{self, Hit};
use super::standing::is_built_in;
use super::{Key, judge};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::{About, Approval};
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::lineage::DatasetUse;
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Said, ShardEvent};
use crate::model::resource::ResourceSample;
use crate::model::time::Timestamp;
use crate::policy::fields::Subject;
use crate::policy::stream::{Origin, Told};
use crate::policy::{Given, Sample};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::state::{StateError, from_payload};

/// What earlier events of the team said of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownModel {
    pub origin_region: Option<Text>,
    /// As an earlier version kept it, of all regions; what comes now stands in `approvals`.
    pub(super) approval: Option<Text>,
    pub(super) approved_until: Option<Timestamp>,
    /// Where it runs.
    pub deployments: Vec<Deployment>,
    /// The last undeployments, as records of the shard log: a deployment that comes late may be over already.
    pub undeployments: Vec<Vec<u8>>,
}

/// As it was before undeployments were remembered.
#[derive(Deserialize)]
struct KnownModel1 {
    origin_region: Option<Text>,
    approval: Option<Text>,
    approved_until: Option<Timestamp>,
    deployments: Vec<Deployment>,
}

impl KnownModel {
    /// # Errors
    /// Bytes of neither form.
    pub fn restored(payload: &[u8]) -> Result<KnownModel, StateError> {
        let older = || {
            let KnownModel1 { origin_region, approval, approved_until, deployments } = from_payload(payload)?;
            Ok(KnownModel { origin_region, approval, approved_until, deployments, undeployments: Vec::new() })
        };
        from_payload(payload).or_else(|_: StateError| older())
    }

    pub fn old_approval(&self, at: Timestamp) -> Option<&str> {
        self.approval.as_deref().filter(|_| self.approved_until.is_none_or(|until| at < until))
    }

    pub fn old_approval_ends(&self) -> Option<Timestamp> {
        self.approved_until
    }
}

/// An event that is not summed, held against the policies for its kind. Where models run is remembered without any, too: for drift, and for
/// policies that come later. `before`: what has come with it and is told first.
pub(crate) fn judge_event(shard: &mut Shard, event: &ShardEvent, before: &[ShardEvent], rules: &WatchRules, effects: &mut Vec<Effect>) {
    match event {
        ShardEvent::Resource(sample) if !rules.policies.is_empty() => judge_resource(shard, sample, rules, effects),
        ShardEvent::Activity(activity) => judge_activity(shard, activity, before, rules, effects),
        ShardEvent::DatasetUse(used) => judge_use(shard, used, rules, effects),
        ShardEvent::Grant(activity) => grants::take_back(shard, activity, rules, effects),
        ShardEvent::Resource(_) | ShardEvent::Feedback(_) | ShardEvent::Facts(_) | ShardEvent::GrantUsed(_) | ShardEvent::Spent(_) => {}
    }
}

/// What all violations of one event have in common.
pub(super) struct Seen<'a> {
    pub team: &'a Text,
    pub at: Timestamp,
    pub identity: Option<u128>,
    pub currency: Option<Currency>,
    pub hourly: Option<Nanos>,
    pub user: Option<&'a Text>,
    pub lasts: bool,
    pub grants: Vec<Granted>,
}

fn judge_resource(shard: &mut Shard, sample: &ResourceSample, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let facts = rules.policies.of_resource(sample);
    let seen = Seen {
        team: &sample.team,
        at: sample.event_time,
        identity: Some(hash128(&[sample.source.as_bytes(), sample.event_id.as_bytes()])),
        currency: sample.currency,
        hourly: sample.hourly_cost.filter(|_| sample.currency.is_some()),
        user: sample.owner.as_ref(),
        lasts: false,
        grants: Vec::new(),
    };
    let told = rules.policies.of_sample(&facts, &sample.team, sample.event_time);
    hits(shard, &facts, &told, &seen, rules, effects);
    end_what_is_mended(shard, &facts, &told, &seen, rules, effects);
}

/// A resource that does not violate a policy any more does not wait for a day, in whichever currency it was told.
fn end_what_is_mended(shard: &mut Shard, facts: &Sample, told: &[Told], seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    // What is exempt or only tried out is as good as right; what cannot be said is not.
    let goes_on = |place: usize| told.iter().any(|told| told.policy == place && matches!(told.said, Said::Violates | Said::Indeterminate));
    for place in rules.policies.of_subject(Subject::Resource) {
        let Some(policy) = rules.policies.policy(place).filter(|_| !goes_on(place)) else { continue };
        if !shard.violations.has_open(seen.team, &policy.id) {
            continue;
        }
        let subject = facts.with_facts(|facts| policy.finding(facts).subject);
        let of = Key { team: seen.team.clone(), policy: policy.id.clone(), subject, currency: None };
        for key in shard.violations.open_in_any_currency(&of, seen.at) {
            life::end(shard, key, seen.at, "the resource is right again", rules, effects);
        }
    }
}

fn judge_activity(shard: &mut Shard, activity: &ActivityEvent, before: &[ShardEvent], rules: &WatchRules, effects: &mut Vec<Effect>) {
    let action = activity.action.as_deref().unwrap_or_default();
    if action == "deployment" && deployments::is_past(shard, activity) {
        return;
    }
    let given = grants::of(activity);
    let standing = grants::standing(shard, activity, &given, before);
    if standing.is_empty() && !given.is_empty() {
        return;
    }
    // Whether these go on, what runs says and nothing else.
    let of_deployments = match action {
        "deployment" | "undeployment" | "approval" | "revoke" | "offboarded" => deployments::keys_meant(shard, activity),
        _ => BTreeSet::new(),
    };
    let is_approval = shard.violations.learn_approval(activity, shard.header.watermarks.shard_time());
    let has_learnt = learn(shard, activity, action) || is_approval;
    // With an approval `revoke` takes that back: what it allowed does not end, it begins.
    let is_end = matches!(action, "undeployment" | "approval" | "offboarded") || (action == "revoke" && activity.approval.is_none());
    if is_end {
        end_what_it_undoes(shard, activity, &of_deployments, rules, effects);
    }
    let told = judge_samples(shard, activity, &Seen { grants: standing, ..seen(activity) }, rules, effects);
    if let Some(model) = &activity.model
        && action == "deployment"
    {
        deployments::keep(shard, activity, model, &told, rules);
    }
    // As of now, which the event may be older than: what a restart asks again is answered already.
    if has_learnt || action == "deployment" || !of_deployments.is_empty() {
        let models = shard.violations.models_meant(activity);
        deployments::judge_again(shard, &activity.team, &models, &of_deployments, rules, effects);
        for model in models.iter().filter(|_| has_learnt) {
            judge::judge_again(shard, (Some(&activity.team), Some(model)), rules, effects);
        }
    }
}

/// A use that was judged by what it says itself, by what lineage knows of its data: as if it said so, once for each origin. What was told of it
/// already is not told again.
fn judge_use(shard: &mut Shard, used: &DatasetUse, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let DatasetUse { activity, origins } = used;
    let of_origin = |origin: &Text| {
        let event = ActivityEvent { origin_region: Some(origin.clone()), ..activity.clone() };
        samples_of(shard, &event, event.event_time, rules).0
    };
    let samples: Vec<Sample> = origins.iter().flat_map(of_origin).collect();
    let told = gravest(samples.iter().map(|sample| rules.policies.of_sample(sample, &activity.team, activity.event_time)));
    for (told, place) in told.into_iter().filter(|(told, _)| told.said == Said::Violates && rules.policies.reads_origin(told.policy)) {
        if let Some(sample) = samples.get(place) {
            hits(shard, sample, &[told], &seen(activity), rules, effects);
        }
    }
}

pub(super) fn seen(activity: &ActivityEvent) -> Seen<'_> {
    Seen {
        team: &activity.team,
        at: activity.event_time,
        identity: Some(hash128(&[activity.source.as_bytes(), activity.event_id.as_bytes()])),
        currency: None,
        hourly: None,
        user: activity.actor.as_ref(),
        lasts: matches!(activity.action.as_deref(), Some("deployment" | "grant")),
        grants: grants::of(activity),
    }
}

/// Holds what somebody did against all policies; what each says, the gravest over all origins that its data may have.
fn judge_samples(shard: &mut Shard, activity: &ActivityEvent, seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) -> Vec<Told> {
    let (samples, told) = told_of(shard, activity, activity.event_time, rules);
    for (place, sample) in samples.iter().enumerate() {
        let of_sample: Vec<Told> = told.iter().filter(|(_, by)| *by == place).map(|(told, _)| *told).collect();
        hits(shard, sample, &of_sample, seen, rules, effects);
    }
    told.into_iter().map(|(told, _)| told).collect()
}

/// What somebody did, once for each origin that its data may have, and what each policy says of it at a time: the gravest, and of which sample.
pub(super) fn told_of(shard: &Shard, activity: &ActivityEvent, at: Timestamp, rules: &WatchRules) -> (Vec<Sample>, Vec<(Told, usize)>) {
    let (samples, is_cleared) = samples_of(shard, activity, at, rules);
    let mut told = gravest(samples.iter().map(|sample| rules.policies.of_sample(sample, &activity.team, at)));
    told.retain(|(told, _)| !(is_cleared && rules.policies.asks_for_origin(told)));
    (samples, told)
}

/// What the event says, and what is known of its model or dataset where it says nothing: one sample for each origin. Whether a step has
/// taken all origins away.
fn samples_of(shard: &Shard, activity: &ActivityEvent, at: Timestamp, rules: &WatchRules) -> (Vec<Sample>, bool) {
    let mut facts = rules.policies.of_activity(activity);
    let named = activity.approval.as_deref().and_then(|id| shard.violations.approval_named(&activity.team, id));
    match named.filter(|_| activity.action.as_deref() != Some("approval")) {
        // Who rests on an approval that has ended has none.
        Some(ended) if !ended.holds_at(at) => ["approval", "approval_basis"].into_iter().for_each(|name| put(&mut facts, name, "")),
        Some(Approval { basis: Some(basis), .. }) => put(&mut facts, "approval_basis", basis),
        _ => {}
    }
    let known = shard.violations.origins(&activity.team, &About::of(activity), at, rules);
    let states_origin = facts.given("origin_region").is_some();
    let kept = if states_origin { 1 } else { known.all.len() };
    let sample = |origin: &Origin<'_>| {
        let mut facts = facts.clone();
        let basis = origin.basis.filter(|_| facts.given("approval").is_none());
        for (name, text) in
            [("origin_region", origin.region), ("approval", origin.approval), ("approval_basis", basis), ("lineage", origin.lineage)]
        {
            if let Some(text) = text.filter(|_| facts.given(name).is_none()) {
                put(&mut facts, name, text);
            }
        }
        rules.policies.locate(&mut facts);
        facts
    };
    (known.all.iter().take(kept).map(sample).collect(), known.is_cleared && !states_origin)
}

/// An empty text takes it away.
fn put(facts: &mut Sample, name: &str, text: &str) {
    let set = facts.set(name, Given::Text(text.to_string()));
    assert!(set.is_ok(), "'{name}' is a text of activity");
}

/// Where a model's data comes from, and where it runs no longer. Whether that is news.
fn learn(shard: &mut Shard, activity: &ActivityEvent, action: &str) -> bool {
    let Some(model) = &activity.model else { return false };
    let is_registration = action == "model_registered" && activity.origin_region.is_some();
    if !is_registration && action != "undeployment" {
        return false;
    }
    let Some(mut known) = shard.violations.model_to_change(&activity.team, model, MOST_MODELS) else { return false };
    if !is_registration {
        known.undeploy(activity);
        shard.violations.keep_deployments(&activity.team, model, known);
        return false;
    }
    if known.origin_region == activity.origin_region {
        return false;
    }
    known.origin_region = activity.origin_region.clone();
    shard.violations.keep_model(&activity.team, model, known);
    true
}

pub(super) fn hits(shard: &mut Shard, facts: &Sample, told: &[Told], seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
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
            identity: seen.identity,
            leaf: None,
            users: seen.user.into_iter().collect(),
            lasts: seen.lasts,
            grants: seen.grants.clone(),
        };
        life::hit(shard, hit, rules, effects);
    }
}

/// An undeployment ends what a deployment began, an approval what a grant did, too: as far as they name the same. Revocations end what an
/// earlier version knew of grants; of what is known now see `grants`.
fn end_what_it_undoes(
    shard: &mut Shard,
    activity: &ActivityEvent,
    of_deployments: &BTreeSet<Key>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let is_approval = activity.action.as_deref() == Some("approval");
    let named = [
        ("model", &activity.model),
        ("dataset", &activity.dataset),
        ("resource_id", &activity.resource_id),
        ("region", &activity.region),
        ("provider", &activity.provider),
    ];
    let keys = shard.violations.open_of_team(&activity.team, |key, tracked| {
        let of = |name: &str| tracked.dimensions.get(name).map(String::as_str);
        let is_another =
            |(name, stated): &(&str, &Option<Text>)| stated.as_deref().zip(of(name)).is_some_and(|(stated, known)| stated != known);
        let is_same = |(name, stated): &(&str, &Option<Text>)| stated.as_deref().is_some_and(|stated| of(name) == Some(stated));
        let is_left_to_others = !is_approval && !tracked.grants.is_empty();
        tracked.lasts
            && !is_left_to_others
            && !is_built_in(&key.policy)
            && named.iter().take(3).any(is_same)
            && !named.iter().any(is_another)
    });
    let why = undone_by(activity);
    for key in keys.into_iter().filter(|key| !of_deployments.contains(key)) {
        life::end(shard, key, activity.event_time, &why, rules, effects);
    }
}

/// Why what an event undoes is over.
fn undone_by(activity: &ActivityEvent) -> String {
    let by = activity.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
    match activity.action.as_deref() {
        Some("approval") => {
            let id = activity.approval.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
            format!("approved{by}{id}{}", activity.expires_at.map(|until| format!(" until {until}")).unwrap_or_default())
        }
        Some("undeployment") => format!("undeployed{by}"),
        Some("revoke") => format!("revoked{by}"),
        _ => "whoever did it has left".to_string(),
    }
}
