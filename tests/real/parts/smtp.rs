//! A mail server that is not ours: aiosmtpd, through tests/parts/smtpd.py.

use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::caretaker::{Guarded, tail, temp_folder};
use super::tls::test_ca;
use super::{first_that_works, root, wait_for};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    Starttls,
    Implicit,
    None,
}

pub struct SmtpOptions {
    pub tls: Tls,
    /// User and password that must be given; `None` lets anybody in.
    pub login: Option<(&'static str, &'static str)>,
}

impl Default for SmtpOptions {
    /// As strict as real servers are: STARTTLS and a password.
    fn default() -> SmtpOptions {
        SmtpOptions { tls: Tls::Starttls, login: Some(("tollgate", "correct horse")) }
    }
}

/// One mail server. It ends when dropped, and with the test process at the latest.
pub struct Smtp {
    pub port: u16,
    folder: PathBuf,
    process: Guarded,
    /// Bytes read of what it accepted under `--brief`, and what they say.
    read: Mutex<(u64, Vec<Brief>)>,
}

/// A message as the server accepted it, with its envelope.
#[derive(Debug, Clone)]
pub struct Mail {
    pub raw: Vec<u8>,
    pub from: String,
    pub to: Vec<String>,
    pub tls: bool,
    pub user: Option<String>,
    pub unix_ms: i64,
}

impl Smtp {
    pub fn start(options: &SmtpOptions) -> Smtp {
        Smtp::start_with(options, &[])
    }

    /// With further options of tests/parts/smtpd.py. It is in trouble from the start, see `calm`.
    pub fn start_with(options: &SmtpOptions, more: &[&str]) -> Smtp {
        let folder = temp_folder("mail");
        let log = std::fs::File::create(folder.join("smtpd.log")).unwrap();
        let mut command = Command::new(python());
        command.arg(root().join("tests/parts/smtpd.py"));
        command.arg("--folder").arg(&folder).arg("--control").arg(folder.join("control"));
        std::fs::write(folder.join("trouble"), "").unwrap();
        command.arg("--trouble").arg(folder.join("trouble")).args(more);
        command.arg("--cert").arg(&test_ca().chain).arg("--key").arg(&test_ca().key);
        command.args(match options.tls {
            Tls::Starttls => ["--tls", "starttls"],
            Tls::Implicit => ["--tls", "implicit"],
            Tls::None => ["--tls", "none"],
        });
        if let Some((user, password)) = options.login {
            command.args(["--user", user, "--password", password]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = Guarded::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().expect("piped")).read_line(&mut line).unwrap();
        let Ok(port) = line.trim().parse() else {
            panic!("the mail server did not start:\n{}", tail(&folder.join("smtpd.log")));
        };
        Smtp { port, folder, process, read: Mutex::default() }
    }

    /// What the server does with the next messages, a verdict each (see tests/parts/smtpd.py).
    pub fn script(&self, verdicts: &[&str]) {
        let partial = self.folder.join("control.new");
        std::fs::write(&partial, verdicts.join("\n") + "\n").unwrap();
        std::fs::rename(partial, self.folder.join("control")).unwrap();
    }

    /// The messages accepted so far, in order.
    pub fn mails(&self) -> Vec<Mail> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
        paths.sort();
        paths.iter().map(Mail::read).collect()
    }

    /// Waits until so many messages were accepted and answers all there are.
    #[track_caller]
    pub fn wait_for_mails(&self, count: usize, limit: Duration) -> Vec<Mail> {
        wait_for(&format!("{count} mails"), limit, || Some(self.mails()).filter(|mails| mails.len() >= count))
    }

    /// No more trouble from now on.
    pub fn calm(&self) {
        std::fs::remove_file(self.folder.join("trouble")).unwrap();
    }

    /// The messages accepted so far under `--brief`, in order.
    pub fn brief(&self) -> Vec<Brief> {
        self.brief_from(0)
    }

    /// As [`Smtp::brief`], without the first so many. Each line is read once only: whoever waits for thousands of mails leaves the
    /// processor to those who send and take them.
    pub fn brief_from(&self, from: usize) -> Vec<Brief> {
        let mut read = self.read.lock().unwrap();
        let mut file = std::fs::File::open(self.folder.join("accepted.jsonl")).unwrap();
        file.seek(SeekFrom::Start(read.0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        read.0 += whole.len() as u64;
        read.1.extend(whole.lines().map(|line| serde_json::from_str::<Brief>(line).unwrap()));
        read.1[from.min(read.1.len())..].to_vec()
    }

    /// Seconds of processor time that it has used.
    pub fn cpu(&self) -> f64 {
        self.process.cpu()
    }

    /// Ends the server: connections are refused from now on.
    pub fn stop(&mut self) {
        self.process.kill9();
    }
}

/// What is kept of a message under `--brief`.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Brief {
    pub message_id: String,
    pub in_reply_to: Option<String>,
    pub alert_id: String,
    pub revision: u32,
    pub to: String,
    pub unix_ms: i64,
}

impl Mail {
    fn read(eml: &PathBuf) -> Mail {
        let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(eml.with_extension("json")).unwrap()).unwrap();
        let to = facts["rcpt_tos"].as_array().unwrap().iter();
        Mail {
            raw: std::fs::read(eml).unwrap(),
            from: facts["mail_from"].as_str().unwrap().to_owned(),
            to: to.map(|address| address.as_str().unwrap().to_owned()).collect(),
            tls: facts["tls"].as_bool().unwrap(),
            user: facts["user"].as_str().map(str::to_owned),
            unix_ms: facts["unix_ms"].as_i64().unwrap(),
        }
    }
}

/// A Python that has aiosmtpd: the system's, or the one on the path.
pub fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        first_that_works(&["/usr/bin/python3", "python3"], &["-c", "import aiosmtpd"])
            .expect("python3 with aiosmtpd: `scripts/setup.sh test` installs it")
    })
}
