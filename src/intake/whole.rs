//! Events that travel on whole: resource samples, activity and feedback. Decode, validate, attribute; the shard of the team judges them.
//! Stateless: what is behind knows which event it has seen.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::attribute::attribute;
use super::cells::{alert_id, amount, count, currency, event_time, map, moment, name, number, required, shared, text};
use super::decode::table::{self, Cell, Cells, Kind, Table, WriterSchemas};
use super::decode::{Stop, short};
use super::latest;
use super::rules::IntakeRules;
use crate::model::Text;
use crate::model::activity::{ACTIONS, ActivityEvent};
use crate::model::feedback::{Feedback, Verdict};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::ShardEvent;
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::resource::ResourceSample;
use crate::model::time::Timestamp;
use crate::model::usage::{Tokens, UsageEvent};

/// Whose events travel whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Resources,
    Activity,
    Feedback,
}

impl Topic {
    pub fn table(self) -> &'static Table {
        match self {
            Topic::Resources => &RESOURCES,
            Topic::Activity => &ACTIVITY,
            Topic::Feedback => &FEEDBACK,
        }
    }
}

const RESOURCES: Table = Table {
    what: "a resource sample",
    fields: &[
        ("event_id", Kind::Text),
        ("source", Kind::Text),
        ("event_time", Kind::Time),
        ("resource_id", Kind::Text),
        ("resource_type", Kind::Text),
        ("state", Kind::Text),
        ("team", Kind::Text),
        ("project", Kind::Text),
        ("provider", Kind::Text),
        ("region", Kind::Text),
        ("environment", Kind::Text),
        ("hourly_cost", Kind::Text),
        ("currency", Kind::Text),
        ("capacity", Kind::Number),
        ("utilization", Kind::Number),
        ("requests", Kind::Whole),
        ("owner", Kind::Text),
        ("tags", Kind::Map),
    ],
};

const ACTIVITY: Table = Table {
    what: "an activity event",
    fields: &[
        ("event_id", Kind::Text),
        ("source", Kind::Text),
        ("event_time", Kind::Time),
        ("action", Kind::Text),
        ("actor", Kind::Text),
        ("team", Kind::Text),
        ("model", Kind::Text),
        ("model_version", Kind::Text),
        ("dataset", Kind::Text),
        ("resource_id", Kind::Text),
        ("provider", Kind::Text),
        ("region", Kind::Text),
        ("origin_region", Kind::Text),
        ("environment", Kind::Text),
        ("principal_type", Kind::Text),
        ("role", Kind::Text),
        ("expires_at", Kind::Time),
        ("destination", Kind::Text),
        ("metric", Kind::Text),
        ("value", Kind::Number),
        ("samples", Kind::Whole),
        ("approval", Kind::Text),
        ("tags", Kind::Map),
    ],
};

const FEEDBACK: Table = Table {
    what: "feedback",
    fields: &[
        ("event_id", Kind::Text),
        ("source", Kind::Text),
        ("event_time", Kind::Time),
        ("actor", Kind::Text),
        ("alert_id", Kind::Text),
        ("team", Kind::Text),
        ("dimensions", Kind::Map),
        ("verdict", Kind::Text),
        ("from", Kind::Time),
        ("until", Kind::Time),
        ("note", Kind::Text),
    ],
};

/// What bursts for a while uses more than it has; nothing uses twice as much.
const MOST_UTILIZATION: f64 = 2.0;

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum WholeOutcome {
    /// To the shard of its team.
    Accepted(ShardEvent),
    /// To dead-letter.
    Rejected(Reject),
    /// Nothing has happened: look up this writer schema, then hand in the record again.
    NeedsSchema(u32),
}

/// One record of a topic whose events travel whole. `schemas` are those of the same topic.
pub fn process(topic: Topic, record: &InputRecord<'_>, now: Timestamp, rules: &IntakeRules, schemas: &WriterSchemas) -> WholeOutcome {
    let accepted = table::decode(record, rules.largest_record, schemas).and_then(|mut cells| {
        let end = latest(record, Some(now), rules);
        Ok(match topic {
            Topic::Resources => ShardEvent::Resource(Box::new(resource(&mut cells, end, rules)?)),
            Topic::Activity => ShardEvent::Activity(Box::new(activity(&mut cells, end, rules)?)),
            Topic::Feedback => ShardEvent::Feedback(Box::new(feedback(&mut cells, end)?)),
        })
    });
    match accepted {
        Ok(event) => WholeOutcome::Accepted(event),
        Err(Stop::Reject(reject)) => WholeOutcome::Rejected(reject),
        Err(Stop::NeedsSchema(id)) => WholeOutcome::NeedsSchema(id),
    }
}

/// What every event has.
struct Head {
    event_id: Text,
    source: Text,
    event_time: Timestamp,
}

fn head(cells: &mut Cells<'_>, end: Timestamp) -> Result<Head, Reject> {
    let mut needed = |field: &str| -> Result<Text, Reject> {
        let value = cells.take(field);
        required(field, if let Cell::Text(text) = &value { Some(text) } else { None }).map(Text::from)
    };
    let (event_id, source) = (needed("event_id")?, needed("source")?);
    Ok(Head { event_id, source, event_time: event_time(&cells.take("event_time"), end)? })
}

fn resource(cells: &mut Cells<'_>, end: Timestamp, rules: &IntakeRules) -> Result<ResourceSample, Reject> {
    let Head { event_id, source, event_time } = head(cells, end)?;
    let project = shared(cells, "project")?;
    let owner = shared(cells, "owner")?;
    let tags = map(cells, "tags")?;
    let team = who_pays(name(cells, "team")?, &source, project.as_deref(), owner.as_deref(), &tags, rules);
    let (hourly_cost, currency) = (amount(cells, "hourly_cost")?, currency(cells, "currency")?);
    let (hourly_cost, currency) = converted(hourly_cost, currency, event_time, rules);
    Ok(ResourceSample {
        event_id,
        source,
        event_time,
        resource_id: shared(cells, "resource_id")?,
        resource_type: shared(cells, "resource_type")?,
        state: shared(cells, "state")?,
        team,
        project,
        provider: shared(cells, "provider")?,
        region: shared(cells, "region")?,
        environment: shared(cells, "environment")?,
        hourly_cost,
        currency,
        capacity: number(cells, "capacity", false)?,
        utilization: utilization(cells)?,
        requests: count(cells, "requests")?,
        owner,
        tags,
    })
}

/// A part of one: what is written in percent, or as a sum of several processors, would make an idle resource look used.
fn utilization(cells: &mut Cells<'_>) -> Result<Option<f64>, Reject> {
    match number(cells, "utilization", false)? {
        Some(used) if used > MOST_UTILIZATION => {
            let message = format!("'utilization' is {used}, expected a part of capacity from 0 to 1: divide percent by 100");
            Err(Reject::new(RejectReason::OutOfRange, message))
        }
        used => Ok(used),
    }
}

/// In the currency that all is counted in; as it was where there is no rate.
fn converted(cost: Option<Nanos>, currency: Option<Currency>, at: Timestamp, rules: &IntakeRules) -> (Option<Nanos>, Option<Currency>) {
    let own = currency.unwrap_or(rules.reporting_currency);
    match cost.zip(rules.rates.target()).and_then(|(cost, target)| Some((rules.rates.convert(cost, own, at)?, target))) {
        Some((cost, target)) => (Some(cost), Some(target)),
        // A currency without a cost says nothing about what the resource was known to cost, which was converted.
        None if cost.is_none() && rules.rates.target().is_some() => (None, None),
        None => (cost, currency),
    }
}

fn activity(cells: &mut Cells<'_>, end: Timestamp, rules: &IntakeRules) -> Result<ActivityEvent, Reject> {
    let Head { event_id, source, event_time } = head(cells, end)?;
    let actor = shared(cells, "actor")?;
    let tags = map(cells, "tags")?;
    let team = who_pays(name(cells, "team")?, &source, None, actor.as_deref(), &tags, rules);
    Ok(ActivityEvent {
        event_id,
        source,
        event_time,
        action: action(cells)?,
        actor,
        team,
        model: shared(cells, "model")?,
        model_version: shared(cells, "model_version")?,
        dataset: shared(cells, "dataset")?,
        resource_id: shared(cells, "resource_id")?,
        provider: shared(cells, "provider")?,
        region: shared(cells, "region")?,
        origin_region: shared(cells, "origin_region")?,
        environment: shared(cells, "environment")?,
        principal_type: shared(cells, "principal_type")?,
        role: shared(cells, "role")?,
        expires_at: moment("expires_at", &cells.take("expires_at"))?,
        destination: shared(cells, "destination")?,
        metric: shared(cells, "metric")?,
        value: number(cells, "value", true)?,
        samples: count(cells, "samples")?,
        approval: shared(cells, "approval")?,
        tags,
    })
}

/// By its name in whatever letters, as verdicts are.
fn action(cells: &mut Cells<'_>) -> Result<Option<Text>, Reject> {
    let stated = shared(cells, "action")?;
    let known = stated.as_ref().and_then(|stated| ACTIONS.into_iter().find(|action| action.eq_ignore_ascii_case(stated)));
    Ok(known.map(Text::from).or(stated))
}

fn feedback(cells: &mut Cells<'_>, end: Timestamp) -> Result<Feedback, Reject> {
    let Head { event_id, source, event_time } = head(cells, end)?;
    let alert_id = alert_id(cells)?;
    let stated = shared(cells, "team")?;
    // The id of an alert or a violation begins with its team, so that what is said of it finds its shard.
    let named = alert_id.as_ref().and_then(|id| id.rsplit_once('/')).map(|(team, _)| Text::from(team));
    text("team", named.as_deref())?;
    let team = named.or(stated).ok_or_else(|| {
        Reject::new(RejectReason::MissingField, "neither 'alert_id' (team/digits, as alerts have it) nor 'team' says what it is about")
    })?;
    let word = name(cells, "verdict")?.ok_or_else(|| Reject::new(RejectReason::MissingField, "'verdict' is absent or empty"))?;
    let verdict = Verdict::named(&word).ok_or_else(|| {
        let known = Verdict::ALL.map(Verdict::name).join(", ");
        Reject::new(RejectReason::WrongType, format!("'verdict' is '{}', expected one of {known}", short(&word)))
    })?;
    let (from, until) = (moment("from", &cells.take("from"))?, moment("until", &cells.take("until"))?);
    if let Some((from, until)) = from.zip(until).filter(|(from, until)| until <= from) {
        let message = format!("'until' is {until}, not after 'from', {from}: it is over before it begins");
        return Err(Reject::new(RejectReason::InvalidPeriod, message));
    }
    Ok(Feedback {
        event_id,
        source,
        event_time,
        actor: shared(cells, "actor")?,
        alert_id,
        team,
        dimensions: map(cells, "dimensions")?,
        verdict,
        from,
        until,
        note: shared(cells, "note")?,
    })
}

/// As attribution sees usage: the same rules decide, whichever topic it came by.
fn who_pays(
    team: Option<Cow<'_, str>>,
    source: &str,
    project: Option<&str>,
    user: Option<&str>,
    tags: &BTreeMap<Text, Text>,
    rules: &IntakeRules,
) -> Text {
    let usage = UsageEvent {
        event_id: Cow::Borrowed(""),
        source: Cow::Borrowed(source),
        event_time: Timestamp::default(),
        meter: Cow::Borrowed(""),
        team,
        project: project.map(Cow::Borrowed),
        model: None,
        provider: None,
        region: None,
        environment: None,
        user: user.map(Cow::Borrowed),
        account: None,
        resource_id: None,
        quantity: None,
        tokens: Tokens::default(),
        requests: 0,
        cost: None,
        currency: None,
        failed: false,
        tags: tags.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), Cow::Borrowed(value.as_ref()))).collect(),
    };
    attribute(&usage, &rules.attribution).as_ref().into()
}
