//! A small shell that outlives the test process and cleans up after it.
//!
//! It reads what there is to clean up from a pipe. However the test process ends, by a failed
//! assertion, at the end of `main` or by `kill -9`, the pipe closes, and the caretaker kills the
//! processes it was told of and removes their folders.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"
pids=
while read -r verb what; do
  case $verb in
    kill) pids="$pids $what" ;;
    spare)
      left=
      for pid in $pids; do [ "$pid" = "$what" ] || left="$left $pid"; done
      pids=$left ;;
    remove) set -- "$@" "$what" ;;
  esac
done
for pid in $pids; do kill -9 "$pid"; done
[ -z "$pids" ] || sleep 0.3
[ $# = 0 ] || rm -rf -- "$@"
"#;

#[expect(clippy::zombie_processes, reason = "it ends after us, which is its purpose")]
fn tell(verb: &str, what: &str) {
    static CARETAKER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = CARETAKER.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "caretaker"]).process_group(0).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("sh starts");
        Mutex::new(child.stdin.take().expect("stdin is piped"))
    });
    writeln!(pipe.lock().unwrap(), "{verb} {what}").expect("the caretaker lives as long as we do");
}

/// A temporary folder that is removed when the test process ends.
pub fn temp_folder(name: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("tollgate-{name}-")).tempdir().unwrap().keep();
    tell("remove", folder.to_str().expect("a temporary folder is UTF-8"));
    folder
}

/// A child process that ends with its guard, and with the test process at the latest.
pub struct Guarded {
    child: Child,
    reaped: bool,
}

impl Guarded {
    /// In a process group of its own, so that Ctrl-C reaches the test process only.
    pub fn spawn(command: &mut Command) -> Guarded {
        let child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
        tell("kill", &child.id().to_string());
        Guarded { child, reaped: false }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Seconds of processor time that it has used (Linux; 0 elsewhere).
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // proc(5): utime and stime are the 14th and 15th field, in hundredths; the name before them may hold spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Sends a signal by name: TERM, STOP, CONT, HUP.
    pub fn signal(&self, name: &str) {
        assert!(!self.reaped, "the process has ended");
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name} {}", self.id());
    }

    pub fn kill9(&mut self) {
        if !self.reaped {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            self.forget();
        }
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_some() {
            self.forget();
        }
        status
    }

    /// Waits for its end; kills it and answers `None` when the limit has passed.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill9();
        None
    }

    fn forget(&mut self) {
        if !self.reaped {
            self.reaped = true;
            tell("spare", &self.id().to_string());
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The last lines of a log, for the message of a failed assertion.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
