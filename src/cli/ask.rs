//! `tollgate ask`: would this be allowed? For pipelines, before anything is deployed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, Format, data_flow, input, moment, policy, print};
use crate::clock;
use crate::http::compliance::{self, Answer};
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
    let plan = match read(&arguments.plan).and_then(|json| compliance::plan(&json)) {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("{}: {problem}", arguments.plan.display());
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

fn read(path: &Path) -> Result<Value, String> {
    let text = input::text(path)?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        return toml::from_str(&text).map_err(|error| format!("no TOML: {}", error.message()));
    }
    serde_json::from_str(&text).map_err(|error| format!("no JSON: {error}"))
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
