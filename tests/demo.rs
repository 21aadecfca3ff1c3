//! `tollgate demo`, run as a person runs it: it ends well, finds what it hid, cries wolf at most twice, and leaves mails that open.

use std::process::Command;
use std::time::Duration;

use crate::real::parts::{run, temp_folder};

#[test]
fn the_demo_finds_every_incident_and_leaves_mails() {
    let out = temp_folder("demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["demo", "--speed", "1000", "--out"]).arg(&out);
    let ended = run(&mut command, "", Duration::from_secs(300));
    let screen = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(0), "{screen}");
    assert!(screen.contains("5 of 5 found"), "{screen}");
    let falsely: u32 = screen
        .split(" false;")
        .next()
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .expect("a count of false alerts");
    assert!(falsely <= 2, "{screen}");
    for word in ["WARN", "ERROR", "panicked", "stack backtrace"] {
        assert!(!screen.contains(word), "{word} on the screen:\n{screen}");
    }
    let mails: Vec<_> = std::fs::read_dir(out.join("mails")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let letters = mails.iter().filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
    let mut opened = 0;
    for path in letters {
        let bytes = std::fs::read(path).unwrap();
        let mail = mailparse::parse_mail(&bytes).unwrap();
        let subject = mail.headers.iter().find(|header| header.get_key() == "Subject").unwrap().get_value();
        assert!(!subject.is_empty(), "{}", path.display());
        opened += 1;
    }
    assert!(opened >= 5, "a mail for each incident, found {opened}");
}
