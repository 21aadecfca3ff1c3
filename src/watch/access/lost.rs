//! Grants that there was no room for. As long as one of them may hold, nobody knows any more who has none.

use std::collections::BTreeMap;

use super::book::Grant;
use crate::model::access::GrantName;
use crate::model::hash::hash128;
use crate::model::time::{DAY_MS, Timestamp};
use crate::watch::state::{StateError, encode, from_payload};

/// So many are remembered, by the hash of their names; of more nobody knows when they are over.
const MOST_LOST: usize = 1_000;
/// A use of before its end may be heard of so much later.
const KEEP_OVER_MS: i64 = 2 * DAY_MS;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lost {
    grants: BTreeMap<u128, Grant>,
    /// There were more than are remembered, or an earlier version has lost them.
    is_unknown: bool,
}

impl Lost {
    pub fn is_any(&self) -> bool {
        self.is_unknown || !self.grants.is_empty()
    }

    /// What is said of one that has no room.
    pub fn change(&mut self, name: &GrantName, change: impl FnOnce(&mut Grant)) {
        let hash = hash_of(name);
        if self.grants.len() >= MOST_LOST && !self.grants.contains_key(&hash) {
            self.is_unknown = true;
            return;
        }
        let grant = self.grants.entry(hash).or_default();
        change(grant);
        // Its times are all that is asked for, and texts may be long.
        *grant = Grant { team: None, principal_type: None, used_by: None, ..std::mem::take(grant) };
    }

    /// One of them has found room.
    pub fn take(&mut self, name: &GrantName) -> Option<Grant> {
        self.grants.remove(&hash_of(name))
    }

    /// Answers whether some are over for good.
    pub fn forget(&mut self, at: Timestamp) -> bool {
        let before = self.grants.len();
        self.grants.retain(|_, grant| grant.until.is_none_or(|until| at.0 - until.0 <= KEEP_OVER_MS));
        self.grants.len() < before
    }

    /// `None` if there are none.
    pub fn value(&self) -> Option<Vec<u8>> {
        self.is_any().then(|| encode(&(true, (!self.is_unknown).then_some(&self.grants))))
    }

    /// # Errors
    /// Bytes of no form that was ever written.
    pub fn restored(payload: &[u8]) -> Result<Lost, StateError> {
        type Written = (bool, Option<BTreeMap<u128, Grant>>);
        // Earlier versions wrote that there are some, and nothing of them.
        let read = from_payload(payload).or_else(|_: StateError| from_payload(&[payload, &[0]].concat()));
        read.map(|(is_any, grants): Written| Lost { is_unknown: is_any && grants.is_none(), grants: grants.unwrap_or_default() })
    }
}

fn hash_of(name: &GrantName) -> u128 {
    let GrantName { object, principal, role } = name;
    let role = role.as_ref().map(|role| role.as_bytes());
    let parts = [object.kind().as_bytes(), object.name().as_bytes(), principal.as_bytes(), role.unwrap_or_default()];
    hash128(&parts[..if role.is_some() { 4 } else { 3 }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::Object;
    use crate::watch::state::unseal;

    fn name(number: usize) -> GrantName {
        GrantName { object: Object::Model("risk".into()), principal: number.to_string().as_str().into(), role: None }
    }

    fn restored(lost: &Lost) -> Lost {
        let value = lost.value().unwrap();
        Lost::restored(unseal(&value).unwrap().1).unwrap()
    }

    #[test]
    fn what_an_earlier_version_lost_stays_lost() {
        let value = encode(&true);
        let mut lost = Lost::restored(unseal(&value).unwrap().1).unwrap();
        assert!(!lost.forget(Timestamp(i64::MAX)) && lost.is_any());
        assert_eq!(restored(&lost), lost);
    }

    #[test]
    fn of_too_many_nobody_knows_the_end() {
        let mut lost = Lost::default();
        for number in 0..=MOST_LOST {
            assert!(!lost.is_unknown, "{number}");
            lost.change(&name(number), |grant| grant.give(Timestamp(1), Some(Timestamp(2))));
            lost.change(&name(0), |grant| grant.give(Timestamp(1), Some(Timestamp(3))));
        }
        assert!(lost.forget(Timestamp(10 * DAY_MS)) && lost.is_any() && lost.grants.is_empty());
        assert_eq!(restored(&lost), lost);
    }
}
