//! Grants: who may use a model or a dataset, by their names.

use serde::{Deserialize, Serialize};

use super::Text;
use super::activity::ActivityEvent;
use super::time::Timestamp;

/// What somebody may use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    /// All versions of it, or one: `model@version`.
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

    /// What an event is about, whatever the version.
    pub fn all_of(event: &ActivityEvent) -> Vec<Object> {
        let model = event.model.clone().map(Object::Model);
        model.into_iter().chain(event.dataset.clone().map(Object::Dataset)).collect()
    }

    /// What an event is about, down to the version if it names one.
    pub fn versions_of(event: &ActivityEvent) -> Vec<Object> {
        let version = event.model_version.as_deref().filter(|version| !version.is_empty());
        let exact = |object| match (object, version) {
            (Object::Model(model), Some(version)) => Object::Model(format!("{model}@{version}").as_str().into()),
            (object, _) => object,
        };
        Object::all_of(event).into_iter().map(exact).collect()
    }

    /// The model of which it is one version.
    pub fn whole(&self) -> Option<Object> {
        let Object::Model(name) = self else { return None };
        let (model, version) = name.rsplit_once('@')?;
        (!model.is_empty() && !version.is_empty()).then(|| Object::Model(model.into()))
    }

    /// Whether what holds for this one holds for another: a model stands for its versions, and who does not say which version they use may
    /// use the one that is meant.
    pub fn covers(&self, other: &Object) -> bool {
        self == other || other.whole().as_ref() == Some(self) || self.whole().as_ref() == Some(other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_stands_for_its_versions_and_a_version_for_itself() {
        let model = |name: &str| Object::Model(name.into());
        for (one, other, covers) in [
            ("risk", "risk", true),
            ("risk", "risk@3", true),
            ("risk@3", "risk@3", true),
            ("risk@3", "risk", true),
            ("risk@3", "risk@4", false),
            ("risk", "risky", false),
            ("risk", "fraud@3", false),
            ("@3", "", false),
        ] {
            assert_eq!(model(one).covers(&model(other)), covers, "{one} {other}");
        }
        assert!(!Object::Dataset("risk".into()).covers(&model("risk@3")) && Object::Dataset("a@3".into()).whole().is_none());
        let event = ActivityEvent { model: Some("risk".into()), dataset: Some("d".into()), ..ActivityEvent::default() };
        let with = |version: &str| ActivityEvent { model_version: Some(version.into()), ..event.clone() };
        assert_eq!(Object::versions_of(&with("3")), [model("risk@3"), Object::Dataset("d".into())]);
        assert_eq!(Object::versions_of(&with("")), Object::all_of(&event));
    }
}
