//! The runaway guard: minutes that cost more than whole hours used to. It needs no season and hardly any history, so it is the first
//! to see an agent in a loop or a leaked key (DETECTION.md, section 6).

use super::ring::{MINUTES, MinuteRing};
use crate::model::alert::Stage;
use crate::model::money::Nanos;
use crate::model::time::Minute;
use crate::watch::rules::Thresholds;

/// Window lengths in minutes, and how many usual worst hours (in `runaway_factor`s) each may take. A window's factor goes with the
/// square root of its length, as fluctuation does: a factor of 3 lets 5 minutes take 0.87, 15 minutes 1.5, an hour 3 worst hours.
const WINDOWS: [(u32, f64); 3] = [(5, 0.289), (15, 0.5), (60, 1.0)];
/// On the first day the worst hour is still to come: a night says little about the morning.
const FIRST_DAY_CAUTION: f64 = 2.0;
/// Minutes of its own that a new series needs before a window is compared with them.
const LEAST_OWN_MINUTES: u32 = 30;
/// With nothing at all to compare with, five minutes must take this many floors.
const UNKNOWN_FLOORS: f64 = 10.0;

/// What a series' minutes are compared with. Money per hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    pub stage: Stage,
    /// Expected of the current hour; 0 while nothing is.
    pub expected_hour: f64,
    /// `Baseline::usual_worst_hour` of the series.
    pub worst_hour: f64,
    /// The same of the whole team, if the team is past its stage `New`: a new project of a big team may spend a part of that.
    pub team_worst_hour: Option<f64>,
}

/// A window that fired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Runaway {
    pub window_minutes: u32,
    /// First minute of the window.
    pub onset: Minute,
    pub actual: Nanos,
    /// What would have been expected of the window, in money.
    pub expected: f64,
    /// What the window had to pass, in money.
    pub limit: f64,
    /// 0..1, higher = further beyond the limit.
    pub score: f64,
}

/// Judges the windows that end with the minute `last`; of several that fire, the one with the most money over its limit.
pub fn judge(ring: &MinuteRing, last: Minute, usual: &Usual, thresholds: &Thresholds) -> Option<Runaway> {
    let floor = units(thresholds.runaway_floor);
    // The hour holds every window (unless amounts were taken back within it): the common case ends here.
    if units(ring.sum(last, MINUTES as u32)) <= floor {
        return None;
    }
    let mut worst: Option<Runaway> = None;
    for (minutes, part) in WINDOWS {
        let limit = match reference_hour(ring, last, usual, minutes) {
            Some(reference) => floor.max(thresholds.runaway_factor * part * reference),
            // Nothing known at all. Five minutes only: an ordinary big team must get through its first half hour in silence.
            None if minutes == WINDOWS[0].0 => UNKNOWN_FLOORS * floor,
            None => continue,
        };
        let actual = ring.sum(last, minutes);
        let money = units(actual);
        if money <= limit || worst.is_some_and(|worst| money - limit <= units(worst.actual) - worst.limit) {
            continue;
        }
        let expected = expected_of(ring, last, usual, minutes);
        let onset = Minute(last.0.saturating_sub(i64::from(minutes) - 1)).max(ring.first());
        let score = (1.0 - 0.05 * limit / money).clamp(0.0, 1.0);
        worst = Some(Runaway { window_minutes: minutes, onset, actual, expected, limit, score });
    }
    worst
}

/// The hour that a window is measured by, in money; `None` = there is none yet.
fn reference_hour(ring: &MinuteRing, last: Minute, usual: &Usual, window: u32) -> Option<f64> {
    let own = own_rate(ring, last, window).map(|per_minute| per_minute * MINUTES as f64);
    let worst_so_far = FIRST_DAY_CAUTION * usual.worst_hour;
    match (usual.stage, own, usual.team_worst_hour) {
        (Stage::FirstWeeks | Stage::Seasoned, ..) => Some(usual.worst_hour),
        (Stage::FirstDay, own, _) => Some(worst_so_far.max(own.unwrap_or(0.0))),
        (Stage::New, Some(own), _) => Some(own.max(worst_so_far)),
        // A new part of a known team: its first minutes against the team's hours.
        (Stage::New, None, team) => team,
    }
}

/// Mean money per minute before the window, if enough of its own minutes lie there.
fn own_rate(ring: &MinuteRing, last: Minute, window: u32) -> Option<f64> {
    let before = Minute(last.0.saturating_sub(i64::from(window)));
    let oldest = ring.first().0.max(ring.newest().0.saturating_sub(MINUTES as i64 - 1));
    let known = before.0.saturating_sub(oldest).saturating_add(1);
    if known < i64::from(LEAST_OWN_MINUTES) {
        return None;
    }
    let minutes = u32::try_from(known).ok()?;
    Some(units(ring.sum(before, minutes)) / known as f64)
}

fn expected_of(ring: &MinuteRing, last: Minute, usual: &Usual, window: u32) -> f64 {
    let per_minute = match usual.stage {
        Stage::New => own_rate(ring, last, window).unwrap_or(0.0),
        Stage::FirstDay | Stage::FirstWeeks | Stage::Seasoned => usual.expected_hour / MINUTES as f64,
    };
    per_minute * f64::from(window)
}

fn units(amount: Nanos) -> f64 {
    amount.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thresholds() -> Thresholds {
        crate::watch::detect::verdict::tests::thresholds(4.0)
    }

    fn usual(stage: Stage, worst_hour: f64) -> Usual {
        Usual { stage, expected_hour: worst_hour / 2.0, worst_hour, team_worst_hour: None }
    }

    /// One amount per minute, from minute 1,000 on.
    fn ring(amounts: &[f64]) -> MinuteRing {
        let mut ring = MinuteRing::new(Minute(1_000));
        for (minute, amount) in (1_000..).zip(amounts) {
            ring.add(Minute(minute), Nanos((amount * 1e9) as i128));
        }
        ring
    }

    /// Window lengths that fire minute by minute; the first minute and the window.
    fn first_alarm(amounts: &[f64], usual: &Usual) -> Option<(usize, u32)> {
        (1..=amounts.len()).find_map(|minutes| {
            let ring = ring(&amounts[..minutes]);
            let found = judge(&ring, ring.newest(), usual, &thresholds())?;
            Some((minutes, found.window_minutes))
        })
    }

    #[test]
    fn fires_when_minutes_cost_more_than_hours_used_to() {
        // Floor 20, factor 3: 5 minutes may take 0.87, 15 minutes 1.5, the hour 3 worst hours.
        type Case = (&'static str, Vec<f64>, Stage, f64, Option<(usize, u32)>);
        let cases: [Case; 8] = [
            ("worst hour again", vec![1.0; 60], Stage::Seasoned, 60.0, None),
            ("twice the worst hour", vec![2.0; 120], Stage::Seasoned, 60.0, None),
            ("leaked key", [vec![1.0; 60], vec![30.0; 5]].concat(), Stage::Seasoned, 60.0, Some((62, 5))),
            ("six times the worst hour", vec![7.0; 60], Stage::FirstWeeks, 60.0, Some((13, 15))),
            ("below the floor", [vec![0.0; 60], vec![3.9; 5]].concat(), Stage::Seasoned, 0.1, None),
            ("first day, the morning comes", [vec![0.5; 60], vec![5.0; 60]].concat(), Stage::FirstDay, 60.0, None),
            ("new, steady, big", vec![30.0; 180], Stage::New, 0.0, None),
            ("new, small, then wild", [vec![0.5; 40], vec![30.0; 5]].concat(), Stage::New, 0.0, Some((41, 5))),
        ];
        for (name, amounts, stage, worst_hour, expected) in cases {
            assert_eq!(first_alarm(&amounts, &usual(stage, worst_hour)), expected, "{name}");
        }
    }

    #[test]
    fn nothing_known_at_all_takes_ten_floors_in_five_minutes() {
        let wild = first_alarm(&[100.0; 10], &usual(Stage::New, 0.0));
        assert_eq!(wild, Some((3, 5)), "3 minutes of 100 pass 200");
        let within_big_team = Usual { team_worst_hour: Some(1_000.0), ..usual(Stage::New, 0.0) };
        assert_eq!(first_alarm(&[100.0; 5], &within_big_team), None, "a new project of a team that spends 1,000 an hour");
        assert_eq!(first_alarm(&[300.0; 5], &within_big_team), Some((3, 5)));
    }
}
