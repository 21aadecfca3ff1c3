//! `tollgate price`: what would this cost, by the price book that intake prices with.

use anyhow::Result;

use super::{ConfigFile, Ended, moment};
use crate::clock;
use crate::intake::quote::{Asked, Quote, quote};
use crate::model::time::Timestamp;
use crate::model::usage::Tokens;

/// Say what a usage would cost, and by which prices
///
/// The very prices that intake uses: the built-in lists, and the files of [prices] over them. Token counts are those of the provider's
/// bill: --input without cached and cache-write tokens, --output without reasoning tokens. Ends with 1 if there is no price.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate price --provider openai --model gpt-4o --input 1200000 --cached-input 300000 --output 90000\n  tollgate price --provider aws --meter gpu.seconds --model p5.48xlarge --quantity 28800 --at 2025-07-01T00:00:00Z"
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

    /// How much, in the meter's unit, of meters other than tokens
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = amount)]
    quantity: crate::model::money::Nanos,
}

fn amount(text: &str) -> Result<crate::model::money::Nanos, String> {
    let amount: crate::model::money::Nanos = text.parse().map_err(|error| format!("'{text}' is {error}"))?;
    if amount.0 < 0 { Err("a quantity is not negative".to_string()) } else { Ok(amount) }
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let Arguments { provider, model, meter, region, input, output, cached_input, cache_write, reasoning, quantity, batch, .. } = arguments;
    let now = clock::now();
    let at: Timestamp = arguments.at.map_or(now, |moment| moment.at(now));
    let tokens = Tokens { input: *input, output: *output, cached_input: *cached_input, cache_write: *cache_write, reasoning: *reasoning };
    let asked = Asked { provider, meter, model, region, at, is_batch: *batch, tokens, quantity: *quantity };
    let Quote { parts, missing, totals } = quote(&loaded.intake.prices, &asked);
    for part in &parts {
        let (price, cost) = (part.price, part.cost);
        let from = price.effective_from.to_string();
        let until = price.effective_to.map_or_else(|| "on".to_string(), |to| format!("to {}", day(&to.to_string())));
        println!(
            "{:<14} {:>16}  x {} {} per {}  = {cost} {}   ({} {}, from {} {until})",
            part.what,
            part.count.to_string(),
            price.rate(*batch).amount,
            price.currency,
            price.per,
            price.currency,
            price.provider,
            if price.model.is_empty() { &*price.meter } else { &*price.model },
            day(&from),
        );
    }
    for what in &missing {
        println!("{what:<14} has no price for {provider} {model} {meter} at {at}");
    }
    for (currency, total) in &totals {
        println!("{:<14} {total} {currency}", "total");
    }
    if parts.is_empty() && missing.is_empty() {
        println!("nothing was asked: say --input, --output, --cached-input, --cache-write, --reasoning or --quantity");
        return Ok(Ended::Unusable);
    }
    Ok(if missing.is_empty() { Ended::Well } else { Ended::No })
}

fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}
