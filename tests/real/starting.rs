//! What `run` refuses to start on, before anything is written.

use std::time::Duration;

use super::parts::{consume, kafka};
use super::path::{Deployment, now_ms, usage};

/// Teams would go where nobody looks for them, or live twice, and nothing would ever say so.
#[test]
fn another_number_of_shards_than_the_topic_has_is_refused_by_every_role_alone() {
    let deployment = Deployment::without_mail("count", "");
    let right = std::fs::read_to_string(&deployment.config).unwrap();
    let events: Vec<_> = (0..20).map(|team| usage(&format!("e{team}"), now_ms(), &format!("team-{team}"), "u", "1.00")).collect();
    deployment.produce_usage(&events);
    std::fs::write(&deployment.config, right.replace("count = 4", "count = 2")).unwrap();
    let log = deployment.topic(&format!("{}app-shard-repartition", deployment.prefix));
    for role in ["intake", "watch", "lineage", "ledger"] {
        let (code, said) = deployment.attempt(&["run", "--only", role]);
        assert!(code == Some(1) && said.contains(&format!("{log} has 4 partitions instead of 2")), "{role}: {code:?} {said}");
    }
    assert_eq!(consume(deployment.broker.bootstrap(), &log).len(), 0);
    std::fs::write(&deployment.config, right).unwrap();
    let _running = deployment.start();
}

#[test]
fn a_topic_that_would_lose_state_is_refused() {
    let deployment = Deployment::without_mail("compact", "");
    let changelog = deployment.topic(&format!("{}app-watch-changelog", deployment.prefix));
    super::parts::run_tool(
        "kafka.admin.ConfigCommand",
        &["--bootstrap-server", kafka().bootstrap(), "--alter", "--topic", &changelog, "--add-config", "cleanup.policy=delete"],
        "",
    )
    .expect_success();
    let (code, said) = deployment.attempt(&["run"]);
    assert!(code == Some(1) && said.contains(&format!("{changelog} has cleanup.policy = delete instead of compact")), "{code:?} {said}");
}

#[test]
fn missing_topics_are_named_once_with_the_command_that_makes_them() {
    let deployment = Deployment::without_mail("missing", "");
    let missing = [deployment.topic("alerts"), deployment.topic(&format!("{}app-ledger-changelog", deployment.prefix))];
    for topic in &missing {
        let arguments = ["--bootstrap-server", kafka().bootstrap(), "--delete", "--topic", topic];
        super::parts::run_tool("org.apache.kafka.tools.TopicCommand", &arguments, "").expect_success();
    }
    let (code, said) = deployment.attempt(&["run"]);
    let named = format!("error: topics are missing: {}, {}; `tollgate topics create` creates them", missing[0], missing[1]);
    assert!(code == Some(1) && said.lines().last() == Some(&*named), "{code:?} {said}");
    assert!(said.lines().count() <= 4, "{said}");
    // A role that needs neither does its work.
    let running = deployment.start_with(&["--only", "lineage"]);
    drop(running);
}

/// A start with state has some dozens of partitions here, and some hundred elsewhere.
#[test]
fn what_is_restored_is_told_in_one_line_for_each_role() {
    let deployment = Deployment::without_mail("lines", "");
    deployment.produce_usage(&[usage("e", now_ms(), "search", "u", "1.00")]);
    let mut first = deployment.start();
    first.signal("TERM");
    assert!(first.wait(Duration::from_secs(60)).is_some_and(|status| status.success()));
    let before = deployment.log().len();
    let _running = deployment.start();
    let log = deployment.log();
    let lines: Vec<&str> = log[before..].lines().filter(|line| line.contains("restored")).collect();
    let of_watch: Vec<&&str> = lines.iter().filter(|line| line.contains("role=\"watch\"")).collect();
    // The group may hand them out in two steps.
    let partitions = |line: &&&str| line.split("partitions=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    assert!(of_watch.len() < 4 && of_watch.iter().filter_map(partitions).sum::<usize>() == 4, "{lines:#?}");
    let page = deployment.get("/metrics").1;
    assert!(page.contains("tollgate_mails_total{outcome=\"given_up\"} 0\n"), "what may fail stands at zero: {page}");
    let all: usize = lines.iter().filter_map(|line| partitions(&line)).sum();
    assert!(2 * lines.len() < all, "{lines:#?}");
}
