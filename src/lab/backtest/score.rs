//! The alerts of a backtest against labelled incidents: what was found, how soon, at what cost, and how much was said for nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Told;
use super::labels::Label;
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Timestamp};

/// An alert may open so long after its incident and still be its: sums over a day are complete only then.
const GRACE_MS: i64 = 24 * HOUR_MS;
/// Hours are whole: an onset lies at most so long before the incident.
const BEFORE_MS: i64 = HOUR_MS;

/// What became of the incidents of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindScore {
    pub incidents: usize,
    pub found: usize,
    /// Of those found, how many have all dimensions of the label in the alert or its first cause.
    pub attributed: usize,
    /// Alerts that belong to incidents of this kind.
    pub alerts: usize,
    /// From start to first alert, sorted, in ms.
    pub delays: Vec<i64>,
    /// Money above normal when the first alert of each found incident was told.
    pub leaked: Nanos,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    pub kinds: BTreeMap<String, KindScore>,
    pub alerts: usize,
    /// Alerts that belong to no incident.
    pub unrelated: usize,
}

pub fn score(alerts: &[Told], labels: &[Label]) -> Score {
    let mut score = Score { alerts: alerts.len(), ..Score::default() };
    let mut claimed = BTreeSet::new();
    for label in labels {
        let kind = score.kinds.entry(label.kind.clone()).or_default();
        kind.incidents += 1;
        let mut related: Vec<&Told> = alerts.iter().filter(|told| is_related(told, label)).collect();
        claimed.extend(related.iter().map(|told| told.alert.id.clone()));
        kind.alerts += related.len();
        related.sort_by_key(|told| (!is_attributed(told, label), opening(told, label)));
        let Some(first) = related.first() else { continue };
        kind.found += 1;
        kind.attributed += usize::from(is_attributed(first, label));
        let Some((detected_at, excess)) = opening(first, label) else { continue };
        kind.delays.push((detected_at.0 - label.start.0).max(0));
        kind.leaked = kind.leaked.saturating_add(excess);
    }
    score.kinds.values_mut().for_each(|kind| kind.delays.sort_unstable());
    score.unrelated = alerts.iter().filter(|told| !claimed.contains(&told.alert.id)).count();
    score
}

/// Team, time and dimensions agree.
fn is_related(told: &Told, label: &Label) -> bool {
    let alert = &told.alert;
    let agrees = |(name, value): (&String, &String)| alert.dimensions.get(name).is_none_or(|own| own == value);
    (label.team.is_empty() || alert.team == label.team) && opening(told, label).is_some() && label.dimensions.iter().all(agrees)
}

/// When an incident was first told, and the money above normal by then. An alert that is opened again is about one more incident.
fn opening(told: &Told, label: &Label) -> Option<(Timestamp, Nanos)> {
    let (first, last) = (label.start.minus_ms(BEFORE_MS), label.end.plus_ms(GRACE_MS));
    let within = |time: Timestamp| first <= time && time <= last;
    let latest = told.openings.last().filter(|(at, _)| within(told.alert.onset) && *at >= first);
    told.openings.iter().find(|(at, _)| within(*at)).or(latest).copied()
}

fn is_attributed(told: &Told, label: &Label) -> bool {
    let first = told.alert.causes.first();
    label.dimensions.iter().all(|(name, value)| {
        told.alert.dimensions.get(name) == Some(value) || first.is_some_and(|cause| cause.dimensions.get(name) == Some(value))
    })
}

impl KindScore {
    /// The delay that this part of the found incidents does not exceed, in ms.
    pub fn delay(&self, part: f64) -> Option<i64> {
        let place = libm::ceil(part * self.delays.len() as f64) as usize;
        self.delays.get(place.saturating_sub(1)).copied()
    }

    /// 1 where nothing was to be found.
    pub fn recall(&self) -> f64 {
        share(self.found, self.incidents)
    }

    fn json(&self, unrelated: usize) -> Value {
        let hours = |part| self.delay(part).map(|ms| ms as f64 / HOUR_MS as f64);
        json!({
            "incidents": self.incidents,
            "found": self.found,
            "recall": self.recall(),
            "precision": share(self.alerts, self.alerts + unrelated),
            "delay_hours_median": hours(0.5),
            "delay_hours_p90": hours(0.9),
            "leaked": self.leaked.to_string(),
            "attribution_top1": share(self.attributed, self.found),
        })
    }
}

impl Score {
    pub fn json(&self) -> Value {
        let kinds: BTreeMap<&String, Value> = self.kinds.iter().map(|(name, kind)| (name, kind.json(self.unrelated))).collect();
        json!({ "kinds": kinds, "alerts": self.alerts, "unrelated": self.unrelated })
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{:<22} {:>9} {:>6} {:>10} {:>12} {:>10} {:>12}\n",
            "kind", "incidents", "found", "attributed", "median delay", "p90", "leaked"
        );
        let delay = |ms: Option<i64>| ms.map_or("-".to_string(), |ms| format!("{:.1} h", ms as f64 / HOUR_MS as f64));
        for (name, kind) in &self.kinds {
            text.push_str(&format!(
                "{name:<22} {:>9} {:>6} {:>10} {:>12} {:>10} {:>12}\n",
                kind.incidents,
                kind.found,
                kind.attributed,
                delay(kind.delay(0.5)),
                delay(kind.delay(0.9)),
                kind.leaked.rounded(2).to_string(),
            ));
        }
        text.push_str(&format!("{} of {} alerts belong to no incident\n", self.unrelated, self.alerts));
        text
    }
}

fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}
