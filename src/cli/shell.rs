//! From settings to what the Kafka room wants.

use secrecy::ExposeSecret as _;

use crate::config::settings::{KafkaSettings, Settings};
use crate::kafka::client::Connection;
use crate::kafka::topics::{TopicNames, TopicSizes};

pub fn connection(settings: &Settings) -> Connection {
    let kafka = &settings.kafka;
    Connection {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        application_id: kafka.application_id.clone(),
        instance_id: kafka.instance_id.clone(),
        common: common(kafka),
        consumer: kafka.consumer.0.clone(),
        producer: kafka.producer.0.clone(),
        admin: kafka.admin.0.clone(),
        session_timeout_ms: kafka.session_timeout_ms,
        transaction_timeout_ms: kafka.transaction_timeout_ms,
        message_timeout_ms: kafka.message_timeout_ms,
        largest_record: settings.intake.largest_record,
    }
}

/// librdkafka's names for the security settings, then what the user passes through to every client.
fn common(kafka: &KafkaSettings) -> Vec<(String, String)> {
    let security = &kafka.security;
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let mut properties = vec![("security.protocol", Some(security.protocol.to_string()))];
    if security.is_sasl() {
        properties.push(("sasl.mechanism", Some(security.sasl_mechanism.to_string())));
        properties.push(("sasl.username", security.username.clone()));
        properties.push(("sasl.password", security.password.as_ref().map(|secret| secret.expose_secret().to_string())));
    }
    properties.push(("ssl.ca.location", path(&security.ca_file)));
    properties.push(("ssl.certificate.location", path(&security.certificate_file)));
    properties.push(("ssl.key.location", path(&security.key_file)));
    properties.push(("ssl.key.password", security.key_password.as_ref().map(|secret| secret.expose_secret().to_string())));
    let set = properties.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    set.chain(kafka.common.0.iter().cloned()).collect()
}

pub fn topic_names(settings: &Settings) -> TopicNames {
    let topics = settings.topics.clone();
    TopicNames {
        usage_events: topics.usage_events,
        resource_events: topics.resource_events,
        activity_events: topics.activity_events,
        lineage_events: topics.lineage_events,
        billing_events: topics.billing_events,
        feedback: topics.feedback,
        dead_letter: topics.dead_letter,
        alerts: topics.alerts,
        governance_violations: topics.governance_violations,
        spend_rollups: topics.spend_rollups,
        ..TopicNames::new(&settings.kafka.topic_prefix, &settings.kafka.application_id)
    }
}

pub fn topic_sizes(settings: &Settings) -> TopicSizes {
    TopicSizes {
        input_partitions: settings.topics.input_partitions,
        shard_count: i32::try_from(settings.shard_count).unwrap_or(i32::MAX),
        output_partitions: settings.topics.output_partitions,
        replication_factor: settings.kafka.replication_factor,
        input_retention_ms: settings.topics.input_retention_ms,
        output_retention_ms: settings.topics.output_retention_ms,
        largest_record: settings.intake.largest_record,
    }
}
