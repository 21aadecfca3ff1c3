//! Apache Kafka 4.3.1, one KRaft node, started from its jars.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::caretaker::{Guarded, tail, temp_folder};
use super::java::{jars, java, run_tool};
use super::process::run;
use super::{free_port, wait_for};

/// Any 16 bytes will do for a cluster that lives for one test run.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// One broker. It ends when dropped, and with the test process at the latest.
pub struct Kafka {
    bootstrap: String,
    /// `None` for a broker that somebody else runs (`TOLLGATE_TEST_BROKERS`).
    node: Option<Node>,
}

struct Node {
    folder: PathBuf,
    /// Where clients have to say who they are.
    guarded: Option<u16>,
    process: Mutex<Option<Guarded>>,
}

/// The broker that all tests of this process share. Name topics and groups with `unique`.
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| match std::env::var("TOLLGATE_TEST_BROKERS") {
        Ok(bootstrap) => {
            let kafka = Kafka { bootstrap, node: None };
            kafka.wait_until_ready(Duration::from_secs(30)).expect("TOLLGATE_TEST_BROKERS answers");
            kafka
        }
        Err(_) => Kafka::start_own(),
    })
}

/// Who may log in to the guarded listener, all with the password "right".
pub const USERS: [&str; 5] = ["ann", "bob", "cem", "dan", "eve"];

/// A broker with an authorizer that all tests of this process share: nobody may do anything unless he is allowed to, except who comes by the
/// plain listener, `bootstrap()`. `guarded()` is the other one, with SASL PLAIN and SCRAM.
pub fn guarded_kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start_as(true))
}

impl Kafka {
    /// A fresh broker for one test: it may be stopped, killed and started again.
    pub fn start_own() -> Kafka {
        Kafka::start_as(false)
    }

    fn start_as(guarded: bool) -> Kafka {
        // The ports were free a moment ago; if somebody was faster, others are.
        let mut trouble = String::new();
        for _ in 0..3 {
            match Kafka::try_start(guarded) {
                Ok(kafka) => return kafka,
                Err(error) => trouble = error,
            }
        }
        panic!("Kafka did not start: {trouble}");
    }

    fn try_start(guarded: bool) -> Result<Kafka, String> {
        let folder = temp_folder("kafka");
        let (port, controller) = (free_port(), free_port());
        let mut properties = server_properties(&folder, port, controller);
        let guarded = guarded.then(free_port);
        if let Some(guarded) = guarded {
            guard(&mut properties, guarded);
        }
        std::fs::write(folder.join("server.properties"), properties).unwrap();
        let mut format = java();
        format.arg("kafka.tools.StorageTool").args(["format", "-t", CLUSTER_ID, "-c"]);
        format.arg(folder.join("server.properties"));
        if guarded.is_some() {
            format.args(USERS.iter().flat_map(|user| ["--add-scram".to_string(), format!("SCRAM-SHA-512=[name={user},password=right]")]));
        }
        run(&mut format, "", Duration::from_secs(60)).expect_success();
        let node = Node { folder, guarded, process: Mutex::new(None) };
        let kafka = Kafka { bootstrap: format!("127.0.0.1:{port}"), node: Some(node) };
        kafka.spawn();
        kafka.wait_until_ready(Duration::from_secs(90)).map(|()| kafka)
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where clients have to say who they are.
    pub fn guarded(&self) -> String {
        format!("127.0.0.1:{}", self.node().guarded.expect("guarded_kafka()"))
    }

    /// The configuration every client starts from.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Ends the broker as an operator would; its data stay.
    pub fn stop(&self) {
        let mut process = self.node().process.lock().unwrap().take().expect("the broker runs");
        process.signal("TERM");
        process.wait(Duration::from_secs(30));
    }

    /// Ends the broker as a power cut would; its data stay.
    pub fn kill9(&self) {
        self.node().process.lock().unwrap().take().expect("the broker runs").kill9();
    }

    /// Freezes the broker: connections stay open and nothing answers. `thaw` ends it.
    pub fn freeze(&self) {
        self.node().process.lock().unwrap().as_ref().expect("the broker runs").signal("STOP");
    }

    pub fn thaw(&self) {
        self.node().process.lock().unwrap().as_ref().expect("the broker runs").signal("CONT");
    }

    /// Starts the stopped broker again, on its ports and data.
    pub fn start(&self) {
        assert!(self.node().process.lock().unwrap().is_none(), "the broker runs already");
        self.spawn();
        self.wait_until_ready(Duration::from_secs(90)).unwrap();
    }

    /// Creates a topic with one replica and waits until it can be used.
    pub fn create_topic(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let results = runtime.block_on(admin.create_topics([&new], &options)).unwrap();
        assert_eq!(results, vec![Ok(topic.to_owned())]);
        wait_for("the new topic", Duration::from_secs(20), || {
            let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
            let found = metadata.topics().first()?;
            let led = found.partitions().iter().filter(|partition| partition.leader() >= 0).count();
            (found.error().is_none() && led == usize::try_from(partitions).unwrap()).then_some(())
        });
    }

    /// The state of a transactional id as Kafka's own tool lists it: `Ongoing` is an open transaction.
    pub fn transaction_state(&self, transactional_id: &str) -> String {
        let args = ["--bootstrap-server", &self.bootstrap, "list"];
        let listed = run_tool("org.apache.kafka.tools.TransactionsCommand", &args, "").expect_success();
        let mut rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&transactional_id));
        row.unwrap_or_else(|| panic!("{transactional_id} is not in\n{listed}"))[3].to_owned()
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("TOLLGATE_TEST_BROKERS is set: this broker is not ours to stop")
    }

    fn spawn(&self) {
        let node = self.node();
        let log = std::fs::File::options().create(true).append(true).open(node.folder.join("broker.log")).unwrap();
        // Not `java()`: a broker under load wants the full compiler.
        let mut command = std::process::Command::new("java");
        command.args(["-Xms256m", "-Xmx768m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        command.arg("-cp").arg(jars().join("*")).arg("kafka.Kafka").arg(node.folder.join("server.properties"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        *node.process.lock().unwrap() = Some(Guarded::spawn(&mut command));
    }

    /// Ready is what a client calls ready: a broker answers a metadata request.
    fn wait_until_ready(&self, limit: Duration) -> Result<(), String> {
        // Without this, a refused connection makes librdkafka write to the test's output.
        let mut config = self.client();
        config.set("log_level", "0").set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "200");
        let client: BaseConsumer = config.create().unwrap();
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Ok(metadata) = client.fetch_metadata(None, Duration::from_millis(500))
                && !metadata.brokers().is_empty()
            {
                return Ok(());
            }
            if let Some(node) = &self.node {
                let ended = node.process.lock().unwrap().as_mut().and_then(Guarded::ended);
                if let Some(status) = ended {
                    return Err(format!("it ended with {status}:\n{}", tail(&node.folder.join("broker.log"))));
                }
            }
        }
        let log = self.node.as_ref().map(|node| tail(&node.folder.join("broker.log")));
        Err(format!("{} does not answer after {limit:?}\n{}", self.bootstrap, log.unwrap_or_default()))
    }
}

/// One node is broker and controller. Everything that waits by default waits as little as it can;
/// retention is off, so that a test may write history with old timestamps.
fn server_properties(folder: &Path, port: u16, controller: u16) -> String {
    let data = folder.join("data");
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
message.max.bytes=20971520
replica.fetch.max.bytes=20971520
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=500
log.cleaner.min.cleanable.ratio=0.01
"
    )
}

/// A second listener, that asks who comes, and rights for everybody but who comes by the first.
fn guard(properties: &mut String, port: u16) {
    for key in ["listeners=", "advertised.listeners="] {
        let end = format!("\n{key}PLAINTEXT");
        *properties = properties.replacen(&end, &format!("\n{key}SASL_PLAINTEXT://127.0.0.1:{port},PLAINTEXT"), 1);
    }
    let users: String = USERS.iter().map(|user| format!(" user_{user}=\"right\"")).collect();
    let (plain, scram) =
        ("org.apache.kafka.common.security.plain.PlainLoginModule", "org.apache.kafka.common.security.scram.ScramLoginModule");
    properties.push_str(&format!(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain} required{users};
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={scram} required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"
    ));
}
