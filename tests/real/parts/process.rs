//! Runs a program to its end with input, output and a time limit.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::caretaker::Guarded;

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// The exit status; `None` when it was killed, by a signal or at the time limit.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Standard output of a program that must have succeeded.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

pub fn run(command: &mut Command, input: &str, limit: Duration) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Guarded::spawn(command);
    let mut stdin = process.child().stdin.take().expect("piped");
    let stdout = process.child().stdout.take().expect("piped");
    let stderr = process.child().stderr.take().expect("piped");
    let input = input.to_owned();
    // A program that ends without reading its input is no failure of ours.
    let feeding = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let out = thread::spawn(move || read_all(stdout));
    let err = thread::spawn(move || read_all(stderr));
    let status = process.wait(limit);
    feeding.join().unwrap();
    Ended { code: status.and_then(|status| status.code()), stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
