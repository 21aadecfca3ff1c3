//! Violations that no file of policies knows of: somebody else says that something is wrong, and when it no longer is.

use std::collections::BTreeMap;

use super::Key;
use super::life::{self, Tracked};
use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::time::Timestamp;
use crate::watch::access::rules as access;
use crate::watch::drift;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Whether a violation is none of a policy that somebody has written: neither changed policies nor activity on the same model end it.
pub(crate) fn is_built_in(policy: &Text) -> bool {
    **policy == *drift::POLICY || policy.starts_with(access::PREFIX)
}

/// How it stands now.
pub(crate) struct Standing {
    pub severity: Severity,
    pub dimensions: BTreeMap<String, String>,
    pub evidence: BTreeMap<String, String>,
    pub message: String,
    pub remedy: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub count: u64,
}

/// Opens it, opens it again, or says what is new of it: at once where that is news, else once a day.
pub(crate) fn stand(shard: &mut Shard, key: Key, standing: Standing, is_news: bool, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let watermark = shard.header.watermarks.watermark();
    let now = shard.header.watermarks.shard_time();
    let known = shard.violations.get(&key).filter(|known| !known.is_forgotten(watermark)).cloned();
    let is_new = known.as_ref().is_none_or(|known| !known.is_open());
    let mut tracked = known.unwrap_or_else(|| life::fresh(&key, standing.severity, standing.first_seen, standing.last_seen, true, now));
    if is_new {
        tracked.begin(&key.team, standing.first_seen, rules);
    }
    tracked.stand(standing);
    let has_lapsed = tracked.lapse(tracked.at(now));
    if is_new || is_news || has_lapsed || tracked.has_stood_for_a_day() {
        effects.extend(tracked.told(is_new || has_lapsed, &key, rules, now));
    }
    shard.violations.keep(key, tracked);
}

/// It is over, if it was open. `message`: why.
pub(crate) fn end(shard: &mut Shard, key: Key, at: Timestamp, message: &str, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(mut tracked) = shard.violations.get(&key).filter(|tracked| tracked.is_open()).cloned() else { return };
    tracked.message = message.to_string();
    tracked.remedy = None;
    shard.violations.keep(key.clone(), tracked);
    life::end(shard, key, at, message, rules, effects);
}

impl Tracked {
    fn stand(&mut self, standing: Standing) {
        self.severity = standing.severity;
        self.action = "review".to_string();
        self.dimensions = standing.dimensions;
        self.evidence = standing.evidence;
        self.evidence.insert("first_seen".to_string(), standing.first_seen.to_string());
        self.message = standing.message;
        self.remedy = Some(standing.remedy);
        self.first_seen = self.first_seen.min(standing.first_seen);
        self.last_seen = self.last_seen.max(standing.last_seen);
        self.last_ingest = self.last_ingest.max(standing.last_seen);
        self.count = standing.count;
    }
}
