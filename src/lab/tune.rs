//! `tollgate tune`: one team's history under several sensitivities: what would have fired, and what waiting would have cost.
//!
//! The history is taken in once; each setting is a shard of its own that is handed the same log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::backtest::{Replay, Told, feed};
use crate::config::Problem;
use crate::config::problem::Place;
use crate::intake::rules::IntakeRules;
use crate::lineage::rules::LineageRules;
use crate::model::alert::AlertState;
use crate::model::money::Nanos;
use crate::model::partial::ShardRecord;
use crate::model::time::{HOUR_MS, Timestamp};
use crate::watch::rules::{Override, Thresholds, WatchRules};

/// Factors of what the config says now: of the alerts that a month may have, and of the money that is worth one.
const SENSITIVITIES: [(i64, i64); 5] = [(1, 4), (1, 2), (1, 1), (2, 1), (4, 1)];
const EXCESSES: [(i64, i64); 3] = [(1, 2), (1, 1), (2, 1)];
/// Two alerts whose onsets lie at most so far apart are about the same matter.
const SAME_MATTER_MS: i64 = 12 * HOUR_MS;
const MONTH_MS: f64 = (30 * 24 * HOUR_MS) as f64;

/// One setting and what it would have led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub thresholds: Thresholds,
    /// The setting that holds now.
    pub is_current: bool,
    pub alerts: Vec<Told>,
    /// Of the matters that any setting has found, how many this one has not.
    pub missed: usize,
    /// Money above normal that was spent on those matters before this setting spoke: all of it where it did not.
    pub waiting: Nanos,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    pub team: String,
    pub span: Option<(Timestamp, Timestamp)>,
    /// Of all teams.
    pub defaults: Thresholds,
    /// Few alerts first, then many; within that, small amounts first.
    pub trials: Vec<Trial>,
}

/// # Errors
/// A file that cannot be read, or a team without usage in them.
pub fn tune(
    files: &[PathBuf],
    team: &str,
    intake: &IntakeRules,
    lineage: &LineageRules,
    watch: &WatchRules,
    now: Timestamp,
) -> Result<Tuning, Problem> {
    let mut log: Vec<(ShardRecord, Timestamp)> = Vec::new();
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    let counts = feed::feed(files, intake, lineage, now, &mut |record, time| {
        let mut own = record.clone();
        own.partials.retain(|partial| {
            *others.entry(partial.leaf.team.to_string()).or_default() += 1;
            *partial.leaf.team == *team
        });
        own.events.retain(|event| event.team().is_none_or(|of| **of == *team));
        log.push((own, time));
    })?;
    if !others.contains_key(team) {
        let known: Vec<&str> = others.keys().map(String::as_str).take(20).collect();
        let hint = match counts.first_rejected {
            Some(first) if known.is_empty() => {
                format!("no team has: {} of {} lines are rejected, the first: {first}", counts.rejected, counts.read)
            }
            _ => format!("teams that have: {}", known.join(", ")),
        };
        let problem = Problem::new(&Place::whole("--team"), format!("'{team}' has no usage in these events"));
        return Err(problem.hint(hint));
    }
    let current = watch.thresholds(team, "", "").clone();
    let mut trials = Vec::new();
    for (times, of) in SENSITIVITIES {
        for (more, less) in EXCESSES {
            let alerts_per_team_month = current.alerts_per_team_month * times as f64 / of as f64;
            let least_excess = current.least_excess.checked_mul_div(i128::from(more), i128::from(less)).unwrap_or(current.least_excess);
            let thresholds = Thresholds { alerts_per_team_month, least_excess, ..current.clone() };
            let is_current = (times, more) == (of, less);
            let alerts = replay(&log, team, watch, (!is_current).then_some(&thresholds));
            trials.push(Trial { is_current, thresholds, alerts, missed: 0, waiting: Nanos::ZERO });
        }
    }
    let matters = matters(&trials);
    for trial in &mut trials {
        (trial.missed, trial.waiting) = waiting(&trial.alerts, &matters);
    }
    let span = log.first().zip(log.last()).map(|((_, first), (_, last))| (*first, *last));
    Ok(Tuning { team: team.to_string(), span, defaults: watch.defaults.clone(), trials })
}

/// The team's alerts about spend, with a line pasted behind the other overrides, or with the rules as they are. What the thresholds have
/// no say in is left out: waste, missing money, budgets.
fn replay(log: &[(ShardRecord, Timestamp)], team: &str, watch: &WatchRules, pasted: Option<&Thresholds>) -> Vec<Told> {
    let mut rules = watch.clone();
    let line =
        |thresholds: &Thresholds| Override { team: Some(team.into()), project: None, environment: None, thresholds: thresholds.clone() };
    rules.overrides.extend(pasted.map(line));
    let mut replay = Replay::new(&rules);
    log.iter().for_each(|(record, time)| replay.take(record, *time));
    let alerts = replay.end().alerts.into_iter();
    alerts.filter(|told| told.alert.team == *team && !told.alert.kind.is_matter()).collect()
}

/// What any setting has found, each matter once: the alert that saw most of its money.
fn matters(trials: &[Trial]) -> Vec<Told> {
    let mut all: Vec<&Told> =
        trials.iter().flat_map(|trial| &trial.alerts).filter(|told| told.alert.state != AlertState::Retracted).collect();
    all.sort_by(|a, b| b.alert.excess.cmp(&a.alert.excess).then(a.alert.id.cmp(&b.alert.id)));
    let mut matters: Vec<Told> = Vec::new();
    for told in all {
        if !matters.iter().any(|known| is_same_matter(known, told)) {
            matters.push(told.clone());
        }
    }
    matters
}

fn is_same_matter(one: &Told, other: &Told) -> bool {
    (one.alert.onset.0 - other.alert.onset.0).abs() <= SAME_MATTER_MS
}

fn waiting(alerts: &[Told], matters: &[Told]) -> (usize, Nanos) {
    let mut missed = 0;
    let mut spent = Nanos::ZERO;
    for matter in matters {
        let first = alerts.iter().filter(|told| is_same_matter(told, matter)).min_by_key(|told| told.alert.detected_at);
        let before =
            first.map_or(matter.alert.excess, |told| told.openings.last().map_or(Nanos::ZERO, |(_, excess)| *excess)).max(Nanos::ZERO);
        missed += usize::from(first.is_none());
        spent = spent.saturating_add(before);
    }
    (missed, spent)
}

impl Trial {
    /// What to paste into the config, behind every other override that the team has. The last override holds as a whole, so it names all
    /// that is not as for every team.
    pub fn line(&self, team: &str, defaults: &Thresholds) -> String {
        let own = &self.thresholds;
        let mut named = vec![
            format!("alerts_per_team_month = {:?}", own.alerts_per_team_month),
            format!("least_excess = \"{}\"", own.least_excess.rounded(2)),
        ];
        let mut name = |differs: bool, value: String| named.extend(differs.then_some(value));
        name(own.least_ratio != defaults.least_ratio, format!("least_ratio = {:?}", own.least_ratio));
        name(own.runaway_floor != defaults.runaway_floor, format!("runaway_floor = \"{}\"", own.runaway_floor));
        name(own.runaway_factor != defaults.runaway_factor, format!("runaway_factor = {:?}", own.runaway_factor));
        name(own.quiet_hours_to_close != defaults.quiet_hours_to_close, format!("quiet_to_close = \"{}h\"", own.quiet_hours_to_close));
        name(own.update_growth != defaults.update_growth, format!("update_growth = {:?}", own.update_growth));
        name(own.refractory_hours != defaults.refractory_hours, format!("refractory = \"{}h\"", own.refractory_hours));
        let (wait, usual_wait) = (own.wait_below_team_hours, defaults.wait_below_team_hours);
        name(wait != usual_wait, format!("wait_below_team_hours = {wait:?}"));
        format!("[[override]]\nteam = \"{team}\"\nthresholds = {{ {} }}", named.join(", "))
    }
}

impl Tuning {
    fn months(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| (last.0 - first.0) as f64 / MONTH_MS).max(1.0 / 30.0)
    }

    pub fn json(&self) -> Value {
        let trial = |trial: &Trial| {
            json!({
                "alerts_per_team_month": trial.thresholds.alerts_per_team_month,
                "least_excess": trial.thresholds.least_excess.to_string(),
                "current": trial.is_current,
                "alerts": trial.alerts.len(),
                "alerts_per_month": trial.alerts.len() as f64 / self.months(),
                "missed": trial.missed,
                "spent_while_waiting": trial.waiting.to_string(),
                "config": trial.line(&self.team, &self.defaults),
            })
        };
        json!({ "team": self.team, "trials": self.trials.iter().map(trial).collect::<Vec<Value>>() })
    }

    pub fn text(&self) -> String {
        let mut text = match self.span {
            Some((first, last)) => format!("{}, {first} to {last}\n\n", self.team),
            None => format!("{}\n\n", self.team),
        };
        text.push_str("  # alerts_per_team_month  least_excess  would have fired  a month  missed  spent while waiting\n");
        for (number, trial) in (1..).zip(&self.trials) {
            text.push_str(&format!(
                "{number:>3} {:>21} {:>13} {:>17} {:>8.1} {:>7} {:>20}{}\n",
                trial.thresholds.alerts_per_team_month,
                trial.thresholds.least_excess.rounded(2),
                trial.alerts.len(),
                trial.alerts.len() as f64 / self.months(),
                trial.missed,
                trial.waiting.rounded(2),
                if trial.is_current { "  <- now" } else { "" },
            ));
        }
        text.push_str(
            "\nmissed: matters that another of these settings has found. spent while waiting: money above normal, before it was told.\n",
        );
        text.push_str("To change it, paste one of these behind the other overrides, and raise rules_revision by 1:\n");
        for (number, trial) in (1..).zip(&self.trials).filter(|(_, trial)| !trial.is_current) {
            text.push_str(&format!("\n# {number}\n{}\n", trial.line(&self.team, &self.defaults)));
        }
        if let Some(current) = self.trials.iter().find(|trial| trial.is_current) {
            text.push_str("\nWhat the present setting would have said:\n");
            for told in &current.alerts {
                text.push_str(&format!("  {} {}: {}\n", told.alert.detected_at, told.alert.kind.as_str(), told.alert.summary));
            }
        }
        text
    }
}
