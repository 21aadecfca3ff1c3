//! Rows of FOCUS files, one after the other, from plain or gzipped CSV, in constant memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;

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
        } else if entry.extension().is_some_and(|extension| extension == "parquet") {
            return Err(unreadable(&entry));
        }
    }
    found.sort();
    if found.is_empty() { Err(format!("{}: no file there ends in .csv or .csv.gz", path.display())) } else { Ok(found) }
}

fn unreadable(path: &Path) -> String {
    let name = path.display();
    if path.extension().is_some_and(|extension| extension == "parquet") {
        format!("{name}: Parquet is not read; write it as CSV first: duckdb -c \"COPY (FROM '{name}') TO 'focus.csv.gz'\"")
    } else {
        format!("{name}: its name ends neither in .csv nor in .csv.gz")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
}

fn kind(path: &Path) -> Option<Packing> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if name.ends_with(".csv") {
        Some(Packing::None)
    } else if name.ends_with(".csv.gz") {
        Some(Packing::Gzip)
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
    reader: csv::Reader<Box<dyn Read>>,
    record: ByteRecord,
    shown: String,
}

impl Rows {
    /// Opens a file and reads its head.
    ///
    /// # Errors
    /// It cannot be read, or is no FOCUS file.
    pub fn open(path: &Path, line_id: &[String], bytes: &BytesRead) -> Result<Rows> {
        let shown = path.display().to_string();
        let file = Counting(File::open(path).with_context(|| format!("{shown}: cannot be read"))?, bytes.clone());
        let read: Box<dyn Read> = match kind(path) {
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))),
            _ => Box::new(file),
        };
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(BUFFER).flexible(true).from_reader(read);
        let names = reader.headers().with_context(|| format!("{shown}:1: its first line cannot be read"))?.clone();
        let names: Vec<&str> = names.iter().collect();
        let head = Head::new(&names, line_id).map_err(|why| anyhow!("{shown}:1: {why}"))?;
        Ok(Rows { head, reader, record: ByteRecord::new(), shown })
    }

    /// Hands out each row with its line, until there is none left.
    ///
    /// # Errors
    /// The file cannot be read on, or what `each` returns.
    pub fn each(mut self, mut each: impl FnMut(&Head, u64, Found<'_>) -> Result<()>) -> Result<()> {
        loop {
            let line = self.reader.position().line();
            let more = self.reader.read_byte_record(&mut self.record).with_context(|| format!("{}: cannot be read on", self.shown))?;
            if !more {
                return Ok(());
            }
            let line = self.record.position().map_or(line, csv::Position::line);
            let texts: Result<Vec<&str>, _> = self.record.iter().map(std::str::from_utf8).collect();
            match texts {
                Ok(texts) if texts.len() == self.head.width() => each(&self.head, line, Found::Row(&texts))?,
                Ok(texts) => {
                    let why = format!("{} fields instead of {}", texts.len(), self.head.width());
                    each(&self.head, line, Found::Broken(why))?;
                }
                Err(_) => each(&self.head, line, Found::Broken("no UTF-8".to_owned()))?,
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
        bail!("there is nothing in it");
    }
    Ok((hasher.digest128(), size))
}
