//! Poison floods: when most of what comes in cannot be read, the producer or the schema is broken, and going on would only move the topic.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::model::record::{InputRecord, Reject, RejectReason};

/// The log names one of the rejected records so often: it says where to look, the metrics how many there are.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Counts over samples of a fixed number of records, one after the other.
#[derive(Clone, Debug)]
pub struct Guard {
    ratio: f64,
    sample: u32,
    seen: u32,
    /// How many, and the first of them: nothing of this sample may have come to dead-letter yet.
    rejected: BTreeMap<RejectReason, (u32, String)>,
    /// Of the sample before this one.
    before: f64,
    /// When the log last named one, and how many have come since.
    said: Option<Stopwatch>,
    unsaid: u32,
}

impl Guard {
    pub fn new(ratio: f64, sample: u32) -> Guard {
        Guard { ratio, sample: sample.max(1), seen: 0, rejected: BTreeMap::new(), before: 0.0, said: None, unsaid: 0 }
    }

    /// Share of the last records, as many as a sample has: of those that this one does not have yet the sample before speaks, and before
    /// the first one all was well.
    pub fn share(&self) -> f64 {
        let missing = f64::from(self.sample - self.seen);
        (f64::from(self.count()) + self.before * missing) / f64::from(self.sample)
    }

    fn count(&self) -> u32 {
        self.rejected.values().map(|(count, _)| count).sum()
    }

    /// Takes one record in; answers what to say when a whole sample was worse than allowed.
    pub fn observe(&mut self, record: &InputRecord<'_>, reject: Option<&Reject>) -> Option<String> {
        self.seen += 1;
        if let Some(Reject { reason, message }) = reject {
            let InputRecord { topic, partition, offset, .. } = record;
            self.unsaid = self.unsaid.saturating_add(1);
            if self.said.as_ref().is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                let (rejected, reason) = (self.unsaid, reason.as_str());
                tracing::warn!(
                    topic,
                    partition,
                    offset,
                    reason,
                    message,
                    rejected,
                    "records cannot be read and go to dead-letter; one of them"
                );
                (self.said, self.unsaid) = (Some(Stopwatch::start()), 0);
            }
            let first = || (0, format!("{topic}[{partition}] at offset {offset}: {reason}, {message}"));
            self.rejected.entry(*reason).or_insert_with(first).0 += 1;
        }
        if self.seen < self.sample {
            return None;
        }
        let (seen, rejected, by_reason) = (self.seen, self.count(), std::mem::take(&mut self.rejected));
        (self.seen, self.before) = (0, f64::from(rejected) / f64::from(seen));
        let flooded = f64::from(rejected) > self.ratio * f64::from(seen);
        flooded.then(|| {
            let mut reasons = Vec::from_iter(by_reason);
            reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
            let named: Vec<String> = reasons.iter().take(3).map(|(reason, (count, _))| format!("{count} {reason}")).collect();
            let example = reasons.first().map_or("", |(_, (_, example))| example);
            format!(
                "{rejected} of the last {seen} records could not be read ({}), intake.dead_letter_ratio allows {}: intake stops before the \
                 whole topic lands in dead-letter. The first of the most: {example}. Repair what writes them, or raise the ratio to go on \
                 regardless",
                named.join(", "),
                self.ratio
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    fn observe(guard: &mut Guard, offset: i64, reason: Option<RejectReason>) -> Option<String> {
        let record =
            InputRecord { topic: "usage-events", partition: 3, offset, timestamp: Timestamp(0), key: None, value: None, headers: &[] };
        guard.observe(&record, reason.map(|reason| Reject::new(reason, "such a thing")).as_ref())
    }

    fn of(is_bad: bool) -> Option<RejectReason> {
        is_bad.then_some(RejectReason::NoValue)
    }

    #[test]
    fn a_sample_is_judged_when_it_is_complete() {
        let mut guard = Guard::new(0.5, 4);
        let verdicts: Vec<bool> = [true, true, true, true, true, false, true, false, true, true, true, false]
            .iter()
            .map(|bad| observe(&mut guard, 0, of(*bad)).is_some())
            .collect();
        assert_eq!(verdicts, [false, false, false, true, false, false, false, false, false, false, false, true]);
        let mut never = Guard::new(1.0, 1);
        assert!((0..100).all(|_| observe(&mut never, 0, of(true)).is_none()));
    }

    #[test]
    fn the_share_falls_as_good_records_come() {
        let mut guard = Guard::new(1.0, 4);
        let shares = [true, false, false, true, false, false].map(|bad| {
            observe(&mut guard, 0, of(bad));
            guard.share()
        });
        assert_eq!(shares, [0.25, 0.25, 0.25, 0.5, 0.375, 0.25]);
    }

    #[test]
    fn who_is_stopped_is_told_by_what() {
        use RejectReason::{InvalidJson, MissingField};
        let mut guard = Guard::new(0.5, 4);
        let bad = [Some(MissingField), Some(InvalidJson), Some(InvalidJson), None];
        let told = (17..).zip(bad).find_map(|(offset, reason)| observe(&mut guard, offset, reason)).unwrap();
        let first = "usage-events[3] at offset 18: invalid_json, such a thing";
        assert!(told.starts_with("3 of the last 4 records could not be read (2 invalid_json, 1 missing_field)"), "{told}");
        assert!(told.contains(first), "{told}");
        let told = (21..25).find_map(|offset| observe(&mut guard, offset, Some(MissingField))).unwrap();
        assert!(told.contains("(4 missing_field)"), "a sample of its own: {told}");
    }
}
