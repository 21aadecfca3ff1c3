//! `tollgate policy` on the shipped policies, and on some that fail.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn tollgate(arguments: &[&str], input: &str) -> Output {
    run(&[&["policy"], arguments].concat(), input)
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder of policies with this one file.
pub fn folder(content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("global")).unwrap();
    std::fs::write(folder.path().join("global/p.toml"), content).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

#[test]
fn the_shipped_policies_are_right_and_tested_whole() {
    let checked = tollgate(&["check", "config/policies"], "");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("27 global policies, 1 of 1 domains"), "{}", text(&checked.stdout));
    let tested = tollgate(&["test", "config/policies"], "");
    let shown = text(&tested.stdout);
    assert!(tested.status.success() && !shown.contains("untested") && !shown.contains("FAILED"), "{shown}");
    let listed: Value = serde_json::from_slice(&tollgate(&["list", "config/policies", "--format", "json"], "").stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 28);
    // What rests on a law says on which, as of when, and never more than that somebody has to look.
    let laws: Vec<&Value> =
        listed.as_array().unwrap().iter().filter(|policy| !["house", ""].contains(&policy["pack"].as_str().unwrap_or(""))).collect();
    assert_eq!(laws.len(), 10, "{laws:#?}");
    for law in laws {
        let is_cited = law["source"].as_str().is_some_and(|source| source.contains("Art.") || source.contains("RBI/"));
        assert!(is_cited && law["as_of"].is_string() && law["mode"] == "warn" && law["owner"] == "legal", "{law}");
    }
}

#[test]
fn an_event_is_explained_part_by_part() {
    let event = r#"{"team":"etl","provider":"deepseek","region":"us-east-1","environment":"dev","unknown":1,"model":null}"#;
    let explained = tollgate(&["explain", "config/policies", "--event", "-", "--format", "json", "--at", "2027-03-30T00:00:00Z"], event);
    assert_eq!(explained.status.code(), Some(1), "one is violated: {}", text(&explained.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&explained.stdout).unwrap();
    let verdict = |policy: &str| answers.iter().find(|answer| answer["policy"] == policy).unwrap();
    assert_eq!(verdict("approved-provider")["verdict"], "violation");
    assert_eq!(verdict("approved-provider")["when"][0]["values"]["provider"], "deepseek");
    assert_eq!((&verdict("lake-regions")["verdict"], &verdict("dear-model")["verdict"]), (&"exempt".into(), &"indeterminate".into()));
    // A day later the exemption is over.
    let after = ["explain", "config/policies", "--event", "-", "--policy", "lake-regions", "--at", "2027-03-31T00:00:00Z"];
    let after = tollgate(&after, event);
    assert!(text(&after.stdout).starts_with("VIOLATED  lake-regions"), "{}", text(&after.stdout));
    let kept = tollgate(&["explain", "config/policies", "--event", "-"], r#"{"team":"search","provider":"openai","environment":"dev"}"#);
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept.stdout));
    for (event, says) in [("{", "stdin:1: no JSON"), ("[]", "a JSON object"), (r#"{"team":3}"#, "'team' is 3, it should be a text")] {
        let refused = tollgate(&["explain", "config/policies", "--event", "-"], event);
        assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
}

#[test]
fn a_test_that_fails_says_why() {
    let policy = "version = 1\n[[policy]]\nid = 'a'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"team == 'x' && model == 'm'\"\nmessage = 'no'\n\
                  [[policy.test]]\nname = 'mine'\nevent = { team = 'x', model = 'n' }\nexpect = 'violation'\n";
    let (_keep, folder) = folder(policy);
    let failed = tollgate(&["test", folder.to_str().unwrap()], "");
    let shown = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{shown}");
    for part in ["p.toml:8: FAILED test \"mine\" of 'a': expected a violation, it is none", "false    model == 'm'    [model = n]"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(shown.contains("untested 'a': no test violates it") && shown.contains("0 of 1 tests pass"), "{shown}");
    assert!(Path::new(&folder).exists());
}

/// Exit codes are what a pipeline asks for.
#[test]
fn who_asks_before_is_told_by_the_exit_code() {
    let ask = |plan: &str| run(&["ask", "-", "--policies", "config/policies", "--format", "json"], plan);
    for (plan, code, decision) in [
        (r#"{"team":"search","provider":"openai","model":"gpt-4o","environment":"dev"}"#, 0, "allow"),
        (r#"{"team":"search","provider":"deepseek","environment":"dev"}"#, 1, "deny"),
        (r#"{"team":"search","provider":"openai","model":"gpt-4","environment":"dev"}"#, 3, "review"),
    ] {
        let asked = ask(plan);
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        assert_eq!((asked.status.code(), &answer["decision"]), (Some(code), &decision.into()), "{plan}: {}", text(&asked.stderr));
    }
    let wrong = ask(r#"{"tema":"search"}"#);
    assert!(wrong.status.code() == Some(2) && text(&wrong.stderr).contains("did you mean 'team'?"), "{}", text(&wrong.stderr));
    let nothing = run(&["ask", "-"], "{}");
    assert!(nothing.status.code() == Some(2) && text(&nothing.stderr).contains("--policies FOLDER"), "{}", text(&nothing.stderr));
}
