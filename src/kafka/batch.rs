//! Records as they are fetched: borrowed from the client library's buffers, or owned.
#![expect(unsafe_code, reason = "batches come as raw messages; rust-rdkafka wraps single ones only (KAFKA.md, section 5)")]

use std::ffi::CStr;
use std::ptr;
use std::slice;

use rdkafka::bindings as sys;

use super::link::Partition;
use crate::model::ahead;
use crate::model::time::Timestamp;

/// Of a cache, in bytes.
const LINE: usize = 64;
/// Of a record; what is longer is read for so long that it comes by itself.
const MOST_ASKED: usize = 512;

/// Some records of one partition, in the order of their offsets.
pub struct Batch {
    partition: Partition,
    records: Records,
    /// The partition has been read to its end, as of this batch.
    pub end: bool,
    /// At the end, the next offset to be read: behind the markers of transactions, which take offsets and are no records. Known of members of
    /// a group only.
    pub next: Option<i64>,
}

enum Records {
    Native(Vec<Message>),
    Owned(Vec<OwnedRecord>),
}

/// A message that the client library has handed to us; destroyed with this value.
pub(super) struct Message(*mut sys::rd_kafka_message_t);

/// A record that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    pub offset: i64,
    /// Milliseconds; -1 where the record has none.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The record's own stamp; -1 where it has none.
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: HeaderSource<'a>,
}

#[derive(Clone, Copy, Debug)]
enum HeaderSource<'a> {
    Native(*mut sys::rd_kafka_message_t),
    Owned(&'a [(String, Vec<u8>)]),
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the pointer was handed to us by the library, is owned by this value alone and destroyed once.
        unsafe { sys::rd_kafka_message_destroy(self.0) };
    }
}

// SAFETY: a message is plain memory of the library's, freed by reference counts that are atomic.
unsafe impl Send for Message {}

impl Message {
    pub(super) fn new(pointer: *mut sys::rd_kafka_message_t) -> Message {
        Message(pointer)
    }

    /// Asks for the record, and for what the library keeps of it behind what it shows.
    fn approach(&self) {
        // SAFETY: the pointer is valid as long as `self`.
        let (payload, length) = unsafe { ((*self.0).payload.cast::<u8>(), (*self.0).len) };
        let kept = self.0.cast::<u8>();
        [LINE, 2 * LINE].iter().for_each(|at| ahead::at(kept.wrapping_add(*at)));
        (0..length.min(MOST_ASKED)).step_by(LINE).for_each(|at| ahead::at(payload.wrapping_add(at)));
        // The headers follow.
        ahead::at(payload.wrapping_add(length));
    }

    /// The error that stands in a record's place.
    pub(super) fn error(&self) -> sys::rd_kafka_resp_err_t {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { (*self.0).err }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records of {}[{}]", self.len(), self.partition.topic, self.partition.partition)
    }
}

impl Batch {
    pub(super) fn native(partition: Partition, messages: Vec<Message>, end: bool) -> Batch {
        Batch { partition, records: Records::Native(messages), end, next: None }
    }

    pub fn owned(partition: Partition, records: Vec<OwnedRecord>, end: bool) -> Batch {
        Batch { partition, records: Records::Owned(records), end, next: None }
    }

    pub fn empty(partition: Partition) -> Batch {
        Batch::owned(partition, Vec::new(), false)
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    pub fn len(&self) -> usize {
        match &self.records {
            Records::Native(messages) => messages.len(),
            Records::Owned(records) => records.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn last_offset(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?).map(|record| record.offset)
    }

    /// Leaves out the records at `until` and behind it.
    pub fn cut_at(&mut self, until: i64) {
        let keep = self.iter().take_while(|record| record.offset < until).count();
        match &mut self.records {
            Records::Native(messages) => messages.truncate(keep),
            Records::Owned(records) => records.truncate(keep),
        }
    }

    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let (topic, partition) = (self.partition.topic.as_str(), self.partition.partition);
        match &self.records {
            Records::Native(messages) => messages.get(index).map(|message| native(topic, partition, message)),
            Records::Owned(records) => records.get(index).map(|record| Record {
                topic,
                partition,
                offset: record.offset,
                timestamp: Timestamp(record.timestamp),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: HeaderSource::Owned(&record.headers),
            }),
        }
    }

    /// Records at this index will be read soon: their memory is asked for. They were fetched by another processor.
    pub fn approach(&self, index: usize) {
        if let Records::Native(messages) = &self.records
            && let Some(message) = messages.get(index)
        {
            message.approach();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

fn native<'a>(topic: &'a str, partition: i32, message: &'a Message) -> Record<'a> {
    // SAFETY: the message and the buffers that it points to live as long as `message`, which the result borrows.
    unsafe {
        let raw = &*message.0;
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp = sys::rd_kafka_message_timestamp(message.0, &raw mut kind);
        Record {
            topic,
            partition,
            offset: raw.offset,
            timestamp: Timestamp(timestamp),
            key: bytes(raw.key, raw.key_len),
            value: bytes(raw.payload, raw.len),
            headers: HeaderSource::Native(message.0),
        }
    }
}

/// # Safety
/// `pointer` is null or points to `length` bytes that live as long as `'a`.
unsafe fn bytes<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract of this function.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

impl<'a> Record<'a> {
    /// Names and values of all headers, in order; a name that is no UTF-8 is left out, a null value reads as empty.
    pub fn headers(&self) -> Vec<(&'a str, &'a [u8])> {
        let mut all = Vec::new();
        self.add_headers(&mut all);
        all
    }

    /// As [`Record::headers`], null values told apart from empty ones.
    pub fn nullable_headers(&self) -> Vec<(&'a str, Option<&'a [u8]>)> {
        match self.headers {
            HeaderSource::Owned(headers) => headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice()))).collect(),
            HeaderSource::Native(message) => {
                let mut all = Vec::new();
                native_headers(message, |name, value| all.push((name, value)));
                all
            }
        }
    }

    /// As [`Record::headers`], behind what a vector holds already.
    pub fn add_headers(&self, all: &mut Vec<(&'a str, &'a [u8])>) {
        match self.headers {
            HeaderSource::Owned(headers) => all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))),
            HeaderSource::Native(message) => native_headers(message, |name, value| all.push((name, value.unwrap_or_default()))),
        }
    }

    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            offset: self.offset,
            timestamp: self.timestamp.0,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: self.headers().into_iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect(),
        }
    }
}

fn native_headers<'a>(message: *mut sys::rd_kafka_message_t, mut each: impl FnMut(&'a str, Option<&'a [u8]>)) {
    let mut headers = ptr::null_mut();
    // SAFETY: the record that holds `message` borrows its batch, so that message and headers outlive `'a`.
    unsafe {
        if sys::rd_kafka_message_headers(message, &raw mut headers) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            let answer = sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length);
            if answer != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            if let Ok(name) = CStr::from_ptr(name).to_str() {
                each(name, bytes(value, length));
            }
        }
    }
}
