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
    /// Of a text: where its first character stands, behind the quotes.
    pub content: Place,
    pub value: Value,
}

impl Item {
    /// Written in no file, or not as a text.
    pub fn at(place: Place, value: Value) -> Item {
        Item { content: place.clone(), place, value }
    }

    /// Where a byte of a text stands in the file; in a text with escapes, where about.
    pub fn place_in(&self, text: &str, byte: usize) -> Place {
        let before = text.get(..byte).unwrap_or(text);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let Place { file, line, column, .. } = self.content.clone();
        match before.rsplit_once('\n') {
            None => Place { file, line, column: column.saturating_add(number(before.len())), is_exact: true },
            Some((lines, rest)) => {
                let lines = number(lines.matches('\n').count() + 1);
                Place { file, line: line.saturating_add(lines), column: number(rest.len() + 1), is_exact: true }
            }
        }
    }
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
            (Some(Item { value: Value::Table(below), place, .. }), Item { value: Value::Table(above), place: at, .. }) => {
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
struct Lines<'t> {
    text: &'t str,
    file: Arc<str>,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(file: &str, text: &'t str) -> Lines<'t> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { text, file: file.into(), starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: number(line), column: number(offset - start + 1), is_exact: false }
    }

    /// Behind the quotes; a line break right behind three of them is not part of the text.
    fn content(&self, offset: usize) -> Place {
        let raw = self.text.get(offset..).unwrap_or_default();
        let quotes = if raw.starts_with("'''") || raw.starts_with("\"\"\"") { 3 } else { 1 };
        let rest = raw.get(quotes..).unwrap_or_default();
        let line_break =
            if quotes == 3 { rest.len() - rest.strip_prefix("\r\n").or(rest.strip_prefix('\n')).unwrap_or(rest).len() } else { 0 };
        self.place(offset + quotes + line_break)
    }

    fn table(&self, table: DeTable<'_>) -> Result<Table, Vec<Problem>> {
        let mut entries = Table::new();
        let mut problems = Vec::new();
        for (key, value) in table {
            let place = self.place(key.span().start);
            let content = self.content(value.span().start);
            match self.value(&place, value) {
                Ok(value) => {
                    entries.insert(key.into_inner().into_owned(), Item { place, content, value });
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
                    let (place, content) = (self.place(item.span().start), self.content(item.span().start));
                    list.push(Item { value: self.value(&place, item)?, place, content });
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
    fn a_byte_of_a_text_has_its_place() {
        let file = "a = \"xyz\"\nb = '''\nfirst\n  second'''\n";
        let Ok(table) = parse("a.toml", file) else { panic!() };
        let place = |key: &str, text: &str, byte| {
            let Place { line, column, .. } = table[key].place_in(text, byte);
            (line, column)
        };
        assert_eq!((place("a", "xyz", 0), place("a", "xyz", 2)), ((1, 6), (1, 8)));
        assert_eq!((place("b", "first\n  second", 1), place("b", "first\n  second", 8)), ((3, 2), (4, 3)));
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
