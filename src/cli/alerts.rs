//! `tollgate alerts`: what is open now, from the compacted topic, without anything that runs; and what people say about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use clap::Subcommand;

use super::said::{End, dimension, dimensions, id, short, speaker, until, who};
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, Format, answers, assemble, print};
use crate::clock;
use crate::config::settings::Settings;
use crate::deliver::feedback::{FeedbackEvent, Writer};
use crate::deliver::receipt::is_closed;
use crate::deliver::render::amount;
use crate::deliver::render::clean::name;
use crate::deliver::render::language::Language;
use crate::deliver::render::when;
use crate::deliver::render::words::{answered, place};
use crate::kafka::link::{From, Partition, Read, Until};
use crate::kafka::read::Reader;
use crate::kafka::topics;
use crate::model::alert::Alert;
use crate::model::feedback::{LONGEST_MS, Verdict};
use crate::model::hash::hash128;
use crate::model::time::Timestamp;
use crate::model::wire::{self, WireError};

/// Of names, in characters.
const LONGEST: usize = 40;

/// List alerts, show one, or answer it
///
/// Reads the topic `alerts` from its beginning: it is compacted by alert id, so that its newest revisions are what is open now.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the alerts that are open, the dearest first
    #[command(
        after_help = "Examples:\n  tollgate alerts list --config tollgate.toml\n  tollgate alerts list --team search --all --format json"
    )]
    List(List),
    /// Show the newest revision of one alert
    ///
    /// The id may be cut short as long as it is the only one that begins like that. Ends with 1 if there is no such alert.
    #[command(after_help = "Example:\n  tollgate alerts show search/5b1f --config tollgate.toml")]
    Show(Show),
    /// Say that somebody takes care of an alert
    ///
    /// Writes an event to the topic `feedback`, as the link in a mail does. The id may be cut short. Ends with 1 if there is no such alert.
    #[command(after_help = "Example:\n  tollgate alerts ack search/5b1f --note 'looking into it' --config tollgate.toml")]
    Ack(Answer),
    /// Say that an alert is expected, until some time
    ///
    /// A backfill, a launch, a load test, a cluster that is kept on purpose. Writes an event to the topic `feedback`; after that time it
    /// counts again.
    #[command(
        after_help = "Examples:\n  tollgate alerts expect search/5b1f --until 7d --note backfill\n  tollgate alerts expect search/5b1f --until 2026-12-01T00:00:00Z"
    )]
    Expect(Expect),
    /// Say that an alert should not have been
    ///
    /// This much is normal there. Waste, missing money, budgets and advice: it is no problem, and stays closed as long as things stay as they
    /// are. Writes an event to the topic `feedback`.
    #[command(after_help = "Example:\n  tollgate alerts not-an-anomaly search/5b1f --config tollgate.toml")]
    NotAnAnomaly(Answer),
    /// Take an acknowledgement or an expectation back: the alert counts again
    ///
    /// Writes an event to the topic `feedback`.
    #[command(after_help = "Example:\n  tollgate alerts reopen search/5b1f --config tollgate.toml")]
    Reopen(Answer),
    /// Announce a planned change before there is an alert
    ///
    /// A migration, a launch, a load test. Writes an event to the topic `feedback`, about all spend of the team, or the part of it that
    /// --only names.
    #[command(
        after_help = "Examples:\n  tollgate alerts plan search --until 2d --note 'reindexing'\n  tollgate alerts plan search --only model=gpt-4o --from 2026-12-01T22:00:00Z --until 2026-12-02T06:00:00Z"
    )]
    Plan(Plan),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    pub config: ConfigFile,

    /// Of this team only
    #[arg(long, value_name = "NAME")]
    pub team: Option<String>,

    /// Also those that are over
    #[arg(long)]
    pub all: bool,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Id, or its beginning
    #[arg(value_name = "ID", value_parser = id)]
    pub id: String,

    #[command(flatten)]
    pub config: ConfigFile,

    /// How it is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
pub(super) struct Answer {
    /// Id, or its beginning
    #[arg(value_name = "ID", value_parser = id)]
    pub id: String,

    #[command(flatten)]
    pub config: ConfigFile,

    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", value_parser = who)]
    by: Option<String>,

    /// In your own words
    #[arg(long, value_name = "TEXT", value_parser = short)]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Expect {
    #[command(flatten)]
    pub answer: Answer,

    /// A time (RFC 3339), or how long from now (4h, 7d): at most 90 days
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub until: End,
}

#[derive(Debug, clap::Args)]
struct Plan {
    /// Whose spend it is about
    #[arg(value_name = "TEAM", value_parser = short)]
    team: String,

    #[command(flatten)]
    config: ConfigFile,

    /// Of this project, model, provider, region, environment or meter only; may be given several times, for one of each
    #[arg(long, value_name = "NAME=VALUE", value_parser = dimension)]
    only: Vec<(String, String)>,

    /// From when instead of now: a time (RFC 3339), or how long from now (4h, 2d)
    #[arg(long, value_name = "TIME", value_parser = until)]
    from: Option<End>,

    /// A time (RFC 3339), or how long from now (4h, 7d): at most 90 days after it begins
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: End,

    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", value_parser = who)]
    by: Option<String>,

    /// In your own words
    #[arg(long, value_name = "TEXT", value_parser = short)]
    note: Option<String>,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let config = match &arguments.action {
        Action::List(List { config, .. }) | Action::Show(Show { config, .. }) => config,
        Action::Ack(answer) | Action::NotAnAnomaly(answer) | Action::Reopen(answer) | Action::Expect(Expect { answer, .. }) => {
            &answer.config
        }
        Action::Plan(plan) => &plan.config,
    };
    let Some(loaded) = config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    if let Action::Plan(options) = &arguments.action {
        return plan(options, &loaded.settings);
    }
    let connection = assemble::connection(&loaded.settings);
    let topic = assemble::topic_names(&loaded.settings).alerts;
    let partitions = topics::partitions_of(&connection, &topic)?;
    let alerts = newest(&mut Reader::new(&connection)?, &topic, partitions, wire::alert_of_record, |alert: &Alert| alert.id.clone())?;
    Ok(match &arguments.action {
        Action::List(options) => {
            print(&list(alerts, options)?)?;
            Ended::Well
        }
        Action::Show(options) => show(&alerts, options)?,
        Action::Ack(options) => say(&alerts, options, Verdict::Ack, None, &loaded.settings)?,
        Action::NotAnAnomaly(options) => say(&alerts, options, Verdict::NotAnAnomaly, None, &loaded.settings)?,
        Action::Reopen(options) => say(&alerts, options, Verdict::Reopen, None, &loaded.settings)?,
        // Needs no alert: see above.
        Action::Plan(_) => Ended::Well,
        Action::Expect(options) => say(&alerts, &options.answer, Verdict::Expected, Some(options.until), &loaded.settings)?,
    })
}

fn say(alerts: &[Alert], options: &Answer, verdict: Verdict, until: Option<End>, settings: &Settings) -> Result<Ended> {
    match find(alerts, &options.id, "alert", |alert| &alert.id) {
        Some(alert) => answer(&alert.id, options, verdict, until, settings),
        None => Ok(Ended::No),
    }
}

/// Writes down what somebody says about an alert or a violation.
pub(super) fn answer(id: &str, options: &Answer, verdict: Verdict, until: Option<End>, settings: &Settings) -> Result<Ended> {
    let now = clock::now();
    let until = until.map(|until| until.at(now));
    let by = match until.and_then(|until| wrong_end(None, until, now)).map_or_else(|| speaker(options.by.as_deref()), Err) {
        Ok(by) => by,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let feedback = FeedbackEvent {
        actor: Some(by.to_string()),
        until,
        note: options.note.clone(),
        ..FeedbackEvent::about_alert(event_id(id, verdict, by, now), "cli", now, id, verdict)
    };
    write(&feedback, id, settings)
}

/// Why what is said would not hold until then.
fn wrong_end(from: Option<Timestamp>, until: Timestamp, now: Timestamp) -> Option<String> {
    let last = from.unwrap_or(now).max(now).plus_ms(LONGEST_MS);
    match from {
        Some(from) if until <= from => Some("--until is over before it begins".to_string()),
        None if until <= now => Some("--until is over already".to_string()),
        _ => (until > last).then(|| format!("--until is later than {last}: nothing holds for more than 90 days")),
    }
}

/// Announces what is planned for a team.
fn plan(options: &Plan, settings: &Settings) -> Result<Ended> {
    let now = clock::now();
    let (from, until) = (options.from.map(|from| from.at(now)), options.until.at(now));
    let said = || Ok((dimensions(&options.only)?, speaker(options.by.as_deref())?));
    let (dimensions, by) = match wrong_end(from, until, now).map_or_else(said, Err) {
        Ok(said) => said,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let only = dimensions.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
    let feedback = FeedbackEvent {
        event_id: event_id(&options.team, Verdict::Planned, by, now),
        source: "cli".to_string(),
        event_time: now,
        actor: Some(by.to_string()),
        alert_id: None,
        team: Some(options.team.clone()),
        dimensions: Some(dimensions).filter(|dimensions| !dimensions.is_empty()),
        verdict: Some(Verdict::Planned.name().to_string()),
        from,
        until: Some(until),
        note: options.note.clone(),
    };
    write(&feedback, &format!("{}{only}", options.team), settings)
}

fn event_id(about: &str, verdict: Verdict, by: &str, now: Timestamp) -> String {
    format!("cli-{:032x}", hash128(&[about.as_bytes(), verdict.name().as_bytes(), by.as_bytes(), &now.0.to_le_bytes()]))
}

fn write(feedback: &FeedbackEvent, about: &str, settings: &Settings) -> Result<Ended> {
    let topic = answers::feedback_topic(settings);
    let shown = topic.topic.clone();
    Writer::new(topic).write(feedback)?;
    let until = feedback.until.map(|until| format!(" until {until}")).unwrap_or_default();
    print(&format!("{about} {}{until}: written to {shown}\n", feedback.verdict.as_deref().unwrap_or_default()))?;
    Ok(Ended::Well)
}

/// The one with this id, or the only one whose id begins like that; says on stderr if there is none. `what`: an alert, a violation.
pub(super) fn find<'a, T>(all: &'a [T], id: &str, what: &str, id_of: impl Fn(&T) -> &str) -> Option<&'a T> {
    let exact = all.iter().find(|one| id_of(one) == id);
    let begin: Vec<&T> = all.iter().filter(|one| id_of(one).starts_with(id)).collect();
    match (exact, begin.as_slice()) {
        (Some(one), _) => return Some(one),
        (None, [one]) => return Some(one),
        (None, []) => eprintln!("there is no {what} '{id}'; `tollgate {what}s list --all` lists them"),
        (None, several) => eprintln!("{} {what}s begin with '{id}': write more of the id", several.len()),
    }
    None
}

/// The latest record of each that a topic holds, which after a reset may be of a lower revision; what cannot be read is said and passed over.
/// `read`: by the header `content-type`; `id`: what one record follows another by, its key.
pub(super) fn newest<T>(
    reader: &mut Reader,
    topic: &str,
    partitions: i32,
    read: impl Fn(Option<&[u8]>, &[u8]) -> Result<T, WireError>,
    id: impl Fn(&T) -> String,
) -> Result<Vec<T>> {
    let mut newest: BTreeMap<String, T> = BTreeMap::new();
    for partition in 0..partitions {
        reader.open(&Partition { topic: topic.to_owned(), partition }, From::Beginning, Until::End)?;
        while let Read::Records(batch) = reader.read(10_000)? {
            for record in batch.iter() {
                let Some(value) = record.value else { continue };
                let one = match read(record.header("content-type"), value) {
                    Ok(one) => one,
                    Err(error) => {
                        eprintln!("{topic}[{partition}] offset {}: {error}", record.offset);
                        continue;
                    }
                };
                newest.insert(id(&one), one);
            }
        }
    }
    Ok(newest.into_values().collect())
}

fn list(mut alerts: Vec<Alert>, options: &List) -> Result<String> {
    alerts.retain(|alert| (options.all || !is_closed(alert)) && options.team.as_ref().is_none_or(|team| *team == alert.team));
    alerts.sort_by(|a, b| b.excess.cmp(&a.excess).then_with(|| a.id.cmp(&b.id)));
    if options.format == Format::Json {
        return Ok(format!("{}\n", serde_json::json!(alerts)));
    }
    if alerts.is_empty() {
        return Ok("No alert is open.\n".to_string());
    }
    let mut out = String::new();
    writeln!(out, "{:<8}  {:<12}  {:>14}  {:<20}  {:<20}  {:<30}  id", "severity", "state", "extra so far", "since", "team", "where")?;
    for alert in &alerts {
        let extra = amount::brief(alert.excess, alert.currency, Language::English);
        let (team, place) = (name(&alert.team, 20), name(&place(&alert.dimensions, Language::English), 30));
        let (severity, state) = (alert.severity.as_str(), alert.state.as_str());
        writeln!(out, "{severity:<8}  {state:<12}  {extra:>14}  {:<20}  {team:<20}  {place:<30}  {}", alert.onset.to_string(), alert.id)?;
    }
    Ok(out)
}

fn show(alerts: &[Alert], options: &Show) -> Result<Ended> {
    let Some(alert) = find(alerts, &options.id, "alert", |alert| &alert.id) else { return Ok(Ended::No) };
    if options.format == Format::Json {
        print(&format!("{:#}\n", serde_json::json!(alert)))?;
        return Ok(Ended::Well);
    }
    let mut out = String::new();
    let money = |nanos| amount::exact(nanos, alert.currency, Language::English);
    writeln!(out, "{}  {} {}, revision {}", alert.id, alert.severity.as_str(), alert.state.as_str(), alert.revision)?;
    writeln!(out, "  {}", alert.summary)?;
    writeln!(out, "  since {}, decided {}", alert.onset, alert.decided_at)?;
    writeln!(out, "  {} spent, {} expected, {} extra", money(alert.actual), money(alert.expected), money(alert.excess))?;
    if let Some(closed) = alert.closed_at {
        writeln!(out, "  over since {closed}")?;
    } else {
        writeln!(
            out,
            "  {} an hour now, {} by the end of the month",
            money(alert.burn_rate_per_hour),
            money(alert.projected_month_end_excess)
        )?;
    }
    for cause in &alert.causes {
        writeln!(out, "  {:>3.0} %  {}", cause.share * 100.0, name(&place(&cause.dimensions, Language::English), 3 * LONGEST))?;
    }
    for step in &alert.next_steps {
        writeln!(out, "  - {step}")?;
    }
    let zone = when::zone(&alert.time_zone);
    for said in &alert.feedback {
        writeln!(out, "  {}", answered(said, alert.kind, clock::now(), &zone, Language::English))?;
    }
    print(&out)?;
    Ok(Ended::Well)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::model::time::DAY_MS;

    /// How the command line is refused, with which exit code.
    fn refused(words: &[&str]) -> Option<(i32, String)> {
        let words = ["tollgate"].iter().chain(words);
        crate::cli::Arguments::try_parse_from(words).err().map(|error| (error.exit_code(), error.to_string()))
    }

    /// Watch would have cut it, after the time was confirmed.
    #[test]
    fn nothing_is_said_for_more_than_90_days() {
        let now = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
        let day = |days: i64| now.plus_ms(days * DAY_MS);
        for (from, until, is_fine) in [
            (None, now, false),
            (None, day(90), true),
            (None, day(90).plus_ms(1), false),
            (Some(day(30)), day(30), false),
            (Some(day(30)), day(120), true),
            (Some(day(30)), day(121), false),
            (Some(day(-30)), day(90), true),
            (Some(day(-30)), day(91), false),
        ] {
            assert_eq!(wrong_end(from, until, now).is_none(), is_fine, "{from:?} {until}");
        }
        let said = wrong_end(None, day(200), now).unwrap();
        assert_eq!(said, "--until is later than 2026-05-30T10:00:00Z: nothing holds for more than 90 days");
    }

    #[test]
    fn a_word_that_intake_would_not_take_is_refused_before_it_is_written() {
        let (fits, long) = ("ä".repeat(512), "ä".repeat(513));
        let (fitting, longer) = (format!("model={fits}"), format!("model={long}"));
        for (words, fits, long) in [
            ("alerts ack search/1 --by ann --note", &fits, &long),
            ("alerts ack search/1 --by", &fits, &long),
            ("violations accept search/1 --by ann --until 1d --note", &fits, &long),
            ("alerts plan search --by ann --until 1d --note", &fits, &long),
            ("alerts plan search --until 1d --by", &fits, &long),
            ("alerts plan search --by ann --until 1d --only", &fitting, &longer),
            ("alerts plan --by ann --until 1d", &fits, &long),
        ] {
            let with = |value: &str| refused(&words.split(' ').chain([value]).collect::<Vec<_>>());
            assert_eq!(with(fits), None, "{words}");
            let (code, said) = with(long).unwrap();
            assert!(code == 2 && said.contains("has 1026 bytes, at most 1024 are taken"), "{words} {said}");
        }
    }

    /// An empty variable of a shell answers nothing, and nobody answers nothing.
    #[test]
    fn what_is_empty_is_refused() {
        for words in ["alerts ack", "alerts show", "violations ack", "violations show", "violations accept --until 1d"] {
            let (code, said) = refused(&words.split(' ').chain(["", "--config", "t.toml"]).collect::<Vec<_>>()).unwrap();
            assert!(code == 2 && said.contains("is empty: `tollgate"), "{words} {said}");
        }
        for words in ["alerts ack search/1", "violations ack search/1", "alerts plan search --until 1d"] {
            let (code, said) = refused(&words.split(' ').chain(["--by", " "]).collect::<Vec<_>>()).unwrap();
            assert!(code == 2 && said.contains("say --by NAME"), "{words} {said}");
        }
    }
}
