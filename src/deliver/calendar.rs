//! Hours and people by the calendar: business hours with holidays, windows of maintenance, and rotations of who is on call. By the wall
//! clock of a time zone, also where it is changed.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;

use crate::model::time::Timestamp;

/// Windows are looked for this many days ahead: one that has none in more than a year has none.
const DAYS_AHEAD: usize = 400;

/// A window on certain days of the week, from and until a time of the day; it belongs to the day that it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub zone: TimeZone,
    pub days: Vec<Weekday>,
    pub from: Time,
    /// Not after `from`: on the next day.
    pub until: Time,
    /// Days on which no window begins.
    pub holidays: BTreeSet<Date>,
}

impl Schedule {
    /// The window that holds at this moment, or else the next one: when it begins and ends.
    pub fn window(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let mut day = local(at, &self.zone)?.date().yesterday().ok()?;
        for _ in 0..DAYS_AHEAD {
            if let Some((begin, end)) = self.of_day(day).filter(|(_, end)| *end > at) {
                return Some((begin, end));
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// When the window that holds at this moment, or else the next one, is over, and those that adjoin it too; `None`: not in more than a year.
    pub fn ends(&self, at: Timestamp) -> Option<Timestamp> {
        let (_, mut end) = self.window(at)?;
        for _ in 0..DAYS_AHEAD {
            match self.window(end).filter(|(begin, _)| *begin <= end) {
                Some((_, later)) => end = later,
                None => return Some(end),
            }
        }
        None
    }

    pub fn holds(&self, at: Timestamp) -> bool {
        self.window(at).is_some_and(|(begin, _)| begin <= at)
    }

    fn of_day(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&day.weekday()) || self.holidays.contains(&day) {
            return None;
        }
        let last = if self.until > self.from { day } else { day.tomorrow().ok()? };
        let at = |date: Date, time: Time| self.zone.to_timestamp(date.to_datetime(time)).ok().map(|at| Timestamp(at.as_millisecond()));
        Some((at(day, self.from)?, at(last, self.until)?))
    }
}

/// Who is on call: one after the other, each for so many days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub zone: TimeZone,
    /// As routes name receivers.
    pub people: Vec<String>,
    /// When the first one began, by the clock on the wall; the others take over at the same time of the day.
    pub starts: DateTime,
    pub turn_days: i32,
    /// Who stands in for whoever it would be, and when; of several the first.
    pub swaps: Vec<Swap>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    pub from: Timestamp,
    pub until: Timestamp,
    pub who: String,
}

impl Rotation {
    /// `None`: there is nobody in it.
    pub fn on_call(&self, at: Timestamp) -> Option<&str> {
        if let Some(swap) = self.swaps.iter().find(|swap| swap.from <= at && at < swap.until) {
            return Some(&swap.who);
        }
        let now = local(at, &self.zone)?;
        let days = now.date().since(self.starts.date()).ok()?.get_days() - i32::from(now.time() < self.starts.time());
        let turn = days.div_euclid(self.turn_days.max(1));
        let place = turn.rem_euclid(i32::try_from(self.people.len()).ok().filter(|people| *people > 0)?);
        self.people.get(usize::try_from(place).ok()?).map(String::as_str)
    }

    /// Everybody who may ever be.
    pub fn everybody(&self) -> impl Iterator<Item = &String> {
        self.people.iter().chain(self.swaps.iter().map(|swap| &swap.who))
    }
}

fn local(at: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    jiff::Timestamp::from_millisecond(at.0).ok().map(|at| zone.to_datetime(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn schedule(zone: &str, days: &[Weekday], from: &str, until: &str) -> Schedule {
        let holidays = ["2026-12-25".parse().unwrap()].into();
        Schedule {
            zone: crate::model::time::zone(zone).unwrap(),
            days: days.into(),
            from: from.parse().unwrap(),
            until: until.parse().unwrap(),
            holidays,
        }
    }

    const WORKDAYS: [Weekday; 5] = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    #[test]
    fn hours_are_those_of_the_zone() {
        let office = schedule("Europe/Berlin", &WORKDAYS, "09:00", "17:30");
        for (moment, holds, begin) in [
            ("2026-11-24T07:59:59Z", false, "2026-11-24T08:00:00Z"),
            ("2026-11-24T08:00:00Z", true, "2026-11-24T08:00:00Z"),
            ("2026-11-24T16:29:59Z", true, "2026-11-24T08:00:00Z"),
            ("2026-11-24T16:30:00Z", false, "2026-11-25T08:00:00Z"),
            // Friday evening; in summer the same wall clock is another moment.
            ("2026-11-27T20:00:00Z", false, "2026-11-30T08:00:00Z"),
            ("2026-07-03T20:00:00Z", false, "2026-07-06T07:00:00Z"),
            // Christmas is a Friday.
            ("2026-12-24T20:00:00Z", false, "2026-12-28T08:00:00Z"),
        ] {
            assert_eq!((office.holds(at(moment)), office.window(at(moment)).unwrap().0), (holds, at(begin)), "{moment}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let nights = schedule("America/New_York", &[Weekday::Saturday], "22:00", "06:00");
        for (moment, holds) in [
            ("2026-11-22T02:59:00Z", false),
            ("2026-11-22T03:00:00Z", true),
            ("2026-11-22T10:59:00Z", true),
            ("2026-11-22T11:00:00Z", false),
            ("2026-11-23T03:00:00Z", false),
        ] {
            assert_eq!(nights.holds(at(moment)), holds, "{moment}");
        }
        // The clocks go back that night: it is an hour longer.
        let (begin, end) = nights.window(at("2026-10-31T12:00:00Z")).unwrap();
        assert_eq!((begin, end), (at("2026-11-01T02:00:00Z"), at("2026-11-01T11:00:00Z")));
        let all_day = schedule("UTC", &[Weekday::Sunday], "00:00", "00:00");
        assert_eq!(all_day.window(at("2026-11-22T00:00:00Z")), Some((at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"))));
        assert_eq!(schedule("UTC", &[], "00:00", "00:00").window(at("2026-11-22T00:00:00Z")), None);
    }

    #[test]
    fn windows_that_adjoin_are_one() {
        let weekend = schedule("Europe/Berlin", &[Weekday::Saturday, Weekday::Sunday], "00:00", "00:00");
        for moment in ["2026-11-25T12:00:00Z", "2026-11-28T12:00:00Z", "2026-11-29T22:59:59Z"] {
            assert_eq!(weekend.ends(at(moment)), Some(at("2026-11-29T23:00:00Z")), "{moment}");
        }
        let office = schedule("Europe/Berlin", &WORKDAYS, "09:00", "17:30");
        assert_eq!(office.ends(at("2026-11-24T12:00:00Z")), Some(at("2026-11-24T16:30:00Z")));
        let all = [&WORKDAYS[..], &[Weekday::Saturday, Weekday::Sunday]].concat();
        let always = schedule("UTC", &all, "07:00", "07:00");
        assert_eq!(always.ends(at("2026-11-24T12:00:00Z")), Some(at("2026-12-25T07:00:00Z")), "until the holiday");
        assert_eq!(Schedule { holidays: BTreeSet::new(), ..always }.ends(at("2026-11-24T12:00:00Z")), None);
    }

    #[test]
    fn people_take_over_from_each_other() {
        let swap = Swap { from: at("2026-12-01T00:00:00Z"), until: at("2026-12-02T00:00:00Z"), who: "eve@x".into() };
        let rotation = Rotation {
            zone: crate::model::time::zone("Europe/Berlin").unwrap(),
            people: ["ada@x", "bob@x", "cat@x"].map(String::from).into(),
            starts: "2026-11-02T09:00".parse().unwrap(),
            turn_days: 7,
            swaps: vec![swap],
        };
        for (moment, who) in [
            ("2026-11-02T08:00:00Z", "ada@x"),
            ("2026-11-09T07:59:59Z", "ada@x"),
            ("2026-11-09T08:00:00Z", "bob@x"),
            ("2026-11-22T12:00:00Z", "cat@x"),
            ("2026-11-23T08:00:00Z", "ada@x"),
            ("2026-12-01T12:00:00Z", "eve@x"),
            ("2026-12-02T00:00:00Z", "bob@x"),
            // Before it began it went on backwards.
            ("2026-11-02T07:59:59Z", "cat@x"),
            // By the wall clock: an hour earlier in summer.
            ("2027-03-29T06:59:59Z", "cat@x"),
            ("2027-03-29T07:00:00Z", "ada@x"),
        ] {
            assert_eq!(rotation.on_call(at(moment)), Some(who), "{moment}");
        }
        assert_eq!(Rotation { people: vec![], swaps: vec![], ..rotation }.on_call(at("2026-11-02T08:00:00Z")), None);
    }
}
