//! What config says about matters: waste, missing money, budgets, advice; and about model drift.

use crate::model::Text;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::pattern::matches;
use crate::model::price::PriceBook;
use crate::model::rates::Rates;
use crate::watch::access::rules::AccessRules;
use crate::watch::drift::rules::DriftRules;

/// `None` = not watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatterRules {
    pub waste: Option<WasteRules>,
    pub missing: Option<MissingRules>,
    pub budgets: Vec<BudgetRule>,
    /// The first that fits holds.
    pub cost_centers: Vec<CostCenterRule>,
    pub advice: Option<AdviceRules>,
    pub access: Option<AccessRules>,
    pub drift: Option<DriftRules>,
}

/// Whose spend belongs to a cost centre; several rules may name one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostCenterRule {
    pub name: Text,
    /// Patterns with `*`.
    pub team: Text,
    /// Absent = all of the team's.
    pub project: Option<Text>,
}

impl MatterRules {
    /// What a leaf's spend is booked to, if anything is.
    pub fn cost_center(&self, leaf: &Leaf) -> Option<&Text> {
        let fits = |rule: &&CostCenterRule| {
            matches(&rule.team, &leaf.team) && rule.project.as_ref().is_none_or(|project| matches(project, &leaf.project))
        };
        self.cost_centers.iter().find(fits).map(|rule| &rule.name)
    }
}

/// Money that somebody may spend within a period.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetRule {
    /// Unique.
    pub name: Text,
    /// Whose it is, and, but for a cost centre's, whose spend it counts.
    pub team: Text,
    /// Counted is what is booked to it, of whatever team.
    pub cost_center: Option<Text>,
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

/// When usage of AI is bought dearer than it has to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdviceRules {
    pub prices: PriceBook,
    /// For prices in another currency than the usage is counted in.
    pub rates: Rates,
    /// What is to be saved in a month to be worth telling, in the usage's own currency.
    pub least_per_month: Nanos,
    /// A day with fewer requests says nothing.
    pub least_requests_per_day: u64,
    /// Days with the sign, without one that lacks it, before it is marked.
    pub least_days: u32,
    /// From the first word until people are told.
    pub grace_ms: i64,
    pub caching: CachingRules,
    pub batch: BatchRules,
    pub model: CheaperModelRules,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachingRules {
    /// Tokens of a prompt from which on it is worth caching.
    pub least_input_per_request: u64,
    /// The part of the input that is taken to repeat, in parts of a thousand.
    pub repeated_per_mille: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchRules {
    /// Words in the name of a project or environment that say that its work can wait; in small letters.
    pub names: Vec<Text>,
    /// Hours of the day in the team's time zone in which people work: the first, and the one behind the last.
    pub day_from: u8,
    pub day_to: u8,
    /// Requests outside of these hours, in parts of a thousand, from which on work is taken to be able to wait.
    pub off_hours_per_mille: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheaperModelRules {
    pub most_input_per_request: u64,
    pub most_output_per_request: u64,
    /// What the cheaper model has to save, in parts of a thousand.
    pub least_saving_per_mille: u32,
}

impl BatchRules {
    /// `nightly-embeddings` has the word `nightly`.
    pub fn names(&self, name: &str) -> bool {
        let mut words = name.split(|letter: char| !letter.is_alphanumeric());
        words.any(|word| self.names.iter().any(|known| known.eq_ignore_ascii_case(word)))
    }

    pub fn is_off(&self, hour_of_day: u8) -> bool {
        !(self.day_from..self.day_to).contains(&hour_of_day)
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
    pub oversized: Option<OversizedRules>,
    pub commitment: Option<CommitmentRules>,
}

/// When a commitment counts as unused, by the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitmentRules {
    /// The last days that the bill knows.
    pub window_days: i64,
    /// Of these so many, at least, have unused cost.
    pub least_days: usize,
}

/// When a resource is larger than it has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct OversizedRules {
    /// Whole days before today, all of which have to say so.
    pub window_days: i64,
    /// The highest utilisation of any sample, and the mean of all, are below these.
    pub most_peak: f64,
    pub most_mean: f64,
    /// Where the peak may be with the size that would do.
    pub target: f64,
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
