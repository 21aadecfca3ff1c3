//! One account's series: nodes by small numbers, their order by name, and the episodes.
//!
//! Whatever walks over series does so in the order of their names, so that results do not depend on who came first.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::episode::Episode;
use super::budget::Budget;
use super::days::Days;
use super::detect::ring::{MinuteRing, OpenRing};
use super::series::{Grain, HourList, LeafState, Node};
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::money::Nanos;
use crate::model::time::Hour;

/// Place of a node within its account; given to another one after the node has gone.
pub type NodeId = u32;

/// One team's spend in one measure and currency.
#[derive(Clone, Debug)]
pub(crate) struct AccountState {
    pub account: Account,
    slots: Vec<Option<Box<Node>>>,
    free: Vec<NodeId>,
    /// Ids in the order of their scopes.
    order: Vec<NodeId>,
    /// Most teams have one or none.
    pub episodes: BTreeMap<String, Box<Episode>>,
    pub budget: Budget,
    pub days: Days,
    /// Open episodes as last counted.
    pub open_episodes: usize,
}

impl AccountState {
    pub fn new(account: Account) -> AccountState {
        AccountState {
            account,
            slots: Vec::new(),
            free: Vec::new(),
            order: Vec::new(),
            episodes: BTreeMap::new(),
            budget: Budget::default(),
            days: Days::default(),
            open_episodes: 0,
        }
    }

    /// Series in this account.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn id_of(&self, scope: &Scope) -> Option<NodeId> {
        self.position(scope).ok().and_then(|at| self.order.get(at)).copied()
    }

    pub fn get(&self, scope: &Scope) -> Option<&Node> {
        self.node(self.id_of(scope)?)
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(id as usize)?.as_deref()
    }

    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(id as usize)?.as_deref_mut()
    }

    /// A node that is known to be there.
    pub fn at(&mut self, id: NodeId) -> &mut Node {
        let node = self.slots.get_mut(id as usize).and_then(Option::as_deref_mut);
        node.unwrap_or_else(|| unreachable!("node {id} is gone"))
    }

    /// Ids in the order of their scopes.
    pub fn ids(&self) -> &[NodeId] {
        &self.order
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.order.iter().filter_map(|id| self.node(*id))
    }

    /// Leaves with their dimensions, in the order of these.
    pub fn leaves(&self) -> impl Iterator<Item = (&LeafDimensions, &Node, &LeafState)> {
        self.nodes().filter_map(|node| match (&node.scope, &node.grain) {
            (Scope::Leaf(dimensions), Grain::Leaf(leaf)) => Some((dimensions, node, &**leaf)),
            _ => None,
        })
    }

    /// What an hour of a node cost, to the nano, whether it is open or closed and still amendable.
    pub fn cost_of(&self, scope: &Scope, hour: Hour) -> Nanos {
        let Some(node) = self.get(scope) else { return Nanos::ZERO };
        match &node.grain {
            Grain::Sum(sum) if sum.hours.get(hour).is_none() => {
                let leaves = self.nodes().filter(|leaf| leaf.leaf().is_some() && leaf.scope.within(scope));
                leaves.fold(Nanos::ZERO, |sum, leaf| sum.saturating_add(leaf.hour(hour).cost))
            }
            _ => node.hour(hour).cost,
        }
    }

    /// What hours that are closed and still amendable cost, of the leaves and sums of leaves that are asked for, to the nano. All leaves
    /// are read once, however many hours there are.
    pub fn costs_of(&self, asked: &BTreeMap<Hour, BTreeSet<NodeId>>) -> BTreeMap<Hour, BTreeMap<NodeId, Nanos>> {
        let nothing = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|id| (*id, Nanos::ZERO)).collect();
        let mut costs: BTreeMap<Hour, BTreeMap<NodeId, Nanos>> = asked.iter().map(|(hour, nodes)| (*hour, nothing(nodes))).collect();
        for id in &self.order {
            let Some(leaf) = self.node(*id).and_then(Node::leaf) else { continue };
            leaf.recent.each_cost(|hour, cost| {
                let Some(sums) = costs.get_mut(&hour) else { return };
                for id in leaf.parents.iter().chain([id]) {
                    if let Some(sum) = sums.get_mut(id) {
                        *sum = sum.saturating_add(cost);
                    }
                }
            });
        }
        costs
    }

    /// Adds a node under a name that is new.
    pub fn insert(&mut self, node: Node) -> NodeId {
        let at = self.position(&node.scope).unwrap_or_else(|at| at);
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(Box::new(node));
                id
            }
            None => {
                self.slots.push(Some(Box::new(node)));
                (self.slots.len() - 1) as NodeId
            }
        };
        self.order.insert(at, id);
        id
    }

    pub fn remove(&mut self, id: NodeId) -> Option<Node> {
        let scope = self.node(id)?.scope.clone();
        let at = self.position(&scope).ok()?;
        self.order.remove(at);
        self.free.push(id);
        self.slots.get_mut(id as usize)?.take().map(|node| *node)
    }

    /// Adds the leaves up again into the open hours and minutes of their sums.
    pub fn add_up(&mut self) {
        for id in self.order.clone() {
            if let Some(node) = self.node_mut(id)
                && let Grain::Sum(sum) = &mut node.grain
            {
                sum.hours = HourList::default();
                node.minutes = None;
            }
        }
        // Rings are packed for rest: each is unpacked once, each sum packed once.
        let mut minutes: BTreeMap<NodeId, OpenRing> = BTreeMap::new();
        for id in self.order.clone() {
            let Some(slot) = self.slots.get_mut(id as usize) else { continue };
            let Some(node) = slot.take() else { continue };
            if let Grain::Leaf(leaf) = &node.grain {
                let ring = node.minutes.as_ref().map(MinuteRing::open);
                for parent in leaf.parents {
                    if let Some(sum) = self.node_mut(parent) {
                        sum.add_hours(leaf);
                    }
                    if let Some(ring) = &ring {
                        minutes.entry(parent).and_modify(|sum| sum.add(ring)).or_insert_with(|| ring.clone());
                    }
                }
            }
            self.slots[id as usize] = Some(node);
        }
        for (id, sum) in minutes {
            let Some(node) = self.node_mut(id) else { continue };
            let mut ring = sum.pack();
            // What leaves that are gone by now had taken is forgotten, but not that they were there.
            ring.known_since(node.closed.born);
            node.minutes = Some(ring);
        }
    }

    fn position(&self, scope: &Scope) -> Result<usize, usize> {
        self.order.binary_search_by(|id| match self.node(*id) {
            Some(node) => node.scope.cmp(scope),
            None => std::cmp::Ordering::Less,
        })
    }

    /// First hour of which anything is known of this account.
    pub fn born(&self) -> Option<Hour> {
        self.get(&Scope::Team).map(|node| node.closed.born)
    }

    /// Hours that any episode holds, open or over.
    pub fn hours_of_episodes(&self) -> BTreeSet<Hour> {
        self.episodes.values().flat_map(|episode| episode.hours.keys().copied()).collect()
    }

    /// Onset of the open episode that began first.
    pub fn first_onset(&self) -> Option<Hour> {
        self.unfinished().map(|episode| episode.onset.hour()).min()
    }

    /// Episodes of too much that people know of and that are not over.
    pub fn open_rises(&self) -> impl Iterator<Item = &Episode> {
        self.open_episodes().filter(|episode| !episode.is_of_fall())
    }

    /// Episodes that people know of and that are not over.
    pub fn open_episodes(&self) -> impl Iterator<Item = &Episode> {
        self.unfinished().filter(|episode| !episode.is_held())
    }

    /// Episodes that are not over, those that are held included.
    pub fn unfinished(&self) -> impl Iterator<Item = &Episode> {
        self.episodes.values().map(Box::as_ref).filter(|episode| episode.is_open())
    }
}

/// Ids, slots that are free and caches are nobody's business: two accounts are the same if they say the same by name.
impl PartialEq for AccountState {
    fn eq(&self, other: &AccountState) -> bool {
        self.account == other.account
            && self.episodes == other.episodes
            && self.budget == other.budget
            && self.days == other.days
            && self.nodes().eq(other.nodes())
    }
}
