//! Grants: who may use a model or a dataset, by their names.

use serde::{Deserialize, Serialize};

use super::Text;
use super::activity::ActivityEvent;
use super::time::Timestamp;

/// What somebody may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    Model(Text),
    /// `namespace/name`.
    Dataset(Text),
}

/// What tells grants apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantName {
    pub object: Object,
    /// A user, a key, a service; or `team:NAME` for everybody of a team.
    pub principal: Text,
    pub role: Option<Text>,
}

/// A grant was used in a shard that is not the one of who gave it: the shard of the user tells that one, at most once a day of event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUsed {
    /// Who gave the grant.
    pub team: Text,
    pub grant: GrantName,
    pub at: Timestamp,
}

impl Object {
    /// As dimensions have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Object::Model(_) => "model",
            Object::Dataset(_) => "dataset",
        }
    }

    pub fn name(&self) -> &Text {
        match self {
            Object::Model(name) | Object::Dataset(name) => name,
        }
    }

    /// What an event is about.
    pub fn all_of(event: &ActivityEvent) -> Vec<Object> {
        let model = event.model.clone().map(Object::Model);
        model.into_iter().chain(event.dataset.clone().map(Object::Dataset)).collect()
    }
}

/// Who receives a grant, loses one or leaves: the tag `principal`, where `actor` is who did it; else the actor.
pub fn principal(event: &ActivityEvent) -> Option<&Text> {
    event.tags.get("principal").or(event.actor.as_ref())
}

/// Whether every shard has to know of it, since what one team grants another one uses.
pub fn concerns_all(event: &ActivityEvent) -> bool {
    match event.action.as_deref() {
        // With an approval it takes that back, and nobody's grant.
        Some("revoke") if event.approval.is_some() => false,
        Some("grant" | "revoke" | "offboarded") => principal(event).is_some(),
        Some("model_registered") => event.model.is_some() && owner(event).is_some(),
        _ => false,
    }
}

/// Who a registration says is responsible: the tag `owner`, else who registered it.
pub fn owner(event: &ActivityEvent) -> Option<&Text> {
    event.tags.get("owner").or(event.actor.as_ref())
}
