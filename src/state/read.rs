//! Reads a copy from its end: the first value of each key that comes is its last one, and what an earlier one was is passed over.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::file::{Batches, Origin, Place, Reached, entry_at, parse};
use crate::model::hash::hash128;

/// The live keys of a copy, as the changelog held them below `reached().next`. It holds hashes of keys, no keys and no values. 128 bits: of
/// two keys with one hash one would vanish.
pub struct CopyReader {
    file: File,
    /// Of batches that are not read yet.
    places: Vec<Place>,
    seen: HashSet<u128, foldhash::fast::FixedState>,
    reached: Reached,
}

/// What is live of a batch. It may be filled again, which saves its memory the way to the system and back.
#[derive(Debug, Default)]
pub struct Live {
    payload: Vec<u8>,
    /// Where in the payload the live entries begin: keys and values, from the last to the first.
    starts: Vec<u32>,
}

/// Which entry of the file is the last one of its key.
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
    /// `None`: there is no copy, or nothing in it. Of what is in the middle only the reading finds out whether it is whole.
    ///
    /// # Errors
    /// Why the file is no copy of this origin.
    pub fn open(path: &Path, origin: &Origin) -> Result<Option<CopyReader>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let batches = Batches::open(file)?;
        if batches.origin != *origin {
            bail!("it is a copy of {:?}", batches.origin);
        }
        let (file, mut places) = batches.into_places()?;
        let mut payload = Vec::new();
        // What a crash has left half written at the end is not there.
        while let Some(place) = places.last() {
            if place.read(&file, &mut payload)? {
                break;
            }
            places.pop();
        }
        let reached = places.last().and_then(|_| parse(&payload)).map(|frame| frame.reached);
        let Some(reached) = reached.filter(|reached| *reached != Reached::UNFINISHED) else { return Ok(None) };
        Ok(Some(CopyReader { file, places, seen: HashSet::default(), reached }))
    }

    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Fills in what is live of the next batch; false: there was none left. Each key comes once, and not at all if it was deleted.
    ///
    /// # Errors
    /// The file is damaged: nothing of what was handed out may be used.
    pub fn read(&mut self, live: &mut Live) -> Result<bool> {
        live.starts.clear();
        let Some(place) = self.places.pop() else { return Ok(false) };
        let is_whole = place.read(&self.file, &mut live.payload)?;
        ensure!(is_whole, "a batch in the middle of the copy is damaged");
        let Some(frame) = parse(&live.payload) else { bail!("a batch without a beginning") };
        live.starts.extend(frame.starts());
        live.starts.reverse();
        let (payload, seen) = (&live.payload, &mut self.seen);
        live.starts
            .retain(|start| entry_at(payload, *start).is_some_and(|found| seen.insert(hash128(&[found.key])) && found.value.is_some()));
        Ok(true)
    }
}

impl Live {
    /// Keys and values.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.starts.iter().filter_map(|start| entry_at(&self.payload, *start)).filter_map(|found| Some((found.key, found.value?)))
    }
}
