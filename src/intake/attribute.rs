//! Who pays: the team that the event states, else the first rule that matches, else `unattributed`.

use super::rules::{AttributedTeam, AttributionRule};
use crate::model::Text;
use crate::model::leaf::UNATTRIBUTED;
use crate::model::usage::UsageEvent;

pub fn team(event: &UsageEvent, rules: &[AttributionRule]) -> Text {
    if let Some(team) = &event.team {
        return team.clone();
    }
    rules.iter().find_map(|rule| matching_team(event, rule)).unwrap_or_else(|| UNATTRIBUTED.into())
}

fn matching_team(event: &UsageEvent, rule: &AttributionRule) -> Option<Text> {
    let matches = |pattern: &Option<Text>, value: Option<&Text>| match (pattern, value) {
        (None, _) => true,
        (Some(pattern), Some(value)) => glob(pattern, value),
        (Some(_), None) => false,
    };
    let all = matches(&rule.source, Some(&event.source))
        && matches(&rule.account, event.account.as_ref())
        && matches(&rule.project, event.project.as_ref())
        && matches(&rule.user, event.user.as_ref())
        && rule.tags.iter().all(|(key, pattern)| event.tags.get(key).is_some_and(|value| glob(pattern, value)));
    match &rule.team {
        _ if !all => None,
        AttributedTeam::Named(team) => Some(team.clone()),
        AttributedTeam::FromTag(tag) => event.tags.get(tag).filter(|value| !value.is_empty()).cloned(),
    }
}

/// `*` matches any run of characters, also none.
pub fn glob(pattern: &str, value: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut left) = value.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or("");
    for part in parts {
        match left.find(part) {
            Some(at) => left = left.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    left.len() >= tail.len() && left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        let table = [
            ("gateway/*", "gateway/eu1", true),
            ("gateway/*", "gateway/", true),
            ("gateway/*", "gatewa", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "a123b45c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("x", "x", true),
        ];
        for (pattern, value, expected) in table {
            assert_eq!(glob(pattern, value), expected, "{pattern} {value}");
        }
    }
}
