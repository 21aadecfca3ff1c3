//! What intake is told by config: who pays for what, and what things cost.

use std::sync::Arc;

use crate::model::Text;
use crate::model::money::Currency;
pub use crate::model::price::{Agreement, Discount, Price, PriceBook, PriceQuery, Rate, Tariff, TokenKind};
use crate::model::rates::Rates;
use crate::policy::stream::Stream;

/// Everything intake's verdicts depend on besides the record itself. Changed between two transactions only.
#[derive(Clone, Debug)]
pub struct IntakeRules {
    pub revision: u64,
    /// How far in the future of its own Kafka timestamp (and of the clock) an event may lie, in ms.
    pub allowed_skew_ms: i64,
    /// How far events of one partition may be out of order before they count as late, in ms: watermark = max event time - this.
    pub out_of_orderness_ms: i64,
    /// Offsets back, per partition, in which a repeated (source, id) is a duplicate.
    pub dedupe_window: u64,
    /// A larger value goes to dead-letter, in bytes.
    pub largest_record: usize,
    /// Currency of usage for which neither the source nor the price book states one.
    pub reporting_currency: Currency,
    pub attribution: Vec<AttributionRule>,
    pub sources: Vec<SourceRule>,
    pub prices: PriceBook,
    /// None: everything stays in its own currency.
    pub rates: Rates,
    /// Those that look at single events are asked here.
    pub policies: Arc<Stream>,
}

/// `*` matches any run of characters; matching is case-sensitive; an absent condition matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributionRule {
    pub source: Option<Text>,
    pub account: Option<Text>,
    pub project: Option<Text>,
    pub user: Option<Text>,
    /// All named tags must be there and match.
    pub tags: Vec<(Text, Text)>,
    pub team: AttributedTeam,
}

/// Where a matching rule takes the team from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributedTeam {
    Named(Text),
    /// The value of this tag (the rule matches only where it is present and not empty).
    FromTag(Text),
}

impl Default for AttributedTeam {
    fn default() -> Self {
        AttributedTeam::Named(crate::model::leaf::UNATTRIBUTED.into())
    }
}

/// How a source counts tokens. The first rule whose pattern matches the event's `source` holds; without one, OpenTelemetry's
/// convention holds: input includes cached and cache-write tokens, output includes reasoning tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    pub source: Text,
    pub input_includes_cached: bool,
    pub input_includes_cache_write: bool,
    pub output_includes_reasoning: bool,
}
