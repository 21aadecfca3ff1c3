//! Price files: list prices with the dates they hold from, and what was negotiated, turned into the price book.

use std::collections::BTreeMap;

use super::agreements::Terms;
use super::problem::{Place, Problem};
use super::read::{Notes, Section, integer, money, text, wrong_kind};
use super::tree::{self, Item, Value};
use super::units::Complaint;
use crate::intake::rules::{Discount, Price, PriceBook, TokenKind};
use crate::model::Text;
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;

/// Name and text of each built-in file.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("openai", include_str!("../../config/prices/openai.toml")),
    ("anthropic", include_str!("../../config/prices/anthropic.toml")),
    ("google", include_str!("../../config/prices/google.toml")),
    ("mistral", include_str!("../../config/prices/mistral.toml")),
    ("bedrock", include_str!("../../config/prices/bedrock.toml")),
    ("gpu", include_str!("../../config/prices/gpu.toml")),
];

const FORMAT_VERSION: i64 = 1;
/// LLM prices are quoted per million tokens.
const PER_TOKENS: i64 = 1_000_000;
pub const TOKENS: &str = "llm.tokens";

/// What was read of one file, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceFile {
    /// Built-in name, or the path as written.
    pub name: String,
    /// The day that the prices were looked up.
    pub as_of: String,
    pub prices: usize,
}

/// What a price is of. Of those with the same size of prompt at most one may hold at a time.
type Key = (Text, Text, Text, Option<TokenKind>, Option<Text>, Option<u32>);

struct Placed {
    price: Price,
    place: Place,
}

/// `[prices]`: the built-in files that are named, and the user's over them.
pub fn prices(section: &mut Section) -> (PriceBook, Vec<PriceFile>) {
    let notes = section.notes();
    let mut files = Vec::new();
    let mut terms = Terms::default();
    let mut book: BTreeMap<Key, Vec<Placed>> = BTreeMap::new();
    for (_, name) in section.texts("built_in") {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            section.complain("built_in", Complaint::new(format!("names '{name}'"), super::broker::one_of(&name, &names)));
            continue;
        };
        let (file, prices) = read(&name, &format!("built-in prices/{name}.toml"), text, &mut terms, notes);
        files.push(file);
        add(&mut book, prices);
    }
    let mut own: BTreeMap<Key, Vec<Placed>> = BTreeMap::new();
    for (_, name) in section.texts("files") {
        let path = section.resolve(&name);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let (file, prices) = read(&name, &path.display().to_string(), &text, &mut terms, notes);
                files.push(file);
                add(&mut own, prices);
            }
            Err(error) => {
                let what = format!("names the file '{}', which cannot be read: {error}", path.display());
                section.complain("files", Complaint { what, hint: None });
            }
        }
    }
    // A price of the user's replaces all built-in ones of its key, whatever their dates.
    book.extend(own);
    let book = book.into_values().flat_map(|rivals| without_overlaps(rivals, notes));
    (PriceBook::with_agreements(book.collect(), terms.agreements, terms.discounts), files)
}

fn add(book: &mut BTreeMap<Key, Vec<Placed>>, prices: Vec<Placed>) {
    for placed in prices {
        let Price { provider, model, meter, token_kind, region, agreement, .. } = &placed.price;
        let key = (provider.clone(), model.clone(), meter.clone(), *token_kind, region.clone(), *agreement);
        book.entry(key).or_default().push(placed);
    }
}

/// An open end is closed by the next price; anything else that holds at the same time is a contradiction.
fn without_overlaps(mut rivals: Vec<Placed>, notes: &Notes) -> Vec<Price> {
    let order = |placed: &Placed| (placed.price.prompt_above, placed.price.effective_from);
    rivals.sort_by(|a, b| (order(a), &a.place).cmp(&(order(b), &b.place)));
    for pair in rivals.windows(2) {
        let [earlier, later] = pair else { continue };
        if earlier.price.prompt_above != later.price.prompt_above {
            continue;
        }
        let (from, next) = (earlier.price.effective_from, later.price.effective_from);
        if from == next || earlier.price.effective_to.is_some_and(|to| to > next) {
            let what = format!("{} has a price for the same time at {}", describe(&later.price), earlier.place);
            notes.problem(Problem::new(&later.place, what).hint("let one end (effective_to) before the other begins (effective_from)"));
        }
    }
    rivals.into_iter().map(|placed| placed.price).collect()
}

fn describe(price: &Price) -> String {
    let kind = price.token_kind.map_or_else(String::new, |kind| format!(" {}", kind.as_str()));
    let region = price.region.as_ref().map_or_else(String::new, |region| format!(" in {region}"));
    let above = if price.prompt_above > 0 { format!(" above {} tokens of prompt", price.prompt_above) } else { String::new() };
    format!("{} {} {}{kind}{region}{above}", price.provider, price.model, price.meter)
}

/// One file. `shown` is what problems call it.
fn read(name: &str, shown: &str, text: &str, terms: &mut Terms, notes: &Notes) -> (PriceFile, Vec<Placed>) {
    let mut file = PriceFile { name: name.to_string(), as_of: String::new(), prices: 0 };
    let table = match tree::parse(shown, text) {
        Ok(table) => table,
        Err(problems) => {
            problems.into_iter().for_each(|problem| notes.problem(problem));
            return (file, Vec::new());
        }
    };
    let mut root = Section::of_other_file(notes, shown, &table);
    let version = root.integer("version", 0..=i64::MAX);
    if version != FORMAT_VERSION && root.has("version") {
        root.complain(
            "version",
            Complaint::new(format!("is {version}"), format!("this tollgate reads price files of version {FORMAT_VERSION}")),
        );
    }
    file.as_of = root.required("as_of", date).map_or_else(String::new, |(_, written)| written);
    let head = Head {
        providers: root.texts("providers").into_iter().map(|(_, provider)| provider.into()).collect(),
        currency: root.currency("currency"),
        batch_discount: root.optional("batch_discount", part).flatten(),
    };
    // For people; nothing depends on them.
    root.optional_text("source");
    root.optional_text("note");
    root.tables("agreement").into_iter().for_each(|section| terms.agreement(section));
    let mut prices = Vec::new();
    for section in root.tables("model") {
        prices.extend(model(section, &head, terms));
    }
    for section in root.tables("meter") {
        prices.extend(meter(section, &head, terms));
    }
    let discounts = terms.discounts.len();
    root.tables("discount").into_iter().for_each(|section| terms.discount(section, &head));
    root.finish();
    file.prices = prices.len() + terms.discounts.len() - discounts;
    (file, prices)
}

/// What holds for all entries of a file that do not say otherwise.
pub(super) struct Head {
    pub providers: Vec<Text>,
    currency: Option<Currency>,
    batch_discount: Option<Nanos>,
}

/// What `[[model]]` and `[[meter]]` have in common.
struct Entry {
    providers: Vec<Text>,
    models: Vec<Text>,
    region: Option<Text>,
    currency: Currency,
    from: Timestamp,
    to: Option<Timestamp>,
    per: u64,
    family: Option<Text>,
    /// The part that is not paid where an answer may wait.
    batch_discount: Option<Nanos>,
    prompt_above: u64,
    agreement: Option<u32>,
}

impl Head {
    /// Those of an entry.
    pub fn providers(&self, section: &mut Section) -> Vec<Text> {
        let own: Vec<Text> = section.texts("providers").into_iter().map(|(_, provider)| provider.into()).collect();
        let providers = if own.is_empty() { self.providers.clone() } else { own };
        if providers.is_empty() {
            let problem = Problem::new(&section.place, "this price has no provider");
            section.notes().problem(problem.hint("add providers = [\"openai\"] here or at the top"));
        }
        providers
    }
}

/// When an entry holds.
pub(super) fn period(section: &mut Section) -> (Timestamp, Option<Timestamp>) {
    let from = section.required("effective_from", date).map(|(time, _)| time).unwrap_or_default();
    let to = section.optional("effective_to", date).flatten().map(|(time, _)| time);
    if to.is_some_and(|to| to <= from) {
        section.complain(
            "effective_to",
            Complaint::new("is not after 'effective_from'", "the price holds from the one to the other, exclusive"),
        );
    }
    (from, to)
}

fn entry(section: &mut Section, head: &Head, terms: &Terms, default_per: i64) -> Entry {
    let providers = head.providers(section);
    let agreement = terms.named(section, false);
    let currency = section.currency("currency").or(head.currency);
    if currency.is_none() && !section.has("currency") {
        section
            .notes()
            .problem(Problem::new(&section.place, "this price has no currency").hint("add currency = \"USD\" here or at the top"));
    }
    let (from, to) = period(section);
    let per = section.optional("per", |item| integer(item, &(1..=1_000_000_000_000))).unwrap_or(default_per);
    Entry {
        providers,
        models: section.texts("names").into_iter().map(|(_, name)| name.into()).collect(),
        region: section.optional_text("region").map(Text::from),
        currency: currency.unwrap_or(Currency::USD),
        from,
        to,
        per: u64::try_from(per).unwrap_or(1),
        family: None,
        batch_discount: None,
        prompt_above: 0,
        agreement,
    }
}

impl Entry {
    /// One price for each provider and name.
    fn prices(&self, meter: &str, token_kind: Option<TokenKind>, amount: Nanos, place: &Place) -> Vec<Placed> {
        let pairs = self.providers.iter().flat_map(|provider| self.models.iter().map(move |model| (provider, model)));
        let price = |(provider, model): (&Text, &Text)| Price {
            provider: provider.clone(),
            model: model.clone(),
            meter: meter.into(),
            token_kind,
            region: self.region.clone(),
            amount,
            per: self.per,
            currency: self.currency,
            effective_from: self.from,
            effective_to: self.to,
            batch: self.batch_discount.and_then(|part| amount.checked_mul_div(Discount::WHOLE.0.checked_sub(part.0)?, Discount::WHOLE.0)),
            family: self.family.clone(),
            prompt_above: self.prompt_above,
            agreement: self.agreement,
        };
        pairs.map(|pair| Placed { price: price(pair), place: place.clone() }).collect()
    }
}

fn model(mut section: Section, head: &Head, terms: &Terms) -> Vec<Placed> {
    let mut entry = entry(&mut section, head, terms, PER_TOKENS);
    let above = section.optional_integer("prompt_above", 1..=1_000_000_000_000).unwrap_or(0);
    entry.prompt_above = u64::try_from(above).unwrap_or(0);
    entry.family = section.optional_text("family").map(Text::from);
    entry.batch_discount = section.optional("batch_discount", part).flatten().or(head.batch_discount).filter(|part| *part > Nanos::ZERO);
    if entry.models.is_empty() {
        section.notes().problem(
            Problem::new(&section.place, "this price names no model")
                .hint("add names = [\"gpt-4o\"]; `*` stands for any run of characters"),
        );
    }
    let kinds = TokenKind::ALL.map(|kind| (kind, section.optional(kind.as_str(), money)));
    let mut prices = Vec::new();
    for (kind, amount) in kinds {
        if let Some(amount) = amount {
            prices.extend(entry.prices(TOKENS, Some(kind), amount, &section.place_of(kind.as_str())));
        }
    }
    if TokenKind::ALL.iter().all(|kind| !section.has(kind.as_str())) {
        let hint = "add input = \"2.50\", output = \"10.00\" (and cached_input, cache_write, reasoning where they differ)";
        section.notes().problem(Problem::new(&section.place, "this model has no price").hint(hint));
    }
    section.finish();
    prices
}

fn meter(mut section: Section, head: &Head, terms: &Terms) -> Vec<Placed> {
    let mut entry = entry(&mut section, head, terms, 1);
    let meter = section.text("meter");
    if meter == TOKENS {
        section.complain("meter", Complaint::new("is \"llm.tokens\"", "tokens are priced by kind: write [[model]]"));
    }
    if entry.models.is_empty() {
        entry.models.push("".into());
    }
    let amount = section.required("price", |item| money(item).map(Some)).unwrap_or_default();
    let prices = entry.prices(&meter, None, amount, &section.place_of("price"));
    section.finish();
    prices
}

/// A part of a price, "0" to below "1".
pub(super) fn part(item: &Item) -> Result<Option<Nanos>, Complaint> {
    let part = money(item)?;
    let is_part = Nanos::ZERO <= part && part < Discount::WHOLE;
    if is_part { Ok(Some(part)) } else { Err(Complaint::new("is no part of a price", "write what is not paid: \"0.5\" for half")) }
}

/// A day, as midnight UTC, or an instant; and as it was written.
pub fn date(item: &Item) -> Result<Option<(Timestamp, String)>, Complaint> {
    let written = match &item.value {
        Value::Date(written) => written.as_str(),
        Value::Text(_) => text(item)?,
        _ => return Err(wrong_kind(item, "a date", "2026-03-01")),
    };
    let time = Timestamp::parse(written).or_else(|| Timestamp::parse(&format!("{written}T00:00:00Z")));
    let bad = || Complaint::new(format!("is '{written}', which is no date"), "write it like 2026-03-01");
    time.map(|time| Some((time, written.to_string()))).ok_or_else(bad)
}
