//! Offsets and state move together: all anew from a point of the input, forward without what lies between, or repaired.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::parts::{Ended, Guarded, run, run_tool, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;

/// Threads that are members by name stay it until the session is over: seconds here, instead of 45.
const BY_NAME: &str = "message_timeout = '9s'\ntransaction_timeout = '10s'\nsession_timeout = '11s'";
/// Others leave at once.
const NAMELESS: &str = "static_membership = false";

fn deployment(name: &str, membership: &str) -> Deployment {
    let deployment = Deployment::without_mail(name, "");
    let text = std::fs::read_to_string(&deployment.config).unwrap();
    let with = text.replace("instance_id = \"one\"", &format!("instance_id = \"one\"\n{membership}"));
    assert_ne!(text, with);
    std::fs::write(&deployment.config, with).unwrap();
    deployment
}

fn reset(deployment: &Deployment, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["reset", "--config"]).arg(&deployment.config).args(arguments);
    run(&mut command, "", LIMIT + LIMIT)
}

fn stop(deployment: &Deployment, mut process: Guarded) {
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
}

/// `tollgate run` of one that refuses; what it says last.
fn refusal(deployment: &Deployment) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("run").arg("--config").arg(&deployment.config).stdin(Stdio::null());
    let ended = run(&mut command, "", LIMIT);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr.lines().last().unwrap_or_default().to_string()
}

fn group_tool(deployment: &Deployment, role: &str, arguments: &[&str]) -> String {
    let group = format!("{}app-{role}", deployment.prefix);
    let fixed = ["--bootstrap-server", deployment.broker.bootstrap(), "--group", &group];
    run_tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &[&fixed, arguments].concat(), "").expect_success()
}

fn topic_tool(deployment: &Deployment, arguments: &[&str]) {
    let fixed = ["--bootstrap-server", deployment.broker.bootstrap()];
    run_tool("org.apache.kafka.tools.TopicCommand", &[&fixed, arguments].concat(), "").expect_success();
}

fn read(deployment: &Deployment, count: u64) {
    let read = || deployment.metric("tollgate_intake_records_read_total");
    wait_for(&format!("{count} records, now {}", read()), LIMIT, || (read() == count).then_some(()));
}

fn events(name: &str, count: usize, at: i64) -> Vec<Value> {
    (0..count).map(|n| usage(&format!("{name}-{n}"), at, "search", "ann", "0.25")).collect()
}

/// Static members do not leave when they end: --wait waits for the session timeout.
#[test]
fn computing_all_anew_counts_everything_once() {
    let deployment = deployment("reset-anew", BY_NAME);
    let start = now_ms() / HOUR_MS * HOUR_MS - 5 * HOUR_MS;
    let old: Vec<Value> = (0..4).flat_map(|hour| events(&format!("h{hour}"), 25, start + hour * HOUR_MS + 60_000)).collect();
    deployment.produce_usage(&old);
    let process = deployment.start();
    let counted = || {
        let rollups = deployment.newest("spend-rollups");
        let events: i64 = rollups.values().map(|rollup| rollup["events"].as_i64().unwrap()).sum();
        (rollups.len(), events)
    };
    wait_for("all hours to close", LIMIT, || (counted() == (4, 100)).then_some(()));

    // Who runs is in the way, and is named.
    let refused = reset(&deployment, &["--to-earliest", "--yes"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("app-intake' has a member: ") && refused.stderr.contains("app-watch' has a member"), "{refused:?}");
    // Who insists may.
    reset(&deployment, &["--only", "deliver", "--to-earliest", "--force", "--yes"]).expect_success();
    stop(&deployment, process);

    // Neither a dry run nor a reset without a yes changes anything.
    let dry = reset(&deployment, &["--to-earliest", "--dry-run"]).expect_success();
    for line in ["-> 0", "emptied  ", "shard-repartition", "watch-changelog", "intake-changelog", "Dry run: nothing was changed."] {
        assert!(dry.contains(line), "{line}\n{dry}");
    }
    let unasked = reset(&deployment, &["--to-earliest", "--wait"]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stdout.contains("Add --yes"), "{unasked:?}");
    let process = deployment.start();
    deployment.produce_usage(&events("new", 5, now_ms()));
    read(&deployment, 5);
    stop(&deployment, process);

    // All anew: every hour is what it was, not twice.
    reset(&deployment, &["--to-earliest", "--yes", "--wait"]).expect_success();
    let process = deployment.start();
    read(&deployment, 105);
    let closed = || deployment.metric("tollgate_rollups_written_total");
    wait_for("the hours to close again", LIMIT, || (closed() >= 4).then_some(()));
    assert_eq!(counted(), (4, 100), "{}", deployment.log());
    stop(&deployment, process);

    // From a time on, and from the end: what lies before is not read.
    reset(&deployment, &["--by-duration", "PT24H", "--yes", "--wait"]).expect_success();
    let process = deployment.start();
    read(&deployment, 105);
    stop(&deployment, process);
    reset(&deployment, &["--to-latest", "--everything", "--yes", "--wait"]).expect_success();
    let process = deployment.start();
    deployment.produce_usage(&events("last", 2, now_ms()));
    read(&deployment, 2);
    stop(&deployment, process);
}

#[test]
fn what_a_reset_elsewhere_broke_is_repaired() {
    let deployment = deployment("reset-repair", NAMELESS);
    let usage_topic = deployment.topic("usage-events");
    deployment.produce_usage(&events("a", 40, now_ms() - 60_000));
    let process = deployment.start();
    read(&deployment, 40);
    stop(&deployment, process);
    let agreed = reset(&deployment, &["--repair", "--wait"]).expect_success();
    assert!(agreed.contains("Nothing to change."), "{agreed}");

    // Somebody moved intake's offsets.
    group_tool(&deployment, "intake", &["--reset-offsets", "--to-earliest", "--topic", &usage_topic, "--execute"]);
    assert!(refusal(&deployment).contains("intake's own key says"));
    let repaired = reset(&deployment, &["--repair", "--yes", "--wait"]).expect_success();
    assert!(repaired.contains("as intake's own key says"), "{repaired}");
    let process = deployment.start();
    deployment.produce_usage(&events("b", 3, now_ms()));
    read(&deployment, 3);
    stop(&deployment, process);

    // ... and those of watch. Kafka's own tool does nothing, and says so quietly, while members that are gone are still on its list.
    let agreed = reset(&deployment, &["--repair", "--wait"]).expect_success();
    assert!(agreed.contains("Nothing to change."), "{agreed}");
    let shard_log = deployment.topic(&format!("{}app-shard-repartition", deployment.prefix));
    group_tool(&deployment, "watch", &["--reset-offsets", "--to-earliest", "--topic", &shard_log, "--execute"]);
    assert!(refusal(&deployment).contains("disagree"));
    let repaired = reset(&deployment, &["--repair", "--only", "watch", "--yes", "--wait"]).expect_success();
    assert!(repaired.contains("as the shard's state says"), "{repaired}");
    let process = deployment.start();
    stop(&deployment, process);

    // Intake's changelog is gone: its offsets say where it stood.
    let changelog = deployment.topic(&format!("{}app-intake-changelog", deployment.prefix));
    topic_tool(&deployment, &["--delete", "--topic", &changelog]);
    deployment.command(&["topics", "create"]);
    assert!(refusal(&deployment).contains("intake has no key for it"));
    let repaired = reset(&deployment, &["--repair", "--only", "intake", "--yes", "--wait"]).expect_success();
    assert!(repaired.contains("intake's key is written anew"), "{repaired}");
    let process = deployment.start();
    deployment.produce_usage(&events("c", 4, now_ms()));
    read(&deployment, 4);
    stop(&deployment, process);

    // The state of watch is gone: that cannot be repaired, only computed.
    let changelog = deployment.topic(&format!("{}app-watch-changelog", deployment.prefix));
    topic_tool(&deployment, &["--delete", "--topic", &changelog]);
    deployment.command(&["topics", "create"]);
    assert!(refusal(&deployment).contains("the state is gone"));
    let cannot = reset(&deployment, &["--repair", "--yes", "--wait"]);
    assert_eq!(cannot.code, Some(2), "{cannot:?}");
    assert!(cannot.stderr.contains("tollgate reset --only watch --to-earliest"), "{cannot:?}");
    reset(&deployment, &["--only", "watch", "--to-earliest", "--yes", "--wait"]).expect_success();
    stop(&deployment, deployment.start());
}

/// A second topic under the same name, and as long: its offsets fit, and mean other records.
#[test]
fn a_recreated_topic_is_not_taken_for_the_one_before() {
    let deployment = deployment("reset-recreated", NAMELESS);
    let usage_topic = deployment.topic("usage-events");
    deployment.produce_usage(&events("a", 40, now_ms() - 60_000));
    let process = deployment.start();
    read(&deployment, 40);
    stop(&deployment, process);

    topic_tool(&deployment, &["--delete", "--topic", &usage_topic]);
    deployment.command(&["topics", "create"]);
    deployment.produce_usage(&events("b", 60, now_ms() - 60_000));
    let refused = refusal(&deployment);
    assert!(refused.contains("recreated since") && refused.contains("tollgate reset --repair --skip-lost"), "{refused}");
    let cannot = reset(&deployment, &["--repair", "--yes", "--wait"]);
    assert_eq!(cannot.code, Some(2), "{cannot:?}");
    assert!(cannot.stderr.contains("recreated since it was read up to"), "{cannot:?}");
    reset(&deployment, &["--repair", "--skip-lost", "--yes", "--wait"]).expect_success();
    let process = deployment.start();
    read(&deployment, 60);
    stop(&deployment, process);
}

#[test]
fn one_role_alone_goes_where_it_may() {
    let deployment = deployment("reset-one", NAMELESS);
    deployment.produce_usage(&events("a", 30, now_ms() - 60_000));
    let process = deployment.start();
    read(&deployment, 30);
    stop(&deployment, process);
    deployment.produce_usage(&events("skipped", 10, now_ms()));

    // Back would count twice; forward skips.
    let back = reset(&deployment, &["--only", "intake", "--shift-by", "-5", "--yes", "--wait"]);
    assert_eq!(back.code, Some(2), "{back:?}");
    assert!(back.stderr.contains("a second time"), "{back:?}");
    reset(&deployment, &["--only", "intake", "--to-latest", "--yes", "--wait"]).expect_success();
    let process = deployment.start();
    deployment.produce_usage(&events("b", 2, now_ms()));
    read(&deployment, 2);
    stop(&deployment, process);

    // Retention was faster than we.
    deployment.produce_usage(&events("lost", 20, now_ms()));
    let ends = group_tool(&deployment, "intake", &["--describe"]);
    let row = ends
        .lines()
        .find(|line| line.contains("usage-events") && line.split_whitespace().nth(2) == Some("0"))
        .unwrap_or_else(|| panic!("{ends}"));
    let [end, lag] = [4, 5].map(|column| row.split_whitespace().nth(column).unwrap().parse::<i64>().unwrap());
    assert!((1..20).contains(&lag), "both partitions have some: {ends}");
    let topic = deployment.topic("usage-events");
    let delete = serde_json::json!({"partitions": [{"topic": topic, "partition": 0, "offset": end}], "version": 1});
    let file = deployment.config.with_extension("json");
    std::fs::write(&file, delete.to_string()).unwrap();
    let arguments = ["--bootstrap-server", deployment.broker.bootstrap(), "--offset-json-file", file.to_str().unwrap()];
    run_tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments, "").expect_success();
    assert!(refusal(&deployment).contains("retention has removed"));
    let cannot = reset(&deployment, &["--repair", "--wait"]);
    assert_eq!(cannot.code, Some(2), "{cannot:?}");
    assert!(cannot.stderr.contains("tollgate reset --repair --skip-lost"), "{cannot:?}");
    let skipped = reset(&deployment, &["--repair", "--skip-lost", "--yes"]).expect_success();
    let moved: Vec<&str> = skipped.lines().filter(|line| line.starts_with("intake ")).collect();
    assert!(moved.len() == 1 && moved[0].contains(&format!("-> {end} what lay before is lost")), "{skipped}");
    let process = deployment.start();
    // Those of the other partition are all there.
    read(&deployment, 20 - u64::try_from(lag).unwrap());
    stop(&deployment, process);

    // What deliver looks at again, and what makes no sense for it.
    assert_eq!(reset(&deployment, &["--only", "deliver", "--repair"]).code, Some(2));
    assert_eq!(reset(&deployment, &["--only", "watch", "--to-latest"]).code, Some(2));
    assert_eq!(reset(&deployment, &[]).code, Some(2), "a target is needed");
    reset(&deployment, &["--only", "deliver", "--to-latest", "--yes", "--wait"]).expect_success();
}
