//! All of rdkafka: clients, the consumer, the transactional producer, topics, reading a compacted partition, the demo's broker.

pub mod batch;
pub mod client;
pub mod consumer;
pub mod embedded;
mod fetch;
pub mod link;
pub mod producer;
pub mod read;
pub mod session;
pub mod topics;
