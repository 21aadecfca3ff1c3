//! A way out that is stuck or down holds up its own letters and nobody else's, and gets them all once it is back.

use std::time::Duration;

use serde_json::{Value, json};

use super::hooks::Hooks;
use super::parts::{Smtp, SmtpOptions, produce, wait_for};
use super::path::Deployment;

const LIMIT: Duration = Duration::from_secs(120);
const ALERTS: usize = 60;

fn hook(name: &str, url: &str) -> String {
    format!("[[webhook]]\nname = '{name}'\nform = 'slack'\nurl = '{url}'\ntimeout = '20s'\n")
}

#[test]
fn one_that_is_down_delays_nobody_else() {
    let smtp = Smtp::start_with(&SmtpOptions::default(), &["--brief"]);
    // The first ones are refused; then it is well again.
    let (stuck, down, broken) = (Hooks::start(""), Hooks::start(""), Hooks::start(""));
    let hooks =
        [hook("stuck", &stuck.url("/stall/3600")), hook("down", &down.url("/status/503")), hook("broken", &broken.url("/first/3/503"))];
    let hooks = hooks.concat();
    let receivers = "'oncall@example.com', 'hook:stuck', 'hook:down', 'hook:broken'";
    let route = format!("[[route]]\nreceivers = [{receivers}]\nleast_severity = 'info'\n");
    let deployment = Deployment::new("lanes", &smtp, &format!("first_retry = '1s'\nlongest_retry = '1s'\nstorm = 0\n{hooks}{route}"));
    let _process = deployment.start_with(&["--only", "deliver"]);
    let template: Value = serde_json::from_str(include_str!("../data/alerts/spike.json")).unwrap();
    let line = |number: usize| {
        let mut alert = template.clone();
        alert["id"] = json!(format!("search/{number:032x}"));
        alert["history"] = json!([]);
        json!({"topic": deployment.topic("alerts"), "key": alert["id"], "headers": {"content-type": "application/json"}, "value_json": alert})
    };
    produce(deployment.broker.bootstrap(), &(0..ALERTS).map(line).collect::<Vec<_>>());

    // Every mail is out while not one post to the stuck receiver has ended, and while the broken one is left alone.
    wait_for("all mails", LIMIT, || (smtp.brief().len() == ALERTS).then_some(()));
    let page = deployment.get("/metrics").1;
    assert!(page.contains("tollgate_mails_total{outcome=\"sent\"}"), "{page}");
    let tried = [stuck.requests().len(), down.requests().len()];
    // What was under way, and a probe or two where this machine is slow.
    assert!(tried.iter().all(|tried| *tried <= 16 + 3), "left alone: {tried:?}");

    // Whoever is back gets everything, each once: those that were refused have the key of their first attempt.
    let keys = || {
        let requests = broken.requests();
        let of = |request: &Value| request["headers"]["idempotency-key"].as_str().unwrap().to_owned();
        (requests.len(), requests.iter().skip(3).map(of).collect::<std::collections::BTreeSet<_>>())
    };
    wait_for("the one that is back to have them all", LIMIT, || (keys().1.len() == ALERTS).then_some(()));
    assert!(keys().0 <= ALERTS + 16, "{}", keys().0);
    assert_eq!(smtp.brief().len(), ALERTS, "and no mail again");
}
