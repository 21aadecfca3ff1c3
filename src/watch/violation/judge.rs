//! What policies say of the usage in a record, and of violations of which nothing was heard for a day.

use std::collections::BTreeSet;

use super::facts::gravest;
use super::life::{self, Hit};
use super::standing::is_built_in;
use super::whole::judge_event;
use super::{Key, LeafVerdicts, Tracked, answers, deployments};
use crate::model::Text;
use crate::model::approval::About;
use crate::model::effect::Effect;
use crate::model::leaf::{Leaf, Measure, OTHER};
use crate::model::partial::{Partial, Said, ShardRecord};
use crate::model::time::Timestamp;
use crate::policy::Message;
use crate::policy::fields::Subject;
use crate::policy::stream::{Finding, Told};
use crate::watch::access::rules as access;
use crate::watch::rules::WatchRules;
use crate::watch::series::LeafState;
use crate::watch::shard::Shard;

/// Users that a message names.
const MOST_NAMED: usize = 5;

/// After merge and alerts, so that a violation finds the alert that it explains.
pub(crate) fn judge(shard: &mut Shard, record: &ShardRecord, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let policies = &*rules.policies;
    let has_other_grace = !policies.is_empty() && shard.violations.looked.grace_ms != rules.lineage_grace_ms;
    if has_other_grace {
        // What leaves were told by the other grace holds no more.
        shard.violations.models_revision += 1;
    }
    if shard.violations.judged_by != policies.hash() || has_other_grace {
        judge_again(shard, (None, None), rules, effects);
        deployments::judge_all_again(shard, rules, effects);
        shard.violations.judged_by = policies.hash();
        // What ends by itself ends by these rules now.
        shard.violations.next_look = None;
        shard.violations.is_judged_by_changed = true;
    }
    if !policies.is_empty() {
        // Of the bill it is not known by which team's doing it came about, and it names providers and regions in its own words.
        for partial in record.partials.iter().filter(|partial| partial.leaf.measure == Measure::Estimated) {
            judge_partial(shard, partial, rules, effects);
        }
    }
    deployments::look(shard, rules, effects);
    for (place, event) in record.events.iter().enumerate() {
        judge_event(shard, event, record.events.get(..place).unwrap_or_default(), rules, effects);
    }
    life::end_quiet_ones(shard, rules, effects);
    answers::look(shard, rules, effects);
}

fn judge_partial(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let policies = &*rules.policies;
    let mut violated = Vec::new();
    for told in of_leaf(shard, &partial.leaf, partial.last_event_time, rules) {
        let Some(policy) = policies.policy(told.policy) else { continue };
        shard.violations.count(&policy.id, told.said, partial.events);
        if told.said == Said::Violates {
            let users = partial.users.iter().map(|user| &user.user).collect();
            violated.push((told.policy, partial.events, partial.cost, users));
        }
    }
    for hit in &partial.hits {
        shard.violations.count(&hit.policy, hit.said, hit.events);
        // Intake may have other rules for a moment; what nobody knows here is counted, and no violation.
        let place = policies.place_of(&hit.policy).filter(|_| hit.said == Said::Violates);
        // Of some of a sum's events it is not known whose they are.
        let users = || if hit.events == partial.events { partial.users.iter().map(|user| &user.user).collect() } else { Vec::new() };
        violated.extend(place.map(|place| (place, hit.events, hit.cost, users())));
    }
    for (place, events, cost, users) in violated {
        let finding = finding(shard, place, &partial.leaf, partial.last_event_time, (&users, rules));
        let (Some(policy), Some(finding)) = (policies.policy(place), finding) else { continue };
        let hit = Hit {
            place,
            policy,
            finding,
            team: &partial.leaf.team,
            currency: Some(partial.leaf.currency),
            events,
            cost,
            hourly: None,
            identity: None,
            event_time: partial.last_event_time,
            ingest_time: partial.last_ingest_time,
            leaf: Some(&partial.leaf),
            users,
            lasts: false,
            grants: Vec::new(),
        };
        life::hit(shard, hit, rules, effects);
    }
}

/// What is said of a leaf at a time: remembered with the leaf, or worked out.
fn of_leaf(shard: &mut Shard, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> Vec<Told> {
    let policies = &*rules.policies;
    let models = shard.violations.models_revision;
    let place = shard.find(leaf);
    let state = place.and_then(|place| shard.accounts.get(place.account)?.node(place.node)?.leaf());
    let known = state.map(|state| &state.verdicts);
    let holds = |known: &&LeafVerdicts| known.hash == policies.hash() && known.models == models && known.from <= at && at < known.until;
    if let Some(known) = known.filter(holds) {
        return known.told.to_vec();
    }
    let told = asked(shard, leaf, at, rules);
    let (from, until) = window(shard, leaf, at, rules);
    let verdicts = LeafVerdicts { hash: policies.hash(), models, from, until, told: told.as_slice().into() };
    let state = place.and_then(|place| shard.accounts.get_mut(place.account)?.node_mut(place.node)?.leaf_mut());
    if let Some(state) = state {
        state.verdicts = verdicts;
    }
    told
}

/// What policies say of a leaf, whichever of its origins its model's data has.
fn asked(shard: &Shard, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> Vec<Told> {
    let policies = &*rules.policies;
    let known = shard.violations.origins(&leaf.team, &about(leaf), at, rules);
    let told = gravest(known.all.iter().map(|origin| policies.of_leaf(leaf, origin, at)));
    told.into_iter().map(|(told, _)| told).filter(|told| !(known.is_cleared && policies.asks_for_origin(told))).collect()
}

/// What a violation of a leaf says, by the first origin that makes it one. `users`: who did it now.
fn finding(shard: &Shard, place: usize, leaf: &Leaf, at: Timestamp, (users, rules): (&[&Text], &WatchRules)) -> Option<Finding> {
    let policies = &*rules.policies;
    let known = shard.violations.origins(&leaf.team, &about(leaf), at, rules);
    let violates = |told: &Told| told.policy == place && told.said == Said::Violates;
    let by = known.all.iter().find(|origin| policies.of_leaf(leaf, origin, at).iter().any(violates)).or(known.all.first())?;
    let found = policies.finding_of_leaf(place, leaf, by, "")?;
    let policy = policies.policy(place)?;
    let names_user = |message: &Message| message.fields_of_events(Subject::Usage).any(|field| field == "user");
    if !names_user(&policy.message) && !policy.remedy.as_ref().is_some_and(names_user) {
        return Some(found);
    }
    let key = Key { team: leaf.team.clone(), policy: policy.id.clone(), subject: found.subject.clone(), currency: Some(leaf.currency) };
    policies.finding_of_leaf(place, leaf, by, &listed(&shard.violations.users_of(&key, users)))
}

/// `ann, bob, cid and others`.
fn listed(users: &BTreeSet<&str>) -> String {
    let first: Vec<&str> = users.iter().copied().take(MOST_NAMED).collect();
    let others = if users.len() > MOST_NAMED { " and others" } else { "" };
    format!("{}{others}", first.join(", "))
}

fn about(leaf: &Leaf) -> About<'_> {
    About { model: Some(&leaf.model), region: Some(&*leaf.region).filter(|region| !region.is_empty()), ..About::default() }
}

/// From when to when the same is said of a leaf.
fn window(shard: &Shard, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> (Timestamp, Timestamp) {
    let (mut from, mut until) = rules.policies.window(at);
    for turn in shard.violations.turns(&leaf.team, &leaf.model, rules) {
        if turn <= at {
            from = from.max(turn);
        } else {
            until = until.min(turn);
        }
    }
    (from, until)
}

/// Whether a leaf violates a policy.
fn violates(shard: &Shard, key: &Key, leaf: &Leaf, at: Timestamp, rules: &WatchRules) -> bool {
    let is_of = |told: &Told| rules.policies.policy(told.policy).is_some_and(|policy| policy.id == key.policy);
    asked(shard, leaf, at, rules).iter().any(|told| told.said == Said::Violates && is_of(told))
}

/// Rules have changed, or what is known of a model: what is allowed now is over now. `of`: only what is of this team, and of this model.
pub(super) fn judge_again(shard: &mut Shard, of: (Option<&Text>, Option<&Text>), rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    let (team, model) = of;
    let is_asked = |key: &Key, tracked: &Tracked| {
        let leaf = tracked.leaf.as_ref();
        team.is_none_or(|team| key.team == *team) && model.is_none_or(|model| leaf.is_some_and(|leaf| leaf.model == *model))
    };
    let open = shard.violations.known.iter().filter(|(key, tracked)| tracked.is_open() && is_asked(key, tracked));
    let is_allowed = |key: &Key, tracked: &Tracked| {
        // What is no policy's is judged where it was found.
        if is_built_in(&key.policy) {
            return rules.matters.access.is_none() && key.policy.starts_with(access::PREFIX);
        }
        let Some(place) = rules.policies.place_of(&key.policy) else { return true };
        let Some(policy) = rules.policies.policy(place) else { return true };
        // What was said of single events cannot be asked again; it ends when nothing of the kind comes any more.
        let is_of_series = rules.policies.policies().is_of_series(policy);
        let Some(leaf) = tracked.leaf.as_ref().filter(|_| is_of_series) else { return false };
        key.subject != OTHER && !violates(shard, key, leaf, tracked.last_seen.max(now), rules)
    };
    let over: Vec<Key> = open.filter(|(key, tracked)| is_allowed(key, tracked)).map(|(key, _)| key.clone()).collect();
    for key in over {
        match goes_on_as(shard, &key, rules) {
            Some(tracked) => shard.violations.keep(key, tracked),
            None => {
                let why = shard.violations.why_allowed(&key, now, rules);
                life::end(shard, key, now, &why, rules, effects);
            }
        }
    }
}

/// Of usage that was seen last nothing violates any more; other usage of the day that is a part of the same violation may.
fn goes_on_as(shard: &Shard, key: &Key, rules: &WatchRules) -> Option<Tracked> {
    let tracked = shard.violations.known.get(key)?;
    let (place, last) = (rules.policies.place_of(&key.policy)?, tracked.leaf.as_ref()?);
    let at = tracked.last_seen.max(shard.header.watermarks.shard_time());
    let since = shard.header.watermarks.watermark()?.plus_ms(-life::QUIET_MS).hour();
    let is_recent = |state: &LeafState| {
        let closed = || state.recent.hours().iter().any(|(hour, totals)| *hour >= since && totals.events > 0);
        state.hours.iter().any(|(hour, _)| *hour >= since) || closed()
    };
    let account = last.account();
    let used = shard.accounts.get(shard.accounts.number_of(&account)?)?.leaves();
    let mut used = used.filter(|(.., state)| is_recent(state)).map(|(dimensions, ..)| dimensions.leaf_of(&account));
    let is_part = |leaf: &Leaf| {
        violates(shard, key, leaf, at, rules)
            && finding(shard, place, leaf, at, (&[], rules)).is_some_and(|finding| finding.subject == key.subject)
    };
    let leaf = used.find(is_part)?;
    Some(Tracked { leaf: Some(leaf), ..tracked.clone() })
}
