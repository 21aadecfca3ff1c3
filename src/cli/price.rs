//! `tollgate price`: what would this cost, by the price book that intake prices with.

use std::fmt::Write as _;

use anyhow::Result;

use super::{ConfigFile, Ended, moment, print};
use crate::clock;
use crate::intake::quote::{Asked, Part, Quote, quote};
use crate::model::money::{Currency, Nanos};
use crate::model::price::PriceBook;
use crate::model::rates::{Cross, Rates};
use crate::model::time::{DAY_MS, Timestamp};
use crate::model::usage::Tokens;

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
