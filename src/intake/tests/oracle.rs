//! What the room should say, worked out the slow way: generic JSON and Avro values, maps of texts, no code of the room.

use std::collections::{BTreeMap, BTreeSet};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use serde_json::{Map, Value as Json, json};

use crate::model::partial::Partial;
use crate::model::time::Timestamp;

/// Leaf, currency and minute as text; events, unpriced, cost, quantity, requests and the five tokens.
pub type Sums = BTreeMap<String, [i128; 10]>;

const TOKENS: [&str; 5] = ["input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"];

#[derive(Default)]
pub struct Oracle {
    seen: BTreeSet<(String, String, Vec<u8>)>,
    pub sums: Sums,
}

impl Oracle {
    /// Takes an accepted event; whether it is a duplicate.
    pub fn take(&mut self, event: &Map<String, Json>, attempt: &[u8]) -> bool {
        if !self.seen.insert((name(event, "source", false), name(event, "event_id", false), attempt.to_vec())) {
            return true;
        }
        let stated = TOKENS.map(|field| count(event, field));
        let has = |field: &str| event.get(field).is_some_and(|value| !value.is_null());
        let has_tokens = TOKENS.iter().any(|field| has(field));
        let [input, output, cached, write, reasoning] = stated.map(Option::unwrap_or_default);
        let meter = match name(event, "meter", true) {
            meter if !meter.is_empty() => meter,
            _ if has_tokens => "llm.tokens".to_owned(),
            _ if has("quantity") => String::new(),
            _ => "request".to_owned(),
        };
        let input_alone = if input < cached { 0 } else { (input - cached - write).max(0) };
        let output_alone = (output - reasoning).max(0);
        let quantity = decimal(event.get("quantity")).unwrap_or(0);
        let all = input_alone + output_alone + cached + write + reasoning;
        let own = decimal(event.get("cost"));
        // The only prices: openai's gpt-*, in USD, 2.5 in, 1.25 cached, 10 out, per million.
        let known = name(event, "provider", true) == "openai" && name(event, "model", true).starts_with("gpt-") && meter == "llm.tokens";
        let booked = 2_500 * (input_alone + write) + 1_250 * cached + 10_000 * (output_alone + reasoning);
        let free = meter == "llm.tokens" && all == 0 && quantity == 0;
        let cost = match own {
            Some(cost) => Some(cost),
            None if free => Some(0),
            None => Some(booked).filter(|booked| known && all > 0 && *booked <= 1_000_000_000_000_000_000_000_000_000),
        };
        let stated = name(event, "currency", true).to_uppercase();
        let by_book = own.is_none() && cost.is_some() && known;
        let currency = if by_book || stated.is_empty() { "USD".to_owned() } else { stated };
        let team = Some(name(event, "team", true)).filter(|team| !team.is_empty()).unwrap_or("unattributed".to_owned());
        let minute = Timestamp::parse(event["event_time"].as_str().unwrap()).unwrap().0.div_euclid(60_000);
        let rest = ["project", "model", "provider", "region", "environment"].map(|field| name(event, field, true)).join("|");
        let sums = self.sums.entry(format!("{team}|{rest}|{meter}|{currency}|{minute}")).or_default();
        let requests = if has("requests") { count(event, "requests").unwrap_or(0) } else { 1 };
        let tokens = [input_alone + cached + write, output_alone + reasoning, cached, write, reasoning];
        let head = [1, i128::from(cost.is_none()), cost.unwrap_or(0), quantity, requests];
        sums.iter_mut().zip(head.into_iter().chain(tokens)).for_each(|(sum, more)| *sum += more);
        false
    }
}

pub fn sums_of<'p>(partials: impl Iterator<Item = &'p Partial>) -> Sums {
    let mut sums = Sums::new();
    for partial in partials {
        let leaf = &partial.leaf;
        let dimensions = [&leaf.team, &leaf.project, &leaf.model, &leaf.provider, &leaf.region, &leaf.environment, &leaf.meter];
        let key = dimensions.map(ToString::to_string).join("|");
        let more = [
            partial.events.into(),
            partial.unpriced_events.into(),
            partial.cost.0,
            partial.quantity.0,
            partial.requests.into(),
            partial.tokens_input.into(),
            partial.tokens_output.into(),
            partial.tokens_cached_input.into(),
            partial.tokens_cache_write.into(),
            partial.tokens_reasoning.into(),
        ];
        let sum = sums.entry(format!("{key}|{}|{}", leaf.currency, partial.minute.0)).or_default();
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    sums
}

fn name(event: &Map<String, Json>, field: &str, cleaned: bool) -> String {
    let text = event.get(field).and_then(Json::as_str).unwrap_or_default();
    if !cleaned {
        return text.to_owned();
    }
    let turning = [
        '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    text.chars().map(|c| if c.is_control() || turning.contains(&c) { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn count(event: &Map<String, Json>, field: &str) -> Option<i128> {
    let number = event.get(field)?;
    number.as_u64().map(i128::from).or_else(|| number.as_f64().map(|number| number as i128))
}

/// In nanos, by moving the point in the text.
fn decimal(value: Option<&Json>) -> Option<i128> {
    let text = match value? {
        Json::String(text) if !text.is_empty() => text.clone(),
        Json::Number(number) if number.is_f64() => number.as_f64()?.to_string(),
        Json::Number(number) => number.to_string(),
        _ => return None,
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (negative, digits) = (mantissa.starts_with('-'), mantissa.trim_start_matches(['-', '+']));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let shift = 9 + exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap();
    let all: i128 = format!("{whole}{fraction}").parse().unwrap();
    let power = 10_i128.checked_pow(u32::try_from(shift.abs()).unwrap());
    let nanos = match power {
        _ if all == 0 => 0,
        Some(power) if shift >= 0 => all * power,
        Some(power) => {
            let (quotient, rest) = (all / power, all % power);
            quotient + i128::from(rest * 2 > power || (rest * 2 == power && quotient % 2 == 1))
        }
        None => 0,
    };
    Some(if negative { -nanos } else { nanos })
}

/// An Avro datum as its JSON twin.
pub fn twin(schema: &Schema, datum: &[u8]) -> Map<String, Json> {
    let mut rest = datum;
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
    let Avro::Record(fields) = value else { panic!("{value:?} is no record") };
    fields.into_iter().map(|(name, value)| (name, plain(value))).filter(|(_, value)| !value.is_null()).collect()
}

fn plain(value: Avro) -> Json {
    match value {
        Avro::Union(_, value) => plain(*value),
        Avro::String(text) => json!(text),
        Avro::Long(number) => json!(number),
        Avro::Int(number) => json!(number),
        Avro::Double(number) => json!(number),
        Avro::TimestampMillis(time) => json!(Timestamp(time).to_string()),
        _ => Json::Null,
    }
}
