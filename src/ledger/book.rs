//! One source's billing period: its lines, its deliveries, and which of the lines count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Text;
use crate::model::billing::{Amounts, BillingLine, Completion};
use crate::model::time::{Hour, Timestamp};

/// Deliveries that a line remembers to be named by. A delivery that is completed only after so many later ones have named the line takes
/// it back until it is stated again.
const NAMED_BY: usize = 4;

/// Deliveries of one source's month. They stand in one record of the changelog, which is written with every change: 16,000 are one every three
/// minutes, and with ids of [`crate::intake::LONGEST_TEXT`] bytes fewer. Lines of the ones beyond hold by their revision and export alone, as
/// those of no delivery do.
const MOST_DELIVERIES: usize = if cfg!(test) { 8 } else { 16_000 };
const MOST_BYTES: usize = if cfg!(test) { 1_024 } else { 4 * 1024 * 1024 };
/// Of a delivery in the changelog, besides its id.
const DELIVERY_BYTES: usize = 32;

/// A charge, with its leaf as a place in the ledger's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Kept {
    pub leaf: u32,
    pub hour: Hour,
    pub amounts: Amounts,
}

/// What is known of a line. It stays when it is taken back: an older statement may still come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Of the statement that holds.
    pub revision: i64,
    pub exported: Timestamp,
    /// The latest export that named it, whatever its revision.
    pub last_named: Timestamp,
    /// Numbers of deliveries, newest last; 0 = none.
    pub named_by: [u16; NAMED_BY],
    pub is_counted: bool,
    pub kept: Kept,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub id: Text,
    /// Distinct lines that it has named so far.
    pub named: u64,
    /// Once it is marked complete: when, and how many lines it has.
    pub end: Option<(Timestamp, u64)>,
}

/// What the changelog keeps of a book besides its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub source: Text,
    pub period: Text,
    pub deliveries: Vec<Delivery>,
    /// Number of the latest delivery that is complete and here; 0 = none.
    pub settled: u16,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    header: Header,
    lines: BTreeMap<u128, Line>,
}

/// What a statement has led to.
pub(super) struct Stated {
    pub is_new: bool,
    /// The delivery, where it had not named the line before.
    pub first_named_by: Option<u16>,
    pub before: Option<Kept>,
    pub after: Option<Kept>,
}

/// A line whose counting has changed: before and after.
pub(super) type Recount = (u128, Option<Kept>, Option<Kept>);

impl Book {
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn restore(&mut self, header: Header) {
        self.header = header;
    }

    pub fn name(&mut self, source: &Text, period: &Text) {
        if self.header.source.is_empty() {
            (self.header.source, self.header.period) = (source.clone(), period.clone());
        }
    }

    pub fn line(&self, line: u128) -> Option<&Line> {
        self.lines.get(&line)
    }

    /// Whether it was not there.
    pub fn put(&mut self, line: u128, kept: Line) -> bool {
        self.lines.insert(line, kept).is_none()
    }

    /// Number of a delivery, from 1 on; `None`: there is no room for another one.
    pub fn delivery(&mut self, id: &Text) -> Option<u16> {
        let deliveries = &mut self.header.deliveries;
        let known = deliveries.iter().rposition(|delivery| delivery.id == *id);
        let place = match known {
            Some(place) => place,
            None => {
                let bytes: usize = deliveries.iter().map(|delivery| delivery.id.len() + DELIVERY_BYTES).sum();
                if deliveries.len() >= MOST_DELIVERIES || bytes + id.len() + DELIVERY_BYTES > MOST_BYTES {
                    return None;
                }
                deliveries.push(Delivery { id: id.clone(), named: 0, end: None });
                deliveries.len() - 1
            }
        };
        u16::try_from(place + 1).ok()
    }

    fn delivery_mut(&mut self, number: u16) -> Option<&mut Delivery> {
        self.header.deliveries.get_mut(usize::from(number).checked_sub(1)?)
    }

    fn end_of(&self, number: u16) -> Option<(Timestamp, &Text)> {
        let delivery = self.header.deliveries.get(usize::from(number).checked_sub(1)?)?;
        delivery.end.map(|(exported, _)| (exported, &delivery.id))
    }

    /// Takes a statement; `beats` compares the charge that holds with the stated one, where revision and export are the same.
    pub fn state(&mut self, stated: &BillingLine, kept: Kept, delivery: Option<u16>, beats: impl Fn(&Kept, &Kept) -> bool) -> Stated {
        let (settled, decision) = (self.header.settled, self.decision());
        let is_new = !self.lines.contains_key(&stated.line);
        let (revision, exported) = (stated.revision, stated.exported);
        let fresh = || Line { revision, exported, last_named: exported, named_by: [0; NAMED_BY], is_counted: false, kept };
        let line = self.lines.entry(stated.line).or_insert_with(fresh);
        let before = line.counted();
        let order = (revision, exported).cmp(&(line.revision, line.exported));
        // Of two that contradict each other in the same breath the larger holds: any rule will do that does not depend on their order.
        if order.is_gt() || (order.is_eq() && beats(&kept, &line.kept)) {
            (line.revision, line.exported, line.kept) = (revision, exported, kept);
        }
        line.last_named = line.last_named.max(exported);
        let first_named_by = delivery.filter(|delivery| !line.named_by.contains(delivery));
        if let Some(delivery) = first_named_by {
            line.remember(delivery, settled);
        }
        line.is_counted = decision.keeps(line);
        Stated { is_new, first_named_by, before, after: line.counted() }
    }

    /// One more line of the delivery is here; whether that makes it the one that decides.
    pub fn count_line(&mut self, number: u16) -> bool {
        if let Some(delivery) = self.delivery_mut(number) {
            delivery.named += 1;
        }
        number != self.header.settled && self.decides(number)
    }

    /// Whether it is the one that decides from now on, or does so from another time on.
    pub fn mark_complete(&mut self, number: u16, completion: &Completion) -> bool {
        let Some(delivery) = self.delivery_mut(number) else { return false };
        // Of several ends the latest time and the fewest lines hold, so that what was complete stays complete.
        let (exported, lines) = delivery.end.unwrap_or((completion.exported, completion.lines));
        let end = Some((exported.max(completion.exported), lines.min(completion.lines)));
        if delivery.end == end {
            return false;
        }
        delivery.end = end;
        self.decides(number)
    }

    fn decides(&mut self, number: u16) -> bool {
        let Some(Delivery { named, end: Some((_, lines)), .. }) = self.delivery_mut(number) else { return false };
        if *named < *lines || (number != self.header.settled && self.end_of(number) <= self.end_of(self.header.settled)) {
            return false;
        }
        self.header.settled = number;
        true
    }

    fn decision(&self) -> Decision {
        Decision { at: self.end_of(self.header.settled).map(|(exported, _)| exported), number: self.header.settled }
    }

    /// Looks at every line again; those that have changed.
    pub fn settle(&mut self) -> Vec<Recount> {
        let decision = self.decision();
        let mut changes = Vec::new();
        for (id, line) in &mut self.lines {
            let before = line.counted();
            line.is_counted = decision.keeps(line);
            if before != line.counted() {
                changes.push((*id, before, line.counted()));
            }
        }
        changes
    }

    pub fn all_counted(&self) -> impl Iterator<Item = Kept> {
        self.lines.values().filter_map(Line::counted)
    }
}

/// What the latest complete delivery says of lines.
#[derive(Clone, Copy, Debug)]
struct Decision {
    at: Option<Timestamp>,
    number: u16,
}

impl Decision {
    /// Named by it, or stated after it.
    fn keeps(self, line: &Line) -> bool {
        self.at.is_none_or(|at| line.last_named > at || line.named_by.contains(&self.number))
    }
}

impl Line {
    pub fn counted(&self) -> Option<Kept> {
        self.is_counted.then_some(self.kept)
    }

    /// The oldest goes, but for the one that decides.
    fn remember(&mut self, delivery: u16, settled: u16) {
        let goes = self.named_by.iter().position(|number| *number == 0 || *number != settled).unwrap_or_default();
        if let Some(rest) = self.named_by.get_mut(goes..) {
            rest.rotate_left(1);
        }
        if let Some(last) = self.named_by.last_mut() {
            *last = delivery;
        }
    }
}
