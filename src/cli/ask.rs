//! `tollgate ask`: would this be allowed? For pipelines, before anything is deployed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, Format, data_flow, input, moment, policy, print};
use crate::clock;
use crate::config::Problem;
use crate::config::problem::Place;
use crate::http::compliance::{self, Answer, Plan, Unusable};
use crate::policy::Decision;

/// Ask the policies about a plan before it is carried out
///
/// A plan is TOML or JSON: what would stand in a usage event (team, project, account, model, provider, region, environment, tags), or with kind =
/// "deployment" in an activity event. The answer is that of the policies that judge events. Ends with 0 if it is allowed, 1 if it is
/// denied, 3 if somebody has to review it, 2 if the plan or the policies cannot be read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate ask plan.toml --policies policies\n  tollgate ask plan.toml --lineage --config tollgate.toml\n  echo '{\"team\":\"search\",\"provider\":\"openai\",\"model\":\"gpt-4o\"}' | tollgate ask - --policies policies"
)]
pub struct Arguments {
    /// File with the plan, .toml or .json; - reads JSON from stdin
    #[arg(value_name = "PLAN")]
    plan: PathBuf,

    /// Folder of policies [default: policies.dir of the config]
    #[arg(long, value_name = "FOLDER")]
    policies: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigFile,

    /// Take the origins of the plan's model from the lineage of the running Tollgate, whose topics are read
    #[arg(long)]
    lineage: bool,

    /// Answer as of then [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<moment::Moment>,

    /// How the answer is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let folder = match policy::folder(arguments.policies.as_deref(), &loaded) {
        Ok(folder) => folder,
        Err(ended) => return Ok(ended),
    };
    let Some(folder) = folder.as_deref() else {
        eprintln!("there are no policies to ask: give --policies FOLDER, or set policies.dir in the config");
        return Ok(Ended::Unusable);
    };
    let plan = match plan(&arguments.plan) {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let now = clock::now();
    let known = match plan.model().filter(|_| arguments.lineage) {
        Some((model, version)) => {
            telemetry::start(logging, &loaded.settings.log)?;
            data_flow::of_config(&loaded).known(model, version, now)?
        }
        None => None,
    };
    let at = arguments.at.map_or(now, |moment| moment.at(now));
    let answer = compliance::answer(plan, folder, &loaded.intake.prices, known.as_ref(), at);
    print(&match arguments.format {
        Format::Json => format!("{:#}\n", answer.json()),
        Format::Text => format!("{}\n", text(&answer)),
    })?;
    Ok(match answer.advice.decision {
        Decision::Allow => Ended::Well,
        Decision::Review => Ended::Review,
        Decision::Deny => Ended::No,
    })
}

fn plan(path: &Path) -> Result<Plan, Problem> {
    let whole = Place::whole(&input::shown(path));
    let text = input::text(path).map_err(|what| Problem::new(&whole, what))?;
    let at = |line: usize| Place { line: u32::try_from(line).unwrap_or(u32::MAX), ..whole.clone() };
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let json: Value = if is_toml {
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(span.start));
            Problem::new(&at(line), format!("no TOML: {}", error.message()))
        })?
    } else {
        serde_json::from_str(&text).map_err(|error| {
            let said = error.to_string();
            let what = said.split(" at line ").next().unwrap_or_default();
            Problem::new(&at(error.line()), format!("no JSON at column {}: {what}", error.column()))
        })?
    };
    compliance::plan(&json).map_err(|Unusable { part, what }| {
        let offset = part.and_then(|part| if is_toml { toml_key(&text, &part) } else { json_key(&text, &part) });
        Problem::new(&at(offset.map_or(0, line_of)), what)
    })
}

/// Where a part of a plan stands.
fn toml_key(text: &str, name: &str) -> Option<usize> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let key = table.get_ref().keys().find(|key| key.get_ref() == name)?;
    Some(key.span().start)
}

/// Of valid JSON.
fn json_key(text: &str, name: &str) -> Option<usize> {
    let (mut depth, mut from) = (0_usize, 0);
    while let Some(found) = text.get(from..)?.find(['{', '}', '[', ']', '"']) {
        let place = from + found;
        from = place + 1;
        match text.as_bytes().get(place)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {
                let mut read = serde_json::Deserializer::from_str(text.get(place..)?).into_iter::<String>();
                let string = read.next()?.ok()?;
                from = place + read.byte_offset();
                if depth == 1 && string == name && text.get(from..)?.trim_start().starts_with(':') {
                    return Some(place);
                }
            }
        }
    }
    None
}

fn text(answer: &Answer) -> String {
    let advice = &answer.advice;
    let mut lines = vec![match advice.decision {
        Decision::Allow => "ALLOWED".to_string(),
        Decision::Review => "REVIEW: somebody has to look at it".to_string(),
        Decision::Deny => "DENIED".to_string(),
    }];
    for reason in &advice.reasons {
        let severity = reason.severity.as_str();
        if let Some((until, by)) = &reason.exempt {
            lines.push(format!("  {} ({severity}): {}; exempt until {until}, approved by {by}", reason.policy, reason.message));
            continue;
        }
        if reason.is_unknown {
            let missing = if reason.missing.is_empty() { "a tag that it asks for".to_string() } else { reason.missing.join(", ") };
            lines.push(format!("  {} ({severity}): cannot be told, the plan does not say {missing}", reason.policy));
        } else {
            lines.push(format!("  {} ({severity}, {}): {}", reason.policy, reason.decision.as_str(), reason.message));
        }
        let remedy = reason.remedy.as_ref().filter(|_| !reason.is_unknown);
        lines.extend(remedy.map(|remedy| format!("    what to do: {remedy}")));
        lines.push(format!("    ask: {}", reason.owner));
    }
    for other in &advice.alternatives {
        let word = if other.decision == Decision::Allow { "allowed" } else { "for review only" };
        lines.push(format!("  {word} with {}: {}", other.field, other.values.join(", ")));
    }
    lines.extend(answer.cost.map(|(amount, currency)| format!("  about {amount} {currency} a month", currency = currency.as_str())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_plan_has_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let problem = plan(&path).err().expect("a problem").to_string();
            problem.replace(&format!("{}/", folder.path().display()), "")
        };
        let cases = [
            (
                "p.toml",
                "team = \"search\"\n\nprovidr = \"openai\"\n",
                "p.toml:3: 'providr' is nothing that a plan of this kind has; did you mean 'provider'?",
            ),
            ("p.toml", "team = \"search\"\nmodel = \n", "p.toml:2: no TOML: "),
            ("p.toml", "team = \"search\"\nmodel = 5\n", "p.toml:2: 'model' is 5, it should be "),
            ("p.json", "{\n \"tags\": {\"modl\": \"modl\"},\n \"modl\": \"x\"}", "p.json:3: 'modl' is nothing"),
            (
                "p.json",
                "{\"team\": \"a:b\",\n\"input_tokens_per_month\": -1}",
                "p.json:2: 'input_tokens_per_month' is -1, it should be a whole number",
            ),
            ("p.json", "{\"kind\":\n\"party\"}", "p.json:1: 'kind' is not one of "),
            ("p.json", "{\n\"team\" \"x\"}", "p.json:2: no JSON at column 8: expected `:`"),
            ("p.json", "[]", "p.json: a plan is an object: "),
        ];
        for (name, text, wanted) in cases {
            let said = said(name, text);
            assert!(said.starts_with(wanted), "{said}");
        }
    }
}
