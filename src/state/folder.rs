//! The folder of a deployment's copies, used by one process at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::model::time::Timestamp;

pub struct Folder {
    path: PathBuf,
    /// Locked as long as it is open; the system gives it back when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// The copies of `topic` below `dir`, made if need be. `None`: another process has it.
    ///
    /// # Errors
    /// It cannot be made, or not be written to.
    pub fn take(dir: &Path, topic: &str) -> io::Result<Option<Folder>> {
        let path = dir.join(topic);
        fs::create_dir_all(&path)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Folder { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub fn copy_of(&self, partition: i32) -> PathBuf {
        self.path.join(format!("{partition}.copy"))
    }

    /// Removes copies that nobody has written to since `before`: of partitions that went elsewhere.
    ///
    /// # Errors
    /// The folder cannot be read, a file not be removed.
    pub fn tidy(&self, before: Timestamp) -> io::Result<()> {
        let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(before.0).unwrap_or_default());
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_ours = entry.path().extension().is_some_and(|extension| extension == "copy" || extension == "new");
            if is_ours && entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}
