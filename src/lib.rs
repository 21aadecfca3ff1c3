//! Tollgate.
pub mod cli;
pub mod clock;
pub mod config;
pub mod health;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod watch;
