//! `tollgate data-flow` as a user runs it: on what OpenLineage's own client wrote, with the policies that are shipped.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::real::parts::run;

/// Exit code and what was printed.
fn data_flow(more: &[&str]) -> (Option<i32>, String) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.current_dir(folder).args(["data-flow", "--config", "tests/data/lineage/tollgate.toml", "--policies", "config/policies"]);
    command.args(more).args(["tests/data/lineage/events.jsonl", "tests/data/lineage/activity.jsonl"]);
    let ran = run(&mut command, "", Duration::from_secs(30));
    (ran.code, ran.stdout)
}

#[test]
fn a_model_of_eu_data_in_asia_is_found_by_its_lineage() {
    let (code, text) = data_flow(&[]);
    assert_eq!(code, Some(1), "{text}");
    let broken: Vec<&str> = text.lines().filter(|line| line.starts_with("BREAKS A RULE")).collect();
    assert_eq!(broken[0], "BREAKS A RULE  risk-scorer 3 in ap-southeast-1 (team risk)", "{text}");
    assert!(!broken.iter().any(|line| line.contains("churn")), "its data does not leave the federation: {text}");
    assert!(text.contains("by way of: postgres://crm:5432/crm.public.customers > airflow/features.build"), "{text}");
    assert!(text.contains("fraud 1\n  data from   nobody knows\n  answers in  us-east-1"), "{text}");
    assert!(text.contains("NOT REGISTERED  helper 0.1") && text.contains("19 lines read, 0 rejected"), "{text}");
    // The team that has nothing to do with it.
    let (code, text) = data_flow(&["--team", "fraud"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("risk-scorer"), "{text}");
}

#[test]
fn the_map_is_the_same_for_programs_and_as_a_picture() {
    let (_, json) = data_flow(&["--format", "json"]);
    let map: Value = serde_json::from_str(&json).unwrap();
    let edges = map["edges"].as_array().unwrap();
    let broken = edges.iter().filter(|edge| edge["state"] == "breaks").count();
    let (_, svg) = data_flow(&["--format", "svg"]);
    // The legend has one of its own.
    assert_eq!(svg.matches("stroke=\"#c53030\"").count(), broken + 1);
    assert_eq!(svg.matches("<g><title>").count(), map["nodes"].as_array().unwrap().len());
    // What the README shows.
    assert_eq!(svg, include_str!("../docs/images/data-flow.svg"), "write it anew: see the README for the command");
}
