//! Wire forms: how the nouns stand in Kafka records. The shard log's record has an own header and a hand-written codec; outputs are
//! Avro or its JSON twin after `schemas/*.avsc`, with CloudEvents headers; dead letters carry the header families of Connect and Streams.
//! Called by intake, watch and whoever reads output topics; knows bytes only.

mod cloud_events;
mod confluent;
mod dead_letter;
pub(in crate::model) mod fields;
mod framed;
mod old_lineage;
mod output;
mod redrive;
mod schema;
mod shard;

pub use cloud_events::{
    CloudEvent, Envelope, OutputForm, alert_ce_type, cloud_event_headers, cloud_event_headers_alert, cloud_event_headers_rollup,
    cloud_event_headers_violation, rollup_id,
};
pub use confluent::{confluent_frame, confluent_unframe};
pub use dead_letter::{cut_dead_letter, dead_letter_headers, dead_letter_size};
pub use framed::{decode_ledger_record, decode_lineage_record, encode_ledger_record, encode_lineage_record};
pub use output::{
    alert_from_avro, alert_from_json, alert_of_record, alert_to_avro, alert_to_json, from_avro, from_json, rollup_from_avro,
    rollup_from_json, rollup_of_record, rollup_to_avro, rollup_to_json, to_avro, to_json, violation_from_avro, violation_from_json,
    violation_of_record, violation_to_avro, violation_to_json,
};
pub use redrive::{HeaderRef, Origin, REDRIVE_ATTEMPT, REDRIVE_LETTER, redrive_headers};
pub use schema::{NamedSchema, SchemaName, schema, schemas};
pub use shard::{SHARD_FORMAT_VERSION, decode_shard_record, encode_shard_record};

/// Why bytes could not be read or a value not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("not a shard log record: {0}; is the topic written by something else?")]
    NotAShardRecord(&'static str),
    #[error("not a {log} log record: {why}; is the topic written by something else?")]
    NotALogRecord { log: &'static str, why: &'static str },
    #[error("{log} log record of format version {found}; this program reads version {reads}")]
    LogVersion { log: &'static str, found: u8, reads: u8 },
    #[error("{log} log record fails its checksum (stored {stored:08x}, computed {computed:08x}): damaged on disk or on the way")]
    LogChecksum { log: &'static str, stored: u32, computed: u32 },
    #[error("shard log record of format version {found}; this program reads version {reads}: upgrade tollgate")]
    NewerVersion { found: u8, reads: u8 },
    #[error(
        "shard log record of format version {found}; this program reads version {reads}: let the older tollgate drain the shard log first"
    )]
    OlderVersion { found: u8, reads: u8 },
    #[error("shard log record fails its checksum (stored {stored:08x}, computed {computed:08x}): damaged on disk or on the way")]
    Checksum { stored: u32, computed: u32 },
    /// The checksum holds and the content does not: a bug of the writer.
    #[error("record ends early or is malformed in {0}")]
    Malformed(&'static str),
    #[error("{0} is beyond what the record form can hold")]
    OutOfRange(&'static str),
    #[error("{schema}: {detail}")]
    Avro { schema: &'static str, detail: String },
    #[error("{schema}: {detail}")]
    Json { schema: &'static str, detail: String },
}
