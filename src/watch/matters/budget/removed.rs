//! Budgets that are no longer in the config: their alert ends, and says why. What such a budget was about is kept while it is told, since
//! nobody else remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::BudgetRule;
use super::super::{MatterKey, Matters};
use super::{Budget, KEPT_DAYS};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::time::{DAY_MS, Hour};
use crate::watch::Moment;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// What a budget was about when its alert was last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub team: Text,
    pub project: Option<Text>,
    pub model: Option<Text>,
    pub measure: Measure,
    pub currency: Currency,
    pub amount: Nanos,
}

impl Subject {
    fn of(rule: &BudgetRule) -> Subject {
        let BudgetRule { team, project, model, measure, currency, amount, .. } = rule.clone();
        Subject { team, project, model, measure, currency, amount }
    }

    /// Of an alert that an earlier version opened, which did not write it down: what is known of it.
    fn guessed(matter: &Matter, rules: &WatchRules) -> Subject {
        let team = matter.id.rsplit_once('/').map_or("", |(team, _)| team);
        let (measure, currency) = (Measure::Estimated, rules.reporting_currency);
        Subject { team: team.into(), project: None, model: None, measure, currency, amount: Nanos::ZERO }
    }
}

/// Notes what a budget with an open alert is about.
pub(super) fn remember(matters: &mut Matters, rule: &BudgetRule) {
    let is_open = matters.budgets.get(&rule.name).and_then(|budget| budget.matter.as_ref()).is_some_and(Matter::is_open);
    let subject = Subject::of(rule);
    if is_open && matters.subjects.get(&rule.name) != Some(&subject) {
        matters.subjects.insert(rule.name.clone(), subject);
        matters.changed.insert(MatterKey::BudgetSubject(rule.name.clone()));
    } else if !is_open && matters.subjects.remove(&rule.name).is_some() {
        matters.changed.insert(MatterKey::BudgetSubject(rule.name.clone()));
    }
}

fn is_in(rules: &WatchRules, name: &Text, matter: &Matter) -> bool {
    let team = matter.id.rsplit_once('/').map(|(team, _)| team);
    rules.matters.budgets.iter().any(|rule| rule.name == *name && Some(&*rule.team) == team)
}

/// Ends the alerts of budgets that are not in the config, or are another team's by now.
pub(crate) fn end_removed(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    for (name, budget) in &mut matters.budgets {
        let Some(matter) = budget.matter.as_ref().filter(|matter| matter.is_open() && !is_in(rules, name, matter)) else { continue };
        let subject = matters.subjects.remove(name).unwrap_or_else(|| Subject::guessed(matter, rules));
        let (story, at) = (story(name, budget, matter, &subject, moment), budget.last_event_time);
        matter::end(&mut budget.matter, &subject.team, AlertState::Resolved, at, story, moment, effects);
        // Whoever writes it into the config again is told again.
        budget.told.clear();
        (budget.told_forecast, budget.told_pace) = (false, false);
        matters.changed.insert(MatterKey::Budget(name.clone()));
        matters.changed.insert(MatterKey::BudgetSubject(name.clone()));
    }
}

fn story(name: &Text, budget: &Budget, matter: &Matter, subject: &Subject, moment: Moment<'_>) -> Story {
    let named = [("budget", Some(name)), ("project", subject.project.as_ref()), ("model", subject.model.as_ref())];
    let dimensions: BTreeMap<String, String> =
        named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?.to_string()))).collect();
    let spent = subject.amount.saturating_add(matter.told_excess);
    let of = match subject.amount {
        Nanos::ZERO => String::new(),
        amount => format!(": {} of {} {} were spent when it was last told of", spent.rounded(2), amount.rounded(2), subject.currency),
    };
    Story {
        kind: AlertKind::Budget,
        severity: Severity::Info,
        onset: matter.onset,
        dimensions,
        measure: subject.measure,
        currency: subject.currency,
        event_time: budget.last_event_time,
        ingest_time: moment.shard_time,
        actual: spent,
        expected: subject.amount,
        excess: matter.told_excess,
        burn_rate: Nanos::ZERO,
        score: 0.0,
        stage: Stage::FirstWeeks,
        normal: "it is no longer in the config".to_string(),
        summary: format!("budget '{name}' is no longer in the config, so that its alert ends{of}"),
        causes: Vec::new(),
        next_steps: Vec::new(),
        history: Vec::new(),
    }
}

/// What no budget counts any more is kept for as long as the days of a budget are.
pub(super) fn forget(shard: &mut Shard, hour: Hour, rules: &WatchRules) {
    let matters = &mut shard.matters;
    let oldest = hour.start().minus_ms(KEPT_DAYS * DAY_MS);
    let is_old =
        |name: &Text, budget: &Budget| budget.last_event_time < oldest && !rules.matters.budgets.iter().any(|rule| rule.name == *name);
    let old: Vec<Text> = matters.budgets.iter().filter(|(name, budget)| is_old(name, budget)).map(|(name, _)| name.clone()).collect();
    for name in old {
        matters.budgets.remove(&name);
        matters.changed.insert(MatterKey::Budget(name));
    }
}
