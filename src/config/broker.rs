//! [kafka], [topics], [shards]: how to reach the brokers, how patient to be, what the topics are called.

use std::collections::BTreeMap;

use super::problem::did_you_mean;
use super::read::{Notes, Section};
use super::settings::{Delivery, KafkaSettings, Properties, SecuritySettings, TopicSettings};
use super::tree::Value;
use super::units::Complaint;

/// librdkafka properties that are not for the user to set, and why.
const RESERVED: [(&str, &str); 37] = [
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("client.id", "it is made of application_id and instance_id"),
    ("group.id", "it is made of application_id and the role"),
    ("group.instance.id", "it is made of application_id, role, instance_id and thread: see kafka.static_membership"),
    ("group.protocol", "fencing is tested with the classic protocol only"),
    ("group.remote.assignor", "fencing is tested with the classic protocol only"),
    ("partition.assignment.strategy", "members with different strategies cannot share a group"),
    ("session.timeout.ms", "set kafka.session_timeout"),
    ("isolation.level", "exactly-once reads committed records only"),
    ("enable.auto.commit", "offsets are committed with the results, in one transaction"),
    ("auto.commit.interval.ms", "offsets are committed with the results, in one transaction"),
    ("enable.auto.offset.store", "offsets are committed with the results, in one transaction"),
    ("auto.offset.reset", "a lost position is an error, never a silent jump"),
    ("enable.partition.eof", "beside batches it makes the client skip a record after a rebalance"),
    ("check.crcs", "a damaged record must be found"),
    ("transactional.id", "it is made of application_id, role and instance_id"),
    ("transaction.timeout.ms", "set kafka.transaction_timeout"),
    ("message.timeout.ms", "set kafka.message_timeout"),
    ("delivery.timeout.ms", "set kafka.message_timeout"),
    ("enable.idempotence", "transactions need it"),
    ("acks", "transactions need all"),
    ("request.required.acks", "transactions need all"),
    ("max.in.flight", "idempotence bounds it"),
    ("max.in.flight.requests.per.connection", "idempotence bounds it"),
    ("partitioner", "teams must land where Java clients would put them"),
    ("message.max.bytes", "set intake.largest_record"),
    ("security.protocol", "set kafka.security.protocol"),
    ("sasl.mechanism", "set kafka.security.sasl_mechanism"),
    ("sasl.mechanisms", "set kafka.security.sasl_mechanism"),
    ("sasl.username", "set kafka.security.username"),
    ("sasl.password", "set kafka.security.password_file"),
    ("ssl.ca.location", "set kafka.security.ca_file"),
    ("ssl.certificate.location", "set kafka.security.certificate_file"),
    ("ssl.key.location", "set kafka.security.key_file"),
    ("ssl.key.password", "set kafka.security.key_password_file"),
    ("retries", "transactions retry until message_timeout"),
];

pub fn kafka(section: &mut Section, host_name: &str) -> KafkaSettings {
    let written = section.text("instance_id");
    let instance_id = if written == "auto" { legal(host_name) } else { written };
    let milliseconds = |ms: i64| u32::try_from(ms).unwrap_or(u32::MAX);
    let settings = KafkaSettings {
        bootstrap_servers: bootstrap_servers(section),
        application_id: section.text("application_id"),
        topic_prefix: prefix(section),
        instance_id,
        static_membership: section.boolean("static_membership").unwrap_or(true),
        delivery: section.choice("delivery", &[("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)]),
        commit_interval_ms: section.duration("commit_interval", "1ms", "10s"),
        message_timeout_ms: milliseconds(section.duration("message_timeout", "1s", "10m")),
        transaction_timeout_ms: milliseconds(section.duration("transaction_timeout", "10s", "15m")),
        session_timeout_ms: milliseconds(section.duration("session_timeout", "6s", "30m")),
        replication_factor: i32::try_from(section.integer("replication_factor", -1..=1000)).unwrap_or(-1),
        security: security(section.section("security")),
        common: properties(section.section("common")),
        consumer: properties(section.section("consumer")),
        producer: properties(section.section("producer")),
        admin: properties(section.section("admin")),
    };
    check(section, &settings);
    settings
}

/// Absent and empty are the same here: no prefix.
fn prefix(section: &mut Section) -> String {
    let any = |item: &super::tree::Item| match &item.value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(super::read::wrong_kind(item, "a text", "\"team-a.\"")),
    };
    section.optional("topic_prefix", any).unwrap_or_default()
}

fn bootstrap_servers(section: &mut Section) -> String {
    let written = section.text("bootstrap_servers");
    for server in written.split(',').map(str::trim).filter(|_| !written.is_empty()) {
        let port = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if server.contains("://") || port.is_none_or(|(host, port)| host.is_empty() || port == 0) {
            let what = format!("names '{server}', which is not host:port");
            section.complain("bootstrap_servers", Complaint::new(what, "write \"host:9092\", several separated by commas"));
        }
    }
    written
}

fn check(section: &Section, settings: &KafkaSettings) {
    for (key, value) in [("application_id", &settings.application_id), ("instance_id", &settings.instance_id)] {
        if !value.is_empty() && (!is_legal(value) || value.len() > 100) {
            section.complain(key, Complaint::new(format!("is '{value}'"), "use at most 100 letters, digits, '.', '_' and '-'"));
        }
    }
    if settings.replication_factor == 0 {
        section.complain(
            "replication_factor",
            Complaint::new("is 0", "write 3, 1 for one broker, or -1 for what the brokers have as default"),
        );
    }
    super::timing::check(section, settings);
    if settings.delivery == Delivery::AtLeastOnce {
        let hint = "set \"exactly_once\"; a real broker refuses to run otherwise";
        section.warn("delivery", "is \"at_least_once\", which repeats results after a crash and is meant for the demo's broker only", hint);
    }
}

fn security(mut section: Section) -> SecuritySettings {
    let protocols = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].map(|name| (name, name));
    let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map(|name| (name, name));
    let settings = SecuritySettings {
        protocol: section.choice("protocol", &protocols),
        sasl_mechanism: section.choice("sasl_mechanism", &mechanisms),
        username: section.optional_text("username"),
        password: section.secret("password", "password_file"),
        ca_file: readable(&mut section, "ca_file"),
        certificate_file: readable(&mut section, "certificate_file"),
        key_file: readable(&mut section, "key_file"),
        key_password: section.secret("key_password", "key_password_file"),
    };
    let has_password = section.has("password") || section.has("password_file");
    if settings.is_sasl() && (!section.has("username") || !has_password) {
        let what = format!("is \"{}\", which needs username and password", settings.protocol);
        section.complain("protocol", Complaint::new(what, "add username and password_file to [kafka.security]"));
    }
    if !settings.is_sasl() && !settings.protocol.is_empty() && (section.has("username") || has_password) {
        let what = format!("is \"{}\", but username or password is set", settings.protocol);
        section.complain("protocol", Complaint::new(what, "set \"sasl_ssl\" (or \"sasl_plaintext\"), or take them out"));
    }
    if !settings.protocol.ends_with("ssl") && (section.has("ca_file") || section.has("certificate_file")) {
        let what = format!("is \"{}\", but certificates are set", settings.protocol);
        section.complain("protocol", Complaint::new(what, "set \"ssl\" or \"sasl_ssl\", or take them out"));
    }
    if section.has("certificate_file") != section.has("key_file") {
        let (there, missing) = if section.has("key_file") { ("key_file", "certificate_file") } else { ("certificate_file", "key_file") };
        section.complain(there, Complaint::new(format!("stands alone, without '{missing}'"), "a client certificate needs both"));
    }
    section.finish();
    settings
}

/// librdkafka reads the file itself; that it is there is checked now.
fn readable(section: &mut Section, key: &'static str) -> Option<std::path::PathBuf> {
    section.file(key)?;
    section.path(key)
}

fn properties(section: Section) -> Properties {
    let mut properties = Vec::new();
    for (name, item) in section.entries() {
        if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
            section.complain(name, Complaint::new("is not for you to set", *why));
            continue;
        }
        let value = match &item.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Table(_) => {
                let hint = "put quotes around names with dots: \"fetch.min.bytes\" = 1";
                section.complain(name, Complaint::new("is a table, it should be the value of a librdkafka property", hint));
                continue;
            }
            other => {
                section.complain(name, Complaint::new(format!("is {}", other.kind()), "write a text, a number or true/false"));
                continue;
            }
        };
        properties.push((name.clone(), value));
    }
    Properties(properties)
}

pub fn topics(section: &mut Section, prefix: &str) -> TopicSettings {
    let mut name = |key| format!("{prefix}{}", section.text(key));
    let names = [
        ("usage_events", name("usage_events")),
        ("resource_events", name("resource_events")),
        ("activity_events", name("activity_events")),
        ("lineage_events", name("lineage_events")),
        ("billing_events", name("billing_events")),
        ("feedback", name("feedback")),
        ("dead_letter", name("dead_letter")),
        ("alerts", name("alerts")),
        ("governance_violations", name("governance_violations")),
        ("spend_rollups", name("spend_rollups")),
    ];
    check_names(section, &names);
    let [usage_events, resource_events, activity_events, lineage_events, billing_events, feedback, outputs @ ..] =
        names.map(|(_, name)| name);
    let [dead_letter, alerts, governance_violations, spend_rollups] = outputs;
    let count = |number: i64| i32::try_from(number).unwrap_or_default();
    TopicSettings {
        usage_events,
        resource_events,
        activity_events,
        lineage_events,
        billing_events,
        feedback,
        dead_letter,
        alerts,
        governance_violations,
        spend_rollups,
        input_partitions: count(section.integer("input_partitions", 1..=10_000)),
        output_partitions: count(section.integer("output_partitions", 1..=10_000)),
        input_retention_ms: section.duration("input_retention", "1h", "3650d"),
        output_retention_ms: section.duration("output_retention", "1h", "3650d"),
    }
}

fn check_names(section: &Section, names: &[(&'static str, String)]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, name) in names {
        if !is_legal(name) || name.len() > 249 {
            let hint = "Kafka allows at most 249 letters, digits, '.', '_' and '-', prefix included";
            section.complain(key, Complaint::new(format!("gives the topic name '{name}'"), hint));
        }
        if let Some(other) = seen.insert(name, key) {
            section.complain(key, Complaint::new(format!("is '{name}', the same topic as '{other}'"), "each needs a topic of its own"));
        }
    }
}

fn is_legal(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A host name as part of an id.
fn legal(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(100).collect()
}

/// Suggests a name out of the known ones, else lists them.
pub fn one_of(written: &str, known: &[&str]) -> String {
    did_you_mean(written, known.iter().copied()).unwrap_or_else(|| format!("known are {}", known.join(", ")))
}

/// A URL that starts as such; the client that uses it knows more.
pub fn url(section: &mut Section, key: &'static str) -> Option<String> {
    section.optional(key, |item| {
        let written = super::read::text(item)?.trim_end_matches('/');
        let host = written.strip_prefix("http://").or_else(|| written.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) && !host.contains('@') => Ok(written.to_string()),
            Some(host) if host.contains('@') => Err(Complaint::new("holds a user name or password", "use username and password_file")),
            _ => Err(Complaint::new(format!("is '{written}'"), "write a URL: \"https://host:port\"")),
        }
    })
}

pub fn shard_count(section: &mut Section) -> u32 {
    u32::try_from(section.integer("count", 1..=10_000)).unwrap_or_default()
}

/// `notes` is where `username` without `password` is complained about, for whoever has both.
pub fn credentials(section: &Section, notes: &Notes) {
    let has_password = section.has("password") || section.has("password_file");
    if section.has("username") != has_password {
        let (there, missing) = if has_password { ("password", "username") } else { ("username", "password_file") };
        let place = if section.has(there) { section.place_of(there) } else { section.place_of("password_file") };
        notes.problem(super::problem::Problem::new(&place, format!("'{there}' is set, but not '{missing}'")).hint("give both or none"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;

    #[test]
    fn a_topic_has_a_copy_at_least() {
        let load = |factor: i32| {
            let text = format!("version = 1\n[kafka]\nreplication_factor = {factor}\n");
            load_text("x.toml", &text, Path::new(""), std::iter::empty()).map_err(|problems| problems[0].to_string())
        };
        let refused = load(0).unwrap_err();
        assert!(refused.starts_with("x.toml:3: 'replication_factor' in [kafka] is 0; write 3, "), "{refused}");
        for factor in [-1, 1, 3] {
            assert_eq!(load(factor).unwrap().settings.kafka.replication_factor, factor);
        }
    }
}
