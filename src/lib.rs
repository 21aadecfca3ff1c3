//! Tollgate.
pub mod deliver;
pub mod demo;
pub mod intake;
pub mod kafka;
pub mod model;
pub mod watch;
