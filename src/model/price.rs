//! The price book: list prices with the dates they hold from, and how the price of a usage is found among them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Text;
use super::money::{Currency, Nanos};
use super::pattern;
use super::time::Timestamp;

/// Effective-dated prices, arranged so that an event's price is found among a few. Order does not matter: the most specific, then the
/// latest effective one wins. A clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct PriceBook(Arc<Book>);

#[derive(Debug, Default)]
struct Book {
    prices: Vec<Price>,
    has_batch: bool,
    /// By provider, then meter.
    shelves: BTreeMap<Text, BTreeMap<Text, Shelf>>,
}

/// Prices of one provider and meter, as places in the book, best first.
#[derive(Clone, Debug, Default)]
struct Shelf {
    exact: BTreeMap<Text, Vec<usize>>,
    patterns: Vec<usize>,
}

/// What a price is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct PriceQuery<'q> {
    pub provider: &'q str,
    pub meter: &'q str,
    pub model: &'q str,
    pub region: &'q str,
    pub token_kind: Option<TokenKind>,
    pub at: Timestamp,
    /// It was asked for by a batch interface; only what a price comes to depends on it, not which price holds.
    pub is_batch: bool,
}

impl PartialEq for PriceBook {
    fn eq(&self, other: &PriceBook) -> bool {
        self.is_same(other) || self.0.prices == other.0.prices
    }
}

impl PriceBook {
    pub fn new(mut prices: Vec<Price>) -> PriceBook {
        // A stable sort: of two prices that are alike the one that was written first holds.
        prices.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let mut shelves: BTreeMap<Text, BTreeMap<Text, Shelf>> = BTreeMap::new();
        for (place, price) in prices.iter().enumerate() {
            let shelf = shelves.entry(price.provider.clone()).or_default().entry(price.meter.clone()).or_default();
            if covers_many(price) {
                shelf.patterns.push(place);
            } else {
                shelf.exact.entry(price.model.clone()).or_default().push(place);
            }
        }
        let has_batch = prices.iter().any(|price| price.batch.is_some());
        PriceBook(Arc::new(Book { prices, has_batch, shelves }))
    }

    pub fn prices(&self) -> &[Price] {
        &self.0.prices
    }

    /// Whether anything costs less by a batch interface.
    pub fn has_batch(&self) -> bool {
        self.0.has_batch
    }

    /// Prices of input of the models of one family with `query.model`, itself among them, that hold for a provider and region at a time.
    pub fn family<'b, 'q>(&'b self, query: &PriceQuery<'q>) -> impl Iterator<Item = &'b Price> + use<'b, 'q> {
        let query = PriceQuery { token_kind: Some(TokenKind::Input), ..*query };
        let own = self.find(&query).and_then(|price| price.family.as_ref());
        let shelf = self.0.shelves.get(query.provider).and_then(|meters| meters.get(query.meter)).filter(|_| own.is_some());
        let places = shelf.into_iter().flat_map(|shelf| shelf.exact.values().flatten().chain(&shelf.patterns));
        places
            .filter_map(|place| self.0.prices.get(*place))
            .filter(move |price| price.token_kind == query.token_kind && price.holds_at(query.at) && price.family.as_ref() == own)
            .filter(move |price| price.region.as_deref().is_none_or(|region| region == query.region))
    }

    /// Whether both are clones of one book; equal ones need not be.
    pub fn is_same(&self, other: &PriceBook) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn find(&self, query: &PriceQuery<'_>) -> Option<&Price> {
        self.candidates(query).find(|price| price.token_kind == query.token_kind && price.holds_at(query.at))
    }

    /// What `find` answers for every token kind, around `query.at` (`query.token_kind` does not count).
    pub fn tariff(&self, query: &PriceQuery<'_>) -> Tariff {
        let mut tariff = Tariff { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX), rates: [None; TokenKind::ALL.len() + 1] };
        for price in self.candidates(query) {
            for boundary in [Some(price.effective_from), price.effective_to].into_iter().flatten() {
                if boundary <= query.at {
                    tariff.from = tariff.from.max(boundary);
                } else {
                    tariff.to = tariff.to.min(boundary);
                }
            }
            let rate = &mut tariff.rates[place_of(price.token_kind)];
            if rate.is_none() && price.holds_at(query.at) {
                *rate = Some(price.rate(query.is_batch));
            }
        }
        tariff
    }

    /// Prices that hold for this usage at some time and of some kind, best first.
    fn candidates<'b, 'q>(&'b self, query: &PriceQuery<'q>) -> impl Iterator<Item = &'b Price> + use<'b, 'q> {
        let query = *query;
        let shelf = self.0.shelves.get(query.provider).and_then(|meters| meters.get(query.meter));
        let exact = shelf.and_then(|shelf| shelf.exact.get(query.model)).into_iter().flatten();
        let patterns = shelf.map(|shelf| &shelf.patterns).into_iter().flatten();
        exact.chain(patterns).filter_map(|place| self.0.prices.get(*place)).filter(move |price| price.covers(&query))
    }
}

/// All that one kind of usage costs during a time in which no price changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    from: Timestamp,
    /// Exclusive.
    to: Timestamp,
    rates: [Option<Rate>; TokenKind::ALL.len() + 1],
}

/// What a price comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub amount: Nanos,
    pub per: u64,
    pub currency: Currency,
}

impl Tariff {
    pub fn holds_at(&self, time: Timestamp) -> bool {
        self.from <= time && time < self.to
    }

    pub fn rate(&self, kind: Option<TokenKind>) -> Option<Rate> {
        self.rates[place_of(kind)]
    }
}

/// Of the rates of a tariff.
fn place_of(kind: Option<TokenKind>) -> usize {
    kind.map_or(TokenKind::ALL.len(), |kind| kind as usize)
}

impl Price {
    pub fn rate(&self, is_batch: bool) -> Rate {
        let amount = self.batch.filter(|_| is_batch).unwrap_or(self.amount);
        Rate { amount, per: self.per, currency: self.currency }
    }

    fn holds_at(&self, time: Timestamp) -> bool {
        self.effective_from <= time && self.effective_to.is_none_or(|end| time < end)
    }

    fn covers(&self, query: &PriceQuery<'_>) -> bool {
        self.region.as_deref().is_none_or(|region| region == query.region)
            && (!covers_many(self) || self.model.is_empty() || pattern::matches(&self.model, query.model))
    }
}

fn covers_many(price: &Price) -> bool {
    price.model.is_empty() || pattern::is_pattern(&price.model)
}

/// Longer patterns first, a price of a region before one of all, later ones before earlier ones.
fn rank(price: &Price) -> (Reverse<usize>, &Text, bool, Reverse<Timestamp>) {
    (Reverse(price.model.len()), &price.model, price.region.is_none(), Reverse(price.effective_from))
}

/// One price: `amount` of `currency` per `per` units of what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub provider: Text,
    /// Exact model or service name, or a pattern with `*`; empty = any (meters without models).
    pub model: Text,
    pub meter: Text,
    /// Which of an LLM's tokens; `None` for the quantity of other meters and for `request`.
    pub token_kind: Option<TokenKind>,
    /// `None` = every region that has no price of its own.
    pub region: Option<Text>,
    pub amount: Nanos,
    /// E.g. 1,000,000 for "per million tokens"; at least 1.
    pub per: u64,
    pub currency: Currency,
    pub effective_from: Timestamp,
    /// Exclusive.
    pub effective_to: Option<Timestamp>,
    /// What the same costs where an answer may wait for hours (batch interfaces), per `per` as well.
    pub batch: Option<Nanos>,
    /// Models of one maker that do the same kind of work, dearer and cheaper ones.
    pub family: Option<Text>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    Input,
    Output,
    CachedInput,
    CacheWrite,
    Reasoning,
}

impl TokenKind {
    pub const ALL: [TokenKind; 5] =
        [TokenKind::Input, TokenKind::Output, TokenKind::CachedInput, TokenKind::CacheWrite, TokenKind::Reasoning];

    /// The kind whose price holds where one has none of its own.
    pub fn instead(self) -> Option<TokenKind> {
        match self {
            TokenKind::Input | TokenKind::Output => None,
            TokenKind::CachedInput | TokenKind::CacheWrite => Some(TokenKind::Input),
            TokenKind::Reasoning => Some(TokenKind::Output),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            TokenKind::Input => "input",
            TokenKind::Output => "output",
            TokenKind::CachedInput => "cached_input",
            TokenKind::CacheWrite => "cache_write",
            TokenKind::Reasoning => "reasoning",
        }
    }
}
