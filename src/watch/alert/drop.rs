//! Drops: a team or project that always takes something takes hardly anything for hours. A job that died, a key that expired, usage that
//! is no longer reported, a price that got lost. Nothing burns, so it waits until that is certain, and is told as info.
//!
//! Models and leaves are not looked at: they empty whenever work moves on to others. Forecasts are not asked: they follow a series down
//! within hours. What is usual is what the same hours took the day before.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::accounts::Accounts;
use super::super::baseline::{Channel, LocalHour};
use super::super::history::Point;
use super::super::judge::{self, Judged};
use super::super::matters::missing::weighted;
use super::super::series::{HourTotals, Node, from_units, to_units};
use super::episode::{Episode, HourExcess, Trigger};
use super::select;
use crate::model::alert::AlertKind;
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::money::Nanos;
use crate::model::time::Hour;

/// An hour is low that takes at most this part of the mean hour before, and a drop goes on up to the second part, ...
const LOW: f64 = 0.2;
const STILL_LOW: f64 = 0.5;
/// ... but not for longer than this: then so little is usual.
const MOST_HOURS: usize = 24;
/// So many hours in a row have to be low.
const LEAST_HOURS: usize = 4;
/// In so many hours before the drop none was low, and this hour of the week is known not to be: who sleeps at night, or at weekends, does
/// not drop.
const LEAST_BEFORE: usize = 36;
const DAY: usize = 24;

/// The hours of a drop and what they usually take.
struct Fall {
    since: Hour,
    expected: Vec<f64>,
    lacks: f64,
}

/// How much is used, in tokens where there are any.
#[derive(Clone, Copy, Default)]
struct Volume {
    tokens: u64,
    events: u64,
}

impl Volume {
    fn of(totals: &HourTotals) -> Volume {
        Volume { tokens: weighted(&totals.tokens), events: totals.events }
    }

    fn plus(self, more: Volume) -> Volume {
        Volume { tokens: self.tokens.saturating_add(more.tokens), events: self.events.saturating_add(more.events) }
    }

    /// Whether hardly anything less is used than before.
    fn goes_on(self, before: Volume) -> bool {
        // Requests that fail are events, too, and have no tokens.
        let (now, before) = if before.tokens > 0 { (self.tokens, before.tokens) } else { (self.events, before.events) };
        before > 0 && now as f64 >= STILL_LOW * before as f64
    }
}

/// The team and projects whose usage goes on without money that would be seen here: it has another currency, or no price, which is told as
/// missing money. Held against what all of it was the day before.
pub(crate) fn still_used(accounts: &Accounts, account: &Account, hour: Hour, judged: &[Judged], moment: Moment<'_>) -> Vec<Scope> {
    let all = || accounts.of_team(&account.team).filter(|(_, state)| state.account.measure == account.measure);
    let used = |hour: Hour, is_meant: &dyn Fn(&Account, &HourTotals) -> bool| -> Vec<(&LeafDimensions, Volume)> {
        let leaves = all().flat_map(|(_, state)| state.leaves().map(move |(dimensions, _, leaf)| (&state.account, dimensions, leaf)));
        let totals = leaves.filter_map(|(own, dimensions, leaf)| Some((own, dimensions, leaf.totals(hour)?)));
        totals.filter(|(own, _, totals)| is_meant(own, totals)).map(|(_, dimensions, totals)| (dimensions, Volume::of(&totals))).collect()
    };
    let is_missing_told = moment.rules.matters.missing.is_some();
    let lacks_money = |own: &Account, totals: &HourTotals| *own != *account || (is_missing_told && totals.cost == Nanos::ZERO);
    let now = used(hour, &lacks_money);
    // Nearly always.
    if now.is_empty() {
        return Vec::new();
    }
    let before = used(Hour(hour.0 - DAY as i64), &|_, _| true);
    let of = |volumes: &[(&LeafDimensions, Volume)], scope: &Scope| {
        let within = volumes.iter().filter(|(dimensions, _)| Scope::Leaf(LeafDimensions::clone(dimensions)).within(scope));
        within.fold(Volume::default(), |sum, (_, volume)| sum.plus(*volume))
    };
    let scopes = judged.iter().map(|judged| &judged.scope).filter(|scope| matches!(scope, Scope::Team | Scope::Project(_)));
    scopes.filter(|scope| of(&now, scope).goes_on(of(&before, scope))).cloned().collect()
}

/// Nodes that have dropped by now: the team, else its projects. Not those that are used as before.
pub(crate) fn triggers(
    state: &AccountState,
    account: &Account,
    hour: Hour,
    judged: &[Judged],
    still_used: &[Scope],
    moment: Moment<'_>,
) -> Vec<Trigger> {
    let local = judge::local_hour_of(moment.rules, &account.team, hour);
    let mut triggers: Vec<Trigger> = Vec::new();
    // What is converted has left this account, and is spent.
    if moment.rules.rates.is_converted(account.currency, hour.start()) {
        return triggers;
    }
    let is_asked = |scope: &Scope| matches!(scope, Scope::Team | Scope::Project(_)) && !still_used.contains(scope);
    for judged in judged.iter().filter(|judged| is_asked(&judged.scope)) {
        // What is told already, and the end of a rise, which is none.
        let is_told = state.episodes.values().any(|episode| !episode.is_held() && select::is_about(episode, &judged.scope));
        let is_wider_told = triggers.iter().any(|wider| judged.scope.within(&wider.judged.scope));
        let limits = judge::thresholds(moment.rules, account, &judged.scope);
        let node = state.get(&judged.scope).filter(|node| !is_told && !is_wider_told && !sleeps(node, local));
        if let Some(fall) = node.and_then(|node| fall(node, judged.actual, hour)).filter(|fall| fall.lacks >= to_units(limits.least_excess))
        {
            let mut judged = judged.clone();
            judged.verdict.channel = Channel::Below;
            judged.verdict.normals[Channel::Below as usize] = fall.expected.first().copied().unwrap_or(0.0);
            judged.verdict.score = (1.0 - 0.05 * judged.actual / judged.expected()).clamp(0.0, 1.0);
            triggers.push(Trigger { since: Some(fall.since), ..Trigger::spike(judged) });
        }
    }
    triggers
}

/// Whether so little is usual at this hour of the week, for all that is known.
fn sleeps(node: &Node, local: LocalHour) -> bool {
    let points: Vec<f64> = node.closed.history.points().map(|point| f64::from(point.actual)).collect();
    let mean = points.iter().sum::<f64>() / points.len().max(1) as f64;
    node.closed.baseline.wake().of_week(local).is_none_or(|usual| usual <= STILL_LOW * mean)
}

/// The drop that an hour stands in, if it is long enough and nothing before it was as low.
fn fall(node: &Node, actual: f64, hour: Hour) -> Option<Fall> {
    let (low, before) = split(node, actual)?;
    let mean = before.iter().map(|point| f64::from(point.actual)).sum::<f64>() / before.len().max(1) as f64;
    if low.len() + 1 < LEAST_HOURS || before.len() < LEAST_BEFORE || before.iter().any(|point| f64::from(point.actual) <= LOW * mean) {
        return None;
    }
    // Newest first: this hour, then those before it.
    let usual = |back: usize| before.get(back + DAY - 1 - low.len()).map_or(mean, |point| f64::from(point.actual));
    let expected: Vec<f64> = (0..=low.len()).map(usual).collect();
    let taken = actual + low.iter().map(|point| f64::from(point.actual)).sum::<f64>();
    let lacks = expected.iter().sum::<f64>() - taken;
    Some(Fall { since: Hour(hour.0 - low.len() as i64), expected, lacks })
}

/// Hours before this one, newest first: the low ones just before it, and the others. Nothing where this one is not low itself.
fn split(node: &Node, actual: f64) -> Option<(Vec<Point>, Vec<Point>)> {
    let mut points: Vec<Point> = node.closed.history.points().collect();
    points.reverse();
    let level = points.iter().map(|point| f64::from(point.actual)).sum::<f64>() / points.len().max(1) as f64;
    if actual > LOW * level || level <= 0.0 {
        return None;
    }
    let before = points.split_off(points.iter().take_while(|point| f64::from(point.actual) <= LOW * level).count());
    Some((points, before))
}

/// Adds what a drop had missed before it was certain.
pub(crate) fn add_earlier_hours(episode: &mut Episode, node: &Node, actual: f64, hour: Hour) {
    let (Some(fall), Some((low, _))) = (fall(node, actual, hour), split(node, actual)) else { return };
    for (point, expected) in low.iter().zip(fall.expected.iter().skip(1)) {
        let part = HourExcess { actual: from_units(f64::from(point.actual)), expected: from_units(*expected), provisional: false };
        episode.hours.insert(point.hour, part);
    }
}

/// What an hour of a drop would have taken, while it goes on.
pub(crate) fn goes_on(episode: &Episode, judged: &Judged) -> Option<f64> {
    let usual = to_units(episode.expected()) / episode.hours.len().max(1) as f64;
    (episode.hours.len() < MOST_HOURS && judged.actual <= STILL_LOW * usual).then_some(usual)
}

impl Episode {
    /// Of too little.
    pub(crate) fn is_of_fall(&self) -> bool {
        self.kind == AlertKind::SpendDrop
    }
}
