//! Reads a copy: which value of each key is the last one, then those values, batch by batch.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Result, bail};

use super::file::{Batches, Entry, Origin, Reached};
use crate::model::hash::hash128;

/// The live keys of a copy, as the changelog held them below `reached().next`. It holds hashes of keys, no keys and no values.
pub struct CopyReader {
    batches: Batches,
    last: LastPlaces,
    /// Number of the next entry.
    entry: u64,
    end: u64,
    reached: Reached,
}

/// Which entry of the file is the last one of its key. 128 bits: of two keys with one hash one would vanish.
#[derive(Default)]
pub(super) struct LastPlaces(HashMap<u128, u64, foldhash::fast::FixedState>);

impl LastPlaces {
    fn note(&mut self, key: &[u8], entry: u64) {
        self.0.insert(hash128(&[key]), entry);
    }

    pub fn is_last(&self, key: &[u8], entry: u64) -> bool {
        self.0.get(&hash128(&[key])) == Some(&entry)
    }
}

/// What reading all of a copy has found.
pub(super) struct Survey {
    pub last: LastPlaces,
    /// `None`: it is empty, or a rewrite that is not whole.
    pub reached: Option<Reached>,
    /// Behind the last valid batch.
    pub end: u64,
}

/// # Errors
/// The file cannot be read.
pub(super) fn survey(batches: &mut Batches) -> io::Result<Survey> {
    let (mut last, mut reached, mut entry) = (LastPlaces::default(), None, 0);
    while let Some(frame) = batches.next_batch()? {
        for found in frame.entries() {
            last.note(found.key, entry);
            entry += 1;
        }
        reached = Some(frame.reached).filter(|reached| *reached != Reached::UNFINISHED);
    }
    Ok(Survey { last, reached, end: batches.at })
}

impl CopyReader {
    /// `None`: there is no copy, or nothing in it.
    ///
    /// # Errors
    /// Why the file is no copy of this origin.
    pub fn open(path: &Path, origin: &Origin) -> Result<Option<CopyReader>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut batches = Batches::open(file)?;
        if batches.origin != *origin {
            bail!("it is a copy of {:?}", batches.origin);
        }
        let survey = survey(&mut batches)?;
        let Some(reached) = survey.reached else { return Ok(None) };
        let batches = Batches::open(File::open(path)?)?;
        Ok(Some(CopyReader { batches, last: survey.last, entry: 0, end: survey.end, reached }))
    }

    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Hands out what is live of the next batch; false: there was none left. Each key comes once, and not at all if it was deleted.
    ///
    /// # Errors
    /// The file changed under us, or the caller fails.
    pub fn read(&mut self, mut each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<bool> {
        if self.batches.at >= self.end {
            return Ok(false);
        }
        let Some(frame) = self.batches.next_batch()? else { bail!("a batch that was valid a moment ago is not any more") };
        for found in frame.entries() {
            if found.value.is_some() && self.last.is_last(found.key, self.entry) {
                each(found)?;
            }
            self.entry += 1;
        }
        Ok(true)
    }
}
