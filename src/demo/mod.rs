//! DEMO: the whole path in one process on an in-process broker. Real usage of twelve tenants at high speed, five incidents mixed in.

mod cast;
mod data;
mod grade;
mod incidents;
mod replay;
#[cfg(test)]
mod tests;
mod usage;
