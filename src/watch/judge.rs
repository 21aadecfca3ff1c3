//! One node's hour held against its baseline: the only place that knows how baseline and detectors are called.

use super::baseline::{Expectation, LocalHour};
use super::detect::{runaway, spike};
use super::rules::{Thresholds, WatchRules};
use super::series::{CachedBound, Node, to_units};
use super::{AccountState, Moment};
use crate::model::leaf::{Account, Scope};
use crate::model::time::{Hour, Minute};

/// A node's hour and what was thought of it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub scope: Scope,
    pub actual: f64,
    pub expectation: Expectation,
    pub verdict: spike::Verdict,
}

impl Judged {
    pub fn excess(&self) -> f64 {
        self.actual - self.expectation.expected
    }
}

/// Time zone of a team, by the tables that are compiled in: the same everywhere.
pub(crate) fn zone_of(rules: &WatchRules, team: &str) -> jiff::tz::TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(rules.time_zone(team)).unwrap_or(jiff::tz::TimeZone::UTC)
}

/// Hour of the day and day of the week of `hour` in a zone; zones off by half hours round down.
pub(crate) fn local_hour(zone: &jiff::tz::TimeZone, hour: Hour) -> LocalHour {
    let offset = jiff::Timestamp::from_millisecond(hour.start().0).map_or(0, |instant| i64::from(zone.to_offset(instant).seconds()));
    let local = (hour.0 * 3600 + offset).div_euclid(3600);
    let day = local.div_euclid(24);
    LocalHour { hour_of_day: u8::try_from(local.rem_euclid(24)).unwrap_or(0), day_of_week: u8::try_from((day + 3).rem_euclid(7)).unwrap_or(0) }
}

pub(crate) fn thresholds<'a>(rules: &'a WatchRules, account: &Account, scope: &Scope) -> &'a Thresholds {
    match scope {
        Scope::Team | Scope::Model(_) => rules.thresholds(&account.team, "", ""),
        Scope::Project(project) => rules.thresholds(&account.team, project, ""),
        Scope::Leaf(leaf) => rules.thresholds(&account.team, &leaf.project, &leaf.environment),
    }
}

pub(crate) fn judge(state: &AccountState, account: &Account, scope: &Scope, hour: Hour, local: LocalHour, rules: &WatchRules) -> Option<Judged> {
    let node = state.nodes.get(scope)?;
    let actual = to_units(node.hour(hour).cost);
    let expectation = node.closed.baseline.expect(hour, local);
    let verdict = spike::judge(&node.closed.baseline, &expectation, actual, thresholds(rules, account, scope), series_in_team(state));
    Some(Judged { scope: scope.clone(), actual, expectation, verdict })
}

/// Whether an open hour already holds more than the whole hour may; one comparison once the bound is known.
pub(crate) fn crosses(node: &mut Node, series: u32, hour: Hour, local: LocalHour, limits: &Thresholds, moment: Moment<'_>) -> bool {
    let sum = node.hour(hour);
    if sum.has_negative {
        return false;
    }
    let fresh = node.open.bound.filter(|cached| {
        cached.hour == hour && cached.closed_through == moment.closed_through && cached.rules_revision == moment.rules.revision
    });
    let cached = fresh.unwrap_or_else(|| {
        let expectation = node.closed.baseline.expect(hour, local);
        let bound = spike::bound(&node.closed.baseline, &expectation, limits, series);
        CachedBound { hour, closed_through: moment.closed_through, rules_revision: moment.rules.revision, bound }
    });
    node.open.bound = Some(cached);
    cached.bound.is_some_and(|bound| to_units(sum.cost) >= bound)
}

pub(crate) fn guard(node: &Node, minute: Minute, limits: &Thresholds) -> Option<runaway::Runaway> {
    runaway::judge(&node.open.minutes, &node.closed.baseline, minute, limits)
}

pub(crate) fn series_in_team(state: &AccountState) -> u32 {
    u32::try_from(state.nodes.len()).unwrap_or(u32::MAX)
}
