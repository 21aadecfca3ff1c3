//! What is not computed anew is told anew: the bill that the ledger keeps, and what the lineage graph knows, to shards that know nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::kafka::topics::TopicNames;
use crate::kafka::transfer::Parcel;
use crate::ledger::Ledger;
use crate::lineage::state::is_of_what_was_told;
use crate::model::billing::BilledDelta;
use crate::model::time::Hour;
use crate::model::wire::encode_shard_record;
use crate::runtime::ledger::shard_records;

/// Keys and values of one partition of a changelog.
pub type Live = BTreeMap<Vec<u8>, Vec<u8>>;

/// Records for the new shard log, of all that one partition of the ledger's changelog says counts: watch gets differences only, so what it has
/// lost would be missing from every restatement to come. How many hours of leaves they hold. Without hours before `oldest`: watch keeps none
/// so long, and writes what comes of them as supplements, to be added to those that it wrote before.
///
/// # Errors
/// A changelog of another version.
pub fn bill(live: &Live, names: &TopicNames, shard_count: u32, oldest: Hour) -> Result<(Vec<Parcel>, usize)> {
    let mut ledger = Ledger::default();
    for (key, value) in live {
        ledger.restore(key, Some(value)).with_context(|| format!("cannot read '{}'", names.ledger_changelog))?;
    }
    let counts = ledger.totals().into_iter().filter(|((_, hour), _)| *hour >= oldest);
    let counts: Vec<BilledDelta> = counts.map(|((leaf, hour), amounts)| BilledDelta { leaf, hour, amounts, lines: 0 }).collect();
    let hours = counts.len();
    let mut parcels = Vec::new();
    for (shard, record) in shard_records(counts, shard_count) {
        let (partition, value) = (Some(i32::try_from(shard)?), Some(encode_shard_record(&record)?));
        parcels.push(Parcel { topic: names.shard_log.clone(), partition, value, ..Parcel::default() });
    }
    Ok((parcels, hours))
}

/// Deletions, in the changelog of the graph, of what it says it has told of models: at its next start it tells all that it knows. Uses of data
/// stay: what was told of them comes again with the activity that is read again.
pub fn lineage(live: &Live, names: &TopicNames) -> Vec<Parcel> {
    let forgotten = live.keys().filter(|key| is_of_what_was_told(key));
    let topic = &names.lineage_changelog;
    forgotten.map(|key| Parcel { topic: topic.clone(), partition: Some(0), key: Some(key.clone()), ..Parcel::default() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::billing::{Amounts, BillingLine, Charge, LedgerItem, LedgerRecord};
    use crate::model::hash::shard_of;
    use crate::model::leaf::{Leaf, Measure};
    use crate::model::money::{Currency, Nanos};
    use crate::model::time::Timestamp;
    use crate::model::wire::decode_shard_record;

    fn line(line: u128, team: &str, hour: i64, dollars: i64) -> LedgerItem {
        let [empty, team] = ["", team].map(crate::model::Text::from);
        let (provider, region, environment, meter, project) = ("aws".into(), empty.clone(), empty.clone(), "Hours".into(), empty);
        let (model, currency, measure) = ("service".into(), Currency::USD, Measure::Billed);
        let leaf = Leaf { team, project, model, provider, region, environment, meter, currency, measure };
        let amounts = Amounts { effective: Nanos::from_units(dollars), ..Amounts::default() };
        let charge = Charge { leaf, hour: Hour(hour), amounts };
        LedgerItem::Line(BillingLine { line, revision: 1, exported: Timestamp(1), delivery: None, charge })
    }

    #[test]
    fn all_that_counts_is_told_to_the_shard_of_its_team_unless_it_is_too_old() {
        let names = TopicNames::new("", "tollgate");
        let mut ledger = Ledger::default();
        let items = vec![line(0, "search", 100, 5), line(1, "search", 101, 7), line(2, "ads", 101, 11), line(3, "ads", 3, 13)];
        ledger.apply(&LedgerRecord { source: "focus".into(), period: "2026-03".into(), items }, 0);
        let live: Live = ledger.take_changes().unwrap().into_iter().filter_map(|change| Some((change.key, change.value?))).collect();
        let (parcels, hours) = bill(&live, &names, 8, Hour(100)).unwrap();
        assert_eq!(hours, 3);
        let mut found = Vec::new();
        for parcel in parcels {
            for partial in decode_shard_record(parcel.value.as_deref().unwrap()).unwrap().partials {
                assert_eq!(parcel.partition, i32::try_from(shard_of(&partial.leaf.team, 8)).ok());
                found.push((partial.leaf.team.to_string(), partial.cost));
            }
        }
        found.sort();
        let wanted = [("ads", 11), ("search", 5), ("search", 7)].map(|(team, dollars)| (team.to_string(), Nanos::from_units(dollars)));
        assert_eq!(found, wanted);
    }
}
