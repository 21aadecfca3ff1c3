//! Slow growth: the last 24 hours of a team or project against all days that are known, most of their hours above what is usual for them.
//! Each hour by itself is near the one before, and a forecast follows; the days before do not (DETECTION.md, section 6.2 C).

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::{Baseline, Channel, LocalHour};
use super::super::days::{self, DAY};
use super::super::judge::{self, Judged};
use super::super::series::{Node, from_units, to_units};
use super::episode::{Episode, HourExcess, Trigger, channel_of};
use super::select;
use crate::model::alert::AlertKind;
use crate::model::leaf::{Account, Scope};
use crate::model::time::{HOUR_MS, Hour};

/// So many days have to be known before the last 24 hours.
const LEAST_DAYS: usize = 7;
/// The last 24 hours are at least this many times the usual day, and the largest, ...
const LEAST_RATIO: f64 = 1.3;
const LEAST_OF_LARGEST: f64 = 1.2;
/// ... as long as it goes on, this many times the usual one, ...
const STILL: f64 = 1.25;
/// ... lie so many deviations of days beyond the usual one, in logarithms, ...
const LEAST_DEVIATIONS: f64 = 2.5;
/// ... which are at least so much, ...
const LEAST_DEVIATION: f64 = 0.1;
/// ... and this part of the hours is above what is usual for the hour of the day: a few large ones are another matter.
const MOST_HOURS: f64 = 0.75;
/// Growth by weeks is seen once a day: the last seven days are so many times the seven before, ...
const LEAST_OF_WEEK: f64 = 1.25;
/// ... each is above the same day of that week but for one, of at least so many that say anything, ...
const MOST_DAYS_BELOW: usize = 1;
const LEAST_PAIRS: usize = 5;
/// ... the mean of these ratios, in logarithms, is so many of its standard errors beside a straight line, ...
const LEAST_ERRORS: f64 = 4.0;
/// ... the later half is beyond the first half by this much: it goes on, and is no step of a week ago, ...
const LEAST_SLOPE: f64 = 0.07;
/// ... and no two days in a row make up more than this part of it: that is a step of this week, which was told.
const MOST_AT_ONCE: f64 = 0.6;
const WEEK: usize = 7;
/// Deviations more for each nat by which the team's alerts have to be rarer.
const PER_NAT: f64 = 0.5;
/// Alerts a month for which the above holds.
const USUAL_BUDGET: f64 = 2.0;
/// What was told of a series is no news for so long after its end: it lies within the last 24 hours.
const PAUSE_MS: i64 = 24 * HOUR_MS;
/// For so long the level that it had is no news, either: by then it is among the days that are known.
const LEVEL_PAUSE_MS: i64 = 72 * HOUR_MS;
const LEVEL_HOURS: usize = 12;

/// A day of growth.
struct Growth {
    /// How many times the usual day.
    ratio: f64,
    /// The hours, oldest first.
    hours: Vec<f64>,
}

/// Nodes that have grown by now: projects, else the team.
pub(crate) fn triggers(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    local: LocalHour,
    judged: &[Judged],
    moment: Moment<'_>,
) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = Vec::new();
    let mut nodes: Vec<&Judged> = judged.iter().filter(|judged| matches!(judged.scope, Scope::Team | Scope::Project(_))).collect();
    nodes.sort_by(|a, b| b.scope.depth().cmp(&a.scope.depth()).then(a.scope.cmp(&b.scope)));
    let limits = judge::thresholds(moment.rules, account, &Scope::Team);
    let strictness = judge::strictness(state, hour, moment.rules) - libm::log(limits.alerts_per_team_month / USUAL_BUDGET);
    for judged in nodes {
        let is_news = |episode: &Episode| {
            let since_end = episode.closed_at.map_or(0, |closed| hour.start().0 - closed.0);
            !episode.is_held() && (since_end < PAUSE_MS || (since_end < LEVEL_PAUSE_MS && is_at_level(state, episode, judged)))
        };
        let is_told = state.episodes.values().filter(|episode| is_news(episode)).any(|episode| select::is_about(episode, &judged.scope))
            || triggers.iter().any(|told| told.judged.scope.within(&judged.scope));
        let Some(node) = state.get(&judged.scope).filter(|_| !is_told) else { continue };
        let stricter = PER_NAT * strictness;
        let growth = growth(state, node, judged.actual, hour, local, LEAST_DEVIATIONS + stricter)
            .or_else(|| growth_of_weeks(state, node, judged.actual, hour, LEAST_ERRORS + stricter));
        let Some(growth) = growth else { continue };
        let excess = growth.hours.iter().sum::<f64>() * (1.0 - 1.0 / growth.ratio);
        // By days it is asked in every hour: at night it can wait.
        if (judged.actual <= 0.0 && !days::ends_with(hour))
            || excess < to_units(judge::thresholds(moment.rules, account, &judged.scope).least_excess)
        {
            continue;
        }
        let mut judged = judged.clone();
        judged.verdict.channel = Channel::Level;
        judged.verdict.normals[Channel::Level as usize] = judged.actual / growth.ratio;
        judged.verdict.score = judged.verdict.score.max(1.0 - 0.05 * LEAST_RATIO / growth.ratio);
        triggers.push(Trigger { since: Some(Hour(hour.0 + 1 - DAY as i64)), ..Trigger::spike(judged) });
    }
    triggers
}

fn growth(state: &AccountState, node: &Node, actual: f64, hour: Hour, local: LocalHour, deviations: f64) -> Option<Growth> {
    let (ratio, hours, known) = against_days(state, node, actual, hour)?;
    let mut logs: Vec<f64> = known.iter().map(|day| libm::log(day.max(f64::MIN_POSITIVE))).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let spread = libm::sqrt(logs.iter().map(|log| (log - mean) * (log - mean)).sum::<f64>() / logs.len() as f64);
    let usual = median(&mut logs);
    let mut off: Vec<f64> = logs.iter().map(|log| (log - usual).abs()).collect();
    // The median of absolute deviations, as a standard deviation.
    let deviation = (1.4826 * median(&mut off)).max(0.5 * spread).max(LEAST_DEVIATION);
    let largest = known.iter().copied().fold(0.0, f64::max);
    let total = days::counted(&hours, &known);
    let grows = ratio >= LEAST_RATIO
        && total >= LEAST_OF_LARGEST * largest
        && libm::log(ratio) >= deviations * deviation
        && share_above(&node.closed.baseline.wake(), &hours, local) >= MOST_HOURS;
    grows.then_some(Growth { ratio, hours })
}

/// Whether the node of a rise that lasted long enough to have a level is still at it, and has most of what the judged one takes.
fn is_at_level(state: &AccountState, episode: &Episode, judged: &Judged) -> bool {
    if episode.hours.len() < LEVEL_HOURS || episode.is_of_fall() || episode.is_of_ratio() || episode.kind == AlertKind::SpendMoved {
        return false;
    }
    let mean = |scope: &Scope| {
        let hours = state.get(scope).map(days::last_hours).unwrap_or_default();
        let day = &hours[hours.len().saturating_sub(DAY)..];
        day.iter().sum::<f64>() / day.len().max(1) as f64
    };
    let (told, now) = (to_units(episode.actual()) / episode.hours.len() as f64, mean(&episode.scope));
    now <= LEAST_OF_LARGEST * told && now >= select::EXPLAINS * mean(&judged.scope)
}

/// Growth of a few percent a day, which no day shows beside the days just before it, and neither does one of a team whose weekends differ. A
/// day of UTC ends with the hour: weekdays are held against themselves.
fn growth_of_weeks(state: &AccountState, node: &Node, actual: f64, hour: Hour, errors: f64) -> Option<Growth> {
    if !days::ends_with(hour) {
        return None;
    }
    let (_, hours, mut known) = against_days(state, node, actual, hour)?;
    known.push(days::counted(&hours, &known));
    let weeks: Vec<&[f64]> = known.rchunks_exact(WEEK).collect();
    let (now, before) = (*weeks.first()?, *weeks.get(1)?);
    let sum = |week: &[f64]| week.iter().sum::<f64>();
    let largest = weeks.iter().skip(1).map(|week| sum(week)).fold(0.0, f64::max);
    // A day without money in one of the two weeks, a holiday say, or a weekend in both, says nothing.
    let logs: Vec<f64> = now.iter().zip(before).map(|(now, before)| libm::log(now / before)).filter(|log| log.is_finite()).collect();
    let count = logs.len();
    if count < LEAST_PAIRS || sum(now) < LEAST_OF_WEEK * largest || logs.iter().filter(|log| **log <= 0.0).count() > MOST_DAYS_BELOW {
        return None;
    }
    let mean = |logs: &[f64]| logs.iter().sum::<f64>() / logs.len().max(1) as f64;
    let growth = mean(&logs);
    // Of what is left beside a straight line: that it grows is no noise.
    let off = |at: usize| at as f64 - (count - 1) as f64 / 2.0;
    let steepness =
        logs.iter().enumerate().map(|(at, log)| off(at) * log).sum::<f64>() / (0..count).map(|at| off(at) * off(at)).sum::<f64>();
    let rest = logs.iter().enumerate().map(|(at, log)| log - growth - steepness * off(at));
    let variance = rest.map(|rest| rest * rest).sum::<f64>() / (count - 2) as f64;
    let slope = mean(&logs[count - count / 2..]) - mean(&logs[..count / 2]);
    let rise = logs[count - 1] - logs[0];
    let at_once = logs.windows(3).map(|three| three[2] - three[0]).fold(0.0, f64::max);
    // Where days say nothing, two in a row lie further apart.
    let most_at_once = MOST_AT_ONCE * WEEK as f64 / count as f64;
    let grows = growth >= errors * libm::sqrt(variance / count as f64) && slope >= LEAST_SLOPE && at_once <= most_at_once * rise;
    grows.then_some(Growth { ratio: libm::exp(logs[count - 1]), hours })
}

/// How many times the usual day the last 24 hours are, the hours, and the days before them.
fn against_days(state: &AccountState, node: &Node, actual: f64, hour: Hour) -> Option<(f64, Vec<f64>, Vec<f64>)> {
    let known = state.days.until(&node.scope, Hour(hour.0 + 1 - DAY as i64));
    if known.len() < LEAST_DAYS {
        return None;
    }
    let mut hours = days::last_hours(node);
    hours.push(actual);
    let hours = hours.split_off(hours.len().checked_sub(DAY)?);
    let usual = median(&mut known.clone());
    (usual > 0.0).then(|| (days::counted(&hours, &known) / usual, hours, known))
}

/// The part of hours, the last of which is `local`, that took more than is usual for their hour of the day.
fn share_above(baseline: &Baseline, hours: &[f64], local: LocalHour) -> f64 {
    let above = hours.iter().rev().enumerate().filter(|(back, value)| {
        let hour_of_day = (i64::from(local.hour_of_day) - *back as i64).rem_euclid(DAY as i64) as u8;
        baseline.of_day(hour_of_day).is_some_and(|usual| **value > usual)
    });
    above.count() as f64 / hours.len().max(1) as f64
}

/// Adds what the day before took too much.
pub(crate) fn add_earlier_hours(episode: &mut Episode, state: &AccountState, actual: f64, usual: f64, hour: Hour) {
    let Some(node) = state.get(&episode.scope) else { return };
    // As the hour that is judged is measured, where it says so.
    let own = Some(actual / usual).filter(|ratio| ratio.is_finite() && *ratio > 0.0);
    let Some(ratio) = own.or_else(|| times_usual(state, node, actual, hour)) else { return };
    for point in node.closed.history.points().filter(|point| point.hour.0 > hour.0 - DAY as i64) {
        let actual = f64::from(point.actual);
        let part = HourExcess { actual: from_units(actual), expected: from_units(actual / ratio.max(1.0)), provisional: false };
        episode.hours.insert(point.hour, part);
    }
}

/// What an hour of a higher level would have taken, while it goes on.
pub(crate) fn goes_on(state: &AccountState, episode: &Episode, judged: &Judged, hour: Hour) -> Option<f64> {
    if channel_of(episode.kind) != Channel::Level || !matches!(episode.scope, Scope::Team | Scope::Project(_)) {
        return None;
    }
    let ratio = times_usual(state, state.get(&episode.scope)?, judged.actual, hour)?;
    (ratio >= STILL).then(|| judged.actual / ratio)
}

/// How many times the usual day the last 24 hours are, or those a week before: whichever is more.
fn times_usual(state: &AccountState, node: &Node, actual: f64, hour: Hour) -> Option<f64> {
    let (ratio, hours, known) = against_days(state, node, actual, hour)?;
    // A day of UTC, or the two of which the hours are a part.
    let a_week_ago = known.len().checked_sub(WEEK).and_then(|at| known.get(at..at + if days::ends_with(hour) { 1 } else { 2 }));
    let usual = a_week_ago.map_or(0.0, |days| days.iter().copied().fold(0.0, f64::max));
    let of_week = if usual > 0.0 { days::counted(&hours, &known) / usual } else { 0.0 };
    Some(ratio.max(of_week))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 { upper } else { (upper + values.get(middle.wrapping_sub(1)).copied().unwrap_or(upper)) / 2.0 }
}
