//! Policies in the stream: produced by Java, judged exactly-once, violations read by Java, mail taken by a mail server that is not ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::parts::{Smtp, SmtpOptions, consume, produce, temp_folder, wait_for};
use super::path::{Deployment, now_ms, rfc3339, usage};

const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000;

const APPROVED: &str = "!(provider in ['openai', 'anthropic'])";

/// `more`: exemptions, as they stand in the file.
fn write_policies(folder: &Path, providers: &str, more: &str) {
    let policy = |id: &str, mode: &str, rest: &str| {
        format!("[[policy]]\nid = '{id}'\nowner = 'platform'\napplies_to = 'usage'\nmode = '{mode}'\n{rest}\n")
    };
    let all = [
        policy(
            "approved-provider",
            "enforce",
            &format!(
                "when = \"{providers}\"\nmessage = '{{team}} uses {{provider}}'\nremedy = 'ask'\nseverity = 'critical'\nevidence = ['project', 'model']"
            ),
        ),
        policy("region", "enforce", "when = \"!('EEA' in blocs)\"\nmessage = '{team} uses {region} in {country}'"),
        policy(
            "cost-center",
            "warn",
            "when = \"environment == 'prod' && !has(tags.cost_center)\"\nper = ['project']\nmessage = '{project} of {team} has no cost center'",
        ),
        policy("tried", "dry-run", "when = \"model == 'gpt-4o'\"\nmessage = 'gpt-4o'"),
    ];
    std::fs::create_dir_all(folder.join("global")).unwrap();
    std::fs::write(folder.join("global/p.toml"), format!("version = 1\n{}{more}", all.join(""))).unwrap();
}

fn with(id: &str, at: i64, team: &str, cost: &str, change: Value) -> Value {
    let mut event = usage(id, at, team, "ann", cost);
    event["tags"] = json!({"cost_center": "cc-1"});
    for (name, value) in change.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

struct Stage {
    folder: PathBuf,
    deployment: Deployment,
}

impl Stage {
    fn new(name: &str, providers: &str, exemptions: &str, more: &str, smtp: Option<&Smtp>) -> Stage {
        let folder = temp_folder(&format!("{name}-policies"));
        write_policies(&folder, providers, exemptions);
        let settings = format!("{more}\n[policies]\ndir = '{}'\n", folder.display());
        let deployment = match smtp {
            Some(smtp) => Deployment::new(name, smtp, &settings),
            None => Deployment::without_mail(name, &settings),
        };
        Stage { folder, deployment }
    }

    fn produce(&self, topic: &str, events: &[Value]) {
        let topic = self.deployment.topic(topic);
        // They stay in their order.
        let line = |event: &Value| json!({"topic": topic, "key": event["team"], "value_json": event});
        produce(self.deployment.broker.bootstrap(), &events.iter().map(line).collect::<Vec<_>>());
    }

    /// Of each violation the revisions 1, 2, 3, ..., each of them once: nothing was lost, nothing came twice.
    fn expect_whole_lives(&self) {
        let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for record in consume(self.deployment.broker.bootstrap(), &self.deployment.topic("governance-violations")) {
            let revision = record.json()["revision"].as_u64().unwrap();
            lives.entry(record.key.clone().unwrap()).or_default().push(revision);
        }
        for (id, revisions) in &lives {
            assert_eq!(*revisions, (1..=revisions.len() as u64).collect::<Vec<_>>(), "{id}");
        }
    }

    /// By policy, team and subject.
    fn violations(&self) -> BTreeMap<String, Value> {
        let place = |violation: &Value| ["policy", "team", "subject"].map(|field| violation[field].as_str().unwrap().to_owned()).join(" ");
        let newest = self.deployment.newest("governance-violations");
        let places = newest.values().map(place).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(places.len(), newest.len(), "one violation of each policy and subject: {newest:#?}");
        newest.into_values().map(|violation| (place(&violation), violation)).collect()
    }

    fn wait_for(&self, wanted: &[&str]) -> BTreeMap<String, Value> {
        let mut last = BTreeMap::new();
        wait_for(&format!("{wanted:?}"), LIMIT, || {
            last = self.violations();
            wanted.iter().all(|name| last.contains_key(*name)).then(|| last.clone())
        })
    }
}

/// Shadow AI, a region, spend without a tag, an exemption that has ended: each on the topic and in the inbox, with its dollars; what is
/// allowed is silent; a kill in between neither loses nor doubles an event.
#[test]
fn what_policies_forbid_is_told_once_with_its_dollars_and_survives_a_kill() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let now = now_ms();
    let until = rfc3339(now - 30 * MINUTE);
    let exemption = format!(
        "[[exemption]]\npolicy = 'approved-provider'\nonly = {{ team = 'trial' }}\nreason = 'x'\napproved_by = 'cto'\nuntil = '{until}'\n"
    );
    let stage = Stage::new("violations", APPROVED, &exemption, "", Some(&smtp));
    let deepseek = json!({"provider": "deepseek", "model": "deepseek-chat"});
    let events = [
        with("ok", now - 50 * MINUTE, "search", "1", json!({})),
        with("shadow-1", now - 49 * MINUTE, "search", "0.25", deepseek.clone()),
        with("shadow-2", now - 48 * MINUTE, "search", "0.5", deepseek.clone()),
        with("asia", now - 47 * MINUTE, "search", "2", json!({"region": "ap-southeast-1"})),
        with("bare", now - 46 * MINUTE, "ads", "3", json!({"tags": {}})),
        with("bare-dev", now - 46 * MINUTE, "ads", "3", json!({"tags": {}, "environment": "dev"})),
        with("trial-1", now - 45 * MINUTE, "trial", "4", deepseek.clone()),
        with("trial-2", now - 20 * MINUTE, "trial", "8", deepseek.clone()),
        with("nowhere", now - 20 * MINUTE, "ads", "1", json!({"region": null})),
    ];
    stage.deployment.produce_usage(&events);
    let mut process = stage.deployment.start();
    let expected = [
        "approved-provider search provider=deepseek",
        "approved-provider trial provider=deepseek",
        "cost-center ads project=ranker",
        "region search region=ap-southeast-1",
    ];
    let told = stage.wait_for(&expected);
    assert_eq!(told.keys().map(String::as_str).collect::<Vec<_>>(), expected, "and nothing else");
    let (asia, bare, trial) = (&told[expected[3]], &told[expected[2]], &told[expected[1]]);
    assert_eq!((&asia["amount"], &asia["evidence"]["country"], &asia["count"]), (&json!("2"), &json!("SG"), &json!(1)));
    assert_eq!((&bare["amount"], &bare["action"], &bare["currency"]), (&json!("3"), &json!("review"), &json!("USD")));
    assert_eq!((&trial["amount"], &trial["count"]), (&json!("8"), &json!(1)), "what was exempt does not count");
    assert_eq!((&told[expected[0]]["severity"], &told[expected[0]]["evidence"]["project"]), (&json!("critical"), &json!("ranker")));
    let page = stage.deployment.get("/metrics").1;
    for line in [
        "tollgate_policy_events_total{policy=\"approved-provider\",verdict=\"exempt\"} 1",
        "tollgate_policy_events_total{policy=\"region\",verdict=\"indeterminate\"} 1",
        "tollgate_policy_events_total{policy=\"tried\",verdict=\"dry_run\"}",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let mails = smtp.wait_for_mails(4, LIMIT);
    assert!(mails.iter().any(|mail| String::from_utf8_lossy(&mail.raw).contains("search uses deepseek")), "the policy's own words");

    process.kill9();
    let more = with("shadow-3", now - 10 * MINUTE, "search", "100", deepseek);
    stage.deployment.produce_usage(&[more.clone(), more]);
    let _process = stage.deployment.start();
    let grown = wait_for("the violation to grow", LIMIT, || {
        let violation = stage.violations().remove(expected[0])?;
        (violation["count"] == 3).then_some(violation)
    });
    assert_eq!((&grown["amount"], &grown["state"], &grown["id"]), (&json!("100.75"), &json!("updated"), &told[expected[0]]["id"]));
    assert!(grown["revision"].as_u64() > told[expected[0]]["revision"].as_u64());
    stage.expect_whole_lives();
}

/// While events come in: a file with a mistake changes nothing, a good one ends what it allows and finds what it forbids, and not an event is
/// lost or taken twice.
#[test]
fn policies_are_reloaded_under_load_as_a_whole() {
    let stage = Stage::new("reload-policies", APPROVED, "", "", None);
    let mut process = stage.deployment.start();
    let mut produced = 0;
    let mut load = |provider: &str| {
        let at = now_ms() - 5 * MINUTE;
        let events: Vec<Value> =
            (0..50).map(|n| with(&format!("{provider}-{produced}-{n}"), at + n, "search", "0.01", json!({"provider": provider}))).collect();
        produced += events.len() as u64;
        stage.deployment.produce_usage(&events);
    };
    load("deepseek");
    let first = "approved-provider search provider=deepseek";
    let opened = stage.wait_for(&[first]).remove(first).unwrap();
    assert_eq!(opened["state"], "open");

    write_policies(&stage.folder, "!(provder in ['openai'])", "");
    process.signal("HUP");
    load("openai");
    let log = wait_for("the refusal", LIMIT, || Some(stage.deployment.log()).filter(|log| log.contains("config not reloaded")));
    assert!(log.contains("p.toml:7:") && log.contains("did you mean 'provider'?"), "{log}");
    load("grok");
    stage.wait_for(&["approved-provider search provider=grok"]);

    write_policies(&stage.folder, "!(provider in ['deepseek', 'anthropic'])", "");
    process.signal("HUP");
    load("deepseek");
    load("openai");
    let told = wait_for("the other policies", LIMIT, || {
        // Rules change between two transactions: there have to be some more.
        load("openai");
        let told = stage.violations();
        (told[first]["state"] == "resolved" && told.contains_key("approved-provider search provider=openai")).then_some(told)
    });
    let after = &told["approved-provider search provider=openai"];
    assert_ne!(after["policy_hash"], opened["policy_hash"]);
    assert!(process.ended().is_none());
    wait_for("every event to be counted", LIMIT, || {
        (stage.deployment.metric("tollgate_intake_records_combined_total") == produced).then_some(())
    });
    let asia = stage.violations();
    assert_eq!(asia.keys().filter(|name| name.starts_with("approved-provider")).count(), 3);
}

fn event(id: &str, at: i64, change: Value) -> Value {
    let mut event = json!({"event_id": id, "source": "s", "event_time": rfc3339(at), "team": "search"});
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    event
}

/// The policies as they are shipped: egress past the gateway, a machine without an owner, a model trained on European data in Asia, told before
/// anybody said where its data comes from. Each ends as it is mended; a kill in between loses and doubles nothing.
#[test]
fn what_resources_and_people_do_is_held_against_the_shipped_policies() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies");
    let stage = Stage {
        deployment: Deployment::without_mail("shipped-policies", &format!("[policies]\ndir = '{}'\n", policies.display())),
        folder: policies,
    };
    let now = now_ms();
    let gpu = json!({"resource_id": "gpu-1", "resource_type": "gpu_cluster", "state": "running", "capacity": 8, "hourly_cost": "30", "currency": "USD"});
    let samples = [event("gpu-1-a", now - 150 * MINUTE, gpu.clone()), event("gpu-1-b", now - 90 * MINUTE, gpu.clone())];
    let egress = |id: &str, ago: i64, host: &str, actor: &str| {
        event(id, now - ago * MINUTE, json!({"action": "egress", "destination": host, "actor": actor}))
    };
    let deployment = json!({"action": "deployment", "model": "m-7", "region": "ap-northeast-1"});
    let activity = [
        egress("e-1", 100, "https://api.deepseek.com:443/v1", "laptop-7"),
        egress("e-2", 30, "chat.deepseek.com", "laptop-9"),
        egress("e-3", 30, "api.openai.com", "laptop-7"),
        egress("e-4", 30, "example.com", "laptop-7"),
        event("d-1", now - 45 * MINUTE, deployment),
    ];
    stage.produce("resource-events", &samples);
    stage.produce("activity-events", &activity);
    let mut process = stage.deployment.start();
    let (owner, shadow) = ("owner-tag search resource_id=gpu-1", "shadow-ai-egress search provider=deepseek");
    let told = wait_for("both samples and both hosts", LIMIT, || {
        let told = stage.violations();
        [owner, shadow].iter().all(|name| told.get(*name).is_some_and(|violation| violation["count"] == 2)).then_some(told)
    });
    assert_eq!((&told[owner]["amount"], &told[owner]["evidence"]["resource_type"]), (&json!("30"), &json!("gpu_cluster")), "an hour of 30");
    assert_eq!(told[shadow]["evidence"]["users"], "laptop-7, laptop-9");
    assert_eq!(told.len(), 2, "where the data of m-7 comes from nobody has said yet: {told:#?}");

    process.kill9();
    stage.produce("resource-events", &samples);
    stage.produce("activity-events", &activity);
    let registered = json!({"action": "model_registered", "model": "m-7", "origin_region": "eu-central-1"});
    stage.produce("activity-events", &[event("m-1", now - 44 * MINUTE, registered)]);
    let _process = stage.deployment.start();
    let (asia, answers) = (
        "eu-trained-model-in-asia search model=m-7;region=ap-northeast-1",
        "eu-trained-model-answers-from-asia search model=m-7;region=ap-northeast-1",
    );
    let found = stage.wait_for(&[asia]).remove(asia).unwrap();
    assert_eq!(
        (&found["evidence"]["origin_country"], &found["severity"], &found["action"]),
        (&json!("DE"), &json!("critical"), &json!("block"))
    );
    let used = json!({"model": "m-7", "region": "ap-northeast-1"});
    stage.deployment.produce_usage(&[with("u-1", now - 20 * MINUTE, "search", "2", used)]);
    assert_eq!(stage.wait_for(&[answers])[answers]["amount"], "2");

    let mut owned = gpu;
    owned["owner"] = json!("ann");
    stage.produce("resource-events", &[event("gpu-1-c", now - 10 * MINUTE, owned)]);
    let approval = json!({"action": "approval", "model": "m-7", "approval": "RV-12", "actor": "legal"});
    stage.produce("activity-events", &[event("a-1", now - 9 * MINUTE, approval)]);
    let ended = wait_for("what was mended to be resolved", LIMIT, || {
        let told = stage.violations();
        [owner, asia, answers].iter().all(|name| told[*name]["state"] == "resolved").then_some(told)
    });
    let counts: Vec<&Value> = [owner, shadow, asia, answers].iter().map(|name| &ended[*name]["count"]).collect();
    assert_eq!(counts, [2, 2, 1, 1], "what came twice counts once");
    assert_eq!(ended[shadow]["state"], "updated", "egress goes on");
    stage.expect_whole_lives();
}

/// The link in the mail, then the command line: what is said of a violation stands on its topic with who and until when, silences it, and
/// ends by itself.
#[test]
fn a_violation_is_accepted_by_the_link_in_its_mail_and_open_again_when_that_is_over() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let base = "https://gate.example.com";
    let answers = format!("[answers]\nkey_file = 'answers.key'\nbase_url = '{base}'\n");
    let stage = Stage::new("answered-violations", APPROVED, "", &answers, Some(&smtp));
    let name = "approved-provider search provider=deepseek";
    let used = |id: &str, ago: i64| with(id, now_ms() - ago, "search", "1", json!({"provider": "deepseek", "model": "deepseek-chat"}));
    stage.deployment.produce_usage(&[used("u-1", 10 * MINUTE)]);
    let mut process = stage.deployment.start();
    stage.wait_for(&[name]);

    let mails = smtp.wait_for_mails(1, LIMIT);
    let mail = mailparse::parse_mail(&mails[0].raw).unwrap();
    let text = mail.subparts[0].get_body().unwrap();
    assert!(text.contains("Accepted until") && text.contains("Not a violation"), "{text}");
    let begin = text.find(&format!("{base}/answer/")).unwrap() + base.len();
    let link: String = text[begin..].chars().take_while(|c| c.is_ascii_alphanumeric() || "-_/".contains(*c)).collect();
    let page = stage.deployment.get(&link).1;
    assert!(page.contains("Answer this violation") && page.contains("It is accepted, for a while"), "{page}");
    let form = "verdict=expected&for=7d&note=trial&once=1";
    let length = form.len();
    let answered = stage.deployment.ask(&format!(
        "POST {link} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    ));
    assert_eq!(answered.0, 200, "{}", answered.1);
    let state = |wanted: &str| wait_for(wanted, LIMIT, || stage.violations().remove(name).filter(|violation| violation["state"] == wanted));
    let accepted = state("expected");
    let said = &accepted["feedback"][0];
    assert_eq!((&accepted["notify"], &said["actor"], &said["note"]), (&json!(false), &json!(mails[0].to[0]), &json!("trial")));
    let ms = |field: &Value| tollgate::model::time::Timestamp::parse(field.as_str().unwrap()).unwrap().0;
    assert_eq!(ms(&said["until"]) - ms(&said["said_at"]), 7 * 24 * 60 * MINUTE);

    // On the command line, until a moment that is over soon; the last word counts, and outlives the process.
    let id = accepted["id"].as_str().unwrap();
    let quiet = ["--log-level", "error"];
    let say = |words: &[&str]| stage.deployment.command(&[&["violations"], words, &quiet[..]].concat());
    let until = now_ms() + 2_000;
    assert!(say(&["accept", &id[..12], "--until", &rfc3339(until), "--by", "ada"]).contains(" expected until "));
    let accepted = wait_for("the command line's word", LIMIT, || {
        stage.violations().remove(name).filter(|violation| violation["feedback"].as_array().is_some_and(|said| said.len() == 2))
    });
    assert_eq!((&accepted["state"], &accepted["feedback"][1]["actor"]), (&json!("expected"), &json!("ada")));
    process.kill9();
    let _process = stage.deployment.start();
    wait_for("the end of the exception", LIMIT, || (now_ms() > until).then_some(()));
    stage.deployment.produce_usage(&[used("u-2", 0)]);
    let again = state("reopened");
    assert_eq!((&again["count"], &again["notify"], &again["id"]), (&json!(2), &json!(true), &accepted["id"]));
    let mails = smtp.wait_for_mails(2, LIMIT);
    let again = mailparse::parse_mail(&mails[1].raw).unwrap().subparts[0].get_body().unwrap();
    assert!(again.contains("search uses deepseek") && again.contains("accepts it"), "told again, and by whom it was accepted: {again}");

    // A false positive; and what a SIEM and a person read of it all.
    say(&["not-a-violation", id, "--by", "ada", "--note", "internal endpoint"]);
    state("retracted");
    assert!(say(&["list"]).contains("No violation is open."));
    let shown = say(&["show", id]);
    assert!(shown.contains("ada: no violation until ") && shown.contains("accepted until "), "{shown}");
    let finding: Value = serde_json::from_str(&say(&["list", "--all", "--format", "ocsf"])).unwrap();
    let facts = (&finding["class_uid"], &finding["status"], &finding["compliance"]["control"]);
    assert_eq!(facts, (&json!(2003), &json!("Suppressed"), &json!("approved-provider")));
    let (code, output) = stage.deployment.attempt(&["violations", "ack", "ads/", "--by", "ada", "--log-level", "error"]);
    assert!(code == Some(1) && output.contains("there is no violation 'ads/'"), "{output}");
    stage.expect_whole_lives();
}
