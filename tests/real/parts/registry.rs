//! A schema registry that is not ours: Apicurio, through its Confluent-compatible API.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::caretaker::{Guarded, tail, temp_folder};
use super::process::run;
use super::{free_port, root, wait_for};

/// Where Confluent's API stands in Apicurio.
const API: &str = "/apis/ccompat/v7";

/// One registry on one port; what it knows lives in memory and ends with it.
pub struct Registry {
    port: u16,
    folder: PathBuf,
    process: Mutex<Option<Guarded>>,
}

/// The registry that all tests of this process share. Name subjects with `unique`.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::reserve();
        registry.start();
        registry
    })
}

impl Registry {
    /// A registry of one's own on a port where nobody listens until `start`.
    pub fn reserve() -> Registry {
        Registry { port: free_port(), folder: temp_folder("registry"), process: Mutex::new(None) }
    }

    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// As seen through another port.
    pub fn url_at(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{API}")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn start(&self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("registry.log")).unwrap();
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx384m", "-Dquarkus.http.host=127.0.0.1"]);
        command.arg(format!("-Dquarkus.http.port={}", self.port)).arg("-jar").arg(home().join("registry.jar"));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Guarded::spawn(&mut command);
        wait_for("the schema registry to answer", Duration::from_secs(90), || {
            let ended = process.ended();
            assert!(ended.is_none(), "the schema registry ended with {ended:?}:\n{}", tail(&self.folder.join("registry.log")));
            self.ask("GET", "/subjects", None).filter(|(status, _)| *status == 200)
        });
        let before = self.process.lock().unwrap().replace(process);
        assert!(before.is_none(), "the schema registry runs already");
    }

    /// Ends it: connections are refused from now on.
    pub fn stop(&self) {
        self.process.lock().unwrap().take().expect("the schema registry runs").kill9();
    }

    /// Registers an Avro schema and answers its id.
    #[track_caller]
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let body = json!({"schema": schema, "schemaType": "AVRO"}).to_string();
        let path = format!("/subjects/{}/versions", subject.replace('/', "%2F"));
        let (status, answer) = self.ask("POST", &path, Some(&body)).expect("the schema registry answers");
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id")
    }

    /// Id and text of the newest schema of a subject.
    pub fn latest(&self, subject: &str) -> Option<(u32, String)> {
        let (status, answer) = self.ask("GET", &format!("/subjects/{subject}/versions/latest"), None)?;
        if status != 200 {
            return None;
        }
        Some((u32::try_from(answer["id"].as_u64()?).ok()?, answer["schema"].as_str()?.to_owned()))
    }

    /// Status and body; `None` while nobody answers.
    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let body = body.unwrap_or_default();
        // HTTP/1.0: the answer is not chunked and ends with the connection.
        let head = format!("{method} {API}{path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

/// The folder of the registry; fetches it when it is missing.
fn home() -> &'static PathBuf {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let mut script = Command::new(root().join("scripts/parts.sh"));
        PathBuf::from(run(script.arg("registry"), "", Duration::from_secs(600)).expect_success().trim())
    })
}
