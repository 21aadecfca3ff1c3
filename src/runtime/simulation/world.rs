//! Some processes on one model of a cluster, run step by step as the seed has it: they crash, stand still, come back, join and leave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Error, Result};

use super::broker::Broker;
use super::link::{Faults, Process, SimLink};
use crate::runtime::intake::{Intake, Topics};
use crate::runtime::watch::Watch;
use crate::runtime::worker::Worker;
use crate::runtime::{Setup, Unrecoverable};
use crate::watch::Shard;
use crate::watch::rules::WatchRules;

pub const INPUTS: i32 = 3;
pub const SHARDS: u32 = 3;

type Watching = Worker<'static, SimLink, Watch<'static>>;

enum Thread {
    Intake(Box<Worker<'static, SimLink, Intake<'static>>>),
    Watch(Box<Watching>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Intake,
    Watch,
}

/// What a thread is at.
enum Seat {
    Ended {
        again_ms: i64,
    },
    Ready(Thread),
    /// Being stepped right now.
    Away,
}

/// One process of the fleet.
struct Slot {
    process: Rc<Process>,
    setup: &'static Setup,
    instance: usize,
    seats: [Seat; 2],
    /// Replaced while it stood still: it goes on until it notices, and is not started again.
    is_replaced: bool,
    /// Left on purpose, until then.
    away_until_ms: i64,
}

pub struct World {
    pub broker: Rc<RefCell<Broker>>,
    slots: RefCell<Vec<Slot>>,
    pub setups: &'static [Setup],
    faults: Rc<Cell<Faults>>,
    /// A process stands still inside of a step, others go on.
    is_nested: Cell<bool>,
    is_static: bool,
    incarnations: Cell<u64>,
    pub failures: RefCell<Vec<String>>,
}

impl World {
    pub fn new(broker: Broker, setups: &'static [Setup], faults: Faults, is_static: bool) -> Rc<World> {
        let world = World {
            broker: Rc::new(RefCell::new(broker)),
            slots: RefCell::new(Vec::new()),
            setups,
            faults: Rc::new(Cell::new(faults)),
            is_nested: Cell::new(false),
            is_static,
            incarnations: Cell::new(0),
            failures: RefCell::new(Vec::new()),
        };
        Rc::new(world)
    }

    /// One more process; it starts when it has its turn.
    pub fn add(self: &Rc<World>, instance: usize) {
        let number = self.slots.borrow().len();
        let setup = &self.setups[instance % self.setups.len()];
        let seats = [Seat::Ended { again_ms: 0 }, Seat::Ended { again_ms: 0 }];
        let process = self.process(number);
        self.slots.borrow_mut().push(Slot { process, setup, instance, seats, is_replaced: false, away_until_ms: 0 });
    }

    fn process(self: &Rc<World>, number: usize) -> Rc<Process> {
        let world = Rc::downgrade(self);
        let others = Box::new(move |is_long: bool| {
            if let Some(world) = world.upgrade() {
                world.stand_still(number, is_long);
            }
        });
        Rc::new(Process { is_dead: Cell::new(false), faults: self.faults.clone(), others })
    }

    /// The process `number` stands still in the middle of something, and everybody else goes on.
    fn stand_still(self: &Rc<World>, number: usize, is_long: bool) {
        if self.is_nested.replace(true) {
            return;
        }
        // Once only: two under one name would fence each other for ever.
        let is_replaced = is_long && self.broker.borrow_mut().dice.chance(400) && !self.slots.borrow()[number].is_replaced;
        if is_replaced {
            let instance = {
                let mut slots = self.slots.borrow_mut();
                slots[number].is_replaced = true;
                slots[number].instance
            };
            self.broker.borrow_mut().note("replaced", || format!("instance {instance}"));
            self.add(instance);
        }
        let rounds = self.broker.borrow_mut().dice.roll(if is_long { 150 } else { 20 });
        for _ in 0..rounds {
            if is_long {
                self.broker.borrow_mut().advance(60);
            }
            self.tick(Some(number));
        }
        self.is_nested.set(false);
    }

    fn size(&self) -> usize {
        self.slots.borrow().len()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
    }

    /// Chance lets one thread of some process have its turn, or something happens to a process.
    pub fn tick(self: &Rc<World>, except: Option<usize>) {
        let (slot, seat, event) = {
            let mut broker = self.broker.borrow_mut();
            let ms = broker.dice.between(0, 40);
            broker.advance(ms);
            broker.pump();
            let slot = broker.dice.roll(self.size());
            (slot, broker.dice.roll(2), broker.dice.roll(1000))
        };
        if Some(slot) == except {
            return;
        }
        let is_replaced = self.slots.borrow()[slot].is_replaced;
        match event {
            0..2 if self.faults.get().crash > 0 => self.kill(slot),
            2..5 if self.faults.get().crash > 0 => self.leave(slot),
            // It may be as long as its steps last, but not for ever: two under one name would go on fencing each other.
            5..100 if is_replaced => self.kill(slot),
            _ => self.turn(slot, seat),
        }
    }

    /// Ends those that were replaced.
    pub fn retire(self: &Rc<World>) {
        for slot in 0..self.size() {
            let is_replaced = self.slots.borrow()[slot].is_replaced;
            if is_replaced {
                self.kill(slot);
            }
        }
    }

    /// From here on nobody reads the input.
    pub fn pause_intake(self: &Rc<World>) {
        for slot in 0..self.size() {
            self.finish(slot, 0);
            self.slots.borrow_mut()[slot].seats[0] = Seat::Ended { again_ms: i64::MAX };
        }
    }

    /// One more process, which runs WATCH only.
    pub fn add_watch(self: &Rc<World>, instance: usize) {
        self.add(instance);
        if let Some(slot) = self.slots.borrow_mut().last_mut() {
            slot.seats[0] = Seat::Ended { again_ms: i64::MAX };
        }
    }

    /// Every thread of every process once.
    pub fn round(self: &Rc<World>) {
        for slot in 0..self.size() {
            for seat in 0..2 {
                self.broker.borrow_mut().pump();
                self.turn(slot, seat);
            }
        }
    }

    fn kill(self: &Rc<World>, slot: usize) {
        let process = self.slots.borrow()[slot].process.clone();
        self.broker.borrow_mut().note("kill", || format!("process {slot}"));
        process.is_dead.set(true);
        self.bury(slot);
    }

    /// Ends in order, and comes back after a while.
    fn leave(self: &Rc<World>, slot: usize) {
        self.broker.borrow_mut().note("leave", || format!("process {slot}"));
        self.finish(slot, 0);
        self.finish(slot, 1);
        let mut broker = self.broker.borrow_mut();
        let until = broker.uptime_ms + broker.dice.between(0, 3_000) * broker.dice.between(0, 3);
        self.slots.borrow_mut()[slot].away_until_ms = until;
    }

    fn finish(self: &Rc<World>, slot: usize, seat: usize) {
        self.with(slot, seat, |thread| match thread {
            Thread::Intake(worker) => worker.finish_all().map(|()| false),
            Thread::Watch(worker) => worker.finish_all().map(|()| false),
        });
    }

    fn turn(self: &Rc<World>, slot: usize, seat: usize) {
        let now_ms = self.broker.borrow().uptime_ms;
        let starts = {
            let slots = self.slots.borrow();
            let is_due = matches!(slots[slot].seats[seat], Seat::Ended { again_ms } if again_ms <= now_ms);
            is_due && !slots[slot].is_replaced && slots[slot].away_until_ms <= now_ms
        };
        if starts {
            self.start(slot, seat);
            return;
        }
        self.with(slot, seat, |thread| match thread {
            Thread::Intake(worker) => worker.step().map(|()| true),
            Thread::Watch(worker) => worker.step().map(|()| true),
        });
    }

    fn start(self: &Rc<World>, slot: usize, seat: usize) {
        if self.slots.borrow()[slot].process.is_dead.get() {
            let process = self.process(slot);
            self.slots.borrow_mut()[slot].process = process;
        }
        let (process, setup, instance) = {
            let slots = self.slots.borrow();
            (slots[slot].process.clone(), slots[slot].setup, slots[slot].instance)
        };
        let kind = [Kind::Intake, Kind::Watch][seat];
        let name = if kind == Kind::Intake { "intake" } else { "watch" };
        let id = format!("app-{instance}-{name}");
        self.broker.borrow_mut().note("start", || format!("{id} in process {slot}"));
        self.incarnations.set(self.incarnations.get() + 1);
        let incarnation = format!("{id}@{}", self.incarnations.get());
        let link = SimLink::join(self.broker.clone(), process, name, self.is_static.then(|| id.clone()), id);
        let thread = match kind {
            Kind::Intake => {
                let role =
                    Intake::new(setup, 0, Topics { input: INPUTS, changelog: 1, input_id: Some("of the simulation".to_owned()) }).unwrap();
                Thread::Intake(Box::new(Worker::new(link, role, setup, 0, incarnation)))
            }
            Kind::Watch => Thread::Watch(Box::new(Worker::new(link, Watch::new(setup, 0), setup, 0, incarnation))),
        };
        self.slots.borrow_mut()[slot].seats[seat] = Seat::Ready(thread);
    }

    /// `run` says whether the thread goes on.
    fn with(self: &Rc<World>, slot: usize, seat: usize, run: impl FnOnce(&mut Thread) -> Result<bool>) {
        let taken = {
            let mut slots = self.slots.borrow_mut();
            let place = &mut slots[slot].seats[seat];
            if !matches!(place, Seat::Ready(_)) {
                return;
            }
            std::mem::replace(place, Seat::Away)
        };
        let Seat::Ready(mut thread) = taken else { return };
        let result = run(&mut thread);
        let process = self.slots.borrow()[slot].process.clone();
        let (goes_on, wait_ms) = match result {
            _ if process.is_dead.get() => (false, 0),
            Ok(goes_on) => (goes_on, 0),
            Err(error) => (false, self.failed(slot, seat, &error)),
        };
        if goes_on {
            self.slots.borrow_mut()[slot].seats[seat] = Seat::Ready(thread);
        } else {
            drop(thread);
            let again_ms = self.broker.borrow().uptime_ms + wait_ms;
            self.slots.borrow_mut()[slot].seats[seat] = Seat::Ended { again_ms };
        }
        if process.is_dead.get() {
            self.bury(slot);
        }
    }

    /// A thread that ends with an error is started again after a while; one that says that this cannot help has found a bug.
    fn failed(&self, slot: usize, seat: usize, error: &Error) -> i64 {
        let mut broker = self.broker.borrow_mut();
        broker.note("failed", || format!("process {slot}, thread {seat}: {error:#}"));
        if error.chain().any(|cause| cause.is::<Unrecoverable>()) {
            self.failures.borrow_mut().push(format!("process {slot}: {error:#}"));
        }
        let slots = self.slots.borrow_mut();
        if slots[slot].is_replaced {
            // Whoever replaced it does not let it come back.
            slots[slot].process.is_dead.set(true);
        }
        broker.dice.between(200, 3_000)
    }

    /// Nothing of a dead process runs on; it is started again after a while.
    fn bury(self: &Rc<World>, slot: usize) {
        let again_ms = {
            let mut broker = self.broker.borrow_mut();
            broker.uptime_ms + broker.dice.between(0, 3_000) * broker.dice.between(0, 3)
        };
        let seats = {
            let mut slots = self.slots.borrow_mut();
            slots[slot].seats.each_mut().map(|seat| {
                let is_away = matches!(seat, Seat::Away);
                std::mem::replace(seat, if is_away { Seat::Away } else { Seat::Ended { again_ms } })
            })
        };
        drop(seats);
    }

    /// New rules reach one instance.
    pub fn change_rules(&self, instance: usize, rules: WatchRules) {
        self.broker.borrow_mut().note("rules", || format!("instance {instance}: revision {}", rules.revision));
        self.setups[instance].watch_rules.store(std::sync::Arc::new(rules));
    }

    /// All shards as they run, where every one is owned.
    pub fn shards(&self) -> BTreeMap<i32, Shard> {
        self.each_shard(Shard::clone)
    }

    /// The next record of each shard that is not in the middle of a close.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        let all = self.each_shard(|shard| (!shard.is_closing()).then(|| shard.header().position));
        all.into_iter().filter_map(|(number, position)| Some((number, position?))).collect()
    }

    fn each_shard<T>(&self, of: impl Fn(&Shard) -> T) -> BTreeMap<i32, T> {
        let slots = self.slots.borrow();
        let workers = slots.iter().flat_map(|slot| &slot.seats).filter_map(|seat| match seat {
            Seat::Ready(Thread::Watch(worker)) => Some(worker),
            Seat::Ready(Thread::Intake(_)) | Seat::Ended { .. } | Seat::Away => None,
        });
        workers.flat_map(|worker| worker.parts().iter().map(|(number, watched)| (*number, of(&watched.shard)))).collect()
    }

    /// Everybody ends in order.
    pub fn end(self: &Rc<World>) {
        for slot in 0..self.size() {
            self.leave(slot);
            self.slots.borrow_mut()[slot].away_until_ms = i64::MAX;
        }
    }
}
