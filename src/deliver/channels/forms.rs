//! What is posted to whom: an alert in the form that each kind of receiver reads.

use serde_json::{Value, json};

use super::Letter;
use crate::deliver::answer::Link;
use crate::deliver::ocsf;
use crate::deliver::receipt::is_closed;
use crate::deliver::render::clean::{clean, name};
use crate::deliver::render::digest::{self, Row};
use crate::deliver::render::language::Language;
use crate::deliver::render::subject::{kind, subject};
use crate::deliver::render::{amount, page, words};
use crate::model::alert::{Alert, AlertKind, AlertState, Severity};
use crate::model::time::{DAY_MS, Timestamp};

/// Chats and programs are told in English.
const ENGLISH: Language = Language::English;
/// Of a chat message's parts, in characters; Slack takes 3,000 of a section, PagerDuty 1,024 of a summary.
const LONGEST_LINE: usize = 150;
const LONGEST_TEXT: usize = 1_000;
const LONGEST_VALUE: usize = 100;
/// Causes and steps beyond these would be read by nobody in a chat.
const MOST_CAUSES: usize = 3;
const MOST_STEPS: usize = 3;
/// How long an alert stands at Alertmanager without news: longer than it takes until it is told again.
pub const STANDS_FOR_MS: i64 = 2 * DAY_MS;
/// Intervals after which an Alertmanager takes our silence for the end of the watchdog's alert: one may be lost, and one late.
const MISSED: i64 = 3;

/// The dimension of a resource that may change while an alert on it stands.
const OWNER: &str = "owner";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The alert as it stands on its topic, in JSON, with CloudEvents 1.0 headers (HTTP protocol binding, binary mode).
    CloudEvents,
    /// Incoming webhook of Slack, or of what speaks like it (Mattermost, Discord's `/slack`).
    Slack,
    /// Workflow webhook of Microsoft Teams: an adaptive card.
    Teams,
    /// `POST /api/v2/alerts`.
    Alertmanager,
    /// Events API v2.
    PagerDuty,
    /// A finding of the Open Cybersecurity Schema Framework, for a SIEM.
    Ocsf,
}

impl Form {
    /// Whether people read it, not programs.
    pub fn is_for_people(self) -> bool {
        matches!(self, Form::Slack | Form::Teams)
    }

    /// Whether it holds an incident, of which it wants to know that somebody has it in hand.
    pub fn holds_incidents(self) -> bool {
        matches!(self, Form::Alertmanager | Form::PagerDuty)
    }

    /// Whether it takes silence for the end, after [`STANDS_FOR_MS`].
    pub fn forgets(self) -> bool {
        matches!(self, Form::Alertmanager)
    }
}

/// What a body needs besides its letter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// PagerDuty's routing key stands in the body.
    pub secret: Option<&'a str>,
    pub base_url: Option<&'a str>,
    /// After which an open alert is told again.
    pub repeat_interval_ms: i64,
    pub answers: &'a [Link],
}

pub fn body(form: Form, letter: &Letter<'_>, around: &Around<'_>) -> Value {
    match form {
        Form::CloudEvents => json!(letter.alert),
        Form::Slack => slack(letter, around),
        Form::Teams => teams(letter, around),
        Form::Alertmanager => alertmanager(letter, around),
        Form::PagerDuty => pager_duty(letter, around),
        Form::Ocsf => ocsf::of_alert(letter.alert, link(letter.alert, around.base_url)),
    }
}

/// Alerts that a chat message has room for by name; Slack takes 50 blocks.
const MOST_NAMED: usize = 20;

/// One message about all of these letters; `answers`: of each, in their order.
pub fn digest(form: Form, letters: &[Letter<'_>], answers: &[Vec<Link>], base_url: Option<&str>) -> Value {
    let page = digest::page(letters, answers, base_url, ENGLISH);
    let more = letters.len().saturating_sub(MOST_NAMED);
    let more = (more > 0).then(|| format!("and {more} more: tollgate alerts list"));
    let rows = page.rows.iter().take(MOST_NAMED);
    let links = |row: &Row| {
        let page = row.link.iter().map(|url| ("Open", url.clone()));
        page.chain(row.answers.iter().map(|answer| (answer.label, answer.url.clone()))).collect::<Vec<_>>()
    };
    match form {
        Form::Slack => {
            let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
            let mut blocks =
                vec![json!({"type": "header", "text": {"type": "plain_text", "text": clean(&page.subject, LONGEST_LINE), "emoji": false}})];
            for row in rows {
                let links: Vec<String> = links(row).iter().map(|(label, url)| format!("<{url}|{label}>")).collect();
                let title = escaped(&format!("[{}] {}", row.badge, row.title));
                blocks.push(section(
                    format!("*{title}*\n{}\nSince {}\n{}", escaped(&row.place), escaped(&row.since), links.join("  ·  "))
                        .trim_end()
                        .to_string(),
                ));
            }
            blocks.extend(more.map(section));
            json!({"text": escaped(&clean(&page.subject, LONGEST_LINE)), "blocks": blocks})
        }
        Form::Teams => {
            let block = |text: String| json!({"type": "TextBlock", "text": text, "wrap": true});
            let mut body = vec![
                json!({"type": "TextBlock", "text": plain(&clean(&page.subject, LONGEST_LINE)), "wrap": true, "weight": "bolder", "size": "medium"}),
            ];
            for row in rows {
                let links: Vec<String> = links(row).iter().map(|(label, url)| format!("[{label}]({url})")).collect();
                let title = plain(&format!("[{}] {}", row.badge, row.title));
                body.push(block(
                    format!("**{title}**\n\n{}\n\nSince {}\n\n{}", plain(&row.place), plain(&row.since), links.join(" · "))
                        .trim_end()
                        .to_string(),
                ));
            }
            body.extend(more.map(block));
            card(body, Vec::new())
        }
        // Programs are told of one alert at a time, see `Channels::machines`: none is lost if one is asked all the same.
        Form::CloudEvents | Form::Alertmanager | Form::PagerDuty | Form::Ocsf => {
            letters.iter().map(|letter| body(form, letter, &Around::default())).collect()
        }
    }
}

/// Links with what they are called: the alert's page, then the answers.
fn links(alert: &Alert, around: &Around<'_>) -> Vec<(&'static str, String)> {
    let page = link(alert, around.base_url).map(|url| ("Open the alert", url));
    page.into_iter().chain(around.answers.iter().map(|answer| (answer.label, answer.url.clone()))).collect()
}

fn title(letter: &Letter<'_>) -> String {
    clean(&subject(letter.alert, letter.earlier, ENGLISH), LONGEST_LINE)
}

fn summary(alert: &Alert) -> String {
    clean(&alert.summary, LONGEST_TEXT)
}

/// Label and value of what a person asks first: the figures of a mail, of which each kind has its own.
fn facts(alert: &Alert) -> Vec<(&'static str, String)> {
    let figures = page::figures(alert, ENGLISH).into_iter().map(|fact| (fact.label, fact.value));
    let mut facts: Vec<_> = [("Team", name(&alert.team, LONGEST_VALUE))].into_iter().chain(figures).collect();
    if !alert.kind.is_matter() && alert.kind != AlertKind::PolicyViolation {
        facts.push(("Normal", amount::brief(alert.expected, alert.currency, ENGLISH)));
    }
    facts
}

/// One line for each of the largest causes.
fn causes(alert: &Alert) -> Vec<String> {
    let cause = |cause: &crate::model::alert::Cause| {
        format!("{} % {}", words::percent(cause.share), clean(&words::place(&cause.dimensions, ENGLISH), LONGEST_LINE))
    };
    alert.causes.iter().take(MOST_CAUSES).map(cause).collect()
}

fn steps(alert: &Alert) -> Vec<String> {
    if is_closed(alert) {
        return Vec::new();
    }
    alert.next_steps.iter().take(MOST_STEPS).map(|step| clean(step, LONGEST_TEXT)).collect()
}

fn link(alert: &Alert, base_url: Option<&str>) -> Option<String> {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    base_url.map(|base| format!("{base}/alerts/{}", alert.id.bytes().map(encode).collect::<String>()))
}

/// Slack's markup: nothing that stands in a name becomes a link, a mention or bold text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // A zero-width space behind the sign keeps it from marking anything up.
            '*' | '_' | '~' | '`' => escaped.extend([letter, '\u{200b}']),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn slack(letter: &Letter<'_>, around: &Around<'_>) -> Value {
    let alert = letter.alert;
    let text = |text: String| json!({"type": "mrkdwn", "text": text});
    let section = |lines: String| json!({"type": "section", "text": text(lines)});
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": title(letter), "emoji": false}}),
        section(escaped(&summary(alert))),
        json!({"type": "section", "fields": facts(alert).iter().map(|(label, value)| text(format!("*{label}*\n{}", escaped(value)))).collect::<Vec<_>>()}),
    ];
    let lines = |of: Vec<String>| of.iter().map(|line| format!("• {}", escaped(line))).collect::<Vec<_>>().join("\n");
    for (head, of) in [("Why", causes(alert)), ("What to do next", steps(alert))] {
        if !of.is_empty() {
            blocks.push(section(format!("*{head}*\n{}", lines(of))));
        }
    }
    let links = links(alert, around);
    if !links.is_empty() {
        let links: Vec<String> = links.iter().map(|(label, url)| format!("<{url}|{label}>")).collect();
        blocks.push(section(links.join("  ·  ")));
    }
    // What notifications show; also where blocks are not known.
    json!({"text": escaped(&title(letter)), "blocks": blocks})
}

/// Markdown of adaptive cards: links and emphasis do not come from names.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '_' | '[' | ']' | '(' | ')' | '`' | '#' | '\\' | '~') {
            plain.push('\\');
        }
        plain.push(letter);
    }
    plain
}

fn teams(letter: &Letter<'_>, around: &Around<'_>) -> Value {
    let alert = letter.alert;
    let colour = match (is_closed(alert), alert.severity) {
        (true, _) => "good",
        (false, Severity::Critical) => "attention",
        (false, _) => "warning",
    };
    let block = |text: String| json!({"type": "TextBlock", "text": text, "wrap": true});
    let mut body = vec![
        json!({"type": "TextBlock", "text": plain(&title(letter)), "wrap": true, "weight": "bolder", "size": "medium", "color": colour}),
        block(plain(&summary(alert))),
        json!({"type": "FactSet", "facts": facts(alert).iter().map(|(label, value)| json!({"title": label, "value": plain(value)})).collect::<Vec<_>>()}),
    ];
    for (head, of) in [("Why", causes(alert)), ("What to do next", steps(alert))] {
        if !of.is_empty() {
            body.push(block(format!(
                "**{head}**\n\n{}",
                of.iter().map(|line| format!("- {}", plain(line))).collect::<Vec<_>>().join("\n")
            )));
        }
    }
    let action = |(label, url): (&str, String)| json!({"type": "Action.OpenUrl", "title": label, "url": url});
    let actions: Vec<Value> = links(alert, around).into_iter().map(action).collect();
    card(body, actions)
}

fn card(body: Vec<Value>, actions: Vec<Value>) -> Value {
    let card = json!({
        "type": "AdaptiveCard", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "version": "1.4",
        "body": body, "actions": actions, "msteams": {"width": "Full"},
    });
    let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card});
    json!({"type": "message", "attachments": [attachment]})
}

/// An alert, and what stands there under another severity, as over: labels are an alert's identity there. What else changes from revision to
/// revision is an annotation.
fn alertmanager(letter: &Letter<'_>, around: &Around<'_>) -> Value {
    let alert = letter.alert;
    let own = Some(alert.severity);
    // What has ended there does not stand there.
    let stands = letter.earlier.filter(|told| !told.closed || is_closed(alert));
    let told = stands.map(|told| Some(told.severity).filter(|_| told.has_severity));
    match told.filter(|told| *told != own) {
        None => json!([at_alertmanager(letter, around, own, is_closed(alert))]),
        // Under the severity under which it stands; it never did under any other.
        Some(told) if is_closed(alert) => json!([at_alertmanager(letter, around, told, true)]),
        Some(told) => json!([at_alertmanager(letter, around, told, true), at_alertmanager(letter, around, own, false)]),
    }
}

fn at_alertmanager(letter: &Letter<'_>, around: &Around<'_>, severity: Option<Severity>, is_over: bool) -> Value {
    let alert = letter.alert;
    let mut labels = serde_json::Map::new();
    // What is idle may be forgotten or orphaned tomorrow, and somebody else's.
    let family = if alert.kind.is_waste() { "waste" } else { kind(alert, ENGLISH) };
    labels.insert("alertname".to_owned(), json!(format!("Tollgate {family}")));
    labels.insert("alert_id".to_owned(), json!(alert.id));
    for (label, value) in [("team", &alert.team)].into_iter().chain(alert.dimensions.iter().map(|(label, value)| (label.as_str(), value))) {
        // An empty label is no label.
        if !value.is_empty() && label != OWNER {
            labels.insert(label.to_owned(), json!(clean(value, LONGEST_VALUE)));
        }
    }
    labels.insert("currency".to_owned(), json!(alert.currency.as_str()));
    labels.extend(severity.map(|severity| ("severity".to_owned(), json!(severity.as_str()))));
    let stands_until = letter.date.plus_ms(STANDS_FOR_MS.max(around.repeat_interval_ms.saturating_mul(2)));
    let ends_at: Timestamp = if is_over { letter.date } else { stands_until };
    let mut annotations = json!({
        "summary": title(letter), "description": summary(alert), "state": alert.state.as_str(),
        "excess": alert.excess.to_string(), "expected": alert.expected.to_string(), "actual": alert.actual.to_string(),
        "burn_rate_per_hour": alert.burn_rate_per_hour.to_string(), "causes": causes(alert).join("; "),
        "what_to_do": steps(alert).join("; "), "kind": alert.kind.as_str(),
    });
    if let Some(owner) = alert.dimensions.get(OWNER).filter(|owner| !owner.is_empty()) {
        annotations[OWNER] = json!(clean(owner, LONGEST_VALUE));
    }
    for answer in around.answers {
        annotations[format!("answer_{}", answer.name)] = json!(answer.url);
    }
    let generator = link(alert, around.base_url).unwrap_or_default();
    json!({
        "labels": labels, "annotations": annotations, "startsAt": alert.onset.to_string(), "endsAt": ends_at.to_string(),
        "generatorURL": generator,
    })
}

/// An alert that always fires, as Prometheus' Watchdog does: when it ends, nobody is there who would tell of any other. It is told every
/// `every_ms`, since `since`.
pub fn watchdog(application: &str, every_ms: i64, since: Timestamp, now: Timestamp) -> Value {
    let description = "Always fires while the process that tells people is well. When it is gone, Tollgate, or the way from it to here, is down: \
                       route it to whatever notices silence.";
    json!([{
        "labels": {"alertname": "TollgateWatchdog", "severity": "none", "application": clean(application, LONGEST_VALUE)},
        "annotations": {"summary": "Tollgate is alive.", "description": description},
        "startsAt": since.to_string(), "endsAt": now.plus_ms(every_ms.saturating_mul(MISSED)).to_string(),
    }])
}

fn pager_duty(letter: &Letter<'_>, around: &Around<'_>) -> Value {
    let alert = letter.alert;
    let action = match alert.state {
        _ if is_closed(alert) => "resolve",
        AlertState::Acknowledged | AlertState::Expected => "acknowledge",
        _ => "trigger",
    };
    let links: Vec<Value> = links(alert, around).iter().map(|(text, href)| json!({"href": href, "text": text})).collect();
    json!({
        "routing_key": around.secret.unwrap_or_default(), "event_action": action, "dedup_key": alert.id, "client": "Tollgate", "links": links,
        "payload": {
            "summary": title(letter), "source": name(&alert.team, LONGEST_VALUE), "severity": alert.severity.as_str(),
            "timestamp": alert.decided_at.to_string(), "group": name(&alert.team, LONGEST_VALUE), "class": alert.kind.as_str(),
            "custom_details": {
                "summary": summary(alert), "excess": alert.excess.to_string(), "expected": alert.expected.to_string(),
                "currency": alert.currency.as_str(), "causes": causes(alert), "what_to_do": steps(alert), "revision": alert.revision,
            },
        },
    })
}
