//! What intake remembers of one input partition: how far event time has come, and which ids were there lately.

use super::dedupe::Window;
use crate::model::partial::Source;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub struct PartitionState {
    source: Source,
    window: Window,
    watermark: Option<Timestamp>,
}

impl PartitionState {
    /// A partition that was never read; `window` in offsets.
    pub fn new(source: Source, window: u64) -> PartitionState {
        PartitionState::restored(source, window, None)
    }

    /// With the watermark of its durable key; `warm_up` fills the window.
    pub fn restored(source: Source, window: u64, watermark: Option<Timestamp>) -> PartitionState {
        PartitionState { source, window: Window::new(window), watermark }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Largest event time that was combined, less the out-of-orderness bound; `None` before the first.
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Undoes an aborted batch: its ids leave the window, the watermark is again what it was when the batch began at offset `next`.
    /// False when the batch reaches further back than the window can undo (100,000 offsets): then start from a new state and warm it up.
    #[must_use]
    pub fn rollback_to(&mut self, next: i64, watermark: Option<Timestamp>) -> bool {
        self.watermark = watermark;
        self.window.rollback_to(next)
    }

    /// See `Window::approach`.
    pub(super) fn approach(&self, identity: u128) {
        self.window.approach(identity);
    }

    pub(super) fn enter(&mut self, identity: u128, offset: i64) -> bool {
        self.window.enter(identity, offset)
    }

    /// Event time never goes back, also where the bound was raised in between.
    pub(super) fn advance(&mut self, event_time: Timestamp, out_of_orderness_ms: i64) {
        self.watermark = self.watermark.max(Some(event_time.minus_ms(out_of_orderness_ms)));
    }
}
