//! The life of a violation: it opens with the first event, is updated as it grows, ends when nothing was heard of it for a day or the rules
//! allow it, and opens again under the same id.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::grants::{self, Granted};
use super::standing::is_built_in;
use super::{Key, Violations};
use crate::model::Text;
use crate::model::alert::{AlertState, Severity};
use crate::model::effect::Effect;
use crate::model::hash::hash128;
use crate::model::leaf::{Account, Leaf, Measure, OTHER, Scope};
use crate::model::money::{Currency, Nanos};
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::model::violation::{ENDED, Violation};
use crate::policy::Policy;
use crate::policy::fields::Subject;
use crate::policy::stream::Finding;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Without a hit for so long, in event time, a violation is over.
pub(super) const QUIET_MS: i64 = DAY_MS;
/// One that is over is kept for so long, so that it goes on under its id; what comes later is another one.
const KEEP_MS: i64 = 35 * DAY_MS;
/// Of one policy and team; what is more is one violation together, whoever sends ever new names.
const MOST_SUBJECTS: usize = 500;
/// Users that a violation names.
const MOST_USERS: usize = 20;
/// Events that came whole and are known again when they come twice.
const MOST_LATEST: usize = 32;
/// The same of what lasts, which is found again by them: more than deployments of a model are remembered.
const MOST_LASTING: usize = 256;
/// A sample stands for this long at most.
const LONGEST_SAMPLE_MS: i64 = 2 * HOUR_MS;
/// A violation explains an alert when it lies within a cause of at least this share.
const EXPLAINING_SHARE: f64 = 0.3;

/// What is known of one violation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    pub id: String,
    pub incident_id: String,
    pub revision: u64,
    pub state: AlertState,
    pub severity: Severity,
    pub policy_hash: Text,
    pub policy_version: Option<String>,
    pub pack: Option<Text>,
    pub action: String,
    pub dimensions: BTreeMap<String, String>,
    pub evidence: BTreeMap<String, String>,
    pub message: String,
    pub remedy: Option<String>,
    /// The leaf that was last seen to violate.
    pub leaf: Option<Leaf>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub last_ingest: Timestamp,
    pub detected_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub count: u64,
    pub amount: Nanos,
    /// As last told.
    pub told_seen: Timestamp,
    pub told_amount: Nanos,
    pub notify: bool,
    /// Some of those who did it.
    pub users: BTreeSet<Text>,
    /// It goes on until somebody ends it.
    pub lasts: bool,
    /// Identities of the latest events that came whole.
    pub latest: Vec<u128>,
    /// Earlier versions wrote all but this and what follows.
    pub answers: Answers,
    /// That violate, and when they were last given. Last: then they wrote all but this.
    pub grants: BTreeMap<Granted, Timestamp>,
}

/// Events that violate a policy.
pub(in crate::watch) struct Hit<'a> {
    /// In the policies of the rules.
    pub place: usize,
    pub policy: &'a Policy,
    pub finding: Finding,
    pub team: &'a Text,
    /// `None`: it is not about money.
    pub currency: Option<Currency>,
    pub events: u64,
    pub cost: Nanos,
    /// Of a resource: what it costs an hour, from one sample to the next.
    pub hourly: Option<Nanos>,
    pub event_time: Timestamp,
    pub ingest_time: Timestamp,
    /// Of an event that came whole: it may come twice.
    pub identity: Option<u128>,
    /// Of usage.
    pub leaf: Option<&'a Leaf>,
    /// Who did it, as far as that is known.
    pub users: Vec<&'a Text>,
    /// It goes on until somebody ends it, however quiet it is.
    pub lasts: bool,
    /// What the event grants to somebody.
    pub grants: Vec<Granted>,
}

impl Tracked {
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Over for so long that what comes now is another violation; whether it is still kept makes no difference.
    pub(super) fn is_forgotten(&self, watermark: Option<Timestamp>) -> bool {
        // What somebody has said of it may hold for longer.
        let is_old = |(closed, watermark): (Timestamp, Timestamp)| {
            watermark.0 - closed.0 > KEEP_MS && self.answers.until().is_none_or(|until| until <= watermark)
        };
        self.closed_at.zip(watermark).is_some_and(is_old)
    }

    fn is_over_since(&self, seen: Timestamp) -> bool {
        self.closed_at.is_some_and(|closed| seen < closed)
    }

    fn would_be_quiet(&self, seen: Timestamp, watermark: Option<Timestamp>) -> bool {
        watermark.is_some_and(|watermark| watermark.0 - self.last_seen.max(seen).0 >= QUIET_MS)
    }

    fn violation(&self, key: &Key, rules: &WatchRules, decided_at: Timestamp) -> Violation {
        let is_money = key.currency.is_some();
        Violation {
            id: self.id.clone(),
            incident_id: self.incident_id.clone(),
            revision: self.revision,
            policy: key.policy.to_string(),
            policy_version: self.policy_version.clone(),
            policy_hash: Some(self.policy_hash.to_string()).filter(|hash| !hash.is_empty()),
            pack: self.pack.as_deref().map(str::to_string),
            severity: self.severity,
            state: self.state,
            team: key.team.to_string(),
            subject: key.subject.clone(),
            dimensions: self.dimensions.clone(),
            event_time: Some(self.last_seen),
            ingest_time: Some(self.last_ingest),
            detected_at: self.detected_at,
            decided_at,
            closed_at: self.closed_at.or(self.answers.dismissed_at().filter(|_| self.state == AlertState::Retracted)),
            evidence: self.evidence.clone(),
            message: self.message.clone(),
            remedy: self.remedy.clone(),
            action: Some(self.action.clone()),
            count: self.count,
            amount: is_money.then_some(self.amount),
            currency: key.currency,
            measure: is_money.then_some(Measure::Estimated),
            feedback: self.answers.said.clone(),
            notify: self.notify && self.state != AlertState::Expected,
            time_zone: rules.time_zone(&key.team).to_string(),
            rules_revision: rules.revision,
        }
    }
}

/// Counts events that violate a policy: opens its violation, or adds to it.
pub(in crate::watch) fn hit(shard: &mut Shard, hit: Hit<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let subject = hit.finding.subject.clone();
    let mut key = Key { team: hit.team.clone(), policy: hit.policy.id.clone(), subject, currency: hit.currency };
    let watermark = shard.header.watermarks.watermark();
    if !shard.violations.known.contains_key(&key) && shard.violations.subjects_of(&key, watermark) >= MOST_SUBJECTS {
        key.subject = OTHER.to_string();
    }
    if hit.policy.when.subject == Subject::Resource && key.currency.is_none() {
        // A resource of which it is not told for once what it costs is the same resource.
        key = shard.violations.open_in_any_currency(&key, Timestamp(i64::MAX)).pop().unwrap_or(key);
    }
    let now = shard.header.watermarks.shard_time();
    let known = shard.violations.known.get(&key).filter(|known| !known.is_forgotten(watermark)).cloned();
    // What is over was ended by a later word on the same thing.
    let tells_a_state = hit.lasts || hit.policy.when.subject == Subject::Resource;
    let over = known.as_ref().filter(|known| known.is_over_since(hit.event_time));
    if over.is_some() && tells_a_state {
        return;
    }
    // Told so late that a day has been quiet since all the same: it is counted, and no news.
    if let Some(over) = over.filter(|over| over.would_be_quiet(hit.event_time, watermark)) {
        let mut over = over.clone();
        over.add(&hit);
        shard.violations.keep(key, over);
        return;
    }
    let is_new = known.as_ref().is_none_or(|known| !known.is_open());
    let mut tracked = known.unwrap_or_else(|| fresh(&key, hit.policy.severity, hit.event_time, hit.ingest_time, hit.lasts, now));
    if is_new {
        tracked.begin(hit.team, hit.event_time, rules);
        if hit.lasts {
            // The same deployment may violate again; a late double of it is told by its time.
            tracked.latest.clear();
        }
    }
    if !tracked.add(&hit) {
        return;
    }
    let has_lapsed = tracked.lapse(tracked.at(now));
    let explained = if tracked.incident_id == tracked.id { hit.leaf.and_then(|leaf| explained(shard, leaf)) } else { None };
    let hash = rules.policies.hash_of(hit.place);
    let (project, environment) = hit.leaf.map_or(("", ""), |leaf| (&*leaf.project, &*leaf.environment));
    let limits = rules.thresholds(hit.team, project, environment);
    let grown = tracked.amount.saturating_sub(tracked.told_amount);
    // Told anew each hour of usage, and at once where it becomes much more.
    let is_news = is_new
        || has_lapsed
        || explained.is_some()
        || tracked.policy_hash != hash
        || tracked.last_seen.hour() > tracked.told_seen.hour()
        || (grown >= limits.least_excess && tracked.amount.0 as f64 >= tracked.told_amount.0 as f64 * limits.update_growth);
    tracked.incident_id = explained.unwrap_or(tracked.incident_id);
    if is_news {
        tracked.policy_hash = hash;
        tracked.say(hit.policy, hit.finding);
        effects.extend(tracked.told(is_new || has_lapsed, &key, rules, now));
    }
    shard.violations.keep(key, tracked);
}

pub(super) fn fresh(key: &Key, severity: Severity, seen: Timestamp, ingest_time: Timestamp, lasts: bool, now: Timestamp) -> Tracked {
    let currency = key.currency.map_or(String::new(), |currency| currency.as_str().to_string());
    // With its begin: one that comes again long after the last was forgotten is another one.
    let parts = [key.team.as_bytes(), key.policy.as_bytes(), key.subject.as_bytes(), currency.as_bytes(), &seen.0.to_be_bytes()];
    let id = format!("{}/{:032x}", key.team, hash128(&parts));
    Tracked {
        incident_id: id.clone(),
        id,
        revision: 0,
        state: AlertState::Open,
        severity,
        policy_hash: "".into(),
        policy_version: None,
        pack: None,
        action: String::new(),
        dimensions: BTreeMap::new(),
        evidence: BTreeMap::new(),
        message: String::new(),
        remedy: None,
        leaf: None,
        first_seen: seen,
        last_seen: seen,
        last_ingest: ingest_time,
        detected_at: now,
        closed_at: None,
        count: 0,
        amount: Nanos::ZERO,
        told_seen: seen,
        told_amount: Nanos::ZERO,
        notify: false,
        users: BTreeSet::new(),
        lasts,
        latest: Vec::new(),
        answers: Answers::default(),
        grants: BTreeMap::new(),
    }
}

impl Tracked {
    /// Opens, or opens again: what happened is new, the id and its revisions are not. What is of before its end goes on with what it was.
    pub(super) fn begin(&mut self, team: &Text, seen: Timestamp, rules: &WatchRules) {
        if !self.is_over_since(seen) {
            (self.count, self.amount) = (0, Nanos::ZERO);
            self.users.clear();
            self.first_seen = seen;
        }
        self.closed_at = None;
        self.grants.clear();
        self.last_seen = self.last_seen.max(self.first_seen);
        self.incident_id = self.id.clone();
        self.notify = !rules.team(team).is_some_and(|rule| rule.observe);
    }

    /// So much later than it was last told that it is told again.
    pub(super) fn has_stood_for_a_day(&self) -> bool {
        self.last_seen.0 - self.told_seen.0 >= DAY_MS
    }

    /// False: it is an event that was here before.
    fn add(&mut self, hit: &Hit<'_>) -> bool {
        if let Some(identity) = hit.identity {
            if self.latest.contains(&identity) {
                return false;
            }
            self.remember(identity, if hit.lasts { MOST_LASTING } else { MOST_LATEST });
        }
        self.count = self.count.saturating_add(hit.events);
        self.amount = self.amount.saturating_add(hit.cost);
        if let Some(hourly) = hit.hourly {
            let passed = (hit.event_time.0 - self.last_seen.0).clamp(0, LONGEST_SAMPLE_MS);
            let cost = hourly.0.saturating_mul(i128::from(passed)) / i128::from(HOUR_MS);
            self.amount = self.amount.saturating_add(Nanos(cost));
        }
        self.first_seen = self.first_seen.min(hit.event_time);
        self.last_seen = self.last_seen.max(hit.event_time);
        self.last_ingest = self.last_ingest.max(hit.ingest_time);
        for granted in &hit.grants {
            if self.grants.contains_key(granted) || self.grants.len() < grants::MOST {
                let given = self.grants.entry(granted.clone()).or_insert(hit.event_time);
                *given = hit.event_time.max(*given);
            }
        }
        // Whatever else is of the same kind.
        self.lasts = hit.lasts || !self.grants.is_empty();
        self.leaf = hit.leaf.cloned().or(self.leaf.take());
        for user in &hit.users {
            if self.users.len() < MOST_USERS {
                self.users.insert(Text::clone(user));
            }
        }
        true
    }

    fn remember(&mut self, identity: u128, most: usize) {
        self.latest.retain(|known| *known != identity);
        self.latest.push(identity);
        self.latest.drain(..self.latest.len().saturating_sub(most));
    }

    /// An event that was judged before violates now: it is a part of this one, and goes on being.
    pub(super) fn join(&mut self, identity: u128) {
        self.remember(identity, MOST_LASTING);
    }

    /// Whether it is far from being pushed out. Those of deployments that have gone are not joined again, and are.
    pub(super) fn has_lately_joined(&self, identity: u128) -> bool {
        self.latest.iter().rev().take(MOST_LASTING / 2).any(|known| *known == identity)
    }

    fn say(&mut self, policy: &Policy, finding: Finding) {
        self.severity = policy.severity;
        self.policy_version = policy.as_of.map(|as_of| as_of.to_string().chars().take(10).collect());
        self.pack = policy.pack.clone();
        self.action = policy.action().to_string();
        self.dimensions = finding.dimensions;
        self.evidence = finding.evidence;
        self.evidence.insert("first_seen".to_string(), self.first_seen.to_string());
        if !self.users.is_empty() {
            let users: Vec<&str> = self.users.iter().map(|user| &**user).collect();
            self.evidence.insert("users".to_string(), users.join(", "));
        }
        self.evidence.extend(policy.source.iter().map(|source| ("rule_source".to_string(), source.to_string())));
        self.message = finding.message;
        self.remedy = finding.remedy;
    }

    /// The next revision of one that is open: whether it has just begun, or begun again.
    pub(super) fn told(&mut self, is_new: bool, key: &Key, rules: &WatchRules, now: Timestamp) -> Option<Effect> {
        let state = match (self.revision, is_new) {
            (0, _) => AlertState::Open,
            (_, true) => AlertState::Reopened,
            (_, false) => AlertState::Updated,
        };
        self.next(state, key, rules, now)
    }

    /// The next revision, as people have answered it. `None`: they have said that it is none.
    pub(super) fn next(&mut self, state: AlertState, key: &Key, rules: &WatchRules, now: Timestamp) -> Option<Effect> {
        let at = self.at(now);
        let state = if self.lapse(at) && state == AlertState::Updated { AlertState::Reopened } else { state };
        self.state = self.answered(state, at)?;
        Some(self.revise(key, rules, now))
    }

    pub(super) fn revise(&mut self, key: &Key, rules: &WatchRules, now: Timestamp) -> Effect {
        self.revision = self.revision.saturating_add(1);
        (self.told_seen, self.told_amount) = (self.last_seen, self.amount);
        Effect::Violation(Box::new(self.violation(key, rules, now)))
    }
}

/// The open alert that usage of this leaf is a cause of.
fn explained(shard: &Shard, leaf: &Leaf) -> Option<String> {
    let account = Account { measure: Measure::Estimated, ..leaf.account() };
    let state = shard.accounts.get(shard.accounts.number_of(&account)?)?;
    let own = Scope::Leaf(leaf.dimensions());
    let named = own.dimensions();
    let is_part = |(name, value): (&String, &String)| name == "user" || named.get(name) == Some(value);
    let explains = |causes: &[crate::model::alert::Cause]| {
        let large = causes.iter().filter(|cause| cause.share >= EXPLAINING_SHARE && !cause.dimensions.is_empty());
        large.into_iter().any(|cause| cause.dimensions.iter().all(is_part))
    };
    let mut open = state.open_episodes().filter(|episode| own.within(&episode.scope) && explains(&episode.causes));
    open.next().map(|episode| episode.id.clone())
}

/// Ends what has not been seen for a day, and forgets what ended long ago.
pub(super) fn end_quiet_ones(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(watermark) = shard.header.watermarks.watermark() else { return };
    let violations = &mut shard.violations;
    if violations.known.is_empty() || violations.oldest.is_some_and(|oldest| watermark.0 - oldest.0 < QUIET_MS) {
        return;
    }
    let is_quiet = |tracked: &Tracked| tracked.is_open() && !tracked.lasts && watermark.0 - tracked.last_seen.0 >= QUIET_MS;
    let quiet: Vec<Key> = violations.known.iter().filter(|(_, tracked)| is_quiet(tracked)).map(|(key, _)| key.clone()).collect();
    let is_old = |tracked: &Tracked| tracked.is_forgotten(Some(watermark));
    let old: Vec<Key> = violations.known.iter().filter(|(_, tracked)| is_old(tracked)).map(|(key, _)| key.clone()).collect();
    for key in old {
        violations.known.remove(&key);
        violations.changed.insert(key);
    }
    for key in quiet {
        let closed_at = shard.violations.known.get(&key).map_or(watermark, |tracked| tracked.last_seen.plus_ms(QUIET_MS));
        end(shard, key, closed_at, "nothing of it has come for a day", rules, effects);
    }
    let open = shard.violations.known.values().filter(|tracked| tracked.is_open() && !tracked.lasts);
    // Looked at again at least once an hour, for those that are to be forgotten.
    let next_look = watermark.plus_ms(HOUR_MS - QUIET_MS);
    shard.violations.oldest = open.map(|tracked| tracked.last_seen).min().map_or(Some(next_look), |oldest| Some(oldest.min(next_look)));
}

/// `why`: empty where nobody can say.
pub(in crate::watch) fn end(shard: &mut Shard, key: Key, closed_at: Timestamp, why: &str, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    let Some(mut tracked) = shard.violations.known.get(&key).cloned() else { return };
    tracked.closed_at = Some(closed_at);
    let is_gone = !is_built_in(&key.policy) && rules.policies.place_of(&key.policy).is_none();
    let why = if is_gone { "the policy is gone" } else { why };
    if !why.is_empty() {
        tracked.evidence.insert(ENDED.to_string(), why.to_string());
    }
    effects.extend(tracked.next(AlertState::Resolved, &key, rules, now));
    shard.violations.keep(key, tracked);
}

impl Violations {
    pub(super) fn keep(&mut self, key: Key, tracked: Tracked) {
        if tracked.is_open() {
            self.oldest = self.oldest.map(|oldest| oldest.min(tracked.last_seen));
        }
        self.next_lapse = self.next_lapse.map(|next| tracked.answers.until().map_or(next, |until| next.min(until)));
        self.changed.insert(key.clone());
        self.known.insert(key, tracked);
    }

    pub(super) fn has_open(&self, team: &Text, policy: &Text) -> bool {
        let first = Key { team: team.clone(), policy: policy.clone(), subject: String::new(), currency: None };
        let mut own = self.known.range(first..).take_while(|(known, _)| known.team == *team && known.policy == *policy);
        own.any(|(_, tracked)| tracked.is_open())
    }

    /// Open ones of this team, policy and subject, and last seen no later than this.
    pub(super) fn open_in_any_currency(&self, of: &Key, at: Timestamp) -> Vec<Key> {
        let first = Key { currency: None, ..of.clone() };
        let own = self.known.range(first.clone()..).take_while(|(key, _)| Key { currency: None, ..(*key).clone() } == first);
        own.filter(|(_, tracked)| tracked.is_open() && tracked.last_seen <= at).map(|(key, _)| key.clone()).collect()
    }

    /// Open ones of a team of which this holds.
    pub(super) fn open_of_team(&self, team: &Text, is: impl Fn(&Key, &Tracked) -> bool) -> BTreeSet<Key> {
        let first = Key { team: team.clone(), policy: "".into(), subject: String::new(), currency: None };
        let own = self.known.range(first..).take_while(|(known, _)| known.team == *team);
        own.filter(|(key, tracked)| tracked.is_open() && is(key, tracked)).map(|(key, _)| key.clone()).collect()
    }

    /// Open ones that are told under ids with this beginning, whatever their team, and of which this holds.
    pub(in crate::watch) fn open_of(&self, ids: &str, is: impl Fn(&Key, &BTreeMap<String, String>) -> bool) -> Vec<Key> {
        let open = self.known.iter().filter(|(key, tracked)| tracked.is_open() && key.policy.starts_with(ids));
        open.filter(|(key, tracked)| is(key, &tracked.dimensions)).map(|(key, _)| key.clone()).collect()
    }

    /// Who has done it while it is open, and who does it now.
    pub(super) fn users_of<'a>(&'a self, key: &Key, now: &[&'a Text]) -> BTreeSet<&'a str> {
        let open = self.known.get(key).filter(|tracked| tracked.is_open());
        open.iter().flat_map(|tracked| &tracked.users).map(|user| &**user).chain(now.iter().map(|user| &***user)).collect()
    }

    /// Violations of this team and policy.
    fn subjects_of(&self, key: &Key, watermark: Option<Timestamp>) -> usize {
        let first = Key { subject: String::new(), currency: None, ..key.clone() };
        let own = self.known.range(first..).take_while(|(known, _)| known.team == key.team && known.policy == key.policy);
        own.filter(|(_, tracked)| !tracked.is_forgotten(watermark)).count()
    }
}
