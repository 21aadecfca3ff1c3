//! What links and pages of answers are made with: the key, and the way to the topic `feedback`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::assemble;
use crate::config::settings::{Form, Settings};
use crate::deliver::answer::{SHORTEST_KEY, Signer};
use crate::deliver::feedback::FeedbackTopic;
use crate::model::wire::{self, OutputForm, SchemaName};

/// `None`: no key file, or nowhere that links could lead.
///
/// # Errors
/// The key file cannot be read or made, or is too short to be a key.
pub fn signer(settings: &Settings) -> Result<Option<Arc<Signer>>> {
    let (Some(path), Some(base_url)) = (&settings.answers.key_file, &settings.answers.base_url) else { return Ok(None) };
    let key = key(path).with_context(|| format!("answers.key_file {}", path.display()))?;
    Ok(Some(Arc::new(Signer::new(&key, base_url, settings.answers.valid_ms))))
}

/// Reads the key; makes one where there is no file. Of several processes that start together one makes it, the others read it.
fn key(path: &Path) -> Result<Vec<u8>> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let mut key = [0_u8; SHORTEST_KEY];
    SystemRandom::new().fill(&mut key).map_err(|_| anyhow!("the system has no random numbers"))?;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    // Under another name first, so that nobody ever reads half a key; a link instead of a rename, because that one fails where it is there.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&partial).and_then(|mut file| file.write_all(hex.as_bytes())).context("cannot be made")?;
    let linked = std::fs::hard_link(&partial, path);
    drop(std::fs::remove_file(&partial));
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).context("cannot be made"),
        _ => read(path)?.context("vanished while it was read"),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let key = match std::fs::read(path) {
        Ok(bytes) => bytes.trim_ascii().to_vec(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot be read"),
    };
    if key.len() < SHORTEST_KEY {
        bail!("holds {} bytes, a key has at least {SHORTEST_KEY}: remove it, and one is made", key.len());
    }
    Ok(Some(key))
}

pub fn feedback_topic(settings: &Settings) -> FeedbackTopic {
    let name = wire::schema(SchemaName::Feedback).name;
    let listed = settings.schemas.ids.iter().find(|(_, known)| known.name == name).and_then(|(id, _)| i32::try_from(*id).ok());
    FeedbackTopic {
        connection: assemble::connection(settings),
        topic: settings.topics.feedback.clone(),
        form: match settings.alerts.form {
            Form::Json => OutputForm::Json,
            Form::Avro => OutputForm::Avro,
        },
        schemas: assemble::schema_source(settings),
        schema_id: listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.key");
        let made = key(&path).unwrap();
        assert_eq!((made.len(), key(&path).unwrap()), (64, made));
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "short").unwrap();
        assert!(key(&path).unwrap_err().to_string().contains("holds 5 bytes"));
        assert!(key(&folder.path().join("no/such/folder")).is_err());
    }
}
