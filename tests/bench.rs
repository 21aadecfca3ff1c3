//! `tollgate bench` as its user runs it, with few events: every figure is there. What the figures are is nobody's promise.

use std::process::Command;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use serde_json::Value;

use crate::real::parts::{free_port, kafka, run, temp_folder, unique};

const LIMIT: Duration = Duration::from_secs(120);

fn bench(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("bench").args(arguments).args(["--format", "json", "--log-level", "error"]);
    let said = run(&mut command, "", LIMIT).expect_success();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn assert_measured(measured: &Value, events: u64) {
    assert_eq!(measured["events"], events, "{measured}");
    assert!(measured["events_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{measured}");
}

#[test]
fn what_needs_no_broker_is_measured_in_memory() {
    for arguments in [&["decode", "--form", "json"][..], &["intake"], &["intake", "--policies"], &["policies"]] {
        let measured = bench(&[arguments, &["--events", "2000"]].concat());
        assert_measured(&measured[0], 2_000);
    }
    // Ten minutes of each leaf at a time: hours close on the way.
    let measured = bench(&["watch", "--events", "3000", "--leaves", "100", "--policies"]);
    assert_measured(&measured[0], 3_000);
    assert!(measured[0]["series"].as_f64().is_some_and(|series| series > 100.0), "{}", measured[0]);
}

#[test]
fn what_needs_a_broker_leaves_nothing_behind_on_it() {
    let prefix = unique("bench");
    let config = temp_folder("bench").join("tollgate.toml");
    let text = format!(
        "version = 1\n[kafka]\nbootstrap_servers = \"{}\"\napplication_id = \"{prefix}\"\ntopic_prefix = \"{prefix}-\"\ninstance_id = \"one\"\n\
         replication_factor = 1\n[shards]\ncount = 2\n[http]\nlisten = \"127.0.0.1:{}\"\n",
        kafka().bootstrap(),
        free_port()
    );
    std::fs::write(&config, text).unwrap();
    let (config, topic) = (config.to_str().unwrap(), format!("{prefix}-bench"));
    let measured = bench(&["end-to-end", "--config", config, "--topic", &topic, "--events", "20000"]);
    assert_eq!(measured.iter().map(|line| line["name"].as_str().unwrap()).collect::<Vec<_>>(), ["floor", "end-to-end"]);
    measured.iter().for_each(|line| assert_measured(line, 20_000));
    assert!(measured[1]["ratio_to_floor"].as_f64().is_some(), "{}", measured[1]);
    let measured = bench(&["commit", "--config", config, "--transactions", "20", "--records", "10"]);
    assert!(measured[0]["p50_ms"].as_f64().is_some_and(|time| time > 0.0), "{}", measured[0]);
    let consumer: BaseConsumer = kafka().client().create().unwrap();
    let metadata = consumer.fetch_metadata(None, LIMIT).unwrap();
    let left: Vec<&str> = metadata.topics().iter().map(MetadataTopic::name).filter(|name| name.contains(&prefix)).collect();
    assert_eq!(left, [topic.as_str()], "what was filled once stays");
}
