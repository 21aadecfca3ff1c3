//! The price book: list prices with the dates they hold from, what accounts and teams have negotiated, and how the price of a usage is
//! found among them.

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
    /// The first goes before the second, and so on.
    agreements: Vec<Agreement>,
    /// Of each agreement, the most specific first.
    discounts: Vec<Discount>,
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
#[derive(Clone, Copy, Debug, Default)]
pub struct PriceQuery<'q> {
    pub provider: &'q str,
    pub meter: &'q str,
    pub model: &'q str,
    pub region: &'q str,
    /// What [`PriceBook::terms`] answers for who uses it.
    pub terms: &'q [u32],
    pub token_kind: Option<TokenKind>,
    pub at: Timestamp,
    /// Of the single request, all of them, cached or not.
    pub prompt_tokens: u64,
    /// It was asked for by a batch interface; only what a price comes to depends on it, not which price holds.
    pub is_batch: bool,
}

impl PartialEq for PriceBook {
    fn eq(&self, other: &PriceBook) -> bool {
        let (one, other) = (&*self.0, &*other.0);
        std::ptr::eq(one, other) || (&one.prices, &one.agreements, &one.discounts) == (&other.prices, &other.agreements, &other.discounts)
    }
}

/// A price, and what was negotiated on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'b> {
    pub price: &'b Price,
    pub discount: Option<&'b Discount>,
}

impl Found<'_> {
    pub fn rate(&self, is_batch: bool) -> Rate {
        let rate = self.price.rate(is_batch);
        let amount = self.discount.and_then(|discount| discount.off(rate.amount)).unwrap_or(rate.amount);
        Rate { amount, ..rate }
    }
}

impl PriceBook {
    /// List prices alone.
    pub fn new(prices: Vec<Price>) -> PriceBook {
        PriceBook::with_agreements(prices, Vec::new(), Vec::new())
    }

    /// `agreement` of prices and discounts is a place in `agreements`.
    pub fn with_agreements(mut prices: Vec<Price>, agreements: Vec<Agreement>, mut discounts: Vec<Discount>) -> PriceBook {
        // Stable sorts: of two that are alike the one that was written first holds.
        prices.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let specific = |own: &Discount| {
            (own.agreement, Reverse(own.model.len()), own.region.is_none(), own.meter.is_none(), Reverse(own.effective_from))
        };
        discounts.sort_by_key(specific);
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
        PriceBook(Arc::new(Book { prices, agreements, discounts, has_batch, shelves }))
    }

    /// Agreements that hold for an account and team, the one that goes before the others first.
    pub fn terms(&self, account: &str, team: &str) -> Vec<u32> {
        let holds = |patterns: &[Text], name: &str| patterns.is_empty() || patterns.iter().any(|own| pattern::matches(own, name));
        let numbered = (0_u32..).zip(&self.0.agreements);
        numbered.filter(|(_, own)| holds(&own.accounts, account) && holds(&own.teams, team)).map(|(number, _)| number).collect()
    }

    pub fn agreement(&self, number: u32) -> Option<&Agreement> {
        self.0.agreements.get(usize::try_from(number).ok()?)
    }

    /// Whether who uses something has a say in what it costs.
    pub fn has_agreements(&self) -> bool {
        !self.0.agreements.is_empty()
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
        let own = self.list_price(&query).and_then(|price| price.family.as_ref());
        let shelf = self.0.shelves.get(query.provider).and_then(|meters| meters.get(query.meter)).filter(|_| own.is_some());
        let places = shelf.into_iter().flat_map(|shelf| shelf.exact.values().flatten().chain(&shelf.patterns));
        places
            .filter_map(|place| self.0.prices.get(*place))
            .filter(move |price| price.token_kind == query.token_kind && price.holds_at(query.at) && price.family.as_ref() == own)
            .filter(|price| price.agreement.is_none() && price.prompt_above == 0)
            .filter(move |price| price.region.as_deref().is_none_or(|region| region == query.region))
    }

    /// Whether both are clones of one book; equal ones need not be.
    pub fn is_same(&self, other: &PriceBook) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What an agreement says of this kind of token, the first of them that says anything; else the list price.
    pub fn find(&self, query: &PriceQuery<'_>) -> Option<Found<'_>> {
        self.negotiated(query).or_else(|| Some(Found { price: self.list_price(query)?, discount: None }))
    }

    fn list_price(&self, query: &PriceQuery<'_>) -> Option<&Price> {
        self.candidates(query).find(|price| price.agreement.is_none() && price.token_kind == query.token_kind && price.holds_for(query))
    }

    fn negotiated(&self, query: &PriceQuery<'_>) -> Option<Found<'_>> {
        query.terms.iter().find_map(|number| {
            let is_own =
                |price: &&Price| price.agreement == Some(*number) && price.token_kind == query.token_kind && price.holds_for(query);
            if let Some(price) = self.candidates(query).find(is_own) {
                return Some(Found { price, discount: None });
            }
            let mut discounts = self.discounts(query).filter(|discount| discount.agreement == *number);
            let discount = discounts.find(|discount| discount.holds_at(query.at))?;
            Some(Found { price: self.list_price(query)?, discount: Some(discount) })
        })
    }

    /// What `find` answers for every token kind, around `query.at` and `query.prompt_tokens` (`query.token_kind` does not count).
    pub fn tariff(&self, query: &PriceQuery<'_>) -> Tariff {
        let mut tariff = Tariff::EMPTY;
        for price in self.candidates(query) {
            tariff.narrow(query.at, [Some(price.effective_from), price.effective_to]);
            if price.prompt_above > 0 {
                tariff.is_by_prompt = true;
                let bound = if query.prompt_tokens > price.prompt_above { &mut tariff.prompt_above } else { &mut tariff.prompt_to };
                *bound =
                    if query.prompt_tokens > price.prompt_above { price.prompt_above.max(*bound) } else { price.prompt_above.min(*bound) };
            }
            let rate = &mut tariff.rates[place_of(price.token_kind)];
            if rate.is_none() && price.agreement.is_none() && price.holds_for(query) {
                *rate = Some(price.rate(query.is_batch));
            }
        }
        if query.terms.is_empty() {
            return tariff;
        }
        for discount in self.discounts(query) {
            tariff.narrow(query.at, [Some(discount.effective_from), discount.effective_to]);
        }
        for token_kind in TokenKind::ALL.map(Some).into_iter().chain([None]) {
            if let Some(found) = self.negotiated(&PriceQuery { token_kind, ..*query }) {
                tariff.rates[place_of(token_kind)] = Some(found.rate(query.is_batch));
            }
        }
        tariff
    }

    /// Of this usage at some time, by agreements that hold for it.
    fn discounts<'b, 'q>(&'b self, query: &PriceQuery<'q>) -> impl Iterator<Item = &'b Discount> + use<'b, 'q> {
        let query = *query;
        self.0.discounts.iter().filter(move |discount| query.terms.contains(&discount.agreement) && discount.covers(&query))
    }

    /// Prices that hold for this usage at some time and of some kind, best first.
    fn candidates<'b, 'q>(&'b self, query: &PriceQuery<'q>) -> impl Iterator<Item = &'b Price> + use<'b, 'q> {
        let query = *query;
        let shelf = self.0.shelves.get(query.provider).and_then(|meters| meters.get(query.meter));
        let exact = shelf.and_then(|shelf| shelf.exact.get(query.model)).into_iter().flatten();
        let patterns = shelf.map(|shelf| &shelf.patterns).into_iter().flatten();
        let all = exact.chain(patterns).filter_map(|place| self.0.prices.get(*place)).filter(move |price| price.covers(&query));
        all.filter(move |price| price.agreement.is_none_or(|number| query.terms.contains(&number)))
    }
}

/// All that one kind of usage costs during a time in which no price changes, and for prompts between two steps of prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    from: Timestamp,
    /// Exclusive.
    to: Timestamp,
    /// Whether the size of a prompt decides anything, ...
    is_by_prompt: bool,
    /// ... and of which it holds: exclusive, and inclusive.
    prompt_above: u64,
    prompt_to: u64,
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
    const EMPTY: Tariff = Tariff {
        from: Timestamp(i64::MIN),
        to: Timestamp(i64::MAX),
        is_by_prompt: false,
        prompt_above: 0,
        prompt_to: u64::MAX,
        rates: [None; TokenKind::ALL.len() + 1],
    };

    pub fn holds_at(&self, time: Timestamp) -> bool {
        self.from <= time && time < self.to
    }

    /// Whether the size of a prompt has to be known.
    pub fn is_by_prompt(&self) -> bool {
        self.is_by_prompt
    }

    /// The smallest prompts are within the first step.
    pub fn holds_for_prompt(&self, tokens: u64) -> bool {
        tokens <= self.prompt_to && (tokens > self.prompt_above || self.prompt_above == 0)
    }

    fn narrow(&mut self, at: Timestamp, boundaries: [Option<Timestamp>; 2]) {
        for boundary in boundaries.into_iter().flatten() {
            if boundary <= at {
                self.from = self.from.max(boundary);
            } else {
                self.to = self.to.min(boundary);
            }
        }
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

    /// At its time, and for a prompt of its size.
    fn holds_for(&self, query: &PriceQuery<'_>) -> bool {
        self.holds_at(query.at) && (self.prompt_above == 0 || query.prompt_tokens > self.prompt_above)
    }

    fn covers(&self, query: &PriceQuery<'_>) -> bool {
        self.region.as_deref().is_none_or(|region| region == query.region)
            && (!covers_many(self) || self.model.is_empty() || pattern::matches(&self.model, query.model))
    }
}

fn covers_many(price: &Price) -> bool {
    price.model.is_empty() || pattern::is_pattern(&price.model)
}

/// Longer patterns first, a price of a region before one of all, later ones before earlier ones (a new price without steps ends the old
/// steps), of longer prompts before one of shorter ones.
fn rank(price: &Price) -> (Reverse<usize>, &Text, bool, Reverse<Timestamp>, Reverse<u64>) {
    (Reverse(price.model.len()), &price.model, price.region.is_none(), Reverse(price.effective_from), Reverse(price.prompt_above))
}

/// Whom prices were negotiated for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub name: Text,
    /// Patterns of the usage's account; empty = any, stated or not.
    pub accounts: Vec<Text>,
    /// Patterns of the team that pays; empty = any.
    pub teams: Vec<Text>,
}

/// A part of list prices that is not paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    /// Place of the agreement in the book.
    pub agreement: u32,
    pub provider: Text,
    /// Exact, or a pattern; empty = any.
    pub model: Text,
    pub meter: Option<Text>,
    pub region: Option<Text>,
    /// Of the price, 0 to below 1.
    pub part: Nanos,
    pub effective_from: Timestamp,
    /// Exclusive.
    pub effective_to: Option<Timestamp>,
}

impl Discount {
    /// All of a price.
    pub const WHOLE: Nanos = Nanos(1_000_000_000);

    /// What is left of a price, to the nano, half to even.
    fn off(&self, amount: Nanos) -> Option<Nanos> {
        amount.checked_mul_div(Discount::WHOLE.0.checked_sub(self.part.0)?, Discount::WHOLE.0)
    }

    fn holds_at(&self, time: Timestamp) -> bool {
        self.effective_from <= time && self.effective_to.is_none_or(|end| time < end)
    }

    fn covers(&self, query: &PriceQuery<'_>) -> bool {
        *self.provider == *query.provider
            && (self.model.is_empty() || pattern::matches(&self.model, query.model))
            && self.meter.as_deref().is_none_or(|meter| meter == query.meter)
            && self.region.as_deref().is_none_or(|region| region == query.region)
    }
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
    /// Of a single request with more tokens of prompt than this; 0 = of any.
    pub prompt_above: u64,
    /// Place of an agreement in the book: only for whom it holds.
    pub agreement: Option<u32>,
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
