//! What a reset does, step by step: looked up, shown, and then done.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::plan::{self, Place, Repair, Target};
use super::told;
use crate::cli::assemble;
use crate::clock;
use crate::config::Loaded;
use crate::intake;
use crate::intake::state::Stored;
use crate::kafka::client::Connection;
use crate::kafka::identity::Inspector;
use crate::kafka::link::Partition;
use crate::kafka::scan::Scanner;
use crate::kafka::topics::{TopicNames, TopicPlan};
use crate::kafka::transfer::{GroupOffset, Parcel, Transfer};
use crate::kafka::{groups, recreate, topics};
use crate::model::time::Hour;
use crate::runtime::whole;
use crate::watch;

const COMMAND: &str = "reset";
const INTAKE: &str = "intake";
const WATCH: &str = "watch";
const DELIVER: &str = "deliver";
/// Delivers too, of a topic of its own.
const VIOLATIONS: &str = "deliver-violations";
/// Read what watch is told of beside usage, and remember nothing: they go where intake goes.
const WHOLE: [&str; 3] = [whole::NAMES[0], whole::NAMES[1], whole::NAMES[2]];
/// Keep what they know, and tell watch what is new.
const KEEPERS: [&str; 2] = ["ledger", "lineage"];
/// Records of one transaction; each has half a megabyte at most.
const TOLD_AT_ONCE: usize = 50;
/// Beyond the session timeout: the coordinator looks in its own time.
const GRACE: Duration = Duration::from_secs(5);

/// Which state and which offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Intake, the other inputs and watch from a point of the input; with `everything` also who was told.
    Anew {
        everything: bool,
    },
    Intake,
    Watch,
    Deliver,
    Repair {
        intake: bool,
        watch: bool,
        skip_lost: bool,
    },
}

impl Scope {
    /// Whose groups must have no members.
    fn roles(self) -> Vec<&'static str> {
        match self {
            Scope::Anew { everything } => {
                let deliver = everything.then_some([DELIVER, VIOLATIONS]).into_iter().flatten();
                [INTAKE, WATCH].into_iter().chain(deliver).chain(WHOLE).chain(KEEPERS).collect()
            }
            Scope::Intake => vec![INTAKE],
            Scope::Watch => vec![WATCH],
            Scope::Deliver => vec![DELIVER, VIOLATIONS],
            Scope::Repair { intake, watch, .. } => {
                [(intake, INTAKE), (watch, WATCH)].into_iter().filter(|(is, _)| *is).map(|(_, role)| role).collect()
            }
        }
    }
}

pub struct Steps {
    connection: Connection,
    names: TopicNames,
    plans: Vec<TopicPlan>,
    replication_factor: i32,
    scope: Scope,
    scanner: Scanner,
    partition_counts: BTreeMap<String, i32>,
    /// Of the usage topic; `None` where it cannot be had.
    input_id: Option<String>,
    moves: Vec<Move>,
    /// Topics that are deleted and created anew.
    emptied: Vec<String>,
    /// Groups that are forgotten.
    forgotten: Vec<&'static str>,
    /// What the new shards are told of the bill and of lineage, before intake's offsets are set.
    told: Vec<Parcel>,
    billed_hours: usize,
}

/// One partition of one group.
struct Move {
    role: &'static str,
    partition: Partition,
    from: Option<i64>,
    to: i64,
    /// Intake's own key, written with the offset.
    key: Option<Parcel>,
    note: &'static str,
}

impl Steps {
    /// # Errors
    /// No broker answers.
    pub fn new(loaded: &Loaded, scope: Scope) -> Result<Steps> {
        let connection = assemble::connection(&loaded.settings);
        let names = assemble::topic_names(&loaded.settings);
        Ok(Steps {
            input_id: Inspector::new(&connection)?.topic_id(&names.usage_events).ok(),
            names,
            plans: assemble::topic_plans(&loaded.settings),
            replication_factor: loaded.settings.kafka.replication_factor,
            scope,
            scanner: Scanner::new(&connection)?,
            partition_counts: topics::partition_counts(&connection)?,
            connection,
            moves: Vec::new(),
            emptied: Vec::new(),
            forgotten: Vec::new(),
            told: Vec::new(),
            billed_hours: 0,
        })
    }

    /// Who is still in the groups, as problems; none = nobody, or `force`.
    ///
    /// # Errors
    /// No broker answers.
    pub fn members(&self, wait: bool, force: bool) -> Result<Vec<String>> {
        let patience = Duration::from_millis(u64::from(self.connection.session_timeout_ms)) + GRACE;
        let started = clock::Stopwatch::start();
        loop {
            let mut problems = Vec::new();
            for role in self.scope.roles() {
                for member in groups::members(&self.connection, role)? {
                    problems.push(format!(
                        "group '{}' has a member: {} at {}",
                        groups::name(&self.connection, role),
                        member.client_id,
                        member.host
                    ));
                }
            }
            if force || problems.is_empty() {
                return Ok(Vec::new());
            }
            if !wait || started.elapsed() > patience {
                problems.push(format!(
                    "stop tollgate first. A process that was killed is a member for kafka.session_timeout ({} s): --wait waits for it, --force goes on regardless",
                    self.connection.session_timeout_ms / 1000
                ));
                return Ok(problems);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Looks up everything; answers what prevents it.
    ///
    /// # Errors
    /// No broker answers, or a state cannot be read.
    pub fn plan(&mut self, target: Option<Target>) -> Result<Vec<String>> {
        match (self.scope, target) {
            (Scope::Repair { intake, watch, skip_lost }, _) => {
                let mut problems = if intake { self.repair_intake(skip_lost)? } else { Vec::new() };
                if watch {
                    problems.extend(self.repair_watch()?);
                }
                Ok(problems)
            }
            (Scope::Intake, Some(target)) => self.plan_intake(target, false),
            (Scope::Deliver, Some(target)) => self.plan_deliver(target),
            (Scope::Watch, Some(_)) => {
                self.emptied.push(self.names.watch_changelog.clone());
                self.forgotten.push(WATCH);
                Ok(Vec::new())
            }
            (Scope::Anew { everything }, Some(target)) => {
                let names = &self.names;
                self.emptied.extend([&names.shard_log, &names.watch_changelog, &names.intake_changelog].map(Clone::clone));
                self.forgotten.push(WATCH);
                let mut problems = self.plan_intake(target, true)?;
                problems.extend(self.plan_whole(target)?);
                self.tell_anew()?;
                if everything {
                    self.emptied.extend([&self.names.receipts, &self.names.violation_receipts].map(Clone::clone));
                    // What stands there now was decided before; what is decided anew comes behind it.
                    problems.extend(self.plan_deliver(Target::Latest)?);
                }
                Ok(problems)
            }
            (_, None) => Ok(vec!["no target is given".to_string()]),
        }
    }

    fn plan_intake(&mut self, target: Target, anew: bool) -> Result<Vec<String>> {
        let partitions = self.partitions(&self.names.usage_events.clone())?;
        let keys = self.intake_keys()?;
        let mut problems = Vec::new();
        for (partition, mut place) in self.places(INTAKE, partitions, Some(target))? {
            let stored = stored(&keys, &partition)?;
            place.is_recreated = self.is_recreated(stored.as_ref());
            let to = match plan::target(target, &place) {
                Ok(to) => to,
                Err(problem) => {
                    problems.push(format!("{}[{}]: {problem}", partition.topic, partition.partition));
                    continue;
                }
            };
            if let (false, Err(problem)) = (anew, plan::may_intake_move(&place, to)) {
                problems.push(format!("{}[{}]: to {to} {problem}", partition.topic, partition.partition));
                continue;
            }
            // Anew, time begins anew; on the way forward it never goes back.
            let stored = stored.filter(|_| !anew);
            self.moves.push(self.intake_move(partition, place.committed, to, stored.as_ref(), ""));
        }
        if !anew {
            self.moves.retain(|planned| planned.from != Some(planned.to));
        }
        Ok(problems)
    }

    fn plan_whole(&mut self, target: Target) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let topics = [&self.names.resource_events, &self.names.activity_events, &self.names.feedback].map(Clone::clone);
        for (role, topic) in WHOLE.into_iter().zip(topics) {
            problems.extend(self.plan_beside(role, &topic, target)?);
        }
        Ok(problems)
    }

    /// By time, or all, or none: offsets of one topic say nothing of others.
    fn plan_beside(&mut self, role: &'static str, topic: &str, target: Target) -> Result<Vec<String>> {
        let is_of_one = matches!(target, Target::Offset(_) | Target::ShiftBy(_));
        if is_of_one || !self.partition_counts.contains_key(topic) { Ok(Vec::new()) } else { self.plan_group(role, topic, target) }
    }

    fn tell_anew(&mut self) -> Result<()> {
        let (names, oldest) = (self.names.clone(), Hour(clock::now().hour().0 - watch::BILLED_HOURS));
        let shards = self.plans.iter().find(|plan| plan.name == names.shard_log).map_or(1, |plan| plan.partitions);
        for partition in 0..self.partition_counts.get(&names.ledger_changelog).copied().unwrap_or_default() {
            let live = self.live_keys(&names.ledger_changelog, partition)?;
            let (parcels, hours) = told::bill(&live, &names, u32::try_from(shards)?, oldest)?;
            self.told.extend(parcels);
            self.billed_hours += hours;
        }
        let live = self.live_keys(&names.lineage_changelog, 0)?;
        self.told.extend(told::lineage(&live, &names));
        Ok(())
    }

    fn plan_deliver(&mut self, target: Target) -> Result<Vec<String>> {
        let mut problems = self.plan_group(DELIVER, &self.names.alerts.clone(), target)?;
        problems.extend(self.plan_beside(VIOLATIONS, &self.names.governance_violations.clone(), target)?);
        Ok(problems)
    }

    /// Of a role whose offsets are all that is to be moved.
    fn plan_group(&mut self, role: &'static str, topic: &str, target: Target) -> Result<Vec<String>> {
        let partitions = self.partitions(topic)?;
        let mut problems = Vec::new();
        for (partition, place) in self.places(role, partitions, Some(target))? {
            match plan::target(target, &place) {
                Ok(to) if place.committed == Some(to) => {}
                Ok(to) => self.moves.push(Move { role, partition, from: place.committed, to, key: None, note: "" }),
                Err(problem) => problems.push(format!("{}[{}]: {problem}", partition.topic, partition.partition)),
            }
        }
        Ok(problems)
    }

    fn repair_intake(&mut self, skip_lost: bool) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let partitions = self.partitions(&self.names.usage_events.clone())?;
        let keys = self.intake_keys()?;
        for (partition, mut place) in self.places(INTAKE, partitions, None)? {
            let stored = stored(&keys, &partition)?;
            place.is_recreated = self.is_recreated(stored.as_ref());
            let (to, note) = match plan::repair_intake(&place, stored.as_ref().map(|stored| stored.next), skip_lost) {
                Repair::Agrees => continue,
                Repair::Offset(to) => (to, "as intake's own key says"),
                Repair::State(to) => (to, "intake's key is written anew"),
                Repair::Skip(to) => (to, "what lay before is lost"),
                Repair::Cannot(why) => {
                    problems.push(format!("{}[{}]: {why}", partition.topic, partition.partition));
                    continue;
                }
            };
            let planned = self.intake_move(partition, place.committed, to, stored.as_ref(), note);
            self.moves.push(planned);
        }
        Ok(problems)
    }

    fn repair_watch(&mut self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let partitions = self.partitions(&self.names.shard_log.clone())?;
        for (partition, place) in self.places(WATCH, partitions, None)? {
            let position = self.shard_position(partition.partition)?;
            match plan::repair_watch(&place, position) {
                Repair::Agrees | Repair::State(_) | Repair::Skip(_) => {}
                Repair::Offset(to) => {
                    let note = "as the shard's state says";
                    self.moves.push(Move { role: WATCH, partition, from: place.committed, to, key: None, note });
                }
                Repair::Cannot(why) => problems.push(format!("{}[{}]: {why}", partition.topic, partition.partition)),
            }
        }
        Ok(problems)
    }

    fn is_recreated(&self, stored: Option<&intake::state::Stored>) -> bool {
        stored.zip(self.input_id.as_ref()).is_some_and(|(stored, id)| stored.is_of_another(id))
    }

    fn intake_move(&self, partition: Partition, from: Option<i64>, to: i64, stored: Option<&Stored>, note: &'static str) -> Move {
        let topic_id = self.input_id.as_deref().or(stored.map(|stored| stored.topic_id.as_str())).unwrap_or_default();
        let watermark = stored.and_then(|stored| stored.watermark);
        // Offsets of a topic that was created anew mean other records.
        let refused = stored.filter(|stored| stored.next == to).map(|stored| stored.refused.clone()).unwrap_or_default();
        let key = Parcel {
            topic: self.names.intake_changelog.clone(),
            partition: Some(self.changelog_of(partition.partition)),
            key: Some(intake::state::key(&partition.topic, partition.partition)),
            value: Some(intake::state::encode(&Stored { topic_id: topic_id.to_owned(), next: to, watermark, refused })),
            headers: Vec::new(),
        };
        Move { role: INTAKE, partition, from, to, key: Some(key), note }
    }

    fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        let count = self.partition_counts.get(topic).copied();
        let count = count.with_context(|| format!("topic '{topic}' does not exist; `tollgate topics create` creates all topics"))?;
        Ok((0..count).map(|partition| Partition { topic: topic.to_string(), partition }).collect())
    }

    fn places(&self, role: &str, partitions: Vec<Partition>, target: Option<Target>) -> Result<Vec<(Partition, Place)>> {
        let committed = groups::committed(&self.connection, role, &partitions)?;
        let at_time = match target {
            Some(Target::At(time)) => self.scanner.offsets_at(&partitions, time.0)?,
            _ => vec![None; partitions.len()],
        };
        let mut places = Vec::new();
        for ((partition, committed), at_time) in partitions.into_iter().zip(committed).zip(at_time) {
            let bounds = self.scanner.bounds(&partition)?;
            places
                .push((partition, Place { bounds, committed: committed.map(|committed| committed.offset), at_time, is_recreated: false }));
        }
        Ok(places)
    }

    /// All of them, whichever partition of the changelog they stand in.
    fn intake_keys(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let topic = &self.names.intake_changelog;
        let mut keys = BTreeMap::new();
        for partition in 0..self.partition_counts.get(topic).copied().unwrap_or_default() {
            keys.extend(self.live_keys(topic, partition)?);
        }
        Ok(keys)
    }

    /// Where the key of an input partition stands: input and changelog have as many partitions, or the changelog has fewer.
    fn changelog_of(&self, partition: i32) -> i32 {
        let topic = &self.names.intake_changelog;
        let planned = self.plans.iter().find(|plan| plan.name == *topic && self.emptied.contains(topic)).map(|plan| plan.partitions);
        intake::state::changelog_partition(partition, planned.or(self.partition_counts.get(topic).copied()).unwrap_or(1))
    }

    /// Empty where the topic does not exist.
    fn live_keys(&self, topic: &str, partition: i32) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut live = BTreeMap::new();
        if !self.partition_counts.contains_key(topic) {
            return Ok(live);
        }
        let partition = Partition { topic: topic.to_string(), partition };
        let bounds = self.scanner.bounds(&partition)?;
        self.scanner.scan(&partition, bounds.low, bounds.high, |message| {
            let key = message.key.unwrap_or_default().to_vec();
            match message.value {
                Some(value) => live.insert(key, value.to_vec()),
                None => live.remove(&key),
            };
            Ok(true)
        })?;
        Ok(live)
    }

    /// Where the state of a shard was written; `None` = it has none.
    fn shard_position(&self, shard: i32) -> Result<Option<i64>> {
        let live = self.live_keys(&self.names.watch_changelog, shard)?;
        let Some(header) = live.get(&watch::state::encode_key(&watch::state::StateKey::Header)) else { return Ok(None) };
        let place = || format!("cannot read the header of shard {shard} in '{}'", self.names.watch_changelog);
        let header: watch::Header = watch::state::header(header).with_context(place)?;
        Ok(Some(header.position))
    }

    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.emptied.is_empty() && self.forgotten.is_empty()
    }

    /// What is shown before anybody is asked.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for planned in &self.moves {
            let Move { role, partition, from, to, note, .. } = planned;
            let from = from.map_or("nothing".to_string(), |from| from.to_string());
            let of = format!("{}[{}]", partition.topic, partition.partition);
            out.push_str(&format!("{role:<8} {of:<40} {from:>12} -> {to} {note}\n"));
        }
        for topic in &self.emptied {
            out.push_str(&format!("emptied  {topic}\n"));
        }
        for role in &self.forgotten {
            let group = groups::name(&self.connection, role);
            out.push_str(&format!("offsets  of group '{group}' are deleted: it starts at the beginning\n"));
        }
        match self.scope {
            Scope::Anew { .. } => out.push_str(&format!(
                "\nEvery hour is computed anew from there; what lies before is forgotten. Alerts and roll-ups of these hours are written again, under\nthe ids that they have. Inputs and outputs stay.\nThe bill and the lineage graph stay, and are told to the new shards: {} billed hours of leaves.\n",
                self.billed_hours
            )),
            Scope::Watch => out.push_str(
                "\nBaselines and open alerts are learnt anew from what the shard log still holds. What was billed, granted or answered before it begins\nis lost to watch: where that counts, compute all anew (--to-earliest without --only).\n",
            ),
            Scope::Intake | Scope::Deliver | Scope::Repair { .. } => {}
        }
        out
    }

    /// In an order in which a half done reset is refused by `tollgate run` (a topic is missing) and completed by a second one.
    ///
    /// # Errors
    /// The broker refuses, or does not answer.
    pub fn execute(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the Kafka admin client")?;
        for role in &self.forgotten {
            runtime.block_on(groups::delete(&self.connection, role))?;
        }
        let plans: Vec<TopicPlan> = self.plans.iter().filter(|plan| self.emptied.contains(&plan.name)).cloned().collect();
        if !plans.is_empty() {
            runtime.block_on(recreate::recreate(&self.connection, &plans, self.replication_factor))?;
        }
        for role in WHOLE.into_iter().chain([INTAKE, WATCH, DELIVER, VIOLATIONS]) {
            let moves: Vec<&Move> = self.moves.iter().filter(|planned| planned.role == role).collect();
            if moves.is_empty() {
                continue;
            }
            let offset =
                |planned: &&Move| GroupOffset { partition: planned.partition.clone(), offset: planned.to, metadata: String::new() };
            let offsets: Vec<GroupOffset> = moves.iter().map(offset).collect();
            let keys: Vec<Parcel> = moves.iter().filter_map(|planned| planned.key.clone()).collect();
            let transfer = Transfer::start(&self.connection, role, COMMAND)?;
            // In small transactions: a bill can be large. Half of it is no harm, as nothing runs before intake's keys are there.
            for parcels in self.told.chunks(TOLD_AT_ONCE).filter(|_| role == INTAKE) {
                transfer.commit(parcels, &[]).context("cannot tell the new shards of the bill and of lineage")?;
            }
            transfer.commit(&keys, &offsets).with_context(|| format!("cannot set the offsets of {role}"))?;
        }
        Ok(())
    }
}

fn stored(keys: &BTreeMap<Vec<u8>, Vec<u8>>, partition: &Partition) -> Result<Option<intake::state::Stored>> {
    let Some(value) = keys.get(&intake::state::key(&partition.topic, partition.partition)) else { return Ok(None) };
    let place = || format!("intake's key of {}[{}]", partition.topic, partition.partition);
    Ok(Some(intake::state::decode(value).with_context(place)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_of_violations_goes_where_alerts_go() {
        assert_eq!(Scope::Deliver.roles(), [DELIVER, VIOLATIONS]);
        assert!(Scope::Anew { everything: true }.roles().contains(&VIOLATIONS));
        assert!(!Scope::Anew { everything: false }.roles().contains(&VIOLATIONS));
    }
}
