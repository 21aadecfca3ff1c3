//! The changelog of a shard: its keys, its values, and how a shard is put together again from them.
//!
//! Values are postcard behind a magic byte, a format version and a CRC-32; a value of another version is refused, never guessed at.
//! Keys and values are serialised at commit, so a key that changed many times within a batch is written once.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::alert::episode::Episode;
use super::rules::WatchRules;
use super::series::{LeafClosed, LeafOpen, Node, NodeClosed, NodeHour, NodeOpen};
use super::{Header, Shard};
use crate::model::effect::StateChange;
use crate::model::leaf::{Account, LeafDimensions, Scope};

const MAGIC: u8 = b'S';
/// Raise it when a value's layout changes; postcard cannot tell by itself.
pub const STATE_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StateKey {
    Header,
    /// Closed part of a node's series.
    Node(Account, Scope),
    LeafClosed(Account, LeafDimensions),
    LeafOpen(Account, LeafDimensions),
    Episode(Account, String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error(
        "state of format version {found}; this program reads version {STATE_VERSION}: run the version that wrote it, or rebuild the state"
    )]
    OtherVersion { found: u8 },
    #[error("damaged state value ({0})")]
    Damaged(&'static str),
    #[error("the changelog has keys but no header: it was not written by one committed transaction; rebuild the state")]
    NoHeader,
    #[error(
        "the state was written for {found} shards, the config says {configured}: set shards.count = {found} (the number is fixed at creation)"
    )]
    OtherShardCount { found: u32, configured: u32 },
    #[error("the state was decided by rules of revision {found}, the config has revision {configured}: deploy the newer rules here too")]
    OlderRules { found: u64, configured: u64 },
}

impl Shard {
    /// Keys that have changed since the last call, for the transaction that commits `header().position`.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| StateChange { value: self.value_of(&key), key: encode(&key) }).collect()
    }

    fn value_of(&self, key: &StateKey) -> Option<Vec<u8>> {
        match key {
            StateKey::Header => Some(encode(&self.header)),
            StateKey::Node(account, scope) => self.accounts.get(account)?.nodes.get(scope).map(|node| encode(&node.closed)),
            StateKey::LeafClosed(account, leaf) => self.accounts.get(account)?.leaves.get(leaf).map(|leaf| encode(&leaf.closed)),
            StateKey::LeafOpen(account, leaf) => self.accounts.get(account)?.leaves.get(leaf).map(|leaf| encode(&leaf.open)),
            StateKey::Episode(account, id) => self.accounts.get(account)?.episodes.get(id).map(encode),
        }
    }

    /// Rebuilds a shard from the live keys of its changelog partition, in any order. `None`: the changelog is empty.
    ///
    /// # Errors
    /// A value that cannot be trusted, or a state that the config contradicts.
    pub fn restore(changes: &[(Vec<u8>, Vec<u8>)], shard_count: u32, rules: &WatchRules) -> Result<Option<Shard>, StateError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let mut shard = Shard::new(0, shard_count, rules);
        let mut header = None;
        for (key, value) in changes {
            match decode::<StateKey>(key)? {
                StateKey::Header => header = Some(decode::<Header>(value)?),
                other => shard.put_back(other, value)?,
            }
        }
        shard.header = header.ok_or(StateError::NoHeader)?;
        if shard.header.shard_count != shard_count {
            return Err(StateError::OtherShardCount { found: shard.header.shard_count, configured: shard_count });
        }
        if shard.header.rules_revision > rules.revision {
            return Err(StateError::OlderRules { found: shard.header.rules_revision, configured: rules.revision });
        }
        shard.add_up_nodes();
        shard.dirty = BTreeSet::new();
        Ok(Some(shard))
    }

    fn put_back(&mut self, key: StateKey, value: &[u8]) -> Result<(), StateError> {
        match key {
            StateKey::Header => {}
            StateKey::Node(account, scope) => {
                let closed: NodeClosed = decode(value)?;
                self.accounts.entry(account).or_default().nodes.insert(scope, Node { closed, open: NodeOpen::default() });
            }
            StateKey::LeafClosed(account, leaf) => {
                let closed: LeafClosed = decode(value)?;
                self.accounts.entry(account).or_default().leaves.entry(leaf).or_default().closed = closed;
            }
            StateKey::LeafOpen(account, leaf) => {
                let open: LeafOpen = decode(value)?;
                self.accounts.entry(account).or_default().leaves.entry(leaf).or_default().open = open;
            }
            StateKey::Episode(account, id) => {
                let episode: Episode = decode(value)?;
                self.accounts.entry(account).or_default().episodes.insert(id, episode);
            }
        }
        Ok(())
    }

    /// Sums of nodes are not stored: they are re-added from the leaves.
    fn add_up_nodes(&mut self) {
        for state in self.accounts.values_mut() {
            for (dimensions, leaf) in &state.leaves {
                let scopes = [
                    Scope::Team,
                    Scope::Project(dimensions.project.clone()),
                    Scope::Model(dimensions.model.clone()),
                    Scope::Leaf(dimensions.clone()),
                ];
                for scope in &scopes {
                    if let Some(node) = state.nodes.get_mut(scope) {
                        add_leaf(node, &leaf.open);
                    }
                }
            }
        }
    }
}

fn add_leaf(node: &mut Node, open: &LeafOpen) {
    for (hour, totals) in &open.hours {
        let part = NodeHour::of(totals);
        let sum = node.open.hours.entry(*hour).or_default();
        sum.cost = sum.cost.saturating_add(part.cost);
        sum.has_negative |= part.has_negative;
        sum.last_event_time = sum.last_event_time.max(part.last_event_time);
        sum.last_ingest_time = sum.last_ingest_time.max(part.last_ingest_time);
    }
    if let Some(minutes) = &open.minutes {
        match &mut node.open.minutes {
            Some(sum) => sum.add_ring(minutes),
            None => node.open.minutes = Some(minutes.clone()),
        }
    }
}

/// Magic, version, CRC-32 of the payload (little endian), payload.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain data without maps of unknown length: postcard has no reason to fail; an empty payload would be refused on reading.
    let payload = postcard::to_stdvec(value).unwrap_or_default();
    let mut bytes = Vec::with_capacity(payload.len() + 6);
    bytes.extend([MAGIC, STATE_VERSION]);
    bytes.extend(crc32fast::hash(&payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// # Errors
/// Another format version, a failed checksum, or bytes that are not such a value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    let (head, payload) = bytes.split_at_checked(6).ok_or(StateError::Damaged("too short"))?;
    match head {
        [MAGIC, STATE_VERSION, checksum @ ..] if checksum == crc32fast::hash(payload).to_le_bytes() => {
            postcard::from_bytes(payload).map_err(|_| StateError::Damaged("not of its type"))
        }
        [MAGIC, STATE_VERSION, ..] => Err(StateError::Damaged("checksum")),
        [MAGIC, found, ..] => Err(StateError::OtherVersion { found: *found }),
        _ => Err(StateError::Damaged("no magic byte")),
    }
}
