//! Calls of the client library that have no bound of their own.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What a call comes to; `None` where it takes longer than `most`, or gets no thread. The thread that waits for it is left behind, and keeps
/// what the call holds until it returns.
pub(super) fn within<T: Send + 'static>(name: &str, most: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::sync_channel(1);
    // Nobody may be listening any more.
    let wait = move || drop(done.send(call()));
    thread::Builder::new().name(name.to_string()).spawn(wait).ok()?;
    result.recv_timeout(most).ok()
}
