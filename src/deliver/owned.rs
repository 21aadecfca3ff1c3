//! What a thread keeps of a partition of `alerts`: how far it is, and the receipts of those alerts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::time::{DAY_MS, Timestamp};

use super::again;
use super::outbox::Outbox;
use super::receipt::Receipt;
use super::rules::{DeliverRules, Receiver};

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

/// What waits is judged by these rules from now on, also what stands in line at a channel already.
pub fn review(rules: &DeliverRules, outbox: &mut Outbox, partitions: &mut BTreeMap<i32, Owned>, now: Timestamp) {
    for due in outbox.take_back(|due| !again::stays(rules, &due.alert, &due.receiver)) {
        let Some(owned) = partitions.get_mut(&due.partition) else { continue };
        // What receipts brought up they know of. This they know from here on, to find out who is told in his place.
        if due.offset.is_some() {
            owned.receipt(&due.alert.id).postpone(&due.alert, &due.receiver, now, "taken off the routes");
            owned.release(due.offset);
        }
    }
    partitions.values_mut().for_each(|owned| owned.review(rules, now));
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

    /// Letters whose time has come go to those who are on call now. `going`: alerts and receivers of those on their way.
    pub fn hand_over(&mut self, rules: &DeliverRules, going: &HashSet<(String, Receiver)>, now: Timestamp) {
        if rules.routes.rotations.is_empty() {
            return;
        }
        for (id, receipt) in &mut self.receipts {
            if again::hand_over(rules, receipt, |receiver| going.contains(&(id.clone(), receiver.clone())), now) {
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
    use std::sync::Arc;

    use super::*;
    use crate::deliver::channels::Channels;
    use crate::deliver::lane::Due;
    use crate::deliver::outbox::Desk;
    use crate::deliver::render::{Renderer, sample};
    use crate::deliver::rules::{Route, Routes};
    use crate::model::alert::Alert;

    fn owned(receipts: BTreeMap<String, Receipt>) -> Owned {
        Owned { next: 0, committed: 0, staged: 0, open: BTreeMap::new(), receipts, changed: BTreeSet::new() }
    }

    fn days(days: i64) -> Timestamp {
        Timestamp(days * DAY_MS)
    }

    /// What `tidy` marks at this time.
    fn tidied(receipts: &[&Receipt], at: Timestamp) -> Vec<String> {
        let receipts = receipts.iter().map(|receipt| (receipt.alert_id.clone(), (*receipt).clone())).collect();
        let mut owned = owned(receipts);
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

    #[test]
    fn who_is_taken_off_the_routes_is_told_nothing_that_stands_in_line() {
        let desk = Desk { channels: Arc::new(Channels::default()), renderer: Arc::new(Renderer::new().unwrap()), topic: String::new() };
        let mut outbox = Outbox::new(desk).unwrap();
        let [ada, bob] = ["ada@x", "bob@x"].map(|address| Receiver::Mail(address.into()));
        let due = |id: &str, receiver: &Receiver, offset: Option<i64>| {
            let alert = Arc::new(Alert { id: id.into(), ..sample::spike() });
            Due { partition: 0, offset, alert, receiver: receiver.clone(), earlier: None, with: Vec::new() }
        };
        let mut own = owned(BTreeMap::new());
        // One that is read, for both; one that a receipt brought up, in one letter with one that is read.
        own.open = [(7, 2), (8, 1)].into();
        outbox.add(due("search/1", &ada, Some(7)));
        outbox.add(due("search/1", &bob, Some(7)));
        outbox.add(Due::together(vec![due("search/2", &ada, None), due("search/3", &ada, Some(8))]).unwrap());
        let mut waits = Receipt::new("search/2");
        waits.record_failed(&Alert { id: "search/2".into(), ..sample::spike() }, &ada, "451", days(0), Some(days(0)));
        own.receipts.insert("search/2".into(), waits);
        let mut partitions = BTreeMap::from([(0, own)]);
        let route = Route { receivers: vec!["bob@x".into()], ..Route::default() };
        let rules = DeliverRules { routes: Routes { routes: vec![route], ..Routes::default() }, ..DeliverRules::default() };
        review(&rules, &mut outbox, &mut partitions, days(1));
        let own = &partitions[&0];
        assert_eq!(outbox.letters(), [("search/1".to_string(), bob.clone())].into());
        assert_eq!(own.open, [(7, 1)].into(), "what is done with is not read again");
        for id in ["search/2", "search/3"] {
            assert_eq!(own.receipts[id].due(days(1)), std::slice::from_ref(&bob), "{id}: in her place");
        }
        // Nobody is taken off: all stay where they are.
        review(&rules, &mut outbox, &mut partitions, days(1));
        assert_eq!((outbox.letters().len(), &partitions[&0].open), (1, &[(7, 1)].into()));
    }
}
