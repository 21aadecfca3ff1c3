//! A partition of an input that nobody leads: what is in the others is watched, and who waits says for what.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;

use tollgate::kafka::client::Connection;
use tollgate::kafka::consumer::Consumer;
use tollgate::kafka::link::{Partition, Rebalance};

use super::parts::{Cluster, Guarded, consume, kafka, produce, unique, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(90);
const MISSING: usize = 2;

/// Each partition on one broker alone, partition 1 on the one that goes.
fn create(cluster: &Cluster, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = cluster.client().create().unwrap();
    let replicas: [&[i32]; 2] = [&[1], &[3]];
    let new = NewTopic::new(topic, 2, TopicReplication::Variable(&replicas)).set("min.insync.replicas", "1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

fn start(deployment: &Deployment) -> Guarded {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(deployment.config.with_extension("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("run").arg("--config").arg(&deployment.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Guarded::spawn(&mut command)
}

#[test]
fn a_partition_without_a_leader_holds_up_no_other() {
    let cluster = Cluster::start();
    let deployment = Deployment::bare("leaderless", kafka(), "");
    let text = std::fs::read_to_string(&deployment.config).unwrap();
    let text = text.replace(kafka().bootstrap(), &cluster.bootstrap()).replace("[topics]", "replication_factor = 3\n[topics]");
    std::fs::write(&deployment.config, text).unwrap();
    let topic = deployment.topic("usage-events");
    create(&cluster, &topic);
    deployment.command(&["topics", "create"]);
    let send = |partition: i32, id: &str, team: &str| {
        let event = usage(id, now_ms(), team, "ann", "5000.00");
        produce(&cluster.bootstrap(), &[json!({"topic": topic, "partition": partition, "key": id, "value_json": event})]);
    };
    let combined = |count: u64| {
        wait_for(&format!("{count} events\n{}", deployment.log()), LIMIT, || {
            (deployment.metric("tollgate_intake_records_combined_total") == count).then_some(())
        });
    };
    let alert_of = |team: &str| {
        let is_of = |value: serde_json::Value| value["team"] == team;
        wait_for(&format!("an alert of {team}"), LIMIT, || {
            consume(&cluster.bootstrap(), &deployment.topic("alerts")).iter().any(|record| is_of(record.json())).then_some(())
        });
    };

    cluster.kill9(MISSING);
    wait_for("a partition without a leader", LIMIT, || matches!(cluster.leaders(&topic)[..], [Some(_), None]).then_some(()));
    let mut process = start(&deployment);
    send(0, "first", "search");
    combined(1);
    alert_of("search");
    assert_eq!(deployment.get("/health/ready").0, 503, "not all of it is watched");
    let named = format!("waiting for a leader of {topic}[1]");
    wait_for("it is said", LIMIT, || deployment.log().contains(&named).then_some(()));

    // What was given and never begun is given up like the rest.
    process.signal("TERM");
    assert!(process.wait(Duration::from_secs(15)).is_some_and(|status| status.success()), "{}", deployment.log());
    assert!(!deployment.log().contains("did not close"), "{}", deployment.log());

    let _running = start(&deployment);
    send(0, "second", "ads");
    combined(1);
    cluster.restart(MISSING);
    wait_for("all of it to be watched", LIMIT, || (deployment.get("/health/ready").0 == 200).then_some(()));
    send(1, "third", "support");
    combined(2);
    alert_of("support");
    assert_eq!(deployment.metric("tollgate_role_failures_total"), 0, "{}", deployment.log());
}

/// A member that has begun one of its four partitions gives up two of them, of which it has begun one at most.
#[test]
fn what_was_never_begun_can_be_given_up() {
    let topic = unique("never-begun");
    kafka().create_topic(&topic, 4, &[]);
    let member = |instance: &str| {
        let connection = Connection {
            bootstrap_servers: kafka().bootstrap().to_string(),
            application_id: topic.clone(),
            instance_id: instance.to_string(),
            session_timeout_ms: 45_000,
            ..Connection::default()
        };
        Consumer::subscribe(&connection.member_config("role", 0), &[&topic]).unwrap()
    };
    let mut one = member("one");
    let given = wait_for("four partitions", LIMIT, || match one.event().unwrap() {
        Some(Rebalance::Assign(partitions)) => Some(partitions),
        other => other.map(|event| panic!("{event:?}")),
    });
    assert_eq!(given.len(), 4);
    one.assign(&[(given[0].clone(), 0)]).unwrap();
    let mut other = member("other");
    let mut taken = BTreeSet::new();
    let moved: BTreeSet<Partition> = wait_for("two of them to move", LIMIT, || {
        match one.event().unwrap() {
            Some(Rebalance::Revoke { partitions, lost: false }) => {
                one.unassign(&partitions).unwrap();
                taken.extend(partitions);
            }
            Some(Rebalance::Assign(none)) if none.is_empty() => one.assign(&[]).unwrap(),
            None => {}
            Some(event) => panic!("{event:?}"),
        }
        match other.event().unwrap() {
            Some(Rebalance::Assign(none)) if none.is_empty() => other.assign(&[]).map(|()| None).unwrap(),
            Some(Rebalance::Assign(moved)) => Some(moved.into_iter().collect()),
            event => event.map(|event| panic!("{event:?}")),
        }
    });
    assert_eq!((moved.len(), &moved), (2, &taken));
    let later = given.iter().skip(1).find(|partition| !moved.contains(partition)).expect("one stays");
    one.assign(&[(later.clone(), 0)]).unwrap();
    assert!(one.assigned().contains(later));
}
