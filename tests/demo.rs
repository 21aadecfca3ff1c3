//! The demo as its user runs it: every incident found, next to nothing said for nothing, mails that can be read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::real::parts::{Guarded, run, temp_folder};

#[test]
fn the_demo_finds_what_it_hides() {
    let out = temp_folder("demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["demo", "--speed", "100000", "--out"]).arg(&out);
    let ended = run(&mut command, "", Duration::from_secs(300));
    let screen = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{screen}");
    for word in ["WARN", "ERROR", "panicked", "MISSED"] {
        assert!(!screen.contains(word), "{word}\n{screen}");
    }
    for incident in ["spend spike", "agent in a loop", "leaked key", "model switch", "unknown project"] {
        let found = screen.lines().any(|line| line.starts_with(incident) && line.contains(" found "));
        assert!(found, "{incident}\n{screen}");
    }
    assert!(screen.contains("5 of 5 found"), "{screen}");
    // Which usage stands in one record depends on how fast the machine is, and so, for one hour near its bound, whether it is told while it
    // goes on. What is false at all is held by the replay in fixed batches (`demo::tests`).
    assert!(number_before(&screen, " false;") <= 3, "{screen}");
    let repeated = number_before(&screen, " sent twice");
    assert!(repeated > 1_000 && number_before(&screen, " duplicates") == repeated, "{screen}");
    assert!(number_before(&screen, " malformed") > 5, "{screen}");
    assert_eq!(number_before(&screen, " dead letters"), number_before(&screen, " malformed"), "{screen}");
    mails_can_be_read(&out.join("mails"), &screen);
    let log = std::fs::read_to_string(out.join("tollgate.log")).unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}

/// `tollgate demo | head -1`: it ends soon, and without a word.
#[test]
fn the_demo_ends_with_its_reader() {
    let out = temp_folder("demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["demo", "--out"]).arg(&out).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = Guarded::spawn(&mut command);
    let mut first = String::new();
    BufReader::new(demo.child().stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("Tollgate demo: "), "{first}");
    let ended = demo.wait(Duration::from_secs(120));
    let mut said = String::new();
    demo.child().stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended.and_then(|status| status.code()) == Some(0) && !said.contains("panicked"), "{ended:?} {said}");
}

/// `2,113 duplicates` -> 2113.
fn number_before(screen: &str, words: &str) -> u64 {
    let (before, _) = screen.split_once(words).unwrap_or_else(|| panic!("no '{words}' in\n{screen}"));
    let number = before.rsplit(' ').next().unwrap().replace(',', "");
    number.parse().unwrap_or_else(|_| panic!("'{number}' before '{words}' in\n{screen}"))
}

fn mails_can_be_read(folder: &std::path::Path, screen: &str) {
    let mut mails = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let raw = std::fs::read(&path).unwrap();
        let mail = mailparse::parse_mail(&raw).unwrap();
        let header = |name: &str| mail.headers.iter().find(|header| header.get_key() == name).unwrap().get_value();
        assert!(header("To").ends_with("-oncall@example.com"), "{}", header("To"));
        assert!(!header("Subject").is_empty());
        assert!(path.with_extension("html").exists(), "{}", path.display());
        mails += 1;
    }
    assert!(mails >= 5, "one for each incident at least\n{screen}");
}
