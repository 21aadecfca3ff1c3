//! The mail server under our tests is strict, and fails when it is told to.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::hooks::Hooks;
use super::parts::{Smtp, SmtpOptions, kafka, test_ca};
use super::path::Deployment;

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

/// Somebody wants to see a mail before the first alert.
#[test]
fn a_test_alert_goes_out_and_the_answer_is_told() {
    let server = Smtp::start(&SmtpOptions::default());
    let hooks = Hooks::start("secret");
    let hook = format!("[[webhook]]\nname = 'ops'\nform = 'cloudevents'\nurl = '{}'\nsecret = 'secret'\n", hooks.url("/alerts"));
    // There is no Kafka at this address.
    let deployment = Deployment::bare("trial", kafka(), &Deployment::mail(&server, &hook));
    let text = std::fs::read_to_string(&deployment.config).unwrap().replace(kafka().bootstrap(), "127.0.0.1:1");
    std::fs::write(&deployment.config, text).unwrap();

    let told = deployment.command(&["mail", "test", "ada@example.com", "hook:ops"]);
    assert!(told.contains(&format!("localhost:{} took the mail for ada@example.com, and answers: 250 ", server.port)), "{told}");
    assert!(told.contains("webhook 'ops' took the alert"), "{told}");
    let mails = server.wait_for_mails(1, Duration::from_secs(5));
    assert_eq!((mails[0].to.as_slice(), mails[0].tls, mails.len()), (&["ada@example.com".to_string()][..], true, 1));
    let parsed = mailparse::parse_mail(&mails[0].raw).unwrap();
    let header = |name: &str| parsed.headers.iter().find(|header| header.get_key() == name).unwrap().get_value();
    assert!(header("Subject").contains("tollgate-test") && told.contains(&header("Message-ID")), "{} {told}", header("Subject"));
    let text = parsed.parts().find(|part| part.ctype.mimetype == "text/plain").unwrap().get_body().unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("This is a test, nothing has happened.") && text.contains("`tollgate mail test`"), "{text}");
    assert!(hooks.requests()[0].to_string().contains("tollgate-test/"), "{:?}", hooks.requests());

    server.script(&["rcpt 550 5.1.1 unknown", "451 4.3.0 later"]);
    for said in ["refused it for good (550): permanent error (550): 5.1.1 unknown", "4.3.0 later"] {
        let (code, told) = deployment.attempt(&["mail", "test", "bob@example.com"]);
        assert!(code == Some(1) && told.contains("no test alert for bob@example.com: ") && told.contains(said), "{code:?} {told}");
    }
    let (code, told) = deployment.attempt(&["mail", "test", "hook:opps"]);
    assert!(code == Some(1) && told.contains("the config has no [[webhook]] of that name; it has 'ops'"), "{told}");
    let (code, told) = deployment.attempt(&["mail", "test", "nobody"]);
    assert!(code == Some(1) && told.contains("'nobody' is not a mail address"), "{told}");
    assert_eq!(server.mails().len(), 1);
    let wrong = std::fs::read_to_string(&deployment.config).unwrap().replace("password_file = \"password\"", "password = \"wrong\"");
    std::fs::write(&deployment.config, wrong).unwrap();
    let (code, told) = deployment.attempt(&["mail", "test", "ada@example.com"]);
    assert!(code == Some(1) && told.contains("it refused the login (535)"), "{told}");
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
