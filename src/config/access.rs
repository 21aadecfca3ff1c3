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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;
    use crate::watch::access::rules::Kind;

    fn load(text: &str) -> Result<crate::config::Loaded, Vec<crate::config::Problem>> {
        load_text("t.toml", &format!("version = 1\n[access]\n{text}"), Path::new(""), std::iter::empty())
    }

    #[test]
    fn access_is_read_and_mistakes_are_named() {
        let rules =
            load("off = ['unused-grant', 'access.shared-key']\nseparate = ['build and sign']\n").unwrap().watch.matters.access.unwrap();
        assert_eq!((rules.off, rules.grace_ms), (vec![Kind::UnusedGrant, Kind::SharedKey], 60_000));
        assert_eq!(rules.separate, [["build".into(), "sign".into()]]);
        assert!(load("enabled = false\n").unwrap().watch.matters.access.is_none());
        for (text, says) in [
            ("off = ['nonsense']", "write some of ungranted, offboarded"),
            ("off = ['unused-grants']", "did you mean 'unused-grant'?"),
            ("separate = ['approval']", "two actions or roles"),
            ("separate = ['approval and approval']", "no pair of duties"),
            ("unused_after = '1h'", "from 1d to 365d"),
        ] {
            let problems: Vec<String> = load(text).err().unwrap_or_default().iter().map(ToString::to_string).collect();
            assert!(problems.len() == 1 && problems[0].contains(says), "{text}: {problems:#?}");
        }
    }
}
