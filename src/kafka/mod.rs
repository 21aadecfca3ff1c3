//! All of rdkafka: clients, the consumer, the transactional producer, topics, reading a compacted partition, the demo's broker.

pub mod client;
pub mod consumer;
pub mod embedded;
pub mod floor;
pub mod producer;
pub mod read;
pub mod topics;

/// A borrowed record and the trait that reads it.
pub use rdkafka::message::{BorrowedMessage, Headers, Message};
