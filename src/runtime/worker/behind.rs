//! How long the oldest record waits that a group has not committed: known without opening it, and whatever stamp it has.

use std::collections::VecDeque;
use std::time::Duration;

/// Ends that are remembered; beyond that every other one is forgotten, and ages are known less exactly.
const MOST: usize = 600;

/// Of one partition. All moments are uptimes.
pub(super) struct Behind {
    /// Whatever had arrived by then is committed.
    caught_up: Duration,
    /// Where the partition ended, and when that was last so; as long as not all of it is committed.
    ends: VecDeque<(i64, Duration)>,
    /// Least time between two of them.
    every: Duration,
}

impl Behind {
    pub fn new(uptime: Duration) -> Behind {
        Behind { caught_up: uptime, ends: VecDeque::new(), every: Duration::ZERO }
    }

    /// Told every now and then: the next record that is not committed, and the end of the partition. How long the oldest one waits.
    pub fn age(&mut self, position: i64, end: i64, uptime: Duration) -> Duration {
        let is_same = self.ends.back().is_some_and(|(last, _)| *last == end);
        let mut latest = self.ends.iter().rev().map(|(_, at)| *at);
        let is_near = latest.next().zip(latest.next()).is_some_and(|(last, before)| last.saturating_sub(before) < self.every);
        if is_same || is_near {
            self.ends.pop_back();
        }
        self.ends.push_back((end, uptime));
        while let Some((_, at)) = self.ends.pop_front_if(|(end, _)| *end <= position) {
            self.caught_up = at;
        }
        if self.ends.is_empty() {
            self.every = Duration::ZERO;
        }
        if self.ends.len() > MOST {
            self.every = (self.every * 2).max(Duration::from_secs(2));
            let mut stays = false;
            self.ends.retain(|_| {
                stays = !stays;
                stays
            });
        }
        uptime.saturating_sub(self.caught_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(behind: &mut Behind, position: i64, end: i64, second: u64) -> u64 {
        behind.age(position, end, Duration::from_secs(second)).as_secs()
    }

    #[test]
    fn a_commit_within_a_backlog_does_not_make_it_young() {
        let mut behind = Behind::new(Duration::ZERO);
        assert_eq!(age(&mut behind, 0, 5_000, 1), 1);
        assert_eq!(age(&mut behind, 1_000, 5_000, 2), 2);
        assert_eq!(age(&mut behind, 2_000, 6_000, 12), 12, "what waits has waited since the beginning");
        assert_eq!(age(&mut behind, 5_500, 7_000, 13), 11, "all that was there at second 2 is done with");
        assert_eq!(age(&mut behind, 7_000, 7_000, 14), 0);
    }

    #[test]
    fn after_a_quiet_time_the_first_record_is_young() {
        let mut behind = Behind::new(Duration::ZERO);
        assert!((1..=3_600).all(|second| age(&mut behind, 7, 7, second) == 0));
        assert_eq!(age(&mut behind, 7, 8, 3_601), 1);
        assert_eq!(age(&mut behind, 7, 8, 3_603), 3);
    }

    #[test]
    fn who_is_always_a_little_behind_is_no_more_than_that() {
        let mut behind = Behind::new(Duration::ZERO);
        let ages = (0..10_000).map(|second| age(&mut behind, 100 * second - 200, 100 * second, second.unsigned_abs()));
        assert!(ages.skip(4).all(|age| age == 2));
    }

    #[test]
    fn a_long_backlog_takes_little_room() {
        let mut behind = Behind::new(Duration::ZERO);
        assert!((1..100_000).all(|second| age(&mut behind, 0, i64::try_from(second).unwrap(), second) == second));
        assert!(behind.ends.len() <= MOST + 1);
        let half = age(&mut behind, 50_000, 100_000, 100_000);
        assert!((50_000..51_000).contains(&half), "{half}");
    }
}
