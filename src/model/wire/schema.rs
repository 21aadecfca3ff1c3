//! The schemas of `schemas/`, compiled in and parsed once.

use std::sync::LazyLock;

use apache_avro::Schema;

/// Which schema; in the order of [`schemas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaName {
    UsageEvent,
    ResourceSample,
    ActivityEvent,
    LineageEvent,
    BillingRow,
    Feedback,
    Partial,
    Alert,
    Violation,
    SpendRollup,
}

/// A schema under its file name.
#[derive(Debug)]
pub struct NamedSchema {
    pub which: SchemaName,
    /// File name without `.avsc`.
    pub name: &'static str,
    /// Topic (without prefix) whose values it describes.
    pub topic: &'static str,
    /// The file's text, as it is registered.
    pub text: &'static str,
    pub avro: Schema,
}

type Source = (SchemaName, &'static str, &'static str, &'static str);

const SOURCES: [Source; 10] = [
    (SchemaName::UsageEvent, "usage_event", "usage-events", include_str!("../../../schemas/usage_event.avsc")),
    (SchemaName::ResourceSample, "resource_sample", "resource-events", include_str!("../../../schemas/resource_sample.avsc")),
    (SchemaName::ActivityEvent, "activity_event", "activity-events", include_str!("../../../schemas/activity_event.avsc")),
    (SchemaName::LineageEvent, "lineage_event", "lineage-events", include_str!("../../../schemas/lineage_event.avsc")),
    (SchemaName::BillingRow, "billing_row", "billing-events", include_str!("../../../schemas/billing_row.avsc")),
    (SchemaName::Feedback, "feedback", "feedback", include_str!("../../../schemas/feedback.avsc")),
    (SchemaName::Partial, "partial", "shards", include_str!("../../../schemas/partial.avsc")),
    (SchemaName::Alert, "alert", "alerts", include_str!("../../../schemas/alert.avsc")),
    (SchemaName::Violation, "violation", "governance-violations", include_str!("../../../schemas/violation.avsc")),
    (SchemaName::SpendRollup, "spend_rollup", "spend-rollups", include_str!("../../../schemas/spend_rollup.avsc")),
];

static SCHEMAS: LazyLock<Vec<NamedSchema>> = LazyLock::new(|| {
    let parsed = SOURCES.iter().filter_map(|(which, name, topic, text)| {
        let avro = Schema::parse_str(text).ok()?;
        Some(NamedSchema { which: *which, name, topic, text, avro })
    });
    let schemas: Vec<NamedSchema> = parsed.collect();
    assert_eq!(schemas.len(), SOURCES.len(), "a compiled-in schema does not parse");
    schemas
});

/// Every schema, inputs first.
pub fn schemas() -> &'static [NamedSchema] {
    &SCHEMAS
}

/// One schema.
pub fn schema(which: SchemaName) -> &'static NamedSchema {
    &SCHEMAS[which as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schema_stands_at_its_own_place() {
        assert_eq!(schemas().len(), SOURCES.len());
        for known in schemas() {
            assert_eq!(schema(known.which).name, known.name);
        }
    }
}
