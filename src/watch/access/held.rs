//! Who holds what: put together from what all shards know, since each hears of every grant, and of the uses by its own teams.

use std::collections::BTreeMap;

use super::book::{AccessKey, Grant};
use crate::model::Text;
use crate::model::access::GrantName;
use crate::model::time::Timestamp;
use crate::watch::matters::MatterKey;
use crate::watch::state::{StateError, StateKey, decode_key, from_payload, unseal};

/// Grants by their names, and who has left.
#[derive(Debug, Default)]
pub struct Holdings {
    grants: BTreeMap<GrantName, Grant>,
    gone: BTreeMap<Text, Timestamp>,
    /// There were more grants than are kept: some are not here.
    pub is_full: bool,
}

/// A grant, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub name: GrantName,
    pub principal_type: Option<Text>,
    /// The team that gave it.
    pub granted_by: Option<Text>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub status: Status,
    /// To the hour, and by which team.
    pub last_used: Option<Timestamp>,
    pub used_by: Option<Text>,
}

/// Whether it can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Holds,
    /// It was given for a time that has not come.
    Later,
    Expired,
    Revoked,
    /// Who holds it has left since it was given.
    Left,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Holds => "holds",
            Status::Later => "later",
            Status::Expired => "expired",
            Status::Revoked => "revoked",
            Status::Left => "left",
        }
    }
}

impl Holdings {
    /// A key of some shard's changelog, with its value; what is not about grants is passed over.
    ///
    /// # Errors
    /// Bytes of another version, or that are not of the key's type.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let StateKey::Matter(MatterKey::Access(key)) = decode_key(key)? else { return Ok(()) };
        let (_, payload) = unseal(value)?;
        match key {
            AccessKey::Grant(name) => self.put_grant(name, Grant::restored(payload)?),
            AccessKey::Gone(who) => {
                let left: Timestamp = from_payload(payload)?;
                let known = self.gone.entry(who).or_insert(left);
                *known = left.max(*known);
            }
            AccessKey::Full => self.is_full |= from_payload::<bool>(payload)?,
            AccessKey::Owner(_) | AccessKey::Waiting(_) | AccessKey::Caller(..) | AccessKey::Duties(..) | AccessKey::Looked => {}
        }
        Ok(())
    }

    fn put_grant(&mut self, name: GrantName, grant: Grant) {
        let Some(known) = self.grants.get_mut(&name) else {
            self.grants.insert(name, grant);
            return;
        };
        let last = |grant: &Grant| (grant.last_used, grant.used_by.clone());
        let (last_used, used_by) = if grant.last_used > known.last_used { last(&grant) } else { last(known) };
        if grant.as_of > known.as_of {
            *known = grant;
        }
        (known.last_used, known.used_by) = (last_used, used_by);
    }

    /// By object, then by who holds it. Of what was only ever revoked nobody knows that it was given, and it is left out.
    pub fn held(&self, now: Timestamp) -> Vec<Held> {
        let given = self.grants.iter().filter(|(_, grant)| grant.from.is_some());
        let held = given.map(|(name, grant)| Held {
            name: name.clone(),
            principal_type: grant.principal_type.clone(),
            granted_by: grant.team.clone(),
            from: grant.from,
            until: grant.until,
            status: self.status(name, grant, now),
            last_used: grant.last_used,
            used_by: grant.used_by.clone(),
        });
        held.collect()
    }

    fn status(&self, name: &GrantName, grant: &Grant, now: Timestamp) -> Status {
        let is_over = grant.until.is_some_and(|until| until <= now);
        match grant.from {
            _ if is_over && grant.is_revoked => Status::Revoked,
            _ if is_over => Status::Expired,
            from if self.gone.get(&name.principal).is_some_and(|left| from <= Some(*left)) => Status::Left,
            from if from > Some(now) => Status::Later,
            _ => Status::Holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::access::Object;
    use crate::model::time::DAY_MS;
    use crate::watch::state::{encode, encode_key};

    const NOW: Timestamp = Timestamp(1_795_521_600_000);

    fn days(days: i64) -> Timestamp {
        NOW.plus_ms(days * DAY_MS)
    }

    fn name(principal: &str) -> GrantName {
        GrantName { object: Object::Model("risk-scorer".into()), principal: principal.into(), role: None }
    }

    fn given(from: i64, as_of: i64) -> Grant {
        Grant { team: Some("risk".into()), from: Some(days(from)), as_of: days(as_of), ..Grant::default() }
    }

    fn put<T: serde::Serialize>(holdings: &mut Holdings, key: AccessKey, value: &T) {
        holdings.put(&encode_key(&StateKey::Matter(MatterKey::Access(key))), &encode(value)).unwrap();
    }

    #[test]
    fn each_grant_says_whether_it_can_be_used() {
        let mut holdings = Holdings::default();
        let ended = |until, is_revoked| Grant { until: Some(days(until)), is_revoked, ..given(-30, -30) };
        for (principal, grant) in [
            ("ann", given(-30, -30)),
            ("bob", ended(30, false)),
            ("cleo", ended(-1, false)),
            ("dora", ended(-1, true)),
            ("emil", given(3, -1)),
            ("fred", given(-30, -30)),
            ("gina", given(-5, -5)),
            ("hugo", Grant { from: None, ..ended(-1, true) }),
        ] {
            put(&mut holdings, AccessKey::Grant(name(principal)), &grant);
        }
        put(&mut holdings, AccessKey::Gone("fred".into()), &days(-2));
        put(&mut holdings, AccessKey::Gone("gina".into()), &days(-20));
        put(&mut holdings, AccessKey::Owner(Object::Model("risk-scorer".into())), &Text::from("ann"));
        let statuses: Vec<(String, &str)> =
            holdings.held(NOW).iter().map(|held| (held.name.principal.to_string(), held.status.as_str())).collect();
        let expected = [
            ("ann", "holds"),
            ("bob", "holds"),
            ("cleo", "expired"),
            ("dora", "revoked"),
            ("emil", "later"),
            ("fred", "left"),
            ("gina", "holds"),
        ];
        assert_eq!(statuses, expected.map(|(who, status)| (who.to_string(), status)));
    }

    #[test]
    fn a_grant_of_an_earlier_version_is_read() {
        let grant = given(-30, -1);
        let sealed = encode(&grant);
        let (_, payload) = unseal(&sealed).unwrap();
        for payload in [payload, &payload[..payload.len() - 1]] {
            assert_eq!(Grant::restored(payload).as_ref(), Ok(&grant));
        }
        assert!(Grant::restored(&payload[..payload.len() - 2]).is_err());
    }

    #[test]
    fn shards_know_different_uses_and_one_may_be_behind() {
        let mut holdings = Holdings::default();
        let used = |ago: i64, by: &str, grant: Grant| Grant { last_used: Some(days(-ago)), used_by: Some(by.into()), ..grant };
        let revoked = Grant { until: Some(days(-1)), is_revoked: true, ..given(-30, -1) };
        for grant in [used(9, "risk", given(-30, -30)), used(3, "sales", revoked), used(5, "ads", given(-30, -30)), given(-30, -30)] {
            put(&mut holdings, AccessKey::Grant(name("ann")), &grant);
        }
        let [held] = &holdings.held(NOW)[..] else { panic!("one grant") };
        assert_eq!((held.status, held.last_used, held.used_by.as_deref()), (Status::Revoked, Some(days(-3)), Some("sales")));
        // Of a later version.
        assert!(holdings.put(&[200, 1, 2], &[]).is_err());
    }
}
