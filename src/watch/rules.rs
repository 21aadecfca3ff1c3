//! What watch is told by config: thresholds, overridable per team, project and environment.

use std::sync::Arc;

use super::matters::rules::MatterRules;
use crate::model::Text;
use crate::model::lineage::OriginRule;
use crate::model::money::{Currency, Nanos};
use crate::model::rates::Rates;
use crate::policy::stream::Stream;

/// Everything watch's verdicts depend on besides the shard log. Changed between two transactions only; a shard refuses an older revision.
#[derive(Clone, Debug)]
pub struct WatchRules {
    pub revision: u64,
    /// A bucket closes when the watermark passes its end plus this, in ms.
    pub lateness_ms: i64,
    pub reporting_currency: Currency,
    /// None: everything stays in its own currency. Intake converts usage, watch the bill.
    pub rates: Rates,
    /// Series that one account (team, measure, currency) may have; leaves beyond it are counted in its `(other)`.
    pub series_per_team: usize,
    /// Teams that one shard may have; what further ones use is counted under its team `(other N)`.
    pub teams_per_shard: usize,
    pub defaults: Thresholds,
    /// Later entries win over earlier ones.
    pub overrides: Vec<Override>,
    pub teams: Vec<TeamRule>,
    /// None at all where the config names no folder of policies.
    pub policies: Arc<Stream>,
    /// Where data comes from that nobody says the origin of; the first that fits holds.
    pub data_origins: Vec<OriginRule>,
    /// A model's data without a known source counts as such after so long, in ms: what tells of its source may come later.
    pub lineage_grace_ms: i64,
    /// Waste, missing money, budgets.
    pub matters: MatterRules,
}

/// When an hour counts as a spike, and minutes as a runaway. All gates must be passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Statistical gate, as the product setting: how many spike alerts per team and month are bearable when nothing is wrong.
    pub alerts_per_team_month: f64,
    /// Relative gate: actual at least this many times expected.
    pub least_ratio: f64,
    /// Money gate: excess over the episode at least this much, in the series' own currency.
    pub least_excess: Nanos,
    /// Runaway guard: money within its windows (5, 15, 60 minutes) that has to be passed in any case.
    pub runaway_floor: Nanos,
    /// Runaway guard: how many times the series' usual worst hour.
    pub runaway_factor: f64,
    /// Quiet hours that close an episode.
    pub quiet_hours_to_close: u32,
    /// An open alert is updated when its excess has grown by this factor.
    pub update_growth: f64,
    /// Hours after a close in which the same series does not open again unless it is stranger than before.
    pub refractory_hours: u32,
    /// A spike whose excess is less than so many usual hours of the whole team waits for the next hour; 0: none waits.
    pub wait_below_team_hours: f64,
}

/// Thresholds for what the conditions name. Absent conditions match everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub team: Option<Text>,
    pub project: Option<Text>,
    pub environment: Option<Text>,
    pub thresholds: Thresholds,
}

/// What is known of a team besides its spend.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamRule {
    pub team: Text,
    /// IANA name; days, weeks and months of this team are in it.
    pub time_zone: Text,
    /// Alerts go to topics, not to people.
    pub observe: bool,
}

impl WatchRules {
    /// The thresholds that hold for a series; environment and project are empty for sums above them.
    pub fn thresholds(&self, team: &str, project: &str, environment: &str) -> &Thresholds {
        let matches = |condition: &Option<Text>, value: &str| condition.as_ref().is_none_or(|wanted| **wanted == *value);
        self.overrides
            .iter()
            .rev()
            .find(|rule| matches(&rule.team, team) && matches(&rule.project, project) && matches(&rule.environment, environment))
            .map_or(&self.defaults, |rule| &rule.thresholds)
    }

    pub fn team(&self, team: &str) -> Option<&TeamRule> {
        self.teams.iter().find(|rule| *rule.team == *team)
    }

    pub fn time_zone(&self, team: &str) -> &str {
        self.team(team).map_or("UTC", |rule| &rule.time_zone)
    }
}
