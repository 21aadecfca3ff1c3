//! STATE: a local copy of the changelog, one file for each partition, which only makes restarts faster.
//!
//! `file` is how a copy lies on disk, `copy` writes one, `read` hands out what is live of one. No room here knows Kafka or the time:
//! `runtime::copy` fills copies and decides whether one may be used.

mod copy;
mod file;
mod folder;
mod read;

pub use self::copy::Copy;
pub use self::file::{Entry, Origin, Reached};
pub use self::folder::Folder;
pub use self::read::{CopyReader, Live};
