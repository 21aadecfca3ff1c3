//! What a downstream consumer sees: reads `alerts`, `spend-rollups` and `dead-letter` from their topics and keeps what is shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clock::Stopwatch;
use crate::kafka::consumer::Consumer;
use crate::kafka::link::{Rebalance, Record};
use crate::model::alert::{Alert, AlertState};
use crate::model::money::Nanos;
use crate::model::rollup::SpendRollup;
use crate::model::time::Hour;
use crate::model::wire;
use crate::runtime::{Setup, Stop};

const BATCH: usize = 1_000;
/// Days of the same hour that say what is normal.
const DAYS_BACK: i64 = 7;

/// All that was read so far.
#[derive(Debug, Default)]
pub struct View {
    /// Every alert record, in the order in which they came.
    pub alerts: Vec<Alert>,
    pub dead_letters: u64,
    pub rollups: u64,
    /// Latest hour that any team's roll-up has told of.
    pub latest_hour: Option<Hour>,
    /// Cost by team, hour and leaf; a later revision replaces an earlier one.
    spend: BTreeMap<String, BTreeMap<Hour, BTreeMap<String, Nanos>>>,
    /// The newest revision of each alert.
    newest: BTreeMap<String, usize>,
}

/// One team's line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamLine {
    pub team: String,
    pub now: Nanos,
    /// Median of the same hour on the days before; absent on the first day.
    pub normal: Option<Nanos>,
    /// Projects or models with an open alert, and the excess of all of them.
    pub alarmed: Vec<String>,
    pub excess: Nanos,
}

impl View {
    pub fn take_alert(&mut self, alert: Alert) {
        self.newest.insert(alert.id.clone(), self.alerts.len());
        self.alerts.push(alert);
    }

    pub fn take_rollup(&mut self, rollup: &SpendRollup) {
        self.rollups += 1;
        let hour = rollup.hour();
        self.latest_hour = self.latest_hour.max(Some(hour));
        let hours = self.spend.entry(rollup.leaf.team.to_string()).or_default();
        let leaf = format!("{:?}", rollup.leaf.dimensions());
        let cost = hours.entry(hour).or_default().entry(leaf).or_default();
        // Revision 0 is a supplement to what the hour already has.
        *cost = if rollup.revision == 0 { cost.saturating_add(rollup.cost) } else { rollup.cost };
    }

    /// The table as of the latest closed hour, teams by name.
    pub fn table(&self) -> Vec<TeamLine> {
        let Some(hour) = self.latest_hour else { return Vec::new() };
        self.spend.iter().map(|(team, hours)| self.line(team, hours, hour)).collect()
    }

    fn line(&self, team: &str, hours: &BTreeMap<Hour, BTreeMap<String, Nanos>>, hour: Hour) -> TeamLine {
        let total = |hour: Hour| hours.get(&hour).map(|leaves| leaves.values().fold(Nanos::ZERO, |sum, cost| sum.saturating_add(*cost)));
        let mut before: Vec<Nanos> = (1..=DAYS_BACK).filter_map(|days| total(Hour(hour.0 - 24 * days))).collect();
        before.sort_unstable();
        let open: Vec<&Alert> = self.open_alerts().filter(|alert| alert.team == team).collect();
        let name = |alert: &&Alert| ["project", "model"].iter().find_map(|name| alert.dimensions.get(*name)).cloned();
        let mut alarmed: Vec<String> = open.iter().map(|alert| name(alert).unwrap_or_else(|| "whole team".to_string())).collect();
        alarmed.dedup();
        TeamLine {
            team: team.to_string(),
            now: total(hour).unwrap_or(Nanos::ZERO),
            normal: before.get(before.len() / 2).copied(),
            alarmed,
            excess: open.iter().fold(Nanos::ZERO, |sum, alert| sum.saturating_add(alert.excess)),
        }
    }

    /// The newest revision of each alert that is not over.
    fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        let newest = self.newest.values().filter_map(|index| self.alerts.get(*index));
        newest.filter(|alert| !matches!(alert.state, AlertState::Resolved | AlertState::Retracted) && alert.closed_at.is_none())
    }
}

/// A view that one thread fills and another one reads.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<View>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the topics until asked to stop. `ready` is called once all partitions are assigned.
///
/// # Errors
/// No broker, or a record that is not what our schemas say.
pub fn follow(setup: &Setup, view: &Shared, stop: &Stop) -> Result<()> {
    let topics = [setup.topics.alerts.as_str(), setup.topics.spend_rollups.as_str(), setup.topics.dead_letter.as_str()];
    let mut consumer = Consumer::subscribe(&setup.connection.consumer_config("demo-view"), &topics)?;
    while !stop.asked() {
        match consumer.event()? {
            // Everything is read from its beginning: nothing was there before us.
            Some(Rebalance::Assign(partitions)) => {
                consumer.assign(&partitions.into_iter().map(|partition| (partition, 0)).collect::<Vec<_>>())?;
            }
            Some(Rebalance::Revoke { partitions, .. }) => consumer.unassign(&partitions)?,
            Some(Rebalance::Failed(_)) | None => {}
        }
        let mut is_idle = true;
        for partition in consumer.assigned() {
            let batch = consumer.fetch(&partition, BATCH)?;
            is_idle &= batch.is_empty();
            for record in batch.iter() {
                take(setup, view, &record)?;
            }
        }
        if is_idle {
            consumer.wait(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn take(setup: &Setup, view: &Shared, record: &Record<'_>) -> Result<()> {
    let value = record.value.unwrap_or_default();
    let place = || format!("{}[{}] at offset {}", record.topic, record.partition, record.offset);
    if record.topic == setup.topics.alerts {
        view.lock().take_alert(wire::alert_from_json(value).with_context(place)?);
    } else if record.topic == setup.topics.spend_rollups {
        let rollup = wire::rollup_from_json(value).with_context(place)?;
        view.lock().take_rollup(&rollup);
    } else {
        view.lock().dead_letters += 1;
    }
    Ok(())
}

/// Waits until nothing new has come for `quiet`, at most `limit`.
pub fn settle(view: &Shared, quiet: Duration, limit: Duration) {
    let (all, mut since, mut known) = (Stopwatch::start(), Stopwatch::start(), (0, 0));
    while since.elapsed() < quiet && all.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(20));
        let now = {
            let view = view.lock();
            (view.alerts.len(), view.rollups)
        };
        if now != known {
            (known, since) = (now, Stopwatch::start());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::leaf::{Leaf, Measure};
    use crate::model::money::Currency;

    fn rollup(hour: i64, project: &str, revision: u32, dollars: i64) -> SpendRollup {
        SpendRollup {
            leaf: Leaf {
                team: "search".into(),
                project: project.into(),
                model: "".into(),
                provider: "".into(),
                region: "".into(),
                environment: "".into(),
                meter: "llm.tokens".into(),
                currency: Currency::USD,
                measure: Measure::Estimated,
            },
            period_start: Hour(hour).start(),
            period_end: Hour(hour).end(),
            revision,
            cost: Nanos::from_units(dollars),
            quantity: Nanos::ZERO,
            events: 1,
            unpriced_events: 0,
            requests: 1,
            tokens_input: 0,
            tokens_output: 0,
            tokens_cached_input: 0,
            tokens_cache_write: 0,
            tokens_reasoning: 0,
        }
    }

    #[test]
    fn now_is_the_last_hour_and_normal_the_same_hour_before() {
        let mut view = View::default();
        assert_eq!(view.table(), []);
        for (day, dollars) in [(0, 10), (1, 30), (2, 12)] {
            view.take_rollup(&rollup(day * 24, "ranker", 1, dollars));
        }
        view.take_rollup(&rollup(72, "ranker", 1, 40));
        view.take_rollup(&rollup(72, "rewrite", 1, 5));
        view.take_rollup(&rollup(72, "ranker", 2, 41));
        view.take_rollup(&rollup(72, "ranker", 0, 2));
        let lines = view.table();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].now, lines[0].normal), (Nanos::from_units(48), Some(Nanos::from_units(12))));
        assert!(lines[0].alarmed.is_empty());
    }

    #[test]
    fn an_alert_alarms_its_team_until_it_is_resolved() {
        let mut view = View::default();
        view.take_rollup(&rollup(0, "ranker", 1, 10));
        let open: Alert = Alert { team: "search".into(), ..example() };
        view.take_alert(open.clone());
        assert_eq!(view.table()[0].excess, open.excess);
        assert_eq!(view.table()[0].alarmed.len(), 1);
        view.take_alert(Alert { state: AlertState::Resolved, revision: 2, ..open });
        assert!(view.table()[0].alarmed.is_empty());
        assert_eq!(view.alerts.len(), 2);
    }

    /// Any alert of the samples that the mails are tested with.
    fn example() -> Alert {
        wire::alert_from_json(include_bytes!("../../tests/data/alerts/runaway.json")).unwrap()
    }
}
