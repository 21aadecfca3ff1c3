//! One node's hour held against its baseline: the only place that knows how baseline and detectors are called.

use super::Moment;
use super::account::{AccountState, NodeId};
use super::baseline::{Baseline, Channel, Expectation, LocalHour};
use super::detect::{runaway, verdict};
use super::rules::{Thresholds, WatchRules};
use super::series::{Grain, Node, Outlook, to_units};
use crate::model::alert::Stage;
use crate::model::leaf::{Account, Scope};
use crate::model::time::{Hour, Minute, zone};

/// Leaves count with this power of their number.
const SHARED: f64 = 0.7;
/// Sources report at least this often, in minutes.
const REPORTED_WITHIN: i64 = 10;

/// A node's hour and what was thought of it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub node: NodeId,
    pub scope: Scope,
    pub actual: f64,
    pub expectation: Expectation,
    pub verdict: verdict::Verdict,
}

impl Judged {
    /// What was normal, as the loudest channel sees it.
    pub fn expected(&self) -> f64 {
        self.expected_on(self.verdict.channel)
    }

    pub fn excess(&self) -> f64 {
        self.actual - self.expected()
    }

    /// What a channel takes for normal.
    pub fn expected_on(&self, channel: Channel) -> f64 {
        self.verdict.normals[channel as usize]
    }

    /// The same on another node's channel: a part and its whole are measured alike.
    pub fn seen_on(mut self, channel: Channel) -> Judged {
        self.verdict.channel = channel;
        self
    }
}

/// Time zone of a team.
pub(crate) fn zone_of(rules: &WatchRules, team: &str) -> jiff::tz::TimeZone {
    zone(rules.time_zone(team)).unwrap_or(jiff::tz::TimeZone::UTC)
}

/// Hour of the day and day of the week of `hour` in a zone.
pub(crate) fn local_hour(zone: &jiff::tz::TimeZone, hour: Hour) -> LocalHour {
    let offset = jiff::Timestamp::from_millisecond(hour.start().0).map_or(0, |instant| zone.to_offset(instant).seconds());
    LocalHour::at(hour, offset)
}

/// The local hour of a team; most teams have no zone of their own.
pub(crate) fn local_hour_of(rules: &WatchRules, team: &str, hour: Hour) -> LocalHour {
    if rules.time_zone(team) == "UTC" { LocalHour::at(hour, 0) } else { local_hour(&zone_of(rules, team), hour) }
}

pub(crate) fn thresholds<'a>(rules: &'a WatchRules, account: &Account, scope: &Scope) -> &'a Thresholds {
    match scope {
        Scope::Team | Scope::Model(_) => rules.thresholds(&account.team, "", ""),
        Scope::Project(project) => rules.thresholds(&account.team, project, ""),
        Scope::Leaf(leaf) => rules.thresholds(&account.team, &leaf.project, &leaf.environment),
    }
}

pub(crate) fn judge(
    state: &AccountState,
    account: &Account,
    scope: &Scope,
    hour: Hour,
    local: LocalHour,
    rules: &WatchRules,
) -> Option<Judged> {
    let series = series_in_team(state, hour, rules);
    judge_and_wake(state, account, state.id_of(scope)?, (hour, local), rules, series).map(|(judged, _)| judged)
}

/// With the baseline, which is to learn the hour. `series`: those that share the team's budget.
pub(crate) fn judge_and_wake(
    state: &AccountState,
    account: &Account,
    id: NodeId,
    (hour, local): (Hour, LocalHour),
    rules: &WatchRules,
    series: f64,
) -> Option<(Judged, Baseline)> {
    let node = state.node(id)?;
    let actual = to_units(node.hour(hour).cost);
    let baseline = node.closed.baseline.wake();
    let expectation = baseline.expect(hour, local);
    let verdict = verdict::judge(&baseline, &expectation, actual, thresholds(rules, account, &node.scope), series);
    Some((Judged { node: id, scope: node.scope.clone(), actual, expectation, verdict }, baseline))
}

/// What a channel takes for normal of a node's hour.
pub(crate) fn normal(node: &Node, hour: Hour, local: LocalHour, actual: f64, channel: Channel) -> f64 {
    let baseline = node.closed.baseline.wake();
    verdict::normal_for(&baseline, &baseline.expect(hour, local), channel, actual)
}

/// Whether an open hour already holds more than the whole hour may; one comparison once the bound is known.
pub(crate) fn crosses(node: &mut Node, series: f64, hour: Hour, local: LocalHour, limits: &Thresholds, moment: Moment<'_>) -> bool {
    let sum = node.hour(hour);
    if sum.has_negative {
        return false;
    }
    let closed = moment.closed_through.map_or(0, |closed| closed.0.saturating_add(1)) as u64;
    let stamp = (moment.rules.revision << 32 | (closed & 0xffff_ffff)).wrapping_add(1);
    let known = node.outlook.filter(|known| known.hour == hour && known.stamp == stamp && known.series == series);
    let outlook = known.unwrap_or_else(|| {
        let baseline = node.closed.baseline.wake();
        let expectation = baseline.expect(hour, local);
        let bound = verdict::bound(&baseline, &expectation, limits, series).unwrap_or(f64::INFINITY);
        let (stage, expected, worst) = (baseline.stage(hour), expectation.expected, baseline.usual_worst_hour());
        Outlook { hour, stamp, series, bound, stage, expected, worst }
    });
    node.outlook = Some(outlook);
    to_units(sum.cost) >= outlook.bound
}

/// The guard on minutes, which needs no closed hour to speak. Held against what is usual are the windows up to the latest minute, and
/// where the amounts are behind it, those up to theirs. Of an hour that others have followed it sees no more than that hour's minutes:
/// what came after them is theirs.
pub(crate) fn guard(state: &AccountState, id: NodeId, minute: Minute, local: LocalHour, limits: &Thresholds) -> Option<runaway::Runaway> {
    let hour = minute.hour();
    let node = state.node(id)?;
    let minutes = node.minutes.as_ref()?;
    // Most series never come near the floor; what is usual need not be worked out for them.
    if minutes.sum(minutes.newest(), 60) <= limits.runaway_floor && !node.hour(hour).has_negative {
        return None;
    }
    let (stage, expected_hour, worst_hour) = match node.outlook.filter(|known| known.hour == hour) {
        Some(known) => (known.stage, known.expected, known.worst),
        None => {
            let baseline = node.closed.baseline.wake();
            (baseline.stage(hour), baseline.expect(hour, local).expected, baseline.usual_worst_hour())
        }
    };
    let team = state.get(&Scope::Team).filter(|_| node.scope != Scope::Team).map(|team| team.closed.baseline.wake());
    let known_team = team.filter(|team| team.stage(hour) != Stage::New);
    let team_worst_hour = known_team.map(|team| team.usual_worst_hour());
    let last = minutes.newest().min(Minute(hour.end().minute().0 - 1));
    let usual = runaway::Usual { stage, expected_hour, worst_hour, team_worst_hour };
    let up_to = |last: Minute| runaway::judge(minutes, last, &usual, limits);
    up_to(last).or_else(|| if minute < last { up_to(minute) } else { None })
}

/// Series that share the team's budget of alerts: its leaves, since sums are the same money again, and most of a team's money is in few of
/// them; more if the budget is overdrawn.
pub(crate) fn series_in_team(state: &AccountState, hour: Hour, rules: &WatchRules) -> f64 {
    let leaves = if let Some(Grain::Sum(sum)) = state.get(&Scope::Team).map(|team| &team.grain) { sum.leaves } else { 1 };
    libm::pow(f64::from(leaves.max(1)), SHARED) * libm::exp(strictness(state, hour, rules))
}

/// Nats by which the team's alerts have to be rarer than its setting alone says.
pub(crate) fn strictness(state: &AccountState, hour: Hour, rules: &WatchRules) -> f64 {
    let limits = rules.thresholds(&state.account.team, "", "");
    state.get(&Scope::Team).map_or(0.0, |team| state.budget.strictness(hour, limits.alerts_per_team_month, team.closed.born))
}

/// The part of an hour that has passed, by a series' latest usage and the time until the next may come.
pub(crate) fn elapsed(node: &Node, hour: Hour) -> f64 {
    let newest = node.minutes.as_ref().map_or(hour.end().minute().0, |minutes| minutes.newest().0 + REPORTED_WITHIN);
    ((newest - hour.start().minute().0) as f64 / 60.0).clamp(0.0, 1.0)
}
