//! From what a source wrote to a sound [`UsageEvent`], or the reason why not. Depends on bytes and stamps only, never on rules.

use super::decode::{COUNT_NAMES, RawNumber, RawTime, RawUsage, TEXT_NAMES};
use crate::model::Text;
use crate::model::money::{AmountError, Currency, Nanos};
use crate::model::record::{Reject, RejectReason};
use crate::model::time::Timestamp;
use crate::model::usage::{Tokens, UsageEvent};

const LONGEST_TEXT: usize = 1024;
const MOST_TAGS: usize = 64;
/// 2015-01-01: before it nobody metered what we watch; a zero or a seconds-for-milliseconds mistake lands in 1970.
const EARLIEST: Timestamp = Timestamp(1_420_070_400_000);

/// `latest`: the latest event time that is believed.
///
/// # Errors
/// The first thing that is wrong, by field.
pub fn validate(raw: RawUsage, latest: Timestamp) -> Result<UsageEvent, Reject> {
    let event_time = event_time(raw.event_time, latest)?;
    let mut texts = raw.texts.into_iter();
    let mut next = |at: usize| -> Result<Option<Text>, Reject> { text(TEXT_NAMES[at], texts.next().flatten()) };
    let event_id = required("event_id", next(0)?)?;
    let source = required("source", next(1)?)?;
    let meter = required("meter", next(2)?.or_else(|| Some("llm.tokens".into())))?;
    let (team, project, model, provider, region, environment) = (next(3)?, next(4)?, next(5)?, next(6)?, next(7)?, next(8)?);
    let (user, account, resource_id, currency) = (next(9)?, next(10)?, next(11)?, next(12)?);
    let currency = match currency {
        None => None,
        Some(code) => Some(Currency::parse(&code).ok_or_else(|| {
            Reject::new(RejectReason::UnknownCurrency, format!("field 'currency' is '{}', no ISO 4217 code", shortened(&code)))
        })?),
    };
    let mut counts = [0_u64; COUNT_NAMES.len()];
    for ((count, name), value) in counts.iter_mut().zip(COUNT_NAMES).zip(raw.counts) {
        *count = u64::try_from(value.unwrap_or(0))
            .map_err(|_| Reject::new(RejectReason::NegativeQuantity, format!("field '{name}' is {}", value.unwrap_or(0))))?;
    }
    let [input, output, cached_input, cache_write, reasoning, requests] = counts;
    if raw.tags.len() > MOST_TAGS {
        return Err(Reject::new(RejectReason::FieldTooLong, format!("{} tags, at most {MOST_TAGS} are taken", raw.tags.len())));
    }
    let mut tags = std::collections::BTreeMap::new();
    for (key, value) in raw.tags {
        if let (Some(key), Some(value)) = (text("tags", Some(key))?, text("tags", Some(value))?) {
            tags.insert(key, value);
        }
    }
    Ok(UsageEvent {
        event_id,
        source,
        event_time,
        meter,
        team,
        project,
        model,
        provider,
        region,
        environment,
        user,
        account,
        resource_id,
        quantity: raw.quantity.map(quantity).transpose()?,
        tokens: Tokens { input, output, cached_input, cache_write, reasoning },
        requests,
        cost: raw.cost.map(|cost| amount(&cost)).transpose()?,
        currency,
        tags,
    })
}

fn event_time(raw: Option<RawTime>, latest: Timestamp) -> Result<Timestamp, Reject> {
    let at = match raw {
        None => return Err(Reject::new(RejectReason::MissingField, "field 'event_time' is missing")),
        Some(RawTime::At(at)) => at,
        Some(RawTime::Text(text)) => Timestamp::parse(&text).ok_or_else(|| {
            Reject::new(RejectReason::InvalidEventTime, format!("field 'event_time' is '{}', no RFC 3339 time", shortened(&text)))
        })?,
    };
    if at < EARLIEST {
        return Err(Reject::new(RejectReason::EventTimeTooOld, format!("field 'event_time' is {at}, before 2015")));
    }
    if at > latest {
        return Err(Reject::new(
            RejectReason::EventTimeInFuture,
            format!("field 'event_time' is {at}, later than {latest} is not believed"),
        ));
    }
    Ok(at)
}

/// Trimmed; empty is absent. Control characters become spaces: names end up in mails, ids and terminals.
fn text(name: &str, value: Option<String>) -> Result<Option<Text>, Reject> {
    let Some(value) = value else { return Ok(None) };
    if value.len() > LONGEST_TEXT {
        let message = format!("field '{name}' has {} bytes, at most {LONGEST_TEXT} are taken", value.len());
        return Err(Reject::new(RejectReason::FieldTooLong, message));
    }
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    if trimmed.chars().any(char::is_control) {
        let clean: String = trimmed.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        return Ok(Some(clean.into()));
    }
    Ok(Some(trimmed.into()))
}

fn required(name: &str, value: Option<Text>) -> Result<Text, Reject> {
    value.ok_or_else(|| Reject::new(RejectReason::MissingField, format!("field '{name}' is missing or empty")))
}

fn quantity(raw: RawNumber) -> Result<Nanos, Reject> {
    let digits = match raw {
        RawNumber::Digits(digits) => digits,
        RawNumber::Float(value) if value.is_finite() => format!("{value}"),
        RawNumber::Float(value) => return Err(Reject::new(RejectReason::NotANumber, format!("field 'quantity' is {value}"))),
    };
    match digits.parse::<Nanos>() {
        Ok(value) if value < Nanos::ZERO => {
            Err(Reject::new(RejectReason::NegativeQuantity, format!("field 'quantity' is {}", shortened(&digits))))
        }
        Ok(value) => Ok(value),
        Err(AmountError::NotANumber) => Err(Reject::new(RejectReason::NotANumber, format!("field 'quantity' is '{}'", shortened(&digits)))),
        Err(AmountError::OutOfRange) => Err(Reject::new(RejectReason::OutOfRange, format!("field 'quantity' is {}", shortened(&digits)))),
    }
}

fn amount(digits: &str) -> Result<Nanos, Reject> {
    digits.parse().map_err(|error| match error {
        AmountError::NotANumber => {
            Reject::new(RejectReason::InvalidAmount, format!("field 'cost' is '{}', no decimal number", shortened(digits)))
        }
        AmountError::OutOfRange => Reject::new(RejectReason::OutOfRange, format!("field 'cost' is {}", shortened(digits))),
    })
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
