//! CLI: what a person types. One file per command; each does its work by calling other rooms and returns how the process ends.

mod access;
mod acls;
mod alerts;
mod answers;
mod ask;
pub mod assemble;
mod backtest;
pub mod bench;
mod check;
mod config;
mod confirm;
mod data_flow;
mod demo;
mod duty;
mod explain;
mod import;
mod input;
mod mail;
mod moment;
mod policy;
mod price;
mod ready;
mod redrive;
mod report;
mod reset;
mod route;
pub mod run;
mod said;
mod score;
mod showback;
mod telemetry;
pub mod topics;
mod tune;
mod violations;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use self::telemetry::Logging;
use crate::config::problem::Problem;
use crate::config::settings::LogFormat;
use crate::config::{self as settings, Loaded};

/// Exit code for files and settings that cannot be used; 1 is for everything that fails while running.
const UNUSABLE: u8 = 2;
const REVIEW: u8 = 3;

/// Tollgate watches cloud and AI usage on Kafka and tells the right person, within seconds, when spend leaves its normal.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  tollgate config default > tollgate.toml      every option, with its default and a comment\n  tollgate check --config tollgate.toml        is it right, and is everything reachable?\n  tollgate topics create --config tollgate.toml"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// How log lines look on stderr [default: log.format of the config, else text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,

    /// What is logged: error, warn, info, debug, trace, or by module, info,tollgate::watch=debug [default: log.level of the
    /// config, else info]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = telemetry::level)]
    log_level: Option<String>,
}

/// Of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArguments),
    Check(check::Arguments),
    Topics(TopicsArguments),
    Import(import::Arguments),
    Price(price::Arguments),
    Showback(showback::Arguments),
    Redrive(redrive::Arguments),
    Reset(reset::Arguments),
    Alerts(alerts::Arguments),
    Violations(violations::Arguments),
    Route(route::Arguments),
    Mail(mail::Arguments),
    Policy(policy::Arguments),
    Ask(ask::Arguments),
    DataFlow(data_flow::Arguments),
    Access(access::Arguments),
    Config(config::Arguments),
    Demo(demo::Arguments),
    Score(score::Arguments),
    Backtest(backtest::Arguments),
    Tune(tune::Arguments),
    Explain(explain::Arguments),
    Bench(bench::Arguments),
}

/// Run Tollgate: take in usage, watch it, send alerts
///
/// Runs until SIGTERM or Ctrl-C and finishes what it has begun. SIGHUP reads the config again; if anything in it is wrong, everything
/// stays as it was. Start more processes with the same config to share the work.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate run --config tollgate.toml\n  tollgate run --config tollgate.toml --only watch")]
struct RunArguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Run one role only, to scale or restart it by itself; without it all roles run in this process
    #[arg(long, value_enum, value_name = "ROLE")]
    only: Option<run::Only>,
}

/// Create the topics, check those that exist, or print who has to be allowed what
#[derive(Debug, clap::Args)]
struct TopicsArguments {
    #[command(subcommand)]
    action: TopicsAction,
}

#[derive(Debug, Subcommand)]
enum TopicsAction {
    /// Create the topics that are missing, with the partitions and settings that Tollgate needs
    ///
    /// Topics that exist are compared and left as they are, so it may run before every start. Ends with 2 if one of them must not be
    /// used as it is.
    #[command(after_help = "Example:\n  tollgate topics create --config tollgate.toml")]
    Create(ConfigFile),
    /// Compare the topics with what Tollgate needs; changes nothing
    ///
    /// Ends with 2 if a topic is missing or must not be used as it is.
    #[command(after_help = "Example:\n  tollgate topics check --config tollgate.toml")]
    Check(ConfigFile),
    /// Print what Kafka has to allow, as commands for kafka-acls.sh; asks nobody
    ///
    /// For a cluster with an authorizer. Exactly what is needed, and no right on the cluster: own topics, groups and transactional ids by
    /// their prefix, which begins with the application id, and yours by name.
    #[command(
        after_help = "Examples:\n  tollgate topics acls User:tollgate --config tollgate.toml                 # run, check\n  tollgate topics acls User:setup --for create --config tollgate.toml      # topics create\n  tollgate topics acls User:ann --for operate --config tollgate.toml       # reset, redrive, import ..\n  tollgate topics acls User:tollgate --command-config admin.properties | sh"
    )]
    Acls(acls::Arguments),
}

/// Which configuration to use; the same for every command that needs one.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFile {
    /// Config file; without it the defaults hold, with what TOLLGATE_<SECTION>__<KEY> variables say
    #[arg(long = "config", short = 'c', value_name = "FILE", env = "TOLLGATE_CONFIG")]
    path: Option<PathBuf>,
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// Files or settings cannot be used; what is wrong has been printed.
    Unusable,
    /// It did its work, and the answer is no.
    No,
    /// Neither yes nor no: somebody has to look.
    Review,
}

/// Parses the command line and does what it says.
///
/// # Errors
/// Whatever the command could not do; main prints the chain once.
pub fn main() -> Result<ExitCode> {
    let empty: BTreeSet<String> = settings::variables().filter(|(_, value)| value.is_empty()).map(|(name, _)| name).collect();
    let matches = without(&empty, Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let logging = Logging { format: arguments.log_format.map(Format::into_log), level: arguments.log_level };
    let ended = match &arguments.command {
        Command::Run(arguments) => run(arguments, &logging)?,
        Command::Check(arguments) => check::run(arguments, &logging)?,
        Command::Topics(arguments) => topics(&arguments.action, &logging)?,
        Command::Import(arguments) => import::run(arguments, &logging)?,
        Command::Price(arguments) => price::run(arguments)?,
        Command::Showback(arguments) => showback::run(arguments, &logging)?,
        Command::Redrive(arguments) => redrive::run(arguments, &logging)?,
        Command::Reset(arguments) => reset::run(arguments, &logging)?,
        Command::Alerts(arguments) => alerts::run(arguments, &logging)?,
        Command::Violations(arguments) => violations::run(arguments, &logging)?,
        Command::Route(arguments) => route::run(arguments)?,
        Command::Mail(arguments) => mail::run(arguments)?,
        Command::Policy(arguments) => policy::run(arguments)?,
        Command::Ask(arguments) => ask::run(arguments, &logging)?,
        Command::DataFlow(arguments) => data_flow::run(arguments, &logging)?,
        Command::Access(arguments) => access::run(arguments, &logging)?,
        Command::Config(arguments) => config::run(arguments)?,
        Command::Demo(arguments) => demo::run(arguments, &logging)?,
        Command::Score(arguments) => score::run(arguments)?,
        Command::Backtest(arguments) => backtest::run(arguments)?,
        Command::Tune(arguments) => tune::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Bench(arguments) => bench::run(arguments, &logging)?,
    };
    Ok(match ended {
        Ended::Well => ExitCode::SUCCESS,
        Ended::Unusable => ExitCode::from(UNUSABLE),
        Ended::No => ExitCode::FAILURE,
        Ended::Review => ExitCode::from(REVIEW),
    })
}

/// A variable that is set to nothing is as good as none: what sets it has no way to leave it out.
fn without(variables: &BTreeSet<String>, command: clap::Command) -> clap::Command {
    let is_empty = |argument: &clap::Arg| argument.get_env().and_then(|name| name.to_str()).is_some_and(|name| variables.contains(name));
    let command = command.mut_args(|argument| if is_empty(&argument) { argument.env(None) } else { argument });
    command.mut_subcommands(|command| without(variables, command))
}

fn run(arguments: &RunArguments, logging: &Logging) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let level = telemetry::start(logging, &loaded.settings.log)?;
    let file = arguments.config.clone();
    let reload = move || {
        let loaded = file.load()?;
        // Known to parse; and if it cannot be changed, logging goes on as it is.
        if let Err(error) = level.set(&loaded.settings.log.level) {
            tracing::warn!("{error:#}");
        }
        Ok(loaded)
    };
    run::run(loaded, reload, arguments.only)?;
    Ok(Ended::Well)
}

fn topics(action: &TopicsAction, logging: &Logging) -> Result<Ended> {
    let (TopicsAction::Create(file) | TopicsAction::Check(file) | TopicsAction::Acls(acls::Arguments { config: file, .. })) = action;
    let Some(loaded) = file.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let usable = match action {
        TopicsAction::Create(_) => topics::create(&loaded.settings)?,
        TopicsAction::Check(_) => topics::check(&loaded.settings)?,
        TopicsAction::Acls(arguments) => acls::show(arguments, &loaded.settings).map(|()| true)?,
    };
    Ok(if usable { Ended::Well } else { Ended::Unusable })
}

impl Format {
    fn into_log(self) -> LogFormat {
        match self {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        }
    }
}

impl ConfigFile {
    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        settings::load(self.path.as_deref(), settings::variables())
    }

    /// What reports call it.
    fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "built-in defaults and environment".to_string(), |path| path.display().to_string())
    }

    /// For commands that only need a configuration to go on: prints what is wrong, one line each, and warnings to stderr as well.
    fn load_or_say(&self) -> Option<Loaded> {
        match self.load() {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                Some(loaded)
            }
            Err(problems) => {
                problems.iter().for_each(|problem| eprintln!("{problem}"));
                None
            }
        }
    }
}

/// A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// Nothing can be written to stdout.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_log_level_that_is_none_is_refused_before_anything_is_done() {
        let with = |level: &str| Arguments::try_parse_from(["tollgate", "config", "default", "--log-level", level]);
        assert_eq!(with("tollgate=debug,rdkafka=warn").unwrap().log_level.as_deref(), Some("tollgate=debug,rdkafka=warn"));
        let refused = with("warning").unwrap_err();
        assert!(
            refused.exit_code() == 2 && refused.to_string().contains("'--log-level <LEVEL>': did you mean 'warn'? write error"),
            "{refused}"
        );
        assert!(with("info,tollgate").unwrap_err().to_string().contains("'tollgate' is no level; write error, warn"));
    }

    #[test]
    fn a_variable_without_a_value_sets_nothing() {
        fn asked(command: &clap::Command, variable: &str) -> usize {
            let own = command.get_arguments().filter(|argument| argument.get_env().is_some_and(|name| name == variable)).count();
            own + command.get_subcommands().map(|command| asked(command, variable)).sum::<usize>()
        }
        let command = Arguments::command();
        let users = asked(&command, "USER");
        assert!(users > 0 && asked(&command, "TOLLGATE_CONFIG") > 10);
        let command = without(&BTreeSet::from(["TOLLGATE_CONFIG".to_string()]), command);
        assert_eq!((asked(&command, "USER"), asked(&command, "TOLLGATE_CONFIG")), (users, 0));
        command.debug_assert();
    }

    #[test]
    fn every_command_and_option_says_what_it_is_for() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} {} says nothing", command.get_name(), option.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
