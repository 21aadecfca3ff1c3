//! Which bucket a row belongs to: the spacing of a file, learned from its first rows and never from later ones.

use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};

/// Lengths that a bucket may have, in minutes.
const MINUTES: [u16; 19] = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1_440];
const LEAST_MS: i64 = MINUTE_MS / 2;
const MOST_MS: i64 = 36 * HOUR_MS;
/// Rows that may still show a smaller distance than those before.
const ROWS_TO_LEARN: u32 = 10;

/// Of one file.
#[derive(Clone, Debug, Default)]
pub struct Spacing {
    rows: u32,
    first: Timestamp,
    last: Timestamp,
    minutes: Option<u16>,
    /// Bucket of the last row; those of the first one is 0.
    bucket: i64,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Nobody knows yet how long a bucket is.
    Unknown,
    /// The length has just become known, or known better: buckets count anew from here on.
    Anew {
        minutes: u16,
        bucket: i64,
    },
    At {
        bucket: i64,
    },
}

impl Spacing {
    /// Takes the next row; rows come in time order.
    pub fn place(&mut self, at: Timestamp) -> Placed {
        self.rows = self.rows.saturating_add(1);
        if self.rows == 1 {
            (self.first, self.last) = (at, at);
            return Placed::Unknown;
        }
        let distance = at.0.saturating_sub(self.last.0);
        self.last = at;
        let learns = self.rows <= ROWS_TO_LEARN || self.minutes.is_none();
        let found = nearest(distance).filter(|minutes| learns && self.minutes.is_none_or(|known| *minutes < known));
        if let Some(minutes) = found {
            self.minutes = Some(minutes);
            self.bucket = self.number(at, minutes).max(1);
            return Placed::Anew { minutes, bucket: self.bucket };
        }
        let Some(minutes) = self.minutes else { return Placed::Unknown };
        // Rows that jitter may share a bucket by the clock; each has its own.
        self.bucket = self.number(at, minutes).max(self.bucket + 1);
        Placed::At { bucket: self.bucket }
    }

    /// Whether no distance between rows was one that a bucket may have.
    pub fn is_strange(&self) -> bool {
        self.rows > 1 && self.minutes.is_none()
    }

    fn number(&self, at: Timestamp, minutes: u16) -> i64 {
        let length = i64::from(minutes) * MINUTE_MS;
        (at.0.saturating_sub(self.first.0).saturating_add(length / 2)).div_euclid(length)
    }
}

/// The bucket length that a distance is nearest to, by ratio; `None` where it is near to none.
fn nearest(distance_ms: i64) -> Option<u16> {
    if !(LEAST_MS..=MOST_MS).contains(&distance_ms) {
        return None;
    }
    let ratio = |minutes: u16| {
        let length = (i64::from(minutes) * MINUTE_MS) as f64;
        let distance = distance_ms as f64;
        (length / distance).max(distance / length)
    };
    MINUTES.into_iter().min_by(|a, b| ratio(*a).total_cmp(&ratio(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(seconds: &[i64]) -> Vec<Placed> {
        let mut spacing = Spacing::default();
        seconds.iter().map(|second| spacing.place(Timestamp(second * 1_000))).collect()
    }

    #[test]
    fn the_smallest_distance_of_the_first_rows_counts() {
        use Placed::{Anew, At, Unknown};
        let hourly = [Unknown, Anew { minutes: 60, bucket: 1 }, At { bucket: 2 }, At { bucket: 4 }];
        assert_eq!(places(&[0, 3_600, 7_200, 14_400]), hourly);
        let gap_first = [Unknown, Unknown, Anew { minutes: 10, bucket: 576 }, At { bucket: 577 }];
        assert_eq!(places(&[0, 345_000, 345_600, 346_200]), gap_first);
        let jitter = [Unknown, Anew { minutes: 1, bucket: 1 }, At { bucket: 2 }, At { bucket: 3 }, At { bucket: 5 }];
        assert_eq!(places(&[0, 55, 121, 122, 301]), jitter);
        let finer = [Unknown, Anew { minutes: 1_440, bucket: 1 }, Anew { minutes: 60, bucket: 25 }, At { bucket: 26 }];
        assert_eq!(places(&[0, 86_400, 90_000, 93_600]), finer);
    }

    #[test]
    fn weeks_and_seconds_are_no_buckets() {
        let mut weekly = Spacing::default();
        for week in 0..3 {
            assert_eq!(weekly.place(Timestamp(week * 7 * 24 * HOUR_MS)), Placed::Unknown);
        }
        assert!(weekly.is_strange());
        assert_eq!(places(&[0, 5, 10]), [Placed::Unknown; 3]);
    }
}
