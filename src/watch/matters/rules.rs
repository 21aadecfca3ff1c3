//! What config says about matters: waste, missing money, budgets; and about model drift.

use crate::model::Text;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::watch::access::rules::AccessRules;
use crate::watch::drift::rules::DriftRules;

/// `None` = not watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatterRules {
    pub waste: Option<WasteRules>,
    pub missing: Option<MissingRules>,
    pub budgets: Vec<BudgetRule>,
    pub access: Option<AccessRules>,
    pub drift: Option<DriftRules>,
}

/// Money that somebody may spend within a period.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetRule {
    /// Unique.
    pub name: Text,
    pub team: Text,
    /// Absent = all of the team's.
    pub project: Option<Text>,
    pub model: Option<Text>,
    pub measure: Measure,
    pub currency: Currency,
    pub amount: Nanos,
    pub period: Period,
    /// Parts of the amount that are told, each once per period; ascending.
    pub thresholds: Vec<f64>,
    /// Told when the low end of the forecast is above the amount.
    pub forecast: bool,
    /// Told when six hours have cost so many times what an even spend would; 0 = never.
    pub burn_rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// In the team's time zone.
    Month,
    /// The last so many days, today included.
    Rolling(i64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct MissingRules {
    /// A steady provider without usage for so long is silent.
    pub silent_after_ms: i64,
    /// How far bill and estimate may lie apart while too few days are known to tell, as a part.
    pub first_tolerance: f64,
    /// What a provider's spend of a day has to be to be told when it belongs to no team; 0 = never told.
    pub untagged_per_day: Nanos,
    /// Providers all of whose usage is to be seen: what they bill without any is told.
    pub metered: Vec<Text>,
    /// What bills call a provider, and what usage does; in small letters.
    pub names: Vec<(Text, Text)>,
}

impl MissingRules {
    /// The name that bill and usage of a provider have in common.
    pub fn common(&self, provider: &str) -> Text {
        let small = provider.trim().to_lowercase();
        self.names.iter().find(|(billed, _)| **billed == *small).map_or_else(|| small.as_str().into(), |(_, usage)| usage.clone())
    }

    pub fn is_metered(&self, provider: &str) -> bool {
        self.metered.iter().any(|name| **name == *provider)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct WasteRules {
    /// Resources beyond so many in one team are not looked at, and counted.
    pub resources_per_team: usize,
    /// What a resource has to cost a month to be worth telling, in its own currency; and from where on it is critical.
    pub least_per_month: Nanos,
    pub critical_per_month: Nanos,
    /// From the first word until it is escalated.
    pub grace_ms: i64,
    /// Unused for so long it is forgotten.
    pub forgotten_after_ms: i64,
    /// Unused for so long after its owner has gone it is orphaned.
    pub orphaned_after_ms: i64,
    /// Without a sample for so long nothing can be said any more.
    pub silent_after_ms: i64,
    /// Samples that may lack what has to be known, of all in a pause.
    pub most_unknown: f64,
    /// The first that names a resource's type holds; the last one names none and holds for all others.
    pub classes: Vec<WasteClass>,
}

/// Resources that are idle by the same signs.
#[derive(Clone, Debug, PartialEq)]
pub struct WasteClass {
    pub types: Vec<Text>,
    pub sign: Sign,
    /// Idle from this age on: so long without any use.
    pub window_ms: i64,
    /// A sample with this utilisation or more is use.
    pub least_utilization: f64,
}

/// What has to be known of a resource before anything is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Utilization,
    Requests,
    /// Whether it is attached to anything; requests where that is not told.
    Attachment,
    /// Utilisation or requests, whichever is known.
    Any,
}

impl WasteRules {
    pub fn class(&self, resource_type: &str) -> Option<&WasteClass> {
        let names = |class: &&WasteClass| class.types.iter().any(|name| name.eq_ignore_ascii_case(resource_type));
        self.classes.iter().find(names).or(self.classes.last())
    }
}
