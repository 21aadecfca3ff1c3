//! Verdicts on what was spent: buckets against their baseline, minutes against what whole hours used to take.

pub mod ring;
pub mod runaway;
pub mod verdict;
