//! `score`: one series in a CSV file goes through the engine, row by row; beside each row stands what was thought of it.

use std::io::{self, BufRead, Write};

use super::csv;
use super::spacing::{Placed, Spacing};
use crate::config::Problem;
use crate::config::problem::Place;
use crate::model::time::Timestamp;
use crate::watch::baseline::LocalHour;
use crate::watch::rules::Thresholds;
use crate::watch::track::{Decision, Direction, Seen, Track};

/// The columns of the output.
pub const HEADER: &str = "timestamp,value,expected,lower,upper,score,alert";

/// Why a file was not scored.
#[derive(Debug)]
pub enum Failure {
    /// The input cannot be used.
    Input(Problem),
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
    last: Option<Timestamp>,
    track: Option<Track>,
}

#[derive(Clone, Copy)]
struct Row {
    at: Timestamp,
    value: Option<f64>,
}

/// Which columns of a file are read.
struct Columns {
    timestamp: usize,
    value: usize,
}

/// Scores one series; the output has a row for each row of the input. `name` is what problems call the file.
///
/// # Errors
/// The first line that cannot be used, or an output that cannot be written.
pub fn score(
    mut input: impl BufRead,
    name: &str,
    mut output: impl Write,
    thresholds: &Thresholds,
    direction: Direction,
) -> Result<(), Failure> {
    let mut scorer = Scorer { thresholds, direction, spacing: Spacing::default(), first: None, last: None, track: None };
    let (mut line, mut number) = (String::new(), 1);
    let problem = |number: u32, what: String, hint: &str| {
        let place = Place { line: number, ..Place::whole(name) };
        Failure::Input(Problem::new(&place, what).hint(hint))
    };
    let mut next = |line: &mut String, number: u32| {
        line.clear();
        let read = input.read_line(line);
        read.map_err(|error| problem(number, format!("cannot be read: {error}"), "the file must be readable UTF-8 text"))
    };
    next(&mut line, number)?;
    let header = line.trim_start_matches('\u{feff}').trim_end();
    let columns = columns(header).ok_or_else(|| match csv::other_separator(header).map(csv::separated_by) {
        Some((what, hint)) => problem(1, what, hint),
        None => problem(1, "the header lacks 'timestamp' or 'value'".into(), "write 'timestamp,value' into the first line"),
    })?;
    writeln!(output, "{HEADER}").map_err(Failure::Output)?;
    loop {
        number += 1;
        if next(&mut line, number)? == 0 {
            break;
        }
        let text = line.trim_end();
        if text.is_empty() {
            continue;
        }
        let cells = cells(text);
        let cell = |column: usize| cells.get(column).copied().unwrap_or("");
        let (stamp, amount) = (cell(columns.timestamp), cell(columns.value));
        let at = time(stamp)
            .ok_or_else(|| problem(number, format!("'{stamp}' is no time"), "write 2026-03-01T10:00:00Z or 2026-03-01 10:00:00, in UTC"))?;
        let value = amount_of(amount)
            .ok_or_else(|| problem(number, format!("'{amount}' is no number"), "write 12.5, or nothing where the value is missing"))?;
        let row = Row { at, value };
        if scorer.last.is_some_and(|last| at <= last) {
            return Err(problem(
                number,
                format!("{stamp} is not later than the row before"),
                "one file is one series, in the order of time",
            ));
        }
        let seen = scorer.take(row);
        print(&mut output, stamp, amount, seen).map_err(Failure::Output)?;
    }
    if scorer.spacing.is_strange() {
        return Err(problem(2, "rows are nowhere between 1 minute and 1 day apart".into(), "sum the values by minute, hour or day"));
    }
    output.flush().map_err(Failure::Output)
}

impl Scorer<'_> {
    fn take(&mut self, row: Row) -> Option<Seen> {
        self.last = Some(row.at);
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

fn columns(header: &str) -> Option<Columns> {
    let names = cells(header);
    let find = |wanted: &str| names.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted));
    Some(Columns { timestamp: find("timestamp")?, value: find("value")? })
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

/// `Some(None)`: missing.
#[expect(clippy::option_option, reason = "no number, no value, a value")]
fn amount_of(text: &str) -> Option<Option<f64>> {
    if text.is_empty() || text.eq_ignore_ascii_case("nan") {
        return Some(None);
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Some)
}

#[cfg(test)]
mod tests;
