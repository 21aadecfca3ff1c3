//! Log lines: where they go, how they look, which ones. Set up once; the level may change at a reload.

use std::io::IsTerminal as _;

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::log;
use crate::config::settings::{LogFormat, LogSettings};

/// What the command line says about logging; it goes before the config.
#[derive(Clone, Debug, Default)]
pub struct Logging {
    pub format: Option<LogFormat>,
    pub level: Option<String>,
}

/// Changes the level while the process runs.
pub struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    fixed: bool,
}

/// Logs to stderr from now on, so that stdout is free for reports.
///
/// # Errors
/// The level does not parse, or logging has been set up before.
pub fn start(logging: &Logging, settings: &LogSettings) -> Result<Level> {
    let level = logging.level.as_deref().unwrap_or(&settings.level);
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match logging.format.unwrap_or(settings.format) {
        LogFormat::Text => {
            // Colours are for eyes; in a file they are noise.
            let layer = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init(),
    };
    started.context("cannot start logging")?;
    Ok(Level { handle, fixed: logging.level.is_some() })
}

/// Logs to a file instead, for commands that draw on the terminal.
///
/// # Errors
/// The file cannot be written, the level does not parse, or logging has been set up before.
pub fn start_in(file: &Path, level: &str) -> Result<()> {
    let log = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let layer = fmt::layer().with_ansi(false).with_writer(Mutex::new(log));
    tracing_subscriber::registry().with(parse(level)?).with(layer).try_init().context("cannot start logging")
}

impl Level {
    /// After a reload. What the command line said stays.
    ///
    /// # Errors
    /// The level does not parse.
    pub fn set(&self, level: &str) -> Result<()> {
        if self.fixed {
            return Ok(());
        }
        self.handle.reload(parse(level)?).context("cannot change the log level")
    }
}

/// `--log-level`, before anything else is done.
///
/// # Errors
/// What is no level, and what to write.
pub fn level(written: &str) -> Result<String, String> {
    log::level(written).map_err(|(part, hint)| if part == written { hint } else { format!("'{part}' is no level; {hint}") })
}

fn parse(level: &str) -> Result<EnvFilter> {
    EnvFilter::builder().parse(level).with_context(|| format!("'{level}' is no log level"))
}
