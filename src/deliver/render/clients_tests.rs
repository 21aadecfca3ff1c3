//! Whether mail clients show our HTML: each tag and each property of a mail is held against a recorded table of what they leave out.

use std::collections::{BTreeMap, BTreeSet};

use super::language::Language;
use super::{Context, Renderer, sample};
use crate::deliver::answer::Signer;
use crate::deliver::channels::Letter;
use crate::deliver::channels::compose::{Sender, compose};
use crate::deliver::rules::Receiver;
use crate::model::alert::{Alert, AlertKind};

/// What may be missing somewhere, and what is seen there.
const MAY_BE_MISSING: [(&str, &str); 13] = [
    ("css-border-radius", "square corners"),
    ("css-color-scheme", "light as it is"),
    ("css-height", "the coloured bar is as high as its line"),
    ("css-max-height", "the preview text is hidden by display"),
    ("css-opacity", "the preview text is hidden by display"),
    ("css-overflow", "the preview text is hidden by display"),
    ("css-table-layout", "columns as wide as their text"),
    ("css-white-space", "a link may break between its words"),
    ("css-word-break", "word-wrap breaks long names"),
    ("css-word-wrap", "word-break breaks long names"),
    ("css-at-media", "as on a wide screen"),
    ("css-at-media-prefers-color-scheme", "light as it is"),
    ("html-body", "the outer table has the same background"),
];
/// Shown everywhere since CSS 1, or meant for one client; the table has no row of them.
const PLAIN: [&str; 9] = [
    "css-border-color",
    "css-border-left",
    "css-border-right",
    "css-border-top",
    "css-color",
    "css-font-family",
    "css-padding-left",
    "css-padding-right",
    "css-supported-color-schemes",
];
const TAGS: [&str; 18] =
    ["a", "b", "body", "br", "div", "h1", "h2", "head", "html", "img", "meta", "p", "span", "style", "table", "td", "title", "tr"];

/// By feature, the clients that leave it out.
fn table() -> BTreeMap<String, String> {
    let text = include_str!("../../../tests/data/mail_clients/features.tsv");
    let rows = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    rows.map(|(feature, without)| (feature.to_owned(), without.to_owned())).collect()
}

fn between<'h>(html: &'h str, start: &str, end: &str) -> Vec<&'h str> {
    html.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
}

/// Names of what a mail asks a client to understand.
fn features(html: &str) -> BTreeSet<String> {
    let sheets = between(html, "<style>", "</style>");
    let rules = sheets.iter().flat_map(|sheet| between(sheet, "{", "}"));
    let declarations = between(html, "style=\"", "\"").into_iter().chain(rules).flat_map(|block| block.split(';'));
    // A rule that stands within another one begins with its selector.
    let properties = declarations.filter_map(|text| Some(text.rsplit('{').next()?.split_once(':')?.0.trim()));
    let mut found: BTreeSet<String> = properties.filter(|name| !name.is_empty()).map(|name| format!("css-{name}")).collect();
    for query in sheets.iter().flat_map(|sheet| between(sheet, "@", "{")) {
        let feature = if query.contains("prefers-color-scheme") { "css-at-media-prefers-color-scheme" } else { "css-at-media" };
        assert!(query.starts_with("media"), "@{query}");
        found.insert(feature.to_owned());
    }
    for tag in html.split('<').skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())) {
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(TAGS.contains(&name.as_str()), "<{name}>");
        found.insert(format!("html-{name}"));
    }
    found
}

fn mails() -> Vec<String> {
    let signer = Signer::new(&[7; 32], "https://tollgate.example.com", 1_000);
    let receiver = Receiver::Mail("ada@example.com".into());
    let renderer = Renderer::new().unwrap();
    let idle = Alert { kind: AlertKind::IdleResource, ..sample::spike() };
    let alerts = [sample::spike(), sample::runaway(), sample::resolved(), sample::amended(), sample::retracted(), idle];
    let letter = |alert| Letter { alert, receiver: &receiver, earlier: None, date: sample::spike().decided_at };
    let mut mails = Vec::new();
    for language in [Language::English, Language::German] {
        let answers: Vec<_> = alerts.iter().map(|alert| signer.links(&letter(alert), language)).collect();
        for (alert, answers) in alerts.iter().zip(&answers) {
            let base_url = Some("https://tollgate.example.com");
            let context = Context { topic: "alerts", base_url, answers, language, ..Context::default() };
            mails.push(renderer.render(alert, &context).unwrap().html);
        }
        let letters: Vec<_> = alerts.iter().map(letter).collect();
        mails.push(renderer.digest(&letters, &answers, Some("https://tollgate.example.com")).unwrap().html);
    }
    mails
}

#[test]
fn what_a_mail_needs_is_shown_by_every_client() {
    let (table, mails) = (table(), mails());
    assert!(table.len() > 250 && table["css-position"].contains("gmail"), "the table was read");
    let used: BTreeSet<String> = mails.iter().flat_map(|html| features(html)).collect();
    for feature in &used {
        let without = table.get(feature).map(String::as_str);
        let is_known = without.is_some() || PLAIN.contains(&feature.as_str()) || feature.starts_with("html-");
        assert!(is_known, "{feature}: nothing is known of it");
        let is_missed = without.is_some_and(|without| !without.is_empty());
        let may = MAY_BE_MISSING.iter().any(|(known, _)| known == feature);
        assert_eq!(is_missed, may, "{feature} is missing in: {}", without.unwrap_or_default());
    }
    let unused: Vec<_> =
        MAY_BE_MISSING.iter().map(|(feature, _)| *feature).chain(PLAIN).filter(|feature| !used.contains(*feature)).collect();
    assert_eq!(unused, Vec::<&str>::new(), "listed, and in no mail");
}

#[test]
fn a_mail_loads_nothing_and_reads_without_pictures_and_styles() {
    for html in mails() {
        for foreign in
            ["url(", "<script", "<form", "<link", "<svg", "@import", "@font-face", "javascript:", "src=\"http", "position:", "float:"]
        {
            assert!(!html.contains(foreign), "{foreign}");
        }
        for image in between(&html, "<img ", ">") {
            assert!(image.contains("src=\"cid:") && image.contains("width=\""), "{image}");
            assert!(!between(image, "alt=\"", "\"")[0].is_empty(), "{image}: what is to be read where pictures are blocked");
        }
        for table in between(&html, "<table ", ">") {
            assert!(table.contains("role=\"presentation\""), "{table}: a reader aloud would count its rows and columns");
        }
        // Gmail forgets a sheet of more than 8,192 characters, and cuts a mail of more than 102 kB.
        assert!(between(&html, "<style>", "</style>").iter().all(|sheet| sheet.len() < 8_192) && html.len() < 102_000, "{}", html.len());
    }
}

/// A relay signs what it is given (RFC 6376, 5.3): a mail that needs no other encoding on its way is still the same when it is verified.
#[test]
fn a_mail_can_be_signed_as_it_is() {
    let sender = Sender::new("Tollgate <gate@example.com>").unwrap();
    let receiver = Receiver::Mail("ada@example.com".into());
    let hostile = Alert { team: "Zoë\r\n.\nBcc: x@example.com\0".repeat(50), ..sample::spike() };
    for alert in [sample::spike(), sample::resolved(), hostile] {
        let rendered = Renderer::new().unwrap().render(&alert, &Context { topic: "alerts", ..Context::default() }).unwrap();
        let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: alert.decided_at };
        let mail = compose(&sender, &letter, &rendered).unwrap().formatted();
        assert!(mail.is_ascii() && !mail.contains(&0), "seven bits");
        let text = String::from_utf8(mail).unwrap();
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "no bare line feed");
        assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "no bare carriage return");
        // RFC 5321, 4.5.3.1.6.
        assert!(text.lines().all(|line| line.len() <= 998), "a line that a server would break");
        let head = text.split("\r\n\r\n").next().unwrap();
        for name in ["From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type"] {
            let lines = head.lines().filter(|line| line.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())));
            assert_eq!(lines.count(), 1, "{name} in {head}");
        }
    }
}
