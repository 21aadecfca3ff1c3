//! `tollgate explain`: which few combinations of dimensions a difference comes from, by the very code that explains alerts.

use std::path::Path;

use serde_json::{Value, json};

use super::{csv, read};
use crate::config::Problem;
use crate::config::problem::{Place, did_you_mean};
use crate::model::counted::noun;
use crate::watch::explain::{self, Part, Row};

/// Problems of one file that are told; a wrong column has one in each of its rows.
const MOST_PROBLEMS: usize = 20;

/// What a difference comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub expected: f64,
    pub actual: f64,
    /// Largest part of the deviation first.
    pub causes: Vec<Part>,
    /// Part of the sum of all absolute deviations that lies in no cause, 0..1.
    pub unexplained: f64,
}

/// # Errors
/// The file cannot be read, or is no table of leaves.
pub fn file(path: &Path) -> Result<Explained, Vec<Problem>> {
    let text = csv::text(path).map_err(|problem| vec![problem])?;
    table(&read::shown(path), &text)
}

/// # Errors
/// As [`file`].
pub fn table(file: &str, text: &str) -> Result<Explained, Vec<Problem>> {
    let table = csv::parse(file, text)?;
    let place = |wanted: &str| {
        let found = table.header.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        found.ok_or_else(|| {
            let hint = did_you_mean(wanted, table.header.iter().map(String::as_str));
            let problem = csv::at(file, 1, format!("there is no column '{wanted}'"));
            problem.hint(hint.unwrap_or_else(|| {
                format!("one row per leaf: dimension columns, then expected and actual; found {}", table.header.join(", "))
            }))
        })
    };
    let (expected, actual) = match (place("expected"), place("actual")) {
        (Ok(expected), Ok(actual)) => (expected, actual),
        (expected, actual) => return Err([expected.err(), actual.err()].into_iter().flatten().collect()),
    };
    let dimensions: Vec<usize> = (0..table.header.len()).filter(|column| *column != expected && *column != actual).collect();
    let mut problems = Vec::new();
    if dimensions.is_empty() {
        problems.push(csv::at(file, 1, "there is no dimension").hint("add at least one column that tells the rows apart"));
    }
    let mut rows = Vec::new();
    for (line, fields) in &table.rows {
        let mut number = |column: usize| {
            let read = number(&fields[column]);
            if read.is_none() {
                let what = format!("'{}' in column '{}' is no amount", fields[column], table.header[column]);
                problems.push(csv::at(file, *line, what).hint("write a number; empty is 0"));
            }
            read.unwrap_or_default()
        };
        let (expected, actual) = (number(expected), number(actual));
        rows.push(Row { values: dimensions.iter().map(|column| fields[*column].as_str()).collect(), expected, actual });
    }
    if !problems.is_empty() {
        let more = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        if more > 0 {
            problems.push(Problem::new(
                &Place::whole(file),
                format!("{more} more {} like {}", noun(more, "line"), if more == 1 { "this" } else { "these" }),
            ));
        }
        return Err(problems);
    }
    let names: Vec<&str> = dimensions.iter().map(|column| table.header[*column].as_str()).collect();
    let causes = explain::split(&names, &rows);
    let explained: f64 = causes.iter().map(|cause| cause.deviation).sum();
    let moved = rows.iter().any(|row| row.actual != row.expected);
    Ok(Explained {
        expected: rows.iter().map(|row| row.expected).sum(),
        actual: rows.iter().map(|row| row.actual).sum(),
        causes,
        unexplained: if moved { (1.0 - explained).clamp(0.0, 1.0) } else { 0.0 },
    })
}

fn number(text: &str) -> Option<f64> {
    match text.trim() {
        "" => Some(0.0),
        text => text.parse().ok().filter(|number: &f64| number.is_finite() && number.abs() < 1e15),
    }
}

impl Explained {
    /// The contract's report.
    pub fn json(&self) -> Value {
        let cause = |cause: &Part| {
            json!({
                "dimensions": cause.dimensions,
                "expected": rounded(cause.expected),
                "actual": rounded(cause.actual),
                "share": rounded(cause.deviation),
            })
        };
        json!({ "causes": self.causes.iter().map(cause).collect::<Vec<Value>>(), "unexplained": rounded(self.unexplained) })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} was expected, {} is there: {}\n",
            amount(self.expected),
            amount(self.actual),
            difference(self.actual - self.expected)
        );
        if self.causes.is_empty() && self.unexplained > 0.0 {
            text.push_str("No combination of dimensions stands out: everything moved alike, or as much as it always does.\n");
        }
        for cause in &self.causes {
            let named: Vec<String> = cause.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!(
                "{:>5.1} %  {}: {} instead of {} ({})\n",
                100.0 * cause.deviation,
                named.join(", "),
                amount(cause.actual),
                amount(cause.expected),
                difference(cause.actual - cause.expected),
            ));
        }
        if self.unexplained > 0.0 {
            text.push_str(&format!("{:>5.1} %  unexplained\n", 100.0 * self.unexplained));
        }
        text
    }
}

/// Without the last bits of a sum of floats.
fn rounded(number: f64) -> f64 {
    // Plus zero: -0 is 0.
    libm::rint(number * 1e6) / 1e6 + 0.0
}

fn amount(number: f64) -> String {
    format!("{:.2}", no_dust(number))
}

fn difference(number: f64) -> String {
    format!("{:+.2}", no_dust(number))
}

/// Less than half a cent is nothing, and nothing has no sign.
fn no_dust(number: f64) -> f64 {
    if number.abs() < 0.005 { 0.0 } else { number }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TABLE: &str = "project,model,expected,actual\nranker,m1,10,50\nranker,m2,12,12.5\nsearch,m1,20,20\nsearch,m2,5,5\n";

    #[test]
    fn a_difference_is_explained() {
        let explained = table("x.csv", TABLE).unwrap();
        let wanted = json!({
            "causes": [{ "dimensions": { "project": "ranker", "model": "m1" }, "expected": 10.0, "actual": 50.0, "share": 0.987654 }],
            "unexplained": 0.012346,
        });
        assert_eq!(explained.json(), wanted);
        let lines: Vec<String> = explained.text().lines().map(str::to_string).collect();
        assert_eq!(lines[0], "47.00 was expected, 87.50 is there: +40.50");
        assert_eq!(lines[1], " 98.8 %  model=m1, project=ranker: 50.00 instead of 10.00 (+40.00)");
        assert_eq!(lines[2], "  1.2 %  unexplained");
    }

    #[test]
    fn a_packed_table_is_read() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TABLE.as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("july.csv.gz");
        std::fs::write(&path, packed.finish().unwrap()).unwrap();
        assert_eq!(file(&path).unwrap(), table("x.csv", TABLE).unwrap());
        let problems = file(&folder.path().join("none.csv")).unwrap_err();
        assert!(problems[0].to_string().ends_with("plain or as .gz or .zst"), "{}", problems[0]);
    }

    #[test]
    fn nothing_has_no_sign() {
        let text = table("x.csv", "a,expected,actual\nx,10.001,10\ny,-0.0001,-0.0001\n").unwrap().text();
        assert!(text.starts_with("10.00 was expected, 10.00 is there: +0.00\n"), "{text}");
        assert_eq!([amount(-0.004), amount(-0.006), difference(-0.0)], ["0.00", "-0.01", "+0.00"]);
        assert_eq!(json!(rounded(-1e-9)).to_string(), "0.0");
    }

    #[test]
    fn nothing_to_explain_is_no_cause() {
        for text in ["a,expected,actual\n", "a,expected,actual\nx,1,1\ny,,\n"] {
            assert_eq!(table("x.csv", text).unwrap().json(), json!({ "causes": [], "unexplained": 0.0 }));
        }
        let alike = table("x.csv", "a,actual,expected\nx,20,10\ny,40,20\n").unwrap();
        assert_eq!(alike.json(), json!({ "causes": [], "unexplained": 1.0 }));
        assert!(alike.text().contains("everything moved alike"));
    }

    #[test]
    fn problems_name_the_line() {
        let problems = |text: &str| table("x.csv", text).unwrap_err().iter().map(Problem::to_string).collect::<Vec<_>>();
        assert!(problems("a,expectd,actual\n")[0].starts_with("x.csv:1: there is no column 'expected'; did you mean 'expectd'?"));
        assert_eq!(
            problems("expected,actual\n1,2\n")[0],
            "x.csv:1: there is no dimension; add at least one column that tells the rows apart"
        );
        assert_eq!(
            problems("a,expected,actual\nx,1,much\n"),
            ["x.csv:2: 'much' in column 'actual' is no amount; write a number; empty is 0"]
        );
        let many = format!("a,expected,actual\n{}", "x,?,1\n".repeat(50));
        assert_eq!(problems(&many).len(), MOST_PROBLEMS + 1);
    }
}
