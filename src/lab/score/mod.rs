//! `score`: one series in a CSV file goes through the engine, row by row; beside each row stands what was thought of it.

use std::io::{self, BufRead, Write};

use super::csv;
use super::spacing::{Placed, Spacing};
use crate::config::Problem;
use crate::config::problem::Place;
use crate::model::counted::counted;
use crate::model::time::Timestamp;
use crate::watch::baseline::LocalHour;
use crate::watch::rules::Thresholds;
use crate::watch::track::{Decision, Direction, Seen, Track};

/// The columns of the output.
pub const HEADER: &str = "timestamp,value,expected,lower,upper,score,alert";

/// Why a file was not scored.
#[derive(Debug)]
pub enum Failure {
    /// The input cannot be used; at least one.
    Input(Vec<Problem>),
    /// The output cannot be written.
    Output(io::Error),
}

/// One file on its way through the engine.
struct Scorer<'a> {
    thresholds: &'a Thresholds,
    direction: Direction,
    spacing: Spacing,
    /// The first row waits here until it is known how long its bucket is.
    first: Option<Row>,
    track: Option<Track>,
}

#[derive(Clone, Copy)]
struct Row {
    at: Timestamp,
    value: Option<f64>,
}

/// Which columns of a file are read, and how many there are.
struct Columns {
    timestamp: usize,
    value: usize,
    count: usize,
}

/// What is wrong with a file: the first lines of it, and how many more there are.
struct Complaints<'a> {
    file: &'a str,
    line: u32,
    shown: Vec<Problem>,
    beyond: usize,
}

/// A broken export is broken in each line of it.
const MOST_SHOWN: usize = 20;

/// Scores one series; the output has a row for each row of the input. `name` is what problems call the file. What was written of an input
/// that cannot be used is worth nothing.
///
/// # Errors
/// The lines that cannot be used, or an output that cannot be written.
pub fn score(
    mut input: impl BufRead,
    name: &str,
    mut output: impl Write,
    thresholds: &Thresholds,
    direction: Direction,
) -> Result<(), Failure> {
    let mut scorer = Scorer { thresholds, direction, spacing: Spacing::default(), first: None, track: None };
    let mut wrong = Complaints { file: name, line: 1, shown: Vec::new(), beyond: 0 };
    let mut line = Vec::new();
    if let Err(error) = input.read_until(b'\n', &mut line) {
        wrong.add_unreadable(&error);
    }
    let header = wrong.text(&line).filter(|_| wrong.shown.is_empty()).map(|header| header.trim_start_matches('\u{feff}'));
    let Some(columns) = header.and_then(|header| wrong.columns(header)) else { return Err(Failure::Input(wrong.end())) };
    writeln!(output, "{HEADER}").map_err(Failure::Output)?;
    let mut last = None;
    loop {
        line.clear();
        wrong.line = wrong.line.saturating_add(1);
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                wrong.add_unreadable(&error);
                break;
            }
        }
        let Some(text) = wrong.text(&line).filter(|text| !text.is_empty()) else { continue };
        let cells = cells(text);
        let row = wrong.row(&cells, &columns, &mut last);
        if let Some(row) = row.filter(|_| wrong.shown.is_empty()) {
            let seen = scorer.take(row);
            print(&mut output, cells[columns.timestamp], cells[columns.value], seen).map_err(Failure::Output)?;
        }
    }
    if wrong.shown.is_empty() && scorer.spacing.is_strange() {
        wrong.line = 2;
        wrong.add("rows are nowhere between 1 minute and 1 day apart", "sum the values by minute, hour or day");
    }
    if !wrong.shown.is_empty() {
        return Err(Failure::Input(wrong.end()));
    }
    output.flush().map_err(Failure::Output)
}

impl Complaints<'_> {
    fn add(&mut self, what: impl Into<String>, hint: &str) {
        if self.shown.len() == MOST_SHOWN {
            self.beyond += 1;
        } else {
            self.shown.push(csv::at(self.file, self.line, what).hint(hint));
        }
    }

    fn add_unreadable(&mut self, error: &io::Error) {
        self.add(format!("cannot be read: {error}"), "name a CSV file in UTF-8, plain or as .gz or .zst");
    }

    fn end(mut self) -> Vec<Problem> {
        if self.beyond > 0 {
            let what = format!("{} in all, the first {MOST_SHOWN} are shown", counted(MOST_SHOWN + self.beyond, "problem"));
            self.shown.push(Problem::new(&Place::whole(self.file), what));
        }
        self.shown
    }

    fn text<'l>(&mut self, line: &'l [u8]) -> Option<&'l str> {
        match std::str::from_utf8(line) {
            Ok(text) => Some(text.trim_end()),
            Err(error) => {
                self.add(format!("byte {} of the line is no UTF-8", error.valid_up_to() + 1), "save the file as UTF-8");
                None
            }
        }
    }

    fn columns(&mut self, header: &str) -> Option<Columns> {
        let names = cells(header);
        let find = |wanted: &str| {
            let mut found = (0..names.len()).filter(|at| names[*at].trim().eq_ignore_ascii_case(wanted));
            (found.next(), found.next().is_some())
        };
        let ((timestamp, is_twice), (value, is_value_twice)) = (find("timestamp"), find("value"));
        if is_twice || is_value_twice {
            self.add("the header names 'timestamp' or 'value' twice", "rename or remove one");
            return None;
        }
        let (Some(timestamp), Some(value)) = (timestamp, value) else {
            match csv::other_separator(header).map(csv::separated_by) {
                Some((what, hint)) => self.add(what, hint),
                None => self.add("the header lacks 'timestamp' or 'value'", "write 'timestamp,value' into the first line"),
            }
            return None;
        };
        Some(Columns { timestamp, value, count: names.len() })
    }

    /// `last`: the time of the row before, and then of this one.
    fn row(&mut self, cells: &[&str], columns: &Columns, last: &mut Option<Timestamp>) -> Option<Row> {
        if cells.len() != columns.count {
            let what = format!("has {}, the header {}", counted(cells.len(), "field"), columns.count);
            self.add(what, "a missing value is an empty field; quote fields that hold commas");
            return None;
        }
        let (stamp, amount) = (cells[columns.timestamp], cells[columns.value]);
        let at = time(stamp);
        match (at, *last) {
            (None, _) => self.add(format!("'{stamp}' is no time"), "write 2026-03-01T10:00:00Z or 2026-03-01 10:00:00, in UTC"),
            (Some(at), Some(before)) if at <= before => {
                self.add(format!("{stamp} is not later than the row before"), "one file is one series, in the order of time");
            }
            _ => {}
        }
        *last = at.or(*last);
        let value = amount_of(amount);
        if value.is_none() {
            self.add(format!("'{amount}' is no number"), "write 12.5, or nothing where the value is missing");
        }
        Some(Row { at: at?, value: value? })
    }
}

impl Scorer<'_> {
    fn take(&mut self, row: Row) -> Option<Seen> {
        match self.spacing.place(row.at) {
            Placed::Unknown => {
                self.first = Some(row);
                None
            }
            Placed::Anew { minutes, bucket } => {
                let mut track = Track::new(minutes, self.thresholds.clone(), self.direction);
                if let Some(first) = self.first.take() {
                    feed(&mut track, bucket - 1, first);
                }
                let seen = feed(&mut track, bucket, row);
                self.track = Some(track);
                seen
            }
            Placed::At { bucket } => self.track.as_mut().and_then(|track| feed(track, bucket, row)),
        }
    }
}

/// A missing value is not zero: nothing is learnt and nothing said.
fn feed(track: &mut Track, bucket: i64, row: Row) -> Option<Seen> {
    row.value.map(|value| track.next(bucket, LocalHour::at(row.at.hour(), 0), value))
}

fn print(output: &mut impl Write, stamp: &str, amount: &str, seen: Option<Seen>) -> io::Result<()> {
    let Some(seen) = seen else { return writeln!(output, "{stamp},{amount},,,,0,") };
    write!(output, "{stamp},{amount},")?;
    match seen.normal {
        Some(normal) => write!(output, "{},{},{}", short(normal.expected), short(normal.lower), short(normal.upper))?,
        None => write!(output, ",,")?,
    }
    let alert = match seen.decision {
        None => "",
        Some(Decision::Open) => "open",
        Some(Decision::Update) => "update",
        Some(Decision::Close) => "close",
    };
    // In full: two scores that differ stay different.
    writeln!(output, ",{},{alert}", seen.score)
}

/// Seven digits are more than anybody knows about what is normal.
fn short(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// Cells of a line, without the quotes around them.
fn cells(line: &str) -> Vec<&str> {
    let mut found = Vec::with_capacity(4);
    let mut rest = line;
    loop {
        let quoted = rest.strip_prefix('"').and_then(|inside| inside.split_once('"'));
        let (cell, behind) = match quoted {
            Some((cell, behind)) => (cell, behind.find(',').map(|comma| &behind[comma + 1..])),
            None => rest.split_once(',').map_or((rest, None), |(cell, behind)| (cell, Some(behind))),
        };
        found.push(cell.trim());
        match behind {
            Some(behind) => rest = behind,
            None => return found,
        }
    }
}

fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(Timestamp(jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond()))
    })
}

/// `Some(None)`: missing. What is no number to a float (`nan`, `inf`) is none here.
#[expect(clippy::option_option, reason = "no number, no value, a value")]
fn amount_of(text: &str) -> Option<Option<f64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Some)
}

#[cfg(test)]
mod tests;
