//! How the ledger stands in its changelog: one key for the position, one a book, one a line. A value begins with a version.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::book::{Book, Header, Line};
use crate::model::effect::StateChange;
use crate::model::leaf::Leaf;

/// A change of any form below is a new one.
const VERSION: u8 = 1;

const POSITION: u8 = b'p';
const BOOK: u8 = b'b';
const LINE: u8 = b'l';

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Book(u128),
    Line(u128, u128),
}

/// A key and its value, read.
pub(super) enum Entry {
    Position(i64),
    Book(u128, Header),
    /// The place of the leaf within the line means nothing.
    Line(u128, u128, (Leaf, Line)),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("state of the ledger of version {0}; this program reads version {VERSION}: upgrade tollgate")]
    OtherVersion(u8),
    #[error("a key of the ledger's changelog that nobody knows: is the topic written by something else?")]
    UnknownKey,
    #[error("state of the ledger that cannot be read or written: {0}")]
    Malformed(String),
}

pub(super) fn position_change(position: i64) -> Result<StateChange, StateError> {
    change(vec![POSITION], &position)
}

pub(super) fn book_change(id: u128, book: &Book) -> Result<StateChange, StateError> {
    change([&[BOOK], &id.to_be_bytes()[..]].concat(), book.header())
}

pub(super) fn line_change(id: u128, line: u128, kept: &Line, leaf: &Leaf) -> Result<StateChange, StateError> {
    change([&[LINE], &id.to_be_bytes()[..], &line.to_be_bytes()].concat(), &(leaf, kept))
}

fn change<T: Serialize>(key: Vec<u8>, value: &T) -> Result<StateChange, StateError> {
    let bytes = postcard::to_extend(value, vec![VERSION]).map_err(|error| StateError::Malformed(error.to_string()))?;
    Ok(StateChange { key, value: Some(bytes) })
}

pub(super) fn read(key: &[u8], value: &[u8]) -> Result<Entry, StateError> {
    let (kind, ids) = key.split_first().ok_or(StateError::UnknownKey)?;
    let (first, second) = ids.split_at_checked(16).unwrap_or((ids, &[]));
    match *kind {
        POSITION => Ok(Entry::Position(parse(value)?)),
        BOOK => Ok(Entry::Book(id(first)?, parse(value)?)),
        LINE => Ok(Entry::Line(id(first)?, id(second)?, parse(value)?)),
        _ => Err(StateError::UnknownKey),
    }
}

fn id(bytes: &[u8]) -> Result<u128, StateError> {
    Ok(u128::from_be_bytes(bytes.try_into().map_err(|_| StateError::UnknownKey)?))
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, StateError> {
    match value.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| StateError::Malformed(error.to_string())),
        Some((other, _)) => Err(StateError::OtherVersion(*other)),
        None => Err(StateError::Malformed("empty".to_owned())),
    }
}
