//! An event from a file or from stdin, as a policy sees it.

use std::path::Path;

use serde_json::Value;

use crate::cli::input;
use crate::policy::fields::Subject;
use crate::policy::{Given, Sample};

/// # Errors
/// What is wrong with the file, in one line.
pub fn read(path: &Path, subject: Subject) -> Result<Sample, String> {
    let shown = input::shown(path);
    let text = input::text(path).map_err(|problem| format!("{shown}: {problem}"))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| format!("{shown}:{}: no JSON: {error}", error.line()))?;
    let Value::Object(fields) = json else { return Err(format!("{shown}: an event is a JSON object: {{\"team\": \"search\"}}")) };
    let mut sample = Sample::new(subject);
    for (name, value) in fields {
        let Some(field) = subject.field(&name).and_then(|id| subject.fields().get(id)) else { continue };
        if value.is_null() {
            continue;
        }
        let wrong = || format!("{shown}: '{name}' is {value}, it should be {}", field.kind.shown());
        let given = Given::of_json(field.kind, &value).ok_or_else(wrong)?;
        sample.set(&name, given).map_err(|_| wrong())?;
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_behind_a_byte_order_mark_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.json");
        std::fs::write(&path, "\u{feff}{\"team\": \"search\"}").unwrap();
        assert_eq!(read(&path, Subject::Usage).unwrap().text("team"), Some("search"));
    }
}
