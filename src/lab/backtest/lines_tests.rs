//! Lines that cannot be used are called what they are, each with its place.

use std::io::Write as _;

use super::tests::{HOUR, START, events};
use super::*;
use crate::config;

/// Half a line is no line of another form, and neither is one in another encoding.
#[test]
fn a_line_that_cannot_be_read_is_called_what_it_is() {
    let whole = events(1, |_, _| 1.0).remove(0);
    let cut = |end: usize| whole.as_bytes()[..end].to_vec();
    let cases = [
        (cut(9), "invalid_json: the line is cut off after 9 bytes"),
        (cut(whole.len() - 1), "invalid_json: the line is cut off after "),
        ([br#"{"topic":"#.as_slice(), &[b'"', 0xc3]].concat(), "invalid_json: the line is cut off after 11 bytes"),
        ([br#"{"topic":"usage-events","val"#.as_slice(), b"\xe9\"}"].concat(), "invalid_utf8: byte 29 of the line is no UTF-8"),
        (b"team,cost".to_vec(), r#"invalid_json: is no JSON at column 2; a line is {"topic": "usage-events""#),
    ];
    let loaded = config::load_text("test", "", std::path::Path::new(""), std::iter::empty()).unwrap();
    for (line, said) in cases {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[b"{}\n".as_slice(), whole.as_bytes(), b"\n", &line].concat()).unwrap();
        let files = [file.path().to_path_buf()];
        let result = run(&files, &loaded.intake, &loaded.lineage, &loaded.watch, Timestamp(START + 90 * 24 * HOUR)).unwrap();
        assert_eq!((result.counts.read, result.counts.rejected), (3, 2), "{said}");
        let report = text(&result, None);
        let firsts: Vec<&str> = report.lines().filter(|line| line.starts_with("the first: ")).collect();
        assert!(firsts[0].contains(":1: no_event_line: a line is ") && firsts[1].contains(&format!(":3: {said}")), "{firsts:?}");
        assert_eq!(json(&result, None)["events"]["first_of_each_reason"].as_array().unwrap().len(), 2);
    }
}
