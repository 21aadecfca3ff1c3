//! DELIVER: from a revision of an alert to mails that were sent, once each, to whom it concerns.
//!
//! `rules` say who is told; `plan` decides whether a revision is worth a mail to a receiver, given the receipt of what he was
//! told before and what speaks for it (`inhibit`); `gather` makes one letter of many; `render` makes subject, text, HTML and picture (`chart`) of it; `channels` send it, each in a `lane` of its own of the
//! `outbox`; `retry` says when to try again, and `again` what a receipt brings up later. `worker`, the consumer of the alerts topic,
//! calls in and keeps the receipts (`owned`). What people answer by the links of `answer`, on the page of `answers`, becomes an event of `feedback`.

pub mod again;
pub mod answer;
mod answer_words;
pub mod answers;
pub mod calendar;
pub mod channels;
pub mod chart;
pub mod feedback;
pub mod gather;
pub mod inhibit;
pub mod lane;
pub mod ocsf;
pub mod outbox;
pub mod owned;
pub mod plan;
pub mod receipt;
pub mod render;
pub mod retry;
pub mod rules;
pub mod violation;
pub mod worker;
