//! Usage events as a busy gateway writes them: the same for the same number, some 210 bytes, framed Avro of 17 fields of which intake wants
//! 13, or their JSON twins. Every other project's events name no team and are attributed by rules.

use std::fmt::Write as _;

use crate::intake::rules::{AttributedTeam, AttributionRule, IntakeRules, Price, PriceBook, SourceRule, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;

/// Under which the schema stands in `schemas.ids`.
pub const SCHEMA_ID: u32 = 1_717;

pub const SCHEMA: &str = r#"{"type":"record","name":"GatewayUsage","namespace":"tollgate.bench","fields":[
    {"name":"event_id","type":"string"},{"name":"source","type":"string"},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"team","type":"string"},{"name":"project","type":"string"},{"name":"model","type":"string"},{"name":"provider","type":"string"},
    {"name":"region","type":"string"},{"name":"user","type":"string"},{"name":"resource_id","type":"string"},
    {"name":"input_tokens","type":"long"},{"name":"output_tokens","type":"long"},{"name":"cached_input_tokens","type":"long"},
    {"name":"latency_ms","type":"long"},{"name":"environment","type":"string"},{"name":"status","type":["null","string"]},
    {"name":"tags","type":{"type":"map","values":"string"}}]}"#;

/// What the events of scripts/bench-compare.sh are to us. The job is sums by team and minute and needs no more than team, model and tokens;
/// the field of the provider stands for the source, which these events do not name. What is not named here is passed over.
pub const TEAM_MINUTE_SCHEMA: &str = r#"{"type":"record","name":"Usage","fields":[
    {"name":"event_id","type":"string"},{"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"team","type":"string"},{"name":"x_project","type":"string"},{"name":"model","type":"string"},
    {"name":"source","type":"string"},{"name":"x_region","type":"string"},{"name":"x_user","type":"string"},
    {"name":"x_resource","type":"string"},{"name":"input_tokens","type":"long"},{"name":"output_tokens","type":"long"},
    {"name":"cached_input_tokens","type":"long"},{"name":"x_latency","type":"long"},{"name":"x_environment","type":"string"},
    {"name":"x_status","type":["null","string"]},{"name":"tags","type":{"type":"map","values":"string"}}]}"#;
pub const TEAM_MINUTE_ID: u32 = 7;

/// 2025-06-01T00:00:00Z: the past, so that no clock takes it for the future.
pub const BEGINNING: Timestamp = Timestamp(1_748_736_000_000);
/// Event time that a run may reach; from there on time stands still.
pub const SPAN_MS: i64 = 1_000 * 60_000;
/// 12 million events are three hours.
const EVENTS_PER_MINUTE: u64 = 66_667;

const TEAMS: u64 = 200;
const PROJECTS: u64 = 1_000;
const MODELS: u64 = 30;
const USERS_PER_TEAM: u64 = 25;
const SOURCES: [&str; 4] = ["gateway/eu1", "gateway/eu2", "gateway/us1", "gateway/us2"];
const PROVIDERS: [&str; 4] = ["anthropic", "bedrock", "vertex", "foundry"];
const REGIONS: [&str; 4] = ["eu-west-1", "us-east-1", "us-west-2", "ap-south-1"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "dev"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    Avro,
    Json,
}

/// The events of one run.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// Different leaves; the first ones are met most.
    pub leaves: u64,
    pub form: Form,
}

/// What one event says.
struct Event {
    id: (u64, u64),
    time_us: i64,
    leaf: u64,
    user: u64,
    tokens: [u64; 3],
    latency_ms: u64,
    is_limited: bool,
}

/// Mixes a number so well that the next one looks like no relative of it.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Events {
    /// Writes the value of event `number` into `value`; answers the partition, out of `partitions`, that its key goes to.
    pub fn write(&self, number: u64, partitions: u64, value: &mut Vec<u8>) -> i32 {
        let passed = (number.saturating_mul(60_000_000) / EVENTS_PER_MINUTE).min(SPAN_MS.unsigned_abs() * 1_000);
        self.write_at(number, passed, partitions, value)
    }

    /// So many microseconds after the beginning, less up to a second.
    pub fn write_at(&self, number: u64, passed_us: u64, partitions: u64, value: &mut Vec<u8>) -> i32 {
        value.clear();
        let event = self.event(number, passed_us);
        match self.form {
            Form::Avro => event.write_avro(value),
            Form::Json => value.extend_from_slice(event.json().as_bytes()),
        }
        i32::try_from(event.id.0 % partitions.max(1)).unwrap_or_default()
    }

    fn event(&self, number: u64, passed_us: u64) -> Event {
        let dice = [mixed(number), mixed(number ^ 0xa5a5_a5a5), mixed(number ^ 0x5a5a_5a5a_0000)];
        let [first, second, third] = dice;
        let leaves = self.leaves.max(1);
        let leaf = (first % leaves).min((second >> 8) % leaves);
        // Some milliseconds out of order, as gateways are.
        let passed = i64::try_from(passed_us).unwrap_or_default() - i64::try_from(third % 1_000_000).unwrap_or_default();
        Event {
            id: (first, second),
            time_us: BEGINNING.0 * 1_000 + passed.max(0),
            leaf,
            user: leaf % TEAMS * USERS_PER_TEAM + third % USERS_PER_TEAM,
            tokens: [third >> 20, third >> 34, third >> 46].map(|number| number % 4_000),
            latency_ms: (second >> 40) % 3_000,
            is_limited: second >> 60 == 0,
        }
    }
}

impl Event {
    fn id(&self) -> String {
        let (first, second) = self.id;
        let (a, b, c) = (first >> 32, first >> 16 & 0xffff, first & 0xffff);
        format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", second >> 48, second & 0xffff_ffff_ffff)
    }

    /// Team, project, model, provider, region and environment.
    fn dimensions(&self) -> [String; 6] {
        let leaf = self.leaf;
        let pick =
            |of: &[&str], by: u64| of.get(usize::try_from(by).unwrap_or_default() % of.len()).copied().unwrap_or_default().to_owned();
        let model = leaf / 7 % MODELS;
        let team = if leaf.is_multiple_of(2) { format!("team-{:03}", leaf % TEAMS) } else { String::new() };
        [
            team,
            format!("project-{:04}", leaf % PROJECTS),
            format!("model-{model:02}"),
            pick(&PROVIDERS, model),
            pick(&REGIONS, leaf / 3),
            pick(&ENVIRONMENTS, leaf / 5),
        ]
    }

    fn source(&self) -> &'static str {
        SOURCES.get(usize::try_from(self.leaf % 4).unwrap_or_default()).copied().unwrap_or_default()
    }

    fn tags(&self) -> [(&'static str, String); 4] {
        let leaf = self.leaf;
        [
            ("cost_center", format!("cc-{:03}", leaf % TEAMS)),
            ("service", format!("s{:03}", leaf % 50)),
            ("tier", format!("t{:03}", leaf % 3)),
            ("app", format!("a{:03}", leaf % 70)),
        ]
    }

    fn write_avro(&self, out: &mut Vec<u8>) {
        out.push(0);
        out.extend_from_slice(&SCHEMA_ID.to_be_bytes());
        text(out, &self.id());
        text(out, self.source());
        long(out, self.time_us);
        let [team, project, model, provider, region, environment] = self.dimensions();
        [team, project, model, provider, region].iter().for_each(|dimension| text(out, dimension));
        text(out, &format!("user-{:05}", self.user));
        text(out, &format!("res-{:012}", self.id.1 % 1_000_000_000_000));
        self.tokens.iter().for_each(|count| long(out, i64::try_from(*count).unwrap_or_default()));
        long(out, i64::try_from(self.latency_ms).unwrap_or_default());
        text(out, &environment);
        if self.is_limited {
            long(out, 1);
            text(out, "rate_limited");
        } else {
            long(out, 0);
        }
        let tags = self.tags();
        long(out, i64::try_from(tags.len()).unwrap_or_default());
        for (name, value) in &tags {
            text(out, name);
            text(out, value);
        }
        long(out, 0);
    }

    fn json(&self) -> String {
        let [team, project, model, provider, region, environment] = self.dimensions();
        let [input, output, cached] = self.tokens;
        let mut json = String::with_capacity(512);
        // Writing to a String does not fail.
        let _ = write!(
            json,
            r#"{{"event_id":"{}","source":"{}","event_time":"{}","team":"{team}","project":"{project}","model":"{model}","provider":"{provider}","region":"{region}","user":"user-{:05}","input_tokens":{input},"output_tokens":{output},"cached_input_tokens":{cached},"latency_ms":{},"environment":"{environment}","tags":{{"#,
            self.id(),
            self.source(),
            Timestamp(self.time_us / 1_000),
            self.user,
            self.latency_ms,
        );
        for (place, (name, value)) in self.tags().iter().enumerate() {
            let _ = write!(json, r#"{}"{name}":"{value}""#, if place == 0 { "" } else { "," });
        }
        json.push_str("}}");
        json
    }
}

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or_default() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

fn text(out: &mut Vec<u8>, text: &str) {
    long(out, i64::try_from(text.len()).unwrap_or_default());
    out.extend_from_slice(text.as_bytes());
}

/// Prices for every model, and ten rules of attribution of which the last one matches: what names no team is checked against all.
pub fn rules(rules: IntakeRules) -> IntakeRules {
    IntakeRules { prices: PriceBook::new(prices()), attribution: attribution(), sources: Vec::new(), ..rules }
}

/// The prices of that job: so much for a token of each model, whoever provides it; cached tokens are counted beside the others.
pub fn team_minute_rules(rules: IntakeRules) -> IntakeRules {
    let of_nobody =
        prices().into_iter().filter(|price| price.provider.as_ref() == "anthropic").map(|price| Price { provider: "".into(), ..price });
    let beside =
        SourceRule { source: "*".into(), input_includes_cached: false, input_includes_cache_write: true, output_includes_reasoning: true };
    IntakeRules { prices: PriceBook::new(of_nobody.collect()), attribution: attribution(), sources: vec![beside], ..rules }
}

fn prices() -> Vec<Price> {
    let mut prices = Vec::new();
    for model in 0..MODELS {
        for (kind, amount) in [(TokenKind::Input, 100), (TokenKind::Output, 500), (TokenKind::CachedInput, 10)] {
            for provider in PROVIDERS {
                prices.push(Price {
                    provider: provider.into(),
                    model: format!("model-{model:02}").into(),
                    meter: "llm.tokens".into(),
                    token_kind: Some(kind),
                    region: None,
                    // So many nano-dollars a token.
                    amount: Nanos(amount * 1_000_000 * i128::from(model + 1)),
                    per: 1_000_000,
                    currency: Currency::USD,
                    effective_from: Timestamp(0),
                    effective_to: None,
                    batch: None,
                    family: None,
                    prompt_above: 0,
                    agreement: None,
                });
            }
        }
    }
    prices
}

fn attribution() -> Vec<AttributionRule> {
    let rule = |team: &str| AttributionRule { team: AttributedTeam::Named(team.into()), ..AttributionRule::default() };
    let mut rules = vec![
        AttributionRule { account: Some("key-*".into()), ..rule("by-account") },
        AttributionRule { source: Some("batch/*".into()), ..rule("batch") },
        AttributionRule { project: Some("*-sandbox".into()), ..rule("sandbox") },
        AttributionRule { user: Some("svc-*".into()), ..rule("services") },
        AttributionRule { source: Some("gateway/*".into()), project: Some("legacy-*".into()), ..rule("legacy") },
        AttributionRule { tags: vec![("app".into(), "crawler*".into())], ..rule("crawler") },
        AttributionRule { tags: vec![("tier".into(), "gold".into()), ("service".into(), "*".into())], ..rule("gold") },
        AttributionRule { project: Some("project-9*-x".into()), ..rule("nine") },
        AttributionRule { user: Some("*@contractor".into()), ..rule("contractors") },
    ];
    rules.push(AttributionRule { team: AttributedTeam::FromTag("cost_center".into()), ..AttributionRule::default() });
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::{Batch, Outcome, PartitionState, SchemaTable, process};
    use crate::model::partial::Source;
    use crate::model::record::InputRecord;

    /// Both forms say the same, no event is refused, none comes twice.
    #[test]
    fn both_forms_lead_to_the_same_sums() {
        let mut schemas = SchemaTable::default();
        schemas.insert(SCHEMA_ID, SCHEMA);
        let rules = rules(crate::config::load_text("", "", std::path::Path::new(""), std::iter::empty()).unwrap().intake);
        let sums = [Form::Avro, Form::Json].map(|form| {
            let events = Events { leaves: 40, form };
            let mut partition = PartitionState::new(Source { topic: "t".into(), partition: 0 }, 10_000);
            let (mut batch, mut value, mut bytes) = (Batch::default(), Vec::new(), 0);
            for number in 0..3_000 {
                let partition_number = events.write(number, 8, &mut value);
                assert!((0..8).contains(&partition_number));
                bytes += value.len();
                let record = InputRecord {
                    topic: "t",
                    partition: 0,
                    offset: i64::try_from(number).unwrap(),
                    timestamp: BEGINNING.plus_ms(SPAN_MS),
                    key: None,
                    value: Some(&value),
                    headers: &[],
                };
                let outcome = process(&record, BEGINNING.plus_ms(SPAN_MS), &rules, &schemas, &mut partition, &mut batch);
                assert_eq!(outcome, Outcome::Combined, "{number}");
            }
            assert_eq!(batch.take_counts().unpriced, 0);
            assert!(form == Form::Json || (190..230).contains(&(bytes / 3_000)), "{} bytes an event", bytes / 3_000);
            batch.drain_into_shards(4)
        });
        let [avro, json] = &sums;
        assert_eq!(avro, json);
        let teams: std::collections::BTreeSet<_> = avro.values().flatten().map(|partial| partial.leaf.team.to_string()).collect();
        assert!(teams.contains("team-002") && teams.contains("cc-001"), "{teams:?}");
    }
}
