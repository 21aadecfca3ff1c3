//! What is not computed anew is told anew: the bill that the ledger keeps, and what the lineage graph knows, to shards that know nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::kafka::topics::TopicNames;
use crate::kafka::transfer::Parcel;
use crate::ledger::{self, Ledger};
use crate::lineage::state::is_of_what_was_told;
use crate::model::billing::BilledDelta;
use crate::model::hash::shard_of;
use crate::model::partial::{Partial, ShardRecord};
use crate::model::wire::encode_shard_record;
use crate::runtime::intake::fitting;

/// Keys and values of one partition of a changelog.
pub type Live = BTreeMap<Vec<u8>, Vec<u8>>;

/// Records for the new shard log, of all that one partition of the ledger's changelog says counts: watch gets differences only, so what it has
/// lost would be missing from every restatement to come. How many hours of leaves they hold.
///
/// # Errors
/// A changelog of another version.
pub fn bill(live: &Live, names: &TopicNames, shard_count: u32) -> Result<(Vec<Parcel>, usize)> {
    let mut ledger = Ledger::default();
    for (key, value) in live {
        ledger.restore(key, Some(value)).with_context(|| format!("cannot read '{}'", names.ledger_changelog))?;
    }
    let mut shards = BTreeMap::<u32, Vec<Partial>>::new();
    let mut hours = 0;
    for ((leaf, hour), amounts) in ledger.totals() {
        hours += 1;
        let shard = shard_of(&leaf.team, shard_count);
        shards.entry(shard).or_default().push(ledger::partial(BilledDelta { leaf, hour, amounts, lines: 0 }));
    }
    let mut parcels = Vec::new();
    for (shard, mut partials) in shards {
        while !partials.is_empty() {
            let rest = partials.split_off(fitting(&partials));
            let value = encode_shard_record(&ShardRecord { partials, ..ShardRecord::default() })?;
            let partition = Some(i32::try_from(shard)?);
            parcels.push(Parcel { topic: names.shard_log.clone(), partition, value: Some(value), ..Parcel::default() });
            partials = rest;
        }
    }
    Ok((parcels, hours))
}

/// Deletions, in the changelog of the graph, of what it says it has told: at its next start it tells all that it knows. Which datasets were used
/// goes as well; the activity that says so is read again.
pub fn lineage(live: &Live, names: &TopicNames) -> Vec<Parcel> {
    let forgotten = live.keys().filter(|key| is_of_what_was_told(key));
    let topic = &names.lineage_changelog;
    forgotten.map(|key| Parcel { topic: topic.clone(), partition: Some(0), key: Some(key.clone()), ..Parcel::default() }).collect()
}
