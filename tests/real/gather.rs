//! Many alerts, few letters: a storm comes as a digest that names each alert once, and a parent speaks for its children.

use std::collections::BTreeMap;
use std::time::Duration;

use mailparse::MailHeaderMap as _;
use serde_json::{Value, json};

use super::parts::{Mail, Smtp, SmtpOptions, consume, produce, wait_for};
use super::path::Deployment;

const LIMIT: Duration = Duration::from_secs(120);
const ALERTS: usize = 60;
const STORM: usize = 5;

/// An alert as watch would write it.
fn alert(team: &str, number: usize) -> Value {
    let mut alert: Value = serde_json::from_str(include_str!("../data/alerts/spike.json")).unwrap();
    alert["id"] = json!(format!("{team}/{number:032x}"));
    alert["incident_id"] = alert["id"].clone();
    alert["team"] = json!(team);
    alert["history"] = json!([]);
    alert
}

fn raise(deployment: &Deployment, alerts: &[Value]) {
    let headers = json!({"content-type": "application/json"});
    let line = |alert: &Value| json!({"topic": deployment.topic("alerts"), "key": alert["id"], "headers": headers, "value_json": alert});
    produce(deployment.broker.bootstrap(), &alerts.iter().map(line).collect::<Vec<_>>());
}

fn header(mail: &Mail, name: &str) -> Option<String> {
    mailparse::parse_mail(&mail.raw).unwrap().headers.get_first_value(name)
}

/// Ids of the alerts that a mail is about.
fn named(mail: &Mail) -> Vec<String> {
    if let Some(id) = header(mail, "X-Tollgate-Alert-Id") {
        return vec![id];
    }
    let text = mailparse::parse_mail(&mail.raw).unwrap().subparts[0].get_body().unwrap();
    text.lines().filter_map(|line| line.trim().strip_prefix("Alert: ").map(str::to_owned)).collect()
}

/// How often each alert was named, and the mails.
fn told(smtp: &Smtp) -> (BTreeMap<String, usize>, Vec<Mail>) {
    let (mails, mut told) = (smtp.mails(), BTreeMap::new());
    for id in mails.iter().flat_map(named) {
        *told.entry(id).or_default() += 1;
    }
    (told, mails)
}

/// Until the receipts say of so many alerts that they were told.
fn wait_until_noted(deployment: &Deployment, count: usize) {
    wait_for("the last receipts", LIMIT, || {
        let receipts = consume(deployment.broker.bootstrap(), &deployment.topic(&format!("{}app-receipts-changelog", deployment.prefix)));
        let newest: BTreeMap<_, _> = receipts.iter().map(|receipt| (receipt.key.clone(), receipt.json())).collect();
        let has_told = |receipt: &&Value| receipt["receivers"]["mail:oncall@example.com"]["told"].is_object();
        (newest.values().filter(has_told).count() == count).then_some(())
    });
}

/// The server has a digest, we have no answer yet, and die: it comes again, as the same mail, and nothing else does.
#[test]
fn a_kill_in_the_middle_of_a_digest_repeats_that_digest_only() {
    const EACH: usize = 12;
    let smtp = Smtp::start(&SmtpOptions::default());
    let route = "[[route]]\nreceivers = ['oncall@example.com']\ngroup_wait = '3s'\n";
    let deployment = Deployment::new("digest-kill", &smtp, route);
    let mut process = deployment.start_with(&["--only", "deliver"]);
    let of = |team: &str| (0..EACH).map(|number| alert(team, number)).collect::<Vec<_>>();
    raise(&deployment, &of("search"));
    wait_until_noted(&deployment, EACH);
    smtp.script(&["kept 600"]);
    raise(&deployment, &of("ads"));
    smtp.wait_for_mails(2, LIMIT);
    process.kill9();

    let _process = deployment.start_with(&["--only", "deliver"]);
    wait_until_noted(&deployment, 2 * EACH);
    let mails = smtp.mails();
    let ids: Vec<String> = mails.iter().map(|mail| header(mail, "Message-ID").unwrap()).collect();
    assert_eq!((ids.len(), &ids[1], ids[0] != ids[1]), (3, &ids[2], true), "the second one, again, as itself");
    let mut all: Vec<String> = mails[..2].iter().flat_map(named).collect();
    all.sort_unstable();
    let mut raised: Vec<String> =
        ["ads", "search"].iter().flat_map(|team| of(team)).map(|alert| alert["id"].as_str().unwrap().to_owned()).collect();
    raised.sort_unstable();
    assert_eq!(all, raised, "each once, none lost");
    assert_eq!(named(&mails[1]), named(&mails[2]));
}

#[test]
fn a_storm_becomes_digests_and_a_parent_speaks_for_its_children() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("gather", &smtp, &format!("storm = {STORM}\nstorm_wait = '2s'\n"));
    let mut process = deployment.start_with(&["--only", "deliver"]);
    raise(&deployment, &(0..ALERTS).map(|number| alert("search", number)).collect::<Vec<_>>());
    let mails = wait_for("all alerts to be named", LIMIT, || Some(told(&smtp)).filter(|(told, _)| told.len() == ALERTS)).1;
    let (digests, single): (Vec<&Mail>, Vec<&Mail>) = mails.iter().partition(|mail| header(mail, "X-Tollgate-Alerts").is_some());
    assert!(single.len() == STORM && (1..=4).contains(&digests.len()), "{} alone, {} digests", single.len(), digests.len());
    for digest in &digests {
        assert_eq!(header(digest, "X-Tollgate-Alerts"), Some(named(digest).len().to_string()), "each by its name");
    }

    wait_until_noted(&deployment, ALERTS);
    // A restart tells nobody again; what follows on one alert answers the digest that told it.
    process.kill9();
    let _process = deployment.start_with(&["--only", "deliver"]);
    let of_digest = named(digests[0])[0].clone();
    let mut over = alert("search", usize::from_str_radix(of_digest.rsplit('/').next().unwrap(), 16).unwrap());
    (over["revision"], over["state"], over["closed_at"]) = (json!(2), json!("resolved"), json!("2026-11-24T15:00:00Z"));
    raise(&deployment, &[over]);
    let is_end = |mail: &Mail| header(mail, "X-Tollgate-State").as_deref() == Some("resolved");
    let end = wait_for("the end of one", LIMIT, || smtp.mails().into_iter().find(is_end));
    assert_eq!((header(&end, "In-Reply-To"), named(&end)), (header(digests[0], "Message-ID"), vec![of_digest.clone()]));

    // The whole team's alert is known; that of its project is a part of it, and another team's is not.
    let mut parent = alert("ads", 1);
    parent["dimensions"] = json!({});
    let file = |name: &str, value: &Value| {
        let path = deployment.config.with_file_name(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.display().to_string()
    };
    let (child, open) = (file("child.json", &alert("ads", 2)), file("open.json", &json!([parent])));
    let said = deployment.command(&["route", "--explain", &child, "--open", &open]);
    assert!(
        said.contains("mail:oncall@example.com: ads/00000000000000000000000000000001 speaks for it (this one is a part of it)"),
        "{said}"
    );
    assert!(said.contains("Told: mail:oncall@example.com (later: see above)"), "{said}");
    raise(&deployment, &[parent]);
    wait_for("the parent", LIMIT, || told(&smtp).0.contains_key(&format!("ads/{:032x}", 1)).then_some(()));
    raise(&deployment, &[alert("ads", 2), alert("billing", 3)]);
    wait_for("the other team's", LIMIT, || told(&smtp).0.contains_key(&format!("billing/{:032x}", 3)).then_some(()));
    wait_for("the child to be held back", LIMIT, || deployment.get("/metrics").1.contains("outcome=\"inhibited\"} 1").then_some(()));
    let (told, _) = told(&smtp);
    assert!(!told.contains_key(&format!("ads/{:032x}", 2)), "{told:?}");
    let twice: Vec<_> = told.iter().filter(|(id, count)| **count > 1 && **id != of_digest).collect();
    assert_eq!((twice, told[&of_digest]), (vec![], 2), "its end is the second");
}
