//! [access]: what is governed, and from when on access is told.

use super::read::Section;
use super::units::Complaint;
use crate::model::Text;
use crate::model::near::did_you_mean;
use crate::watch::access::rules::{AccessRules, Kind, PREFIX};

pub fn access(mut section: Section) -> Option<AccessRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let count = |section: &mut Section, key| usize::try_from(section.integer(key, 0..=1_000_000)).unwrap_or_default();
    let rules = AccessRules {
        off: off(&mut section),
        governed: section.texts("governed").into_iter().map(|(_, name)| Text::from(name)).collect(),
        grace_ms: section.duration("grace", "0s", "24h"),
        unused_after_ms: section.duration("unused_after", "1d", "365d"),
        regions_per_key: count(&mut section, "regions_per_key"),
        users_per_key: count(&mut section, "users_per_key"),
        user_tag: section.text("user_tag").into(),
        hands: count(&mut section, "hands"),
        separate: separate(&mut section),
    };
    section.finish();
    is_on.then_some(rules)
}

fn off(section: &mut Section) -> Vec<Kind> {
    let mut off = Vec::new();
    for (_, name) in section.texts("off") {
        let known = Kind::ALL.iter().find(|(id, _)| id.strip_prefix(PREFIX) == Some(name.as_str()) || *id == name);
        match known {
            Some((_, kind)) => off.push(*kind),
            None => {
                let names = Kind::ALL.map(|(id, _)| id.strip_prefix(PREFIX).unwrap_or(id));
                let hint = did_you_mean(&name, names).unwrap_or_else(|| format!("write some of {}", names.join(", ")));
                section.complain("off", Complaint::new(format!("names '{name}', which is no kind of finding"), hint));
            }
        }
    }
    off
}

/// "approval and deployment".
fn separate(section: &mut Section) -> Vec<[Text; 2]> {
    let mut pairs = Vec::new();
    for (_, written) in section.texts("separate") {
        match written.split_once(" and ").map(|(first, second)| [first.trim(), second.trim()]) {
            Some([first, second]) if !first.is_empty() && !second.is_empty() && first != second => {
                pairs.push([first.into(), second.into()])
            }
            _ => section.complain(
                "separate",
                Complaint::new(
                    format!("has '{written}', which is no pair of duties"),
                    "write two actions or roles: \"approval and deployment\"",
                ),
            ),
        }
    }
    pairs
}
