//! The verdict of a policy over one event, and why: which clause, which values.

use super::check::{Checker, Condition, Sets};
use super::eval::{Facts, Unknown, Value};
use super::fields::{FieldId, Subject};
use super::nodes::BoolNode;
use super::rules::{Exemption, Policies, Policy, clauses_of, shown};
use crate::model::time::Timestamp;

/// What a policy says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Passes,
    Violates,
    /// The event does not say enough. No silent pass: it is counted and shown.
    Indeterminate(Unknown),
}

/// An answer, with what stands beside it.
#[derive(Clone, Debug)]
pub enum Verdict<'p> {
    Passes,
    Violates,
    /// It would be a violation.
    Exempt(&'p Exemption),
    Indeterminate(Unknown),
}

#[derive(Clone, Debug)]
pub struct Judged<'p> {
    pub policy: &'p Policy,
    pub verdict: Verdict<'p>,
}

/// One part of a condition, as it was written, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    pub source: String,
    /// `None`: unknown.
    pub holds: Option<bool>,
    /// Names and values of the fields that it asks for.
    pub values: Vec<(&'static str, String)>,
}

impl Condition {
    /// # Errors
    /// Why it cannot be said.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Unknown> {
        self.test.eval(facts)
    }

    /// Each part by itself. `sets` are those that it was compiled with.
    pub fn clauses(&self, facts: &Facts<'_>, sets: &Sets) -> Vec<Clause> {
        let mut clauses = Vec::new();
        for tree in clauses_of(&self.tree) {
            let mut checker = Checker { subject: self.subject, sets, reads: Vec::new() };
            // It was compiled before, as a part of the whole.
            let Ok(test) = checker.bool(tree) else { continue };
            let Checker { mut reads, .. } = checker;
            reads.sort_unstable();
            reads.dedup();
            let value = |field: FieldId| {
                let name = self.subject.fields().get(field).map_or("", |field| field.name);
                (name, shown(facts.get(field)))
            };
            clauses.push(Clause {
                source: self.source.get(tree.at.clone()).unwrap_or_default().to_string(),
                holds: BoolNode::eval(&test, facts).ok(),
                values: reads.into_iter().map(value).collect(),
            });
        }
        clauses
    }
}

impl Policy {
    /// `when` and not `unless`. One of the two may decide although the other is unknown.
    pub fn answer(&self, facts: &Facts<'_>) -> Answer {
        let when = self.when.holds(facts);
        if when == Ok(false) {
            return Answer::Passes;
        }
        let unless = self.unless.as_ref().map_or(Ok(false), |unless| unless.holds(facts));
        match (when, unless) {
            (_, Ok(true)) => Answer::Passes,
            (Err(why), _) | (_, Err(why)) => Answer::Indeterminate(why),
            (Ok(_), Ok(false)) => Answer::Violates,
        }
    }
}

impl Exemption {
    fn covers(&self, policy: &Policy, facts: &Facts<'_>, at: Timestamp) -> bool {
        let is_meant = |(field, value): &(FieldId, crate::model::Text)| match facts.get(*field) {
            Some(Value::Text(text)) => *text == **value,
            other => shown(other) == **value,
        };
        self.policy == policy.id && at < self.until && self.only.iter().all(is_meant)
    }
}

impl Policies {
    /// What all policies that concern an event say of it. `team`: whose event it is.
    pub fn judge<'p>(&'p self, subject: Subject, facts: &Facts<'_>, team: &str, at: Timestamp) -> Vec<Judged<'p>> {
        let mut judged = Vec::new();
        for policy in self.policies.iter().filter(|policy| policy.when.subject == subject) {
            if !policy.holds_at(at) || !self.concerns(policy, team, at) {
                continue;
            }
            judged.push(Judged { policy, verdict: self.verdict(policy, facts, at) });
        }
        judged
    }

    fn verdict<'p>(&'p self, policy: &Policy, facts: &Facts<'_>, at: Timestamp) -> Verdict<'p> {
        match policy.answer(facts) {
            Answer::Passes => Verdict::Passes,
            Answer::Indeterminate(why) => Verdict::Indeterminate(why),
            Answer::Violates => self.exemption(policy, facts, at).map_or(Verdict::Violates, Verdict::Exempt),
        }
    }

    /// What allows an event that a policy forbids.
    pub(super) fn exemption(&self, policy: &Policy, facts: &Facts<'_>, at: Timestamp) -> Option<&Exemption> {
        self.exemptions.iter().find(|exemption| exemption.covers(policy, facts, at))
    }
}
