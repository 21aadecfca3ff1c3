//! The input log of a run: teams that spend, duplicates, broken records, late ones, refunds, wild hours; and what all of it comes to.

use std::collections::{BTreeMap, BTreeSet};

use super::broker::Broker;
use super::dice::Dice;
use super::log::ProducerId;
use crate::kafka::link::{OwnedRecord, Partition};
use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};

const TEAMS: [&str; 4] = ["search", "ads", "ml", "ops"];
const PROJECTS: [&str; 2] = ["ranker", "crawler"];
const FEEDER: &str = "feeder";

/// Team, project, model and hour.
pub type Cell = (String, String, String, i64);

/// What was spent in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub cost: i128,
    pub events: u64,
    pub requests: u64,
    pub tokens: u64,
}

impl Sums {
    pub fn add(&mut self, other: Sums) {
        self.cost += other.cost;
        self.events += other.events;
        self.requests += other.requests;
        self.tokens += other.tokens;
    }
}

#[derive(Clone, Debug)]
enum Fed {
    Event { id: u64, cell: Cell, sums: Sums, text: String },
    Broken,
}

/// What was written where.
pub struct Input {
    topic: String,
    /// In offsets, as intake's rules have it.
    window: i64,
    fed: BTreeMap<(i32, i64), Fed>,
    producer: ProducerId,
    ids: u64,
    began_ms: i64,
}

/// What the whole input comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub cells: BTreeMap<Cell, Sums>,
    /// Partition and offset of each record that has to be in dead-letter.
    pub broken: BTreeSet<(i32, i64)>,
}

impl Input {
    pub fn new(broker: &mut Broker, topic: &str, window: u64) -> Input {
        let producer = broker.init(FEEDER);
        let window = i64::try_from(window).unwrap();
        Input { topic: topic.to_string(), window, fed: BTreeMap::new(), producer, ids: 0, began_ms: broker.wall_ms }
    }

    /// Some records of around now, on all partitions; some of them in transactions, of which some abort.
    pub fn feed(&mut self, broker: &mut Broker, count: usize) {
        for partition in broker.partitions(&self.topic) {
            let count = broker.dice.roll(count + 1);
            let producer = broker.dice.chance(150).then_some(self.producer);
            if let Some(producer) = producer {
                broker.add_partition(FEEDER, producer, &partition).unwrap();
            }
            for _ in 0..count {
                self.feed_one(broker, &partition, producer);
            }
            if let Some(producer) = producer {
                let commit = broker.dice.chance(700);
                broker.end(FEEDER, producer, commit).unwrap();
            }
        }
    }

    fn feed_one(&mut self, broker: &mut Broker, partition: &Partition, producer: Option<ProducerId>) {
        let now = broker.wall_ms;
        let known = self.earlier(&mut broker.dice, partition.partition);
        let fed = known.unwrap_or_else(|| self.invent(&mut broker.dice, now));
        let value = match &fed {
            Fed::Event { text, .. } => text.clone().into_bytes(),
            Fed::Broken => broken(&mut broker.dice),
        };
        let record = OwnedRecord { value: Some(value), ..OwnedRecord::default() };
        let offset = broker.append(partition, record, producer).unwrap();
        self.fed.insert((partition.partition, offset), fed);
    }

    /// A record of this partition once more: a producer that retries, or an event that comes again long after.
    fn earlier(&self, dice: &mut Dice, partition: i32) -> Option<Fed> {
        if !dice.chance(120) {
            return None;
        }
        let before: Vec<&Fed> =
            self.fed.range((partition, 0)..(partition + 1, 0)).rev().take(1 + dice.roll(60)).map(|(_, fed)| fed).collect();
        dice.pick(&before).map(|fed| (*fed).clone())
    }

    fn invent(&mut self, dice: &mut Dice, now: i64) -> Fed {
        if dice.chance(40) {
            return Fed::Broken;
        }
        self.ids += 1;
        let (team, project) = (TEAMS[dice.roll(TEAMS.len())], PROJECTS[dice.roll(PROJECTS.len())]);
        let model = if dice.chance(100) { "gpt-5" } else { "gpt-4o" };
        let age = match dice.roll(100) {
            // Long before the first hour that was closed there is nothing to be late for, only many empty hours to close.
            95..98 if now - self.began_ms > 4 * HOUR_MS => dice.between(0, 20 * HOUR_MS),
            98.. if now - self.began_ms > 4 * HOUR_MS => dice.between(45 * HOUR_MS, 60 * HOUR_MS),
            80.. => dice.between(0, 90 * MINUTE_MS),
            _ => dice.between(0, MINUTE_MS),
        };
        let time = Timestamp(now - age);
        let cost: i128 = match dice.roll(100) {
            0..90 => dice.between(100_000_000, 2_000_000_000),
            90..94 => -dice.between(1, 1_000_000_000),
            94..98 => dice.between(1, 999),
            _ => dice.between(30_000_000_000, 900_000_000_000),
        }
        .into();
        let (requests, tokens) = (dice.roll(5) as u64, dice.roll(3_000) as u64);
        let amount = format!("{}{}.{:09}", if cost < 0 { "-" } else { "" }, cost.abs() / 1_000_000_000, cost.abs() % 1_000_000_000);
        let id = self.ids;
        let text = format!(
            r#"{{"event_id":"e{id}","source":"gateway","event_time":"{time}","meter":"llm.tokens","team":"{team}","project":"{project}","model":"{model}","provider":"openai","user":"u{}","cost":"{amount}","currency":"USD","requests":{requests},"input_tokens":{tokens}}}"#,
            id % 7
        );
        let cell = (team.to_string(), project.to_string(), model.to_string(), time.hour().0);
        Fed::Event { id, cell, sums: Sums { cost, events: 1, requests, tokens }, text }
    }

    /// By the definitions and from the committed records alone: an event counts unless its id stands within the window before it.
    pub fn expected(&self, broker: &Broker) -> Expected {
        let mut expected = Expected::default();
        for partition in broker.partitions(&self.topic) {
            let mut last: BTreeMap<u64, i64> = BTreeMap::new();
            for record in broker.log(&partition).committed() {
                match &self.fed[&(partition.partition, record.offset)] {
                    Fed::Broken => {
                        expected.broken.insert((partition.partition, record.offset));
                    }
                    Fed::Event { id, cell, sums, .. } => {
                        let before = last.insert(*id, record.offset);
                        if before.is_none_or(|before| record.offset - before > self.window) {
                            expected.cells.entry(cell.clone()).or_default().add(*sums);
                        }
                    }
                }
            }
        }
        expected
    }
}

fn broken(dice: &mut Dice) -> Vec<u8> {
    let all = [
        "not even json",
        r#"{"event_id":"b","source":"s"}"#,
        r#"{"event_id":"b","source":"s","event_time":"2199-01-01T00:00:00Z"}"#,
        r#"{"event_id":"b","source":"s","event_time":"2026-03-01T10:00:00Z","cost":"1","currency":"nope"}"#,
    ];
    dice.pick(&all).copied().unwrap_or_default().as_bytes().to_vec()
}
