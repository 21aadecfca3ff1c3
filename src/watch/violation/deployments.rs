//! Where models run, so that what becomes known later is held against what runs already: an origin that is discovered, an approval that comes or
//! ends, a gap that nobody has filled in time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::whole::{Seen, hits, seen, told_of};
use super::{Key, Violations, life};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::Approval;
use crate::model::effect::Effect;
use crate::model::leaf::OTHER;
use crate::model::partial::{Said, ShardEvent, ShardRecord};
use crate::model::time::Timestamp;
use crate::model::wire::{decode_shard_record, encode_shard_record};
use crate::policy::Sample;
use crate::policy::stream::Told;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Models that are remembered; of more nothing is known but what the event itself says, and what is not known is no pass.
pub(super) const MOST_MODELS: usize = 20_000;
/// Deployments of a team's model that are held against what becomes known later; of more the oldest are not.
const MOST: usize = 64;

/// A deployment that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// As a record of the shard log, which has versions of its own.
    event: Vec<u8>,
    /// Ids of policies that could not judge it when they were last asked, which is counted once.
    undecided: Vec<Text>,
}

impl Deployment {
    fn event(&self) -> Option<Box<ActivityEvent>> {
        match decode_shard_record(&self.event).ok()?.events.pop()? {
            ShardEvent::Activity(activity) => Some(activity),
            _ => None,
        }
    }

    /// An undeployment ends all that it does not say to be another: without a region those of all regions.
    pub fn is_undone_by(&self, undeployment: &ActivityEvent) -> bool {
        let Some(event) = self.event() else { return true };
        let pairs = [
            (&undeployment.region, &event.region),
            (&undeployment.model_version, &event.model_version),
            (&undeployment.environment, &event.environment),
            (&undeployment.resource_id, &event.resource_id),
        ];
        pairs.iter().all(|(named, own)| named.is_none() || named == own)
    }
}

/// Remembers a deployment; the same again takes the place of the first.
pub(super) fn keep(shard: &mut Shard, deployment: &ActivityEvent, model: &Text, told: &[Told], rules: &WatchRules) {
    let Some(mut known) = shard.violations.model_to_change(&deployment.team, model, MOST_MODELS) else { return };
    let record = ShardRecord { events: vec![ShardEvent::Activity(Box::new(deployment.clone()))], ..ShardRecord::default() };
    // It has come in this form.
    let Ok(event) = encode_shard_record(&record) else { return };
    known.deployments.retain(|known| known.event != event);
    if known.deployments.len() >= MOST {
        known.deployments.remove(0);
    }
    known.deployments.push(Deployment { event, undecided: undecided(told, rules) });
    shard.violations.keep_model(&deployment.team, model, known);
}

fn undecided(told: &[Told], rules: &WatchRules) -> Vec<Text> {
    let open = told.iter().filter(|told| told.said == Said::Indeterminate);
    open.filter_map(|told| rules.policies.policy(told.policy)).map(|policy| policy.id.clone()).collect()
}

/// Holds all deployments of a team's model against what is known now: opens what violates now, ends what does so no more.
pub(super) fn judge_again(shard: &mut Shard, team: &Text, model: &Text, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(known) = shard.violations.model(team, model).filter(|known| !known.deployments.is_empty()).cloned() else { return };
    let now = shard.header.watermarks.shard_time();
    let mut violated = BTreeSet::new();
    let mut deployments = known.deployments.clone();
    for deployment in &mut deployments {
        let Some(event) = deployment.event() else { continue };
        let at = now.max(event.event_time);
        let (samples, told) = told_of(shard, &event, at, rules);
        for (told, by) in told.iter().filter(|(told, _)| told.said == Said::Violates) {
            let violates = |sample: &&Sample| {
                let said = sample.with_facts(|facts| rules.policies.told(told.policy, facts, team, at));
                said.is_some_and(|said| said.said == Said::Violates)
            };
            let key = |sample: &Sample| key_of(team, sample, told.policy, rules);
            // One that is open goes on, though another origin would do as well.
            let open = samples.iter().filter(violates).filter_map(key).find(|key| shard.violations.is_open(key));
            if let Some(key) = open {
                violated.insert(key);
                continue;
            }
            let Some((sample, key)) = samples.get(*by).and_then(|sample| Some((sample, key(sample)?))) else { continue };
            // What ended was ended later than the deployment began.
            let is_again = shard.violations.get(&key).is_some();
            let seen = seen(&event);
            let seen = if is_again { Seen { at, ..seen } } else { seen };
            violated.insert(key);
            hits(shard, sample, &[*told], &seen, rules, effects);
        }
        let told: Vec<Told> = told.into_iter().map(|(told, _)| told).collect();
        let undecided = undecided(&told, rules);
        for policy in undecided.iter().filter(|policy| !deployment.undecided.contains(policy)) {
            shard.violations.count(policy, Said::Indeterminate, 1);
        }
        deployment.undecided = undecided;
    }
    for key in keys(shard, team, &known).difference(&violated) {
        life::end(shard, key.clone(), now, rules, effects);
    }
    if deployments != known.deployments {
        shard.violations.keep_model(team, model, super::KnownModel { deployments, ..known });
    }
}

/// Open violations that deployments of a model have led to.
fn keys(shard: &Shard, team: &Text, known: &super::KnownModel) -> BTreeSet<Key> {
    let identities: Vec<u128> = known.deployments.iter().filter_map(|deployment| seen(&*deployment.event()?).identity).collect();
    shard.violations.open_of_team(team, |_, tracked| tracked.lasts && tracked.latest.iter().any(|latest| identities.contains(latest)))
}

/// The same of all models that an activity event may be about.
pub(super) fn keys_meant(shard: &Shard, activity: &ActivityEvent) -> BTreeSet<Key> {
    let team = &activity.team;
    let meant = shard.violations.models_meant(activity);
    meant.iter().filter_map(|model| shard.violations.model(team, model)).flat_map(|known| keys(shard, team, known)).collect()
}

fn key_of(team: &Text, sample: &Sample, place: usize, rules: &WatchRules) -> Option<Key> {
    let policy = rules.policies.policy(place)?;
    let subject = sample.with_facts(|facts| policy.finding(facts).subject);
    Some(Key { team: team.clone(), policy: policy.id.clone(), subject, currency: None })
}

/// Approvals end, and the time in which a gap may still be filled; what runs is judged again then, whatever comes.
pub(super) fn look(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    if rules.policies.is_empty() || shard.violations.next_look.is_some_and(|next| now < next) {
        return;
    }
    let looked = std::mem::replace(&mut shard.violations.looked, now);
    let mut due: BTreeSet<(Text, Text)> = BTreeSet::new();
    let mut next = Timestamp(i64::MAX);
    for (end, names) in shard.violations.ends(rules.lineage_grace_ms) {
        if end > now {
            next = next.min(end);
        } else if end > looked {
            due.extend(names);
        }
    }
    shard.violations.next_look = Some(next);
    for (team, model) in due {
        judge_again(shard, &team, &model, rules, effects);
        life::judge_again(shard, Some((&team, &model)), rules, effects);
    }
}

impl Violations {
    /// Whether it is open, under its own name or together with others.
    fn is_open(&self, key: &Key) -> bool {
        let other = Key { subject: OTHER.to_string(), ..key.clone() };
        [key, &other].iter().any(|key| self.get(key).is_some_and(|tracked| tracked.is_open()))
    }

    /// When something ends by itself, and which models of which teams that concerns.
    fn ends(&self, grace_ms: i64) -> Vec<(Timestamp, Vec<(Text, Text)>)> {
        let named = |team: &Text, approval: &Approval| match &approval.model {
            Some(model) => vec![(team.clone(), model.clone())],
            None => Vec::new(),
        };
        let approvals = self.approvals.iter().flat_map(|(team, approvals)| approvals.iter().map(move |approval| (team, approval)));
        let approvals = approvals.filter_map(|(team, approval)| Some((approval.until?, named(team, approval))));
        let old = self.models.iter().filter_map(|(name, known)| Some((known.old_approval_ends()?, vec![name.clone()])));
        let gaps = self.gaps.iter().map(|(name, since)| {
            let teams = self.teams_of(&name.model);
            (since.plus_ms(grace_ms), teams.into_iter().map(|team| (team, name.model.clone())).collect())
        });
        approvals.chain(old).chain(gaps).collect()
    }

    /// Models of the team that an activity event may be about: the one that it names, or the one that its approval does.
    pub(super) fn models_meant(&self, activity: &ActivityEvent) -> Vec<Text> {
        let of_approval = || self.approval_named(&activity.team, activity.approval.as_deref()?)?.model.clone();
        activity.model.clone().or_else(of_approval).into_iter().collect()
    }
}
