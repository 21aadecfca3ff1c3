//! Holds the alerts against the truth: which incident was found, when, what it had cost by then, and which alerts were for nothing.

use super::incidents::{INCIDENTS, Incident, What};
use super::usage::Story;
use crate::model::alert::{Alert, AlertState};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Timestamp};

/// A bucket that closed quietly is judged this long after its end, and the watermark trails behind; see [`known_at`].
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub lateness_ms: i64,
    pub out_of_orderness_ms: i64,
}

/// How an incident was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub alert: Alert,
    /// Event time from the incident's start to the latest event that the first alert rests on.
    pub delay_ms: i64,
    /// What the incident had cost by then.
    pub leaked: Nanos,
    /// Whether the alert or its first cause names who or what it was.
    pub cause_named: bool,
}

#[derive(Clone, Debug)]
pub struct Grade {
    /// In the order of `INCIDENTS`: how it was found, and what it cost until its end.
    pub incidents: Vec<(Option<Found>, Nanos)>,
    pub related: usize,
    pub unrelated: Vec<Alert>,
}

/// `alerts`: every record of the topic, in the order in which they came.
pub fn grade(story: &Story, alerts: &[Alert], waits: Waits) -> Grade {
    let openings: Vec<&Alert> = alerts.iter().filter(|alert| matches!(alert.state, AlertState::Open | AlertState::Reopened)).collect();
    let incidents = INCIDENTS.iter().enumerate().map(|(index, incident)| {
        let harm = harm(story, index, incident);
        let first = openings.iter().filter(|alert| is_related(alert, incident, story.beginning)).min_by_key(|alert| known_at(alert, waits));
        let found = first.map(|alert| {
            let known = known_at(alert, waits);
            Found {
                alert: (*alert).clone(),
                delay_ms: known.0 - incident.start(story.beginning).0,
                leaked: sum(harm.iter().filter(|(at, _)| *at <= known)),
                cause_named: names_cause(alert, incident),
            }
        });
        (found, sum(harm.iter()))
    });
    let incidents: Vec<_> = incidents.collect();
    let unrelated: Vec<Alert> = openings
        .iter()
        .filter(|alert| !INCIDENTS.iter().any(|incident| is_related(alert, incident, story.beginning)))
        .map(|alert| (*alert).clone())
        .collect();
    Grade { incidents, related: openings.len() - unrelated.len(), unrelated }
}

impl Grade {
    pub fn all_found(&self) -> bool {
        self.incidents.iter().all(|(found, _)| found.is_some())
    }

    pub fn found(&self) -> usize {
        self.incidents.iter().filter(|(found, _)| found.is_some()).count()
    }

    /// Share of the alerts that belong to an incident, in percent; nothing said is nothing wrong.
    pub fn precision_percent(&self) -> usize {
        let all = self.related + self.unrelated.len();
        (self.related * 100).checked_div(all).unwrap_or(100)
    }
}

/// The event time at which the alert was there: an hour that is still open is judged by what has come, any other one only after its
/// end and the time that late events are waited for.
fn known_at(alert: &Alert, waits: Waits) -> Timestamp {
    if alert.provisional { alert.event_time } else { alert.event_time.hour().end().plus_ms(waits.lateness_ms + waits.out_of_orderness_ms) }
}

/// Team, time and dimensions agree.
pub fn is_related(alert: &Alert, incident: &Incident, beginning: Timestamp) -> bool {
    let (start, end) = (incident.start(beginning), incident.end(beginning));
    let in_time = alert.onset >= start.minus_ms(HOUR_MS) && alert.onset < end && alert.event_time >= start;
    let (model, region) = match &incident.what {
        What::Extra { .. } => (None, None),
        What::Switch { model } => (Some(model.name), None),
        What::Stream(stream) => (Some(stream.model.name), Some(stream.region)),
    };
    let agrees = |name: &str, wanted: Option<&str>| match (alert.dimensions.get(name), wanted) {
        (Some(stated), Some(wanted)) => stated == wanted,
        _ => true,
    };
    alert.team == incident.team
        && in_time
        && agrees("project", Some(incident.project))
        && agrees("model", model)
        && agrees("region", region)
}

fn names_cause(alert: &Alert, incident: &Incident) -> bool {
    let (name, value) = incident.cause;
    let first = alert.causes.first().map(|cause| &cause.dimensions);
    [Some(&alert.dimensions), first].into_iter().flatten().any(|stated| stated.get(name).is_some_and(|stated| stated == value))
}

/// What an incident cost, event by event.
fn harm(story: &Story, index: usize, incident: &Incident) -> Vec<(Timestamp, Nanos)> {
    let buckets = incident.first_bucket..incident.first_bucket + incident.buckets;
    let usage = buckets.flat_map(|bucket| story.bucket(bucket));
    usage.filter_map(|usage| usage.harm.filter(|(of, _)| *of == index).map(|(_, excess)| (usage.at, excess))).collect()
}

fn sum<'a>(parts: impl Iterator<Item = &'a (Timestamp, Nanos)>) -> Nanos {
    parts.fold(Nanos::ZERO, |sum, (_, part)| sum.saturating_add(*part))
}
