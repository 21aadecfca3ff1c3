//! What the demo runs on: the in-process broker, the topics, and the same roles that `tollgate run` starts, with the same defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use arc_swap::ArcSwap;

use super::cast::{self, PROJECTS};
use super::grade::Waits;
use crate::clock::{self, Stopwatch};
use crate::config::{self, Loaded};
use crate::deliver;
use crate::deliver::channels::compose::Sender;
use crate::deliver::channels::folder::Folder;
use crate::deliver::channels::{Channel, Channels};
use crate::deliver::render::Renderer;
use crate::deliver::rules::{DeliverRules, Route, Routes};
use crate::health::HealthBoard;
use crate::http;
use crate::kafka::client::Connection;
use crate::kafka::embedded::EmbeddedBroker;
use crate::kafka::topics::{TopicNames, TopicSizes, plan};
use crate::metrics::Metrics;
use crate::model::alert::Severity;
use crate::model::wire::OutputForm;
use crate::runtime::caretaker::Care;
use crate::runtime::supervise::{self, Role};
use crate::runtime::{Delivery, Setup, Stop, encode, intake, schemas, watch};

const INPUT_PARTITIONS: i32 = 4;
const OUTPUT_PARTITIONS: i32 = 2;
const SHARDS: u32 = 4;
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Everything that runs; ends with [`Stage::end`].
pub struct Stage {
    pub setup: Arc<Setup>,
    pub waits: Waits,
    pub http: SocketAddr,
    stop: Stop,
    roles: thread::JoinHandle<Result<()>>,
    server: tokio::runtime::Runtime,
    /// Last, so that its clients are gone before it is.
    _broker: EmbeddedBroker,
}

/// Starts broker and roles, and waits until every role has joined its group.
///
/// # Errors
/// No free port, no threads, or a role that does not get ready.
pub fn start(mails: &Path) -> Result<Stage> {
    let loaded = config::load_text("the demo's settings", "", Path::new(""), std::iter::empty())
        .map_err(|problems| anyhow!("the built-in defaults have a problem: {problems:?}"))?;
    let topics = TopicNames::new("", "tollgate");
    let broker = EmbeddedBroker::start(&partitions(&topics))?;
    let waits = Waits { lateness_ms: loaded.watch.lateness_ms, out_of_orderness_ms: loaded.intake.out_of_orderness_ms };
    let listen = loaded.settings.http.listen;
    let setup = Arc::new(setup(loaded, topics, broker.bootstrap_servers()));
    let delivery = Arc::new(delivery(mails)?);
    let stop = Stop::default();
    let (http, server) = serve(listen, &setup, &stop)?;
    let roles = {
        let (setup, stop) = (setup.clone(), stop.clone());
        let roles = roles(&setup, &delivery);
        thread::Builder::new().name("roles".to_string()).spawn(move || supervise::supervise(&setup, roles, &stop))
    };
    let stage = Stage { setup, waits, http, stop, roles: roles.context("cannot start a thread")?, server, _broker: broker };
    let waiting = Stopwatch::start();
    while !stage.is_ready() {
        if !stage.is_running() || waiting.elapsed() > READY_WITHIN {
            return stage.end().and_then(|()| Err(anyhow!("the roles did not get ready within {READY_WITHIN:?}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(stage)
}

impl Stage {
    /// False once a role has failed for good.
    pub fn is_running(&self) -> bool {
        !self.roles.is_finished()
    }

    fn is_ready(&self) -> bool {
        let report = self.setup.health.ready(clock::now());
        report.healthy && report.threads.len() == 3
    }

    /// Serves on until Ctrl-C.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn wait_for_interrupt(&self) -> Result<()> {
        self.server.block_on(tokio::signal::ctrl_c()).context("cannot listen for Ctrl-C")
    }

    /// Stops the roles, then the broker.
    ///
    /// # Errors
    /// What a role ended with.
    pub fn end(self) -> Result<()> {
        self.stop.ask();
        let ended = self.roles.join().unwrap_or_else(|_| Err(anyhow!("a role has broken an invariant, see the log")));
        self.server.shutdown_timeout(Duration::from_secs(1));
        ended
    }
}

fn partitions(topics: &TopicNames) -> Vec<(String, i32)> {
    let sizes = TopicSizes {
        input_partitions: INPUT_PARTITIONS,
        shard_count: i32::try_from(SHARDS).unwrap_or(i32::MAX),
        output_partitions: OUTPUT_PARTITIONS,
        replication_factor: 1,
        input_retention_ms: -1,
        output_retention_ms: -1,
        largest_record: 1 << 20,
    };
    plan(topics, &sizes).into_iter().map(|topic| (topic.name, topic.partitions)).collect()
}

/// The product's defaults, but for the prices, the shards and what the in-process broker cannot do.
fn setup(loaded: Loaded, topics: TopicNames, bootstrap_servers: String) -> Setup {
    let kafka = loaded.settings.kafka;
    let short_waits = |name: &str, value: &str| (name.to_string(), value.to_string());
    let connection = Connection {
        bootstrap_servers,
        application_id: "tollgate".to_string(),
        instance_id: "demo".to_string(),
        // The broker answers an empty fetch only when its time is over.
        consumer: vec![short_waits("fetch.wait.max.ms", "1")],
        producer: vec![short_waits("linger.ms", "0")],
        session_timeout_ms: kafka.session_timeout_ms,
        transaction_timeout_ms: kafka.transaction_timeout_ms,
        message_timeout_ms: kafka.message_timeout_ms,
        largest_record: loaded.settings.intake.largest_record,
        ..Connection::default()
    };
    let mut intake_rules = loaded.intake;
    intake_rules.prices = cast::price_book();
    Setup {
        connection,
        topics,
        shard_count: SHARDS,
        delivery: Delivery::AtLeastOnce,
        commit_interval: COMMIT_INTERVAL,
        intake_rules: ArcSwap::from_pointee(intake_rules),
        watch_rules: ArcSwap::from_pointee(loaded.watch),
        lineage_rules: ArcSwap::from_pointee(loaded.lineage),
        dead_letter_ratio: loaded.settings.intake.dead_letter_ratio,
        dead_letter_sample: loaded.settings.intake.dead_letter_sample,
        schemas: schemas::Source::default(),
        copies: None,
        output: encode::Output {
            form: OutputForm::Json,
            source: "/tollgate/demo".to_string(),
            alert_schema: 0,
            rollup_schema: 0,
            violation_schema: 0,
            largest_record: loaded.settings.intake.largest_record,
        },
        most_shard_lag: i64::MAX,
        care: Care::default(),
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(HealthBoard::default()),
    }
}

/// Every team has an on-call address; mails become files.
fn delivery(mails: &Path) -> Result<deliver::worker::Delivery> {
    let mut teams: Vec<&str> = PROJECTS.iter().map(|project| project.team).collect();
    teams.dedup();
    let route = |team: &&str| Route {
        teams: vec![(*team).to_string()],
        receivers: vec![format!("{team}-oncall@example.com")],
        least_severity: Severity::Warning,
        go_on: false,
        ..Route::default()
    };
    let routes =
        Routes { routes: teams.iter().map(route).collect(), fallback: vec!["finops@example.com".to_string()], ..Routes::default() };
    let rules = DeliverRules { routes, update_growth: 2.0, in_flight: 16, ..DeliverRules::default() };
    let sender = Sender::new("Tollgate <tollgate@example.com>").map_err(|error| anyhow!("sender of the mails: {error}"))?;
    Ok(deliver::worker::Delivery {
        rules: ArcSwap::from_pointee(rules),
        channels: Arc::new(Channels { mail: Some(Channel::Folder(Folder::new(mails, sender))), ..Channels::default() }),
        renderer: Arc::new(Renderer::new()?),
    })
}

/// On the default address, or on any free port where somebody else listens there.
fn serve(listen: SocketAddr, setup: &Arc<Setup>, stop: &Stop) -> Result<(SocketAddr, tokio::runtime::Runtime)> {
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start threads")?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = server.block_on(async {
        match tokio::net::TcpListener::bind(listen).await {
            Ok(listener) => Ok(listener),
            Err(_) => tokio::net::TcpListener::bind(any).await,
        }
    });
    let listener = listener.context("cannot listen on any port of this machine")?;
    let address = listener.local_addr().context("cannot tell the port")?;
    let stopping = stop.clone();
    let desk = Arc::new(http::Desk::closed());
    server.spawn(http::serve(listener, setup.health.clone(), setup.metrics.clone(), clock::now, desk, axum::Router::new(), async move {
        while !stopping.asked() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    Ok((address, server))
}

fn roles(setup: &Arc<Setup>, delivery: &Arc<deliver::worker::Delivery>) -> Vec<Role> {
    let (for_intake, for_watch, for_deliver, delivery) = (setup.clone(), setup.clone(), setup.clone(), delivery.clone());
    vec![
        Role { name: "intake", thread: 0, run: Box::new(move |stop| intake::run(&for_intake, 0, stop)) },
        Role { name: "watch", thread: 0, run: Box::new(move |stop| watch::run(&for_watch, 0, stop)) },
        Role { name: "deliver", thread: 0, run: Box::new(move |stop| deliver::worker::run::<false>(&for_deliver, &delivery, 0, stop)) },
    ]
}
