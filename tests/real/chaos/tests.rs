//! The oracle can fail: whatever is taken out of, doubled in or changed in what was seen, it complains of. And the proxy does what it says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::observer::Sampled;
use super::oracle::{self, Seen, nanos};
use crate::real::parts::{Consumed, Proxy, ProxyCounts, Way};

/// Damage and what the complaint about it says.
type Damage = (&'static str, fn(&mut Seen), &'static str);

const DAMAGES: [Damage; 10] = [
    ("a roll-up is lost", |seen| drop(seen.rollups.pop()), "events off"),
    ("a roll-up is doubled", |seen| seen.rollups.extend(seen.rollups.last().cloned()), "roll-up"),
    ("an event is counted twice", |seen| take_out_an_event(seen), "+1 events off"),
    ("an event is lost", |seen| add_an_event(seen), "-1 events off"),
    ("a nano-dollar is off", |seen| change(seen.rollups.last_mut(), "cost", &json!("0.000000001")), "nano-dollars"),
    ("a dead letter is lost", |seen| drop(seen.dead.pop()), "no dead letter"),
    ("a dead letter is doubled", |seen| seen.dead.extend(seen.dead.last().cloned()), "2 dead letters"),
    ("an alert's first revision is lost", |seen| drop(seen.alerts.remove(0)), "where 1 is due"),
    ("an alert is doubled", |seen| seen.alerts.insert(1, seen.alerts[0].clone()), "where 2 is due"),
    ("a violation out of nothing", |seen| seen.violations.extend(seen.dead.last().cloned()), "a governance violation"),
];

/// On what was seen in a whole run, which was found to be right.
pub fn every_kind_of_damage_is_found(seen: &Seen) {
    assert_eq!(oracle::check(seen).1, Vec::<String>::new(), "undamaged");
    for (name, damage, words) in DAMAGES {
        let mut damaged = seen.clone();
        damage(&mut damaged);
        let complaints = oracle::check(&damaged).1;
        assert!(complaints.iter().any(|complaint| complaint.contains(words)), "{name}: {complaints:?}");
    }
}

#[test]
fn the_oracle_finds_every_kind_of_damage() {
    every_kind_of_damage_is_found(&small());
}

#[test]
fn a_committed_offset_that_goes_back_is_found() {
    let mut sampled = Sampled::default();
    for offsets in [[5, 7], [5, 9], [6, 9]] {
        sampled.take("watch", &[(0, offsets[0]), (1, offsets[1])].into());
    }
    assert_eq!((sampled.samples, sampled.stepped_back.len()), (3, 0));
    sampled.take("watch", &[(0, 5)].into());
    assert_eq!(sampled.stepped_back, ["watch, partition 0: from 6 to 5"]);
}

#[test]
fn money_is_read_to_the_last_digit() {
    assert_eq!(["1", "-0.5", "12.000000001", "0.1"].map(nanos), [1_000_000_000, -500_000_000, 12_000_000_001, 100_000_000]);
}

/// What one end writes and the other reads, through a proxy that stalls and cuts.
#[test]
fn the_proxy_forwards_stalls_and_cuts() {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::new();
    proxy.lead_to(server.local_addr().unwrap().port());
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    let (mut served, _) = server.accept().unwrap();
    let mut read = [0; 4];
    client.write_all(b"ping").unwrap();
    served.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"ping");

    // Answers stand still, requests do not; what was held back comes afterwards.
    let start = Instant::now();
    proxy.stall(Way::ToClient, Duration::from_millis(600));
    served.write_all(b"pong").unwrap();
    client.write_all(b"more").unwrap();
    served.read_exact(&mut read).unwrap();
    assert!(start.elapsed() < Duration::from_millis(600), "requests were not held back");
    client.read_exact(&mut read).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(600), "the answer was held back for {:?}", start.elapsed());
    assert_eq!(&read, b"pong");

    // Cut in the middle of a stall: what was on its way is lost, both ends are told, at once.
    let start = Instant::now();
    proxy.stall(Way::Both, Duration::from_secs(60));
    served.write_all(b"lost").unwrap();
    assert_eq!(proxy.cut(|| false), 0);
    assert_eq!(proxy.cut(|| true), 1);
    assert_eq!(client.read(&mut read).unwrap_or(0), 0, "the client sees the end");
    assert_eq!(served.read(&mut read).unwrap_or(0), 0, "the server sees the end");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(proxy.counts(), ProxyCounts { connections: 1, cut: 1, stalls: 2 });
}

/// Two events, one of them twice, a broken record; their roll-ups, one of them restated; an alert in two revisions.
fn small() -> Seen {
    let event =
        |id: &str, cost: &str| json!({"event_id": id, "source": "s", "team": "search", "event_time": "2026-03-01T10:20:00Z", "cost": cost});
    let input = [("a", event("a", "1.5")), ("a", event("a", "1.5")), ("b", event("b", "0.25")), ("broken-1", json!("?"))];
    let rollup = |revision: u64, cost: &str, events: u64| json!({"revision": revision, "cost": cost, "events": events, "team": "search", "period_start": "2026-03-01T10:00:00Z"});
    let alert = |revision: u64, state: &str| json!({"id": "search/1", "revision": revision, "state": state});
    let mut dead = records(&[("broken-1", json!("?"))]);
    dead[0].headers =
        [("partition", "0"), ("offset", "3")].map(|(name, at)| (format!("__connect.errors.{name}"), Some(at.to_owned()))).into();
    Seen {
        input: records(&input),
        rollups: records(&[("search/x", rollup(1, "1.5", 1)), ("search/x", rollup(2, "1.75", 2))]),
        alerts: records(&[("search/1", alert(1, "open")), ("search/1", alert(2, "resolved"))]),
        dead,
        violations: Vec::new(),
    }
}

fn records(values: &[(&str, Value)]) -> Vec<Consumed> {
    let record = |(offset, (key, value)): (i64, &(&str, Value))| Consumed {
        topic: "t".to_owned(),
        partition: 0,
        offset,
        timestamp: 0,
        key: Some((*key).to_owned()),
        key_base64: None,
        headers: std::collections::BTreeMap::new(),
        value: Some(value.to_string()),
        value_base64: None,
    };
    (0..).zip(values).map(record).collect()
}

/// The log says one event less than was rolled up.
fn take_out_an_event(seen: &mut Seen) {
    let is_event = |record: &Consumed| record.key.as_ref().is_some_and(|key| !key.starts_with("broken-"));
    let key = seen.input.iter().find(|record| is_event(record)).expect("an event").key.clone();
    seen.input.retain(|record| record.key != key);
}

/// The log says one event more than was rolled up.
fn add_an_event(seen: &mut Seen) {
    let is_event = |record: &&Consumed| record.key.as_ref().is_some_and(|key| !key.starts_with("broken-"));
    let mut more = seen.input.iter().find(is_event).expect("an event").clone();
    change(Some(&mut more), "event_id", &json!("one more"));
    seen.input.push(more);
}

fn change(record: Option<&mut Consumed>, field: &str, value: &Value) {
    let record = record.expect("a record");
    let mut json = record.json();
    json[field] = value.clone();
    record.value = Some(json.to_string());
}
