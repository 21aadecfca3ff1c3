//! The Java side: Kafka's own tools, and a producer and a reader that share no code with ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::process::{Ended, run};
use super::root;

/// The folder of the jars; fetches them when they are missing.
pub fn jars() -> &'static PathBuf {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let mut script = Command::new(root().join("scripts/parts.sh"));
        let folder = run(&mut script, "", Duration::from_secs(600)).expect_success();
        PathBuf::from(folder.trim()).join("lib")
    })
}

/// `java` with the jars on its class path, tuned to start fast.
pub fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    command.arg("-cp").arg(jars().join("*"));
    command
}

/// Runs one of Kafka's tools by its class, such as `org.apache.kafka.tools.TopicCommand`.
pub fn run_tool(class: &str, args: &[&str], stdin: &str) -> Ended {
    run(java().arg(class).args(args), stdin, Duration::from_secs(120))
}

/// Sends the lines (tests/parts/Produce.java says what a line may hold); all must be acknowledged.
#[track_caller]
pub fn produce(bootstrap: &str, lines: &[Value]) {
    let counts = produce_with(bootstrap, lines, &[]);
    assert_eq!(counts["acked"], lines.len(), "{counts}");
}

/// As `produce`, with options such as `["--rate", "500", "--for-seconds", "10"]`; answers the counts.
#[track_caller]
pub fn produce_with(bootstrap: &str, lines: &[Value], options: &[&str]) -> Value {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut command = java();
    command.arg(root().join("tests/parts/Produce.java")).args(["--bootstrap", bootstrap]).args(options);
    let stdout = run(&mut command, &input, Duration::from_secs(300)).expect_success();
    serde_json::from_str(stdout.trim()).expect("counts in JSON")
}

/// One record as the Java reader saw it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Consumed {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<String>,
    #[serde(default)]
    pub key_base64: Option<String>,
    pub headers: BTreeMap<String, Option<String>>,
    /// The value as text; `None` for a tombstone and for bytes that are no UTF-8.
    pub value: Option<String>,
    #[serde(default)]
    pub value_base64: Option<String>,
}

impl Consumed {
    /// The value as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.value.as_deref().expect("a value in text")).expect("JSON")
    }
}

/// What the topic holds now, from its beginning to its last stable offset (isolation `read_committed`).
#[track_caller]
pub fn consume(bootstrap: &str, topic: &str) -> Vec<Consumed> {
    consume_with(bootstrap, topic, &["--to-end"])
}

/// As `consume`, with the options of tests/parts/Consume.java, such as `["--until-count", "3"]`.
#[track_caller]
pub fn consume_with(bootstrap: &str, topic: &str, options: &[&str]) -> Vec<Consumed> {
    let mut command = java();
    command.arg(root().join("tests/parts/Consume.java"));
    command.args(["--bootstrap", bootstrap, "--topic", topic]).args(options);
    let stdout = run(&mut command, "", Duration::from_secs(300)).expect_success();
    stdout.lines().map(|line| serde_json::from_str(line).expect("a record in JSON")).collect()
}

/// The values of `consume` as text, in the order of the log.
#[track_caller]
pub fn consume_text(bootstrap: &str, topic: &str) -> Vec<String> {
    consume(bootstrap, topic).into_iter().map(|record| record.value.expect("a value in text")).collect()
}
