//! [`Link`] on the model: one worker's client. Every call may be the last one of its process, may take long while others go on, and the
//! steps of a transaction fail in the ways in which they fail on a network.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::broker::{Broker, GroupOffsets, Stray};
use super::group::Refused;
use super::log::ProducerId;
use super::member::Member;
use crate::kafka::link::{Batch, Committed, From, Link, OutRecord, OwnedRecord, Partition, ProduceError, Read, Rebalance, Until};
use crate::model::time::Timestamp;

/// How often what goes wrong, in cases of a thousand; all zero: a cluster on a good day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The process is gone, at each call.
    pub crash: usize,
    /// The process stands still, at each call.
    pub freeze: usize,
    /// A step of a transaction fails in some way.
    pub step: usize,
    /// Nothing to be had now: offsets, bounds, records.
    pub absent: usize,
    /// Milliseconds that every commit takes.
    pub commit_ms: i64,
}

/// What all workers of a process share with whoever runs them.
pub struct Process {
    pub is_dead: Cell<bool>,
    pub faults: Rc<Cell<Faults>>,
    /// Lets workers of other processes go on for some steps while this one stands still; `true`: for longer than any time-out.
    pub others: Box<dyn Fn(bool)>,
}

pub struct SimLink {
    broker: Rc<RefCell<Broker>>,
    process: Rc<Process>,
    pub member: Member,
    transactional_id: String,
    producer: Option<ProducerId>,
    is_tainted: bool,
    queue: Vec<OutRecord>,
    /// What the client has added to the transaction.
    added: BTreeSet<Partition>,
    has_offsets: bool,
    fetching: BTreeMap<Partition, Fetching>,
    reading: Option<Reading>,
}

struct Fetching {
    next: i64,
    has_told_end: bool,
}

struct Reading {
    partition: Partition,
    next: i64,
    until: i64,
}

type Step = Result<(), ProduceError>;

/// How a request that changes something may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// Refused, nothing has happened.
    Refused,
    /// Never arrived; the client has given up.
    Lost,
    /// Arrived, and the answer did not.
    Unanswered,
    /// The client has given up; it arrives later.
    Late,
    /// The connection broke; the client sent it again, and the first one arrives later.
    Doubled,
}

impl SimLink {
    pub fn join(
        broker: Rc<RefCell<Broker>>,
        process: Rc<Process>,
        group: &str,
        instance: Option<String>,
        transactional_id: String,
    ) -> SimLink {
        let producer = Some(broker.borrow_mut().init(&transactional_id));
        SimLink {
            broker,
            process,
            member: Member::new(group, instance),
            transactional_id,
            producer,
            is_tainted: false,
            queue: Vec::new(),
            added: BTreeSet::new(),
            has_offsets: false,
            fetching: BTreeMap::new(),
            reading: None,
        }
    }

    /// Before and after anything that others can see: here a process may end, or stand still.
    fn point(&mut self, place: &'static str) -> Result<()> {
        self.alive()?;
        let faults = self.process.faults.get();
        let (dies, stops, is_long) = {
            let dice = &mut self.broker.borrow_mut().dice;
            (dice.chance(faults.crash), dice.chance(faults.freeze), dice.chance(300))
        };
        if dies {
            self.broker.borrow_mut().note("crash", || format!("{} at {place}", self.transactional_id));
            self.process.is_dead.set(true);
        }
        self.alive()?;
        if stops {
            self.broker.borrow_mut().note("freeze", || format!("{} at {place}, long: {is_long}", self.transactional_id));
            (self.process.others)(is_long);
            self.broker.borrow_mut().note("goes on", || self.transactional_id.clone());
        }
        self.member.background(&mut self.broker.borrow_mut());
        self.alive()
    }

    fn alive(&self) -> Result<()> {
        if self.process.is_dead.get() { Err(anyhow!("killed")) } else { Ok(()) }
    }

    fn step_point(&mut self, step: &'static str) -> Step {
        // What is under way does not wait for a quiet moment.
        self.broker.borrow_mut().race();
        self.point(step).map_err(|error| ProduceError::Rebuild { step, reason: error.to_string() })
    }

    fn is_absent(&self) -> bool {
        let absent = self.process.faults.get().absent;
        self.broker.borrow_mut().dice.chance(absent)
    }

    fn fate(&self, step: &'static str) -> Fate {
        let chance = self.process.faults.get().step;
        let mut broker = self.broker.borrow_mut();
        if !broker.dice.chance(chance) {
            return Fate::Well;
        }
        let all = [Fate::Refused, Fate::Lost, Fate::Unanswered, Fate::Late, Fate::Doubled];
        let fate = broker.dice.pick(&all).copied().unwrap_or(Fate::Well);
        broker.note("step", || format!("{} {step}: {fate:?}", self.transactional_id));
        fate
    }

    fn producer(&self, step: &'static str) -> Result<ProducerId, ProduceError> {
        self.producer.ok_or_else(|| ProduceError::Rebuild { step, reason: "there is no producer".to_string() })
    }

    /// A request, under the fate that it has. `stray` is what arrives later, if anything does.
    fn request(&mut self, step: &'static str, stray: Stray, send: impl Fn(&mut Broker) -> Result<(), Refused>) -> Step {
        let fate = self.fate(step);
        let given_up = || Err(ProduceError::Rebuild { step, reason: "timed out, nobody knows".to_string() });
        let mut broker = self.broker.borrow_mut();
        match fate {
            Fate::Well => send(&mut broker).map_err(|refused| classify(step, refused)),
            Fate::Refused => Err(ProduceError::Abort { step, reason: "refused".to_string() }),
            Fate::Lost => given_up(),
            Fate::Unanswered => {
                let _ = send(&mut broker);
                given_up()
            }
            Fate::Late => {
                broker.delay(stray);
                given_up()
            }
            Fate::Doubled => {
                broker.delay(stray);
                self.is_tainted = true;
                send(&mut broker).map_err(|refused| classify(step, refused))
            }
        }
    }

    fn end(&mut self, step: &'static str, commit: bool) -> Step {
        self.step_point(step)?;
        let producer = self.producer(step)?;
        let is_empty = self.added.is_empty() && !self.has_offsets;
        self.queue.clear();
        // A client that has added nothing has nothing to end.
        let ended = if is_empty {
            Ok(())
        } else {
            let id = self.transactional_id.clone();
            let stray = Stray::End { id: id.clone(), producer, commit };
            self.request(step, stray, |broker| broker.end(&id, producer, commit))
        };
        self.broker.borrow_mut().advance(1);
        self.step_point(step)?;
        ended
    }

    /// One record of the queue, to its partition.
    fn deliver(&mut self, producer: ProducerId, record: OutRecord) -> Step {
        let mut broker = self.broker.borrow_mut();
        let partition = match record.partition {
            Some(partition) => Partition { topic: record.topic, partition },
            None => broker.place(&record.topic, record.key.as_deref()),
        };
        if !self.added.contains(&partition) {
            broker.add_partition(&self.transactional_id, producer, &partition).map_err(|refused| classify("add partition", refused))?;
            self.added.insert(partition.clone());
        }
        let owned = OwnedRecord { offset: 0, timestamp: 0, key: record.key, value: record.value, headers: record.headers };
        let produced = broker.produce(&self.transactional_id, producer, &partition, owned);
        produced.map(|_| ()).map_err(|refused| classify("produce", refused))
    }
}

fn classify(step: &'static str, refused: Refused) -> ProduceError {
    let reason = format!("{refused:?}");
    match refused {
        Refused::UnknownMember | Refused::IllegalGeneration | Refused::FencedInstance => ProduceError::Abort { step, reason },
        Refused::FencedProducer | Refused::InvalidState => ProduceError::Rebuild { step, reason },
    }
}

impl Drop for SimLink {
    fn drop(&mut self) {
        if !self.process.is_dead.get() {
            self.member.leave(&mut self.broker.borrow_mut());
        }
    }
}

impl Link for SimLink {
    fn now(&self) -> Timestamp {
        Timestamp(self.broker.borrow().wall_ms)
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.broker.borrow().uptime_ms.unsigned_abs())
    }

    fn event(&mut self) -> Result<Option<Rebalance>> {
        self.point("event")?;
        let event = self.member.event()?;
        if let Some(event) = &event {
            self.broker.borrow_mut().note("rebalance", || format!("{}: {event:?}", self.transactional_id));
        }
        Ok(event)
    }

    fn wait(&mut self, most: Duration) {
        let ms = i64::try_from(most.as_millis()).unwrap_or(1);
        let mut broker = self.broker.borrow_mut();
        broker.advance((ms / 4).max(1));
        broker.pump();
        if !self.process.is_dead.get() {
            self.member.background(&mut broker);
        }
    }

    fn fetch(&mut self, partition: &Partition, most: usize) -> Result<Batch> {
        self.point("fetch")?;
        let is_absent = self.is_absent();
        let mut broker = self.broker.borrow_mut();
        let Some(fetching) = self.fetching.get_mut(partition).filter(|_| !is_absent) else { return Ok(Batch::empty(partition.clone())) };
        let some = 1 + broker.dice.roll(60);
        let log = broker.log(partition);
        if fetching.next < log.low() {
            bail!("offset {} of {partition:?} is out of range, the log begins at {}", fetching.next, log.low());
        }
        let (records, next) = log.read(fetching.next, i64::MAX, most.min(some));
        if next > fetching.next {
            fetching.has_told_end = false;
        }
        fetching.next = next;
        let end = next >= log.stable() && !fetching.has_told_end;
        fetching.has_told_end |= end;
        let mut batch = Batch::owned(partition.clone(), records, end);
        batch.next = end.then_some(next);
        Ok(batch)
    }

    fn end_seen(&self, partition: &Partition) -> Option<i64> {
        self.fetching.contains_key(partition).then(|| self.broker.borrow().log(partition).stable())
    }

    fn assign(&mut self, starts: &[(Partition, i64)]) -> Result<()> {
        self.point("assign")?;
        if !self.member.is_asked() {
            self.broker.borrow_mut().note("begun later", || format!("{}: {starts:?}", self.transactional_id));
        }
        for (partition, next) in starts {
            self.fetching.insert(partition.clone(), Fetching { next: *next, has_told_end: false });
        }
        self.member.assigned(&starts.iter().map(|(partition, _)| partition.clone()).collect());
        Ok(())
    }

    fn unassign(&mut self, partitions: &[Partition]) -> Result<()> {
        self.point("unassign")?;
        self.fetching.retain(|partition, _| !partitions.contains(partition));
        self.member.unassigned(partitions);
        Ok(())
    }

    fn committed(&mut self, partitions: &[Partition]) -> Result<Option<Vec<Option<Committed>>>> {
        self.point("committed offsets")?;
        if self.is_absent() {
            return Ok(None);
        }
        Ok(self.broker.borrow().groups[&self.member.group].fetch(partitions))
    }

    fn bounds(&mut self, partitions: &[Partition]) -> Result<Vec<Option<(i64, i64)>>> {
        self.point("bounds")?;
        let mut bounds = |partition: &Partition| {
            if self.is_absent() {
                return None;
            }
            let broker = self.broker.borrow();
            let log = broker.log(partition);
            Some((log.low(), log.stable()))
        };
        Ok(partitions.iter().map(&mut bounds).collect())
    }

    fn open(&mut self, partition: &Partition, from: From, until: Until) -> Result<()> {
        self.point("open")?;
        let broker = self.broker.borrow();
        let log = broker.log(partition);
        let next = match from {
            From::Beginning => log.low(),
            From::Offset(offset) => offset,
        };
        let until = match until {
            Until::End => log.next(),
            Until::Offset(offset) => offset,
        };
        if next < log.low() && next < until {
            bail!("{partition:?} begins at {}, but has to be read from {next} on", log.low());
        }
        self.reading = Some(Reading { partition: partition.clone(), next, until });
        Ok(())
    }

    fn read(&mut self, most: usize) -> Result<Read> {
        self.point("read")?;
        let is_absent = self.is_absent();
        let Some(reading) = &mut self.reading else { bail!("nothing is open to be read") };
        let mut broker = self.broker.borrow_mut();
        if reading.next >= reading.until {
            let end = reading.next;
            self.reading = None;
            return Ok(Read::Finished { end });
        }
        // Everything below the end has to be decided first.
        if is_absent || broker.log(&reading.partition).stable() < reading.until {
            broker.advance(20);
            broker.pump();
            return Ok(Read::Records(Batch::empty(reading.partition.clone())));
        }
        let some = most.min(1 + broker.dice.roll(400));
        let (records, next) = broker.log(&reading.partition).read(reading.next, reading.until, some);
        reading.next = next;
        Ok(Read::Records(Batch::owned(reading.partition.clone(), records, next >= reading.until)))
    }

    fn close(&mut self) -> Result<()> {
        self.reading = None;
        self.alive()
    }

    fn is_transactional(&self) -> bool {
        true
    }

    fn begin(&mut self) -> Step {
        self.step_point("begin")?;
        self.producer("begin")?;
        self.queue.clear();
        self.added.clear();
        self.has_offsets = false;
        Ok(())
    }

    fn send(&mut self, record: &OutRecord) -> Step {
        self.queue.push(record.clone());
        Ok(())
    }

    fn drain(&mut self) -> Step {
        self.step_point("drain")?;
        let producer = self.producer("drain")?;
        let queue = std::mem::take(&mut self.queue);
        let fate = self.fate("drain");
        let arrive = match fate {
            Fate::Well | Fate::Doubled | Fate::Unanswered => queue.len(),
            Fate::Refused | Fate::Lost | Fate::Late => self.broker.borrow_mut().dice.roll(queue.len() + 1),
        };
        for record in queue.into_iter().take(arrive) {
            self.deliver(producer, record)?;
            self.step_point("deliver")?;
        }
        match fate {
            Fate::Well => Ok(()),
            Fate::Refused => Err(ProduceError::Abort { step: "deliver", reason: "a record was not delivered".to_string() }),
            // The producer's numbers keep records from standing twice; that a connection broke taints all the same.
            Fate::Doubled => {
                self.is_tainted = true;
                Ok(())
            }
            Fate::Lost | Fate::Unanswered | Fate::Late => {
                Err(ProduceError::Rebuild { step: "drain", reason: "records not acknowledged".to_string() })
            }
        }
    }

    fn send_offsets(&mut self, offsets: &[(Partition, i64)], metadata: &str) -> Step {
        let step = "send offsets";
        self.step_point(step)?;
        let producer = self.producer(step)?;
        let Some((member, generation)) = self.member.identity() else {
            return Err(ProduceError::Abort { step, reason: "no longer a member".to_string() });
        };
        let value = |offset: i64| Committed { offset, metadata: metadata.to_string() };
        let sent = GroupOffsets {
            group: self.member.group.clone(),
            member,
            instance: self.member.instance.clone(),
            generation,
            offsets: offsets.iter().map(|(partition, offset)| (partition.clone(), value(*offset))).collect(),
        };
        let id = self.transactional_id.clone();
        let stray = Stray::Offsets { id: id.clone(), producer, sent: Box::new(sent.clone()) };
        self.has_offsets = true;
        let answer = self.request(step, stray, |broker| broker.send_offsets(&id, producer, &sent));
        self.step_point(step)?;
        answer
    }

    fn commit(&mut self) -> Step {
        let took_ms = self.process.faults.get().commit_ms;
        self.broker.borrow_mut().advance(took_ms);
        self.end("commit", true)
    }

    fn abort(&mut self) -> Step {
        self.end("abort", false)
    }

    fn commit_offsets(&mut self, _offsets: &[(Partition, i64)]) -> Step {
        Err(ProduceError::Rebuild { step: "commit offsets", reason: "this cluster has transactions".to_string() })
    }

    fn is_tainted(&self) -> bool {
        self.is_tainted
    }

    fn rebuild(&mut self) -> Step {
        self.step_point("rebuild")?;
        self.producer = None;
        if self.fate("init") != Fate::Well {
            return Err(ProduceError::Rebuild { step: "init transactions", reason: "no coordinator".to_string() });
        }
        let producer = self.broker.borrow_mut().init(&self.transactional_id);
        self.producer = Some(producer);
        self.is_tainted = false;
        self.step_point("rebuilt")
    }
}
