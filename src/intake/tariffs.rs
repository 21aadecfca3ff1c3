//! What intake remembers of prices: by provider, meter, model, region and agreements, what was last asked for.

use super::interner::Interner;
use super::price::PerToken;
use super::rules::{PriceBook, PriceQuery, Tariff};
use crate::model::time::Timestamp;

#[derive(Debug, Default)]
pub struct Tariffs {
    numbers: Interner,
    all: Vec<Remembered>,
    key: Vec<u8>,
}

/// What something costs under the same agreements, at the time and for the size of prompt that were last asked for.
#[derive(Debug)]
pub struct Remembered {
    pub tariff: Tariff,
    pub per_token: Option<PerToken>,
    terms: Vec<u32>,
}

impl Remembered {
    fn new(query: &PriceQuery<'_>, prices: &PriceBook) -> Remembered {
        let tariff = prices.tariff(query);
        Remembered { per_token: PerToken::of(&tariff), tariff, terms: query.terms.to_vec() }
    }

    pub fn holds_for(&self, time: Timestamp, prompt_tokens: u64) -> bool {
        self.tariff.holds_at(time) && self.tariff.holds_for_prompt(prompt_tokens)
    }

    /// For another time or size of prompt; all else of the query is as it was, its terms are those of before.
    pub fn renew(&mut self, query: &PriceQuery<'_>, prices: &PriceBook) {
        let terms = std::mem::take(&mut self.terms);
        *self = Remembered::new(&PriceQuery { terms: &terms, ..*query }, prices);
    }
}

impl Tariffs {
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.all.clear();
    }

    /// Of memory, about.
    pub fn bytes(&self) -> usize {
        self.all.len() * size_of::<Remembered>()
    }

    /// The number of what this query is about, whatever its time and size of prompt.
    pub fn number(&mut self, query: &PriceQuery<'_>, prices: &PriceBook) -> usize {
        let Tariffs { numbers, all, key } = self;
        key.clear();
        for text in [query.provider, query.meter, query.model, query.region] {
            // Every text is of legal length, so that two bytes say how long it is.
            key.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        key.push(u8::from(query.is_batch));
        query.terms.iter().for_each(|number| key.extend_from_slice(&number.to_le_bytes()));
        numbers.find(key).unwrap_or_else(|| {
            all.push(Remembered::new(query, prices));
            numbers.add(key)
        })
    }

    pub fn get_mut(&mut self, number: usize) -> Option<&mut Remembered> {
        self.all.get_mut(number)
    }
}
