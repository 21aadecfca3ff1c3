//! Alerts are posted to a receiver that is not ours, and to a real Alertmanager.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::Value;
use tollgate::deliver::channels::email::SendError;
use tollgate::deliver::channels::forms::Form;
use tollgate::deliver::channels::hook::{Hook, HookSettings};
use tollgate::deliver::channels::{Letter, letter_id};
use tollgate::deliver::receipt::Receipt;
use tollgate::deliver::rules::Receiver;
use tollgate::model::alert::{Alert, Severity};
use tollgate::model::time::Timestamp;

use super::parts::{Guarded, free_port, python, root, temp_folder, wait_for};
use super::path::Deployment;

const LIMIT: Duration = Duration::from_secs(20);

/// Receives what is posted to it.
pub struct Hooks {
    port: u16,
    folder: PathBuf,
    _process: Guarded,
}

impl Hooks {
    pub fn start(secret: &str) -> Hooks {
        let folder = temp_folder("hooks");
        let mut command = Command::new(python());
        command.arg(root().join("tests/parts/hookd.py")).arg("--folder").arg(&folder).args(["--secret", secret]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Guarded::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        Hooks { port: line.trim().parse().unwrap(), folder, _process: process }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn requests(&self) -> Vec<Value> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
    }

    fn hook(&self, form: Form, path: &str) -> Hook {
        hook(form, &self.url(path))
    }
}

fn hook(form: Form, url: &str) -> Hook {
    Hook::new(HookSettings {
        name: "ops".into(),
        form,
        url: SecretString::from(url),
        secret: Some(SecretString::from("a shared secret")),
        timeout: Duration::from_secs(2),
        source: "/tollgate/test".into(),
        base_url: None,
        repeat_interval_ms: 0,
        per_minute: 0,
        application: "tollgate".into(),
        watchdog: Duration::ZERO,
    })
    .unwrap()
}

fn alert(name: &str) -> Alert {
    let path = format!("{}/tests/data/alerts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap())
}

async fn send(hook: &Hook, alert: &Alert) -> Result<String, SendError> {
    let receiver = Receiver::Hook("ops".into());
    hook.send(&Letter { alert, receiver: &receiver, earlier: None, date: now() }, &[]).await
}

#[tokio::test]
async fn a_signed_event_arrives_as_it_stands_on_the_topic() {
    let hooks = Hooks::start("a shared secret");
    let mut spike = alert("spike");
    spike.team = "Zoë's team\r\nx: y".to_owned();
    let id = send(&hooks.hook(Form::CloudEvents, "/alerts"), &spike).await.unwrap();
    let requests = hooks.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let header = |name: &str| request["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(request["signed"], true);
    assert_eq!((header("content-type").as_str(), header("ce-specversion").as_str()), ("application/json", "1.0"));
    assert_eq!((header("ce-type").as_str(), header("idempotency-key")), ("io.tollgate.alert.open.v1", id));
    assert_eq!(header("ce-subject"), "Zo%C3%AB's%20team%0D%0Ax:%20y");
    assert_eq!(serde_json::from_str::<Alert>(request["body"].as_str().unwrap()).unwrap(), spike);
    // Another secret is noticed.
    let other = Hooks::start("another secret");
    send(&other.hook(Form::CloudEvents, "/alerts"), &spike).await.unwrap();
    assert_eq!(other.requests()[0]["signed"], false);
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart() {
    let hooks = Hooks::start("");
    let spike = alert("spike");
    for (path, is_worth_retrying) in
        [("/status/503", true), ("/status/429", true), ("/status/500", true), ("/status/404", false), ("/status/302", false)]
    {
        let error = send(&hooks.hook(Form::Slack, path), &spike).await.unwrap_err();
        assert_eq!(error.is_worth_retrying(), is_worth_retrying, "{path}: {error}");
        let shown = error.to_string();
        assert!(shown.contains("webhook 'ops' at 127.0.0.1") && !shown.contains("status/"), "the address is a secret: {shown}");
    }
    let error = send(&hooks.hook(Form::Slack, "/later/7"), &spike).await.unwrap_err();
    assert!(error.is_worth_retrying() && error.least_wait_ms() == 7_000, "{error}");
    let start = Instant::now();
    let error = send(&hooks.hook(Form::Slack, "/stall/30"), &spike).await.unwrap_err();
    assert!(error.is_worth_retrying() && start.elapsed() < Duration::from_secs(15), "{error}");
    let nobody = hook(Form::Slack, &format!("http://127.0.0.1:{}/secret", free_port()));
    let error = send(&nobody, &spike).await.unwrap_err();
    assert!(error.is_worth_retrying() && !error.to_string().contains("/secret"), "{error}");
}

#[tokio::test]
async fn each_attempt_has_the_same_key() {
    let hooks = Hooks::start("");
    let spike = alert("spike");
    let recovering = hooks.hook(Form::Slack, "/first/2/503");
    assert!(send(&recovering, &spike).await.is_err() && send(&recovering, &spike).await.is_err());
    send(&recovering, &spike).await.unwrap();
    let receiver = Receiver::Hook("ops".into());
    let id = letter_id(&Letter { alert: &spike, receiver: &receiver, earlier: None, date: now() });
    let keys: Vec<Value> = hooks.requests().iter().map(|request| request["headers"]["idempotency-key"].clone()).collect();
    assert!(keys.iter().all(|key| key == &Value::from(id.as_str())), "each attempt has the same key: {keys:?}");
}

fn alertmanager() -> (u16, Guarded) {
    let folder = temp_folder("alertmanager");
    let port = free_port();
    let config = folder.join("am.yml");
    std::fs::write(&config, "route: {receiver: none, group_by: [team]}\nreceivers: [{name: none}]\n").unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--storage.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(folder.join("log")).unwrap());
    (port, Guarded::spawn(&mut command))
}

fn other(severity: Severity) -> Severity {
    if severity == Severity::Critical { Severity::Warning } else { Severity::Critical }
}

/// What a blocking test asks.
fn alerts_of(port: u16) -> Option<Value> {
    tokio::runtime::Runtime::new().unwrap().block_on(get(port, "/api/v2/alerts"))
}

#[test]
fn alertmanager_notices_when_nobody_tells_it_anything_any_more() {
    let (port, _process) = alertmanager();
    wait_for("alertmanager", LIMIT, || alerts_of(port));
    let url = format!("http://127.0.0.1:{port}/api/v2/alerts");
    let hook = format!("[[webhook]]\nname = 'am'\nform = 'alertmanager'\nurl = '{url}'\nwatchdog = '1s'\n");
    let deployment = Deployment::without_mail("watchdog", &hook);
    let mut process = deployment.start_with(&["--only", "deliver"]);
    let fires = || alerts_of(port).filter(|alerts| alerts.as_array().is_some_and(|alerts| alerts.len() == 1));
    let first = wait_for("the alert that always fires", LIMIT, fires);
    let labels = serde_json::json!({
        "alertname": "TollgateWatchdog", "severity": "none", "application": format!("{}app", deployment.prefix),
    });
    assert_eq!(first[0]["labels"], labels);
    let ends_at = |alerts: &Value| alerts[0]["endsAt"].as_str().map(str::to_owned);
    // It goes on: the same alert, whose end moves away.
    wait_for("it to be told again", LIMIT, || fires().filter(|alerts| ends_at(alerts) > ends_at(&first)));
    assert_eq!(fires().unwrap()[0]["startsAt"], first[0]["startsAt"], "the same alert");

    process.kill9();
    wait_for("its end, once nobody tells it", LIMIT, || alerts_of(port).filter(|alerts| alerts.as_array().is_some_and(Vec::is_empty)));
}

async fn get(port: u16, path: &str) -> Option<Value> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.ok()?;
    serde_json::from_str(&response.text().await.ok()?).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_shows_it_firing_then_resolved_and_keeps_its_own_silence() {
    let (port, _process) = alertmanager();
    let ready = || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(get(port, "/api/v2/status")));
    wait_for("alertmanager", LIMIT, ready);
    let hook = hook(Form::Alertmanager, &format!("http://127.0.0.1:{port}/api/v2/alerts"));
    let spike = alert("spike");
    send(&hook, &spike).await.unwrap();
    let groups = get(port, "/api/v2/alerts/groups").await.unwrap();
    let group = &groups[0];
    assert_eq!((&group["labels"]["team"], &group["alerts"][0]["status"]["state"]), (&"search".into(), &"active".into()), "{groups:#}");
    assert_eq!(group["alerts"][0]["annotations"]["excess"], "312.2");

    // A later revision is the same alert.
    send(&hook, &Alert { revision: 2, excess: "400".parse().unwrap(), ..spike.clone() }).await.unwrap();
    let alerts = get(port, "/api/v2/alerts").await.unwrap();
    assert_eq!((alerts.as_array().unwrap().len(), &alerts[0]["annotations"]["excess"]), (1, &"400".into()), "{alerts:#}");

    // Nor is it another one that gets less severe, or worse: what stood there ends.
    let mut receipt = Receipt::new(&spike.id);
    let receiver = Receiver::Hook("ops".into());
    for (revision, severity) in [(3, Severity::Warning), (4, Severity::Critical)] {
        receipt.record_sent(&Alert { revision: revision - 1, severity: other(severity), ..spike.clone() }, &receiver, "x", now());
        let alert = Alert { revision, severity, ..spike.clone() };
        let letter = Letter { alert: &alert, receiver: &receiver, earlier: receipt.told(&receiver), date: now() };
        hook.send(&letter, &[]).await.unwrap();
        let alerts = get(port, "/api/v2/alerts").await.unwrap();
        let severities: Vec<&Value> = alerts.as_array().unwrap().iter().map(|alert| &alert["labels"]["severity"]).collect();
        assert_eq!(severities, [severity.as_str()], "{alerts:#}");
    }

    let silence = serde_json::json!({
        "matchers": [{"name": "team", "value": "search", "isRegex": false, "isEqual": true}], "startsAt": now().to_string(),
        "endsAt": now().plus_ms(3_600_000).to_string(), "createdBy": "test", "comment": "known",
    });
    let client = reqwest::Client::new();
    let request = client.post(format!("http://127.0.0.1:{port}/api/v2/silences")).header("content-type", "application/json");
    assert!(request.body(silence.to_string()).send().await.unwrap().status().is_success());
    let state = || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(get(port, "/api/v2/alerts")));
    wait_for("its silence", LIMIT, || state().filter(|alerts| alerts[0]["status"]["state"] == "suppressed"));

    let resolved = Alert {
        id: spike.id.clone(),
        dimensions: spike.dimensions.clone(),
        team: spike.team.clone(),
        onset: spike.onset,
        ..alert("resolved")
    };
    send(&hook, &resolved).await.unwrap();
    wait_for("the end", LIMIT, || state().filter(|alerts| alerts.as_array().is_some_and(Vec::is_empty)));
}
