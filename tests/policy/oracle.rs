//! Our conditions against the `cel` crate, which is another implementation of the language: the shipped policies, and conditions that use
//! everything else there is, on random events. TOLLGATE_POLICY_EVENTS: how many, 2,000 by default.

use std::collections::HashMap;
use std::path::Path;

use cel::{Context, Program, Value};
use tollgate::config::policies;
use tollgate::policy::fields::{Kind, LINEAGE, Subject};
use tollgate::policy::regions::Regions;
use tollgate::policy::{Condition, Given, Sample, Sets, text_set};

/// Beside the shipped ones.
const CONDITIONS: [&str; 22] = [
    "team < 'm' && 'a' <= model",
    "usage.team != 'search' || provider == 'aws'",
    "provider == 'aws' && model == 'gpt-4' || region == 'eu-central-1'",
    "!(region == 'eu-central-1') && team == 'lake'",
    "provider in ['aws', 'openai'] ? region == 'us-east-1' : team.startsWith('s')",
    "has(usage.region) ? region == 'eu-central-1' : team == 'search'",
    "'EEA' in blocs && !('ASIA' in usage.blocs)",
    "model.startsWith('gpt') && model.endsWith('4') && model.contains('t-')",
    "model.matches('^gpt-[0-9]+$') || team.matches('a.c')",
    "tags.owner == 'ann' || tags['cost_center'] == 'cc-1'",
    "has(tags.owner) && has(tags.app)",
    "'owner' in tags && size(tags) == 2",
    "size(team) == 6 && team.size() > 5",
    "input_tokens * 2 - 400 == 2000 || input_tokens % 7 in [3, -3]",
    "input_tokens / output_tokens > 3",
    "input_tokens * 9000000000000000 > 900000000000000000",
    "-input_tokens < -100 && -quantity < 1.0",
    "double(input_tokens) / 2.0 > quantity * 100.0",
    "quantity - 1.5 >= 0.0 && quantity + 0.5 <= 2.5",
    "(team == 'search') == (provider == 'aws')",
    "(team == 'lake' ? 'x' : model) == 'gpt-4'",
    "region == 'eu-central-1' && team == 'search' || model == 'gpt-4' && provider == 'aws'",
];

/// xorshift64*: the same events in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

fn texts_for(field: &str) -> &'static [&'static str] {
    match field {
        "team" => &["search", "lake", "etl", "research", "abc", "zoë"],
        "provider" => &["aws", "openai", "deepseek", "vertex", "sagemaker"],
        "model" => &["gpt-4", "gpt-4o-mini", "o1", "gpt-35", "claude", "o1-preview"],
        "meter" => &["llm.tokens", "gpu.seconds"],
        "resource_type" => &["gpu_cluster", "vm"],
        "region" | "origin_region" => &[
            "eu-central-1",
            "us-east-1",
            "global",
            "ap-northeast-1",
            "eu-west-2",
            "nowhere",
            "cn-north-1",
            "ap-south-1",
            "sa-east-1",
            "me-central2",
        ],
        "environment" => &["prod", "dev", "evaluation", "production"],
        "state" => &["running", "stopped"],
        "approval_basis" => &["scc", "bcr", "haste"],
        "lineage" => &LINEAGE,
        "action" => &["deployment", "deployment", "transfer", "access", "egress", "undeployment"],
        _ => &["a", "b"],
    }
}

fn event(dice: &mut Dice, subject: Subject, regions: &Regions) -> Sample {
    let mut event = Sample::new(subject);
    for field in subject.fields() {
        if dice.roll(4) == 0 {
            continue;
        }
        let given = match field.kind {
            Kind::Text if field.name.ends_with("country") => continue,
            Kind::Texts => continue,
            Kind::Text => Given::Text(dice.pick(texts_for(field.name)).to_owned()),
            Kind::Int => Given::Int(i64::try_from(dice.roll(2_000)).unwrap() - dice.pick(&[0, 0, 1_000]) + dice.pick(&[0, 0, 1_200])),
            Kind::Double if field.name == "capacity" => Given::Double(f64::from(u32::try_from(dice.roll(33)).unwrap())),
            Kind::Double => Given::Double(f64::from(u32::try_from(dice.roll(9)).unwrap()) / 2.0),
            Kind::Tags => {
                let names = ["owner", "cost_center", "app", "x y", "ai_act", "data_class", "disclosure", "approved_size"];
                let some = names.into_iter().filter(|_| dice.roll(2) == 0).collect::<Vec<_>>();
                let mut value = |name: &str| match name {
                    "ai_act" => dice.pick(&["prohibited", "transparency", "high_risk"]).to_owned(),
                    "data_class" => dice.pick(&["payments", "important"]).to_owned(),
                    _ => dice.pick(&["ann", "cc-1", "cc-2"]).to_owned(),
                };
                Given::Tags(some.into_iter().map(|name| (name.to_owned(), value(name))).collect())
            }
        };
        event.set(field.name, given).unwrap();
    }
    event.locate(regions);
    event
}

/// What the other implementation is handed: each field by its name, and all of them as members of the subject.
fn context<'c>(event: &Sample, sets: &Value) -> Context<'c, 'c> {
    let mut context = Context::default();
    let mut all: HashMap<String, Value> = HashMap::new();
    for field in event.subject.fields() {
        let Some(given) = event.given(field.name) else { continue };
        let value = match given {
            Given::Text(text) => Value::from(text.as_str()),
            Given::Int(number) => Value::Int(*number),
            Given::Double(number) => Value::Float(*number),
            Given::Texts(texts) => Value::from(texts.iter().map(String::as_str).collect::<Vec<_>>()),
            Given::Tags(tags) => {
                let tags: HashMap<String, Value> = tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
                Value::from(tags)
            }
        };
        context.add_variable_from_value(field.name, value.clone());
        all.insert(field.name.to_owned(), value);
    }
    context.add_variable_from_value(event.subject.name(), Value::from(all));
    context.add_variable_from_value("sets", sets.clone());
    context
}

fn as_value(sets: &Sets) -> Value {
    let lists = sets.plain.iter().map(|(name, set)| (name.clone(), Value::from(set.iter().map(|text| &**text).collect::<Vec<_>>())));
    Value::from(lists.collect::<HashMap<String, Value>>())
}

/// Compares one condition on one event; answers what came out.
fn compare(condition: &Condition, program: &Program, event: &Sample, context: &Context<'_, '_>) -> Option<bool> {
    let ours = event.with_facts(|facts| condition.holds(facts));
    let theirs = program.execute(context);
    let same = match (&ours, &theirs) {
        (Ok(ours), Ok(Value::Bool(theirs))) => ours == theirs,
        (Err(_), Err(_)) => true,
        _ => false,
    };
    assert!(same, "{}: ours {ours:?}, theirs {theirs:?}, {event:?}", condition.source);
    ours.ok()
}

#[test]
fn another_implementation_of_the_language_says_the_same() {
    #[allow(clippy::disallowed_methods, reason = "a test's own variable")]
    let events: usize = std::env::var("TOLLGATE_POLICY_EVENTS").map_or(2_000, |text| text.parse().unwrap());
    let folder = policies::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies")).unwrap();
    let mut conditions: Vec<(Condition, Value)> = Vec::new();
    for policy in &folder.policies.policies {
        let sets = as_value(&folder.sets[policy.domain.as_deref().unwrap_or_default()]);
        conditions
            .extend([Some(&policy.when), policy.unless.as_ref()].into_iter().flatten().map(|condition| (condition.clone(), sets.clone())));
    }
    let none = Sets { plain: [("unused".to_owned(), text_set(vec!["x".into()]))].into(), ..Sets::default() };
    let more = CONDITIONS.map(|source| (Condition::compile(source, Subject::Usage, &none).unwrap(), as_value(&none)));
    conditions.extend(more);
    let programs: Vec<Program> = conditions.iter().map(|(condition, _)| Program::compile(&condition.source).unwrap()).collect();

    let mut dice = Dice(0x70_6f_6c_69_63_79);
    let mut seen = vec![[0_usize; 3]; conditions.len()];
    for _ in 0..events {
        let events = Subject::ALL.map(|subject| event(&mut dice, subject, &folder.regions));
        for (number, ((condition, sets), program)) in conditions.iter().zip(&programs).enumerate() {
            let event = events.iter().find(|event| event.subject == condition.subject).unwrap();
            let answer = compare(condition, program, event, &context(event, sets));
            seen[number][answer.map_or(2, usize::from)] += 1;
        }
    }
    for ((condition, _), seen) in conditions.iter().zip(seen) {
        assert!(seen[0] > 0 && seen[1] > 0, "{} was never both: {seen:?}", condition.source);
    }
}
