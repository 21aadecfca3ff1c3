//! State as format versions 1 to 3 wrote it: read once, written anew when its series changes next.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::baseline::Baseline;
use super::baseline::legacy::{Baseline1, Baseline2};
use super::baseline::rest::Resting;
use super::detect::ring::MinuteRing;
use super::history::{History, Point};
use super::recent::Recent;
use super::restore::ReadOpen;
use super::series::{HourTotals, NodeClosed};
use super::shard::Header;
use super::state::{StateError, from_payload};
use super::user_minutes::UserMinutes;
use super::watermark::Watermarks1;
use crate::model::time::Hour;

#[derive(Deserialize)]
struct Header1 {
    shard: u32,
    shard_count: u32,
    position: i64,
    rules_revision: u64,
    watermarks: Watermarks1,
    closed_through: Option<Hour>,
    late_partials: u64,
}

#[derive(Deserialize)]
struct NodeClosed1 {
    born: Hour,
    baseline: Baseline1,
    history: Vec<Point>,
}

/// All else of versions 2 and 3 is as it is today.
#[derive(Deserialize)]
pub(super) struct NodeClosed2<Old = Baseline2> {
    born: Hour,
    baseline: Old,
    history: History,
}

/// Baselines were written number by number.
pub(super) type NodeClosed3 = NodeClosed2<Baseline>;

impl<Old: Into<Baseline>> From<NodeClosed2<Old>> for NodeClosed {
    fn from(old: NodeClosed2<Old>) -> NodeClosed {
        NodeClosed { born: old.born, baseline: Resting::new(&old.baseline.into()), history: old.history }
    }
}

#[derive(Deserialize)]
struct LeafOpen1 {
    hours: BTreeMap<Hour, HourTotals>,
    minutes: Option<MinuteRing>,
}

/// Open parts of version 1 were written with every transaction: there is nothing to replay.
pub(super) fn header(payload: &[u8]) -> Result<Header, StateError> {
    let old: Header1 = from_payload(payload)?;
    Ok(Header {
        position: old.position,
        replay_from: old.position,
        rules_revision: old.rules_revision,
        watermarks: old.watermarks.into(),
        closed_through: old.closed_through,
        late_partials: old.late_partials,
        ..Header::new(old.shard, old.shard_count)
    })
}

pub(super) fn closed(payload: &[u8]) -> Result<NodeClosed, StateError> {
    let old: NodeClosed1 = from_payload(payload)?;
    Ok(NodeClosed { born: old.born, baseline: Resting::new(&old.baseline.into()), history: old.history.into_iter().collect() })
}

pub(super) fn recent(payload: &[u8]) -> Result<Recent, StateError> {
    let old: BTreeMap<Hour, HourTotals> = from_payload(payload)?;
    Ok(old.into_iter().collect())
}

pub(super) fn open(payload: &[u8]) -> Result<ReadOpen, StateError> {
    let old: LeafOpen1 = from_payload(payload)?;
    Ok(ReadOpen { as_of: 0, hours: old.hours.into_iter().collect(), minutes: old.minutes, user_minutes: UserMinutes::default() })
}
