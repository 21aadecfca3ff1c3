//! Budgets that are no longer in the config, or are another team's by now: their alert ends, and says why. What a budget is about is kept
//! beside it, since nobody else remembers; above all whose money its days are.
//!
//! A team's alerts and days stay the team's: where a budget goes to another team, they are set aside, and found again if it comes back, so
//! that no revision of an alert is ever used twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::matter::{self, Matter, Story};
use super::super::rules::BudgetRule;
use super::super::unwanted::given_up;
use super::super::{MatterKey, Matters};
use super::{Budget, KEPT_DAYS};
use crate::model::Text;
use crate::model::alert::{AlertKind, AlertState, NOT_CONFIGURED, Severity, Stage, moved_to};
use crate::model::effect::Effect;
use crate::model::hash::shard_of;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::time::{DAY_MS, Hour};
use crate::watch::Moment;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// What a budget was about when it was last counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub team: Text,
    pub project: Option<Text>,
    pub model: Option<Text>,
    pub measure: Measure,
    pub currency: Currency,
    pub amount: Nanos,
    /// Last: what earlier versions wrote ends before it.
    pub cost_center: Option<Text>,
}

impl Subject {
    fn of(rule: &BudgetRule) -> Subject {
        let BudgetRule { team, cost_center, project, model, measure, currency, amount, .. } = rule.clone();
        Subject { team, project, model, measure, currency, amount, cost_center }
    }

    /// Whether what it counts is what a rule counts, whoever is told, and of how much.
    fn counts_same(&self, rule: &BudgetRule) -> bool {
        (&self.project, &self.model, &self.cost_center) == (&rule.project, &rule.model, &rule.cost_center)
            && (self.measure, self.currency) == (rule.measure, rule.currency)
    }

    /// Of an alert that an earlier version opened, which did not write it down: what is known of it.
    fn guessed(matter: &Matter, rules: &WatchRules) -> Subject {
        let team = matter.team();
        let (measure, currency) = (Measure::Estimated, rules.reporting_currency);
        Subject { team: team.into(), project: None, model: None, measure, currency, amount: Nanos::ZERO, cost_center: None }
    }
}

/// Notes what a budget is about.
pub(super) fn remember(matters: &mut Matters, rule: &BudgetRule) {
    let subject = Subject::of(rule);
    if matters.budgets.contains_key(&rule.name) && matters.subjects.get(&rule.name) != Some(&subject) {
        matters.subjects.insert(rule.name.clone(), subject);
        matters.changed.insert(MatterKey::BudgetSubject(rule.name.clone()));
    }
}

/// It has a larger amount than when it was last counted.
pub(super) fn is_raised(matters: &Matters, rule: &BudgetRule) -> bool {
    let known = matters.subjects.get(&rule.name).filter(|subject| (&subject.team, subject.currency) == (&rule.team, rule.currency));
    known.is_some_and(|subject| subject.amount < rule.amount)
}

/// Whose money is counted; unknown of a budget that an earlier version counted and never told of.
fn owner(matters: &Matters, name: &Text) -> Option<Text> {
    let matter = matters.budgets.get(name).and_then(|budget| budget.matter.as_ref());
    let told = matter.and_then(|matter| matter.id.rsplit_once('/')).map(|(team, _)| team.into());
    told.or_else(|| matters.subjects.get(name).map(|subject| subject.team.clone()))
}

/// Makes sure that what stands under a budget's name is of its team's money: what is another team's ends and is set aside, what was set
/// aside of this team goes on. What counts something else by now begins anew.
///
/// A cost centre's days are nobody's: they go on with whoever is told of it now, if `is_home`, this shard keeps that team's budgets.
pub(super) fn hand_over(matters: &mut Matters, rule: &BudgetRule, is_home: bool, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    if matters.subjects.get(&rule.name).is_some_and(|subject| subject.team == rule.team && !subject.counts_same(rule)) {
        begin_anew(matters, rule, moment, effects);
    }
    let mut carried = None;
    if let Some(team) = owner(matters, &rule.name).filter(|team| *team != rule.team) {
        let is_same = matters.subjects.get(&rule.name).is_some_and(|subject| rule.cost_center.is_some() && subject.counts_same(rule));
        let why = Why::Moved(&rule.team);
        end(matters, &rule.name, why, moment, effects);
        if let Some(budget) = matters.budgets.remove(&rule.name) {
            carried = (is_same && is_home).then(|| budget.clone());
            matters.former_budgets.insert((team.clone(), rule.name.clone()), budget);
        }
        matters.subjects.remove(&rule.name);
        matters.changed.insert(MatterKey::Budget(rule.name.clone()));
        matters.changed.insert(MatterKey::BudgetSubject(rule.name.clone()));
        matters.changed.insert(MatterKey::FormerBudget(team, rule.name.clone()));
    }
    let place = (rule.team.clone(), rule.name.clone());
    if !matters.budgets.contains_key(&rule.name)
        && let Some(budget) = matters.former_budgets.remove(&place)
    {
        matters.budgets.insert(rule.name.clone(), budget);
        matters.changed.insert(MatterKey::Budget(rule.name.clone()));
        matters.changed.insert(MatterKey::FormerBudget(place.0, place.1));
    }
    if let Some(Budget { days, fees, hours, last_event_time, last_ingest_time, .. }) = carried {
        let own = matters.budgets.entry(rule.name.clone()).or_default();
        (own.days, own.fees) = (days, fees);
        (own.hours, own.last_event_time, own.last_ingest_time) = (hours, last_event_time, last_ingest_time);
        matters.changed.insert(MatterKey::Budget(rule.name.clone()));
    }
}

/// Days of other money are none of it. Its alert's revisions are: within a month it comes back under its id.
fn begin_anew(matters: &mut Matters, rule: &BudgetRule, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    end(matters, &rule.name, Why::Changed, moment, effects);
    if let Some(budget) = matters.budgets.get_mut(&rule.name) {
        (budget.days, budget.fees, budget.hours) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        (budget.told, budget.past) = (Vec::new(), None);
        (budget.told_forecast, budget.told_pace) = (false, false);
        matters.changed.insert(MatterKey::Budget(rule.name.clone()));
    }
    remember(matters, rule);
}

/// Ends the alerts of budgets that are not in the config, or are another team's by now.
pub(crate) fn end_removed(shard: &mut Shard, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let (number, count) = (shard.header.shard, shard.header.shard_count);
    for rule in &rules.matters.budgets {
        hand_over(&mut shard.matters, rule, shard_of(&rule.team, count) == number, moment, effects);
    }
    let is_removed = |name: &&Text| !rules.matters.budgets.iter().any(|rule| rule.name == **name);
    let removed: Vec<Text> = shard.matters.budgets.keys().filter(is_removed).cloned().collect();
    for name in removed {
        end(&mut shard.matters, &name, Why::Removed, moment, effects);
    }
}

#[derive(Clone, Copy)]
enum Why<'a> {
    Removed,
    /// To this team.
    Moved(&'a str),
    /// It counts other money.
    Changed,
}

/// Ends a budget's alert, if it is open. Whoever writes the budget into the config again is told again.
fn end(matters: &mut Matters, name: &Text, why: Why<'_>, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Some(budget) = matters.budgets.get_mut(name) else { return };
    let past = budget.past.as_mut().and_then(|past| past.matter.as_mut());
    if let Some(past) = past.filter(|past| past.is_open()) {
        let (team, at) = (past.team().to_string(), budget.last_event_time);
        let story = given_up(past, "this month is over, and so is its alert", at, moment);
        matter::end_of(past, &team, AlertState::Resolved, at, story, moment, effects);
        matters.changed.insert(MatterKey::Budget(name.clone()));
    }
    let Some(matter) = budget.matter.as_ref().filter(|matter| matter.is_open()) else { return };
    let guessed = Subject::guessed(matter, moment.rules);
    let team = guessed.team.clone();
    let subject = matters.subjects.get(name).filter(|subject| subject.team == team).cloned().unwrap_or(guessed);
    let (story, at) = (story(name, why, budget, matter, &subject, moment), budget.last_event_time);
    matter::end(&mut budget.matter, &team, AlertState::Resolved, at, story, moment, effects);
    budget.told.clear();
    (budget.told_forecast, budget.told_pace) = (false, false);
    matters.changed.insert(MatterKey::Budget(name.clone()));
}

fn story(name: &Text, why: Why<'_>, budget: &Budget, matter: &Matter, subject: &Subject, moment: Moment<'_>) -> Story {
    let cost_center = subject.cost_center.as_ref();
    let named =
        [("budget", Some(name)), ("cost_center", cost_center), ("project", subject.project.as_ref()), ("model", subject.model.as_ref())];
    let dimensions: BTreeMap<String, String> =
        named.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?.to_string()))).collect();
    let spent = subject.amount.saturating_add(matter.told_excess);
    let of = match subject.amount {
        Nanos::ZERO => String::new(),
        amount => format!(": {} of {} {} were spent when it was last told of", spent.rounded(2), amount.rounded(2), subject.currency),
    };
    let (normal, is_why) = match why {
        Why::Removed => (NOT_CONFIGURED.to_string(), "is no longer in the config".to_string()),
        Why::Changed => (NOT_CONFIGURED.to_string(), "counts something else by now than it did".to_string()),
        Why::Moved(other) => (moved_to(other), format!("is no longer team {}'s but team {other}'s", subject.team)),
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
        normal,
        summary: format!("budget '{name}' {is_why}, so that its alert ends{of}"),
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
        if let Some(budget) = matters.budgets.get_mut(&name).filter(|budget| keeps_its_id(budget)) {
            if !budget.days.is_empty() {
                (budget.days, budget.fees, budget.hours) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
                matters.changed.insert(MatterKey::Budget(name));
            }
            continue;
        }
        matters.budgets.remove(&name);
        matters.subjects.remove(&name);
        matters.changed.insert(MatterKey::BudgetSubject(name.clone()));
        matters.changed.insert(MatterKey::Budget(name));
    }
    let former = matters.former_budgets.iter().filter(|(_, budget)| budget.last_event_time < oldest && !keeps_its_id(budget));
    let old: Vec<(Text, Text)> = former.map(|(place, _)| place.clone()).collect();
    for place in old {
        matters.former_budgets.remove(&place);
        matters.changed.insert(MatterKey::FormerBudget(place.0, place.1));
    }
}

/// What was told of so many days may come again under its id, which a month never does: no revision is to be used twice.
fn keeps_its_id(budget: &Budget) -> bool {
    budget.matter.is_some() && budget.period == 0
}
