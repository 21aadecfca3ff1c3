//! Where models run, so that what becomes known later is held against what runs already: an origin that is discovered, an approval that comes or
//! ends, a gap that nobody has filled in time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::whole::{Seen, hits, seen, told_of};
use super::{Key, KnownModel, Violations, judge, life};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
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
/// Of these, together.
const MOST_BYTES: usize = 1 << 20;

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
        read(&self.event)
    }
}

impl KnownModel {
    /// What ran there runs no more, and what is told of it later and began before does not either.
    pub fn undeploy(&mut self, undeployment: &ActivityEvent) {
        let is_over = |deployment: &Deployment| deployment.event().is_none_or(|event| is_undone(&event, undeployment));
        self.deployments.retain(|deployment| !is_over(deployment));
        if let Some(event) = written(undeployment).filter(|event| !self.undeployments.contains(event)) {
            self.undeployments.push(event);
            bound(&mut self.undeployments, Vec::len);
        }
    }

    fn is_over(&self, deployment: &ActivityEvent) -> bool {
        self.undeployments.iter().filter_map(|event| read(event)).any(|undeployment| is_undone(deployment, &undeployment))
    }

    /// It is over, or another one has taken its place since.
    fn is_past(&self, deployment: &ActivityEvent) -> bool {
        let is_later = |known: &ActivityEvent| place(known) == place(deployment) && known.event_time > deployment.event_time;
        self.is_over(deployment) || self.deployments.iter().filter_map(Deployment::event).any(|known| is_later(&known))
    }
}

/// An undeployment ends all before it that it does not say to be another: without a region those of all regions.
fn is_undone(deployment: &ActivityEvent, undeployment: &ActivityEvent) -> bool {
    let places = [place(undeployment), place(deployment)];
    let [named, own] = &places;
    deployment.event_time <= undeployment.event_time && named.iter().zip(own).all(|(named, own)| named.is_none() || named == own)
}

/// Versions of a team's model that run before the undeployments among these events, which come together and are not judged yet, and those of
/// them that still run after them; an empty one: of a deployment that names none.
pub(in crate::watch) fn versions_around(shard: &Shard, events: &[ShardEvent], team: &Text, model: &Text) -> [BTreeSet<Text>; 2] {
    let known = shard.violations.model(team, model);
    let of = |action: &'static str| {
        events.iter().filter_map(move |event| match event {
            ShardEvent::Activity(activity) if activity.team == *team && activity.model.as_ref() == Some(model) => {
                Some(&**activity).filter(|activity| activity.action.as_deref() == Some(action))
            }
            _ => None,
        })
    };
    let told = of("deployment").filter(|deployment| !known.is_some_and(|known| known.is_over(deployment))).cloned();
    let running: Vec<ActivityEvent> =
        known.iter().flat_map(|known| &known.deployments).filter_map(Deployment::event).map(|event| *event).chain(told).collect();
    let left = |deployment: &&ActivityEvent| !of("undeployment").any(|undeployment| is_undone(deployment, undeployment));
    let version = |deployment: &ActivityEvent| deployment.model_version.clone().unwrap_or_else(|| Text::from(""));
    [running.iter().map(version).collect(), running.iter().filter(left).map(version).collect()]
}

/// What tells deployments of a model apart.
fn place(event: &ActivityEvent) -> [Option<&Text>; 4] {
    [event.model_version.as_ref(), event.region.as_ref(), event.environment.as_ref(), event.resource_id.as_ref()]
}

/// As a record of the shard log; it has come in this form.
fn written(event: &ActivityEvent) -> Option<Vec<u8>> {
    let record = ShardRecord { events: vec![ShardEvent::Activity(Box::new(event.clone()))], ..ShardRecord::default() };
    encode_shard_record(&record).ok()
}

fn read(event: &[u8]) -> Option<Box<ActivityEvent>> {
    match decode_shard_record(event).ok()?.events.pop()? {
        ShardEvent::Activity(activity) => Some(activity),
        _ => None,
    }
}

/// The last ones, so that a value of the state stays far below what a record of Kafka may hold.
fn bound<T>(events: &mut Vec<T>, bytes: impl Fn(&T) -> usize) {
    while events.len() > MOST || events.iter().map(&bytes).sum::<usize>() > MOST_BYTES {
        events.remove(0);
    }
}

/// Whether a deployment is heard of after what ended it: nothing would ever end what it began.
pub(super) fn is_past(shard: &Shard, deployment: &ActivityEvent) -> bool {
    let known = deployment.model.as_ref().and_then(|model| shard.violations.model(&deployment.team, model));
    known.is_some_and(|known| known.is_past(deployment))
}

/// Remembers a deployment that goes on; it takes the place of one in the same place.
pub(super) fn keep(shard: &mut Shard, deployment: &ActivityEvent, model: &Text, told: &[Told], rules: &WatchRules) {
    let Some(mut known) = shard.violations.model_to_change(&deployment.team, model, MOST_MODELS) else { return };
    let Some(event) = written(deployment) else { return };
    let is_same_place = |known: &Deployment| known.event().is_none_or(|event| place(&event) == place(deployment));
    known.deployments.retain(|known| !is_same_place(known));
    known.deployments.push(Deployment { event, undecided: undecided(told, rules) });
    bound(&mut known.deployments, |deployment| deployment.event.len());
    shard.violations.keep_deployments(&deployment.team, model, known);
}

fn undecided(told: &[Told], rules: &WatchRules) -> Vec<Text> {
    let open = told.iter().filter(|told| told.said == Said::Indeterminate);
    open.filter_map(|told| rules.policies.policy(told.policy)).map(|policy| policy.id.clone()).collect()
}

/// Holds all deployments of some of a team's models against what is known now: opens what violates now, ends what does so no more. `before`:
/// violations of deployments that are not there any more, or that others have taken the place of.
pub(super) fn judge_again(
    shard: &mut Shard,
    team: &Text,
    models: &BTreeSet<Text>,
    before: &BTreeSet<Key>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let (mut violated, mut running) = (BTreeSet::new(), BTreeSet::new());
    for model in models {
        let Some(known) = shard.violations.model(team, model).filter(|known| !known.deployments.is_empty()).cloned() else { continue };
        running.extend(keys(shard, team, &known));
        judge_model(shard, (team, model), known, &mut violated, rules, effects);
    }
    // Where a grant violates the same policy it is left to that.
    let is_open = |key: &Key| shard.violations.get(key).is_some_and(|tracked| tracked.is_open() && tracked.grants.is_empty());
    let told: BTreeSet<&Key> = running.union(before).collect();
    let over: BTreeSet<Key> = told.into_iter().filter(|key| is_open(key) && !violated.contains(*key)).cloned().collect();
    if over.is_empty() {
        return;
    }
    let others = held_by_others(shard, team, models, rules);
    for (key, identity) in others.iter().filter(|(key, _)| over.contains(key)) {
        shard.violations.join(key, *identity);
    }
    let now = shard.header.watermarks.shard_time();
    for key in over.into_iter().filter(|key| others.iter().all(|(held, _)| held != key)) {
        let is_running = running.contains(&key);
        let why =
            if is_running { shard.violations.why_allowed(&key, now, rules) } else { "it does not run like that any more".to_string() };
        life::end(shard, key, now, &why, rules, effects);
    }
}

/// Holds the deployments of one model against what is known now. `violated`: what does violate.
fn judge_model(
    shard: &mut Shard,
    name: (&Text, &Text),
    known: KnownModel,
    violated: &mut BTreeSet<Key>,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let (team, model) = name;
    let now = shard.header.watermarks.shard_time();
    let mut deployments = known.deployments.clone();
    for deployment in &mut deployments {
        let Some(event) = deployment.event() else { continue };
        let at = now.max(event.event_time);
        let (samples, told) = told_of(shard, &event, at, rules);
        for (told, by) in told.iter().filter(|(told, _)| told.said == Said::Violates) {
            if let Some(key) = goes_on(shard, team, &samples, told, at, rules) {
                shard.violations.join(&key, seen(&event).identity);
                violated.insert(key);
                continue;
            }
            let key = |sample: &Sample| key_of(team, sample, told.policy, rules);
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
    if deployments != known.deployments {
        shard.violations.keep_deployments(team, model, KnownModel { deployments, ..known });
    }
}

/// The open violation that a deployment goes on to be one of, though another of its origins would do as well.
fn goes_on(shard: &Shard, team: &Text, samples: &[Sample], told: &Told, at: Timestamp, rules: &WatchRules) -> Option<Key> {
    let violates = |sample: &&Sample| {
        let said = sample.with_facts(|facts| rules.policies.told(told.policy, facts, team, at));
        said.is_some_and(|said| said.said == Said::Violates)
    };
    let mut keys = samples.iter().filter(violates).filter_map(|sample| key_of(team, sample, told.policy, rules));
    keys.find_map(|key| shard.violations.open_as(key))
}

/// Open violations that deployments of the team's other models are a part of now, with these deployments.
fn held_by_others(shard: &Shard, team: &Text, but: &BTreeSet<Text>, rules: &WatchRules) -> Vec<(Key, Option<u128>)> {
    let now = shard.header.watermarks.shard_time();
    let others = shard.violations.models.iter().filter(|((of, model), _)| of == team && !but.contains(model));
    let events = others.flat_map(|(_, known)| known.deployments.iter().filter_map(Deployment::event));
    let held = events.flat_map(|event| {
        let at = now.max(event.event_time);
        let (samples, told) = told_of(shard, &event, at, rules);
        let violates = told.into_iter().map(|(told, _)| told).filter(|told| told.said == Said::Violates);
        let keys = violates.filter_map(|told| goes_on(shard, team, &samples, &told, at, rules));
        keys.map(|key| (key, seen(&event).identity)).collect::<Vec<_>>()
    });
    held.collect()
}

/// Open violations that deployments of a model have led to.
fn keys(shard: &Shard, team: &Text, known: &KnownModel) -> BTreeSet<Key> {
    let identities: Vec<u128> = known.deployments.iter().filter_map(|deployment| seen(&*deployment.event()?).identity).collect();
    shard.violations.open_of_team(team, |_, tracked| tracked.lasts && tracked.latest.iter().any(|latest| identities.contains(latest)))
}

/// Whether a violation is also one of a deployment that runs.
pub(super) fn hold(shard: &Shard, key: &Key) -> bool {
    shard.violations.models_of(&key.team).any(|known| keys(shard, &key.team, known).contains(key))
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

/// Up to when it was seen to what ends by itself, and with which grace for gaps. A part of the state: what is late is not judged by what
/// holds after it, whether there was a restart in between or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    pub at: Timestamp,
    pub grace_ms: i64,
}

/// All deployments of all models: rules have changed.
pub(super) fn judge_all_again(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut running: BTreeMap<Text, BTreeSet<Text>> = BTreeMap::new();
    for ((team, model), _) in shard.violations.models.iter().filter(|(_, known)| !known.deployments.is_empty()) {
        running.entry(team.clone()).or_default().insert(model.clone());
    }
    for (team, models) in running {
        judge_again(shard, &team, &models, &BTreeSet::new(), rules, effects);
    }
}

/// Approvals end, exemptions, and the time in which a gap may still be filled; what runs is judged again then, whatever comes.
pub(super) fn look(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    let violations = &mut shard.violations;
    if rules.policies.is_empty() {
        return;
    }
    let before = violations.looked;
    if before.grace_ms != rules.lineage_grace_ms {
        violations.next_look = None;
        violations.looked = Looked { at: Timestamp(0), grace_ms: rules.lineage_grace_ms };
    }
    if violations.next_look.is_some_and(|next| now < next) {
        return;
    }
    let looked = std::mem::replace(&mut violations.looked.at, now);
    violations.has_looked |= violations.looked != before;
    // A policy begins or ends to hold, or an exemption ends.
    let (since, mut next) = rules.policies.window(now);
    if looked < since {
        judge_all_again(shard, rules, effects);
    }
    let mut due: BTreeSet<(Text, Text)> = BTreeSet::new();
    let mut ends = |end: Timestamp| {
        if end > now {
            next = next.min(end);
        }
        end > looked && end <= now
    };
    for (team, approvals) in &shard.violations.approvals {
        let over = approvals.iter().filter(|approval| approval.until.is_some_and(&mut ends));
        due.extend(over.filter_map(|approval| Some((team.clone(), approval.model.clone()?))));
    }
    let old = shard.violations.models.iter().filter(|(_, known)| known.old_approval_ends().is_some_and(&mut ends));
    due.extend(old.map(|(name, _)| name.clone()));
    for (name, _) in shard.violations.gaps.iter().filter(|(_, since)| ends(since.plus_ms(rules.lineage_grace_ms))) {
        due.extend(shard.violations.teams_of(&name.model).into_iter().map(|team| (team, name.model.clone())));
    }
    shard.violations.next_look = Some(next);
    let mut by_team: BTreeMap<Text, BTreeSet<Text>> = BTreeMap::new();
    for (team, model) in due {
        by_team.entry(team).or_default().insert(model);
    }
    for (team, models) in by_team {
        judge_again(shard, &team, &models, &BTreeSet::new(), rules, effects);
        for model in &models {
            judge::judge_again(shard, (Some(&team), Some(model)), rules, effects);
        }
    }
}

impl Violations {
    /// The one that is open of it, under its own name or together with others.
    fn open_as(&self, key: Key) -> Option<Key> {
        let other = Key { subject: OTHER.to_string(), ..key.clone() };
        [key, other].into_iter().find(|key| self.get(key).is_some_and(|tracked| tracked.is_open()))
    }

    /// It ends with the last of the deployments that it is of, whichever began it.
    fn join(&mut self, key: &Key, identity: Option<u128>) {
        let Some(identity) = identity else { return };
        let Some(mut tracked) = self.get(key).filter(|tracked| !tracked.has_lately_joined(identity)).cloned() else { return };
        tracked.join(identity);
        self.keep(key.clone(), tracked);
    }

    /// What is known of where a model runs; that says nothing of what it answers.
    pub(super) fn keep_deployments(&mut self, team: &Text, model: &Text, known: KnownModel) {
        let name = (team.clone(), model.clone());
        self.models_changed.insert(name.clone());
        self.models.insert(name, known);
    }

    fn models_of<'a>(&'a self, team: &'a Text) -> impl Iterator<Item = &'a KnownModel> {
        self.models.iter().filter(move |((of, _), _)| of == team).map(|(_, known)| known)
    }

    /// Models of the team that an activity event may be about: the one that it names, or the one that its approval does.
    pub(super) fn models_meant(&self, activity: &ActivityEvent) -> BTreeSet<Text> {
        let of_approval = || self.approval_named(&activity.team, activity.approval.as_deref()?)?.model.clone();
        activity.model.clone().or_else(of_approval).into_iter().collect()
    }
}
