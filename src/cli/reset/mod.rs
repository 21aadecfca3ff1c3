//! `tollgate reset`: offsets and the state that stands for them, moved together.
//!
//! Two changes keep their meaning: computing all anew from a point of the input (shard log and state go), and going forward in the
//! input without what lies between. Going back with the state kept would count twice, and is refused.

mod plan;
mod steps;
mod told;

use anyhow::Result;

use self::plan::Target;
use self::steps::{Scope, Steps};
use super::confirm::{Answer, confirm};
use super::run::Only;
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, moment, print};
use crate::clock;

/// Move to another point of the input, or repair what a reset elsewhere has broken
///
/// Without --only all is computed anew from the given point of usage-events: the shard log, the state and intake's positions are deleted
/// and created again; inputs, alerts and roll-ups stay, and so does what people were told, so that nobody is told twice. Resources, activity
/// and feedback are read again from the same time on (with --to-offset and --shift-by they are not); the bill and the lineage graph stay.
/// Stop tollgate first: it refuses while a group has members. First says from where to where, for every partition, then asks. Ends with 2
/// if something prevents it.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("target").required(true),
    after_help = "Examples:\n  tollgate reset --config tollgate.toml --repair --dry-run                  state and offsets disagree\n  tollgate reset --config tollgate.toml --to-datetime 2026-03-01T00:00:00Z   compute all anew from there\n  tollgate reset --config tollgate.toml --repair --skip-lost                 retention was faster"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Set each group's offsets to what its state says
    #[arg(long, group = "target")]
    repair: bool,

    /// With --repair: where retention has removed what intake would read next, go on with the first record that is left
    #[arg(long, requires = "repair")]
    skip_lost: bool,

    /// To the beginning of what the topic still holds
    #[arg(long, group = "target")]
    to_earliest: bool,

    /// To the end: what stands there now is not read
    #[arg(long, group = "target")]
    to_latest: bool,

    /// To the first record stamped at this time or later: 2026-03-01T10:00:00Z
    #[arg(long, group = "target", value_name = "TIME", value_parser = moment::parse)]
    to_datetime: Option<moment::Moment>,

    /// To the first record that is at most this old: 2h30m, 7d, or PT2H30M
    #[arg(long, group = "target", value_name = "DURATION", value_parser = moment::duration)]
    by_duration: Option<i64>,

    /// To this offset in every partition, or as near as the log allows
    #[arg(long, group = "target", value_name = "OFFSET")]
    to_offset: Option<i64>,

    /// So many records on, or back with a minus
    #[arg(long, group = "target", value_name = "COUNT", allow_negative_numbers = true)]
    shift_by: Option<i64>,

    /// One role alone. intake: forward only, its sums stay. watch: rebuilt from what the shard log still holds (--to-earliest). deliver:
    /// which alerts and violations are looked at again (with --to-offset and --shift-by alerts only); whoever was told of one is not told
    /// again
    #[arg(long, value_enum, value_name = "ROLE")]
    only: Option<Only>,

    /// As a new deployment: forget also who was told of what
    #[arg(long, conflicts_with_all = ["only", "repair"])]
    everything: bool,

    /// Say what would change, change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Wait for members to leave, kafka.session_timeout at most: so long a process that was killed is one
    #[arg(long)]
    wait: bool,

    /// Move offsets although the group has members; a live one will write its own over them
    #[arg(long)]
    force: bool,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let scope = match scope(arguments) {
        Ok(scope) => scope,
        Err(problem) => return Ok(unusable(&[problem])),
    };
    let mut steps = Steps::new(&loaded, scope)?;
    // A dry run may be done at any time, but for a repair: while tollgate runs, the offsets go on between one look and the next, and what is well
    // looks broken.
    if !arguments.dry_run || arguments.repair {
        let problems = steps.members(arguments.wait, arguments.force)?;
        if !problems.is_empty() {
            return Ok(unusable(&problems));
        }
    }
    let problems = steps.plan(target(arguments))?;
    print(&steps.text())?;
    if !problems.is_empty() {
        print("\n")?;
        return Ok(unusable(&problems));
    }
    if steps.is_empty() {
        print("Nothing to change.\n")?;
        return Ok(Ended::Well);
    }
    if arguments.dry_run {
        print("\nDry run: nothing was changed.\n")?;
        return Ok(Ended::Well);
    }
    if confirm("Do it?", arguments.yes)? != Answer::Yes {
        return Ok(Ended::Unusable);
    }
    steps.execute()?;
    print("\nDone. tollgate can be started again.\n")?;
    Ok(Ended::Well)
}

fn unusable(problems: &[String]) -> Ended {
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    Ended::Unusable
}

fn scope(arguments: &Arguments) -> Result<Scope, String> {
    let skip_lost = arguments.skip_lost;
    match (arguments.only, arguments.repair) {
        (None, true) => Ok(Scope::Repair { intake: true, watch: true, skip_lost }),
        (Some(Only::Intake), true) => Ok(Scope::Repair { intake: true, watch: false, skip_lost }),
        (Some(Only::Watch), true) => Ok(Scope::Repair { intake: false, watch: true, skip_lost }),
        (Some(Only::Deliver), true) => Err("deliver's receipts go with any offset: there is nothing to repair".to_string()),
        (Some(Only::Ledger), _) => {
            Err("the ledger needs no reset: import a bill again, and its rows replace their predecessors".to_string())
        }
        (Some(Only::Lineage), _) => {
            Err("the lineage graph has no reset: end tollgate, delete the group <application_id>-lineage and the topic \
            <application_id>-lineage-changelog, run `tollgate topics create`, and the graph is built anew from what the lineage log holds"
                .to_string())
        }
        (None, false) => Ok(Scope::Anew { everything: arguments.everything }),
        (Some(Only::Intake), false) => Ok(Scope::Intake),
        (Some(Only::Deliver), false) => Ok(Scope::Deliver),
        (Some(Only::Watch), false) if arguments.to_earliest => Ok(Scope::Watch),
        (Some(Only::Watch), false) => {
            Err("the state of watch stands for all that it has read: it can be repaired (--repair) or rebuilt (--to-earliest)".to_string())
        }
    }
}

/// `None`: a repair.
fn target(arguments: &Arguments) -> Option<Target> {
    let now = clock::now();
    let by_time = arguments.to_datetime.map(|moment| moment.at(now)).or(arguments.by_duration.map(|ms| now.minus_ms(ms)));
    [
        arguments.to_earliest.then_some(Target::Earliest),
        arguments.to_latest.then_some(Target::Latest),
        by_time.map(Target::At),
        arguments.to_offset.map(Target::Offset),
        arguments.shift_by.map(Target::ShiftBy),
    ]
    .into_iter()
    .flatten()
    .next()
}
