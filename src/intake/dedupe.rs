//! Duplicates: the same (source, id, redrive attempt) at a smaller offset within the last N offsets of its partition (DESIGN 4).

use std::collections::{HashSet, VecDeque};

use crate::model::hash::hash128;

/// Ids of the last N offsets of one partition. 16 bytes of hash and 8 of offset each; the set is asked, never iterated.
#[derive(Debug)]
pub struct Window {
    size: u64,
    order: VecDeque<(i64, u128)>,
    known: HashSet<u128, foldhash::fast::RandomState>,
}

impl Window {
    pub fn new(size: u64) -> Window {
        Window { size, order: VecDeque::new(), known: HashSet::default() }
    }

    /// Remembers the id at this offset; `false` if it is a duplicate.
    pub fn insert(&mut self, offset: i64, id: u128) -> bool {
        let oldest = offset.saturating_sub(i64::try_from(self.size).unwrap_or(i64::MAX));
        while let Some((at, old)) = self.order.front().copied() {
            if at >= oldest {
                break;
            }
            self.order.pop_front();
            self.known.remove(&old);
        }
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back((offset, id));
        true
    }
}

/// Identity of an event within its source.
pub fn identity(source: &str, event_id: &str, redrive_attempt: &[u8]) -> u128 {
    hash128(&[source.as_bytes(), event_id.as_bytes(), redrive_attempt])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_in_offsets() {
        let mut window = Window::new(3);
        let table = [(0, 7, true), (1, 7, false), (3, 7, false), (4, 7, true), (5, 8, true), (7, 7, false), (8, 7, true)];
        for (offset, id, fresh) in table {
            assert_eq!(window.insert(offset, id), fresh, "at {offset}");
        }
    }
}
