//! On a broker that asks who comes and allows nobody anything: what a first start says, and what it takes to be well.

use std::time::Duration;

use super::parts::{Admin, Kafka, Smtp, SmtpOptions, consume, guarded_kafka, run_tool, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(60);

/// As `user` says; topics are there if `made`.
fn deployment(name: &str, user: &str, made: bool, more: &str) -> Deployment {
    let broker = guarded_kafka();
    let deployment = Deployment::bare(name, broker, more);
    if made {
        deployment.command(&["topics", "create"]);
    }
    log_in(&deployment, broker, user, "right", "PLAIN");
    deployment
}

fn log_in(deployment: &Deployment, broker: &Kafka, user: &str, password: &str, mechanism: &str) {
    let text = std::fs::read_to_string(&deployment.config).unwrap().replace(broker.bootstrap(), &broker.guarded());
    let text = text.split("[kafka.security]").next().unwrap();
    let security = format!(
        "[kafka.security]\nprotocol = \"sasl_plaintext\"\nsasl_mechanism = \"{mechanism}\"\nusername = \"{user}\"\npassword = \"{password}\"\n"
    );
    std::fs::write(&deployment.config, format!("{text}{security}")).unwrap();
}

/// Gives the rights that our own command prints, by Kafka's own tool.
fn give(deployment: &Deployment, purpose: &str, user: &str) -> Vec<String> {
    let printed = deployment.command(&["topics", "acls", &format!("User:{user}"), "--for", purpose]);
    for line in printed.lines() {
        let line = line.replace('\'', "").replace(&deployment.broker.guarded(), deployment.broker.bootstrap());
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "kafka-acls.sh");
        run_tool("org.apache.kafka.tools.AclCommand", &words[1..], "").expect_success();
    }
    printed.lines().map(str::to_string).collect()
}

/// The single rights of the printed commands, as `Admin` takes them: `User:ann READ TOPIC PREFIXED a-`.
fn single(printed: &[String]) -> Vec<String> {
    let mut rights = Vec::new();
    for line in printed {
        let words: Vec<&str> = line.split(' ').collect();
        let after = |option: &'static str| words.windows(2).filter(move |pair| pair[0] == option).map(|pair| pair[1]);
        let principal = after("--allow-principal").next().unwrap().replace('\'', "");
        let pattern = if after("--resource-pattern-type").any(|pattern| pattern == "prefixed") { "PREFIXED" } else { "LITERAL" };
        for operation in after("--operation") {
            let operation = if operation == "DescribeConfigs" { "DESCRIBE_CONFIGS".to_string() } else { operation.to_uppercase() };
            for (option, kind) in [("--topic", "TOPIC"), ("--group", "GROUP"), ("--transactional-id", "TRANSACTIONAL_ID")] {
                rights.extend(after(option).map(|name| format!("{principal} {operation} {kind} {pattern} {name}")));
            }
        }
    }
    rights
}

#[test]
fn a_wrong_password_is_called_that_at_once() {
    for (mechanism, said) in [("PLAIN", "Invalid username or password"), ("SCRAM-SHA-512", "invalid credentials")] {
        let deployment = deployment("password", "ann", false, "");
        log_in(&deployment, deployment.broker, "ann", "wrong", mechanism);
        let refused = format!("refuse to authenticate user 'ann' with {mechanism}: ");
        let commands: [&[&str]; 5] = [&["check"], &["topics", "check"], &["topics", "create"], &["run"], &["alerts", "list"]];
        for command in commands {
            let (code, told) = deployment.attempt(command);
            assert!(code != Some(0) && told.contains(&refused) && told.contains(said), "{command:?} {code:?} {told}");
            assert_eq!(told.matches("refuse to authenticate").count(), 1, "{told}");
        }
    }
}

#[test]
fn who_may_do_nothing_is_told_that_and_not_that_topics_are_missing() {
    for made in [false, true] {
        let deployment = deployment("nothing", "bob", made, "");
        for command in [&["check"][..], &["run"]] {
            let (code, told) = deployment.attempt(command);
            assert!(code != Some(0) && !told.contains("missing"), "{command:?} {told}");
            assert!(told.contains(&format!("not authorised: Read on topics '{}", deployment.prefix)), "{told}");
            assert!(told.contains("Read on groups '") && told.contains("Write on transactional id '"), "{told}");
            assert!(told.contains("`tollgate topics acls User:bob` prints the commands"), "{told}");
        }
        let (code, told) = deployment.attempt(&["topics", "create"]);
        assert!(code == Some(1) && told.contains("not authorised: Create on topic '"), "{told}");
        assert!(told.contains("kafka-acls.sh --add --allow-principal User:bob --operation Create --topic "), "{told}");
        let (code, told) = deployment.attempt(&["topics", "check"]);
        assert!(code == Some(2) && told.contains("  forbidden\n") && told.contains("not authorised: Describe on topics"), "{told}");
        let (code, told) = deployment.attempt(&["alerts", "list"]);
        assert!(code == Some(1) && told.contains("not authorised: Read on topic '") && !told.contains("not exist"), "{told}");
    }
}

/// From a usage event to the alert, with the printed rights only; and each of them is missed when it is not there.
#[test]
fn the_printed_rights_are_enough_and_none_is_too_many() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = deployment("rights", "cem", true, &Deployment::mail(&smtp, ""));
    let printed = give(&deployment, "run", "cem");
    let told = deployment.command(&["check"]);
    assert!(told.contains("topics, groups and transactions may be used") && !told.contains("problem"), "{told}");
    let mut process = deployment.start();
    deployment.produce_usage(&[usage("dear", now_ms() - 1000, "search", "eve", "5000")]);
    let alert = wait_for("the alert", LIMIT, || deployment.newest("alerts").into_values().find(|alert| alert["team"] == "search"));
    assert_eq!(smtp.wait_for_mails(1, LIMIT)[0].to, ["oncall@example.com"]);
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
    let log = deployment.log().to_lowercase();
    assert!(!log.contains("authoris") && !log.contains("authoriz") && !log.contains("starts again"), "{log}");

    // Who may only watch may not answer.
    let ack = ["alerts", "ack", alert["id"].as_str().unwrap(), "--by", "ada"];
    let (_, told) = deployment.attempt(&ack);
    assert!(told.contains(&format!("not authorised: Write on topic '{}'", deployment.topic("feedback"))), "{told}");

    let admin = Admin::connect(deployment.broker.bootstrap());
    let rights = single(&printed);
    assert!(rights.len() > 25, "{rights:#?}");
    for right in &rights {
        admin.forbid(right);
        let words: Vec<&str> = right.split(' ').collect();
        let operation = if words[1] == "DESCRIBE_CONFIGS" {
            "DescribeConfigs".to_string()
        } else {
            words[1][..1].to_string() + &words[1][1..].to_lowercase()
        };
        wait_for(&format!("the absence of {right} to be told"), LIMIT, || {
            let (_, told) = deployment.attempt(&["check"]);
            let kind = words[2].to_lowercase().replace('_', " ");
            let line = told.lines().find(|line| line.contains("not authorised: ") && line.contains(&format!("{operation} on {kind}")))?;
            line.contains(&format!("'{}", words[4])).then_some(())
        });
        admin.allow(right);
    }
    give(&deployment, "operate", "cem");
    deployment.command(&ack);
    assert_eq!(consume(deployment.broker.bootstrap(), &deployment.topic("feedback")).len(), 1);
}

/// From outside of a group only a part can be told; the role itself says the rest, and the process ends with it.
#[test]
fn a_role_says_what_its_user_may_not_do() {
    let deployment = deployment("roles", "dan", true, "");
    let printed = give(&deployment, "run", "dan");
    let admin = Admin::connect(deployment.broker.bootstrap());
    let right = single(&printed).into_iter().find(|right| right.contains(" READ GROUP ")).unwrap();
    admin.forbid(&right);
    admin.allow(&right.replace(" READ ", " DESCRIBE "));
    let (code, told) = deployment.attempt(&["run", "--only", "lineage"]);
    let group = format!("{}app-lineage", deployment.prefix);
    let last = told.lines().last().unwrap_or_default();
    assert!(code == Some(1) && last.contains(&format!("not authorised: Read on group '{group}'; add it")), "{code:?} {told}");
}

#[test]
fn who_only_makes_topics_and_who_operates_have_their_own_rights() {
    let deployment = deployment("operate", "eve", false, "");
    give(&deployment, "create", "eve");
    let told = deployment.command(&["topics", "create"]);
    assert!(told.matches("created").count() >= 19, "{told}");
    deployment.command(&["topics", "check"]);
    assert!(deployment.attempt(&["alerts", "list"]).1.contains("not authorised: Read on topic"));

    give(&deployment, "operate", "eve");
    deployment.command(&["alerts", "list"]);
    deployment.command(&["reset", "--to-earliest", "--yes"]);
    deployment.command(&["redrive", "--yes"]);
}
