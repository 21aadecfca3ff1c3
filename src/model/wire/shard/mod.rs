//! The shard log's record: six bytes of header, then Avro after `schemas/partial.avsc`, written and read by hand.
//!
//! By hand because every partial passes here twice: Avro's general serde bridge costs some ten times as much. The contract test holds
//! this codec against the general one, byte by byte. Whoever changes the schema raises [`SHARD_FORMAT_VERSION`].

use super::WireError;
use crate::model::Text;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::partial::{Failed, Marker, Partial, PolicyHit, Said, ShardEvent, ShardRecord, Source, UserCost};
use crate::model::time::{Minute, Timestamp};

/// The newest version: partials end with what has failed. Version 5 knows nothing of that, and has events of what is spent for a budget of
/// another shard and uses of datasets as lineage knows them. Version 4 has the same form without these, and with events of grants, version 3
/// without those, its partials end with what policies said; version 2 knew no policies and had events behind the markers, version 1 had no
/// events. A record is written in the lowest version that holds it, which a program that is a release older reads as well, so that a rolling
/// upgrade is one as long as no request fails and nobody sends grants or uses of datasets (upgrade who reads the shard log before who reads
/// usage, activity and lineage) and no budget is of a cost centre (write it into the config once all are upgraded).
pub const SHARD_FORMAT_VERSION: u8 = 6;
const WITHOUT_FAILED: u8 = 5;
const WITHOUT_SPENT_AND_DATASETS: u8 = 4;
const WITHOUT_GRANTS: u8 = 3;
const WITHOUT_HITS: u8 = 2;
const WITHOUT_EVENTS: u8 = 1;

const MAGIC: u8 = b'T';
const HEADER_LENGTH: usize = 6;

pub fn encode_shard_record(record: &ShardRecord) -> Result<Vec<u8>, WireError> {
    let is_of_grants = |event: &ShardEvent| matches!(event, ShardEvent::Grant(_) | ShardEvent::GrantUsed(_));
    let is_of_five = |event: &ShardEvent| matches!(event, ShardEvent::Spent(_) | ShardEvent::DatasetUse(_));
    let version = match (record.partials.iter().any(|partial| !partial.hits.is_empty()), record.events.is_empty()) {
        _ if record.partials.iter().any(|partial| partial.failed != Failed::default()) => SHARD_FORMAT_VERSION,
        _ if record.events.iter().any(is_of_five) => WITHOUT_FAILED,
        _ if record.events.iter().any(is_of_grants) => WITHOUT_SPENT_AND_DATASETS,
        (true, _) => WITHOUT_GRANTS,
        (false, false) => WITHOUT_HITS,
        (false, true) => WITHOUT_EVENTS,
    };
    let mut out =
        Writer { version, bytes: Vec::with_capacity(HEADER_LENGTH + 192 * record.partials.len() + 64 * record.markers.len() + 2) };
    out.bytes.extend_from_slice(&[0; HEADER_LENGTH]);
    out.array(&record.partials, Writer::partial)?;
    out.array(&record.markers, Writer::marker)?;
    if version > WITHOUT_EVENTS {
        out.array(&record.events, Writer::event)?;
    }
    let Writer { mut bytes, .. } = out;
    let checksum = crc32fast::hash(bytes.get(HEADER_LENGTH..).unwrap_or_default()).to_le_bytes();
    if let Some(header) = bytes.first_chunk_mut::<HEADER_LENGTH>() {
        let [a, b, c, d] = checksum;
        *header = [MAGIC, version, a, b, c, d];
    }
    Ok(bytes)
}

pub fn decode_shard_record(bytes: &[u8]) -> Result<ShardRecord, WireError> {
    let Some((&[magic, found], rest)) = bytes.split_first_chunk::<2>() else {
        return Err(WireError::NotAShardRecord("it is shorter than the header"));
    };
    if magic != MAGIC {
        return Err(WireError::NotAShardRecord("it does not begin with 'T'"));
    }
    let reads = SHARD_FORMAT_VERSION;
    if found > reads {
        return Err(WireError::NewerVersion { found, reads });
    }
    if found < WITHOUT_EVENTS {
        return Err(WireError::OlderVersion { found, reads });
    }
    let Some((stored, payload)) = rest.split_first_chunk::<4>() else {
        return Err(WireError::NotAShardRecord("it is shorter than the header"));
    };
    let (stored, computed) = (u32::from_le_bytes(*stored), crc32fast::hash(payload));
    if stored != computed {
        return Err(WireError::Checksum { stored, computed });
    }
    decode_payload(payload, found)
}

fn decode_payload(payload: &[u8], version: u8) -> Result<ShardRecord, WireError> {
    let mut reader = Reader { rest: payload, version };
    let mut seen = Seen::new();
    let partials = reader.array("partials", |reader| reader.partial(&mut seen))?;
    let markers = reader.array("markers", |reader| reader.marker(&mut seen))?;
    let events = if version > WITHOUT_EVENTS { reader.array("events", Reader::event)? } else { Vec::new() };
    if reader.rest.is_empty() {
        Ok(ShardRecord { partials, markers, events })
    } else {
        Err(WireError::Malformed("the bytes behind its end"))
    }
}

struct Writer {
    bytes: Vec<u8>,
    /// Format version of the record.
    version: u8,
}

impl Writer {
    fn array<T>(&mut self, items: &[T], write: impl Fn(&mut Writer, &T) -> Result<(), WireError>) -> Result<(), WireError> {
        if !items.is_empty() {
            self.length(items.len())?;
            for item in items {
                write(self, item)?;
            }
        }
        self.bytes.push(0);
        Ok(())
    }

    fn partial(&mut self, partial: &Partial) -> Result<(), WireError> {
        self.leaf(&partial.leaf)?;
        self.long(partial.minute.0);
        self.count("events", partial.events)?;
        self.count("unpriced_events", partial.unpriced_events)?;
        self.decimal("cost", partial.cost)?;
        self.bytes.push(u8::from(partial.has_negative));
        self.decimal("quantity", partial.quantity)?;
        self.count("requests", partial.requests)?;
        self.count("tokens_input", partial.tokens_input)?;
        self.count("tokens_output", partial.tokens_output)?;
        self.count("tokens_cached_input", partial.tokens_cached_input)?;
        self.count("tokens_cache_write", partial.tokens_cache_write)?;
        self.count("tokens_reasoning", partial.tokens_reasoning)?;
        self.long(partial.last_event_time.0);
        self.long(partial.last_ingest_time.0);
        self.array(&partial.users, Writer::user)?;
        if self.version > WITHOUT_HITS {
            self.array(&partial.hits, Writer::hit)?;
        }
        if self.version > WITHOUT_FAILED { self.failed(partial.failed) } else { Ok(()) }
    }

    fn failed(&mut self, failed: Failed) -> Result<(), WireError> {
        self.count("failed.events", failed.events)?;
        self.count("failed.unpriced_events", failed.unpriced_events)?;
        self.count("failed.requests", failed.requests)
    }

    fn leaf(&mut self, leaf: &Leaf) -> Result<(), WireError> {
        for text in [&leaf.team, &leaf.project, &leaf.model, &leaf.provider, &leaf.region, &leaf.environment, &leaf.meter] {
            self.text(text)?;
        }
        self.text(leaf.currency.as_str())?;
        self.long(match leaf.measure {
            Measure::Estimated => 0,
            Measure::Billed => 1,
            Measure::EstimatedOriginal => 2,
            Measure::BilledOriginal => 3,
        });
        Ok(())
    }

    fn user(&mut self, user: &UserCost) -> Result<(), WireError> {
        self.text(&user.user)?;
        self.decimal("users.cost", user.cost)
    }

    fn hit(&mut self, hit: &PolicyHit) -> Result<(), WireError> {
        self.text(&hit.policy)?;
        self.long(match hit.said {
            Said::Violates => 0,
            Said::Exempt => 1,
            Said::Indeterminate => 2,
            Said::DryRun => 3,
        });
        self.count("hits.events", hit.events)?;
        self.decimal("hits.cost", hit.cost)
    }

    fn marker(&mut self, marker: &Marker) -> Result<(), WireError> {
        self.text(&marker.source.topic)?;
        self.long(i64::from(marker.source.partition));
        match marker.watermark {
            None => self.bytes.push(0),
            Some(watermark) => {
                self.long(1);
                self.long(watermark.0);
            }
        }
        self.bytes.push(u8::from(marker.idle));
        self.long(i64::from(marker.partitions_of_topic));
        Ok(())
    }

    /// As JSON: such events are few, and theirs is the form that grows by fields.
    fn event(&mut self, event: &ShardEvent) -> Result<(), WireError> {
        self.text(&serde_json::to_string(event).map_err(|_| WireError::OutOfRange("events"))?)
    }

    fn text(&mut self, text: &str) -> Result<(), WireError> {
        self.length(text.len())?;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn length(&mut self, length: usize) -> Result<(), WireError> {
        self.long(i64::try_from(length).map_err(|_| WireError::OutOfRange("a length"))?);
        Ok(())
    }

    fn count(&mut self, field: &'static str, count: u64) -> Result<(), WireError> {
        self.long(i64::try_from(count).map_err(|_| WireError::OutOfRange(field))?);
        Ok(())
    }

    /// Zigzag, then seven bits a byte, low ones first.
    fn long(&mut self, value: i64) {
        let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
        while rest >= 0x80 {
            self.bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    /// The text that `Nanos` displays, without going through a formatter.
    fn decimal(&mut self, field: &'static str, value: Nanos) -> Result<(), WireError> {
        if value.checked_add(Nanos::ZERO).is_none() {
            return Err(WireError::OutOfRange(field));
        }
        // 10^18 units have 19 digits before the point and 9 behind it.
        let mut text = [0_u8; 32];
        let start = write_decimal(&mut text, value);
        let digits = text.get(start..).unwrap_or_default();
        self.length(digits.len())?;
        self.bytes.extend_from_slice(digits);
        Ok(())
    }
}

/// Writes right-aligned and returns where the text begins.
fn write_decimal(text: &mut [u8; 32], value: Nanos) -> usize {
    const NANOS: u128 = 1_000_000_000;
    let magnitude = value.0.unsigned_abs();
    let (mut whole, mut fraction) = match u64::try_from(magnitude) {
        Ok(small) => (small / NANOS as u64, small % NANOS as u64),
        Err(_) => ((magnitude / NANOS) as u64, (magnitude % NANOS) as u64),
    };
    let mut at = text.len();
    let mut push = |byte: u8| {
        at = at.saturating_sub(1);
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
    };
    if fraction != 0 {
        let mut digits = 9;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        for _ in 0..digits {
            push(b'0' + (fraction % 10) as u8);
            fraction /= 10;
        }
        push(b'.');
    }
    loop {
        push(b'0' + (whole % 10) as u8);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    if value.0 < 0 {
        push(b'-');
    }
    at
}

/// The last value read of each text of a leaf: neighbours share most of them, and a shared one costs neither allocation nor UTF-8 check.
struct Seen {
    texts: [Text; 7],
    currency: Currency,
    topic: Text,
}

impl Seen {
    fn new() -> Seen {
        let empty = Text::from("");
        Seen { texts: std::array::from_fn(|_| empty.clone()), currency: Currency::USD, topic: empty }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Format version of the record.
    version: u8,
}

impl<'a> Reader<'a> {
    fn array<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let mut items = Vec::new();
        loop {
            let mut count = self.long(field)?;
            if count == 0 {
                return Ok(items);
            }
            if count < 0 {
                // A block may state its size in bytes, for skipping.
                self.long(field)?;
                count = count.checked_neg().ok_or(WireError::Malformed(field))?;
            }
            // No item is shorter than three bytes, so a count beyond that is a lie and must not be believed with memory.
            let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len() / 3).ok_or(WireError::Malformed(field))?;
            items.reserve(count);
            for _ in 0..count {
                items.push(read(self)?);
            }
        }
    }

    fn partial(&mut self, seen: &mut Seen) -> Result<Partial, WireError> {
        Ok(Partial {
            leaf: self.leaf(seen)?,
            minute: Minute(self.long("minute")?),
            events: self.count("events")?,
            unpriced_events: self.count("unpriced_events")?,
            cost: self.decimal("cost")?,
            has_negative: self.boolean("has_negative")?,
            quantity: self.decimal("quantity")?,
            requests: self.count("requests")?,
            tokens_input: self.count("tokens_input")?,
            tokens_output: self.count("tokens_output")?,
            tokens_cached_input: self.count("tokens_cached_input")?,
            tokens_cache_write: self.count("tokens_cache_write")?,
            tokens_reasoning: self.count("tokens_reasoning")?,
            last_event_time: Timestamp(self.long("last_event_time")?),
            last_ingest_time: Timestamp(self.long("last_ingest_time")?),
            users: self.array("users", Reader::user)?,
            hits: if self.version > WITHOUT_HITS { self.array("hits", Reader::hit)? } else { Vec::new() },
            failed: if self.version > WITHOUT_FAILED { self.failed()? } else { Failed::default() },
        })
    }

    fn failed(&mut self) -> Result<Failed, WireError> {
        Ok(Failed {
            events: self.count("failed.events")?,
            unpriced_events: self.count("failed.unpriced_events")?,
            requests: self.count("failed.requests")?,
        })
    }

    fn leaf(&mut self, seen: &mut Seen) -> Result<Leaf, WireError> {
        for last in &mut seen.texts {
            self.shared_text("leaf", last)?;
        }
        let [team, project, model, provider, region, environment, meter] = seen.texts.clone();
        let code = self.text("leaf.currency")?;
        if code != seen.currency.as_str() {
            seen.currency = Currency::parse(code).ok_or(WireError::Malformed("leaf.currency"))?;
        }
        let measure = match self.long("leaf.measure")? {
            0 => Measure::Estimated,
            1 => Measure::Billed,
            2 => Measure::EstimatedOriginal,
            3 => Measure::BilledOriginal,
            _ => return Err(WireError::Malformed("leaf.measure")),
        };
        Ok(Leaf { team, project, model, provider, region, environment, meter, currency: seen.currency, measure })
    }

    fn user(&mut self) -> Result<UserCost, WireError> {
        Ok(UserCost { user: self.text("users.user")?.into(), cost: self.decimal("users.cost")? })
    }

    fn hit(&mut self) -> Result<PolicyHit, WireError> {
        let policy = self.text("hits.policy")?.into();
        let said = usize::try_from(self.long("hits.said")?).ok().and_then(|place| Said::ALL.get(place));
        let said = *said.ok_or(WireError::Malformed("hits.said"))?;
        Ok(PolicyHit { policy, said, events: self.count("hits.events")?, cost: self.decimal("hits.cost")? })
    }

    fn marker(&mut self, seen: &mut Seen) -> Result<Marker, WireError> {
        self.shared_text("source.topic", &mut seen.topic)?;
        let source = Source { topic: seen.topic.clone(), partition: self.int("source.partition")? };
        let watermark = match self.long("watermark")? {
            0 => None,
            1 => Some(Timestamp(self.long("watermark")?)),
            _ => return Err(WireError::Malformed("watermark")),
        };
        let idle = self.boolean("idle")?;
        Ok(Marker { source, watermark, idle, partitions_of_topic: self.int("partitions_of_topic")? })
    }

    fn event(&mut self) -> Result<ShardEvent, WireError> {
        serde_json::from_str(self.text("events")?).map_err(|_| WireError::Malformed("events"))
    }

    fn shared_text(&mut self, field: &'static str, last: &mut Text) -> Result<(), WireError> {
        let bytes = self.bytes(field)?;
        if bytes != last.as_bytes() {
            *last = std::str::from_utf8(bytes).map_err(|_| WireError::Malformed(field))?.into();
        }
        Ok(())
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| WireError::Malformed(field))
    }

    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.long(field)?).map_err(|_| WireError::Malformed(field))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Malformed(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn decimal(&mut self, field: &'static str) -> Result<Nanos, WireError> {
        let bytes = self.bytes(field)?;
        if let Some(value) = read_short_decimal(bytes) {
            return Ok(value);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Malformed(field))?;
        text.parse().map_err(|_| WireError::Malformed(field))
    }

    fn boolean(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Malformed(field)),
        }
    }

    fn count(&mut self, field: &'static str) -> Result<u64, WireError> {
        u64::try_from(self.long(field)?).map_err(|_| WireError::Malformed(field))
    }

    fn int(&mut self, field: &'static str) -> Result<i32, WireError> {
        i32::try_from(self.long(field)?).map_err(|_| WireError::Malformed(field))
    }

    fn long(&mut self, field: &'static str) -> Result<i64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            if shift == 63 && byte > 1 {
                return Err(WireError::Malformed(field));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(WireError::Malformed(field))
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, WireError> {
        let (byte, rest) = self.rest.split_first().ok_or(WireError::Malformed(field))?;
        self.rest = rest;
        Ok(*byte)
    }
}

/// Decimals as this program writes them, up to 18 digits; `None` leaves the rest to the general parser.
fn read_short_decimal(text: &[u8]) -> Option<Nanos> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() && at > 0 => point = Some(at),
            _ => return None,
        }
    }
    let behind = point.map_or(0, |at| digits.len() - at - 1);
    let scale = *[1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1_i128].get(behind)?;
    let nanos = i128::from(value) * scale;
    Some(Nanos(if negative { -nanos } else { nanos }))
}

#[cfg(test)]
mod tests;
