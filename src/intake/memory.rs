//! What intake remembers from event to event: who pays for texts like these, what they cost, which leaf they are. Events of one source
//! repeat themselves, so that almost all of them are answered from here, without a look at rules, without an allocation.
//!
//! Nothing depends on it but the time that an event takes: each answer is what `attribute`, `price` and `validate` gave the first time. It
//! is bounded: whoever sends ever new names makes it forget, and everything is then worked out anew.

use std::borrow::Cow;

use super::attribute::attribute;
use super::decode::quick::QuickEvent;
use super::interner::{self, Interner};
use super::judge::Asked;
use super::order::{Order, Place};
use super::price::{Convention, Counted, Priced, SERVICE_TIER, Usage, is_batch, price_by, prompt_tokens, query, terms};
use super::rules::{AttributedTeam, IntakeRules, PriceQuery};
use super::tariffs::{Remembered, Tariffs};
use super::validate::{LONGEST_TEXT, clean};
use crate::model::Text;
use crate::model::ahead;
use crate::model::money::Currency;
use crate::model::pattern;
use crate::model::time::Timestamp;
use crate::model::usage::UsageEvent;
use crate::policy::stream::Stream;

/// Different texts of events, far more than a large company has within some minutes, and what they may take. Tests have more than that.
const MOST_INPUTS: usize = if cfg!(test) { 3_000 } else { 262_144 };
const MOST_INPUT_BYTES: usize = 32 * 1024 * 1024;
/// Different sets of policies that are looked through for one that is the same.
const SHARED_ASKED: usize = 64;
/// Of leaves and of users, kept from one transaction to the next: some 40,000 leaves, 100,000 users.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Everything about an event that its texts decide. Small: of tens of thousands, each event looks at another one.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Number of its dimensions, in `Memory::leaves`.
    leaf: u32,
    /// In `Memory::tariffs`.
    tariff: u32,
    /// Where the last event like this was summed: most likely the next one belongs there too.
    sum: u32,
    counted: Counted,
    convention: Convention,
    currency: Option<Currency>,
    is_batch: bool,
    /// In `Memory::asked`: policies that have to be asked about each event.
    asked: Option<u32>,
}

/// A leaf's team, project, model, provider, region, environment and meter.
pub type Dimensions = [Text; 7];

#[derive(Debug, Default)]
pub struct Memory {
    rules: Option<Followed>,
    /// Texts of events, in either of two spellings: as they stood in the record, and cleaned.
    inputs: Interner,
    /// By input, the number of what is known: several spellings may be one.
    meanings: Vec<u32>,
    known: Vec<Known>,
    asked: Vec<Asked>,
    tariffs: Tariffs,
    leaf_numbers: Interner,
    leaves: Vec<Dimensions>,
    order: Order,
    user_spellings: Interner,
    /// By spelling.
    users: Vec<User>,
    user_numbers: Interner,
    user_names: Vec<Text>,
    /// Which patterns of the rules users match.
    matching: Interner,
    key: Vec<u8>,
    /// Of the quick events that are worked on together.
    quick_keys: Vec<Vec<u8>>,
}

/// Who used something, as far as sums and rules ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `None` where the event names nobody, or nothing is left of the name.
    pub number: Option<usize>,
    /// Users with the same number match the same patterns of the rules.
    matches: usize,
}

/// The rules that the answers come from.
#[derive(Debug)]
struct Followed {
    rules: IntakeRules,
    /// Where they lay, since they were last compared.
    address: Option<usize>,
    /// What the rules of attribution read besides source, account and project, where an event names no team.
    user_patterns: Vec<Text>,
    reads_tags: Vec<Text>,
    /// Whether a tag decides what an event costs.
    has_batch: bool,
}

impl Memory {
    /// Forgets its answers when the rules are other ones. They change between two transactions only, and are compared once in each.
    pub fn follow(&mut self, rules: &IntakeRules) {
        let address = Some(std::ptr::from_ref(rules).addr());
        match &mut self.rules {
            Some(followed) if followed.address == address => {}
            Some(followed) if is_same(&followed.rules, rules) => followed.address = address,
            _ => {
                self.forget_inputs();
                self.rules = Some(Followed::new(rules, address));
                self.match_users();
            }
        }
    }

    /// After a transaction, when no number is in use: keeps what is worth it, looks at the rules again.
    pub fn rest(&mut self) {
        if let Some(followed) = &mut self.rules {
            followed.address = None;
        }
        if self.leaf_bytes() > KEPT_BYTES {
            self.forget_inputs();
            self.leaf_numbers.clear();
            self.leaves = Vec::new();
            self.order.clear();
        }
        if self.user_bytes() > KEPT_BYTES {
            self.user_spellings.clear();
            self.user_numbers.clear();
            (self.users, self.user_names) = (Vec::new(), Vec::new());
        }
    }

    /// Of memory, about: what cannot be forgotten before the transaction ends.
    pub fn bytes(&self) -> usize {
        self.leaf_bytes() + self.user_bytes()
    }

    fn leaf_bytes(&self) -> usize {
        self.leaf_numbers.bytes() * 2 + self.leaves.len() * 256
    }

    fn user_bytes(&self) -> usize {
        self.user_spellings.bytes() + self.user_numbers.bytes() * 2 + self.user_names.len() * 64
    }

    fn forget_inputs(&mut self) {
        self.inputs.clear();
        self.meanings.clear();
        self.known.clear();
        self.asked.clear();
        self.tariffs.clear();
    }

    pub fn dimensions(&self, leaf: usize) -> Option<&Dimensions> {
        self.leaves.get(leaf)
    }

    /// Before any leaf's place is asked for.
    pub fn order_leaves(&mut self, shard_count: u32) {
        self.order.follow(&self.leaves, shard_count);
    }

    pub fn place(&self, leaf: usize) -> Place {
        self.order.place(leaf)
    }

    /// `None`: no policy has to be asked about an event like this.
    pub fn asked(&self, known: usize) -> Option<&Asked> {
        self.asked.get(index(self.known.get(known)?.asked?))
    }

    /// Those that what is remembered was asked of.
    pub fn policies(&self) -> Option<&Stream> {
        self.rules.as_ref().map(|followed| &*followed.rules.policies)
    }

    pub fn user_name(&self, user: usize) -> Option<&Text> {
        self.user_names.get(user)
    }

    /// For `decode::quick` to fill: the key of the event at this place among those that are worked on together.
    pub fn quick_key(&mut self, place: usize) -> &mut Vec<u8> {
        if self.quick_keys.len() <= place {
            self.quick_keys.resize_with(place + 1, Vec::new);
        }
        &mut self.quick_keys[place]
    }

    /// Adds to the key what else decides who pays; its hash.
    pub fn complete_quick_key(&mut self, place: usize, event: &QuickEvent<'_>, user: User) -> u64 {
        let Memory { rules, quick_keys, .. } = &mut *self;
        let Some(key) = quick_keys.get_mut(place) else { return 0 };
        // Where it names no meter, its numbers decide which.
        key.push(u8::from(event.has_tokens) | u8::from(event.usage.quantity.is_some()) << 1);
        let mut reads_tags = &[][..];
        if event.team.is_empty() {
            key.extend_from_slice(&user.matches.to_le_bytes());
            reads_tags = rules.as_ref().map(|followed| followed.reads_tags.as_slice()).unwrap_or_default();
        }
        let has_batch = rules.as_ref().is_some_and(|followed| followed.has_batch);
        if has_batch || !reads_tags.is_empty() {
            let is_tier = |name: &[u8]| has_batch && name == SERVICE_TIER.as_bytes();
            // As they come, in one walk over them: another order is another key, and the same answer.
            event.each_tag(|name, value| {
                let read = reads_tags.iter().position(|read| read.as_bytes() == name);
                if let Some(place) = read.or_else(|| is_tier(name).then_some(usize::MAX)) {
                    let [place, length] = [place, value.len()].map(|number| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
                    key.extend_from_slice(&place);
                    key.extend_from_slice(&length);
                    key.extend_from_slice(value);
                }
            });
        }
        interner::hash(key)
    }

    /// What is known of the event with this key, which is complete: all its texts have then been judged before. `None`: read it thoroughly.
    pub fn find_quick(&self, place: usize, hash: u64) -> Option<usize> {
        let input = self.inputs.find_hashed(hash, self.quick_keys.get(place)?)?;
        self.meanings.get(input).copied().map(index)
    }

    /// See `Slots::approach`.
    pub fn approach_input(&self, hash: u64) {
        self.inputs.approach(hash);
    }

    /// Behind `approach_input`: the number of the input that will most likely be found.
    pub fn approach_meaning(&self, hash: u64) -> Option<usize> {
        let input = self.inputs.approach_end(hash)?;
        ahead::ask(self.meanings.get(input)?);
        Some(input)
    }

    /// Behind `approach_meaning`: asks for what it was spelled like and for what is known of it.
    pub fn approach_known(&self, input: usize) {
        self.inputs.approach_bytes(input);
        if let Some(known) = self.meanings.get(input).and_then(|known| self.known.get(index(*known))) {
            ahead::ask(known);
        }
    }

    /// See `Slots::approach`.
    pub fn approach_user(&self, hash: u64) {
        self.user_spellings.approach(hash);
    }

    /// Where the last event like this was summed, if there was one. Looks at what policies will be told of it, too: see `Slots::approach`.
    pub fn approach(&self, known: usize) -> Option<u32> {
        let known = self.known.get(known)?;
        if let Some([team, .., meter]) = known.asked.and(self.leaves.get(index(known.leaf))) {
            std::hint::black_box(team.len() ^ meter.len());
        }
        Some(known.sum)
    }

    /// What is known of an event that was read thoroughly, worked out if need be.
    pub fn of(&mut self, event: &UsageEvent<'_>, user: User, rules: &IntakeRules) -> usize {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        // Quick keys begin with a zero.
        key.push(1);
        if let Some(followed) = &self.rules {
            let currency = event.currency.as_ref().map_or("", Currency::as_str);
            let UsageEvent { source, meter, team, project, model, provider, region, environment, account, .. } = event;
            let stated = [team, project, model, provider, region, environment, account].map(stated);
            [source.as_ref(), meter, currency].iter().chain(&stated).for_each(|text| write(&mut key, text.as_bytes()));
            key.push(u8::from(followed.has_batch && is_batch(event)));
            if team.is_none() {
                write_unattributed(&mut key, user, followed, event);
            }
        }
        self.make_room();
        let known = match self.inputs.find(&key).and_then(|input| self.meanings.get(input)) {
            Some(known) => index(*known),
            None => {
                let known = self.work_out(event, rules);
                self.known.push(known);
                self.remember(&key, self.known.len() - 1)
            }
        };
        self.key = key;
        known
    }

    /// The event that was just read thoroughly is the one that was not found: the next one like it will be.
    pub fn remember_missed(&mut self, place: usize, known: usize) {
        let Some(key) = self.quick_keys.get_mut(place).map(std::mem::take) else { return };
        self.remember(&key, known);
        self.quick_keys[place] = key;
    }

    /// Before the event at hand is looked for: then what is known of it stays, and its spelling can be added.
    fn make_room(&mut self) {
        let kept = self.known.len() * size_of::<Known>() + self.asked.len() * (size_of::<Asked>() + 64);
        let size = self.inputs.bytes() + kept + self.tariffs.bytes();
        if self.inputs.len() >= MOST_INPUTS || size > MOST_INPUT_BYTES {
            self.forget_inputs();
        }
    }

    fn remember(&mut self, key: &[u8], known: usize) -> usize {
        self.meanings.push(number(known));
        self.inputs.add(key);
        known
    }

    fn work_out(&mut self, event: &UsageEvent<'_>, rules: &IntakeRules) -> Known {
        let team = attribute(event, &rules.attribution);
        let UsageEvent { project, model, provider, region, environment, meter, .. } = event;
        let [project, model, provider, region, environment] = [project, model, provider, region, environment].map(stated);
        let dimensions = [team.as_ref(), project, model, provider, region, environment, meter].map(Text::from);
        let asked = Asked::of(&rules.policies, &dimensions).map(|asked| {
            // Most are like one of the first: those stay near.
            let same = self.asked.iter().take(SHARED_ASKED).position(|known| known.is_same(&asked));
            number(same.unwrap_or_else(|| {
                self.asked.push(asked);
                self.asked.len() - 1
            }))
        });
        let convention = Convention::of(&event.source, &rules.sources);
        let terms = terms(event, &team, &rules.prices);
        Known {
            asked,
            tariff: number(self.tariffs.number(&query(event, &terms, convention), &rules.prices)),
            leaf: self.leaf(dimensions),
            counted: Counted::by(meter),
            convention,
            currency: event.currency,
            is_batch: is_batch(event),
            sum: u32::MAX,
        }
    }

    fn leaf(&mut self, dimensions: Dimensions) -> u32 {
        let mut key = Vec::new();
        dimensions.iter().for_each(|text| write(&mut key, text.as_bytes()));
        number(match self.leaf_numbers.find(&key) {
            Some(number) => number,
            None => {
                self.leaves.push(dimensions);
                self.leaf_numbers.add(&key)
            }
        })
    }

    /// What the event costs, its leaf, and where the last one like it was summed.
    pub fn price(&mut self, known: usize, usage: &Usage, time: Timestamp, rules: &IntakeRules) -> Option<(usize, Priced, u32)> {
        let known = self.known.get(known)?;
        let remembered = self.tariffs.get_mut(index(known.tariff))?;
        let prompt_tokens = if remembered.tariff.is_by_prompt() { prompt_tokens(usage, known.convention) } else { 0 };
        if !remembered.holds_for(time, prompt_tokens) {
            let [_, _, model, provider, region, _, meter] = self.leaves.get(index(known.leaf))?;
            let prompt_tokens = self::prompt_tokens(usage, known.convention);
            let query =
                PriceQuery { provider, meter, model, region, at: time, prompt_tokens, is_batch: known.is_batch, ..Default::default() };
            remembered.renew(&query, &rules.prices);
        }
        let usage = Usage { currency: known.currency, ..*usage };
        let Remembered { tariff, per_token, .. } = &*remembered;
        let find = |kind| tariff.rate(kind);
        let priced = price_by(&usage, known.counted, known.convention, rules.reporting_currency, per_token.as_ref(), find);
        Some((index(known.leaf), priced.converted(time, &rules.rates), known.sum))
    }

    pub fn note_sum(&mut self, known: usize, sum: u32) {
        if let Some(known) = self.known.get_mut(known) {
            known.sum = sum;
        }
    }

    /// A user, in whatever spelling.
    pub fn user(&mut self, spelling: &[u8]) -> Result<User, NoText> {
        self.user_of(spelling, hash_of_user(spelling))
    }

    /// As [`Memory::user`], where the hash is known.
    pub fn user_of(&mut self, spelling: &[u8], hash: u64) -> Result<User, NoText> {
        if spelling.is_empty() {
            return Ok(User::default());
        }
        if let Some(number) = self.user_spellings.find_hashed(hash, spelling) {
            return Ok(self.users.get(number).copied().unwrap_or_default());
        }
        let text = std::str::from_utf8(spelling).ok().filter(|text| text.len() <= LONGEST_TEXT).ok_or(NoText)?;
        let name = clean(text.into());
        let number = match self.user_numbers.find(name.as_bytes()) {
            Some(number) => Some(number),
            None if name.is_empty() => None,
            None => {
                self.user_names.push(name.as_ref().into());
                Some(self.user_numbers.add(name.as_bytes()))
            }
        };
        let user = User { number, matches: self.matches_of(number) };
        self.user_spellings.add(spelling);
        self.users.push(user);
        Ok(user)
    }

    fn matches_of(&mut self, number: Option<usize>) -> usize {
        let Some((name, followed)) = number.and_then(|number| self.user_names.get(number)).zip(self.rules.as_ref()) else { return 0 };
        let matches: Vec<u8> = followed.user_patterns.iter().map(|pattern| u8::from(pattern::matches(pattern, name))).collect();
        // Nobody matches nothing, as they do who match no pattern.
        if !matches.contains(&1) {
            return 0;
        }
        1 + self.matching.find(&matches).unwrap_or_else(|| self.matching.add(&matches))
    }

    /// Again, by other rules.
    fn match_users(&mut self) {
        self.matching.clear();
        for place in 0..self.users.len() {
            let number = self.users.get(place).and_then(|user| user.number);
            let matches = self.matches_of(number);
            if let Some(user) = self.users.get_mut(place) {
                user.matches = matches;
            }
        }
    }
}

/// Bytes that are no text, or too long for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoText;

/// Of the spelling of a user.
pub fn hash_of_user(spelling: &[u8]) -> u64 {
    interner::hash(spelling)
}

/// Whether something is said that may be nothing once it is cleaned: other texts would decide then than those that a key holds.
pub fn is_doubtful(event: &QuickEvent<'_>) -> bool {
    let is_blank = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| clean(text.into()).is_empty());
    [event.team, event.meter].iter().any(|text| {
        let is_seen = text.first().is_none_or(|byte| byte.is_ascii_graphic());
        !is_seen && is_blank(text)
    })
}

impl Followed {
    fn new(rules: &IntakeRules, address: Option<usize>) -> Followed {
        let mut reads_tags: Vec<Text> = Vec::new();
        for rule in &rules.attribution {
            let from = if let AttributedTeam::FromTag(name) = &rule.team { Some(name) } else { None };
            reads_tags.extend(rule.tags.iter().map(|(name, _)| name).chain(from).cloned());
        }
        reads_tags.sort();
        reads_tags.dedup();
        let mut user_patterns: Vec<Text> = rules.attribution.iter().filter_map(|rule| rule.user.clone()).collect();
        user_patterns.sort();
        user_patterns.dedup();
        Followed { rules: rules.clone(), address, user_patterns, reads_tags, has_batch: rules.prices.has_batch() }
    }
}

/// In all that an answer depends on.
fn is_same(one: &IntakeRules, other: &IntakeRules) -> bool {
    one.prices.is_same(&other.prices)
        && one.rates.is_same(&other.rates)
        && one.policies.hash() == other.policies.hash()
        && one.reporting_currency == other.reporting_currency
        && one.sources == other.sources
        && one.attribution == other.attribution
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// There are as many of anything as there were different events, which are forgotten long before that.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn stated<'a>(text: &'a Option<Cow<'_, str>>) -> &'a str {
    text.as_deref().unwrap_or_default()
}

/// Every text is of legal length, so that two bytes say how long it is.
fn write(key: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(text);
}

/// What else decides who pays, where an event names no team.
fn write_unattributed(key: &mut Vec<u8>, user: User, followed: &Followed, event: &UsageEvent<'_>) {
    key.extend_from_slice(&user.matches.to_le_bytes());
    for name in &followed.reads_tags {
        match event.tag(name) {
            Some(value) => write(key, value.as_bytes()),
            None => key.extend_from_slice(&u16::MAX.to_le_bytes()),
        }
    }
}
