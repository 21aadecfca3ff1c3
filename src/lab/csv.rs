//! Reading CSV (RFC 4180): a header, quoted fields, any of the usual line ends.

use std::io::Read as _;
use std::path::Path;

use super::read;
use crate::config::Problem;
use crate::config::problem::Place;

/// A file's header and rows; rows know their line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub header: Vec<String>,
    pub rows: Vec<(u32, Vec<String>)>,
}

/// The text of a file, plain or packed as event files are.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn text(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    match read::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) => {
            let problem = Problem::new(&Place::whole(&read::shown(path)), format!("cannot be read: {error}"));
            Err(problem.hint("name a CSV file in UTF-8 that exists, plain or as .gz or .zst"))
        }
    }
}

/// What stands between the columns of a header instead of commas, as spreadsheets of some countries write it.
pub fn other_separator(header: &str) -> Option<&'static str> {
    let is_between = |separator: &str| !header.contains(',') && header.contains(separator);
    [(";", "';'"), ("\t", "tabs")].into_iter().find(|(separator, _)| is_between(separator)).map(|(_, name)| name)
}

/// Of a file with such a header.
pub fn separated_by(name: &str) -> (String, &'static str) {
    (format!("columns are separated by {name}"), "separate them by commas, and write 12.5 for twelve and a half")
}

/// # Errors
/// No header, a column twice, rows that are longer or shorter than the header, a quote that is not closed.
pub fn parse(file: &str, text: &str) -> Result<Table, Vec<Problem>> {
    let mut lines = Vec::new();
    let text = text.trim_start_matches('\u{feff}');
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let Some((fields, used)) = record(rest) else {
            return Err(vec![at(file, line, "a quoted field is not closed").hint("close it with a double quote")]);
        };
        if fields != [""] {
            lines.push((line, fields));
        }
        line += rest[..used].matches('\n').count() as u32;
        rest = &rest[used..];
    }
    let mut lines = lines.into_iter();
    let Some((first, header)) = lines.next() else {
        return Err(vec![Problem::new(&Place::whole(file), "is empty").hint("its first line has to name the columns")]);
    };
    if let [one] = &header[..]
        && let Some(name) = other_separator(one)
    {
        let (what, hint) = separated_by(name);
        return Err(vec![at(file, first, what).hint(hint)]);
    }
    let header: Vec<String> = header.into_iter().map(|name| name.trim().to_string()).collect();
    let mut problems = Vec::new();
    for (index, name) in header.iter().enumerate() {
        if name.is_empty() {
            problems.push(at(file, first, format!("column {} has no name", index + 1)).hint("give it one in the header"));
        } else if header[..index].contains(name) {
            problems.push(at(file, first, format!("there are two columns '{name}'")).hint("rename or remove one"));
        }
    }
    let mut rows = Vec::new();
    for (line, fields) in lines {
        if fields.len() == header.len() {
            rows.push((line, fields));
        } else {
            let what = format!("has {} fields, the header {}", fields.len(), header.len());
            problems.push(at(file, line, what).hint("quote fields that hold commas"));
        }
    }
    if problems.is_empty() { Ok(Table { header, rows }) } else { Err(problems) }
}

pub fn at(file: &str, line: u32, what: impl Into<String>) -> Problem {
    Problem::new(&Place { file: file.into(), line, column: 0, is_exact: false }, what)
}

/// Fields of the first record, and how many bytes it takes; `None` if a quote is not closed.
fn record(text: &str) -> Option<(Vec<String>, usize)> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            '\r' if !quoted && characters.peek().is_none_or(|(_, next)| *next == '\n') => {}
            '\n' if !quoted => return Some((fields, place + 1)),
            other => field.push(other),
        }
    }
    if quoted { None } else { Some((fields, text.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_what_was_meant() {
        let table = parse("x.csv", "\u{feff}a, b\r\n\"1,5\",\"say \"\"hi\"\"\"\r\n\n2,\"two\nlines\"\n3,").unwrap();
        assert_eq!(table.header, ["a", "b"]);
        let rows: Vec<(u32, [&str; 2])> = table.rows.iter().map(|(line, row)| (*line, [row[0].as_str(), row[1].as_str()])).collect();
        assert_eq!(rows, [(2, ["1,5", "say \"hi\""]), (4, ["2", "two\nlines"]), (6, ["3", ""])]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let cases = [
            ("", "x.csv: is empty"),
            ("a,a\n1,2\n", "x.csv:1: there are two columns 'a'"),
            ("a;b\n1,5;2\n", "x.csv:1: columns are separated by ';'; separate them by commas"),
            ("\u{feff}a\tb\r\n1\t2\r\n", "x.csv:1: columns are separated by tabs; separate them by commas"),
            ("a,\n1,2\n", "x.csv:1: column 2 has no name"),
            ("a,b\n1,2\n3\n", "x.csv:3: has 1 fields, the header 2"),
            ("a,b\n1,\"2\n3,4\n", "x.csv:2: a quoted field is not closed"),
        ];
        for (text, wanted) in cases {
            let problems = parse("x.csv", text).unwrap_err();
            assert!(problems[0].to_string().starts_with(wanted), "{text:?}: {}", problems[0]);
        }
    }
}
