//! When somebody last stood out in a leaf: where nobody did for a week, whoever does is news.

use serde::{Deserialize, Serialize};

use super::places::Place;
use super::series::Node;
use super::shard::Shard;
use crate::model::time::Hour;

/// Who stands out within a day of the first who did belongs to the same turn, of which the first hour is kept.
const TURN_HOURS: u32 = 24;
/// Where heavy users take their turns, one stands out every few days, or every Monday, and is none who runs away. After so many hours from
/// the beginning of a turn nobody has stood out for a week.
const QUIET_HOURS: u32 = TURN_HOURS + 7 * 24;

/// The latest turn of somebody who stood out beside all others of his minute, for however little, and the one before. Hours since the epoch.
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

    /// The leaf turns out to have begun earlier.
    pub fn begin_earlier(&mut self, born: Hour, earlier: Hour) {
        if *self == StoodOut::unknown_before(born) {
            *self = StoodOut::unknown_before(earlier);
        }
    }

    /// Somebody stands out. Whether that changes it: once for each turn.
    pub fn note(&mut self, hour: Hour) -> bool {
        let hour = number(hour);
        let is_new = hour >= self.began.saturating_add(TURN_HOURS);
        if is_new {
            *self = StoodOut { began: hour, before: self.began };
        }
        is_new
    }

    /// Whether a turn has just begun and there was none in the week before. Who stands out is noted before it is asked; so it is news for that
    /// hour and the next.
    pub fn is_news(&self, hour: Hour) -> bool {
        let hour = number(hour);
        (self.began..=self.began.saturating_add(1)).contains(&hour) && self.began.saturating_sub(self.before) >= QUIET_HOURS
    }
}

impl Shard {
    /// Somebody stands out in a leaf. Written with the next transaction: a restore lets go of minutes without judging them.
    pub(super) fn note_stood_out(&mut self, place: Place, hour: Hour) {
        let leaf = self.accounts.get_mut(place.account).and_then(|state| state.node_mut(place.node)).and_then(Node::leaf_mut);
        if leaf.is_some_and(|leaf| leaf.stood_out.note(hour)) {
            self.changed(place.account, place.node);
        }
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
        assert!(stood_out.note(Hour(1_191)) && !stood_out.is_news(Hour(1_191)), "an hour too early");
        assert!(stood_out.note(Hour(1_191 + 192)));
        let is_news: Vec<i64> = (1_300..1_600).filter(|hour| stood_out.is_news(Hour(*hour))).collect();
        assert_eq!(is_news, [1_383, 1_384]);
    }

    #[test]
    fn what_comes_every_week_is_no_news_nor_is_what_follows_a_long_turn() {
        for slipped in [-1, 0, 1] {
            let mut weekly = StoodOut::unknown_before(Hour(0));
            assert!(weekly.note(Hour(500)) && weekly.note(Hour(668 + slipped)) && !weekly.is_news(Hour(668 + slipped)), "{slipped}");
        }
        let mut long = StoodOut::unknown_before(Hour(0));
        (500..524).for_each(|hour| _ = long.note(Hour(hour)));
        assert!(long.note(Hour(523 + 168)) && !long.is_news(Hour(523 + 168)), "it ended less than a week ago");
    }

    #[test]
    fn a_turn_is_kept_once_and_a_long_one_is_no_news_again() {
        let mut stood_out = StoodOut::unknown_before(Hour(0));
        let kept: Vec<i64> = (500..560).filter(|hour| stood_out.note(Hour(*hour))).collect();
        assert_eq!(kept, [500, 524, 548]);
        assert!(!stood_out.is_news(Hour(548)));
        assert!(!stood_out.note(Hour(400)), "what comes late begins nothing");
    }

    #[test]
    fn a_leaf_that_began_earlier_is_unknown_before_that() {
        let mut stood_out = StoodOut::unknown_before(Hour(11));
        stood_out.begin_earlier(Hour(11), Hour(10));
        assert_eq!(stood_out, StoodOut::unknown_before(Hour(10)));
        stood_out.note(Hour(40));
        let noted = stood_out;
        stood_out.begin_earlier(Hour(10), Hour(9));
        assert_eq!(stood_out, noted);
    }
}
