//! The commit routine, one for all roles: outputs, state changes, dead letters and offsets become visible together or not at all.

use std::time::Duration;

use crate::kafka::consumer::{Consumer, Partition};
use crate::kafka::producer::{GroupMetadata, OutRecord, ProduceError, Producer};

/// Longer than any healthy broker needs to acknowledge a batch, shorter than the transaction timeout that config allows.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Executes the effects of a batch and moves the input offsets past it, in one transaction.
///
/// `offsets` are our own positions (next record to read) of every partition that the batch touched, and of at least one owned partition
/// in any case: without valid offsets librdkafka answers success and the broker checks no fencing. `number` counts this producer's
/// transactions; it stands in the offsets' metadata, so that after an uncertain outcome one can look which one went through.
///
/// # Errors
/// `Abort`: nothing became visible, the caller goes back to the committed state. `Rebuild`: nobody knows or we are fenced; the caller
/// drops this producer and goes back to whatever is committed then.
pub fn commit(
    producer: &Producer,
    consumer: &Consumer,
    records: &[OutRecord],
    offsets: &[(Partition, i64)],
    number: u64,
) -> Result<(), ProduceError> {
    assert!(!offsets.is_empty(), "a commit without offsets is not fenced");
    if !producer.is_transactional() {
        return at_least_once(producer, consumer, records, offsets);
    }
    producer.begin()?;
    match fill_and_commit(producer, consumer, records, offsets, number) {
        Ok(()) => Ok(()),
        Err(error @ ProduceError::Abort { .. }) => {
            producer.abort()?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn fill_and_commit(
    producer: &Producer,
    consumer: &Consumer,
    records: &[OutRecord],
    offsets: &[(Partition, i64)],
    number: u64,
) -> Result<(), ProduceError> {
    for record in records {
        producer.send(record)?;
    }
    producer.drain(DRAIN_TIMEOUT)?;
    let group = GroupMetadata::of(consumer);
    if !group.is_live_member() {
        let reason = "this consumer is no longer a member of its group; committing would not be fenced".to_string();
        return Err(ProduceError::Abort { step: "check membership", reason });
    }
    producer.send_offsets(offsets, &format!("v1 txn={number}"), &group)?;
    producer.commit()
}

/// The demo's broker has no transactions: deliver first, then move the offsets. A crash in between repeats.
fn at_least_once(
    producer: &Producer,
    consumer: &Consumer,
    records: &[OutRecord],
    offsets: &[(Partition, i64)],
) -> Result<(), ProduceError> {
    for record in records {
        producer.send(record)?;
    }
    producer.drain(DRAIN_TIMEOUT)?;
    let rebuild = |error: anyhow::Error| ProduceError::Rebuild { step: "commit offsets", reason: format!("{error:#}") };
    consumer.commit_offsets(offsets).map_err(rebuild)
}
