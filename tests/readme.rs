//! The README says what is so: its commands parse, its configs load, its events are taken in, its tables are complete.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser as _;
use serde_json::json;
use tollgate::cli::Arguments;
use tollgate::config::{self, Loaded};
use tollgate::intake::decode::table::WriterSchemas;
use tollgate::intake::whole;
use tollgate::intake::{self, Batch, Outcome, PartitionState, SchemaTable};
use tollgate::metrics::{Metrics, Rebalanced, RestoredFrom, Spent, StateSize, TransactionEnd};
use tollgate::model::effect::Effect;
use tollgate::model::partial::Source;
use tollgate::model::record::{InputRecord, RejectReason};
use tollgate::model::time::Timestamp;
use tollgate::model::wire::{self, SchemaName};

const README: &str = include_str!("../README.md");
const MAKEFILE: &str = include_str!("../Makefile");
const COMPOSE: &str = include_str!("../docker-compose.yml");

/// 2026-03-01T10:00:00Z, the time of the events in the README.
const THEN: Timestamp = Timestamp(1_772_359_200_000);

/// Fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fences = text.split("```").skip(1).step_by(2);
    let found: Vec<String> = fences.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).map(str::to_string).collect();
    assert!(!found.is_empty(), "no {language} block");
    found
}

/// What stands between backticks, and is one line.
fn inline(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Rows of the tables below a heading, up to the next one of the same depth or above; cells trimmed.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = README.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading '{heading}'"));
    let depth = heading.split(' ').next().unwrap();
    let end = section.find(&format!("\n{depth} ")).or_else(|| section.find("\n## ")).unwrap_or(section.len());
    let lines = section[..end].lines().filter(|line| line.starts_with('|'));
    lines.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Names in backticks in the first cells of these rows.
fn first_names(rows: &[Vec<&'static str>]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| inline(row[0])).map(str::to_string).collect()
}

fn load(text: &str, environment: Vec<(String, String)>) -> Loaded {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let loaded = config::load_text("README.md", text, base, environment.into_iter());
    loaded.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// `tollgate ...` without what stands before it and without its comment.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.split(" #").next().unwrap_or_default();
        let code = code.split(['>', '|', '&']).next().unwrap_or_default();
        let is_setting = |word: &str| word.starts_with("TOLLGATE_") && word.contains('=');
        let words: Vec<&str> = code.split_whitespace().skip_while(|word| is_setting(word)).collect();
        if words.first() == Some(&"tollgate") {
            found.push(words.join(" "));
        }
    }
    found
}

#[test]
fn commands_parse() {
    let contributing = include_str!("../CONTRIBUTING.md");
    let mut all: Vec<String> = blocks(README, "sh").iter().flat_map(|block| commands(block)).collect();
    all.extend(inline(README).into_iter().filter(|code| code.starts_with("tollgate ")).map(str::to_string));
    all.extend(inline(contributing).into_iter().filter(|code| code.starts_with("tollgate ")).map(str::to_string));
    assert!(all.len() >= 8, "{all:#?}");
    for command in all {
        // `tollgate check` in prose is a name; as a command it needs no more.
        let parsed = Arguments::try_parse_from(command.split_whitespace());
        assert!(parsed.is_ok(), "{command}\n{}", parsed.unwrap_err());
    }
    assert!(Arguments::try_parse_from(["tollgate", "chek"]).is_err());
}

#[test]
fn make_targets_exist() {
    let named: BTreeSet<&str> = inline(README).into_iter().filter_map(|code| code.strip_prefix("make ")).collect();
    assert!(named.contains("demo") && named.contains("test"), "{named:?}");
    for target in named {
        assert!(MAKEFILE.lines().any(|line| line.starts_with(&format!("{target}:"))), "no target '{target}'");
    }
}

#[test]
fn configs_load() {
    for text in blocks(README, "toml").into_iter().filter(|text| !text.starts_with("[[policy]]") && !is_beside_files(text)) {
        let loaded = load(&text, Vec::new());
        assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
    }
}

/// A price file, or a config that names a file.
fn is_beside_files(text: &str) -> bool {
    text.contains("as_of = ") || text.contains("rates = ")
}

#[test]
fn price_files_and_rates_load() {
    let (prices, configs): (Vec<_>, Vec<_>) =
        blocks(README, "toml").into_iter().filter(|text| is_beside_files(text)).partition(|text| text.contains("as_of = "));
    let ([prices], [currency]) = (&prices[..], &configs[..]) else { panic!("{prices:#?} {configs:#?}") };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.toml"), prices).unwrap();
    std::fs::write(folder.path().join("rates.csv"), "date,currency,rate\n2026-03-02,USD,1.0823\n").unwrap();
    let config = format!("{currency}\n[prices]\nfiles = ['own.toml']\n");
    let loaded =
        config::load_text("README.md", &config, folder.path(), std::iter::empty()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
    assert!(loaded.intake.prices.has_agreements() && loaded.intake.rates.target().is_some());
}

/// Beside the shipped ones, whose sets it names, in the place of its namesake.
#[test]
fn policies_are_right() {
    let shipped = include_str!("../config/policies/global/approved.toml");
    let sets = &shipped[..shipped.find("[[policy]]").unwrap()];
    for text in blocks(README, "toml").into_iter().filter(|text| text.starts_with("[[policy]]")) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("global")).unwrap();
        std::fs::write(folder.path().join("global/readme.toml"), format!("{sets}\n{text}")).unwrap();
        let read = config::policies::load(folder.path()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let wrong = |test: &&config::policies::PolicyTest| {
            test.event.with_facts(|facts| read.policies.policies[test.policy].answer(facts)) != tollgate::policy::Answer::Violates
        };
        assert!(read.tests.len() == 1 && !read.tests.iter().any(|test| wrong(&test)));
    }
}

/// Options of the tables and the prose: `section.key` is a key of the default file.
#[test]
fn options_exist() {
    let sections = [
        "kafka.",
        "topics.",
        "shards.",
        "schemas.",
        "intake.",
        "prices.",
        "currency.",
        "watch.",
        "alerts.",
        "mail.",
        "deliver.",
        "http.",
        "log.",
    ];
    let mut seen = 0;
    for code in inline(README) {
        let name = code.split([' ', '=']).next().unwrap_or_default();
        let Some(section) = sections.iter().find(|section| name.starts_with(**section)) else { continue };
        let key = name.trim_start_matches(section);
        let header = format!("[{}]", section.trim_end_matches('.'));
        let (_, body) = config::DEFAULTS.split_once(&format!("\n{header}\n")).unwrap_or_else(|| panic!("no section {header}"));
        let body = body.split("\n[").next().unwrap_or_default();
        let is_key = body.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        let is_table = config::DEFAULTS.contains(&format!("\n[{name}]\n"));
        assert!(is_key || is_table, "no option '{name}'");
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn events_are_taken_in() {
    let mut events = blocks(README, "json");
    for block in blocks(README, "sh") {
        let heredocs = block.split("<<EOF\n").skip(1).filter_map(|rest| rest.split("\nEOF").next().map(str::to_string)).collect::<Vec<_>>();
        events.extend(heredocs.iter().flat_map(|text| text.lines()).map(|line| line.replace("$(date -u +%FT%TZ)", "2026-03-01T10:00:00Z")));
    }
    let (feedback, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.contains("\"verdict\""));
    assert!(events.len() >= 2 && !feedback.is_empty(), "{events:#?}");
    let rules = load("", Vec::new()).intake;
    let (activity, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.contains("\"action\""));
    let activity = activity.into_iter().map(|event| (event, "activity-events", whole::Topic::Activity));
    for (event, topic, read_as) in feedback.into_iter().map(|event| (event, "feedback", whole::Topic::Feedback)).chain(activity) {
        let later = THEN.plus_ms(30 * 86_400_000);
        let value = Some(event.as_bytes());
        let record = InputRecord { topic, partition: 0, offset: 0, timestamp: later, key: None, value, headers: &[] };
        let outcome = whole::process(read_as, &record, later, &rules, &WriterSchemas::new(read_as.table()));
        assert!(matches!(outcome, whole::WholeOutcome::Accepted(_)), "{event}: {outcome:?}");
    }
    for event in events {
        let mut partition = PartitionState::new(Source { topic: "usage-events".into(), partition: 0 }, 100);
        let mut batch = Batch::default();
        let record = InputRecord {
            topic: "usage-events",
            partition: 0,
            offset: 0,
            timestamp: THEN,
            key: None,
            value: Some(event.as_bytes()),
            headers: &[],
        };
        let outcome = intake::process(&record, THEN, &rules, &SchemaTable::default(), &mut partition, &mut batch);
        assert_eq!(outcome, Outcome::Combined, "{event}");
        assert_eq!(batch.counts().unpriced, 0, "has a price: {event}");
        let again = InputRecord { offset: 1, ..record };
        assert_eq!(intake::process(&again, THEN, &rules, &SchemaTable::default(), &mut partition, &mut batch), Outcome::Duplicate);
    }
}

/// "This one costs 500 USD at list price".
#[test]
fn the_first_event_costs_what_the_text_says() {
    let event = README
        .lines()
        .find(|line| line.starts_with("{\"event_id\":\"try-1\""))
        .unwrap()
        .replace("$(date -u +%FT%TZ)", "2026-03-01T10:00:00Z");
    let rules = load("", Vec::new()).intake;
    let mut partition = PartitionState::new(Source { topic: "usage-events".into(), partition: 0 }, 100);
    let mut batch = Batch::default();
    let record = InputRecord {
        topic: "usage-events",
        partition: 0,
        offset: 0,
        timestamp: THEN,
        key: None,
        value: Some(event.as_bytes()),
        headers: &[],
    };
    intake::process(&record, THEN, &rules, &SchemaTable::default(), &mut partition, &mut batch);
    let partials: Vec<_> = batch.drain_into_shards(1).into_values().flatten().collect();
    assert_eq!(partials.len(), 1);
    assert_eq!(partials[0].cost.to_string(), "500");
    assert!(README.contains("This one costs 500 USD at list price"));
}

#[test]
fn every_reason_of_a_dead_letter_has_its_row() {
    let written = first_names(&rows("### Dead letters"));
    let known: BTreeSet<String> = RejectReason::ALL.iter().map(|reason| reason.as_str().to_string()).collect();
    assert_eq!(written, known);
    // Of usage and of the bill amounts end elsewhere.
    let range = rows("### Dead letters").into_iter().find(|row| row[0] == "`out_of_range`").unwrap()[1];
    let rules = load("", Vec::new()).intake;
    let row = json!({"BilledCost": "1e13", "BillingCurrency": "USD", "ChargePeriodStart": "2026-03-01T00:00:00Z"});
    let events = [json!({"cost": "1e30"}), json!({"delivery": "d", "period": "2026-03", "line_id": "l", "row": row})].map(|own| {
        let mut event = json!({"event_id": "e", "source": "s", "event_time": "2026-03-01T10:00:00Z"});
        event.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        event.to_string()
    });
    let [usage, bill] = events.each_ref().map(|event| InputRecord {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp: THEN,
        key: None,
        value: Some(event.as_bytes()),
        headers: &[],
    });
    let mut partition = PartitionState::new(Source { topic: "t".into(), partition: 0 }, 100);
    let outcome = intake::process(&usage, THEN, &rules, &SchemaTable::default(), &mut partition, &mut Batch::default());
    let Outcome::Rejected(usage) = outcome else { panic!("{outcome:?}") };
    let outcome = intake::billing::process(&bill, THEN, &rules, &WriterSchemas::new(&intake::decode::billing::BILLING));
    let intake::billing::BillingOutcome::Rejected(bill) = outcome else { panic!("{outcome:?}") };
    for (reject, limit) in [(usage, "10^18"), (bill, "10^12")] {
        assert!(reject.message.contains(limit) && range.contains(limit), "{reject:?}: {range}");
    }
}

/// The page with something to show for every metric.
pub fn full_page() -> String {
    let metrics = Metrics::new();
    let alert = wire::alert_from_json(include_bytes!("data/alerts/spike.json")).unwrap();
    metrics.rejected(RejectReason::NoValue, 1);
    metrics.forwarded("activity", "accepted", 1);
    metrics.billing("accepted", 1);
    metrics.ledger_lines(0, 1);
    metrics.lineage_nodes(1);
    metrics.effect(&Effect::Alert(Box::new(alert)), THEN);
    let violation =
        wire::violation_from_json(include_bytes!("../schemas/examples/violation/valid/deployment_outside_europe.json")).unwrap();
    metrics.effect(&Effect::Violation(Box::new(violation)), THEN);
    metrics.verdict("approved-provider", "violates", 1);
    metrics.committed("watch", Duration::from_millis(8));
    metrics.restored("watch", Duration::from_millis(8));
    metrics.role_failed("watch");
    metrics.partitions_waiting(0, 1);
    metrics.mail_sent(THEN, THEN);
    metrics.state(0, &StateSize { series: 1, open_alerts: 1, open_violations: 1, resources: 1, undetermined: 1, set_aside: 1 });
    metrics.slowest_watermark(Some(THEN), THEN);
    metrics.resident_memory(1);
    metrics.dead_letter_ratio(0, 0.1);
    metrics.lag("tollgate-watch", "tollgate-shard-repartition", 0, 3, Duration::from_secs(1));
    metrics.watermark("watch", "tollgate-shard-repartition", 0, Some(THEN), THEN);
    metrics.restoring("watch", "tollgate-watch-changelog", 0, 1, 2);
    metrics.rebalanced("watch", 0, Rebalanced::Assigned, 1);
    metrics.without_owner("watch", "acme-tollgate-shard-repartition", 0);
    metrics.producer_rebuilt("watch");
    metrics.transaction("watch", TransactionEnd::Committed);
    metrics.spent("watch", 0, &Spent::default());
    metrics.trimmed("tollgate-shard-repartition", 1);
    metrics.restored_from(RestoredFrom::Copy);
    metrics.copies(1, 0, 4_096);
    metrics.page()
}

/// Names as they stand on the page, each with something to show.
pub fn metric_names() -> BTreeSet<String> {
    let page = full_page();
    let mut names = BTreeSet::new();
    for line in page.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else { continue };
        names.insert(if kind == "counter" { format!("{name}_total") } else { name.to_string() });
    }
    names
}

#[test]
fn every_metric_has_its_row() {
    let written: BTreeSet<String> = first_names(&rows("### Metrics"));
    assert_eq!(written, metric_names());
    // A metric with labels is on the page only once it has a value: none may hide from the test above.
    let source = include_str!("../src/metrics/mod.rs");
    let live = source.split("#[cfg(test)]").next().unwrap();
    let is_name = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let registered =
        live.split("(r, \"").skip(1).chain(live.split("r,\n                \"").skip(1)).filter_map(|rest| rest.split('"').next());
    for name in registered.filter(is_name) {
        assert!(written.iter().any(|row| row.starts_with(&format!("tollgate_{name}"))), "'{name}' has no row");
    }
}

#[test]
fn fields_of_alerts_exist() {
    let schema: serde_json::Value = serde_json::from_str(wire::schema(SchemaName::Alert).text).unwrap();
    let fields: BTreeSet<&str> = schema["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    let python = blocks(README, "python").concat();
    let used: Vec<&str> = python.split("alert[\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(used.len() >= 5, "{used:?}");
    let told = first_names(&rows("## Subscribe to alerts"));
    for field in used.into_iter().chain(told.iter().map(String::as_str)) {
        assert!(fields.contains(field), "schemas/alert.avsc has no '{field}'");
    }
    assert!(python.contains("read_committed"));
}

/// Paths and pictures that the README points to are there.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let pictures = README.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let headings: BTreeSet<String> = README
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(',', "").replace(' ', "-"))
        .collect();
    for target in targets.chain(pictures) {
        match target.strip_prefix('#') {
            Some(anchor) => assert!(headings.contains(anchor), "no heading for #{anchor}"),
            None => assert!(root.join(target).exists(), "{target} is not there"),
        }
    }
}

#[test]
fn topics_of_the_table_are_those_that_are_created() {
    let written = first_names(&rows("### Topics"));
    let names = tollgate::kafka::topics::TopicNames::new("", "tollgate");
    let sizes = tollgate::cli::assemble::topic_plans(&load("", Vec::new()).settings);
    let planned: BTreeSet<String> = sizes.into_iter().map(|plan| plan.name).collect();
    assert_eq!(written, planned);
    assert!(planned.contains(&names.shard_log));
}

/// The variables of the compose file, exactly as they stand there, over the file of the image.
#[test]
fn the_compose_file_sets_options_that_exist() {
    let lines = COMPOSE.lines().map(str::trim).filter(|line| line.starts_with("TOLLGATE_"));
    // The image has the folder `config` there.
    let here = |value: &str| value.trim_matches('"').replace("/etc/tollgate", concat!(env!("CARGO_MANIFEST_DIR"), "/config"));
    let variables: Vec<(&str, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name, here(value))).collect();
    assert!(variables.len() >= 6, "{variables:#?}");
    let mut check = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    check.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    check.args(["check", "--offline", "--config"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tollgate.toml"));
    let ended = check.output().unwrap();
    let report = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && report.contains("everything is fine"), "{report}");

    let owned = variables.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
    let settings = load(config::DEFAULTS, owned).settings;
    assert_eq!(settings.kafka.bootstrap_servers, "kafka:9092");
    assert!(settings.mail.is_some() && settings.schemas.registry_url.is_some() && !settings.deliver.fallback.is_empty());
}

/// What the container image and the compose file start.
#[test]
fn commands_of_the_containers_parse() {
    let dockerfile = include_str!("../Dockerfile").lines().filter_map(|line| line.strip_prefix("CMD "));
    let compose = COMPOSE.lines().filter_map(|line| line.trim().strip_prefix("command: "));
    let lists: Vec<Vec<String>> = dockerfile.chain(compose).map(|list| serde_json::from_str(list).unwrap()).collect();
    assert!(lists.len() >= 2, "{lists:?}");
    for words in lists {
        let command = std::iter::once("tollgate").chain(words.iter().map(String::as_str));
        assert!(Arguments::try_parse_from(command).is_ok(), "{words:?}");
    }
}
