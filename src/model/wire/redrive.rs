//! The way back out of dead-letter: where a letter came from, and the headers it had there.

use super::dead_letter::{ORIGINAL_HASH, ORIGINAL_SIZE, OWN_HEADERS, REASON};

/// How often a record has come back from dead-letter. Intake counts each attempt as an event of its own.
pub const REDRIVE_ATTEMPT: &str = "tollgate.redrive.attempt";

/// Partition and offset of the letter that the record was put back from. Rejected again it is a letter of its own, and two letters of one
/// event would count it twice: the later one stands for it.
pub const REDRIVE_LETTER: &str = "tollgate.redrive.letter";

const TOPIC: &str = "__connect.errors.topic";
const PARTITION: &str = "__connect.errors.partition";

/// A header as it stands in the record; a value may be absent.
pub type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// What a dead letter's headers say of the record that it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub reason: String,
    pub topic: String,
    pub partition: i32,
    /// How often it has been put back so far.
    pub attempts: u32,
    /// The earlier letter that it was put back from: partition and offset.
    pub letter: Option<(i32, i64)>,
    /// The letter did not fit and lacks a part of the record: it cannot be put back.
    pub is_cut: bool,
}

impl Origin {
    /// `None`: intake did not write it.
    pub fn of(headers: &[HeaderRef<'_>]) -> Option<Origin> {
        let text = |name: &str| find(headers, name).and_then(|value| std::str::from_utf8(value).ok());
        Some(Origin {
            reason: text(REASON)?.to_owned(),
            topic: text(TOPIC)?.to_owned(),
            partition: text(PARTITION)?.parse().ok()?,
            // Somebody else's number is none of ours, and begins at nothing.
            attempts: text(REDRIVE_ATTEMPT).and_then(|attempts| attempts.parse().ok()).unwrap_or(0),
            letter: text(REDRIVE_LETTER).and_then(place),
            is_cut: find(headers, ORIGINAL_SIZE).is_some() || find(headers, ORIGINAL_HASH).is_some(),
        })
    }
}

fn place(text: &str) -> Option<(i32, i64)> {
    let (partition, offset) = text.split_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

/// The headers to put it back with: its original ones as they were, one attempt more and, unless it is a trial, the place of its letter.
pub fn redrive_headers(headers: &[HeaderRef<'_>], origin: &Origin, letter: Option<(i32, i64)>) -> Vec<(String, Option<Vec<u8>>)> {
    let is_original = |name: &str| name != REDRIVE_ATTEMPT && name != REDRIVE_LETTER && !OWN_HEADERS.contains(&name);
    let original = headers.iter().filter(|(name, _)| is_original(name));
    let mut back: Vec<_> = original.map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect();
    let attempt = origin.attempts.saturating_add(1).to_string();
    back.push((REDRIVE_ATTEMPT.to_owned(), Some(attempt.into_bytes())));
    back.extend(letter.map(|(partition, offset)| (REDRIVE_LETTER.to_owned(), Some(format!("{partition}/{offset}").into_bytes()))));
    back
}

fn find<'a>(headers: &[HeaderRef<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{DeadLetter, Reject, RejectReason};
    use crate::model::time::Timestamp;
    use crate::model::wire::{cut_dead_letter, dead_letter_headers};

    fn letter(headers: Vec<(String, Vec<u8>)>) -> DeadLetter {
        DeadLetter {
            topic: "usage-events".into(),
            partition: 3,
            offset: 42,
            timestamp: Timestamp(1),
            key: Some(b"k".to_vec()),
            value: Some(vec![b'v'; 5_000]),
            headers,
            reject: Reject::new(RejectReason::UnknownSchema, "schema 7"),
        }
    }

    fn borrowed(headers: &[(String, Vec<u8>)]) -> Vec<HeaderRef<'_>> {
        headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect()
    }

    /// Into dead-letter and back, again and again: its own headers stay as they are, the attempts count.
    #[test]
    fn there_and_back() {
        let own = vec![("trace".to_owned(), vec![0xff, 0]), ("content-type".to_owned(), b"application/json".to_vec())];
        let mut sent = own.clone();
        for attempt in 1..=3_u32 {
            let stored = dead_letter_headers(&letter(sent));
            let stored = borrowed(&stored);
            let origin = Origin::of(&stored).unwrap();
            assert_eq!((origin.reason.as_str(), origin.topic.as_str(), origin.partition), ("unknown_schema", "usage-events", 3));
            assert_eq!((origin.attempts, origin.is_cut), (attempt - 1, false));
            assert_eq!(origin.letter, (attempt > 1).then_some((3, i64::from(attempt) + 39)));
            let letter = Some((3, i64::from(attempt) + 40));
            sent = redrive_headers(&stored, &origin, letter).into_iter().map(|(name, value)| (name, value.unwrap())).collect();
            assert_eq!(sent[..own.len()], own);
            let place = format!("3/{}", attempt + 40).into_bytes();
            let more = [(REDRIVE_ATTEMPT.to_owned(), attempt.to_string().into_bytes()), (REDRIVE_LETTER.to_owned(), place)];
            assert_eq!(sent[own.len()..], more);
            assert_eq!(redrive_headers(&stored, &origin, None).len(), own.len() + 1, "a trial");
        }
    }

    #[test]
    fn what_was_cut_says_so() {
        let headers = dead_letter_headers(&cut_dead_letter(letter(Vec::new()), 3_000));
        assert!(Origin::of(&borrowed(&headers)).unwrap().is_cut);
    }

    #[test]
    fn what_others_wrote_has_no_origin() {
        assert_eq!(Origin::of(&[("trace", Some(b"x"))]), None);
        assert_eq!(Origin::of(&[(REASON, Some(b"x")), (TOPIC, Some(b"t")), (PARTITION, Some(b"no number"))]), None);
    }
}
