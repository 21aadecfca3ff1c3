//! The life of an alert: which node opens one, how it grows, closes, is amended or taken back, and what its record says.

#[cfg(test)]
mod course_tests;
pub(crate) mod drop;
pub mod episode;
pub(crate) mod habit;
mod hold;
pub(crate) mod moved;
mod open;
mod ramp;
mod ratio;
mod record;
pub(crate) mod select;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use self::record::month_end;
use crate::model::hash::hash128;

/// The id of an alert: the team in clear, so that whoever has it finds its shard, and a hash of what it is about.
pub(crate) fn id(team: &str, about: &[&[u8]]) -> String {
    let parts: Vec<&[u8]> = std::iter::once(team.as_bytes()).chain(about.iter().copied()).collect();
    format!("{team}/{:032x}", hash128(&parts))
}
