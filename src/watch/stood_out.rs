//! When somebody last stood out in a leaf: where nobody did for a week, whoever does is news.

use serde::{Deserialize, Serialize};

use crate::model::time::Hour;

/// Where heavy users take their turns, one stands out every few days, and is none who runs away.
const QUIET_HOURS: u32 = 7 * 24;
/// Who stands out within a day of the first who did belongs to the same turn.
const TURN_HOURS: u32 = 24;

/// The latest turn of somebody who stood out beside all others of his minute, and the one before. Hours since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoodOut {
    began: u32,
    before: u32,
}

impl StoodOut {
    /// Of a leaf that nothing is known of before `hour`: as if somebody had stood out then.
    pub fn unknown_before(hour: Hour) -> StoodOut {
        let hour = number(hour);
        StoodOut { began: hour, before: hour }
    }

    /// Somebody stands out. Whether that is to be kept: once for each turn.
    pub fn note(&mut self, hour: Hour) -> bool {
        let hour = number(hour);
        let is_new = hour >= self.began.saturating_add(TURN_HOURS);
        if is_new {
            *self = StoodOut { began: hour, before: self.began };
        }
        is_new
    }

    /// Whether a turn has just begun and there was none in the week before.
    pub fn is_news(&self, hour: Hour) -> bool {
        let hour = number(hour);
        (self.began..=self.began.saturating_add(1)).contains(&hour) && self.began.saturating_sub(self.before) >= QUIET_HOURS
    }
}

/// Hours fit until the year 491,000.
fn number(hour: Hour) -> u32 {
    u32::try_from(hour.0.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_news_for_two_hours_after_a_quiet_week() {
        let mut stood_out = StoodOut::unknown_before(Hour(1_000));
        assert!(!stood_out.is_news(Hour(1_000)), "nothing is known of before");
        assert!(stood_out.note(Hour(1_167)) && !stood_out.is_news(Hour(1_167)), "a week less an hour");
        assert!(stood_out.note(Hour(1_335)));
        let is_news: Vec<i64> = (1_330..1_500).filter(|hour| stood_out.is_news(Hour(*hour))).collect();
        assert_eq!(is_news, [1_335, 1_336]);
    }

    #[test]
    fn a_turn_is_kept_once_and_a_long_one_is_no_news_again() {
        let mut stood_out = StoodOut::unknown_before(Hour(0));
        let kept: Vec<i64> = (500..560).filter(|hour| stood_out.note(Hour(*hour))).collect();
        assert_eq!(kept, [500, 524, 548]);
        assert!(!stood_out.is_news(Hour(548)));
        assert!(!stood_out.note(Hour(400)), "what comes late begins nothing");
    }
}
