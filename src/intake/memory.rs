//! What intake remembers from event to event: who pays for texts like these, what they cost, which leaf they are. Events of one source
//! repeat themselves, so that almost all of them are answered from here, without a look at rules, without an allocation.
//!
//! Nothing depends on it but the time that an event takes: each answer is what `attribute`, `price` and `validate` gave the first time. It
//! is bounded: whoever sends ever new names makes it forget, and everything is then worked out anew.

use std::borrow::Cow;

use super::attribute::attribute;
use super::decode::Field;
use super::decode::quick::QuickEvent;
use super::interner::Interner;
use super::price::{Convention, Counted, Priced, Usage, price_by, query};
use super::rules::{AttributedTeam, IntakeRules, PriceQuery, Tariff};
use super::validate::{LONGEST_TEXT, clean, default_meter};
use crate::model::Text;
use crate::model::money::Currency;
use crate::model::time::Timestamp;
use crate::model::usage::UsageEvent;

/// Different texts of events, far more than a large company has within some minutes, and what they may take.
const MOST_INPUTS: usize = 32_768;
const MOST_INPUT_BYTES: usize = 8 * 1024 * 1024;
/// Of leaves and of users, kept from one transaction to the next: some 40,000 leaves, 100,000 users.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Everything about an event that its texts decide.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Number of its dimensions, in `Memory::leaves`.
    pub leaf: usize,
    counted: Counted,
    convention: Convention,
    currency: Option<Currency>,
    tariff: Tariff,
}

/// A leaf's team, project, model, provider, region, environment and meter.
pub type Dimensions = [Text; 7];

#[derive(Debug, Default)]
pub struct Memory {
    rules: Option<Followed>,
    /// Texts of events, in either of two spellings: as they stood in the record, and cleaned.
    inputs: Interner,
    /// By input.
    known: Vec<Known>,
    leaf_numbers: Interner,
    leaves: Vec<Dimensions>,
    user_spellings: Interner,
    /// By spelling; `None` where nothing is left of it.
    users: Vec<Option<usize>>,
    user_numbers: Interner,
    user_names: Vec<Text>,
    key: Vec<u8>,
    /// The last quick event's, when it was not known.
    missed: Vec<u8>,
}

/// The rules that the answers come from.
#[derive(Debug)]
struct Followed {
    rules: IntakeRules,
    /// Where they lay, since they were last compared.
    address: Option<usize>,
    /// What the rules of attribution read besides source, account and project, where an event names no team.
    reads_user: bool,
    reads_tags: Vec<Text>,
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
        self.known.clear();
    }

    pub fn dimensions(&self, leaf: usize) -> Option<&Dimensions> {
        self.leaves.get(leaf)
    }

    pub fn user_name(&self, user: usize) -> Option<&Text> {
        self.user_names.get(user)
    }

    /// What is known of an event that was read quickly: all its texts have then been judged before. `None`: read it thoroughly.
    pub fn find_quick(&mut self, event: &QuickEvent<'_>) -> Option<usize> {
        let Memory { rules: Some(followed), inputs, key, missed, .. } = self else { return None };
        missed.clear();
        key.clear();
        let text = |field| event.text(field);
        let meter = match text(Field::Meter) {
            [] => default_meter(event.has_tokens, event.usage.quantity.is_some()).as_bytes(),
            meter => meter,
        };
        let project_to_environment = [Field::Project, Field::Model, Field::Provider, Field::Region, Field::Environment];
        let [project, model, provider, region, environment] = project_to_environment.map(text);
        let (team, account, currency) = (text(Field::Team), text(Field::Account), text(Field::Currency));
        let texts = [text(Field::Source), meter, team, project, model, provider, region, environment, account, currency];
        let user = text(Field::User);
        if texts.iter().any(|text| text.len() > LONGEST_TEXT) || user.len() > LONGEST_TEXT {
            return None;
        }
        write_key(key, texts, user, followed, |name| event.tag(name));
        let known = inputs.find(key);
        if known.is_none() {
            std::mem::swap(key, missed);
        }
        known
    }

    /// What is known of an event that was read thoroughly, worked out if need be.
    pub fn of(&mut self, event: &UsageEvent<'_>, rules: &IntakeRules) -> usize {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        if let Some(followed) = &self.rules {
            let currency = event.currency.as_ref().map_or("", Currency::as_str);
            let UsageEvent { source, meter, team, project, model, provider, region, environment, account, user, .. } = event;
            let [team, project, model, provider, region, environment, account, user] =
                [team, project, model, provider, region, environment, account, user].map(stated);
            let own = [source.as_ref(), meter, team, project, model, provider, region, environment, account, currency];
            write_key(&mut key, own.map(str::as_bytes), user.as_bytes(), followed, |name| tag(event, name));
        }
        let number = match self.inputs.find(&key) {
            Some(number) => number,
            None => {
                let known = self.work_out(event, rules);
                self.remember(&key, known)
            }
        };
        self.key = key;
        number
    }

    /// The event that was just read thoroughly is the one that was not found: the next one like it will be.
    pub fn remember_missed(&mut self, number: usize, event: &UsageEvent<'_>, stated: MissedTexts<'_>) -> usize {
        let missed = std::mem::take(&mut self.missed);
        // Where nothing is left of a team or a meter, other things decide than those in this key.
        let vanished = (!stated.team.is_empty() && event.team.is_none()) || (!stated.meter.is_empty() && is_blank(stated.meter));
        let known = self.known.get(number).copied().filter(|_| !missed.is_empty() && !vanished);
        // To remember it, everything else may have to be forgotten, the one it is like included.
        let number = known.map_or(number, |known| self.remember(&missed, known));
        self.missed = missed;
        number
    }

    fn remember(&mut self, key: &[u8], known: Known) -> usize {
        if self.inputs.len() >= MOST_INPUTS || self.inputs.bytes() > MOST_INPUT_BYTES {
            self.forget_inputs();
        }
        self.known.push(known);
        self.inputs.add(key)
    }

    fn work_out(&mut self, event: &UsageEvent<'_>, rules: &IntakeRules) -> Known {
        let team = attribute(event, &rules.attribution);
        let UsageEvent { project, model, provider, region, environment, meter, .. } = event;
        let [project, model, provider, region, environment] = [project, model, provider, region, environment].map(stated);
        let dimensions = [team.as_ref(), project, model, provider, region, environment, meter].map(Text::from);
        Known {
            leaf: self.leaf(dimensions),
            counted: Counted::by(meter),
            convention: Convention::of(&event.source, &rules.sources),
            currency: event.currency,
            tariff: rules.prices.tariff(&query(event)),
        }
    }

    fn leaf(&mut self, dimensions: Dimensions) -> usize {
        let mut key = Vec::new();
        dimensions.iter().for_each(|text| write(&mut key, text.as_bytes()));
        match self.leaf_numbers.find(&key) {
            Some(number) => number,
            None => {
                self.leaves.push(dimensions);
                self.leaf_numbers.add(&key)
            }
        }
    }

    /// What the event costs, and its leaf.
    pub fn price(&mut self, known: usize, usage: &Usage, time: Timestamp, rules: &IntakeRules) -> Option<(usize, Priced)> {
        let known = self.known.get_mut(known)?;
        if !known.tariff.holds_at(time) {
            let [_, _, model, provider, region, _, meter] = self.leaves.get(known.leaf)?;
            known.tariff = rules.prices.tariff(&PriceQuery { provider, meter, model, region, token_kind: None, at: time });
        }
        let usage = Usage { currency: known.currency, ..*usage };
        let find = |kind| known.tariff.rate(kind);
        Some((known.leaf, price_by(&usage, known.counted, known.convention, rules.reporting_currency, find)))
    }

    /// The number of a user, in whatever spelling; `Err` where it is no legal text, `Ok(None)` where nothing is left of it.
    pub fn user(&mut self, spelling: &[u8]) -> Result<Option<usize>, NoText> {
        if spelling.is_empty() {
            return Ok(None);
        }
        if let Some(number) = self.user_spellings.find(spelling) {
            return Ok(self.users.get(number).copied().flatten());
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
        self.user_spellings.add(spelling);
        self.users.push(number);
        Ok(number)
    }
}

/// Bytes that are no text, or too long for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoText;

/// What a quick event said before it was cleaned.
#[derive(Clone, Copy, Debug, Default)]
pub struct MissedTexts<'a> {
    pub team: &'a [u8],
    pub meter: &'a [u8],
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
        let reads_user = rules.attribution.iter().any(|rule| rule.user.is_some());
        Followed { rules: rules.clone(), address, reads_user, reads_tags }
    }
}

/// In all that an answer depends on.
fn is_same(one: &IntakeRules, other: &IntakeRules) -> bool {
    one.prices.is_same(&other.prices)
        && one.reporting_currency == other.reporting_currency
        && one.sources == other.sources
        && one.attribution == other.attribution
}

fn is_blank(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| clean(text.into()).is_empty())
}

fn stated<'a>(text: &'a Option<Cow<'_, str>>) -> &'a str {
    text.as_deref().unwrap_or_default()
}

fn tag<'e>(event: &'e UsageEvent<'_>, name: &[u8]) -> Option<&'e [u8]> {
    std::str::from_utf8(name).ok().and_then(|name| event.tag(name)).map(str::as_bytes)
}

/// Every text is of legal length, so that two bytes say how long it is.
fn write(key: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(text);
}

/// The third text is the team: without one, user and tags may decide who pays.
fn write_key<'t>(key: &mut Vec<u8>, texts: [&[u8]; 10], user: &[u8], followed: &Followed, tag: impl Fn(&[u8]) -> Option<&'t [u8]>) {
    texts.iter().for_each(|text| write(key, text));
    let [_, _, team, ..] = texts;
    if team.is_empty() {
        if followed.reads_user {
            write(key, user);
        }
        for name in &followed.reads_tags {
            match tag(name.as_bytes()) {
                Some(value) => write(key, value),
                None => key.extend_from_slice(&u16::MAX.to_le_bytes()),
            }
        }
    }
}
