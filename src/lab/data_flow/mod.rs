//! Lineage on files: events in, the map of which data feeds which model and where it answers, judged by the policies.

pub mod live;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::Problem;
use crate::config::policies::PolicyFolder;
use crate::config::prices::TOKENS;
use crate::config::problem::Place;
use crate::intake::decode::table::WriterSchemas;
use crate::intake::rules::IntakeRules;
use crate::intake::whole::{self, Topic, WholeOutcome};
use crate::intake::{self, Batch, Outcome, PartitionState, SchemaTable, lineage};
use crate::lab::read::{self as events, Rejected, names_a_schema};
use crate::lineage::map::{Broken, Crossing, DataFlow, EdgeState, Kind};
use crate::lineage::rules::LineageRules;
use crate::lineage::{Lineage, svg};
use crate::model::counted::counted;
use crate::model::leaf::{Leaf, Measure};
use crate::model::lineage::ModelName;
use crate::model::partial::{ShardEvent, Source};
use crate::model::record::{InputRecord, Reject};
use crate::model::time::Timestamp;
use crate::policy::fields::Subject;
use crate::policy::{Decision, Given, Sample};

/// What the files lead to.
#[derive(Default)]
pub struct Found {
    pub map: DataFlow,
    /// Models that are deployed or answer, and that no event knows where from.
    pub unregistered: Vec<ModelName>,
    pub read: u64,
    /// Lines that are no lineage, activity or usage.
    pub other: u64,
    pub rejected: BTreeMap<String, u64>,
    pub first_rejected: Option<Rejected>,
}

/// What everything is judged by.
pub struct Rules<'a> {
    pub intake: &'a IntakeRules,
    pub lineage: &'a LineageRules,
    /// Without any nothing breaks a rule.
    pub policies: Option<&'a PolicyFolder>,
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Line<'a> {
    topic: Option<&'a str>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// What every line is, said where one is not.
const EXPECTED: &str = r#"a line is an event of OpenLineage, or {"topic": "usage-events", "value": {...}}"#;

/// Lines are events of OpenLineage as they are, or `{"topic", "value"}` as for a backtest.
///
/// # Errors
/// The first file that cannot be read.
pub fn run(files: &[PathBuf], rules: &Rules<'_>, team: Option<&str>) -> Result<Found, Problem> {
    let mut reading = Reading::new(rules);
    for file in files {
        events::lines(file, |place, line| reading.take(place, line))?;
    }
    reading.take_answers();
    let Reading { mut graph, read, other, rejected, first_rejected, .. } = reading;
    graph.take_facts();
    Ok(Found { read, other, rejected, first_rejected, ..found(&graph, rules.policies, team, rules.now) })
}

/// The map of a graph; without policies nothing breaks a rule.
fn found(graph: &Lineage, policies: Option<&PolicyFolder>, team: Option<&str>, now: Timestamp) -> Found {
    let map = graph.map(team, now, &|crossing| policies.map(|folder| judge(folder, crossing, now)).unwrap_or_default());
    Found { map, unregistered: graph.unregistered(team), ..Found::default() }
}

/// Whether its `model` is one that answered: of other meters it is a machine's, of the bill a service's.
fn is_answer(leaf: &Leaf) -> bool {
    leaf.measure == Measure::Estimated && *leaf.meter == *TOKENS
}

struct Reading<'a> {
    rules: &'a Rules<'a>,
    graph: Lineage,
    schemas: SchemaTable,
    partition: PartitionState,
    batch: Batch,
    read: u64,
    other: u64,
    rejected: BTreeMap<String, u64>,
    first_rejected: Option<Rejected>,
}

impl<'a> Reading<'a> {
    fn new(rules: &'a Rules<'a>) -> Reading<'a> {
        let mut graph = Lineage::default();
        graph.follow(rules.lineage);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        Reading {
            rules,
            graph,
            schemas: SchemaTable::default(),
            partition: PartitionState::new(source, rules.intake.dedupe_window),
            batch: Batch::default(),
            read: 0,
            other: 0,
            rejected: BTreeMap::new(),
            first_rejected: None,
        }
    }

    fn take(&mut self, place: &Place, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.read += 1;
        let taken = match serde_json::from_slice::<Line<'_>>(line) {
            Ok(Line { topic: Some(topic), value: Some(value) }) => self.take_event(topic, value.get().as_bytes()),
            _ => self
                .take_event("lineage-events", line)
                .map_err(|Reject { reason, message }| Reject::new(reason, format!("{message}; {EXPECTED}"))),
        };
        let Err(Reject { reason, message }) = taken else { return };
        *self.rejected.entry(reason.as_str().to_string()).or_default() += 1;
        let first = || Rejected { place: place.clone(), reason: reason.as_str().to_string(), message };
        self.first_rejected.get_or_insert_with(first);
    }

    fn take_event(&mut self, topic: &str, value: &[u8]) -> Result<(), Reject> {
        let offset = i64::try_from(self.read).unwrap_or(i64::MAX);
        let now = self.rules.now;
        let record = InputRecord { topic, partition: 0, offset, timestamp: now, key: None, value: Some(value), headers: &[] };
        match topic {
            "lineage-events" => {
                let event = lineage::read(&record, now, self.rules.intake)?;
                self.graph.apply(&event);
            }
            "activity-events" => {
                let schemas = WriterSchemas::new(Topic::Activity.table());
                match whole::process(Topic::Activity, &record, now, self.rules.intake, &schemas) {
                    WholeOutcome::Accepted(ShardEvent::Activity(event)) => {
                        self.graph.take_activity(&event);
                        // Here nobody judges who reads what.
                        self.graph.take_uses();
                    }
                    WholeOutcome::Rejected(reject) => return Err(reject),
                    // An activity event is nothing else.
                    WholeOutcome::Accepted(_) | WholeOutcome::NeedsSchema(_) => return Err(names_a_schema()),
                }
            }
            "usage-events" => {
                let outcome = intake::process(&record, now, self.rules.intake, &self.schemas, &mut self.partition, &mut self.batch);
                if self.batch.is_full() {
                    self.take_answers();
                }
                match outcome {
                    Outcome::Combined | Outcome::Duplicate => {}
                    Outcome::Rejected(reject) => return Err(reject),
                    Outcome::NeedsSchema(_) => return Err(names_a_schema()),
                }
            }
            _ => self.other += 1,
        }
        Ok(())
    }

    /// Where models answer, out of the usage that was summed so far.
    fn take_answers(&mut self) {
        self.batch.take_counts();
        for partial in self.batch.drain_into_shards(1).into_values().flatten() {
            let leaf = &partial.leaf;
            if !is_answer(leaf) {
                continue;
            }
            self.graph.take_answer(&leaf.model, &leaf.region, &leaf.provider, &leaf.team, partial.last_event_time);
        }
    }
}

/// What the policies say of a model's data from one origin being used in a region: as of a deployment there.
fn judge(folder: &PolicyFolder, crossing: &Crossing<'_>, at: Timestamp) -> Vec<Broken> {
    let mut sample = Sample::new(Subject::Activity);
    let origin = crossing.origin.map(AsRef::as_ref);
    let texts = [
        ("action", Some("deployment")),
        ("team", Some(&**crossing.team)),
        ("model", Some(&*crossing.model.model)),
        ("model_version", crossing.model.version.as_deref()),
        ("region", crossing.region.map(AsRef::as_ref)),
        ("provider", crossing.provider.map(AsRef::as_ref)),
        ("environment", crossing.environment.map(AsRef::as_ref)),
        ("resource_id", crossing.resource_id.map(AsRef::as_ref)),
        ("approval", crossing.approval.map(AsRef::as_ref)),
        ("approval_basis", crossing.basis.map(AsRef::as_ref)),
        // What nobody knows is a state of its own on the map.
        ("lineage", Some(crossing.lineage).filter(|lineage| *lineage != "unknown")),
        ("origin_region", origin),
    ];
    for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        let set = sample.set(name, Given::Text(text.to_string()));
        assert!(set.is_ok(), "'{name}' is a text of activity");
    }
    sample.locate(&folder.regions);
    let advice = folder.policies.advise(&sample, &folder.regions, &[], at);
    let broken = advice.reasons.into_iter().filter(|reason| reason.decision > Decision::Allow && reason.exempt.is_none());
    broken
        .map(|reason| {
            let message = match (reason.is_unknown, reason.missing.is_empty()) {
                (false, _) => reason.message,
                (true, false) => format!("cannot be told: nobody says {}", reason.missing.join(", ")),
                (true, true) => "cannot be told: a tag that it asks for is not there".to_string(),
            };
            Broken { policy: reason.policy.to_string(), message, is_certain: !reason.is_unknown }
        })
        .collect()
}

impl Found {
    /// There was something, and nothing of it could be used.
    pub fn is_unusable(&self) -> bool {
        self.read > 0 && self.rejected.values().sum::<u64>() == self.read
    }

    pub fn json(&self) -> serde_json::Value {
        let unregistered: Vec<String> = self.unregistered.iter().map(ToString::to_string).collect();
        let mut events = serde_json::json!({"read": self.read, "other_topics": self.other, "rejected": self.rejected});
        if let Some(first) = &self.first_rejected {
            events["first_rejected"] = first.json();
        }
        serde_json::json!({
            "nodes": self.map.nodes, "edges": self.map.edges, "unregistered_models": unregistered, "events": events,
        })
    }

    pub fn svg(&self, team: Option<&str>) -> String {
        svg(&self.map, &team.map_or_else(|| "Where data goes".to_string(), |team| format!("Where data goes: team {team}")))
    }

    /// What breaks a rule first, then each model with where its data comes from and where it answers.
    pub fn text(&self) -> String {
        let name = |node: usize| self.map.nodes.get(node).map(|node| node.name.as_str()).unwrap_or_default();
        let mut lines = Vec::new();
        for edge in self.map.edges.iter().filter(|edge| edge.state == EdgeState::Breaks) {
            let teams: Vec<&str> = edge.teams.iter().map(String::as_str).collect();
            lines.push(format!("BREAKS A RULE  {} in {} (team {})", name(edge.from), name(edge.to), teams.join(", ")));
            for broken in edge.broken.iter().filter(|broken| broken.is_certain) {
                lines.push(format!("  {}: {}", broken.policy, broken.message));
            }
            lines.push(format!("  by way of: {}", edge.way.join(" > ")));
        }
        if !lines.is_empty() {
            lines.push(String::new());
        }
        for model in self.map.nodes.iter().filter(|node| node.kind == Kind::Model) {
            lines.push(model.name.clone());
            let origins = match (model.origins.is_empty(), model.is_unknown) {
                (false, false) => model.origins.join(", "),
                (false, true) => format!("{}, and from where nobody knows", model.origins.join(", ")),
                (true, true) => "nobody knows".to_string(),
                (true, false) => "nowhere: a step lets nothing pass".to_string(),
            };
            lines.push(format!("  data from   {origins}"));
            let answers = self.map.edges.iter().filter(|edge| edge.from == model.id);
            let regions: Vec<&str> = answers
                .filter(|edge| self.map.nodes.get(edge.to).is_some_and(|node| node.kind == Kind::Region))
                .map(|edge| name(edge.to))
                .collect();
            lines.push(format!("  answers in  {}", if regions.is_empty() { "nowhere yet".to_string() } else { regions.join(", ") }));
        }
        for model in &self.unregistered {
            lines.push(format!("NOT REGISTERED  {model}: it is used, and no event says what it was made of"));
        }
        let of = |kind: Kind| self.map.nodes.iter().filter(|node| node.kind == kind).count();
        lines.push(String::new());
        lines.push(format!(
            "{}, {}, {}{}",
            counted(of(Kind::Dataset), "dataset"),
            counted(of(Kind::Job), "job"),
            counted(of(Kind::Model), "model"),
            read(self.read, &self.rejected)
        ));
        lines.extend(self.first_rejected.iter().map(|first| format!("the first that is rejected: {first}")));
        lines.join("\n") + "\n"
    }
}

/// Of files alone.
fn read(lines: u64, rejected: &BTreeMap<String, u64>) -> String {
    if lines == 0 {
        return String::new();
    }
    let reasons: Vec<String> = rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("; {} read, {} rejected{reasons}", counted(lines, "line"), rejected.values().sum::<u64>())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::config::load_text;
    use crate::model::money::Currency;

    #[test]
    fn where_no_line_can_be_used_the_first_is_shown_with_what_is_expected() {
        let loaded = load_text("t.toml", "version = 1\n", Path::new(""), std::iter::empty()).unwrap();
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let rules = Rules { intake: &loaded.intake, lineage: &loaded.lineage, policies: None, now };
        let found = |lines: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            run(&[file.path().to_path_buf()], &rules, None).unwrap()
        };
        for (line, said) in [
            ("team,model,cost", "unknown_format: no JSON object: OpenLineage events are JSON; a line is an event of OpenLineage, or"),
            (r#"{"topic":"usage-events","value":{"source":"s"}}"#, "missing_field: "),
        ] {
            let found = found(&format!("\n{line}\n{line}\n"));
            assert!(found.is_unusable(), "{line}");
            let text = found.text();
            assert!(text.lines().last().is_some_and(|last| last.contains(&format!(":2: {said}"))), "{text}");
            assert_eq!(found.json()["events"]["first_rejected"]["line"], 2);
        }
        let found = found("{\n{\"topic\":\"feedback\",\"value\":{}}\n");
        assert!(!found.is_unusable() && found.first_rejected.is_some(), "one is of another topic");
    }

    #[test]
    fn machines_and_services_are_no_models_that_answer() {
        let loaded = load_text("t.toml", "version = 1\n", Path::new(""), std::iter::empty()).unwrap();
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let rules = Rules { intake: &loaded.intake, lineage: &loaded.lineage, policies: None, now };
        let mut reading = Reading::new(&rules);
        for (id, meter, model, quantity) in
            [("1", "llm.tokens", "gpt-4o", r#""input_tokens":10"#), ("2", "gpu.seconds", "p5.48xlarge", r#""quantity":60"#)]
        {
            reading.take(
                &Place::whole("x"),
                format!(
                    r#"{{"topic":"usage-events","value":{{"event_id":"{id}","source":"s","event_time":"2026-03-01T11:59:00Z","team":"ads",
                    "meter":"{meter}","model":"{model}","provider":"aws","region":"eu-central-1",{quantity}}}}}"#
                )
                .as_bytes(),
            );
        }
        reading.take_answers();
        assert!(reading.rejected.is_empty(), "{:?}", reading.rejected);
        let names: Vec<String> = reading.graph.unregistered(None).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["gpt-4o"]);
        // A service is named by the bill, with the meter of its usage.
        let leaf = |measure| Leaf {
            team: "ads".into(),
            project: "".into(),
            model: "Amazon Bedrock".into(),
            provider: "aws".into(),
            region: "eu-central-1".into(),
            environment: "".into(),
            meter: TOKENS.into(),
            currency: Currency::USD,
            measure,
        };
        assert!(is_answer(&leaf(Measure::Estimated)) && !is_answer(&leaf(Measure::Billed)));
    }
}
