//! One partition of the model: records and control markers at offsets, what is decided, what was aborted, what was compacted away.

use std::collections::BTreeMap;

use crate::kafka::link::OwnedRecord;

/// A transactional producer as brokers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

#[derive(Clone, Debug)]
enum Entry {
    Record {
        record: OwnedRecord,
        producer: Option<i64>,
    },
    /// Ends a transaction in this partition; takes an offset and is never handed out.
    Marker,
}

/// Written with an epoch that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Fenced;

#[derive(Clone, Debug, Default)]
pub struct Log {
    low: i64,
    next: i64,
    entries: BTreeMap<i64, Entry>,
    /// First offset of each producer's transaction that is not decided here.
    open: BTreeMap<i64, i64>,
    /// By producer: first offset and marker of each transaction that was aborted.
    aborted: BTreeMap<i64, BTreeMap<i64, i64>>,
    /// Latest epoch that this leader has seen of each producer: from its records, or from markers.
    epochs: BTreeMap<i64, i16>,
    /// Committed records that the cleaner has taken away: no client sees them, the oracle does.
    cleaned: BTreeMap<i64, OwnedRecord>,
}

impl Log {
    pub fn low(&self) -> i64 {
        self.low
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    /// The last stable offset: everything below it is decided.
    pub fn stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.next)
    }

    /// Whether records of a transaction of this producer wait for their marker.
    pub fn is_open_for(&self, producer: i64) -> bool {
        self.open.contains_key(&producer)
    }

    pub fn append(&mut self, record: OwnedRecord, producer: Option<ProducerId>) -> Result<i64, Fenced> {
        let offset = self.next;
        if let Some(producer) = producer {
            let known = self.epochs.entry(producer.id).or_insert(producer.epoch);
            if producer.epoch < *known {
                return Err(Fenced);
            }
            *known = producer.epoch;
            self.open.entry(producer.id).or_insert(offset);
        }
        self.entries
            .insert(offset, Entry::Record { record: OwnedRecord { offset, ..record }, producer: producer.map(|producer| producer.id) });
        self.next += 1;
        Ok(offset)
    }

    /// The coordinator's decision arrives.
    pub fn mark(&mut self, producer: ProducerId, commit: bool) {
        let marker = self.next;
        self.epochs.insert(producer.id, producer.epoch);
        if let Some(first) = self.open.remove(&producer.id)
            && !commit
        {
            self.aborted.entry(producer.id).or_default().insert(first, marker);
        }
        self.entries.insert(marker, Entry::Marker);
        self.next += 1;
    }

    fn is_aborted(&self, producer: i64, offset: i64) -> bool {
        let before = self.aborted.get(&producer).and_then(|ranges| ranges.range(..=offset).next_back());
        before.is_some_and(|(_, marker)| offset < *marker)
    }

    /// Up to `most` committed records at `from` and behind it, below `until` and the last stable offset; and where to read on.
    pub fn read(&self, from: i64, until: i64, most: usize) -> (Vec<OwnedRecord>, i64) {
        let end = until.min(self.stable());
        let mut records = Vec::new();
        for (offset, entry) in self.entries.range(from..end.max(from)) {
            if records.len() >= most {
                return (records, *offset);
            }
            if let Entry::Record { record, producer } = entry
                && producer.is_none_or(|producer| !self.is_aborted(producer, *offset))
            {
                records.push(record.clone());
            }
        }
        (records, end.max(from))
    }

    /// Everything that a reader of committed records sees.
    pub fn committed(&self) -> Vec<OwnedRecord> {
        self.read(self.low, self.next, usize::MAX).0
    }

    /// Everything that ever was committed.
    pub fn history(&self) -> Vec<OwnedRecord> {
        let mut all = self.cleaned.clone();
        all.extend(self.committed().into_iter().map(|record| (record.offset, record)));
        all.into_values().collect()
    }

    /// As the log cleaner does below `point`: of each key its last committed record stays, with its offset; aborted records go.
    pub fn compact(&mut self, point: i64) {
        let point = point.min(self.stable());
        let below = self.read(self.low, point, usize::MAX).0;
        let last: BTreeMap<Option<Vec<u8>>, i64> = below.iter().map(|record| (record.key.clone(), record.offset)).collect();
        self.cleaned.extend(below.into_iter().filter(|record| last[&record.key] != record.offset).map(|record| (record.offset, record)));
        self.entries.retain(|offset, entry| match entry {
            Entry::Record { record, .. } => *offset >= point || last.get(&record.key) == Some(offset),
            Entry::Marker => true,
        });
    }

    /// `DeleteRecords`: the log begins at `offset`.
    pub fn delete_before(&mut self, offset: i64) {
        self.low = self.low.max(offset.min(self.stable()));
        self.entries = self.entries.split_off(&self.low);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> OwnedRecord {
        OwnedRecord { key: Some(key.into()), value: Some(value.into()), ..OwnedRecord::default() }
    }

    fn values(log: &Log) -> Vec<String> {
        log.committed().into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect()
    }

    const A: ProducerId = ProducerId { id: 1, epoch: 0 };
    const B: ProducerId = ProducerId { id: 2, epoch: 0 };

    /// One producer's open transaction hides everybody's later records; an aborted one is skipped, its marker takes an offset.
    #[test]
    fn records_below_the_last_stable_offset_without_aborted_ones() {
        let mut log = Log::default();
        log.append(record("k", "plain"), None).unwrap();
        log.append(record("k", "a1"), Some(A)).unwrap();
        log.append(record("k", "b1"), Some(B)).unwrap();
        log.mark(B, true);
        assert_eq!((values(&log), log.stable(), log.next()), (vec!["plain".to_string()], 1, 4));
        log.mark(A, false);
        assert_eq!((values(&log), log.stable(), log.next()), (vec!["plain".to_string(), "b1".to_string()], 5, 5));
        log.append(record("k", "a2"), Some(A)).unwrap();
        log.mark(A, true);
        assert_eq!(values(&log), ["plain", "b1", "a2"], "aborted is a stretch, not a producer");
        assert_eq!(log.read(1, 100, 1), (vec![OwnedRecord { offset: 2, ..record("k", "b1") }], 3));
        assert_eq!(log.read(3, 5, 9), (Vec::new(), 5), "only markers: nothing to hand out, and the position moves on");
    }

    #[test]
    fn an_epoch_that_is_over_writes_nothing() {
        let mut log = Log::default();
        log.append(record("k", "old"), Some(A)).unwrap();
        let next = ProducerId { epoch: 1, ..A };
        log.mark(next, false);
        assert_eq!(log.append(record("k", "zombie"), Some(A)), Err(Fenced));
        log.append(record("k", "new"), Some(next)).unwrap();
        log.mark(next, true);
        assert_eq!(values(&log), ["new"]);
    }

    #[test]
    fn the_cleaner_keeps_the_last_committed_of_each_key_and_deleting_moves_the_beginning() {
        let mut log = Log::default();
        for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
            log.append(record(key, value), None).unwrap();
        }
        log.append(record("b", "aborted"), Some(A)).unwrap();
        log.mark(A, false);
        log.append(record("a", "3"), None).unwrap();
        log.compact(5);
        assert_eq!((values(&log), log.next()), (vec!["1".to_string(), "2".to_string(), "3".to_string()], 6));
        log.compact(100);
        assert_eq!(values(&log), ["1", "3"]);
        assert_eq!(log.history().len(), 4);
        log.delete_before(2);
        assert_eq!((values(&log), log.low()), (vec!["3".to_string()], 2));
    }
}
