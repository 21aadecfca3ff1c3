//! Where records of a partition were refused for what may be otherwise when they are read again after a restart: nobody knew their schema,
//! they were larger than the config allowed, or ahead of the clock. Without this their ids would enter the dedupe window, and events that
//! were never counted would be taken for duplicates.

use crate::model::record::RejectReason;

/// As many stretches of a partition are kept, the latest: whoever makes up ids of schemas does not make intake's key large.
const MOST: usize = 64;
/// Of records that were refused for themselves, whose schema says nothing, so many at most: they must not drive out the others.
const MOST_FOR_THEMSELVES: usize = 32;
/// Stands where a schema's id does; no registry gives it, theirs are below 2^31.
const FOR_ITSELF: u32 = u32::MAX;

/// Schema, and the first and the last offset at which a record of it was refused; between them none was accepted.
pub type Stretch = (u32, i64, i64);

#[derive(Clone, Debug, Default)]
pub struct Refused {
    stretches: Vec<Stretch>,
    /// So many of the first are of former runs and do not grow: since then the schema may have been known for a while.
    former: usize,
}

impl Refused {
    pub fn restored(stretches: Vec<Stretch>) -> Refused {
        Refused { former: stretches.len(), stretches }
    }

    /// A record that is refused for itself, if today's reason may not be one when it is read again. Between the first and the last of a
    /// stretch all were.
    pub fn note_itself(&mut self, reason: RejectReason, offset: i64) {
        if !matches!(reason, RejectReason::TooLarge | RejectReason::EventTimeInFuture) {
            return;
        }
        let own = |(known, _, last): &&mut Stretch| *known == FOR_ITSELF && last.checked_add(1) == Some(offset);
        if let Some((_, _, last)) = self.stretches.iter_mut().skip(self.former).find(own) {
            *last = offset;
            return;
        }
        let is_own = |(known, ..): &Stretch| *known == FOR_ITSELF;
        if self.stretches.iter().filter(|stretch| is_own(stretch)).count() >= MOST_FOR_THEMSELVES
            && let Some(first) = self.stretches.iter().position(is_own)
        {
            self.remove(first);
        }
        self.begin(FOR_ITSELF, offset);
    }

    /// Offsets only grow. A schema that this run has come to know stays known to it.
    pub fn note(&mut self, schema: u32, offset: i64) {
        if let Some((_, _, last)) = self.stretches.iter_mut().skip(self.former).find(|(known, ..)| *known == schema) {
            *last = offset;
            return;
        }
        self.begin(schema, offset);
    }

    fn begin(&mut self, key: u32, offset: i64) {
        if self.stretches.len() >= MOST {
            self.remove(0);
        }
        self.stretches.push((key, offset, offset));
    }

    fn remove(&mut self, at: usize) {
        self.stretches.remove(at);
        self.former -= usize::from(at < self.former);
    }

    /// Whether a record of this schema, if it has any, was refused at this offset.
    pub fn has(&self, schema: Option<u32>, offset: i64) -> bool {
        let is = |known: u32| known == FOR_ITSELF || Some(known) == schema;
        self.stretches.iter().any(|(known, first, last)| is(*known) && (*first..=*last).contains(&offset))
    }

    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// What has to be remembered where records before `oldest` are not read again.
    pub fn since(&self, oldest: i64) -> Vec<Stretch> {
        self.stretches.iter().filter(|(_, _, last)| *last >= oldest).copied().collect()
    }

    /// Undoes what was noted from offset `next` on.
    pub fn rollback_to(&mut self, next: i64) {
        for (_, _, last) in self.stretches.iter_mut().skip(self.former) {
            *last = (*last).min(next.saturating_sub(1));
        }
        self.stretches.retain(|(_, first, last)| first <= last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_those_of_each_run() {
        let mut refused = Refused::default();
        for (schema, offset) in [(7, 100), (8, 110), (7, 120)] {
            refused.note(schema, offset);
        }
        assert_eq!(refused.since(0), [(7, 100, 120), (8, 110, 110)]);
        assert_eq!(refused.since(111), [(7, 100, 120)]);
        // Known for a while, then unknown to the next run: what was accepted in between stands in the window.
        let mut next = Refused::restored(refused.since(0));
        next.note(7, 300);
        next.note(7, 310);
        let has = |offset| next.has(Some(7), offset);
        assert_eq!([99, 100, 120, 121, 299, 300, 310, 311].map(has), [false, true, true, false, false, true, true, false]);
        assert!(!next.has(Some(9), 100) && !next.has(None, 100));
        next.rollback_to(305);
        assert_eq!(next.since(0), [(7, 100, 120), (8, 110, 110), (7, 300, 304)]);
        next.rollback_to(300);
        assert_eq!(next.since(0), refused.since(0));
    }

    #[test]
    fn ids_that_are_made_up_do_not_pile_up() {
        let mut refused = Refused::restored(vec![(7, 1, 2)]);
        (100..1_000).for_each(|id| refused.note(id, i64::from(id)));
        let left = refused.since(0);
        assert_eq!((left.len(), left.last()), (MOST, Some(&(999, 999, 999))));
        refused.note(999, 1_000);
        assert_eq!(refused.since(1_000), [(999, 999, 1_000)]);
    }
    #[test]
    fn what_is_refused_for_itself_is_known_by_its_offset_alone() {
        let mut refused = Refused::restored(vec![(FOR_ITSELF, 1, 2), (7, 3, 9)]);
        for offset in [3, 4, 6] {
            refused.note_itself(RejectReason::TooLarge, offset);
        }
        refused.note_itself(RejectReason::EventTimeInFuture, 7);
        refused.note_itself(RejectReason::InvalidJson, 8);
        assert_eq!(refused.since(0), [(FOR_ITSELF, 1, 2), (7, 3, 9), (FOR_ITSELF, 3, 4), (FOR_ITSELF, 6, 7)]);
        let has = |offset| refused.has(None, offset);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(has), [false, true, true, true, true, false, true, true, false]);
        assert!(refused.has(Some(7), 5) && refused.has(Some(8), 6));
        refused.rollback_to(7);
        assert_eq!(refused.since(5), [(7, 3, 9), (FOR_ITSELF, 6, 6)]);
        (50..1_000).for_each(|at| refused.note_itself(RejectReason::TooLarge, 2 * at));
        let left = refused.since(0);
        assert_eq!((left.len(), left[0], left.last()), (MOST_FOR_THEMSELVES + 1, (7, 3, 9), Some(&(FOR_ITSELF, 1_998, 1_998))));
        // The one of a former run does not grow.
        refused.note(7, 2_000);
        assert_eq!(refused.since(0).last(), Some(&(7, 2_000, 2_000)));
    }
}
