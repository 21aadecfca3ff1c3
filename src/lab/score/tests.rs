//! Rows in, rows out: what is read, what is refused, and that no row depends on a later one.

use super::*;
use crate::config;

fn defaults() -> Thresholds {
    config::load_text("none", "", std::path::Path::new(""), std::iter::empty()).unwrap().watch.defaults
}

fn scored(text: &str) -> Result<Vec<String>, String> {
    let mut output = Vec::new();
    match score(text.as_bytes(), "x.csv", &mut output, &defaults(), Direction::Both) {
        Ok(()) => Ok(String::from_utf8(output).unwrap().lines().map(str::to_string).collect()),
        Err(Failure::Input(problems)) => Err(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")),
        Err(Failure::Output(error)) => panic!("{error}"),
    }
}

/// Hours of a working life, by the day and a little noise; hour 240 is ten times as high.
fn hours(count: u32) -> String {
    let mut text = "timestamp,value\n".to_string();
    for hour in 0..count {
        let usual = if (8..18).contains(&(hour % 24)) { 100.0 } else { 20.0 };
        let noise = 1.0 + 0.1 * f64::from(hour * 7_919 % 101) / 101.0;
        let value = usual * noise * if hour == 240 { 10.0 } else { 1.0 };
        text += &format!("2026-03-{:02}T{:02}:00:00Z,{value:.3}\n", hour / 24 + 1, hour % 24);
    }
    text
}

fn column(row: &str, at: usize) -> &str {
    row.split(',').nth(at).unwrap()
}

#[test]
fn a_row_for_each_row_and_the_spike_stands_out() {
    let rows = scored(&hours(300)).unwrap();
    assert_eq!((rows.len(), rows[0].as_str()), (301, HEADER));
    assert!(rows[1].starts_with("2026-03-01T00:00:00Z,20.000,,,,0,"), "{}", rows[1]);
    let score = |row: &String| column(row, 5).parse::<f64>().unwrap();
    let strangest = (1..rows.len()).max_by(|a, b| score(&rows[*a]).total_cmp(&score(&rows[*b]))).unwrap();
    assert_eq!((strangest, column(&rows[241], 6)), (241, "open"));
    let expected: f64 = column(&rows[241], 2).parse().unwrap();
    assert!((15.0..30.0).contains(&expected), "{}", rows[241]);
    assert!(rows[242..].iter().any(|row| column(row, 6) == "close"));
}

#[test]
fn no_row_depends_on_a_later_one() {
    let all = scored(&hours(300)).unwrap();
    for count in [1, 2, 3, 30, 241] {
        assert_eq!(scored(&hours(count)).unwrap(), all[..=count as usize], "{count}");
    }
}

#[test]
fn gaps_and_other_ways_to_write_are_legal() {
    let rows = scored(
        "\u{feff}Value, timestamp ,note\n1.5,2026-03-01 00:00:00,\"a, b\"\n\n,2026-03-01 01:00:00,\n2,\"2026-03-01T05:00:00+01:00\",\n",
    )
    .unwrap();
    assert_eq!(rows[1..], ["2026-03-01 00:00:00,1.5,,,,0,", "2026-03-01 01:00:00,,,,,0,", "2026-03-01T05:00:00+01:00,2,,,,0,"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let cases = [
        ("", "x.csv:1: the header lacks 'timestamp' or 'value'; write 'timestamp,value' into the first line"),
        (
            "timestamp;value\n2026-03-01 00:00:00;1,5\n",
            "x.csv:1: columns are separated by ';'; separate them by commas, and write 12.5 for twelve and a half",
        ),
        ("timestamp,value\nyesterday,1\n", "x.csv:2: 'yesterday' is no time; write 2026-03-01T10:00:00Z or 2026-03-01 10:00:00, in UTC"),
        ("timestamp,value\n2026-03-01T00:00:00Z,much\n", "x.csv:2: 'much' is no number; write 12.5, or nothing where the value is missing"),
        (
            "timestamp,value\n2026-03-01T00:00:00Z,1\n2026-03-01T00:00:00Z,1\n",
            "x.csv:3: 2026-03-01T00:00:00Z is not later than the row before; one file is one series, in the order of time",
        ),
        (
            "timestamp,value\n2026-03-01T00:00:00Z,1\n2026-03-08T00:00:00Z,1\n",
            "x.csv:2: rows are nowhere between 1 minute and 1 day apart; sum the values by minute, hour or day",
        ),
    ];
    for (text, complaint) in cases {
        assert_eq!(scored(text), Err(complaint.to_string()));
    }
}

#[test]
fn all_lines_that_cannot_be_used_are_named_up_to_a_bound() {
    let text = "timestamp,value\n2026-03-01T00:00:00Z\n2026-03-01T01:00:00Z,1,2,3\n2026-03-01T02:00:00Z,NaN\n2026-03-01T03:00:00Z,inf\n\
                soon,much\n2026-03-01T04:00:00Z,1\n2026-03-01T01:00:00Z,\n2026-03-01T02:00:00Z,2\n";
    let said = scored(text).unwrap_err();
    let lines: Vec<&str> = said.lines().collect();
    let wanted = [
        "x.csv:2: has 1 field, the header 2; a missing value is an empty field",
        "x.csv:3: has 4 fields, the header 2; ",
        "x.csv:4: 'NaN' is no number; write 12.5, or nothing where the value is missing",
        "x.csv:5: 'inf' is no number; ",
        "x.csv:6: 'soon' is no time; ",
        "x.csv:6: 'much' is no number; ",
        "x.csv:8: 2026-03-01T01:00:00Z is not later than the row before; ",
    ];
    assert_eq!(lines.len(), wanted.len(), "{said}");
    lines.iter().zip(wanted).for_each(|(line, wanted)| assert!(line.starts_with(wanted), "{line}"));
    let all_wrong = format!("timestamp,value\n{}", "yesterday,1\n".repeat(1_000));
    let said = scored(&all_wrong).unwrap_err();
    assert_eq!((said.lines().count(), said.lines().last()), (21, Some("x.csv: 1000 problems in all, the first 20 are shown")));
    assert_eq!(
        scored("timestamp,value,value\n").unwrap_err(),
        "x.csv:1: the header names 'timestamp' or 'value' twice; rename or remove one"
    );
}

#[test]
fn a_line_in_another_encoding_hides_no_other_problem() {
    let text = [b"timestamp,value\n\xe9,1\n".as_slice(), b"soon,1\n"].concat();
    let mut output = Vec::new();
    let Err(Failure::Input(problems)) = score(&text[..], "x.csv", &mut output, &defaults(), Direction::Up) else { panic!("was taken") };
    let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(
        said.len() == 2 && said[0].starts_with("x.csv:2: byte 1 of the line is no UTF-8; ") && said[1].starts_with("x.csv:3: "),
        "{said:?}"
    );
}
