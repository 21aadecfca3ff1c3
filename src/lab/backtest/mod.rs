//! `tollgate backtest`: event files through the whole engine, and every alert that would have been sent.
//!
//! `feed` is intake, `replay` is watch; both are what `tollgate run` calls. `labels` and `score` hold the alerts against the truth.

mod bill;
pub mod feed;
pub mod labels;
mod report;
pub mod score;

use std::collections::BTreeMap;
use std::path::PathBuf;

use self::feed::Counts;
pub use self::report::{json, text};
use crate::config::Problem;
use crate::intake::rules::IntakeRules;
use crate::lineage::rules::LineageRules;
use crate::model::Text;
use crate::model::alert::{Alert, AlertState};
use crate::model::effect::Effect;
use crate::model::money::Nanos;
use crate::model::partial::{Said, ShardRecord};
use crate::model::time::Timestamp;
use crate::model::violation::Violation;
use crate::watch::rules::WatchRules;
use crate::watch::{Shard, Unmatched, Why};

/// One alert with its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// As it was last written.
    pub alert: Alert,
    /// When it was told first, and again after it was over, with the money above normal by then.
    pub openings: Vec<(Timestamp, Nanos)>,
    /// State and time of each revision.
    pub life: Vec<(AlertState, Timestamp)>,
}

/// All that came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backtest {
    pub counts: Counts,
    /// Events that came for an hour that had closed.
    pub late: u64,
    /// In the order in which they opened.
    pub alerts: Vec<Told>,
    pub violations: Vec<Broken>,
    /// Events that policies did not just let pass.
    pub verdicts: BTreeMap<(Text, Said), u64>,
    /// First and last event time.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What people have said about nothing that there was, up to the end.
    pub unmatched: Vec<Unmatched>,
}

/// One violation with its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// As it was last written.
    pub violation: Violation,
    /// State and time of each revision.
    pub life: Vec<(AlertState, Timestamp)>,
}

/// # Errors
/// A file that cannot be read.
pub fn run(
    files: &[PathBuf],
    intake: &IntakeRules,
    lineage: &LineageRules,
    watch: &WatchRules,
    now: Timestamp,
) -> Result<Backtest, Problem> {
    let mut replay = Replay::new(watch);
    let counts = feed::feed(files, intake, lineage, now, &mut |record, time| replay.take(record, time))?;
    Ok(Backtest { counts, ..replay.end() })
}

/// One shard that is handed its log.
pub struct Replay<'a> {
    rules: &'a WatchRules,
    shard: Shard,
    offset: i64,
    late: u64,
    span: Option<(Timestamp, Timestamp)>,
    order: Vec<String>,
    alerts: BTreeMap<String, Told>,
    broken: Vec<String>,
    violations: BTreeMap<String, Broken>,
    verdicts: BTreeMap<(Text, Said), u64>,
    unmatched: Vec<Unmatched>,
}

impl<'a> Replay<'a> {
    pub fn new(rules: &'a WatchRules) -> Replay<'a> {
        let shard = Shard::new(0, 1, rules);
        let (alerts, violations, verdicts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (order, broken, unmatched) = (Vec::new(), Vec::new(), Vec::new());
        Replay { rules, shard, offset: 0, late: 0, span: None, order, alerts, broken, violations, verdicts, unmatched }
    }

    /// `time`: when it was appended.
    pub fn take(&mut self, record: &ShardRecord, time: Timestamp) {
        let closed = self.shard.header().closed_through;
        let late = record.partials.iter().filter(|partial| closed.is_some_and(|closed| partial.minute.hour() <= closed));
        self.late += late.map(|partial| partial.events).sum::<u64>();
        self.span = Some((self.span.map_or(time, |(first, _)| first), time));
        for effect in self.shard.apply_whole(record, self.offset, time, self.rules) {
            match effect {
                Effect::Alert(alert) => self.tell(*alert),
                Effect::Violation(violation) => self.tell_violation(*violation),
                _ => {}
            }
        }
        for (key, events) in self.shard.take_verdicts() {
            *self.verdicts.entry(key).or_default() += events;
        }
        self.unmatched.extend(self.shard.take_unmatched_feedback());
        self.offset += 1;
    }

    fn tell(&mut self, alert: Alert) {
        let moment = (alert.state, alert.decided_at);
        let opening = (alert.decided_at, alert.excess);
        match self.alerts.get_mut(&alert.id) {
            Some(told) => {
                told.openings.extend((alert.state == AlertState::Reopened).then_some(opening));
                told.life.push(moment);
                told.alert = alert;
            }
            None => {
                self.order.push(alert.id.clone());
                self.alerts.insert(alert.id.clone(), Told { openings: vec![opening], life: vec![moment], alert });
            }
        }
    }

    fn tell_violation(&mut self, violation: Violation) {
        let moment = (violation.state, violation.decided_at);
        match self.violations.get_mut(&violation.id) {
            Some(broken) => {
                broken.life.push(moment);
                broken.violation = violation;
            }
            None => {
                self.broken.push(violation.id.clone());
                self.violations.insert(violation.id.clone(), Broken { life: vec![moment], violation });
            }
        }
    }

    pub fn end(mut self) -> Backtest {
        let alerts = self.order.iter().filter_map(|id| self.alerts.remove(id)).collect();
        let violations = self.broken.iter().filter_map(|id| self.violations.remove(id)).collect();
        let Replay { shard, mut unmatched, late, span, verdicts, .. } = self;
        // Announced before there was such spend.
        unmatched.retain(|Unmatched { feedback, why }| *why != Why::NoSeries || !shard.has_series(&feedback.team, &feedback.dimensions));
        Backtest { counts: Counts::default(), late, alerts, violations, verdicts, span, unmatched }
    }
}

#[cfg(test)]
mod lines_tests;
#[cfg(test)]
mod tests;
