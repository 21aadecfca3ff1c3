//! What the config says of lineage: where data of a namespace comes from, and which steps let it pass.

use crate::model::Text;
use crate::model::lineage::{OriginRule, origin_of};
use crate::model::pattern::matches;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineageRules {
    /// The first that fits a dataset holds, where no event states its origin.
    pub origins: Vec<OriginRule>,
    /// The first that fits a job holds; a job that none fits lets everything pass.
    pub steps: Vec<StepRule>,
}

/// A job that makes other data of it: anonymised, aggregated, or models that travel in place of the data (federated learning).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRule {
    /// Pattern with `*` over `namespace/name`.
    pub job: Text,
    /// Origins that its outputs still have; none = they are free of all.
    pub passes: Vec<Text>,
}

impl LineageRules {
    pub fn origin_of(&self, dataset: &str) -> Option<&[Text]> {
        origin_of(&self.origins, dataset)
    }

    pub fn step_of(&self, job: &str) -> Option<&[Text]> {
        self.steps.iter().find(|rule| matches(&rule.job, job)).map(|rule| &rule.passes[..])
    }
}
