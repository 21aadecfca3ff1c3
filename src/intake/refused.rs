//! Where records of a partition were refused because nobody knew their schema. When they are read again after a restart it may be known:
//! without this their ids would enter the dedupe window, and events that were never counted would be taken for duplicates.

/// As many stretches of a partition are kept, the latest: whoever makes up ids of schemas does not make intake's key large.
const MOST: usize = 64;

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

    /// Offsets only grow. A schema that this run has come to know stays known to it.
    pub fn note(&mut self, schema: u32, offset: i64) {
        if let Some((_, _, last)) = self.stretches.iter_mut().skip(self.former).find(|(known, ..)| *known == schema) {
            *last = offset;
            return;
        }
        if self.stretches.len() >= MOST {
            self.stretches.remove(0);
            self.former = self.former.saturating_sub(1);
        }
        self.stretches.push((schema, offset, offset));
    }

    pub fn has(&self, schema: u32, offset: i64) -> bool {
        self.stretches.iter().any(|(known, first, last)| *known == schema && (*first..=*last).contains(&offset))
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
        let has = |offset| next.has(7, offset);
        assert_eq!([99, 100, 120, 121, 299, 300, 310, 311].map(has), [false, true, true, false, false, true, true, false]);
        assert!(!next.has(9, 100));
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
}
