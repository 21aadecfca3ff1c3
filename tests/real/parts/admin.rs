//! Kafka's admin client as one long-lived Java process (tests/parts/AdminPipe.java): leader moves, what became of transactions, rights.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::caretaker::Guarded;
use super::java::java;
use super::root;

const LIMIT: Duration = Duration::from_secs(180);

/// Ends when dropped.
pub struct Admin {
    pipe: Mutex<(ChildStdin, Receiver<String>)>,
    _process: Guarded,
}

impl Admin {
    pub fn connect(bootstrap: &str) -> Admin {
        let mut command = java();
        command.arg("-Xmx96m").arg(root().join("tests/parts/AdminPipe.java")).args(["--bootstrap", bootstrap]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Guarded::spawn(&mut command);
        let stdin = process.child().stdin.take().expect("piped");
        let stdout = BufReader::new(process.child().stdout.take().expect("piped"));
        let (answers, answered) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| answers.send(line).is_ok()));
        Admin { pipe: Mutex::new((stdin, answered)), _process: process }
    }

    /// Gives so many partitions another leader; answers how many have one.
    ///
    /// # Errors
    /// The cluster would not, for instance because a broker was on its way down.
    pub fn move_leaders(&self, count: usize, seed: u64) -> Result<u64, String> {
        let answer = self.ask(&format!("move {count} {}", seed >> 1))?;
        Ok(answer["moved"].as_u64().expect("a number"))
    }

    /// State of each transactional id.
    pub fn transactions(&self) -> Result<BTreeMap<String, String>, String> {
        let answer = self.ask("transactions")?;
        Ok(serde_json::from_value(answer["states"].clone()).expect("ids and states"))
    }

    /// Open transactions on the topics whose names begin so, in words; and how many partitions were looked at.
    pub fn open_transactions(&self, prefix: &str) -> Result<(Vec<String>, u64), String> {
        let answer = self.ask(&format!("producers {prefix}"))?;
        let open = serde_json::from_value(answer["open"].clone()).expect("a list");
        Ok((open, answer["partitions"].as_u64().expect("a number")))
    }

    /// Gives a right, or takes it back: `User:ann READ TOPIC PREFIXED a-`.
    #[track_caller]
    pub fn allow(&self, right: &str) {
        self.ask(&format!("allow {right}")).unwrap();
    }

    #[track_caller]
    pub fn forbid(&self, right: &str) {
        assert_eq!(self.ask(&format!("forbid {right}")).unwrap()["taken"], 1, "{right}");
    }

    fn ask(&self, command: &str) -> Result<Value, String> {
        let mut pipe = self.pipe.lock().unwrap();
        let (stdin, answered) = &mut *pipe;
        writeln!(stdin, "{command}").map_err(|error| error.to_string())?;
        let line = answered.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("no answer to '{command}': {error}"));
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }
}
