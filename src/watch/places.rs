//! Where leaves are kept, by a hash of their names.

use std::collections::HashMap;

use super::account::NodeId;
use crate::model::hash::hash128;
use crate::model::leaf::{Account, Leaf, Scope};

/// Where a leaf is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub account: u32,
    pub node: NodeId,
}

/// Asked, never walked: its order is nobody's business. Of two leaves with the same hash it knows the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(HashMap<u64, Place, foldhash::fast::FixedState>);

impl Places {
    pub fn get(&self, hash: u64) -> Option<Place> {
        self.0.get(&hash).copied()
    }

    pub fn add(&mut self, hash: u64, place: Place) {
        self.0.entry(hash).or_insert(place);
    }

    pub fn remove(&mut self, hash: u64, place: Place) {
        if self.get(hash) == Some(place) {
            self.0.remove(&hash);
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

pub(super) fn hash_of(leaf: &Leaf) -> u64 {
    let measure = leaf.measure.as_str();
    let texts = [&*leaf.team, &leaf.project, &leaf.model, &leaf.provider, &leaf.region, &leaf.environment, &leaf.meter];
    let [team, project, model, provider, region, environment, meter] = texts.map(str::as_bytes);
    let parts = [team, project, model, provider, region, environment, meter, leaf.currency.as_str().as_bytes(), measure.as_bytes()];
    hash128(&parts) as u64
}

pub(super) fn is_named(account: &Account, scope: &Scope, leaf: &Leaf) -> bool {
    let Scope::Leaf(own) = scope else { return false };
    account.team == leaf.team
        && account.currency == leaf.currency
        && account.measure == leaf.measure
        && own.project == leaf.project
        && own.model == leaf.model
        && own.provider == leaf.provider
        && own.region == leaf.region
        && own.environment == leaf.environment
        && own.meter == leaf.meter
}
