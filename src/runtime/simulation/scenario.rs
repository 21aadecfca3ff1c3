//! One run: hours of input under faults, then a cluster on a good day until everything is done, then the oracle.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::broker::Broker;
use super::input::Input;
use super::link::Faults;
use super::oracle::Oracle;
use super::seam;
use super::world::{INPUTS, SHARDS, World};
use crate::health::HealthBoard;
use crate::intake::rules::{IntakeRules, PriceBook};
use crate::kafka::client::Connection;
use crate::kafka::link::Committed;
use crate::kafka::topics::TopicNames;
use crate::metrics::Metrics;
use crate::model::money::{Currency, Nanos};
use crate::model::time::{HOUR_MS, MINUTE_MS};
use crate::model::wire::OutputForm;
use crate::runtime::caretaker::Care;
use crate::runtime::{Delivery, Setup, encode, schemas};
use crate::watch::rules::{Thresholds, WatchRules};

/// 2026-03-02T00:00:00Z.
const START_MS: i64 = 1_772_409_600_000;
const PROCESSES: usize = 3;

/// What a run had to show: what happened how often, and what was wrong.
pub struct Report {
    pub counts: BTreeMap<&'static str, u64>,
    pub complaints: Vec<String>,
    pub trace: String,
}

fn watch_rules(revision: u64) -> WatchRules {
    WatchRules {
        revision,
        lateness_ms: 5 * MINUTE_MS,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        series_per_team: 1_000,
        teams_per_shard: 1_000_000,
        defaults: Thresholds {
            alerts_per_team_month: 4.0,
            least_ratio: if revision == 1 { 1.5 } else { 2.5 },
            least_excess: Nanos::from_units(if revision == 1 { 10 } else { 40 }),
            runaway_floor: Nanos::from_units(if revision == 1 { 25 } else { 300 }),
            runaway_factor: 3.0,
            quiet_hours_to_close: 2,
            update_growth: 1.5,
            refractory_hours: 3,
            wait_below_team_hours: 0.0,
        },
        overrides: Vec::new(),
        teams: Vec::new(),
        policies: std::sync::Arc::default(),
        data_origins: Vec::new(),
        lineage_grace_ms: 60 * MINUTE_MS,
        matters: Default::default(),
    }
}

fn intake_rules(window: u64) -> IntakeRules {
    IntakeRules {
        revision: 1,
        allowed_skew_ms: 300_000,
        out_of_orderness_ms: MINUTE_MS,
        dedupe_window: window,
        largest_record: 1_000_000,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        attribution: Vec::new(),
        sources: Vec::new(),
        prices: PriceBook::default(),
        policies: std::sync::Arc::default(),
    }
}

/// One for each process. They live as long as the test: workers borrow them, and chance has them outlive each other in any order.
pub fn setups() -> &'static [Setup] {
    let setup = |_| Setup {
        connection: Connection { application_id: "app".to_string(), ..Connection::default() },
        topics: TopicNames::new("", "app"),
        shard_count: SHARDS,
        delivery: Delivery::ExactlyOnce,
        commit_interval: Duration::from_millis(100),
        intake_rules: ArcSwap::from_pointee(intake_rules(1)),
        watch_rules: ArcSwap::from_pointee(watch_rules(1)),
        lineage_rules: ArcSwap::default(),
        schemas: schemas::Source::default(),
        dead_letter_ratio: 1.0,
        dead_letter_sample: 1_000,
        output: encode::Output {
            form: OutputForm::Json,
            source: "/tollgate".to_string(),
            alert_schema: 0,
            rollup_schema: 0,
            violation_schema: 0,
            largest_record: 1_000_000,
        },
        most_shard_lag: i64::MAX,
        care: Care::default(),
        copies: None,
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(HealthBoard::default()),
    };
    Box::leak((0..PROCESSES).map(setup).collect::<Vec<Setup>>().into_boxed_slice())
}

struct Run {
    world: Rc<World>,
    input: Input,
    complaints: Vec<String>,
}

/// Whether anything goes wrong at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    Foul,
    /// Every commit takes longer than the time between two ticks.
    Slow,
}

pub fn run(seed: u64, setups: &'static [Setup], weather: Weather, is_traced: bool) -> Report {
    let mut run = Run::begin(seed, setups, weather, is_traced);
    let processes = 1 + run.world.broker.borrow_mut().dice.roll(PROCESSES);
    (0..processes).for_each(|instance| run.world.add(instance));
    run.under_faults();
    run.on_a_good_day();
    run.judge()
}

/// A mistake of whoever set it up.
pub fn two_under_one_name(setups: &'static [Setup]) -> Report {
    let run = Run::begin(2, setups, Weather::Fair, true);
    run.world.add(0);
    run.world.add(0);
    for _ in 0..400 {
        run.world.broker.borrow_mut().advance(200);
        run.world.round();
    }
    let broker = run.world.broker.borrow();
    Report { counts: broker.counts.clone(), complaints: Vec::new(), trace: broker.trace() }
}

/// A broker that is too busy for its clients, all the time.
pub fn on_a_slow_broker(setups: &'static [Setup]) -> Report {
    let mut run = Run::begin(3, setups, Weather::Slow, true);
    run.input.feed(&mut run.world.broker.borrow_mut(), 500);
    run.world.add(0);
    run.until("everything is taken", |run| run.is_drained());
    let broker = run.world.broker.borrow();
    Report { counts: broker.counts.clone(), complaints: run.complaints.clone(), trace: broker.trace() }
}

fn foul(broker: &mut Broker) -> Faults {
    let dice = &mut broker.dice;
    Faults { crash: 1 + dice.roll(4), freeze: dice.roll(5), step: dice.roll(120), absent: dice.roll(120), commit_ms: 0 }
}

impl Run {
    /// A cluster with its topics, rules at their first revision, and no process yet.
    fn begin(seed: u64, setups: &'static [Setup], weather: Weather, is_traced: bool) -> Run {
        let mut broker = Broker::new(seed, START_MS, is_traced);
        let topics = &setups[0].topics;
        let shards = i32::try_from(SHARDS).unwrap();
        broker.create(&topics.usage_events, INPUTS, false);
        broker.create(&topics.shard_log, shards, true);
        broker.create(&topics.watch_changelog, shards, false);
        broker.create(&topics.intake_changelog, 1, false);
        for topic in [&topics.dead_letter, &topics.alerts, &topics.spend_rollups] {
            broker.create(topic, 2, false);
        }
        broker.create_group("intake", &topics.usage_events);
        broker.create_group("watch", &topics.shard_log);
        let window = if broker.dice.chance(300) { 25 } else { 1_000_000 };
        for setup in setups {
            setup.intake_rules.store(Arc::new(intake_rules(window)));
            setup.watch_rules.store(Arc::new(watch_rules(1)));
        }
        let input = Input::new(&mut broker, &topics.usage_events, window);
        let is_static = broker.dice.chance(400);
        let faults = match weather {
            Weather::Fair => Faults::default(),
            Weather::Foul => foul(&mut broker),
            Weather::Slow => Faults { commit_ms: 1_500, ..Faults::default() },
        };
        Run { world: World::new(broker, setups, faults, is_static), input, complaints: Vec::new() }
    }

    fn under_faults(&mut self) {
        let (hours, rules_change) = {
            let dice = &mut self.world.broker.borrow_mut().dice;
            (6 + dice.roll(6), dice.roll(14))
        };
        for hour in 0..hours {
            {
                let mut broker = self.world.broker.borrow_mut();
                let jump = broker.dice.between(10 * MINUTE_MS, 90 * MINUTE_MS);
                broker.wall_ms += jump;
                let count = if broker.dice.chance(100) { 60 } else { 12 };
                self.input.feed(&mut broker, count);
            }
            let steps = 20 + self.world.broker.borrow_mut().dice.roll(100);
            for step in 0..steps {
                self.world.tick(None);
                if step % 16 == 0 {
                    self.trickle();
                }
            }
            self.housekeeping();
            if hour >= rules_change {
                self.roll_out_rules(hour - rules_change);
            }
        }
    }

    fn trickle(&mut self) {
        let mut broker = self.world.broker.borrow_mut();
        if broker.dice.chance(200) {
            self.input.feed(&mut broker, 4);
        }
    }

    /// What clusters do to topics: the cleaner comes by, and long quiet times pass.
    fn housekeeping(&self) {
        let mut broker = self.world.broker.borrow_mut();
        let topics = &self.world.setups[0].topics;
        for topic in [&topics.watch_changelog, &topics.intake_changelog] {
            for partition in broker.partitions(topic) {
                if broker.dice.chance(200) {
                    let stable = broker.log(&partition).stable();
                    let point = broker.dice.between(0, stable);
                    broker.log_mut(&partition).compact(point);
                }
            }
        }
        if broker.dice.chance(100) {
            broker.advance(4_000);
        }
    }

    /// New rules come to one process after the other.
    fn roll_out_rules(&self, step: usize) {
        let chance = self.world.broker.borrow_mut().dice.chance(500);
        if chance && step < PROCESSES {
            self.world.change_rules(step, watch_rules(2));
        }
    }

    fn on_a_good_day(&mut self) {
        self.world.set_faults(Faults::default());
        self.world.retire();
        // Sometimes it grows. Where it does not, what a kill has left to nobody waits for whoever looks for owners.
        let grows = self.world.broker.borrow_mut().dice.chance(500);
        if grows {
            self.world.add(PROCESSES);
        }
        if self.world.setups.iter().any(|setup| setup.watch_rules.load().revision == 2) {
            (0..PROCESSES).for_each(|instance| self.world.change_rules(instance, watch_rules(2)));
        }
        if !self.until("everything is taken", |run| run.is_drained()) {
            return;
        }
        self.input.feed(&mut self.world.broker.borrow_mut(), 8);
        self.until("the last input is taken", |run| run.is_drained());
        self.until("inputs stand behind the markers of their last transactions", Run::is_behind_markers);
        self.compare_restored();
        // Nothing comes any more: every source falls idle, time moves on and closes what is open.
        self.world.add(0);
        for _ in 0..3 {
            for _ in 0..40 {
                self.world.round();
                self.world.broker.borrow_mut().advance(350);
            }
            self.world.broker.borrow_mut().wall_ms += HOUR_MS;
        }
        self.world.pause_intake();
        self.until("watch has taken all of the shard log", |run| run.has_watch_all());
        // Closes and what was begun are finished.
        for _ in 0..40 {
            self.world.round();
        }
        self.until("watch is at rest", |run| run.has_watch_all());
        self.world.end();
        self.until("nothing is undecided", |run| run.world.broker.borrow().undecided().is_empty());
    }

    /// Goes on until it is so; whether it came to be.
    fn until(&mut self, what: &str, is_so: impl Fn(&Run) -> bool) -> bool {
        for _ in 0..3_000 {
            if is_so(self) {
                return true;
            }
            self.world.round();
            self.world.broker.borrow_mut().advance(10);
        }
        let broker = self.world.broker.borrow();
        self.complaints.push(format!("never: {what}; open: {:?}; groups: {:?}", broker.undecided(), broker.groups));
        false
    }

    /// The groups are settled, and have committed everything that is visible but ticks.
    fn is_drained(&self) -> bool {
        let broker = self.world.broker.borrow();
        let topics = &self.world.setups[0].topics;
        let has_all = |group: &str, topic: &str| {
            let partitions = broker.partitions(topic);
            let Some(offsets) = broker.groups[group].fetch(&partitions) else { return false };
            let from = |committed: Option<Committed>| committed.map_or(0, |committed| committed.offset);
            partitions
                .iter()
                .zip(offsets)
                .all(|(partition, committed)| broker.log(partition).read(from(committed), i64::MAX, 1).0.is_empty())
        };
        broker.groups.values().all(|group| group.is_settled())
            && has_all("intake", &topics.usage_events)
            && has_all("watch", &topics.shard_log)
            && broker.undecided().is_empty()
            && self.world.positions().len() == SHARDS as usize
    }

    /// Intake stands where its input ends, not only behind the last record.
    fn is_behind_markers(&self) -> bool {
        let broker = self.world.broker.borrow();
        let inputs = broker.partitions(&self.world.setups[0].topics.usage_events);
        let offsets = broker.groups["intake"].fetch(&inputs).unwrap_or_default();
        offsets.len() == inputs.len()
            && inputs.iter().zip(offsets).all(|(input, committed)| committed.is_some_and(|at| at.offset == broker.log(input).stable()))
    }

    /// Ends everybody, has one process restore all shards, and compares them with those that were running.
    fn compare_restored(&mut self) {
        self.world.pause_intake();
        self.until("watch has taken all of the shard log", |run| run.has_watch_all());
        // Closes and what was begun are finished.
        for _ in 0..40 {
            self.world.round();
        }
        self.until("watch is at rest", |run| run.has_watch_all());
        let running = self.world.shards();
        self.world.end();
        self.until("nothing is undecided", |run| run.world.broker.borrow().undecided().is_empty());
        self.world.add_watch(0);
        self.until("all shards are restored", |run| run.world.positions().len() == SHARDS as usize);
        let restored = self.world.shards();
        let (now_ms, topic) = (self.world.broker.borrow().wall_ms, self.world.setups[0].topics.usage_events.clone());
        let rules = self.world.setups[0].watch_rules.load_full();
        for (number, shard) in &restored {
            let Some(was) = running.get(number) else { continue };
            let future = |shard| seam::future(shard, &topic, INPUTS, now_ms, &rules);
            if let Some(difference) = seam::difference(was, shard) {
                self.complaints.push(format!("shard {number}: what was running and what is restored differ: {difference}"));
            } else if future(was) != future(shard) {
                self.complaints.push(format!("shard {number}: what is restored goes on differently"));
            }
        }
        self.world.end();
    }

    fn has_watch_all(&self) -> bool {
        let broker = self.world.broker.borrow();
        let positions = self.world.positions();
        let partitions = broker.partitions(&self.world.setups[0].topics.shard_log);
        let Some(offsets) = broker.groups["watch"].fetch(&partitions) else { return false };
        broker.groups["watch"].is_settled()
            && broker.undecided().is_empty()
            && partitions.iter().zip(offsets).all(|(partition, committed)| {
                let offset = committed.map_or(0, |committed| committed.offset);
                positions.get(&partition.partition) == Some(&offset) && broker.log(partition).read(offset, i64::MAX, 1).0.is_empty()
            })
    }

    fn judge(mut self) -> Report {
        let rules = [(1, watch_rules(1)), (2, watch_rules(2))].into();
        let broker = self.world.broker.borrow();
        let setup = &self.world.setups[0];
        let expected = self.input.expected(&broker);
        let oracle = Oracle { broker: &broker, topics: &setup.topics, output: &setup.output, rules: &rules };
        self.complaints.append(&mut self.world.failures.borrow_mut());
        self.complaints.extend(oracle.complaints(&expected));
        let mut counts = broker.counts.clone();
        counts.insert("alert revisions", oracle.count(&setup.topics.alerts));
        counts.insert("roll-up revisions", oracle.count(&setup.topics.spend_rollups));
        counts.insert("dead letters", oracle.count(&setup.topics.dead_letter));
        Report { counts, complaints: std::mem::take(&mut self.complaints), trace: broker.trace() }
    }
}
