//! The shard: what is kept, where a series is found, and what one record of the shard log does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::NodeId;
use super::accounts::Accounts;
use super::drift::{self, Drift};
use super::feedback::early::Early;
use super::feedback::{self, Books, Waiting};
use super::matters::{self, Matters};
use super::merge::{self, add_to_open_hour};
use super::places::{Place, Places, hash_of, is_named};
use super::rules::WatchRules;
use super::series::{Grain, LeafState, Node, NodeClosed, Sum};
use super::state::StateKey;
use super::teams::{self, Teams};
use super::unsaved::{Marks, Unsaved, UnsavedQueue};
use super::violation::{self, Violations};
use super::watermark::Watermarks;
use super::{Moment, access, close, early, events, originals};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Leaf, LeafDimensions, Scope};
use crate::model::partial::{Partial, ShardRecord};
use crate::model::time::{Hour, Minute, Timestamp};

/// All of what one partition of the shard log has led to: plain values, owned by one thread.
#[derive(Clone, Debug)]
pub struct Shard {
    pub(super) header: Header,
    pub(super) accounts: Accounts,
    pub(super) teams: Teams,
    /// Shared with the moment at which something is judged.
    pub(super) books: Arc<Books>,
    pub(super) unmatched_feedback: Waiting,
    pub(super) early_words: Early,
    places: Places,
    /// What the next transaction has to write.
    pub(super) pending: Pending,
    pub(super) unsaved: UnsavedQueue,
    names: Names,
    pub(super) matters: Matters,
    pub(super) series: usize,
    pub(super) open_alerts: usize,
    pub(super) violations: Violations,
    pub(super) drift: Drift,
    /// Leaves with users whose minutes wait to be judged, each by the first of these.
    pub(super) waiting: BTreeSet<(Minute, Place)>,
}

/// What is true of the shard as a whole: one changelog key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub shard: u32,
    pub shard_count: u32,
    /// Offset of the next shard-log record to read.
    pub position: i64,
    /// As of the last `take_changes`: the first offset that is not saved in open parts yet.
    pub replay_from: i64,
    pub rules_revision: u64,
    pub watermarks: Watermarks,
    pub closed_through: Option<Hour>,
    /// A close in progress.
    pub closing: Option<Closing>,
    /// Since when the shard is watched: the earliest hour with usage, or, where the first close came before any, that close's.
    pub first_hour: Option<Hour>,
    /// Amounts that came for an hour that had closed.
    pub late_partials: u64,
    /// Amounts that were counted in their team's `(other)`, because the team has too many series, or in the shard's team `(other N)`, because
    /// there are too many teams.
    pub capped: u64,
    pub marks: Marks,
}

/// Which hours are being closed, and how far that has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    pub hour: Hour,
    /// The last hour that is due.
    pub last: Hour,
    /// The last account that is done with `hour`; they go in order.
    pub done: Option<Account>,
}

/// Names of projects, models, ... once each: thousands of leaves share a handful.
#[derive(Clone, Debug, Default)]
struct Names(BTreeSet<Text>);

#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub nodes: Vec<(u32, NodeId)>,
    pub episodes: BTreeSet<(u32, String)>,
    /// Accounts whose budget has changed.
    pub budgets: BTreeSet<u32>,
    /// Accounts of which a day has ended.
    pub days: BTreeSet<u32>,
    /// Teams of which somebody has said something.
    pub books: BTreeSet<Text>,
    pub removed: Vec<StateKey>,
    /// Keys of an older format, to be deleted when their series is written anew.
    pub outdated: BTreeMap<(u32, NodeId), StateKey>,
}

impl Shard {
    pub fn new(shard: u32, shard_count: u32, rules: &WatchRules) -> Shard {
        let header = Header { rules_revision: rules.revision, ..Header::new(shard, shard_count) };
        Shard::of(header)
    }

    /// An empty shard whose log begins at `position`.
    pub fn starting_at(shard: u32, shard_count: u32, position: i64, rules: &WatchRules) -> Shard {
        let mut fresh = Shard::new(shard, shard_count, rules);
        fresh.header.position = position;
        fresh.header.replay_from = position;
        fresh
    }

    pub(super) fn of(header: Header) -> Shard {
        Shard {
            header,
            accounts: Accounts::default(),
            teams: Teams::default(),
            books: Arc::default(),
            unmatched_feedback: Waiting::default(),
            early_words: Early::default(),
            places: Places::default(),
            pending: Pending::default(),
            unsaved: UnsavedQueue::default(),
            names: Names::default(),
            matters: Matters::default(),
            series: 0,
            open_alerts: 0,
            violations: Violations::default(),
            drift: Drift::default(),
            waiting: BTreeSet::new(),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Applies one record of the shard log. `append_time` is the broker's stamp on it. Hours that become due are noted, not closed:
    /// see [`Shard::close_slice`].
    pub fn apply(&mut self, record: &ShardRecord, offset: i64, append_time: Timestamp, rules: &WatchRules) -> Vec<Effect> {
        assert!(!self.is_closing(), "a close in progress is finished before the next record");
        let mut effects = Vec::new();
        self.header.watermarks.pass_time(append_time);
        self.header.marks.pass(self.header.watermarks.shard_time(), offset);
        self.header.position = offset.saturating_add(1);

        self.follow(rules, &mut effects);
        // By now the hours are closed that had ended by then, and their alerts are known.
        feedback::early::take_due(self, self.header.watermarks.watermark(), rules, &mut effects);
        let placed = teams::within_room(self, &record.partials, rules);
        let partials = placed.as_deref().unwrap_or(&record.partials);
        let converted = originals::convert_bill(self, partials, rules, &mut effects);
        let partials = converted.as_deref().unwrap_or(partials);
        let open = merge::take_others(self, partials, offset, rules, &mut effects);
        for minute in open.chunk_by(|one, next| one.minute == next.minute) {
            let touched = merge::merge(self, minute, offset, rules);
            early::judge_minute(self, minute[0].minute, touched, rules, &mut effects);
        }
        matters::missing::take_partials(self, partials, rules, &mut effects);
        matters::budget::take_partials(self, partials, rules, &mut effects);
        for event in &record.events {
            events::take(self, event, offset, rules, &mut effects);
        }
        drift::end_undeployed(self, &record.events, rules, &mut effects);
        for marker in &record.markers {
            self.header.watermarks.mark(marker);
        }
        let watermark = self.header.watermarks.advance();
        early::judge_passed_minutes(self, watermark, rules, &mut effects);
        matters::answers::look(self, rules, &mut effects);
        violation::judge(self, record, rules, &mut effects);
        access::judge(self, record, rules, &mut effects);
        close::note_due_hours(self, watermark, rules);
        effects
    }

    /// [`Shard::apply`], and the close that it leads to at once: where there are no transactions.
    pub fn apply_whole(&mut self, record: &ShardRecord, offset: i64, append_time: Timestamp, rules: &WatchRules) -> Vec<Effect> {
        let mut effects = self.apply(record, offset, append_time, rules);
        while self.is_closing() {
            effects.extend(self.close_slice(rules, usize::MAX));
        }
        effects
    }

    /// A close is in progress: the shard takes no further record until [`Shard::close_slice`] has finished it.
    pub fn is_closing(&self) -> bool {
        self.header.closing.is_some()
    }

    /// Closes due hours for the next whole accounts, about `most_series` series of them and at least one account.
    pub fn close_slice(&mut self, rules: &WatchRules, most_series: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.follow(rules, &mut effects);
        effects.extend(close::close_slice(self, rules, most_series));
        effects
    }

    /// What other rules change at once, whichever part of the work meets them first.
    fn follow(&mut self, rules: &WatchRules, effects: &mut Vec<Effect>) {
        if self.header.rules_revision != rules.revision {
            self.header.rules_revision = rules.revision;
            matters::budget::end_removed(self, rules, effects);
            originals::follow(self, rules, effects);
        }
    }

    /// Whether an account has as many series as it may have.
    pub(super) fn is_full(&self, account: &Account, rules: &WatchRules) -> bool {
        let number = self.accounts.number_of(account);
        number.and_then(|number| self.accounts.get(number)).is_some_and(|state| state.len() >= rules.series_per_team)
    }

    pub(super) fn moment<'a>(&self, rules: &'a WatchRules, books: &'a Books) -> Moment<'a> {
        Moment { rules, books, shard_time: self.header.watermarks.shard_time(), closed_through: self.header.closed_through }
    }

    /// The leaf that an amount is counted in: its own, made if need be with `born` as its first hour, or its team's `(other)`.
    pub(super) fn place_for(&mut self, leaf: &Leaf, born: Hour, offset: i64, rules: &WatchRules) -> Place {
        if let Some(place) = self.find(leaf) {
            return place;
        }
        let account = self.accounts.number(leaf.account());
        let full = self.accounts.get(account).is_some_and(|state| state.len() >= rules.series_per_team);
        if !full {
            return self.create(account, leaf.dimensions(), born, offset);
        }
        self.header.capped = self.header.capped.saturating_add(1);
        match self.other_of(leaf) {
            Some(place) => place,
            None => self.create(account, LeafDimensions::other(), born, offset),
        }
    }

    /// The `(other)` leaf of a leaf's account, if there is one.
    pub(super) fn other_of(&self, leaf: &Leaf) -> Option<Place> {
        self.find(&LeafDimensions::other().leaf_of(&leaf.account()))
    }

    pub(super) fn find(&self, leaf: &Leaf) -> Option<Place> {
        let place = self.places.get(hash_of(leaf));
        let names = |place: &Place| {
            let state = self.accounts.get(place.account)?;
            Some((&state.account, &state.node(place.node)?.scope))
        };
        if place.as_ref().and_then(names).is_some_and(|(account, scope)| is_named(account, scope, leaf)) {
            return place;
        }
        // Nobody has this hash, or another leaf has.
        place?;
        let account = self.accounts.number_of(&leaf.account())?;
        let node = self.accounts.get(account)?.id_of(&Scope::Leaf(leaf.dimensions()))?;
        Some(Place { account, node })
    }

    fn create(&mut self, account: u32, dimensions: LeafDimensions, born: Hour, offset: i64) -> Place {
        let dimensions = self.names.share(dimensions);
        let project = Scope::Project(dimensions.project.clone());
        let model = Scope::Model(dimensions.model.clone());
        let parents = [Scope::Team, project, model].map(|scope| self.sum_for(account, scope, born));
        let leaf = Grain::Leaf(Box::new(LeafState::new(parents, offset, born)));
        self.insert(account, Node::new(Scope::Leaf(dimensions), born, leaf))
    }

    /// A leaf's sum: found or made, and counting one leaf more.
    fn sum_for(&mut self, account: u32, scope: Scope, born: Hour) -> NodeId {
        let known = self.accounts.get(account).and_then(|state| state.id_of(&scope));
        let id = known.unwrap_or_else(|| self.insert(account, Node::new(scope, born, Grain::Sum(Sum::default()))).node);
        // A sum is as old as its oldest leaf.
        if self.begin_earlier(account, id, born) {
            self.changed(account, id);
        }
        if let Some(Grain::Sum(sum)) = self.accounts.get_mut(account).and_then(|state| state.node_mut(id)).map(|node| &mut node.grain) {
            sum.leaves += 1;
        }
        id
    }

    /// A series turns out to have begun earlier; nothing of its hours is closed yet, so nothing is learnt yet either. Whether it did.
    pub(super) fn begin_earlier(&mut self, account: u32, id: NodeId, hour: Hour) -> bool {
        let node = self.accounts.get_mut(account).and_then(|state| state.node_mut(id));
        let Some(node) = node.filter(|node| hour < node.closed.born) else { return false };
        if let Grain::Leaf(leaf) = &mut node.grain {
            leaf.stood_out.begin_earlier(node.closed.born, hour);
        }
        node.closed = NodeClosed::new(hour);
        if let Some(minutes) = &mut node.minutes {
            minutes.known_since(hour);
        }
        true
    }

    /// Adds a node under a name that is new, and has it written.
    pub(super) fn insert(&mut self, account: u32, node: Node) -> Place {
        let Some(state) = self.accounts.get_mut(account) else { return Place { account, node: 0 } };
        let hash = match &node.scope {
            Scope::Leaf(dimensions) => Some(hash_of(&dimensions.leaf_of(&state.account))),
            _ => None,
        };
        if state.len() == 0 {
            self.teams.insert(state.account.team.clone());
        }
        let place = Place { account, node: state.insert(node) };
        if let Some(hash) = hash {
            // Of two with the same hash the first is found by it, the other by name.
            self.places.add(hash, place);
        }
        self.series += 1;
        self.changed(account, place.node);
        place
    }

    /// Removes a leaf, and sums that have no leaf left; their keys are deleted with the next transaction.
    pub(super) fn remove_leaf(&mut self, place: Place) {
        let Some(state) = self.accounts.get_mut(place.account) else { return };
        let account = state.account.clone();
        let Some(node) = state.remove(place.node) else { return };
        let (Grain::Leaf(leaf), Scope::Leaf(dimensions)) = (&node.grain, &node.scope) else { return };
        let mut gone = vec![StateKey::Node(account.clone(), node.scope.clone()), StateKey::LeafOpen(account.clone(), dimensions.clone())];
        self.series -= 1;
        for id in leaf.parents {
            let Some(Grain::Sum(sum)) = state.node_mut(id).map(|node| &mut node.grain) else { continue };
            sum.leaves -= 1;
            if sum.leaves == 0
                && let Some(sum) = state.remove(id)
            {
                self.series -= 1;
                gone.push(StateKey::Node(account.clone(), sum.scope));
            }
        }
        let is_last = state.len() == 0;
        let hash = hash_of(&dimensions.leaf_of(&account));
        self.places.remove(hash, place);
        if is_last {
            teams::let_go(self, &account.team);
        }
        self.pending.outdated.remove(&(place.account, place.node));
        self.pending.removed.extend(gone);
    }

    /// Counts and finds what a restore has put together.
    pub(super) fn index(&mut self) {
        teams::count(self);
        self.series = self.accounts.iter().map(|(_, state)| state.len()).sum();
        self.places.clear();
        for (account, state) in self.accounts.iter() {
            for id in state.ids() {
                if let Some(Scope::Leaf(dimensions)) = state.node(*id).map(|node| &node.scope) {
                    self.places.add(hash_of(&dimensions.leaf_of(&state.account)), Place { account, node: *id });
                }
            }
        }
    }

    /// A scope in the shard's own names.
    pub(super) fn shared(&mut self, scope: Scope) -> Scope {
        match scope {
            Scope::Team => Scope::Team,
            Scope::Project(project) => Scope::Project(self.names.one(project)),
            Scope::Model(model) => Scope::Model(self.names.one(model)),
            Scope::Leaf(dimensions) => Scope::Leaf(self.names.share(dimensions)),
        }
    }

    /// Lets go of names that no series has any more.
    pub(super) fn forget_names(&mut self) {
        self.names.0.retain(|name| Text::strong_count(name) > 1);
    }

    /// Ids of a leaf and its sums, coarsest first.
    pub(super) fn lineage(&self, place: Place) -> [NodeId; 4] {
        let leaf = self.accounts.get(place.account).and_then(|state| state.node(place.node)).and_then(Node::leaf);
        let [team, project, model] = leaf.map_or([place.node; 3], |leaf| leaf.parents);
        [team, project, model, place.node]
    }

    /// Adds an amount to an hour that is open. Returns the ids of the leaf and its sums.
    pub(super) fn add(&mut self, place: Place, partial: &Partial, offset: i64) -> [NodeId; 4] {
        let Some(state) = self.accounts.get_mut(place.account) else { return [place.node; 4] };
        let lineage = add_to_open_hour(state, place.node, partial);
        if let Some(leaf) = state.node_mut(place.node).and_then(Node::leaf_mut)
            && leaf.unsaved_from.is_none()
        {
            leaf.unsaved_from = Some(offset);
            self.unsaved.push(Unsaved { offset, account: place.account, node: place.node });
        }
        self.add_user_minutes(place, partial);
        lineage
    }

    /// Something of a series has changed that replaying the log would not bring back.
    pub(super) fn changed(&mut self, account: u32, id: NodeId) {
        if let Some(node) = self.accounts.get_mut(account).and_then(|state| state.node_mut(id))
            && !node.changed
        {
            node.changed = true;
            self.pending.nodes.push((account, id));
        }
    }

    pub(super) fn episodes_changed(&mut self, account: u32, ids: Vec<String>) {
        if !ids.is_empty() {
            // An alert may have cost a part of it.
            self.pending.budgets.insert(account);
            self.pending.episodes.extend(ids.into_iter().map(|id| (account, id)));
            self.count_alerts(account);
        }
    }

    pub(super) fn count_alerts(&mut self, account: u32) {
        if let Some(state) = self.accounts.get_mut(account) {
            let open = state.open_episodes().count();
            self.open_alerts = self.open_alerts + open - state.open_episodes;
            state.open_episodes = open;
        }
    }
}

impl Header {
    pub(super) fn new(shard: u32, shard_count: u32) -> Header {
        Header {
            shard,
            shard_count,
            position: 0,
            replay_from: 0,
            rules_revision: 0,
            watermarks: Watermarks::default(),
            closed_through: None,
            closing: None,
            first_hour: None,
            late_partials: 0,
            capped: 0,
            marks: Marks::default(),
        }
    }

    /// The last hour that is closed for an account; a close in progress goes through accounts in order.
    pub(super) fn closed_for(&self, account: &Account) -> Option<Hour> {
        let closing = self.closing.as_ref().filter(|closing| closing.done.as_ref().is_some_and(|done| account <= done));
        closing.map(|closing| closing.hour).or(self.closed_through)
    }

    pub(super) fn is_open(&self, account: &Account, hour: Hour) -> bool {
        self.closed_for(account).is_none_or(|closed| hour > closed)
    }
}

impl Names {
    fn one(&mut self, name: Text) -> Text {
        if let Some(known) = self.0.get(&name) {
            return known.clone();
        }
        self.0.insert(name.clone());
        name
    }

    fn share(&mut self, dimensions: LeafDimensions) -> LeafDimensions {
        let LeafDimensions { project, model, provider, region, environment, meter } = dimensions;
        LeafDimensions {
            project: self.one(project),
            model: self.one(model),
            provider: self.one(provider),
            region: self.one(region),
            environment: self.one(environment),
            meter: self.one(meter),
        }
    }
}

/// Numbers, caches and what waits to be written are nobody's business: two shards are the same if they go on alike.
impl PartialEq for Shard {
    fn eq(&self, other: &Shard) -> bool {
        self.header == other.header
            && (self.series, self.open_alerts) == (other.series, other.open_alerts)
            && self.accounts.used().eq(other.accounts.used())
            && self.teams == other.teams
            && self.books == other.books
            && self.early_words == other.early_words
            && self.matters == other.matters
            && self.unsaved_names().eq(other.unsaved_names())
            && self.waiting.iter().map(|(minute, _)| minute).eq(other.waiting.iter().map(|(minute, _)| minute))
            && self.violations == other.violations
            && self.drift == other.drift
    }
}
