//! What a thread keeps of a partition of `alerts`: how far it is, and the receipts of those alerts.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::time::{DAY_MS, Timestamp};

use super::again;
use super::receipt::Receipt;
use super::rules::DeliverRules;

/// A receipt is forgotten this long after its alert was over, in ms.
pub const KEEP_RECEIPTS_MS: i64 = 30 * DAY_MS;

/// Position and receipts of a partition of `alerts`.
pub struct Owned {
    pub next: i64,
    /// What the group was last told, and what it is being told.
    pub committed: i64,
    pub staged: i64,
    /// Alerts that are not done with, by offset: letters that are still to be sent or postponed.
    pub open: BTreeMap<i64, usize>,
    pub receipts: BTreeMap<String, Receipt>,
    pub changed: BTreeSet<String>,
}

impl Owned {
    /// Every alert below it is done with.
    pub fn done(&self) -> i64 {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// One letter less that this alert waits for.
    pub fn release(&mut self, offset: Option<i64>) {
        let Some(offset) = offset else { return };
        if let Some(letters) = self.open.get_mut(&offset) {
            *letters = letters.saturating_sub(1);
            if *letters == 0 {
                self.open.remove(&offset);
            }
        }
    }

    pub fn receipt(&mut self, alert_id: &str) -> &mut Receipt {
        self.changed.insert(alert_id.to_string());
        self.receipts.entry(alert_id.to_string()).or_insert_with(|| Receipt::new(alert_id))
    }

    /// What waits is judged by these rules from now on.
    pub fn review(&mut self, rules: &DeliverRules, now: Timestamp) {
        for (id, receipt) in &mut self.receipts {
            if again::review(rules, receipt, now) {
                self.changed.insert(id.clone());
            }
        }
    }

    /// What was over long ago is forgotten with the next commit.
    pub fn tidy(&mut self, now: Timestamp) {
        for (id, receipt) in &mut self.receipts {
            if receipt.note_over(now) || receipt.may_forget(now, KEEP_RECEIPTS_MS) {
                self.changed.insert(id.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;
    use crate::deliver::rules::Receiver;
    use crate::model::alert::Alert;

    fn days(days: i64) -> Timestamp {
        Timestamp(days * DAY_MS)
    }

    /// What `tidy` marks at this time.
    fn tidied(receipts: &[&Receipt], at: Timestamp) -> Vec<String> {
        let receipts = receipts.iter().map(|receipt| (receipt.alert_id.clone(), (*receipt).clone())).collect();
        let mut owned = Owned { next: 0, committed: 0, staged: 0, open: BTreeMap::new(), receipts, changed: BTreeSet::new() };
        owned.tidy(at);
        owned.changed.into_iter().collect()
    }

    #[test]
    fn what_is_over_is_forgotten_also_by_those_who_were_not_told_of_it() {
        let (open, ada) = (sample::spike(), Receiver::Mail("ada@x".into()));
        let resolved = Alert { revision: 2, ..sample::resolved() };
        let receipt = |id: &str| {
            let mut receipt = Receipt::new(id);
            receipt.record_sent(&open, &ada, "<1@x>", days(1));
            receipt
        };
        let standing = receipt("standing");
        let mut told = receipt("told");
        told.supersede(&resolved, days(50));
        told.record_sent(&resolved, &ada, "<2@x>", days(50));
        // Off the routes, or a quiet end: nobody told her. While she may be told, she is known, however long ago she heard of it.
        let mut quiet = receipt("quiet");
        quiet.supersede(&resolved, days(50));
        let mut refused = quiet.clone();
        refused.alert_id = "refused".into();
        refused.record_failed(&resolved, &ada, "550", days(51), None);
        let all = [&standing, &told, &quiet, &refused];
        assert_eq!(tidied(&all, days(80)), [""; 0]);
        assert_eq!(tidied(&all, Timestamp(days(80).0 + 1)), ["quiet", "told"]);
        assert_eq!(tidied(&all, days(82)), ["quiet", "refused", "told"]);

        let again = Alert { revision: 3, ..open.clone() };
        quiet.supersede(&again, days(60));
        assert_eq!(tidied(&[&quiet], days(500)), [""; 0], "it goes on");
        // From its own bytes, and those of before its end was noted: from then on it counts.
        let read = |receipt: &Receipt| Receipt::decode(&receipt.encode().unwrap()).unwrap();
        assert_eq!(tidied(&[&read(&refused)], days(82)), ["refused"]);
        let mut old: serde_json::Value = serde_json::from_slice(&refused.encode().unwrap()).unwrap();
        old.as_object_mut().unwrap().remove("over_at").unwrap();
        let mut old = Receipt::decode(old.to_string().as_bytes()).unwrap();
        assert!(!old.may_forget(days(100), KEEP_RECEIPTS_MS) && old.note_over(days(100)) && !old.note_over(days(101)));
        assert_eq!((tidied(&[&old], days(130)), tidied(&[&old], days(131))), (vec![], vec!["refused".to_string()]));
    }
}
