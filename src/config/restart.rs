//! What a reload may change while the process runs, and what it may not.

use super::Loaded;
use super::settings::{Form, Settings};
use crate::intake::rules::IntakeRules;
use secrecy::{ExposeSecret as _, SecretString};

/// Sections (or options) that differ and take effect at the next start only. Empty = a reload does it all.
///
/// Changed at once: rules (attribution, sources, prices, watch, overrides, teams), routes, rotations, mutes, inhibitions, all of deliver,
/// log.
pub fn restart_needed(old: &Loaded, new: &Loaded) -> Vec<String> {
    let (a, b) = (&old.settings, &new.settings);
    let mut changed = Vec::new();
    let mut note = |name: &str, differs: bool| {
        if differs {
            changed.push(name.to_string());
        }
    };
    note("kafka", kafka(a) != kafka(b) || security_secrets_differ(a, b));
    note("topics", a.topics != b.topics);
    note("shards.count", a.shard_count != b.shard_count);
    note("schemas", schemas(a) != schemas(b) || differ(a.schemas.password.as_ref(), b.schemas.password.as_ref()));
    note("intake.threads", a.intake.threads != b.intake.threads);
    note("intake.dedupe_window", old.intake.dedupe_window != new.intake.dedupe_window);
    note("intake.largest_record", a.intake.largest_record != b.intake.largest_record);
    let guard = |settings: &Settings| (settings.intake.dead_letter_ratio, settings.intake.dead_letter_sample);
    note("intake.dead_letter_ratio and dead_letter_sample", guard(a) != guard(b));
    note("intake.most_shard_lag", a.intake.most_shard_lag != b.intake.most_shard_lag);
    note("watch.threads", a.watch_threads != b.watch_threads);
    note("state", a.state_dir != b.state_dir);
    note("alerts", a.alerts != b.alerts);
    let password = |settings: &Settings| settings.mail.as_ref().and_then(|mail| mail.password.clone());
    note("mail", mail(a) != mail(b) || differ(password(a).as_ref(), password(b).as_ref()));
    note("webhook", webhooks(a) != webhooks(b));
    note("answers", a.answers != b.answers);
    note("http", a.http != b.http);
    // Who tells of violations is started with the process.
    let is_told = old.tells_violations();
    note("policies.dir", !is_told && new.policies.is_some());
    note("drift.enabled", !is_told && new.watch.matters.drift.is_some());
    note("access.enabled", !is_told && new.watch.matters.access.is_some());
    note("log.format", a.log.format != b.log.format);
    changed
}

/// The new rules of intake, with what takes effect at the next start as it is `in_force`, which may be older than the latest file.
pub fn carried_over(in_force: &IntakeRules, new: IntakeRules) -> IntakeRules {
    IntakeRules { dedupe_window: in_force.dedupe_window, largest_record: in_force.largest_record, ..new }
}

/// Why the new rules must not be taken over; `None` = they may. Shards refuse an older revision, so a reload must too.
pub fn refused(old: &Loaded, new: &Loaded) -> Option<String> {
    let (before, after) = (old.watch.revision, new.watch.revision);
    if !old.tells_violations() && new.tells_violations() && new.settings.alerts.form == Form::Avro {
        return Some(
            "policies.dir, drift.enabled or access.enabled is new, and the schema of violations is registered at the start: start again"
                .to_string(),
        );
    }
    (after < before).then(|| format!("rules_revision is {after}, but {before} is in use: set it to {} or more", before + 1))
}

/// Whether rules changed under an unchanged revision: alerts of before and after could then not be told apart.
pub fn forgot_revision(old: &Loaded, new: &Loaded) -> bool {
    let text = |loaded: &Loaded| format!("{:?} {:?}", loaded.intake, loaded.watch);
    old.watch.revision == new.watch.revision && text(old) != text(new)
}

fn differ(a: Option<&SecretString>, b: Option<&SecretString>) -> bool {
    a.map(|secret| secret.expose_secret()) != b.map(|secret| secret.expose_secret())
}

fn security_secrets_differ(a: &Settings, b: &Settings) -> bool {
    let (a, b) = (&a.kafka, &b.kafka);
    let properties = [(&a.common, &b.common), (&a.consumer, &b.consumer), (&a.producer, &b.producer), (&a.admin, &b.admin)];
    differ(a.security.password.as_ref(), b.security.password.as_ref())
        || differ(a.security.key_password.as_ref(), b.security.key_password.as_ref())
        || properties.iter().any(|(a, b)| a != b)
}

/// Everything but secrets, as text: these types hold secrets and cannot be compared, and their `Debug` hides them.
fn kafka(settings: &Settings) -> String {
    format!("{:?}", settings.kafka)
}

fn schemas(settings: &Settings) -> String {
    format!("{:?}", settings.schemas)
}

fn webhooks(settings: &Settings) -> Vec<(String, [Option<String>; 2])> {
    let shown = |secret: Option<&SecretString>| secret.map(|secret| secret.expose_secret().to_string());
    let each = settings.webhooks.iter();
    each.map(|hook| {
        (
            format!("{} {:?} {} {} {}", hook.name, hook.form, hook.timeout_ms, hook.per_minute, hook.watchdog_ms),
            [shown(Some(&hook.url)), shown(hook.secret.as_ref())],
        )
    })
    .collect()
}

fn mail(settings: &Settings) -> String {
    format!("{:?}", settings.mail)
}
