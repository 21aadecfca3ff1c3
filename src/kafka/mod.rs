//! All of rdkafka: clients, the consumer, the transactional producer, topics, reading a compacted partition, the demo's broker;
//! `groups`, `scan`, `transfer` and `recreate` are what the commands of an operator need.

pub mod client;
pub mod consumer;
pub mod embedded;
pub mod groups;
pub mod producer;
pub mod read;
pub mod recreate;
pub mod scan;
pub mod topics;
pub mod transfer;

/// A borrowed record and the trait that reads it.
pub use rdkafka::message::{BorrowedMessage, Headers, Message};
