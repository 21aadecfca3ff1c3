//! The last hours of a series, for the picture in an alert: six bytes an hour.

use serde::{Deserialize, Serialize};

use super::small::{UNKNOWN, pack, unpack};
use crate::model::time::Hour;

/// Hours of history that alerts carry for their picture.
pub const HISTORY_HOURS: usize = 48;
/// Bytes of an hour: actual, expected, upper.
const POINT: usize = 6;

/// What was in an hour, and what was expected of it and its upper bound, if anything was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub hour: Hour,
    pub actual: f32,
    pub band: Option<(f32, f32)>,
}

/// Hours without a gap, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    next: Hour,
    #[serde(with = "super::numbers::in_one_piece")]
    bytes: Box<[u8]>,
}

impl History {
    pub fn push(&mut self, point: Point) {
        let (expected, upper) = point.band.map_or((UNKNOWN, UNKNOWN), |(expected, upper)| (pack(expected), pack(upper)));
        let mut added = [0; POINT];
        for (two, value) in added.chunks_exact_mut(2).zip([pack(point.actual), expected, upper]) {
            two.copy_from_slice(&value.to_le_bytes());
        }
        if point.hour != self.next {
            self.bytes = Box::default();
        }
        self.next = point.hour.next();
        if self.bytes.len() < HISTORY_HOURS * POINT {
            self.bytes = [&self.bytes, &added[..]].concat().into();
        } else {
            self.bytes.copy_within(POINT.., 0);
            let last = self.bytes.len() - POINT;
            self.bytes[last..].copy_from_slice(&added);
        }
    }

    pub fn points(&self) -> impl Iterator<Item = Point> {
        let first = self.next.0 - (self.bytes.len() / POINT) as i64;
        (first..).map(Hour).zip(self.bytes.chunks_exact(POINT)).map(|(hour, bytes)| {
            let value = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let band = (value(2) != UNKNOWN).then(|| (unpack(value(2)), unpack(value(4))));
            Point { hour, actual: unpack(value(0)), band }
        })
    }

    pub fn at(&self, hour: Hour) -> Option<Point> {
        self.points().find(|point| point.hour == hour)
    }

    /// What was in an hour turns out to be other than it was taken for.
    pub fn amend(&mut self, hour: Hour, actual: f32) {
        let first = self.next.0 - (self.bytes.len() / POINT) as i64;
        let at = usize::try_from(hour.0 - first).ok().and_then(|at| self.bytes.chunks_exact_mut(POINT).nth(at));
        if let Some(bytes) = at {
            bytes[..2].copy_from_slice(&pack(actual).to_le_bytes());
        }
    }

    pub fn last(&self) -> Option<Hour> {
        (!self.bytes.is_empty()).then_some(Hour(self.next.0 - 1))
    }
}

impl FromIterator<Point> for History {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> History {
        let mut history = History::default();
        points.into_iter().for_each(|point| history.push(point));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_two_days() {
        let point = |hour: i64| Point { hour: Hour(hour), actual: hour as f32, band: (hour > 3).then_some((2.0, 4.0)) };
        let history: History = (1..=100).map(point).collect();
        assert_eq!(history.points().collect::<Vec<_>>(), (53..=100).map(point).collect::<Vec<_>>());
        assert_eq!(history.last(), Some(Hour(100)));
        let young: History = (1..=5).map(point).collect();
        assert_eq!(young.points().collect::<Vec<_>>(), (1..=5).map(point).collect::<Vec<_>>());
        assert_eq!(History::default().last(), None);
    }

    #[test]
    fn an_hour_is_amended_and_no_other() {
        let point = |hour: i64| Point { hour: Hour(hour), actual: hour as f32, band: (hour > 3).then_some((2.0, 4.0)) };
        let mut history: History = (1..=100).map(point).collect();
        let before = history.clone();
        for gone in [52, 101, i64::MIN / 2] {
            history.amend(Hour(gone), 7.0);
        }
        assert_eq!(history, before);
        history.amend(Hour(60), 7.0);
        assert_eq!(history.at(Hour(60)), Some(Point { actual: 7.0, ..point(60) }));
        assert!(history.points().zip(before.points()).all(|(now, then)| now == then || now.hour == Hour(60)));
    }
}
