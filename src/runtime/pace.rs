//! When to commit: at once when there is nothing else to do, but never more than half of the time. Under load batches grow by themselves.

use std::time::Duration;

/// What one thread knows of its own commits. All moments are uptimes.
#[derive(Debug)]
pub struct Pace {
    ended: Duration,
    took: Duration,
}

impl Pace {
    pub fn new(uptime: Duration) -> Pace {
        Pace { ended: uptime, took: Duration::ZERO }
    }

    /// `drained`: the input has nothing more right now. `since`: when the oldest staged work came.
    pub fn is_due(&self, drained: bool, uptime: Duration, since: Duration, interval: Duration) -> bool {
        due(drained, uptime.saturating_sub(since), interval, uptime.saturating_sub(self.ended), self.took)
    }

    pub fn committed(&mut self, uptime: Duration, took: Duration) {
        self.ended = uptime;
        self.took = took;
    }
}

/// As long as whoever is this far behind may fill a transaction. What waits has waited for longer than that before it was read.
const FILL: Duration = Duration::from_millis(500);

/// Whether it is not yet time after all: `unread` records would fill a transaction, so that each holds more of the same sums and fewer of
/// them are written. `waiting`: since the oldest record of it was taken.
pub fn is_filling(full: i64, unread: i64, waiting: Duration) -> bool {
    unread >= full && waiting < FILL
}

fn due(drained: bool, waiting: Duration, interval: Duration, since_last: Duration, last_took: Duration) -> bool {
    waiting >= interval.max(last_took) || (drained && since_last >= last_took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_far_behind_fills_transactions() {
        let ms = Duration::from_millis;
        assert!(is_filling(200_000, 200_000, ms(499)));
        assert!(!is_filling(200_000, 199_999, ms(0)), "near the end what waits is committed as soon as ever");
        assert!(!is_filling(200_000, i64::MAX, ms(500)));
    }

    #[test]
    fn at_once_when_drained_but_not_more_than_half_of_the_time() {
        let ms = Duration::from_millis;
        let table = [
            ("first event after a quiet time", true, 0, 5_000, 8, true),
            ("more in the queue", false, 10, 5_000, 8, false),
            ("waited long enough", false, 100, 100, 8, true),
            ("drained, but the last commit has just ended", true, 3, 3, 8, false),
            ("drained, and as long ago as it took", true, 8, 8, 8, true),
            ("slow broker: work waits as long as a commit takes", false, 200, 200, 300, false),
            ("slow broker, at last", false, 300, 300, 300, true),
        ];
        for (name, drained, waiting, since_last, last_took, expected) in table {
            assert_eq!(due(drained, ms(waiting), ms(100), ms(since_last), ms(last_took)), expected, "{name}");
        }
    }
}
