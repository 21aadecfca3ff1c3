//! POLICY: who may use what, where, under which tags: conditions in the Common Expression Language, parsed, type-checked when they are
//! loaded, compiled to a tree of typed nodes that is evaluated without an allocation.
//!
//! In the order in which a policy comes to a verdict: `lex` and `parse` make a tree of the text, `fields` says what there is to ask about,
//! `check` finds the types and compiles, `eval` answers true, false or unknown, `judge` makes a verdict of it and says why, `ask` an
//! answer to who asks before.
//!
//! A field that is not there is no false: the answer is unknown, and an unknown condition never passes silently.

mod ask;
mod check;
pub mod domains;
mod eval;
pub mod fields;
mod judge;
mod lex;
mod nodes;
mod parse;
pub mod regions;
mod rules;
mod sample;
pub mod stream;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::ask::{Advice, Alternative, Decision, Reason};
pub use self::check::{Condition, Sets, set as text_set};
pub use self::eval::{Facts, Unknown, Value};
pub use self::judge::{Answer, Clause, Judged, Verdict};
pub use self::rules::{Conflict, Domain, Exemption, Message, Mode, Policies, Policy};
pub use self::sample::{Given, Sample};

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Bytes of the condition's source.
    pub at: Range<usize>,
    pub what: String,
    pub hint: Option<String>,
}

impl Wrong {
    fn new(at: Range<usize>, what: impl Into<String>) -> Wrong {
        Wrong { at, what: what.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Wrong {
        self.hint = Some(hint.into());
        self
    }

    fn moved(mut self, by: usize) -> Wrong {
        self.at = self.at.start + by..self.at.end + by;
        self
    }
}
