//! What is kept of access: grants, who has left, who owns what, and uses that wait for a grant that may still come. Each is a key of its own
//! in the changelog, and all of it is bounded.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::Text;
use crate::model::access::{GrantName, Object};
use crate::model::time::{DAY_MS, HOUR_MS, Hour, Timestamp};
use crate::watch::state::{StateError, encode, from_payload};

/// Of one shard. Where there are more, nobody knows any more who has none: uses without a grant are not told then.
pub(super) const MOST_GRANTS: usize = 200_000;
/// Of more those that have been over for longest are forgotten, so that there is room for those that hold.
pub(super) const MOST_WITH_OVER: usize = MOST_GRANTS / 8 * 7;
/// Of one shard; of more the first that left is forgotten.
const MOST_GONE: usize = 100_000;
const MOST_OWNERS: usize = 100_000;
/// Uses without a grant that wait, by team, principal and object; more do not wait.
pub(super) const MOST_WAITING: usize = 10_000;
/// A grant that is over is kept for so long, so that a use of it is told as one that was revoked or has expired.
const KEEP_OVER_MS: i64 = 400 * DAY_MS;

/// The name of what is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccessKey {
    Grant(GrantName),
    /// Who has left.
    Gone(Text),
    Owner(Object),
    Waiting(UseName),
    /// Team and key.
    Caller(Text, Text),
    /// Team, and a model (with its version) or a dataset.
    Duties(Text, Text),
    /// When everything was last looked at.
    Looked,
    /// There were more grants than are kept.
    Full,
}

/// What is known of a grant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Who gave it.
    pub team: Option<Text>,
    pub principal_type: Option<Text>,
    /// `None`: it was revoked, and nobody has told that it was given.
    pub from: Option<Timestamp>,
    /// It ends, or has ended.
    pub until: Option<Timestamp>,
    pub is_revoked: bool,
    /// Event time of the latest word on it.
    pub as_of: Timestamp,
    /// When this shard first heard of it, in shard time.
    pub known_since: Timestamp,
    /// To the hour.
    pub last_used: Option<Timestamp>,
    /// Who used it last in this shard.
    pub used_by: Option<Text>,
    /// Of the last use that the shard of who gave it was told of, in days since 1970.
    pub told_day: i64,
    /// When it was over before it was given anew: what was given until then is no part of what holds now. Last: earlier versions wrote all but
    /// this.
    pub over_before: Option<Timestamp>,
}

/// Who uses what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UseName {
    pub team: Text,
    pub principal: Text,
    pub object: Object,
}

/// Uses without a grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub principal_type: Option<Text>,
    pub uses: Vec<Use>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// It is judged then, in shard time.
    pub due: Timestamp,
    pub at: Timestamp,
    pub ingest: Timestamp,
    /// Of an event that came whole.
    pub identity: Option<u128>,
    pub events: u64,
}

/// From where and for whom a key was used lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    pub regions: BTreeMap<Text, Timestamp>,
    pub users: BTreeMap<Text, Timestamp>,
}

/// Who did which of the duties that are to be kept apart, and when last.
pub type Duties = BTreeMap<Text, BTreeMap<Text, Timestamp>>;

/// When all grants were last looked at, and when they are to be looked at again before the next hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    pub hour: Option<Hour>,
    /// In shard time: a new grant has waited long enough.
    pub again: Option<Timestamp>,
}

/// All that a shard keeps of access.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub(super) grants: BTreeMap<GrantName, Grant>,
    pub(super) gone: BTreeMap<Text, Timestamp>,
    pub(super) owners: BTreeMap<Object, Text>,
    pub(super) waiting: BTreeMap<UseName, Waiting>,
    pub(super) callers: BTreeMap<(Text, Text), Caller>,
    pub(super) duties: BTreeMap<(Text, Text), Duties>,
    pub(super) looked: Looked,
    pub(super) is_full: bool,
    /// Grants that found no room; since the start of the process. Not a part of the state.
    pub refused: u64,
    /// Waits to be written with the next transaction.
    changed: BTreeSet<AccessKey>,
}

impl Grant {
    /// # Errors
    /// Bytes of no form that was ever written.
    pub fn restored(payload: &[u8]) -> Result<Grant, StateError> {
        from_payload(payload).or_else(|_: StateError| from_payload(&[payload, &[0]].concat()))
    }

    /// Whether it holds at a time. `earlier_ms`: it is taken to hold so much before it was given.
    pub fn holds(&self, at: Timestamp, earlier_ms: i64) -> bool {
        self.from.is_some_and(|from| from.minus_ms(earlier_ms) <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Since when it has not been used.
    pub fn idle_since(&self) -> Option<Timestamp> {
        self.from.map(|from| self.last_used.map_or(from, |used| used.max(from)))
    }

    fn is_forgotten(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at.0 - until.0 > KEEP_OVER_MS)
    }

    /// It is given, or given anew. What holds already goes on, with the end that was said last.
    pub fn give(&mut self, at: Timestamp, until: Option<Timestamp>) {
        if at < self.as_of {
            // Told late: what has been said of its end since then stays.
            if self.over_before.is_none_or(|over| over <= at) {
                self.from = Some(self.from.map_or(at, |from| from.min(at)));
            }
            return;
        }
        if !self.holds(at, 0) {
            (self.from, self.over_before) = (Some(at), self.until);
        }
        (self.until, self.is_revoked, self.as_of) = (until, false, at);
    }

    pub fn revoke(&mut self, at: Timestamp) {
        if at < self.as_of {
            return;
        }
        self.as_of = at;
        if self.until.is_none_or(|until| at < until) {
            (self.until, self.is_revoked) = (Some(at), true);
        }
    }
}

impl Access {
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.gone.is_empty()
    }

    pub fn change_grant(&mut self, name: &GrantName, change: impl FnOnce(&mut Grant)) {
        if !self.grants.contains_key(name) && self.grants.len() >= MOST_GRANTS {
            self.is_full = true;
            self.refused = self.refused.saturating_add(1);
            self.changed.insert(AccessKey::Full);
            return;
        }
        let grant = self.grants.entry(name.clone()).or_default();
        let before = grant.clone();
        change(grant);
        if *grant != before {
            self.changed.insert(AccessKey::Grant(name.clone()));
        }
    }

    /// When it was taken back, if it was: by itself, or with all versions or roles.
    pub fn taken_back(&self, name: &GrantName) -> Option<Timestamp> {
        let objects = [Some(name.object.clone()), name.object.whole()].into_iter().flatten();
        let names =
            objects.flat_map(|object| [None, name.role.clone()].map(|role| GrantName { object: object.clone(), role, ..name.clone() }));
        let revoked = names.filter_map(|name| self.grants.get(&name)).filter(|grant| grant.is_revoked);
        revoked.map(|grant| grant.as_of).max()
    }

    /// When it ended by itself, if it has.
    pub fn expired(&self, name: &GrantName, now: Timestamp) -> Option<Timestamp> {
        let grant = self.grants.get(name).filter(|grant| !grant.is_revoked)?;
        grant.until.filter(|until| *until <= now)
    }

    /// Of this object to this principal, whatever the role.
    pub fn grants_of<'a>(&'a self, object: &Object, principal: &str) -> impl Iterator<Item = (&'a GrantName, &'a Grant)> {
        let first = GrantName { object: object.clone(), principal: principal.into(), role: None };
        let is_same = (object.clone(), Text::from(principal));
        self.grants.range(first..).take_while(move |(name, _)| name.object == is_same.0 && name.principal == is_same.1)
    }

    /// As [`Access::grants_of`], of all objects that stand for this one.
    pub fn grants_for(&self, object: &Object, principal: &str) -> Vec<(&GrantName, &Grant)> {
        let all = std::iter::once(object.clone()).chain(object.whole()).chain(self.versions(object));
        all.flat_map(|object| self.grants_of(&object, principal).collect::<Vec<_>>()).collect()
    }

    /// Versions of a model that somebody was granted, each by itself; from one to the next, whatever the number of grants.
    pub fn versions<'a>(&'a self, object: &Object) -> impl Iterator<Item = Object> + use<'a> {
        let first = match object {
            Object::Model(model) => Some(Object::Model(format!("{model}@").as_str().into())),
            Object::Dataset(_) => None,
        };
        let (whole, model) = (object.clone(), object.clone());
        let next = move |after: &Object, is_first: bool| {
            let from = GrantName { object: after.clone(), principal: "".into(), role: None };
            let found = if is_first {
                self.grants.range(from..).next()
            } else {
                // Behind every principal of the one before.
                let object = Object::Model(format!("{}\0", after.name()).as_str().into());
                self.grants.range(GrantName { object, ..from }..).next()
            };
            let is_version = |object: &&Object| match object {
                Object::Model(name) => name.strip_prefix(&**whole.name()).is_some_and(|rest| rest.starts_with('@')),
                Object::Dataset(_) => false,
            };
            found.map(|(name, _)| &name.object).filter(is_version).cloned()
        };
        let first = first.and_then(|first| next(&first, true));
        std::iter::successors(first, move |last| next(last, false)).filter(move |version| version.whole().as_ref() == Some(&model))
    }

    /// Somebody may use it, some or all versions of it, or might once. What was only ever revoked was granted to nobody.
    pub fn is_granted(&self, object: &Object) -> bool {
        let is_granted = |object: &Object| {
            let first = GrantName { object: object.clone(), principal: "".into(), role: None };
            let mut own = self.grants.range(first..).take_while(|(name, _)| name.object == *object);
            own.any(|(_, grant)| grant.from.is_some())
        };
        let whole = object.whole().unwrap_or_else(|| object.clone());
        is_granted(object) || (whole != *object && is_granted(&whole)) || self.versions(&whole).any(|version| is_granted(&version))
    }

    /// Whose it is, or the model of which it is a version.
    pub fn owner(&self, object: &Object) -> Option<&Text> {
        self.owners.get(object).or_else(|| self.owners.get(&object.whole()?))
    }

    /// When somebody left who is not back since.
    pub fn left(&self, who: &Text) -> Option<Timestamp> {
        self.gone.get(who).copied()
    }

    pub fn set_gone(&mut self, who: &Text, at: Option<Timestamp>) {
        let before = self.gone.get(who).copied();
        match at {
            Some(at) => self.gone.insert(who.clone(), at),
            None => self.gone.remove(who),
        };
        if before != at {
            self.changed.insert(AccessKey::Gone(who.clone()));
        }
        if self.gone.len() > MOST_GONE
            && let Some((first, _)) = self.gone.iter().min_by_key(|(_, at)| **at)
        {
            let first = first.clone();
            self.gone.remove(&first);
            self.changed.insert(AccessKey::Gone(first));
        }
    }

    pub fn set_owner(&mut self, object: Object, owner: &Text) {
        if self.owners.get(&object) != Some(owner) && (self.owners.contains_key(&object) || self.owners.len() < MOST_OWNERS) {
            self.changed.insert(AccessKey::Owner(object.clone()));
            self.owners.insert(object, owner.clone());
        }
    }

    pub fn set_waiting(&mut self, name: &UseName, waiting: Option<Waiting>) {
        self.changed.insert(AccessKey::Waiting(name.clone()));
        match waiting {
            Some(waiting) => self.waiting.insert(name.clone(), waiting),
            None => self.waiting.remove(name),
        };
    }

    pub fn set_caller(&mut self, team: &Text, who: &Text, caller: Caller) {
        self.changed.insert(AccessKey::Caller(team.clone(), who.clone()));
        self.callers.insert((team.clone(), who.clone()), caller);
    }

    pub fn set_duties(&mut self, team: &Text, what: &Text, duties: Duties) {
        self.changed.insert(AccessKey::Duties(team.clone(), what.clone()));
        self.duties.insert((team.clone(), what.clone()), duties);
    }

    pub fn look(&mut self, looked: Looked) {
        self.looked = looked;
        self.changed.insert(AccessKey::Looked);
    }

    /// What nobody asks for any more.
    pub fn forget(&mut self, at: Timestamp, duties_ms: i64) {
        let mut old: Vec<GrantName> =
            self.grants.iter().filter(|(_, grant)| grant.is_forgotten(at)).map(|(name, _)| name.clone()).collect();
        let too_many = self.grants.len().saturating_sub(MOST_WITH_OVER);
        if too_many > old.len() {
            let over = self.grants.iter().filter_map(|(name, grant)| Some((grant.until.filter(|until| *until <= at)?, name)));
            let mut over: Vec<(Timestamp, &GrantName)> = over.collect();
            over.sort_unstable();
            // What is old has been over for longest.
            old = over.into_iter().take(too_many).map(|(_, name)| name.clone()).collect();
        }
        for name in old {
            self.grants.remove(&name);
            self.changed.insert(AccessKey::Grant(name));
        }
        let is_recent = |last: Option<&Timestamp>, ms: i64| last.is_some_and(|last| at.0 - last.0 <= ms);
        let callers = self.callers.iter().filter(|(_, caller)| {
            let last = caller.regions.values().chain(caller.users.values()).max();
            !is_recent(last, 2 * HOUR_MS)
        });
        for name in callers.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.callers.remove(&name);
            self.changed.insert(AccessKey::Caller(name.0, name.1));
        }
        let duties = self.duties.iter().filter(|(_, duties)| !is_recent(duties.values().flat_map(BTreeMap::values).max(), duties_ms));
        for name in duties.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.duties.remove(&name);
            self.changed.insert(AccessKey::Duties(name.0, name.1));
        }
    }

    pub fn take_changed(&mut self) -> impl Iterator<Item = AccessKey> + use<> {
        std::mem::take(&mut self.changed).into_iter()
    }

    pub fn value(&self, key: &AccessKey) -> Option<Vec<u8>> {
        match key {
            AccessKey::Grant(name) => self.grants.get(name).map(encode),
            AccessKey::Gone(who) => self.gone.get(who).map(encode),
            AccessKey::Owner(object) => self.owners.get(object).map(encode),
            AccessKey::Waiting(name) => self.waiting.get(name).map(encode),
            AccessKey::Caller(team, who) => self.callers.get(&(team.clone(), who.clone())).map(encode),
            AccessKey::Duties(team, what) => self.duties.get(&(team.clone(), what.clone())).map(encode),
            AccessKey::Looked => Some(encode(&self.looked)),
            AccessKey::Full => self.is_full.then(|| encode(&true)),
        }
    }

    /// On restore.
    ///
    /// # Errors
    /// Bytes that are not of the key's type.
    pub fn put(&mut self, key: AccessKey, payload: &[u8]) -> Result<(), StateError> {
        match key {
            AccessKey::Grant(name) => drop(self.grants.insert(name, Grant::restored(payload)?)),
            AccessKey::Gone(who) => drop(self.gone.insert(who, from_payload(payload)?)),
            AccessKey::Owner(object) => drop(self.owners.insert(object, from_payload(payload)?)),
            AccessKey::Waiting(name) => drop(self.waiting.insert(name, from_payload(payload)?)),
            AccessKey::Caller(team, who) => drop(self.callers.insert((team, who), from_payload(payload)?)),
            AccessKey::Duties(team, what) => drop(self.duties.insert((team, what), from_payload(payload)?)),
            AccessKey::Looked => self.looked = from_payload(payload)?,
            AccessKey::Full => self.is_full = from_payload(payload)?,
        }
        Ok(())
    }

    pub fn delete(&mut self, key: &AccessKey) {
        match key {
            AccessKey::Grant(name) => drop(self.grants.remove(name)),
            AccessKey::Gone(who) => drop(self.gone.remove(who)),
            AccessKey::Owner(object) => drop(self.owners.remove(object)),
            AccessKey::Waiting(name) => drop(self.waiting.remove(name)),
            AccessKey::Caller(team, who) => drop(self.callers.remove(&(team.clone(), who.clone()))),
            AccessKey::Duties(team, what) => drop(self.duties.remove(&(team.clone(), what.clone()))),
            AccessKey::Looked => self.looked = Looked::default(),
            AccessKey::Full => self.is_full = false,
        }
    }
}

/// What waits to be written is no part of the state.
impl PartialEq for Access {
    fn eq(&self, other: &Access) -> bool {
        (&self.grants, &self.gone, &self.owners, &self.waiting) == (&other.grants, &other.gone, &other.owners, &other.waiting)
            && (&self.callers, &self.duties) == (&other.callers, &other.duties)
            && (self.looked, self.is_full) == (other.looked, other.is_full)
    }
}
