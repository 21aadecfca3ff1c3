//! Money that cannot be converted, because there is no rate for its day: it stays in its own currency, where no budget and no bill of the
//! currency that all is counted in sees it. Told once for each account, until there is a rate.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::MatterKey;
use super::super::matter::{self, Matter, Story};
use crate::model::alert::{AlertKind, AlertState, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Measure};
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{DAY_MS, Timestamp};
use crate::watch::Moment;
use crate::watch::originals;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// What is kept of an account's money without a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unconverted {
    pub amount: Nanos,
    /// First and last day that has no rate, as times within them.
    pub first: Timestamp,
    pub last: Timestamp,
    pub ingest_time: Timestamp,
    pub matter: Option<Matter>,
}

/// A sum in a currency that there is no rate for.
pub(crate) fn take(shard: &mut Shard, partial: &Partial, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.matters.missing.is_none() || partial.cost == Nanos::ZERO {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let account = partial.leaf.account();
    let at = partial.minute.start();
    let kept = shard.matters.unconverted.entry(account.clone()).or_default();
    if !kept.matter.as_ref().is_some_and(Matter::is_open) {
        (kept.amount, kept.first, kept.last) = (Nanos::ZERO, at, at);
    }
    kept.amount = kept.amount.saturating_add(partial.cost);
    (kept.first, kept.last) = (kept.first.min(at), kept.last.max(at));
    kept.ingest_time = kept.ingest_time.max(partial.last_ingest_time);
    let about: [&[u8]; 3] = [b"rate", account.measure.as_str().as_bytes(), account.currency.as_str().as_bytes()];
    let story = story(&account, kept, false, moment);
    let growth = rules.thresholds(&account.team, "", "").update_growth;
    matter::tell(&mut kept.matter, &account.team, &about, story, growth, moment, effects);
    shard.matters.changed.insert(MatterKey::Unconverted(account));
}

/// Whether there are rates by now.
pub(crate) fn close_hour(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let open = shard.matters.unconverted.iter().filter(|(_, kept)| kept.matter.as_ref().is_some_and(Matter::is_open));
    for account in open.map(|(account, _)| account.clone()).collect::<Vec<Account>>() {
        let Some(summary) = is_over(shard, &account, rules, effects) else { continue };
        let moment = shard.moment(rules, &books);
        let Some(kept) = shard.matters.unconverted.get_mut(&account) else { continue };
        let ended = story(&account, kept, true, moment);
        let story = if summary.is_empty() { ended } else { Story { summary, ..ended } };
        matter::end(&mut kept.matter, &account.team, AlertState::Resolved, kept.last, story, moment, effects);
        shard.matters.changed.insert(MatterKey::Unconverted(account));
    }
}

/// Why nobody has to look for rates any more, in words; empty: there are rates. What was waiting for them is counted.
fn is_over(shard: &mut Shard, account: &Account, rules: &WatchRules, effects: &mut Vec<Effect>) -> Option<String> {
    let kept = shard.matters.unconverted.get(account)?;
    let Account { team, currency, .. } = account;
    if rules.matters.missing.is_none() || !rules.rates.concern(*currency) {
        return Some(format!("nobody asks any more for rates of {currency} for what {team} spent"));
    }
    let is_bill = account.measure == Measure::Billed;
    if is_bill && kept.amount == Nanos::ZERO {
        return Some(format!("what {team} was billed in {currency} was taken back"));
    }
    if !is_bill && shard.header.watermarks.shard_time().0 - kept.last.0 >= DAY_MS {
        return Some(format!("{team} has spent nothing in {currency} without a rate for a day"));
    }
    let has_rate = |at| rules.rates.cross(*currency, at).is_some();
    let has_rates = has_rate(kept.first) && has_rate(kept.last);
    let is_counted = has_rates && (!is_bill || originals::convert_hours(shard, Some(account), &BTreeSet::new(), rules, effects).is_empty());
    is_counted.then(String::new)
}

fn story(account: &Account, kept: &Unconverted, is_over: bool, moment: Moment<'_>) -> Story {
    let Account { team, measure, currency } = account;
    let date = |at: Timestamp| at.to_string().get(..10).unwrap_or_default().to_string();
    let (first, last) = (date(kept.first), date(kept.last));
    let days = if first == last { format!("on {first}") } else { format!("from {first} to {last}") };
    let (amount, target) = (kept.amount.rounded(2), moment.rules.reporting_currency);
    let what = if *measure == Measure::Billed { "is billed" } else { "spent" };
    let again = match measure {
        Measure::Billed | Measure::BilledOriginal => "What is on the bill is converted by itself once there is a rate.",
        _ => "Usage that has come already stays in its own currency; what comes then is converted.",
    };
    Story {
        kind: AlertKind::MissingMoney,
        severity: Severity::Warning,
        onset: kept.first,
        dimensions: [("currency".to_string(), currency.to_string())].into(),
        measure: *measure,
        currency: *currency,
        event_time: kept.last,
        ingest_time: kept.ingest_time,
        actual: kept.amount,
        expected: Nanos::ZERO,
        excess: kept.amount,
        burn_rate: Nanos::ZERO,
        score: 0.8,
        stage: Stage::Seasoned,
        normal: format!("all is converted into {target} by the rate of its day"),
        summary: if is_over {
            format!("there is a rate of {currency} for what {team} {what} {days}")
        } else {
            format!("{team} {what} {amount} {currency} {days}, for which there is no rate to {target}: no budget in {target} counts it")
        },
        causes: Vec::new(),
        next_steps: vec![
            format!(
                "Add rates of {currency} and {target} that hold {days} to a file of currency.rates, raise rules_revision, send SIGHUP."
            ),
            "A rate older than currency.most_age is none: is the file still kept up to date?".to_string(),
            again.to_string(),
        ],
        history: Vec::new(),
    }
}
