//! Clients of ours that look on from outside: committed offsets, how far the groups have come, how much has been rolled up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::fleet::{Fleet, INPUT_PARTITIONS, SHARDS};
use crate::real::parts::Cluster;

const ASK: Duration = Duration::from_secs(10);

/// Role, and partition of the topic that it reads.
pub type Place = (&'static str, i32);

#[derive(Clone, Debug, Default)]
pub struct Sampled {
    pub committed: BTreeMap<Place, i64>,
    pub samples: u64,
    /// Committed offsets that went back.
    pub stepped_back: Vec<String>,
}

/// Reads committed offsets of all groups, again and again, until it is dropped.
pub struct Sampler {
    sampled: Arc<Mutex<Sampled>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub fn reads(fleet: &Fleet) -> [(&'static str, String, i32); 3] {
    let shards = i32::try_from(SHARDS).unwrap();
    [
        ("intake", fleet.topic("usage-events"), INPUT_PARTITIONS),
        ("watch", fleet.internal("shard-repartition"), shards),
        ("deliver", fleet.topic("alerts"), 3),
    ]
}

impl Sampler {
    pub fn start(cluster: &Cluster, fleet: &Fleet) -> Sampler {
        let (sampled, stop) = (Arc::<Mutex<Sampled>>::default(), Arc::<AtomicBool>::default());
        let groups: Vec<_> = reads(fleet)
            .into_iter()
            .map(|(role, topic, partitions)| {
                let client: BaseConsumer = cluster.client().set("group.id", fleet.group(role)).create().unwrap();
                (role, topic, partitions, client)
            })
            .collect();
        let (shared, stopping) = (sampled.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopping.load(Ordering::SeqCst) {
                for (role, topic, partitions, client) in &groups {
                    if let Some(offsets) = committed(client, topic, *partitions) {
                        shared.lock().unwrap().take(role, &offsets);
                    }
                }
                thread::sleep(Duration::from_millis(250));
            }
        });
        Sampler { sampled, stop, thread: Some(thread) }
    }

    pub fn now(&self) -> Sampled {
        self.sampled.lock().unwrap().clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Sampled {
    pub fn take(&mut self, role: &'static str, offsets: &BTreeMap<i32, i64>) {
        self.samples += 1;
        for (partition, offset) in offsets {
            let before = self.committed.insert((role, *partition), *offset);
            if let Some(before) = before.filter(|before| before > offset) {
                self.stepped_back.push(format!("{role}, partition {partition}: from {before} to {offset}"));
            }
        }
    }
}

/// `None`: the coordinator does not answer now. Partitions without an offset are left out.
fn committed(client: &BaseConsumer, topic: &str, partitions: i32) -> Option<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let answer = client.committed_offsets(list, ASK).ok()?;
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        element.error().ok()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Some(offsets)
}

/// A client without a group that reads committed records from the beginning.
pub fn reader(config: &mut ClientConfig, topic: &str, partitions: i32) -> BaseConsumer {
    config.set("group.id", "chaos-observer").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "100");
    let client: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    client.assign(&list).unwrap();
    client
}

/// Asks where partitions end.
pub struct Ends {
    stable: BaseConsumer,
    high: BaseConsumer,
}

impl Ends {
    pub fn of(cluster: &Cluster) -> Ends {
        let client = |isolation: &str| cluster.client().set("isolation.level", isolation).create().unwrap();
        Ends { stable: client("read_committed"), high: client("read_uncommitted") }
    }

    /// Of what is decided, and of what is written.
    ///
    /// # Errors
    /// The leader does not answer now.
    pub fn ask(&self, topic: &str, partition: i32) -> Result<(i64, i64), String> {
        let ask = |client: &BaseConsumer| client.fetch_watermarks(topic, partition, ASK).map(|(_, end)| end);
        let answer = ask(&self.stable).and_then(|stable| Ok((stable, ask(&self.high)?)));
        answer.map_err(|error| format!("{topic}[{partition}]: {error}"))
    }

    /// The first offset that is still there.
    pub fn begin(&self, topic: &str, partition: i32) -> i64 {
        self.stable
            .fetch_watermarks(topic, partition, ASK)
            .map(|(begin, _)| begin)
            .unwrap_or_else(|error| panic!("{topic}[{partition}]: {error}"))
    }
}

/// Where the inputs of both roles end now. Waits for leaders that are away.
///
/// # Errors
/// A leader is away for too long.
pub fn marks(cluster: &Cluster, fleet: &Fleet, limit: Duration) -> Result<BTreeMap<Place, i64>, String> {
    let start = Instant::now();
    let client: BaseConsumer = cluster.client().set("isolation.level", "read_committed").create().unwrap();
    let mut marks = BTreeMap::new();
    for (role, topic, partitions) in reads(fleet).into_iter().take(2) {
        for partition in 0..partitions {
            let high = loop {
                match client.fetch_watermarks(&topic, partition, ASK) {
                    Ok((_, high)) => break high,
                    Err(error) if start.elapsed() > limit => return Err(format!("{topic}[{partition}] does not answer: {error}")),
                    Err(_) => {}
                }
            };
            marks.insert((role, partition), high);
        }
    }
    Ok(marks)
}

/// Follows the roll-ups and knows how many events stand in their newest revisions.
pub struct Follower {
    client: BaseConsumer,
    newest: BTreeMap<String, u64>,
}

impl Follower {
    pub fn start(cluster: &Cluster, fleet: &Fleet) -> Follower {
        Follower { client: reader(&mut cluster.client(), &fleet.topic("spend-rollups"), 3), newest: BTreeMap::new() }
    }

    /// Reads on for a moment; events that are rolled up by now.
    pub fn events(&mut self) -> u64 {
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until {
            let Some(Ok(message)) = self.client.poll(Duration::from_millis(20)) else { continue };
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            let rollup: Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("a roll-up in JSON");
            self.newest.insert(key, rollup["events"].as_u64().expect("a count"));
        }
        self.newest.values().sum()
    }
}
