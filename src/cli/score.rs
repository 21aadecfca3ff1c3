//! `tollgate score`: the detector on a CSV file, to see what it would say before anything is connected.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::{ConfigFile, Ended, input};
use crate::config::Problem;
use crate::config::problem::Place;
use crate::lab::read;
use crate::lab::score::{Failure, score};
use crate::watch::rules::Thresholds;
use crate::watch::track;

/// Try the detector on a CSV file: what was normal, how strange each row is, where an alert opens
///
/// A file has a header and the columns `timestamp` (2026-03-01T10:00:00Z or 2026-03-01 10:00:00, UTC) and `value` (empty = missing),
/// in the order of time, one series in a file, plain or as .gz or .zst. Other columns are passed over; every row has as many as the header.
/// Rows may be 1 minute to 1 day apart; gaps are legal. Out come the columns timestamp,value,expected,lower,upper,score,alert, a row for
/// each row. `expected` is what was believed of the row before it came, and lies between `lower` and `upper`; an alert of several rows
/// together is measured from what they were before it began. Of files with lines that cannot be used those are named, and nothing comes out.
///
/// It is the engine of `tollgate run`: each row is judged by the rows before it alone. `score` is 0 to 1, higher is stranger, and means
/// the same for every series. `alert` says what Tollgate would do at the sensitivity of the config, for a team that has this one series:
/// open, update, close. Values need not be money, so the gates of money are off.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate score spend.csv > scored.csv\n  psql --csv -f spend.sql | tollgate score -\n  tollgate score --direction both --out scored exports/ more.csv"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Which way a value has to leave its normal: up (too much), down (gone silent), both
    #[arg(long, value_enum, value_name = "WAY", default_value = "up")]
    direction: Direction,

    /// Folder for the results, one file of the same name for each input; made if it is not there. Without it one input goes to stdout
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// CSV files, or folders of them; - reads one from stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Direction {
    Up,
    Down,
    Both,
}

/// Files that are not to stay if something goes wrong.
#[derive(Default)]
struct Unfinished(Vec<(PathBuf, PathBuf)>);

pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Some(loaded) = arguments.config.load_or_say() else { return Ok(Ended::Unusable) };
    let direction = match arguments.direction {
        Direction::Up => track::Direction::Up,
        Direction::Down => track::Direction::Down,
        Direction::Both => track::Direction::Both,
    };
    let engine = Engine { thresholds: &loaded.watch.defaults, direction };
    let ended = match (files(&arguments.inputs), &arguments.out) {
        (Err(problems), _) => Err(problems),
        (Ok(files), Some(_)) if files.iter().any(|file| input::is_stdin(file)) => Err(vec![
            Problem::new(&Place::whole("stdin"), "has no name for its result").hint("leave --out DIR away, and let it be the only input"),
        ]),
        (Ok(files), Some(folder)) => engine.to_folder(&files, folder)?,
        (Ok(files), None) => match files.as_slice() {
            [file] if input::is_stdin(file) => engine.of_stdin()?,
            [file] => engine.to_stdout(file)?,
            _ => Err(vec![Problem::new(&Place::whole("--out"), "several inputs need a folder for the results").hint("add --out DIR")]),
        },
    };
    Ok(match ended {
        Ok(()) => Ended::Well,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ended::Unusable
        }
    })
}

struct Engine<'a> {
    thresholds: &'a Thresholds,
    direction: track::Direction,
}

/// Problems of inputs; what else fails is an error.
type Usable = Result<(), Vec<Problem>>;

impl Engine<'_> {
    fn score(&self, file: &Path, output: impl Write) -> Result<Usable> {
        let name = file.display().to_string();
        match read::open(file) {
            Ok(input) => self.score_text(input, &name, output),
            Err(error) => Ok(Err(vec![unreadable(&name, &error)])),
        }
    }

    fn score_text(&self, input: impl BufRead, name: &str, output: impl Write) -> Result<Usable> {
        match score(input, name, output, self.thresholds, self.direction) {
            Ok(()) => Ok(Ok(())),
            Err(Failure::Input(problems)) => Ok(Err(problems)),
            // A reader that has seen enough (`| head`) is no failure.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ok(())),
            Err(Failure::Output(error)) => Err(error).context("cannot write the result"),
        }
    }

    fn to_stdout(&self, file: &Path) -> Result<Usable> {
        twice(|output| self.score(file, output))
    }

    /// As a file: it is held until it is known to be one that can be used.
    fn of_stdin(&self) -> Result<Usable> {
        let shown = input::shown(Path::new("-"));
        let text = match input::bytes(Path::new("-")) {
            Ok(text) => text,
            Err(what) => return Ok(Err(vec![Problem::new(&Place::whole(&shown), what)])),
        };
        twice(|output| self.score_text(&text[..], &shown, output))
    }

    /// All or nothing: results get their names when the last one is written.
    fn to_folder(&self, files: &[PathBuf], folder: &Path) -> Result<Usable> {
        let problems = clashes(files, folder);
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let (mut unfinished, mut problems) = (Unfinished::default(), Vec::new());
        for file in files {
            let Some(name) = result_name(file) else { continue };
            let mut partial = OsString::from(".");
            partial.push(name);
            partial.push(".part");
            let partial = folder.join(partial);
            let output = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
            unfinished.0.push((partial, folder.join(name)));
            problems.extend(self.score(file, BufWriter::with_capacity(1 << 16, output))?.err().unwrap_or_default());
        }
        if !problems.is_empty() {
            return Ok(Err(problems));
        }
        for (partial, file) in &unfinished.0 {
            fs::rename(partial, file).with_context(|| format!("cannot write {}", file.display()))?;
        }
        unfinished.0.clear();
        Ok(Ok(()))
    }
}

/// Goes through the input twice, so that nothing is printed of one that cannot be used to its end.
fn twice(score: impl Fn(&mut dyn Write) -> Result<Usable>) -> Result<Usable> {
    if let Err(problems) = score(&mut io::sink())? {
        return Ok(Err(problems));
    }
    score(&mut BufWriter::with_capacity(1 << 16, io::stdout().lock()))
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for (partial, _) in &self.0 {
            // Best effort: whatever went wrong before is what people hear of.
            let _ = fs::remove_file(partial);
        }
    }
}

/// The files that the inputs stand for, folders in the order of names.
fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for input in inputs {
        let name = input.display().to_string();
        if input::is_stdin(input) {
            found.push(input.clone());
            continue;
        }
        match fs::metadata(input) {
            Err(error) => problems.push(unreadable(&name, &error)),
            Ok(kind) if kind.is_file() => found.push(input.clone()),
            Ok(kind) if kind.is_dir() => match in_folder(input) {
                Ok(files) if files.is_empty() => {
                    problems.push(Problem::new(&Place::whole(&name), "has no .csv file in it").hint("name the files themselves"));
                }
                Ok(files) => found.extend(files),
                Err(error) => problems.push(unreadable(&name, &error)),
            },
            Ok(_) => problems.push(
                Problem::new(&Place::whole(&name), "is neither a file nor a folder").hint("write it to a file first, or name - for stdin"),
            ),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_csv = |name: &OsStr| Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        if path.is_file() && result_name(&path).is_some_and(is_csv) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Results are not packed.
fn result_name(file: &Path) -> Option<&OsStr> {
    let is_packed = file.extension().is_some_and(|ending| ending == "gz" || ending == "zst");
    if is_packed { file.file_stem() } else { file.file_name() }
}

/// Results that would take each other's place, or that of an input.
fn clashes(files: &[PathBuf], folder: &Path) -> Vec<Problem> {
    let inputs: BTreeSet<PathBuf> = files.iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
    let (mut names, mut problems) = (BTreeSet::new(), Vec::new());
    for file in files {
        let place = Place::whole(&file.display().to_string());
        if !names.insert(result_name(file)) {
            problems.push(Problem::new(&place, "another input has the same file name").hint("score them into different folders"));
        }
        let result = result_name(file).and_then(|name| fs::canonicalize(folder.join(name)).ok());
        if result.is_some_and(|result| inputs.contains(&result)) {
            problems.push(Problem::new(&place, "its result would take the place of an input").hint("give --out another folder"));
        }
    }
    problems
}

fn unreadable(name: &str, error: &io::Error) -> Problem {
    Problem::new(&Place::whole(name), format!("cannot be read: {error}")).hint("check the path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const SERIES: &str = "timestamp,value\n2026-03-01T00:00:00Z,1\n2026-03-01T01:00:00Z,2\n";

    #[test]
    fn no_result_takes_the_place_of_an_input() {
        let loaded = load_text("t.toml", "", Path::new(""), std::iter::empty()).unwrap();
        let engine = Engine { thresholds: &loaded.watch.defaults, direction: track::Direction::Up };
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("a.csv"), folder.path().join("a.csv.gz"));
        std::fs::write(&plain, SERIES).unwrap();
        std::fs::write(&packed, SERIES).unwrap();
        for files in [vec![plain.clone()], vec![packed.clone(), plain.clone()]] {
            let problems = engine.to_folder(&files, folder.path()).unwrap().unwrap_err();
            assert!(problems[0].to_string().contains("its result would take the place of an input"), "{problems:?}");
        }
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), SERIES);
        // What an earlier run has left is written over.
        let out = folder.path().join("out");
        (0..2).for_each(|_| engine.to_folder(std::slice::from_ref(&plain), &out).unwrap().unwrap());
    }

    #[test]
    fn a_packed_file_is_scored_like_the_plain_one() {
        let loaded = load_text("t.toml", "", Path::new(""), std::iter::empty()).unwrap();
        let engine = Engine { thresholds: &loaded.watch.defaults, direction: track::Direction::Up };
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed, out) = (folder.path().join("a.csv"), folder.path().join("b.csv.gz"), folder.path().join("out"));
        std::fs::write(&plain, SERIES).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(SERIES.as_bytes()).unwrap();
        std::fs::write(&packed, gz.finish().unwrap()).unwrap();
        let found = files(&[folder.path().to_path_buf()]).unwrap();
        assert_eq!(found, [plain, packed]);
        assert!(engine.to_folder(&found, &out).unwrap().is_ok());
        let result = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        assert_eq!(result("a.csv").lines().count(), 3);
        assert_eq!(result("a.csv"), result("b.csv"));
        let clash = [PathBuf::from("a/x.csv"), PathBuf::from("b/x.csv.gz")];
        assert_eq!(clashes(&clash, Path::new("out")).len(), 1, "both would be x.csv");
    }

    #[test]
    fn stdin_is_an_input_and_no_file() {
        let stdin = PathBuf::from("-");
        assert_eq!(files(std::slice::from_ref(&stdin)).unwrap(), [stdin]);
    }
}
