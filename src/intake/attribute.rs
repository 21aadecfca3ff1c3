//! Who pays: the team that the source names, else the first rule that matches, else `unattributed`.

use std::borrow::Cow;

use super::rules::{AttributedTeam, AttributionRule};
use super::validate::clean;
use crate::model::Text;
use crate::model::leaf::UNATTRIBUTED;
use crate::model::pattern::matches;
use crate::model::usage::UsageEvent;

pub fn attribute<'e>(event: &'e UsageEvent<'_>, rules: &'e [AttributionRule]) -> Cow<'e, str> {
    if let Some(team) = event.team.as_deref().filter(|team| !team.is_empty()) {
        return Cow::Borrowed(team);
    }
    rules.iter().filter(|rule| applies(rule, event)).find_map(|rule| team_of(rule, event)).unwrap_or(Cow::Borrowed(UNATTRIBUTED))
}

fn applies(rule: &AttributionRule, event: &UsageEvent<'_>) -> bool {
    let AttributionRule { source, account, project, user, tags, team: _ } = rule;
    // A condition on something that the event does not state does not hold, not even with `*`.
    let holds = |condition: &Option<Text>, value: Option<&str>| match condition {
        Some(pattern) => value.is_some_and(|value| matches(pattern, value)),
        None => true,
    };
    holds(source, Some(&event.source))
        && holds(account, event.account.as_deref())
        && holds(project, event.project.as_deref())
        && holds(user, event.user.as_deref())
        && tags.iter().all(|(name, pattern)| event.tag(name).is_some_and(|value| matches(pattern, value)))
}

/// `None` where the rule takes the team from a tag that is not there or is empty: the next rule has its turn.
fn team_of<'e>(rule: &'e AttributionRule, event: &'e UsageEvent<'_>) -> Option<Cow<'e, str>> {
    let team = match &rule.team {
        AttributedTeam::Named(team) => Cow::Borrowed(team.as_ref()),
        AttributedTeam::FromTag(name) => clean(Cow::Borrowed(event.tag(name)?)),
    };
    Some(team).filter(|team| !team.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    fn rule(team: AttributedTeam) -> AttributionRule {
        AttributionRule { team, ..AttributionRule::default() }
    }

    fn named(team: &str) -> AttributedTeam {
        AttributedTeam::Named(team.into())
    }

    #[test]
    fn the_first_rule_that_matches_names_the_team() {
        let rules = [
            AttributionRule { tags: vec![("cc".into(), "1*".into()), ("env".into(), "prod".into())], ..rule(named("tags")) },
            AttributionRule { account: Some("key-*".into()), source: Some("gateway/*".into()), ..rule(named("account")) },
            rule(AttributedTeam::FromTag("owner".into())),
            AttributionRule { project: Some("*".into()), ..rule(named("project")) },
            AttributionRule { user: Some("u-1".into()), ..rule(named("user")) },
        ];
        let cases = [
            (r#""team":"search","account":"key-1""#, "search"),
            (r#""team":" search\n""#, "search"),
            (r#""team":"  ","account":"key-1""#, "account"),
            (r#""tags":{"cc":"12","env":"prod"},"account":"key-1""#, "tags"),
            (r#""tags":{"cc":"12"},"account":"key-1""#, "account"),
            (r#""tags":{"owner":" ranking\t"}"#, "ranking"),
            (r#""tags":{"owner":" "},"project":"p""#, "project"),
            (r#""user":"u-1""#, "user"),
            (r#""user":"u-12""#, "unattributed"),
            (r#""team":null"#, "unattributed"),
        ];
        for (fields, team) in cases {
            event(fields, |event| assert_eq!(attribute(event, &rules), team, "{fields}"));
        }
    }
}
