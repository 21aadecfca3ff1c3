//! Commands whose output nobody reads to its end (`| head -1`): they do their work and end as they would have.

use std::process::{Command, Output, Stdio};

use crate::real::parts::{root, temp_folder};

fn tollgate(arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).args(["--log-level", "error"]).current_dir(root());
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = temp_folder("cut");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (event, report) = (path("event.json"), path("report.csv"));
    std::fs::write(&event, r#"{"team":"etl","provider":"deepseek"}"#).unwrap();
    let focus = "tests/data/focus/focus_1.0_sample.csv.gz";
    let commands: [&[&str]; 8] = [
        &["policy", "check", "config/policies"],
        &["policy", "test", "config/policies"],
        &["policy", "list", "config/policies"],
        &["policy", "explain", "config/policies", "--event", &event],
        &["check", "--offline"],
        &["import", "focus", "--dry-run", "--report", &report, focus],
        &["bench", "decode", "--events", "1000"],
        &["config", "default"],
    ];
    for arguments in commands {
        let whole = tollgate(arguments, Stdio::piped());
        assert!(!whole.stdout.is_empty(), "{arguments:?} prints");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let cut = tollgate(arguments, writer.into());
        let said = String::from_utf8_lossy(&cut.stderr);
        assert_eq!(cut.status.code(), whole.status.code(), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}
