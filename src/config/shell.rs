//! [schemas], [alerts], [mail], [[route]], [deliver], [answers], [http]: what the shell is told besides Kafka.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use secrecy::SecretString;

use super::broker::{credentials, one_of, url};
use super::problem::{Problem, did_you_mean};
use super::read::{Section, text};
use super::settings::{
    AlertSettings, AnswerSettings, DeliverSettings, Form, HttpSettings, KnownSchema, MailSettings, MailTls, RouteSettings,
    ScheduleSettings, SchemaSettings,
};
use super::tree::Item;
use super::units::Complaint;
use crate::model::alert::{AlertKind, POLICY, Severity};
use crate::model::money::Nanos;
use crate::model::wire;
use crate::policy::fields::{Field, Kind, Subject};

pub fn schemas(section: &mut Section) -> SchemaSettings {
    let mut settings = SchemaSettings {
        registry_url: url(section, "registry_url"),
        username: section.optional_text("username"),
        password: section.secret("password", "password_file"),
        dir: section.path("dir"),
        ids: std::collections::BTreeMap::new(),
    };
    credentials(section, section.notes());
    if let Some(dir) = settings.dir.as_ref().filter(|dir| !dir.is_dir()) {
        section.complain("dir", Complaint::new(format!("names '{}', which is no folder", dir.display()), "name a folder with .avsc files"));
    }
    let ids = section.section("ids");
    for (key, item) in ids.entries() {
        let Ok(id) = key.parse::<u32>() else {
            ids.complain(key, Complaint::new("is no schema id", "write the registry's number: 1 = \"usage_event\""));
            continue;
        };
        match known_schema(item, &settings) {
            Ok(schema) => {
                settings.ids.insert(id, schema);
            }
            Err(complaint) => ids.complain(key, complaint),
        }
    }
    settings
}

fn known_schema(item: &Item, settings: &SchemaSettings) -> Result<KnownSchema, Complaint> {
    let name = text(item)?;
    if let Some(known) = wire::schemas().iter().find(|schema| schema.name == name) {
        return Ok(KnownSchema { name: name.to_string(), text: known.text.to_string() });
    }
    if let Some(dir) = &settings.dir {
        let path = dir.join(format!("{name}.avsc"));
        let read = std::fs::read_to_string(&path);
        let cannot = |error| Complaint { what: format!("names '{}', which cannot be read: {error}", path.display()), hint: None };
        return read.map(|text| KnownSchema { name: name.to_string(), text }).map_err(cannot);
    }
    let names: Vec<&str> = wire::schemas().iter().map(|schema| schema.name).collect();
    Err(Complaint::new(format!("is '{name}', which is no schema"), one_of(name, &names)))
}

pub fn alerts(section: &mut Section, schemas: &SchemaSettings) -> AlertSettings {
    let settings =
        AlertSettings { form: section.choice("format", &[("json", Form::Json), ("avro", Form::Avro)]), source: section.text("source") };
    if settings.form == Form::Avro && schemas.registry_url.is_none() {
        let missing = ["alert", "spend_rollup"].into_iter().filter(|name| schemas.ids.values().all(|known| known.name != *name));
        let missing: Vec<&str> = missing.collect();
        if !missing.is_empty() {
            let what = format!("is \"avro\", but there is neither a registry nor an id for {}", missing.join(" and "));
            section
                .complain("format", Complaint::new(what, "set schemas.registry_url, or add the ids to [schemas.ids], or write \"json\""));
        }
    }
    settings
}

pub fn mail(section: &mut Section) -> Option<MailSettings> {
    let host = section.optional_text("host");
    let has_from = section.has("from");
    let settings = MailSettings {
        host: host.clone().unwrap_or_default(),
        port: u16::try_from(section.integer("port", 1..=65_535)).unwrap_or_default(),
        tls: section.choice("tls", &[("none", MailTls::None), ("starttls", MailTls::StartTls), ("implicit", MailTls::Implicit)]),
        username: section.optional_text("username"),
        password: section.secret("password", "password_file"),
        ca_pem: section.file("ca_file").map(String::into_bytes),
        from: section.optional("from", address).unwrap_or_default(),
        unsubscribe: super::together::unsubscribe(section),
        one_click: section.boolean("unsubscribe_one_click").unwrap_or(false),
        timeout_ms: section.duration("timeout", "1s", "10m"),
        base_url: url(section, "base_url"),
        language: section.choice("language", &super::together::LANGUAGES),
        languages: super::together::languages(section),
        templates: super::together::templates(section),
        per_minute: u32::try_from(section.integer("most_per_minute", 0..=1_000_000)).unwrap_or_default(),
    };
    credentials(section, section.notes());
    let knows_who = |written: &String| written.starts_with("https://") && written.contains("{address}");
    if settings.one_click && !settings.unsubscribe.iter().any(knows_who) {
        section.complain(
            "unsubscribe_one_click",
            Complaint::new("is true, but no https address says who", "add to 'unsubscribe': \"https://example.com/off?who={address}\""),
        );
    }
    if settings.ca_pem.as_ref().is_some_and(|pem| !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----")) {
        section.complain("ca_file", Complaint::new("names a file without a PEM certificate", "it holds -----BEGIN CERTIFICATE-----"));
    }
    if host.is_some() && !has_from {
        section.complain("host", Complaint::new("is set, but not 'from'", "add from = \"Tollgate <tollgate@example.com>\""));
    }
    if host.is_none() && has_from {
        section.complain("from", Complaint::new("is set, but not 'host'", "add host = \"smtp.example.com\""));
    }
    if host.is_some() && settings.tls == MailTls::None && settings.username.is_some() {
        section.warn("tls", "is \"none\", so the password travels readable", "set \"starttls\" or \"implicit\"");
    }
    let usual = [(465, MailTls::StartTls, "\"starttls\" with port 465, where TLS starts at once", "set tls = \"implicit\"")];
    for (port, tls, what, hint) in usual {
        if settings.port == port && settings.tls == tls {
            section.warn("tls", &format!("is {what}"), hint);
        }
    }
    host.map(|_| settings)
}

/// `name@host` or `Name <name@host>`.
fn address(item: &Item) -> Result<String, Complaint> {
    let written = text(item)?;
    let bare = written.rsplit_once('<').map_or(written, |(_, rest)| rest.trim_end().trim_end_matches('>')).trim();
    let parts = bare.split_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if parts.is_none() || bare.contains(char::is_whitespace) || written.contains(char::is_control) {
        return Err(Complaint::new(format!("is '{written}', which is no mail address"), "write \"name@example.com\""));
    }
    // As whoever sends will read it.
    if written.trim().parse::<lettre::message::Mailbox>().is_err() {
        let hint = "write \"name@example.com\"; a name with a comma or the like stands in quotes: '\"Ops, EU\" <ops@example.com>'";
        return Err(Complaint::new(format!("is '{written}', which no mail can be sent to or from"), hint));
    }
    Ok(written.trim().to_string())
}

/// Who can be told at all.
pub struct Reach {
    pub mail: bool,
    /// Names of webhooks.
    pub hooks: Vec<String>,
    /// Names of rotations.
    pub rotations: Vec<String>,
}

impl Reach {
    /// A mail address, or `hook:` and the name of a webhook.
    fn receiver(&self, item: &Item) -> Result<(), Complaint> {
        let written = text(item)?;
        let named = [("hook:", &self.hooks, "webhook", "webhook"), ("oncall:", &self.rotations, "rotation", "oncall")];
        let found =
            named.into_iter().find_map(|(prefix, known, what, table)| Some((written.trim().strip_prefix(prefix)?, known, what, table)));
        let Some((name, known, what, table)) = found else { return address(item).map(drop) };
        if known.iter().any(|known| known == name) {
            return Ok(());
        }
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        let hint = hint.unwrap_or_else(|| format!("add a [[{table}]] with name = \"{name}\""));
        Err(Complaint::new(format!("is '{written}', and there is no such {what}"), hint))
    }

    pub fn knows(&self, receiver: &str) -> bool {
        self.receiver(&Item::at(super::problem::Place::whole(""), super::tree::Value::Text(receiver.to_string()))).is_ok()
    }
}

pub(super) fn receivers(section: &mut Section, key: &'static str, reach: &Reach) -> Vec<String> {
    let written = section.texts(key);
    for (place, text) in &written {
        let item = Item::at(place.clone(), super::tree::Value::Text(text.clone()));
        if let Err(complaint) = reach.receiver(&item) {
            // The line of the address, not of the list.
            let place = if place.line == 0 { section.place_of(key) } else { place.clone() };
            section.notes().problem(Problem { place, what: format!("an entry of '{key}' {}", complaint.what), hint: complaint.hint });
        }
    }
    written.into_iter().map(|(_, text)| text).collect()
}

pub fn deliver(section: &mut Section, routes: Vec<Section>, reach: &Reach, schedules: &[ScheduleSettings]) -> DeliverSettings {
    let mut before: Vec<(String, Severity, Nanos)> = Vec::new();
    let mut read = Vec::new();
    for mut route in routes {
        let settings = self::route(&mut route, reach, schedules);
        let is_covered = |(_, severity, excess): &&(String, _, _)| settings.least_severity >= *severity && settings.least_excess >= *excess;
        if let Some((place, ..)) = before.iter().find(is_covered) {
            let hint = "order the routes from the particular to the general, or set go_on = true there";
            route.notes().warning(
                Problem::new(&route.place, format!("this route is never reached: the one at {place} holds for every team")).hint(hint),
            );
        }
        let is_for_all = settings.hours.is_none() && settings.teams.is_empty() && settings.kinds.is_empty() && settings.only.is_empty();
        if is_for_all && !settings.go_on {
            before.push((route.place.to_string(), settings.least_severity, settings.least_excess));
        }
        if settings.receivers.is_empty() {
            route.complain("receivers", Complaint::new("is empty or missing", "name at least one: receivers = [\"team@example.com\"]"));
        }
        read.push((route.place.clone(), settings));
        route.finish();
    }
    let settings = DeliverSettings {
        fallback: receivers(section, "fallback", reach),
        update_growth: section.number("update_growth", 1.0..=1000.0).unwrap_or_default(),
        repeat_interval_ms: repeat_interval(section),
        first_retry_ms: section.duration("first_retry", "1s", "1h"),
        longest_retry_ms: section.duration("longest_retry", "1s", "24h"),
        attempts: u32::try_from(section.integer("attempts", 1..=100_000)).unwrap_or_default(),
        in_flight: usize::try_from(section.integer("in_flight", 1..=256)).unwrap_or(1),
        storm: usize::try_from(section.integer("storm", 0..=1_000_000)).unwrap_or_default(),
        storm_wait_ms: section.duration("storm_wait", "1s", "24h"),
        parents_inhibit: section.boolean("parents_inhibit").unwrap_or(true),
        routes: read.iter().map(|(_, route)| route.clone()).collect(),
    };
    if settings.first_retry_ms > settings.longest_retry_ms && settings.longest_retry_ms > 0 {
        section.complain("first_retry", Complaint::new("is more than 'longest_retry'", "the wait doubles from the first to the longest"));
    }
    let named = || settings.routes.iter().flat_map(|route| &route.receivers).chain(&settings.fallback);
    if named().any(|receiver| !receiver.starts_with("hook:")) && !reach.mail {
        let place = read.first().map_or_else(|| section.place_of("fallback"), |(place, _)| place.clone());
        let hint = "add host and from to [mail]";
        let what = "receivers are named, but [mail] has no host: nobody is told by mail";
        section.notes().warning(Problem::new(&place, what).hint(hint));
    }
    if reach.mail && named().next().is_none() {
        let hint = "add a [[route]], or fallback = [\"finops@example.com\"] to [deliver]";
        section.notes().warning(Problem::new(&section.place, "[mail] is set up, but no route and no fallback names a receiver").hint(hint));
    }
    settings
}

pub fn answers(section: &mut Section) -> AnswerSettings {
    let settings = AnswerSettings {
        key_file: section.path("key_file"),
        base_url: url(section, "base_url"),
        valid_ms: section.duration("valid_for", "1h", "90d"),
    };
    if settings.key_file.is_some() && settings.base_url.is_none() {
        section.complain(
            "key_file",
            Complaint::new("is set, but not 'base_url'", "say where people reach http.listen: base_url = \"https://tollgate.example.com\""),
        );
    }
    if settings.key_file.is_none() && section.has("base_url") {
        section.complain(
            "base_url",
            Complaint::new("is set, but not 'key_file'", "name a file for the key that signs links; it is made if it is not there"),
        );
    }
    settings
}

fn repeat_interval(section: &mut Section) -> i64 {
    let ms = section.duration("repeat_interval", "0s", "90d");
    if ms > 0 && ms < 600_000 {
        section.warn("repeat_interval", "is less than ten minutes: nobody will read these mails", "write \"24h\", or \"0s\" for never");
    }
    ms
}

pub(super) const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

fn route(section: &mut Section, reach: &Reach, schedules: &[ScheduleSettings]) -> RouteSettings {
    let escalate_after_ms = section.optional_duration("escalate_after", "1m", "30d").unwrap_or_default();
    let escalate_to = receivers(section, "escalate_to", reach);
    if escalate_after_ms > 0 && escalate_to.is_empty() {
        section.complain("escalate_after", Complaint::new("names nobody", "add escalate_to = [\"lead@example.com\"]"));
    }
    let hours = super::duty::hours(section, schedules);
    let waits = section.boolean("wait").unwrap_or(false);
    if waits && !section.has("during") && !section.has("outside") {
        section.complain("wait", Complaint::new("is true, but the route has no hours", "add during = \"...\", a [[schedule]]'s name"));
    }
    let (group_wait_ms, group_by) = super::together::group(section);
    RouteSettings {
        group_wait_ms,
        group_by,
        teams: section.texts("teams").into_iter().map(|(_, team)| team).collect(),
        kinds: kinds(section),
        only: only(section),
        hours,
        waits,
        escalate_after_ms,
        escalate_to,
        least_excess: section.money("least_excess").unwrap_or(Nanos::ZERO),
        receivers: receivers(section, "receivers", reach),
        least_severity: section.optional_choice("least_severity", &SEVERITIES).unwrap_or(Severity::Warning),
        go_on: section.boolean("go_on").unwrap_or(false),
    }
}

pub(super) fn kinds(section: &mut Section) -> Vec<String> {
    let mut kinds = Vec::new();
    for (place, kind) in section.texts("kinds") {
        if AlertKind::parse(&kind).is_none() {
            let names = AlertKind::ALL.map(AlertKind::as_str);
            let what = format!("'kinds' names '{kind}', which is no kind of alert");
            section.notes().problem(Problem { place, what, hint: Some(one_of(&kind, &names)) });
        }
        kinds.push(kind);
    }
    kinds
}

pub(super) fn only(section: &mut Section) -> BTreeMap<String, String> {
    let section = section.section("only");
    let (known, mut only) = (dimensions(), BTreeMap::new());
    for (dimension, item) in section.entries() {
        if !known.contains(&dimension.as_str()) {
            let what = "is no dimension of alerts".to_string();
            section.complain(dimension, Complaint { what, hint: Some(one_of(dimension, &known)) });
        }
        match text(item) {
            Ok(pattern) => drop(only.insert(dimension.clone(), pattern.to_string())),
            Err(complaint) => section.complain(dimension, complaint),
        }
    }
    only
}

/// That alerts on spend name, what is told of waste, budgets and money without a rate, and violations of drift and access.
const DIMENSIONS: [&str; 18] = [
    "project",
    "model",
    "provider",
    "region",
    "environment",
    "meter",
    "resource_id",
    "resource_type",
    "owner",
    "budget",
    "cost_center",
    "currency",
    POLICY,
    "model_version",
    "dataset",
    "principal",
    "role",
    "duties",
];

/// That alerts may name, violations among them: these name what their policies tell them apart by, too.
pub(super) fn dimensions() -> Vec<&'static str> {
    let mut dimensions = DIMENSIONS.to_vec();
    for subject in Subject::ALL {
        let is_of_series = |field: &&Field| subject != Subject::Usage || !field.is_of_event;
        let texts = subject.fields().iter().filter(is_of_series).filter(|field| matches!(field.kind, Kind::Text | Kind::Texts));
        for field in texts.filter(|field| field.name != "team") {
            if !dimensions.contains(&field.name) {
                dimensions.push(field.name);
            }
        }
    }
    dimensions
}

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 20;

pub fn http(section: &mut Section) -> HttpSettings {
    let parse = |item: &Item| {
        let written = text(item)?;
        let bad =
            || Complaint::new(format!("is '{written}'"), "write address:port, \"127.0.0.1:8080\", or \"0.0.0.0:8080\" for every interface");
        written.parse::<SocketAddr>().map(Some).map_err(|_| bad())
    };
    let listen = section.required("listen", parse).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    HttpSettings { listen, tokens: tokens(section) }
}

/// A name and a token on each line; `#` begins a comment.
fn tokens(section: &mut Section) -> Vec<(String, SecretString)> {
    let Some(content) = section.file("tokens_file") else { return Vec::new() };
    let mut tokens = Vec::new();
    for (number, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, token] if token.len() >= SHORTEST_TOKEN => tokens.push((name.to_string(), SecretString::from(token.to_string()))),
            _ => {
                // Never the line itself: it may be a token.
                let what = format!("names a file whose line {} is no name and token of at least {SHORTEST_TOKEN} characters", number + 1);
                section
                    .complain("tokens_file", Complaint::new(what, "write: ci 6f1c..., with a token like that of `openssl rand -hex 32`"));
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;

    /// What is wrong, else what is probably not meant.
    fn told(text: &str) -> Vec<String> {
        let loaded = load_text("t.toml", &format!("version = 1\n{text}"), Path::new(""), std::iter::empty());
        loaded.map_or_else(|problems| problems, |loaded| loaded.warnings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_those_that_mail_can_be_sent_to() {
        let with = |from: &str, to: &str| told(&format!("[mail]\nhost = 'h'\nfrom = '{from}'\n[[route]]\nreceivers = ['{to}']\n"));
        let good = ["a@b", " ops@example.com ", "Ops <ops@example.com>", "\"Ops, FinOps\" <ops@example.com>", "Öps <ops@bücher.example>"];
        for good in good {
            assert_eq!(with(good, good), [""; 0], "{good}");
        }
        for bad in ["Ops, Tollgate <ops@example.com>", "Ops (EU) <ops@example.com>", "ops@-example-.com", "ops.@example.com", "ops"] {
            for told in [with(bad, "a@b"), with("a@b", bad)] {
                assert!(told.len() == 1 && told[0].contains(&format!("is '{bad}', which ")), "{told:?}");
            }
        }
    }

    #[test]
    fn a_route_that_is_never_reached_is_told() {
        let told = |first: &str, second: &str| {
            let mail = "[mail]\nhost = 'h'\nfrom = 'a@b'\n";
            told(&format!("{mail}[[route]]\nreceivers = ['a@b']\n{first}\n[[route]]\nreceivers = ['b@b']\n{second}\n"))
        };
        for (first, second) in [
            ("", ""),
            ("", "teams = ['a']\nleast_severity = 'critical'"),
            ("least_severity = 'info'", "least_severity = 'info'"),
            ("least_excess = '100'", "least_excess = '200'"),
        ] {
            let told = told(first, second);
            assert!(told.len() == 1 && told[0].contains("t.toml:8: this route is never reached"), "{first} {second}: {told:?}");
        }
        for (first, second) in [
            ("least_severity = 'critical'", ""),
            ("", "least_severity = 'info'"),
            ("least_excess = '500'", ""),
            ("least_severity = 'critical'", "least_excess = '500'"),
            ("go_on = true", ""),
            ("teams = ['a']", ""),
        ] {
            assert_eq!(told(first, second), [""; 0], "{first} {second}");
        }
    }
}
