//! The bill of a backtest: billing events through intake and ledger, as they go live.

use crate::intake::billing::{self, Accepted, BillingOutcome};
use crate::intake::decode::billing::BILLING;
use crate::intake::decode::table::WriterSchemas;
use crate::intake::rules::IntakeRules;
use crate::lab::read::names_a_schema;
use crate::ledger::{self, Ledger};
use crate::model::billing::LedgerRecord;
use crate::model::partial::Partial;
use crate::model::record::{InputRecord, Reject};
use crate::model::time::Timestamp;

pub struct Bill {
    ledger: Ledger,
    schemas: WriterSchemas,
    offset: i64,
}

impl Bill {
    pub fn new() -> Bill {
        Bill { ledger: Ledger::starting_at(0), schemas: WriterSchemas::new(&BILLING), offset: 0 }
    }

    /// Takes an event; why it was rejected, if it was.
    pub fn take(&mut self, record: &InputRecord<'_>, now: Timestamp, rules: &IntakeRules) -> Result<(), Reject> {
        match billing::process(record, now, rules, &self.schemas) {
            BillingOutcome::Accepted(accepted) => {
                let Accepted { source, period, item } = *accepted;
                self.ledger.apply(&LedgerRecord { source, period, items: vec![item] }, self.offset);
                self.offset += 1;
                Ok(())
            }
            BillingOutcome::Rejected(reject) => Err(reject),
            BillingOutcome::NeedsSchema(_) => Err(names_a_schema()),
        }
    }

    /// What has changed since the last call.
    pub fn drain(&mut self) -> Vec<Partial> {
        self.ledger.take_deltas().into_iter().map(ledger::partial).collect()
    }
}
