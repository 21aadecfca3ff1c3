//! A provider gone silent: usage that came in nearly every hour has stopped altogether. A gateway that does not report, a key that was
//! revoked, a team that has moved on: whichever, the money that is expected of it does not come.

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::MissingRules;
use super::super::{MatterKey, Matters};
use super::{ProviderHour, clock};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::counted::counted;
use crate::model::effect::Effect;
use crate::model::leaf::Account;
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, Hour};
use crate::watch::series::{from_units, to_units};
use crate::watch::{Moment, judge};

/// A provider is steady that was used in this part of its hours, of at least a week: who has nights and weekends is never silent.
const STEADY: f64 = 0.95;
const LEAST_HOURS: u32 = 7 * 24;
/// Hours that count; then both counts are halved.
const MOST_HOURS: u32 = 4 * 7 * 24;
/// A silence has to be so many times the longest one so far.
const BEYOND_HABIT: u32 = 2;
/// Silent for so long it is the new normal.
const OVER_AFTER_HOURS: u32 = 7 * 24;

/// What is kept of one provider of a team.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Hours known, and those with usage.
    pub hours: u32,
    pub used: u32,
    /// Hours of silence up to now, since when, and the money that was expected of them.
    pub silent: u32,
    /// The longest silence that ended before it was told.
    pub longest: u32,
    pub since: Option<Hour>,
    pub lost: Nanos,
    pub matter: Option<Matter>,
}

#[expect(clippy::too_many_arguments, reason = "all that is known of an hour")]
pub(crate) fn close_hour(
    matters: &mut Matters,
    account: &Account,
    provider: &Text,
    hour: Hour,
    sums: &ProviderHour,
    rules: &MissingRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let name = (account.clone(), provider.clone());
    let silence = matters.silences.entry(name.clone()).or_default();
    if silence.used == 0 {
        // Nothing is known before its first usage, also after a silence that has become normal.
        (silence.hours, silence.silent, silence.longest) = (0, 0, 0);
    }
    let is_steady = silence.hours >= LEAST_HOURS && f64::from(silence.used) >= STEADY * f64::from(silence.hours);
    let is_open = silence.matter.as_ref().is_some_and(Matter::is_open);
    let is_told = silence.matter.as_ref().is_some_and(Matter::is_told);
    if sums.events > 0 || sums.is_used_elsewhere {
        if is_open {
            let story = story(silence, account, provider, hour, moment, Some("is heard of again"));
            matter::end(&mut silence.matter, &account.team, AlertState::Resolved, hour.start(), story, moment, effects);
        }
        // Also one that somebody says is nothing to mend.
        if !is_told {
            silence.longest = silence.longest.max(silence.silent);
        }
        (silence.silent, silence.since, silence.lost) = (0, None, Nanos::ZERO);
    } else {
        silence.silent = silence.silent.saturating_add(1);
    }
    // Its usage has another currency since all is converted.
    let has_moved = moment.rules.rates.is_converted(account.currency, hour.start()) && !is_open;
    if sums.events == 0 && !sums.is_used_elsewhere && (is_steady || is_open) && !has_moved {
        silence.since = silence.since.or(Some(hour));
        silence.lost = silence.lost.saturating_add(from_units(sums.expected.max(0.0)));
        judge_silence(silence, account, provider, hour, rules, moment, effects);
    }
    // A silence that is told does not make its provider an unsteady one.
    let is_told = silence.matter.as_ref().is_some_and(Matter::is_open);
    if !is_told {
        silence.hours = silence.hours.saturating_add(1);
        silence.used = silence.used.saturating_add(u32::from(sums.events > 0));
        if silence.hours > MOST_HOURS {
            (silence.hours, silence.used, silence.longest) = (silence.hours / 2, silence.used / 2, silence.longest.div_ceil(2));
        }
    }
    matters.changed.insert(MatterKey::Silence(name.0, name.1));
}

fn judge_silence(
    silence: &mut Silence,
    account: &Account,
    provider: &Text,
    hour: Hour,
    rules: &MissingRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let limits = moment.rules.thresholds(&account.team, "", "");
    let is_open = silence.matter.as_ref().is_some_and(Matter::is_open);
    let is_long = i64::from(silence.silent) * HOUR_MS >= rules.silent_after_ms && silence.silent >= BEYOND_HABIT * silence.longest;
    if !is_open && (!is_long || silence.lost < limits.least_excess) {
        return;
    }
    if silence.silent >= OVER_AFTER_HOURS {
        let story = story(silence, account, provider, hour, moment, Some("has been silent for a week, which is normal from now on"));
        matter::end(&mut silence.matter, &account.team, AlertState::Resolved, hour.end(), story, moment, effects);
        (silence.hours, silence.used) = (0, 0);
        return;
    }
    let story = story(silence, account, provider, hour, moment, None);
    // With its first hour, so that one that comes after this was forgotten begins a new one: no revision is ever used twice.
    let since = silence.since.unwrap_or(hour).0.to_be_bytes();
    let about: [&[u8]; 4] = [b"silence", account.currency.as_str().as_bytes(), provider.as_bytes(), &since];
    matter::tell(&mut silence.matter, &account.team, &about, story, 2.0 * limits.update_growth, moment, effects);
}

fn story(silence: &Silence, account: &Account, provider: &Text, hour: Hour, moment: Moment<'_>, over: Option<&str>) -> Story {
    let zone = judge::zone_of(moment.rules, &account.team);
    let onset = silence.since.unwrap_or(hour).start();
    let (lost, currency) = (silence.lost.rounded(2), account.currency);
    let dimensions: std::collections::BTreeMap<String, String> = [("provider".to_string(), provider.to_string())].into();
    let hours = silence.silent.max(1);
    Story {
        kind: AlertKind::ProviderSilent,
        severity: Severity::Warning,
        onset,
        causes: vec![Cause { dimensions: dimensions.clone(), actual: Nanos::ZERO, expected: silence.lost, share: 1.0 }],
        dimensions,
        measure: account.measure,
        currency,
        event_time: hour.end(),
        ingest_time: moment.shard_time,
        actual: Nanos::ZERO,
        expected: silence.lost,
        excess: Nanos::ZERO.saturating_sub(silence.lost),
        burn_rate: from_units(-to_units(silence.lost) / f64::from(hours)),
        score: 0.8,
        stage: Stage::FirstWeeks,
        normal: format!("used in {:.0} % of hours", 100.0 * f64::from(silence.used) / f64::from(silence.hours.max(1))),
        summary: match over {
            Some(over) => format!("{} ({provider}) {over}; about {lost} {currency} of usage did not come", account.team),
            None => format!(
                "{} ({provider}) is silent since {}: no usage in {}, where about {lost} {currency} were to be expected",
                account.team,
                clock(onset, &zone),
                counted(hours, "hour")
            ),
        },
        next_steps: vec![
            format!(
                "See whether {provider} is still called. If it is, its usage does not reach Tollgate: look at the gateway and its exporter."
            ),
            "If the team has moved away from it, nothing is to be done: after a week it is normal.".to_string(),
        ],
        history: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, unpriced, usage};
    use crate::model::alert::AlertKind;
    use crate::model::money::Currency;

    #[test]
    fn a_provider_that_is_paid_in_another_currency_by_now_is_not_silent() {
        for is_used in [true, false] {
            let mut bench = Bench::new();
            bench.hours(0..9 * 24, |at| vec![usage(at, "ranker", 2.0, 1_000_000)]);
            bench.hours(9 * 24..10 * 24, |at| {
                let mut used = usage(at, "ranker", 2.0, 1_000_000);
                used.leaf.currency = Currency::parse("EUR").unwrap();
                if is_used { vec![used] } else { Vec::new() }
            });
            assert_eq!(bench.told().is_empty(), is_used, "{:#?}", bench.words());
        }
    }

    /// Of whatever is used as before; its twin, which is not used any more, is one.
    #[test]
    fn what_is_paid_in_another_currency_or_has_lost_its_price_is_no_drop() {
        for (is_used, is_unpriced, is_missing_told) in [(true, false, true), (true, true, true), (true, true, false), (false, false, true)]
        {
            let mut bench = Bench::new();
            if !is_missing_told {
                bench.rules.matters.missing = None;
            }
            bench.hours(0..9 * 24, |at| vec![usage(at, "ranker", 8.0, 1_000_000)]);
            bench.hours(9 * 24..10 * 24, |at| {
                let mut used = usage(at, "ranker", 8.0, 1_000_000);
                used.leaf.currency = Currency::parse("EUR").unwrap();
                // What fails goes on all the while.
                let failed = usage(at, "ranker", 0.0, 0);
                match (is_used, is_unpriced) {
                    (true, true) => {
                        let mut new = unpriced(at, 1_000_000);
                        new.leaf.project = "ranker".into();
                        vec![new]
                    }
                    (true, false) => vec![used],
                    (false, _) => vec![failed],
                }
            });
            let is_drop = bench.alerts.iter().any(|alert| alert.kind == AlertKind::SpendDrop);
            let all: Vec<&String> = bench.alerts.iter().map(|alert| &alert.summary).collect();
            // Where nobody tells that a price is missing, the drop does.
            assert_eq!(is_drop, !is_used || !is_missing_told, "{is_used} {is_unpriced} {is_missing_told}: {all:#?}");
        }
    }
}
