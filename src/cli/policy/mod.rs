//! `tollgate policy`: are the policies right, do their tests pass, what is there, and what do they say of an event and why?

mod event;
mod proof;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Ended, Format, moment, print};
use crate::clock;
use crate::config::Loaded;
use crate::config::policies::{self, PolicyFolder};
use crate::model::counted::counted;
use crate::policy::fields::Subject;
use crate::policy::{Clause, Judged, Mode, Policy, Sample, Unknown, Verdict};

/// Check, test, list and explain policies
///
/// A folder of policies has `global/*.toml`, the standards for everybody, and a folder for each domain with what its owners add for
/// their own teams. Conditions are written in CEL, the Common Expression Language.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read all policies: syntax, types, fields, conflicts, domains that loosen a global standard
    ///
    /// One line for each problem, with file, line, column, and what to do. Ends with 2 if there is one. Warns of packs whose source may be
    /// out of date, and of exemptions that end within two weeks or have ended.
    #[command(after_help = "Example:\n  tollgate policy check policies")]
    Check(Folder),
    /// Run the tests that stand beside the policies
    ///
    /// Each test is an event and what its policy has to say of it. Also says which policies were never seen to be violated or kept,
    /// and which parts of conditions no test has seen both true and false. Ends with 1 if a test fails.
    #[command(after_help = "Example:\n  tollgate policy test policies")]
    Test(Folder),
    /// List the policies, with owner, severity, mode and domain
    #[command(after_help = "Example:\n  tollgate policy list policies --format json")]
    List(List),
    /// What the policies say of an event, and why: each part of each condition, with the values that it asked for
    ///
    /// The event is JSON, a form of the input topics or a part of one; fields that no policy can ask for are passed over. Ends with 1
    /// if a policy is violated.
    #[command(
        after_help = "Examples:\n  tollgate policy explain policies --event usage.json\n  echo '{\"team\":\"search\",\"provider\":\"openai\"}' | tollgate policy explain policies --event -"
    )]
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// The folder with `global` and the domains in it
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    folder: Folder,

    /// How the list is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct Explain {
    #[command(flatten)]
    folder: Folder,

    /// File with the event; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    event: PathBuf,

    /// What kind of event it is
    #[arg(long, value_enum, value_name = "KIND", default_value = "usage")]
    kind: Kind,

    /// This policy alone
    #[arg(long, value_name = "ID")]
    policy: Option<String>,

    /// Judge as of then [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<moment::Moment>,

    /// How the answer is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Usage,
    Resource,
    Activity,
}

pub fn run(arguments: &Arguments) -> Result<Ended> {
    match &arguments.action {
        Action::Check(folder) => check(folder),
        Action::Test(folder) => {
            let Some(read) = load_or_say(&folder.folder) else { return Ok(Ended::Unusable) };
            let (out, all_pass) = proof::run(&read);
            print(&out)?;
            Ok(if all_pass { Ended::Well } else { Ended::No })
        }
        Action::List(options) => {
            let Some(read) = load_or_say(&options.folder.folder) else { return Ok(Ended::Unusable) };
            print(&list(&read, options.format))?;
            Ok(Ended::Well)
        }
        Action::Explain(options) => explain(options),
    }
}

fn load_or_say(folder: &Path) -> Option<PolicyFolder> {
    match policies::load(folder) {
        Ok(read) => Some(read),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            None
        }
    }
}

/// For commands that only need policies: those of a folder that is named, else those of the config, if it has any. What cannot be read is
/// said, and how the command ends then.
pub(super) fn folder(named: Option<&Path>, loaded: &Loaded) -> Result<Option<Arc<PolicyFolder>>, Ended> {
    match named {
        Some(folder) => load_or_say(folder).map(|folder| Some(Arc::new(folder))).ok_or(Ended::Unusable),
        None => Ok(loaded.policies.clone()),
    }
}

fn check(folder: &Folder) -> Result<Ended> {
    let Some(read) = load_or_say(&folder.folder) else { return Ok(Ended::Unusable) };
    for notice in read.notices(clock::now()) {
        eprintln!("warning: {notice}");
    }
    let all = &read.policies;
    let global = all.policies.iter().filter(|policy| policy.domain.is_none()).count();
    print(&format!(
        "{}: {}, {} of {} domains, {}, {} in {}\n",
        folder.folder.display(),
        counted(global, "global policy"),
        all.policies.len() - global,
        all.domains.len(),
        counted(all.exemptions.len(), "exemption"),
        counted(read.tests.len(), "test"),
        counted(read.files, "file"),
    ))?;
    Ok(Ended::Well)
}

fn list(read: &PolicyFolder, format: Format) -> String {
    let policies = &read.policies.policies;
    if format == Format::Json {
        let each = policies.iter().zip(&read.places).map(|(policy, place)| {
            json!({
                "id": *policy.id, "domain": policy.domain.as_deref(), "owner": *policy.owner, "severity": policy.severity.as_str(),
                "mode": mode(policy.mode), "applies_to": policy.when.subject.name(), "when": policy.when.source,
                "unless": policy.unless.as_ref().map(|unless| &unless.source), "place": place.to_string(),
                "pack": policy.pack.as_deref(), "source": policy.source.as_deref(), "as_of": policy.as_of,
            })
        });
        return format!("{}\n", Value::Array(each.collect()));
    }
    let width = policies.iter().map(|policy| policy.id.len()).max().unwrap_or_default().max(6);
    let wide = policies.iter().filter_map(|policy| policy.domain.as_ref()).map(|domain| domain.len()).max().unwrap_or_default().max(6);
    let mut out = format!("{:<width$}  {:<8}  {:<7}  {:<8}  {:<wide$}  owner\n", "policy", "severity", "mode", "of", "domain");
    for policy in policies {
        let domain = policy.domain.as_deref().unwrap_or("global");
        let (severity, mode) = (policy.severity.as_str(), mode(policy.mode));
        let (id, of, owner) = (&policy.id, policy.when.subject.name(), &policy.owner);
        out.push_str(&format!("{id:<width$}  {severity:<8}  {mode:<7}  {of:<8}  {domain:<wide$}  {owner}\n"));
    }
    out
}

fn explain(options: &Explain) -> Result<Ended> {
    let Some(read) = load_or_say(&options.folder.folder) else { return Ok(Ended::Unusable) };
    let subject = match options.kind {
        Kind::Usage => Subject::Usage,
        Kind::Resource => Subject::Resource,
        Kind::Activity => Subject::Activity,
    };
    let known = |id: &String| read.policies.policies.iter().any(|policy| *policy.id == **id);
    if let Some(id) = options.policy.as_ref().filter(|id| !known(id)) {
        eprintln!("--policy: there is no policy '{id}'; `tollgate policy list` names all");
        return Ok(Ended::Unusable);
    }
    let sample = match event::read(&options.event, subject) {
        Ok(mut sample) => {
            sample.locate(&read.regions);
            sample
        }
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let at = options.at.map_or_else(clock::now, |moment| moment.at(clock::now()));
    let (mut lines, mut answers, mut is_violated) = (Vec::new(), Vec::new(), false);
    sample.with_facts(|facts| {
        for Judged { policy, verdict } in read.policies.judge(subject, facts, sample.text("team").unwrap_or_default(), at) {
            if options.policy.as_ref().is_some_and(|id| **id != *policy.id) {
                continue;
            }
            is_violated |= matches!(verdict, Verdict::Violates) && policy.mode != Mode::DryRun;
            let parts = clauses(policy, &read, &sample);
            answers.push(as_json(policy, &verdict, &parts, policy.message.with(facts)));
            let remedy = policy.remedy.as_ref().map(|remedy| remedy.with(facts));
            lines.push(as_text(policy, &verdict, &parts, &policy.message.with(facts), remedy.as_deref()));
        }
    });
    print(&match options.format {
        Format::Json => format!("{}\n", Value::Array(answers)),
        Format::Text if lines.is_empty() => "no policy applies to this event\n".to_string(),
        Format::Text => lines.iter().map(|line| format!("{line}\n")).collect(),
    })?;
    Ok(if is_violated { Ended::No } else { Ended::Well })
}

/// Of `when`, then of `unless`.
fn clauses(policy: &Policy, read: &PolicyFolder, sample: &Sample) -> [Vec<Clause>; 2] {
    let no_sets = crate::policy::Sets::default();
    let sets = read.sets.get(policy.domain.as_deref().unwrap_or_default()).unwrap_or(&no_sets);
    sample.with_facts(|facts| {
        let of = |condition: &crate::policy::Condition| condition.clauses(facts, sets);
        [of(&policy.when), policy.unless.as_ref().map(of).unwrap_or_default()]
    })
}

fn as_text(policy: &Policy, verdict: &Verdict<'_>, parts: &[Vec<Clause>; 2], message: &str, remedy: Option<&str>) -> String {
    let mut text = match verdict {
        Verdict::Violates => format!("VIOLATED  {} ({}, {}): {message}", policy.id, policy.severity.as_str(), mode(policy.mode)),
        Verdict::Passes => format!("kept      {}", policy.id),
        Verdict::Exempt(exemption) => format!(
            "exempt    {}: {message}; until {}, approved by {}: {}",
            policy.id, exemption.until, exemption.approved_by, exemption.reason
        ),
        Verdict::Indeterminate(why) => format!("UNKNOWN   {}: {}", policy.id, unknown(*why, policy.when.subject)),
    };
    for (word, clauses) in ["when", "unless"].iter().zip(parts) {
        for clause in clauses {
            let holds = clause.holds.map_or("unknown", |holds| if holds { "true" } else { "false" });
            let values: Vec<String> = clause.values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            text.push_str(&format!("\n    {word:<6} {holds:<7}  {}    [{}]", clause.source, values.join("; ")));
        }
    }
    if let (Verdict::Violates, Some(remedy)) = (verdict, remedy) {
        text.push_str(&format!("\n    what to do: {remedy} ({})", policy.owner));
    }
    text
}

fn as_json(policy: &Policy, verdict: &Verdict<'_>, parts: &[Vec<Clause>; 2], message: String) -> Value {
    let (word, exemption) = match verdict {
        Verdict::Passes => ("pass", None),
        Verdict::Violates => ("violation", None),
        Verdict::Exempt(exemption) => {
            ("exempt", Some(json!({"until": exemption.until.to_string(), "approved_by": *exemption.approved_by})))
        }
        Verdict::Indeterminate(_) => ("indeterminate", None),
    };
    let clause = |clause: &Clause| {
        let values: serde_json::Map<String, Value> = clause.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"source": clause.source, "holds": clause.holds, "values": values})
    };
    let [when, unless] = parts.each_ref().map(|clauses| clauses.iter().map(clause).collect::<Vec<_>>());
    json!({
        "policy": *policy.id, "verdict": word, "severity": policy.severity.as_str(), "mode": mode(policy.mode), "owner": *policy.owner,
        "message": message, "exemption": exemption, "when": when, "unless": unless,
    })
}

fn unknown(why: Unknown, subject: Subject) -> String {
    let name = |field: usize| subject.fields().get(field).map_or("a field", |field| field.name);
    match why {
        Unknown::Missing(field) => format!("the event does not say its {}", name(field)),
        Unknown::MissingTag(field) => format!("the event's {} lack the one that is asked for", name(field)),
        Unknown::NoSet => "no set is given for this key, and none for \"*\"".to_string(),
        Unknown::Arithmetic => "a number became too large, or was divided by zero".to_string(),
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Warn => "warn",
        Mode::DryRun => "dry-run",
    }
}
