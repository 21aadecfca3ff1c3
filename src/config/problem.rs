//! What is wrong with a file or a variable: where, what, and what to do about it.

use std::fmt;
use std::sync::Arc;

pub use crate::model::near::{did_you_mean, nearest};

/// Where a value was written. `line` 0: the file as a whole, or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path as the user gave it, or the variable's name.
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    /// The column is shown too: inside of a text it says more than the line.
    pub is_exact: bool,
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
        Place { file: file.into(), line: 0, column: 0, is_exact: false }
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
            line if self.is_exact => write!(f, "{}:{line}:{}", self.file, self.column),
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
