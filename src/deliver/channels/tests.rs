//! What webhooks are sent: in each form, for each state, and with names that try to be more than names.

use serde_json::Value;

use super::forms::{Around, Form, body};
use super::*;
use crate::deliver::answer::Link;
use crate::deliver::receipt::Receipt;
use crate::deliver::render::sample;
use crate::model::alert::{AlertKind, AlertState, Severity};

const FORMS: [Form; 6] = [Form::CloudEvents, Form::Slack, Form::Teams, Form::Alertmanager, Form::PagerDuty, Form::Ocsf];

fn posted(form: Form, alert: &Alert) -> Value {
    let receiver = Receiver::Hook("ops".into());
    let letter = Letter { alert, receiver: &receiver, earlier: None, date: alert.decided_at };
    let answers = [Link { name: "ack", label: "Acknowledge", url: "https://gate.example.com/answer/token?ack".into() }];
    let around = Around { secret: Some("routing-key"), base_url: Some("https://gate.example.com"), answers: &answers, ..Around::default() };
    body(form, &letter, &around)
}

/// Every text in it.
fn texts<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, into)),
        _ => {}
    }
}

#[test]
fn a_spike_is_told_in_each_form() {
    let spike = sample::spike();
    let slack = posted(Form::Slack, &spike);
    assert_eq!(slack["text"], "[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)");
    assert_eq!(slack["blocks"][0]["type"], "header");
    let teams = posted(Form::Teams, &spike);
    let card = &teams["attachments"][0]["content"];
    assert_eq!((&card["type"], &card["body"][0]["color"]), (&"AdaptiveCard".into(), &"attention".into()));
    assert_eq!(card["actions"][0]["url"], "https://gate.example.com/alerts/search%2F5b1f0c3a9d2e47f8a6c4be1093d7e215");
    let manager = &posted(Form::Alertmanager, &spike)[0];
    assert_eq!((&manager["labels"]["alertname"], &manager["labels"]["project"]), (&"Tollgate spend spike".into(), &"ranker".into()));
    assert_eq!((&manager["startsAt"], &manager["endsAt"]), (&"2026-11-24T13:00:00Z".into(), &"2026-11-26T13:14:06.48Z".into()));
    let pager = posted(Form::PagerDuty, &spike);
    assert_eq!(
        (&pager["event_action"], &pager["routing_key"], &pager["payload"]["severity"]),
        (&"trigger".into(), &"routing-key".into(), &"critical".into())
    );
    let finding = posted(Form::Ocsf, &spike);
    assert_eq!((&finding["type_uid"], &finding["finding_info"]["src_url"]), (&200_401.into(), &card["actions"][0]["url"]));
    assert_eq!(posted(Form::CloudEvents, &spike), serde_json::to_value(&spike).unwrap());
    let answer = "https://gate.example.com/answer/token?ack";
    assert_eq!(card["actions"][1], serde_json::json!({"type": "Action.OpenUrl", "title": "Acknowledge", "url": answer}));
    assert!(slack.to_string().contains(&format!("<{answer}|Acknowledge>")));
    assert_eq!((&manager["annotations"]["answer_ack"], &pager["links"][1]["href"]), (&answer.into(), &answer.into()));
}

#[test]
fn what_is_over_is_resolved_everywhere() {
    let resolved = sample::resolved();
    assert_eq!(posted(Form::PagerDuty, &resolved)["event_action"], "resolve");
    let manager = &posted(Form::Alertmanager, &resolved)[0];
    assert_eq!(manager["endsAt"], resolved.decided_at.to_string());
    assert_eq!(posted(Form::Teams, &resolved)["attachments"][0]["content"]["body"][0]["color"], "good");
    assert!(!posted(Form::Slack, &resolved).to_string().contains("What to do next"));
    let taken = Alert { state: AlertState::Acknowledged, ..sample::spike() };
    assert_eq!(posted(Form::PagerDuty, &taken)["event_action"], "acknowledge");
    // The same alert at Alertmanager whatever its revision: labels are its identity.
    let labels = |alert: &Alert| posted(Form::Alertmanager, alert)[0]["labels"].clone();
    assert_eq!(labels(&sample::spike()), labels(&Alert { revision: 9, ..sample::spike() }));
}

/// The severity is a label, by which Alertmanagers choose whom to tell: what stood there under another one has to end.
#[test]
fn an_alert_that_gets_worse_is_one_alert_at_alertmanager() {
    let warning = Alert { severity: Severity::Warning, ..sample::spike() };
    let receiver = Receiver::Hook("ops".into());
    let mut receipt = Receipt::new(&warning.id);
    receipt.record_sent(&warning, &receiver, "x", warning.decided_at);
    let told = receipt.told(&receiver).unwrap().clone();
    let posted = |alert: &Alert, told: &Told| {
        let letter = Letter { alert, receiver: &receiver, earlier: Some(told), date: alert.decided_at };
        let body = body(Form::Alertmanager, &letter, &Around::default());
        let stands = |one: &Value| {
            let is_over = one["endsAt"] == alert.decided_at.to_string();
            (one["labels"]["severity"].as_str().unwrap_or("none").to_string(), !is_over)
        };
        body.as_array().unwrap().iter().map(stands).collect::<Vec<_>>()
    };
    let of = |severity: &str, stands| (severity.to_string(), stands);
    assert_eq!(posted(&warning, &told), [of("warning", true)]);
    assert_eq!(posted(&sample::spike(), &told), [of("warning", false), of("critical", true)]);
    assert_eq!(posted(&sample::resolved(), &told), [of("warning", false)], "it never stood there as critical");
    let of_before = Told { has_severity: false, ..told };
    assert_eq!(posted(&warning, &of_before), [of("none", false), of("warning", true)], "what an earlier version told");
}

#[test]
fn the_money_that_was_expected_is_no_link() {
    let spike = sample::spike();
    let receiver = Receiver::Hook("ops".into());
    let letter = Letter { alert: &spike, receiver: &receiver, earlier: None, date: spike.decided_at };
    let link = |name| Link { name, label: "", url: format!("https://gate.example.com/{name}") };
    let answers = [link("ack"), link("expected"), link("not_an_anomaly")];
    let posted = body(Form::Alertmanager, &letter, &Around { answers: &answers, ..Around::default() });
    let annotations = &posted[0]["annotations"];
    assert_eq!(annotations["expected"], spike.expected.to_string());
    assert_eq!(annotations["answer_expected"], "https://gate.example.com/expected");
}

#[test]
fn chats_are_told_the_figures_of_each_kind() {
    let units = crate::model::money::Nanos::from_units;
    let (actual, expected, excess) = (units(4_000), units(5_000), units(-1_000));
    let budget = Alert { kind: AlertKind::Budget, actual, expected, excess, ..sample::spike() };
    let violation = Alert { kind: AlertKind::PolicyViolation, burn_rate_per_hour: units(0), ..sample::spike() };
    for form in [Form::Slack, Form::Teams] {
        let shown = |alert: &Alert| posted(form, alert).to_string();
        let free = shown(&Alert { actual: units(0), excess: units(0), ..violation.clone() });
        let (budget, violation, spike) = (shown(&budget), shown(&violation), shown(&sample::spike()));
        assert!(budget.contains("Left") && !budget.contains("Extra so far") && !budget.contains("Normal"), "{budget}");
        assert!(violation.contains("Spent so far") && !violation.contains("er hour, now") && !free.contains("Spent"), "{violation}");
        assert!(spike.contains("Extra so far") && spike.contains("Extra per hour, now") && spike.contains("Normal"), "{spike}");
        let alert = Alert { kind: AlertKind::PolicyViolation, ..sample::spike() };
        let receiver = Receiver::Hook("ops".into());
        let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: alert.decided_at };
        assert!(!super::forms::digest(form, &[letter], &[], None).to_string().contains("per hour"));
    }
}

#[test]
fn a_resource_that_is_orphaned_is_the_same_alert_as_when_it_was_idle() {
    let of = |kind, owner: Option<&str>| {
        let mut alert = Alert { kind, ..sample::spike() };
        alert.dimensions.extend(owner.map(|owner| ("owner".to_owned(), owner.to_owned())));
        posted(Form::Alertmanager, &alert)[0].clone()
    };
    let (idle, orphaned) = (of(AlertKind::IdleResource, Some("ada")), of(AlertKind::OrphanedResource, None));
    assert_eq!((&idle["labels"], &idle["labels"]["alertname"]), (&orphaned["labels"], &"Tollgate waste".into()));
    assert_eq!((&idle["annotations"]["owner"], &idle["annotations"]["kind"]), (&"ada".into(), &"idle_resource".into()));
    assert_eq!(orphaned["annotations"]["kind"], "orphaned_resource");
}

#[test]
fn names_are_only_names() {
    let evil = "<!channel> <https://evil.example|x> *bold* [a](https://evil.example)\r\n@everyone \u{202e}txt ".repeat(120);
    let mut alert = sample::spike();
    alert.team = evil.clone();
    alert.summary = evil.clone();
    alert.next_steps = vec![evil.clone(); 9];
    alert.dimensions.insert("project".to_owned(), evil.clone());
    for cause in &mut alert.causes {
        cause.dimensions.insert("model".to_owned(), evil.clone());
    }
    for form in FORMS.into_iter().filter(|form| *form != Form::CloudEvents) {
        let posted = posted(form, &alert);
        let mut all = Vec::new();
        texts(&posted, &mut all);
        for text in all {
            assert!(!text.contains(['\r', '\u{202e}']) && text.chars().count() <= 4_000, "{form:?}: {text}");
            if form == Form::Slack && !text.starts_with("<https://gate.example.com/") {
                assert!(!text.contains('<') || posted["blocks"][0]["text"]["text"] == text, "{text}");
            }
            if form == Form::Teams {
                assert!(!text.contains("](https"), "{text}");
            }
        }
        assert!(posted.to_string().len() < 20_000, "{form:?}: {} bytes", posted.to_string().len());
    }
}

#[test]
fn a_digest_is_one_message_and_names_stay_names() {
    let evil = "<!channel> *bold* [a](https://evil.example)\r\n@everyone \u{202e}txt";
    let alerts: Vec<Alert> = (0..30).map(|number| Alert { id: format!("x/{number}"), team: evil.to_owned(), ..sample::spike() }).collect();
    let receiver = Receiver::Hook("ops".into());
    let letters: Vec<Letter<'_>> =
        alerts.iter().map(|alert| Letter { alert, receiver: &receiver, earlier: None, date: alert.decided_at }).collect();
    for form in [Form::Slack, Form::Teams] {
        let posted = super::forms::digest(form, &letters, &[], Some("https://gate.example.com"));
        let mut all = Vec::new();
        texts(&posted, &mut all);
        let shown = all.join("\n");
        assert!(shown.contains("30 alerts") && shown.contains("and 10 more"), "{shown}");
        assert!(
            !shown.contains(['\r', '\u{202e}'])
                && (form == Form::Slack || !shown.contains("](https://evil"))
                && posted.to_string().len() < 30_000,
            "{shown}"
        );
        let sections = all.iter().filter(|text| text.contains("Since "));
        assert!(form == Form::Teams || sections.clone().all(|text| !text.contains("<!channel")), "{shown}");
        assert_eq!(sections.count(), 20);
    }
    for form in [Form::CloudEvents, Form::Alertmanager, Form::PagerDuty, Form::Ocsf] {
        assert_eq!(super::forms::digest(form, &letters, &[], None).as_array().unwrap().len(), 30, "{form:?}: none is lost");
    }
    assert_eq!(digest_id(&letters), digest_id(&letters));
    assert_ne!(digest_id(&letters), digest_id(&letters[1..]));
}

#[test]
fn each_attempt_has_the_same_id_and_each_repetition_another() {
    let spike = sample::spike();
    let receiver = Receiver::Hook("ops".into());
    let id = |earlier| letter_id(&Letter { alert: &spike, receiver: &receiver, earlier, date: Timestamp(0) });
    assert_eq!(id(None), id(None));
    let mut receipt = Receipt::new(&spike.id);
    receipt.record_sent(&spike, &receiver, "x", Timestamp(1));
    assert_ne!(id(None), id(receipt.told(&receiver)));
    assert_eq!(Receiver::parse(&receiver.to_string()), Some(receiver));
}

/// Of an answer without an end the beginning says what is wrong; the letter waits for no more of it.
#[tokio::test]
async fn an_answer_without_an_end_is_read_as_far_as_it_says_something() {
    use std::io::{Read as _, Write as _};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let talk = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        assert!(client.read(&mut [0; 4096]).unwrap() > 0);
        client.write_all(b"HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\n\r\n").unwrap();
        let mut sent = 0_usize;
        while client.write_all(&[b'x'; 1024]).is_ok() {
            sent += 1024;
        }
        sent
    });
    let hook = hook::Hook::new(hook::HookSettings {
        name: "ops".to_string(),
        form: Form::Slack,
        url: url.into(),
        secret: None,
        timeout: std::time::Duration::from_secs(3),
        source: "tollgate".to_string(),
        base_url: None,
        repeat_interval_ms: 0,
        per_minute: 0,
        application: "tollgate".to_string(),
        watchdog: std::time::Duration::ZERO,
    });
    let (spike, receiver) = (sample::spike(), Receiver::Hook("ops".into()));
    let letter = Letter { alert: &spike, receiver: &receiver, earlier: None, date: spike.decided_at };
    let Err(email::SendError::Temporary { why, .. }) = hook.unwrap().send(&letter, &[]).await else { panic!("was taken") };
    assert!(why.starts_with("it answered 503 Service Unavailable: xxxxxx"), "{why}");
    // The connection is closed by a task of this thread.
    let sent = tokio::task::spawn_blocking(|| talk.join().unwrap()).await.unwrap();
    assert!(sent < 64 << 20, "it was read on");
}
