//! Drift in words, for people who have never heard of it.

use std::collections::BTreeMap;

use super::mix::Shift;
use super::model::{Accepted, Deployed};
use super::rules::DriftRules;
use super::series::Series;
use super::sums::{Difference, Sums};
use crate::model::counted::counted;
use crate::watch::matters::missing::many;

/// Metrics that a message names; all are in the evidence.
const MOST_NAMED: usize = 3;

pub struct Metric<'a> {
    pub name: &'a str,
    pub series: &'a Series,
    pub difference: Difference,
    pub shift: Option<Shift>,
}

impl Metric<'_> {
    /// As a part of what it was; of a share, of the rarer outcome.
    pub fn moved(&self) -> f64 {
        if let Some(shift) = &self.shift {
            return shift.psi;
        }
        let Difference { before, now, is_share, .. } = self.difference;
        let base = if is_share { before.min(1.0 - before).max(0.001) } else { before.abs().max(f64::MIN_POSITIVE) };
        (now - before).abs() / base
    }
}

/// `gpt-4o 2024-08`.
fn name(model: &str, version: &str) -> String {
    if version.is_empty() { model.to_string() } else { format!("{model} {version}") }
}

pub fn subject(model: &str, version: &str) -> String {
    if version.is_empty() { format!("model={model}") } else { format!("model={model};model_version={version}") }
}

/// `gpt-4o 2024-08 no longer behaves as accepted: refusal rate 9 % over 1,200 samples, 2 % when it was accepted (ep-7 in eu-central-1, prod)`.
pub fn message(
    team: &str,
    model: &str,
    version: &str,
    metrics: &[Metric<'_>],
    accepted: Option<&Accepted>,
    deployed: Option<&Deployed>,
) -> String {
    let (as_what, when) = match accepted {
        Some(_) => ("accepted", "when it was accepted"),
        None => ("at first", "at first"),
    };
    let one = |metric: &Metric<'_>| {
        let Difference { before, now, is_share, .. } = metric.difference;
        let over = amount(&metric.series.outside.sums);
        if let Some(shift) = &metric.shift {
            return format!("another mix of {} over {over}{} (PSI {})", spoken(metric.name), most(shift, when), number(shift.psi, false));
        }
        format!("{} {} over {over}, {} {when}", spoken(metric.name), number(now, is_share), number(before, is_share))
    };
    let named: Vec<String> = metrics.iter().take(MOST_NAMED).map(one).collect();
    let more = metrics.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let place = deployed.map(|deployed| format!(" ({})", place(deployed))).filter(|place| place.len() > 3).unwrap_or_default();
    format!("{} of {team} no longer behaves as {as_what}: {}{more}{place}", name(model, version), named.join("; "))
}

/// Ends with a violation's life.
pub fn over(model: &str, version: &str, why: &str) -> String {
    format!("{} no longer drifts: {why}", name(model, version))
}

/// Why an acceptance ends the drift of a version.
pub fn accepted(accepted: &Accepted, version: &str) -> String {
    let what = if *accepted.version == *version {
        "it was accepted as it is now".to_string()
    } else if accepted.version.is_empty() {
        "the model was accepted".to_string()
    } else {
        format!("version {} was accepted in its place", accepted.version)
    };
    format!("{what} {}", by_whom(accepted))
}

fn by_whom(accepted: &Accepted) -> String {
    let by = match &accepted.by {
        _ if accepted.in_config => " in the config".to_string(),
        Some(by) => format!(" by {by}"),
        None => String::new(),
    };
    let approval = accepted.approval.as_ref().map(|approval| format!(", approval {approval}")).unwrap_or_default();
    format!("{}{by}{approval}", accepted.at)
}

fn place(deployed: &Deployed) -> String {
    let mut place = deployed.resource.as_ref().map_or(String::new(), |resource| resource.to_string());
    if let Some(region) = &deployed.region {
        place.push_str(&format!("{}in {region}", if place.is_empty() { "" } else { " " }));
    }
    if let Some(environment) = &deployed.environment {
        place.push_str(&format!("{}{environment}", if place.is_empty() { "" } else { ", " }));
    }
    place
}

pub fn evidence(
    metrics: &[Metric<'_>],
    accepted: Option<&Accepted>,
    version: &str,
    deployed: Option<&Deployed>,
    rules: &DriftRules,
) -> BTreeMap<String, String> {
    let mut evidence = BTreeMap::new();
    for metric in metrics {
        let Difference { before, now, is_share, p, .. } = metric.difference;
        let outside = &metric.series.outside;
        let reference = format!("{} over {}", number(before, is_share), amount(&metric.series.reference));
        if let Some(shift) = &metric.shift {
            let told = format!(
                "PSI {} over {} since {} ({} looks), reference of {}{}, p {}",
                number(shift.psi, false),
                amount(&outside.sums),
                outside.since,
                outside.looks,
                amount(&metric.series.reference),
                most(shift, "in the reference"),
                likely(shift.p)
            );
            evidence.insert(metric.name.to_string(), told);
            continue;
        }
        let told = format!(
            "{} over {} since {} ({} looks), reference {reference}, p {}",
            number(now, is_share),
            amount(&outside.sums),
            outside.since,
            outside.looks,
            likely(p)
        );
        evidence.insert(metric.name.to_string(), told);
    }
    let reference = match accepted {
        Some(accepted) => format!("accepted {}", by_whom(accepted)),
        None => {
            let frozen = metrics.iter().filter_map(|metric| metric.series.frozen).min();
            let until = frozen.map_or(String::new(), |frozen| format!(", frozen {frozen}"));
            format!("nobody has accepted this version: what it did in its first {}{until}", counted(rules.first_days, "day"))
        }
    };
    evidence.insert("reference".to_string(), reference);
    let stated = if version.is_empty() { "not stated" } else { version };
    evidence.insert("model_version".to_string(), stated.to_string());
    let deployment = match deployed {
        Some(deployed) => format!(
            "{}, since {}",
            Some(place(deployed)).filter(|place| !place.is_empty()).unwrap_or("not stated where".to_string()),
            deployed.at
        ),
        None => "none is known".to_string(),
    };
    evidence.insert("deployment".to_string(), deployment);
    let since = metrics.iter().map(|metric| metric.series.outside.since).min();
    if let (Some(deployed), Some(since)) = (deployed, since)
        && deployed.at < since
    {
        evidence.insert("silent_change".to_string(), "no deployment was told between the last one and the drift".to_string());
    }
    if !rules.owner.is_empty() {
        evidence.insert("owner".to_string(), rules.owner.to_string());
    }
    evidence
}

pub fn remedy(model: &str, version: &str, deployed: Option<&Deployed>) -> String {
    let back = if deployed.is_some() { "roll the deployment back" } else { "go back to what was accepted" };
    let of_version = if version.is_empty() { String::new() } else { format!(" and version {version}") };
    format!(
        "Ask the provider, or whoever operates it, what has changed behind {}, and look at prompts and evaluation data. Then {back}, or \
         accept a new version. If this is how it is to behave, send an approval of model {model}{of_version}: it begins a new reference.",
        name(model, version)
    )
}

/// `: refunds 60 %, 20 % when it was accepted`.
fn most(shift: &Shift, when: &str) -> String {
    shift
        .most
        .as_ref()
        .map_or(String::new(), |(name, before, now)| format!(": {name} {}, {} {when}", number(*now, true), number(*before, true)))
}

fn spoken(metric: &str) -> String {
    metric.replace('_', " ")
}

/// `1,200 samples`, `6 values`.
fn amount(sums: &Sums) -> String {
    match (sums.samples, sums.values) {
        (0, 1) => "1 value".to_string(),
        (0, values) => format!("{values} values"),
        (1, _) => "1 sample".to_string(),
        (samples, _) => format!("{} samples", grouped(samples)),
    }
}

fn grouped(count: u64) -> String {
    if (1_000..10_000).contains(&count) { format!("{},{:03}", count / 1000, count % 1000) } else { many(count) }
}

/// `9 %`, `0.4 %`, `3.52`.
fn number(value: f64, is_share: bool) -> String {
    let (value, unit) = if is_share { (100.0 * value, " %") } else { (value, "") };
    let digits: usize = match value.abs() {
        0.0 => 0,
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        large if large >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn likely(p: f64) -> String {
    if p < 1e-6 { "below 0.000001".to_string() } else { format!("{p:.6}") }
}
