//! What was told ends when nobody wants to know of it any more: its part of the config is switched off.

use std::sync::Arc;

use super::matter::{self, Matter, Story};
use super::missing::apart;
use super::{MatterKey, waste};
use crate::model::alert::{AlertKind, AlertState, NOT_CONFIGURED, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::Nanos;
use crate::model::time::{Hour, Timestamp};
use crate::watch::Moment;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// All teams are done with an hour.
pub(super) fn end(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    waste::end_unwanted_sizes(shard, hour, rules, effects);
    waste::commitment::end_unwanted(shard, hour, rules, effects);
    let (has_waste, has_missing) = (rules.matters.waste.is_some(), rules.matters.missing.is_some());
    if has_waste && has_missing {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let part = |kind: AlertKind| match kind {
        kind if kind.is_waste() => Some("[waste]").filter(|_| !has_waste),
        kind if kind.is_missing() => Some("[missing_money]").filter(|_| !has_missing),
        _ => None,
    };
    shard.matters.each(|matter| {
        let Some(part) = part(matter.kind).filter(|_| matter.is_open()) else { return false };
        let story = last_word(matter, part, hour.end(), moment);
        let team = matter.team().to_string();
        matter::end_of(matter, &team, AlertState::Resolved, hour.end(), story, moment, effects);
        true
    });
    if !has_missing {
        apart::end_all(&mut shard.matters);
        // They are counted from their beginning, should anybody want to know again.
        let gaps = std::mem::take(&mut shard.matters.gaps);
        shard.matters.changed.extend(gaps.into_keys().map(|(account, leaf)| MatterKey::Gap(account, leaf)));
        let unpriced = std::mem::take(&mut shard.matters.unpriced);
        shard.matters.changed.extend(unpriced.into_keys().map(|(account, provider, model)| MatterKey::Unpriced(account, provider, model)));
    }
}

pub(super) fn last_word(matter: &Matter, part: &str, at: Timestamp, moment: Moment<'_>) -> Story {
    let why = format!("this is not looked at any more, {part} is off in the config, so that its alert ends");
    Story { normal: NOT_CONFIGURED.to_string(), ..given_up(matter, &why, at, moment) }
}

/// Of what ends although nobody knows that it is over.
pub(super) fn given_up(matter: &Matter, why: &str, at: Timestamp, moment: Moment<'_>) -> Story {
    let told = matter.story.as_deref().cloned().unwrap_or_else(|| unknown(matter, moment));
    let before = if told.summary.is_empty() { String::new() } else { format!(". When last known: {}", told.summary) };
    Story {
        event_time: at.max(told.event_time),
        ingest_time: moment.shard_time,
        score: 0.0,
        summary: format!("{why}{before}"),
        causes: Vec::new(),
        ..told
    }
}

/// Of a matter that an earlier version told, which kept no story: what is known of it.
pub(super) fn unknown(matter: &Matter, moment: Moment<'_>) -> Story {
    Story {
        kind: matter.kind,
        severity: matter.severity,
        onset: matter.onset,
        dimensions: std::collections::BTreeMap::new(),
        measure: Measure::Estimated,
        currency: moment.rules.reporting_currency,
        event_time: matter.opened_at,
        ingest_time: moment.shard_time,
        actual: matter.told_excess,
        expected: Nanos::ZERO,
        excess: matter.told_excess,
        burn_rate: Nanos::ZERO,
        score: 0.0,
        stage: Stage::FirstDay,
        normal: String::new(),
        summary: String::new(),
        causes: Vec::new(),
        next_steps: Vec::new(),
        history: Vec::new(),
    }
}
