//! What a condition may ask about: the fields of each kind of event, under the names that they have in the events themselves.

use crate::model::activity::ACTIONS;

/// What a policy applies to; its fields are those of the event of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Usage,
    Resource,
    Activity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Double,
    Texts,
    /// Names and values, both texts.
    Tags,
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// The only values that it has; empty = any.
    pub values: &'static [&'static str],
    /// Differs from event to event, so that it cannot be asked once for all events of a series.
    pub is_of_event: bool,
}

/// Place of a field among those of its subject.
pub type FieldId = usize;

const fn text(name: &'static str) -> Field {
    Field { name, kind: Kind::Text, values: &[], is_of_event: false }
}

const fn of_event(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, values: &[], is_of_event: true }
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Text, values, is_of_event: true }
}

/// Where its data is: the country (ISO 3166-1 alpha-2) and the blocs (EEA, ASIA, ...) of its region.
const COUNTRY: Field = text("country");
const BLOCS: Field = Field { name: "blocs", kind: Kind::Texts, values: &[], is_of_event: false };

/// Fields of usage that no usage event states: watch knows them, by model.
pub const ORIGIN: [&str; 6] = ["origin_region", "origin_country", "origin_blocs", "approval", "approval_basis", "lineage"];

/// What lineage says of the data that a model was made of: all of it has a known source; some has none; some has none, and the time in
/// which a late event may still tell it is not over; a step has taken all origins away. Absent: it has never heard of the model.
pub const LINEAGE: [&str; 4] = ["known", "unknown", "pending", "cleared"];
const LINEAGE_FIELD: Field = Field { name: ORIGIN[5], kind: Kind::Text, values: &LINEAGE, is_of_event: false };

const USAGE: &[Field] = &[
    text("team"),
    text("project"),
    text("model"),
    text("provider"),
    text("region"),
    COUNTRY,
    BLOCS,
    text("environment"),
    text("meter"),
    text("currency"),
    // Of the model, as activity has told: where the data comes from that it was trained on, and who has reviewed it.
    text(ORIGIN[0]),
    text(ORIGIN[1]),
    Field { name: ORIGIN[2], kind: Kind::Texts, values: &[], is_of_event: false },
    text(ORIGIN[3]),
    text(ORIGIN[4]),
    LINEAGE_FIELD,
    of_event("source", Kind::Text),
    of_event("user", Kind::Text),
    of_event("account", Kind::Text),
    of_event("resource_id", Kind::Text),
    of_event("status", Kind::Text),
    of_event("quantity", Kind::Double),
    of_event("input_tokens", Kind::Int),
    of_event("output_tokens", Kind::Int),
    of_event("cached_input_tokens", Kind::Int),
    of_event("cache_write_tokens", Kind::Int),
    of_event("reasoning_tokens", Kind::Int),
    of_event("requests", Kind::Int),
    of_event("tags", Kind::Tags),
];

/// How many fields usage has.
pub const USAGE_FIELDS: usize = USAGE.len();

const RESOURCE: &[Field] = &[
    text("team"),
    text("project"),
    text("provider"),
    text("region"),
    COUNTRY,
    BLOCS,
    text("environment"),
    text("resource_id"),
    text("resource_type"),
    one_of("state", &["running", "stopped", "deleted"]),
    of_event("owner", Kind::Text),
    of_event("capacity", Kind::Double),
    of_event("utilization", Kind::Double),
    of_event("requests", Kind::Int),
    of_event("tags", Kind::Tags),
];

const ACTIVITY: &[Field] = &[
    one_of("action", &ACTIONS),
    of_event("actor", Kind::Text),
    text("team"),
    text("model"),
    text("model_version"),
    text("dataset"),
    text("resource_id"),
    text("provider"),
    text("region"),
    COUNTRY,
    BLOCS,
    text("origin_region"),
    text("origin_country"),
    Field { name: "origin_blocs", kind: Kind::Texts, values: &[], is_of_event: false },
    text("environment"),
    one_of("principal_type", &["employee", "contractor", "third_party", "service"]),
    of_event("role", Kind::Text),
    of_event("destination", Kind::Text),
    of_event("metric", Kind::Text),
    of_event("value", Kind::Double),
    of_event("samples", Kind::Int),
    of_event("approval", Kind::Text),
    // What it rests on: standard contractual clauses, an assessment, ...
    of_event("approval_basis", Kind::Text),
    LINEAGE_FIELD,
    of_event("tags", Kind::Tags),
];

impl Subject {
    pub const ALL: [Subject; 3] = [Subject::Usage, Subject::Resource, Subject::Activity];

    /// In policy files and in front of fields: `usage.team`.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Usage => "usage",
            Subject::Resource => "resource",
            Subject::Activity => "activity",
        }
    }

    pub fn fields(self) -> &'static [Field] {
        match self {
            Subject::Usage => USAGE,
            Subject::Resource => RESOURCE,
            Subject::Activity => ACTIVITY,
        }
    }

    pub fn field(self, name: &str) -> Option<FieldId> {
        self.fields().iter().position(|field| field.name == name)
    }
}

impl Kind {
    /// With its article, for messages.
    pub fn shown(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Int => "a whole number",
            Kind::Double => "a number with a fraction",
            Kind::Texts => "a list of texts",
            Kind::Tags => "tags",
        }
    }
}
