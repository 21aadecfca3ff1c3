//! The model of a broker does what KAFKA says, its flaw before KIP-890 included.

use super::*;

fn broker() -> Broker {
    let mut broker = Broker::new(1, 1_000_000, false);
    broker.create("out", 2, false);
    broker.create("in", 1, true);
    broker.create_group("g", "in");
    broker
}

fn place(partition: i32) -> Partition {
    Partition { topic: "out".to_string(), partition }
}

fn record(value: &str) -> OwnedRecord {
    OwnedRecord { value: Some(value.into()), ..OwnedRecord::default() }
}

fn write(broker: &mut Broker, producer: ProducerId, partition: i32, value: &str) -> Result<i64, Refused> {
    broker.add_partition("id", producer, &place(partition))?;
    broker.produce("id", producer, &place(partition), record(value))
}

fn values(broker: &Broker, partition: i32) -> Vec<String> {
    broker.log(&place(partition)).committed().into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect()
}

fn settle(broker: &mut Broker) {
    for _ in 0..100 {
        broker.pump();
    }
}

fn member(broker: &mut Broker) -> String {
    let member = broker.groups.get_mut("g").unwrap().join(None, None, &BTreeSet::new(), 1_000).unwrap();
    broker.pump();
    member
}

fn offsets(member: &str, offset: i64) -> GroupOffsets {
    let partition = Partition { topic: "in".to_string(), partition: 0 };
    let offsets = [(partition, Committed { offset, metadata: String::new() })].into();
    GroupOffsets { group: "g".to_string(), member: member.to_string(), instance: None, generation: 1, offsets }
}

#[test]
fn records_and_offsets_become_visible_together_or_not_at_all() {
    let mut broker = broker();
    let member = member(&mut broker);
    let producer = broker.init("id");
    let input = broker.partitions("in");
    for (commit, visible, position) in [(false, &[][..], None), (true, &["x"][..], Some(7))] {
        write(&mut broker, producer, 0, "x").unwrap();
        write(&mut broker, producer, 1, "y").unwrap();
        broker.send_offsets("id", producer, &offsets(&member, 7)).unwrap();
        assert_eq!(broker.groups["g"].fetch(&input), None, "undecided offsets are not to be had");
        broker.end("id", producer, commit).unwrap();
        assert_eq!(broker.end("id", producer, commit), Ok(()), "a repeated decision is the same decision");
        assert_eq!(broker.end("id", producer, !commit), Err(Refused::InvalidState));
        settle(&mut broker);
        assert_eq!(values(&broker, 0), visible);
        let found = broker.groups["g"].fetch(&input).unwrap();
        assert_eq!(found.into_iter().flatten().map(|found| found.offset).next(), position);
        assert_eq!(broker.undecided(), Vec::<String>::new());
    }
}

#[test]
fn a_new_producer_ends_what_the_old_one_left_open_and_fences_it() {
    let mut broker = broker();
    let old = broker.init("id");
    write(&mut broker, old, 0, "lost").unwrap();
    let new = broker.init("id");
    assert_eq!(write(&mut broker, old, 0, "zombie"), Err(Refused::FencedProducer));
    assert_eq!(broker.append(&place(0), record("zombie"), Some(old)), None, "the leader has seen the newer epoch");
    assert_eq!(broker.end("id", old, true), Err(Refused::FencedProducer));
    write(&mut broker, new, 0, "new").unwrap();
    broker.end("id", new, true).unwrap();
    settle(&mut broker);
    assert_eq!(values(&broker, 0), ["new"]);
}

/// The flaw that a tainted producer is rebuilt for: an EndTxn of the last transaction ends this one.
#[test]
fn a_delayed_decision_hits_the_next_transaction_of_the_same_epoch_and_no_other() {
    let mut broker = broker();
    for rebuild in [false, true] {
        let producer = broker.init("id");
        write(&mut broker, producer, 0, "first").unwrap();
        broker.end("id", producer, false).unwrap();
        broker.delay(Stray::End { id: "id".to_string(), producer, commit: false });
        let producer = if rebuild { broker.init("id") } else { producer };
        write(&mut broker, producer, 0, "second").unwrap();
        settle(&mut broker);
        assert!(broker.strays.is_empty());
        let ended = broker.end("id", producer, true);
        settle(&mut broker);
        assert_eq!((ended.is_ok(), values(&broker, 0)), (rebuild, if rebuild { vec!["second".to_string()] } else { Vec::new() }));
    }
}

#[test]
fn a_transaction_that_is_forgotten_times_out_and_its_producer_is_fenced() {
    let mut broker = broker();
    let producer = broker.init("id");
    write(&mut broker, producer, 0, "x").unwrap();
    broker.advance(TRANSACTION_TIMEOUT_MS + 1);
    broker.pump();
    assert_eq!(broker.undecided(), Vec::<String>::new());
    assert_eq!(write(&mut broker, producer, 0, "y"), Err(Refused::FencedProducer));
    assert_eq!(values(&broker, 0), Vec::<String>::new());
}

#[test]
fn the_shard_log_has_the_brokers_time_and_keys_go_where_java_sends_them() {
    let mut broker = broker();
    let input = Partition { topic: "in".to_string(), partition: 0 };
    let stamped = OwnedRecord { timestamp: 5, ..record("x") };
    broker.append(&input, stamped.clone(), None).unwrap();
    broker.append(&place(0), stamped, None).unwrap();
    assert_eq!(broker.log(&input).committed()[0].timestamp, 1_000_000);
    assert_eq!(broker.log(&place(0)).committed()[0].timestamp, 5);
    assert_eq!(broker.place("out", Some(b"21")), place((-973_932_308_i32 & 0x7fff_ffff) % 2));
}
