//! A classic consumer group of the model: members, generations, cooperative hand-over, static members, offsets of transactions.
//!
//! It checks what a real coordinator checks and nothing more: member id, generation and instance, never who owns a partition.

use std::collections::{BTreeMap, BTreeSet};

use crate::kafka::link::{Committed, Partition};

/// A member that was not heard of for this long is out.
pub const SESSION_TIMEOUT_MS: i64 = 6_000;
/// Members that do not come back within this when the others do are out.
const REBALANCE_TIMEOUT_MS: i64 = 30_000;
/// A formed group that leaves partitions to nobody for this long is made to form anew, by whoever looks for owners.
const HOLE_MS: i64 = 15_000;

/// Why a coordinator says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    UnknownMember,
    IllegalGeneration,
    /// Another member has come under the same instance.
    FencedInstance,
    /// The producer's epoch is over.
    FencedProducer,
    InvalidState,
}

/// Answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Fine,
    /// The group forms anew: join again.
    Rejoin,
}

#[derive(Clone, Debug, Default)]
struct Member {
    instance: Option<String>,
    heard_ms: i64,
    /// Has come for the generation that is being formed.
    has_joined: bool,
    /// What it said it owned when it joined.
    owned: BTreeSet<Partition>,
    assigned: BTreeSet<Partition>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    partitions: Vec<Partition>,
    generation: i32,
    /// A generation is being formed, since then.
    joining_since: Option<i64>,
    /// It is formed, and nobody owns some partitions, since then.
    hole_since: Option<i64>,
    members: BTreeMap<String, Member>,
    born: u64,
    offsets: BTreeMap<Partition, Committed>,
    /// Sent within transactions that are not decided, by producer.
    pending: BTreeMap<i64, BTreeMap<Partition, Committed>>,
    /// Offsets that went back, in words: must stay empty.
    pub went_back: Vec<String>,
}

impl Group {
    pub fn of(partitions: Vec<Partition>) -> Group {
        Group { partitions, ..Group::default() }
    }

    // ---- membership

    /// Without a member id: a new member, or the instance's old one come back under a new id, which disturbs nobody.
    pub fn join(&mut self, id: Option<&str>, instance: Option<&str>, owned: &BTreeSet<Partition>, now_ms: i64) -> Result<String, Refused> {
        let id = match id {
            Some(id) => {
                self.known(id, instance)?;
                self.form(now_ms);
                id.to_string()
            }
            None => self.welcome(instance, now_ms),
        };
        let member = self.members.get_mut(&id).ok_or(Refused::UnknownMember)?;
        member.heard_ms = now_ms;
        member.has_joined = true;
        member.owned.clone_from(owned);
        Ok(id)
    }

    fn welcome(&mut self, instance: Option<&str>, now_ms: i64) -> String {
        self.born += 1;
        let id = format!("member-{}", self.born);
        let old = self.members.iter().find(|(_, member)| instance.is_some() && member.instance.as_deref() == instance);
        match old.map(|(old, _)| old.clone()).and_then(|old| self.members.remove(&old)) {
            Some(member) => {
                self.members.insert(id.clone(), member);
            }
            None => {
                self.members.insert(id.clone(), Member { instance: instance.map(str::to_string), ..Member::default() });
                self.form(now_ms);
            }
        }
        id
    }

    /// A new generation is to be formed.
    fn form(&mut self, now_ms: i64) {
        if self.joining_since.is_none() {
            self.joining_since = Some(now_ms);
            self.members.values_mut().for_each(|member| member.has_joined = false);
        }
    }

    pub fn leave(&mut self, id: &str, now_ms: i64) {
        if self.members.remove(id).is_some() {
            self.form(now_ms);
        }
    }

    pub fn heartbeat(&mut self, id: &str, instance: Option<&str>, generation: i32, now_ms: i64) -> Result<Beat, Refused> {
        self.check(id, instance, generation)?;
        let is_forming = self.joining_since.is_some();
        let member = self.members.get_mut(id).ok_or(Refused::UnknownMember)?;
        member.heard_ms = now_ms;
        Ok(if is_forming && !member.has_joined { Beat::Rejoin } else { Beat::Fine })
    }

    /// Generation and partitions of a member that has joined; `None` while the generation is being formed.
    pub fn sync(&mut self, id: &str, instance: Option<&str>, now_ms: i64) -> Result<Option<(i32, BTreeSet<Partition>)>, Refused> {
        self.known(id, instance)?;
        let is_forming = self.joining_since.is_some();
        let member = self.members.get_mut(id).ok_or(Refused::UnknownMember)?;
        member.heard_ms = now_ms;
        // A generation formed without it, or one that began after its own was complete: it has to join again.
        if is_forming && !member.has_joined {
            return Err(Refused::IllegalGeneration);
        }
        Ok((!is_forming).then(|| (self.generation, member.assigned.clone())))
    }

    fn known(&self, id: &str, instance: Option<&str>) -> Result<(), Refused> {
        let other = |(known, member): (&String, &Member)| instance.is_some() && member.instance.as_deref() == instance && known != id;
        if self.members.iter().any(other) {
            return Err(Refused::FencedInstance);
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(Refused::UnknownMember) }
    }

    fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), Refused> {
        self.known(id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(Refused::IllegalGeneration) }
    }

    /// What time does: silent members are out, a generation is complete.
    pub fn pass_time(&mut self, now_ms: i64) {
        let before = self.members.len();
        self.members.retain(|_, member| now_ms - member.heard_ms <= SESSION_TIMEOUT_MS);
        if self.members.len() < before {
            self.form(now_ms);
        }
        self.hole_since = self.has_hole().then(|| self.hole_since.unwrap_or(now_ms));
        if self.hole_since.take_if(|since| now_ms - *since > HOLE_MS).is_some() {
            self.form(now_ms);
        }
        let Some(since) = self.joining_since else { return };
        if now_ms - since > REBALANCE_TIMEOUT_MS {
            self.members.retain(|_, member| member.has_joined);
        }
        if !self.members.is_empty() && self.members.values().all(|member| member.has_joined) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        self.generation += 1;
        self.joining_since = None;
        let target = self.target();
        let owners = self.owners();
        for (id, member) in &mut self.members {
            // Cooperative: what another one still owns is assigned in a later generation, after it was given up.
            let is_free = |partition: &&Partition| owners.get(*partition).is_none_or(|owner| owner == id);
            member.assigned = target.get(id).into_iter().flatten().filter(is_free).cloned().collect();
        }
    }

    /// Who owns what, as they said; what two claim is nobody's.
    fn owners(&self) -> BTreeMap<Partition, String> {
        let mut owners = BTreeMap::new();
        for partition in &self.partitions {
            let mut claims = self.members.iter().filter(|(_, member)| member.owned.contains(partition));
            if let (Some((id, _)), None) = (claims.next(), claims.next()) {
                owners.insert(partition.clone(), id.clone());
            }
        }
        owners
    }

    /// Balanced, and as sticky as that allows.
    fn target(&self) -> BTreeMap<String, BTreeSet<Partition>> {
        let owners = self.owners();
        let mut ids: Vec<&String> = self.members.keys().collect();
        let owned = |id: &&String| owners.values().filter(|owner| owner == id).count();
        ids.sort_by_key(|id| std::cmp::Reverse(owned(id)));
        let (each, more) = (self.partitions.len() / ids.len(), self.partitions.len() % ids.len());
        let quota: BTreeMap<&String, usize> = ids.iter().enumerate().map(|(place, id)| (*id, each + usize::from(place < more))).collect();
        let mut target: BTreeMap<String, BTreeSet<Partition>> = ids.iter().map(|id| ((*id).clone(), BTreeSet::new())).collect();
        let mut free = Vec::new();
        for partition in &self.partitions {
            let keeper = owners.get(partition).and_then(|owner| target.get_mut(owner).filter(|own| own.len() < quota[owner]));
            match keeper {
                Some(own) => {
                    own.insert(partition.clone());
                }
                None => free.push(partition.clone()),
            }
        }
        for partition in free {
            let room = target.iter_mut().find(|(id, own)| own.len() < quota[*id]);
            room.map(|(_, own)| own.insert(partition));
        }
        target
    }

    /// Everybody has what is theirs, and nothing is being formed.
    pub fn is_settled(&self) -> bool {
        self.joining_since.is_none() && self.assigned() == self.partitions.len()
    }

    fn has_hole(&self) -> bool {
        self.joining_since.is_none() && !self.members.is_empty() && self.assigned() < self.partitions.len()
    }

    fn assigned(&self) -> usize {
        self.members.values().map(|member| member.assigned.len()).sum()
    }

    // ---- offsets

    /// Offsets of a transaction: nobody sees them until it is decided.
    pub fn stage(
        &mut self,
        producer: i64,
        as_member: (&str, Option<&str>, i32),
        offsets: &BTreeMap<Partition, Committed>,
    ) -> Result<(), Refused> {
        let (id, instance, generation) = as_member;
        self.check(id, instance, generation)?;
        self.pending.entry(producer).or_default().extend(offsets.clone());
        Ok(())
    }

    pub fn decide(&mut self, producer: i64, commit: bool) {
        let Some(staged) = self.pending.remove(&producer) else { return };
        if !commit {
            return;
        }
        for (partition, new) in staged {
            if let Some(old) = self.offsets.get(&partition)
                && old.offset > new.offset
            {
                self.went_back.push(format!("{}[{}]: {old:?}, then {new:?}", partition.topic, partition.partition));
            }
            self.offsets.insert(partition, new);
        }
    }

    /// As with `require_stable`: `None` while a transaction that covers one of them is not decided.
    pub fn fetch(&self, partitions: &[Partition]) -> Option<Vec<Option<Committed>>> {
        let is_undecided = |partition: &Partition| self.pending.values().any(|offsets| offsets.contains_key(partition));
        if partitions.iter().any(is_undecided) {
            return None;
        }
        Some(partitions.iter().map(|partition| self.offsets.get(partition).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(count: i32) -> Vec<Partition> {
        (0..count).map(|partition| Partition { topic: "t".to_string(), partition }).collect()
    }

    fn set(all: &[i32]) -> BTreeSet<Partition> {
        all.iter().map(|partition| Partition { topic: "t".to_string(), partition: *partition }).collect()
    }

    fn offsets(partition: i32, offset: i64) -> BTreeMap<Partition, Committed> {
        set(&[partition]).into_iter().map(|partition| (partition, Committed { offset, metadata: String::new() })).collect()
    }

    /// A newcomer gets nothing that the old owner has not given up; both commit throughout, with the generation they know.
    #[test]
    fn partitions_are_revoked_in_one_generation_and_assigned_in_the_next() {
        let mut group = Group::of(partitions(2));
        let none = BTreeSet::new();
        let a = group.join(None, None, &none, 0).unwrap();
        group.pass_time(0);
        assert_eq!(group.sync(&a, None, 0), Ok(Some((1, set(&[0, 1])))));
        let b = group.join(None, None, &none, 1).unwrap();
        assert_eq!(group.heartbeat(&a, None, 1, 1), Ok(Beat::Rejoin));
        assert_eq!(group.stage(9, (&a, None, 1), &offsets(0, 5)), Ok(()), "a rebalance under way fences nobody");
        group.decide(9, true);
        assert_eq!(group.sync(&b, None, 1), Ok(None));
        group.join(Some(&a), None, &set(&[0, 1]), 2).unwrap();
        group.pass_time(2);
        assert_eq!(group.stage(9, (&a, None, 1), &offsets(0, 6)), Err(Refused::IllegalGeneration));
        assert_eq!(group.sync(&a, None, 2), Ok(Some((2, set(&[0])))));
        assert_eq!(group.sync(&b, None, 2), Ok(Some((2, none.clone()))));
        group.join(Some(&a), None, &set(&[0]), 3).unwrap();
        group.join(Some(&b), None, &none, 3).unwrap();
        group.pass_time(3);
        assert_eq!(group.sync(&b, None, 3), Ok(Some((3, set(&[1])))));
        assert!(group.is_settled());
    }

    #[test]
    fn a_silent_member_is_out_and_what_it_commits_later_is_refused() {
        let mut group = Group::of(partitions(1));
        let zombie = group.join(None, None, &BTreeSet::new(), 0).unwrap();
        group.pass_time(0);
        group.pass_time(SESSION_TIMEOUT_MS + 1);
        assert_eq!(group.stage(9, (&zombie, None, 1), &offsets(0, 1)), Err(Refused::UnknownMember));
        assert_eq!(group.heartbeat(&zombie, None, 1, 0), Err(Refused::UnknownMember));
    }

    #[test]
    fn a_static_member_comes_back_without_a_new_generation_and_fences_its_former_self() {
        let mut group = Group::of(partitions(1));
        let old = group.join(None, Some("i"), &BTreeSet::new(), 0).unwrap();
        group.pass_time(0);
        let new = group.join(None, Some("i"), &BTreeSet::new(), 1).unwrap();
        assert_eq!(group.sync(&new, Some("i"), 1), Ok(Some((1, set(&[0])))));
        assert_eq!(group.stage(9, (&old, Some("i"), 1), &offsets(0, 1)), Err(Refused::FencedInstance));
        assert_eq!(group.stage(9, (&new, Some("i"), 1), &offsets(0, 1)), Ok(()));
    }

    /// What the successor of a static member gets that was killed between giving up and joining again: half, and nobody asks for the rest.
    #[test]
    fn a_hole_that_a_static_member_leaves_is_closed_after_a_while() {
        let mut group = Group::of(partitions(2));
        let none = BTreeSet::new();
        let a = group.join(None, Some("a"), &none, 0).unwrap();
        group.pass_time(0);
        let b = group.join(None, Some("b"), &none, 1).unwrap();
        group.join(Some(&a), Some("a"), &set(&[0, 1]), 1).unwrap();
        group.pass_time(1);
        let again = group.join(None, Some("a"), &none, 2).unwrap();
        assert_eq!(group.sync(&again, Some("a"), 2), Ok(Some((2, set(&[0])))));
        for second in 0..16 {
            group.pass_time(1000 * second + 2);
            assert!(!group.is_settled(), "{second}");
            assert_eq!(group.heartbeat(&again, Some("a"), 2, 1000 * second + 2), Ok(Beat::Fine));
            assert_eq!(group.heartbeat(&b, Some("b"), 2, 1000 * second + 2), Ok(Beat::Fine));
        }
        group.pass_time(16_002);
        assert_eq!(group.heartbeat(&again, Some("a"), 2, 16_002), Ok(Beat::Rejoin));
    }

    #[test]
    fn offsets_are_unstable_until_decided_and_going_back_is_noticed() {
        let mut group = Group::of(partitions(2));
        let a = group.join(None, None, &BTreeSet::new(), 0).unwrap();
        group.pass_time(0);
        group.stage(9, (&a, None, 1), &offsets(0, 4)).unwrap();
        assert_eq!(group.fetch(&partitions(2)), None);
        assert_eq!(group.fetch(&partitions(2)[1..]), Some(vec![None]));
        group.decide(9, false);
        assert_eq!(group.fetch(&partitions(1)), Some(vec![None]));
        for offset in [4, 3] {
            group.stage(9, (&a, None, 1), &offsets(0, offset)).unwrap();
            group.decide(9, true);
        }
        assert_eq!(group.went_back.len(), 1);
    }
}
