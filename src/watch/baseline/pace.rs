//! How long a bucket is. WATCH's are hours; a file may have others, and what is said in hours holds for them too.

use serde::{Deserialize, Serialize};

/// Fewer buckets than this say nothing about how fast something fades.
const LEAST_HALF_LIFE: f64 = 2.0;

/// Length of a bucket, 1 minute to 1 day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    pub(super) minutes: u16,
}

impl Pace {
    pub const HOURLY: Pace = Pace { minutes: 60 };

    /// Of buckets of so many minutes; 0 counts as 1.
    pub fn of_minutes(minutes: u16) -> Pace {
        Pace { minutes: minutes.max(1) }
    }

    pub fn buckets_per_hour(self) -> f64 {
        60.0 / f64::from(self.minutes)
    }

    /// Whether several buckets share an hour: what is unusual in one is then often unusual in its neighbours.
    pub fn is_fine(self) -> bool {
        self.minutes < 60
    }

    pub fn hours(self, buckets: u32) -> f64 {
        f64::from(buckets) / self.buckets_per_hour()
    }

    /// Weight left after one bucket of what is half as heavy after so many hours.
    pub fn keep(self, half_life_hours: f64) -> f64 {
        libm::exp2(-1.0 / (half_life_hours * self.buckets_per_hour()).max(LEAST_HALF_LIFE))
    }

    /// A rate per visit of an hour of the day as a rate per bucket.
    pub fn rate(self, per_visit: f64) -> f64 {
        per_visit / self.buckets_per_hour().max(1.0)
    }
}
