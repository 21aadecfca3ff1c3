//! All of rdkafka: `link` says what a worker asks of Kafka, `session` does it with `consumer`, `producer` and `read`; `fetch` and `batch`
//! are how records come; `tail` and `identity` follow and identify what a local copy is of; `groups`, `scan`, `transfer` and `recreate` are
//! what the commands of an operator need; `probe` is a first look at a cluster, with `describe`, and `access` tells what is refused; `within`
//! bounds calls that have no bound of their own; `floor` is the least that reading a topic costs, for `tollgate bench`; `embedded` is the
//! demo's broker.

pub mod access;
pub mod batch;
pub mod client;
pub mod consumer;
pub mod describe;
pub mod embedded;
mod fetch;
pub mod floor;
pub mod groups;
pub mod housekeeping;
pub mod identity;
pub mod link;
pub mod owners;
pub mod probe;
pub mod producer;
pub mod read;
pub mod recreate;
pub mod scan;
pub mod session;
pub mod tail;
pub mod topics;
pub mod transfer;
mod within;
