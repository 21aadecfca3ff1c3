//! The faults, one class at a time and mixed, and how long it took until everything went on.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::fleet::{Fleet, SESSION_TIMEOUT, WORKERS};
use super::load::Load;
use super::observer::{Sampler, marks};
use super::table::Cell;
use crate::real::parts::{Admin, Cluster, NODES, Way};

/// After a fault both groups have to pass everything that was written until its end. What it takes is in the table; this is for telling slow
/// from never, on a machine that does other things too.
const RECOVERY: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    WorkerKill,
    WorkerPause,
    BrokerKill,
    LeaderMove,
    Cut,
    Stall,
    RollingRestart,
    Mixed,
}

impl Class {
    pub const ALL: [Class; 8] = [
        Class::WorkerKill,
        Class::WorkerPause,
        Class::BrokerKill,
        Class::LeaderMove,
        Class::Cut,
        Class::Stall,
        Class::RollingRestart,
        Class::Mixed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Class::WorkerKill => "kill -9 of a worker",
            Class::WorkerPause => "worker paused beyond its session",
            Class::BrokerKill => "kill -9 of a broker",
            Class::LeaderMove => "leader moves",
            Class::Cut => "connection cuts",
            Class::Stall => "stalls",
            Class::RollingRestart => "rolling restart of a worker",
            Class::Mixed => "mixed",
        }
    }
}

pub struct Campaign<'a> {
    pub cluster: &'a Cluster,
    pub fleet: &'a mut Fleet,
    pub admin: &'a Admin,
    pub load: &'a Load,
    pub sampler: &'a Sampler,
    pub dice: Dice,
    pub cells: Vec<Cell>,
    pub complaints: Vec<String>,
    /// Rotates over workers and brokers.
    turn: usize,
    began: Instant,
}

impl<'a> Campaign<'a> {
    pub fn new(
        cluster: &'a Cluster,
        fleet: &'a mut Fleet,
        admin: &'a Admin,
        load: &'a Load,
        sampler: &'a Sampler,
        seed: u64,
    ) -> Campaign<'a> {
        let (cells, complaints, began) = (Vec::new(), Vec::new(), Instant::now());
        Campaign { cluster, fleet, admin, load, sampler, dice: Dice::new(seed), cells, complaints, turn: 0, began }
    }

    /// So many faults of a class, with a recovery after every `together` of them.
    ///
    /// # Errors
    /// What did not recover: going on would only blur it.
    pub fn inflict(&mut self, class: Class, faults: usize, together: usize) -> Result<(), String> {
        let mut cell = Cell::new(class);
        let (start, records, gave_up) = (Instant::now(), self.load.count(), self.fleet.ended.len());
        let mut result = Ok(());
        for chunk in (0..faults).collect::<Vec<_>>().chunks(together) {
            let began = Instant::now();
            let inflicted = chunk.iter().try_for_each(|_| self.one(class, &mut cell));
            result = inflicted.and_then(|()| self.recover(class)).map(|()| cell.recoveries.push(began.elapsed()));
            if result.is_err() {
                break;
            }
        }
        (cell.took, cell.records) = (start.elapsed(), self.load.count() - records);
        cell.gave_up = self.fleet.ended.len() - gave_up;
        self.say(&format!("{}: {} faults, longest recovery {:.1?}", class.name(), cell.faults, cell.recoveries.iter().max()));
        self.cells.push(cell);
        result
    }

    fn one(&mut self, class: Class, cell: &mut Cell) -> Result<(), String> {
        self.fleet.tend();
        match class {
            Class::WorkerKill => self.kill_worker(cell),
            Class::WorkerPause => self.pause_worker(cell, false),
            Class::BrokerKill => return self.kill_broker(cell, false),
            Class::LeaderMove => self.move_leaders(cell),
            Class::Cut => self.cut(cell),
            Class::Stall => self.stall(cell),
            Class::RollingRestart => return self.restart_worker(cell),
            Class::Mixed => match self.dice.roll(100) {
                0..30 => self.kill_worker(cell),
                30..40 => self.pause_worker(cell, true),
                40..52 => return self.kill_broker(cell, true),
                52..68 => self.move_leaders(cell),
                68..80 => self.cut(cell),
                80..88 => self.stall(cell),
                _ => return self.restart_worker(cell),
            },
        }
        Ok(())
    }

    fn kill_worker(&mut self, cell: &mut Cell) {
        let worker = self.next_worker();
        self.fleet.kill9(worker);
        // Sometimes it is back at once, sometimes its partitions have begun to wander.
        if self.dice.percent(30) {
            self.pass_time(500, 3_000);
        }
        self.fleet.start(worker);
        cell.count(Class::WorkerKill);
    }

    /// A zombie: it wakes up after the group has given its partitions to others, in the middle of what it did.
    fn pause_worker(&mut self, cell: &mut Cell, mixed: bool) {
        let worker = self.next_worker();
        self.fleet.freeze(worker);
        let start = Instant::now();
        if mixed {
            self.something_else(cell, worker);
        }
        let session = usize::try_from(SESSION_TIMEOUT.as_millis()).unwrap();
        let until = Duration::from_millis(self.dice.between(session + 1_000, session + 6_000).try_into().unwrap());
        std::thread::sleep(until.saturating_sub(start.elapsed()));
        self.fleet.thaw(worker);
        cell.count(Class::WorkerPause);
    }

    fn kill_broker(&mut self, cell: &mut Cell, mixed: bool) -> Result<(), String> {
        // Whoever was restarted leads nothing: without this, later kills would hit bystanders. Not counted as a fault.
        let all_over = self.dice.next();
        if let Err(error) = self.admin.move_leaders(40, all_over) {
            self.say(&format!("leaders not spread before a kill: {error}"));
        }
        let broker = self.turn % NODES;
        self.turn += 1;
        self.cluster.kill9(broker);
        if mixed {
            self.something_else(cell, WORKERS);
        }
        self.pass_time(0, 9_000);
        self.cluster.restart(broker);
        cell.count(Class::BrokerKill);
        self.cluster.wait_for_isr()
    }

    fn move_leaders(&mut self, cell: &mut Cell) {
        let (count, seed) = (self.dice.between(5, 30), self.dice.next());
        // Another fault of the mixed cell may be in its way; then it is not counted.
        match self.admin.move_leaders(count, seed) {
            Ok(moved) => {
                cell.leaders_moved += moved;
                cell.count(Class::LeaderMove);
            }
            Err(error) => self.say(&format!("leaders not moved: {error}")),
        }
        self.pass_time(0, 1_000);
    }

    /// All connections of a broker or of all brokers, or about half of them.
    fn cut(&mut self, cell: &mut Cell) {
        let only = self.dice.percent(40).then(|| self.dice.roll(NODES));
        let all = self.dice.percent(60);
        for (number, proxy) in self.cluster.proxies().enumerate() {
            if only.is_none_or(|only| only == number) {
                cell.connections_cut += proxy.cut(|| all || self.dice.percent(50));
            }
        }
        cell.count(Class::Cut);
        self.pass_time(100, 1_500);
    }

    /// Requests, answers or both stand still; then they go on, or the connections are cut and nobody knows what came through.
    fn stall(&mut self, cell: &mut Cell) {
        let only = self.dice.percent(60).then(|| self.dice.roll(NODES));
        let way = *self.dice.pick(&[Way::ToServer, Way::ToClient, Way::ToClient, Way::Both]);
        let time = self.dice.between(300, 9_000);
        let then_cut = self.dice.percent(50);
        for (number, proxy) in self.cluster.proxies().enumerate() {
            if only.is_none_or(|only| only == number) {
                proxy.stall(way, Duration::from_millis(time.try_into().unwrap()));
            }
        }
        if then_cut {
            self.pass_time(time / 2, time / 2);
            for (number, proxy) in self.cluster.proxies().enumerate() {
                if only.is_none_or(|only| only == number) {
                    cell.connections_cut += proxy.cut(|| true);
                }
            }
            self.pass_time(time / 2, time / 2);
        } else {
            self.pass_time(time, time);
        }
        cell.count(Class::Stall);
    }

    /// As a rolling upgrade does: the next one follows when this one is ready again.
    fn restart_worker(&mut self, cell: &mut Cell) -> Result<(), String> {
        let worker = self.next_worker();
        if let Err(complaint) = self.fleet.terminate(worker) {
            self.say(&complaint);
            self.complaints.push(complaint);
        }
        self.fleet.start(worker);
        cell.count(Class::RollingRestart);
        self.fleet.wait_until_ready()
    }

    /// While a worker (or a broker) is away, something else happens too.
    fn something_else(&mut self, cell: &mut Cell, away: usize) {
        match self.dice.roll(3) {
            0 => self.cut(cell),
            1 => self.stall(cell),
            _ => {
                let worker = (away + 1) % WORKERS;
                self.fleet.tend();
                self.fleet.kill9(worker);
                self.fleet.start(worker);
                cell.count(Class::WorkerKill);
            }
        }
    }

    fn next_worker(&mut self) -> usize {
        self.turn += 1;
        self.turn % WORKERS
    }

    /// How long a fault lasts is part of it.
    fn pass_time(&mut self, from_ms: usize, to_ms: usize) {
        let time = self.dice.between(from_ms, to_ms);
        std::thread::sleep(Duration::from_millis(time.try_into().unwrap()));
    }

    /// Waits until everything that was written up to now has been read and decided by both groups.
    fn recover(&mut self, class: Class) -> Result<(), String> {
        let start = Instant::now();
        let marks = marks(self.cluster, self.fleet, RECOVERY)?;
        while start.elapsed() < RECOVERY {
            self.fleet.tend();
            if let Some(hopeless) = self.fleet.hopeless() {
                return Err(hopeless);
            }
            let sampled = self.sampler.now();
            let behind = marks.iter().filter(|(place, mark)| sampled.committed.get(*place).is_none_or(|committed| committed < mark));
            if behind.count() == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let committed = self.sampler.now().committed;
        let behind = marks.iter().filter(|(place, mark)| committed.get(*place).is_none_or(|committed| committed < mark));
        let places: Vec<String> = behind.map(|(place, mark)| format!("{place:?} at {:?} of {mark}", committed.get(place))).collect();
        Err(format!("no recovery within {RECOVERY:?} after '{}': {}", class.name(), places.join(", ")))
    }

    pub fn say(&self, what: &str) {
        eprintln!("[chaos {:5.0} s, {} records] {what}", self.began.elapsed().as_secs_f64(), self.load.count());
    }
}
