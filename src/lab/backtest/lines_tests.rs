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

#[test]
fn what_is_said_about_nothing_is_named_at_the_end() {
    let loaded = config::load_text("test", "", std::path::Path::new(""), std::iter::empty()).unwrap();
    let word = |id: &str, rest: &str| {
        format!(r#"{{"topic":"feedback","value":{{"event_id":"{id}","source":"cli","event_time":"2026-03-02T01:00:00Z",{rest}}}}}"#)
    };
    let mut lines = vec![
        word("later", r#""team":"search","dimensions":{"project":"ranker"},"verdict":"planned""#),
        word("typo", r#""team":"search","dimensions":{"project":"rankr"},"verdict":"planned""#),
    ];
    lines.extend(events(3, |_, _| 1.0));
    lines.push(word("gone", r#""alert_id":"search/00","verdict":"ack""#));
    lines.push(word("calm", r#""team":"search","verdict":"not_an_anomaly""#));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    let files = [file.path().to_path_buf()];
    let result = run(&files, &loaded.intake, &loaded.lineage, &loaded.watch, Timestamp(START + 90 * 24 * HOUR)).unwrap();
    let report = text(&result, None);
    let (_, said) = report.split_once("\n3 words of feedback for which there is nothing\n").unwrap_or_else(|| panic!("{report}"));
    let said: Vec<&str> = said.lines().collect();
    let last = lines.len();
    assert!(said[0].contains(":2: 'planned': no usage of team 'search' falls under project=rankr: "), "{said:?}");
    assert!(said[1].contains(&format!(":{}: 'ack': no alert or violation 'search/00' is known", last - 1)), "{said:?}");
    assert!(
        said[2].contains(&format!(":{last}: 'not_an_anomaly': no open alert of team 'search' is about its spend as a whole")),
        "{said:?}"
    );
    let words = &json(&result, None)["unmatched_feedback"];
    assert_eq!((words[0]["line"].as_u64(), words[0]["event_id"].as_str(), said.len()), (Some(2), Some("typo"), 3));
}
