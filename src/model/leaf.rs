//! The leaf: the finest grain that has a baseline, and the nodes above it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Text;
use super::money::Currency;

/// The team of usage that nobody could be found to pay for.
pub const UNATTRIBUTED: &str = "unattributed";

/// Every dimension of the leaf into which a team's leaves beyond the most that it may have are folded.
pub const OTHER: &str = "(other)";

/// Which of the two measures of money an amount belongs to; they are never added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Usage times price book, or the source's own cost: seconds after the fact.
    Estimated,
    /// FOCUS rows of the provider: hours to days after.
    Billed,
    /// What of `Estimated` was converted, in the currency that it had: for roll-ups only, nothing else looks at it.
    EstimatedOriginal,
    /// What of `Billed` was converted, as it stands on the bill.
    BilledOriginal,
}

impl Measure {
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Estimated => "estimated",
            Measure::Billed => "billed",
            Measure::EstimatedOriginal => "estimated_original",
            Measure::BilledOriginal => "billed_original",
        }
    }

    /// Of money that was converted, before it was.
    pub fn is_original(self) -> bool {
        matches!(self, Measure::EstimatedOriginal | Measure::BilledOriginal)
    }
}

/// Finest series. An empty text means "not stated by the source".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leaf {
    pub team: Text,
    pub project: Text,
    /// Model, or service where there is no model.
    pub model: Text,
    pub provider: Text,
    pub region: Text,
    pub environment: Text,
    /// `llm.tokens`, `gpu.seconds`, ...
    pub meter: Text,
    pub currency: Currency,
    pub measure: Measure,
}

/// A series within a (team, measure, currency): the leaf itself or one of the sums above it, finest last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    Team,
    Project(Text),
    Model(Text),
    Leaf(LeafDimensions),
}

/// A leaf's dimensions below team, measure and currency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeafDimensions {
    pub project: Text,
    pub model: Text,
    pub provider: Text,
    pub region: Text,
    pub environment: Text,
    pub meter: Text,
}

/// What one team spends in one measure and currency: alerts, budgets and hierarchies live within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    pub team: Text,
    pub measure: Measure,
    pub currency: Currency,
}

impl Leaf {
    pub fn account(&self) -> Account {
        Account { team: self.team.clone(), measure: self.measure, currency: self.currency }
    }

    pub fn dimensions(&self) -> LeafDimensions {
        LeafDimensions {
            project: self.project.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            region: self.region.clone(),
            environment: self.environment.clone(),
            meter: self.meter.clone(),
        }
    }

    /// The leaf and every sum that contains it, coarsest first.
    pub fn scopes(&self) -> [Scope; 4] {
        [Scope::Team, Scope::Project(self.project.clone()), Scope::Model(self.model.clone()), Scope::Leaf(self.dimensions())]
    }
}

impl LeafDimensions {
    /// The leaf that counts what a team's too many leaves would have been.
    pub fn other() -> LeafDimensions {
        let other: Text = OTHER.into();
        LeafDimensions {
            project: other.clone(),
            model: other.clone(),
            provider: other.clone(),
            region: other.clone(),
            environment: other.clone(),
            meter: other,
        }
    }

    pub fn leaf_of(&self, account: &Account) -> Leaf {
        Leaf {
            team: account.team.clone(),
            project: self.project.clone(),
            model: self.model.clone(),
            provider: self.provider.clone(),
            region: self.region.clone(),
            environment: self.environment.clone(),
            meter: self.meter.clone(),
            currency: account.currency,
            measure: account.measure,
        }
    }

    /// Name and value of each stated dimension, in a fixed order.
    pub fn named(&self) -> [(&'static str, &Text); 6] {
        [
            ("project", &self.project),
            ("model", &self.model),
            ("provider", &self.provider),
            ("region", &self.region),
            ("environment", &self.environment),
            ("meter", &self.meter),
        ]
    }
}

impl Scope {
    /// 0 = team, 1 = project or model, 2 = leaf.
    pub fn depth(&self) -> u8 {
        match self {
            Scope::Team => 0,
            Scope::Project(_) | Scope::Model(_) => 1,
            Scope::Leaf(_) => 2,
        }
    }

    /// Whether every leaf of `self` lies in `other` too (a scope contains itself).
    pub fn within(&self, other: &Scope) -> bool {
        match (other, self) {
            (Scope::Team, _) => true,
            (Scope::Project(project), Scope::Leaf(leaf)) => leaf.project == *project,
            (Scope::Model(model), Scope::Leaf(leaf)) => leaf.model == *model,
            (outer, inner) => outer == inner,
        }
    }

    /// The stated dimensions, as alerts show them. Unstated ones are left out.
    pub fn dimensions(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, &Text)> = match self {
            Scope::Team => Vec::new(),
            Scope::Project(project) => vec![("project", project)],
            Scope::Model(model) => vec![("model", model)],
            Scope::Leaf(leaf) => leaf.named().to_vec(),
        };
        pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }
}

impl fmt::Display for Scope {
    /// `team`, `project=ranker`, `project=ranker;model=gpt-4o`: stable, it is part of alert ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Team => f.write_str("team"),
            Scope::Project(project) => write!(f, "project={project}"),
            Scope::Model(model) => write!(f, "model={model}"),
            Scope::Leaf(leaf) => {
                for (index, (name, value)) in leaf.named().into_iter().enumerate() {
                    let separator = if index == 0 { "" } else { ";" };
                    write!(f, "{separator}{name}={value}")?;
                }
                Ok(())
            }
        }
    }
}
