//! How much there is in a shard: for metrics and reports.

use std::collections::BTreeMap;

use super::matters::waste::{self, ResourceCount};
use super::rules::WatchRules;
use super::shard::Shard;
use crate::model::Text;
use crate::model::partial::Said;

impl Shard {
    /// Series (baselines) in this shard.
    pub fn series_count(&self) -> usize {
        self.series
    }

    /// Alerts that are open now.
    pub fn open_alerts(&self) -> usize {
        self.open_alerts + self.matters.open()
    }

    /// Resources, and those of them of which nothing can be said.
    pub fn resources(&self, rules: &WatchRules) -> ResourceCount {
        waste::count(self, rules)
    }

    /// Samples that were not looked at, because their team has too many resources.
    pub fn capped_resources(&self) -> u64 {
        self.matters.capped
    }

    /// Grants, models and what is measured of them that found no room; since the start of the process.
    pub fn capped_governance(&self) -> u64 {
        self.matters.access.refused.saturating_add(self.drift.capped)
    }

    /// Violations of policies that are open now.
    pub fn open_violations(&self) -> usize {
        self.violations.open()
    }

    /// Events that policies did not just let pass, by policy, since this was last asked for.
    pub fn take_verdicts(&mut self) -> BTreeMap<(Text, Said), u64> {
        self.violations.take_verdicts()
    }

    /// Amounts that were counted in `(other)` because their team has too many series, or because there are too many teams.
    pub fn capped_leaves(&self) -> u64 {
        self.header.capped
    }

    /// Sources that hold the watermark for so long that it goes on without them.
    pub fn sources_set_aside(&self) -> usize {
        self.header.watermarks.sources_set_aside()
    }
}
