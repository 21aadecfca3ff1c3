//! Words that are read before the time that they were said at: where everything is computed anew, what people said is read at once, and the
//! spend that they said it about takes its time. They wait until event time has come so far.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Shard;
use super::super::rules::WatchRules;
use crate::model::effect::Effect;
use crate::model::feedback::Feedback;
use crate::model::time::{MINUTE_MS, Timestamp};

/// A word is read within this after it was said; of a younger one the alert that it is about is known.
const FRESH_MS: i64 = 15 * MINUTE_MS;
/// That wait; of more, each is taken as it is read.
const MOST_WAITING: usize = 10_000;

/// By when it was said, then by what tells events apart.
pub(in crate::watch) type Name = (Timestamp, u128);

#[derive(Clone, Debug, Default)]
pub(in crate::watch) struct Early {
    words: BTreeMap<Name, Feedback>,
    /// Not written yet.
    changed: BTreeSet<Name>,
}

impl Early {
    pub fn put(&mut self, name: Name, word: Feedback) {
        self.words.insert(name, word);
    }

    pub fn remove(&mut self, name: &Name) -> Option<Feedback> {
        self.words.remove(name)
    }

    /// What has come and gone since the last call.
    pub fn take_changes(&mut self) -> Vec<(Name, Option<&Feedback>)> {
        std::mem::take(&mut self.changed).into_iter().map(|name| (name, self.words.get(&name))).collect()
    }
}

/// What waits to be written does not count.
impl PartialEq for Early {
    fn eq(&self, other: &Early) -> bool {
        self.words == other.words
    }
}

/// Whether a word waits from now on.
pub(super) fn waits(shard: &mut Shard, feedback: &Feedback, identity: u128) -> bool {
    let said = feedback.event_time;
    let marks = &shard.header.watermarks;
    let is_of_the_past = marks.shard_time().0.saturating_sub(said.0) > FRESH_MS;
    let is_ahead = marks.watermark().is_none_or(|watermark| watermark < said);
    let waits = is_of_the_past && is_ahead && shard.early_words.words.len() < MOST_WAITING;
    if waits {
        shard.early_words.put((said, identity), feedback.clone());
        shard.early_words.changed.insert((said, identity));
    }
    waits
}

/// Takes the words that event time has come to, in the order in which they were said.
pub(in crate::watch) fn take_due(shard: &mut Shard, watermark: Option<Timestamp>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    while let Some(first) = shard.early_words.words.first_key_value().map(|(name, _)| *name).filter(|(said, _)| Some(*said) <= watermark) {
        shard.early_words.changed.insert(first);
        let Some(word) = shard.early_words.remove(&first) else { return };
        super::take(shard, &word, rules, effects);
    }
}
