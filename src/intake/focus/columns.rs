//! The columns of FOCUS 1.0 to 1.4, and what each of them may hold.

/// The version of FOCUS that a file follows, by its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
    V1_4,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V1_0 => "1.0",
            Version::V1_1 => "1.1",
            Version::V1_2 => "1.2",
            Version::V1_3 => "1.3",
            Version::V1_4 => "1.4",
        }
    }
}

/// What a column's texts have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Amount,
    Time,
    Currency,
    Json,
    OneOf(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub is_nullable: bool,
    /// In every file of its version, whether it says something or not.
    pub is_mandatory: bool,
    pub since: Version,
}

const fn column(name: &'static str, kind: Kind, since: Version) -> Column {
    Column { name, kind, is_nullable: true, is_mandatory: false, since }
}

/// In every file; may be null.
const fn mandatory(name: &'static str, kind: Kind, since: Version) -> Column {
    Column { is_mandatory: true, ..column(name, kind, since) }
}

/// In every file and every row.
const fn required(name: &'static str, kind: Kind, since: Version) -> Column {
    Column { is_nullable: false, ..mandatory(name, kind, since) }
}

const CATEGORIES: Kind = Kind::OneOf(&["Usage", "Purchase", "Tax", "Credit", "Adjustment"]);
const FREQUENCIES: Kind = Kind::OneOf(&["One-Time", "Recurring", "Usage-Based"]);
const STATUS: Kind = Kind::OneOf(&["Used", "Unused"]);
const PRICING: Kind = Kind::OneOf(&["Standard", "Dynamic", "Committed", "Other"]);
const SERVICES: Kind = Kind::OneOf(&[
    "AI and Machine Learning",
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Multicloud",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Networking",
    "Security",
    "Storage",
    "Web",
    "Other",
]);

use Kind::{Amount, Currency, Json, OneOf, Text, Time};
use Version::{V1_0, V1_1, V1_2, V1_3, V1_4};

pub const COLUMNS: &[Column] = &[
    column("AvailabilityZone", Text, V1_0),
    required("BilledCost", Amount, V1_0),
    required("BillingAccountId", Text, V1_0),
    mandatory("BillingAccountName", Text, V1_0),
    required("BillingCurrency", Currency, V1_0),
    required("BillingPeriodEnd", Time, V1_0),
    required("BillingPeriodStart", Time, V1_0),
    required("ChargeCategory", CATEGORIES, V1_0),
    mandatory("ChargeClass", OneOf(&["Correction"]), V1_0),
    mandatory("ChargeDescription", Text, V1_0),
    column("ChargeFrequency", FREQUENCIES, V1_0),
    required("ChargePeriodEnd", Time, V1_0),
    required("ChargePeriodStart", Time, V1_0),
    column("CommitmentDiscountCategory", OneOf(&["Spend", "Usage"]), V1_0),
    column("CommitmentDiscountId", Text, V1_0),
    column("CommitmentDiscountName", Text, V1_0),
    column("CommitmentDiscountStatus", STATUS, V1_0),
    column("CommitmentDiscountType", Text, V1_0),
    column("ConsumedQuantity", Amount, V1_0),
    column("ConsumedUnit", Text, V1_0),
    required("ContractedCost", Amount, V1_0),
    column("ContractedUnitPrice", Amount, V1_0),
    required("EffectiveCost", Amount, V1_0),
    required("InvoiceIssuerName", Text, V1_0),
    required("ListCost", Amount, V1_0),
    column("ListUnitPrice", Amount, V1_0),
    column("PricingCategory", PRICING, V1_0),
    mandatory("PricingQuantity", Amount, V1_0),
    mandatory("PricingUnit", Text, V1_0),
    column("ProviderName", Text, V1_0),
    column("PublisherName", Text, V1_0),
    column("RegionId", Text, V1_0),
    column("RegionName", Text, V1_0),
    column("ResourceId", Text, V1_0),
    column("ResourceName", Text, V1_0),
    column("ResourceType", Text, V1_0),
    required("ServiceCategory", SERVICES, V1_0),
    required("ServiceName", Text, V1_0),
    column("SkuId", Text, V1_0),
    column("SkuPriceId", Text, V1_0),
    column("SubAccountId", Text, V1_0),
    column("SubAccountName", Text, V1_0),
    column("Tags", Json, V1_0),
    column("CapacityReservationId", Text, V1_1),
    column("CapacityReservationStatus", STATUS, V1_1),
    column("CommitmentDiscountQuantity", Amount, V1_1),
    column("CommitmentDiscountUnit", Text, V1_1),
    column("ServiceSubcategory", Text, V1_1),
    column("SkuMeter", Text, V1_1),
    column("SkuPriceDetails", Json, V1_1),
    column("BillingAccountType", Text, V1_2),
    column("InvoiceId", Text, V1_2),
    column("PricingCurrency", Currency, V1_2),
    column("PricingCurrencyContractedUnitPrice", Amount, V1_2),
    column("PricingCurrencyEffectiveCost", Amount, V1_2),
    column("PricingCurrencyListUnitPrice", Amount, V1_2),
    column("SubAccountType", Text, V1_2),
    column("AllocatedMethodDetails", Json, V1_3),
    column("AllocatedMethodId", Text, V1_3),
    column("AllocatedResourceId", Text, V1_3),
    column("AllocatedResourceName", Text, V1_3),
    column("AllocatedTags", Json, V1_3),
    column("ContractApplied", Json, V1_3),
    mandatory("HostProviderName", Text, V1_3),
    required("ServiceProviderName", Text, V1_3),
    column("CommitmentProgramEligibilityDetails", Json, V1_4),
    column("InvoiceDetailId", Text, V1_4),
];

pub fn known(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.name == name)
}

/// What tells one charge from another, and is not restated: accounts, resource, SKU, kind and period of the charge. No names and
/// descriptions, which are edited; no tags and amounts, which are what a restatement is about; no columns of later versions, so that a
/// provider's upgrade does not make every line a new one.
pub const IDENTITY: [&str; 19] = [
    "BillingAccountId",
    "SubAccountId",
    "BillingCurrency",
    "ServiceName",
    "RegionId",
    "AvailabilityZone",
    "ResourceId",
    "SkuId",
    "SkuPriceId",
    "ChargeCategory",
    "ChargeClass",
    "ChargeFrequency",
    "PricingCategory",
    "PricingUnit",
    "ConsumedUnit",
    "CommitmentDiscountId",
    "CommitmentDiscountStatus",
    "ChargePeriodStart",
    "ChargePeriodEnd",
];
