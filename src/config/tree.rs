//! A TOML file as a tree in which every value knows where it was written, and one tree laid over another.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

pub type Table = BTreeMap<String, Item>;

#[derive(Clone)]
pub struct Item {
    pub place: Place,
    pub value: Value,
}

/// No `Debug`: a value may be a password.
#[derive(Clone)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A TOML date or time, as text.
    Date(String),
    List(Vec<Item>),
    Table(Table),
}

impl Value {
    /// With its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Bool(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads TOML; every syntax error is a problem of its own.
pub fn parse(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let lines = Lines::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return lines.table(table.into_inner());
    }
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let place = lines.place(error.span().map_or(0, |span| span.start));
        // Follow-up errors on the same line only repeat the first one.
        if problems.iter().all(|problem| problem.place.line != place.line) {
            problems.push(Problem::new(&place, format!("not TOML: {}", error.message().replace('\n', ", "))));
        }
    }
    problems.sort_by_key(|problem| problem.place.line);
    Err(problems)
}

/// Lays `upper` over `lower`: tables are merged key by key, everything else is replaced.
pub fn overlay(lower: &mut Table, upper: Table) {
    for (key, item) in upper {
        match (lower.get_mut(&key), item) {
            (Some(Item { value: Value::Table(below), place }), Item { value: Value::Table(above), place: at }) => {
                *place = at;
                overlay(below, above);
            }
            (_, item) => {
                lower.insert(key, item);
            }
        }
    }
}

/// Turns byte offsets of one file into places.
struct Lines {
    file: Arc<str>,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: &str, text: &str) -> Lines {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { file: file.into(), starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: number(line), column: number(offset - start + 1) }
    }

    fn table(&self, table: DeTable<'_>) -> Result<Table, Vec<Problem>> {
        let mut entries = Table::new();
        let mut problems = Vec::new();
        for (key, value) in table {
            let place = self.place(key.span().start);
            match self.value(&place, value) {
                Ok(value) => {
                    entries.insert(key.into_inner().into_owned(), Item { place, value });
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(entries) } else { Err(problems) }
    }

    fn value(&self, place: &Place, value: Spanned<DeValue<'_>>) -> Result<Value, Vec<Problem>> {
        let beyond = |text: &str| vec![Problem::new(place, format!("the number {text} is too large"))];
        Ok(match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(parsed.map_err(|_| beyond(number.as_str()))?)
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| beyond(number.as_str()))?),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(time) => Value::Date(time.to_string()),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    // An element's own place: a list may run over many lines, and each [[table]] starts its own.
                    let place = self.place(item.span().start);
                    list.push(Item { value: self.value(&place, item)?, place });
                }
                Value::List(list)
            }
            DeValue::Table(table) => Value::Table(self.table(table)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_line() {
        let Ok(table) = parse("a.toml", "x = 1\n\n[s]\n  y = [\n  'a',\n  'b']\n[[t]]\nz = 1\n[[t]]\nz = 2\n") else { panic!() };
        assert_eq!(table["x"].place.to_string(), "a.toml:1");
        let Value::Table(section) = &table["s"].value else { panic!() };
        assert_eq!((section["y"].place.line, section["y"].place.column), (4, 3));
        let Value::List(list) = &section["y"].value else { panic!() };
        assert_eq!(list[1].place.line, 6);
        let Value::List(tables) = &table["t"].value else { panic!() };
        assert_eq!(tables.iter().map(|table| table.place.line).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn every_broken_line_is_named() {
        let Err(problems) = parse("a.toml", "a = \nb = 1\nc = 'x\n[d\n") else { panic!() };
        let lines: Vec<u32> = problems.iter().map(|problem| problem.place.line).collect();
        assert_eq!(lines, [1, 3, 4], "{problems:?}");
        assert!(parse("a.toml", "a = 1\na = 2").is_err());
        assert!(parse("a.toml", "a = 99999999999999999999").is_err());
    }

    #[test]
    fn tables_merge_and_lists_are_replaced() {
        let (Ok(mut lower), Ok(upper)) = (parse("l", "[a]\nb = 1\nc = [1, 2]\n"), parse("u", "[a]\nc = [3]\nd = 4\n")) else { panic!() };
        overlay(&mut lower, upper);
        let Value::Table(a) = &lower["a"].value else { panic!() };
        assert_eq!(a.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(matches!(&a["c"].value, Value::List(list) if list.len() == 1));
        assert_eq!(a["c"].place.to_string(), "u:2");
    }
}
