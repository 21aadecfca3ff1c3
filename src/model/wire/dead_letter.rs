//! Dead letters: the headers that Kafka's own tools look for, and cutting what would not fit.

use crate::model::record::{DeadLetter, RejectReason};

pub(super) const REASON: &str = "tollgate.reason";
const MESSAGE: &str = "tollgate.message";
pub(super) const ORIGINAL_SIZE: &str = "tollgate.original.size";
pub(super) const ORIGINAL_HASH: &str = "tollgate.original.hash";
/// Names that dead letters carry beside the original headers, marks of a cut aside.
pub(super) const OWN_HEADERS: [&str; 18] = [
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.connector.name",
    "__connect.errors.task.id",
    "__connect.errors.stage",
    "__connect.errors.class.name",
    "__connect.errors.exception.class.name",
    "__connect.errors.exception.message",
    "__connect.errors.exception.stacktrace",
    "__streams.errors.exception",
    "__streams.errors.message",
    "__streams.errors.stacktrace",
    "__streams.errors.topic",
    "__streams.errors.partition",
    "__streams.errors.offset",
    REASON,
    MESSAGE,
];
/// A dead letter's own message never takes more room than this.
const LARGEST_MESSAGE: usize = 1_024;
/// What a record of a batch costs beside its key, value and headers, rounded up.
const RECORD_OVERHEAD: usize = 128;
/// Length prefixes of one header, rounded up.
const HEADER_OVERHEAD: usize = 10;

/// Original headers, then Kafka Connect's and Kafka Streams' families and our own. A name that we write replaces the original's header
/// of that name, so a letter that comes back rejected a second time tells of the second time.
pub fn dead_letter_headers(dead: &DeadLetter) -> Vec<(String, Vec<u8>)> {
    let own = own_headers(dead);
    let original = dead.headers.iter().filter(|(name, _)| !own.iter().any(|(ours, _)| ours == name));
    let mut headers: Vec<(String, Vec<u8>)> = original.cloned().collect();
    headers.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
    headers
}

fn own_headers(dead: &DeadLetter) -> Vec<(&'static str, String)> {
    let reason = dead.reject.reason;
    let class = format!("io.tollgate.Reject.{reason}");
    let message = cut_text(&dead.reject.message, LARGEST_MESSAGE).to_owned();
    let trace = format!("{class}: {message}");
    let (topic, partition, offset) = (dead.topic.to_string(), dead.partition.to_string(), dead.offset.to_string());
    vec![
        ("__connect.errors.topic", topic.clone()),
        ("__connect.errors.partition", partition.clone()),
        ("__connect.errors.offset", offset.clone()),
        ("__connect.errors.connector.name", "tollgate".to_owned()),
        ("__connect.errors.task.id", "0".to_owned()),
        ("__connect.errors.stage", connect_stage(reason).to_owned()),
        ("__connect.errors.class.name", "io.tollgate.Intake".to_owned()),
        ("__connect.errors.exception.class.name", class.clone()),
        ("__connect.errors.exception.message", message.clone()),
        ("__connect.errors.exception.stacktrace", trace.clone()),
        ("__streams.errors.exception", class),
        ("__streams.errors.message", message.clone()),
        ("__streams.errors.stacktrace", trace),
        ("__streams.errors.topic", topic),
        ("__streams.errors.partition", partition),
        ("__streams.errors.offset", offset),
        (REASON, reason.as_str().to_owned()),
        (MESSAGE, message),
    ]
}

/// Connect's names of stages: bytes that cannot be read are the converter's business, what they say is the transformation's.
fn connect_stage(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::NoValue
        | RejectReason::EmptyValue
        | RejectReason::TooLarge
        | RejectReason::UnknownFormat
        | RejectReason::UnknownSchema
        | RejectReason::InvalidAvro
        | RejectReason::InvalidJson
        | RejectReason::InvalidUtf8
        | RejectReason::InvalidCloudEvent => "VALUE_CONVERTER",
        RejectReason::MissingField
        | RejectReason::WrongType
        | RejectReason::FieldTooLong
        | RejectReason::NotANumber
        | RejectReason::NegativeQuantity
        | RejectReason::OutOfRange
        | RejectReason::InvalidEventTime
        | RejectReason::EventTimeInFuture
        | RejectReason::EventTimeTooOld
        | RejectReason::InvalidAmount
        | RejectReason::UnknownCurrency
        | RejectReason::InvalidPeriod => "TRANSFORMATION",
    }
}

/// Upper bound of the record that the letter becomes, in bytes.
pub fn dead_letter_size(dead: &DeadLetter) -> usize {
    let headers: usize = dead_letter_headers(dead).iter().map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD).sum();
    RECORD_OVERHEAD + length(dead.key.as_ref()) + length(dead.value.as_ref()) + headers
}

/// The letter as it fits into `max_bytes`: whole if it can be, else its value cut; where that is not enough, its original headers go and
/// its key is cut too. `tollgate.original.size` (of the value, in bytes) and `tollgate.original.hash` (XXH3-128 of the value) tell what was there.
pub fn cut_dead_letter(mut dead: DeadLetter, max_bytes: usize) -> DeadLetter {
    if dead_letter_size(&dead) <= max_bytes {
        return dead;
    }
    let original = dead.value.as_deref().unwrap_or_default();
    let marks = [
        (ORIGINAL_SIZE.to_owned(), original.len().to_string().into_bytes()),
        (ORIGINAL_HASH.to_owned(), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(original)).into_bytes()),
    ];
    // Marks of an earlier cut tell of the true original and stay.
    let is_mark = |name: &str| name == ORIGINAL_SIZE || name == ORIGINAL_HASH;
    if !dead.headers.iter().any(|(name, _)| is_mark(name)) {
        dead.headers.extend(marks);
    }
    let without_value = |dead: &DeadLetter| dead_letter_size(dead) - length(dead.value.as_ref());
    if without_value(&dead) > max_bytes {
        dead.headers.retain(|(name, _)| is_mark(name));
    }
    let excess = without_value(&dead).saturating_sub(max_bytes);
    shorten(dead.key.as_mut(), excess);
    let excess = dead_letter_size(&dead).saturating_sub(max_bytes);
    shorten(dead.value.as_mut(), excess);
    dead
}

fn shorten(bytes: Option<&mut Vec<u8>>, excess: usize) {
    if let Some(bytes) = bytes {
        bytes.truncate(bytes.len().saturating_sub(excess));
    }
}

fn length(bytes: Option<&Vec<u8>>) -> usize {
    bytes.map_or(0, Vec::len)
}

/// At most `largest` bytes, cut between characters.
fn cut_text(text: &str, largest: usize) -> &str {
    let end = (0..=largest.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Reject;
    use crate::model::time::Timestamp;

    fn letter(key: usize, value: usize, headers: usize) -> DeadLetter {
        DeadLetter {
            topic: "usage-events".into(),
            partition: 3,
            offset: 42,
            timestamp: Timestamp(1),
            key: Some(vec![b'k'; key]),
            value: Some(vec![b'v'; value]),
            headers: vec![("trace".to_owned(), vec![b'h'; headers])],
            reject: Reject::new(RejectReason::InvalidAmount, "cost '1,5' is not a decimal number"),
        }
    }

    fn text(headers: &[(String, Vec<u8>)], name: &str) -> String {
        let values: Vec<&Vec<u8>> = headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect();
        assert_eq!(values.len(), 1, "{name} once");
        String::from_utf8(values[0].clone()).unwrap()
    }

    #[test]
    fn headers_say_where_it_was_and_why() {
        let headers = dead_letter_headers(&letter(1, 1, 5));
        for family in ["__connect.errors.", "__streams.errors."] {
            assert_eq!(text(&headers, &format!("{family}topic")), "usage-events");
            assert_eq!(text(&headers, &format!("{family}partition")), "3");
            assert_eq!(text(&headers, &format!("{family}offset")), "42");
        }
        assert_eq!(text(&headers, "__connect.errors.stage"), "TRANSFORMATION");
        assert_eq!(text(&headers, "__connect.errors.exception.message"), "cost '1,5' is not a decimal number");
        assert_eq!(text(&headers, "__streams.errors.exception"), "io.tollgate.Reject.invalid_amount");
        assert_eq!(text(&headers, "tollgate.reason"), "invalid_amount");
        assert_eq!(text(&headers, "trace"), "hhhhh");
    }

    #[test]
    fn the_list_of_own_names_is_complete() {
        let names: Vec<&str> = own_headers(&letter(1, 1, 1)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, OWN_HEADERS);
    }

    #[test]
    fn a_second_rejection_replaces_the_first() {
        let mut again = letter(1, 1, 5);
        again.headers = dead_letter_headers(&again);
        again.offset = 43;
        let headers = dead_letter_headers(&again);
        assert_eq!(text(&headers, "__connect.errors.offset"), "43");
        assert_eq!(headers.len(), again.headers.len());
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let whole = letter(10, 100, 10);
        assert_eq!(cut_dead_letter(whole.clone(), 10_000), whole);

        for (key, value, headers) in [(10, 100_000, 10), (10, 100_000, 50_000), (60_000, 100_000, 10), (60_000, 0, 60_000)] {
            let cut = cut_dead_letter(letter(key, value, headers), 10_000);
            let size = dead_letter_size(&cut);
            assert!(size <= 10_000 && (size > 9_000 || value == 0), "{key} {value} {headers}: {size}");
            let names = dead_letter_headers(&cut);
            assert_eq!(text(&names, ORIGINAL_SIZE), value.to_string());
            assert_eq!(text(&names, ORIGINAL_HASH), format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&vec![b'v'; value])));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut_text("aé", 2), "a");
        let mut dead = letter(1, 1, 1);
        dead.reject.message = "é".repeat(5_000);
        assert!(text(&dead_letter_headers(&dead), MESSAGE).len() <= LARGEST_MESSAGE);
    }
}
