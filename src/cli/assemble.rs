//! From settings, as config read them, to what the roles are started with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;

use super::duty;
use crate::config::Loaded;
use crate::config::settings::{self, Settings};
use crate::deliver::channels::email::Mailer;
use crate::deliver::channels::forms::Form;
use crate::deliver::channels::hook::{Hook, HookSettings};
use crate::deliver::channels::{Channel, Channels};
use crate::deliver::render::Renderer;
use crate::deliver::render::language::{LANGUAGES, Languages};
use crate::deliver::retry::Backoff;
use crate::deliver::rules::{DeliverRules, MailSettings, Route, Routes, Tls};
use crate::deliver::worker::Delivery;
use crate::health::HealthBoard;
use crate::kafka::client::Connection;
use crate::kafka::topics::{TopicNames, TopicPlan, TopicSizes};
use crate::metrics::Metrics;
use crate::model::wire::{self, OutputForm, SchemaName};
use crate::runtime::caretaker::Care;
use crate::runtime::copy::Copies;
use crate::runtime::{self, Setup, encode, schemas};

/// # Errors
/// No schema id for Avro outputs can be had.
pub fn setup(loaded: &Loaded, metrics: Arc<Metrics>, health: Arc<HealthBoard>) -> Result<Setup> {
    let settings = &loaded.settings;
    let source = schema_source(settings);
    Ok(Setup {
        connection: connection(settings),
        topics: topic_names(settings),
        shard_count: settings.shard_count,
        delivery: match settings.kafka.delivery {
            settings::Delivery::ExactlyOnce => runtime::Delivery::ExactlyOnce,
            settings::Delivery::AtLeastOnce => runtime::Delivery::AtLeastOnce,
        },
        commit_interval: Duration::from_millis(settings.kafka.commit_interval_ms.unsigned_abs()),
        intake_rules: ArcSwap::from_pointee(loaded.intake.clone()),
        watch_rules: ArcSwap::from_pointee(loaded.watch.clone()),
        lineage_rules: ArcSwap::from_pointee(loaded.lineage.clone()),
        output: output(settings, &source, loaded.tells_violations())?,
        copies: copies(settings),
        schemas: source,
        dead_letter_ratio: settings.intake.dead_letter_ratio,
        dead_letter_sample: settings.intake.dead_letter_sample,
        most_shard_lag: settings.intake.most_shard_lag,
        care: Care::default(),
        metrics,
        health,
    })
}

fn copies(settings: &Settings) -> Option<Copies> {
    let topic = topic_names(settings).watch_changelog;
    settings.state_dir.clone().map(|dir| Copies::new(dir, topic, settings.shard_count, connection(settings)))
}

pub fn connection(settings: &Settings) -> Connection {
    let kafka = &settings.kafka;
    let mut common = security(&kafka.security);
    common.extend(kafka.common.0.iter().cloned());
    Connection {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        application_id: kafka.application_id.clone(),
        instance_id: kafka.instance_id.clone(),
        static_membership: kafka.static_membership,
        common,
        consumer: kafka.consumer.0.clone(),
        producer: kafka.producer.0.clone(),
        admin: kafka.admin.0.clone(),
        session_timeout_ms: kafka.session_timeout_ms,
        transaction_timeout_ms: kafka.transaction_timeout_ms,
        message_timeout_ms: kafka.message_timeout_ms,
        largest_record: settings.intake.largest_record,
    }
}

fn security(security: &settings::SecuritySettings) -> Vec<(String, String)> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let secret = |secret: &Option<secrecy::SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_string());
    let sasl = security.is_sasl();
    let all = [
        ("security.protocol", Some(security.protocol.to_string())),
        ("ssl.ca.location", path(&security.ca_file)),
        ("ssl.certificate.location", path(&security.certificate_file)),
        ("ssl.key.location", path(&security.key_file)),
        ("ssl.key.password", secret(&security.key_password)),
        ("sasl.mechanism", sasl.then(|| security.sasl_mechanism.to_string())),
        ("sasl.username", security.username.clone().filter(|_| sasl)),
        ("sasl.password", secret(&security.password).filter(|_| sasl)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

pub fn topic_names(settings: &Settings) -> TopicNames {
    let topics = &settings.topics;
    TopicNames {
        usage_events: topics.usage_events.clone(),
        resource_events: topics.resource_events.clone(),
        activity_events: topics.activity_events.clone(),
        lineage_events: topics.lineage_events.clone(),
        billing_events: topics.billing_events.clone(),
        feedback: topics.feedback.clone(),
        dead_letter: topics.dead_letter.clone(),
        alerts: topics.alerts.clone(),
        governance_violations: topics.governance_violations.clone(),
        spend_rollups: topics.spend_rollups.clone(),
        ..TopicNames::new(&settings.kafka.topic_prefix, &settings.kafka.application_id)
    }
}

pub fn topic_plans(settings: &Settings) -> Vec<TopicPlan> {
    let sizes = TopicSizes {
        input_partitions: settings.topics.input_partitions,
        shard_count: i32::try_from(settings.shard_count).unwrap_or(i32::MAX),
        output_partitions: settings.topics.output_partitions,
        replication_factor: settings.kafka.replication_factor,
        input_retention_ms: settings.topics.input_retention_ms,
        output_retention_ms: settings.topics.output_retention_ms,
        largest_record: settings.intake.largest_record,
    };
    crate::kafka::topics::plan(&topic_names(settings), &sizes)
}

pub fn schema_source(settings: &Settings) -> schemas::Source {
    let registry = settings.schemas.registry_url.as_ref().map(|url| schemas::Registry {
        url: url.clone(),
        username: settings.schemas.username.clone(),
        password: settings.schemas.password.clone(),
    });
    let ids: BTreeMap<u32, String> = settings.schemas.ids.iter().map(|(id, known)| (*id, known.text.clone())).collect();
    schemas::Source { registry, ids }
}

/// With Avro our schemas are registered, or found in the table of ids.
fn output(settings: &Settings, source: &schemas::Source, tells_violations: bool) -> Result<encode::Output> {
    let form = match settings.alerts.form {
        settings::Form::Json => OutputForm::Json,
        settings::Form::Avro => OutputForm::Avro,
    };
    let id = |which: SchemaName, topic: &str| -> Result<i32> {
        if form == OutputForm::Json {
            return Ok(0);
        }
        let schema = wire::schema(which);
        let listed = settings.schemas.ids.iter().find(|(_, known)| known.name == schema.name).map(|(id, _)| *id);
        let id = match listed {
            Some(id) => id,
            None => schemas::Client::new(source)?
                .register(&format!("{topic}-value"), schema.name, schema.text)?
                .ok_or_else(|| anyhow!("alerts.format is avro, but there is no registry and schemas.ids has no '{}'", schema.name))?,
        };
        Ok(i32::try_from(id)?)
    };
    Ok(encode::Output {
        form,
        source: settings.alerts.source.clone(),
        alert_schema: id(SchemaName::Alert, &settings.topics.alerts)?,
        rollup_schema: id(SchemaName::SpendRollup, &settings.topics.spend_rollups)?,
        // Without policies and model drift there are no violations, and nobody needs to list their schema.
        violation_schema: match id(SchemaName::Violation, &settings.topics.governance_violations) {
            Err(error) if tells_violations => return Err(error),
            found => found.unwrap_or_default(),
        },
        largest_record: settings.intake.largest_record,
    })
}

/// # Errors
/// Mail settings that no mail can be sent with.
pub fn delivery(settings: &Settings) -> Result<Delivery> {
    let rules = deliver_rules(settings);
    let mail = match &rules.mail {
        Some(mail) => Some(Channel::Smtp(Mailer::new(mail).context("[mail]")?)),
        None => None,
    };
    let mut hooks = BTreeMap::new();
    for webhook in &settings.webhooks {
        hooks.insert(webhook.name.clone(), Hook::new(hook(settings, webhook)).with_context(|| format!("webhook '{}'", webhook.name))?);
    }
    let channels = Channels {
        mail,
        hooks,
        signer: super::answers::signer(settings)?,
        base_url: base_url(settings),
        mails_per_minute: settings.mail.as_ref().map_or(0, |mail| mail.per_minute),
    };
    Ok(Delivery { rules: ArcSwap::from_pointee(rules), channels: Arc::new(channels), renderer: Arc::new(renderer(settings)?) })
}

/// # Errors
/// Templates of the config that fail with an alert as it usually is.
pub fn renderer(settings: &Settings) -> Result<Renderer> {
    let templates = settings.mail.as_ref().map(|mail| mail.templates.clone()).unwrap_or_default();
    let language = |code: &str| LANGUAGES.iter().find(|(known, _)| *known == code).map(|(_, language)| *language).unwrap_or_default();
    let languages = settings.mail.as_ref().map(|mail| Languages {
        usual: language(mail.language),
        others: mail.languages.iter().map(|(pattern, code)| (pattern.clone(), language(code))).collect(),
    });
    Ok(Renderer::with(&templates).context("mail.templates")?.speaking(languages.unwrap_or_default()))
}

pub fn hook(settings: &Settings, webhook: &settings::WebhookSettings) -> HookSettings {
    HookSettings {
        name: webhook.name.clone(),
        form: form(webhook),
        url: webhook.url.clone(),
        secret: webhook.secret.clone(),
        timeout: Duration::from_millis(webhook.timeout_ms.unsigned_abs()),
        source: settings.alerts.source.clone(),
        base_url: base_url(settings),
        repeat_interval_ms: settings.deliver.repeat_interval_ms,
        per_minute: webhook.per_minute,
        application: settings.kafka.application_id.clone(),
        watchdog: Duration::from_millis(webhook.watchdog_ms.unsigned_abs()),
    }
}

fn form(webhook: &settings::WebhookSettings) -> Form {
    match webhook.form {
        settings::WebhookForm::CloudEvents => Form::CloudEvents,
        settings::WebhookForm::Slack => Form::Slack,
        settings::WebhookForm::Teams => Form::Teams,
        settings::WebhookForm::Alertmanager => Form::Alertmanager,
        settings::WebhookForm::PagerDuty => Form::PagerDuty,
        settings::WebhookForm::Ocsf => Form::Ocsf,
    }
}

/// Of the web pages.
fn base_url(settings: &Settings) -> Option<String> {
    settings.mail.as_ref().and_then(|mail| mail.base_url.clone())
}

pub fn deliver_rules(settings: &Settings) -> DeliverRules {
    let deliver = &settings.deliver;
    let route = |route: &settings::RouteSettings| Route {
        hours: route.hours.as_ref().map(duty::hours),
        waits: route.waits,
        escalate_after_ms: route.escalate_after_ms,
        escalate_to: route.escalate_to.clone(),
        group_wait_ms: route.group_wait_ms,
        group_by: route.group_by.clone(),
        teams: route.teams.clone(),
        kinds: route.kinds.clone(),
        only: route.only.clone(),
        least_excess: route.least_excess,
        receivers: route.receivers.clone(),
        least_severity: route.least_severity,
        go_on: route.go_on,
    };
    DeliverRules {
        mail: settings.mail.as_ref().map(mail),
        routes: Routes {
            routes: deliver.routes.iter().map(route).collect(),
            fallback: deliver.fallback.clone(),
            rotations: settings.rotations.iter().map(duty::rotation).collect(),
            mutes: settings.mutes.iter().map(duty::mute).collect(),
        },
        backoff: Backoff { first_ms: deliver.first_retry_ms, cap_ms: deliver.longest_retry_ms, attempts: deliver.attempts },
        update_growth: deliver.update_growth,
        repeat_interval_ms: deliver.repeat_interval_ms,
        in_flight: deliver.in_flight,
        storm: deliver.storm,
        storm_wait_ms: deliver.storm_wait_ms,
        parents_inhibit: deliver.parents_inhibit,
        inhibits: settings.inhibits.iter().map(duty::inhibit).collect(),
        hooks: settings.webhooks.iter().map(|webhook| (webhook.name.clone(), form(webhook))).collect(),
    }
}

pub fn mail(mail: &settings::MailSettings) -> MailSettings {
    MailSettings {
        host: mail.host.clone(),
        port: mail.port,
        tls: match mail.tls {
            settings::MailTls::None => Tls::None,
            settings::MailTls::StartTls => Tls::StartTls,
            settings::MailTls::Implicit => Tls::Implicit,
        },
        ca_file: mail.ca_pem.clone(),
        username: mail.username.clone(),
        password: mail.password.clone(),
        from: mail.from.clone(),
        unsubscribe: mail.unsubscribe.clone(),
        one_click: mail.one_click,
        timeout: Duration::from_millis(mail.timeout_ms.unsigned_abs()),
    }
}
