//! `tollgate run`: all roles in this process, or one of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::{assemble, ready};
use crate::clock::{self, Stopwatch};
use crate::config::problem::Problem;
use crate::config::settings::Delivery;
use crate::config::{self, Loaded};
use crate::deliver::{self, answers::Answers};
use crate::health::HealthBoard;
use crate::http;
use crate::kafka::access::{self, AuthenticationRefused, Operation, Right};
use crate::kafka::probe::Probe;
use crate::kafka::topics::{self, TopicState};
use crate::metrics::Metrics;
use crate::runtime::supervise::{self, Role};
use crate::runtime::{Setup, Stop, billing, caretaker, intake, ledger, lineage, owners, watch, whole};

/// A role tries for a minute to get its last transaction through.
const MOST_TO_STOP: Duration = Duration::from_secs(90);

/// For topics that were made a moment ago.
const MOST_TO_APPEAR: Duration = Duration::from_secs(5);

/// Which roles run in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// Reads usage, sums it up, writes the shard log and dead letters.
    Intake,
    /// Reads the bill, keeps its lines, writes what changes.
    Ledger,
    /// Keeps the graph of data and models, tells what is known of where a model's data comes from.
    Lineage,
    /// Keeps baselines, decides alerts.
    Watch,
    /// Tells people and programs: mail and webhooks.
    Deliver,
}

/// Runs until SIGTERM or Ctrl-C; SIGHUP reloads.
///
/// # Errors
/// What no restart of a role can cure: no broker, wrong topics, a state that contradicts the offsets.
pub fn run(loaded: Loaded, reload: impl Fn() -> Result<Loaded, Vec<Problem>> + Send + 'static, only: Option<Only>) -> Result<()> {
    if loaded.settings.kafka.delivery == Delivery::AtLeastOnce {
        bail!(
            "kafka.delivery is \"at_least_once\": that is for the demo's in-process broker only, a real one has transactions; set \"exactly_once\""
        );
    }
    say_notices(&loaded);
    let metrics = Arc::new(Metrics::new());
    begin_policies(&metrics, &loaded);
    let health = Arc::new(HealthBoard::default());
    let setup = Arc::new(assemble::setup(&loaded, metrics.clone(), health.clone())?);
    let delivery = Arc::new(assemble::delivery(&loaded.settings)?);
    let stop = Stop::default();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start threads")?;
    let listen = loaded.settings.http.listen;
    let listener =
        runtime.block_on(tokio::net::TcpListener::bind(listen)).with_context(|| format!("cannot listen on {listen}; set http.listen"))?;
    let roles = roles(&setup, &delivery, &loaded, only);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), http = %listen, brokers = setup.connection.bootstrap_servers, roles = roles.len(), "tollgate runs");
    if only.is_none_or(|only| only == Only::Deliver) && delivery.channels.is_empty() {
        tracing::warn!(
            topic = setup.topics.alerts,
            "nobody is told of alerts: neither mail.host nor a webhook is set, they are on their topic only"
        );
    }
    let stopping = stop.clone();
    let desk = Arc::new(http::Desk::new(&loaded, Some(super::data_flow::lineages(&setup))));
    let answers = super::answers::signer(&loaded.settings)?;
    let answers = answers
        .map(|signer| Arc::new(Answers::new(signer, super::answers::feedback_topic(&loaded.settings), Arc::clone(&delivery.renderer))));
    let pages = answers.map(deliver::answers::router).unwrap_or_default();
    runtime.spawn(http::serve(listener, health, metrics, clock::now, desk.clone(), pages, async move {
        while !stopping.asked() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }));
    let checked = loaded.clone();
    runtime.spawn(on_signals(stop.clone(), setup.clone(), delivery, desk, loaded, reload));
    refuse_what_cannot_work(&checked, &names_of(&roles), &runtime)?;
    let ended = std::thread::scope(|scope| {
        let has_shards = only.is_none_or(|only| only == Only::Watch);
        if let Some(copies) = setup.copies.as_ref().filter(|_| has_shards) {
            let side = || copies.run(&setup.metrics, &stop);
            std::thread::Builder::new().name("copy".to_string()).spawn_scoped(scope, side).context("cannot start a thread")?;
        }
        let ended = supervise::supervise(&setup, roles, &stop);
        // Also where every role has ended by itself.
        stop.ask();
        ended
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    tracing::info!("tollgate stopped");
    ended
}

/// What no role could do its work with is refused before anything is written: topics that are missing or would lose state, a user that is not
/// let in or may not do enough. Settings that may not be read, and a cluster that does not answer, are left to the roles.
fn refuse_what_cannot_work(loaded: &Loaded, roles: &[&'static str], runtime: &tokio::runtime::Runtime) -> Result<()> {
    let connection = assemble::connection(&loaded.settings);
    let looked = Probe::connect(&connection).and_then(|probe| {
        refuse_wrong_topics(&probe, loaded, runtime)?;
        refuse_obstacles(&probe, loaded, roles)
    });
    match looked {
        Err(error) if error.is::<Refused>() || error.is::<AuthenticationRefused>() => Err(error),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "topics not checked");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What `run` has seen, in contrast to what kept it from looking.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn refuse_obstacles(probe: &Probe, loaded: &Loaded, roles: &[&'static str]) -> Result<()> {
    let principal = probe.principal();
    // Who does not say who he is, as a rule may do everything, and need not wait.
    let asks_who = loaded.settings.kafka.security.protocol != "plaintext";
    let started = Stopwatch::start();
    let found = loop {
        let found = ready::look(probe, &loaded.settings, roles, asks_who)?;
        // A broker may learn a moment later what another one has just made.
        if found.missing.is_empty() || started.elapsed() > MOST_TO_APPEAR {
            break found;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let sentences = found.sentences(principal.as_deref());
    if !sentences.is_empty() {
        bail!(Refused(sentences.join("\n")));
    }
    found.warnings(principal.as_deref()).into_iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(())
}

fn refuse_wrong_topics(probe: &Probe, loaded: &Loaded, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let names = assemble::topic_names(&loaded.settings);
    let (state, plans) = ([names.shard_log, names.watch_changelog], assemble::topic_plans(&loaded.settings));
    let plans: Vec<_> = plans.into_iter().filter(|plan| state.contains(&plan.name)).collect();
    let states = runtime.block_on(topics::check(probe, &plans))?;
    let wrong = states.iter().filter_map(|(name, state)| match state {
        TopicState::Wrong(found) => Some(format!("\n  {name} has {}", found.join(", "))),
        _ => None,
    });
    let wrong: String = wrong.collect();
    if !wrong.is_empty() {
        let mend =
            "Tollgate never changes existing topics: correct them with Kafka's own tools, or the config, and see `tollgate topics check`";
        bail!(Refused(format!("these topics would lose or repeat data:{wrong}\n{mend}")));
    }
    let unseen = states.into_iter().filter(|(_, state)| *state == TopicState::Forbidden(Operation::DescribeConfigs));
    let unseen: Vec<Right> = unseen.map(|(name, _)| Right::on_topic(Operation::DescribeConfigs, &name)).collect();
    if !unseen.is_empty() {
        tracing::warn!("settings of topics not checked: {}", access::not_authorised(&unseen, probe.principal().as_deref()));
    }
    Ok(())
}

fn roles(setup: &Arc<Setup>, delivery: &Arc<deliver::worker::Delivery>, loaded: &Loaded, only: Option<Only>) -> Vec<Role> {
    let wanted = |role| only.is_none_or(|only| only == role);
    let mut roles: Vec<Role> = Vec::new();
    if wanted(Only::Intake) {
        for thread in 0..loaded.settings.intake.threads {
            let setup = setup.clone();
            roles.push(Role { name: "intake", thread, run: Box::new(move |stop| intake::run(&setup, thread, stop)) });
        }
        let [resources, activity, feedback, openlineage] = [(); 4].map(|()| setup.clone());
        roles.push(Role { name: whole::NAMES[0], thread: 0, run: Box::new(move |stop| whole::run::<0>(&resources, 0, stop)) });
        roles.push(Role { name: whole::NAMES[1], thread: 0, run: Box::new(move |stop| whole::run::<1>(&activity, 0, stop)) });
        roles.push(Role { name: whole::NAMES[2], thread: 0, run: Box::new(move |stop| whole::run::<2>(&feedback, 0, stop)) });
        roles.push(Role { name: whole::NAMES[3], thread: 0, run: Box::new(move |stop| whole::run::<3>(&openlineage, 0, stop)) });
    }
    if wanted(Only::Ledger) {
        let (of_billing, of_ledger) = (setup.clone(), setup.clone());
        roles.push(Role { name: "billing", thread: 0, run: Box::new(move |stop| billing::run(&of_billing, 0, stop)) });
        roles.push(Role { name: "ledger", thread: 0, run: Box::new(move |stop| ledger::run(&of_ledger, 0, stop)) });
    }
    if wanted(Only::Lineage) {
        let setup = setup.clone();
        roles.push(Role { name: "lineage", thread: 0, run: Box::new(move |stop| lineage::run(&setup, 0, stop)) });
    }
    if wanted(Only::Watch) {
        for thread in 0..loaded.settings.watch_threads {
            let setup = setup.clone();
            roles.push(Role { name: "watch", thread, run: Box::new(move |stop| watch::run(&setup, thread, stop)) });
        }
    }
    if wanted(Only::Deliver) {
        let (for_alerts, delivery_of_alerts) = (setup.clone(), delivery.clone());
        let run = move |stop: &Stop| deliver::worker::run::<false>(&for_alerts, &delivery_of_alerts, 0, stop);
        roles.push(Role { name: "deliver", thread: 0, run: Box::new(run) });
        if loaded.tells_violations() {
            let (setup, delivery) = (setup.clone(), delivery.clone());
            let run = move |stop: &Stop| deliver::worker::run::<true>(&setup, &delivery, 0, stop);
            roles.push(Role { name: "deliver-violations", thread: 0, run: Box::new(run) });
        }
    }
    if wanted(Only::Intake) || wanted(Only::Watch) {
        let setup = setup.clone();
        roles.push(Role { name: caretaker::NAME, thread: 0, run: Box::new(move |stop| caretaker::run(&setup, stop)) });
    }
    let (setup, names) = (setup.clone(), names_of(&roles));
    roles.push(Role { name: owners::NAME, thread: 0, run: Box::new(move |stop| owners::run(&setup, &names, stop)) });
    roles
}

fn names_of(roles: &[Role]) -> Vec<&'static str> {
    Vec::from_iter(std::collections::BTreeSet::from_iter(roles.iter().map(|role| role.name)))
}

async fn on_signals(
    stop: Stop,
    setup: Arc<Setup>,
    delivery: Arc<deliver::worker::Delivery>,
    desk: Arc<http::Desk>,
    mut current: Loaded,
    reload: impl Fn() -> Result<Loaded, Vec<Problem>>,
) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        tracing::error!("cannot listen for signals: stop this process with SIGKILL, nothing is lost");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => take_over(&setup, &delivery, &desk, &mut current, reload()),
        }
    }
    tracing::info!("stopping: what is begun is finished first");
    stop.ask();
    tokio::time::sleep(MOST_TO_STOP).await;
    end_as_it_is();
}

/// Whatever holds it up, nothing is lost: what is not committed by now is done again.
#[expect(clippy::disallowed_methods, reason = "a thread that never returns drops nothing, and would keep the process for ever")]
fn end_as_it_is() {
    tracing::error!("still not stopped after {} seconds: ended as it is, what is not committed is done again", MOST_TO_STOP.as_secs());
    std::process::exit(1);
}

fn begin_policies(metrics: &Metrics, loaded: &Loaded) {
    let policies = loaded.policies.iter().flat_map(|folder| &folder.policies.policies);
    metrics.begin_policies(policies.map(|policy| policy.id.as_ref()));
}

/// Packs that may be out of date, exemptions that end.
fn say_notices(loaded: &Loaded) {
    for notice in loaded.policies.iter().flat_map(|folder| folder.notices(clock::now())) {
        tracing::warn!("{notice}");
    }
}

/// All or nothing: a file with a problem changes nothing.
fn take_over(
    setup: &Setup,
    delivery: &deliver::worker::Delivery,
    desk: &http::Desk,
    current: &mut Loaded,
    new: Result<Loaded, Vec<Problem>>,
) {
    let new = match new {
        Ok(new) => new,
        Err(problems) => {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("config not reloaded, everything stays as it was");
            return;
        }
    };
    if let Some(why) = config::restart::refused(current, &new) {
        tracing::error!(why, "config not reloaded, everything stays as it was");
        return;
    }
    if config::restart::forgot_revision(current, &new) {
        let revision = new.watch.revision;
        tracing::warn!(revision, "rules have changed, rules_revision has not: alerts of before and after cannot be told apart; raise it");
    }
    for setting in config::restart::restart_needed(current, &new) {
        tracing::warn!(setting, "takes effect at the next start");
    }
    say_notices(&new);
    begin_policies(&setup.metrics, &new);
    let intake = config::restart::carried_over(&setup.intake_rules.load(), new.intake.clone());
    setup.intake_rules.store(Arc::new(intake));
    setup.watch_rules.store(Arc::new(new.watch.clone()));
    setup.lineage_rules.store(Arc::new(new.lineage.clone()));
    delivery.rules.store(Arc::new(assemble::deliver_rules(&new.settings)));
    desk.reload(&new);
    tracing::info!(rules_revision = new.watch.revision, "config reloaded");
    *current = new;
}
