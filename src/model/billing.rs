//! Billing: one line of a provider's bill as the ledger keeps it, and the record that carries lines to it.

use serde::{Deserialize, Serialize};

use super::Text;
use super::leaf::Leaf;
use super::money::Nanos;
use super::time::{Hour, Timestamp};

/// Meter of charges that are no usage, by FOCUS ChargeCategory: kept and summed, never held against a baseline.
pub const CHARGE_METERS: [(&str, &str); 4] =
    [("Tax", "charge.tax"), ("Credit", "charge.credit"), ("Purchase", "charge.purchase"), ("Adjustment", "charge.adjustment")];

/// Meter of lines that FOCUS calls usage and that nobody used: what a commitment costs beyond what it covers.
pub const UNUSED_COMMITMENT: &str = "charge.unused_commitment";

/// Meter of usage by lines for longer than a day: a subscription, a month of support. Such a line stands at its start, and nobody knows what of
/// it is of which day.
pub const LONG_PERIOD: &str = "charge.long_period";

/// Whether a meter is one of [`CHARGE_METERS`], [`UNUSED_COMMITMENT`] or [`LONG_PERIOD`]: money that is spent, and of no hour or day.
pub fn is_charge_meter(meter: &str) -> bool {
    [UNUSED_COMMITMENT, LONG_PERIOD].contains(&meter) || CHARGE_METERS.iter().any(|(_, charge)| *charge == meter)
}

/// Where a line's money stands, and how much it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Charge {
    /// Measure `billed`, in the currency of the bill.
    pub leaf: Leaf,
    /// Hour of FOCUS ChargePeriodStart; a charge of a longer period stands at its start.
    pub hour: Hour,
    pub amounts: Amounts,
}

/// Sums of charges; differences of them are negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Amounts {
    /// FOCUS EffectiveCost: what is paid in advance is spread over the usage that it covers. For baselines.
    pub effective: Nanos,
    /// FOCUS BilledCost: what is invoiced. For cash.
    pub billed: Nanos,
    /// FOCUS ConsumedQuantity, in the meter's unit.
    pub quantity: Nanos,
}

impl Amounts {
    /// Exact for as many amounts of up to 10^12 units as fit into any memory; intake refuses larger ones.
    pub fn plus(self, other: Amounts) -> Amounts {
        let sum = |a: Nanos, b: Nanos| Nanos(a.0.saturating_add(b.0));
        Amounts {
            effective: sum(self.effective, other.effective),
            billed: sum(self.billed, other.billed),
            quantity: sum(self.quantity, other.quantity),
        }
    }

    pub fn minus(self, other: Amounts) -> Amounts {
        let negative = |value: Nanos| Nanos(value.0.saturating_neg());
        let Amounts { effective, billed, quantity } = other;
        self.plus(Amounts { effective: negative(effective), billed: negative(billed), quantity: negative(quantity) })
    }
}

/// One statement of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingLine {
    /// Hash of the line's id, which is unique within source and period and the same in every restatement.
    pub line: u128,
    /// The highest counts.
    pub revision: i64,
    /// When the export was made.
    pub exported: Timestamp,
    /// The delivery that named the line.
    pub delivery: Option<Text>,
    pub charge: Charge,
}

/// The end of a delivery: of the period there is nothing but the lines that it named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    pub delivery: Text,
    pub exported: Timestamp,
    /// Distinct lines that the delivery names.
    pub lines: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerItem {
    Line(BillingLine),
    Complete(Completion),
}

/// Value of a ledger-log record: what one transaction of intake has read of one source's billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord {
    pub source: Text,
    /// `YYYY-MM`.
    pub period: Text,
    pub items: Vec<LedgerItem>,
}

/// What a change of the bill adds to a leaf's hour; mostly positive, negative where a line was restated, moved or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledDelta {
    pub leaf: Leaf,
    pub hour: Hour,
    pub amounts: Amounts,
    /// Lines that came less lines that went.
    pub lines: i64,
}
