//! Three Apache Kafka 4.3.1 nodes on loopback, each broker and controller. Clients come directly or through a proxy per broker.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::caretaker::{Guarded, tail, temp_folder};
use super::free_port;
use super::java::java;
use super::process::run;
use super::proxy::Proxy;

/// Any 16 bytes will do for a cluster that lives for one test.
const CLUSTER_ID: &str = "5M7h4ojTiU-fNDuL--Y97tx";
/// The controller fences a broker that was silent for this long; longer than a busy machine lets a process wait.
const BROKER_SESSION_MS: u32 = 5_000;
pub const NODES: usize = 3;
const START_LIMIT: Duration = Duration::from_secs(300);

/// Replication factor 3, of which 2 have to be in sync. Ends when dropped, and with the test process at the latest.
pub struct Cluster {
    nodes: Vec<Node>,
    client: BaseConsumer,
}

struct Node {
    id: usize,
    folder: PathBuf,
    port: u16,
    proxied: u16,
    controller: u16,
    proxy: Proxy,
    process: Mutex<Option<Guarded>>,
}

impl Cluster {
    pub fn start() -> Cluster {
        // The ports were free a moment ago; if somebody was faster, others are.
        let mut trouble = String::new();
        for _ in 0..3 {
            match Cluster::try_start() {
                Ok(cluster) => return cluster,
                Err(error) => trouble = error,
            }
        }
        panic!("the cluster did not start: {trouble}");
    }

    fn try_start() -> Result<Cluster, String> {
        let folder = temp_folder("cluster");
        let nodes: Vec<Node> = (1..=NODES).map(|id| Node::new(id, &folder)).collect();
        let voters: Vec<String> = nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller)).collect();
        thread::scope(|scope| {
            for node in &nodes {
                let voters = voters.join(",");
                scope.spawn(move || node.format(&voters));
            }
        });
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", list(nodes.iter().map(|node| node.port)));
        // Without these, a refused connection is written to the test's output and tried again after 10 s.
        config.set("log_level", "0").set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "300");
        let cluster = Cluster { nodes, client: config.create().unwrap() };
        for node in &cluster.nodes {
            node.spawn();
        }
        cluster.wait_for_isr()?;
        Ok(cluster)
    }

    /// Addresses that no fault of the network touches.
    pub fn bootstrap(&self) -> String {
        list(self.nodes.iter().map(|node| node.port))
    }

    /// Addresses behind the proxies; the brokers lead whoever comes this way back to the proxies.
    pub fn proxied_bootstrap(&self) -> String {
        list(self.nodes.iter().map(|node| node.proxy.port))
    }

    /// The configuration of a client that comes directly.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config.set("log_level", "0").set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "300");
        config
    }

    /// Nodes are numbered from 0.
    pub fn proxy(&self, node: usize) -> &Proxy {
        &self.nodes[node].proxy
    }

    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.nodes.iter().map(|node| &node.proxy)
    }

    /// Ends a node as a power cut would; its data stay.
    pub fn kill9(&self, node: usize) {
        self.nodes[node].process.lock().unwrap().take().expect("the node runs").kill9();
    }

    /// Ends a node as an operator would.
    pub fn stop(&self, node: usize) {
        let mut process = self.nodes[node].process.lock().unwrap().take().expect("the node runs");
        process.signal("TERM");
        process.wait(Duration::from_secs(60));
    }

    /// Freezes a node: its connections stay open and nothing answers. `thaw` ends it.
    pub fn freeze(&self, node: usize) {
        self.nodes[node].process.lock().unwrap().as_ref().expect("the node runs").signal("STOP");
    }

    pub fn thaw(&self, node: usize) {
        self.nodes[node].process.lock().unwrap().as_ref().expect("the node runs").signal("CONT");
    }

    /// Starts a node that was ended, on its ports and data. `wait_for_isr` tells when it is a full member again.
    pub fn restart(&self, node: usize) {
        assert!(self.nodes[node].process.lock().unwrap().is_none(), "the node runs already");
        self.nodes[node].spawn();
    }

    /// Waits until all brokers are there, every partition has a leader and all its replicas are in sync.
    ///
    /// # Errors
    /// A node has ended, or it takes too long.
    pub fn wait_for_isr(&self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            self.all_run()?;
            if self.is_whole() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        let logs = self.nodes.iter().map(|node| tail(&node.folder.join("broker.log"))).collect::<Vec<_>>().join("\n\n");
        Err(format!("three brokers with all replicas in sync were not there within {START_LIMIT:?}:\n{logs}"))
    }

    /// Leader of each partition of a topic, as nodes numbered from 0.
    pub fn leaders(&self, topic: &str) -> Vec<Option<usize>> {
        let Ok(metadata) = self.client.fetch_metadata(Some(topic), Duration::from_secs(5)) else { return Vec::new() };
        let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        partitions.map(|partition| usize::try_from(partition.leader()).ok().and_then(|id| id.checked_sub(1))).collect()
    }

    fn is_whole(&self) -> bool {
        let Ok(metadata) = self.client.fetch_metadata(None, Duration::from_secs(5)) else { return false };
        let whole = |partition: &rdkafka::metadata::MetadataPartition| {
            partition.leader() > 0 && partition.isr().len() == partition.replicas().len() && partition.replicas().len() == NODES
        };
        metadata.brokers().len() == NODES && metadata.topics().iter().all(|topic| topic.partitions().iter().all(whole))
    }

    fn all_run(&self) -> Result<(), String> {
        for node in &self.nodes {
            let ended = node.process.lock().unwrap().as_mut().and_then(Guarded::ended);
            if let Some(status) = ended {
                return Err(format!("node {} ended with {status}:\n{}", node.id, tail(&node.folder.join("broker.log"))));
            }
        }
        Ok(())
    }
}

impl Node {
    fn new(id: usize, folder: &Path) -> Node {
        let folder = folder.join(format!("node-{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let (port, proxied, controller) = (free_port(), free_port(), free_port());
        let proxy = Proxy::new();
        proxy.lead_to(proxied);
        Node { id, folder, port, proxied, controller, proxy, process: Mutex::new(None) }
    }

    fn format(&self, voters: &str) {
        let file = self.folder.join("server.properties");
        std::fs::write(&file, self.properties(voters)).unwrap();
        let mut format = java();
        format.arg("kafka.tools.StorageTool").args(["format", "-t", CLUSTER_ID, "-c"]).arg(file);
        run(&mut format, "", Duration::from_secs(120)).expect_success();
    }

    fn spawn(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("broker.log")).unwrap();
        // Three at once, started again and again: quick to start counts for more than what the full compiler would give.
        let mut command = java();
        command.args(["-Xms128m", "-Xmx320m", "kafka.Kafka"]).arg(self.folder.join("server.properties"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *self.process.lock().unwrap() = Some(Guarded::spawn(&mut command));
    }

    /// Retention is off and logs are not compacted, so that history with old timestamps stays and can be read whole.
    fn properties(&self, voters: &str) -> String {
        let Node { id, port, proxied, controller, proxy, folder, .. } = self;
        let (through, data) = (proxy.port, folder.join("data"));
        let data = data.display();
        format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{through}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
num.partitions=4
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=1
default.replication.factor=3
min.insync.replicas=2
message.max.bytes=20971520
replica.fetch.max.bytes=20971520
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms={BROKER_SESSION_MS}
broker.heartbeat.interval.ms=500
log.retention.ms=-1
log.cleaner.enable=false
"
        )
    }
}

fn list(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}
