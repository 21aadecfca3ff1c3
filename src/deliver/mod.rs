//! DELIVER: from a revision of an alert to mails that were sent, once each, to whom it concerns.
//!
//! `rules` say who is told; `plan` decides whether a revision is worth a mail to a receiver, given the receipt of what he was
//! told before; `render` makes subject, text, HTML and picture (`chart`) of it; `channels` send it; `retry` says when to try
//! again. Nothing here reads a clock or Kafka: the consumer of the alerts topic calls in, and keeps the receipts.

pub mod channels;
pub mod chart;
pub mod plan;
pub mod receipt;
pub mod render;
pub mod retry;
pub mod rules;
pub mod violation;
pub mod worker;
