//! What goes wrong in the demo, with the truth that its findings are held against. Nothing but the summary sees these labels.

use super::cast::{CORVID_MAX, Model, NIMBUS_PRO};
use super::data::{BUCKETS_PER_DAY, BUCKETS_PER_HOUR};
use crate::model::time::{MINUTE_MS, Timestamp};

/// Minutes of one bucket of the data.
pub const BUCKET_MINUTES: i64 = 10;
pub const BUCKET_MS: i64 = BUCKET_MINUTES * MINUTE_MS;

/// One mishap.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    pub name: &'static str,
    pub story: &'static str,
    pub team: &'static str,
    pub project: &'static str,
    pub first_bucket: usize,
    pub buckets: usize,
    pub what: What,
    /// The dimension that a good explanation names.
    pub cause: (&'static str, &'static str),
}

/// What happens in each of its buckets.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// One user adds so many times the project's own traffic.
    Extra { user: &'static str, times: u64 },
    /// The project's requests go to another model.
    Switch { model: &'static Model },
    /// Requests that nobody planned, minute by minute.
    Stream(Stream),
}

#[derive(Clone, Copy, Debug)]
pub struct Stream {
    pub user: &'static str,
    pub region: &'static str,
    pub model: &'static Model,
    pub requests_per_minute: u64,
    /// Per request.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

pub static INCIDENTS: [Incident; 5] = [
    Incident {
        name: "spend spike",
        story: "an evaluation of one user multiplies the project's traffic by five",
        team: "search",
        project: "ranker",
        first_bucket: at(8, 10),
        buckets: 5 * BUCKETS_PER_HOUR,
        what: What::Extra { user: "jonas", times: 4 },
        cause: ("user", "jonas"),
    },
    Incident {
        name: "agent in a loop",
        story: "review agents feed their own answers back, some 100,000 tokens each time",
        team: "platform",
        project: "ci-review",
        first_bucket: at(9, 14) + 2,
        buckets: 5,
        what: What::Stream(Stream {
            user: "agent-review",
            region: "us-east-1",
            model: &CORVID_MAX,
            requests_per_minute: 90,
            input_tokens: 98_000,
            output_tokens: 600,
        }),
        cause: ("user", "agent-review"),
    },
    Incident {
        name: "leaked key",
        story: "an old key is used by strangers, from a region nobody works in",
        team: "mobile",
        project: "voice",
        first_bucket: at(10, 2) + 1,
        buckets: 5 * BUCKETS_PER_HOUR,
        what: What::Stream(Stream {
            user: "key-voice-2024",
            region: "ap-southeast-3",
            model: &NIMBUS_PRO,
            requests_per_minute: 220,
            input_tokens: 4_000,
            output_tokens: 800,
        }),
        cause: ("region", "ap-southeast-3"),
    },
    Incident {
        name: "model switch",
        story: "a release sends the same requests to a model four times as dear",
        team: "support",
        project: "assist",
        first_bucket: at(11, 9),
        buckets: 8 * BUCKETS_PER_HOUR,
        what: What::Switch { model: &CORVID_MAX },
        cause: ("model", "corvid-max"),
    },
    Incident {
        name: "unknown project",
        story: "a project that nobody has heard of starts to spend in earnest",
        team: "growth",
        project: "sandbox-7",
        first_bucket: at(12, 13),
        buckets: 7 * BUCKETS_PER_HOUR,
        what: What::Stream(Stream {
            user: "tomasz",
            region: "us-east-1",
            model: &CORVID_MAX,
            requests_per_minute: 60,
            input_tokens: 6_000,
            output_tokens: 500,
        }),
        cause: ("project", "sandbox-7"),
    },
];

/// Number of the bucket that begins at this hour of this day (day 0 is the first).
const fn at(day: usize, hour: usize) -> usize {
    day * BUCKETS_PER_DAY + hour * BUCKETS_PER_HOUR
}

impl Incident {
    pub fn is_on(&self, bucket: usize) -> bool {
        (self.first_bucket..self.first_bucket + self.buckets).contains(&bucket)
    }

    pub fn start(&self, beginning: Timestamp) -> Timestamp {
        beginning.plus_ms(bucket_ms(self.first_bucket))
    }

    pub fn end(&self, beginning: Timestamp) -> Timestamp {
        beginning.plus_ms(bucket_ms(self.first_bucket + self.buckets))
    }
}

/// Milliseconds from the beginning to this bucket.
pub fn bucket_ms(bucket: usize) -> i64 {
    i64::try_from(bucket).unwrap_or(i64::MAX).saturating_mul(BUCKET_MS)
}
