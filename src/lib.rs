//! Tollgate.
pub mod intake;
pub mod model;
pub mod watch;
