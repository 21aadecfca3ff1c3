//! Which dead letters go back: what the command line picks, what may go, and what went before. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::record::RejectReason;
use crate::model::time::Timestamp;
use crate::model::wire::Origin;

/// Letters that were picked by their offset are remembered one by one, in the offset's metadata, which has 4 KB.
const MOST_SINGLES: usize = 64;

const VERSION: &str = "v1";

/// What the command line picks. Empty and `None` = everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub reasons: Vec<String>,
    /// By the time at which the letter was written.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Original topic.
    pub topic: Option<String>,
    /// Place of the letter itself.
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    pub most_attempts: u32,
}

/// A letter as far as the choice goes.
pub struct Letter<'a> {
    pub partition: i32,
    pub offset: i64,
    pub written: Timestamp,
    pub origin: Option<&'a Origin>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// Another reason, time, topic or place was asked for.
    NotAskedFor,
    /// Put back by an earlier run, or passed over by its filters; or rejected again since, as a letter that goes instead.
    Before,
    /// It came back `most_attempts` times already: something is wrong with it that time does not cure.
    TooOften,
    /// A part of the record is missing.
    Cut,
    /// Not written by intake, or from a topic that is no input.
    NotOurs,
}

/// How far one partition of dead-letter has been put back, by reason, so that each reason can be taken in its turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Letters of that reason below the offset are done with.
    by_reason: BTreeMap<String, i64>,
    /// Picked one by one.
    singles: BTreeSet<i64>,
}

/// What was remembered of one partition when a run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// What its letters are held against.
    pub known: Progress,
    /// What is remembered in the end has this in it: a run that begins anew forgets nothing of what it does not put back.
    pub kept: Progress,
}

impl Past {
    /// Of an offset's metadata. `again`: everything goes, whatever went before.
    ///
    /// # Errors
    /// Another version, or somebody else's text, unless that does not matter.
    pub fn read(text: &str, again: bool) -> Result<Past, String> {
        match Progress::decode(text) {
            kept if again => Ok(Past { known: Progress::default(), kept: kept.unwrap_or_default() }),
            kept => kept.map(|kept| Past { known: kept.clone(), kept }),
        }
    }
}

/// Letters that came back as later ones, by partition and offset. Each of the two would count as an event of its own.
#[derive(Debug, Default)]
pub struct Named(BTreeSet<(i32, i64)>);

impl Named {
    /// Takes what a letter says of an earlier one. One that was cut cannot stand for it.
    pub fn note(&mut self, letter: &Letter<'_>) {
        let origin = letter.origin.filter(|origin| !origin.is_cut);
        // No letter is its own successor, whatever a dead-letter that was created anew has at that place.
        let is_earlier = |(partition, offset): &(i32, i64)| *partition != letter.partition || *offset < letter.offset;
        self.0.extend(origin.and_then(|origin| origin.letter).filter(is_earlier));
    }
}

pub fn judge(letter: &Letter<'_>, selection: &Selection, inputs: &[String], progress: &Progress, named: &Named) -> Verdict {
    let is_asked = |wanted: Option<bool>| wanted.unwrap_or(true);
    let place = is_asked(selection.partition.map(|partition| partition == letter.partition))
        && is_asked(selection.offset.map(|offset| offset == letter.offset))
        && is_asked(selection.since.map(|since| letter.written >= since))
        && is_asked(selection.until.map(|until| letter.written < until));
    if !place {
        return Verdict::NotAskedFor;
    }
    let Some(origin) = letter.origin.filter(|origin| inputs.contains(&origin.topic) && is_known(&origin.reason)) else {
        return Verdict::NotOurs;
    };
    if !selection.reasons.is_empty() && !selection.reasons.contains(&origin.reason) {
        return Verdict::NotAskedFor;
    }
    if selection.topic.as_ref().is_some_and(|topic| *topic != origin.topic) {
        return Verdict::NotAskedFor;
    }
    if progress.is_done(&origin.reason, letter.offset) || named.0.contains(&(letter.partition, letter.offset)) {
        return Verdict::Before;
    }
    if origin.is_cut {
        return Verdict::Cut;
    }
    if origin.attempts >= selection.most_attempts { Verdict::TooOften } else { Verdict::Go }
}

fn is_known(reason: &str) -> bool {
    RejectReason::ALL.iter().any(|known| known.as_str() == reason)
}

impl Progress {
    /// Reads what `encode` wrote into an offset's metadata; nothing there is nothing done.
    ///
    /// # Errors
    /// Another version, or somebody else's text.
    pub fn decode(text: &str) -> Result<Progress, String> {
        let mut words = text.split_whitespace();
        let mut progress = Progress::default();
        match words.next() {
            None => return Ok(progress),
            Some(VERSION) => {}
            Some(_) => return Err(format!("'{text}' is no progress of this version")),
        }
        for word in words {
            let bad = || format!("'{word}' in '{text}'");
            if let Some(single) = word.strip_prefix('+') {
                progress.singles.insert(single.parse().map_err(|_| bad())?);
            } else {
                let (reason, offset) = word.split_once('=').ok_or_else(bad)?;
                progress.by_reason.insert(reason.to_owned(), offset.parse().map_err(|_| bad())?);
            }
        }
        Ok(progress)
    }

    pub fn encode(&self) -> String {
        let reasons = self.by_reason.iter().map(|(reason, offset)| format!(" {reason}={offset}"));
        let singles = self.singles.iter().map(|offset| format!(" +{offset}"));
        std::iter::once(VERSION.to_owned()).chain(reasons).chain(singles).collect()
    }

    pub fn is_done(&self, reason: &str, offset: i64) -> bool {
        self.by_reason.get(reason).is_some_and(|next| offset < *next) || self.singles.contains(&offset)
    }

    /// In the order of offsets: letters of the reason that were passed over on the way are done with too.
    pub fn put_back(&mut self, reason: &str, offset: i64) {
        let next = self.by_reason.entry(reason.to_owned()).or_default();
        *next = (*next).max(offset + 1);
    }

    /// One that was picked by its offset. Answers whether there is room to remember it.
    pub fn put_back_single(&mut self, reason: &str, offset: i64) -> bool {
        self.is_done(reason, offset) || {
            self.singles.insert(offset);
            self.singles.len() <= MOST_SINGLES
        }
    }

    /// The offset to commit: behind the last letter that went back. The metadata says the rest.
    pub fn offset(&self) -> i64 {
        let singles = self.singles.last().map_or(0, |offset| offset + 1);
        self.by_reason.values().copied().max().unwrap_or(0).max(singles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(reason: &str, attempts: u32) -> Origin {
        Origin { reason: reason.into(), topic: "usage-events".into(), partition: 0, attempts, letter: None, is_cut: false }
    }

    fn judge_one(origin: &Origin, offset: i64, selection: &Selection, progress: &Progress) -> Verdict {
        let letter = Letter { partition: 1, offset, written: Timestamp(1_000), origin: Some(origin) };
        judge(&letter, selection, &["usage-events".to_owned()], progress, &Named::default())
    }

    fn all() -> Selection {
        Selection { most_attempts: 3, ..Selection::default() }
    }

    #[test]
    fn what_goes_and_why_the_rest_does_not() {
        let sound = origin("invalid_json", 0);
        let none = Progress::default();
        let with = |change: fn(&mut Selection)| {
            let mut selection = all();
            change(&mut selection);
            judge_one(&sound, 7, &selection, &none)
        };
        assert_eq!(with(|_| {}), Verdict::Go);
        assert_eq!(with(|selection| selection.reasons = vec!["invalid_json".into()]), Verdict::Go);
        assert_eq!(with(|selection| selection.reasons = vec!["unknown_schema".into()]), Verdict::NotAskedFor);
        assert_eq!(with(|selection| selection.since = Some(Timestamp(1_000))), Verdict::Go);
        assert_eq!(with(|selection| selection.since = Some(Timestamp(1_001))), Verdict::NotAskedFor);
        assert_eq!(with(|selection| selection.until = Some(Timestamp(1_000))), Verdict::NotAskedFor, "until is not included");
        assert_eq!(with(|selection| selection.topic = Some("feedback".into())), Verdict::NotAskedFor);
        assert_eq!(with(|selection| selection.partition = Some(2)), Verdict::NotAskedFor);
        assert_eq!(with(|selection| selection.offset = Some(7)), Verdict::Go);
        assert_eq!(with(|selection| selection.offset = Some(8)), Verdict::NotAskedFor);

        assert_eq!(judge_one(&origin("invalid_json", 2), 7, &all(), &none), Verdict::Go);
        assert_eq!(judge_one(&origin("invalid_json", 3), 7, &all(), &none), Verdict::TooOften);
        assert_eq!(judge_one(&Origin { is_cut: true, ..sound.clone() }, 7, &all(), &none), Verdict::Cut);
        assert_eq!(judge_one(&origin("never heard of", 0), 7, &all(), &none), Verdict::NotOurs);
        // A forged letter must not write to our outputs.
        assert_eq!(judge_one(&Origin { topic: "alerts".into(), ..sound }, 7, &all(), &none), Verdict::NotOurs);
    }

    #[test]
    fn each_reason_is_taken_in_its_turn() {
        let mut progress = Progress::default();
        progress.put_back("unknown_schema", 9);
        let (json, schema) = (origin("invalid_json", 0), origin("unknown_schema", 0));
        assert_eq!(judge_one(&json, 7, &all(), &progress), Verdict::Go);
        assert_eq!(judge_one(&schema, 9, &all(), &progress), Verdict::Before);
        assert_eq!(judge_one(&schema, 10, &all(), &progress), Verdict::Go);
        assert!(progress.put_back_single("invalid_json", 12));
        assert_eq!(judge_one(&json, 12, &all(), &progress), Verdict::Before);
        assert_eq!(judge_one(&json, 11, &all(), &progress), Verdict::Go);
        assert_eq!(progress.offset(), 13);
    }

    /// `--again` takes what went before once more, and forgets nothing of it.
    #[test]
    fn once_more_forgets_nothing() {
        let mut before = Progress::default();
        before.put_back("unknown_schema", 499);
        before.put_back("invalid_json", 20);

        let Past { known, mut kept } = Past::read(&before.encode(), true).unwrap();
        let schema = origin("unknown_schema", 0);
        assert_eq!(judge_one(&schema, 7, &all(), &known), Verdict::Go);
        assert!(kept.put_back_single("unknown_schema", 7));
        kept.put_back("unknown_schema", 300);
        assert_eq!(kept, before);
        assert!(kept.put_back_single("unknown_schema", 600));

        let Past { known, kept: next } = Past::read(&kept.encode(), false).unwrap();
        assert_eq!((&known, &next), (&kept, &kept));
        let verdicts = [7, 8, 499, 500, 600].map(|offset| judge_one(&schema, offset, &all(), &known));
        assert_eq!(verdicts, [Verdict::Before, Verdict::Before, Verdict::Before, Verdict::Go, Verdict::Before]);
        assert_eq!(judge_one(&origin("invalid_json", 0), 20, &all(), &known), Verdict::Before);

        assert_eq!(Past::read("v2 a=1", true), Ok(Past::default()));
        assert!(Past::read("v2 a=1", false).is_err());
    }

    /// An event that was rejected, put back and rejected again has two letters; of these the later one goes.
    #[test]
    fn of_two_letters_of_an_event_the_later_one_goes() {
        let (first, other) = (origin("invalid_json", 0), origin("invalid_json", 0));
        let second = Origin { letter: Some((1, 7)), ..origin("unknown_schema", 1) };
        let itself = Origin { letter: Some((1, 30)), ..origin("invalid_json", 1) };
        let cut = Origin { letter: Some((1, 8)), is_cut: true, ..origin("too_large", 1) };
        let letters = [(7, &first), (8, &other), (20, &second), (30, &itself), (40, &cut)];
        let letter = |offset, origin| Letter { partition: 1, offset, written: Timestamp(1_000), origin: Some(origin) };
        let mut named = Named::default();
        letters.iter().for_each(|(offset, origin)| named.note(&letter(*offset, origin)));
        let verdicts = letters
            .map(|(offset, origin)| judge(&letter(offset, origin), &all(), &["usage-events".to_owned()], &Progress::default(), &named));
        assert_eq!(verdicts, [Verdict::Before, Verdict::Go, Verdict::Go, Verdict::Go, Verdict::Cut]);
    }

    #[test]
    fn progress_survives_its_text_and_fits() {
        let mut progress = Progress::default();
        assert_eq!(Progress::decode(""), Ok(Progress::default()));
        for reason in RejectReason::ALL {
            progress.put_back(reason.as_str(), i64::MAX - 1_000);
        }
        for offset in 0..MOST_SINGLES {
            assert!(progress.put_back_single("invalid_json", i64::MAX - 100 + offset as i64));
        }
        assert_eq!(Progress::decode(&progress.encode()), Ok(progress.clone()));
        assert!(progress.encode().len() < 4_000, "{}", progress.encode().len());
        assert!(!progress.put_back_single("invalid_json", i64::MAX - 1));
        assert!(progress.put_back_single("invalid_json", 5), "it is done with already");
        for text in ["v2 a=1", "v1 a", "v1 a=b", "v1 +x"] {
            assert!(Progress::decode(text).is_err(), "{text}");
        }
    }
}
