//! Violations of policies: which leaf violates what, since when, at what cost, until nothing is heard of it any more.
//!
//! Policies that look at nothing but a leaf's dimensions are asked once for each leaf, and again when rules change or an exemption ends; what
//! others said of single events has come with the partials. Where a model's data comes from is what `facts` has been told, who has reviewed
//! it stands in `approvals`. Reading order: `judge` (usage), `whole` (resources, and what somebody did), `life`, `answers` (what people
//! say of it), then `deployments` and `grants`.

mod answers;
#[cfg(test)]
mod answers_tests;
mod approvals;
mod deployments;
#[cfg(test)]
mod deployments_tests;
mod facts;
mod grants;
#[cfg(test)]
mod grants_tests;
mod judge;
mod life;
pub(crate) mod standing;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub(in crate::watch) use self::answers::answer;
pub use self::deployments::Looked;
pub(in crate::watch) use self::deployments::versions_around;
pub use self::facts::KnownData;
pub(crate) use self::facts::take as take_facts;
pub(in crate::watch) use self::grants::expire;
pub(crate) use self::judge::judge;
pub use self::life::Tracked;
pub(in crate::watch) use self::life::{Hit, end, hit};
pub use self::whole::KnownModel;
use crate::model::Text;
use crate::model::alert::AlertState;
use crate::model::approval::Approvals;
use crate::model::lineage::ModelName;
use crate::model::money::Currency;
use crate::model::partial::Said;
use crate::model::time::Timestamp;

/// What a violation is told by: there is one of each policy and subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub team: Text,
    pub policy: Text,
    /// `provider=deepseek`.
    pub subject: String,
    /// Amounts of two currencies are never added up; `None` where it is not about money.
    pub currency: Option<Currency>,
}

/// All violations of a shard, open or over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Violations {
    known: BTreeMap<Key, Tracked>,
    /// Hash of the policies that the open ones were last held against.
    judged_by: u64,
    /// What is known of models, by team and name.
    models: BTreeMap<(Text, Text), KnownModel>,
    models_changed: BTreeSet<(Text, Text)>,
    /// What lineage has told of models' data.
    data: BTreeMap<ModelName, KnownData>,
    data_changed: BTreeSet<ModelName>,
    /// Since when some of a model's data has had no known source, in shard time.
    gaps: BTreeMap<ModelName, Timestamp>,
    gaps_changed: BTreeSet<ModelName>,
    /// By team.
    approvals: BTreeMap<Text, Approvals>,
    approvals_changed: BTreeSet<Text>,
    /// Changes with what is known of models. Not a part of the state: what it is compared with is a cache.
    models_revision: u64,
    /// Wait to be written with the next transaction. Not a part of the state, nor is what follows.
    changed: BTreeSet<Key>,
    is_judged_by_changed: bool,
    /// No open one was last seen before this.
    oldest: Option<Timestamp>,
    /// No word on one that lasts ends before this.
    next_lapse: Option<Timestamp>,
    /// Nothing that holds for a model ends by itself before this.
    next_look: Option<Timestamp>,
    looked: Looked,
    has_looked: bool,
    /// Events that policies did not just let pass, since they were last asked for.
    verdicts: BTreeMap<(Text, Said), u64>,
}

/// What was said of a leaf the last time, and as long as it holds. A cache: nothing depends on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeafVerdicts {
    hash: u64,
    models: u64,
    from: Timestamp,
    until: Timestamp,
    told: Box<[crate::policy::stream::Told]>,
}

impl Violations {
    pub fn open(&self) -> usize {
        self.known.values().filter(|tracked| tracked.is_open() && tracked.state != AlertState::Retracted).count()
    }

    pub(in crate::watch) fn count(&mut self, policy: &Text, said: Said, events: u64) {
        *self.verdicts.entry((policy.clone(), said)).or_default() += events;
    }

    pub fn take_verdicts(&mut self) -> BTreeMap<(Text, Said), u64> {
        std::mem::take(&mut self.verdicts)
    }

    /// Keys that have changed, and whether the hash of the policies has.
    pub fn take_changed(&mut self) -> (BTreeSet<Key>, bool) {
        (std::mem::take(&mut self.changed), std::mem::take(&mut self.is_judged_by_changed))
    }

    pub fn model(&self, team: &Text, model: &Text) -> Option<&KnownModel> {
        self.models.get(&(team.clone(), model.clone()))
    }

    /// `None`: so many are known that there is no room for another one.
    fn model_to_change(&self, team: &Text, model: &Text, most: usize) -> Option<KnownModel> {
        let known = self.model(team, model).cloned();
        known.or_else(|| (self.models.len() < most).then(KnownModel::default))
    }

    fn keep_model(&mut self, team: &Text, model: &Text, known: KnownModel) {
        let name = (team.clone(), model.clone());
        self.models_revision += 1;
        self.models_changed.insert(name.clone());
        self.models.insert(name, known);
    }

    pub fn take_changed_models(&mut self) -> Vec<((Text, Text), KnownModel)> {
        let changed = std::mem::take(&mut self.models_changed);
        changed.into_iter().filter_map(|name| Some((name.clone(), self.models.get(&name)?.clone()))).collect()
    }

    /// On restore.
    pub fn put_model(&mut self, name: (Text, Text), known: Option<KnownModel>) {
        match known {
            Some(known) => self.models.insert(name, known),
            None => self.models.remove(&name),
        };
    }

    pub fn get(&self, key: &Key) -> Option<&Tracked> {
        self.known.get(key)
    }

    pub fn judged_by(&self) -> u64 {
        self.judged_by
    }

    /// On restore.
    pub fn put(&mut self, key: Key, tracked: Option<Tracked>) {
        match tracked {
            Some(tracked) => self.known.insert(key, tracked),
            None => self.known.remove(&key),
        };
    }

    /// If it has changed.
    pub fn take_looked(&mut self) -> Option<Looked> {
        std::mem::take(&mut self.has_looked).then_some(self.looked)
    }

    /// On restore.
    pub fn put_looked(&mut self, looked: Looked) {
        self.looked = looked;
    }

    /// On restore.
    pub fn put_judged_by(&mut self, hash: u64) {
        self.judged_by = hash;
    }
}

/// What waits to be written and what is counted for others is nobody's business.
impl PartialEq for Violations {
    fn eq(&self, other: &Violations) -> bool {
        self.judged_by == other.judged_by
            && self.known == other.known
            && self.models == other.models
            && (&self.data, &self.gaps, &self.approvals) == (&other.data, &other.gaps, &other.approvals)
    }
}
