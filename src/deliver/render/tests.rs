//! What mails say, and that foreign names cannot break them.

use proptest::prelude::*;

use crate::deliver::channels::Letter;
use std::collections::BTreeMap;

use crate::deliver::answer::{Link, Signer};
use crate::deliver::channels::compose::{Sender, compose, compose_digest, header_text};
use crate::deliver::receipt::{Receipt, Told};
use crate::deliver::rules::Receiver;
use crate::model::alert::{Alert, AlertKind, AlertState, Said};
use crate::model::money::Nanos;
use crate::model::time::Timestamp;

use super::language::{Language, Languages};
use super::{Context, Rendered, Renderer, sample};

fn told_of(alert: &Alert) -> Told {
    let ada = Receiver::Mail("ada@example.com".into());
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(alert, &ada, "<first.1@example.com>", alert.decided_at);
    receipt.told(&ada).unwrap().clone()
}

fn render(alert: &Alert, earlier: Option<&Told>) -> Rendered {
    let context =
        Context { topic: "alerts", base_url: Some("https://tollgate.example.com"), earlier, answers: &[], language: Language::English };
    Renderer::new().unwrap().render(alert, &context).unwrap()
}

fn sender() -> Sender {
    let unsubscribe =
        ["mailto:off@example.com?subject=no%20alerts%20for%20{address}", "https://finops.example.com/tollgate/alerts/off?who={address}"];
    let unsubscribe = unsubscribe.map(str::to_owned).to_vec();
    Sender { unsubscribe, one_click: true, ..Sender::new("Tollgate <gate@example.com>").unwrap() }
}

fn mail(alert: &Alert, rendered: &Rendered, earlier: Option<&Told>) -> Vec<u8> {
    let receiver = Receiver::Mail("ada@example.com".into());
    let letter = Letter { alert, receiver: &receiver, earlier, date: alert.decided_at };
    compose(&sender(), &letter, rendered).unwrap().formatted()
}

/// Compares with a file of tests/data/mails; `TOLLGATE_BLESS=1` writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/data/mails/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::option_env!("TOLLGATE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{path}: TOLLGATE_BLESS=1 cargo test writes it anew");
}

#[test]
fn mails_read_as_they_should() {
    let told = told_of(&sample::spike());
    let cases = [
        ("spike", sample::spike(), None),
        ("runaway", sample::runaway(), None),
        ("resolved", sample::resolved(), Some(&told)),
        ("retracted", sample::retracted(), Some(&told)),
        ("amended", sample::amended(), Some(&told)),
    ];
    for (name, alert, earlier) in cases {
        let rendered = render(&alert, earlier);
        golden(name, &format!("Subject: {}\n\n{}", rendered.subject, rendered.text));
    }
}

fn german(alert: &Alert, earlier: Option<&Told>) -> Rendered {
    let context = Context {
        topic: "alerts",
        base_url: Some("https://tollgate.example.com"),
        earlier,
        language: Language::German,
        ..Context::default()
    };
    Renderer::new().unwrap().render(alert, &context).unwrap()
}

/// All that a German mail says is German, but for names, ids and what a policy says.
#[test]
fn german_mails_read_as_they_should() {
    let told = told_of(&sample::spike());
    let cases = [
        ("spike", sample::spike(), None),
        ("resolved", sample::resolved(), Some(&told)),
        ("retracted", sample::retracted(), Some(&told)),
        ("amended", sample::amended(), Some(&told)),
    ];
    for (name, alert, earlier) in cases {
        let rendered = german(&alert, earlier);
        golden(&format!("{name}.de"), &format!("Subject: {}\n\n{}\n\n{}", rendered.subject, rendered.text, visible(&rendered.html)));
        assert!(rendered.html.contains("<html lang=\"de\""));
    }
    let english = [" the ", " of ", " and ", " is ", "normally", "Since", "per hour", "spend ", "expected"];
    for kind in AlertKind::ALL {
        for state in [AlertState::Open, AlertState::Escalated, AlertState::Reopened, AlertState::Resolved] {
            let alert = Alert { kind, state, causes: Vec::new(), next_steps: Vec::new(), ..sample::spike() };
            let rendered = german(&alert, None);
            let said = format!("{} {} {}", rendered.subject, rendered.text, rendered.chart.map(|chart| chart.alt).unwrap_or_default());
            for word in english {
                assert!(!said.contains(word), "{}, {}: '{word}' in {said}", kind.as_str(), state.as_str());
            }
            assert!(said.contains("search") && said.contains("Nov. 2026"), "{said}");
        }
    }
}

#[test]
fn each_is_written_to_in_his_language() {
    let languages = Languages { usual: Language::English, others: vec![("*@example.de".to_string(), Language::German)] };
    let renderer = Renderer::new().unwrap().speaking(languages);
    let alert = sample::spike();
    let digest = |address: &str| {
        let receiver = Receiver::Mail(address.into());
        let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: alert.decided_at };
        let answers = vec![Signer::new(&[7; 32], "https://tollgate.example.com", 1_000).links(&letter, Language::English); 2];
        renderer.digest(&[letter, letter], &answers, None).unwrap()
    };
    let (english, german) = (digest("ada@example.com"), digest("ada@example.de"));
    assert!(english.subject == "[critical] search: 2 alerts, +624 USD" && german.subject == "[kritisch] search: 2 Meldungen, +624 USD");
    assert!(
        german.text.contains("Mehrkosten insgesamt:") && german.html.contains("Erwartet bis …") && !german.text.contains("Acknowledge")
    );
    golden("digest.de", &format!("Subject: {}\n\n{}", german.subject, without_tokens(&german.text)));
    // A template of one's own knows the language.
    let own = BTreeMap::from([("alert.txt".to_string(), "{{ language }}: {{ words.since }}".to_string())]);
    let own = Renderer::with(&own).unwrap();
    let text = |language| own.render(&alert, &Context { topic: "alerts", language, ..Context::default() }).unwrap().text;
    assert_eq!((text(Language::English), text(Language::German)), ("en: Since".to_string(), "de: Seit".to_string()));
}

/// What the key signs depends on nothing but the alert: still, nobody reads that.
fn without_tokens(text: &str) -> String {
    let mut parts = text.split("/answer/");
    let first = parts.next().unwrap_or_default().to_string();
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    first + &parts.map(|part| format!("/answer/TOKEN{}", part.trim_start_matches(is_of_token))).collect::<String>()
}

fn digest_of(alerts: &[Alert]) -> (Rendered, Vec<u8>) {
    let receiver = Receiver::Mail("ada@example.com".into());
    let letters: Vec<Letter<'_>> =
        alerts.iter().map(|alert| Letter { alert, receiver: &receiver, earlier: None, date: alerts[0].decided_at }).collect();
    let answers = Signer::new(&[7; 32], "https://tollgate.example.com", 1_000);
    let answers: Vec<Vec<Link>> = letters.iter().map(|letter| answers.links(letter, Language::English)).collect();
    let rendered = Renderer::new().unwrap().digest(&letters, &answers, Some("https://tollgate.example.com")).unwrap();
    let mail = compose_digest(&sender(), &letters, &rendered).unwrap().formatted();
    (rendered, mail)
}

#[test]
fn a_digest_names_each_alert() {
    let (rendered, mail) = digest_of(&[sample::runaway(), sample::spike(), sample::resolved()]);
    golden("digest", &format!("Subject: {}\n\n{}", rendered.subject, without_tokens(&rendered.text)));
    for alert in [sample::runaway(), sample::spike(), sample::resolved()] {
        assert!(rendered.html.contains(&alert.id.replace('/', "&#x2f;")) && rendered.text.contains(&alert.id), "{}", alert.id);
    }
    let parsed = mailparse::parse_mail(&mail).unwrap();
    let header = |name: &str| parsed.headers.iter().find(|header| header.get_key() == name).map(|header| header.get_value());
    assert_eq!((header("X-Tollgate-Alerts").as_deref(), header("In-Reply-To")), (Some("3"), None));
    assert!(header("List-Unsubscribe").unwrap().contains("off?who=ada%40example.com>"));
    let many: Vec<Alert> = (0..100).map(|number| Alert { id: format!("search/{number:032x}"), ..sample::spike() }).collect();
    let (many, _) = digest_of(&many);
    assert!(many.html.len() < 102_000, "{} bytes: Gmail would cut it off", many.html.len());
    assert!(
        (0..100).all(|number| many.html.contains(&format!("{number:032x}")) && many.text.contains(&format!("Alert: search/{number:032x}")))
    );
    let one_team = digest_of(&[sample::spike(), sample::resolved()]).0;
    assert!(one_team.subject.starts_with("[critical] search: 2 alerts, +"), "{}", one_team.subject);
    let over = digest_of(&[sample::resolved(), sample::retracted()]).0;
    assert!(over.subject.starts_with("[resolved] search: 2 alerts"), "{}", over.subject);
}

/// What a budget or a silence has as its rate is not what it costs more each hour.
#[test]
fn a_letter_has_no_rate_where_there_is_none() {
    let of = |kind| Alert { kind, burn_rate_per_hour: Nanos::from_units(77), ..sample::spike() };
    let without =
        [AlertKind::Budget, AlertKind::ProviderSilent, AlertKind::BillMismatch, AlertKind::UnseenSpend, AlertKind::DearModel].map(of);
    let (rendered, _) = digest_of(&without);
    assert!(!rendered.text.contains("per hour") && !rendered.html.contains("per hour"), "{}", rendered.text);
    for alert in &without {
        let words = super::words::preheader(alert, &super::when::zone("UTC"), Language::English);
        assert!(words.starts_with("Since ") && !words.contains("per hour"), "{words}");
    }
    let (rendered, _) = digest_of(&[of(AlertKind::Budget), of(AlertKind::SpendSpike), of(AlertKind::IdleResource)]);
    assert_eq!(rendered.text.matches("now +77.00 USD per hour").count(), 2, "{}", rendered.text);
    assert!(rendered.text.contains("+154 USD"), "{}", rendered.text);
}

#[test]
fn a_long_digest_says_first_what_matters_most() {
    let of = |team: &str, number: usize, excess: i64| Alert {
        id: format!("{team}/{number:032x}"),
        team: team.to_string(),
        excess: Nanos::from_units(excess),
        ..sample::spike()
    };
    let idle = Alert {
        kind: AlertKind::IdleResource,
        burn_rate_per_hour: Nanos::from_units(10),
        dimensions: BTreeMap::from([("resource_id".to_string(), "gpu-07".to_string())]),
        ..of("ads", 4, 80)
    };
    let over = Alert { kind: AlertKind::IdleResource, team: "ads".to_string(), excess: Nanos::from_units(5), ..sample::resolved() };
    let alerts = [of("search", 1, 300), of("search", 2, 12), of("ml", 3, -900), idle, over, of("support", 5, 7)];
    let (rendered, _) = digest_of(&alerts);
    golden("digest.week", &format!("Subject: {}\n\n{}", rendered.subject, without_tokens(&rendered.text)));
    assert!(rendered.text.contains("Could be saved a month:     7,300 USD"), "of what still stands idle alone: {}", rendered.text);
    let places = ["Top movers", "ml:", "-900 USD (1 alert)", "search:", "+312 USD (2 alerts)", "ads:", "+80.00 USD (1 alert)"]
        .map(|said| rendered.text.find(said));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {}", rendered.text);
    assert!(!rendered.text.contains("support:  ") && rendered.html.contains("Top movers"), "three are enough");
    assert!(!digest_of(&alerts[..3]).0.text.contains("Top movers"), "few enough to see");
    // What is left of a budget has not moved, another currency has no place among these, and two savings on one usage are not both to be had.
    let budget = Alert { kind: AlertKind::Budget, ..of("support", 6, -50_000) };
    let yen = Alert { currency: crate::model::money::Currency::parse("JPY").unwrap(), ..of("support", 7, 100_000) };
    let saving = |kind, number, burn: i64| Alert { kind, burn_rate_per_hour: Nanos::from_units(burn), ..of("support", number, 9_000) };
    let more = [budget, yen, saving(AlertKind::DearModel, 8, 5), saving(AlertKind::NoBatch, 9, 3)];
    let (with_more, _) = digest_of(&[&alerts[..], &more].concat());
    let section = |text: &str| text.split("Top movers").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default().to_string();
    assert_eq!(section(&with_more.text), section(&rendered.text));
    assert!(with_more.text.contains("Could be saved a month:     10,950 USD"), "7,300 and the larger of two: {}", with_more.text);
    let (one_team, _) = digest_of(&[1, 2, 3, 4].map(|number| Alert {
        dimensions: BTreeMap::from([("project".to_string(), format!("p{}", number % 2))]),
        ..of("search", number, 100)
    }));
    assert!(one_team.text.contains("+200 USD (2 alerts)"), "by place: {}", one_team.text);
}

#[test]
fn hostile_names_break_no_digest() {
    for text in [
        "a\r\nBcc: eve@example.com",
        "</td><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{ 7 * 7 }}",
        "\u{202e}gpj",
        "=?utf-8?q?=42?=",
    ] {
        // Enough of them for those that matter most to be named first, of two teams.
        let four = |text: &str| {
            let of_another = |alert: Alert| Alert { team: format!("{}-too", alert.team), ..alert };
            let (spike, runaway) = (hostile(text, sample::spike()), hostile(text, sample::runaway()));
            digest_of(&[spike.clone(), runaway.clone(), of_another(spike), of_another(runaway)])
        };
        let ((evil, mail), (harmless, _)) = (four(text), four("harmless"));
        assert_eq!(evil.html.matches('<').count(), harmless.html.matches('<').count(), "{text}");
        assert!(!evil.subject.chars().any(char::is_control) && !evil.html.contains('\u{202e}') && !evil.text.contains('\u{202e}'));
        let parsed = mailparse::parse_mail(&mail).unwrap();
        assert!(parsed.headers.iter().all(|header| header.get_key() != "Bcc"), "{text}");
    }
}

#[test]
fn templates_of_the_config_replace_built_in_ones_and_never_a_letter() {
    let with = |name: &str, text: &str| Renderer::with(&BTreeMap::from([(name.to_string(), text.to_string())]));
    let context = Context { topic: "alerts", base_url: None, earlier: None, answers: &[], language: Language::English };
    let spike = sample::spike();
    let german = with("alert.txt", "Mehrkosten {{ figures[0].value }} bei {{ alerts[0].team }}").unwrap();
    assert_eq!(german.render(&spike, &context).unwrap().text, "Mehrkosten +312.20 USD bei search");
    let built_in = Renderer::new().unwrap().render(&spike, &context).unwrap();
    assert_eq!(
        (german.render(&spike, &context).unwrap().html, built_in.text.contains("Mehrkosten")),
        (built_in.html, false),
        "the others stay"
    );
    let subject = with("subject.txt", "Kosten: {{ title }}\nBcc: eve@example.com").unwrap();
    assert!(subject.render(&spike, &context).unwrap().subject.starts_with("Kosten: search: +312 USD"));
    assert!(!subject.render(&spike, &context).unwrap().subject.contains('\n'));
    let html = with("alert.html", "<b>{{ alerts[0].team }}</b>").unwrap();
    assert_eq!(html.render(&hostile("<i>", sample::spike()), &context).unwrap().html, "<b>&lt;i&gt;</b>", "foreign names stay names");
    for (name, text, says) in [
        ("alert.html", "{{ nothing }}", "undefined"),
        ("digest.txt", "{% for %}", "syntax error"),
        ("alert.md", "", "the name of no template"),
    ] {
        let error = with(name, text).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    // It was well with the sample, and is not with this one: he is told all the same.
    let fragile = with("alert.txt", "{{ causes[0].what }}{{ causes[0].share + 0 }}").unwrap();
    let without_causes = Alert { causes: vec![], ..sample::spike() };
    assert_eq!(
        fragile.render(&without_causes, &context).unwrap().text,
        Renderer::new().unwrap().render(&without_causes, &context).unwrap().text
    );
}

/// Every field tries to be something else: a header, a tag, a link, a line of its own, right to left, very long.
#[test]
fn hostile_fields_stay_what_they_are() {
    let mut alert = sample::spike();
    alert.id = "search/x\r\nBcc: eve@example.com".to_string();
    alert.team = "\u{5d7}\u{5d9}\u{5e4}\u{5d5}\u{5e9}\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>".to_string();
    let values =
        ["=?utf-8?b?QmNjOg==?= {{ 7 * 7 }}", "\u{202e}txt.exe <img src=x onerror=alert(1)>", "\u{1f4b8}\u{1f680} \u{200b}gpt", "a\0b"];
    let names = ["project", "model", "provider", "environment"];
    alert.dimensions = names.iter().zip(values).map(|(name, value)| ((*name).to_string(), value.to_string())).collect();
    alert.summary = format!("{} https://evil.example/{}", "W".repeat(10_000), "/".repeat(100));
    alert.normal = "usually </td></tr></table><a href=\"javascript:alert(1)\">41 USD</a>".to_string();
    alert.next_steps = vec!["Z\u{301}\u{302}\u{303}\u{304}\u{305}\u{306} ".repeat(50), "1.\n2.\n-- \nfake signature".to_string()];
    alert.causes[0].dimensions.insert("user\r\nX: y".to_string(), "\u{2066}u-17\u{2069}&#x3c;b&#x3e;".to_string());
    let rendered = render(&alert, None);
    let raw = mail(&alert, &rendered, None);
    let head = String::from_utf8_lossy(&raw).split("\r\n\r\n").next().unwrap().replace("\r\n", "\n");
    golden("hostile", &format!("{head}\nSubject: {}\n\n{}\n\n{}", rendered.subject, rendered.text, visible(&rendered.html)));
    for tag in ["<script", "<img src=x", "<a href=\"javascript", "onerror=alert(1)>"] {
        assert!(!rendered.html.contains(tag), "{tag}");
    }
    assert!(head.lines().all(|line| !line.to_lowercase().starts_with("bcc")) && head.contains("Bcc"), "{head}");
}

/// HTML as its reader sees it: without tags, styles and comments, spaces as in `words`.
fn visible(html: &str) -> String {
    let body = html.split_once("<body").map_or(html, |(_, body)| body);
    let mut text = String::new();
    let mut inside = true;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    for (entity, c) in [("&#x2f;", "/"), ("&#x27;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&amp;", "&")] {
        text = text.replace(entity, c);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn text_and_html_say_the_same() {
    for alert in [sample::spike(), sample::runaway(), sample::resolved(), sample::retracted(), sample::amended()] {
        let rendered = render(&alert, None);
        let seen = visible(&rendered.html);
        let text = rendered.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let zone = super::when::zone(&alert.time_zone);
        let page = super::page::page(&alert, &Context { topic: "alerts", ..Context::default() }, None);
        let mut said = vec![page.title, page.lead, super::when::moment(alert.onset, &zone, Language::English), alert.id.clone()];
        said.extend(page.facts.into_iter().chain(page.figures).chain(page.ids).map(|fact| fact.value));
        said.extend(page.steps);
        said.extend(page.causes.into_iter().flat_map(|cause| [cause.what, cause.actual, format!("{} %", cause.share)]));
        for words in said {
            assert!(seen.contains(&words), "HTML lacks: {words}\n{seen}");
            assert!(text.contains(&words), "text lacks: {words}\n{text}");
        }
    }
}

#[test]
fn the_mail_is_what_mail_clients_expect() {
    let alert = sample::resolved();
    let told = told_of(&sample::spike());
    let rendered = render(&alert, Some(&told));
    let bytes = mail(&alert, &rendered, Some(&told));
    assert_eq!(bytes, mail(&alert, &rendered, Some(&told)), "the same letter has the same bytes");
    assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
    let parsed = mailparse::parse_mail(&bytes).unwrap();
    let header = |name: &str| parsed.headers.iter().find(|header| header.get_key() == name).map(|header| header.get_value());
    assert_eq!(header("Date").as_deref(), Some("Tue, 24 Nov 2026 17:02:00 +0000"));
    assert_eq!(header("In-Reply-To").as_deref(), Some("<first.1@example.com>"));
    assert_eq!(header("References").as_deref(), Some("<first.1@example.com>"));
    assert_eq!(header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert_eq!(header("List-Id").as_deref(), Some("Tollgate alerts <alerts.tollgate.example.com>"));
    assert_eq!(header("X-Tollgate-Alert-Id").as_deref(), Some(alert.id.as_str()));
    let off = "<mailto:off@example.com?subject=no%20alerts%20for%20ada%40example.com>, \
               <https://finops.example.com/tollgate/alerts/off?who=ada%40example.com>";
    assert_eq!(header("List-Unsubscribe").as_deref(), Some(off));
    assert_eq!(header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert!(header("Message-ID").unwrap().ends_with(".4@example.com>"), "{:?}", header("Message-ID"));
    assert_eq!(parsed.ctype.mimetype, "multipart/alternative");
    let [text, related] = parsed.subparts.as_slice() else { panic!("{} parts", parsed.subparts.len()) };
    assert_eq!(text.get_body().unwrap().replace("\r\n", "\n").trim(), rendered.text.trim());
    let [html, png] = related.subparts.as_slice() else { panic!("{} parts", related.subparts.len()) };
    let picture = rendered.chart.unwrap();
    assert!(html.get_body().unwrap().contains(&format!("cid:{}", picture.content_id)));
    assert_eq!(png.get_body_raw().unwrap(), *picture.png);
    assert!(png.headers.iter().any(|header| header.get_value() == format!("<{}>", picture.content_id)));
    for line in bytes.split(|byte| *byte == b'\n') {
        assert!(line.len() < 999 && line.is_ascii(), "{}", String::from_utf8_lossy(line));
    }
}

/// An alert in which all foreign text is the given one.
fn hostile(text: &str, alert: Alert) -> Alert {
    let named = |dimensions: &std::collections::BTreeMap<String, String>| {
        dimensions.keys().map(|key| (key.clone(), text.to_string())).chain([(text.to_string(), text.to_string())]).collect()
    };
    let causes = alert.causes.iter().map(|cause| crate::model::alert::Cause { dimensions: named(&cause.dimensions), ..cause.clone() });
    Alert {
        id: format!("{text}/5b1f"),
        incident_id: format!("{text}/77"),
        team: text.to_string(),
        dimensions: named(&alert.dimensions),
        causes: causes.collect(),
        normal: text.to_string(),
        summary: text.to_string(),
        next_steps: vec![text.to_string(); 20],
        time_zone: text.to_string(),
        history: Vec::new(),
        feedback: vec![Said {
            verdict: text.to_string(),
            actor: Some(text.to_string()),
            source: text.to_string(),
            said_at: Timestamp(0),
            from: None,
            until: None,
            note: Some(text.to_string()),
        }],
        ..alert
    }
}

/// Tags and headers of a mail with harmless names are the measure for one with hostile names.
fn check_unbroken(text: &str, base: Alert) {
    let alert = hostile(text, base.clone());
    for write in [render, german] {
        check_unbroken_by(text, &alert, &base, write);
    }
}

fn check_unbroken_by(text: &str, alert: &Alert, base: &Alert, write: fn(&Alert, Option<&Told>) -> Rendered) {
    let rendered = write(alert, None);
    let harmless = write(&hostile("harmless", base.clone()), None);
    assert!(!rendered.subject.chars().any(char::is_control), "{:?}", rendered.subject);
    let tags = |html: &str| html.matches('<').count();
    assert_eq!(tags(&rendered.html) - absent_parts(&rendered), tags(&harmless.html) - absent_parts(&harmless), "{}", rendered.html);
    let bytes = mail(alert, &rendered, None);
    let parsed = mailparse::parse_mail(&bytes).unwrap();
    let names: Vec<String> = parsed.headers.iter().map(|header| header.get_key()).collect();
    let parsed_harmless = mail(alert, &harmless, None);
    let parsed_harmless = mailparse::parse_mail(&parsed_harmless).unwrap();
    let expected: Vec<String> = parsed_harmless.headers.iter().map(|header| header.get_key()).collect();
    assert_eq!(names, expected);
    let subject = parsed.headers.iter().find(|header| header.get_key() == "Subject").unwrap().get_value();
    assert_eq!(subject, header_text(&rendered.subject, 150), "{text}");
    for line in bytes.split(|byte| *byte == b'\n') {
        assert!(line.len() < 999, "{} bytes in a line", line.len());
    }
}

/// Tags of list entries that are left out because nothing visible is left of their text.
fn absent_parts(rendered: &Rendered) -> usize {
    rendered.html.matches("<tr>").count() * 6
}

#[test]
fn hostile_names_break_nothing() {
    let long = "x".repeat(20_000);
    let cases = [
        "search\r\nBcc: eve@example.com\r\n\r\n<b>hi</b>",
        "</td></table><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{ 7 * 7 }}{% raw %}",
        "חיפוש \u{202e}gpj.exe",
        "Z\u{300}\u{301}\u{302}\u{303}\u{304}",
        "=?utf-8?q?=42cc=3A?= <a@b>",
        "\u{1F9D1}\u{200D}\u{1F680} team",
        &long,
    ];
    for text in cases {
        for alert in [sample::spike(), sample::runaway(), sample::amended()] {
            check_unbroken(text, alert);
        }
    }
    let rendered = render(&hostile("{{ 7 * 7 }}", sample::spike()), None);
    assert!(rendered.text.contains("{{ 7 * 7 }}") && !rendered.text.contains("49"), "foreign text is no template");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_name_breaks_a_mail(text in "[ -~a-z]{1,30}|.{1,60}|(\\PC|[\r\n\t\u{0}-\u{9f}\u{202a}-\u{202e}<>&\"'=?:@]){1,400}") {
        // Letters around it, so that something visible is left of it.
        check_unbroken(&format!("a{text}b"), sample::spike());
    }
}

#[test]
fn numbers_at_their_limits_are_shown() {
    let huge = crate::model::money::Nanos(1_000_000_000_000_000_000_000_000_000);
    let alert = Alert {
        actual: huge,
        excess: huge,
        burn_rate_per_hour: crate::model::money::Nanos(-huge.0),
        unexplained: f64::NAN,
        onset: Timestamp(i64::MIN),
        event_time: Timestamp(i64::MAX),
        ..sample::spike()
    };
    assert!(render(&alert, None).subject.contains("+1,000,000,000,000,000,000 USD"));
}
