//! Dead letters go back once what was wrong is repaired: each once, as it was, and never round and round.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::inputs::schema_file;
use super::parts::{Consumed, Ended, Guarded, consume, produce, run, wait_for};
use super::path::{Deployment, now_ms};

const LIMIT: Duration = Duration::from_secs(60);
const SCHEMA: u32 = 7;

fn redrive(deployment: &Deployment, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["redrive", "--config"]).arg(&deployment.config).args(arguments);
    run(&mut command, "", LIMIT)
}

/// What went back, of a run that must have succeeded; 0 where there was nothing.
fn put_back(deployment: &Deployment, arguments: &[&str]) -> u64 {
    let said = redrive(deployment, &[&["--yes"], arguments].concat()).expect_success();
    let words = said.split("put back ").nth(1).and_then(|rest| rest.split(' ').next());
    words.and_then(|count| count.parse().ok()).unwrap_or_else(|| {
        assert!(said.contains("Nothing to put back."), "{said}");
        0
    })
}

fn event(topic: &str, at: usize) -> Value {
    let event =
        json!({"event_id": format!("e{at}"), "source": "gateway/eu1", "event_time": now_ms() - 60_000, "team": "search", "cost": "0.5"});
    json!({"topic": topic, "partition": at % 2, "key": format!("e{at}"), "headers": {"trace": format!("t{at}")},
        "avro": event, "schema_id": SCHEMA, "schema_file": schema_file("usage_event")})
}

fn letters(deployment: &Deployment) -> Vec<Consumed> {
    consume(deployment.broker.bootstrap(), &deployment.topic("dead-letter"))
}

fn stop(deployment: &Deployment, mut process: Guarded) {
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
}

fn decided(deployment: &Deployment, count: u64) {
    let read = || deployment.metric("tollgate_intake_records_read_total");
    wait_for(&format!("{count} records, now {}", read()), LIMIT, || (read() == count).then_some(()));
}

#[test]
fn what_was_repaired_is_counted_once() {
    let deployment = Deployment::without_mail("redrive", "[intake]\ndead_letter_ratio = 1.0");
    let (bootstrap, topic) = (deployment.broker.bootstrap(), deployment.topic("usage-events"));
    let process = deployment.start();
    let events: Vec<Value> = (0..20).map(|at| event(&topic, at)).collect();
    produce(bootstrap, &events);
    produce(bootstrap, &[json!({"topic": topic, "partition": 0, "key": "j", "value": "{\"event_id\": "})]);
    decided(&deployment, 21);
    assert_eq!(letters(&deployment).len(), 21);
    stop(&deployment, process);

    // Without a yes, and where there is nobody to ask, nothing happens; nor does it with --dry-run.
    let unasked = redrive(&deployment, &[]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stdout.contains("Add --yes"), "{unasked:?}");
    let dry = redrive(&deployment, &["--dry-run", "--reason", "unknown_schema"]).expect_success();
    assert!(dry.contains("20 would go back where they came from"), "{dry}");
    assert!(
        dry.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["unknown_schema", "20", "20", "0", "0", "0", "0"]),
        "{dry}"
    );
    assert_eq!(consume(bootstrap, &topic).len(), 21, "a dry run changes nothing");
    assert_eq!(redrive(&deployment, &["--reason", "no_such_reason"]).code, Some(2));
    assert_eq!(redrive(&deployment, &["--topic", "alerts", "--yes"]).code, Some(2));

    // A trial elsewhere is not remembered.
    deployment.broker.create_topic(&deployment.topic("sandbox"), 1, &[]);
    assert_eq!(put_back(&deployment, &["--to", &deployment.topic("sandbox"), "--limit", "3"]), 3);
    assert_eq!(consume(bootstrap, &deployment.topic("sandbox")).len(), 3);

    // The schema is made known.
    let mut config = std::fs::File::options().append(true).open(&deployment.config).unwrap();
    write!(config, "\n[schemas.ids]\n{SCHEMA} = 'usage_event'\n").unwrap();
    assert_eq!(put_back(&deployment, &["--reason", "unknown_schema", "--limit", "7"]), 7);
    assert_eq!(put_back(&deployment, &["--reason", "unknown_schema"]), 13, "the rest of them");
    assert_eq!(put_back(&deployment, &["--reason", "unknown_schema"]), 0, "each goes once");
    assert_eq!(put_back(&deployment, &["--since", "1h", "--topic", &topic]), 1, "the other reason had its own progress");

    let records = consume(bootstrap, &topic);
    let back: Vec<&Consumed> = records.iter().filter(|record| record.headers.contains_key("tollgate.redrive.attempt")).collect();
    assert_eq!(back.len(), 21);
    for record in &back {
        let original =
            records.iter().find(|other| other.key == record.key && !other.headers.contains_key("tollgate.redrive.attempt")).unwrap();
        assert_eq!((record.partition, &record.value, &record.value_base64), (original.partition, &original.value, &original.value_base64));
        let mut headers = record.headers.clone();
        assert_eq!(headers.remove("tollgate.redrive.attempt").flatten().as_deref(), Some("1"));
        assert!(headers.remove("tollgate.redrive.letter").is_some());
        assert_eq!(headers, original.headers);
    }

    let process = deployment.start();
    decided(&deployment, 21);
    let metric = |name: &str| deployment.metric(&format!("tollgate_intake_records_{name}_total"));
    assert_eq!((metric("combined"), metric("duplicate"), metric("rejected")), (20, 0, 1), "{}", deployment.log());
    stop(&deployment, process);

    // Once more from the beginning: intake knows them all.
    assert_eq!(put_back(&deployment, &["--again", "--reason", "unknown_schema"]), 20);
    let process = deployment.start();
    decided(&deployment, 20);
    assert_eq!((metric("combined"), metric("duplicate")), (0, 20), "{}", deployment.log());
    stop(&deployment, process);
}

#[test]
fn what_cannot_be_cured_ends() {
    let more = "[intake]\ndead_letter_ratio = 1.0\nlargest_record = '64KiB'";
    let deployment = Deployment::without_mail("redrive-loop", more);
    let (bootstrap, topic) = (deployment.broker.bootstrap(), deployment.topic("usage-events"));
    let process = deployment.start();
    // Larger than its topic allows when it is created: whoever owns the topic let it in.
    let alter = ["--bootstrap-server", bootstrap, "--alter", "--entity-type", "topics", "--entity-name", &topic];
    let larger = [&alter[..], &["--add-config", "max.message.bytes=2000000"]].concat();
    super::parts::run_tool("kafka.admin.ConfigCommand", &larger, "").expect_success();
    produce(bootstrap, &[json!({"topic": topic, "partition": 0, "key": "broken", "value": "{\"event_id\": "})]);
    produce(bootstrap, &[json!({"topic": topic, "partition": 0, "key": "huge", "value": "x".repeat(500_000)})]);
    decided(&deployment, 2);

    for attempt in 1..=3 {
        assert_eq!(put_back(&deployment, &[]), 1, "attempt {attempt}");
        decided(&deployment, 2 + attempt);
    }
    let left = redrive(&deployment, &["--yes"]).expect_success();
    assert!(left.contains("Nothing to put back."), "{left}");
    let row = |reason: &str| left.lines().find(|line| line.starts_with(reason)).unwrap_or_else(|| panic!("{left}")).to_string();
    // Letters, to go, before, too often, cut, other.
    assert_eq!(row("invalid_json").split_whitespace().skip(1).collect::<Vec<_>>(), ["4", "0", "3", "1", "0", "0"], "{left}");
    assert_eq!(row("too_large").split_whitespace().skip(1).collect::<Vec<_>>(), ["1", "0", "0", "0", "1", "0"], "{left}");
    assert_eq!(put_back(&deployment, &["--most-attempts", "4"]), 1, "who asks for more gets it");
    decided(&deployment, 6);
    let last = letters(&deployment)
        .into_iter()
        .filter(|letter| letter.key.as_deref() == Some("broken"))
        .max_by_key(|letter| letter.offset)
        .unwrap();
    assert_eq!(last.headers["tollgate.redrive.attempt"].as_deref(), Some("4"));

    // One of them by its place.
    let place = [last.partition.to_string(), last.offset.to_string()];
    let one = ["--partition", &place[0], "--offset", &place[1], "--most-attempts", "9"];
    assert_eq!(put_back(&deployment, &one), 1);
    assert_eq!(put_back(&deployment, &one), 0);
    stop(&deployment, process);
}

/// Letters as intake writes them, without an intake: many, and fast.
fn write_letters(deployment: &Deployment, count: usize) {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let producer: BaseProducer = deployment.broker.client().create().unwrap();
    let (topic, usage) = (deployment.topic("dead-letter"), deployment.topic("usage-events"));
    for n in 0..count {
        let texts = [("tollgate.reason", "invalid_amount"), ("__connect.errors.topic", &usage), ("__connect.errors.partition", "0")];
        let headers = texts.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
        let (key, value) = (n.to_string(), "v".repeat(500));
        let partition = i32::try_from(n % 2).unwrap();
        producer
            .send(BaseRecord::to(&topic).key(&key).payload(&value).partition(partition).headers(headers))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

/// Killed in the middle, again and again; in the end each letter has gone back once, for whoever reads committed records.
#[test]
fn a_killed_redrive_goes_on_where_it_was() {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    const LETTERS: usize = 20_000;
    let deployment = Deployment::without_mail("redrive-kill", "");
    write_letters(&deployment, LETTERS);
    let topic = deployment.topic("usage-events");
    let watcher: BaseConsumer = deployment.broker.client().create().unwrap();
    // Uncommitted ones count too.
    let written = || watcher.fetch_watermarks(&topic, 0, LIMIT).unwrap().1;
    let mut kills = 0;
    for round in 1..=3 {
        let before = written();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["redrive", "--yes", "--config"]).arg(&deployment.config);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut process = Guarded::spawn(&mut command);
        wait_for(&format!("round {round} to write"), LIMIT, || (written() > before + 2_000 || process.ended().is_some()).then_some(()));
        kills += i32::from(process.ended().is_none());
        process.kill9();
    }
    assert!(kills >= 2, "killed while it worked: {kills}");
    put_back(&deployment, &[]);
    assert_eq!(put_back(&deployment, &[]), 0);
    let mut keys: Vec<String> = consume(deployment.broker.bootstrap(), &topic).into_iter().filter_map(|record| record.key).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!((all, keys.len()), (LETTERS, LETTERS), "none is missing, none is there twice");
}
