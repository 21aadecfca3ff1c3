//! LAB: the engine on files: what `tollgate run` would say, without a Kafka. The very code of the roles; what is here reads, feeds and
//! prints, and there is nothing that only the lab can do.

pub mod backtest;
pub mod csv;
pub mod data_flow;
pub mod explain;
pub mod read;
pub mod score;
pub mod showback;
mod spacing;
pub mod tune;
