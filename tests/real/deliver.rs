//! Mails of alerts go out by real SMTP, and each way to fail is told apart.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use tollgate::deliver::channels::compose::Sender;
use tollgate::deliver::channels::email::{MailSettingsError, Mailer, SendError};
use tollgate::deliver::channels::folder::Folder;
use tollgate::deliver::channels::{Channel, Letter};
use tollgate::deliver::receipt::Receipt;
use tollgate::deliver::render::{Context, Renderer};
use tollgate::deliver::rules::{MailSettings, Receiver, Tls};
use tollgate::model::alert::Alert;

use super::parts::{Smtp, SmtpOptions, SmtpTls, test_ca};

fn settings(server: &Smtp) -> MailSettings {
    MailSettings {
        host: "localhost".into(),
        port: server.port,
        tls: Tls::StartTls,
        ca_file: Some(std::fs::read(&test_ca().ca).unwrap()),
        username: Some("tollgate".into()),
        password: Some(SecretString::from("correct horse")),
        from: "Tollgate <gate@example.com>".into(),
        unsubscribe: vec!["mailto:off@example.com?subject={address}".into(), "https://example.com/off?who={address}".into()],
        one_click: true,
        timeout: Duration::from_secs(10),
    }
}

fn alert(name: &str) -> Alert {
    let path = format!("{}/tests/data/alerts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ada() -> Receiver {
    Receiver::Mail("ada@example.com".into())
}

async fn send(channel: &Channel, alert: &Alert, receipt: &Receipt) -> Result<String, SendError> {
    let receiver = ada();
    let earlier = receipt.told(&receiver);
    let context = Context { topic: "alerts", base_url: Some("https://tollgate.example.com"), earlier, answers: &[], ..Context::default() };
    let rendered = Renderer::new().unwrap().render(alert, &context).unwrap();
    channel.send(&Letter { alert, receiver: &receiver, earlier, date: alert.decided_at }, &rendered).await
}

async fn send_once(settings: &MailSettings) -> Result<String, SendError> {
    let alert = alert("spike");
    send(&Channel::Smtp(Mailer::new(settings).unwrap()), &alert, &Receipt::new(&alert.id)).await
}

#[tokio::test]
async fn an_alert_and_its_end_are_one_conversation() {
    let server = Smtp::start(&SmtpOptions::default());
    let channel = Channel::Smtp(Mailer::new(&settings(&server)).unwrap());
    let (spike, resolved) = (alert("spike"), alert("resolved"));
    let mut receipt = Receipt::new(&spike.id);
    for alert in [&spike, &resolved] {
        let id = send(&channel, alert, &receipt).await.unwrap();
        receipt.record_sent(alert, &ada(), &id, alert.decided_at);
    }

    let mails = server.wait_for_mails(2, Duration::from_secs(5));
    assert!(mails.iter().all(|mail| mail.tls && mail.user.as_deref() == Some("tollgate") && mail.to == ["ada@example.com"]));
    let parsed: Vec<_> = mails.iter().map(|mail| mailparse::parse_mail(&mail.raw).unwrap()).collect();
    let header = |mail: usize, name: &str| {
        let found = parsed[mail].headers.iter().find(|header| header.get_key() == name);
        found.map(|header| header.get_value()).unwrap_or_default()
    };
    assert_eq!(header(0, "Subject"), "[critical] search: +312 USD in 14 min, 9x normal (ranker / gpt-4o)");
    assert_eq!(header(1, "Subject"), "[resolved] search: back to normal, cost 812 USD extra (ranker / gpt-4o)");
    assert_eq!(header(0, "In-Reply-To"), "");
    assert_eq!(header(1, "In-Reply-To"), header(0, "Message-ID"));
    assert_eq!(header(1, "References"), header(0, "Message-ID"));
    assert_eq!(header(0, "Date"), "Tue, 24 Nov 2026 13:14:06 +0000");
    assert!(mails.iter().all(|mail| mail.raw.len() < 100_000));
}

#[tokio::test]
async fn tls_from_the_first_byte_and_none_at_all() {
    let server = Smtp::start(&SmtpOptions { tls: SmtpTls::Implicit, ..SmtpOptions::default() });
    send_once(&MailSettings { tls: Tls::Implicit, ..settings(&server) }).await.unwrap();
    assert!(server.wait_for_mails(1, Duration::from_secs(5))[0].tls);

    let server = Smtp::start(&SmtpOptions { tls: SmtpTls::None, login: None });
    let open = MailSettings { tls: Tls::None, username: None, password: None, ca_file: None, ..settings(&server) };
    send_once(&open).await.unwrap();
    assert!(!server.wait_for_mails(1, Duration::from_secs(5))[0].tls);
    // A server without STARTTLS gets nothing from one who insists on it.
    let refused = send_once(&MailSettings { port: server.port, ..settings(&server) }).await.unwrap_err();
    assert!(matches!(&refused, SendError::Settings { why, .. } if why.contains("STARTTLS")), "{refused:?}");
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn each_failure_says_what_to_do() {
    let server = Smtp::start(&SmtpOptions::default());
    let good = settings(&server);
    let at = format!("localhost:{}", server.port);

    let wrong = MailSettings { password: Some(SecretString::from("battery staple")), ..good.clone() };
    let refused = send_once(&wrong).await.unwrap_err();
    assert!(matches!(&refused, SendError::Settings { why, .. } if why.contains("refused the login (535)")), "{refused:?}");
    assert!(refused.to_string().contains(&at) && !refused.to_string().contains("battery"), "{refused}");
    assert!(refused.is_worth_retrying(), "an operator may correct it");

    let untrusted = send_once(&MailSettings { ca_file: None, ..good.clone() }).await.unwrap_err();
    assert!(matches!(untrusted, SendError::Settings { .. }), "{untrusted:?}");
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");

    server.script(&["451 4.3.0 mailbox busy", "rcpt 550 5.1.1 no such user", "554 5.7.1 looks like spam"]);
    let later = send_once(&good).await.unwrap_err();
    assert!(matches!(&later, SendError::Temporary { why, .. } if why.contains("mailbox busy")), "{later:?}");
    let unknown = send_once(&good).await.unwrap_err();
    assert!(matches!(&unknown, SendError::Permanent { code: 550, why, .. } if why.contains("no such user")), "{unknown:?}");
    assert!(!unknown.is_worth_retrying());
    let spam = send_once(&good).await.unwrap_err();
    assert!(matches!(spam, SendError::Permanent { code: 554, .. }), "{spam:?}");

    let mut server = server;
    server.stop();
    let gone = send_once(&good).await.unwrap_err();
    assert!(matches!(&gone, SendError::Temporary { why, .. } if why.to_lowercase().contains("refused")), "{gone:?}");
}

#[tokio::test]
async fn a_stalling_server_is_left_in_time() {
    let server = Smtp::start(&SmtpOptions::default());
    let hasty = MailSettings { timeout: Duration::from_millis(1_500), ..settings(&server) };
    server.script(&["stall 20", "ok"]);
    let start = Instant::now();
    let late = send_once(&hasty).await.unwrap_err();
    assert!(matches!(late, SendError::TimedOut { stage: "handing over the mail", .. }), "{late:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    send_once(&hasty).await.unwrap();

    // One that takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let start = Instant::now();
    let late = send_once(&MailSettings { host: "127.0.0.1".into(), port, ..hasty }).await.unwrap_err();
    assert!(matches!(late, SendError::TimedOut { stage: "connecting", .. }), "{late:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// The answer to a mail that was kept may get lost: the next attempt carries the same Message-ID.
#[tokio::test]
async fn a_second_attempt_has_the_id_of_the_first() {
    let server = Smtp::start(&SmtpOptions::default());
    server.script(&["lost"]);
    let lost = send_once(&settings(&server)).await.unwrap_err();
    assert!(lost.is_worth_retrying(), "{lost:?}");
    let id = send_once(&settings(&server)).await.unwrap();
    let mails = server.wait_for_mails(2, Duration::from_secs(5));
    for mail in &mails {
        assert!(String::from_utf8_lossy(&mail.raw).contains(&format!("Message-ID: {id}")));
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let server = Smtp::start(&SmtpOptions { tls: SmtpTls::None, login: None });
    let good = settings(&server);
    let refused = |settings: MailSettings| Mailer::new(&settings).err().expect("refused");
    let clear = MailSettings { host: "mail.example.com".into(), tls: Tls::None, ..good.clone() };
    assert!(matches!(refused(clear), MailSettingsError::PasswordInTheClear));
    assert!(matches!(refused(MailSettings { password: None, ..good.clone() }), MailSettingsError::HalfALogin));
    assert!(matches!(refused(MailSettings { from: "nobody".into(), ..good.clone() }), MailSettingsError::From(_)));
    for pem in ["", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"] {
        let error = refused(MailSettings { ca_file: Some(pem.into()), ..good.clone() });
        assert!(matches!(error, MailSettingsError::CaFile(_) | MailSettingsError::Tls(_)), "{error}");
    }
}

#[tokio::test]
async fn a_folder_takes_mails_too() {
    let folder = tempfile::tempdir().unwrap();
    let channel = Channel::Folder(Folder::new(folder.path(), Sender::new("gate@example.com").unwrap()));
    let alert = Alert { team: "../../etc".into(), ..alert("spike") };
    for _ in 0..2 {
        send(&channel, &alert, &Receipt::new(&alert.id)).await.unwrap();
    }
    let mut names: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("20261124T131406Z-------etc-1-open-") && names[0].ends_with(".eml"), "{names:?}");
    let html = std::fs::read_to_string(folder.path().join(&names[1])).unwrap();
    assert!(html.contains("data:image/png;base64,iVBOR") && !html.contains("cid:"));
}

/// What no mail would get through is found before the first alert that nobody is told of.
#[test]
fn check_tries_what_a_mail_would_meet() {
    let server = Smtp::start(&SmtpOptions { tls: SmtpTls::Starttls, login: Some(("tollgate", "correct horse")) });
    let deployment = super::path::Deployment::new("mailcheck", &server, "");
    let right = std::fs::read_to_string(&deployment.config).unwrap();
    let with = |change: &[(&str, &str)]| {
        let text = change.iter().fold(right.clone(), |text, (old, new)| text.replace(old, new));
        std::fs::write(&deployment.config, text).unwrap();
        deployment.attempt(&["check"])
    };
    let (code, said) = with(&[]);
    assert!(code == Some(0) && said.contains(", takes the login"), "{said}");
    let password = deployment.config.with_file_name("password");
    std::fs::write(&password, "wrong horse\n").unwrap();
    let (code, said) = with(&[]);
    assert!(code != Some(0) && said.contains("it refused the login (535)"), "{said}");
    std::fs::write(&password, "correct horse\n").unwrap();
    let (code, said) = with(&[("username = \"tollgate\"", ""), ("password_file = \"password\"", "")]);
    assert!(code != Some(0) && said.contains("it answered 530"), "{said}");
    assert!(server.mails().is_empty());
    let plain = Smtp::start(&SmtpOptions { tls: SmtpTls::None, login: None });
    let (code, said) = with(&[(&format!("port = {}", server.port), &format!("port = {}", plain.port))]);
    assert!(code != Some(0) && said.contains("it does not offer STARTTLS"), "{said}");
}
