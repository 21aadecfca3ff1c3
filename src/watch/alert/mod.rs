//! The life of an alert: which node opens one, how it grows, closes, is amended or taken back, and what its record says.

pub mod episode;
mod record;
pub(crate) mod select;
mod words;
