//! The changelog of a shard: its keys and values, and what a transaction has to write.
//!
//! A series that changed in any other way than by additions to its open hours is written whole. Additions alone are written by a sweep
//! (`unsaved`), and until then a restore reads them from the shard log again (`restore`). Values are postcard behind a magic byte, a
//! format version and a CRC-32; a value of a later version is refused, never guessed at. Keys and values are serialised at commit, so a
//! key that changed many times within a batch is written once.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::drift::DriftKey;
use super::matters::MatterKey;
use super::places::Place;
use super::series::{Grain, Node};
use super::shard::Shard;
use super::unsaved::MOST_SWEPT;
use crate::model::Text;
use crate::model::effect::StateChange;
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::lineage::ModelName;

const MAGIC: u8 = b'S';
/// Raise it when a value's layout changes; postcard cannot tell by itself. Earlier layouts are read in `legacy`. What a value ends
/// with may be new: its reader takes a value that ends before it, and earlier versions read past it.
pub const STATE_VERSION: u8 = 5;
/// Keys must keep their bytes, else what an earlier version wrote would stay beside them.
const KEY_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StateKey {
    Header,
    /// Closed part of a series.
    Node(Account, Scope),
    /// Of version 1 only: a leaf's recent hours, which stand with its closed part today.
    LeafClosed(Account, LeafDimensions),
    LeafOpen(Account, LeafDimensions),
    Episode(Account, String),
    /// What people have said, by team.
    Book(Text),
    /// How a team's budget of alerts stands.
    Budget(Account),
    /// Daily totals of a team and its projects.
    Days(Account),
    Violation(super::violation::Key),
    /// Hash of the policies that open violations were last held against.
    Policies,
    /// What is known of a team's model.
    Model(Text, Text),
    /// What lineage has told of a model's data.
    Data(ModelName),
    Matter(MatterKey),
    /// Since when some of a model's data has had no known source.
    Gap(ModelName),
    /// Of a team.
    Approvals(Text),
    Drift(DriftKey),
    /// Up to when it was seen to what ends by itself.
    Looked,
    /// What somebody said, until event time has come so far.
    EarlyWord(super::feedback::early::Name),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error(
        "state of format version {found}; this program reads versions up to {STATE_VERSION}: run the version that wrote it, or rebuild the state"
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
    /// Keys for the transaction that commits `header().position`: all that has changed since the last call, but for additions to open
    /// hours that the sweep leaves for later.
    pub fn take_changes(&mut self) -> Vec<StateChange> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.pending.removed) {
            changes.push(StateChange { key: encode_key(&key), value: None });
        }
        for (account, node) in std::mem::take(&mut self.pending.nodes) {
            self.write_series(Place { account, node }, &mut changes);
        }
        for number in std::mem::take(&mut self.pending.budgets) {
            let Some(state) = self.accounts.get(number) else { continue };
            let value = Some(encode(&state.budget));
            changes.push(StateChange { key: encode_key(&StateKey::Budget(state.account.clone())), value });
        }
        for number in std::mem::take(&mut self.pending.days) {
            let Some(state) = self.accounts.get(number) else { continue };
            let value = Some(encode(&state.days));
            changes.push(StateChange { key: encode_key(&StateKey::Days(state.account.clone())), value });
        }
        for (name, word) in self.early_words.take_changes() {
            changes.push(StateChange { key: encode_key(&StateKey::EarlyWord(name)), value: word.map(encode) });
        }
        for (number, id) in std::mem::take(&mut self.pending.episodes) {
            let Some(state) = self.accounts.get(number) else { continue };
            let value = state.episodes.get(&id).map(encode);
            changes.push(StateChange { key: encode_key(&StateKey::Episode(state.account.clone(), id)), value });
        }
        for team in std::mem::take(&mut self.pending.books) {
            let value = self.books.get(&team).map(encode);
            changes.push(StateChange { key: encode_key(&StateKey::Book(team)), value });
        }
        let (violations, is_judged_by_changed) = self.violations.take_changed();
        for key in violations {
            let value = self.violations.get(&key).map(encode);
            changes.push(StateChange { key: encode_key(&StateKey::Violation(key)), value });
        }
        for ((team, model), known) in self.violations.take_changed_models() {
            changes.push(StateChange { key: encode_key(&StateKey::Model(team, model)), value: Some(encode(&known)) });
        }
        for (model, data) in self.violations.take_changed_data() {
            changes.push(StateChange { key: encode_key(&StateKey::Data(model)), value: Some(encode(&data)) });
        }
        for (model, since) in self.violations.take_changed_gaps() {
            changes.push(StateChange { key: encode_key(&StateKey::Gap(model)), value: since.as_ref().map(encode) });
        }
        for (team, approvals) in self.violations.take_changed_approvals() {
            changes.push(StateChange { key: encode_key(&StateKey::Approvals(team)), value: Some(encode(&approvals)) });
        }
        if let Some(looked) = self.violations.take_looked() {
            changes.push(StateChange { key: encode_key(&StateKey::Looked), value: Some(encode(&looked)) });
        }
        if is_judged_by_changed {
            let value = Some(encode(&self.violations.judged_by()));
            changes.push(StateChange { key: encode_key(&StateKey::Policies), value });
        }
        for (key, value) in self.matters.take_changes() {
            changes.push(StateChange { key: encode_key(&StateKey::Matter(key)), value });
        }
        for (key, value) in self.drift.take_changes() {
            changes.push(StateChange { key: encode_key(&StateKey::Drift(key)), value });
        }
        self.sweep(&mut changes);
        self.header.replay_from = self.replay_from();
        changes.push(StateChange { key: encode_key(&StateKey::Header), value: Some(encode(&self.header)) });
        changes
    }

    /// The first offset that is not saved in open parts yet: `header().position` when all are.
    pub fn replay_from(&self) -> i64 {
        self.still_unsaved().next().map_or(self.header.position, |entry| entry.offset)
    }

    /// Has the next `take_changes` write every open part, so that nothing is left to replay: before a planned end.
    pub fn save_all(&mut self) {
        let open: Vec<Place> = self.still_unsaved().map(|entry| Place { account: entry.account, node: entry.node }).collect();
        for place in open {
            self.changed(place.account, place.node);
        }
    }

    /// Writes additions that have waited long enough.
    fn sweep(&mut self, changes: &mut Vec<StateChange>) {
        let due_before = self.header.marks.due_before(self.header.watermarks.shard_time());
        let mut swept = 0;
        while let Some(head) = self.unsaved.head() {
            let place = Place { account: head.account, node: head.node };
            if self.is_unsaved(place, head.offset) {
                if due_before.is_none_or(|due| head.offset >= due) || swept >= MOST_SWEPT {
                    break;
                }
                self.write_open(place, changes);
                swept += 1;
            }
            self.unsaved.pop();
        }
    }

    /// Whether a leaf still lacks what an entry of the queue says.
    fn is_unsaved(&self, place: Place, offset: i64) -> bool {
        let node = self.accounts.get(place.account).and_then(|state| state.node(place.node));
        node.and_then(Node::leaf).is_some_and(|leaf| leaf.unsaved_from == Some(offset))
    }

    fn still_unsaved(&self) -> impl Iterator<Item = &super::unsaved::Unsaved> {
        self.unsaved.iter().filter(|entry| self.is_unsaved(Place { account: entry.account, node: entry.node }, entry.offset))
    }

    /// What is unsaved, by name and in order.
    pub(super) fn unsaved_names(&self) -> impl Iterator<Item = (i64, &Account, &Scope)> {
        self.still_unsaved().filter_map(|entry| {
            let state = self.accounts.get(entry.account)?;
            Some((entry.offset, &state.account, &state.node(entry.node)?.scope))
        })
    }

    /// Writes a series whole, if it still waits for that.
    fn write_series(&mut self, place: Place, changes: &mut Vec<StateChange>) {
        let Some(state) = self.accounts.get_mut(place.account) else { return };
        let account = state.account.clone();
        let Some(node) = state.node_mut(place.node).filter(|node| node.changed) else { return };
        node.changed = false;
        let key = encode_key(&StateKey::Node(account, node.scope.clone()));
        changes.push(StateChange { key, value: Some(encode(&node.closed_value())) });
        if let Grain::Leaf(_) = node.grain {
            self.write_open(place, changes);
        }
        if let Some(key) = self.pending.outdated.remove(&(place.account, place.node)) {
            changes.push(StateChange { key: encode_key(&key), value: None });
        }
    }

    /// Writes a leaf's open part as it is at `header().position`.
    fn write_open(&mut self, place: Place, changes: &mut Vec<StateChange>) {
        let position = self.header.position;
        let Some(state) = self.accounts.get_mut(place.account) else { return };
        let account = state.account.clone();
        let Some(node) = state.node_mut(place.node) else { return };
        let Scope::Leaf(dimensions) = &node.scope else { return };
        let key = encode_key(&StateKey::LeafOpen(account, dimensions.clone()));
        if let Some(leaf) = node.leaf_mut() {
            leaf.as_of = position;
            leaf.unsaved_from = None;
        }
        changes.extend(node.open_value().map(|value| StateChange { key, value: Some(encode(&value)) }));
    }
}

/// Magic, version, CRC-32 of the payload (little endian), payload.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    sealed(STATE_VERSION, value, 2_048)
}

pub fn encode_key(key: &StateKey) -> Vec<u8> {
    sealed(KEY_VERSION, key, 256)
}

/// `room`: bytes that most of them fit into. A buffer that grows from nothing costs more than all that is written to it.
fn sealed<T: Serialize>(version: u8, value: &T, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    bytes.extend([MAGIC, version, 0, 0, 0, 0]);
    // Plain data without maps of unknown length: postcard has no reason to fail; an empty payload would be refused on reading.
    let mut bytes = postcard::to_extend(value, bytes).unwrap_or_default();
    if let Some((head, payload)) = bytes.split_at_mut_checked(6) {
        head[2..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    }
    // Those of a whole hour wait together for their transaction.
    bytes.shrink_to_fit();
    bytes
}

/// Version and payload.
///
/// # Errors
/// A later format version, or a failed checksum.
pub fn unseal(bytes: &[u8]) -> Result<(u8, &[u8]), StateError> {
    let (head, payload) = bytes.split_at_checked(6).ok_or(StateError::Damaged("too short"))?;
    match head {
        [MAGIC, version @ 1..=STATE_VERSION, checksum @ ..] if checksum == crc32fast::hash(payload).to_le_bytes() => {
            Ok((*version, payload))
        }
        [MAGIC, 1..=STATE_VERSION, ..] => Err(StateError::Damaged("checksum")),
        [MAGIC, found, ..] => Err(StateError::OtherVersion { found: *found }),
        _ => Err(StateError::Damaged("no magic byte")),
    }
}

/// The header of a shard, from the value of its key; also one of an earlier version.
///
/// # Errors
/// What [`unseal`] says, or bytes that are no header.
pub fn header(value: &[u8]) -> Result<super::Header, StateError> {
    let (version, payload) = unseal(value)?;
    if version == 1 { super::legacy::header(payload) } else { from_payload(payload) }
}

/// The first value of a payload, and the next behind it, which earlier versions did not write.
pub(super) fn with_next<T: DeserializeOwned, Next: DeserializeOwned + Default>(payload: &[u8]) -> Result<(T, Next), StateError> {
    let (first, rest) = postcard::take_from_bytes(payload).map_err(|_| StateError::Damaged("not of its type"))?;
    let next = if rest.is_empty() { Next::default() } else { from_payload(rest)? };
    Ok((first, next))
}

pub(super) fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, StateError> {
    postcard::from_bytes(payload).map_err(|_| StateError::Damaged("not of its type"))
}

/// # Errors
/// What [`unseal`] says, or bytes that are no key.
pub fn decode_key(bytes: &[u8]) -> Result<StateKey, StateError> {
    let (version, payload) = unseal(bytes)?;
    if version == KEY_VERSION { from_payload(payload) } else { Err(StateError::OtherVersion { found: version }) }
}
