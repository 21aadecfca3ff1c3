//! `tollgate import`: what a provider exports into files becomes events.

mod lines;
mod parquet;
mod publish;
mod rows;
mod survey;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use self::publish::{Delivery, Publisher, Work};
use self::rows::BytesRead;
use self::survey::Survey;
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, print};
use crate::clock;
use crate::model::counted::counted;
use crate::model::hash::hash128;

/// Read a provider's export from files
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Focus(FocusArguments),
}

/// Publish a bill in the FOCUS format (1.0 to 1.4; Parquet, or CSV, gzipped or not) to the billing topic, each row once
///
/// Every row is first held against the specification: what does not conform is counted by rule (all of it with --report), and is used
/// all the same where that is safe. Then rows are published in transactions that also remember how far the file has come: run it again
/// after a crash and it goes on there; run it again after success and there is nothing to do.
///
/// A row replaces its predecessor of an earlier import: lines are told apart by account, resource, SKU, kind and period of the charge,
/// or by the columns that --line-id names. With --complete the file is all that there is of its billing months: lines that it does not
/// have are taken back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate import focus --dry-run --report problems.csv export.csv.gz\n  tollgate import focus --config tollgate.toml --source focus/aws --complete exports/2026-03/"
)]
struct FocusArguments {
    /// A .parquet, .csv or .csv.gz file, or a folder of them that are one export
    #[arg(value_name = "FILE|FOLDER")]
    export: PathBuf,

    #[command(flatten)]
    config: ConfigFile,

    /// Name of the export; attribution rules see it, and lines of different sources never replace each other
    #[arg(long, value_name = "NAME", default_value = "focus")]
    source: String,

    /// Columns that together are unique and stay the same when the line is restated
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    line_id: Vec<String>,

    /// The files hold all lines of their billing months: what an earlier import had and this one has not is taken back, unless some row
    /// cannot be read
    #[arg(long)]
    complete: bool,

    /// Publish again what was published completely before
    #[arg(long)]
    again: bool,

    /// Only look: conformance, sums, lines; needs no Kafka
    #[arg(long)]
    dry_run: bool,

    /// Write every row's problems into this CSV file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let What::Focus(arguments) = &arguments.what;
    if arguments.source.is_empty() || arguments.source.len() > 200 {
        eprintln!("--source has to have 1 to 200 characters");
        return Ok(Ended::Unusable);
    }
    let files = match rows::files(&arguments.export) {
        Ok(files) => files,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(Ended::Unusable);
        }
    };
    let (digest, size) = match rows::digest(&files).with_context(|| arguments.export.display().to_string()) {
        Ok(digest) => digest,
        Err(problem) => {
            eprintln!("{problem:#}");
            return Ok(Ended::Unusable);
        }
    };
    let bytes = BytesRead::default();
    let bar = bar("looking ", size);
    let survey = {
        let shown = Shown { bar: &bar, bytes: &bytes };
        match shown.while_doing(|| survey(arguments, &files, size, &bytes)) {
            Ok(survey) => survey,
            Err(problem) => {
                eprintln!("{problem:#}");
                return Ok(Ended::Unusable);
            }
        }
    };
    print(&told(&survey, arguments.report.as_deref()))?;
    if arguments.complete && survey.unread() > 0 {
        print(&format!("nothing is taken back: {} cannot be read\n", counted(survey.unread(), "row")))?;
    }
    let ended = if survey.broken > 0 { Ended::No } else { Ended::Well };
    if arguments.dry_run {
        return Ok(ended);
    }
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    telemetry::start(logging, &loaded.settings.log)?;
    let names = assemble::topic_names(&loaded.settings);
    let connection = assemble::connection(&loaded.settings);
    let publisher = Publisher { connection: &connection, topic: &names.billing_events, source: &arguments.source };
    publish(arguments, &publisher, &files, digest, size, &survey)?;
    Ok(ended)
}

fn survey(arguments: &FocusArguments, files: &[PathBuf], size: u64, bytes: &BytesRead) -> Result<Survey> {
    let Some(path) = &arguments.report else { return Survey::of(files, size, &arguments.line_id, bytes, None) };
    let context = || format!("{}: cannot be written", path.display());
    let mut report = BufWriter::new(File::create(path).with_context(context)?);
    let survey = Survey::of(files, size, &arguments.line_id, bytes, Some(&mut report))?;
    report.flush().with_context(context)?;
    Ok(survey)
}

fn publish(
    arguments: &FocusArguments,
    publisher: &Publisher<'_>,
    files: &[PathBuf],
    digest: u128,
    size: u64,
    survey: &Survey,
) -> Result<()> {
    let options = format!("{} {}", arguments.line_id.join(","), arguments.complete);
    let id = format!("{:032x}", hash128(&[&digest.to_le_bytes(), options.as_bytes()]));
    let (transfer, progress) = publisher.begin()?;
    let same = progress.filter(|progress| progress.delivery.id == id);
    let (delivery, from) = match same {
        Some(progress) if progress.is_done && !arguments.again => {
            return print(&format!(
                "nothing to do: this export was published completely, and no other one of '{}' since (--again does it again)\n",
                arguments.source
            ));
        }
        Some(progress) if !progress.is_done => {
            print(&format!("going on behind row {}, where an earlier run was interrupted\n", progress.rows))?;
            (progress.delivery, progress.rows)
        }
        _ => (Delivery { id, begun: clock::now() }, 0),
    };
    let started = clock::Stopwatch::start();
    let bytes = BytesRead::default();
    let bar = bar("publishing ", size);
    let work = Work { files, line_id: &arguments.line_id, bytes: &bytes, survey, ends: arguments.complete };
    let published = publisher.publish(&transfer, &delivery, from, work, |_| bar.set_position(bytes.load(Ordering::Relaxed)))?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let a_second = published as f64 / seconds;
    print(&format!("published {} to {} in {seconds:.1} s ({a_second:.0} a second)\n", counted(published, "event"), publisher.topic))
}

/// Hidden where stderr is no terminal.
fn bar(what: &'static str, size: u64) -> ProgressBar {
    let bar = ProgressBar::new(size).with_prefix(what);
    let style = ProgressStyle::with_template("{prefix}{bar:40} {bytes}/{total_bytes} {eta}");
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

struct Shown<'a> {
    bar: &'a ProgressBar,
    bytes: &'a BytesRead,
}

impl Shown<'_> {
    /// Moves the bar along while one thing is done on this thread.
    fn while_doing<T>(&self, work: impl FnOnce() -> T) -> T {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while stopped.recv_timeout(std::time::Duration::from_millis(100)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    self.bar.set_position(self.bytes.load(Ordering::Relaxed));
                }
            });
            let done = work();
            drop(stop);
            self.bar.finish_and_clear();
            done
        })
    }
}

fn summary(survey: &Survey) -> String {
    let versions: Vec<&str> = survey.versions.keys().copied().collect();
    let months: Vec<&str> = survey.periods.keys().map(String::as_str).collect();
    let billed = if months.is_empty() { String::new() } else { format!(", billed in {}", months.join(", ")) };
    format!("{} of FOCUS {}{billed}", counted(survey.rows, "row"), versions.join(" and "))
}

fn told(survey: &Survey, report: Option<&Path>) -> String {
    let mut out = format!("{}\n", summary(survey));
    for (currency, (rows, billed, effective)) in &survey.sums {
        let rows = counted(*rows, "row");
        out.push_str(&format!("{currency}  {rows}  BilledCost {billed}  EffectiveCost {effective}\n"));
    }
    if survey.broken > 0 {
        let rows = counted(survey.broken, "row");
        let first = survey.first_broken.as_ref().map(|first| format!(", the first at {first}")).unwrap_or_default();
        out.push_str(&format!("{rows} cannot be read and will NOT be published{first}\n"));
    }
    if survey.unusable > 0 {
        out.push_str(&format!(
            "{} will be published and land in dead-letter: what lacks a cost, a currency or a time cannot be counted\n",
            counted(survey.unusable, "row")
        ));
    }
    if survey.problems.is_empty() {
        return out + "everything conforms\n";
    }
    out.push_str("does not conform, by rule:\n");
    survey.problems.iter().for_each(|(rule, count)| out.push_str(&format!("  {rule:<44} {count:>10}\n")));
    match report {
        Some(path) => out.push_str(&format!("each of them is in {}\n", path.display())),
        None => out.push_str("--report FILE writes each of them down\n"),
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// A dry run of a file with this content.
    fn looked_at(content: &str) -> Ended {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bill.csv");
        std::fs::write(&path, content).unwrap();
        let Line { arguments } = Line::parse_from([Path::new("import"), Path::new("focus"), Path::new("--dry-run"), &path]);
        run(&arguments, &Logging::default()).unwrap()
    }

    #[test]
    fn an_empty_file_is_bad_input() {
        assert_eq!(looked_at(""), Ended::Unusable);
        assert_eq!(looked_at("BilledCost,ChargePeriodStart\n"), Ended::Well);
    }

    #[test]
    fn rows_that_cannot_be_read_say_why_and_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bill.csv");
        let said = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let survey = Survey::of(std::slice::from_ref(&path), content.len() as u64, &[], &BytesRead::default(), None).unwrap();
            told(&survey, None)
        };
        let latin = said(b"BilledCost,ChargePeriodStart,ServiceName\n1,t,a\n2,t,caf\xe9\n3,t,b,c\n");
        let wanted = format!(
            "2 rows cannot be read and will NOT be published, the first at {}:3: field 3 (ServiceName) is no UTF-8",
            path.display()
        );
        assert!(latin.contains(&wanted), "{latin}");
        let short = said(b"BilledCost,ChargePeriodStart\n1\n");
        assert!(
            short.contains("1 row cannot be read and will NOT be published, the first at ") && short.contains(":2: 1 fields instead of 2")
        );
    }

    #[test]
    fn months_are_named_where_there_are_some() {
        let mut survey = Survey { versions: [("1.2", 1)].into(), ..Survey::default() };
        assert_eq!(summary(&survey), "0 rows of FOCUS 1.2");
        survey.rows = 3;
        survey.periods = [("2026-03".to_string(), 2), ("2026-04".to_string(), 1)].into();
        assert_eq!(summary(&survey), "3 rows of FOCUS 1.2, billed in 2026-03, 2026-04");
    }
}
