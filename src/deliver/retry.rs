//! When a mail that did not go out is tried again.

use crate::model::hash::hash128;
use crate::model::time::{MINUTE_MS, SECOND_MS, Timestamp};

/// Waiting times double from `first_ms` to `cap_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first_ms: i64,
    pub cap_ms: i64,
    /// Attempts in all, the first one included; after the last one the mail is given up.
    pub attempts: u32,
}

impl Default for Backoff {
    /// About a day: 5 s, 10 s, 20 s, ... 15 min, and so on.
    fn default() -> Self {
        Backoff { first_ms: 5 * SECOND_MS, cap_ms: 15 * MINUTE_MS, attempts: 100 }
    }
}

/// When to try again after the `attempt`-th attempt (the first is 1) failed `now`; `None` = give up.
///
/// Each wait is up to a fifth shorter than the schedule says, by a hash of the mail's id: mails that failed together do not come
/// back together, and yet the same history gives the same times. `least_ms`: what the receiver asks for, which holds as far as the longest
/// wait goes.
pub fn next_attempt(backoff: &Backoff, attempt: u32, now: Timestamp, least_ms: i64, message_id: &str) -> Option<Timestamp> {
    if attempt >= backoff.attempts {
        return None;
    }
    let doublings = attempt.saturating_sub(1).min(40);
    let wait = backoff.first_ms.max(1).saturating_mul(1_i64 << doublings).min(backoff.cap_ms.max(1));
    let hash = hash128(&[message_id.as_bytes(), &attempt.to_le_bytes()]);
    let share = i64::try_from(hash % 1000).unwrap_or(0);
    let wait = wait - (wait / 5).saturating_mul(share) / 1000;
    Some(now.plus_ms(wait.max(least_ms.min(backoff.cap_ms.max(1)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_end() {
        let backoff = Backoff { first_ms: 1_000, cap_ms: 60_000, attempts: 10 };
        let now = Timestamp(1_000_000);
        let due = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000];
        for (attempt, due) in (1..).zip(due) {
            let wait = next_attempt(&backoff, attempt, now, 0, "<a@b>").unwrap().0 - now.0;
            assert!((due - due / 5..=due).contains(&wait), "attempt {attempt}: {wait}");
        }
        assert_eq!(next_attempt(&backoff, 10, now, 0, "<a@b>"), None);
        assert_eq!(next_attempt(&backoff, u32::MAX, now, 0, "<a@b>"), None);
        let asked = |least_ms| next_attempt(&backoff, 1, now, least_ms, "<a@b>").unwrap().0 - now.0;
        assert_eq!((asked(45_000), asked(600_000)), (45_000, 60_000), "as long as they ask for, and no longer than ever");
        assert_eq!(asked(10), asked(0));
    }

    #[test]
    fn mails_that_failed_together_come_back_apart_and_replays_alike() {
        let at = |id: &str| next_attempt(&Backoff::default(), 7, Timestamp(0), 0, id).unwrap().0;
        assert_eq!(at("<a@b>"), at("<a@b>"));
        let times: std::collections::BTreeSet<i64> = (0..20).map(|n| at(&format!("<{n}@b>"))).collect();
        assert!(times.len() > 15, "{times:?}");
    }

    #[test]
    fn odd_settings_do_not_overflow() {
        let backoff = Backoff { first_ms: i64::MAX, cap_ms: i64::MAX, attempts: u32::MAX };
        assert!(next_attempt(&backoff, 1_000_000, Timestamp(i64::MAX), i64::MAX, "").is_some());
        let zero = Backoff { first_ms: 0, cap_ms: 0, attempts: 5 };
        assert_eq!(next_attempt(&zero, 3, Timestamp(7), 0, ""), Some(Timestamp(8)));
    }
}
