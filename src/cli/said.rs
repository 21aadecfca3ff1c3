//! What people may write when they say something about an alert or a violation.

use std::collections::BTreeMap;

use crate::config::duration_ms;
use crate::intake::LONGEST_TEXT;
use crate::model::time::Timestamp;

/// Intake would not take an event with a longer one, long after it was said to be written.
pub fn short(text: &str) -> Result<String, String> {
    let has = text.len();
    if has > LONGEST_TEXT { Err(format!("has {has} bytes, at most {LONGEST_TEXT} are taken")) } else { Ok(text.to_string()) }
}

/// A beginning of nothing would be that of whatever there is.
pub fn id(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty: `tollgate alerts list` and `tollgate violations list` show ids".to_string());
    }
    Ok(text.to_string())
}

/// Words of nobody are worth nothing to whoever reads them later.
pub fn who(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("is empty: say --by NAME".to_string()) } else { short(text) }
}

pub fn dimension(text: &str) -> Result<(String, String), String> {
    const KNOWN: [&str; 6] = ["project", "model", "provider", "region", "environment", "meter"];
    let split = text.split_once('=').filter(|(name, value)| KNOWN.contains(name) && !value.is_empty());
    let (name, value) = split.ok_or_else(|| format!("write one of {} and its value: model=gpt-4o", KNOWN.join(", ")))?;
    Ok((name.to_string(), short(value)?))
}

/// An event has one value of each.
pub fn dimensions(only: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut dimensions = BTreeMap::new();
    for (name, value) in only {
        if dimensions.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("--only: {name} is named twice: write one plan for each"));
        }
    }
    Ok(dimensions)
}

#[derive(Clone, Copy, Debug)]
pub enum End {
    At(Timestamp),
    In(i64),
}

pub fn until(text: &str) -> Result<End, String> {
    let in_ms = || duration_ms(text).ok().map(End::In);
    Timestamp::parse(text).map(End::At).or_else(in_ms).ok_or_else(|| "write 7d, 4h or 2026-12-01T00:00:00Z".to_string())
}

impl End {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            End::At(time) => time,
            End::In(ms) => now.plus_ms(ms),
        }
    }
}

/// # Errors
/// Nobody says it, with what to write.
pub fn speaker(by: Option<&str>) -> Result<&str, String> {
    by.ok_or_else(|| "nobody says so: add --by NAME (the variable USER is not set)".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_somebodys() {
        assert_eq!(speaker(Some("ann")), Ok("ann"));
        assert!(speaker(None).unwrap_err().contains("add --by NAME"));
        assert!(who(" ").unwrap_err().contains("say --by NAME"));
    }

    #[test]
    fn a_plan_has_one_value_of_each_dimension() {
        let only = |words: &[&str]| dimensions(&words.iter().map(|word| dimension(word).unwrap()).collect::<Vec<_>>());
        assert_eq!(only(&["project=a", "model=a"]).unwrap().len(), 2);
        let problem = only(&["project=a", "model=m", "project=b"]).unwrap_err();
        assert_eq!(problem, "--only: project is named twice: write one plan for each");
    }
}
