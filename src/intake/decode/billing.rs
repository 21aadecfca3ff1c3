//! Billing events as they stand on the wire: the fields of `schemas/billing_row.avsc`.

use std::borrow::Cow;

use super::Stop;
use super::table::{self, Cell, Cells, Kind, Pairs, Table, WriterSchemas};
use crate::model::record::InputRecord;

pub const BILLING: Table = Table {
    what: "a billing event",
    fields: &[
        ("event_id", Kind::Text),
        ("source", Kind::Text),
        ("event_time", Kind::Time),
        ("delivery", Kind::Text),
        ("period", Kind::Text),
        ("line_id", Kind::Text),
        ("revision", Kind::Whole),
        ("row", Kind::Map),
        ("complete", Kind::Flag),
        ("lines", Kind::Whole),
    ],
};

/// Name and text of each FOCUS column that has one.
pub type Row<'a> = Pairs<'a>;

/// Types are right, values may still be nonsense.
#[derive(Debug, Default, PartialEq)]
pub struct RawBilling<'a> {
    pub event_id: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub event_time: Cell<'a>,
    pub delivery: Option<Cow<'a, str>>,
    pub period: Option<Cow<'a, str>>,
    pub line_id: Option<Cow<'a, str>>,
    pub revision: Option<i64>,
    pub row: Option<Row<'a>>,
    pub complete: bool,
    pub lines: Option<i64>,
}

/// Bytes to fields.
pub fn decode<'a>(record: &InputRecord<'a>, largest: usize, schemas: &'a WriterSchemas) -> Result<RawBilling<'a>, Stop> {
    let mut cells = table::decode(record, largest, schemas)?;
    let text = |cells: &mut Cells<'a>, name| if let Cell::Text(text) = cells.take(name) { Some(text) } else { None };
    let whole = |cells: &mut Cells<'a>, name| if let Cell::Whole(whole) = cells.take(name) { Some(whole) } else { None };
    Ok(RawBilling {
        event_id: text(&mut cells, "event_id"),
        source: text(&mut cells, "source"),
        event_time: cells.take("event_time"),
        delivery: text(&mut cells, "delivery"),
        period: text(&mut cells, "period"),
        line_id: text(&mut cells, "line_id"),
        revision: whole(&mut cells, "revision"),
        row: if let Cell::Map(row) = cells.take("row") { Some(row) } else { None },
        complete: cells.take("complete") == Cell::Flag(true),
        lines: whole(&mut cells, "lines"),
    })
}
