//! WATCH: merge partials, close hours by watermark, detect, explain, keep each alert's life, judge policies. The only
//! writer of alerts, violations and roll-ups.
//!
//! One [`Shard`] per partition of the shard log. Evaluation is per record and minute, never per batch, so the same log and the same rules
//! give the same output however the records were fetched, committed, or restored in between. Reading order: `shard` (what is kept,
//! `apply`), then `merge`, `late`, `early`, `user_minutes`, `stood_out`, `close`, then `alert/` and `violation/`; `state` and `restore`
//! are how a shard outlives its process.

pub mod access;
mod account;
mod accounts;
pub mod alert;
pub mod baseline;
mod billed;
mod budget;
mod close;
#[cfg(test)]
mod close_tests;
mod counts;
mod days;
pub mod detect;
pub mod drift;
mod early;
#[cfg(test)]
mod early_tests;
mod events;
pub mod explain;
mod feedback;
mod history;
mod judge;
mod late;
#[cfg(test)]
mod late_tests;
mod legacy;
pub mod matters;
mod merge;
mod numbers;
mod originals;
#[cfg(test)]
mod originals_tests;
mod places;
mod recent;
pub mod restore;
pub mod rules;
pub mod series;
mod shard;
mod small;
pub mod state;
mod stood_out;
mod teams;
#[cfg(test)]
mod tests;
pub mod track;
mod unsaved;
mod user_minutes;
mod violation;
pub mod watermark;

pub(crate) use self::billed::KEPT_HOURS as BILLED_HOURS;
pub use self::feedback::{Unmatched, Why};
pub use self::restore::{Replay, Restorer};
pub use self::shard::{Closing, Header, Shard};

use self::feedback::Books;
use self::rules::WatchRules;
use crate::model::time::{HOUR_MS, Hour, Timestamp};

/// What every decision of one record needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub rules: &'a WatchRules,
    /// What people have said.
    pub books: &'a Books,
    pub shard_time: Timestamp,
    pub closed_through: Option<Hour>,
}

impl Moment<'_> {
    /// For how long after its end an hour may be settled.
    pub fn settling_ms(&self) -> i64 {
        self.rules.lateness_ms.saturating_add(HOUR_MS)
    }
}
