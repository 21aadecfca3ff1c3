//! WATCH: merge partials, close hours by watermark, detect, explain, keep each alert's life. The only writer of alerts and roll-ups.
//!
//! One [`Shard`] per partition of the shard log. Evaluation is per record, never per batch, so the same log and the same rules give the
//! same output however the records were fetched. Reading order: `apply` below, then `merge`, `early`, `close`, then `alert/`.

pub mod alert;
pub mod baseline;
mod close;
pub mod detect;
mod early;
pub mod explain;
mod judge;
mod merge;
pub mod rules;
pub mod series;
pub mod state;
#[cfg(test)]
mod tests;
pub mod watermark;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::alert::episode::Episode;
use self::rules::WatchRules;
use self::series::{LeafState, Node};
use self::state::StateKey;
use self::watermark::Watermarks;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::partial::ShardRecord;
use crate::model::time::{Hour, Timestamp};

/// All of what one partition of the shard log has led to: plain values, owned by one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    header: Header,
    accounts: BTreeMap<Account, AccountState>,
    /// What has changed since `take_changes` was last called.
    dirty: BTreeSet<StateKey>,
}

/// What is true of the shard as a whole: one changelog key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub shard: u32,
    pub shard_count: u32,
    /// Offset of the next shard-log record to read.
    pub position: i64,
    pub rules_revision: u64,
    pub watermarks: Watermarks,
    pub closed_through: Option<Hour>,
    /// Amounts that came too late even for an amendment; they stand in a roll-up supplement of their own.
    pub late_partials: u64,
}

/// One team's spend in one measure and currency.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AccountState {
    pub nodes: BTreeMap<Scope, Node>,
    pub leaves: BTreeMap<LeafDimensions, LeafState>,
    pub episodes: BTreeMap<String, Episode>,
}

/// What every decision of one record needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub rules: &'a WatchRules,
    pub shard_time: Timestamp,
    pub closed_through: Option<Hour>,
}

impl Shard {
    pub fn new(shard: u32, shard_count: u32, rules: &WatchRules) -> Shard {
        let header = Header {
            shard,
            shard_count,
            position: 0,
            rules_revision: rules.revision,
            watermarks: Watermarks::default(),
            closed_through: None,
            late_partials: 0,
        };
        Shard { header, accounts: BTreeMap::new(), dirty: BTreeSet::new() }
    }

    /// An empty shard whose log begins at `position`.
    pub fn starting_at(shard: u32, shard_count: u32, position: i64, rules: &WatchRules) -> Shard {
        let mut fresh = Shard::new(shard, shard_count, rules);
        fresh.header.position = position;
        fresh
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Series (baselines) in this shard.
    pub fn series_count(&self) -> usize {
        self.accounts.values().map(|account| account.nodes.len()).sum()
    }

    /// Alerts that are open now.
    pub fn open_alerts(&self) -> usize {
        self.accounts.values().flat_map(|account| account.episodes.values()).filter(|episode| episode.is_open()).count()
    }

    /// Applies one record of the shard log. `append_time` is the broker's stamp on it.
    pub fn apply(&mut self, record: &ShardRecord, offset: i64, append_time: Timestamp, rules: &WatchRules) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.header.position = offset.saturating_add(1);
        self.header.rules_revision = rules.revision;
        self.header.watermarks.pass_time(append_time);

        let touched = merge::merge(self, &record.partials, rules, &mut effects);
        early::judge_open_hours(self, &touched, rules, &mut effects);

        for marker in &record.markers {
            self.header.watermarks.mark(marker);
        }
        let watermark = self.header.watermarks.advance();
        close::close_due_hours(self, watermark, rules, &mut effects);
        self.dirty.insert(StateKey::Header);
        effects
    }

    /// Drops what is recomputed on demand, so that two shards can be compared.
    #[cfg(test)]
    pub(crate) fn forget_caches(&mut self) {
        self.dirty.clear();
        for node in self.accounts.values_mut().flat_map(|state| state.nodes.values_mut()) {
            node.open.bound = None;
        }
    }

    fn moment<'a>(&self, rules: &'a WatchRules) -> Moment<'a> {
        Moment { rules, shard_time: self.header.watermarks.shard_time(), closed_through: self.header.closed_through }
    }
}

impl AccountState {
    /// First hour of which anything is known of this account.
    pub fn born(&self) -> Option<Hour> {
        self.nodes.get(&Scope::Team).map(|node| node.closed.born)
    }

    /// Open episodes and those whose hours late data may still amend.
    pub fn open_episodes(&self) -> impl Iterator<Item = &Episode> {
        self.episodes.values().filter(|episode| episode.is_open())
    }
}
