//! Alerts that say the same as one that somebody knows of already: a parent speaks for its children, and rules of the config for others.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::alert::{Alert, Severity};

use super::receipt::Receipt;
use super::rules::{DeliverRules, Receiver, names};

/// An alert that is open, and who has been told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub alert: Alert,
    /// Receivers as text.
    pub told: BTreeSet<String>,
}

/// While an alert that `by` names stands, nobody who knows of it is told of those that `of` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inhibit {
    pub by: Select,
    pub of: Select,
    /// Dimensions, or `team`, `kind` and `incident`, in which both have to be equal.
    pub equal: Vec<String>,
    /// Why, for people.
    pub note: String,
}

/// As in routes: empty = every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    pub teams: Vec<String>,
    pub kinds: Vec<String>,
    pub only: BTreeMap<String, String>,
    pub least_severity: Option<Severity>,
}

/// Why somebody is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// What is extra here is a part of what is extra there.
    Parent,
    Rule(String),
}

impl Standing {
    /// `None`: it is over, or nobody knows of it.
    pub fn of(receipt: &Receipt) -> Option<Standing> {
        let open = receipt.open.as_deref()?;
        let knows = receipt.receivers.iter().filter(|(_, state)| state.told.as_ref().is_some_and(|told| !told.closed));
        let told: BTreeSet<String> = knows.map(|(receiver, _)| receiver.clone()).collect();
        (!told.is_empty()).then(|| Standing { alert: Alert { history: Vec::new(), ..open.clone() }, told })
    }
}

/// Of these teams, or of all of them where rules reach beyond a team.
pub fn standing<'r>(rules: &DeliverRules, receipts: impl Iterator<Item = &'r Receipt>, teams: &BTreeSet<String>) -> Vec<Standing> {
    if !rules.parents_inhibit && rules.inhibits.is_empty() {
        return Vec::new();
    }
    let is_asked = |receipt: &&Receipt| receipt.open.as_ref().is_some_and(|open| !rules.inhibits.is_empty() || teams.contains(&open.team));
    receipts.filter(is_asked).filter_map(Standing::of).collect()
}

impl Select {
    fn takes(&self, alert: &Alert) -> bool {
        self.least_severity.is_none_or(|least| alert.severity >= least) && names(&self.teams, &self.kinds, &self.only, alert).is_ok()
    }
}

/// The alert that speaks for this one to this receiver, if there is any, and why it does.
pub fn inhibited<'s>(
    parents: bool,
    rules: &[Inhibit],
    alert: &Alert,
    receiver: &Receiver,
    standing: &'s [Standing],
) -> Option<(&'s Alert, Because)> {
    let key = receiver.to_string();
    let known = standing.iter().filter(|other| other.alert.id != alert.id && other.told.contains(&key));
    known.map(|other| &other.alert).find_map(|other| {
        if parents && is_parent(other, alert) {
            return Some((other, Because::Parent));
        }
        let rule = rules.iter().find(|rule| {
            // One that both sides take would silence two by each other, and nobody would hear of either.
            rule.by.takes(other)
                && rule.of.takes(alert)
                && !rule.by.takes(alert)
                && rule.equal.iter().all(|key| value(other, key) == value(alert, key))
        })?;
        Some((other, Because::Rule(rule.note.clone())))
    })
}

/// Its dimensions are fewer of the same, and it is at least as bad and as dear: what the child says is among its causes.
fn is_parent(other: &Alert, alert: &Alert) -> bool {
    let is_wider = other.dimensions.len() < alert.dimensions.len()
        && other.dimensions.iter().all(|(name, value)| alert.dimensions.get(name) == Some(value));
    is_wider
        && (&other.team, other.measure, other.currency) == (&alert.team, alert.measure, alert.currency)
        && other.severity >= alert.severity
        // A drop is no part of a rise.
        && other.excess.0.signum() == alert.excess.0.signum()
        && other.excess.0.unsigned_abs() >= alert.excess.0.unsigned_abs()
}

/// Of a dimension, or of what else alerts can be told apart by.
pub fn value<'a>(alert: &'a Alert, key: &str) -> &'a str {
    match key {
        "team" => &alert.team,
        "kind" => alert.kind.as_str(),
        "severity" => alert.severity.as_str(),
        "incident" => &alert.incident_id,
        dimension => alert.dimensions.get(dimension).map_or("", String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;
    use crate::model::alert::AlertKind;
    use crate::model::money::Nanos;
    use crate::model::time::Timestamp;

    fn ada() -> Receiver {
        Receiver::Mail("ada@x".into())
    }

    fn standing(alert: Alert) -> Standing {
        let mut receipt = Receipt::new(&alert.id);
        receipt.record_sent(&alert, &ada(), "<1@x>", Timestamp(1));
        Standing::of(&receipt).unwrap()
    }

    /// Of the whole team: what the spike is a part of.
    fn parent() -> Alert {
        Alert { id: "search/parent".into(), dimensions: BTreeMap::new(), ..sample::spike() }
    }

    #[test]
    fn a_parent_speaks_for_its_children() {
        let child = sample::spike();
        let spoken = |parent: Alert, child: &Alert, receiver: &Receiver| {
            inhibited(true, &[], child, receiver, &[standing(parent)]).map(|(by, why)| (by.id.clone(), why))
        };
        assert_eq!(spoken(parent(), &child, &ada()), Some(("search/parent".to_string(), Because::Parent)));
        assert_eq!(spoken(parent(), &child, &Receiver::Mail("bob@x".into())), None, "he does not know of it");
        assert_eq!(spoken(child.clone(), &parent(), &ada()), None, "a child does not speak for its parent");
        assert_eq!(spoken(Alert { id: "search/2".into(), ..child.clone() }, &child, &ada()), None, "nor for its equal");
        for other in [
            Alert { team: "ads".into(), ..parent() },
            Alert { severity: Severity::Info, ..parent() },
            Alert { excess: Nanos::from_units(1), ..parent() },
            Alert { excess: Nanos::from_units(-9_000), ..parent() },
            Alert { measure: crate::model::leaf::Measure::Billed, ..parent() },
            Alert { dimensions: BTreeMap::from([("project".to_string(), "other".to_string())]), ..parent() },
        ] {
            assert_eq!(spoken(other.clone(), &child, &ada()), None, "{other:?}");
        }
        assert_eq!(inhibited(false, &[], &child, &ada(), &[standing(parent())]), None, "switched off");
    }

    #[test]
    fn what_is_over_or_unknown_speaks_for_nobody() {
        let mut receipt = Receipt::new("search/parent");
        receipt.record_failed(&parent(), &ada(), "451", Timestamp(1), Some(Timestamp(9)));
        assert_eq!(Standing::of(&receipt), None);
        receipt.record_sent(&parent(), &ada(), "<1@x>", Timestamp(2));
        assert!(Standing::of(&receipt).is_some());
        receipt.record_sent(&Alert { id: "search/parent".into(), revision: 2, ..sample::resolved() }, &ada(), "<2@x>", Timestamp(3));
        assert_eq!(Standing::of(&receipt), None);
    }

    #[test]
    fn rules_silence_what_they_name() {
        let rule = Inhibit {
            by: Select { kinds: vec!["price_change".into()], ..Select::default() },
            of: Select { least_severity: Some(Severity::Warning), ..Select::default() },
            equal: vec!["model".into()],
            note: "the price says it all".into(),
        };
        let dearer = Alert { id: "ads/1".into(), team: "ads".into(), kind: AlertKind::PriceChange, ..sample::spike() };
        let by = |rule: &Inhibit, other: &Alert, alert: &Alert| {
            inhibited(false, std::slice::from_ref(rule), alert, &ada(), &[standing(other.clone())]).map(|(_, why)| why)
        };
        assert_eq!(by(&rule, &dearer, &sample::spike()), Some(Because::Rule("the price says it all".into())));
        let other_model = Alert { dimensions: BTreeMap::new(), ..dearer.clone() };
        assert_eq!(by(&rule, &other_model, &sample::spike()), None);
        assert_eq!(by(&rule, &sample::spike(), &dearer), None);
        let second = Alert { id: "ads/2".into(), ..dearer.clone() };
        assert_eq!(by(&rule, &dearer, &second), None, "two of a kind do not silence each other");
        let in_team = Inhibit { equal: vec!["team".into()], ..rule };
        assert_eq!(by(&in_team, &dearer, &sample::spike()), None);
    }
}
