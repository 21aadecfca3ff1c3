//! What the shell is told, as plain data: texts resolved to values, files read, everything checked. The cli turns it into what each
//! room wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::civil::{Date, DateTime, Time, Weekday};
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::alert::Severity;
use crate::model::money::Nanos;
use crate::model::time::Timestamp;

#[derive(Clone, Debug)]
pub struct Settings {
    pub kafka: KafkaSettings,
    pub topics: TopicSettings,
    pub shard_count: u32,
    /// Cost that teams share, and how it is split.
    pub showback: Vec<crate::model::allocation::SharedCost>,
    pub schemas: SchemaSettings,
    pub intake: IntakeSettings,
    pub watch_threads: usize,
    /// Folder of the local copy of the changelog; absent = there is none.
    pub state_dir: Option<PathBuf>,
    pub alerts: AlertSettings,
    /// Absent = no mail is sent.
    pub mail: Option<MailSettings>,
    pub webhooks: Vec<WebhookSettings>,
    pub deliver: DeliverSettings,
    pub rotations: Vec<RotationSettings>,
    pub mutes: Vec<MuteSettings>,
    pub inhibits: Vec<InhibitSettings>,
    pub answers: AnswerSettings,
    pub http: HttpSettings,
    pub log: LogSettings,
}

#[derive(Clone, Debug)]
pub struct KafkaSettings {
    pub bootstrap_servers: String,
    pub application_id: String,
    pub topic_prefix: String,
    pub instance_id: String,
    /// Each thread is a member of its group by name.
    pub static_membership: bool,
    pub delivery: Delivery,
    pub commit_interval_ms: i64,
    pub message_timeout_ms: u32,
    pub transaction_timeout_ms: u32,
    pub session_timeout_ms: u32,
    /// -1 = the broker's default.
    pub replication_factor: i32,
    pub security: SecuritySettings,
    /// librdkafka properties by name; values may be secret, so they are never printed.
    pub common: Properties,
    pub consumer: Properties,
    pub producer: Properties,
    pub admin: Properties,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(String, String)>);

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    #[default]
    ExactlyOnce,
    /// Only for the demo's broker, which has no transactions.
    AtLeastOnce,
}

#[derive(Clone, Debug, Default)]
pub struct SecuritySettings {
    /// As librdkafka calls it: `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`.
    pub protocol: &'static str,
    pub sasl_mechanism: &'static str,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub key_password: Option<SecretString>,
}

impl SecuritySettings {
    pub fn is_sasl(&self) -> bool {
        self.protocol.starts_with("sasl_")
    }
}

/// Full names, prefix applied, and what new topics get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub usage_events: String,
    pub resource_events: String,
    pub activity_events: String,
    pub lineage_events: String,
    pub billing_events: String,
    pub feedback: String,
    pub dead_letter: String,
    pub alerts: String,
    pub governance_violations: String,
    pub spend_rollups: String,
    pub input_partitions: i32,
    pub output_partitions: i32,
    pub input_retention_ms: i64,
    pub output_retention_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub struct SchemaSettings {
    pub registry_url: Option<String>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub dir: Option<PathBuf>,
    pub ids: BTreeMap<u32, KnownSchema>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSchema {
    /// File name without `.avsc`.
    pub name: String,
    /// The schema's own text.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IntakeSettings {
    pub threads: usize,
    /// In bytes; also the largest record that is produced.
    pub largest_record: usize,
    /// Share of unreadable records above which intake stops.
    pub dead_letter_ratio: f64,
    /// Records that the share is taken over.
    pub dead_letter_sample: u32,
    /// Shard-log records that a shard may be behind before intake waits.
    pub most_shard_lag: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    pub form: Form,
    /// CloudEvents source.
    pub source: String,
}

/// How outputs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Avro,
}

#[derive(Clone, Debug)]
pub struct MailSettings {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// PEM; trusted besides the platform's roots.
    pub ca_pem: Option<Vec<u8>>,
    pub from: String,
    /// `mailto:` and `https:` addresses by which a receiver has himself taken off; `{address}` stands for his.
    pub unsubscribe: Vec<String>,
    /// A POST to the https address is enough.
    pub one_click: bool,
    pub timeout_ms: i64,
    /// Without a slash at the end.
    pub base_url: Option<String>,
    /// Of mails, by their codes.
    pub language: &'static str,
    /// Patterns of addresses that are written to in another one.
    pub languages: Vec<(String, &'static str)>,
    /// By file name: those that replace built-in ones.
    pub templates: BTreeMap<String, String>,
    /// 0 = as many as there are.
    pub per_minute: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailTls {
    None,
    #[default]
    StartTls,
    Implicit,
}

/// A place that alerts are posted to.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Receivers in routes: `hook:` and this.
    pub name: String,
    pub form: WebhookForm,
    pub url: SecretString,
    pub secret: Option<SecretString>,
    pub timeout_ms: i64,
    /// 0 = as many as there are.
    pub per_minute: u32,
    /// How often an Alertmanager is told that we are alive; 0 = never.
    pub watchdog_ms: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookForm {
    #[default]
    CloudEvents,
    Slack,
    Teams,
    Alertmanager,
    PagerDuty,
    Ocsf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeliverSettings {
    pub routes: Vec<RouteSettings>,
    /// Receivers for teams that no route names.
    pub fallback: Vec<String>,
    pub update_growth: f64,
    /// 0 = never.
    pub repeat_interval_ms: i64,
    pub first_retry_ms: i64,
    pub longest_retry_ms: i64,
    pub attempts: u32,
    /// Letters under way at once on each way out.
    pub in_flight: usize,
    /// Letters to one receiver in ten minutes, until the next ones are gathered; 0 = never.
    pub storm: usize,
    pub storm_wait_ms: i64,
    pub parents_inhibit: bool,
}

/// Alerts that speak for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InhibitSettings {
    pub by: SelectSettings,
    pub of: SelectSettings,
    pub equal: Vec<String>,
    pub note: String,
}

/// Empty = every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectSettings {
    pub teams: Vec<String>,
    pub kinds: Vec<String>,
    pub only: BTreeMap<String, String>,
    pub least_severity: Option<Severity>,
}

/// How people answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerSettings {
    /// Holds the key that signs links, and is made if it is not there; absent = letters have no links.
    pub key_file: Option<PathBuf>,
    /// Where people reach our HTTP address; without a slash at the end.
    pub base_url: Option<String>,
    pub valid_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSettings {
    /// Names or patterns with `*`; empty = every team.
    pub teams: Vec<String>,
    /// Empty = every kind of alert.
    pub kinds: Vec<String>,
    /// Dimensions and patterns of their values.
    pub only: BTreeMap<String, String>,
    pub least_excess: Nanos,
    pub hours: Option<HoursSettings>,
    /// At other times letters wait, instead of the routes below being asked.
    pub waits: bool,
    /// 0 = never.
    pub escalate_after_ms: i64,
    pub escalate_to: Vec<String>,
    /// 0 = letters do not wait for each other.
    pub group_wait_ms: i64,
    pub group_by: Vec<String>,
    /// Mail addresses, `hook:` with the name of a webhook, `oncall:` with that of a rotation.
    pub receivers: Vec<String>,
    pub least_severity: Severity,
    pub go_on: bool,
}

/// A window of hours on certain days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleSettings {
    pub name: String,
    /// IANA name; known to exist.
    pub time_zone: String,
    pub days: Vec<Weekday>,
    pub from: Time,
    /// Not after `from`: on the next day.
    pub until: Time,
    pub holidays: BTreeSet<Date>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursSettings {
    pub schedule: ScheduleSettings,
    pub outside: bool,
}

/// Who is on call, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationSettings {
    pub name: String,
    pub time_zone: String,
    pub people: Vec<String>,
    /// By the clock on the wall.
    pub starts: DateTime,
    pub turn_days: i32,
    pub swaps: Vec<SwapSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapSettings {
    pub from: Timestamp,
    pub until: Timestamp,
    pub who: String,
}

/// Alerts that nobody is told of for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuteSettings {
    pub teams: Vec<String>,
    pub kinds: Vec<String>,
    pub only: BTreeMap<String, String>,
    pub when: WhenSettings,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenSettings {
    Between(Timestamp, Timestamp),
    Hours(HoursSettings),
}

#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub listen: SocketAddr,
    /// Names and tokens of those who may ask.
    pub tokens: Vec<(String, SecretString)>,
}

impl PartialEq for HttpSettings {
    fn eq(&self, other: &Self) -> bool {
        let shown = |settings: &HttpSettings| -> Vec<(String, String)> {
            settings.tokens.iter().map(|(name, token)| (name.clone(), token.expose_secret().to_string())).collect()
        };
        self.listen == other.listen && shown(self) == shown(other)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Levels, by module or for all; known to parse.
    pub level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
