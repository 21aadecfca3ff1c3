//! What ten policies cost an event: the conditions, compiled, over facts that are put together for each event anew.

use std::hint::black_box;

use anyhow::{Result, anyhow};

use super::measure::{Measured, Meter, Of};
use crate::config::policies::REGIONS;
use crate::policy::domains::AiDomains;
use crate::policy::fields::Subject;
use crate::policy::regions::Regions;
use crate::policy::stream::Stream;
use crate::policy::{Condition, Facts, Policies, Policy, Sets, Value, text_set};

/// As companies have them: lists, tags, patterns, several fields at once.
pub const CONDITIONS: [&str; 10] = [
    "!(provider in sets.approved)",
    "model in ['gpt-4', 'gpt-4-32k', 'o1', 'o1-pro', 'claude-3-opus'] && environment != 'evaluation'",
    "environment == 'prod' && !has(tags.cost_center)",
    "has(usage.region) && !has(usage.country)",
    "'ASIA' in blocs && team in ['health', 'legal']",
    "model.startsWith('preview-') && environment == 'prod'",
    "tags.tier == 'gold' && !(team in sets.approved)",
    "input_tokens > 100000 && output_tokens * 20 < input_tokens",
    "project.endsWith('-sandbox') && environment == 'prod'",
    "user.matches('^svc-[a-z]+$') && !has(tags.owner)",
];

/// The event of one number: some of it differs from the next one's.
pub struct Event {
    texts: [String; 4],
    tokens: i64,
}

impl Event {
    pub fn new(number: u64) -> Event {
        let texts = [
            format!("team-{:03}", number % 200),
            format!("project-{:04}", number % 1_000),
            format!("model-{:02}", number % 30),
            format!("user-{:05}", number % 5_000),
        ];
        Event { texts, tokens: i64::try_from(number % 4_000).unwrap_or_default() }
    }

    /// In the order of the fields; `places` are those of [`PLACES`].
    pub fn facts<'e>(&'e self, places: &[usize; 11], facts: &mut [Option<Value<'e>>]) {
        const TAGS: &[(&str, &str)] = &[("cost_center", "cc-12"), ("service", "ranker"), ("tier", "silver"), ("app", "a7")];
        let [team, project, model, user] = &self.texts;
        let values = [
            Value::Text(team),
            Value::Text(project),
            Value::Text(model),
            Value::Text("anthropic"),
            Value::Text("eu-central-1"),
            Value::Text("DE"),
            Value::Texts(&["EEA", "EU"]),
            Value::Text("prod"),
            Value::Text(user),
            Value::Int(self.tokens),
            Value::Tags(TAGS),
        ];
        for (place, value) in places.iter().zip(values) {
            if let Some(fact) = facts.get_mut(*place) {
                *fact = Some(value);
            }
        }
    }
}

const PLACES: [&str; 11] =
    ["team", "project", "model", "provider", "region", "country", "blocs", "environment", "user", "input_tokens", "tags"];

pub fn places() -> [usize; 11] {
    PLACES.map(|name| Subject::Usage.field(name).unwrap_or(usize::MAX))
}

/// # Errors
/// A condition that does not compile.
pub fn compiled() -> Result<Vec<Condition>> {
    let names = ["anthropic", "aws", "azure", "bedrock", "google", "openai", "vertex"];
    let sets = Sets { plain: [("approved".to_owned(), text_set(names.map(Into::into).to_vec()))].into(), ..Sets::default() };
    CONDITIONS
        .iter()
        .map(|source| Condition::compile(source, Subject::Usage, &sets).map_err(|wrong| anyhow!("{source}: {}", wrong.what)))
        .collect()
}

/// They as policies, as intake and watch are told them, and `more` of them.
///
/// # Errors
/// A condition that does not compile.
pub fn stream(more: &[&str]) -> Result<Stream> {
    let compile = |source: &&str| Condition::compile(source, Subject::Usage, &Sets::default()).map_err(|wrong| anyhow!("{}", wrong.what));
    let more = more.iter().map(compile).collect::<Result<Vec<Condition>>>()?;
    let policies = compiled()?.into_iter().chain(more).zip(0..).map(|(when, number)| Policy::new(&format!("policy-{number}"), when));
    let regions = Regions::parse(REGIONS).map_err(|(line, what)| anyhow!("regions.csv:{line}: {what}"))?;
    Ok(Stream::new(Policies { policies: policies.collect(), ..Policies::default() }, regions, AiDomains::default()))
}

/// # Errors
/// A condition that does not compile.
pub fn measure(events: u64) -> Result<Measured> {
    let conditions = compiled()?;
    let made: Vec<Event> = (0..4_096).map(Event::new).collect();
    let places = places();
    let mut facts = vec![None; Subject::Usage.fields().len()];
    let mut violated = 0_u64;
    let mut meter = Meter::new(Of::Thread);
    meter.count(|| {
        for (event, _) in made.iter().cycle().zip(0..events) {
            event.facts(&places, &mut facts);
            let facts = Facts(black_box(&facts));
            violated += conditions.iter().map(|condition| u64::from(condition.holds(&facts) == Ok(true))).sum::<u64>();
        }
    });
    let mut measured = meter.finish("policies", events);
    measured.more.push(("policies", conditions.len() as f64));
    measured.more.push(("violated per event", violated as f64 / events.max(1) as f64));
    Ok(measured)
}
