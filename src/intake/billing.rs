//! Billing events: decode, validate, attribute. Stateless: the ledger behind it knows which statement of a line counts.

use std::borrow::Cow;

use super::attribute::attribute;
use super::cells::{event_time, required, text};
use super::decode::billing::{self, RawBilling, Row};
use super::decode::table::WriterSchemas;
use super::decode::{MOST_TAGS, Stop, short};
use super::rules::IntakeRules;
use super::validate::{EARLIEST, LONGEST_TEXT, clean};
use super::{latest, stamp};
use crate::model::Text;
use crate::model::billing::{Amounts, BillingLine, CHARGE_METERS, Charge, Completion, LONG_PERIOD, LedgerItem, UNUSED_COMMITMENT};
use crate::model::focus;
use crate::model::hash::hash128;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{AmountError, Currency, Nanos};
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::time::{HOUR_MS, Timestamp};
use crate::model::usage::{Tokens, UsageEvent};

/// Of one line, in units: a trillion is beyond any line of any bill, and leaves room for sums.
const LARGEST_AMOUNT: i128 = 1_000_000_000_000;
const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The day on which clocks are put back.
const LONGEST_DAY_MS: i64 = 25 * HOUR_MS;

/// What became of a record of the billing topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BillingOutcome {
    /// To the ledger log, with the source's period that it belongs to.
    Accepted(Box<Accepted>),
    /// To dead-letter.
    Rejected(Reject),
    /// Nothing has happened: look up this writer schema, then hand in the record again.
    NeedsSchema(u32),
}

/// What the ledger gets of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub source: Text,
    pub period: Text,
    pub item: LedgerItem,
}

/// One record of the billing topic.
pub fn process(record: &InputRecord<'_>, now: Timestamp, rules: &IntakeRules, schemas: &WriterSchemas) -> BillingOutcome {
    let accepted = billing::decode(record, rules.largest_record, schemas).and_then(|raw| {
        let end = latest(record, Some(now), rules);
        Ok(accept(&raw, end, rules)?)
    });
    match accepted {
        Ok((source, period, item)) => BillingOutcome::Accepted(Box::new(Accepted { source, period, item })),
        Err(Stop::Reject(reject)) => BillingOutcome::Rejected(reject),
        Err(Stop::NeedsSchema(id)) => BillingOutcome::NeedsSchema(id),
    }
}

/// When the record came, for delays.
pub fn arrival(record: &InputRecord<'_>, now: Timestamp) -> Timestamp {
    stamp(record).unwrap_or(now)
}

fn accept(raw: &RawBilling<'_>, latest: Timestamp, rules: &IntakeRules) -> Result<(Text, Text, LedgerItem), Reject> {
    let event_id = required("event_id", raw.event_id.as_deref())?;
    let source = required("source", raw.source.as_deref())?;
    let exported = event_time(&raw.event_time, latest)?;
    if raw.revision.is_some_and(|revision| revision < 0) || raw.lines.is_some_and(|lines| lines < 0) {
        return Err(Reject::new(RejectReason::NegativeQuantity, "'revision' or 'lines' is negative"));
    }
    let delivery = text("delivery", raw.delivery.as_deref())?;
    if raw.complete {
        let missing = |field: &str| Reject::new(RejectReason::MissingField, format!("'{field}' is absent, and the event ends a delivery"));
        let completion = Completion {
            delivery: delivery.ok_or_else(|| missing("delivery"))?.into(),
            exported,
            lines: raw.lines.and_then(|lines| u64::try_from(lines).ok()).ok_or_else(|| missing("lines"))?,
        };
        let period = period(raw, None)?.ok_or_else(|| missing("period"))?;
        return Ok((source.into(), period, LedgerItem::Complete(completion)));
    }
    let empty = Row::new();
    let row = Columns(raw.row.as_ref().unwrap_or(&empty));
    let (charge, start) = charge(&row, source, rules)?;
    let none = || Reject::new(RejectReason::InvalidPeriod, "neither 'period' nor BillingPeriodStart nor ChargePeriodStart says the month");
    let line = BillingLine {
        line: hash128(&[text("line_id", raw.line_id.as_deref())?.unwrap_or(event_id).as_bytes()]),
        revision: raw.revision.unwrap_or(exported.0),
        exported,
        delivery: delivery.map(Text::from),
        charge,
    };
    Ok((source.into(), period(raw, Some((&row, start)))?.ok_or_else(none)?, LedgerItem::Line(line)))
}

/// The event's own, else the month of BillingPeriodStart, else of the charge.
fn period(raw: &RawBilling<'_>, row: Option<(&Columns<'_>, Timestamp)>) -> Result<Option<Text>, Reject> {
    if let Some(period) = raw.period.as_deref().filter(|period| !period.is_empty()) {
        if !focus::is_month(period) {
            return Err(Reject::new(RejectReason::InvalidPeriod, format!("'period' is '{}', expected YYYY-MM", short(period))));
        }
        return Ok(Some(period.into()));
    }
    let Some((row, charge_start)) = row else { return Ok(None) };
    let start = row.get("BillingPeriodStart").and_then(focus::moment).unwrap_or(charge_start);
    Ok(focus::month_of(start).map(Text::from))
}

/// The columns of a row that say something.
struct Columns<'r>(&'r Row<'r>);

impl Columns<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    }

    fn name(&self, names: &[&str]) -> Result<Option<Cow<'_, str>>, Reject> {
        let Some((name, value)) = names.iter().find_map(|name| Some((*name, self.get(name)?))) else { return Ok(None) };
        Ok(text(&format!("row.{name}"), Some(value))?.map(|text| clean(Cow::Borrowed(text))).filter(|text| !text.is_empty()))
    }

    fn amount(&self, name: &str) -> Result<Option<Nanos>, Reject> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let beyond = || Reject::new(RejectReason::OutOfRange, format!("'row.{name}' is beyond 10^12"));
        match value.parse::<Nanos>() {
            Ok(amount) if amount.0.abs() <= LARGEST_AMOUNT * NANOS_PER_UNIT => Ok(Some(amount)),
            Ok(_) | Err(AmountError::OutOfRange) => Err(beyond()),
            Err(AmountError::NotANumber) => {
                let message = format!("'row.{name}' is '{}', expected a decimal number like 12.5", short(value));
                Err(Reject::new(RejectReason::InvalidAmount, message))
            }
        }
    }
}

/// What the row charges, to whom, and when the charge begins.
fn charge(row: &Columns<'_>, source: &str, rules: &IntakeRules) -> Result<(Charge, Timestamp), Reject> {
    let (billed, effective) = (row.amount("BilledCost")?, row.amount("EffectiveCost")?);
    let (Some(billed), Some(effective)) = (billed.or(effective), effective.or(billed)) else {
        return Err(Reject::new(RejectReason::MissingField, "the row has neither BilledCost nor EffectiveCost"));
    };
    let code = row.get("BillingCurrency").unwrap_or_default();
    let currency = Currency::parse(code).ok_or_else(|| {
        Reject::new(RejectReason::UnknownCurrency, format!("'row.BillingCurrency' is '{}', no active ISO 4217 code", short(code)))
    })?;
    let start = row.get("ChargePeriodStart").unwrap_or_default();
    let start = focus::moment(start).filter(|start| *start >= EARLIEST).ok_or_else(|| {
        Reject::new(RejectReason::InvalidPeriod, format!("'row.ChargePeriodStart' is '{}', expected a time of after 2015", short(start)))
    })?;
    // Quantities of what is no usage, or of no sense, are not worth a dead letter: the money is.
    let quantity = row.amount("ConsumedQuantity").ok().flatten().unwrap_or_default();
    let usage = Attributed::of(row, source, start)?;
    let leaf = Leaf {
        team: attribute(&usage, &rules.attribution).as_ref().into(),
        project: usage.project.as_deref().unwrap_or_default().into(),
        model: row.name(&["ServiceName"])?.unwrap_or_default().as_ref().into(),
        provider: row.name(&["ServiceProviderName", "ProviderName"])?.unwrap_or_default().as_ref().into(),
        region: row.name(&["RegionId"])?.unwrap_or_default().as_ref().into(),
        environment: usage.environment.as_deref().unwrap_or_default().into(),
        meter: meter(row, start)?,
        currency,
        measure: Measure::Billed,
    };
    Ok((Charge { leaf, hour: start.hour(), amounts: Amounts { effective, billed, quantity } }, start))
}

/// Usage of a day or less has the meter of its SKU; every other charge one of its own, so that nothing learns from it. A category that nobody
/// knows is no usage.
fn meter(row: &Columns<'_>, start: Timestamp) -> Result<Text, Reject> {
    let category = row.get("ChargeCategory").unwrap_or("Usage");
    if category.eq_ignore_ascii_case("Usage") {
        if row.get("CommitmentDiscountStatus").is_some_and(|status| status.eq_ignore_ascii_case("Unused")) {
            return Ok(UNUSED_COMMITMENT.into());
        }
        let end = row.get("ChargePeriodEnd").and_then(focus::moment);
        if end.is_some_and(|end| end.0.saturating_sub(start.0) > LONGEST_DAY_MS) {
            return Ok(LONG_PERIOD.into());
        }
        return Ok(row.name(&["SkuMeter", "ConsumedUnit", "PricingUnit"])?.unwrap_or_default().as_ref().into());
    }
    let known = CHARGE_METERS.iter().find(|(name, _)| category.eq_ignore_ascii_case(name));
    Ok(known.map_or("charge.adjustment", |(_, meter)| meter).into())
}

/// The row as attribution sees usage: the same rules decide, whichever topic it came by.
struct Attributed;

impl Attributed {
    fn of<'r>(row: &'r Columns<'r>, source: &'r str, start: Timestamp) -> Result<UsageEvent<'r>, Reject> {
        let tags = tags(row.get("Tags"));
        let tag = |name: &str| tags.iter().rev().find(|(known, _)| known == name).map(|(_, value)| clean(Cow::Owned(value.to_string())));
        let named = |name: &str| tag(name).filter(|text| !text.is_empty());
        let account = row.name(&["SubAccountId", "BillingAccountId"])?;
        Ok(UsageEvent {
            event_id: Cow::Borrowed(""),
            source: Cow::Borrowed(source),
            event_time: start,
            meter: Cow::Borrowed(""),
            team: None,
            project: named("project").or_else(|| account.clone()),
            model: None,
            provider: None,
            region: None,
            environment: named("environment"),
            user: None,
            account,
            resource_id: None,
            quantity: None,
            tokens: Tokens::default(),
            requests: 0,
            cost: None,
            currency: None,
            failed: false,
            tags,
        })
    }
}

/// FOCUS tags are a flat JSON object; a tag without a value is `true`. What is none has no tags: the money still counts.
fn tags(text: Option<&str>) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let Some(serde_json::Value::Object(object)) = text.and_then(|text| serde_json::from_str(text).ok()) else { return Vec::new() };
    let value = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let flat = object.into_iter().filter_map(|(name, tag)| Some((Cow::Owned(name), Cow::Owned(value(tag)?))));
    flat.filter(|(name, value): &(Cow<'_, str>, Cow<'_, str>)| name.len() <= LONGEST_TEXT && value.len() <= LONGEST_TEXT)
        .take(MOST_TAGS)
        .collect()
}
