//! What one event of feedback does, and what ends with an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::Shard;
use super::super::alert::episode::{self, Episode};
use super::super::matters::answers;
use super::super::rules::WatchRules;
use super::super::series::to_units;
use super::super::violation;
use super::{Book, HEARD_FOR_MS, LEAST_LIMIT, MOST_GROWTH, MOST_TEAMS, OF_FALL, PATIENCE_MS, ROOM, Standing, Why, early, span};
use crate::model::Text;
use crate::model::alert::{AlertState, Said, Severity};
use crate::model::effect::Effect;
use crate::model::feedback::{Feedback, Verdict};
use crate::model::hash::hash128;
use crate::model::money::Nanos;
use crate::model::time::{Hour, MINUTE_MS, Timestamp};

/// Takes a person's word: what holds from now on, and the next revision of each alert that it is about. Sent twice it is heard once, else
/// the second sending would undo what was said in between.
pub(crate) fn take(shard: &mut Shard, feedback: &Feedback, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let identity = hash128(&[feedback.source.as_bytes(), feedback.event_id.as_bytes()]);
    let team = &feedback.team;
    let is_heard = shard.books.get(team).is_some_and(|book| book.has_heard(identity));
    if is_heard || early::waits(shard, feedback, identity) || !is_taken(shard, feedback, rules, effects) {
        return;
    }
    if shard.books.len() < MOST_TEAMS || shard.books.contains_key(team) {
        Arc::make_mut(&mut shard.books).entry(team.clone()).or_default().hear(identity, feedback.event_time);
        shard.pending.books.insert(team.clone());
    }
}

/// Whether there is anything that a word is about.
fn is_taken(shard: &mut Shard, feedback: &Feedback, rules: &WatchRules, effects: &mut Vec<Effect>) -> bool {
    let word = said(feedback);
    if violation::answer(shard, feedback, word.clone(), rules, effects) || answers::answer(shard, feedback, &word, rules, effects) {
        return true;
    }
    let about = alerts_of(shard, feedback);
    let dimensions: BTreeMap<String, String> =
        feedback.dimensions.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let word = Word { feedback, said: word, dimensions };
    let announces = feedback.alert_id.is_none() && matches!(feedback.verdict, Verdict::Expected | Verdict::Planned);
    let has_room = shard.books.len() < MOST_TEAMS || shard.books.contains_key(&feedback.team);
    let book = Arc::make_mut(&mut shard.books).entry(feedback.team.clone()).or_default();
    let withdraws = feedback.verdict == Verdict::Reopen && book.withdraw(feedback.alert_id.as_deref(), &word.dimensions);
    let is_announced = announces && has_room;
    if is_announced {
        word.announce(book);
    }
    let why = match (&feedback.alert_id, is_announced) {
        (_, true) => Some(Why::NoSeries).filter(|_| !shard.has_series(&feedback.team, &feedback.dimensions)),
        _ if withdraws || !about.is_empty() => None,
        (Some(_), false) => Some(Why::UnknownAlert),
        (None, false) => Some(if announces { Why::NoRoom } else { Why::NothingOpen }),
    };
    if let Some(why) = why {
        shard.unmatched_feedback.note(feedback, why);
    }
    let is_matched = is_announced || withdraws || !about.is_empty();
    for (number, id) in &about {
        let known = shard.accounts.get(*number).and_then(|state| state.episodes.get(id));
        if let (Some(episode), Some(book)) = (known, Arc::make_mut(&mut shard.books).get_mut(&feedback.team)) {
            word.apply(book, episode, announces);
        }
    }
    if shard.books.get(&feedback.team).is_some_and(Book::is_empty) {
        Arc::make_mut(&mut shard.books).remove(&feedback.team);
    }
    shard.pending.books.insert(feedback.team.clone());
    let books = Arc::clone(&shard.books);
    let moment = shard.moment(rules, &books);
    for (number, id) in about {
        let Some(state) = shard.accounts.get_mut(number) else { continue };
        let account = state.account.clone();
        let Some(episode) = state.episodes.get_mut(&id) else { continue };
        let next = next_state(episode, feedback, moment.shard_time);
        let last = episode.hours.last_key_value().map_or(episode.onset.hour(), |(hour, _)| *hour);
        episode::restate(state, &account, &id, last.max(feedback.event_time.hour()), next, true, moment, effects);
        shard.episodes_changed(number, vec![id]);
    }
    is_matched
}

/// Account and id of the alerts that a word is about: the one that it names, else the open ones of the spend that it names.
fn alerts_of(shard: &Shard, feedback: &Feedback) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for (number, state) in shard.accounts.of_team(&feedback.team) {
        match &feedback.alert_id {
            Some(id) => found.extend(state.episodes.get(&**id).filter(|episode| !episode.is_held()).map(|_| (number, id.to_string()))),
            None => {
                let own = |episode: &&Episode| {
                    let own = episode.scope.dimensions();
                    feedback.dimensions.iter().all(|(name, value)| own.get(&**name).is_some_and(|known| **known == **value))
                };
                found.extend(state.open_episodes().filter(own).map(|episode| (number, episode.id.clone())));
            }
        }
    }
    found
}

fn said(feedback: &Feedback) -> Said {
    Said {
        verdict: feedback.verdict.name().to_string(),
        actor: feedback.actor.as_ref().map(Text::to_string),
        source: feedback.source.to_string(),
        said_at: feedback.event_time,
        from: feedback.from,
        until: feedback.until,
        note: feedback.note.as_ref().map(Text::to_string),
    }
}

fn next_state(episode: &mut Episode, feedback: &Feedback, now: crate::model::time::Timestamp) -> AlertState {
    match feedback.verdict {
        Verdict::NotAnAnomaly if episode.is_open() => {
            episode.closed_at = Some(now);
            AlertState::Resolved
        }
        Verdict::Reopen => {
            episode.closed_at = None;
            episode.quiet_hours = 0;
            AlertState::Reopened
        }
        // What is over stays over; the word stands beside it.
        _ if !episode.is_open() => episode.state,
        Verdict::Ack => AlertState::Acknowledged,
        Verdict::Expected | Verdict::Planned | Verdict::NotAnAnomaly => AlertState::Updated,
    }
}

/// One event of feedback on its way into the book.
struct Word<'a> {
    feedback: &'a Feedback,
    said: Said,
    dimensions: BTreeMap<String, String>,
}

impl Word<'_> {
    fn announce(&self, book: &mut Book) {
        book.stand(self.standing(None, self.dimensions.clone()));
    }

    fn standing(&self, about: Option<&Episode>, dimensions: BTreeMap<String, String>) -> Standing {
        let Feedback { verdict, event_time, from, until, .. } = *self.feedback;
        let (said_from, until) = span(verdict, event_time, from, until);
        // What is said about an alert holds from its beginning, and as long as what is said of the time to come.
        let onset = about.map(|episode| episode.onset.min(event_time));
        let from = from.or(onset).unwrap_or(said_from);
        Standing {
            verdict,
            alert: about.map(|episode| episode.id.clone()),
            dimensions,
            from,
            until,
            limit: about.map_or(0.0, |episode| limit_of(verdict, episode, event_time)),
            severity: about.map_or(Severity::Info, |episode| episode.severity),
            said: Said { until: Some(until).filter(|_| verdict != Verdict::Ack).or(self.said.until), ..self.said.clone() },
        }
    }

    fn apply(&self, book: &mut Book, episode: &Episode, is_announced: bool) {
        if !is_announced && self.feedback.verdict != Verdict::Reopen {
            let standing = self.standing(Some(episode), episode.scope.dimensions());
            book.note(&episode.id, standing.said.clone());
            book.stand(standing);
        } else {
            book.note(&episode.id, self.said.clone());
        }
    }
}

/// Of an acknowledgement a multiple of what it has come to, and at least what some hours more at this pace bring: who looks after it from its
/// first minutes on is not asked again every few minutes because it goes on. Else what it has seen at most, and some room: as a multiple of its normal, or as money
/// where nothing is normal (see [`Standing`]).
fn limit_of(verdict: Verdict, episode: &Episode, said_at: Timestamp) -> f64 {
    if verdict == Verdict::Ack {
        let (excess, went_on) = (to_units(episode.excess()).abs(), (said_at.0 - episode.onset.0).max(MINUTE_MS));
        return excess * MOST_GROWTH.max(1.0 + PATIENCE_MS as f64 / went_on as f64);
    }
    if episode.is_of_fall() {
        return OF_FALL;
    }
    if episode.hours.values().any(|part| part.expected <= Nanos::ZERO && part.actual > Nanos::ZERO) {
        return -ROOM * episode.hours.values().map(|part| to_units(part.actual)).fold(0.0, f64::max);
    }
    let multiples = episode.hours.values().map(|part| to_units(part.actual) / to_units(part.expected));
    ROOM * multiples.filter(|multiple| multiple.is_finite()).fold(LEAST_LIMIT, f64::max)
}

/// An hour of a team is about to close: lets go of what has ended before it.
pub(crate) fn end_of_hour(shard: &mut Shard, team: &Text, hour: Hour) {
    let Some(book) = shard.books.get(team) else { return };
    let mut ended = book.clone();
    let (mut known, mut open) = (BTreeSet::new(), BTreeSet::new());
    for (_, state) in shard.accounts.of_team(team) {
        for episode in state.episodes.values() {
            known.insert(&*episode.id);
            if episode.is_open() {
                open.insert(&*episode.id);
            }
            for standing in book.standing.iter().filter(|standing| standing.until <= hour.start() && standing.alert.is_none()) {
                if standing.is_about(&episode.scope) && episode.hours.keys().any(|hour| standing.holds(*hour)) {
                    ended.note(&episode.id, standing.said.clone());
                }
            }
        }
    }
    ended.standing.retain(|standing| {
        let is_over = standing.verdict == Verdict::Ack && !standing.alert.as_deref().is_some_and(|id| open.contains(id));
        standing.until > hour.start() && !is_over
    });
    ended.said.retain(|id, _| known.contains(&**id));
    ended.heard.retain(|(_, said_at)| said_at.plus_ms(HEARD_FOR_MS) > hour.start());
    if ended != *book {
        let books = Arc::make_mut(&mut shard.books);
        if ended.is_empty() {
            books.remove(team)
        } else {
            books.insert(team.clone(), ended)
        };
        shard.pending.books.insert(team.clone());
    }
}
