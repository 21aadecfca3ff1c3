//! Schema ids: from a registry, else from the table in config. A registry that is down delays records, it never drops them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_all_subjects, get_schema_by_id, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A registry that is well answers within it; the thread that asks has other partitions to serve.
const PATIENCE: Duration = Duration::from_millis(100);

/// A record whose schema cannot be had now is tried again after this.
pub const RETRY: Duration = Duration::from_secs(2);
/// An id that the registry did not know is asked for again after this: it may have been registered since, or a replica lagged. Not once
/// for each record: those of an id that stays unknown are many.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Where schemas come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub registry: Option<Registry>,
    /// Id -> schema text, for producers that work without a registry.
    pub ids: BTreeMap<u32, String>,
}

#[derive(Clone, Debug)]
pub struct Registry {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

/// What became of one look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Schema(String),
    /// The registry is there and says that it has no such id.
    Unknown,
    /// Nobody knows: ask again later.
    Unavailable(String),
}

/// Ids that the registry did not know, by when it said so.
#[derive(Debug, Default)]
pub struct Unknown {
    /// In the order of time.
    since: VecDeque<(Duration, u32)>,
}

impl Unknown {
    pub fn note(&mut self, id: u32, uptime: Duration) {
        self.since.push_back((uptime, id));
    }

    /// Those whose answer is old: whoever needs them asks anew.
    pub fn each_old(&mut self, uptime: Duration, mut forget: impl FnMut(u32)) {
        while let Some((_, id)) = self.since.pop_front_if(|(since, _)| uptime.saturating_sub(*since) >= UNKNOWN_FOR) {
            forget(id);
        }
    }
}

/// Asks on a thread of its own, so that a registry that does not answer holds up nobody but those who need the answer.
pub struct Client {
    source: Source,
    settings: Option<Arc<SrSettings>>,
    /// Questions without an answer so far, by id.
    open: BTreeMap<u32, JoinHandle<Lookup>>,
    runtime: Runtime,
}

impl Client {
    /// # Errors
    /// An unusable URL or no threads.
    pub fn new(source: &Source) -> Result<Client> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("registry").enable_all().build();
        let runtime = runtime.context("cannot start the registry client")?;
        let settings = source.registry.as_ref().map(connect).transpose()?.map(Arc::new);
        Ok(Client { source: source.clone(), settings, open: BTreeMap::new(), runtime })
    }

    /// Waits a moment for the answer to a new question; one that is still open is not waited for again.
    pub fn look_up(&mut self, id: u32) -> Lookup {
        if let Some(text) = self.source.ids.get(&id) {
            return Lookup::Schema(text.clone());
        }
        let Some(settings) = &self.settings else { return Lookup::Unknown };
        let (mut question, patience) = match self.open.remove(&id) {
            Some(asked) => (asked, Duration::ZERO),
            None => (self.runtime.spawn(ask(id, settings.clone())), PATIENCE),
        };
        match self.runtime.block_on(async { tokio::time::timeout(patience, &mut question).await }) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Lookup::Unavailable(error.to_string()),
            Err(_) => {
                self.open.insert(id, question);
                Lookup::Unavailable("no answer from the registry so far".to_string())
            }
        }
    }

    /// Registers a schema of ours under `subject` (or finds it there) and returns its id.
    ///
    /// # Errors
    /// The registry is down or refuses the schema as incompatible.
    pub fn register(&self, subject: &str, name: &str, schema: &str) -> Result<Option<u32>> {
        let Some(settings) = &self.settings else { return Ok(None) };
        let supplied = SuppliedSchema::new(Some(name.to_string()), SchemaType::Avro, schema.to_string());
        let posted = self.runtime.block_on(post_schema(settings, subject.to_string(), supplied));
        let registered = posted.with_context(|| format!("the schema registry does not take our schema as subject '{subject}'"))?;
        Ok(Some(registered.id))
    }
}

async fn ask(id: u32, settings: Arc<SrSettings>) -> Lookup {
    match get_schema_by_id(id, &settings).await {
        Ok(found) if !found.references.is_empty() => {
            // Waiting would not help, and a partition that waits holds every hour open.
            tracing::warn!(schema = id, "schema refers to other schemas, which is not supported: register it in one piece");
            Lookup::Unknown
        }
        Ok(found) => Lookup::Schema(found.schema),
        // "There is no such schema", but only from a registry: at a wrong path, or behind a proxy, nothing at all is found.
        Err(error) if error.error.contains("status 404") => match get_all_subjects(&settings).await {
            Ok(_) => Lookup::Unknown,
            Err(error) => Lookup::Unavailable(format!("no schema registry at schemas.registry_url: {error}")),
        },
        Err(error) => Lookup::Unavailable(error.to_string()),
    }
}

fn connect(registry: &Registry) -> Result<SrSettings> {
    // The HTTP client brings no cryptography of its own; a second call finds it installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = SrSettings::new_builder(registry.url.clone());
    builder.set_timeout(REQUEST_TIMEOUT);
    if let Some(username) = &registry.username {
        builder.set_basic_authorization(username, registry.password.as_ref().map(|password| password.expose_secret()));
    }
    builder.build().with_context(|| format!("cannot use the schema registry '{}'", registry.url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_asked_for_again_but_not_by_each_record() {
        const NONE: [u32; 0] = [];
        let mut unknown = Unknown::default();
        let mut old = |noted: &[u32], uptime: u64| {
            let uptime = Duration::from_secs(uptime);
            noted.iter().for_each(|id| unknown.note(*id, uptime));
            let mut old = Vec::new();
            unknown.each_old(uptime, |id| old.push(id));
            old
        };
        assert_eq!(old(&[7], 100), NONE);
        assert_eq!(old(&[8], 110), NONE);
        assert_eq!(old(&[], 129), NONE);
        assert_eq!(old(&[], 130), [7]);
        // It is still unknown: once more in half a minute, and not before.
        assert_eq!(old(&[7], 131), NONE);
        assert_eq!(old(&[], 160), [8]);
        assert_eq!(old(&[], 161), [7]);
        assert_eq!(old(&[], 1_000), NONE);
    }
}
