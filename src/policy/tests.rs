//! Conditions from text to answer, policies from conditions to verdict.

use std::collections::BTreeMap;

use super::check::set;
use super::*;
use crate::model::Text;
use crate::model::time::Timestamp;
use fields::Subject;
use rules::{Exemption, Message};

fn sets() -> Sets {
    let of = |names: &[&str]| set(names.iter().map(|name| Text::from(*name)).collect());
    let by = BTreeMap::from([(Text::from("search"), of(&["openai"])), (Text::from("*"), of(&["aws", "openai"]))]);
    let strict = BTreeMap::from([(Text::from("search"), of(&["openai"]))]);
    Sets {
        plain: BTreeMap::from([("approved".to_owned(), of(&["openai", "aws"]))]),
        by_key: BTreeMap::from([("by_team".to_owned(), by.into()), ("strict".to_owned(), strict.into())]),
    }
}

fn usage<'a>(known: &[(&str, Value<'a>)]) -> Vec<Option<Value<'a>>> {
    let mut values = vec![None; Subject::Usage.fields().len()];
    for (name, value) in known {
        values[Subject::Usage.field(name).unwrap()] = Some(*value);
    }
    values
}

fn compile(source: &str) -> Condition {
    Condition::compile(source, Subject::Usage, &sets()).unwrap_or_else(|wrong| panic!("{source}: {wrong:?}"))
}

const TAGS: &[(&str, &str)] = &[("owner", "ann"), ("cost center", "cc-1")];

fn event() -> Vec<Option<Value<'static>>> {
    usage(&[
        ("team", Value::Text("search")),
        ("provider", Value::Text("aws")),
        ("model", Value::Text("claude-3")),
        ("blocs", Value::Texts(&["EEA", "EU"])),
        ("input_tokens", Value::Int(1_200)),
        ("quantity", Value::Double(1.5)),
        ("tags", Value::Tags(TAGS)),
    ])
}

#[test]
fn conditions_are_true_false_or_unknown() {
    let (event, field) = (event(), |name| Subject::Usage.field(name).unwrap());
    let missing = |name| Err(Unknown::Missing(field(name)));
    let table: &[(&str, Result<bool, Unknown>)] = &[
        ("team == 'search'", Ok(true)),
        ("usage.team != 'search'", Ok(false)),
        ("team < 'sf' && 'sea' < team", Ok(true)),
        ("provider in ['openai', 'aws']", Ok(true)),
        ("provider in sets.approved", Ok(true)),
        ("provider in sets.by_team[team]", Ok(false)),
        ("provider in sets.by_team[model]", Ok(true)),
        ("provider in sets.strict[model]", Err(Unknown::NoSet)),
        ("'EEA' in blocs && !('ASIA' in usage.blocs)", Ok(true)),
        ("model.startsWith('claude') && model.endsWith('3') && model.contains('de-')", Ok(true)),
        ("model.matches(r'^claude-\\d+$') && !matches(model, 'x')", Ok(true)),
        ("tags.owner == 'ann' && tags['cost center'] == 'cc-1'", Ok(true)),
        ("has(tags.owner) && !has(tags.app)", Ok(true)),
        ("'owner' in tags && size(tags) == 2", Ok(true)),
        ("tags.app == 'x'", Err(Unknown::MissingTag(field("tags")))),
        ("has(usage.region)", Ok(false)),
        ("has(usage.team)", Ok(true)),
        ("region == 'eu'", missing("region")),
        // One that decides, decides, on whichever side it stands.
        ("region == 'eu' || team == 'search'", Ok(true)),
        ("team == 'search' || region == 'eu'", Ok(true)),
        ("region == 'eu' && team == 'x'", Ok(false)),
        ("region == 'eu' && team == 'search'", missing("region")),
        ("!(region == 'eu')", missing("region")),
        ("region == 'eu' ? true : team == 'search'", missing("region")),
        ("has(usage.region) ? region == 'eu' : team == 'search'", Ok(true)),
        ("input_tokens * 2 - 400 == 2000 && input_tokens % 7 in [3, -3]", Ok(true)),
        ("input_tokens / 0 == 1", Err(Unknown::Arithmetic)),
        ("input_tokens * 9223372036854775807 > 0", Err(Unknown::Arithmetic)),
        ("double(input_tokens) / 2.0 > quantity * 100.0", Ok(true)),
        ("quantity / 0.0 > 1e300", Ok(true)),
        ("size(team) == 6 && team.size() > 5", Ok(true)),
        ("(team == 'search') == (provider == 'aws')", Ok(true)),
        ("(team == 'x' ? 'a' : model) == 'claude-3'", Ok(true)),
    ];
    for (source, expected) in table {
        assert_eq!(compile(source).holds(&Facts(&event)), *expected, "{source}");
    }
}

#[test]
fn a_condition_of_the_series_is_not_asked_for_each_event() {
    assert!(compile("provider in sets.by_team[team] && 'EEA' in blocs").is_of_series());
    assert!(!compile("provider == 'x' && has(tags.owner)").is_of_series());
}

#[test]
fn what_does_not_fit_is_told_with_its_place_and_what_would() {
    for (source, at, what, hint) in [
        ("provder == 'x'", 0..7, "usage has no field 'provder'", "did you mean 'provider'?"),
        ("action == 'x'", 0..6, "no field 'action'", "applies_to = \"activity\""),
        ("team == 3", 0..9, "a text is compared with a whole number", ""),
        ("input_tokens == '3'", 0..19, "is compared with a text", "without quotes"),
        ("team", 0..4, "this is a text, a condition is true or false", "compare it"),
        ("team && true", 0..4, "this is a text", "compare it"),
        ("quantity > 3", 11..12, "meets a number with a fraction", "write 3.0"),
        ("input_tokens > quantity", 0..12, "meets a number", "double("),
        ("team + 'x' == 'y'", 0..10, "wants two numbers", ""),
        ("team in 'search'", 8..16, "in wants a list", "contains"),
        ("team in [1, 2]", 0..4, "is never in a list of whole numbers", ""),
        ("team == ['a']", 0..13, "compared with a list", "use in"),
        ("team in ['a', 1]", 14..15, "a list holds texts", ""),
        ("team in []", 8..10, "empty list", ""),
        ("team in sets.aproved", 8..20, "no set 'aproved'", "did you mean 'approved'?"),
        ("team in sets.by_team", 8..20, "a set for each key", "sets.by_team[team]"),
        ("tags[team] == 'x'", 5..9, "in quotes", "cost_center"),
        ("team.owner == 'x'", 0..10, "a text has no 'owner'", ""),
        ("team.startWith('x')", 0..19, "no function 'startWith'", "did you mean 'startsWith'?"),
        ("tags.exists(t, t == 'x')", 0..24, "no function 'exists'", "no loops"),
        ("has(team, model)", 0..16, "called with 2 arguments", "takes one"),
        ("has(1)", 4..5, "has asks whether", "has(usage.team)"),
        ("has(region)", 4..10, "a part of something", "write has(usage.region)"),
        ("team.matches('(')", 13..16, "no pattern", ""),
        ("1 == 1", 0..6, "asks for no field", ""),
        ("-team == 'x'", 1..5, "wants a number", ""),
        ("has(usage.team) ? 1 : 'x'", 0..25, "have to be alike", ""),
        ("has(usage.team) < has(usage.model)", 0..34, "no order", ""),
    ] {
        let wrong = Condition::compile(source, Subject::Usage, &sets()).expect_err(source);
        assert_eq!(wrong.at, at, "{source}: {}", wrong.what);
        assert!(wrong.what.contains(what), "{source}: {}", wrong.what);
        assert!(wrong.hint.as_deref().unwrap_or_default().contains(hint), "{source}: {:?}", wrong.hint);
    }
    let never = Condition::compile("activity.action == 'deploy'", Subject::Activity, &sets()).unwrap_err();
    assert_eq!((never.at, never.what.as_str()), (19..27, "action is never \"deploy\""));
    assert!(Condition::compile("tags.action == 'deploy'", Subject::Activity, &sets()).is_ok(), "a tag may be anything");
}

fn policy(id: &str, when: &str, unless: Option<&str>) -> Policy {
    let message = Message::parse("{team} uses {provider}", Subject::Usage).unwrap();
    Policy { owner: "platform".into(), unless: unless.map(compile), message, ..Policy::new(id, compile(when)) }
}

fn of_domain(policy: Policy, replaces: Option<&str>) -> Policy {
    Policy { domain: Some("data".into()), replaces: replaces.map(Text::from), ..policy }
}

fn policies(policies: Vec<Policy>) -> Policies {
    let data = Domain { name: "data".into(), teams: vec!["lake".into()] };
    Policies { policies, domains: vec![data], exemptions: Vec::new() }
}

#[test]
fn a_policy_is_when_and_not_unless() {
    let event = event();
    let answer = |when: &str, unless: Option<&str>| policy("p", when, unless).answer(&Facts(&event));
    let missing = Answer::Indeterminate(Unknown::Missing(Subject::Usage.field("region").unwrap()));
    assert_eq!(answer("provider == 'aws'", None), Answer::Violates);
    assert_eq!(answer("provider == 'x'", Some("region == 'eu'")), Answer::Passes);
    assert_eq!(answer("provider == 'aws'", Some("has(tags.owner)")), Answer::Passes);
    assert_eq!(answer("provider == 'aws'", Some("region == 'eu'")), missing);
    assert_eq!(answer("region == 'eu'", Some("has(tags.owner)")), Answer::Passes);
    assert_eq!(answer("region == 'eu'", Some("has(tags.app)")), missing);
}

#[test]
fn an_exemption_ends_by_itself() {
    let mut all = policies(vec![policy("aws", "provider == 'aws'", None)]);
    let only = vec![(Subject::Usage.field("model").unwrap(), Text::from("claude-3"))];
    let until = Timestamp(1_000);
    all.exemptions.push(Exemption { policy: "aws".into(), only, reason: "trial".into(), approved_by: "cto".into(), until });
    let event = event();
    let verdict = |at| all.judge(Subject::Usage, &Facts(&event), "search", Timestamp(at)).remove(0).verdict;
    assert!(matches!(verdict(999), Verdict::Exempt(exemption) if &*exemption.approved_by == "cto"));
    assert!(matches!(verdict(1_000), Verdict::Violates));
    assert_eq!(all.policies[0].message.with(&Facts(&event)), "search uses aws");
}

#[test]
fn a_domain_is_for_its_teams_and_loosens_nothing() {
    let global = policy("global", "provider == 'aws'", None);
    let tighter = of_domain(policy("tighter", "model.startsWith('claude')", None), None);
    let all = policies(vec![global.clone(), tighter]);
    assert_eq!(all.conflicts(), []);
    let event = event();
    let judged = |all: &Policies, team: &str| -> Vec<String> {
        all.judge(Subject::Usage, &Facts(&event), team, Timestamp(0)).iter().map(|judged| judged.policy.id.to_string()).collect()
    };
    assert_eq!(judged(&all, "search"), ["global"]);
    assert_eq!(judged(&all, "lake"), ["global", "tighter"]);

    let looser = || of_domain(policy("looser", "provider == 'aws'", Some("has(tags.owner)")), Some("global"));
    let refused = policies(vec![global.clone(), looser()]).conflicts();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].policy == 1 && refused[0].what.contains("loosens the global policy 'global'"), "{refused:?}");
    let allowed = policies(vec![Policy { overridable: true, ..global.clone() }, looser()]);
    assert_eq!(allowed.conflicts(), []);
    assert_eq!((judged(&allowed, "search"), judged(&allowed, "lake")), (vec!["global".to_owned()], vec!["looser".to_owned()]));
}

/// Outside its time a replacement leaves nobody without a policy.
#[test]
fn a_replacement_stands_for_the_global_policy_while_it_holds() {
    let global = Policy { overridable: true, ..policy("global", "provider == 'aws'", None) };
    let trial = of_domain(policy("trial", "provider == 'aws' && region == 'eu'", None), Some("global"));
    let all = policies(vec![global, Policy { since: Some(Timestamp(100)), until: Some(Timestamp(200)), ..trial }]);
    assert_eq!(all.conflicts(), []);
    let event = event();
    let judged = |team: &str, at: i64| -> Vec<String> {
        all.judge(Subject::Usage, &Facts(&event), team, Timestamp(at)).iter().map(|judged| judged.policy.id.to_string()).collect()
    };
    for (at, expected) in [(99, "global"), (100, "trial"), (199, "trial"), (200, "global")] {
        assert_eq!((judged("lake", at), judged("search", at)), (vec![expected.to_owned()], vec!["global".to_owned()]), "at {at}");
    }
}

#[test]
fn policies_that_nobody_could_want_are_refused() {
    let p = |id: &str, when: &str| policy(id, when, None);
    let never = Policy { since: Some(Timestamp(5)), until: Some(Timestamp(5)), ..p("window", "has(usage.team)") };
    for (all, at, what) in [
        (vec![p("a", "team == 'x'"), p("a", "team == 'y'")], 1, "two policies 'a'"),
        (vec![p("a", "team == 'x'"), p("b", "( team==\"x\" )")], 1, "'b' says the same as 'a'"),
        (vec![p("a", "team == 'x' && model == 'm' && team == 'y'")], 0, "team would have to be two values at once"),
        (vec![p("a", "team in ['x', 'y'] && team in ['z']")], 0, "two values at once"),
        (vec![policy("a", "team == 'x'", Some("team == 'x'"))], 0, "'unless' is the same"),
        (vec![never], 0, "never holds"),
        (vec![of_domain(p("a", "team == 'x'"), Some("globl"))], 0, "no such global policy"),
        (vec![p("a", "'EEA' in origin_blocs && has(tags.owner)")], 0, "asks for origin_blocs, which is known of all usage of a model"),
    ] {
        let conflicts = policies(all).conflicts();
        assert!(conflicts.len() == 1 && conflicts[0].policy == at && conflicts[0].what.contains(what), "{conflicts:?}");
    }
    assert_eq!(policies(vec![p("a", "team in ['x', 'y'] && team in ['y']")]).conflicts(), []);
    assert_eq!(policies(vec![p("a", "'EEA' in origin_blocs && 'ASIA' in blocs && !has(usage.approval)")]).conflicts(), []);
}

#[test]
fn an_answer_is_explained_clause_by_clause() {
    let event = event();
    let condition = compile("provider in sets.approved && (has(tags.app) || region == 'eu')");
    let clauses = condition.clauses(&Facts(&event), &sets());
    let clause = |source: &str, holds, name, value: &str| Clause { source: source.into(), holds, values: vec![(name, value.into())] };
    assert_eq!(
        clauses,
        [
            clause("provider in sets.approved", Some(true), "provider", "aws"),
            clause("has(tags.app)", Some(false), "tags", "owner=ann, cost center=cc-1"),
            clause("region == 'eu'", None, "region", "(not stated)"),
        ]
    );
}

#[test]
fn a_message_names_fields_that_are_there() {
    assert!(Message::parse("{taem} spends", Subject::Usage).unwrap_err().1.unwrap().contains("'team'"));
    assert!(Message::parse("{team spends", Subject::Usage).unwrap_err().0.contains("does not close"));
    assert_eq!(Message::parse("{region}!", Subject::Usage).unwrap().with(&Facts(&event())), "(not stated)!");
}

#[test]
fn who_asks_before_gets_reasons_and_ways_out() {
    let regions = regions::Regions::parse(include_str!("../../config/regions.csv")).unwrap();
    let in_europe = Policy { mode: Mode::Enforce, ..policy("in-europe", "!('EEA' in blocs)", None) };
    let dear = Policy { mode: Mode::Warn, ..policy("dear", "model == 'gpt-4'", None) };
    let tried = Policy { mode: Mode::DryRun, ..policy("tried", "team == 'search'", None) };
    let all = policies(vec![dear, in_europe, tried]);
    let plan = |fields: &[(&str, &str)]| {
        let mut plan = Sample::new(Subject::Usage);
        fields.iter().for_each(|(name, value)| plan.set(name, Given::Text((*value).to_owned())).unwrap());
        plan.locate(&regions);
        plan
    };
    let models = [("model", vec!["gpt-4".to_owned(), "gpt-4o-mini".to_owned()])];
    let advise = |fields: &[(&str, &str)]| all.advise(&plan(fields), &regions, &models, Timestamp(0));

    let denied = advise(&[("team", "search"), ("model", "gpt-4"), ("provider", "bedrock"), ("region", "us-east-1")]);
    assert_eq!(denied.decision, Decision::Deny);
    let reasons: Vec<(&str, Decision)> = denied.reasons.iter().map(|reason| (&*reason.policy, reason.decision)).collect();
    assert_eq!(reasons, [("in-europe", Decision::Deny), ("dear", Decision::Review)], "the gravest first, a dry run never");
    let [region] = denied.alternatives.as_slice() else { panic!("{:?}", denied.alternatives) };
    assert!(region.field == "region" && region.decision == Decision::Review && region.values.len() == 5, "{region:?}");
    assert!(region.values.contains(&"eu-central-1".to_owned()));

    let reviewed = advise(&[("team", "search"), ("model", "gpt-4"), ("region", "eu-central-1")]);
    let better = Alternative { field: "model", values: vec!["gpt-4o-mini".to_owned()], decision: Decision::Allow };
    assert_eq!((reviewed.decision, reviewed.alternatives), (Decision::Review, vec![better]));
    let unsaid = advise(&[("team", "search"), ("model", "o1")]);
    assert_eq!((unsaid.decision, unsaid.reasons[0].missing.as_slice()), (Decision::Review, &["region"][..]));
    assert_eq!(advise(&[("model", "o1"), ("region", "eu-north-1")]).decision, Decision::Allow);
}
