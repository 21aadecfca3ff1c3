//! Tests against real parts: Apache Kafka, a mail server, clients in another language.

#[allow(dead_code, unused_imports, reason = "helpers for the tests of every room")]
pub mod parts;

mod access;
mod answers;
mod billing;
mod broker;
mod bulk;
mod chaos;
mod copy;
mod deliver;
mod drift;
mod gather;
mod hooks;
mod inputs;
mod lanes;
mod leaderless;
mod leaving;
mod lineage;
mod mail;
mod matters;
mod outage;
mod owners;
mod path;
mod redrive;
mod rejects;
mod repeat;
mod reset;
mod security;
mod starting;
mod violations;
mod whole;
