//! The report of `tollgate check`: one line per thing, and a summary.

use std::fmt;

use crate::model::counted::counted;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    Skipped,
    Warning,
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub verdict: Verdict,
    /// What was looked at: "config", "kafka", ...
    pub thing: &'static str,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub lines: Vec<Line>,
}

impl Report {
    pub fn add(&mut self, verdict: Verdict, thing: &'static str, text: impl fmt::Display) {
        self.lines.push(Line { verdict, thing, text: text.to_string() });
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }

    pub fn has_problems(&self) -> bool {
        self.count(Verdict::Problem) > 0
    }

    /// "1 problem, 2 warnings".
    pub fn summary(&self) -> String {
        let (problems, warnings) = (self.count(Verdict::Problem), self.count(Verdict::Warning));
        let text = match (problems, warnings) {
            (0, 0) => "everything is fine".to_string(),
            (0, warnings) => format!("usable, with {}", counted(warnings, "warning")),
            (problems, 0) => counted(problems, "problem"),
            (problems, warnings) => format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning")),
        };
        let skipped = self.count(Verdict::Skipped);
        if skipped == 0 { text } else { format!("{text} ({skipped} not checked)") }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Skipped => "-",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<8} {}", self.verdict, self.thing, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let cases: [(&[Verdict], &str); 5] = [
            (&[Verdict::Ok], "everything is fine"),
            (&[Verdict::Ok, Verdict::Skipped], "everything is fine (1 not checked)"),
            (&[Verdict::Warning], "usable, with 1 warning"),
            (&[Verdict::Problem, Verdict::Problem], "2 problems"),
            (&[Verdict::Problem, Verdict::Warning, Verdict::Warning], "1 problem, 2 warnings"),
        ];
        for (verdicts, expected) in cases {
            let mut report = Report::default();
            verdicts.iter().for_each(|verdict| report.add(*verdict, "x", ""));
            assert_eq!(report.summary(), expected);
        }
    }
}
