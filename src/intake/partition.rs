//! What intake remembers of one input partition: how far event time has come, and which ids were there lately.

use super::dedupe::Window;
use super::refused::{Refused, Stretch};
use crate::model::partial::Source;
use crate::model::record::RejectReason;
use crate::model::time::Timestamp;

#[derive(Debug)]
pub struct PartitionState {
    source: Source,
    window: Window,
    watermark: Option<Timestamp>,
    refused: Refused,
}

impl PartitionState {
    /// A partition that was never read; `window` in offsets.
    pub fn new(source: Source, window: u64) -> PartitionState {
        PartitionState::restored(source, window, None)
    }

    /// With the watermark of its durable key; `warm_up` fills the window.
    pub fn restored(source: Source, window: u64, watermark: Option<Timestamp>) -> PartitionState {
        PartitionState { source, window: Window::new(window), watermark, refused: Refused::default() }
    }

    /// With what its durable key says of records that were refused: `warm_up` passes over them.
    #[must_use]
    pub fn with_refused(self, stretches: Vec<Stretch>) -> PartitionState {
        PartitionState { refused: Refused::restored(stretches), ..self }
    }

    /// For the durable key, where records before `oldest` are not read again.
    pub fn refused_since(&self, oldest: i64) -> Vec<Stretch> {
        self.refused.since(oldest)
    }

    pub(super) fn refuse(&mut self, schema: u32, offset: i64) {
        self.refused.note(schema, offset);
    }

    pub(super) fn has_refused_any(&self) -> bool {
        !self.refused.is_empty()
    }

    pub(super) fn refuse_itself(&mut self, reason: RejectReason, offset: i64) {
        self.refused.note_itself(reason, offset);
    }

    pub(super) fn has_refused(&self, schema: Option<u32>, offset: i64) -> bool {
        self.refused.has(schema, offset)
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
        self.refused.rollback_to(next);
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
