//! How a copy lies on disk: a head that says what it is a copy of, then batches of keys and values, a checksum over each.
//!
//! ```text
//! head   "TGCOPY" | version u16 | live u64 | length u32 | origin | crc32 of all before
//! batch  length u32 | crc32 of the payload | payload: next i64 | as of i64 | entries
//! entry  key length u32 | value length u32, all ones = tombstone | key | value
//! ```
//!
//! Numbers are little endian. A batch is valid or it is not there: what a crash left half written is cut off, and everything before the
//! cut is what the changelog held below the last batch's `next`. (A reader that meets damage before a valid end takes nothing of it.) Batches of a rewrite have no `next` but for the last one.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

const MAGIC: &[u8; 6] = b"TGCOPY";
/// Raise it when anything above changes: a copy of another version is not used.
const VERSION: u16 = 1;
const FIXED_HEAD: usize = 20;
const BATCH_HEAD: usize = 8;
/// How far the copy has come with a batch, before its entries.
const PAYLOAD_HEAD: usize = 16;
const TOMBSTONE: u32 = u32::MAX;
/// A batch is closed once it is this long; it is held in memory, by the writer and by the reader.
pub(super) const FULL_BATCH: usize = 1 << 20;
/// Longer than any batch can be: a full one and the largest record.
const LONGEST_BATCH: u32 = 1 << 28;
const READ_AHEAD: usize = 1 << 18;

/// What a copy is a copy of. Another one of anything here is another log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub topic: String,
    /// The broker's own id of the topic: a topic that is deleted and made anew has another one.
    pub topic_id: String,
    pub partition: i32,
    pub shard_count: u32,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Offset behind the last record that is in the copy.
    pub next: i64,
    /// Nothing that was written to the log before this time is missing.
    pub as_of: Timestamp,
}

impl Reached {
    /// Stands in the batches of a rewrite but for the last one: none of them is what the log held below some offset, all together are.
    pub(super) const UNFINISHED: Reached = Reached { next: -1, as_of: Timestamp(i64::MIN) };
}

/// A record of the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

pub(super) fn head(origin: &Origin, live: u64) -> Result<Vec<u8>> {
    let origin = postcard::to_stdvec(origin)?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&live.to_le_bytes());
    head.extend_from_slice(&u32::try_from(origin.len())?.to_le_bytes());
    head.extend_from_slice(&origin);
    head.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
    Ok(head)
}

/// Appends an entry to a payload.
pub(super) fn push(payload: &mut Vec<u8>, entry: Entry<'_>) -> Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len());
    payload.extend_from_slice(&length(entry.key)?.to_le_bytes());
    payload.extend_from_slice(&entry.value.map_or(Ok(TOMBSTONE), length)?.to_le_bytes());
    payload.extend_from_slice(entry.key);
    payload.extend_from_slice(entry.value.unwrap_or_default());
    Ok(())
}

/// A batch with room for its head, which [`seal`] fills in.
pub(super) fn begin(reached: Reached) -> Vec<u8> {
    let mut batch = vec![0; BATCH_HEAD];
    batch.extend_from_slice(&reached.next.to_le_bytes());
    batch.extend_from_slice(&reached.as_of.0.to_le_bytes());
    batch
}

pub(super) fn seal(batch: &mut [u8], reached: Reached) -> Result<()> {
    let Some((head, payload)) = batch.split_at_mut_checked(BATCH_HEAD) else { bail!("a batch without a head") };
    ensure!(payload.len() >= PAYLOAD_HEAD, "a batch without a beginning");
    payload[..8].copy_from_slice(&reached.next.to_le_bytes());
    payload[8..16].copy_from_slice(&reached.as_of.0.to_le_bytes());
    head[..4].copy_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Ok(())
}

/// The batches of a copy, one after the other.
pub(super) struct Batches {
    input: BufReader<File>,
    /// Bytes of the file that are read and valid.
    pub at: u64,
    length: u64,
    pub origin: Origin,
    /// Bytes of batches that the last rewrite has left.
    pub live: u64,
    payload: Vec<u8>,
}

pub(super) struct Frame<'a> {
    pub reached: Reached,
    entries: &'a [u8],
}

impl Batches {
    /// # Errors
    /// The file cannot be read, or does not begin as a copy of this version does.
    pub fn open(file: File) -> Result<Batches> {
        let length = file.metadata()?.len();
        let mut input = BufReader::with_capacity(READ_AHEAD, file);
        let mut head = vec![0; FIXED_HEAD];
        input.read_exact(&mut head)?;
        ensure!(head.starts_with(MAGIC), "it is no copy");
        let version = u16::from_le_bytes([head[6], head[7]]);
        ensure!(version == VERSION, "it has format version {version}, this program reads {VERSION}");
        let live = u64::from_le_bytes(head[8..16].try_into()?);
        let rest = u32::from_le_bytes(head[16..20].try_into()?) as usize + 4;
        ensure!(rest as u64 <= length, "its head is damaged");
        head.resize(FIXED_HEAD + rest, 0);
        input.read_exact(&mut head[FIXED_HEAD..])?;
        let (body, checksum) = head.split_at(head.len() - 4);
        ensure!(checksum == crc32fast::hash(body).to_le_bytes(), "its head is damaged");
        let origin = postcard::from_bytes(&body[FIXED_HEAD..])?;
        Ok(Batches { input, at: head.len() as u64, length, origin, live, payload: Vec::new() })
    }

    /// The file, and where each batch from here on stands in it as their heads say: to the first that cannot be one. What is in them is not
    /// looked at.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn into_places(self) -> io::Result<(File, Vec<Place>)> {
        let file = self.input.into_inner();
        let (mut places, mut at) = (Vec::new(), self.at);
        while self.length.saturating_sub(at) >= BATCH_HEAD as u64 {
            let mut head = [0; BATCH_HEAD];
            file.read_exact_at(&mut head, at)?;
            let (place, _) = place(head, at);
            if !place.is_within(self.length) {
                break;
            }
            at = place.end();
            places.push(place);
        }
        Ok((file, places))
    }

    /// `None`: there is no further valid batch.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_batch(&mut self) -> io::Result<Option<Frame<'_>>> {
        if self.length.saturating_sub(self.at) < BATCH_HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; BATCH_HEAD];
        self.input.read_exact(&mut head)?;
        let (place, checksum) = place(head, self.at);
        if !place.is_within(self.length) {
            return Ok(None);
        }
        self.payload.resize(place.size as usize, 0);
        self.input.read_exact(&mut self.payload)?;
        if checksum != crc32fast::hash(&self.payload) {
            return Ok(None);
        }
        self.at = place.end();
        Ok(parse(&self.payload))
    }
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: u64,
    /// Bytes of its payload.
    size: u32,
}

/// What the head of a batch says of it, and the checksum.
fn place(head: [u8; BATCH_HEAD], at: u64) -> (Place, u32) {
    let [a, b, c, d, e, f, g, h] = head;
    (Place { at, size: u32::from_le_bytes([a, b, c, d]) }, u32::from_le_bytes([e, f, g, h]))
}

impl Place {
    fn end(self) -> u64 {
        self.at + BATCH_HEAD as u64 + u64::from(self.size)
    }

    fn is_within(self, length: u64) -> bool {
        (PAYLOAD_HEAD as u32..LONGEST_BATCH).contains(&self.size) && self.end() <= length
    }

    /// Reads its payload in place of what `payload` held; false: it is not valid.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(self, file: &File, payload: &mut Vec<u8>) -> io::Result<bool> {
        let mut head = [0; BATCH_HEAD];
        file.read_exact_at(&mut head, self.at)?;
        payload.resize(self.size as usize, 0);
        file.read_exact_at(payload, self.at + BATCH_HEAD as u64)?;
        Ok(place(head, self.at).1 == crc32fast::hash(payload))
    }
}

pub(super) fn parse(payload: &[u8]) -> Option<Frame<'_>> {
    let (next, rest) = payload.split_first_chunk::<8>()?;
    let (as_of, entries) = rest.split_first_chunk::<8>()?;
    let reached = Reached { next: i64::from_le_bytes(*next), as_of: Timestamp(i64::from_le_bytes(*as_of)) };
    Some(Frame { reached, entries })
}

impl<'a> Frame<'a> {
    /// Where each entry begins in the payload: see [`entry_at`].
    pub fn starts(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut rest = self.entries;
        let whole = PAYLOAD_HEAD + rest.len();
        std::iter::from_fn(move || {
            let start = u32::try_from(whole - rest.len()).ok()?;
            rest = entry(rest)?.1;
            Some(start)
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut rest = self.entries;
        std::iter::from_fn(move || {
            let (entry, after) = entry(rest)?;
            rest = after;
            Some(entry)
        })
    }
}

pub(super) fn entry_at(payload: &[u8], start: u32) -> Option<Entry<'_>> {
    Some(entry(payload.get(start as usize..)?)?.0)
}

/// The first entry, and what is behind it.
fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (key_length, after) = bytes.split_first_chunk::<4>()?;
    let (value_length, after) = after.split_first_chunk::<4>()?;
    let value_length = u32::from_le_bytes(*value_length);
    let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    if value_length == TOMBSTONE {
        return Some((Entry { key, value: None }, after));
    }
    let (value, after) = after.split_at_checked(value_length as usize)?;
    Some((Entry { key, value: Some(value) }, after))
}
