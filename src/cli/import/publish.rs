//! Rows become billing events, in transactions that also hold how far the delivery has come: a run that was killed is gone on with.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::rows::{BytesRead, Found, Rows};
use super::survey::{Numbers, Survey};
use crate::intake::focus::{Head, write_text};
use crate::kafka::client::Connection;
use crate::kafka::groups;
use crate::kafka::link::Partition;
use crate::kafka::transfer::{GroupOffset, Parcel, Transfer};
use crate::model::counted::counted;
use crate::model::hash::hash128;
use crate::model::time::Timestamp;

/// Rows of one transaction: some 10 MB.
const BATCH: usize = 5_000;

/// What a delivery is, the same in every run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Hash of the files' bytes and of what they were imported as, in hexadecimal.
    pub id: String,
    /// When its import began: the revision of its rows.
    pub begun: Timestamp,
}

/// How far the latest delivery of a source has come, as it stands beside the group's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub delivery: Delivery,
    /// Rows of the files that are published or passed over.
    pub rows: u64,
    pub is_done: bool,
}

impl Progress {
    fn encode(&self) -> String {
        let state = if self.is_done { "done" } else { "part" };
        format!("{} {} {state}", self.delivery.id, self.delivery.begun.0)
    }

    fn decode(offset: i64, metadata: &str) -> Option<Progress> {
        let mut words = metadata.split(' ');
        let (id, begun, state) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let delivery = Delivery { id: id.to_owned(), begun: Timestamp(begun) };
        Some(Progress { delivery, rows: u64::try_from(offset).ok()?, is_done: state == "done" })
    }
}

/// One source's imports.
pub struct Publisher<'a> {
    pub connection: &'a Connection,
    pub topic: &'a str,
    pub source: &'a str,
}

impl Publisher<'_> {
    /// Each source has a group of its own, whose offset is its progress.
    fn role(&self) -> String {
        format!("import-{:016x}", hash128(&[self.source.as_bytes()]) >> 64)
    }

    fn place(&self) -> Partition {
        Partition { topic: self.topic.to_owned(), partition: 0 }
    }

    /// Whoever imports at the same time is fenced; so progress is read after that.
    ///
    /// # Errors
    /// No broker, no authorisation.
    pub fn begin(&self) -> Result<(Transfer, Option<Progress>)> {
        let transfer = Transfer::start(self.connection, &self.role(), "import")?;
        let committed = groups::committed(self.connection, &self.role(), &[self.place()])?;
        let progress = committed.into_iter().flatten().find_map(|at| Progress::decode(at.offset, &at.metadata));
        Ok((transfer, progress))
    }

    /// Publishes what is not published yet; with `ends`, the ends of the delivery behind it. How many rows were published.
    ///
    /// # Errors
    /// A file that cannot be read, or a transaction that does not go through: what was committed before stays, and the next run goes on there.
    pub fn publish(&self, transfer: &Transfer, delivery: &Delivery, from: u64, work: Work<'_>, mut show: impl FnMut(u64)) -> Result<u64> {
        let Work { files, line_id, bytes, survey, ends } = work;
        let mut batch = Batch {
            publisher: self,
            transfer,
            progress: Progress { delivery: delivery.clone(), rows: 0, is_done: false },
            parcels: Vec::with_capacity(BATCH),
            shared: survey.shared.clone(),
            time: delivery.begun.to_string(),
            published: 0,
        };
        for path in files {
            Rows::open(path, line_id, bytes)?.each(|head, _, found| {
                if let Found::Row(fields) = found {
                    let period = head.period(fields);
                    let line = batch.shared.line(head.identity(fields), period.as_deref());
                    // Also rows that were published before have their number among those of their identity.
                    if batch.progress.rows >= from {
                        let parcel = batch.parcel(head, fields, period.as_deref(), line);
                        batch.parcels.push(parcel);
                    }
                }
                batch.progress.rows += 1;
                if batch.parcels.len() >= BATCH {
                    batch.commit()?;
                    show(batch.published);
                }
                Ok(())
            })?;
        }
        if ends {
            let ends: Vec<Parcel> = survey.ends().map(|(period, lines)| batch.end(period, lines)).collect();
            batch.parcels.extend(ends);
        }
        batch.progress.is_done = true;
        batch.commit()?;
        show(batch.published);
        Ok(batch.published)
    }
}

/// What is to be published.
pub struct Work<'a> {
    pub files: &'a [PathBuf],
    pub line_id: &'a [String],
    pub bytes: &'a BytesRead,
    pub survey: &'a Survey,
    pub ends: bool,
}

struct Batch<'a> {
    publisher: &'a Publisher<'a>,
    transfer: &'a Transfer,
    progress: Progress,
    parcels: Vec<Parcel>,
    shared: Numbers,
    time: String,
    published: u64,
}

impl Batch<'_> {
    fn parcel(&self, head: &Head, fields: &[&str], period: Option<&str>, line: u128) -> Parcel {
        let mut value = Vec::with_capacity(2_048);
        self.begin_event(&mut value, period, &self.progress.rows.to_string());
        let line = format!("{line:032x}");
        value.extend_from_slice(b",\"line_id\":\"");
        value.extend_from_slice(line.as_bytes());
        value.extend_from_slice(b"\",\"revision\":");
        value.extend_from_slice(self.progress.delivery.begun.0.to_string().as_bytes());
        value.extend_from_slice(b",\"row\":");
        head.write_row(fields, &mut value);
        value.push(b'}');
        // By line: its restatements are in one partition.
        Parcel { topic: self.publisher.topic.to_owned(), key: Some(line.into_bytes()), value: Some(value), ..Parcel::default() }
    }

    fn end(&self, period: &str, lines: u64) -> Parcel {
        let mut value = Vec::new();
        self.begin_event(&mut value, Some(period), &format!("end/{period}"));
        value.extend_from_slice(format!(",\"complete\":true,\"lines\":{lines}}}").as_bytes());
        let key = format!("{}/{period}", self.publisher.source);
        Parcel { topic: self.publisher.topic.to_owned(), key: Some(key.into_bytes()), value: Some(value), ..Parcel::default() }
    }

    fn begin_event(&self, value: &mut Vec<u8>, period: Option<&str>, number: &str) {
        let Delivery { id, begun } = &self.progress.delivery;
        let mut text = String::with_capacity(192);
        // Writing to a text cannot fail.
        let _ =
            write!(text, "{{\"event_id\":\"{id}/{}/{number}\",\"event_time\":\"{}\",\"delivery\":\"{id}/{}\"", begun.0, self.time, begun.0);
        if let Some(period) = period {
            let _ = write!(text, ",\"period\":\"{period}\"");
        }
        text.push_str(",\"source\":");
        value.extend_from_slice(text.as_bytes());
        write_text(value, self.publisher.source);
    }

    fn commit(&mut self) -> Result<()> {
        let offset = i64::try_from(self.progress.rows).unwrap_or(i64::MAX);
        let place = GroupOffset { partition: self.publisher.place(), offset, metadata: self.progress.encode() };
        self.transfer
            .commit(&self.parcels, &[place])
            .with_context(|| format!("published so far: {}; run it again and it goes on there", counted(self.published, "row")))?;
        self.published += self.parcels.len() as u64;
        self.parcels.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back() {
        let delivery = Delivery { id: "0f".repeat(16), begun: Timestamp(1_772_359_500_000) };
        for is_done in [false, true] {
            let progress = Progress { delivery: delivery.clone(), rows: 7, is_done };
            assert_eq!(Progress::decode(7, &progress.encode()), Some(progress));
        }
        assert_eq!(Progress::decode(7, ""), None);
        assert_eq!(Progress::decode(-1, "a 1 done"), None);
    }
}
