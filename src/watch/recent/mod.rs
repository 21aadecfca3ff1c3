//! Totals of a leaf's closed hours that late data may still amend, in some fifteen bytes an hour.
//!
//! Times and all users of an hour are kept only while an episode holds it, since only then do they stand in an alert again. Otherwise
//! the largest users of the last day say what is usual for them, and older hours know no users.

mod write;

use serde::{Deserialize, Serialize};

use self::write::{word_of, write};
use super::numbers::{put, put_signed, skip, take, take_signed, take_wide};
use super::series::HourTotals;
use crate::model::Text;
use crate::model::money::Nanos;
use crate::model::partial::UserCost;
use crate::model::time::{Hour, Timestamp};

/// Users kept of an hour that no episode holds.
const USUAL_USERS: usize = 4;
/// Hours with usage that say what is usual for a user.
pub const USUAL_HOURS: usize = 24;
/// An episode that opens now may have begun some minutes ago, in an hour that is closed.
const ONSET_MAY_LIE_BACK: usize = 2;

/// Names of users, sorted, then hours in order: hours since the one before, a word that says which numbers follow, and those; 0 instead of both
/// is the next hour with the same word. An hour that comes in goes behind the others, whose bytes are copied: nobody reads two days of numbers
/// to add one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(#[serde(with = "super::numbers::in_one_piece")] Box<[u8]>);

/// Which hours are needed in full.
pub struct Held<'a> {
    /// Whether an episode holds an hour.
    pub holds: &'a dyn Fn(Hour) -> bool,
    /// The first hour that is not past: what is usual is what was before.
    pub onset: Hour,
}

const COST: u64 = 1;
const QUANTITY: u64 = 1 << 1;
const UNPRICED: u64 = 1 << 2;
/// Requests differ from events.
const REQUESTS: u64 = 1 << 3;
const NEGATIVE: u64 = 1 << 4;
const TIMES: u64 = 1 << 5;
const USERS: u64 = 1 << 6;
/// Written other than once.
const REVISION: u64 = 1 << 7;
/// And the following bits: kinds of tokens.
const TOKENS: u64 = 1 << 8;
/// Users share the whole cost among them: the last one's part need not be written.
const SHARED: u64 = 1 << 13;
/// Each of these brings a number; the count of events is always there.
const NUMBERS: u64 = COST | QUANTITY | UNPRICED | REQUESTS | REVISION | (0x1f * TOKENS);

/// An hour as it stands in the bytes.
#[derive(Clone, Copy)]
struct Written<'a> {
    hour: Hour,
    word: u64,
    /// Where it begins, with its distance from the hour before, where its numbers do, and where it ends.
    begin: u32,
    body: u32,
    end: u32,
    /// And times, if it has them.
    numbers: &'a [u8],
    user_count: usize,
    /// Number of the name, then cost, of each.
    users: &'a [u8],
}

/// What an hour's numbers are read by.
#[derive(Clone, Copy, PartialEq)]
struct Head {
    hour: Hour,
    word: u64,
}

impl Head {
    /// The next hour, with the same numbers.
    fn repeated(self) -> Option<Head> {
        Some(Head { hour: Hour(self.hour.0.checked_add(1)?), word: self.word })
    }

    fn write(self, bytes: &mut Vec<u8>, before: Option<Head>) {
        if before.and_then(Head::repeated) == Some(self) {
            return put(bytes, 0);
        }
        put_signed(bytes, self.hour.0 - before.map_or(0, |before| before.hour.0));
        put(bytes, self.word);
    }
}

enum Part<'a> {
    /// Stays as it is.
    Old(Written<'a>),
    New(Hour, HourTotals),
}

impl Recent {
    pub fn hours(&self) -> Vec<(Hour, HourTotals)> {
        let read = || -> Option<Vec<(Hour, HourTotals)>> {
            let (names, hours) = skim(&self.0)?;
            let names: Vec<Text> = names.into_iter().map(Text::from).collect();
            hours.iter().map(|written| Some((written.hour, written.totals(|name| names.get(name).cloned())?))).collect()
        };
        read().unwrap_or_default()
    }

    pub fn get(&self, hour: Hour) -> Option<HourTotals> {
        let (names, hours) = skim(&self.0)?;
        let at = hours.binary_search_by_key(&hour, |written| written.hour).ok()?;
        hours[at].totals(|name| names.get(name).copied().map(Text::from))
    }

    /// What each hour cost, oldest first; nothing else of them is read.
    pub fn each_cost(&self, mut each: impl FnMut(Hour, Nanos)) {
        let (mut rest, mut before) = (&self.0[..], None);
        if skim_names(&mut rest, |_| Some(())).is_none() {
            return;
        }
        while let Some(written) = Written::skim(&self.0, &mut rest, before) {
            before = Some(written.head());
            each(written.hour, written.cost().unwrap_or_default());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_readable(&self) -> bool {
        skim(&self.0).is_some_and(|(names, hours)| hours.iter().all(|written| written.is_readable(names.len())))
    }

    /// Puts an hour in its place, and drops those up to `oldest`.
    pub fn put(&mut self, hour: Hour, totals: HourTotals, oldest: Hour, held: &Held<'_>) {
        self.0 = self.rewritten(Some((hour, totals)), oldest, held);
    }

    /// Drops hours up to `oldest`. Returns whether there were any.
    pub fn forget(&mut self, oldest: Hour, held: &Held<'_>) -> bool {
        let is_due = self.first().is_some_and(|first| first <= oldest);
        if is_due {
            self.0 = self.rewritten(None, oldest, held);
        }
        is_due
    }

    fn first(&self) -> Option<Hour> {
        let mut rest = &self.0[..];
        skim_names(&mut rest, |_| Some(()))?;
        take_signed(&mut rest).map(Hour)
    }

    fn rewritten(&self, added: Option<(Hour, HourTotals)>, oldest: Hour, held: &Held<'_>) -> Box<[u8]> {
        let (names, hours) = skim(&self.0).unwrap_or_default();
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(hours.len() + 1);
        parts.extend(hours.into_iter().map(Part::Old));
        if let Some((hour, totals)) = added {
            match parts.binary_search_by_key(&hour, Part::hour) {
                Ok(at) => parts[at] = Part::New(hour, totals),
                Err(at) => parts.insert(at, Part::New(hour, totals)),
            }
        }
        parts.retain(|part| part.hour() > oldest);
        let past = parts.partition_point(|part| part.hour() < held.onset);
        for (at, part) in parts.iter_mut().enumerate() {
            let most = if at + USUAL_HOURS + ONSET_MAY_LIE_BACK < past { 0 } else { USUAL_USERS };
            if part.is_longer_than(most) && !(held.holds)(part.hour()) {
                part.shorten(most, &names);
            }
        }
        write(&parts, &names, &self.0).into()
    }
}

impl FromIterator<(Hour, HourTotals)> for Recent {
    fn from_iter<I: IntoIterator<Item = (Hour, HourTotals)>>(hours: I) -> Recent {
        let parts: Vec<Part<'_>> = hours.into_iter().map(|(hour, totals)| Part::New(hour, totals)).collect();
        Recent(write(&parts, &[], &[]).into())
    }
}

impl Part<'_> {
    fn hour(&self) -> Hour {
        match self {
            Part::Old(written) => written.hour,
            Part::New(hour, _) => *hour,
        }
    }

    fn head(&self) -> Head {
        match self {
            Part::Old(written) => written.head(),
            Part::New(hour, totals) => Head { hour: *hour, word: word_of(totals) },
        }
    }

    /// Whether it says more than an hour that no episode holds may, which is so many users and no times.
    fn is_longer_than(&self, most_users: usize) -> bool {
        match self {
            Part::Old(written) => written.has(TIMES) || written.user_count > most_users,
            Part::New(_, totals) => totals.has_times() || totals.users.len() > most_users,
        }
    }

    fn shorten(&mut self, most_users: usize, names: &[&str]) {
        if let Part::Old(written) = self {
            let totals = written.totals(|name| names.get(name).copied().map(Text::from));
            *self = Part::New(written.hour, totals.unwrap_or_default());
        }
        let Part::New(_, totals) = self else { return };
        (totals.last_event_time, totals.last_ingest_time) = (Timestamp::default(), Timestamp::default());
        if most_users == 0 {
            totals.users = Vec::new();
        } else if totals.users.len() > most_users {
            totals.users.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.user.cmp(&b.user)));
            totals.users.truncate(most_users);
        }
    }
}

impl<'a> Written<'a> {
    /// Passes over one hour of `bytes`, at the front of `rest`; what its numbers are is not looked at.
    #[inline]
    fn skim(bytes: &[u8], rest: &mut &'a [u8], before: Option<Head>) -> Option<Written<'a>> {
        let begin = (bytes.len() - rest.len()) as u32;
        let Head { hour, word } = match (take_signed(rest)?, before) {
            (0, Some(before)) => before.repeated()?,
            (distance, before) => Head { hour: Hour(before.map_or(0, |before| before.hour.0).checked_add(distance)?), word: take(rest)? },
        };
        let body = (bytes.len() - rest.len()) as u32;
        let times = if word & TIMES != 0 { 2 } else { 0 };
        let numbers = passed(rest, 1 + (word & NUMBERS).count_ones() as usize + times)?;
        let user_count = if word & USERS != 0 { usize::try_from(take(rest)?).ok()? } else { 0 };
        let left_out = usize::from(word & SHARED != 0 && user_count > 0);
        let users = passed(rest, user_count.checked_mul(2)? - left_out)?;
        let end = (bytes.len() - rest.len()) as u32;
        Some(Written { hour, word, begin, body, end, numbers, user_count, users })
    }

    fn head(&self) -> Head {
        Head { hour: self.hour, word: self.word }
    }

    fn has(&self, bit: u64) -> bool {
        self.word & bit != 0
    }

    fn totals(&self, name: impl Fn(usize) -> Option<Text>) -> Option<HourTotals> {
        let mut totals = self.without_users()?;
        self.each_user(totals.cost, |user, cost| {
            totals.users.push(UserCost { user: name(user)?, cost });
            Some(())
        })?;
        Some(totals)
    }

    /// What can be passed over can be read, but for numbers that are too long or too large, and users that have no name.
    fn is_readable(&self, names: usize) -> bool {
        let is_short = [self.numbers, self.users].into_iter().all(|bytes| longest_run(bytes) < SHORT);
        if is_short && !self.has(REVISION) {
            return self.names().all(|name| name < names);
        }
        let users = |totals: HourTotals| self.each_user(totals.cost, |user, _| (user < names).then_some(()));
        self.without_users().and_then(users).is_some()
    }

    fn cost(&self) -> Option<Nanos> {
        if !self.has(COST) {
            return Some(Nanos::ZERO);
        }
        let rest = &mut &*self.numbers;
        skip(rest, 1)?;
        take_wide(rest).map(Nanos)
    }

    fn without_users(&self) -> Option<HourTotals> {
        let rest = &mut &*self.numbers;
        let mut totals = HourTotals { events: take(rest)?, revision: 1, has_negative: self.has(NEGATIVE), ..HourTotals::default() };
        totals.requests = totals.events;
        if self.has(COST) {
            totals.cost = Nanos(take_wide(rest)?);
        }
        if self.has(QUANTITY) {
            totals.quantity = Nanos(take_wide(rest)?);
        }
        if self.has(UNPRICED) {
            totals.unpriced_events = take(rest)?;
        }
        if self.has(REQUESTS) {
            totals.requests = take(rest)?;
        }
        if self.has(REVISION) {
            totals.revision = u32::try_from(take(rest)?).ok()?;
        }
        for (kind, tokens) in totals.tokens.iter_mut().enumerate() {
            if self.has(TOKENS << kind) {
                *tokens = take(rest)?;
            }
        }
        if self.has(TIMES) {
            totals.last_event_time = self.hour.start().plus_ms(take_signed(rest)?);
            totals.last_ingest_time = self.hour.start().plus_ms(take_signed(rest)?);
        }
        Some(totals)
    }

    /// Number of the name and cost of each user.
    fn each_user(&self, total: Nanos, mut each: impl FnMut(usize, Nanos) -> Option<()>) -> Option<()> {
        let (rest, mut left) = (&mut &*self.users, total.0);
        for behind in (0..self.user_count).rev() {
            let name = usize::try_from(take(rest)?).ok()?;
            let cost = if behind > 0 || !self.has(SHARED) { take_wide(rest)? } else { left };
            left = left.wrapping_sub(cost);
            each(name, Nanos(cost))?;
        }
        Some(())
    }

    /// Its numbers of names alone.
    fn names(&self) -> impl Iterator<Item = usize> {
        let mut rest = self.users;
        (0..self.user_count).map_while(move |_| {
            let name = usize::try_from(take(&mut rest)?).ok()?;
            // The last one's cost may have been left out.
            let _ = skip(&mut rest, 1);
            Some(name)
        })
    }

    /// Whether its bytes are still right if names have these new numbers; what its distance is measured from is not asked.
    fn stays(&self, renumbered: Option<&[u64]>) -> bool {
        renumbered.is_none() || self.user_count == 0
    }

    /// What follows its head.
    fn write(&self, bytes: &mut Vec<u8>, renumbered: Option<&[u64]>) {
        bytes.extend(self.numbers);
        if self.user_count == 0 {
            return;
        }
        put(bytes, self.user_count as u64);
        let Some(renumbered) = renumbered else { return bytes.extend(self.users) };
        let mut rest = self.users;
        while let Some(name) = take(&mut rest) {
            put(bytes, usize::try_from(name).ok().and_then(|name| renumbered.get(name)).copied().unwrap_or_default());
            let cost = rest;
            if skip(&mut rest, 1).is_some() {
                bytes.extend(&cost[..cost.len() - rest.len()]);
            }
        }
    }
}

/// Bytes of which each says that the number goes on: so many fit into any kind of number but a revision.
const SHORT: usize = 9;

fn longest_run(bytes: &[u8]) -> usize {
    let (mut run, mut longest) = (0, 0);
    for byte in bytes {
        run = if byte & 0x80 == 0 { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    longest
}

/// What so many numbers take.
fn passed<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let all = *rest;
    skip(rest, count)?;
    Some(&all[..all.len() - rest.len()])
}

/// Passes over the names at the front.
fn skim_names<'a>(rest: &mut &'a [u8], mut each: impl FnMut(&'a [u8]) -> Option<()>) -> Option<()> {
    for _ in 0..take(rest)? {
        let length = usize::try_from(take(rest)?).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        each(name)?;
        *rest = behind;
    }
    Some(())
}

/// Names and hours of it.
fn skim(bytes: &[u8]) -> Option<(Vec<&str>, Vec<Written<'_>>)> {
    let mut rest = bytes;
    if rest.is_empty() {
        return Some(Default::default());
    }
    let mut names = Vec::new();
    skim_names(&mut rest, |name| {
        names.push(std::str::from_utf8(name).ok()?);
        Some(())
    })?;
    let mut hours = Vec::with_capacity(49);
    let mut before = None;
    while !rest.is_empty() {
        let written = Written::skim(bytes, &mut rest, before)?;
        before = Some(written.head());
        hours.push(written);
    }
    Some((names, hours))
}

#[cfg(test)]
mod tests;
