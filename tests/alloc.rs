//! No allocation per event: intake takes events that are like others before them without asking for memory. A binary of its own, because
//! the allocator counts for a whole process.
#![allow(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tollgate::cli::bench::events::{self, BEGINNING, Events, Form, SCHEMA, SCHEMA_ID, SPAN_MS};
use tollgate::cli::bench::policies;
use tollgate::intake::rules::IntakeRules;
use tollgate::intake::{Batch, Outcome, PartitionState, SchemaTable, process, process_all};
use tollgate::model::partial::Source;
use tollgate::model::record::InputRecord;
use tollgate::policy::Facts;
use tollgate::policy::fields::Subject;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has nowhere to count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as our caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

type Headers = &'static [(&'static str, &'static [u8])];

const EVENTS: u64 = 10_000;

/// Ten rules of attribution that read sources, accounts, projects, users and tags, and 360 prices.
fn rules(window: u64) -> IntakeRules {
    let defaults = tollgate::config::load_text("", "", std::path::Path::new(""), std::iter::empty()).unwrap().intake;
    events::rules(IntakeRules { dedupe_window: window, ..defaults })
}

struct Intake {
    rules: IntakeRules,
    schemas: SchemaTable,
    partition: PartitionState,
    batch: Batch,
    offset: i64,
}

impl Intake {
    fn new(window: u64) -> Intake {
        let mut schemas = SchemaTable::default();
        schemas.insert(SCHEMA_ID, SCHEMA);
        let partition = PartitionState::new(Source { topic: "usage-events".into(), partition: 0 }, window);
        Intake { rules: rules(window), schemas, partition, batch: Batch::default(), offset: 0 }
    }

    fn take(&mut self, value: &[u8], headers: &[(&str, &[u8])]) {
        let timestamp = BEGINNING.plus_ms(SPAN_MS);
        let offset = self.offset;
        self.offset += 1;
        let record = InputRecord { topic: "usage-events", partition: 0, offset, timestamp, key: None, value: Some(value), headers };
        let outcome = process(&record, timestamp, &self.rules, &self.schemas, &mut self.partition, &mut self.batch);
        assert_eq!(outcome, Outcome::Combined);
    }
}

/// So many different events of the same minute.
fn made(form: Form, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let events = Events { leaves: 50, form };
    let write = |number| {
        let mut value = Vec::new();
        // All within one minute of event time.
        events.write_at(number, 30_000_000, 1, &mut value);
        value
    };
    numbers.map(write).collect()
}

/// Allocations of so many further events, when so many have come before them.
fn further(intake: &mut Intake, form: Form, headers: &[(&str, &[u8])], from: u64) -> u64 {
    let events = made(form, from..from + EVENTS);
    let before = allocations();
    events.iter().for_each(|value| intake.take(value, headers));
    allocations() - before
}

#[test]
fn an_event_like_others_before_it_allocates_nothing() {
    // A window that is full long before, so that it grows no more; the next test has one that grows.
    let window = 1_000;
    let ways: [(Form, Headers); 4] = [
        (Form::Avro, &[]),
        (Form::Avro, &[("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tollgate.redrive.attempt", b"1")]),
        // Any attribute of CloudEvents leads the thorough way.
        (Form::Avro, &[("content-type", b"application/avro"), ("ce_id", b"1")]),
        (Form::Json, &[("content-type", b"application/json; charset=utf-8")]),
    ];
    for (form, headers) in ways {
        let mut intake = Intake::new(window);
        // The window and what an aborted batch may take back: 101,000 ids.
        made(form, 0..140_000).iter().for_each(|value| intake.take(value, headers));
        assert_eq!(further(&mut intake, form, headers, 140_000), 0, "{form:?} with {headers:?}");
    }
}

/// As intake does it: sixteen at once.
#[test]
fn events_that_are_taken_together_allocate_nothing() {
    let mut intake = Intake::new(1_000);
    made(Form::Avro, 0..140_000).iter().for_each(|value| intake.take(value, &[]));
    let timestamp = BEGINNING.plus_ms(SPAN_MS);
    let values = made(Form::Avro, 140_000..150_000);
    let record = |(offset, value)| InputRecord {
        topic: "usage-events",
        partition: 0,
        offset,
        timestamp,
        key: None,
        value: Some(value),
        headers: &[],
    };
    let records: Vec<InputRecord<'_>> = (intake.offset..).zip(values.iter().map(Vec::as_slice)).map(record).collect();
    let Intake { rules, schemas, partition, batch, .. } = &mut intake;
    // The keys of the sixteen find their room.
    let (first, further) = records.split_at(1_000);
    process_all(first, timestamp, rules, schemas, partition, batch);
    let before = allocations();
    let progress = process_all(further, timestamp, rules, schemas, partition, batch);
    assert_eq!((progress.taken, progress.stopped), (9_000, None));
    assert_eq!(allocations() - before, 0);
}

#[test]
fn the_next_transaction_allocates_for_its_partials_and_not_for_its_events() {
    let mut intake = Intake::new(1_000);
    made(Form::Avro, 0..140_000).iter().for_each(|value| intake.take(value, &[]));
    let partials = intake.batch.drain_into_shards(4).values().map(Vec::len).sum::<usize>();
    assert!(partials <= 60, "{partials}");
    let first = made(Form::Avro, 140_000..145_000);
    first.iter().for_each(|value| intake.take(value, &[]));
    intake.batch.drain_into_shards(4);
    assert_eq!(further(&mut intake, Form::Avro, &[], 145_000), 0);
}

/// The window grows with the partition until it is full: by doubling, so that it takes less and less.
#[test]
fn a_window_that_grows_allocates_less_than_once_in_a_thousand_events() {
    let mut intake = Intake::new(1_000_000);
    made(Form::Avro, 0..125_000).iter().for_each(|value| intake.take(value, &[]));
    // The 131,072th id is among these.
    let count = further(&mut intake, Form::Avro, &[], 125_000);
    assert!((1..=EVENTS / 1_000).contains(&count), "{count}");
}

/// Eight of the ten ask for tags, users or tokens of each event.
#[test]
fn an_event_that_policies_are_asked_about_allocates_nothing_either() {
    for form in [Form::Avro, Form::Json] {
        let mut intake = Intake::new(1_000);
        intake.rules.policies = std::sync::Arc::new(policies::stream(&["tags.tier == 't001' && user != 'nobody'"]).unwrap());
        made(form, 0..140_000).iter().for_each(|value| intake.take(value, &[]));
        assert_eq!(further(&mut intake, form, &[], 140_000), 0, "{form:?}");
        let hits: u64 = intake.batch.drain_into_shards(1).values().flatten().flat_map(|partial| &partial.hits).map(|hit| hit.events).sum();
        assert!(hits > 1_000, "{hits}: policies were asked, and had something to say");
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    let kept = std::hint::black_box(vec![1_u8]);
    assert_eq!(allocations() - before, 1);
    drop(kept);
}

/// Ten conditions over events of which each says something else.
#[test]
fn policies_are_judged_without_an_allocation() {
    let conditions = policies::compiled().unwrap();
    let events: Vec<policies::Event> = (0..EVENTS).map(policies::Event::new).collect();
    let (places, mut facts) = (policies::places(), vec![None; Subject::Usage.fields().len()]);
    // A pattern keeps what it needs to match once it has matched.
    let mut judge = |events: &'static [policies::Event]| {
        let mut held = 0;
        for event in events {
            event.facts(&places, &mut facts);
            held += conditions.iter().filter(|condition| condition.holds(&Facts(&facts)) == Ok(true)).count();
        }
        held
    };
    let events: &'static [policies::Event] = Box::leak(events.into_boxed_slice());
    judge(&events[..10]);
    let before = allocations();
    assert_eq!(judge(events), 0, "none of these is violated");
    assert_eq!(allocations() - before, 0);
}
