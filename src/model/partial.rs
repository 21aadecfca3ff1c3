//! Partials: what intake sums up within one transaction, and the record that carries them to a shard.

use serde::{Deserialize, Serialize};

use super::Text;
use super::access::{GrantUsed, concerns_all};
use super::activity::ActivityEvent;
use super::feedback::Feedback;
use super::leaf::Leaf;
use super::lineage::{DatasetUse, ModelFacts};
use super::money::{Nanos, decimal};
use super::resource::ResourceSample;
use super::spent::Spent;
use super::time::{Hour, Minute, Timestamp};

/// Sum of the usage of one leaf in one minute, of one transaction of one intake worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    pub leaf: Leaf,
    pub minute: Minute,
    pub events: u64,
    /// Events for which neither the source nor the price book knew a cost; they count zero money.
    pub unpriced_events: u64,
    #[serde(with = "decimal")]
    pub cost: Nanos,
    /// Whether a negative amount (refund, correction) is among the summands: then the sum may still fall.
    pub has_negative: bool,
    #[serde(with = "decimal")]
    pub quantity: Nanos,
    pub requests: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cached_input: u64,
    pub tokens_cache_write: u64,
    pub tokens_reasoning: u64,
    /// The latest event time among the summands.
    pub last_event_time: Timestamp,
    /// The latest Kafka timestamp of the input records among the summands.
    pub last_ingest_time: Timestamp,
    /// Cost by user (or key), largest first, at most [`USERS_PER_PARTIAL`]; the rest is not named.
    pub users: Vec<UserCost>,
    /// What policies that look at single events said of them, in the order of their names.
    pub hits: Vec<PolicyHit>,
    /// Among the summands: what has failed and cost nothing.
    #[serde(default)]
    pub failed: Failed,
}

/// Requests that have failed: without use and without a cost, so that no money is missing. They count among all others, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub events: u64,
    pub unpriced_events: u64,
    pub requests: u64,
}

impl Partial {
    /// Money of an hour as a whole, without events.
    pub fn of_hour(leaf: Leaf, hour: Hour, cost: Nanos, quantity: Nanos) -> Partial {
        Partial {
            leaf,
            minute: Minute(hour.0.saturating_mul(60)),
            events: 0,
            unpriced_events: 0,
            cost,
            has_negative: cost < Nanos::ZERO,
            quantity,
            requests: 0,
            tokens_input: 0,
            tokens_output: 0,
            tokens_cached_input: 0,
            tokens_cache_write: 0,
            tokens_reasoning: 0,
            last_event_time: hour.start(),
            last_ingest_time: hour.start(),
            users: Vec::new(),
            hits: Vec::new(),
            failed: Failed::default(),
        }
    }
}

/// Events among the summands of which a policy said the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyHit {
    pub policy: Text,
    pub said: Said,
    pub events: u64,
    #[serde(with = "decimal")]
    pub cost: Nanos,
}

/// What a policy says of usage that it does not just let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Violates,
    /// It would be a violation, and somebody has approved it for a time.
    Exempt,
    /// The event does not say enough.
    Indeterminate,
    /// It would be a violation, and the policy is tried out only.
    DryRun,
}

impl Said {
    pub const ALL: [Said; 4] = [Said::Violates, Said::Exempt, Said::Indeterminate, Said::DryRun];

    pub fn as_str(self) -> &'static str {
        match self {
            Said::Violates => "violates",
            Said::Exempt => "exempt",
            Said::Indeterminate => "indeterminate",
            Said::DryRun => "dry_run",
        }
    }
}

/// Users kept apart in one partial; a minute of one leaf rarely has more, and causes name only the largest.
pub const USERS_PER_PARTIAL: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCost {
    pub user: Text,
    #[serde(with = "decimal")]
    pub cost: Nanos,
}

/// One partition of an input topic: watermarks are kept per source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    pub topic: Text,
    pub partition: i32,
}

/// How far a source has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub source: Source,
    /// Largest accepted event time less the out-of-orderness bound; `None` before the first event.
    pub watermark: Option<Timestamp>,
    /// The owner is caught up and the partition has been empty for a while: a lease, in shard time.
    pub idle: bool,
    /// Partition count of the source's topic: no bucket closes before all of them have reported.
    pub partitions_of_topic: i32,
}

/// Value of a shard-log record: some partials, how far their source has come once they are merged, and events that go to a shard whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub partials: Vec<Partial>,
    pub markers: Vec<Marker>,
    pub events: Vec<ShardEvent>,
}

/// An event that is not summed: intake has validated and attributed it, and the shard of its team judges it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardEvent {
    Resource(Box<ResourceSample>),
    Activity(Box<ActivityEvent>),
    Feedback(Box<Feedback>),
    /// What lineage knows of a model; every shard is told.
    Facts(Box<ModelFacts>),
    /// Who may use what, who may not any more, who has left, who owns a model; every shard is told, besides that of its team.
    Grant(Box<ActivityEvent>),
    /// For the shard of who gave a grant.
    GrantUsed(Box<GrantUsed>),
    /// For the shard of the team that a budget is of.
    Spent(Box<Spent>),
    /// What lineage knows of the data that an earlier `Activity` is about.
    DatasetUse(Box<DatasetUse>),
}

impl ShardEvent {
    pub fn source(&self) -> Option<&Text> {
        match self {
            ShardEvent::Resource(sample) => Some(&sample.source),
            ShardEvent::Activity(activity) => Some(&activity.source),
            ShardEvent::Feedback(feedback) => Some(&feedback.source),
            ShardEvent::Facts(_) | ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) | ShardEvent::Spent(_) | ShardEvent::DatasetUse(_) => {
                None
            }
        }
    }

    /// Unique within its source.
    pub fn event_id(&self) -> Option<&Text> {
        match self {
            ShardEvent::Resource(sample) => Some(&sample.event_id),
            ShardEvent::Activity(activity) => Some(&activity.event_id),
            ShardEvent::Feedback(feedback) => Some(&feedback.event_id),
            ShardEvent::Facts(_) | ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) | ShardEvent::Spent(_) | ShardEvent::DatasetUse(_) => {
                None
            }
        }
    }

    pub fn event_time(&self) -> Option<Timestamp> {
        match self {
            ShardEvent::Resource(sample) => Some(sample.event_time),
            ShardEvent::Activity(activity) => Some(activity.event_time),
            ShardEvent::Feedback(feedback) => Some(feedback.event_time),
            ShardEvent::Facts(_) | ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) | ShardEvent::Spent(_) | ShardEvent::DatasetUse(_) => {
                None
            }
        }
    }

    /// What every shard is told of it.
    pub fn for_all(&self) -> Option<ShardEvent> {
        match self {
            ShardEvent::Activity(activity) if concerns_all(activity) => Some(ShardEvent::Grant(activity.clone())),
            _ => None,
        }
    }

    /// Whose shard it goes to; facts and grants go to every one.
    pub fn team(&self) -> Option<&Text> {
        match self {
            ShardEvent::DatasetUse(used) => Some(&used.activity.team),
            ShardEvent::Resource(sample) => Some(&sample.team),
            ShardEvent::Activity(activity) => Some(&activity.team),
            ShardEvent::Feedback(feedback) => Some(&feedback.team),
            ShardEvent::Facts(_) | ShardEvent::Grant(_) | ShardEvent::GrantUsed(_) | ShardEvent::Spent(_) => None,
        }
    }
}
