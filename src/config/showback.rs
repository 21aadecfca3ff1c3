//! [[showback]]: which cost is shared, and by which rule it is split among teams.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Problem;
use super::read::{Section, money};
use super::units::Complaint;
use crate::model::Text;
use crate::model::allocation::{SharedCost, Split};
use crate::model::money::Nanos;

#[derive(Clone, Copy, Default)]
enum Kind {
    #[default]
    Even,
    Fixed,
    Proportional,
}

pub fn showback(sections: Vec<Section>) -> Vec<SharedCost> {
    let mut rules: Vec<SharedCost> = Vec::new();
    for section in sections {
        let rule = shared_cost(section, &rules);
        rules.push(rule);
    }
    rules
}

fn shared_cost(mut section: Section, others: &[SharedCost]) -> SharedCost {
    let name: Text = section.text("name").into();
    let mut shared = |key| section.optional_text(key).map(Text::from);
    let (team, project, model) = (shared("team"), shared("project"), shared("model"));
    let (provider, environment) = (shared("provider"), shared("environment"));
    if [&team, &project, &model, &provider, &environment].into_iter().all(Option::is_none) {
        let problem = Problem::new(&section.place, "this showback names no cost, so it would share all there is");
        section.notes().problem(problem.hint("add team = \"platform\", or project, model, provider, environment"));
    }
    if others.iter().any(|other| other.name == name && !name.is_empty()) {
        let complaint = Complaint::new(format!("is '{name}', which another showback has"), "give each [[showback]] a name of its own");
        section.complain("name", complaint);
    }
    let kinds = [("even", Kind::Even), ("fixed", Kind::Fixed), ("proportional", Kind::Proportional)];
    let kind = section.choice("split", &kinds);
    let teams: BTreeSet<Text> = section.texts("teams").into_iter().map(|(_, team)| team.into()).collect();
    let parts = parts(section.section("shares"));
    let split = match kind {
        Kind::Even => Split::Even(teams.clone()),
        Kind::Fixed => Split::Fixed(parts.clone()),
        Kind::Proportional => Split::Proportional(Some(teams.clone()).filter(|teams| !teams.is_empty())),
    };
    let complaint = match kind {
        Kind::Even if teams.is_empty() => Some(("split", "is \"even\", among nobody", "add teams = [\"search\", \"ads\"]")),
        Kind::Fixed if parts.is_empty() => {
            Some(("split", "is \"fixed\", without shares", "add shares = { search = \"60\", ads = \"40\" }"))
        }
        Kind::Fixed if !teams.is_empty() => Some(("teams", "is for other splits", "\"fixed\" takes its teams from 'shares'")),
        Kind::Even | Kind::Proportional if !parts.is_empty() => {
            Some(("shares", "is for another split", "write split = \"fixed\", or leave it out"))
        }
        _ => None,
    };
    if let Some((key, what, hint)) = complaint {
        section.complain(key, Complaint::new(what, hint));
    }
    section.finish();
    SharedCost { name, team, project, model, provider, environment, split }
}

/// Team = its part, as a decimal.
fn parts(section: Section) -> BTreeMap<Text, Nanos> {
    let mut parts = BTreeMap::new();
    for (team, item) in section.entries() {
        match money(item) {
            Ok(part) if part > Nanos::ZERO => drop(parts.insert(Text::from(team.as_str()), part)),
            Ok(_) => section.complain(team, Complaint::new("is no part", "write a number above 0: \"60\"")),
            Err(complaint) => section.complain(team, complaint),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(rules: &str) -> Result<Vec<SharedCost>, String> {
        let text = format!("version = 1\n{rules}");
        let loaded = crate::config::load_text("t.toml", &text, Path::new(""), std::iter::empty());
        loaded.map(|loaded| loaded.settings.showback).map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect())
    }

    #[test]
    fn rules_are_read_and_what_cannot_be_meant_is_named() {
        let rules = load("[[showback]]\nname = 'a'\nteam = 'platform'\nsplit = 'fixed'\nshares = { search = '2', ads = '1' }").unwrap();
        let parts = rules[0].split(Nanos(90), &BTreeMap::new()).unwrap();
        assert_eq!(parts, BTreeMap::from([("search".into(), Nanos(60)), ("ads".into(), Nanos(30))]));
        let wrong = [
            ("name = 'a'\nsplit = 'even'\nteams = ['x']", "names no cost"),
            ("name = 'a'\nteam = 'p'\nsplit = 'even'", "among nobody"),
            ("name = 'a'\nteam = 'p'\nsplit = 'fixed'", "without shares"),
            ("name = 'a'\nteam = 'p'\nsplit = 'fixed'\nshares = { x = '0' }", "is no part"),
            ("name = 'a'\nteam = 'p'\nsplit = 'proportional'\nshares = { x = '1' }", "is for another split"),
            ("name = 'a'\nteam = 'p'\nsplit = 'fixed'\nteams = ['y']\nshares = { x = '1' }", "is for other splits"),
            ("name = 'a'\nteam = 'p'\nsplit = 'evenly'\nteams = ['y']", "is 'evenly'"),
            (
                "name = 'a'\nteam = 'p'\nsplit = 'proportional'\n[[showback]]\nname = 'a'\nteam = 'q'\nsplit = 'proportional'",
                "another showback has",
            ),
        ];
        for (rule, said) in wrong {
            let problems = load(&format!("[[showback]]\n{rule}")).unwrap_err();
            assert!(problems.contains(said), "{rule}: {problems}");
        }
    }
}
