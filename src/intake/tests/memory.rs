//! What is remembered against what is worked out anew: the same events through one batch with a long memory, and each of them by the pure
//! functions alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::intake::rules::{Agreement, AttributedTeam, AttributionRule, Discount, Price, SourceRule, TokenKind};
use crate::model::Text;
use crate::model::partial::{Failed, Partial, PolicyHit, UserCost};
use crate::model::rates::{DatedRate, Rates};
use crate::model::time::DAY_MS;
use crate::model::usage::Tokens;
use crate::model::wire::confluent_frame;
use crate::policy::stream::tests::{policy, stream};
use crate::policy::stream::{Stream, Told};
use crate::policy::{Exemption, Given, Sample};

/// As a producer of our own might have it; decimals and enums too.
const WRITER: &str = r#"{"type":"record","name":"Usage","fields":[
    {"name":"event_id","type":"string"},{"name":"noise","type":["null","string"]},{"name":"source","type":"string"},{"name":"status","type":["null","string"]},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"meter","type":["null","string"]},{"name":"team","type":["null","string"]},{"name":"project","type":["null","string"]},
    {"name":"model","type":"string"},{"name":"provider","type":{"type":"enum","name":"Provider","symbols":["openai","aws"]}},
    {"name":"region","type":["string","null"]},{"name":"environment","type":"bytes"},{"name":"user","type":["null","string"]},
    {"name":"account","type":["null","string"]},{"name":"quantity","type":["null","double"]},
    {"name":"input_tokens","type":["null","long"]},{"name":"output_tokens","type":["null","int"]},
    {"name":"cached_input_tokens","type":["null","long"]},{"name":"requests","type":["null","long"]},
    {"name":"cost","type":["null","string",{"type":"bytes","logicalType":"decimal","precision":20,"scale":7}]},
    {"name":"currency","type":["null","string"]},{"name":"tags","type":["null",{"type":"map","values":"string"}]}]}"#;

fn pattern(text: &str) -> Option<Text> {
    Some(text.into())
}

/// Every kind of condition, and every kind of team.
fn attribution() -> Vec<AttributionRule> {
    let named = |team: &str| AttributionRule { team: AttributedTeam::Named(team.into()), ..AttributionRule::default() };
    vec![
        AttributionRule { tags: vec![("cc".into(), "1*".into())], ..named("by tag") },
        AttributionRule { user: pattern("u2*"), source: pattern("gateway/*"), ..named("by user") },
        AttributionRule { project: pattern("p1"), account: pattern("key-*"), ..named("by account") },
        AttributionRule { team: AttributedTeam::FromTag("owner".into()), ..AttributionRule::default() },
        AttributionRule { project: pattern("p2"), ..named("by project") },
    ]
}

fn prices(at: Timestamp) -> Vec<Price> {
    let price = |model: &str, kind, amount: &str, from: i64, to: Option<i64>, region: Option<&str>| Price {
        provider: "openai".into(),
        model: model.into(),
        meter: "llm.tokens".into(),
        token_kind: Some(kind),
        region: region.map(Text::from),
        amount: amount.parse().unwrap(),
        per: 1_000_000,
        currency: Currency::USD,
        effective_from: at.plus_ms(from),
        effective_to: to.map(|to| at.plus_ms(to)),
        // Of some of them, and of some no whole number of nanos either.
        batch: (kind != TokenKind::Output).then(|| "1.2500001".parse().unwrap()),
        family: None,
        prompt_above: 0,
        agreement: None,
    };
    let minutes = |minutes: i64| minutes * 60_000;
    let mut prices = vec![
        price("gpt-*", TokenKind::Input, "2.5", minutes(-9_000), Some(minutes(-3)), None),
        price("gpt-*", TokenKind::Input, "3", minutes(-3), None, None),
        price("gpt-4o", TokenKind::Input, "7", minutes(-2), Some(minutes(-1)), None),
        price("gpt-*", TokenKind::Input, "5", minutes(-4), None, Some("eu")),
        price("gpt-*", TokenKind::Output, "10", minutes(-9_000), None, None),
        // No whole number of nanos for a token.
        price("gpt-*", TokenKind::CachedInput, "0.3333333", minutes(-2), None, None),
    ];
    prices.push(Price { meter: "gpu.seconds".into(), token_kind: None, model: "".into(), per: 3_600, ..prices[0].clone() });
    prices.push(Price { meter: "request".into(), token_kind: None, model: "".into(), per: 7, effective_to: None, ..prices[0].clone() });
    // Long prompts cost more, of one kind of token above another size, and one account has a price of its own for them.
    let long = |above, amount: &str, agreement, place: usize| Price {
        prompt_above: above,
        amount: amount.parse().unwrap(),
        agreement,
        ..prices[place].clone()
    };
    prices.extend([long(2_000, "11", None, 2), long(3_000, "5.0000001", None, 1), long(1_500, "4", Some(1), 4), long(0, "6", Some(1), 1)]);
    prices
}

fn price_book() -> PriceBook {
    let agreement = |accounts: &[&str], teams: &[&str]| Agreement {
        name: "a".into(),
        accounts: accounts.iter().map(|name| Text::from(*name)).collect(),
        teams: teams.iter().map(|name| Text::from(*name)).collect(),
    };
    let discount = |agreement, model: &str, part, from: i64, to: Option<i64>| Discount {
        agreement,
        provider: "openai".into(),
        model: model.into(),
        meter: None,
        region: None,
        part: Nanos(part),
        effective_from: NOW.plus_ms(from * 60_000),
        effective_to: to.map(|to| NOW.plus_ms(to * 60_000)),
    };
    let agreements = vec![agreement(&["key-*"], &[]), agreement(&["none", "key-1"], &["by *", "search"])];
    let discounts = vec![
        discount(0, "gpt-4o", 333_333_333, -4, Some(-2)),
        discount(1, "", 120_000_000, -3, None),
        discount(1, "gpt-*", 500_000_000, -1, None),
    ];
    PriceBook::with_agreements(prices(NOW), agreements, discounts)
}

fn some_rules(which: usize) -> IntakeRules {
    let tolerant = SourceRule {
        source: "gateway/2".into(),
        input_includes_cached: false,
        input_includes_cache_write: false,
        output_includes_reasoning: true,
    };
    let mut attribution = attribution();
    let first = which % attribution.len();
    attribution.rotate_left(first);
    let sources = if which.is_multiple_of(2) { vec![tolerant] } else { Vec::new() };
    let (usd, eur) = (Currency::USD, Currency::parse("EUR").unwrap());
    let rate = |day: &str| DatedRate {
        currency: usd,
        day: Timestamp::parse(day).unwrap().0.div_euclid(DAY_MS),
        per_base: "1.0823".parse().unwrap(),
    };
    // Not converted at all, converted, and without a rate that holds.
    let rates = match which % 3 {
        0 => Rates::default(),
        1 => Rates::new(usd, eur, 7, [rate("2026-02-27T00:00:00Z")]),
        _ => Rates::new(usd, eur, 7, [rate("2026-02-20T00:00:00Z")]),
    };
    IntakeRules { attribution, sources, prices: price_book(), rates, policies: some_policies(which), ..rules() }
}

/// Every kind of field of a single event, known and unknown, and exemptions that end within the events.
fn some_policies(which: usize) -> Arc<Stream> {
    let conditions = [
        "environment == 'prod' && !has(tags.cc)",
        "tags.owner == ' ranking\t' || tags['other'] == 'y'",
        "user == 'u2' || user.startsWith('ü')",
        "input_tokens > 3000 && model == 'gpt-4o'",
        "source == 'gateway/2' && team == 'search'",
        "has(usage.account) && account == 'key-1' && project == 'p1'",
        "quantity > 50.0 && has(usage.quantity)",
        "requests > 4000 || currency == 'EUR' && size(tags) == 0",
        "status == 'ok' && project == 'p2'",
        "(has(usage.user) ? user : team) == 'u1'",
        "provider == 'aws'",
    ];
    let kept = conditions.iter().enumerate().filter(|(number, _)| !(number + which).is_multiple_of(4));
    let policies = kept.map(|(number, when)| policy(&format!("p{number:02}"), when)).collect();
    let field = |name| crate::policy::fields::Subject::Usage.field(name).unwrap();
    let exemption = |policy: &str, only, until| Exemption { policy: policy.into(), only, until, ..Exemption::default() };
    let exemptions = vec![
        exemption("p00", vec![(field("team"), "search".into())], NOW.plus_ms(-100_000)),
        exemption("p02", vec![(field("user"), "u2".into()), (field("provider"), "aws".into())], NOW.plus_ms(-200_000)),
    ];
    stream(policies, exemptions)
}

/// By the policies' own function, on an event that was put together field by field.
fn said(event: &UsageEvent<'_>, leaf: &crate::model::leaf::Leaf, cost: Nanos, policies: &Stream) -> Vec<PolicyHit> {
    let mut sample = Sample::new(crate::policy::fields::Subject::Usage);
    let dimensions = leaf.dimensions();
    let mut texts: Vec<(&str, &str)> = dimensions.named().map(|(name, text)| (name, &**text)).to_vec();
    let own = [("user", &event.user), ("account", &event.account), ("resource_id", &event.resource_id)];
    texts.extend(own.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))));
    texts.extend([("team", &*leaf.team), ("source", &*event.source), ("currency", leaf.currency.as_str())]);
    for (name, text) in texts {
        sample.set(name, Given::Text(text.to_owned())).unwrap();
    }
    let Tokens { input, output, cached_input, cache_write, reasoning } = event.tokens;
    let counts = [("input_tokens", input), ("output_tokens", output), ("cached_input_tokens", cached_input)];
    for (name, count) in
        counts.into_iter().chain([("cache_write_tokens", cache_write), ("reasoning_tokens", reasoning), ("requests", event.requests)])
    {
        sample.set(name, Given::Int(count.try_into().unwrap())).unwrap();
    }
    if let Some(quantity) = event.quantity {
        sample.set("quantity", Given::Double(quantity.0 as f64 / 1e9)).unwrap();
    }
    let tags = event.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    sample.set("tags", Given::Tags(tags)).unwrap();
    sample.with_facts(|facts| {
        let told = policies.of_event().iter().filter_map(|place| policies.told(*place, facts, &leaf.team, event.event_time));
        let hit = |told: Told| PolicyHit { policy: policies.policy(told.policy).unwrap().id.clone(), said: told.said, events: 1, cost };
        told.map(hit).collect()
    })
}

/// Most of them are like one of a few hundred others, but for their numbers.
fn some_event(dice: &mut Dice, id: i64) -> Map<String, Json> {
    let like = dice.roll(400);
    let mut event = Map::new();
    let mut numbers = Dice(dice.roll(1 << 30) as u64);
    let dice = &mut if numbers.once_in(8) { Dice(numbers.0) } else { Dice(like as u64) };
    event.insert("event_id".to_owned(), json!(format!("id-{id}")));
    event.insert("source".to_owned(), json!(dice.pick(&["gateway/1", "gateway/2", "x"])));
    event.insert("event_time".to_owned(), json!(NOW.0 - i64::try_from(numbers.roll(300_000)).unwrap()));
    event.insert("model".to_owned(), json!(dice.pick(&["gpt-4o", "gpt-5", "other", ""])));
    event.insert("provider".to_owned(), json!(dice.pick(&["openai", "openai", "aws"])));
    event.insert("environment".to_owned(), json!(dice.pick(&["prod", "", "dév"])));
    let optional: [(&str, &[&str]); 8] = [
        ("meter", &["llm.tokens", "gpu.seconds", "request", " ", ""]),
        ("team", &["search", " search\n", " \t", "", "Zoë", "a\u{202e}b"]),
        ("project", &["p1", "p2", "p1 "]),
        ("region", &["eu", "us"]),
        ("user", &["u1", "u2", "u22", " u2", "\n", "ü"]),
        ("account", &["key-1", "none"]),
        ("currency", &["EUR", "usd"]),
        ("noise", &["x"]),
    ];
    for (field, values) in optional {
        if dice.once_in(2) {
            event.insert(field.to_owned(), json!(dice.pick(values)));
        }
    }
    for field in ["input_tokens", "output_tokens", "cached_input_tokens", "requests"] {
        if dice.once_in(2) {
            event.insert(field.to_owned(), json!(numbers.roll(5_000)));
        }
    }
    if dice.once_in(4) {
        event.insert("quantity".to_owned(), json!(f64::from(u32::try_from(numbers.roll(1_000)).unwrap()) / 8.0));
    }
    if dice.once_in(4) {
        event.insert("cost".to_owned(), json!(dice.pick(&["0.0123", "-4", "1e-6", ""])));
    }
    if dice.once_in(2) {
        let mut tags = Map::new();
        for (name, values) in
            [("cc", ["12", "2"]), ("owner", [" ranking\t", ""]), ("other", ["x", "y"]), ("service_tier", ["batch", " batch\n"])]
        {
            if dice.once_in(2) {
                tags.insert(name.to_owned(), json!(dice.pick(&values)));
            }
        }
        event.insert("tags".to_owned(), Json::Object(tags));
    }
    if numbers.once_in(3) {
        event.insert("status".to_owned(), json!(numbers.pick(&["ok", "429", "timeout", ""])));
    }
    event
}

fn as_avro(schema: &Schema, event: &Map<String, Json>) -> Vec<u8> {
    let Schema::Record(record) = schema else { panic!("no record") };
    let number = |value: &Json| value.as_i64().unwrap_or_default();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let fields = record.fields.iter().map(|field| {
        let value = event.get(&field.name).unwrap_or(&Json::Null);
        let inner = match (field.name.as_str(), value) {
            (_, Json::Null) => Avro::Null,
            ("event_time", value) => Avro::TimestampMicros(number(value) * 1_000 + 999),
            ("environment", value) => Avro::Bytes(text(value).into_bytes()),
            ("provider", value) => Avro::Enum(u32::from(value == "aws"), text(value)),
            ("quantity", value) => Avro::Double(value.as_f64().unwrap()),
            ("output_tokens", value) => Avro::Int(number(value).try_into().unwrap()),
            ("tags", value) => {
                Avro::Map(value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), Avro::String(text(value)))).collect())
            }
            (_, Json::Number(_)) => Avro::Long(number(value)),
            (_, value) => Avro::String(text(value)),
        };
        let value = match &field.schema {
            Schema::Union(union) => {
                let place = union.variants().iter().position(|variant| matches!(variant, Schema::Null) == value.is_null()).unwrap();
                Avro::Union(u32::try_from(place).unwrap(), Box::new(inner))
            }
            _ => inner,
        };
        (field.name.clone(), value)
    });
    let record = Avro::Record(fields.collect());
    confluent_frame(7, &GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(record).unwrap())
}

fn as_json(event: &Map<String, Json>) -> Vec<u8> {
    let mut event = event.clone();
    let time = Timestamp(event["event_time"].as_i64().unwrap()).to_string();
    event.insert("event_time".to_owned(), json!(time));
    serde_json::to_vec(&event).unwrap()
}

/// What becomes of one event, by the functions that remember nothing.
fn worked_out(record: &InputRecord<'_>, rules: &IntakeRules, schemas: &SchemaTable) -> Vec<Partial> {
    let mut scratch = Scratch::default();
    let event = accept(record, Some(NOW), rules, schemas, &mut scratch).unwrap();
    let priced = price::price(&event, rules);
    let text = |text: &Option<std::borrow::Cow<'_, str>>| Text::from(text.as_deref().unwrap_or_default());
    let users = event.user.iter().map(|user| UserCost { user: user.as_ref().into(), cost: priced.cost });
    let leaf = {
        crate::model::leaf::Leaf {
            team: attribute::attribute(&event, &rules.attribution).as_ref().into(),
            project: text(&event.project),
            model: text(&event.model),
            provider: text(&event.provider),
            region: text(&event.region),
            environment: text(&event.environment),
            meter: event.meter.as_ref().into(),
            currency: priced.currency,
            measure: crate::model::leaf::Measure::Estimated,
        }
    };
    let original = priced.original.map(|(currency, cost)| Partial {
        leaf: crate::model::leaf::Leaf { currency, measure: crate::model::leaf::Measure::EstimatedOriginal, ..leaf.clone() },
        minute: event.event_time.minute(),
        last_event_time: event.event_time,
        last_ingest_time: NOW,
        ..Partial::of_hour(leaf.clone(), event.event_time.hour(), cost, Nanos::ZERO)
    });
    // Nothing used, and nothing that anybody bills.
    let is_nothing = event.tokens == Tokens::default() && event.quantity.unwrap_or_default() == Nanos::ZERO;
    let has_failed = event.failed && priced.cost == Nanos::ZERO && (is_nothing || event.cost.is_some());
    let counted = Partial {
        hits: said(&event, &leaf, priced.cost, &rules.policies),
        leaf,
        minute: event.event_time.minute(),
        events: 1,
        unpriced_events: u64::from(priced.unpriced),
        cost: priced.cost,
        has_negative: priced.cost.0 < 0,
        quantity: event.quantity.unwrap_or_default(),
        requests: priced.requests,
        tokens_input: priced.tokens.input,
        tokens_output: priced.tokens.output,
        tokens_cached_input: priced.tokens.cached_input,
        tokens_cache_write: priced.tokens.cache_write,
        tokens_reasoning: priced.tokens.reasoning,
        last_event_time: event.event_time,
        last_ingest_time: NOW,
        users: users.collect(),
        failed: if has_failed {
            Failed { events: 1, unpriced_events: u64::from(priced.unpriced), requests: priced.requests }
        } else {
            Failed::default()
        },
    };
    std::iter::once(counted).chain(original).collect()
}

#[test]
fn what_is_remembered_is_what_is_worked_out_anew() {
    let schema = Schema::parse_str(WRITER).unwrap();
    let mut schemas = SchemaTable::default();
    schemas.insert(7, WRITER);
    let (mut dice, mut partition, mut batch) = (Dice(5), partition(), Batch::default());
    let mut rules = some_rules(0);
    let (mut quick, mut originals, mut failed, mut hits) = (0, 0, 0, BTreeMap::new());
    for offset in 0..20_000_i64 {
        if offset % 2_500 == 2_499 {
            // In the same place in memory, under the same revision.
            rules = some_rules(usize::try_from(offset).unwrap() / 2_500);
        }
        let event = some_event(&mut dice, offset);
        let value = if dice.once_in(3) { as_json(&event) } else { as_avro(&schema, &event) };
        let record = InputRecord { offset, ..record(Some(&value)) };
        batch.memory.follow(&rules);
        if let Some(event) = decode::quick(&record, 1_000_000, &schemas, batch.memory.quick_key(0)) {
            let user = batch.memory.user(event.user).unwrap();
            let hash = batch.memory.complete_quick_key(0, &event, user);
            quick += u32::from(batch.memory.find_quick(0, hash).is_some());
        }
        let expected = worked_out(&record, &rules, &schemas);
        assert_eq!(process(&record, NOW, &rules, &schemas, &mut partition, &mut batch), Outcome::Combined);
        let found: Vec<Partial> = batch.drain_into_shards(1).into_values().flatten().collect();
        for hit in &expected[0].hits {
            *hits.entry(hit.said).or_insert(0) += 1;
        }
        originals += u32::from(expected.len() > 1);
        failed += expected[0].failed.events;
        assert_eq!(found, expected, "{offset}: {event:?}");
    }
    assert!(originals > 100 && failed > 100 && batch.counts().unconverted > 100, "{originals}, {:?}", batch.counts());
    assert!(hits.len() == 3 && hits.values().all(|count| *count > 100), "{hits:?}");
    assert!(quick > 6_000, "{quick} of 13,000 Avro events took the quick way");
}

/// Records as they come: most plain, some like none before, some twice, some broken, some of a schema that is looked up on the way.
fn some_records(dice: &mut Dice, schema: &Schema) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    for offset in 0..3_000_i64 {
        let mut value = match dice.roll(40) {
            0 => as_json(&some_event(dice, offset)),
            1 => values.last().cloned().unwrap_or_default(),
            2 => Vec::new(),
            _ => as_avro(schema, &some_event(dice, offset)),
        };
        match dice.roll(60) {
            0 => value.truncate(value.len() / 2),
            1 if value.first() == Some(&0) => value[4] = 8,
            _ => {}
        }
        values.push(value);
    }
    values
}

#[test]
fn records_that_are_taken_together_end_as_one_after_the_other() {
    let schema = Schema::parse_str(WRITER).unwrap();
    let rules = some_rules(1);
    let mut dice = Dice(11);
    for _ in 0..4 {
        let values = some_records(&mut dice, &schema);
        let records: Vec<_> = (0_i64..).zip(&values).map(|(offset, value)| InputRecord { offset, ..record(Some(value)) }).collect();
        let empty = || (SchemaTable::default(), PartitionState::new(Source { topic: "t".into(), partition: 0 }, 500), Batch::default());
        let know = |schemas: &mut SchemaTable, id: u32| schemas.insert(id, WRITER);

        let (mut schemas, mut partition, mut batch) = empty();
        let mut one_by_one = Vec::new();
        for record in &records {
            let mut outcome = process(record, NOW, &rules, &schemas, &mut partition, &mut batch);
            if let Outcome::NeedsSchema(id) = outcome {
                know(&mut schemas, id);
                outcome = process(record, NOW, &rules, &schemas, &mut partition, &mut batch);
            }
            one_by_one.push(outcome);
        }
        let expected = (batch.take_counts(), partition.watermark(), batch.drain_into_shards(4));
        assert!(expected.0.duplicates > 20 && expected.0.rejected > 20 && expected.0.combined > 2_000, "{:?}", expected.0);

        let (mut schemas, mut partition, mut batch) = empty();
        let mut rejected = Vec::new();
        let mut next = 0;
        while next < records.len() {
            let until = records.len().min(next + 1 + dice.roll(60));
            let progress = process_all(&records[next..until], NOW, &rules, &schemas, &mut partition, &mut batch);
            next += progress.taken;
            match progress.stopped {
                None => assert_eq!(next, until),
                Some(Outcome::NeedsSchema(id)) => know(&mut schemas, id),
                Some(stopped) => {
                    rejected.push((next, stopped));
                    next += 1;
                }
            }
        }
        let each = one_by_one.into_iter().enumerate().filter(|(_, outcome)| matches!(outcome, Outcome::Rejected(_)));
        assert_eq!(rejected, each.collect::<Vec<_>>());
        assert_eq!((batch.take_counts(), partition.watermark(), batch.drain_into_shards(4)), expected);
    }
}

#[test]
fn a_flood_of_new_names_makes_it_forget_and_changes_nothing() {
    let (rules, schemas, mut partition, mut batch) = (some_rules(1), SchemaTable::default(), partition(), Batch::default());
    let (mut total, mut drains, mut fewest) = (0, 0, u64::MAX);
    let mut costs: BTreeMap<String, Nanos> = BTreeMap::new();
    let mut most = 0;
    for offset in 0..150_000_i64 {
        let honest = offset % 10 == 0;
        let team = if honest { "search".to_owned() } else { format!("team {offset} {}", "x".repeat(200)) };
        let value = format!(
            r#"{{"event_id":"{offset}","source":"s","event_time":"2026-03-01T10:00:00Z","team":"{team}","user":"u{offset}","cost":"1"}}"#
        );
        let record = InputRecord { offset, ..record(Some(value.as_bytes())) };
        assert_eq!(process(&record, NOW, &rules, &schemas, &mut partition, &mut batch), Outcome::Combined);
        most = most.max(batch.memory.bytes());
        if batch.is_full() || offset == 149_999 {
            fewest = if batch.is_full() { fewest.min(batch.counts().read) } else { fewest };
            total += batch.take_counts().read;
            drains += 1;
            for partial in batch.drain_into_shards(1).into_values().flatten() {
                let team = if partial.leaf.team.as_ref() == "search" { "search" } else { "flood" };
                let sum = costs.entry(team.to_owned()).or_default();
                *sum = sum.checked_add(partial.cost).unwrap();
            }
        }
    }
    assert_eq!(total, 150_000);
    assert_eq!(costs, [("flood".to_owned(), Nanos::from_units(135_000)), ("search".to_owned(), Nanos::from_units(15_000))].into());
    assert!(drains >= 3 && most < 66 * 1024 * 1024, "{drains} transactions, at most {most} bytes");
    // What has been forgotten leaves room for a transaction of ordinary size.
    assert!(fewest > 20_000, "{fewest}");
}
