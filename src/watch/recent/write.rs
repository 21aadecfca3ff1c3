//! How hours are written: what has not changed is copied.

use super::{COST, NEGATIVE, Part, QUANTITY, REQUESTS, REVISION, SHARED, TIMES, TOKENS, UNPRICED, USERS};
use crate::model::money::Nanos;
use crate::model::time::Hour;
use crate::watch::numbers::{put, put_signed, put_wide};
use crate::watch::series::HourTotals;

/// `known`: the names that old parts number; `source`: the bytes that these stand in.
pub(super) fn write(parts: &[Part<'_>], known: &[&str], source: &[u8]) -> Vec<u8> {
    if parts.is_empty() {
        return Vec::new();
    }
    let names = names_of(parts, known);
    let renumbered: Option<Vec<u64>> =
        (names != known).then(|| known.iter().map(|name| names.partition_point(|other| other < name) as u64).collect());
    let mut bytes = Vec::with_capacity(source.len() + 128);
    put(&mut bytes, names.len() as u64);
    for name in &names {
        put(&mut bytes, name.len() as u64);
        bytes.extend(name.as_bytes());
    }
    let mut before = None;
    // Nearly all hours stay as they are, one behind the other: they are copied together.
    let mut run = 0..0;
    for part in parts {
        match part {
            Part::Old(written) if written.stays(renumbered.as_deref()) => {
                if run.end != written.begin as usize {
                    bytes.extend(source.get(run).unwrap_or_default());
                    written.head().write(&mut bytes, before);
                    run = written.body as usize..0;
                }
                run.end = written.end as usize;
            }
            _ => {
                bytes.extend(source.get(std::mem::take(&mut run)).unwrap_or_default());
                part.head().write(&mut bytes, before);
                match part {
                    Part::Old(written) => written.write(&mut bytes, renumbered.as_deref()),
                    Part::New(hour, totals) => write_hour(&mut bytes, *hour, totals, &names),
                }
            }
        }
        before = Some(part.head());
    }
    bytes.extend(source.get(run).unwrap_or_default());
    bytes
}

/// Names that hours still have, sorted.
fn names_of<'a>(parts: &'a [Part<'_>], known: &[&'a str]) -> Vec<&'a str> {
    let mut is_used = vec![false; known.len()];
    let mut names: Vec<&str> = Vec::new();
    for part in parts {
        match part {
            Part::Old(written) => written.names().for_each(|name| {
                if let Some(used) = is_used.get_mut(name) {
                    *used = true;
                }
            }),
            Part::New(_, totals) => names.extend(totals.users.iter().map(|user| &*user.user)),
        }
    }
    names.extend(known.iter().zip(is_used).filter(|(_, used)| *used).map(|(name, _)| *name));
    names.sort_unstable();
    names.dedup();
    names
}

pub(super) fn word_of(totals: &HourTotals) -> u64 {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let mut word = bit(totals.cost != Nanos::ZERO, COST)
        | bit(totals.quantity != Nanos::ZERO, QUANTITY)
        | bit(totals.unpriced_events != 0, UNPRICED)
        | bit(totals.requests != totals.events, REQUESTS)
        | bit(totals.has_negative, NEGATIVE)
        | bit(totals.has_times(), TIMES)
        | bit(!totals.users.is_empty(), USERS)
        | bit(totals.revision != 1, REVISION);
    for (kind, tokens) in totals.tokens.iter().enumerate() {
        word |= bit(*tokens != 0, TOKENS << kind);
    }
    let of_users = totals.users.iter().try_fold(0_i128, |sum, user| sum.checked_add(user.cost.0));
    word |= bit(!totals.users.is_empty() && of_users == Some(totals.cost.0), SHARED);
    word
}

/// What follows its head.
fn write_hour(bytes: &mut Vec<u8>, hour: Hour, totals: &HourTotals, names: &[&str]) {
    let word = word_of(totals);
    put(bytes, totals.events);
    for (value, bit) in [(totals.cost.0, COST), (totals.quantity.0, QUANTITY)] {
        if word & bit != 0 {
            put_wide(bytes, value);
        }
    }
    let counts = [(totals.unpriced_events, UNPRICED), (totals.requests, REQUESTS), (u64::from(totals.revision), REVISION)];
    for (value, bit) in counts {
        if word & bit != 0 {
            put(bytes, value);
        }
    }
    for tokens in totals.tokens.iter().filter(|tokens| **tokens != 0) {
        put(bytes, *tokens);
    }
    if totals.has_times() {
        put_signed(bytes, totals.last_event_time.0.wrapping_sub(hour.start().0));
        put_signed(bytes, totals.last_ingest_time.0.wrapping_sub(hour.start().0));
    }
    if !totals.users.is_empty() {
        put(bytes, totals.users.len() as u64);
        for (behind, user) in (0..totals.users.len()).rev().zip(&totals.users) {
            put(bytes, names.partition_point(|name| *name < &*user.user) as u64);
            if behind > 0 || word & SHARED == 0 {
                put_wide(bytes, user.cost.0);
            }
        }
    }
}
