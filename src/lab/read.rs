//! Files as they come: plain or packed (.gz, .zst), with a byte order mark or without, or stdin where the name is -; and lines of event
//! files, one after the other, of any length.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::{Value, json};

use crate::config::Problem;
use crate::config::problem::Place;
use crate::model::record::{Reject, RejectReason};

/// A line that could not be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub place: Place,
    /// As dead letters name it, or as the README names those of files.
    pub reason: String,
    pub message: String,
}

impl Rejected {
    pub fn json(&self) -> Value {
        json!({ "file": *self.place.file, "line": self.place.line, "reason": self.reason, "message": self.message })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.reason, self.message)
    }
}

/// Of an event that is binary: JSON names none.
pub fn names_a_schema() -> Reject {
    Reject::new(RejectReason::UnknownSchema, "the value of a line is JSON, and this one names a schema")
}

/// Reason and message of a line that could not be taken apart; `expected` says what a line is.
pub fn unreadable_line(line: &[u8], error: &serde_json::Error, expected: &str) -> (&'static str, String) {
    let bad = std::str::from_utf8(line).err();
    // A character that is begun and not ended is cut, as the line is.
    if let Some(bad) = bad.filter(|bad| bad.error_len().is_some()) {
        let message = format!("byte {} of the line is no UTF-8; repair the encoding of whoever wrote the file", bad.valid_up_to() + 1);
        return (RejectReason::InvalidUtf8.as_str(), message);
    }
    if error.is_eof() || bad.is_some() {
        let message =
            format!("the line is cut off after {} bytes; is the file still being written, or was only a part of it copied?", line.len());
        return (RejectReason::InvalidJson.as_str(), message);
    }
    if error.is_data() {
        return ("no_event_line", expected.to_string());
    }
    (RejectReason::InvalidJson.as_str(), format!("is no JSON at column {}; {expected}", error.column()))
}

pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// What messages call it.
pub fn shown(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_string() } else { path.display().to_string() }
}

/// Without the byte order mark that some programs write first: it is no part of the text.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// Hands each line of a file, without its end, to `each`, with its place.
///
/// # Errors
/// The file cannot be opened, read or unpacked.
pub fn lines(path: &Path, mut each: impl FnMut(&Place, &[u8])) -> Result<(), Problem> {
    let mut place = Place::whole(&shown(path));
    let whole = place.clone();
    let cannot = |error: std::io::Error| {
        Problem::new(&whole, format!("cannot be read: {error}")).hint("name files of JSON Lines, plain or as .gz or .zst")
    };
    let mut reader = open(path).map_err(cannot)?;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(cannot)? > 0 {
        place.line = place.line.saturating_add(1);
        let text = if place.line == 1 { without_mark(&line) } else { &line };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        each(&place, text.strip_suffix(b"\r").unwrap_or(text));
        line.clear();
    }
    Ok(())
}

/// By the end of its name: packed, or as it is, as stdin always is.
///
/// # Errors
/// The file cannot be opened.
pub fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    if is_stdin(path) {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension {
        "gz" => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        "zst" => Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)),
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut found = Vec::new();
        lines(&path, |_, line| found.push(String::from_utf8_lossy(line).into_owned())).map_err(|problem| problem.to_string())?;
        Ok(found)
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(read("x.jsonl", "\u{feff}one\n\u{feff}two\n".as_bytes()).unwrap(), ["one", "\u{feff}two"]);
        assert_eq!(read("x.jsonl", "\u{feff}\n".as_bytes()).unwrap(), [""]);
    }

    #[test]
    fn packed_files_are_unpacked() {
        let text = b"one\r\n\ntwo";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::encode_all(&text[..], 1).unwrap();
        for (name, bytes) in [("x.jsonl", &text[..]), ("x.jsonl.gz", &gz[..]), ("x.jsonl.zst", &zst[..])] {
            assert_eq!(read(name, bytes).unwrap(), ["one", "", "two"], "{name}");
        }
        // Two members, one after the other, are one file.
        assert_eq!(read("x.gz", &[&gz[..], &gz[..]].concat()).unwrap(), ["one", "", "twoone", "", "two"]);
        assert!(read("x.gz", &gz[..gz.len() / 2]).unwrap_err().contains("cannot be read"));
    }
}
