//! Reads a copy on a thread of its own, some batches ahead of who takes the state in.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::state::{CopyReader, Live, Reached};

/// Batches that are read and not taken; each some megabyte.
const AHEAD: usize = 4;

pub struct Ahead {
    reached: Reached,
    /// Ends with an error, or with nothing: that all is read is said, not concluded.
    read: Receiver<Result<Option<Live>>>,
    /// What was taken, to be filled again.
    emptied: SyncSender<Live>,
}

impl Ahead {
    /// # Errors
    /// No thread can be started.
    pub fn of(mut copy: CopyReader) -> Result<Ahead> {
        let reached = copy.reached();
        let (send, read) = sync_channel(AHEAD);
        let (emptied, refill) = sync_channel::<Live>(AHEAD);
        let run = move || {
            loop {
                let mut live = refill.try_recv().unwrap_or_default();
                let next = copy.read(&mut live).map(|is_filled| is_filled.then_some(live));
                let is_last = !matches!(next, Ok(Some(_)));
                // Nobody wants it any more: the partition went to somebody else.
                if send.send(next).is_err() || is_last {
                    return;
                }
            }
        };
        thread::Builder::new().name("copy-reader".to_string()).spawn(run).context("cannot start a thread")?;
        Ok(Ahead { reached, read, emptied })
    }

    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Hands out what is live of the next batch, each key once; false: there was none left, and nothing may be asked for any more.
    ///
    /// # Errors
    /// The copy is damaged, or the caller fails: nothing of what was handed out may be used.
    pub fn read(&mut self, mut each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<bool> {
        let Ok(next) = self.read.recv() else { bail!("the thread that reads the copy has ended") };
        let Some(live) = next? else { return Ok(false) };
        for (key, value) in live.entries() {
            each(key, value)?;
        }
        let _ = self.emptied.try_send(live);
        Ok(true)
    }
}
