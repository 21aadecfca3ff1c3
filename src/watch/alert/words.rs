//! The sentences of an alert: what happened, what was normal, what to do next. Plain English, amounts rounded for people.

use super::super::baseline::Expectation;
use super::super::baseline::words::describe;
use super::super::judge;
use super::super::rules::WatchRules;
use super::super::series::to_units;
use super::episode::Episode;
use crate::model::alert::{AlertKind, AlertState};
use crate::model::leaf::{Account, UNATTRIBUTED};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Hour, Timestamp};

/// A user is said to carry most of an excess from this part of it on.
const MOST: f64 = 0.5;

/// "usually 41.20 USD on a Tuesday at 14:00 (Europe/Berlin)".
pub(crate) fn normal(expectation: &Expectation, account: &Account, hour: Hour, rules: &WatchRules) -> String {
    let zone = judge::zone_of(rules, &account.team);
    let local = judge::local_hour(&zone, hour);
    describe(expectation, account.currency, local, rules.time_zone(&account.team))
}

/// One line: who spent how much since when, against what. `stays`: what an hour takes at the end and what it took before, if that is more.
pub(crate) fn summary(
    account: &Account,
    episode: &Episode,
    changed: Option<&str>,
    stays: Option<(Nanos, Nanos)>,
    event_time: Timestamp,
    zone: &jiff::tz::TimeZone,
) -> String {
    let currency = account.currency;
    let (actual, expected) = (episode.actual(), episode.expected());
    let ratio = to_units(actual) / to_units(expected);
    let against = if expected.0 <= 0 || !ratio.is_finite() {
        "where nothing was usual".to_string()
    } else if ratio >= 10.0 {
        format!("{ratio:.0} times the usual {} {currency}", expected.rounded(2))
    } else {
        format!("{ratio:.1} times the usual {} {currency}", expected.rounded(2))
    };
    let what = place(account, episode);
    let spent = actual.rounded(2);
    let onset = clock(episode.onset, zone);
    match episode.state {
        AlertState::Resolved if episode.is_of_fall() => {
            format!("{what} spends again, or so little is usual by now; since {onset} it had spent {spent} {currency}, {against}")
        }
        AlertState::Resolved if episode.kind.may_become_usual() => {
            let of = if episode.is_of_ratio() { "per token what it did" } else { "what it did" };
            format!("{what} costs {of}, or what it costs counts as usual by now; since {onset} it had spent {spent} {currency}, {against}")
        }
        AlertState::Resolved if let Some((now, before)) = stays => format!(
            "{what} goes on at {} {currency} an hour, where it took {} before: that counts as usual from now on; since {onset} it had spent {spent} {currency}, {against}",
            now.rounded(2),
            before.rounded(2)
        ),
        AlertState::Resolved => format!("{what} is back to normal; since {onset} it had spent {spent} {currency}, {against}"),
        _ if episode.is_of_fall() => fallen(&what, account, episode, &onset),
        AlertState::Retracted => format!("{what} is within its normal after all: the hour that was reported is complete and not abnormal"),
        _ => {
            let spent = format!("{what} spent {spent} {currency} {}, {against}", span(episode, event_time, zone));
            match (episode.kind, changed) {
                (AlertKind::SpendMoved, _) => format!("{spent}; another part of the team spends less by as much, in all it is as usual"),
                (_, Some(changed)) => format!("{spent}: {changed}"),
                (_, None) => spent,
            }
        }
    }
}

/// Of a drop: what is missing.
fn fallen(what: &str, account: &Account, episode: &Episode, onset: &str) -> String {
    let (actual, expected) = (episode.actual(), episode.expected().rounded(2));
    let (hours, currency) = (episode.hours.len(), account.currency);
    if actual.0 <= 0 {
        format!("{what} has gone silent: nothing spent in {hours} hours since {onset}, where {expected} {currency} is usual")
    } else {
        format!("{what} spent only {} {currency} in {hours} hours since {onset}, where {expected} {currency} is usual", actual.rounded(2))
    }
}

fn place(account: &Account, episode: &Episode) -> String {
    let dimensions = episode.scope.dimensions();
    let named: Vec<&str> = ["project", "model"].iter().filter_map(|name| dimensions.get(*name)).map(String::as_str).collect();
    if named.is_empty() { account.team.to_string() } else { format!("{} ({})", account.team, named.join(" / ")) }
}

fn span(episode: &Episode, event_time: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let hours = episode.hours.len();
    if hours > 1 {
        return format!("in {hours} abnormal hours since {}", clock(episode.onset, zone));
    }
    let last = episode.hours.last_key_value().map_or(episode.onset.hour(), |(hour, _)| *hour);
    let end = event_time.min(last.end()).max(episode.onset);
    if end.0 - episode.onset.0 >= HOUR_MS - 60_000 {
        format!("in the hour from {}", clock(episode.onset, zone))
    } else {
        format!("between {} and {}", clock(episode.onset, zone), clock(end, zone))
    }
}

fn clock(at: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(instant) => instant.to_zoned_datetime(zone.clone()).strftime("%a %H:%M %Z").to_string(),
        Err(_) => at.to_string(),
    }
}

pub(crate) fn next_steps(account: &Account, episode: &Episode) -> Vec<String> {
    if !episode.is_open() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let top = episode.causes.first();
    let named = |name: &str| top.and_then(|cause| cause.dimensions.get(name));
    match named("user") {
        Some(user) if top.is_some_and(|cause| cause.share >= MOST) => {
            steps.push(format!("Ask {user} what runs since {}: this user carries most of the excess.", episode.onset));
        }
        Some(user) => steps.push(format!("Look at what changed since {}, and ask {user} first.", episode.onset)),
        None => steps.push(format!("Look at what changed since {}: deployments, batch jobs, retries.", episode.onset)),
    }
    match episode.kind {
        AlertKind::SpendDrop => {
            return vec![format!(
                "If it was not switched off: look for what stopped at {} (jobs, keys, quotas), and whether its usage and prices are still reported.",
                episode.onset
            )];
        }
        AlertKind::Runaway => {
            steps.push("If nobody can explain it, stop it now: revoke the key or cap it at the gateway. Tollgate only detects.".into())
        }
        AlertKind::LevelShift => {
            steps.push("If this is the new normal, nothing is to be done: it is learnt within days. If not, look for what grew.".into());
        }
        AlertKind::PriceChange => steps.push("Check the provider's price list and your contract, or move to a cheaper model.".into()),
        AlertKind::ModelSwitch => steps.push("Ask who changed the model, and whether the dearer one is worth it.".into()),
        AlertKind::SpendMoved => steps.push("Nothing to do, unless budgets go by project: then move the budget, too.".into()),
        // Has steps of its own, which the policy names.
        AlertKind::PolicyViolation => {}
        AlertKind::SpendSpike | AlertKind::Sustained => steps.push(format!(
            "If it is wanted, say until when: `tollgate alerts expect {} --until 4h`, or the answer in the mail.",
            episode.id
        )),
        // A matter has steps of its own.
        _ => {}
    }
    if *account.team == *UNATTRIBUTED {
        steps.push("Nobody owns this usage: add an [[attribution]] rule for its source, account or tags.".into());
    }
    steps
}
