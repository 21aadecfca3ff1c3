//! `tollgate showback`: what each team's month comes to, its part of shared cost included, from the roll-ups.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::json;

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, print};
use crate::clock;
use crate::config::settings::Settings;
use crate::deliver::render::clean::name;
use crate::kafka::link::{From, Partition, Read, Until};
use crate::kafka::read::Reader;
use crate::kafka::topics;
use crate::lab::showback::{Showback, Spend};
use crate::model::allocation::SharedCost;
use crate::model::leaf::Measure;
use crate::model::time::Timestamp;
use crate::model::wire;

/// Of names, in characters.
const LONGEST: usize = 32;

/// Say what a month comes to, team by team, with shared cost split by [[showback]]
///
/// Reads the topic `spend-rollups`, which is kept for topics.output_retention; a month that begins before the topic does is said to be
/// incomplete. What a [[showback]] covers is taken from the team it is booked to and split among teams to the nano: evenly, by fixed
/// shares, or in proportion to what they spend themselves. Months are those of UTC.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate showback --config tollgate.toml\n  tollgate showback --month 2026-10 --measure billed --format csv > october.csv"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// The month [default: this month, so far]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<Month>,

    /// Estimated, billed; without it both, each by itself
    #[arg(long, value_enum, value_name = "MEASURE")]
    measure: Option<Wanted>,

    /// How it is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Estimated,
    Billed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    /// One line for each team and each of its parts
    Csv,
}

/// Its first moment and the first of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Month {
    first: jiff::civil::Date,
    start: Timestamp,
    end: Timestamp,
}

impl Month {
    fn of(date: jiff::civil::Date) -> Option<Month> {
        let first = date.first_of_month();
        let midnight = |date: jiff::civil::Date| {
            let zoned = date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
            Some(Timestamp(zoned.timestamp().as_millisecond()))
        };
        Some(Month { first, start: midnight(first)?, end: midnight(first.last_of_month().tomorrow().ok()?)? })
    }
}

fn month(text: &str) -> Result<Month, String> {
    let date = format!("{text}-01").parse().ok().filter(|_| text.len() == 7);
    date.and_then(Month::of).ok_or_else(|| "write a month: 2026-10".to_string())
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let now = jiff::Timestamp::from_millisecond(clock::now().0)?.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let month = arguments.month.or_else(|| Month::of(now)).context("no such month")?;
    let wanted = arguments.measure.map(|wanted| if wanted == Wanted::Billed { Measure::Billed } else { Measure::Estimated });
    let (spend, earliest) = read(&loaded.settings, month)?;
    if earliest.is_some_and(|earliest| earliest > month.start) {
        let from = earliest.unwrap_or_default();
        eprintln!("the roll-ups begin at {from}: earlier hours of {} are not in these sums", month.first.strftime("%B %Y"));
    }
    let rules = &loaded.settings.showback;
    let mut all = spend.showback(rules);
    all.retain(|showback| wanted.is_none_or(|wanted| wanted == showback.measure));
    let mut out = Vec::new();
    match arguments.format {
        Form::Text => text(&mut out, month, &all, rules)?,
        Form::Json => writeln!(out, "{:#}", as_json(month, &all, rules))?,
        Form::Csv => csv(&mut out, month, &all, rules)?,
    }
    print(&String::from_utf8(out)?)?;
    Ok(Ended::Well)
}

/// What was spent in a month, and from when on the topic has it whole: its retention removes what was written first, and a bill that was
/// restated lately may tell of hours long before.
fn read(settings: &Settings, month: Month) -> Result<(Spend, Option<Timestamp>)> {
    let connection = assemble::connection(settings);
    let topic = assemble::topic_names(settings).spend_rollups;
    let partitions = topics::partitions_of(&connection, &topic)?;
    let mut reader = Reader::new(&connection)?;
    let (mut spend, mut earliest, mut begins) = (Spend::default(), None::<Timestamp>, None::<Timestamp>);
    for partition in 0..partitions {
        reader.open(&Partition { topic: topic.clone(), partition }, From::Beginning, Until::End)?;
        let mut is_first = true;
        while let Read::Records(batch) = reader.read(10_000)? {
            for record in batch.iter() {
                if std::mem::take(&mut is_first) && record.offset > 0 {
                    begins = begins.max(Some(record.timestamp));
                }
                // Each of ours has one.
                let key = record.key.unwrap_or_default();
                let Some(value) = record.value else {
                    spend.remove(key);
                    continue;
                };
                match wire::rollup_of_record(record.header("content-type"), value) {
                    Ok(rollup) => {
                        earliest = Some(earliest.map_or(rollup.period_start, |earliest| earliest.min(rollup.period_start)));
                        if month.start <= rollup.period_start && rollup.period_start < month.end {
                            spend.add(key, &rollup);
                        }
                    }
                    Err(error) => eprintln!("{topic}[{partition}] offset {}: {error}", record.offset),
                }
            }
        }
    }
    Ok((spend, earliest.max(begins)))
}

fn text(out: &mut impl std::io::Write, month: Month, all: &[Showback], rules: &[SharedCost]) -> Result<()> {
    if all.is_empty() {
        writeln!(out, "nothing was spent in {}", month.first.strftime("%B %Y"))?;
    }
    for (place, showback) in all.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        let (measure, currency) = (showback.measure.as_str(), showback.currency);
        writeln!(out, "{}, {measure}, in {currency}", month.first.strftime("%B %Y"))?;
        let columns: Vec<&SharedCost> = rules.iter().filter(|rule| showback.shared.contains_key(&rule.name)).collect();
        let width = |rule: &SharedCost| name(&rule.name, LONGEST).chars().count().max(14);
        write!(out, "{:<LONGEST$} {:>16}", "team", "direct")?;
        for rule in &columns {
            write!(out, " {:>1$}", name(&rule.name, LONGEST), width(rule))?;
        }
        writeln!(out, " {:>16}", "total")?;
        let mut teams: Vec<_> = showback.teams.iter().collect();
        teams.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then_with(|| a.0.cmp(b.0)));
        for (team, line) in teams {
            write!(out, "{:<LONGEST$} {:>16}", name(team, LONGEST), line.direct.rounded(2))?;
            for rule in &columns {
                let share = line.shares.get(&rule.name).map(|share| share.rounded(2)).unwrap_or_default();
                write!(out, " {share:>0$}", width(rule))?;
            }
            writeln!(out, " {:>16}", line.total().rounded(2))?;
        }
        let direct =
            showback.teams.values().fold(Default::default(), |sum: crate::model::money::Nanos, line| sum.saturating_add(line.direct));
        write!(out, "{:<LONGEST$} {:>16}", "all", direct.rounded(2))?;
        for rule in &columns {
            let whole = showback.shared.get(&rule.name).map(|whole| whole.rounded(2)).unwrap_or_default();
            write!(out, " {whole:>0$}", width(rule))?;
        }
        writeln!(out, " {:>16}", showback.total().rounded(2))?;
        for rule in &columns {
            writeln!(out, "{}: split {}", name(&rule.name, LONGEST), how(rule))?;
        }
        for (rule, amount) in &showback.unallocated {
            let amount = amount.rounded(2);
            writeln!(
                out,
                "{}: {amount} {currency} stay where they were booked, since nobody spends anything to split them by",
                name(rule, LONGEST)
            )?;
        }
    }
    Ok(())
}

fn how(rule: &SharedCost) -> String {
    match &rule.split {
        crate::model::allocation::Split::Even(teams) => format!("evenly among {}", teams.len()),
        crate::model::allocation::Split::Fixed(_) => "by fixed shares".to_string(),
        crate::model::allocation::Split::Proportional(_) => "in proportion to direct spend".to_string(),
    }
}

fn as_json(month: Month, all: &[Showback], rules: &[SharedCost]) -> serde_json::Value {
    let method = |name: &str| rules.iter().find(|rule| *rule.name == *name).map(|rule| rule.split.as_str());
    let kinds = all.iter().map(|showback| {
        let teams = showback.teams.iter().map(|(team, line)| {
            let shares: Vec<_> = line.shares.iter().map(|(rule, share)| json!({ "showback": rule, "cost": share.to_string() })).collect();
            json!({ "team": team, "direct": line.direct.to_string(), "shared": shares, "total": line.total().to_string() })
        });
        let shared =
            showback.shared.iter().map(|(rule, whole)| json!({ "showback": rule, "split": method(rule), "cost": whole.to_string() }));
        let unallocated = showback.unallocated.iter().map(|(rule, whole)| json!({ "showback": rule, "cost": whole.to_string() }));
        json!({
            "measure": showback.measure.as_str(), "currency": showback.currency.as_str(), "total": showback.total().to_string(),
            "teams": teams.collect::<Vec<_>>(), "shared": shared.collect::<Vec<_>>(), "unallocated": unallocated.collect::<Vec<_>>(),
        })
    });
    json!({ "month": month.first.strftime("%Y-%m").to_string(), "period_start": month.start, "period_end": month.end, "showback": kinds.collect::<Vec<_>>() })
}

fn csv(out: &mut impl std::io::Write, month: Month, all: &[Showback], rules: &[SharedCost]) -> Result<()> {
    let quoted =
        |text: &str| if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() };
    writeln!(out, "month,measure,currency,team,showback,split,cost")?;
    let month = month.first.strftime("%Y-%m").to_string();
    for showback in all {
        let (measure, currency) = (showback.measure.as_str(), showback.currency);
        for (team, line) in &showback.teams {
            writeln!(out, "{month},{measure},{currency},{},,direct,{}", quoted(team), line.direct)?;
            for (rule, share) in &line.shares {
                let is_split = showback.shared.contains_key(rule);
                let split = rules.iter().find(|known| known.name == *rule && is_split).map_or("unallocated", |rule| rule.split.as_str());
                writeln!(out, "{month},{measure},{currency},{},{},{split},{share}", quoted(team), quoted(rule))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_whole() {
        let february = month("2028-02").unwrap();
        assert_eq!((february.end.0 - february.start.0) / 86_400_000, 29);
        for wrong in ["2026-13", "2026", "2026-1", "october", "2026-10-01"] {
            assert!(month(wrong).is_err(), "{wrong}");
        }
    }
}
