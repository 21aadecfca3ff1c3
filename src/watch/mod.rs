//! WATCH: merge partials, close buckets by watermark, detect, explain, keep each alert's life. The only writer of alerts and roll-ups.

pub mod baseline;
pub mod detect;
pub mod explain;
pub mod rules;
