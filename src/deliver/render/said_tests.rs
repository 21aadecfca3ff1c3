//! What mails say of answers, of their times, and of money that is none.

use crate::deliver::channels::Letter;
use crate::deliver::receipt::is_closed;
use crate::deliver::rules::Receiver;
use crate::deliver::violation::as_alert;
use crate::model::alert::{Alert, AlertKind, AlertState, POLICY, Said, Severity};
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::model::violation::{ENDED, Violation};

use super::language::Language;
use super::{Context, Rendered, Renderer, sample, when, words};

fn render(alert: &Alert, language: Language) -> Rendered {
    let context = Context { topic: "alerts", language, ..Context::default() };
    Renderer::new().unwrap().render(alert, &context).unwrap()
}

fn said(verdict: &str, said_at: Timestamp, from: Option<Timestamp>, until: Option<Timestamp>) -> Said {
    let (verdict, actor, source) = (verdict.to_string(), Some("bob".to_string()), "page".to_string());
    Said { verdict, actor, source, said_at, from, until, note: None }
}

/// A spike that somebody calls normal while its hour runs.
fn dismissed() -> Alert {
    let spike = sample::spike();
    let until = Some(spike.decided_at.plus_ms(28 * DAY_MS));
    let word = said("not_an_anomaly", spike.decided_at, None, until);
    Alert { state: AlertState::Resolved, closed_at: Some(spike.decided_at), feedback: vec![word], ..spike }
}

fn violation() -> Alert {
    let dimensions = [(POLICY.to_string(), "approved-provider".to_string())].into();
    let (actual, excess) = (Nanos::ZERO, Nanos::ZERO);
    Alert { kind: AlertKind::PolicyViolation, id: "search/v".into(), dimensions, actual, excess, ..sample::spike() }
}

#[test]
fn times_of_answers_have_a_date_where_the_weekday_is_not_enough() {
    let now = sample::spike().decided_at;
    let zone = when::zone("Europe/Berlin");
    let answered = |said: &Said, language| words::answered(said, AlertKind::SpendSpike, now, &zone, language);
    let word = said("not_an_anomaly", now, None, Some(now.plus_ms(28 * DAY_MS)));
    assert_eq!(answered(&word, Language::English), "bob says that it is no anomaly, until Tue 22 Dec, 14:14, as of Tue 14:14");
    let planned = said("planned", now, Some(now.plus_ms(2 * DAY_MS)), Some(now.plus_ms(40 * DAY_MS)));
    assert_eq!(answered(&planned, Language::English), "bob expects it, from Thu 14:14 until Sun 3 Jan 2027, 14:14, as of Tue 14:14");
    assert_eq!(answered(&planned, Language::German), "bob erwartet es so, von Do 14:14 bis So 3. Jan. 2027, 14:14, Stand Di 14:14");
    let soon = said("expected", now, None, Some(now.plus_ms(4 * HOUR_MS)));
    assert_eq!(answered(&soon, Language::English), "bob expects it, until Tue 18:14, as of Tue 14:14");
}

#[test]
fn what_somebody_calls_no_anomaly_is_none() {
    let alert = dismissed();
    assert!(is_closed(&alert) && alert.provisional);
    let english = render(&alert, Language::English);
    assert_eq!(english.subject, "[resolved] search: no anomaly, says bob (ranker / gpt-4o)");
    assert!(
        english.text.contains("bob says that this is no anomaly") && english.text.contains("until Tue 22 Dec, 14:14"),
        "{}",
        english.text
    );
    for wrong in ["back to normal", "Extra in all", "the hour is still running"] {
        assert!(!english.text.contains(wrong) && !english.html.contains(wrong), "{wrong}: {}", english.text);
    }
    let german = render(&alert, Language::German);
    assert!(german.subject.contains("keine Anomalie, sagt bob") && german.text.contains("bob sagt, dass das keine Anomalie ist"));
    let ack = Alert { feedback: vec![said("ack", alert.decided_at, None, None)], ..alert };
    assert!(render(&ack, Language::English).subject.contains("back to normal"));
}

#[test]
fn a_violation_without_money_has_no_figure_of_it() {
    let without = render(&violation(), Language::English).text;
    assert!(!without.contains("Spent so far") && !without.contains("0.00"), "{without}");
    let with = render(&Alert { actual: Nanos::from_units(3), ..violation() }, Language::English).text;
    assert!(with.contains("Spent so far") && with.contains("3.00 USD"), "{with}");
}

#[test]
fn the_end_of_a_violation_says_why() {
    let example = include_str!("../../../schemas/examples/violation/valid/accepted_for_a_week.json");
    let mut violation = crate::model::wire::violation_from_json(example.as_bytes()).unwrap();
    (violation.state, violation.closed_at) = (AlertState::Resolved, Some(violation.decided_at));
    let mail = |violation: &Violation, language| {
        let Rendered { subject, text, .. } = render(&as_alert(violation), language);
        (subject, text)
    };
    let (subject, text) = mail(&violation, Language::English);
    assert!(subject.contains("no longer violates") && text.matches("no longer violates").count() == 1, "{text}");
    assert!(text.contains("It is over; there is nothing to do."), "{text}");
    violation.evidence.insert(ENDED.to_string(), "the policy is gone".to_string());
    let (_, text) = mail(&violation, Language::English);
    assert!(text.contains("It is over: the policy is gone.") && text.matches("the policy is gone").count() == 1, "{text}");
    assert!(mail(&violation, Language::German).1.contains("Es ist vorbei: the policy is gone."));
}

#[test]
fn a_digest_counts_the_extra_of_what_is_open() {
    let violation = Alert { actual: Nanos::from_units(9_000), excess: Nanos::from_units(9_000), ..violation() };
    let over = |alert: Alert| Alert { excess: Nanos::from_units(5_000), ..alert };
    let subject = |alerts: &[Alert]| {
        let receiver = Receiver::Mail("ada@example.com".into());
        let letter = |alert| Letter { alert, receiver: &receiver, earlier: None, date: Timestamp(0) };
        let letters: Vec<Letter<'_>> = alerts.iter().map(letter).collect();
        Renderer::new().unwrap().digest(&letters, &[], None).unwrap().subject
    };
    let closed = [over(sample::resolved()), over(sample::retracted()), over(dismissed())];
    let light = Alert { severity: Severity::Warning, ..sample::spike() };
    let all = [vec![violation.clone(), light], closed.to_vec()].concat();
    assert_eq!(subject(&all), "[critical] search: 5 alerts, +312 USD");
    assert_eq!(subject(&closed), "[resolved] search: 3 alerts, +5,000 USD", "of what was something");
    assert_eq!(subject(&[violation.clone(), violation]), "[critical] search: 2 alerts");
}
