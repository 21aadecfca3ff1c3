//! One event's whole way: produced by Java, judged exactly-once, alert read by Java, mail taken by a mail server that is not ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::hooks::Hooks;
use super::parts::{Guarded, Kafka, Smtp, SmtpOptions, consume, free_port, kafka, produce, run, temp_folder, test_ca, unique, wait_for};

const HOUR_MS: i64 = 3_600_000;
const LIMIT: Duration = Duration::from_secs(60);

/// A deployment of its own on the shared broker: topics under a prefix, config in a folder.
pub struct Deployment {
    pub prefix: String,
    pub config: PathBuf,
    pub http: u16,
    pub broker: &'static Kafka,
}

impl Deployment {
    /// Two input partitions, four shards; mail to `oncall@example.com` through the given server.
    pub fn new(name: &str, smtp: &Smtp, more: &str) -> Deployment {
        Deployment::without_mail(name, &Deployment::mail(smtp, more))
    }

    /// What its config says of the mail server.
    pub fn mail(smtp: &Smtp, more: &str) -> String {
        format!(
            r#"
[mail]
host = "localhost"
port = {port}
tls = "starttls"
username = "tollgate"
password_file = "password"
ca_file = "{ca}"
from = "Tollgate <tollgate@example.com>"
[deliver]
fallback = ["oncall@example.com"]
{more}"#,
            port = smtp.port,
            ca = test_ca().ca.display(),
        )
    }

    /// As `new`, for tests that end at a topic.
    pub fn without_mail(name: &str, more: &str) -> Deployment {
        let deployment = Deployment::bare(name, kafka(), more);
        deployment.command(&["topics", "create"]);
        deployment
    }

    /// Without topics, on a broker of the test's choice.
    pub fn bare(name: &str, broker: &'static Kafka, more: &str) -> Deployment {
        let prefix = format!("{}-", unique(name));
        let folder = temp_folder(name);
        let http = free_port();
        std::fs::write(folder.join("password"), "correct horse\n").unwrap();
        let config = folder.join("tollgate.toml");
        let text = format!(
            r#"
version = 1
[kafka]
bootstrap_servers = "{bootstrap}"
application_id = "{prefix}app"
topic_prefix = "{prefix}"
instance_id = "one"
[topics]
input_partitions = 2
output_partitions = 2
[shards]
count = 4
[watch]
lateness = "30s"
[http]
listen = "127.0.0.1:{http}"
{more}
"#,
            bootstrap = broker.bootstrap(),
        );
        std::fs::write(&config, text).unwrap();
        Deployment { prefix, config, http, broker }
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a command of ours to its end; it must succeed.
    pub fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).arg("--config").arg(&self.config);
        run(&mut command, "", LIMIT).expect_success()
    }

    /// Runs a command of ours that may be refused: its code, and all that it says.
    pub fn attempt(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).arg("--config").arg(&self.config);
        let ended = run(&mut command, "", LIMIT);
        (ended.code, ended.stdout + &ended.stderr)
    }

    /// `tollgate run`, until it is ready.
    pub fn start(&self) -> Guarded {
        self.start_with(&[])
    }

    /// As `start`, with further options.
    pub fn start_with(&self, options: &[&str]) -> Guarded {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.config.with_extension("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("run").args(options).arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Guarded::spawn(&mut command);
        wait_for("tollgate to be ready", LIMIT, || {
            assert!(process.ended().is_none(), "tollgate ended:\n{}", self.log());
            (self.get("/health/ready").0 == 200).then_some(())
        });
        process
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }

    /// Status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// A whole request; status and body of the answer, 0 while nobody listens.
    pub fn ask(&self, request: &str) -> (u16, String) {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.http)) else { return (0, String::new()) };
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_err() {
            return (0, answer);
        }
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics").1;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        page.lines().filter(of_name).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The newest record of each key on one of our JSON topics, as a read_committed consumer of another make sees it.
    pub fn newest(&self, topic: &str) -> BTreeMap<String, Value> {
        let mut newest = BTreeMap::new();
        for record in consume(self.broker.bootstrap(), &self.topic(topic)) {
            newest.insert(record.key.clone().unwrap_or_default(), record.json());
        }
        newest
    }

    pub fn produce_usage(&self, events: &[Value]) {
        let topic = self.topic("usage-events");
        let line = |event: &Value| json!({"topic": topic, "key": event["event_id"], "value_json": event});
        produce(self.broker.bootstrap(), &events.iter().map(line).collect::<Vec<_>>());
    }
}

pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

pub fn rfc3339(ms: i64) -> String {
    tollgate::model::time::Timestamp(ms).to_string()
}

/// One event of 1,000 requests' worth.
pub fn usage(id: &str, at_ms: i64, team: &str, user: &str, cost: &str) -> Value {
    json!({"event_id": id, "source": "gateway/eu1", "event_time": rfc3339(at_ms), "meter": "llm.tokens", "team": team,
        "project": "ranker", "model": "gpt-4o", "provider": "openai", "region": "eu-central-1", "environment": "prod", "user": user,
        "input_tokens": 1000, "output_tokens": 200, "cost": cost, "currency": "USD"})
}

/// Some days of steady spend: six events an hour of about 0.50 USD for each team, ending at `end_ms`.
pub fn history(teams: &[&str], hours: i64, end_ms: i64) -> Vec<Value> {
    let start = end_ms / HOUR_MS * HOUR_MS - hours * HOUR_MS;
    let mut events = Vec::new();
    for slot in 0..hours * 6 {
        for team in teams {
            let cost = format!("0.{}", 48 + (slot * 7 + i64::try_from(team.len()).unwrap()) % 5);
            let id = format!("{team}-{slot}");
            events.push(usage(&id, start + slot * HOUR_MS / 6 + 1000, team, "ann", &cost));
        }
    }
    events
}

/// Sum of a field over events, exactly, in nanos.
pub fn sum(values: impl Iterator<Item = String>) -> i128 {
    values.map(|text| text.parse::<tollgate::model::money::Nanos>().unwrap().0).sum()
}

const WEBHOOK_SECRET: &str = "a shared secret";
/// As Slack's, the address is a secret itself.
const WEBHOOK_PATH: &str = "/alerts/T0KEN-B0X";

#[test]
fn from_a_usage_event_to_the_on_calls_inbox_with_a_kill_in_between() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let hooks = Hooks::start(WEBHOOK_SECRET);
    let url = hooks.url(WEBHOOK_PATH);
    let hook = format!("[[webhook]]\nname = 'ops'\nform = 'cloudevents'\nurl = '{url}'\nsecret = '{WEBHOOK_SECRET}'\n");
    let route = "[[route]]\nteams = ['search']\nreceivers = ['oncall@example.com', 'hook:ops']\n";
    let deployment = Deployment::new("path", &smtp, &format!("{hook}{route}"));
    let teams = ["search", "ads", "support"];
    // Ends two hours ago, so that the hours up to then close once the topic has been quiet for a while.
    let events = history(&teams, 72, now_ms() - 2 * HOUR_MS);
    let (first, second) = events.split_at(events.len() / 2);
    deployment.produce_usage(first);
    let mut process = deployment.start();
    // Duplicates of what was sent, and what nobody can read.
    deployment.produce_usage(&first[first.len() - 50..]);
    let broken = json!({"topic": deployment.topic("usage-events"), "key": "x", "value": "{\"event_id\": 1}"});
    produce(deployment.broker.bootstrap(), &[broken]);
    process.kill9();
    deployment.produce_usage(second);
    let mut process = deployment.start_with(&["--log-level", "trace"]);

    // Every closed hour is there once: the roll-ups' newest revisions add up to what was produced, to the nano.
    let produced = sum(events.iter().map(|event| event["cost"].as_str().unwrap().to_string()));
    wait_for("all hours to close", Duration::from_secs(120), || {
        let rollups = deployment.newest("spend-rollups");
        let counted: i64 = rollups.values().map(|rollup| rollup["events"].as_i64().unwrap()).sum();
        assert!(counted <= i64::try_from(events.len()).unwrap(), "doubled: {counted}");
        (counted == i64::try_from(events.len()).unwrap()).then(|| {
            let rolled_up = sum(rollups.values().map(|rollup| rollup["cost"].as_str().unwrap().to_string()));
            assert_eq!(rolled_up, produced);
        })
    });
    assert_eq!(deployment.newest("alerts").len(), 0, "nothing has happened yet");

    // A user of one team runs wild, now.
    let wild: Vec<Value> = (0..40).map(|n| usage(&format!("wild-{n}"), now_ms() - 60_000 + n * 1000, "search", "eve", "2.5")).collect();
    deployment.produce_usage(&wild);
    let alert = wait_for("the alert", LIMIT, || deployment.newest("alerts").into_values().find(|alert| alert["team"] == "search"));
    assert_eq!(alert["dimensions"]["project"], "ranker");
    assert_eq!(alert["causes"][0]["dimensions"]["user"], "eve", "{alert}");
    let mails = smtp.wait_for_mails(1, LIMIT);
    let mail = &mails[0];
    assert!(mail.tls, "sent under TLS");
    assert_eq!(mail.user.as_deref(), Some("tollgate"), "sent after a login");
    assert_eq!(mail.to, vec!["oncall@example.com"]);
    let parsed = mailparse::parse_mail(&mail.raw).unwrap();
    let subject = parsed.headers.iter().find(|header| header.get_key() == "Subject").unwrap().get_value();
    assert!(subject.contains("search"), "{subject}");

    the_webhook_and_the_command_line_know_it_too(&deployment, &hooks, &alert);
    let dead = consume(deployment.broker.bootstrap(), &deployment.topic("dead-letter"));
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].headers["tollgate.reason"].as_deref(), Some("wrong_type"));

    // A clean stop and another start change nothing: same alert, no second mail.
    process.signal("TERM");
    let log = deployment.log();
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{log}");
    no_secret_is_in(&log);
    let before = deployment.newest("alerts");
    let _process = deployment.start();
    deployment.produce_usage(&[usage("after", now_ms(), "ads", "ann", "0.01")]);
    wait_for("the last event to be counted", LIMIT, || {
        let page = deployment.get("/metrics").1;
        page.contains("tollgate_intake_records_combined_total 1").then_some(())
    });
    assert_eq!(before.keys().collect::<Vec<_>>(), deployment.newest("alerts").keys().collect::<Vec<_>>());
    assert_eq!(smtp.mails().len(), mails.len());
    a_spike_of_a_closed_hour_is_told(&deployment, &smtp);
}

/// A gateway was cut off for some hours, and sends now what was used then.
fn a_spike_of_a_closed_hour_is_told(deployment: &Deployment, smtp: &Smtp) {
    let hour = (now_ms() - 6 * HOUR_MS) / HOUR_MS * HOUR_MS;
    let late: Vec<Value> = (0..40).map(|n| usage(&format!("late-{n}"), hour + n * 60_000, "support", "eve", "2.5")).collect();
    deployment.produce_usage(&late);
    let of_support = |alert: &Value| alert["team"] == "support" && alert["kind"] == "spend_spike";
    let alert = wait_for("the late alert", LIMIT, || deployment.newest("alerts").into_values().find(of_support));
    assert_eq!((&alert["onset"], &alert["provisional"]), (&json!(rfc3339(hour)), &json!(false)), "{alert}");
    let of_support = |mail: &super::parts::Mail| String::from_utf8_lossy(&mail.raw).contains("support");
    wait_for("its mail", LIMIT, || smtp.mails().iter().any(of_support).then_some(()));
}

/// Mails and webhooks were sent: what they were sent with is said by no line, of ours or of a library.
fn no_secret_is_in(log: &str) {
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "as much as can be logged: {}", log.len());
    // User and password as SMTP sends them.
    let login = "AHRvbGxnYXRlAGNvcnJlY3QgaG9yc2U";
    for secret in ["correct horse", login, WEBHOOK_SECRET, WEBHOOK_PATH] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

fn the_webhook_and_the_command_line_know_it_too(deployment: &Deployment, hooks: &Hooks, alert: &Value) {
    let posted = wait_for("the webhook", LIMIT, || hooks.requests().into_iter().next());
    assert_eq!((&posted["signed"], &posted["path"]), (&json!(true), &json!(WEBHOOK_PATH)));
    let told: Value = serde_json::from_str(posted["body"].as_str().unwrap()).unwrap();
    assert_eq!(told["id"], alert["id"]);
    let listed = deployment.command(&["alerts", "list", "--log-level", "error"]);
    assert!(listed.lines().count() >= 2 && listed.contains(alert["id"].as_str().unwrap()), "{listed}");
    let shown = deployment.command(&["alerts", "show", "search/", "--format", "json", "--log-level", "error"]);
    let file = deployment.config.with_extension("json");
    std::fs::write(&file, shown).unwrap();
    let explained = deployment.command(&["route", "--explain", file.to_str().unwrap()]);
    assert!(explained.contains("route 1: tells oncall@example.com, hook:ops"), "{explained}");
}

/// SIGHUP reads the file again: with a mistake in it nothing changes, without one the new rules hold, and the process goes on.
#[test]
fn a_reload_takes_all_or_nothing() {
    let smtp = Smtp::start(&SmtpOptions::default());
    let deployment = Deployment::new("reload", &smtp, "");
    let mut process = deployment.start();
    let good = std::fs::read_to_string(&deployment.config).unwrap();
    std::fs::write(&deployment.config, good.replace("lateness", "latness")).unwrap();
    process.signal("HUP");
    let log = wait_for("the refusal", LIMIT, || Some(deployment.log()).filter(|log| log.contains("config not reloaded")));
    assert!(log.contains("did you mean 'lateness'"), "{log}");
    std::fs::write(&deployment.config, good.replace("version = 1", "version = 1\nrules_revision = 2")).unwrap();
    process.signal("HUP");
    let log = wait_for("the reload", LIMIT, || Some(deployment.log()).filter(|log| log.contains("config reloaded")));
    assert!(log.contains("rules_revision=2"), "{log}");
    assert!(process.ended().is_none());
    assert_eq!(deployment.get("/health/live").0, 200);
}

/// Policies are part of what a reload takes over as a whole.
#[test]
fn policies_answer_over_http_and_are_reloaded() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let folder = temp_folder("ask-policies");
    std::fs::write(folder.join("tokens"), format!("ci {TOKEN}\n")).unwrap();
    let file = folder.join("policies/global/p.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let policy = |when: &str| {
        let head = "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usage'\nmode = 'enforce'\nmessage = 'no'\n";
        std::fs::write(&file, format!("{head}when = \"{when}\"\n")).unwrap();
    };
    policy("provider == 'nobody'");
    let settings = format!("tokens_file = '{0}/tokens'\n[policies]\ndir = '{0}/policies'\n", folder.display());
    let deployment = Deployment::without_mail("ask", &settings);
    let mut process = deployment.start();
    let ask = |token: &str| {
        let plan = r#"{"team":"search","provider":"openai"}"#;
        let length = plan.len();
        let (status, body) = deployment.ask(&format!(
            "POST /v1/compliance/check HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{plan}"
        ));
        (status, serde_json::from_str::<Value>(&body).unwrap_or_default())
    };
    assert_eq!(ask("wrong").0, 401);
    let (status, answer) = ask(TOKEN);
    assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer}");
    policy("provider == 'openai'");
    process.signal("HUP");
    wait_for("the other policy", LIMIT, || (ask(TOKEN).1["decision"] == "deny").then_some(()));
    policy("provder == 'openai'");
    process.signal("HUP");
    let log = wait_for("the refusal", LIMIT, || Some(deployment.log()).filter(|log| log.contains("config not reloaded")));
    assert!(log.contains("did you mean 'provider'?"), "{log}");
    assert_eq!(ask(TOKEN).1["decision"], "deny", "the old policies stay");
    assert!(process.ended().is_none());
}
