//! Patience limits that depend on each other: the inner one has to give up first, and librdkafka refuses some combinations at start.

use super::read::Section;
use super::settings::{KafkaSettings, Properties};
use super::units::{Complaint, duration_text};

/// librdkafka's own default.
const FETCH_MAX_BYTES: i64 = 52_428_800;

pub fn check(section: &Section, kafka: &KafkaSettings) {
    chain(section, kafka);
    let session = i64::from(kafka.session_timeout_ms);
    if let Some(max_poll) = max_poll_interval(kafka).filter(|max_poll| session > *max_poll) {
        let what = format!(
            "is {}, more than 'max.poll.interval.ms' of [kafka.consumer], which is {}",
            duration_text(session),
            duration_text(max_poll)
        );
        section.complain("session_timeout", Complaint::new(what, "librdkafka refuses it: raise that property, or lower session_timeout"));
    }
    if let Some(heartbeat) =
        property(&kafka.consumer, &kafka.common, "heartbeat.interval.ms").filter(|heartbeat| heartbeat * 3 > session && session > 0)
    {
        let what = format!(
            "is {}, less than three times 'heartbeat.interval.ms' of [kafka.consumer], which is {}",
            duration_text(session),
            duration_text(heartbeat)
        );
        section.complain("session_timeout", Complaint::new(what, "two lost heartbeats must not cost the membership: lower that property"));
    }
    let transaction = i64::from(kafka.transaction_timeout_ms);
    if let Some(socket) =
        property(&kafka.producer, &kafka.common, "socket.timeout.ms").filter(|socket| *socket > transaction && transaction > 0)
    {
        let what = format!(
            "is {}, less than 'socket.timeout.ms' of [kafka.producer], which is {}",
            duration_text(transaction),
            duration_text(socket)
        );
        section.complain(
            "transaction_timeout",
            Complaint::new(what, "a request that hangs must end before its transaction: lower that property"),
        );
    }
    let message = i64::from(kafka.message_timeout_ms);
    if let Some(linger) = property(&kafka.producer, &kafka.common, "linger.ms").filter(|linger| *linger >= message && message > 0) {
        let what =
            format!("is {}, not more than 'linger.ms' of [kafka.producer], which is {}", duration_text(message), duration_text(linger));
        section.complain("message_timeout", Complaint::new(what, "records would expire before they are sent: lower that property"));
    }
    sizes(section, kafka);
}

/// Each shorter than the next.
fn chain(section: &Section, kafka: &KafkaSettings) {
    let limits = [
        ("commit_interval", kafka.commit_interval_ms),
        ("message_timeout", i64::from(kafka.message_timeout_ms)),
        ("transaction_timeout", i64::from(kafka.transaction_timeout_ms)),
        ("session_timeout", i64::from(kafka.session_timeout_ms)),
    ];
    for ((inner, inner_ms), (outer, outer_ms)) in limits.into_iter().zip(limits.into_iter().skip(1)) {
        // 0: was complained about already.
        if inner_ms < outer_ms || inner_ms == 0 || outer_ms == 0 {
            continue;
        }
        // Whoever moved one of the two is to blame, not the default.
        let blame_outer = section.is_own(outer) && !section.is_own(inner);
        let (key, ms, order, other, other_ms) =
            if blame_outer { (outer, outer_ms, "more", inner, inner_ms) } else { (inner, inner_ms, "less", outer, outer_ms) };
        let what = format!("is {}, not {order} than '{other}', which is {}", duration_text(ms), duration_text(other_ms));
        section.complain(key, Complaint::new(what, "commit_interval < message_timeout < transaction_timeout < session_timeout must hold"));
    }
}

/// An answer has to have room for what may be fetched.
fn sizes(section: &Section, kafka: &KafkaSettings) {
    let find = |name| property(&kafka.consumer, &kafka.common, name);
    let fetch = find("fetch.max.bytes").unwrap_or(FETCH_MAX_BYTES);
    if let Some(receive) = find("receive.message.max.bytes").filter(|receive| *receive < fetch + 512) {
        let what = format!("has 'receive.message.max.bytes' = {receive}, less than 'fetch.max.bytes' = {fetch} and 512 more");
        section.complain("consumer", Complaint::new(what, "librdkafka refuses it: raise the one, or lower the other"));
    }
}

/// Where nothing is said it is never less than the session timeout: see `kafka::client`.
fn max_poll_interval(kafka: &KafkaSettings) -> Option<i64> {
    property(&kafka.consumer, &kafka.common, "max.poll.interval.ms")
}

/// As librdkafka will see it: the particular goes before the common. What is no number is librdkafka's to refuse.
fn property(kind: &Properties, common: &Properties, name: &str) -> Option<i64> {
    let find = |properties: &Properties| properties.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    find(kind).or_else(|| find(common))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;

    /// What is complained about, without the hints.
    fn problems(text: &str) -> Vec<String> {
        match load_text("x.toml", &format!("version = 1\n{text}"), Path::new(""), std::iter::empty()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| format!("{}: {}", problem.place, problem.what)).collect(),
        }
    }

    #[test]
    fn each_relation_names_both_options() {
        let chain = problems("[kafka]\ncommit_interval = '2s'\nmessage_timeout = '1s'");
        assert_eq!(chain, ["x.toml:3: 'commit_interval' in [kafka] is 2s, not less than 'message_timeout', which is 1s"]);
        assert_eq!(problems("[kafka]\nsession_timeout = '6m'"), [""; 0]);
        let slow = problems("[kafka]\nsession_timeout = '6m'\n[kafka.common]\n'max.poll.interval.ms' = 300000");
        assert_eq!(
            slow,
            ["x.toml:3: 'session_timeout' in [kafka] is 6m, more than 'max.poll.interval.ms' of [kafka.consumer], which is 5m"]
        );
        let properties = problems(
            "[kafka.consumer]\n'heartbeat.interval.ms' = 16000\n[kafka.producer]\n'socket.timeout.ms' = 60000\n'linger.ms' = 10000",
        );
        for text in [
            "'message_timeout' in [kafka] is 10s, not more than 'linger.ms' of [kafka.producer], which is 10s",
            "'session_timeout' in [kafka] is 45s, less than three times 'heartbeat.interval.ms' of [kafka.consumer], which is 16s",
            "'transaction_timeout' in [kafka] is 30s, less than 'socket.timeout.ms' of [kafka.producer], which is 1m",
        ] {
            assert!(properties.iter().any(|problem| problem.ends_with(text)), "{text}\n{properties:#?}");
        }
        assert_eq!(properties.len(), 3, "{properties:#?}");
        let sizes = problems("[kafka.consumer]\n'receive.message.max.bytes' = 1000000");
        assert!(
            sizes.len() == 1 && sizes[0].contains("'receive.message.max.bytes' = 1000000, less than 'fetch.max.bytes' = 52428800"),
            "{sizes:?}"
        );
    }

    #[test]
    fn what_goes_together_is_taken() {
        let text = "[kafka]\nsession_timeout = '6m'\n[kafka.common]\n'max.poll.interval.ms' = 360000\n\
            [kafka.producer]\n'socket.timeout.ms' = 30000\n[kafka.consumer]\n'heartbeat.interval.ms' = 120000";
        assert_eq!(problems(text), [""; 0]);
        // The particular goes before the common, as librdkafka will see it.
        assert_eq!(problems(&format!("{text}\n'max.poll.interval.ms' = 300000")).len(), 1);
    }
}
