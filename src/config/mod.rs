//! CONFIG: the file, the environment over it, the defaults below it; from them the rules of the core and the settings of the shell.
//!
//! `config/tollgate.toml` is documentation and compiled-in defaults at once. `tree` keeps the place of every value, `read` takes typed
//! values out of it and notes every problem, the other files know one group of sections each. Nothing here talks to the network.

mod access;
mod agreements;
mod broker;
mod currency;
mod drift;
mod duty;
mod env;
mod lineage;
pub mod log;
mod matters;
mod packs;
pub mod policies;
mod policy_files;
pub mod prices;
pub mod problem;
mod read;
pub mod restart;
mod rules;
pub mod settings;
mod shell;
mod showback;
#[cfg(test)]
mod tests;
mod timing;
mod together;
mod tree;
mod units;
mod webhook;

use std::path::Path;
use std::sync::Arc;

pub use self::env::variables;
use self::policies::PolicyFolder;
use self::prices::PriceFile;
use self::problem::Place;
pub use self::problem::Problem;
use self::read::{Notes, Section};
pub use self::restart::{forgot_revision, refused, restart_needed};
use self::settings::Settings;
use self::tree::{Table, Value};
pub use self::units::duration_ms;
use crate::intake::rules::IntakeRules;
use crate::lineage::rules::LineageRules;
use crate::model::money::Currency;
use crate::policy::stream::Stream;
use crate::watch::rules::WatchRules;

/// The commented default file.
pub const DEFAULTS: &str = include_str!("../../config/tollgate.toml");

/// What the defaults are called where a file's name would stand.
const DEFAULTS_NAME: &str = "built-in defaults";

/// Version of the file's format that this program reads.
pub const FORMAT_VERSION: i64 = 1;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub intake: IntakeRules,
    pub watch: WatchRules,
    pub lineage: LineageRules,
    pub price_files: Vec<PriceFile>,
    /// `None`: `policies.dir` is not set.
    pub policies: Option<Arc<PolicyFolder>>,
    /// Probably not meant, but usable.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Whether there may be violations that people are to be told of.
    pub fn tells_violations(&self) -> bool {
        self.policies.is_some() || self.watch.matters.drift.is_some() || self.watch.matters.access.is_some()
    }
}

/// Reads the file (none = the defaults alone) and the environment. The same at start and at a reload: all or nothing.
///
/// # Errors
/// Every problem of the file and of what it names, in the order of the lines.
pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, Vec<Problem>> {
    let Some(path) = path else { return load_text("environment", "", Path::new(""), environment) };
    let shown = path.display().to_string();
    let cannot = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "check the path, or write the defaults there: tollgate config default"
        } else {
            "the file must be readable UTF-8 text"
        };
        vec![Problem::new(&Place::whole(&shown), format!("cannot be read: {error}")).hint(hint)]
    };
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    load_text(&shown, &text, path.parent().unwrap_or(Path::new("")), environment)
}

/// `base`: the folder that relative paths in the text start from.
///
/// # Errors
/// As [`load`].
pub fn load_text(file: &str, text: &str, base: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, Vec<Problem>> {
    let notes = Notes::default();
    let mut table = tree::parse(DEFAULTS_NAME, DEFAULTS)?;
    let own = tree::parse(file, text)?;
    check_version(file, &own, &notes)?;
    tree::overlay(&mut table, own);
    let (ours, others): (Vec<_>, Vec<_>) = environment.partition(|(name, _)| name.starts_with("TOLLGATE_"));
    env::overlay(&mut table, ours.into_iter(), &notes);
    let mut loaded = read_all(Section::root(&notes, base, file, &table), &host_name(&others));
    let (problems, warnings) = notes.into_sorted();
    loaded.warnings = warnings;
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

/// Another version may mean something else by any of its keys, so nothing else is looked at.
fn check_version(file: &str, own: &Table, notes: &Notes) -> Result<(), Vec<Problem>> {
    let Some(item) = own.get("version") else {
        if !own.is_empty() {
            let problem = Problem::new(&Place::whole(file), format!("has no 'version' and is read as version {FORMAT_VERSION}"));
            notes.warning(
                problem.hint(format!("add version = {FORMAT_VERSION} as its first line, so that later releases know what it means")),
            );
        }
        return Ok(());
    };
    let problem = match item.value {
        Value::Integer(FORMAT_VERSION) => return Ok(()),
        Value::Integer(version) if version > FORMAT_VERSION => {
            Problem::new(&item.place, format!("the file has format version {version}, this tollgate reads version {FORMAT_VERSION}"))
                .hint("it was written for a newer tollgate: upgrade, or use the file of this release")
        }
        Value::Integer(version) => {
            Problem::new(&item.place, format!("the file has format version {version}, this tollgate reads version {FORMAT_VERSION}"))
                .hint("see CHANGELOG.md for what changed, adapt the file and set the version")
        }
        ref other => Problem::new(&item.place, format!("'version' is {}", other.kind())).hint(format!("write version = {FORMAT_VERSION}")),
    };
    Err(vec![problem])
}

fn read_all(mut root: Section, host_name: &str) -> Loaded {
    root.integer("version", FORMAT_VERSION..=FORMAT_VERSION);
    let revision = u64::try_from(root.integer("rules_revision", 1..=i64::MAX)).unwrap_or_default();
    // The shards of the state are a setting of the shell and a rule of the core.
    let shard_count = with(&mut root, "shards", broker::shard_count);
    let mut watch_section = root.section("watch");
    let reporting_currency = watch_section.currency("reporting_currency").unwrap_or(Currency::USD);
    let policies = with(&mut root, "policies", policies::of_section);
    let stream = policies.as_ref().map(|folder| Stream::new(folder.policies.clone(), folder.regions.clone(), folder.ai_domains.clone()));
    let rates = with(&mut root, "currency", |section| currency::currency(section, reporting_currency));
    let common = rules::Common { revision, reporting_currency, rates, policies: Arc::new(stream.unwrap_or_default()) };
    let mut watch = rules::watch(&mut root, &mut watch_section, &common);
    let watch_threads = usize::try_from(watch_section.integer("threads", 1..=1024)).unwrap_or(1);
    watch_section.finish();
    let (book, price_files) = with(&mut root, "prices", prices::prices);
    if let Some(advice) = &mut watch.matters.advice {
        (advice.prices, advice.rates) = (book.clone(), common.rates.clone());
    }
    let (intake, intake_settings) = rules::intake(&mut root, &common, book);
    let lineage = with(&mut root, "lineage", |section| lineage::lineage(section, &mut watch));
    let showback = showback::showback(root.tables("showback"));
    let kafka = with(&mut root, "kafka", |section| broker::kafka(section, host_name));
    let topics = with(&mut root, "topics", |section| broker::topics(section, &kafka.topic_prefix));
    let schemas = with(&mut root, "schemas", shell::schemas);
    let state_dir = with(&mut root, "state", |section| section.path("dir"));
    let alerts = with(&mut root, "alerts", |section| shell::alerts(section, &schemas));
    let mail = with(&mut root, "mail", shell::mail);
    let webhooks = webhook::webhooks(root.tables("webhook"));
    let routes = root.tables("route");
    let hooks = webhooks.iter().map(|webhook| webhook.name.clone()).collect();
    let mut reach = shell::Reach { mail: mail.is_some(), hooks, rotations: Vec::new() };
    let schedules = duty::schedules(root.tables("schedule"));
    let rotations = duty::rotations(root.tables("oncall"), &reach);
    reach.rotations = rotations.iter().map(|rotation| rotation.name.clone()).collect();
    let mutes = duty::mutes(root.tables("mute"), &schedules);
    let inhibits = together::inhibits(root.tables("inhibit"));
    let deliver = with(&mut root, "deliver", |section| shell::deliver(section, routes, &reach, &schedules));
    let answers = with(&mut root, "answers", shell::answers);
    let http = with(&mut root, "http", shell::http);
    let log = with(&mut root, "log", log::log);
    root.finish();
    let settings = Settings {
        kafka,
        topics,
        shard_count,
        showback,
        schemas,
        intake: intake_settings,
        watch_threads,
        state_dir,
        alerts,
        mail,
        webhooks,
        deliver,
        rotations,
        mutes,
        inhibits,
        answers,
        http,
        log,
    };
    Loaded { settings, intake, watch, lineage, price_files, policies, warnings: Vec::new() }
}

/// Reads one section to its end.
fn with<'a, T>(root: &mut Section<'a>, name: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
    let mut section = root.section(name);
    let value = read(&mut section);
    section.finish();
    value
}

/// What this host calls itself; containers and stateful sets set HOSTNAME.
fn host_name(environment: &[(String, String)]) -> String {
    let variable = environment.iter().find(|(name, _)| name == "HOSTNAME").map(|(_, value)| value.clone());
    let file = || std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname")).ok();
    let name = variable.or_else(file).unwrap_or_default().trim().to_string();
    if name.is_empty() { "localhost".to_string() } else { name }
}
