//! LAB: the core on files: what `tollgate run` would say, without a Kafka. No second implementation, and nothing that only the lab can do.

pub mod backtest;
pub mod csv;
pub mod explain;
pub mod tune;
