//! `tollgate route`: who would be told of an alert, and why.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ConfigFile, Ended, assemble, input, print};
use crate::clock;
use crate::config::settings::Settings;
use crate::deliver::channels::compose::Sender;
use crate::deliver::channels::folder::Folder;
use crate::deliver::channels::{Channel, Letter};
use crate::deliver::inhibit::{Because, Standing, inhibited};
use crate::deliver::receipt::is_closed;
use crate::deliver::render::Context;
use crate::deliver::rules::{DeliverRules, Named, Receiver, Step, explain, group, muted, route};
use crate::deliver::violation::as_alert;
use crate::model::alert::Alert;
use crate::model::counted::counted;
use crate::model::time::{MINUTE_MS, SECOND_MS, Timestamp};
use crate::model::wire;

/// Say who would be told of an alert, and why
///
/// Goes through the routes of the config in their order and says of each what it makes of the alert. Sends nothing. The alert is JSON, as
/// on the topic `alerts` (alerts.format = "json"), or as `tollgate alerts show` prints it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate route --explain alert.json --config tollgate.toml\n  tollgate alerts show ID --format json | tollgate route --explain -\n  tollgate route --explain alert.json --mails /tmp/mails      how the mail looks, with your own templates"
)]
pub struct Arguments {
    /// File with the alert; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    explain: PathBuf,

    #[command(flatten)]
    config: ConfigFile,

    /// File with alerts that are open (a JSON list, as of `tollgate alerts list --format json`) and were told to everybody: they may speak for it
    #[arg(long, value_name = "FILE")]
    open: Option<PathBuf>,

    /// Also write the mails, as files to be looked at, into this folder
    #[arg(long, value_name = "DIR")]
    mails: Option<PathBuf>,

    /// As if it came at this time (RFC 3339) instead of now: hours, rotations and mutes depend on it
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<Timestamp>,
}

fn at(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write a time like 2026-12-01T22:00:00Z".to_string())
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let alert = match read(&arguments.explain) {
        Ok(alert) => alert,
        Err(problem) => {
            eprintln!("{}: {problem}", arguments.explain.display());
            return Ok(Ended::Unusable);
        }
    };
    let open = match arguments.open.as_deref().map(read_many).transpose() {
        Ok(open) => open.unwrap_or_default(),
        Err(problem) => {
            eprintln!("{}: {problem}", arguments.open.as_deref().unwrap_or(Path::new("-")).display());
            return Ok(Ended::Unusable);
        }
    };
    let rules = assemble::deliver_rules(&loaded.settings);
    let now = arguments.at.unwrap_or_else(clock::now);
    let (severity, kind, extra, currency) = (alert.severity.as_str(), alert.kind.as_str(), alert.excess, alert.currency.as_str());
    let mut out = String::new();
    writeln!(out, "{severity} alert of {}, {kind}, {extra} {currency} extra", alert.team)?;
    say_steps(&mut out, &rules, &alert, now)?;
    let receivers = route(&rules.routes, &alert, now);
    if let Some((until, mute)) = muted(&rules.routes, &alert, now) {
        writeln!(out, "  muted until {until}{}: then, if it is still open", in_brackets(&mute.note))?;
    }
    let standing: Vec<Standing> = open.iter().map(|open| standing(open, &receivers)).collect();
    for named in &receivers {
        say_more(&mut out, &rules, &alert, named, &standing, now)?;
    }
    if !alert.notify {
        writeln!(out, "Nobody: the alert is for topics only (observe mode, or the team's first day)")?;
    } else if receivers.is_empty() {
        writeln!(out, "Nobody is told")?;
    } else {
        let is_muted = muted(&rules.routes, &alert, now).is_some();
        let is_held =
            |named: &Named| is_muted || inhibited(rules.parents_inhibit, &rules.inhibits, &alert, &named.receiver, &standing).is_some();
        writeln!(out, "Told: {}", receivers.iter().map(|named| shown(named, is_held(named))).collect::<Vec<_>>().join(", "))?;
    }
    print(&out)?;
    if let Some(folder) = &arguments.mails {
        write_mails(folder, &alert, &receivers, &loaded.settings)?;
    }
    Ok(Ended::Well)
}

/// What each route makes of it.
fn say_steps(out: &mut String, rules: &DeliverRules, alert: &Alert, now: Timestamp) -> Result<()> {
    let (steps, fallback) = explain(&rules.routes, alert, now);
    for (number, (step, route)) in steps.iter().zip(&rules.routes.routes).enumerate() {
        let what = match step {
            Step::Other(why) => format!("not for this one: {why}"),
            Step::TooLight(why) => format!("too light: {why}"),
            Step::Tells(receivers) => format!("tells {}", receivers.join(", ")),
            Step::TellsLater(receivers, until, hours) => format!("tells {}, but {hours} only: from {until} on", receivers.join(", ")),
            Step::NotAsked => "not asked: a route above tells somebody and does not say go_on = true".to_string(),
        };
        writeln!(out, "  route {}: {what}", number + 1)?;
        if matches!(step, Step::Tells(_) | Step::TellsLater(..)) && route.escalate_after_ms > 0 {
            writeln!(
                out,
                "    and {} if nobody has answered after {} min",
                route.escalate_to.join(", "),
                route.escalate_after_ms / MINUTE_MS
            )?;
        }
    }
    match fallback {
        Some(Step::TooLight(why)) => writeln!(out, "  no route is for it, and deliver.fallback is not for it either: {why}")?,
        Some(_) => writeln!(out, "  no route is for it: deliver.fallback")?,
        None => {}
    }
    Ok(())
}

/// Of one receiver: what speaks for the alert, and what he waits for.
fn say_more(out: &mut String, rules: &DeliverRules, alert: &Alert, named: &Named, standing: &[Standing], now: Timestamp) -> Result<()> {
    if let Some((by, why)) = inhibited(rules.parents_inhibit, &rules.inhibits, alert, &named.receiver, standing) {
        let why = match why {
            Because::Parent => " (this one is a part of it)".to_string(),
            Because::Rule(note) => in_brackets(&note),
        };
        writeln!(out, "  {}: {} speaks for it{why}: told once that is over, if it is still open", named.receiver, by.id)?;
    }
    if let Some(group) = group(&rules.routes, alert, &named.receiver, now) {
        writeln!(out, "  {}: with others of its group, {} s after the first", named.receiver, group.wait_ms / SECOND_MS)?;
    }
    Ok(())
}

fn in_brackets(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(" ({note})") }
}

/// As if each receiver had been told of it.
fn standing(open: &Alert, receivers: &[Named]) -> Standing {
    let told = receivers.iter().filter(|_| !is_closed(open)).map(|named| named.receiver.to_string());
    Standing { alert: open.clone(), told: told.collect() }
}

/// What would be sent by mail, as files.
fn write_mails(folder: &Path, alert: &Alert, receivers: &[Named], settings: &Settings) -> Result<()> {
    let renderer = assemble::renderer(settings)?;
    let mail = settings.mail.as_ref();
    let sender = Sender::new(mail.map_or("Tollgate <tollgate@example.com>", |mail| &mail.from))?;
    let sender = match mail {
        Some(mail) => Sender { unsubscribe: mail.unsubscribe.clone(), one_click: mail.one_click, ..sender },
        None => sender,
    };
    let channel = Channel::Folder(Folder::new(folder, sender));
    let base_url = mail.and_then(|mail| mail.base_url.as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let by_mail: Vec<&Named> = receivers.iter().filter(|named| matches!(named.receiver, Receiver::Mail(_))).collect();
    for named in &by_mail {
        let language = renderer.language_of(named.receiver.address());
        let context = Context { topic: &settings.topics.alerts, base_url, earlier: None, answers: &[], language };
        let rendered = renderer.render(alert, &context)?;
        let letter = Letter { alert, receiver: &named.receiver, earlier: None, date: alert.decided_at };
        runtime.block_on(channel.send(&letter, &rendered))?;
    }
    print(&match by_mail.len() {
        0 => "No mails: nobody is told by mail\n".to_string(),
        _ => format!("Mails are in {}\n", folder.display()),
    })
}

fn shown(named: &Named, is_held: bool) -> String {
    let later = named.waits_until.map(|until| format!(" (from {until} on)")).unwrap_or_default();
    let later = if is_held { " (later: see above)".to_string() } else { later };
    format!("{}{later}", named.receiver)
}

fn read(path: &Path) -> Result<Alert, String> {
    let bytes = input::bytes(path)?;
    if let Ok(list) = serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(&bytes) {
        let alerts = counted(list.len(), "alert");
        return Err(format!("a list of {alerts}, and --explain is of one; `tollgate alerts show ID --format json` prints one of them"));
    }
    let of_violation = || wire::violation_from_json(&bytes).ok().map(|violation| as_alert(&violation));
    wire::alert_from_json(&bytes).or_else(|error| of_violation().ok_or_else(|| format!("no alert, and no violation: {error}")))
}

fn read_many(path: &Path) -> Result<Vec<Alert>, String> {
    serde_json::from_slice(&input::bytes(path)?).map_err(|error| format!("no list of alerts: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alert::Severity;

    #[test]
    fn it_is_said_why_the_fallback_is_not_told_either() {
        let mut alert: Alert = serde_json::from_str(include_str!("../../tests/data/alerts/spike.json")).unwrap();
        let mut rules = DeliverRules::default();
        rules.routes.fallback = vec!["finops@example.com".to_string()];
        let said = |alert: &Alert| {
            let mut out = String::new();
            say_steps(&mut out, &rules, alert, alert.decided_at).unwrap();
            out
        };
        assert_eq!(said(&alert), "  no route is for it: deliver.fallback\n");
        alert.severity = Severity::Info;
        assert_eq!(said(&alert), "  no route is for it, and deliver.fallback is not for it either: info is less than warning\n");
    }

    #[test]
    fn a_list_is_not_taken_for_an_alert() {
        let spike = include_str!("../../tests/data/alerts/spike.json");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts.json");
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let how = "`tollgate alerts show ID --format json` prints one of them";
        assert_eq!(read(format!("[{spike},{spike}]")), Err(format!("a list of 2 alerts, and --explain is of one; {how}")));
        assert_eq!(read(format!("[{spike}]")), Err(format!("a list of 1 alert, and --explain is of one; {how}")));
        assert!(read("{}".to_string()).unwrap_err().starts_with("no alert, and no violation: "));
        assert!(read(spike.to_string()).is_ok());
        let violation = read(include_str!("../../schemas/examples/violation/valid/accepted_for_a_week.json").to_string()).unwrap();
        assert!(violation.dimensions.contains_key("policy"), "what routes ask of a violation");
    }
}
