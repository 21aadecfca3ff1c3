//! What stays open is told again, as another mail of the same conversation, also across a restart.

use std::time::Duration;

use super::parts::{Smtp, SmtpOptions, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(60);

fn headers(mail: &[u8]) -> [String; 3] {
    let parsed = mailparse::parse_mail(mail).unwrap();
    let value =
        |name: &str| parsed.headers.iter().find(|header| header.get_key() == name).map(|header| header.get_value()).unwrap_or_default();
    ["Subject", "Message-ID", "In-Reply-To"].map(value)
}

#[test]
fn an_open_alert_is_mailed_again() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("repeat", &smtp, "repeat_interval = '2s'");
    let mut process = deployment.start();
    deployment.produce_usage(&[usage("wild", now_ms() - 60_000, "search", "eve", "300")]);
    let mails = smtp.wait_for_mails(2, LIMIT);
    let [first, second] = [headers(&mails[0].raw), headers(&mails[1].raw)];
    assert!(!first[0].contains("still open") && first[2].is_empty(), "{first:?}");
    assert!(second[0].contains("still open"), "{second:?}");
    assert_ne!(first[1], second[1], "another mail");
    assert_eq!(second[2], first[1], "of the same conversation");
    // Counted once the server's answer is there, which is after the mail is.
    wait_for("both mails to be counted", LIMIT, || (deployment.metric("tollgate_mails_total") >= 2).then_some(()));

    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
    let before = smtp.mails().len();
    let _process = deployment.start();
    let third = wait_for("a mail after the restart", LIMIT, || smtp.mails().get(before).map(|mail| headers(&mail.raw)));
    assert!(third[0].contains("still open"), "{third:?}");
    assert_eq!(third[2], first[1]);
    assert_eq!(deployment.newest("alerts").len(), 1);
}
