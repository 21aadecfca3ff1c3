//! The sentences of an alert about waste: what it is, since when, by what signs, what it costs, what to do.

use jiff::tz::TimeZone;

use super::super::rules::OversizedRules;
use super::Over;
use super::resource::{Finding, Resource, Signal};
use super::size::{self, Fit};
use crate::model::counted::counted;
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};

/// `gpu-07 (gpu_cluster) is idle since Mon 9 Mar 03:00 UTC: ...; it costs 35.26 USD an hour, 25740 USD a month`.
pub fn summary(resource: &Resource, id: &str, finding: &Finding, monthly: Nanos, zone: &TimeZone) -> String {
    let hourly = resource.hourly_cost.unwrap_or_default();
    let since = clock(finding.since, zone);
    let what = match (finding.is_orphaned, resource.last_used, resource.owner.as_deref()) {
        (true, _, Some(owner)) => format!("has lost its owner {owner} and is unused since {since}"),
        (_, None, _) => format!("was never used since it was first seen {since}"),
        (_, Some(_), _) => format!("is unused since {since}"),
    };
    format!(
        "{} {what}: {}; it costs {} {currency} an hour, {} {currency} a month, and cost {} {currency} so far ({})",
        name(resource, id),
        signs(resource, finding),
        hourly.rounded(2),
        monthly.rounded(0),
        finding.cost.rounded(2),
        confidence(finding),
        currency = resource.currency,
    )
}

fn name(resource: &Resource, id: &str) -> String {
    if resource.resource_type.is_empty() { id.to_string() } else { format!("{id} ({})", resource.resource_type) }
}

fn signs(resource: &Resource, finding: &Finding) -> String {
    let length = span(finding.length_ms);
    let sign = |signal: &Signal| match signal {
        Signal::LowPeak => {
            let peak = finding.peak.unwrap_or_default() * 100.0;
            Some(format!("at most {peak:.1} % of its capacity in {length}"))
        }
        Signal::NoRequests => Some("no requests".to_string()),
        Signal::Unattached => Some("attached to nothing".to_string()),
        Signal::Stopped => Some("stopped, but not free".to_string()),
        // Said already.
        Signal::NeverUsed => None,
        Signal::OwnerGone => resource.has_left.then(|| "its owner has left the company".to_string()),
    };
    let signs: Vec<String> = finding.signals.iter().filter_map(sign).collect();
    if signs.is_empty() { format!("no use in {length}") } else { signs.join(", ") }
}

fn confidence(finding: &Finding) -> String {
    match finding.signals.len() {
        0 | 1 => "medium confidence: one sign".to_string(),
        signs => format!("high confidence: {signs} signs agree"),
    }
}

/// What it was like before.
pub fn before(resource: &Resource, finding: &Finding, zone: &TimeZone) -> String {
    let pause = match resource.longest_pause_ms {
        0 => String::new(),
        longest => format!("; its longest pause before was {}", span(longest)),
    };
    match (resource.last_used, resource.peak.filter(|peak| Some(*peak) > finding.peak)) {
        (None, _) => format!("no use is known, first seen {}", clock(resource.first_seen, zone)),
        (Some(last), Some(peak)) => format!("used up to {:.0} % of its capacity, last {}{pause}", peak * 100.0, clock(last, zone)),
        (Some(last), None) => format!("last used {}{pause}", clock(last, zone)),
    }
}

pub fn over(resource: &Resource, id: &str, over: Over, cost: Nanos, zone: &TimeZone) -> String {
    let (at, currency) = (clock(resource.last_seen, zone), resource.currency);
    let what = match over {
        Over::Used => format!("is used again {at}"),
        Over::UsedLately => {
            let used = resource.last_used.map_or_else(|| at.clone(), |used| clock(used, zone));
            format!("was used {used}, as was heard of late")
        }
        Over::Free => format!("costs nothing any more {at}"),
        Over::Cheap { monthly, least } => format!(
            "costs {} {currency} a month since {at}, which is not worth a word: waste.least_per_month is {}",
            monthly.rounded(2),
            least.rounded(2)
        ),
        Over::Owned => format!("has an owner again {at}, and is not unused for long enough to be told without that"),
        Over::TooShort => format!("is not unused for long enough by {at}: [waste] wants a longer pause than it did"),
        Over::Unknown => format!("can no longer be judged {at}: for a day too many samples lack utilisation, requests or cost"),
        Over::Silent => format!("was not heard of since {at}, so that nothing can be said of it"),
    };
    format!("{} {what}; unused it had cost {} {currency}", name(resource, id), cost.rounded(2))
}

pub fn next_steps(resource: &Resource, finding: &Finding) -> Vec<String> {
    let mut steps = Vec::new();
    match (&resource.owner, finding.is_orphaned) {
        (Some(owner), false) => steps.push(format!("Ask {owner} whether it is still needed.")),
        (_, true) => steps.push("Find somebody to own it, or take it down: nobody will miss it who has not been asked.".to_string()),
        (None, false) => steps.push("Nobody is named as its owner: ask the team whether it is still needed.".to_string()),
    }
    steps.push("Stop it and keep its disk for a while; delete it once nobody has asked for it.".to_string());
    steps.push("If it has to wait for work, say so in [waste]: a longer window for its type.".to_string());
    steps
}

/// `vm-7 (vm) is larger than it has to be: at most 31 %, on average 12 % of its 16 in 14 days; 8 would do and save 548 USD a month`.
pub fn oversized(resource: &Resource, id: &str, fit: &Fit, days: usize, monthly: Nanos) -> String {
    let percent = |part: f64| (part * 100.0 + 0.5) as u32;
    format!(
        "{} is larger than it has to be: at most {} %, on average {} % of its {} were used in {days} days; {} would do, and save {} {} a month (low confidence: one sign)",
        name(resource, id),
        percent(fit.peak),
        percent(fit.mean),
        fit.capacity,
        fit.needed,
        monthly.rounded(0),
        resource.currency,
    )
}

pub fn size_usual(fit: &Fit, rules: Option<&OversizedRules>) -> String {
    let target = rules.map_or(0.0, |rules| rules.target * 100.0 + 0.5) as u32;
    format!(
        "with {} its peak would be at {} %, up to {target} % is fine",
        fit.needed,
        (fit.peak * fit.capacity / fit.needed * 100.0 + 0.5) as u32
    )
}

pub fn size_over(resource: &Resource, id: &str, over: size::Over, capacity: f64, saved: Nanos) -> String {
    let how = match over {
        size::Over::NeededAgain => "needs its size again".to_string(),
        size::Over::Resized => format!("has another size by now, {capacity}"),
        size::Over::Gone => "is not used any more, or costs nothing".to_string(),
        size::Over::Silent => "was not heard of any more, so that nothing can be said of it".to_string(),
        size::Over::Unknown => "can no longer be judged: its use or price is not known for the whole window".to_string(),
        size::Over::TooLittle => "would save too little with another size to be worth it".to_string(),
        size::Over::Off => "is not looked at any more: [waste.oversized] is off".to_string(),
    };
    format!("{} {how}; about {} {} could have been saved", name(resource, id), saved.rounded(2), resource.currency)
}

pub fn resize(fit: &Fit) -> Vec<String> {
    vec![
        format!(
            "Try {} instead of {} at its next restart; the saving takes the price to be in proportion to the size.",
            fit.needed, fit.capacity
        ),
        "Only what its samples measure is known: see whether memory or the network need the size.".to_string(),
    ]
}

fn clock(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(instant) => instant.to_zoned_datetime(zone.clone()).strftime("%a %-d %b %H:%M %Z").to_string(),
        Err(_) => at.to_string(),
    }
}

/// `1 hour`, `26 hours`, `9 days`.
fn span(ms: i64) -> String {
    if ms < 3 * DAY_MS { counted(ms / HOUR_MS, "hour") } else { counted(ms / DAY_MS, "day") }
}
