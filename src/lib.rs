//! Tollgate.
pub mod deliver;
pub mod intake;
pub mod model;
pub mod watch;
