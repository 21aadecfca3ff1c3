//! The mail server under our tests is strict, and fails when it is told to.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::parts::{Smtp, SmtpOptions, test_ca};

#[tokio::test]
async fn accepts_over_tls_with_the_right_password_only() {
    let server = Smtp::start(&SmtpOptions::default());
    let refused = mailer(&server, "wrong", true).send(message("no")).await.unwrap_err();
    assert!(refused.to_string().contains("535"), "{refused}");
    let plain = mailer(&server, "correct horse", false).send(message("no")).await.unwrap_err();
    assert!(plain.is_permanent() || plain.is_client(), "{plain:?}");
    mailer(&server, "correct horse", true).send(message("yes")).await.unwrap();

    let mails = server.wait_for_mails(1, Duration::from_secs(5));
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].from.as_str(), mails[0].to.as_slice()), ("gate@example.com", &["ada@example.com".into()][..]));
    assert_eq!((mails[0].tls, mails[0].user.as_deref()), (true, Some("tollgate")));
    let parsed = mailparse::parse_mail(&mails[0].raw).unwrap();
    assert_eq!(parsed.get_body().unwrap().trim_end(), "yes");
}

#[tokio::test]
async fn misbehaves_as_scripted() {
    let server = Smtp::start(&SmtpOptions::default());
    server.script(&["451 4.3.0 later", "rcpt 550 5.1.1 unknown", "lost", "cut"]);
    let mailer = mailer(&server, "correct horse", true);
    let later = mailer.send(message("1")).await.unwrap_err();
    assert!(later.is_transient(), "{later:?}");
    let unknown = mailer.send(message("2")).await.unwrap_err();
    assert!(unknown.is_permanent(), "{unknown:?}");
    for text in ["kept, and yet no answer", "nothing kept"] {
        let cut = mailer.send(message(text)).await.unwrap_err();
        assert!(!cut.is_permanent() && !cut.is_transient(), "{cut:?}");
    }
    mailer.send(message("5")).await.unwrap();

    let bodies: Vec<String> =
        server.mails().iter().map(|mail| mailparse::parse_mail(&mail.raw).unwrap().get_body().unwrap().trim_end().to_owned()).collect();
    assert_eq!(bodies, ["kept, and yet no answer", "5"]);
}

fn message(text: &str) -> Message {
    let builder = Message::builder().from("gate@example.com".parse().unwrap()).to("ada@example.com".parse().unwrap());
    builder.subject("a test").body(text.to_owned()).unwrap()
}

fn mailer(server: &Smtp, password: &str, tls: bool) -> AsyncSmtpTransport<Tokio1Executor> {
    let ca = Certificate::from_pem(&std::fs::read(&test_ca().ca).unwrap()).unwrap();
    let parameters = TlsParameters::builder("localhost".into()).add_root_certificate(ca).build_rustls().unwrap();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(server.port)
        .tls(if tls { Tls::Required(parameters) } else { Tls::None })
        .credentials(Credentials::new("tollgate".into(), password.into()))
        .timeout(Some(Duration::from_secs(10)))
        .build()
}
