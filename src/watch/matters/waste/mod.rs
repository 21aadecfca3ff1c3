//! Waste: resources that cost money and that nobody uses. Idle, forgotten (never used, or not for long), orphaned (and its owner is gone).
//!
//! A resource is idle while every sample says so, by its *peak*: one sample above the bound is use, and what is used at all is never
//! told. A sample that lacks what would have to be known says nothing either way: too many of them, and the resource is undetermined,
//! which is counted and never told. What a resource does every night or weekend is its habit: once it is known for a week, a pause has to
//! be longer than any so far.
//!
//! What is used and larger than it has to be is told by `size`.
//!
//! The first word marks it, after a grace it is escalated, and one sample of use takes it back, as does all else by which it would not be
//! told: a price that is too little, an owner, a longer window. That nobody can say it any more does after a day.

pub mod commitment;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod owner_tests;
mod resource;
mod size;
#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::resource::Resource;
use self::resource::{Finding, Sampled};
pub use self::size::Size;
pub(crate) use self::size::Sizes;
use super::MatterKey;
use super::matter::{self, Matter, Story};
use super::rules::WasteRules;
use crate::model::Text;
use crate::model::access::principal;
use crate::model::activity::ActivityEvent;
use crate::model::alert::{AlertKind, AlertState, Cause, Severity, Stage};
use crate::model::effect::Effect;
use crate::model::leaf::Measure;
use crate::model::money::Nanos;
use crate::model::resource::ResourceSample;
use crate::model::time::{DAY_MS, HOUR_MS, Hour, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::{Moment, judge};

/// Hours that a month is billed with: a twelfth of a year.
const HOURS_PER_MONTH: i128 = 730;
/// A resource without a sample for so long is not kept any more.
const FORGET_AFTER_MS: i64 = 35 * DAY_MS;
/// How strange it is, for routes and lists: one sign alone is never sure.
const SURE: f64 = 0.95;
const LIKELY: f64 = 0.8;

/// How many resources a shard knows, and of how many nothing can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCount {
    pub known: usize,
    pub undetermined: usize,
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Used,
    /// It was used meanwhile, as is heard of late.
    UsedLately,
    Free,
    Cheap {
        monthly: Nanos,
        least: Nanos,
    },
    Owned,
    /// The config wants a longer pause than it did.
    TooShort,
    /// For a day nobody can say whether it is used.
    Unknown,
    Silent,
}

/// A resource's team and id.
type Name = (Text, Text);

/// Takes one sample.
pub(crate) fn take(shard: &mut Shard, sample: &ResourceSample, rules: &WatchRules, effects: &mut Vec<Effect>) {
    // What has no name cannot be told of; policies still see the sample.
    let (Some(waste), Some(id)) = (&rules.matters.waste, &sample.resource_id) else { return };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    let name = (sample.team.clone(), id.clone());
    if !matters.resources.contains_key(&name) {
        let of_team = matters.resources.range((name.0.clone(), Text::from(""))..).take_while(|((team, _), _)| *team == name.0);
        if of_team.take(waste.resources_per_team).count() >= waste.resources_per_team {
            matters.capped = matters.capped.saturating_add(1);
            return;
        }
    }
    let fresh = || Resource::new(sample, rules.reporting_currency);
    let resource = matters.resources.entry(name.clone()).or_insert_with(fresh);
    let Some(class) = waste.class(sample.resource_type.as_deref().unwrap_or(&resource.resource_type)) else { return };
    let owner = resource.owner.clone();
    let sampled = resource.take(sample, class);
    // Who is first named after having left.
    if let Some(who) = resource.owner.clone().filter(|who| owner.as_ref() != Some(who))
        && let Some(left) = matters.access.left(&who)
    {
        resource.lose_owner(&who, left);
    }
    judge_resource(resource, &name, sampled, waste, moment, effects);
    if size::take(&mut matters.sizes, resource, &name, (sample, sampled), class, waste, moment, effects) {
        matters.changed.insert(MatterKey::Size(name.0.clone(), name.1.clone()));
    }
    matters.changed.insert(MatterKey::Resource(name.0, name.1));
}

/// Somebody has left, whatever team says so: what they own has no owner any more, until they are granted something and so are back.
pub(crate) fn take_departure(shard: &mut Shard, activity: &ActivityEvent, rules: &WatchRules) {
    let change = match activity.action.as_deref() {
        Some("offboarded") => Resource::lose_owner,
        Some("grant") => Resource::regain_owner,
        _ => return,
    };
    let (Some(who), true) = (principal(activity), rules.matters.waste.is_some()) else { return };
    let matters = &mut shard.matters;
    for (name, resource) in &mut matters.resources {
        if change(resource, who, activity.event_time) {
            matters.changed.insert(MatterKey::Resource(name.0.clone(), name.1.clone()));
        }
    }
}

fn judge_resource(
    resource: &mut Resource,
    name: &Name,
    sampled: Sampled,
    waste: &WasteRules,
    moment: Moment<'_>,
    effects: &mut Vec<Effect>,
) {
    let over = match sampled {
        Sampled::Used => Over::Used,
        Sampled::Free => Over::Free,
        // Late use leaves less of a pause.
        Sampled::Idle | Sampled::Unknown | Sampled::Late => match waste_of(resource, waste) {
            Ok(finding) => {
                let story = story(resource, name, &finding, waste, moment);
                let growth = moment.rules.thresholds(&name.0, &resource.project, &resource.environment).update_growth;
                let id: [&[u8]; 3] = [b"resource", name.1.as_bytes(), &resource.first_seen.0.to_be_bytes()];
                matter::tell(&mut resource.matter, &name.0, &id, story, growth, moment, effects);
                return;
            }
            // It may be known again with the next sample.
            Err(Over::Unknown) if resource.last_seen.0.saturating_sub(told_until(resource).0) < DAY_MS => return,
            Err(over) => over,
        },
    };
    if resource.matter.as_ref().is_some_and(Matter::is_open) {
        let (story, at) = (last_word(resource, name, over, moment), resource.last_seen);
        matter::end(&mut resource.matter, &name.0, AlertState::Resolved, at, story, moment, effects);
    }
}

/// What is to be told of a resource that is not used; or why nothing is, or no longer.
fn waste_of(resource: &Resource, waste: &WasteRules) -> Result<Finding, Over> {
    let finding = resource.finding(waste).ok_or(Over::Unknown)?;
    let monthly = monthly(resource.hourly_cost.unwrap_or_default());
    let told = resource.matter.as_ref();
    let was_orphaned = told.is_some_and(|matter| matter.kind == AlertKind::OrphanedResource);
    let began = told.and_then(|matter| matter.story.as_ref()).map_or(finding.since, |story| story.onset);
    match finding.is_due {
        _ if monthly < waste.least_per_month => Err(Over::Cheap { monthly, least: waste.least_per_month }),
        true => Ok(finding),
        false if finding.since > began => Err(Over::UsedLately),
        false if was_orphaned && !finding.is_orphaned => Err(Over::Owned),
        false => Err(Over::TooShort),
    }
}

/// The last sample with which a matter was still the case.
fn told_until(resource: &Resource) -> Timestamp {
    let told = |matter: &Matter| matter.story.as_ref().map_or(matter.opened_at, |story| story.event_time);
    resource.matter.as_ref().map_or(resource.last_seen, told)
}

/// What was told of sizes ends when nobody wants to know of them any more.
pub(crate) fn end_unwanted_sizes(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if rules.matters.waste.as_ref().is_some_and(|waste| waste.oversized.is_some()) {
        return;
    }
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    for name in size::end_all(&mut matters.sizes, &matters.resources, hour.end(), moment, effects) {
        matters.changed.insert(MatterKey::Size(name.0, name.1));
    }
}

/// Resources of which nothing was heard for long: an open alert ends, after weeks they are forgotten.
pub(crate) fn look_for_silence(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(waste) = &rules.matters.waste else { return };
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    let matters = &mut shard.matters;
    let mut forgotten = Vec::new();
    for (name, resource) in &mut matters.resources {
        let silent_ms = hour.end().0.saturating_sub(resource.last_seen.0);
        if silent_ms > FORGET_AFTER_MS {
            forgotten.push(name.clone());
        } else if silent_ms > waste.silent_after_ms && resource.matter.as_ref().is_some_and(|matter| matter.is_open()) {
            let story = Story { event_time: hour.end(), ..last_word(resource, name, Over::Silent, moment) };
            let at = resource.last_seen;
            matter::end(&mut resource.matter, &name.0, AlertState::Resolved, at, story, moment, effects);
            matters.changed.insert(MatterKey::Resource(name.0.clone(), name.1.clone()));
        }
    }
    for name in size::look_for_silence(&mut matters.sizes, &matters.resources, hour, waste, moment, effects) {
        matters.changed.insert(MatterKey::Size(name.0, name.1));
    }
    for name in forgotten {
        matters.resources.remove(&name);
        if matters.sizes.remove(&name).is_some() {
            matters.changed.insert(MatterKey::Size(name.0.clone(), name.1.clone()));
        }
        matters.changed.insert(MatterKey::Resource(name.0, name.1));
    }
}

/// Of one shard, for metrics.
pub(crate) fn count(shard: &Shard, rules: &WatchRules) -> ResourceCount {
    let Some(waste) = &rules.matters.waste else { return ResourceCount::default() };
    let undetermined = shard.matters.resources.values().filter(|resource| resource.is_undetermined(waste));
    ResourceCount { known: shard.matters.resources.len(), undetermined: undetermined.count() }
}

/// What an hour costs, over a month.
fn monthly(hourly: Nanos) -> Nanos {
    hourly.checked_mul_div(HOURS_PER_MONTH, 1).unwrap_or(hourly)
}

fn kind_of(finding: &Finding) -> AlertKind {
    match (finding.is_orphaned, finding.is_forgotten) {
        (true, _) => AlertKind::OrphanedResource,
        (false, true) => AlertKind::ForgottenResource,
        (false, false) => AlertKind::IdleResource,
    }
}

/// What is dear and sure is critical once the grace has passed; what is neither is only noted at first.
fn severity(resource: &Resource, finding: &Finding, waste: &WasteRules) -> Severity {
    let told = resource.matter.as_ref().filter(|matter| matter.is_open());
    let is_past_grace = told.is_some_and(|matter| resource.last_seen.0 - matter.opened_at.0 >= waste.grace_ms);
    let is_dear = monthly(resource.hourly_cost.unwrap_or_default()) >= waste.critical_per_month;
    match (is_past_grace, is_dear, finding.is_sure()) {
        (true, true, true) => Severity::Critical,
        (false, false, false) => Severity::Info,
        _ => Severity::Warning,
    }
}

fn dimensions(resource: &Resource, id: &str) -> BTreeMap<String, String> {
    let named = [
        ("resource_id", id),
        ("resource_type", &resource.resource_type),
        ("project", &resource.project),
        ("provider", &resource.provider),
        ("region", &resource.region),
        ("environment", &resource.environment),
        ("owner", resource.owner.as_deref().unwrap_or_default()),
    ];
    named.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn story(resource: &Resource, name: &Name, finding: &Finding, waste: &WasteRules, moment: Moment<'_>) -> Story {
    let hourly = resource.hourly_cost.unwrap_or_default();
    let zone = judge::zone_of(moment.rules, &name.0);
    let dimensions = dimensions(resource, &name.1);
    Story {
        kind: kind_of(finding),
        severity: severity(resource, finding, waste),
        onset: finding.since,
        causes: vec![Cause { dimensions: dimensions.clone(), actual: finding.cost, expected: Nanos::ZERO, share: 1.0 }],
        dimensions,
        measure: Measure::Estimated,
        currency: resource.currency,
        event_time: resource.last_seen,
        ingest_time: moment.shard_time,
        actual: finding.cost,
        expected: Nanos::ZERO,
        excess: finding.cost,
        burn_rate: hourly,
        score: if finding.is_sure() { SURE } else { LIKELY },
        stage: stage(resource),
        normal: words::before(resource, finding, &zone),
        summary: words::summary(resource, &name.1, finding, monthly(hourly), &zone),
        next_steps: words::next_steps(resource, finding),
        history: Vec::new(),
    }
}

/// The last word on a matter.
fn last_word(resource: &Resource, name: &Name, over: Over, moment: Moment<'_>) -> Story {
    let told = resource.matter.as_ref();
    let zone = judge::zone_of(moment.rules, &name.0);
    let cost = resource.wasted.max(told.map_or(Nanos::ZERO, |matter| matter.told_excess));
    Story {
        kind: told.map_or(AlertKind::IdleResource, |matter| matter.kind),
        severity: Severity::Info,
        onset: told.map_or(resource.last_seen, |matter| matter.onset),
        dimensions: dimensions(resource, &name.1),
        measure: Measure::Estimated,
        currency: resource.currency,
        event_time: resource.last_seen,
        ingest_time: moment.shard_time,
        actual: cost,
        expected: Nanos::ZERO,
        excess: cost,
        burn_rate: Nanos::ZERO,
        score: 0.0,
        stage: stage(resource),
        normal: String::new(),
        summary: words::over(resource, &name.1, over, cost, &zone),
        causes: Vec::new(),
        next_steps: Vec::new(),
        history: Vec::new(),
    }
}

/// How long a resource is known.
fn stage(resource: &Resource) -> Stage {
    match resource.known_ms() {
        known if known < 3 * HOUR_MS => Stage::New,
        known if known < DAY_MS => Stage::FirstDay,
        known if known < 14 * DAY_MS => Stage::FirstWeeks,
        _ => Stage::Seasoned,
    }
}
