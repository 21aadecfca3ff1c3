//! An alert as it stands on the topic `alerts`: who, what, why, how much money, since when, and what to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::leaf::Measure;
use super::money::{Currency, Nanos, decimal};
use super::time::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Open,
    Updated,
    Acknowledged,
    Expected,
    Resolved,
    Reopened,
    Amended,
    Retracted,
    Escalated,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Open => "open",
            AlertState::Updated => "updated",
            AlertState::Acknowledged => "acknowledged",
            AlertState::Expected => "expected",
            AlertState::Resolved => "resolved",
            AlertState::Reopened => "reopened",
            AlertState::Amended => "amended",
            AlertState::Retracted => "retracted",
            AlertState::Escalated => "escalated",
        }
    }
}

/// State keeps the place of a kind in this list: new ones go behind the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// An hour far above what is normal for it.
    SpendSpike,
    /// Minutes that cost more than whole hours used to: an agent in a loop, a leaked key.
    Runaway,
    /// Hours that are each a little too dear and together far above what is normal for them.
    Sustained,
    /// The level of the last day is a multiple of that of the last weeks: a slow ramp, or a new normal.
    LevelShift,
    /// A token costs more than it did, at the same model.
    PriceChange,
    /// The traffic of a project has gone to a model whose tokens cost more.
    ModelSwitch,
    /// One project, model or leaf spends more and another one less by as much: the team's spend is as usual.
    SpendMoved,
    /// A team or project takes hardly anything for hours in which it always took something.
    SpendDrop,
    /// Somebody violates a policy. Stands on the topic `governance-violations` in a form of its own; this is how people are told of it.
    PolicyViolation,
    /// A resource that costs money and that nobody has used for a while.
    IdleResource,
    /// A resource that was never used, or not for so long that somebody must have forgotten it.
    ForgottenResource,
    /// An unused resource whose owner has gone.
    OrphanedResource,
    /// Usage that counts no money although it cost some: tokens at zero, usage without a price, streams that report nothing.
    MissingMoney,
    /// Steady usage of a provider has stopped altogether.
    ProviderSilent,
    /// A day's bill is far from what was estimated for it.
    BillMismatch,
    /// Billed by a provider whose usage was never seen.
    UnseenSpend,
    /// Spend that no event, tag or rule gives to a team.
    UntaggedSpend,
    /// A budget is used up to one of its thresholds, or will be before its time.
    Budget,
    /// Long prompts, none of which is read from the cache, at a model that has a price for it.
    NoPromptCaching,
    /// Work that can wait is not sent in batches, which cost less.
    NoBatch,
    /// Small questions to a dear model, where a cheaper one of its family may do.
    DearModel,
    /// A resource of which a smaller size would do.
    OversizedResource,
    /// A commitment that is paid and not used.
    UnusedCommitment,
}

impl AlertKind {
    pub const ALL: [AlertKind; 23] = [
        AlertKind::SpendSpike,
        AlertKind::Runaway,
        AlertKind::Sustained,
        AlertKind::LevelShift,
        AlertKind::PriceChange,
        AlertKind::ModelSwitch,
        AlertKind::SpendMoved,
        AlertKind::SpendDrop,
        AlertKind::PolicyViolation,
        AlertKind::IdleResource,
        AlertKind::ForgottenResource,
        AlertKind::OrphanedResource,
        AlertKind::UnusedCommitment,
        AlertKind::MissingMoney,
        AlertKind::ProviderSilent,
        AlertKind::BillMismatch,
        AlertKind::UnseenSpend,
        AlertKind::UntaggedSpend,
        AlertKind::Budget,
        AlertKind::NoPromptCaching,
        AlertKind::NoBatch,
        AlertKind::DearModel,
        AlertKind::OversizedResource,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::SpendSpike => "spend_spike",
            AlertKind::Runaway => "runaway",
            AlertKind::Sustained => "sustained",
            AlertKind::LevelShift => "level_shift",
            AlertKind::PriceChange => "price_change",
            AlertKind::ModelSwitch => "model_switch",
            AlertKind::SpendMoved => "spend_moved",
            AlertKind::SpendDrop => "spend_drop",
            AlertKind::PolicyViolation => "policy_violation",
            AlertKind::IdleResource => "idle_resource",
            AlertKind::ForgottenResource => "forgotten_resource",
            AlertKind::OrphanedResource => "orphaned_resource",
            AlertKind::UnusedCommitment => "unused_commitment",
            AlertKind::MissingMoney => "missing_money",
            AlertKind::ProviderSilent => "provider_silent",
            AlertKind::BillMismatch => "bill_mismatch",
            AlertKind::UnseenSpend => "unseen_spend",
            AlertKind::UntaggedSpend => "untagged_spend",
            AlertKind::Budget => "budget",
            AlertKind::NoPromptCaching => "no_prompt_caching",
            AlertKind::NoBatch => "no_batch",
            AlertKind::DearModel => "dear_model",
            AlertKind::OversizedResource => "oversized_resource",
        }
    }

    /// Told by `watch::matters`, not an episode of a series.
    pub fn is_matter(self) -> bool {
        use AlertKind::*;
        match self {
            SpendSpike | Runaway | Sustained | LevelShift | PriceChange | ModelSwitch | SpendMoved | SpendDrop | PolicyViolation => false,
            IdleResource | ForgottenResource | OrphanedResource | UnusedCommitment | MissingMoney | ProviderSilent | BillMismatch
            | UnseenSpend | UntaggedSpend | Budget | NoPromptCaching | NoBatch | DearModel | OversizedResource => true,
        }
    }

    /// Money for something that nobody uses.
    pub fn is_waste(self) -> bool {
        matches!(self, AlertKind::IdleResource | AlertKind::ForgottenResource | AlertKind::OrphanedResource | AlertKind::UnusedCommitment)
    }

    /// Money that is missing, or that nobody should have had to pay.
    pub fn is_missing(self) -> bool {
        use AlertKind::*;
        matches!(self, MissingMoney | ProviderSilent | BillMismatch | UnseenSpend | UntaggedSpend)
    }

    /// Money for what could be had for less.
    pub fn is_saving(self) -> bool {
        use AlertKind::*;
        matches!(self, NoPromptCaching | NoBatch | DearModel | OversizedResource)
    }

    /// Also over where it goes on, once that is usual.
    pub fn may_become_usual(self) -> bool {
        use AlertKind::*;
        matches!(self, LevelShift | PriceChange | ModelSwitch | SpendDrop)
    }

    pub fn parse(text: &str) -> Option<AlertKind> {
        AlertKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// How much history stands behind `expected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Under 3 hours: nothing is known.
    New,
    /// 3 to 24 hours: the recent median.
    FirstDay,
    /// 1 to 14 days: the hour of the day.
    FirstWeeks,
    /// 14 days and more: the hour of the week.
    Seasoned,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::New => "new",
            Stage::FirstDay => "first_day",
            Stage::FirstWeeks => "first_weeks",
            Stage::Seasoned => "seasoned",
        }
    }
}

/// One revision of one alert; the key on the topic is `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `<team>/<32 hex digits>`; frozen at opening.
    pub id: String,
    pub incident_id: String,
    /// 1 at opening, plus one with each record; never reused.
    pub revision: u32,
    pub state: AlertState,
    #[serde(with = "super::wire::fields::kind")]
    pub kind: AlertKind,
    pub severity: Severity,
    pub team: String,
    /// Stated dimensions of the node that fired (`project`, `model`, ...); empty = the whole team.
    pub dimensions: BTreeMap<String, String>,
    pub measure: Measure,
    pub currency: Currency,
    /// Start of the first bucket (hour, or minutes for `runaway`) that left its normal.
    pub onset: Timestamp,
    /// Latest event time that the revision rests on.
    pub event_time: Timestamp,
    /// Kafka timestamp of the latest input record that the revision rests on.
    pub ingest_time: Timestamp,
    /// When the first revision was decided, or, where what was over came back, the one that said so; in shard time.
    pub detected_at: Timestamp,
    /// When this revision was decided, in shard time.
    pub decided_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// Sums over the episode so far.
    #[serde(with = "decimal")]
    pub actual: Nanos,
    #[serde(with = "decimal")]
    pub expected: Nanos,
    #[serde(with = "decimal")]
    pub excess: Nanos,
    /// Excess per hour, now.
    #[serde(with = "decimal")]
    pub burn_rate_per_hour: Nanos,
    /// What the excess comes to by the end of the month (in the team's time zone) if nobody acts.
    #[serde(with = "decimal")]
    pub projected_month_end_excess: Nanos,
    /// Whether the bucket was still open when this was decided.
    pub provisional: bool,
    /// 0..1, higher = stranger.
    pub score: f64,
    pub stage: Stage,
    /// What was normal, in words: "usually 41.20 USD on a Tuesday at 14:00 (UTC)".
    pub normal: String,
    /// One line that says what happened.
    pub summary: String,
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// Share of the excess that the causes do not explain, 0..1.
    pub unexplained: f64,
    /// What the excess is made of, where tokens are known.
    #[serde(default)]
    pub split: Option<Split>,
    #[serde(default)]
    pub next_steps: Vec<String>,
    /// The last hours of the series, for a picture.
    #[serde(default)]
    pub history: Vec<HistoryPoint>,
    /// What people have said about it, oldest first.
    #[serde(default)]
    pub feedback: Vec<Said>,
    /// Whether people are to be told; false in a team's first 24 hours (but for `runaway`) and in observe mode.
    pub notify: bool,
    /// IANA name of the team's time zone, for what people read.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Revision of the rules that decided.
    #[serde(with = "super::wire::fields::long", default)]
    pub rules_revision: u64,
}

/// Who said what about an alert, when, and for how long it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// `ack`, `expected`, `planned`, `not_an_anomaly`, `reopen`.
    pub verdict: String,
    #[serde(default)]
    pub actor: Option<String>,
    /// Where it was said: a mail, a chat, the web page.
    pub source: String,
    pub said_at: Timestamp,
    #[serde(default)]
    pub from: Option<Timestamp>,
    #[serde(default)]
    pub until: Option<Timestamp>,
    #[serde(default)]
    pub note: Option<String>,
}

/// Among the dimensions of a cause: what would do instead, a model or a size; and the size that there is.
pub const INSTEAD: &str = "instead";
pub const CAPACITY: &str = "capacity";

/// Among the dimensions of a violation, so that routes can ask for it: `only = { policy = "approved-*" }`.
pub const POLICY: &str = "policy";

/// `normal` of an alert that ends because nobody asks for it any more.
pub const NOT_CONFIGURED: &str = "it is no longer in the config";

/// `normal` of an alert on a budget that ends because it is another team's by now.
pub fn moved_to(team: &str) -> String {
    format!("it is team {team}'s by now")
}

/// The team that a budget has gone to.
pub fn team_moved_to(normal: &str) -> Option<&str> {
    normal.strip_prefix("it is team ")?.strip_suffix("'s by now")
}

fn utc() -> String {
    "UTC".to_owned()
}

/// One combination of dimensions and its part of the excess.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    pub dimensions: BTreeMap<String, String>,
    #[serde(with = "decimal")]
    pub actual: Nanos,
    #[serde(with = "decimal")]
    pub expected: Nanos,
    /// Of the excess, 0..1.
    pub share: f64,
}

/// The excess by its kind: the parts add up to it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Tokens that cost more or less than the same ones did.
    #[serde(with = "decimal")]
    pub price: Nanos,
    /// More or fewer tokens, at the usual average price.
    #[serde(with = "decimal")]
    pub volume: Nanos,
    /// Tokens of other models than usual.
    #[serde(with = "decimal")]
    pub mix: Nanos,
}

/// One hour of a series; `expected` and `upper` are absent while nothing was known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    pub time: Timestamp,
    pub actual: f64,
    pub expected: Option<f64>,
    pub upper: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_knows_a_kind_by_its_place_for_ever() {
        let known = [
            "spend_spike",
            "runaway",
            "sustained",
            "level_shift",
            "price_change",
            "model_switch",
            "spend_moved",
            "spend_drop",
            "policy_violation",
            "idle_resource",
            "forgotten_resource",
            "orphaned_resource",
            "missing_money",
            "provider_silent",
            "bill_mismatch",
            "unseen_spend",
            "untagged_spend",
            "budget",
            "no_prompt_caching",
            "no_batch",
            "dear_model",
            "oversized_resource",
            "unused_commitment",
        ];
        assert_eq!(known.len(), AlertKind::ALL.len());
        for kind in AlertKind::ALL {
            let written = postcard::to_stdvec(&kind).unwrap();
            assert_eq!(known.get(usize::from(written[0])).copied(), Some(kind.as_str()));
        }
    }
}
