//! Why: which projects, models, regions and users the excess comes from.

mod groups;
mod noise;
pub mod ripple;
pub mod split;

use std::collections::BTreeMap;

use crate::model::Text;
use crate::model::alert::Cause;
use crate::model::leaf::LeafDimensions;
use crate::model::money::Nanos;

/// A user is named from this share of the excess on; from the second one if nothing is known of what the user usually takes.
const LEAST_USER_SHARE: f64 = 0.2;
const LEAST_UNKNOWN_USER_SHARE: f64 = 0.5;
const MOST_USERS: usize = 2;
/// A combination with a smaller share of the excess is left to the unexplained rest.
const LEAST_SHARE: f64 = 0.03;

/// What one leaf took and was expected to take over the episode, in money.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafDeviation {
    pub dimensions: LeafDimensions,
    pub expected: f64,
    pub actual: f64,
}

/// What one user (or key) took within the same span.
#[derive(Clone, Debug, PartialEq)]
pub struct UserDeviation {
    pub user: Text,
    /// Where it was spent; empty if users are not counted by project.
    pub project: Text,
    pub actual: f64,
    /// What the user usually takes in such a span; `None` if nobody knows.
    pub expected: Option<f64>,
}

/// Causes, largest share first, and the part of the excess that they leave open.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub causes: Vec<Cause>,
    pub unexplained: f64,
}

/// One row of [`split`]: values in the order of the names.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    pub values: Vec<&'a str>,
    pub expected: f64,
    pub actual: f64,
}

/// A combination of named values and its sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub dimensions: BTreeMap<String, String>,
    pub expected: f64,
    pub actual: f64,
    /// Part of the sum of all absolute deviations that lies in its rows, 0..1.
    pub deviation: f64,
}

/// Explains the excess of a node over its leaves. Users explain the same money from another side, so shares of users and of
/// dimensions are not added up.
pub fn causes(leaves: &[LeafDeviation], users: &[UserDeviation]) -> Explanation {
    let expected: f64 = leaves.iter().map(|leaf| leaf.expected).sum();
    let actual: f64 = leaves.iter().map(|leaf| leaf.actual).sum();
    let excess = actual - expected;
    if excess <= 0.0 || !excess.is_finite() {
        return Explanation { causes: Vec::new(), unexplained: 0.0 };
    }
    let by_dimension: Vec<Cause> =
        split_leaves(leaves).into_iter().map(|part| cause(part, excess)).filter(|cause| cause.share >= LEAST_SHARE).collect();
    let by_user: Vec<Cause> = split_users(users, expected / actual).into_iter().map(|part| cause(part, excess)).collect();
    let explained = share_sum(&by_dimension).max(share_sum(&by_user));
    let mut causes: Vec<Cause> = by_user.into_iter().chain(by_dimension).collect();
    // Stable: of equal shares the user comes first, being closer to somebody who can act.
    causes.sort_by(|a, b| b.share.total_cmp(&a.share));
    Explanation { causes, unexplained: (1.0 - explained).clamp(0.0, 1.0) }
}

/// The combinations of named dimensions that explain most of the deviation, in either direction, best first.
pub fn split(names: &[&str], rows: &[Row<'_>]) -> Vec<Part> {
    let mut table = ripple::Table {
        codes: Vec::new(),
        sizes: Vec::new(),
        expected: rows.iter().map(|row| finite(row.expected)).collect(),
        actual: rows.iter().map(|row| finite(row.actual)).collect(),
    };
    let mut values_of: Vec<Vec<&str>> = Vec::new();
    for dimension in 0..names.len() {
        let column: Vec<&str> = rows.iter().map(|row| row.values.get(dimension).copied().unwrap_or("")).collect();
        // By first appearance, then in the order of the values.
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let codes: Vec<u32> = column
            .iter()
            .map(|value| {
                let next = seen.len() as u32;
                *seen.entry(value).or_insert(next)
            })
            .collect();
        let mut place = vec![0; seen.len()];
        (0..).zip(seen.values()).for_each(|(at, code)| place[*code as usize] = at);
        table.codes.push(codes.iter().map(|code| place[*code as usize]).collect());
        table.sizes.push(seen.len() as u32);
        values_of.push(seen.into_keys().collect());
    }
    let named = |&(dimension, code): &(usize, u32)| {
        let value = values_of[dimension].get(code as usize).copied().unwrap_or("");
        (names[dimension].to_string(), value.to_string())
    };
    let groups = ripple::groups(&table);
    groups
        .iter()
        .map(|group| Part {
            dimensions: group.values.iter().map(named).collect(),
            expected: group.expected,
            actual: group.actual,
            deviation: group.deviation,
        })
        .collect()
}

/// Combinations of leaf dimensions that spent more than expected.
fn split_leaves(leaves: &[LeafDeviation]) -> Vec<Part> {
    let Some(first) = leaves.first() else { return Vec::new() };
    let names = first.dimensions.named().map(|(name, _)| name);
    let rows: Vec<Row<'_>> = leaves
        .iter()
        .map(|leaf| Row {
            values: leaf.dimensions.named().iter().map(|(_, value)| &***value).collect(),
            expected: leaf.expected,
            actual: leaf.actual,
        })
        .collect();
    let mut parts = split(&names, &rows);
    parts.retain(|part| part.actual > part.expected);
    for part in &mut parts {
        // A value that no source stated names nothing.
        part.dimensions.retain(|_, value| !value.is_empty());
    }
    parts.retain(|part| !part.dimensions.is_empty());
    parts
}

/// Users with the largest excess. Of one of whom nothing is known, as much is expected as of the whole node: the same ratio.
fn split_users(users: &[UserDeviation], usual_ratio: f64) -> Vec<Part> {
    let excess_of_all: f64 = users.iter().map(|user| user.actual * (1.0 - usual_ratio)).sum();
    let mut parts: Vec<Part> = Vec::new();
    for user in users.iter().filter(|user| !user.user.is_empty()) {
        let expected = user.expected.unwrap_or(user.actual * usual_ratio);
        let least = if user.expected.is_some() { LEAST_USER_SHARE } else { LEAST_UNKNOWN_USER_SHARE };
        if user.actual - expected > 0.0 && user.actual - expected >= least * excess_of_all {
            let mut dimensions = BTreeMap::from([("user".to_string(), user.user.to_string())]);
            if !user.project.is_empty() {
                dimensions.insert("project".to_string(), user.project.to_string());
            }
            let deviation = (user.actual - expected) / excess_of_all;
            parts.push(Part { dimensions, expected, actual: user.actual, deviation });
        }
    }
    parts.sort_by(|a, b| (b.actual - b.expected).total_cmp(&(a.actual - a.expected)));
    parts.truncate(MOST_USERS);
    parts
}

fn cause(part: Part, excess: f64) -> Cause {
    let share = ((part.actual - part.expected) / excess).clamp(0.0, 1.0);
    Cause { dimensions: part.dimensions, actual: nanos(part.actual), expected: nanos(part.expected), share }
}

fn share_sum(causes: &[Cause]) -> f64 {
    causes.iter().map(|cause| cause.share).sum()
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// Money as floats ends here; what is more than any amount may be counts as the largest that there is, else nobody could read the alert.
fn nanos(amount: f64) -> Nanos {
    Nanos(libm::rint(amount * 1e9) as i128).saturating_add(Nanos::ZERO)
}

#[cfg(test)]
mod tests;
