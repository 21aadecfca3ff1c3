//! What config says of access.

use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::pattern::matches;
use crate::policy::fields::Subject;
use crate::policy::{Condition, Mode, Policy};

/// Policies of this room are named so; files of policies have no such ids.
pub const PREFIX: &str = "access.";

/// What can be wrong with access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody uses what nobody has granted, or what is not granted any more.
    Ungranted,
    /// Somebody who has left does something.
    Offboarded,
    /// Somebody may use what they do not use.
    UnusedGrant,
    /// One key is used by many, or from many places.
    SharedKey,
    /// Many use what nobody owns.
    TooManyHands,
    /// One person did what two should have done.
    SeparationOfDuties,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRules {
    /// Not told.
    pub off: Vec<Kind>,
    /// Patterns with `*`: models and datasets that nobody uses without a grant. What was ever granted is among them in any case.
    pub governed: Vec<Text>,
    /// A use without a grant waits so long, in shard time: topics keep no order among partitions, and the grant may come later. A use that
    /// is stamped so much earlier than its grant is covered by it, since clocks differ.
    pub grace_ms: i64,
    pub unused_after_ms: i64,
    /// Regions from which one key is used within an hour; 0 = not looked at.
    pub regions_per_key: usize,
    /// Users of one key within an hour; 0 = not looked at.
    pub users_per_key: usize,
    /// Tag of `access` events that names the user behind a key.
    pub user_tag: Text,
    /// Principals that used what nobody owns within 30 days; 0 = not looked at.
    pub hands: usize,
    /// Pairs of actions or roles that are not one person's.
    pub separate: Vec<[Text; 2]>,
}

impl Kind {
    pub const ALL: [(&'static str, Kind); 6] = [
        ("access.ungranted", Kind::Ungranted),
        ("access.offboarded", Kind::Offboarded),
        ("access.unused-grant", Kind::UnusedGrant),
        ("access.shared-key", Kind::SharedKey),
        ("access.too-many-hands", Kind::TooManyHands),
        ("access.separation-of-duties", Kind::SeparationOfDuties),
    ];

    /// Id of its policy.
    pub fn id(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or(PREFIX, |(id, _)| id)
    }

    /// Its violations are told like those of a policy.
    pub(super) fn policy(self, severity: Severity) -> Policy {
        let mode = if matches!(self, Kind::Ungranted | Kind::Offboarded) { Mode::Enforce } else { Mode::Warn };
        Policy { severity, mode, ..Policy::new(self.id(), Condition::by_code(Subject::Activity)) }
    }
}

impl AccessRules {
    pub fn is_on(&self, kind: Kind) -> bool {
        !self.off.contains(&kind)
    }

    pub fn governs(&self, name: &str) -> bool {
        self.governed.iter().any(|pattern| matches(pattern, name))
    }
}
