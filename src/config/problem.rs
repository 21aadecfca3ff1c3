//! What is wrong with a file or a variable: where, what, and what to do about it.

use std::fmt;
use std::sync::Arc;

/// Where a value was written. `line` 0: the file as a whole, or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path as the user gave it, or the variable's name.
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

/// One thing that keeps a file from being used, or (as a warning) is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub what: String,
    pub hint: Option<String>,
}

impl Place {
    pub fn whole(file: &str) -> Place {
        Place { file: file.into(), line: 0, column: 0 }
    }
}

impl Problem {
    pub fn new(place: &Place, what: impl Into<String>) -> Problem {
        Problem { place: place.clone(), what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl fmt::Display for Problem {
    /// `config/x.toml:12: unknown key 'treshold' in [watch]; did you mean 'thresholds'?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// "did you mean 'x'?" if one of the known words is near enough.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    let nearest = known.into_iter().map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate)).min()?;
    let near_enough = nearest.0 <= (word.chars().count() / 3).max(1);
    near_enough.then(|| format!("did you mean '{}'?", nearest.1))
}

/// Edit distance: insertions, deletions, replacements; a swap of neighbours counts one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let replaced = last[column] + usize::from(from != to);
            let mut least = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a[row - 1] == *to && b[column - 1] == *from {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "abc", 3), ("same", "same", 0), ("treshold", "thresholds", 2), ("prot", "port", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["thresholds", "lateness", "port"];
        assert_eq!(did_you_mean("treshold", known).as_deref(), Some("did you mean 'thresholds'?"));
        assert_eq!(did_you_mean("prot", known).as_deref(), Some("did you mean 'port'?"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}
