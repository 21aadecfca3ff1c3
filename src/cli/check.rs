//! `tollgate check`: is the configuration right, and does everything it names answer?

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use apache_avro::Schema;
use secrecy::ExposeSecret as _;

use super::ready::{self, Obstacles};
use super::report::{Report, Verdict};
use super::telemetry::{self, Logging};
use super::{ConfigFile, Ended, assemble, print};
use crate::clock;
use crate::config::Loaded;
use crate::config::settings::{MailSettings, MailTls, SchemaSettings, Settings};
use crate::deliver::channels::email::Mailer;
use crate::kafka::access::{self, Operation, Right};
use crate::kafka::probe::Probe;
use crate::kafka::topics::{self, TopicState};
use crate::model::counted::counted;
use crate::model::money::Currency;
use crate::model::wire;
use crate::runtime::rights;

/// Patience with one server; a healthy one answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Check the configuration, and whether Kafka, the schema registry and the mail server answer
///
/// Prints one line per thing: ok, warning or problem, with file, line and what to do. Of the mail server it tries TLS, the login and the
/// sender; of Kafka whether the user is let in, and may do what Tollgate has to (a transactional id is tried, one that no role has). Changes
/// nothing and sends no mail. Ends with 0, or with 2 if there is a problem.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate check --config tollgate.toml\n  tollgate check --config tollgate.toml --offline      in a build, before anything is deployed"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Look at files only, connect to nothing
    #[arg(long)]
    offline: bool,
}

pub fn run(arguments: &Arguments, logging: &Logging) -> Result<Ended> {
    let mut report = Report::default();
    let mut shown = 0;
    match arguments.config.load() {
        Err(problems) => {
            problems.iter().for_each(|problem| report.add(Verdict::Problem, "config", problem));
        }
        Ok(loaded) => {
            let quiet = Logging { level: logging.level.clone().or(Some("error".to_string())), ..logging.clone() };
            telemetry::start(&quiet, &loaded.settings.log)?;
            files(&mut report, &arguments.config.shown(), &loaded);
            // What is known stands on the screen while servers are asked.
            shown = show(&report, shown)?;
            if arguments.offline {
                report.add(Verdict::Skipped, "network", "not asked (--offline)");
            } else {
                network(&mut report, &loaded.settings, &mut shown)?;
            }
        }
    }
    show(&report, shown)?;
    print(&format!("\n{}\n", report.summary()))?;
    Ok(if report.has_problems() { Ended::Unusable } else { Ended::Well })
}

/// Prints the lines that were not printed yet.
fn show(report: &Report, shown: usize) -> Result<usize> {
    print(&report.lines.iter().skip(shown).map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(report.lines.len())
}

/// Everything that needs no network.
fn files(report: &mut Report, name: &str, loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| report.add(Verdict::Warning, "config", warning));
    let (intake, watch) = (&loaded.intake, &loaded.watch);
    let rules = format!(
        "{name}: rules revision {}, {}, {}, {}, {}",
        watch.revision,
        counted(intake.attribution.len(), "attribution rule"),
        counted(watch.overrides.len(), "override"),
        counted(watch.teams.len(), "team"),
        counted(loaded.settings.deliver.routes.len(), "route"),
    );
    report.add(Verdict::Ok, "config", rules);
    if loaded.price_files.is_empty() {
        report.add(Verdict::Warning, "prices", "no price file is named: usage without a cost of its own counts zero money");
    }
    for file in &loaded.price_files {
        report.add(Verdict::Ok, "prices", format!("{}: {} as of {}", file.name, counted(file.prices, "price"), file.as_of));
    }
    rates(report, loaded);
    if let Some(folder) = &loaded.policies {
        let policies = counted(folder.policies.policies.len(), "policy");
        report.add(Verdict::Ok, "policies", format!("{policies} of {}", counted(folder.files, "file")));
    }
    templates(report, &loaded.settings);
    report.add(Verdict::Ok, "schemas", format!("{} built in", wire::schemas().len()));
    if let Some(dir) = &loaded.settings.schemas.dir {
        schema_files(report, dir);
    }
    for (id, schema) in &loaded.settings.schemas.ids {
        match Schema::parse_str(&schema.text) {
            Ok(_) => report.add(Verdict::Ok, "schemas", format!("id {id} = {}", schema.name)),
            Err(error) => report.add(Verdict::Problem, "schemas", format!("id {id} = {}: no Avro schema: {error}", schema.name)),
        }
    }
}

/// Into what all is converted, and whether there is a rate for today.
fn rates(report: &mut Report, loaded: &Loaded) {
    let rates = &loaded.watch.rates;
    let Some(target) = rates.target() else { return };
    let (fresh, old): (Vec<Currency>, Vec<Currency>) =
        rates.currencies().partition(|currency| rates.cross(*currency, clock::now()).is_some());
    let named = |currencies: &[Currency]| currencies.iter().map(Currency::to_string).collect::<Vec<_>>().join(", ");
    if old.is_empty() {
        report.add(Verdict::Ok, "rates", format!("{} into {target}", named(&fresh)));
    } else {
        let what = format!(
            "today no rate to {target} holds for {}: amounts in them are not converted; bring the files of currency.rates up to date",
            named(&old)
        );
        report.add(Verdict::Warning, "rates", what);
    }
}

fn templates(report: &mut Report, settings: &Settings) {
    let names: Vec<&str> = settings.mail.iter().flat_map(|mail| mail.templates.keys()).map(String::as_str).collect();
    if names.is_empty() {
        return;
    }
    match assemble::renderer(settings) {
        Ok(_) => report.add(Verdict::Ok, "templates", names.join(", ")),
        Err(error) => report.add(Verdict::Problem, "templates", format!("{error:#}")),
    }
}

fn schema_files(report: &mut Report, dir: &Path) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return report.add(Verdict::Problem, "schemas", format!("{}: cannot be read: {error}", dir.display())),
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "avsc"));
    paths.sort();
    if paths.is_empty() {
        report.add(Verdict::Warning, "schemas", format!("{}: holds no .avsc file", dir.display()));
    }
    for path in paths {
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match read.and_then(|text| Schema::parse_str(&text).map_err(|error| error.to_string())) {
            Ok(_) => report.add(Verdict::Ok, "schemas", path.display()),
            Err(error) => report.add(Verdict::Problem, "schemas", format!("{}: no Avro schema: {error}", path.display())),
        }
    }
}

fn network(report: &mut Report, settings: &Settings, shown: &mut usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    kafka(report, settings, &runtime);
    *shown = show(report, *shown)?;
    match &settings.schemas.registry_url {
        None => report.add(Verdict::Skipped, "registry", "none: schemas.registry_url is not set"),
        Some(url) => match runtime.block_on(registry(url, &settings.schemas)) {
            Ok(subjects) => report.add(Verdict::Ok, "registry", format!("{url} answers, {}", counted(subjects, "subject"))),
            Err(error) => report.add(Verdict::Problem, "registry", format!("{url}: {error:#}")),
        },
    }
    *shown = show(report, *shown)?;
    match &settings.mail {
        None => report.add(Verdict::Skipped, "mail", "none: mail.host is not set, alerts are on their topic only"),
        Some(mail) => match smtp(mail, &runtime) {
            Ok(greeting) => report.add(Verdict::Ok, "mail", format!("{}:{} answers: {greeting}", mail.host, mail.port)),
            Err(error) => report.add(Verdict::Problem, "mail", format!("{}:{}: {error:#}", mail.host, mail.port)),
        },
    }
    Ok(())
}

/// First whether anybody listens, which is quick and says why not; then the topics.
fn kafka(report: &mut Report, settings: &Settings, runtime: &tokio::runtime::Runtime) {
    let servers = settings.kafka.bootstrap_servers.split(',').map(str::trim);
    let mut reachable = false;
    let mut failures = Vec::new();
    for server in servers {
        match connect(server) {
            Ok(_) => reachable = true,
            Err(error) => failures.push(format!("{server}: {error:#}")),
        }
    }
    let verdict = if reachable { Verdict::Warning } else { Verdict::Problem };
    failures.iter().for_each(|failure| report.add(verdict, "kafka", failure));
    if !reachable {
        return;
    }
    if let Err(error) = cluster(report, settings, runtime) {
        report.add(Verdict::Problem, "kafka", format!("{error:#}"));
    }
}

/// Whether it lets us in, whether all is there, and whether we may do all that we have to.
fn cluster(report: &mut Report, settings: &Settings, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let probe = Probe::connect(&assemble::connection(settings))?;
    let principal = probe.principal();
    let user = principal.as_ref().map_or_else(String::new, |principal| format!(" {principal}"));
    report.add(Verdict::Ok, "kafka", format!("{} answers{user}", settings.kafka.bootstrap_servers));
    let states = runtime.block_on(topics::check(&probe, &assemble::topic_plans(settings)))?;
    let obstacles = ready::look(&probe, settings, &rights::roles(), true)?;
    topic_lines(report, &states, &obstacles, principal.as_deref());
    if obstacles.refused.is_empty() {
        report.add(Verdict::Ok, "access", "topics, groups and transactions may be used");
    } else {
        report.add(Verdict::Problem, "access", access::not_authorised(&obstacles.refused, principal.as_deref()));
    }
    obstacles.warnings(principal.as_deref()).into_iter().for_each(|warning| report.add(Verdict::Warning, "access", warning));
    Ok(())
}

fn topic_lines(report: &mut Report, states: &[(String, TopicState)], obstacles: &Obstacles, principal: Option<&str>) {
    let missing: Vec<&str> = states.iter().filter(|(_, state)| *state == TopicState::Missing).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        report.add(Verdict::Problem, "topics", format!("missing: {}; run `tollgate topics create`", missing.join(", ")));
    }
    let (mut good, mut unseen) = (0, Vec::new());
    for (name, state) in states {
        match state {
            TopicState::Created | TopicState::Present => good += 1,
            TopicState::Missing => {}
            TopicState::Differs(found) => report.add(Verdict::Warning, "topics", format!("{name}: works, but has {}", found.join(", "))),
            TopicState::Wrong(found) => report.add(Verdict::Problem, "topics", format!("{name}: cannot be used with {}", found.join(", "))),
            TopicState::Forbidden(Operation::Describe) if obstacles.is_refused_topic(name) => {}
            TopicState::Forbidden(operation) => unseen.push(Right::on_topic(*operation, name)),
        }
    }
    if !unseen.is_empty() {
        let what = format!("settings not compared: {}", access::not_authorised(&unseen, principal));
        report.add(Verdict::Warning, "topics", what);
    }
    if good > 0 {
        report.add(Verdict::Ok, "topics", format!("{good} of {} are as they should be", states.len()));
    }
}

/// To the first address that takes the connection.
fn connect(server: &str) -> Result<TcpStream> {
    let addresses = server.to_socket_addrs().context("the host name cannot be resolved")?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).context("nobody takes the connection"),
        None => bail!("the host name has no address"),
    }
}

/// What a mail would meet, up to the sender: greeting, TLS, login. The greeting is shown where it is readable; no mail is sent.
pub fn smtp(mail: &MailSettings, runtime: &tokio::runtime::Runtime) -> Result<String> {
    let stream = connect(&format!("{}:{}", mail.host, mail.port))?;
    let greeting = match mail.tls {
        MailTls::Implicit => "TLS".to_string(),
        MailTls::None | MailTls::StartTls => greeting(stream)?,
    };
    let mailer = Mailer::new(&assemble::mail(mail)).context("no mail can be sent with these settings")?;
    runtime.block_on(mailer.try_out())?;
    let login = if mail.username.is_some() { ", takes the login" } else { "" };
    Ok(format!("{greeting}{login}"))
}

fn greeting(stream: TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut greeting = Vec::new();
    // RFC 5321 lines have 512 bytes; whatever this is, it is not read without end.
    let read = BufReader::new(stream).take(1024).read_until(b'\n', &mut greeting);
    read.context("takes the connection, but does not greet; is it a mail server, and does it speak TLS first (tls = \"implicit\")?")?;
    let greeting: String = String::from_utf8_lossy(&greeting).chars().filter(|c| !c.is_control()).collect();
    if greeting.starts_with("220") { Ok(greeting) } else { bail!("is no mail server that is ready: it says '{greeting}'") }
}

/// Number of subjects.
async fn registry(url: &str, schemas: &SchemaSettings) -> Result<usize> {
    // Two libraries may want to be first; either is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("cannot start an HTTP client")?;
    let mut request = client.get(format!("{url}/subjects"));
    if let Some(username) = &schemas.username {
        request = request.basic_auth(username, schemas.password.as_ref().map(|password| password.expose_secret()));
    }
    let response = request.send().await.map_err(reqwest::Error::without_url).context("does not answer")?;
    let status = response.status();
    if !status.is_success() {
        let hint = match status.as_u16() {
            401 | 403 => "; check schemas.username and password_file",
            404 => "; is the path right? Apicurio serves this API under /apis/ccompat/v7",
            _ => "",
        };
        bail!("answers {status} to GET /subjects{hint}");
    }
    let body = response.bytes().await.map_err(reqwest::Error::without_url).context("breaks off its answer")?;
    let subjects: Vec<String> = serde_json::from_slice(&body).context("answers, but not like a schema registry")?;
    Ok(subjects.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that says one thing to one client.
    fn says(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            if answer.starts_with("HTTP") {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    fn mail(port: u16) -> MailSettings {
        MailSettings {
            host: "127.0.0.1".into(),
            port,
            tls: MailTls::None,
            username: None,
            password: None,
            ca_pem: None,
            from: "a@x".into(),
            unsubscribe: Vec::new(),
            one_click: false,
            timeout_ms: 1000,
            base_url: None,
            language: "en",
            languages: Vec::new(),
            templates: std::collections::BTreeMap::new(),
            per_minute: 0,
        }
    }

    #[test]
    fn a_mail_server_greets() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = |port| format!("{:#}", smtp(&mail(port), &runtime).unwrap_err());
        assert!(refused(says("554 go away\r\n")).contains("554 go away"));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(refused(closed).contains("nobody takes the connection"));
        let breaks_off = refused(says("220 mx ready\r\n"));
        assert!(breaks_off.contains("mail server 127.0.0.1:"), "it greets, and then says nothing: {breaks_off}");
    }

    #[test]
    fn a_registry_lists_subjects() {
        let ask = |answer| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(registry(&format!("http://127.0.0.1:{}", says(answer)), &SchemaSettings::default()))
        };
        assert_eq!(ask("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[\"a\",\"b\"]").unwrap(), 2);
        assert!(format!("{:#}", ask("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").unwrap_err()).contains("password_file"));
        assert!(format!("{:#}", ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap_err()).contains("not like a schema registry"));
    }
}
