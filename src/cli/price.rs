//! `tollgate price`: what would this cost, by the price book that intake prices with.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::{ConfigFile, Ended, moment, print};
use crate::clock;
use crate::intake::quote::{Asked, Part, Quote, quote};
use crate::model::money::{Currency, Nanos};
use crate::model::near;
use crate::model::pattern;
use crate::model::price::{Price, PriceBook};
use crate::model::rates::{Cross, Rates};
use crate::model::time::{DAY_MS, Timestamp};
use crate::model::usage::Tokens;

/// So many names are listed where none is near.
const MOST_LISTED: usize = 24;

/// Say what a usage would cost, and by which prices
///
/// The very prices that intake uses: the built-in lists, the files of [prices] over them, and what those say was negotiated for an account
/// or team; and by the rates of [currency] what it comes to where it is counted in another currency. Token counts are those of the provider's bill: --input without cached and cache-write tokens, --output without reasoning
/// tokens. Where long prompts cost more, their size is that of one request, all of its input together. Ends with 1 if there is no price.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate price --provider openai --model gpt-4o --input 1200000 --cached-input 300000 --output 90000\n  tollgate price --provider aws --meter gpu.seconds --model p5.48xlarge --quantity 28800 --at 2025-07-01T00:00:00Z\n  tollgate price --provider google --model gemini-2.5-pro --input 9000000 --output 60000 --requests 30\n  tollgate price --config tollgate.toml --account acme-prod --provider openai --model gpt-4o --input 1200000"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// As in usage events: openai, anthropic, aws, ...
    #[arg(long, value_name = "NAME")]
    provider: String,

    /// Model, or instance type; exact, as usage events say it
    #[arg(long, value_name = "NAME", default_value = "")]
    model: String,

    /// llm.tokens, gpu.seconds, compute.seconds, ...
    #[arg(long, value_name = "METER", default_value = "llm.tokens")]
    meter: String,

    /// Region, where prices differ by it
    #[arg(long, value_name = "REGION", default_value = "")]
    region: String,

    /// Account, as usage events say it, where one has negotiated
    #[arg(long, value_name = "NAME", default_value = "")]
    account: String,

    /// Team that pays, where one has negotiated
    #[arg(long, value_name = "NAME", default_value = "")]
    team: String,

    /// When it is used: 2026-03-01T10:00:00Z, or how long ago: 30d [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<moment::Moment>,

    /// Input tokens that are neither read from nor written to a cache
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    input: u64,

    /// Output tokens without reasoning
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    output: u64,

    /// Input tokens read from a cache
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    cached_input: u64,

    /// Input tokens written to a cache
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    cache_write: u64,

    /// Reasoning tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    reasoning: u64,

    /// By a batch interface, whose answers may wait: usage events say so by the tag service_tier = batch
    #[arg(long)]
    batch: bool,

    /// Requests that the tokens are of, evenly: decides where long prompts cost more
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,

    /// How much, in the meter's unit, of meters other than tokens
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = amount)]
    quantity: Nanos,
}

fn amount(text: &str) -> Result<Nanos, String> {
    let amount: Nanos = text.parse().map_err(|error| format!("'{text}' is {error}"))?;
    if amount.0 < 0 { Err("a quantity is not negative".to_string()) } else { Ok(amount) }
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let Arguments { provider, model, meter, region, account, team, .. } = arguments;
    let Arguments { input, output, cached_input, cache_write, reasoning, requests, quantity, batch, .. } = arguments;
    let now = clock::now();
    let at: Timestamp = arguments.at.map_or(now, |moment| moment.at(now));
    let tokens = Tokens { input: *input, output: *output, cached_input: *cached_input, cache_write: *cache_write, reasoning: *reasoning };
    let (is_batch, requests, quantity) = (*batch, *requests, *quantity);
    let asked = Asked { provider, meter, model, region, account, team, at, is_batch, tokens, requests, quantity };
    let book = &loaded.intake.prices;
    let Quote { parts, missing, totals } = quote(book, &asked);
    let mut out = String::new();
    for part in &parts {
        let (rate, currency) = (part.found.rate(is_batch), part.found.price.currency);
        let count = part.count.to_string();
        let why = why(part, is_batch, book);
        writeln!(
            out,
            "{:<14} {count:>16}  x {} {currency} per {}  = {} {currency}   ({why})",
            part.what, rate.amount, rate.per, part.cost
        )?;
    }
    for what in &missing {
        writeln!(out, "{what:<14} has no price for {provider} {model} {meter} at {at}")?;
    }
    if let Some(hint) = Some(&missing).filter(|missing| !missing.is_empty()).and_then(|_| unknown(book, &asked)) {
        writeln!(out, "{:<14} {hint}", "")?;
    }
    for (currency, total) in &totals {
        writeln!(out, "{:<14} {total} {currency}{}", "total", converted(*total, *currency, at, &loaded.intake.rates))?;
    }
    let is_nothing = parts.is_empty() && missing.is_empty();
    if is_nothing {
        writeln!(out, "nothing was asked: say --input, --output, --cached-input, --cache-write, --reasoning or --quantity")?;
    }
    print(&out)?;
    if is_nothing {
        return Ok(Ended::Unusable);
    }
    Ok(if missing.is_empty() { Ended::Well } else { Ended::No })
}

/// The first of the names that no price knows, and which one may be meant.
fn unknown(book: &PriceBook, asked: &Asked<'_>) -> Option<String> {
    let all = book.prices();
    let provider: Vec<&Price> = all.iter().filter(|price| *price.provider == *asked.provider).collect();
    let meter: Vec<&Price> = provider.iter().copied().filter(|price| *price.meter == *asked.meter).collect();
    let is_of_model = |price: &&Price| price.model.is_empty() || pattern::matches(&price.model, asked.model);
    let mut of_model = meter.iter().copied().filter(is_of_model).peekable();
    let (what, word, known): (_, _, BTreeSet<&str>) = if provider.is_empty() {
        ("provider", asked.provider, all.iter().map(|price| &*price.provider).collect())
    } else if meter.is_empty() {
        ("meter", asked.meter, provider.iter().map(|price| &*price.meter).collect())
    } else if of_model.peek().is_none() {
        ("model", asked.model, meter.iter().map(|price| &*price.model).collect())
    } else {
        let regions: BTreeSet<&str> = of_model.map(|price| price.region.as_deref().unwrap_or(asked.region)).collect();
        ("region", asked.region, Some(regions).filter(|regions| !regions.contains(asked.region))?)
    };
    let listed = || format!("known are {}", known.iter().copied().collect::<Vec<_>>().join(", "));
    let hint = near::did_you_mean(word, known.iter().copied()).or_else(|| (known.len() <= MOST_LISTED).then(listed));
    let said = if word.is_empty() {
        format!("its prices are by --{what}, which is not given")
    } else {
        format!("no price is of --{what} '{word}'")
    };
    Some(format!("{said}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default()))
}

/// Which price it is, since when, and what was negotiated.
fn why(part: &Part<'_>, is_batch: bool, book: &PriceBook) -> String {
    let price = part.found.price;
    let mut words = format!("{} {}", price.provider, if price.model.is_empty() { &*price.meter } else { &*price.model });
    if let Some(region) = &price.region {
        words.push_str(&format!(" in {region}"));
    }
    if price.prompt_above > 0 {
        words.push_str(&format!(", prompts above {} tokens", price.prompt_above));
    }
    if is_batch && price.batch.is_some() {
        words.push_str(", batch");
    }
    words.push_str(&format!(", from {}", day(price.effective_from)));
    words.push_str(&price.effective_to.map_or_else(|| " on".to_string(), |to| format!(" to {}", day(to))));
    let name = |number: u32| book.agreement(number).map_or("", |agreement| &*agreement.name);
    if let Some(number) = price.agreement {
        words.push_str(&format!("; agreed in '{}'", name(number)));
    }
    if let Some(discount) = part.found.discount {
        let percent = Nanos(discount.part.0 * 100);
        words.push_str(&format!("; {percent} % off {} by '{}'", price.rate(is_batch).amount, name(discount.agreement)));
        words.push_str(&discount.effective_to.map_or_else(String::new, |to| format!(" to {}", day(to))));
    }
    words
}

/// What intake counts instead, and by which rate.
fn converted(total: Nanos, currency: Currency, at: Timestamp, rates: &Rates) -> String {
    let (Some(target), Some(base)) = (rates.target().filter(|_| rates.concern(currency)), rates.base()) else { return String::new() };
    let Some((cross, amount)) = rates.cross(currency, at).and_then(|cross| Some((cross, cross.convert(total)?))) else {
        let today = day(at);
        return format!(
            "; there is no rate of {currency} and {target} that holds on {today}: add one to currency.rates, until then it stays in {currency}"
        );
    };
    let Cross { from, to, day: since } = cross;
    let per = [(from, currency), (to, target)].into_iter().filter(|(_, currency)| *currency != base);
    let per: Vec<String> = per.map(|(rate, currency)| format!("{rate} {currency}")).collect();
    format!(" = {amount} {target}   ({} for 1 {base} since {})", per.join(" and "), day(Timestamp(since.saturating_mul(DAY_MS))))
}

fn day(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('T').next().unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::model::price::TokenKind;

    #[test]
    fn a_name_that_no_price_knows_is_told_with_the_one_that_is_meant() {
        let book = config::load_text("none", "", Path::new(""), std::iter::empty()).unwrap().intake.prices;
        let (at, tokens) = (Timestamp::parse("2026-03-01T10:00:00Z").unwrap(), Tokens { input: 1, ..Tokens::default() });
        let asked = |provider, meter, model| {
            let base = Asked {
                provider,
                meter,
                model,
                region: "",
                account: "",
                team: "",
                at,
                is_batch: false,
                tokens,
                requests: 1,
                quantity: Nanos(1),
            };
            unknown(&book, &base).unwrap_or_default()
        };
        assert_eq!(asked("openai", "llm.tokens", "gpt4o"), "no price is of --model 'gpt4o'; did you mean 'gpt-4o'?");
        assert_eq!(asked("openai", "llm.tokens", "GPT-4o"), "no price is of --model 'GPT-4o'; did you mean 'gpt-4o'?");
        assert_eq!(asked("opnai", "llm.tokens", "gpt-4o"), "no price is of --provider 'opnai'; did you mean 'openai'?");
        assert_eq!(asked("aws", "gpu.second", "p5.48xlarge"), "no price is of --meter 'gpu.second'; did you mean 'gpu.seconds'?");
        assert_eq!(asked("aws", "gpu.seconds", "p5.48xlrge"), "no price is of --model 'p5.48xlrge'; did you mean 'p5.48xlarge'?");
        let nobody = asked("nobody-near", "llm.tokens", "x");
        assert!(nobody.starts_with("no price is of --provider 'nobody-near'; known are anthropic, "), "{nobody}");
        assert_eq!(asked("openai", "llm.tokens", "gpt-4o"), "", "it is known: something else is missing");
    }

    #[test]
    fn a_region_may_be_the_name_that_is_unknown() {
        let book = PriceBook::new(vec![Price {
            provider: "p".into(),
            model: "m-*".into(),
            meter: "llm.tokens".into(),
            token_kind: Some(TokenKind::Input),
            region: Some("eu-west-1".into()),
            amount: Nanos(1),
            per: 1,
            currency: Currency::USD,
            effective_from: Timestamp(0),
            effective_to: None,
            batch: None,
            family: None,
            prompt_above: 0,
            agreement: None,
        }]);
        let asked = Asked {
            provider: "p",
            meter: "llm.tokens",
            model: "m-1",
            region: "eu-wst-1",
            account: "",
            team: "",
            at: Timestamp(1),
            is_batch: false,
            tokens: Tokens::default(),
            requests: 1,
            quantity: Nanos::ZERO,
        };
        assert_eq!(unknown(&book, &asked).unwrap(), "no price is of --region 'eu-wst-1'; did you mean 'eu-west-1'?");
        assert_eq!(unknown(&book, &Asked { region: "eu-west-1", ..asked }), None);
        let unsaid = unknown(&book, &Asked { region: "", ..asked }).unwrap();
        assert_eq!(unsaid, "its prices are by --region, which is not given; known are eu-west-1");
        assert_eq!(unknown(&book, &Asked { model: "n-1", ..asked }).unwrap(), "no price is of --model 'n-1'; known are m-*");
    }
}
