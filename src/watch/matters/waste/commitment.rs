//! Commitments that are paid and not used: the bill says so itself, by lines whose CommitmentDiscountStatus is `Unused`. Looked at once a day,
//! over the last days that the bill knows; noted first, told more urgently after the grace, and taken back when the bill no longer says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::MatterKey;
use super::super::matter::{self, Matter, Story};
use super::super::rules::{CommitmentRules, WasteRules};
use super::super::unwanted::last_word;
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Severity, Stage};
use crate::model::billing::UNUSED_COMMITMENT;
use crate::model::effect::Effect;
use crate::model::leaf::Account;
use crate::model::money::Nanos;
use crate::model::partial::Partial;
use crate::model::time::{DAY_MS, Hour, Timestamp};
use crate::watch::Moment;
use crate::watch::rules::WatchRules;
use crate::watch::series::to_units;
use crate::watch::shard::Shard;

/// Days that are kept: longer than any window, so that what is restated within it is known.
const KEPT_DAYS: i64 = 100;
const HOURS_PER_MONTH: i128 = 730;
/// Nobody knows of a commitment any more whose account was billed nothing for so long: bills come once a month at least.
const LATEST_BILL_DAYS: i64 = 35;

/// What is kept of one account's commitments for a service of a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Commitment {
    /// Unused cost by days since 1970.
    pub days: BTreeMap<i64, Nanos>,
    /// The last day of which the provider has billed the account anything.
    pub billed_through: i64,
    pub matter: Option<Matter>,
}

/// What the last days say.
struct Unused {
    cost: Nanos,
    per_month: Nanos,
    /// With unused cost.
    days: usize,
    from: Timestamp,
    to: Timestamp,
}

/// What is to be told of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Noted,
    Urgent,
    UsedAgain,
    /// Nothing is billed any more.
    Unheard,
}

/// A change of the bill.
pub(crate) fn take(shard: &mut Shard, partial: &Partial, rules: &WatchRules) {
    if of(rules).is_none() {
        return;
    }
    let today = day_of(shard.header.watermarks.shard_time());
    let matters = &mut shard.matters;
    let (account, provider) = (partial.leaf.account(), &partial.leaf.provider);
    let day = partial.minute.hour().0.div_euclid(24);
    if *partial.leaf.meter == *UNUSED_COMMITMENT {
        let name = (account.clone(), provider.clone(), partial.leaf.model.clone());
        let kept = matters.commitments.entry(name.clone()).or_default();
        let cost = kept.days.entry(day).or_default();
        *cost = cost.saturating_add(partial.cost);
        matters.changed.insert(MatterKey::Commitment(name.0, name.1, name.2));
    }
    // A day that is billed and has no unused cost is one on which all was used.
    let all_of_provider = (account.clone(), provider.clone(), Text::from(""))..;
    for (name, kept) in matters.commitments.range_mut(all_of_provider) {
        if (&name.0, &name.1) != (&account, provider) {
            break;
        }
        // What is billed in advance says nothing of the days up to it.
        if day > kept.billed_through && day <= today {
            kept.billed_through = day;
            matters.changed.insert(MatterKey::Commitment(name.0.clone(), name.1.clone(), name.2.clone()));
        }
    }
}

fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS)
}

fn of(rules: &WatchRules) -> Option<(&WasteRules, &CommitmentRules)> {
    let waste = rules.matters.waste.as_ref()?;
    Some((waste, waste.commitment.as_ref()?))
}

/// Nobody wants to know any more.
pub(crate) fn end_unwanted(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if of(rules).is_some() {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    for ((account, provider, service), kept) in &mut matters.commitments {
        let Some(matter) = kept.matter.as_mut().filter(|matter| matter.is_open()) else { continue };
        let story = last_word(matter, "[waste.commitment]", hour.end(), moment);
        matter::end_of(matter, &account.team, AlertState::Resolved, hour.end(), story, moment, effects);
        matters.changed.insert(MatterKey::Commitment(account.clone(), provider.clone(), service.clone()));
    }
}

/// A day is over.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if hour.0.rem_euclid(24) != 0 {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let today = hour.0.div_euclid(24);
    let matters = &mut shard.matters;
    for ((account, provider, service), kept) in &mut matters.commitments {
        let before = kept.clone();
        // Earlier versions took what was billed in advance for billed.
        kept.billed_through = kept.billed_through.min(day_of(moment.shard_time));
        kept.days.retain(|day, cost| *day > today - KEPT_DAYS && *cost != Nanos::ZERO);
        if let Some((waste, commitment)) = of(rules) {
            judge(kept, account, (provider, service), waste, commitment, moment, effects);
        }
        if before != *kept {
            matters.changed.insert(MatterKey::Commitment(account.clone(), provider.clone(), service.clone()));
        }
    }
    // Of which nothing is left but that it was told once: that stays, so that no revision is used twice.
    matters.commitments.retain(|_, kept| !kept.days.is_empty() || kept.matter.is_some());
}

fn judge(
    kept: &mut Commitment,
    account: &Account,
    (provider, service): (&Text, &Text),
    waste: &WasteRules,
    rules: &CommitmentRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let is_open = kept.matter.as_ref().is_some_and(Matter::is_open);
    // A bill that is late says nothing new.
    let unused = kept.unused(kept.billed_through, rules.window_days);
    let is_heard_of = day_of(moment.shard_time) - kept.billed_through <= LATEST_BILL_DAYS;
    let is_unused = is_heard_of && unused.days >= rules.least_days && unused.per_month >= waste.least_per_month;
    if !is_unused && !is_open {
        return;
    }
    let marked = kept.matter.as_ref().filter(|matter| matter.is_open()).map_or(moment.shard_time, |matter| matter.detected_at);
    let is_urgent = moment.shard_time.0 - marked.0 >= waste.grace_ms;
    let to = unused.to;
    let word = match (is_unused, is_heard_of) {
        (true, _) if is_urgent => Word::Urgent,
        (true, _) => Word::Noted,
        (false, true) => Word::UsedAgain,
        (false, false) => Word::Unheard,
    };
    let story = story(account, provider, service, &unused, rules, word, moment);
    if !is_unused {
        matter::end(&mut kept.matter, &account.team, AlertState::Resolved, to, story, moment, effects);
        return;
    }
    let about: [&[u8]; 4] = [b"commitment", account.currency.as_str().as_bytes(), provider.as_bytes(), service.as_bytes()];
    let growth = moment.rules.thresholds(&account.team, "", "").update_growth;
    matter::tell(&mut kept.matter, &account.team, &about, story, growth, moment, effects);
}

impl Commitment {
    fn unused(&self, newest: i64, window_days: i64) -> Unused {
        let first = newest - window_days + 1;
        let seen = self.days.range(first..=newest).filter(|(_, cost)| **cost > Nanos::ZERO);
        let (days, cost) = seen.fold((0, Nanos::ZERO), |(days, sum), (_, cost)| (days + 1, sum.saturating_add(*cost)));
        let per_month = cost.checked_mul_div(HOURS_PER_MONTH, i128::from(window_days.max(1)) * 24).unwrap_or_default();
        Unused { cost, per_month, days, from: Timestamp(first.saturating_mul(DAY_MS)), to: Timestamp((newest + 1).saturating_mul(DAY_MS)) }
    }
}

fn story(
    account: &Account,
    provider: &Text,
    service: &Text,
    unused: &Unused,
    rules: &CommitmentRules,
    word: Word,
    moment: Moment<'_>,
) -> Story {
    let Account { team, measure, currency } = account;
    let named = [("provider", provider), ("model", service)];
    let what = named.iter().map(|(_, value)| &***value).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" ");
    let (cost, month, window) = (unused.cost.rounded(2), unused.per_month.rounded(2), rules.window_days);
    let per_hour = unused.per_month.checked_mul_div(1, HOURS_PER_MONTH).unwrap_or_default();
    Story {
        kind: AlertKind::UnusedCommitment,
        severity: if word == Word::Urgent { Severity::Warning } else { Severity::Info },
        onset: unused.from,
        dimensions: named
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        measure: *measure,
        currency: *currency,
        event_time: unused.to,
        ingest_time: moment.shard_time,
        actual: unused.cost,
        expected: Nanos::ZERO,
        excess: unused.cost,
        burn_rate: if matches!(word, Word::Noted | Word::Urgent) { per_hour } else { Nanos::ZERO },
        score: 0.8,
        stage: Stage::Seasoned,
        normal: format!("unused on {} of {window} days or more it is told", rules.least_days),
        summary: match word {
            Word::UsedAgain => {
                format!("the commitment of {team} for {what} is used again: {cost} {currency} unused in the last {window} days of the bill")
            }
            Word::Unheard => format!(
                "the bill says nothing of the commitment of {team} for {what} any more: nothing is billed for {LATEST_BILL_DAYS} days; \
                 {cost} {currency} were unused in the last {window} days that are"
            ),
            Word::Noted | Word::Urgent => format!(
                "{team} pays for a commitment for {what} that it does not use: {cost} {currency} on {} of {window} days, {month} {currency} a month",
                unused.days
            ),
        },
        causes: Vec::new(),
        next_steps: vec![
            "Move workloads onto what it covers (instance family, region, model), or let other accounts share it.".to_string(),
            format!("Do not renew it at this size; as used now, about {:.0} {currency} a month are too much.", to_units(unused.per_month)),
        ],
        history: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::Alert;
    use crate::model::leaf::Measure;
    use crate::model::money::Currency;
    use crate::model::partial::{Marker, ShardRecord, Source};
    use crate::model::time::{HOUR_MS, MINUTE_MS, Minute};
    use crate::watch::Restorer;
    use crate::watch::matters::rules::MatterRules;
    use crate::watch::tests::{START, partial, rules};

    fn watch_rules() -> WatchRules {
        let waste = WasteRules {
            commitment: Some(CommitmentRules { window_days: 7, least_days: 5 }),
            least_per_month: Nanos::from_units(10),
            grace_ms: 48 * HOUR_MS,
            ..super::super::tests::waste()
        };
        WatchRules { matters: MatterRules { waste: Some(waste), ..MatterRules::default() }, ..rules() }
    }

    /// Days of usage of 24 dollars; each day's bill comes a day later. `unused`: what is billed now of which day.
    fn play(days: i64, unused: impl Fn(i64) -> Vec<(i64, f64)>) -> Vec<Alert> {
        play_with(days, |today| unused(today).into_iter().map(|(day, money)| (day, money, UNUSED_COMMITMENT)).collect())
    }

    fn play_with(days: i64, lines: impl Fn(i64) -> Vec<(i64, f64, &'static str)>) -> Vec<Alert> {
        let rules = watch_rules();
        let (mut shard, mut alerts) = (Shard::new(0, 1, &rules), Vec::new());
        let mut changelog = BTreeMap::new();
        for at in 0..days * 24 {
            let minute = Minute(START.0 + at * 60);
            let mut partials = vec![partial(minute, "search", "ranker", "ann", 1.0)];
            if at % 24 == 1 {
                for (day, money, meter) in lines(at / 24) {
                    let mut leaf = partials[0].leaf.clone();
                    (leaf.measure, leaf.meter, leaf.provider, leaf.model) =
                        (Measure::Billed, meter.into(), "aws".into(), "Amazon EC2".into());
                    let hour = Hour(START.hour().0 + day * 24);
                    partials.push(Partial::of_hour(leaf, hour, Nanos((money * 1e9) as i128), Nanos::ZERO));
                }
            }
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
            let effects = shard.apply_whole(&record, at, minute.start().plus_ms(MINUTE_MS), &rules);
            alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
            for change in shard.take_changes() {
                match change.value {
                    Some(value) => drop(changelog.insert(change.key, value)),
                    None => drop(changelog.remove(&change.key)),
                }
            }
        }
        let mut restorer = Restorer::new(1);
        changelog.iter().for_each(|(key, value): (&Vec<u8>, &Vec<u8>)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&rules).unwrap().unwrap();
        assert_eq!(restorer.finish().unwrap().matters, shard.matters);
        alerts.retain(|alert| alert.kind == AlertKind::UnusedCommitment);
        alerts
    }

    #[test]
    fn a_commitment_that_is_not_used_is_noted_told_and_taken_back_when_it_is() {
        let alerts = play(24, |today| match today {
            1..=12 => vec![(today - 1, 12.0)],
            // The bill of a week is restated: it was used after all.
            13 => (4..12).map(|day| (day, -12.0)).collect(),
            _ => Vec::new(),
        });
        let states: Vec<(AlertState, Severity)> = alerts.iter().map(|alert| (alert.state, alert.severity)).collect();
        let (open, told, over) = (&alerts[0], &alerts[1], alerts.last().unwrap());
        assert_eq!(states[0], (AlertState::Open, Severity::Info), "{states:?}");
        assert_eq!(states[1], (AlertState::Escalated, Severity::Warning), "{states:?}");
        assert_eq!((alerts.len(), over.state), (3, AlertState::Resolved), "{states:?}");
        assert!(alerts.iter().all(|alert| alert.id == open.id && alert.measure == Measure::Billed && alert.currency == Currency::USD));
        assert!(
            open.summary.contains("aws Amazon EC2 that it does not use: 60.00 USD on 5 of 7 days, 260.71 USD a month"),
            "{}",
            open.summary
        );
        assert!(told.burn_rate_per_hour > Nanos::ZERO && over.burn_rate_per_hour == Nanos::ZERO, "{}", over.summary);
    }

    /// What is used has other lines on the bill, and none of those.
    #[test]
    fn a_commitment_that_is_used_again_is_told_as_that() {
        let alerts = play_with(30, |today| match today {
            1..=8 => vec![(today - 1, 12.0, UNUSED_COMMITMENT)],
            9..=29 => vec![(today - 1, 20.0, "")],
            _ => Vec::new(),
        });
        let over = alerts.last().unwrap();
        assert_eq!(over.state, AlertState::Resolved);
        let days = (over.detected_at.0 - alerts[0].detected_at.0) / DAY_MS;
        assert!(days <= 7, "{days} days: {}", over.summary);
    }

    /// It has expired, or its account is closed: nothing else of it is on the bill, so that nobody knows that it is used.
    #[test]
    fn a_commitment_that_leaves_the_bill_ends_and_is_not_said_to_be_used() {
        let alerts = play(60, |today| if (1..=8).contains(&today) { vec![(today - 1, 12.0)] } else { Vec::new() });
        let (open, over) = (&alerts[0], alerts.last().unwrap());
        assert_eq!((over.state, &over.id), (AlertState::Resolved, &open.id), "{}", over.summary);
        assert!(over.summary.contains("the bill says nothing of") && !over.summary.contains("used again"), "{}", over.summary);
        let days = (over.decided_at.0 - START.start().0) / DAY_MS;
        assert!((42..=45).contains(&days), "{days} days");
        assert_eq!(alerts.iter().filter(|alert| alert.state == AlertState::Resolved).count(), 1);
    }

    /// Next year's fee stands on the bill already.
    #[test]
    fn what_is_billed_in_advance_says_nothing_of_the_days_before_it() {
        let alerts = play_with(24, |today| match today {
            9 => vec![(8, 12.0, UNUSED_COMMITMENT), (365, 900.0, ""), (366, 5.0, UNUSED_COMMITMENT)],
            1.. => vec![(today - 1, 12.0, UNUSED_COMMITMENT)],
            _ => Vec::new(),
        });
        let told: Vec<(AlertState, Severity)> = alerts.iter().map(|alert| (alert.state, alert.severity)).collect();
        assert_eq!(told, [(AlertState::Open, Severity::Info), (AlertState::Escalated, Severity::Warning)]);
    }

    #[test]
    fn a_weekend_a_day_and_what_is_not_worth_it_are_never_told() {
        // Two days of seven; one day that cost much; cents every day; a status that comes and is corrected on the same day.
        assert_eq!(play(30, |today| if today % 7 < 2 { vec![(today - 1, 50.0)] } else { Vec::new() }), Vec::new());
        assert_eq!(play(30, |today| if today == 9 { vec![(8, 5_000.0)] } else { Vec::new() }), Vec::new());
        assert_eq!(play(30, |today| vec![(today - 1, 0.2)]), Vec::new());
        assert_eq!(play(30, |today| vec![(today - 1, 12.0), (today - 1, -12.0)]), Vec::new());
    }
}
