//! The page behind the links in mails and cards. Looking at it does nothing, so that scanners of links do nothing; its form writes one
//! feedback event.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use minijinja::{AutoEscape, Environment};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;

use super::answer::{Asked, Refusal, Signer};
use super::answer_words::{meaning, said};
use super::feedback::{ANSWERS, About, FeedbackEvent, FeedbackTopic, Writer};
use super::render::Renderer;
use super::render::clean::{clean, name, within};
use super::render::language::Language;
use super::render::when;
use crate::clock;
use crate::intake::LONGEST_TEXT;
use crate::model::feedback::Verdict;
use crate::model::hash::hash128;
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};

const PAGE: &str = include_str!("templates/answer.html");
const LONGEST_NAME: usize = 200;
const LONGEST_NOTE: usize = 1_000;
const LONGEST_SUBJECT: usize = 300;
const LARGEST_FORM: usize = 16 * 1024;

/// How long something may be expected: name in the form, what it is called in English and German, milliseconds.
const SPANS: [(&str, [&str; 2], i64); 6] = [
    ("4h", ["4 hours", "4 Stunden"], 4 * HOUR_MS),
    ("1d", ["1 day", "1 Tag"], DAY_MS),
    ("3d", ["3 days", "3 Tage"], 3 * DAY_MS),
    ("7d", ["a week", "eine Woche"], 7 * DAY_MS),
    ("30d", ["30 days", "30 Tage"], 30 * DAY_MS),
    ("90d", ["90 days", "90 Tage"], 90 * DAY_MS),
];
const USUAL_SPAN: &str = "1d";

/// Reads links, shows the page, writes what people answer.
pub struct Answers {
    signer: Arc<Signer>,
    writer: Writer,
    /// Knows who is written to in which language.
    renderer: Arc<Renderer>,
}

#[derive(Default, Serialize)]
struct Page {
    /// Its code: `en`, `de`.
    language: &'static str,
    title: String,
    subject: String,
    lines: Vec<String>,
    form: Option<Form>,
    small: String,
    nonce: String,
}

#[derive(Serialize)]
struct Form {
    choices: Vec<Choice>,
    spans: Vec<Choice>,
    /// What stands at the parts of the form; the spans': what they are asked for.
    answer_label: &'static str,
    span_label: &'static str,
    name_label: &'static str,
    note_label: &'static str,
    send_label: &'static str,
    asks_name: bool,
    /// Of this showing of the page: sent twice, it is one answer.
    once: String,
}

#[derive(Serialize)]
struct Choice {
    value: &'static str,
    label: &'static str,
    means: &'static str,
    chosen: bool,
}

/// What the form sends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    verdict: String,
    span: String,
    name: String,
    note: String,
    once: String,
}

/// `/answer/...`.
pub fn router(answers: Arc<Answers>) -> Router {
    let page = get(ask).post(answer);
    Router::new().route("/answer/{token}", page).layer(DefaultBodyLimit::max(LARGEST_FORM)).with_state(answers)
}

async fn ask(State(answers): State<Arc<Answers>>, address: Uri) -> Response {
    answers.ask(&address, clock::now())
}

/// In a thread of its own: it waits for Kafka.
async fn answer(State(answers): State<Arc<Answers>>, address: Uri, body: Bytes) -> Response {
    let answered = tokio::task::spawn_blocking(move || answers.answer(&address, &body, clock::now())).await;
    answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Answers {
    pub fn new(signer: Arc<Signer>, topic: FeedbackTopic, renderer: Arc<Renderer>) -> Answers {
        Answers { signer, writer: Writer::new(topic), renderer }
    }

    /// That of the mail which the link came with; chats are English.
    fn language(&self, asked: &Asked) -> Language {
        address_of(asked).map_or(Language::English, |address| self.renderer.language_of(address))
    }

    /// The page that asks; changes nothing.
    pub fn ask(&self, address: &Uri, now: Timestamp) -> Response {
        let asked = match self.read(address, now) {
            Ok(asked) => asked,
            Err(refused) => return *refused,
        };
        let language = self.language(&asked);
        let ends = when::moment(asked.ends, &when::zone(&asked.time_zone), language);
        let who = address_of(&asked).map(|address| name(&clean(address, LONGEST_NAME), LONGEST_NAME));
        let small = match (language, who) {
            (Language::English, who) => format!(
                "This link was made for {} and can be used until {ends}. Nothing happens before you send the answer.",
                who.as_deref().unwrap_or("you")
            ),
            (Language::German, who) => format!(
                "Dieser Link ist für {} und gilt bis {ends}. Es geschieht nichts, bevor Sie die Antwort senden.",
                who.as_deref().unwrap_or("Sie")
            ),
        };
        let title = match asked.about {
            About::Violation => language.pick("Answer this violation", "Auf diesen Verstoß antworten"),
            About::Spend | About::Matter => language.pick("Answer this alert", "Auf diese Meldung antworten"),
        };
        let subject = clean(&asked.subject, LONGEST_SUBJECT);
        let form = Some(form(&asked, address.query().and_then(answer_named), language));
        respond(StatusCode::OK, Page { language: language.code(), title: title.to_string(), subject, form, small, ..Page::default() })
    }

    /// Writes the answer; blocks until Kafka has it.
    pub fn answer(&self, address: &Uri, body: &[u8], now: Timestamp) -> Response {
        let asked = match self.read(address, now) {
            Ok(asked) => asked,
            Err(refused) => return *refused,
        };
        let (sent, language) = (Sent::read(body), self.language(&asked));
        let feedback = match feedback(&asked, &sent, now) {
            Ok(feedback) => feedback,
            Err([english, german]) => {
                let title = language.pick("This answer is not complete", "Diese Antwort ist nicht vollständig");
                return problem(StatusCode::BAD_REQUEST, title, language.pick(english, german), language);
            }
        };
        if let Err(error) = self.writer.write(&feedback) {
            tracing::error!(alert = asked.alert_id, error = format!("{error:#}"), "answer not written");
            let what = language.pick(
                "Your answer could not be written down. Go back and send it again in a minute; sent twice it counts once.",
                "Ihre Antwort konnte nicht festgehalten werden. Gehen Sie zurück und senden Sie sie in einer Minute noch einmal; zweimal \
                 gesendet zählt sie einmal.",
            );
            return problem(StatusCode::SERVICE_UNAVAILABLE, language.pick("Not now", "Gerade nicht"), what, language);
        }
        tracing::info!(alert = asked.alert_id, verdict = feedback.verdict, actor = feedback.actor, "answered");
        let mut lines = vec![told(&sent, &feedback, &asked, language)];
        let note = language.pick("Your note", "Ihre Notiz");
        lines.extend(feedback.note.as_ref().map(|said| format!("{note}: {}", name(said, LONGEST_NOTE))));
        let small = language.pick(
            "You may close this page. A later answer replaces this one.",
            "Sie können diese Seite schließen. Eine spätere Antwort ersetzt diese.",
        );
        let (subject, title) = (clean(&asked.subject, LONGEST_SUBJECT), language.pick("Noted, thank you", "Notiert, danke"));
        let page =
            Page { language: language.code(), title: title.to_string(), subject, lines, small: small.to_string(), ..Page::default() };
        respond(StatusCode::OK, page)
    }

    fn read(&self, address: &Uri, now: Timestamp) -> Result<Asked, Box<Response>> {
        let token = address.path().strip_prefix("/answer/").unwrap_or_default();
        self.signer.read(token, now).map_err(|refusal| {
            Box::new(match refusal {
                Refusal::Forged => {
                    let what = "This is no link of ours, or a part of it got lost. Open it from the mail or card once more.";
                    problem(StatusCode::NOT_FOUND, "Not a link of ours", what, Language::English)
                }
                Refusal::Ended(at) => {
                    let at = when::moment(at, &when::zone("UTC"), Language::English);
                    let what =
                        format!("It could be used until {at}. Answer by a newer mail, or: tollgate alerts ack, tollgate violations ack");
                    problem(StatusCode::GONE, "This link has ended", &what, Language::English)
                }
            })
        })
    }
}

/// The mail address that the link was sent to; cards in a chat are seen by many.
fn address_of(asked: &Asked) -> Option<&str> {
    asked.receiver.strip_prefix("mail:")
}

fn form(asked: &Asked, chosen: Option<Verdict>, language: Language) -> Form {
    let choice = |verdict: Verdict| Choice {
        value: verdict.name(),
        label: said(verdict, asked.about, language),
        means: meaning(verdict, asked.about, language),
        chosen: Some(verdict) == chosen,
    };
    let span = |(value, [english, german], _): (&'static str, [&'static str; 2], i64)| Choice {
        value,
        label: language.pick(english, german),
        means: "",
        chosen: value == USUAL_SPAN,
    };
    let span_label = match asked.about {
        About::Violation => language.pick("Accepted for (with \"accepted\" only)", "Akzeptiert für (nur bei „akzeptiert“)"),
        About::Spend | About::Matter => language.pick("Expected for (with \"expected\" only)", "Erwartet für (nur bei „erwartet“)"),
    };
    Form {
        choices: ANSWERS.map(choice).into(),
        spans: SPANS.map(span).into(),
        answer_label: language.pick("Your answer", "Ihre Antwort"),
        span_label,
        name_label: language.pick("Your name or address", "Ihr Name oder Ihre Adresse"),
        note_label: language.pick("A note, if you like: what is it?", "Eine Notiz, wenn Sie möchten: Was ist es?"),
        send_label: language.pick("Send this answer", "Antwort senden"),
        asks_name: address_of(asked).is_none(),
        once: random(),
    }
}

/// # Errors
/// What is missing, for people, in English and German.
fn feedback(asked: &Asked, sent: &Sent, now: Timestamp) -> Result<FeedbackEvent, [&'static str; 2]> {
    let verdict = answer_named(&sent.verdict).ok_or(["Choose one of the answers.", "Wählen Sie eine der Antworten."])?;
    let written = clean(&sent.name, LONGEST_NAME);
    let actor = match address_of(asked) {
        Some(address) => address.to_string(),
        None if written.is_empty() => {
            return Err(["Say who you are: others will want to ask you.", "Sagen Sie, wer Sie sind: Andere werden Sie fragen wollen."]);
        }
        None => format!("{written} ({})", asked.receiver),
    };
    let until = match verdict {
        Verdict::Expected => {
            let span = SPANS.iter().find(|(value, ..)| *value == sent.span);
            let (.., ms) = span.ok_or(["Say for how long it is expected.", "Sagen Sie, für wie lange es erwartet ist."])?;
            Some(now.plus_ms(*ms))
        }
        Verdict::Ack | Verdict::NotAnAnomaly | Verdict::Planned | Verdict::Reopen => None,
    };
    // The link is part of it: nobody can take up another one's answer.
    let id = hash128(&[asked.alert_id.as_bytes(), asked.receiver.as_bytes(), sent.once.as_bytes()]);
    // Longer ones go to dead-letter, and with them the answer.
    let note = within(clean(&sent.note, LONGEST_NOTE), LONGEST_TEXT);
    Ok(FeedbackEvent {
        actor: Some(within(actor, LONGEST_TEXT)),
        until,
        note: Some(note).filter(|note| !note.is_empty()),
        ..FeedbackEvent::about_alert(format!("answer-{id:032x}"), "page", now, &asked.alert_id, verdict)
    })
}

/// `None`: no word of ours, or none that a letter can be answered with.
fn answer_named(word: &str) -> Option<Verdict> {
    Verdict::named(word).filter(|verdict| ANSWERS.contains(verdict))
}

fn told(sent: &Sent, feedback: &FeedbackEvent, asked: &Asked, language: Language) -> String {
    let who = name(feedback.actor.as_deref().unwrap_or_default(), LONGEST_NAME);
    let what = answer_named(&sent.verdict).map(|verdict| said(verdict, asked.about, language)).unwrap_or_default();
    let until = feedback.until.map(|until| when::moment(until, &when::zone(&asked.time_zone), language));
    let until = until.map(|until| format!(", {} {until}", language.pick("until", "bis"))).unwrap_or_default();
    format!("{who} {}: {what}{until}.", language.pick("says", "sagt"))
}

fn problem(status: StatusCode, title: &str, what: &str, language: Language) -> Response {
    respond(status, Page { language: language.code(), title: title.to_string(), lines: vec![what.to_string()], ..Page::default() })
}

/// Nothing from elsewhere, in no frame, in no cache, and no address of it told to anybody: the address is the permission.
fn respond(status: StatusCode, mut page: Page) -> Response {
    page.nonce = random();
    let policy =
        format!("default-src 'none'; style-src 'nonce-{}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'", page.nonce);
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    let html = match templates.render_named_str("answer.html", PAGE, minijinja::value::Serde(&page)) {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "page not rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, html).into_response()
}

/// 128 bits, in hexadecimal.
fn random() -> String {
    let mut bytes = [0_u8; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // No reason to refuse an answer: sent twice, it is two.
        tracing::warn!("the system has no random numbers");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sent {
    /// `application/x-www-form-urlencoded`; what it does not know is passed over.
    fn read(body: &[u8]) -> Sent {
        let mut sent = Sent::default();
        for pair in body.split(|byte| *byte == b'&') {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (key, value) = (halves.next().unwrap_or_default(), decoded(halves.next().unwrap_or_default()));
            match key {
                b"verdict" => sent.verdict = value,
                b"for" => sent.span = value,
                b"name" => sent.name = value,
                b"note" => sent.note = value,
                b"once" => sent.once = value,
                _ => {}
            }
        }
        sent
    }
}

fn decoded(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::channels::Letter;
    use crate::deliver::render::language::Languages;
    use crate::deliver::render::sample;
    use crate::deliver::rules::Receiver;
    use crate::intake::decode::table::WriterSchemas;
    use crate::intake::whole::{self, WholeOutcome};
    use crate::kafka::client::Connection;
    use crate::model::partial::ShardEvent;
    use crate::model::record::InputRecord;
    use crate::model::wire::{self, OutputForm, SchemaName};
    use crate::runtime::schemas;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn asked(receiver: &str) -> Asked {
        let subject = "[critical] search: +312 USD".to_string();
        let time_zone = "Europe/Berlin".to_string();
        let ends = NOW.plus_ms(DAY_MS);
        Asked { alert_id: "search/1".to_string(), receiver: receiver.to_string(), subject, time_zone, ends, about: About::Spend }
    }

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let sent = Sent::read(b"verdict=expected&for=7d&note=100+%25+%C3%A4%0D%0Aok&once=ab&x=y&name");
        let expected =
            Sent { verdict: "expected".into(), span: "7d".into(), note: "100 % ä\r\nok".into(), once: "ab".into(), ..Sent::default() };
        assert_eq!(sent, expected);
        assert_eq!(
            (decoded(b"%"), decoded(b"%4"), decoded(b"%zz"), decoded(b"%FF")),
            ("%".into(), "%4".into(), "%zz".into(), "\u{fffd}".into())
        );
    }

    #[test]
    fn the_page_is_german_where_the_mail_was() {
        let texts = |about: About, language: Language| {
            let asked = Asked { about, ..asked("hook:ops") };
            let form = form(&asked, None, language);
            let sent = Sent { verdict: "expected".into(), span: "7d".into(), name: "Mara".into(), ..Sent::default() };
            let told = told(&sent, &feedback(&asked, &sent, NOW).unwrap(), &asked, language);
            let labels = [form.answer_label, form.span_label, form.name_label, form.note_label, form.send_label];
            let choices = form.choices.iter().chain(&form.spans).flat_map(|choice| [choice.label, choice.means]);
            labels.into_iter().chain(choices).map(str::to_string).chain([told]).collect::<Vec<_>>()
        };
        for about in [About::Spend, About::Violation, About::Matter] {
            let both = texts(about, Language::English).into_iter().zip(texts(about, Language::German));
            for (english, german) in both.filter(|(english, _)| !english.is_empty()) {
                assert_ne!(english, german);
            }
        }
        let told = texts(About::Violation, Language::German).pop().unwrap();
        assert_eq!(told, "Mara (hook:ops) sagt: Es ist akzeptiert, für eine Weile, bis Di 21. Nov. 2023, 23:13 MEZ (22:13 UTC).");
    }

    #[test]
    fn a_link_from_a_german_mail_leads_to_a_german_page() {
        let languages = Languages { usual: Language::English, others: vec![("*@example.de".to_string(), Language::German)] };
        let renderer = Arc::new(Renderer::new().unwrap().speaking(languages));
        let signer = Arc::new(Signer::new(&[7; 32], "https://tollgate.example.com", DAY_MS));
        let topic = FeedbackTopic {
            connection: Connection::default(),
            topic: "feedback".to_string(),
            form: OutputForm::Json,
            schemas: schemas::Source::default(),
            schema_id: None,
        };
        let answers = Answers::new(Arc::clone(&signer), topic, Arc::clone(&renderer));
        let page = |address: &str| {
            let (alert, receiver) = (sample::spike(), Receiver::Mail(address.into()));
            let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: NOW };
            let link = signer.links(&letter, renderer.language_of(address)).remove(0);
            let response = answers.ask(&link.url.parse().unwrap(), NOW);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let bytes = runtime.block_on(axum::body::to_bytes(response.into_body(), LARGEST_FORM)).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let (english, german) = (page("ada@example.com"), page("ada@example.de"));
        assert!(
            english.contains("<html lang=\"en\">") && english.contains("Send this answer") && english.contains("[critical]"),
            "{english}"
        );
        let page = ["form:has(input[value=expected]:checked) label.span", "value=\"expected\"", "<label class=\"field span\">Expected"];
        page.iter().for_each(|part| assert!(english.contains(part), "{part} is not in {english}"));
        assert!(german.contains("<html lang=\"de\">") && german.contains("Antwort senden") && german.contains("[kritisch]"), "{german}");
    }

    /// A note is as long as the form lets it be, in whatever script, and so are names of people and of chats.
    #[test]
    fn whatever_is_written_gets_through_intake() {
        let rules = crate::config::load_text("", "", std::path::Path::new(""), std::iter::empty()).unwrap().intake;
        let sent = Sent { verdict: "ack".into(), name: "漢".repeat(200), note: "漢".repeat(1_000), ..Sent::default() };
        for receiver in ["hook:ops".to_string(), format!("hook:{}", "ö".repeat(300)), format!("mail:{}@example.com", "ä".repeat(600))] {
            let answer = feedback(&asked(&receiver), &sent, NOW).unwrap();
            let value = wire::to_json(SchemaName::Feedback, &answer).unwrap();
            let record =
                InputRecord { topic: "feedback", partition: 0, offset: 0, timestamp: NOW, key: None, value: Some(&value), headers: &[] };
            let outcome = whole::process(whole::Topic::Feedback, &record, NOW, &rules, &WriterSchemas::new(whole::Topic::Feedback.table()));
            let WholeOutcome::Accepted(ShardEvent::Feedback(read)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((read.note.as_deref(), read.actor.as_deref()), (answer.note.as_deref(), answer.actor.as_deref()));
            assert!(answer.note.is_some_and(|note| note.starts_with("漢漢") && note.ends_with("漢…") && note.len() > 1_000));
        }
    }

    #[test]
    fn an_answer_says_who_what_and_until_when() {
        let sent = Sent {
            verdict: "expected".into(),
            span: "7d".into(),
            once: "1".into(),
            note: " backfill\n\u{202e}x ".into(),
            ..Sent::default()
        };
        let of_mail = feedback(&asked("mail:ada@example.com"), &sent, NOW).unwrap();
        assert_eq!((of_mail.actor.as_deref(), of_mail.verdict.as_deref()), (Some("ada@example.com"), Some("expected")));
        assert_eq!((of_mail.until, of_mail.note.as_deref()), (Some(NOW.plus_ms(7 * DAY_MS)), Some("backfill x")));
        assert_eq!(feedback(&asked("mail:ada@example.com"), &sent, NOW.plus_ms(9)).unwrap().event_id, of_mail.event_id, "sent twice");
        assert_ne!(feedback(&asked("mail:bob@example.com"), &sent, NOW).unwrap().event_id, of_mail.event_id);
        let named = Sent { name: "Mara".into(), verdict: "ack".into(), ..Sent::default() };
        let of_chat = feedback(&asked("hook:ops"), &named, NOW).unwrap();
        assert_eq!((of_chat.actor.as_deref(), of_chat.until), (Some("Mara (hook:ops)"), None));
        for (receiver, sent, says) in [
            ("mail:a@x", Sent::default(), "Choose one"),
            ("mail:a@x", Sent { verdict: "expected".into(), span: "99d".into(), ..Sent::default() }, "for how long"),
            ("hook:ops", Sent { verdict: "ack".into(), name: " ".into(), ..Sent::default() }, "who you are"),
        ] {
            assert!(feedback(&asked(receiver), &sent, NOW).unwrap_err()[0].contains(says));
        }
    }
}
