//! A group that takes itself for complete and leaves partitions to nobody: what a static member leaves behind that is killed in the middle of a
//! hand-over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;

use super::parts::{free_port, wait_for};
use super::path::{Deployment, now_ms, usage};

const LIMIT: Duration = Duration::from_secs(90);
const SHARDS: i32 = 4;

/// Takes what it is given, and says nothing more once something is to be given up: as if it had been killed just then.
#[derive(Default)]
struct DiesGivingUp {
    asked_for: AtomicI32,
}

impl ClientContext for DiesGivingUp {}

impl ConsumerContext for DiesGivingUp {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => consumer.incremental_assign(partitions).unwrap(),
            _ => self.asked_for.store(i32::try_from(partitions.count()).unwrap(), Ordering::SeqCst),
        }
    }
}

/// Another process of the same deployment.
fn second(of: &Deployment) -> Deployment {
    let http = free_port();
    let config = of.config.with_file_name("second.toml");
    let text = std::fs::read_to_string(&of.config).unwrap();
    let text = text.replace("instance_id = \"one\"", "instance_id = \"two\"").replace(&format!(":{}", of.http), &format!(":{http}"));
    std::fs::write(&config, text).unwrap();
    Deployment { prefix: of.prefix.clone(), config, http, broker: of.broker }
}

#[test]
fn partitions_that_a_kill_has_left_to_nobody_get_an_owner() {
    let one = Deployment::without_mail("owners", "");
    let two = second(&one);
    // The thread of `one`, as the group sees it, owns all shards. Then another process comes, for whom it has to give up half of them.
    let application = one.topic("app");
    let mut config = one.broker.client();
    config.set("group.id", format!("{application}-watch")).set("group.instance.id", format!("{application}-watch-one-0"));
    config.set("partition.assignment.strategy", "cooperative-sticky").set("enable.auto.commit", "false");
    let former: BaseConsumer<DiesGivingUp> = config.create_with_context(DiesGivingUp::default()).unwrap();
    former.subscribe(&[&one.topic(&format!("{application}-shard-repartition"))]).unwrap();
    wait_for("all shards to be the former's", LIMIT, || {
        let _ = former.poll(Duration::from_millis(100));
        (i32::try_from(former.assignment().unwrap().count()).unwrap() == SHARDS).then_some(())
    });
    let _two = two.start_with(&["--only", "watch"]);
    wait_for("half of them to be asked back", LIMIT, || {
        let _ = former.poll(Duration::from_millis(100));
        (former.context().asked_for.load(Ordering::SeqCst) == SHARDS / 2).then_some(())
    });
    // Not dropped: it would say goodbye.
    std::mem::forget(former);

    // What comes back under its name gets the other half and thinks that this is all.
    let _one = one.start();
    let nobodys = || two.metric("tollgate_partitions_without_owner");
    wait_for("the hole to be told", LIMIT, || (nobodys() == 2).then_some(()));
    let teams: BTreeSet<String> = (0..12).map(|number| format!("team-{number}")).collect();
    let wild = |team: &String| usage(&format!("wild-{team}"), now_ms() - 60_000, team, "eve", "300");
    one.produce_usage(&teams.iter().map(wild).collect::<Vec<_>>());
    wait_for("every team's alert", LIMIT, || {
        let alerts = one.newest("alerts");
        let found: BTreeSet<String> = alerts.values().map(|alert| alert["team"].as_str().unwrap().to_string()).collect();
        (found == teams).then_some(())
    });
    wait_for("no hole to be told", LIMIT, || (nobodys() == 0).then_some(()));
    assert!(format!("{}{}", one.log(), two.log()).contains("it is made to form anew"));
}
