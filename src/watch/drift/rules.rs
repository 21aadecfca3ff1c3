//! What config says about model drift.

use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::time::Timestamp;

#[derive(Clone, Debug, PartialEq)]
pub struct DriftRules {
    /// Whom to ask; shown with each violation. Empty = nobody is named.
    pub owner: Text,
    pub severity: Severity,
    /// Consecutive looks outside of the reference, in the same direction, that are a drift; and as many within it that end one.
    pub looks: u32,
    /// Two-sided level of each look.
    pub alpha: f64,
    /// Samples that a look at a share (a rate, an accuracy) rests on, at least.
    pub least_samples: u64,
    /// Samples of a share that make a reference.
    pub reference_samples: u64,
    /// Values of a mean (a score, a length) that make a reference.
    pub reference_values: u32,
    /// How long a version that nobody has accepted is watched before what it did freezes as its reference.
    pub first_days: i64,
    /// Relative gate of shares: of the rarer outcome, so that an accuracy of 95 % which falls to 90 % has doubled its errors.
    pub least_share_change: f64,
    /// Relative gate of means.
    pub least_mean_change: f64,
    /// Relative gate of usage, which changes with its users, too.
    pub least_usage_change: f64,
    /// Requests of a day that usage is looked at with.
    pub least_requests: u64,
    /// Days that make a reference of usage, working days and weekends apart.
    pub usage_days: u32,
    /// Population stability index from which on a mix has changed.
    pub psi: f64,
    /// Metrics (patterns) that are not watched.
    pub ignore: Vec<Text>,
    pub accepted: Vec<AcceptedRule>,
}

/// A version that somebody has accepted, as config says it.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedRule {
    /// Absent = whichever team uses it.
    pub team: Option<Text>,
    pub model: Text,
    /// Absent = the model has no versions.
    pub version: Option<Text>,
    pub at: Timestamp,
}

impl DriftRules {
    pub fn watches(&self, metric: &str) -> bool {
        !self.ignore.iter().any(|pattern| crate::model::pattern::matches(pattern, metric))
    }
}
