//! Rows of FOCUS files, one after the other, from Parquet, plain or gzipped CSV, in constant memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;

use super::lines::Lines;
use super::parquet::Table;
use crate::intake::focus::Head;

const BUFFER: usize = 256 * 1024;

/// The files of a delivery: the one that is named, or those of the folder, in the order of their names.
///
/// # Errors
/// Nothing there, or nothing that can be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error: io::Error| format!("{}: cannot be read: {error}", path.display());
    if !path.is_dir() {
        File::open(path).map_err(cannot)?;
        return match kind(path) {
            Some(_) => Ok(vec![path.to_path_buf()]),
            None => Err(unreadable(path)),
        };
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?.path();
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !entry.is_file() || is_hidden {
            continue;
        }
        if kind(&entry).is_some() {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() { Err(format!("{}: no file there ends in .csv, .csv.gz or .parquet", path.display())) } else { Ok(found) }
}

fn unreadable(path: &Path) -> String {
    format!("{}: its name ends neither in .csv, nor in .csv.gz or .parquet", path.display())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Parquet,
}

fn kind(path: &Path) -> Option<Packing> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if name.ends_with(".csv") {
        Some(Packing::None)
    } else if name.ends_with(".csv.gz") {
        Some(Packing::Gzip)
    } else if name.ends_with(".parquet") {
        Some(Packing::Parquet)
    } else {
        None
    }
}

/// Bytes of files that were read so far, for a progress bar.
pub type BytesRead = Arc<AtomicU64>;

struct Counting<R>(R, BytesRead);

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// What stands in one place of a file.
pub enum Found<'r> {
    Row(&'r [&'r str]),
    /// Why it is none.
    Broken(String),
}

/// One open file.
pub struct Rows {
    pub head: Head,
    content: Content,
    shown: String,
}

enum Content {
    Csv(Box<csv::Reader<Lines<Box<dyn Read>>>>),
    Parquet(Box<Table>, BytesRead),
}

impl Rows {
    /// Opens a file and reads its head.
    ///
    /// # Errors
    /// It cannot be read, or is no FOCUS file.
    pub fn open(path: &Path, line_id: &[String], bytes: &BytesRead) -> Result<Rows> {
        let shown = path.display().to_string();
        if kind(path) == Some(Packing::Parquet) {
            let table = Table::open(path)?;
            let names: Vec<&str> = table.names.iter().map(String::as_str).collect();
            let head = Head::new(&names, line_id).map_err(|why| anyhow!("{shown}: {why}"))?;
            return Ok(Rows { head, content: Content::Parquet(Box::new(table), bytes.clone()), shown });
        }
        let file = Counting(File::open(path).with_context(|| format!("{shown}: cannot be read"))?, bytes.clone());
        let read: Box<dyn Read> = match kind(path) {
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))),
            _ => Box::new(file),
        };
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(BUFFER).flexible(true).from_reader(Lines::of(read));
        let names = reader.headers().with_context(|| format!("{shown}:1: its first line cannot be read"))?.clone();
        let names: Vec<&str> = names.iter().collect();
        let head = Head::new(&names, line_id).map_err(|why| anyhow!("{shown}:1: {why}"))?;
        Ok(Rows { head, content: Content::Csv(Box::new(reader)), shown })
    }

    /// Hands out each row with its line (of Parquet: its number), until there is none left.
    ///
    /// # Errors
    /// The file cannot be read on, or what `each` returns.
    pub fn each(self, mut each: impl FnMut(&Head, u64, Found<'_>) -> Result<()>) -> Result<()> {
        let Rows { head, content, shown } = self;
        let mut reader = match content {
            Content::Csv(reader) => reader,
            Content::Parquet(table, bytes) => {
                return table.each(&shown, &bytes, |number, texts| match texts {
                    Ok(texts) => each(&head, number, Found::Row(texts)),
                    Err(why) => each(&head, number, Found::Broken(why)),
                });
            }
        };
        let mut record = ByteRecord::new();
        loop {
            let more = reader.read_byte_record(&mut record).with_context(|| format!("{shown}: cannot be read on"))?;
            if !more {
                return Ok(());
            }
            let begins = record.position().map_or(0, csv::Position::byte);
            let line = reader.get_mut().at(begins);
            let texts: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
            match texts {
                Ok(texts) if texts.len() == head.width() => each(&head, line, Found::Row(&texts))?,
                Ok(texts) => {
                    let why = format!("{} fields instead of {}", texts.len(), head.width());
                    each(&head, line, Found::Broken(why))?;
                }
                Err(_) => {
                    let number = record.iter().take_while(|field| std::str::from_utf8(field).is_ok()).count();
                    let name = head.name(number).map(|name| format!(" ({name})")).unwrap_or_default();
                    let why = format!("field {}{name} is no UTF-8, save the export as such", number + 1);
                    each(&head, line, Found::Broken(why))?;
                }
            }
        }
    }
}

/// Hash of all bytes of the files, in order: the delivery's name. Names of files do not count.
///
/// # Errors
/// One of them cannot be read.
pub fn digest(files: &[PathBuf]) -> Result<(u128, u64)> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    for path in files {
        let mut file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        loop {
            let length = file.read(&mut buffer).with_context(|| format!("{}: cannot be read", path.display()))?;
            let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else { break };
            hasher.update(read);
            size += length as u64;
        }
    }
    if size == 0 {
        bail!("there is nothing in it; the export may not have been finished, or went elsewhere");
    }
    Ok((hasher.digest128(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identity, money and texts of each row.
    fn all(name: &str) -> Vec<(u128, String, Vec<String>)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/focus").join(name);
        let (bytes, mut found) = (BytesRead::default(), Vec::new());
        let rows = Rows::open(&path, &[], &bytes).unwrap();
        rows.each(|head, line, row| {
            let Found::Row(texts) = row else { panic!("{name}:{line}") };
            let money = format!("{:?} {:?}", head.money(texts), head.period(texts));
            found.push((head.identity(texts), money, texts.iter().map(|text| plain(text)).collect()));
            Ok(())
        })
        .unwrap();
        assert_eq!(bytes.load(Ordering::Relaxed), path.metadata().unwrap().len(), "the bar comes to its end");
        found
    }

    /// However a null, a time, an amount or tags are written.
    fn plain(text: &str) -> String {
        let moment = text.replacen('T', " ", 1).replace('Z', "");
        if text == "NULL" {
            String::new()
        } else if let Ok(tags) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            serde_json::Value::Object(tags).to_string()
        } else if text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte)) {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else if moment.len() == 19 && jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &moment).is_ok() {
            moment
        } else {
            text.to_string()
        }
    }

    #[test]
    fn each_row_has_the_line_on_which_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bill.csv");
        let lines = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mut found = Vec::new();
            let rows = Rows::open(&path, &[], &BytesRead::default()).unwrap();
            rows.each(|_, line, row| {
                found.push((line, matches!(row, Found::Row(_))));
                Ok(())
            })
            .unwrap();
            found
        };
        let text = "BilledCost,ChargePeriodStart\n1,a\n2\n\n3,\"b\nc\"\n4,d";
        let wanted = [(2, true), (3, false), (5, true), (7, true)];
        assert_eq!(lines(text), wanted);
        assert_eq!(lines(&text.replace('\n', "\r\n")), wanted);
        assert_eq!(lines(&format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"))), wanted);
        // More than is read ahead.
        let long = lines(&format!("BilledCost,ChargePeriodStart\r\n{}", "1,a\r\n".repeat(2 * BUFFER / 5)));
        assert!(long.iter().zip(2..).all(|((line, _), wanted)| *line == wanted));
    }

    /// By two other programs, with other types: see the README beside them.
    #[test]
    fn parquet_says_to_the_last_digit_what_its_csv_twin_says() {
        let wanted = all("focus_1.0_sample.csv.gz");
        assert_eq!(wanted.len(), 1000);
        for twin in ["focus_1.0_sample.duckdb.parquet", "focus_1.0_sample.pyarrow.parquet"] {
            let found = all(twin);
            assert_eq!(found.len(), wanted.len(), "{twin}");
            for (number, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                assert_eq!(found, wanted, "{twin}, row {}", number + 1);
            }
        }
    }
}
