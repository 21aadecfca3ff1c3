//! Feedback: what a person says about an alert, or announces before there is one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;
use super::time::{DAY_MS, Timestamp};

/// Nothing that is said holds for longer, from when it is said or begins, whichever is later.
pub const LONGEST_MS: i64 = 90 * DAY_MS;

/// A validated event of the topic `feedback`. Field names and meanings are those of `schemas/feedback.avsc`; texts are trimmed, an empty
/// one is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Feedback {
    pub event_id: Text,
    pub source: Text,
    pub event_time: Timestamp,
    pub actor: Option<Text>,
    /// Of an alert or a violation.
    pub alert_id: Option<Text>,
    /// Whom it is about: as stated, else as the alert's id says. Never empty.
    pub team: Text,
    /// Without an alert's id: what is not named matches everything.
    pub dimensions: BTreeMap<Text, Text>,
    pub verdict: Verdict,
    /// From when it holds, inclusive; `None`: from `event_time`.
    pub from: Option<Timestamp>,
    /// Until when it holds, exclusive; `None`: as configured for the verdict.
    pub until: Option<Timestamp>,
    pub note: Option<Text>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Somebody looks after it.
    #[default]
    Ack,
    /// So much is expected for a while.
    Expected,
    /// A change that is announced.
    Planned,
    NotAnAnomaly,
    Reopen,
}

impl Verdict {
    pub const ALL: [Verdict; 5] = [Verdict::Ack, Verdict::Expected, Verdict::Planned, Verdict::NotAnAnomaly, Verdict::Reopen];

    /// As it stands in events.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ack => "ack",
            Verdict::Expected => "expected",
            Verdict::Planned => "planned",
            Verdict::NotAnAnomaly => "not_an_anomaly",
            Verdict::Reopen => "reopen",
        }
    }

    pub fn named(name: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.name().eq_ignore_ascii_case(name))
    }
}

impl Default for Feedback {
    fn default() -> Feedback {
        Feedback {
            event_id: Text::from(""),
            source: Text::from(""),
            event_time: Timestamp::default(),
            actor: None,
            alert_id: None,
            team: Text::from(super::leaf::UNATTRIBUTED),
            dimensions: BTreeMap::new(),
            verdict: Verdict::Ack,
            from: None,
            until: None,
            note: None,
        }
    }
}
