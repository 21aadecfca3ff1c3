//! An event from a file or from stdin, as a policy sees it.

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use crate::policy::fields::Subject;
use crate::policy::{Given, Sample};

/// # Errors
/// What is wrong with the file, in one line.
pub fn read(path: &Path, subject: Subject) -> Result<Sample, String> {
    let shown = if path == Path::new("-") { "stdin".to_string() } else { path.display().to_string() };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|content| text = content)
    };
    read.map_err(|error| format!("{shown}: cannot be read: {error}"))?;
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
