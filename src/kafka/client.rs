//! How every client of ours is configured: what the user passes through, and what exactly-once does not leave to choice.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::clock::Stopwatch;

const MAX_POLL_INTERVAL: &str = "max.poll.interval.ms";
/// Not librdkafka's five minutes: a group waits as long for a member whose answer was lost on the way, and meanwhile nobody has the
/// partitions that change hands. A thread asks for its events after each transaction, which takes less than `transaction_timeout`.
const MAX_POLL_INTERVAL_MS: u32 = 120_000;

/// An error that goes on is reported this often, with how many there were: an absent broker is reported thousands of times a minute.
const REPEAT: Duration = Duration::from_secs(30);

/// Logs what librdkafka reports from its own threads, without flooding.
#[derive(Default)]
pub(super) struct ErrorLog {
    last: Mutex<Option<(Stopwatch, u64)>>,
    heard: Heard,
}

impl ErrorLog {
    /// Why the brokers do not let us in, if they have said so.
    pub fn refused(&self) -> Option<String> {
        self.heard.refused()
    }

    pub fn report(&self, client: &str, error: &KafkaError, reason: &str) {
        self.heard.hear(error, reason);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_mut() {
            Some((since, unreported)) if since.elapsed() < REPEAT => *unreported += 1,
            before => {
                let unreported = before.map_or(0, |(_, unreported)| *unreported);
                tracing::warn!(client, %error, reason, unreported, "kafka client");
                *last = Some((Stopwatch::start(), 0));
            }
        }
    }
}

/// The coordinator or a leader is away, or a transaction is not decided yet: asking again later helps.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::WaitingForCoordinator
                | Code::RequestTimedOut
                | Code::UnstableOffsetCommit
                | Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::UnknownPartition
        )
    )
}

/// What the library has said of its connections: why the brokers do not let us in, and what it said last.
#[derive(Default)]
pub(super) struct Heard(Mutex<Words>);

#[derive(Default)]
struct Words {
    refused: Option<String>,
    last: Option<String>,
}

impl Heard {
    pub fn hear(&self, error: &KafkaError, reason: &str) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => words.refused = Some(reason.to_string()),
            // It says that there is no connection, which is known, and not why.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            _ => words.last = Some(reason.to_string()),
        }
    }

    pub fn refused(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }
}

/// What a client outside of any group reports. The end of a partition comes as an error too; whoever waits for it reads it from the queue.
pub(super) struct Quiet {
    client: &'static str,
    errors: ErrorLog,
}

impl Quiet {
    pub fn named(client: &'static str) -> Quiet {
        Quiet { client, errors: ErrorLog::default() }
    }
}

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            self.errors.report(self.client, &error, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

/// Where the brokers are and who we are to them.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub bootstrap_servers: String,
    /// Prefix of groups, transactional ids, client ids and internal topics.
    pub application_id: String,
    /// Stable name of this process; a restart under the same name fences what the old one left behind.
    pub instance_id: String,
    /// Whether threads are members of their group by name: see [`Connection::group_instance_id`].
    pub static_membership: bool,
    /// librdkafka properties for every client (security and the like), then for each kind of client.
    pub common: Vec<(String, String)>,
    pub consumer: Vec<(String, String)>,
    pub producer: Vec<(String, String)>,
    pub admin: Vec<(String, String)>,
    pub session_timeout_ms: u32,
    pub transaction_timeout_ms: u32,
    pub message_timeout_ms: u32,
    /// Largest record that is produced or fetched, in bytes.
    pub largest_record: usize,
}

/// Largest record of internal topics, in bytes: a leaf's 48 amendable hours with 32 long user names each stay well below it.
pub const INTERNAL_RECORD: usize = 8 * 1024 * 1024;

/// How long a broker holds a fetch while there is nothing to read, in milliseconds. A commit does not end the wait of a read_committed
/// reader, so that this is what an alert may wait for; each empty fetch costs a broker as much as a full one, and there are many roles.
fn longest_wait(role: &str) -> &'static str {
    match role {
        "intake" | "watch" => "20",
        "deliver" | "deliver-violations" => "100",
        _ => "250",
    }
}

impl Connection {
    /// As brokers and other members of a group see the clients of a role.
    pub fn client_id(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.application_id, self.instance_id)
    }

    /// What a group may wait for one of its members: its session, or, while it only does not answer, what lies between two of its polls.
    pub fn longest_rebalance(&self) -> Duration {
        let between_polls = self.consumer_config("any").get(MAX_POLL_INTERVAL).and_then(|text| text.parse().ok());
        Duration::from_millis(between_polls.unwrap_or(MAX_POLL_INTERVAL_MS).max(self.session_timeout_ms).into())
    }

    /// A property of every client.
    pub(super) fn common(&self, key: &str) -> Option<&str> {
        self.common.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn base(&self, suffix: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("client.id", self.client_id(suffix));
        config.set("client.software.name", "tollgate");
        config.set("client.software.version", env!("CARGO_PKG_VERSION"));
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &self.common {
            config.set(key, value);
        }
        config
    }

    /// A group member that reads committed records only and leaves offsets to us.
    pub fn consumer_config(&self, role: &str) -> ClientConfig {
        let mut config = self.base(role);
        config.set("fetch.wait.max.ms", longest_wait(role));
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.message.max.bytes", "4194304");
        config.set("queued.max.messages.kbytes", "65536");
        // Per partition. The default of ten times as many is fetched long before it is read, and takes memory and caches meanwhile.
        config.set("queued.min.messages", "10000");
        if config.get(MAX_POLL_INTERVAL).is_none() {
            config.set(MAX_POLL_INTERVAL, self.session_timeout_ms.max(MAX_POLL_INTERVAL_MS).to_string());
        }
        for (key, value) in &self.consumer {
            config.set(key, value);
        }
        config.set("group.id", format!("{}-{role}", self.application_id));
        config.set("session.timeout.ms", self.session_timeout_ms.to_string());
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "false");
        config.set("check.crcs", "true");
        config
    }

    /// As [`Connection::consumer_config`], for one thread of a role. Static membership: a thread that comes back within the session
    /// timeout finds its partitions as it left them, and nobody else is disturbed.
    pub fn member_config(&self, role: &str, thread: usize) -> ClientConfig {
        let mut config = self.consumer_config(role);
        if let Some(name) = self.group_instance_id(role, thread) {
            config.set("group.instance.id", name);
        }
        config
    }

    /// A reader of single partitions, outside of any group.
    pub fn reader_config(&self, suffix: &str) -> ClientConfig {
        let mut config = self.consumer_config(suffix);
        config.set("group.id", format!("{}-{suffix}-reader", self.application_id));
        config.set("auto.offset.reset", "earliest");
        config
    }

    /// `transactional_id` absent: the demo's at-least-once producer.
    pub fn producer_config(&self, role: &str, transactional_id: Option<&str>) -> ClientConfig {
        let mut config = self.base(role);
        config.set("linger.ms", "2");
        config.set("compression.type", "zstd");
        config.set("queue.buffering.max.messages", "1000000");
        config.set("retry.backoff.ms", "2");
        config.set("retry.backoff.max.ms", "100");
        for (key, value) in &self.producer {
            config.set(key, value);
        }
        config.set("message.max.bytes", self.largest_record.max(INTERNAL_RECORD).to_string());
        config.set("partitioner", "murmur2_random");
        config.set("enable.idempotence", "true");
        config.set("message.timeout.ms", self.message_timeout_ms.to_string());
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", self.transaction_timeout_ms.to_string());
        }
        config
    }

    pub fn admin_config(&self) -> ClientConfig {
        let mut config = self.base("admin");
        for (key, value) in &self.admin {
            config.set(key, value);
        }
        config
    }

    /// Name of a thread as a static member of its role's group; `None` where membership is not static.
    pub fn group_instance_id(&self, role: &str, thread: usize) -> Option<String> {
        self.static_membership.then(|| format!("{}-{role}-{}-{thread}", self.application_id, self.instance_id))
    }

    /// `<application>-<role>-<instance>-<thread>`, from a stable set.
    pub fn transactional_id(&self, role: &str, thread: usize) -> String {
        format!("{}-{role}-{}-{thread}", self.application_id, self.instance_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_we_are_not_let_in_is_kept_among_what_follows_from_it() {
        let log = ErrorLog::default();
        for (code, reason) in [
            (RDKafkaErrorCode::BrokerTransportFailure, "connect: refused"),
            (RDKafkaErrorCode::Authentication, "invalid password"),
            (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"),
        ] {
            log.report("test", &KafkaError::Global(code), reason);
        }
        assert_eq!((log.refused().as_deref(), log.heard.last().as_deref()), (Some("invalid password"), Some("connect: refused")));
    }

    #[test]
    fn a_group_waits_two_minutes_for_a_member_unless_told_otherwise() {
        let told = |value: &str| vec![(MAX_POLL_INTERVAL.to_string(), value.to_string())];
        let base = Connection { session_timeout_ms: 45_000, ..Connection::default() };
        let cases = [
            (base.clone(), "120000"),
            (Connection { session_timeout_ms: 360_000, ..base.clone() }, "360000"),
            (Connection { common: told("90000"), ..base.clone() }, "90000"),
            (Connection { common: told("90000"), consumer: told("80000"), ..base }, "80000"),
        ];
        for (connection, expected) in cases {
            assert_eq!(connection.consumer_config("watch").get(MAX_POLL_INTERVAL), Some(expected));
            assert_eq!(connection.longest_rebalance(), Duration::from_millis(expected.parse().unwrap()));
        }
    }
}
