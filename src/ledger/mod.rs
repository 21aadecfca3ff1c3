//! LEDGER: billing lines -> signed deltas. A bill is restated at will: lines come again with other amounts, under another team, in any order,
//! and go away. The ledger keeps what counts of each line now, and says by how much a leaf's hour has changed.
//!
//! What counts depends on the set of statements that have come, not on their order:
//! - of the statements of a line the one with the highest revision (then the latest export) counts;
//! - a delivery that was marked complete, with as many distinct lines here as it said, takes back what it did not name: every line whose
//!   last statement is not from after it. The latest such delivery of a period decides.

mod book;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use state::StateError;

use book::{Book, Kept, Line};
use state::Key;

use crate::model::Text;
use crate::model::billing::{Amounts, BilledDelta, BillingLine, Charge, Completion, LedgerItem, LedgerRecord};
use crate::model::effect::StateChange;
use crate::model::hash::hash128;
use crate::model::leaf::Leaf;
use crate::model::partial::Partial;
use crate::model::time::Hour;

/// All lines of one partition of the ledger log.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By hash of source and period.
    books: BTreeMap<u128, Book>,
    leaves: Leaves,
    /// By place of the leaf: what was not handed out yet.
    deltas: BTreeMap<(u32, Hour), (Amounts, i64)>,
    changed: BTreeSet<Key>,
    position: i64,
    lines: usize,
    /// Not handed out yet.
    overfull: BTreeSet<Overfull>,
}

/// A month of a source that has had more deliveries than it has room for: the ones beyond take nothing back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overfull {
    pub source: Text,
    pub period: Text,
}

/// Each leaf once: a bill has few, and many lines of each.
#[derive(Debug, Default)]
struct Leaves {
    places: BTreeMap<Leaf, u32>,
    all: Vec<Leaf>,
}

impl Leaves {
    fn place(&mut self, leaf: Leaf) -> u32 {
        if let Some(place) = self.places.get(&leaf) {
            return *place;
        }
        let place = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(leaf.clone());
        self.places.insert(leaf, place);
        place
    }

    fn get(&self, place: u32) -> Option<&Leaf> {
        self.all.get(usize::try_from(place).ok()?)
    }
}

/// A delta as a sum of the shard log: the amortised cost. Lines come and go; how many there are is no sum of what was told.
pub fn partial(delta: BilledDelta) -> Partial {
    let BilledDelta { leaf, hour, amounts, .. } = delta;
    Partial::of_hour(leaf, hour, amounts.effective, amounts.quantity)
}

impl Ledger {
    /// Empty, for a log that begins at `position`.
    pub fn starting_at(position: i64) -> Ledger {
        Ledger { position, ..Ledger::default() }
    }

    /// The next record of the ledger log to read.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Nothing is to be read below `position`; whether that is news.
    pub fn stand_at(&mut self, position: i64) -> bool {
        let is_news = position > self.position;
        self.position = self.position.max(position);
        is_news
    }

    /// Lines known, those that were taken back included.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Takes one record of the ledger log.
    pub fn apply(&mut self, record: &LedgerRecord, offset: i64) {
        let id = book_id(&record.source, &record.period);
        for item in &record.items {
            match item {
                LedgerItem::Line(line) => self.state_line(id, record, line),
                LedgerItem::Complete(completion) => self.complete(id, record, completion),
            }
        }
        self.position = offset.saturating_add(1);
    }

    fn state_line(&mut self, id: u128, record: &LedgerRecord, stated: &BillingLine) {
        let Charge { leaf, hour, amounts } = &stated.charge;
        let kept = Kept { leaf: self.leaves.place(leaf.clone()), hour: *hour, amounts: *amounts };
        let leaves = &self.leaves;
        let order = |kept: &Kept| (kept.amounts, kept.hour, leaves.get(kept.leaf));
        let book = self.books.entry(id).or_default();
        book.name(&record.source, &record.period);
        let delivery = stated.delivery.as_ref().and_then(|delivery| book.delivery(delivery));
        if delivery.is_none() && stated.delivery.is_some() {
            self.overfull.insert(Overfull { source: record.source.clone(), period: record.period.clone() });
        }
        let outcome = book.state(stated, kept, delivery, |a, b| order(a) > order(b));
        let settles = outcome.first_named_by.is_some_and(|delivery| book.count_line(delivery));
        self.lines += usize::from(outcome.is_new);
        self.changed.insert(Key::Line(id, stated.line));
        self.changed.insert(Key::Book(id));
        self.differ(outcome.before, outcome.after);
        if settles {
            self.settle(id);
        }
    }

    fn complete(&mut self, id: u128, record: &LedgerRecord, completion: &Completion) {
        let book = self.books.entry(id).or_default();
        book.name(&record.source, &record.period);
        let Some(number) = book.delivery(&completion.delivery) else {
            self.overfull.insert(Overfull { source: record.source.clone(), period: record.period.clone() });
            return;
        };
        let settles = book.mark_complete(number, completion);
        self.changed.insert(Key::Book(id));
        if settles {
            self.settle(id);
        }
    }

    /// A delivery has become the latest complete one: every line of the book is looked at again.
    fn settle(&mut self, id: u128) {
        let Some(book) = self.books.get_mut(&id) else { return };
        let changes = book.settle();
        self.changed.extend(changes.iter().map(|(line, ..)| Key::Line(id, *line)));
        for (_, before, after) in changes {
            self.differ(before, after);
        }
    }

    /// Minus the old to the old leaf, plus the new to the new.
    fn differ(&mut self, before: Option<Kept>, after: Option<Kept>) {
        if before == after {
            return;
        }
        if let Some(Kept { leaf, hour, amounts }) = before {
            let (sum, lines) = self.deltas.entry((leaf, hour)).or_default();
            (*sum, *lines) = (sum.minus(amounts), *lines - 1);
        }
        if let Some(Kept { leaf, hour, amounts }) = after {
            let (sum, lines) = self.deltas.entry((leaf, hour)).or_default();
            (*sum, *lines) = (sum.plus(amounts), *lines + 1);
        }
    }

    /// By how much leaves' hours have changed since the last call, in a fixed order; what cancels out is left out.
    pub fn take_deltas(&mut self) -> Vec<BilledDelta> {
        let deltas = std::mem::take(&mut self.deltas);
        let some = deltas.into_iter().filter(|(_, (amounts, lines))| *amounts != Amounts::default() || *lines != 0);
        some.filter_map(|((leaf, hour), (amounts, lines))| Some(BilledDelta { leaf: self.leaves.get(leaf)?.clone(), hour, amounts, lines }))
            .collect()
    }

    /// Months that deliveries found no room in since the last call.
    pub fn take_overfull(&mut self) -> BTreeSet<Overfull> {
        std::mem::take(&mut self.overfull)
    }

    /// Keys of the changelog that have changed since the last call.
    ///
    /// # Errors
    /// A value that cannot be written: a bug.
    pub fn take_changes(&mut self) -> Result<Vec<StateChange>, StateError> {
        let mut changes = vec![state::position_change(self.position)?];
        for key in std::mem::take(&mut self.changed) {
            match key {
                Key::Book(id) => {
                    if let Some(book) = self.books.get(&id) {
                        changes.push(state::book_change(id, book)?);
                    }
                }
                Key::Line(id, line) => {
                    let kept = self.books.get(&id).and_then(|book| book.line(line));
                    if let Some(kept) = kept
                        && let Some(leaf) = self.leaves.get(kept.kept.leaf)
                    {
                        changes.push(state::line_change(id, line, kept, leaf)?);
                    }
                }
            }
        }
        Ok(changes)
    }

    /// Takes one key of the changelog back in; whether it was the position.
    ///
    /// # Errors
    /// Bytes of another program or version.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StateError> {
        let Some(value) = value else { return Ok(false) };
        match state::read(key, value)? {
            state::Entry::Position(position) => {
                self.position = position;
                Ok(true)
            }
            state::Entry::Book(id, header) => {
                self.books.entry(id).or_default().restore(header);
                Ok(false)
            }
            state::Entry::Line(id, line, stored) => {
                let (leaf, mut kept): (Leaf, Line) = stored;
                kept.kept.leaf = self.leaves.place(leaf);
                let is_new = self.books.entry(id).or_default().put(line, kept);
                self.lines += usize::from(is_new);
                Ok(false)
            }
        }
    }

    /// What counts now, by leaf and hour: for tests and reports.
    pub fn totals(&self) -> BTreeMap<(Leaf, Hour), Amounts> {
        let mut totals = BTreeMap::<(Leaf, Hour), Amounts>::new();
        for kept in self.books.values().flat_map(Book::all_counted) {
            let Some(leaf) = self.leaves.get(kept.leaf) else { continue };
            let sum = totals.entry((leaf.clone(), kept.hour)).or_default();
            *sum = sum.plus(kept.amounts);
        }
        totals
    }
}

/// Source and period, as lines are told apart by them.
pub fn book_id(source: &str, period: &str) -> u128 {
    hash128(&[source.as_bytes(), period.as_bytes()])
}

/// The partition of the ledger log that holds a source's period.
pub fn partition_of(source: &Text, period: &Text, partitions: u32) -> u32 {
    crate::model::hash::shard_of(&format!("{source}\n{period}"), partitions)
}
