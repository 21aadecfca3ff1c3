//! Writes a copy: appends to its end, and rewrites it when most of it is out of date.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::file::{self, Batches, Entry, FULL_BATCH, Origin, Reached};
use super::read::survey;

/// A copy is rewritten when it is longer than twice what was live of it the last time, but not below this.
const LEAST_REWRITE: u64 = 4 << 20;

/// The one writer of a file. Holds neither keys nor values.
pub struct Copy {
    path: PathBuf,
    file: File,
    origin: Origin,
    reached: Option<Reached>,
    /// Bytes of the file that are valid.
    length: u64,
    head: u64,
    /// Bytes of batches that the last rewrite has left.
    live: u64,
}

impl Copy {
    /// Goes on with the copy of this origin that is there, without what a crash left half written at its end; else begins one.
    ///
    /// # Errors
    /// The file can be neither read nor written.
    pub fn open(path: &Path, origin: &Origin) -> Result<Copy> {
        let found = File::open(path).ok().and_then(|file| Batches::open(file).ok()).filter(|found| found.origin == *origin);
        let Some(mut found) = found else { return Copy::anew(path, origin) };
        let (head, live) = (found.at, found.live);
        let survey = survey(&mut found)?;
        let Some(reached) = survey.reached else { return Copy::anew(path, origin) };
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(survey.end)?;
        let mut copy =
            Copy { path: path.to_path_buf(), file, origin: origin.clone(), reached: Some(reached), length: survey.end, head, live };
        copy.file.seek(SeekFrom::Start(copy.length))?;
        Ok(copy)
    }

    /// Begins an empty copy in place of whatever is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn anew(path: &Path, origin: &Origin) -> Result<Copy> {
        // Another file, not the same one emptied: whoever still reads the old one reads it to its end.
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let head = file::head(origin, 0)?;
        file.write_all(&head)?;
        let length = head.len() as u64;
        Ok(Copy { path: path.to_path_buf(), file, origin: origin.clone(), reached: None, length, head: length, live: 0 })
    }

    /// `None`: nothing is in it.
    pub fn reached(&self) -> Option<Reached> {
        self.reached
    }

    /// Bytes on disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends records of the log in the order of their offsets, each with how far the copy has come with it. What a crash leaves of it
    /// is some of the batches; nothing waits for the disk.
    ///
    /// # Errors
    /// The file cannot be written; what was there before stays valid.
    pub fn append<'a>(&mut self, entries: impl Iterator<Item = (Reached, Entry<'a>)>) -> Result<()> {
        let mut batch: Option<(Vec<u8>, Reached)> = None;
        for (reached, entry) in entries {
            let (bytes, last) = batch.get_or_insert_with(|| (file::begin(reached), reached));
            file::push(bytes, entry)?;
            *last = reached;
            if bytes.len() >= FULL_BATCH
                && let Some((bytes, reached)) = batch.take()
            {
                self.write(bytes, reached)?;
            }
        }
        match batch {
            Some((bytes, reached)) => self.write(bytes, reached),
            None => Ok(()),
        }
    }

    fn write(&mut self, mut batch: Vec<u8>, reached: Reached) -> Result<()> {
        file::seal(&mut batch, reached)?;
        if let Err(error) = self.file.write_all(&batch) {
            // A full disk has taken a part of it; it is given back if it can be, and is cut off when the copy is opened otherwise.
            let _ = self.file.set_len(self.length);
            return Err(error).with_context(|| format!("cannot write '{}'", self.path.display()));
        }
        self.length += batch.len() as u64;
        self.reached = Some(reached);
        Ok(())
    }

    /// Most of it is out of date.
    pub fn is_long(&self) -> bool {
        self.length - self.head > (2 * self.live).max(LEAST_REWRITE)
    }

    /// Writes what is live into a new file, and puts that in the place of this one once all of it is on the disk.
    ///
    /// # Errors
    /// A file cannot be read or written; the old one stays.
    pub fn rewrite(&mut self) -> Result<()> {
        let Some(reached) = self.reached else { return Ok(()) };
        let beside = self.path.with_extension("new");
        let made = self.rewrite_to(&beside, reached).with_context(|| format!("cannot write '{}'", beside.display()));
        if made.is_err() {
            let _ = fs::remove_file(&beside);
        }
        *self = made?;
        Ok(())
    }

    fn rewrite_to(&self, beside: &Path, reached: Reached) -> Result<Copy> {
        let mut old = Batches::open(File::open(&self.path)?)?;
        let last = survey(&mut old)?.last;
        let mut old = Batches::open(File::open(&self.path)?)?;
        let mut new = Copy::anew(beside, &self.origin)?;
        let mut entry = 0;
        while let Some(frame) = old.next_batch()? {
            let live = frame.entries().zip(entry..).filter(|(found, number)| found.value.is_some() && last.is_last(found.key, *number));
            new.append(live.map(|(found, _)| (Reached::UNFINISHED, found)))?;
            entry += frame.entries().count() as u64;
        }
        new.write(file::begin(reached), reached)?;
        new.live = new.length - new.head;
        // The head is as long as it was; a crash before the rename leaves the old file.
        new.file.seek(SeekFrom::Start(0))?;
        new.file.write_all(&file::head(&self.origin, new.live)?)?;
        new.file.seek(SeekFrom::Start(new.length))?;
        new.file.sync_all()?;
        fs::rename(beside, &self.path)?;
        sync_folder(&self.path)?;
        new.path.clone_from(&self.path);
        Ok(new)
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
