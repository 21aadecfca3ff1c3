//! How a shard is put together again: the changelog to its end, then what the shard log has that open parts lack.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::AccountState;
use super::alert::episode::Episode;
use super::baseline::rest::Resting;
use super::budget::Budget;
use super::days::Days;
use super::detect::ring::MinuteRing;
use super::feedback::Book;
use super::history::History;
use super::legacy;
use super::merge;
use super::places::Place;
use super::recent::Recent;
use super::rules::WatchRules;
use super::series::{Grain, HourList, HourTotals, LeafState, Node, NodeClosed, Sum};
use super::shard::{Header, Shard};
use super::state::{StateError, StateKey, decode_key, from_payload, unseal, with_next};
use super::stood_out::StoodOut;
use super::teams;
use super::user_minutes::UserMinutes;
use super::violation::{KnownModel, Looked, Tracked};
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::partial::ShardRecord;
use crate::model::time::Hour;

/// Restore, fed with one key after the other.
pub struct Restorer {
    shard_count: u32,
    header: Option<Header>,
    shard: Shard,
    /// Nothing was put yet.
    is_empty: bool,
    reads_version_1: bool,
}

/// What has to be read of the shard log: offsets `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    pub from: i64,
    pub to: i64,
}

/// Value of a closed part.
#[derive(Serialize)]
pub(crate) struct ClosedValue<'a> {
    closed: &'a NodeClosed,
    leaf: Option<LeafClosed<'a>>,
    stood_out: Option<StoodOut>,
}

#[derive(Serialize)]
struct LeafClosed<'a> {
    born_at: i64,
    recent: &'a Recent,
}

/// The same, as it is read, without what it may end with.
#[derive(Deserialize)]
struct ReadClosed<Closed = NodeClosed> {
    closed: Closed,
    leaf: Option<ReadLeaf>,
}

#[derive(Deserialize)]
struct ReadLeaf {
    born_at: i64,
    recent: Recent,
}

/// Value of an open part, which holds every record before `as_of`.
#[derive(Serialize)]
pub(crate) struct OpenValue<'a> {
    as_of: i64,
    hours: &'a HourList<HourTotals>,
    minutes: &'a Option<MinuteRing>,
    user_minutes: &'a UserMinutes,
}

#[derive(Deserialize)]
pub(super) struct ReadOpen {
    pub as_of: i64,
    pub hours: HourList<HourTotals>,
    pub minutes: Option<MinuteRing>,
    #[serde(skip)]
    pub user_minutes: UserMinutes,
}

impl ReadOpen {
    fn of(payload: &[u8]) -> Result<ReadOpen, StateError> {
        let (open, user_minutes) = with_next(payload)?;
        Ok(ReadOpen { user_minutes, ..open })
    }
}

impl Node {
    pub(super) fn closed_value(&self) -> ClosedValue<'_> {
        let leaf = self.leaf().map(|leaf| LeafClosed { born_at: leaf.born_at, recent: &leaf.recent });
        ClosedValue { closed: &self.closed, leaf, stood_out: self.leaf().map(|leaf| leaf.stood_out) }
    }

    pub(super) fn open_value(&self) -> Option<OpenValue<'_>> {
        let leaf = self.leaf()?;
        Some(OpenValue { as_of: leaf.as_of, hours: &leaf.hours, minutes: &self.minutes, user_minutes: &leaf.user_minutes })
    }
}

/// Birth of a closed part that is still to be read.
const UNBORN: Hour = Hour(i64::MAX);

impl Restorer {
    pub fn new(shard_count: u32) -> Restorer {
        let shard = Shard::of(Header::new(0, shard_count));
        Restorer { shard_count, shard, header: None, is_empty: true, reads_version_1: false }
    }

    /// One record of the changelog. A later value of a key replaces the earlier one, `None` deletes it.
    ///
    /// # Errors
    /// Bytes that cannot be trusted.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.is_empty = false;
        let key = decode_key(key)?;
        let Some(value) = value else {
            self.delete(key);
            return Ok(());
        };
        let (version, payload) = unseal(value)?;
        let is_old = version == 1;
        self.reads_version_1 |= is_old;
        match key {
            StateKey::Header => self.header = Some(if is_old { legacy::header(payload)? } else { from_payload(payload)? }),
            StateKey::Node(account, scope) => {
                let (read, stood_out) = match version {
                    1 => (ReadClosed { closed: legacy::closed(payload)?, leaf: None }, None),
                    2 => {
                        let old: ReadClosed<legacy::NodeClosed2> = from_payload(payload)?;
                        (ReadClosed { closed: old.closed.into(), leaf: old.leaf }, None)
                    }
                    3 => {
                        let old: ReadClosed<legacy::NodeClosed3> = from_payload(payload)?;
                        (ReadClosed { closed: old.closed.into(), leaf: old.leaf }, None)
                    }
                    _ => with_next(payload)?,
                };
                if read.leaf.as_ref().is_some_and(|leaf| !leaf.recent.is_readable()) {
                    return Err(StateError::Damaged("recent hours"));
                }
                self.put_closed(account, scope, read, stood_out);
            }
            StateKey::LeafClosed(account, dimensions) => self.put_recent(account, dimensions, legacy::recent(payload)?),
            StateKey::LeafOpen(account, dimensions) => {
                let read = if is_old { legacy::open(payload)? } else { ReadOpen::of(payload)? };
                self.put_open(account, dimensions, read);
            }
            StateKey::Episode(account, id) => {
                let episode: Episode = from_payload(payload)?;
                self.account(account).1.episodes.insert(id, Box::new(episode));
            }
            StateKey::Budget(account) => self.account(account).1.budget = from_payload(payload)?,
            StateKey::Days(account) => self.account(account).1.days = from_payload(payload)?,
            StateKey::Book(team) => {
                let book = Book::restored(payload)?;
                let book = if version < 5 { book.without_limits() } else { book };
                Arc::make_mut(&mut self.shard.books).insert(team, book);
            }
            StateKey::Violation(key) => self.shard.violations.put(key, Some(Tracked::restored(payload)?)),
            StateKey::Policies => self.shard.violations.put_judged_by(from_payload(payload)?),
            StateKey::Model(team, model) => self.shard.violations.put_model((team, model), Some(KnownModel::restored(payload)?)),
            StateKey::Data(model) => self.shard.violations.put_data(model, Some(from_payload(payload)?)),
            StateKey::Gap(model) => self.shard.violations.put_gap(model, Some(from_payload(payload)?)),
            StateKey::Looked => self.shard.violations.put_looked(from_payload(payload)?),
            StateKey::EarlyWord(name) => self.shard.early_words.put(name, from_payload(payload)?),
            StateKey::Approvals(team) => self.shard.violations.put_approvals(team, Some(from_payload(payload)?)),
            StateKey::Matter(key) => self.shard.matters.put(key, payload)?,
            StateKey::Drift(key) => self.shard.drift.put(key, payload)?,
        }
        Ok(())
    }

    /// Whether it matters in which order keys were put, where each came once. In the first form the recent hours of a leaf had a key of their
    /// own, and of that one and the leaf's own of a later form the later one holds.
    pub fn minds_order(&self) -> bool {
        self.reads_version_1
    }

    /// The changelog has been read to its end. `None`: it is empty. Otherwise what has to be read of the shard log.
    ///
    /// # Errors
    /// A changelog that is not whole, or a state that the config contradicts.
    pub fn changelog_read(&mut self, rules: &WatchRules) -> Result<Option<Replay>, StateError> {
        if self.is_empty {
            return Ok(None);
        }
        let header = self.header.take().ok_or(StateError::NoHeader)?;
        if header.shard_count != self.shard_count {
            return Err(StateError::OtherShardCount { found: header.shard_count, configured: self.shard_count });
        }
        if header.rules_revision > rules.revision {
            return Err(StateError::OlderRules { found: header.rules_revision, configured: rules.revision });
        }
        self.shard.header = header;
        self.complete()?;
        self.shard.index();
        Ok(Some(Replay { from: self.shard.header.replay_from, to: self.shard.header.position }))
    }

    /// One record of the shard log, in order; offsets may be missing. Only what open parts lack is taken from it: amounts for hours that
    /// are open still, of series that were there, which their open part does not hold yet. All else that it did is in the changelog.
    pub fn replay(&mut self, record: &ShardRecord, offset: i64) {
        for partial in merge::in_order(&record.partials) {
            // Before a series was made its amounts were counted in `(other)`, if anywhere.
            let own = self.shard.find(&partial.leaf).filter(|place| self.leaf(*place).is_some_and(|leaf| leaf.born_at <= offset));
            // ... or those of a team that there was no room for.
            let beyond = || self.shard.find(&teams::other_leaf(&self.shard, &partial.leaf));
            let Some(place) = own.or_else(|| self.shard.other_of(&partial.leaf)).or_else(beyond) else { continue };
            let Some(leaf) = self.leaf(place) else { continue };
            let is_new = offset >= leaf.as_of.max(leaf.born_at) && offset < self.shard.header.position;
            let account = self.shard.accounts.get(place.account).map(|state| &state.account);
            let is_open = account.is_some_and(|account| self.shard.header.is_open(account, partial.minute.hour()));
            if is_new && is_open {
                self.shard.add(place, partial, offset);
                // Minutes that more have followed than wait were judged when these came: nobody is told again.
                self.shard.take_user_minutes(place, None);
            }
        }
    }

    /// The shard as it was when `header().position` was committed: without what was judged by then.
    ///
    /// # Errors
    /// None that is known of: what can be wrong was said before.
    pub fn finish(mut self) -> Result<Shard, StateError> {
        self.shard.settle_user_minutes();
        Ok(self.shard)
    }

    fn leaf(&self, place: Place) -> Option<&LeafState> {
        self.shard.accounts.get(place.account)?.node(place.node)?.leaf()
    }

    fn account(&mut self, account: Account) -> (u32, &mut AccountState) {
        self.shard.accounts.entry(account)
    }

    fn node_for(&mut self, account: Account, scope: Scope) -> (Place, &mut Node) {
        let scope = self.shard.shared(scope);
        let (account, state) = self.shard.accounts.entry(account);
        let id = state.id_of(&scope).unwrap_or_else(|| {
            let grain = match scope {
                Scope::Leaf(_) => Grain::Leaf(Box::new(LeafState::new([0; 3], 0, UNBORN))),
                _ => Grain::Sum(Sum::default()),
            };
            let closed = NodeClosed { born: UNBORN, baseline: Resting::stand_in(), history: History::default() };
            state.insert(Node::of(scope, closed, grain))
        });
        (Place { account, node: id }, state.at(id))
    }

    fn put_closed(&mut self, account: Account, scope: Scope, read: ReadClosed, stood_out: Option<StoodOut>) {
        let (_, node) = self.node_for(account, scope);
        node.closed = read.closed;
        if let (Some(leaf), Some(read)) = (node.leaf_mut(), read.leaf) {
            leaf.born_at = read.born_at;
            leaf.recent = read.recent;
            // Without it `complete` says what is known.
            leaf.stood_out = stood_out.unwrap_or(leaf.stood_out);
        }
    }

    fn put_recent(&mut self, account: Account, dimensions: LeafDimensions, recent: Recent) {
        let key = StateKey::LeafClosed(account.clone(), dimensions.clone());
        let (place, node) = self.node_for(account, Scope::Leaf(dimensions));
        if let Some(leaf) = node.leaf_mut() {
            leaf.recent = recent;
        }
        self.shard.pending.outdated.insert((place.account, place.node), key);
    }

    fn put_open(&mut self, account: Account, dimensions: LeafDimensions, read: ReadOpen) {
        let (_, node) = self.node_for(account, Scope::Leaf(dimensions));
        node.minutes = read.minutes;
        if let Some(leaf) = node.leaf_mut() {
            leaf.as_of = read.as_of;
            leaf.hours = read.hours;
            leaf.user_minutes = read.user_minutes;
        }
    }

    /// Closed and open part of a leaf go together.
    fn delete(&mut self, key: StateKey) {
        match key {
            StateKey::Header => self.header = None,
            StateKey::Node(account, scope) => self.delete_series(account, scope),
            StateKey::LeafOpen(account, dimensions) => self.delete_series(account, Scope::Leaf(dimensions)),
            StateKey::LeafClosed(account, dimensions) => {
                let (number, state) = self.account(account);
                let id = state.id_of(&Scope::Leaf(dimensions));
                id.and_then(|id| self.shard.pending.outdated.remove(&(number, id)));
            }
            StateKey::Episode(account, id) => {
                self.account(account).1.episodes.remove(&id);
            }
            StateKey::Budget(account) => self.account(account).1.budget = Budget::default(),
            StateKey::Days(account) => self.account(account).1.days = Days::default(),
            StateKey::Book(team) => {
                Arc::make_mut(&mut self.shard.books).remove(&team);
            }
            StateKey::Violation(key) => self.shard.violations.put(key, None),
            StateKey::Policies => self.shard.violations.put_judged_by(0),
            StateKey::Model(team, model) => self.shard.violations.put_model((team, model), None),
            StateKey::Data(model) => self.shard.violations.put_data(model, None),
            StateKey::Gap(model) => self.shard.violations.put_gap(model, None),
            StateKey::Looked => self.shard.violations.put_looked(Looked::default()),
            StateKey::EarlyWord(name) => _ = self.shard.early_words.remove(&name),
            StateKey::Approvals(team) => self.shard.violations.put_approvals(team, None),
            StateKey::Matter(key) => self.shard.matters.delete(&key),
            StateKey::Drift(key) => self.shard.drift.delete(&key),
        }
    }

    fn delete_series(&mut self, account: Account, scope: Scope) {
        let (number, state) = self.account(account);
        if let Some(id) = state.id_of(&scope) {
            state.remove(id);
            self.shard.pending.outdated.remove(&(number, id));
        }
    }

    /// Ties leaves to their sums, and adds them up.
    fn complete(&mut self) -> Result<(), StateError> {
        let header = self.shard.header.clone();
        let next = header.closed_through.map(Hour::next);
        let accounts: Vec<Account> = self.shard.accounts.iter().map(|(_, state)| state.account.clone()).collect();
        for account in accounts {
            let (number, state) = self.shard.accounts.entry(account.clone());
            let closed_through = header.closed_for(&account);
            for id in state.ids().to_vec() {
                if state.at(id).closed.born == UNBORN {
                    // Version 1 made no baseline for what began with late data.
                    let born = next.filter(|_| self.reads_version_1).ok_or(StateError::Damaged("an open part without its closed part"))?;
                    state.at(id).closed = NodeClosed::new(born);
                }
                let Scope::Leaf(dimensions) = &state.at(id).scope else { continue };
                let sums = [Scope::Team, Scope::Project(dimensions.project.clone()), Scope::Model(dimensions.model.clone())];
                let mut parents = [0; 3];
                for (parent, sum) in parents.iter_mut().zip(sums) {
                    *parent = match (state.id_of(&sum), next.filter(|_| self.reads_version_1)) {
                        (Some(known), _) => known,
                        (None, Some(born)) => state.insert(Node::new(sum, born, Grain::Sum(Sum::default()))),
                        (None, None) => return Err(StateError::Damaged("a leaf without its sums")),
                    };
                    if let Grain::Sum(sum) = &mut state.at(*parent).grain {
                        sum.leaves += 1;
                    }
                }
                let node = state.at(id);
                let unknown_until = node.closed.history.last().unwrap_or(node.closed.born);
                if let Some(leaf) = node.leaf_mut() {
                    leaf.parents = parents;
                    // Earlier versions did not keep it.
                    if leaf.stood_out == StoodOut::unknown_before(UNBORN) {
                        leaf.stood_out = StoodOut::unknown_before(unknown_until);
                    }
                    if let Some(closed) = closed_through {
                        leaf.hours.drop_through(closed);
                    }
                }
            }
            state.add_up();
            self.shard.count_alerts(number);
        }
        if self.shard.header.closed_through.is_none() && self.reads_version_1 {
            let leaves = self.shard.accounts.iter().flat_map(|(_, state)| state.leaves());
            self.shard.header.first_hour = leaves.filter_map(|(_, _, leaf)| leaf.hours.first()).min();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
