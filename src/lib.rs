//! Tollgate.
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod demo;
pub mod health;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod runtime;
pub mod watch;
