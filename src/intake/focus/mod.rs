//! FOCUS files: the head of one, and what each of its rows is: conforming or not, which line of the bill, which event.

pub mod columns;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use columns::{COLUMNS, Column, IDENTITY, Kind, Version};

use crate::model::focus::{is_plain_moment, moment, month_of};
use crate::model::hash::hash128;
use crate::model::money::{Currency, Nanos};

/// The columns of one file.
#[derive(Clone, Debug)]
pub struct Head {
    pub version: Version,
    cells: Vec<Cell>,
    /// Places of the columns that tell lines apart.
    identity: Vec<usize>,
    billed: Option<usize>,
    effective: Option<usize>,
    currency: Option<usize>,
    period_start: Option<usize>,
    charge_start: Option<usize>,
}

#[derive(Clone, Debug)]
struct Cell {
    name: String,
    column: Option<&'static Column>,
    /// `"Name":`, escaped.
    prefix: Vec<u8>,
}

/// A rule of the specification that something does not follow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem<'a> {
    pub column: Cow<'a, str>,
    /// `present`, `not_null`, `null_literal`, `number`, `time`, `time_format`, `currency`, `allowed`, `json`, `custom_prefix`, ...
    pub rule: &'static str,
    pub value: Cow<'a, str>,
}

/// Whether text stands for nothing: empty, or a literal that exporters write for null.
fn is_null(text: &str) -> bool {
    text.is_empty() || is_null_literal(text)
}

fn is_null_literal(text: &str) -> bool {
    matches!(text, "NULL" | "null" | "Null" | "\\N")
}

impl Head {
    /// # Errors
    /// A column that is there twice, or that must be named by `line_id` and is not there; a file without money or time.
    pub fn new(names: &[&str], line_id: &[String]) -> Result<Head, String> {
        let mut cells: Vec<Cell> = Vec::with_capacity(names.len());
        for name in names.iter().map(|name| name.trim().trim_start_matches('\u{feff}')) {
            if cells.iter().any(|cell| cell.name == name) {
                return Err(format!("the column '{name}' is there twice"));
            }
            let mut prefix = Vec::new();
            write_text(&mut prefix, name);
            prefix.push(b':');
            cells.push(Cell { name: name.to_owned(), column: columns::known(name), prefix });
        }
        let place = |name: &str| cells.iter().position(|cell| cell.name == name);
        let mut identity = Vec::new();
        if line_id.is_empty() {
            identity.extend(IDENTITY.iter().filter_map(|name| place(name)));
        }
        for name in line_id {
            identity.push(place(name).ok_or_else(|| format!("there is no column '{name}', which is to tell lines apart"))?);
        }
        if (place("BilledCost").is_none() && place("EffectiveCost").is_none()) || place("ChargePeriodStart").is_none() {
            return Err("it has no BilledCost or no ChargePeriodStart: that is no FOCUS file".to_owned());
        }
        let version = cells.iter().filter_map(|cell| cell.column).map(|column| column.since).max().unwrap_or(Version::V1_0);
        let (billed, effective, currency) = (place("BilledCost"), place("EffectiveCost"), place("BillingCurrency"));
        let (period_start, charge_start) = (place("BillingPeriodStart"), place("ChargePeriodStart"));
        Ok(Head { version, identity, billed, effective, currency, period_start, charge_start, cells })
    }

    /// What a column is called.
    pub fn name(&self, column: usize) -> Option<&str> {
        self.cells.get(column).map(|cell| cell.name.as_str())
    }

    pub fn width(&self) -> usize {
        self.cells.len()
    }

    /// What is wrong with the file as a whole: columns that its version has and it has not, columns of its own without the prefix.
    pub fn problems(&self) -> Vec<Problem<'_>> {
        let has = |name: &str| self.cells.iter().any(|cell| cell.name == name);
        let missing = COLUMNS.iter().filter(|column| column.is_mandatory && column.since <= self.version && !has(column.name));
        let missing = missing.map(|column| Problem { column: column.name.into(), rule: "present", value: "".into() });
        let custom = self.cells.iter().filter(|cell| cell.column.is_none() && !cell.name.starts_with("x_"));
        missing.chain(custom.map(|cell| Problem { column: cell.name.as_str().into(), rule: "custom_prefix", value: "".into() })).collect()
    }

    /// Tells each rule that a row does not follow. `fields` are as many as the head has columns.
    pub fn check<'a>(&'a self, fields: &[&'a str], mut problem: impl FnMut(Problem<'a>)) {
        for (cell, text) in self.cells.iter().zip(fields) {
            let mut found = |rule| problem(Problem { column: cell.name.as_str().into(), rule, value: (*text).into() });
            if is_null_literal(text) {
                found("null_literal");
            }
            let Some(column) = cell.column else { continue };
            if is_null(text) {
                if !column.is_nullable {
                    found("not_null");
                }
            } else if let Some(rule) = broken_rule(column.kind, text) {
                found(rule);
            }
        }
        let time = |place: Option<usize>| place.and_then(|place| fields.get(place)).and_then(|text| moment(text));
        let end = |name: &str| time(self.cells.iter().position(|cell| cell.name == name));
        for (start, name) in [(self.charge_start, "ChargePeriodEnd"), (self.period_start, "BillingPeriodEnd")] {
            if let (Some(start), Some(end)) = (time(start), end(name))
                && end <= start
            {
                problem(Problem { column: name.into(), rule: "after_start", value: end.to_string().into() });
            }
        }
    }

    /// Hash of what tells this line from others; the same for each restatement. Lines may share it: they are numbered then.
    pub fn identity(&self, fields: &[&str]) -> u128 {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * self.identity.len());
        let mut times = [[0_u8; 8]; 2];
        let mut times = times.iter_mut();
        for place in &self.identity {
            let (Some(cell), Some(text)) = (self.cells.get(*place), fields.get(*place)) else { continue };
            if is_null(text) {
                continue;
            }
            parts.push(cell.name.as_bytes());
            // However it is written, it is the same time.
            if cell.column.is_some_and(|column| column.kind == Kind::Time)
                && let Some(time) = moment(text)
                && let Some(bytes) = times.next()
            {
                *bytes = time.0.to_le_bytes();
                parts.push(bytes);
            } else {
                parts.push(text.as_bytes());
            }
        }
        hash128(&parts)
    }

    /// The month that the row is billed in; `None` where it does not say so.
    pub fn period(&self, fields: &[&str]) -> Option<String> {
        let time = |place: Option<usize>| place.and_then(|place| fields.get(place)).and_then(|text| moment(text));
        month_of(time(self.period_start).or_else(|| time(self.charge_start))?)
    }

    /// Currency, BilledCost and EffectiveCost, as the ledger will count them; `None` where the row cannot be used.
    pub fn money(&self, fields: &[&str]) -> Option<(Currency, Nanos, Nanos)> {
        let text = |place: Option<usize>| place.and_then(|place| fields.get(place)).copied().filter(|text| !is_null(text));
        let amount = |place| text(place).map(|text| text.parse::<Nanos>().ok());
        let (billed, effective) = match (amount(self.billed), amount(self.effective)) {
            (None, None) | (Some(None), _) | (_, Some(None)) => return None,
            (Some(billed), None) => (billed?, billed?),
            (None, Some(effective)) => (effective?, effective?),
            (Some(billed), Some(effective)) => (billed?, effective?),
        };
        moment(text(self.charge_start)?)?;
        Some((Currency::parse(text(self.currency)?)?, billed, effective))
    }

    /// The row as the JSON object of a billing event: what says nothing is left out, times are as the specification has them, all else is
    /// as it was.
    pub fn write_row(&self, fields: &[&str], out: &mut Vec<u8>) {
        out.push(b'{');
        let begin = out.len();
        for (cell, text) in self.cells.iter().zip(fields) {
            if is_null(text) {
                continue;
            }
            if out.len() > begin {
                out.push(b',');
            }
            out.extend_from_slice(&cell.prefix);
            let is_time = cell.column.is_some_and(|column| column.kind == Kind::Time);
            match moment(text).filter(|_| is_time && !is_plain_moment(text)) {
                Some(time) => write_text(out, &time.to_string()),
                None => write_text(out, text),
            }
        }
        out.push(b'}');
    }
}

/// Name of the rule that the text breaks.
fn broken_rule(kind: Kind, text: &str) -> Option<&'static str> {
    match kind {
        Kind::Text => None,
        Kind::Amount => text.parse::<Nanos>().is_err().then_some("number"),
        Kind::Currency => Currency::parse(text).is_none_or(|currency| currency.as_str() != text).then_some("currency"),
        Kind::Json => (!is_object(text)).then_some("json"),
        Kind::OneOf(allowed) => (!allowed.contains(&text)).then_some("allowed"),
        Kind::Time if is_plain_moment(text) => None,
        Kind::Time => Some(if moment(text).is_some() { "time_format" } else { "time" }),
    }
}

/// Whether it is a JSON object, without building one.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A JSON string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    let mut rest = text.as_bytes();
    loop {
        let plain = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(plain);
        out.extend_from_slice(run);
        let Some((byte, behind)) = behind.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            control => {
                let digit = |value: u8| b"0123456789abcdef".get(usize::from(value)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = behind;
    }
    out.push(b'"');
}
