//! People answer an alert: by the links in a mail, on the page behind them, and on the command line. What they say is a feedback event.

use std::time::Duration;

use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value, json};
use tollgate::model::wire::{SchemaName, confluent_unframe, schema};

use super::hooks::Hooks;
use super::parts::{Smtp, SmtpOptions, consume, produce, wait_for};
use super::path::Deployment;

const LIMIT: Duration = Duration::from_secs(60);
pub(super) const BASE: &str = "https://gate.example.com";

fn deployment(name: &str, smtp: &Smtp, more: &str) -> Deployment {
    Deployment::new(name, smtp, &format!("[answers]\nkey_file = 'answers.key'\nbase_url = '{BASE}'\n{more}"))
}

/// An alert as watch would write it.
fn raise(deployment: &Deployment) -> Value {
    let alert: Value = serde_json::from_str(include_str!("../data/alerts/spike.json")).unwrap();
    let headers = json!({"content-type": "application/json"});
    let line = json!({"topic": deployment.topic("alerts"), "key": alert["id"], "headers": headers, "value_json": alert});
    produce(deployment.broker.bootstrap(), &[line]);
    alert
}

/// Paths of the links in a text, in their order.
pub(super) fn links(text: &str) -> Vec<String> {
    let is_of_link = |c: char| c.is_ascii_alphanumeric() || "-_?/".contains(c);
    let begin = format!("{BASE}/answer/");
    text.match_indices(&begin).map(|(at, _)| text[at + BASE.len()..].chars().take_while(|c| is_of_link(*c)).collect()).collect()
}

pub(super) fn post(deployment: &Deployment, path: &str, form: &str) -> (u16, String) {
    let length = form.len();
    deployment.ask(&format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    ))
}

fn said(deployment: &Deployment) -> Vec<Value> {
    consume(deployment.broker.bootstrap(), &deployment.topic("feedback")).iter().map(|record| record.json()).collect()
}

#[test]
fn a_link_leads_to_a_page_and_its_form_to_an_event() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let hooks = Hooks::start("");
    let hook = format!("[[webhook]]\nname = 'ops'\nform = 'slack'\nurl = '{}'\n", hooks.url("/chat"));
    let route = "[[route]]\nreceivers = ['oncall@example.com', 'hook:ops']\n";
    let deployment = deployment("answers", &smtp, &format!("{hook}{route}"));
    let _process = deployment.start();
    let alert = raise(&deployment);

    let mails = smtp.wait_for_mails(1, LIMIT);
    let mail = mailparse::parse_mail(&mails[0].raw).unwrap();
    let in_mail = links(&mail.subparts[0].get_body().unwrap());
    let in_html = links(&mail.subparts[1].subparts[0].get_body().unwrap().replace("&#x2f;", "/"));
    assert_eq!((in_mail.len(), &in_mail), (3, &in_html), "the same in text and HTML");
    let card = wait_for("the card", LIMIT, || hooks.requests().into_iter().next());
    let in_card = links(card["body"].as_str().unwrap());
    assert_eq!(in_card.len(), 3);

    // Whoever only looks does nothing.
    let (status, page) = deployment.get(&in_mail[1]);
    assert!(status == 200 && page.contains("search: +312 USD") && page.contains("oncall@example.com"), "{page}");
    assert!(page.contains("value=\"expected\" required checked"), "the link says which answer: {page}");
    assert_eq!(deployment.get(&in_mail[0]).0, 200);
    assert_eq!(said(&deployment), [Value::Null; 0]);

    let once = page.split("name=\"once\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = format!("verdict=expected&for=7d&note=backfill+of+%3Cranker%3E&once={once}");
    let (status, page) = post(&deployment, &in_mail[1], &form);
    assert!(status == 200 && page.contains("Noted") && page.contains("&lt;ranker&gt;") && !page.contains("<ranker>"), "{status} {page}");
    assert_eq!(post(&deployment, &in_mail[1], &form).0, 200);
    let events = said(&deployment);
    assert_eq!((events.len(), &events[0]["event_id"]), (2, &events[1]["event_id"]), "sent twice, it is one answer");
    let event = &events[0];
    assert_eq!((&event["alert_id"], &event["verdict"], &event["actor"]), (&alert["id"], &json!("expected"), &json!("oncall@example.com")));
    let ms = |field: &str| tollgate::model::time::Timestamp::parse(event[field].as_str().unwrap()).unwrap().0;
    assert_eq!(ms("until") - ms("event_time"), 7 * 86_400_000);
    assert_eq!((&event["note"], &event["source"]), (&json!("backfill of <ranker>"), &json!("page")));

    // A card is seen by many: it asks who answers.
    assert_eq!(post(&deployment, &in_card[0], "verdict=ack&once=1").0, 400);
    assert_eq!(post(&deployment, &in_card[0], "verdict=ack&once=1&name=Mara").0, 200);
    assert_eq!(said(&deployment)[2]["actor"], "Mara (hook:ops)");
    // What is not signed by us says nothing, and no page is a way in.
    let forged = in_mail[0].replace("/answer/A", "/answer/B");
    assert_eq!((deployment.get(&forged).0, post(&deployment, &forged, "verdict=ack").0), (404, 404));
    assert_eq!(said(&deployment).len(), 3);
}

#[test]
fn the_command_line_answers_too_and_in_avro_where_outputs_are() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = deployment("answers-cli", &smtp, "");
    raise(&deployment);
    let quiet = ["--log-level", "error"];
    let answer = |words: &[&str]| deployment.command(&[&["alerts"], words, &quiet[..]].concat());
    assert!(answer(&["ack", "search/5b1f", "--by", "ada"]).contains(" ack: written to "));
    answer(&["expect", "search/", "--until", "4h", "--note", "launch", "--by", "ada"]);
    let verdicts: Vec<(Value, Value)> = said(&deployment).iter().map(|event| (event["verdict"].clone(), event["note"].clone())).collect();
    // Of one alert, so in one partition, in their order.
    assert_eq!(verdicts, [(json!("ack"), Value::Null), (json!("expected"), json!("launch"))]);

    // Taken back, by the beginning of its id; of another one there is nothing to take back.
    assert!(answer(&["reopen", "search/5b1f", "--by", "ada"]).contains(" reopen: written to "));
    let reopened = said(&deployment).pop().unwrap();
    assert_eq!((&reopened["verdict"], &reopened["actor"]), (&json!("reopen"), &json!("ada")));
    assert_eq!(reopened["alert_id"], "search/5b1f0c3a9d2e47f8a6c4be1093d7e215");
    // A change that nobody has seen yet: of the team, or of a part of it, from when until when.
    let planned = ["plan", "search", "--only", "model=gpt-4o", "--only", "environment=prod", "--note", "reindexing", "--by", "ada"];
    let times = ["--from", "2026-12-01T22:00:00Z", "--until", "2026-12-02T06:00:00Z"];
    assert!(answer(&[&planned[..], &times].concat()).contains("written to "));
    let plan = said(&deployment).into_iter().find(|event| event["verdict"] == "planned").unwrap();
    assert_eq!(
        (&plan["team"], &plan["note"], plan.get("alert_id").unwrap_or(&Value::Null)),
        (&json!("search"), &json!("reindexing"), &Value::Null)
    );
    assert_eq!(plan["dimensions"], json!({"model": "gpt-4o", "environment": "prod"}));
    let of = |field: &str| tollgate::model::time::Timestamp::parse(plan[field].as_str().unwrap()).unwrap().to_string();
    assert_eq!((of("from"), of("until")), ("2026-12-01T22:00:00Z".to_owned(), "2026-12-02T06:00:00Z".to_owned()));
    let before = said(&deployment).len();
    for (words, code_of, says) in [
        (&["reopen", "ads/"][..], 1, "there is no alert 'ads/'"),
        (&["plan", "search", "--only", "colour=red", "--until", "2d"], 2, "write one of project, model"),
        (&["plan", "search", "--from", "2026-12-02T06:00:00Z", "--until", "2026-12-01T22:00:00Z"], 2, "over before it begins"),
    ] {
        let (code, output) = deployment.attempt(&[&["alerts"], words, &quiet[..]].concat());
        assert!(code == Some(code_of) && output.contains(says), "{words:?}: {code:?} {output}");
    }
    assert_eq!(said(&deployment).len(), before, "nothing is written of what cannot be meant");

    let text = std::fs::read_to_string(&deployment.config).unwrap();
    let avro = "[alerts]\nformat = 'avro'\n[schemas.ids]\n7 = 'alert'\n8 = 'spend_rollup'\n9 = 'feedback'\n";
    std::fs::write(&deployment.config, format!("{text}\n{avro}")).unwrap();
    answer(&["not-an-anomaly", "search/", "--by", "ada"]);
    let records = consume(deployment.broker.bootstrap(), &deployment.topic("feedback"));
    // What is said of a team need not be in the partition of its alert: there is no last one.
    let of_avro: Vec<_> = records.iter().filter(|record| record.headers["content-type"].as_deref() == Some("application/avro")).collect();
    let [record] = of_avro[..] else { panic!("{} events in Avro", of_avro.len()) };
    let bytes = record.value.clone().map_or_else(|| decoded(record.value_base64.as_deref().unwrap()), String::into_bytes);
    let (id, payload) = confluent_unframe(&bytes).unwrap();
    let reader = GenericDatumReader::builder(&schema(SchemaName::Feedback).avro).build().unwrap();
    let event = reader.read_value(&mut &payload[..]).unwrap();
    let event = format!("{event:?}");
    assert!(id == 9 && event.contains("String(\"not_an_anomaly\")") && event.contains("String(\"ada\")"), "{event}");
}

/// Base64 of the Java reader.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = text.bytes().filter_map(|digit| DIGITS.iter().position(|known| *known == digit));
    let mut bytes = Vec::new();
    while let (Some(a), Some(b)) = (bits.next(), bits.next()) {
        let (c, d) = (bits.next(), bits.next());
        let word = a << 18 | b << 12 | c.unwrap_or(0) << 6 | d.unwrap_or(0);
        let whole = [(word >> 16) as u8, (word >> 8) as u8, word as u8];
        bytes.extend_from_slice(&whole[..1 + usize::from(c.is_some()) + usize::from(d.is_some())]);
    }
    bytes
}
