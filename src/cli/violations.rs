//! `tollgate violations`: what violates a policy now, from the compacted topic, without anything that runs; and what people say about it.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use super::alerts::{Answer, Expect, answer, find, newest};
use super::said::{End, id};
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, print};
use crate::config::settings::Settings;
use crate::deliver::ocsf;
use crate::deliver::render::amount;
use crate::deliver::render::clean::{clean, name};
use crate::deliver::render::language::Language;
use crate::kafka::read::Reader;
use crate::kafka::topics;
use crate::model::alert::{AlertState, Said};
use crate::model::counted::counted;
use crate::model::feedback::Verdict;
use crate::model::time::{SECOND_MS, Timestamp};
use crate::model::violation::Violation;
use crate::model::wire;

/// Of what others have written, in characters.
const LONGEST: usize = 400;

/// List violations of policies, show one, or answer it
///
/// Reads the topic `governance-violations` from its beginning: it is compacted by violation id, so that its newest revisions are what is
/// open now.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the violations that are open, the gravest first
    #[command(
        after_help = "Examples:\n  tollgate violations list --config tollgate.toml\n  tollgate violations list --team search --all --format ocsf > findings.jsonl"
    )]
    List(List),
    /// Show the newest revision of one violation: what it rests on, and who has said what about it
    ///
    /// The id may be cut short as long as it is the only one that begins like that. Ends with 1 if there is no such violation.
    #[command(after_help = "Example:\n  tollgate violations show search/5b1f --config tollgate.toml")]
    Show(Show),
    /// Say that somebody takes care of a violation
    ///
    /// Writes an event to the topic `feedback`, as the link in a mail does. The id may be cut short. Ends with 1 if there is no such
    /// violation.
    #[command(after_help = "Example:\n  tollgate violations ack search/5b1f --note 'asking the vendor' --config tollgate.toml")]
    Ack(Answer),
    /// Accept a violation until some time: an exception that ends by itself
    ///
    /// Nobody is told of it until then; what violates the policy after that time is open again. Nothing is accepted for more than 90 days: an
    /// exemption in the file of the policies is, with a reason and who approved it. Writes an event to the topic `feedback`.
    #[command(
        visible_alias = "expect",
        after_help = "Examples:\n  tollgate violations accept search/5b1f --until 7d --note 'trial, CTO knows'\n  tollgate violations accept search/5b1f --until 2026-12-01T00:00:00Z"
    )]
    Accept(Expect),
    /// Say that a violation is none: a false positive
    ///
    /// It is retracted, and the same stays silent for four weeks: mend the policy meanwhile. Writes an event to the topic `feedback`.
    #[command(
        visible_alias = "false-positive",
        after_help = "Example:\n  tollgate violations not-a-violation search/5b1f --config tollgate.toml"
    )]
    NotAViolation(Answer),
    /// Take an answer back: the violation counts again
    ///
    /// Writes an event to the topic `feedback`. What is over is not begun again by it.
    #[command(after_help = "Example:\n  tollgate violations reopen search/5b1f --config tollgate.toml")]
    Reopen(Answer),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigFile,

    /// Of this team only
    #[arg(long, value_name = "NAME")]
    team: Option<String>,

    /// Also those that are over
    #[arg(long)]
    all: bool,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Form,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Id, or its beginning
    #[arg(value_name = "ID", value_parser = id)]
    id: String,

    #[command(flatten)]
    config: ConfigFile,

    /// How it is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    /// As on the topic
    Json,
    /// Findings of OCSF 1.8.0, class 2003, one a line: for a SIEM
    Ocsf,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let config = match &arguments.action {
        Action::List(List { config, .. }) | Action::Show(Show { config, .. }) => config,
        Action::Ack(answer) | Action::NotAViolation(answer) | Action::Reopen(answer) | Action::Accept(Expect { answer, .. }) => {
            &answer.config
        }
    };
    let Some(loaded) = config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let connection = assemble::connection(&loaded.settings);
    let topic = assemble::topic_names(&loaded.settings).governance_violations;
    let partitions = topics::partitions_of(&connection, &topic)?;
    let violations = newest(&mut Reader::new(&connection)?, &topic, partitions, wire::violation_of_record, |violation: &Violation| {
        violation.id.clone()
    })?;
    let say = |options: &Answer, verdict: Verdict, until: Option<End>| say(&violations, options, verdict, until, &loaded.settings);
    match &arguments.action {
        Action::List(options) => {
            print(&list(violations, options)?)?;
            Ok(Ended::Well)
        }
        Action::Show(options) => show(&violations, options),
        Action::Ack(options) => say(options, Verdict::Ack, None),
        Action::Accept(options) => say(&options.answer, Verdict::Expected, Some(options.until)),
        Action::NotAViolation(options) => say(options, Verdict::NotAnAnomaly, None),
        Action::Reopen(options) => say(options, Verdict::Reopen, None),
    }
}

fn say(violations: &[Violation], options: &Answer, verdict: Verdict, until: Option<End>, settings: &Settings) -> Result<Ended> {
    match find(violations, &options.id, "violation", |violation| &violation.id) {
        Some(violation) => answer(&violation.id, options, verdict, until, settings),
        None => Ok(Ended::No),
    }
}

fn is_over(violation: &Violation) -> bool {
    violation.closed_at.is_some() || matches!(violation.state, AlertState::Resolved | AlertState::Retracted)
}

fn list(mut violations: Vec<Violation>, options: &List) -> Result<String> {
    let is_of = |violation: &Violation| options.team.as_ref().is_none_or(|team| *team == violation.team);
    violations.retain(|violation| (options.all || !is_over(violation)) && is_of(violation));
    violations.sort_by(|a, b| {
        let rank = |violation: &Violation| (violation.severity, violation.amount);
        rank(b).cmp(&rank(a)).then_with(|| a.id.cmp(&b.id))
    });
    match options.format {
        Form::Json => return Ok(format!("{}\n", serde_json::json!(violations))),
        Form::Ocsf => return Ok(violations.iter().map(|violation| format!("{}\n", ocsf::of_violation(violation))).collect()),
        Form::Text => {}
    }
    if violations.is_empty() {
        return Ok("No violation is open.\n".to_string());
    }
    let mut out = String::new();
    writeln!(
        out,
        "{:<8}  {:<12}  {:>12}  {:<20}  {:<16}  {:<24}  {:<36}  id",
        "severity", "state", "cost so far", "since", "team", "policy", "what"
    )?;
    for violation in &violations {
        let (team, policy, subject) = (name(&violation.team, 16), name(&violation.policy, 24), name(&violation.subject, 36));
        let (severity, state, since) = (violation.severity.as_str(), violation.state.as_str(), seconds(violation.detected_at));
        let cost = cost(violation).unwrap_or_default();
        writeln!(out, "{severity:<8}  {state:<12}  {cost:>12}  {since:<20}  {team:<16}  {policy:<24}  {subject:<36}  {}", violation.id)?;
    }
    Ok(out)
}

/// Whole seconds, so that columns line up.
fn seconds(time: Timestamp) -> String {
    Timestamp(time.0.div_euclid(SECOND_MS) * SECOND_MS).to_string()
}

fn cost(violation: &Violation) -> Option<String> {
    Some(amount::brief(violation.amount?, violation.currency?, Language::English))
}

fn show(violations: &[Violation], options: &Show) -> Result<Ended> {
    let Some(violation) = find(violations, &options.id, "violation", |violation| &violation.id) else { return Ok(Ended::No) };
    let whole = match options.format {
        Form::Json => Some(serde_json::json!(violation)),
        Form::Ocsf => Some(ocsf::of_violation(violation)),
        Form::Text => None,
    };
    if let Some(whole) = whole {
        print(&format!("{whole:#}\n"))?;
        return Ok(Ended::Well);
    }
    let mut out = String::new();
    writeln!(out, "{}  {} {}, revision {}", violation.id, violation.severity.as_str(), violation.state.as_str(), violation.revision)?;
    writeln!(out, "  {}", clean(&violation.message, LONGEST))?;
    writeln!(out, "  {} violates {}", name(&violation.subject, LONGEST), name(&violation.policy, LONGEST))?;
    let cost = cost(violation).map(|cost| format!(", {cost}")).unwrap_or_default();
    let events = counted(violation.count, "event");
    writeln!(out, "  since {}, decided {}, {events}{cost}", violation.detected_at, violation.decided_at)?;
    if let Some(closed) = violation.closed_at {
        writeln!(out, "  over since {closed}")?;
    }
    for (field, value) in &violation.evidence {
        writeln!(out, "  {}: {}", name(field, LONGEST), name(value, LONGEST))?;
    }
    for said in &violation.feedback {
        writeln!(out, "  {}", said_of(said))?;
    }
    if let Some(remedy) = &violation.remedy {
        writeln!(out, "  - {}", clean(remedy, LONGEST))?;
    }
    print(&out)?;
    Ok(Ended::Well)
}

/// `2026-03-05T14:02:00Z ann: accepted until 2026-03-12T00:00:00Z (trial)`.
fn said_of(said: &Said) -> String {
    let what = match Verdict::named(&said.verdict) {
        Some(Verdict::Ack) => "takes care of it",
        Some(Verdict::Expected | Verdict::Planned) => "accepted",
        Some(Verdict::NotAnAnomaly) => "no violation",
        Some(Verdict::Reopen) => "taken back",
        None => "has answered",
    };
    let who = name(said.actor.as_deref().unwrap_or("somebody"), LONGEST);
    let until = said.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let note = said.note.as_deref().map(|note| format!(" ({})", name(note, LONGEST))).unwrap_or_default();
    format!("{} {who}: {what}{until}{note}", said.said_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_times() {
        let example = include_str!("../../schemas/examples/violation/valid/accepted_for_a_week.json");
        let violation = wire::violation_from_json(example.as_bytes()).unwrap();
        let at = |text: &str| Violation { detected_at: Timestamp::parse(text).unwrap(), ..violation.clone() };
        let options = List { config: ConfigFile { path: None }, team: None, all: true, format: Form::Text };
        let listed = list(vec![at("2026-03-01T10:00:00Z"), at("2026-03-01T10:00:00.123Z")], &options).unwrap();
        let places: Vec<usize> = listed.lines().skip(1).map(|line| line.find(&violation.id).unwrap()).collect();
        assert_eq!(places[0], places[1], "{listed}");
    }
}
