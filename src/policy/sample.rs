//! An event with values of its own: what tests of policies are written about, and what somebody wants explained.

use std::collections::BTreeMap;

use super::eval::{Facts, Value};
use super::fields::{Kind, Subject};
use super::regions::Regions;

/// A value as it stands in JSON or TOML.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Text(String),
    Int(i64),
    Double(f64),
    Texts(Vec<String>),
    Tags(BTreeMap<String, String>),
}

impl Given {
    /// `None`: it is no value of this kind.
    pub fn of_json(kind: Kind, value: &serde_json::Value) -> Option<Given> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_string);
        Some(match kind {
            Kind::Text => Given::Text(text(value)?),
            Kind::Int => Given::Int(value.as_i64()?),
            Kind::Double => Given::Double(value.as_f64()?),
            Kind::Texts => Given::Texts(value.as_array()?.iter().map(text).collect::<Option<_>>()?),
            Kind::Tags => {
                let tags = value.as_object()?.iter().map(|(name, value)| Some((name.clone(), text(value)?)));
                Given::Tags(tags.collect::<Option<_>>()?)
            }
        })
    }
}

#[derive(Clone, Debug)]
pub struct Sample {
    pub subject: Subject,
    /// In the order of the subject's fields.
    values: Vec<Option<Given>>,
}

impl Sample {
    pub fn new(subject: Subject) -> Sample {
        let mut values = vec![None; subject.fields().len()];
        // An event without tags has none; it is not silent about them.
        for (value, field) in values.iter_mut().zip(subject.fields()) {
            if field.kind == Kind::Tags {
                *value = Some(Given::Tags(BTreeMap::new()));
            }
        }
        Sample { subject, values }
    }

    /// # Errors
    /// The kind that the field has instead, with its article. A field that the subject does not have: `None`.
    pub fn set(&mut self, name: &str, given: Given) -> Result<(), Option<&'static str>> {
        let Some(id) = self.subject.field(name) else { return Err(None) };
        let (Some(field), Some(value)) = (self.subject.fields().get(id), self.values.get_mut(id)) else { return Err(None) };
        let given = match (field.kind, given) {
            // A whole number where any number may stand.
            (Kind::Double, Given::Int(number)) => Given::Double(number as f64),
            (_, given) => given,
        };
        let fits = matches!(
            (field.kind, &given),
            (Kind::Text, Given::Text(_))
                | (Kind::Int, Given::Int(_))
                | (Kind::Double, Given::Double(_))
                | (Kind::Texts, Given::Texts(_))
                | (Kind::Tags, Given::Tags(_))
        );
        if !fits {
            return Err(Some(field.kind.shown()));
        }
        // Null, absent and empty are one to the event forms.
        *value = Some(given).filter(|given| *given != Given::Text(String::new()));
        Ok(())
    }

    /// Country and blocs of its regions, where the event does not say them itself.
    pub fn locate(&mut self, regions: &Regions) {
        for (region, country, blocs) in [("region", "country", "blocs"), ("origin_region", "origin_country", "origin_blocs")] {
            let Some(land) = self.text(region).and_then(|region| regions.land(region)) else { continue };
            let blocs_of = Given::Texts(land.blocs.iter().map(|bloc| (*bloc).to_string()).collect());
            for (name, given) in [(country, Given::Text(land.country.clone())), (blocs, blocs_of)] {
                let value = self.subject.field(name).and_then(|field| self.values.get_mut(field));
                if let Some(value @ None) = value {
                    *value = Some(given);
                }
            }
        }
    }

    /// After its region became another one.
    pub fn relocate(&mut self, regions: &Regions) {
        for name in ["country", "blocs"] {
            if let Some(value) = self.subject.field(name).and_then(|field| self.values.get_mut(field)) {
                *value = None;
            }
        }
        self.locate(regions);
    }

    pub fn given(&self, name: &str) -> Option<&Given> {
        self.values.get(self.subject.field(name)?)?.as_ref()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.given(name)? {
            Given::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Asks something about it as facts.
    pub fn with_facts<T>(&self, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let texts: Vec<Vec<&str>> = self.values.iter().map(texts_of).collect();
        let tags: Vec<Vec<(&str, &str)>> = self.values.iter().map(tags_of).collect();
        let values: Vec<Option<Value<'_>>> = self
            .values
            .iter()
            .zip(texts.iter().zip(&tags))
            .map(|(value, (texts, tags))| {
                value.as_ref().map(|value| match value {
                    Given::Text(text) => Value::Text(text),
                    Given::Int(number) => Value::Int(*number),
                    Given::Double(number) => Value::Double(*number),
                    Given::Texts(_) => Value::Texts(texts),
                    Given::Tags(_) => Value::Tags(tags),
                })
            })
            .collect();
        ask(&Facts(&values))
    }
}

fn texts_of(value: &Option<Given>) -> Vec<&str> {
    match value {
        Some(Given::Texts(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn tags_of(value: &Option<Given>) -> Vec<(&str, &str)> {
    match value {
        Some(Given::Tags(tags)) => tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        _ => Vec::new(),
    }
}
