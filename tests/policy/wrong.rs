//! A hundred wrong policy files, and for each where it is wrong, what, and what would be right.

use std::path::Path;

use tollgate::config::policies;

use super::command::folder;

/// Line 7 is `when`, its text begins in column 9.
const BEFORE: &str = "version = 1\n[sets]\napproved = ['a']\nby_team = { search = ['a'], '*' = ['b'] }\n[[policy]]\nid = 'p'\n";
const AFTER: &str = "\nowner = 'o'\napplies_to = 'usage'\nmessage = 'no'\n";

fn problems(content: &str) -> Vec<String> {
    let (_keep, path) = folder(content);
    let found = policies::load(&path).err().unwrap_or_default();
    let prefix = format!("{}/", path.join("global").display());
    found.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

/// Condition, byte of it that is wrong, what is said, what would be right.
const CONDITIONS: [(&str, usize, &str, &str); 62] = [
    ("", 0, "'when' in [[policy]] is empty", "leave the line out"),
    ("provder == 'x'", 0, "usage has no field 'provder'", "did you mean 'provider'?"),
    ("usage.provder == 'x'", 0, "usage has no field 'provder'", "did you mean 'provider'?"),
    ("team == 'x' && provdier == 'y'", 15, "no field 'provdier'", "did you mean 'provider'?"),
    ("resource.state == 'x'", 0, "the policy is for usage, not for resource", "applies_to = \\\"resource\\\""),
    ("action == 'x'", 0, "no field 'action'", "activity has it: applies_to = \"activity\""),
    ("utilization > 0.5", 0, "no field 'utilization'", "resource has it"),
    ("event.team == 'x'", 0, "no field 'event'", "it has"),
    ("team = 'x'", 5, "'=' means nothing here", "write =="),
    ("team & model", 5, "'&' means nothing here", "write &&"),
    ("team | model", 5, "'|' means nothing here", "write ||"),
    ("team == 'x' and model == 'y'", 12, "'and' comes where the condition should be over", "write &&"),
    ("team == 'x' or model == 'y'", 12, "'or' comes where the condition should be over", "write ||"),
    ("not team == 'x'", 0, "'not' is no word", "write !"),
    ("team == null", 8, "null is not used", "has(field)"),
    ("team == 'x' # y", 12, "'#' means nothing here", "a condition is made of"),
    ("team == 'x", 8, "the text does not end", "close it with '"),
    ("team == 'a\\\\d'", 10, "the backslash escapes nothing", "r\\\"...\\\""),
    ("input_tokens > 99999999999999999999", 15, "is too large", ""),
    ("(team == 'x'", 12, "should close the bracket", ""),
    ("team == 'x')", 11, "should be over", "a bracket is closed that was not opened"),
    ("team in ['a', 'b'", 17, "should close the list", ""),
    ("tags['a' == 'x'", 15, "should close the index", ""),
    ("team == ", 8, "the end comes where a value should stand", "a value is a field"),
    ("== 'x'", 0, "'==' comes where a value should stand", "a value is a field"),
    ("team == 'x' &&", 14, "the end comes where a value should stand", ""),
    ("1 < input_tokens < 5", 17, "two comparisons in a row", "a < b && b < c"),
    ("team == 'x' ? true", 18, "':'", ""),
    ("team. == 'x'", 6, "where a name should stand behind '.'", ""),
    ("team 'x'", 5, "the text \"x\" comes where the condition should be over", "join conditions"),
    ("team", 0, "this is a text, a condition is true or false", "compare it"),
    ("team && model == 'x'", 0, "this is a text, a condition is true or false", "compare it"),
    ("model == 'x' || input_tokens", 16, "this is a whole number", "compare it"),
    ("!team", 1, "this is a text, a condition is true or false", "compare it"),
    ("team == 3", 0, "a text is compared with a whole number", ""),
    ("input_tokens == '3'", 0, "a whole number is compared with a text", "without quotes"),
    ("quantity > 3", 11, "a whole number meets a number with a fraction", "write 3.0"),
    ("input_tokens > 2.5", 0, "a whole number meets a number with a fraction", "double(...)"),
    ("quantity + 1 > 2.0", 11, "meets a number with a fraction", "write 1.0"),
    ("team + 'x' == 'y'", 0, "+ of a text and a text", ""),
    ("-team == 'x'", 1, "- wants a number", ""),
    ("team == ['a']", 0, "compared with a list of texts", "use in"),
    ("team in 'search'", 8, "in wants a list", "text.contains"),
    ("team in [1, 2]", 0, "never in a list of whole numbers", ""),
    ("input_tokens in ['a']", 0, "a whole number is never in a list of texts", ""),
    ("team in ['a', 1]", 14, "a list holds texts", ""),
    ("team in []", 8, "nothing is in an empty list", ""),
    ("team in sets", 8, "no field 'sets'", "sets.approved"),
    ("team in sets.aproved", 8, "there is no set 'aproved'", "did you mean 'approved'?"),
    ("team in sets.whatever", 8, "there is no set 'whatever'", "add whatever = "),
    ("team in sets.by_team", 8, "a set for each key", "sets.by_team[team]"),
    ("team in sets.by_team[input_tokens]", 21, "it should be a text", ""),
    ("tags[team] == 'x'", 5, "the name of a tag is a text in quotes", "tags[\"cost_center\"]"),
    ("team['x'] == 'y'", 0, "no parts to pick", ""),
    ("team.owner == 'x'", 0, "a text has no 'owner'", ""),
    ("team.startWith('x')", 0, "there is no function 'startWith'", "did you mean 'startsWith'?"),
    ("startsWith(team, 'x')", 0, "there is no function 'startsWith'", "write text.startsWith(...)"),
    ("tags.exists(t, t == 'x')", 0, "there is no function 'exists'", "no loops"),
    ("has(usage.team, usage.model)", 0, "has is called with 2 arguments", "it takes one"),
    ("has(team)", 4, "whether something is a part of something", "write has(usage.team)"),
    ("team.matches('(')", 13, "no pattern", ""),
    ("'a' == 'a'", 0, "the condition asks for no field", ""),
];

#[test]
fn wrong_conditions_are_told_with_line_and_column() {
    for (condition, at, what, hint) in CONDITIONS {
        let found = problems(&format!("{BEFORE}when = \"{condition}\"{AFTER}"));
        assert_eq!(found.len(), 1, "{condition}: {found:?}");
        // Without a text there is no column in it.
        let place = if condition.is_empty() { "p.toml:7: ".to_owned() } else { format!("p.toml:7:{}: ", 9 + at) };
        assert!(found[0].starts_with(&place), "{condition}: {place} {found:?}");
        assert!(found[0].contains(what) && found[0].contains(&hint.replace("\\\"", "\"")), "{condition}: {found:?}");
    }
}

const GOOD: &str = "[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"team == 'x'\"\nmessage = 'no'\n";

/// File, place, what is said, what would be right. `GOOD` is put where `@` stands.
const FILES: [(&str, &str, &str, &str); 41] = [
    ("", "p.toml: ", "'version' is missing", ""),
    ("version = 2\n@", "p.toml:1: ", "'version' is 2", "policies of version 1"),
    ("version = 'x'\n@", "p.toml:1: ", "'version' is a text", "whole number"),
    ("version = 1\n@[[polcy]]\nid = 'x'\n", "p.toml:8: ", "unknown key 'polcy'", "did you mean 'policy'?"),
    ("version = 1\nteams = ['x']\n@", "p.toml:2: ", "unknown key 'teams'", "known are version, note, pack"),
    ("version = 1\n@colour = 'red'\n", "p.toml:8: ", "unknown key 'colour'", "known are applies_to, id, owner"),
    ("version = 1\n[policy]\nid = 'x'\n", "p.toml:2: ", "should be a list of tables", "[[policy]]"),
    ("version = 1\n@owner = 'o'\n", "p.toml:8: ", "not TOML", ""),
    ("version = 1\n@severty = 'info'\n", "p.toml:8: ", "unknown key 'severty'", "did you mean 'severity'?"),
    ("version = 1\n@severity = 'high'\n", "p.toml:8: ", "'severity' in [[policy]] is 'high'", "\"critical\""),
    ("version = 1\n@severity = 3\n", "p.toml:8: ", "it should be a text", ""),
    ("version = 1\n@mode = 'dryrun'\n", "p.toml:8: ", "'mode' in [[policy]] is 'dryrun'", "did you mean 'dry-run'?"),
    ("version = 1\n@overridable = 'yes'\n", "p.toml:8: ", "it should be true or false", ""),
    ("version = 1\n@since = 'tomorrow'\n", "p.toml:8: ", "which is no date", "2026-03-01"),
    ("version = 1\n@since = 2026-03-02\nuntil = 2026-03-01\n", "p.toml:2: ", "never holds", "correct one of the two"),
    ("version = 1\n@evidence = ['modle']\n", "p.toml:8: ", "names 'modle', which usage has not", "did you mean 'model'?"),
    ("version = 1\n@evidence = 'model'\n", "p.toml:8: ", "it should be a list of texts", ""),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'resource'\nwhen = '!has(resource.owner)'\nmessage = 'm'\nper = ['project']\n",
        "p.toml:8: ",
        "does not name 'resource_id'",
        "add 'resource_id'",
    ),
    ("version = 1\n@remedy = 'ask {taem}'\n", "p.toml:8: ", "names '{taem}', which usage has not", "did you mean 'team'?"),
    ("version = 1\n@remedy = 'ask {team'\n", "p.toml:8: ", "a '{' that does not close", "{team}"),
    ("version = 1\n@unless = \"modl == 'x'\"\n", "p.toml:8:11: ", "'unless': usage has no field 'modl'", "did you mean 'model'?"),
    ("version = 1\n@unless = \"team == 'x'\"\n", "p.toml:2: ", "'unless' is the same as 'when'", ""),
    ("version = 1\n@unless = '''\nhas(tags.a)\n  && modl == 'x'\n'''\n", "p.toml:10:6: ", "no field 'modl'", "did you mean 'model'?"),
    ("version = 1\n@replaces = 'q'\n", "p.toml:2: ", "no such global policy", ""),
    ("version = 1\n@@", "p.toml:8: ", "two policies 'p'", "rename one"),
    (
        "version = 1\n@[[policy]]\nid = 'q'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"(team=='x')\"\nmessage = 'm'\n",
        "p.toml:8: ",
        "'q' says the same as 'p'",
        "remove one",
    ),
    (
        "version = 1\n[[policy]]\nowner = 'o'\napplies_to = 'usage'\nwhen = \"team == 'x'\"\nmessage = 'm'\n",
        "p.toml:2: ",
        "'id' is missing",
        "",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\napplies_to = 'usage'\nwhen = \"team == 'x'\"\nmessage = 'm'\n",
        "p.toml:2: ",
        "'owner' is missing",
        "",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usage'\nmessage = 'm'\n",
        "p.toml:2: ",
        "'when' is missing",
        "add when",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"team == 'x'\"\n",
        "p.toml:2: ",
        "'message' is missing",
        "{team} uses",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usge'\nwhen = \"team == 'x'\"\nmessage = 'm'\n",
        "p.toml:5: ",
        "is 'usge'",
        "did you mean 'usage'?",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'activity'\nwhen = \"action == 'deploy'\"\nmessage = 'm'\n",
        "p.toml:6:19: ",
        "action is never \"deploy\"",
        "did you mean 'deployment'?",
    ),
    (
        "version = 1\n[[policy]]\nid = 'p'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"team == 'x' && team == 'y'\"\nmessage = 'm'\n",
        "p.toml:2: ",
        "two values at once",
        "||",
    ),
    ("version = 1\n@[domain]\nteams = ['x']\n", "p.toml:8: ", "belongs to no domain", "move it"),
    ("version = 1\n@[sets]\na = 'x'\n", "p.toml:9: ", "a list of texts, or a table", ""),
    (
        "version = 1\n@[[policy.test]]\nevent = { taem = 'x' }\nexpect = 'pass'\n",
        "p.toml:9: ",
        "is no field of usage",
        "did you mean 'team'?",
    ),
    ("version = 1\n@[[policy.test]]\nevent = { team = 3 }\nexpect = 'pass'\n", "p.toml:9: ", "it should be a text", ""),
    ("version = 1\n@[[policy.test]]\nevent = { team = 'x' }\nexpect = 'fail'\n", "p.toml:10: ", "is 'fail'", "\"violation\""),
    (
        "version = 1\n@[[exemption]]\npolicy = 'q'\nonly = { team = 'x' }\nreason = 'r'\napproved_by = 'a'\nuntil = 2027-01-01\n",
        "p.toml:9: ",
        "no such policy",
        "did you mean 'p'?",
    ),
    (
        "version = 1\n@[[exemption]]\npolicy = 'p'\nreason = 'r'\napproved_by = 'a'\nuntil = 2027-01-01\n",
        "p.toml:8: ",
        "for everybody",
        "only = {",
    ),
    (
        "version = 1\n@[[exemption]]\npolicy = 'p'\nonly = { team = 'x' }\nreason = 'r'\napproved_by = 'a'\n",
        "p.toml:8: ",
        "'until' is missing",
        "",
    ),
];

#[test]
fn wrong_files_are_told_with_their_line() {
    let is_right = |(file, place, what, hint): &(&str, &str, &str, &str)| {
        let found = problems(&file.replace('@', GOOD));
        let right = matches!(found.as_slice(), [one] if one.starts_with(place) && one.contains(what) && one.contains(hint));
        (!right).then(|| format!("{file}\n  {found:?}\n  should be {place}{what}; {hint}"))
    };
    let wrong: Vec<String> = FILES.iter().filter_map(is_right).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(problems(&format!("version = 1\n{GOOD}")), [""; 0]);
    assert!(CONDITIONS.len() + FILES.len() >= 100);
}

/// Domains stand in folders of their own.
#[test]
fn a_domain_that_loosens_or_has_no_teams_is_refused() {
    let (_keep, path) = folder(&format!("version = 1\n{GOOD}"));
    let domain = |content: &str| -> Vec<String> {
        std::fs::create_dir_all(path.join("data")).unwrap();
        std::fs::write(path.join("data/d.toml"), content).unwrap();
        let prefix = format!("{}/", path.display());
        policies::load(Path::new(&path)).err().unwrap_or_default().iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    };
    let own = "[[policy]]\nid = 'd'\nowner = 'o'\napplies_to = 'usage'\nwhen = \"model == 'x'\"\nmessage = 'no'\n";
    assert_eq!(domain(&format!("version = 1\n[domain]\nteams = ['lake']\n{own}")), [""; 0]);
    let refused = domain(&format!("version = 1\n[domain]\nteams = ['lake']\n{own}replaces = 'p'\n"));
    assert!(refused.len() == 1 && refused[0].starts_with("data/d.toml:4: 'd' loosens the global policy 'p'"), "{refused:?}");
    let nobody = domain(&format!("version = 1\n{own}"));
    assert!(nobody.len() == 1 && nobody[0].contains("nothing says which teams belong to the domain 'data'"), "{nobody:?}");
    let exempt = "[[exemption]]\npolicy = 'p'\nonly = { team = 'lake' }\nreason = 'r'\napproved_by = 'a'\nuntil = 2027-01-01\n";
    let refused = domain(&format!("version = 1\n[domain]\nteams = ['lake']\n{own}{exempt}"));
    assert!(
        refused.len() == 1 && refused[0].contains("is 'p', which is not this domain's; exemptions of it stand in the folder global"),
        "{refused:?}"
    );
}
