//! The life of an alert: which node opens one, how it grows, closes, is amended or taken back, and what its record says.

pub(crate) mod drop;
pub mod episode;
pub(crate) mod habit;
pub(crate) mod moved;
mod open;
mod ramp;
mod ratio;
mod record;
pub(crate) mod select;
#[cfg(test)]
mod tests;
mod words;
