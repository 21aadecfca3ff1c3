//! What must be true of the topics afterwards, worked out from the input log alone. Pure: records in, complaints out, so that it can be
//! shown to complain (tests.rs).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::load::HOUR_MS;
use crate::real::parts::Consumed;

/// All records of the topics as a read_committed reader saw them, in the order of each partition.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub input: Vec<Consumed>,
    pub rollups: Vec<Consumed>,
    pub alerts: Vec<Consumed>,
    pub dead: Vec<Consumed>,
    pub violations: Vec<Consumed>,
}

/// Nano-dollars and events.
pub type Sum = (i128, u64);

/// By team and hour since 1970.
pub type Sums = BTreeMap<(String, i64), Sum>;

/// What there was to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub records: usize,
    pub events: u64,
    pub duplicates: u64,
    pub broken: usize,
    pub rollups: usize,
    pub supplements: usize,
    pub restated: usize,
    pub alerts: usize,
    pub alert_revisions: usize,
    pub resolved: usize,
}

pub fn check(seen: &Seen) -> (Found, Vec<String>) {
    let mut complaints = Vec::new();
    let mut found = Found { records: seen.input.len(), ..Found::default() };
    let (expected, broken) = expected(&seen.input, &mut found);
    let rolled_up = rolled_up(&seen.rollups, &mut found, &mut complaints);
    compare(&expected, &rolled_up, &mut complaints);
    check_dead(&broken, &seen.dead, &mut complaints);
    check_alerts(&seen.alerts, &mut found, &mut complaints);
    for violation in &seen.violations {
        complaints.push(format!("a governance violation: {:?}", violation.key));
    }
    (found, complaints)
}

/// Distinct valid events, and where the broken ones stand. A duplicate is the same id at a smaller offset of the same partition.
fn expected(input: &[Consumed], found: &mut Found) -> (Sums, BTreeSet<(i32, i64)>) {
    let mut sums = Sums::new();
    let (mut broken, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for record in input {
        if record.key.as_ref().is_some_and(|key| key.starts_with("broken-")) {
            broken.insert((record.partition, record.offset));
            continue;
        }
        let event = record.json();
        if !ids.insert((record.partition, text(&event, "source").to_owned(), text(&event, "event_id").to_owned())) {
            found.duplicates += 1;
            continue;
        }
        found.events += 1;
        let place = (text(&event, "team").to_owned(), hour(text(&event, "event_time")));
        add(sums.entry(place).or_default(), nanos(text(&event, "cost")), 1);
    }
    found.broken = broken.len();
    (sums, broken)
}

/// The newest revision of each roll-up, and all supplements. Revisions of a key are 1, 2, 3, ..., each once.
fn rolled_up(rollups: &[Consumed], found: &mut Found, complaints: &mut Vec<String>) -> Sums {
    let mut newest: BTreeMap<&str, (u64, Value)> = BTreeMap::new();
    for record in rollups {
        let key = record.key.as_deref().unwrap_or_default();
        let rollup = record.json();
        let revision = rollup["revision"].as_u64().unwrap_or(u64::MAX);
        let before = newest.get(key).map(|(revision, _)| *revision);
        if key.contains("/late/") {
            found.supplements += 1;
            if before.is_some() || revision != 0 {
                complaints.push(format!("roll-up supplement {key} is there twice, or has revision {revision}"));
            }
        } else {
            found.restated += usize::from(before.is_some());
            let next = before.unwrap_or(0) + 1;
            if revision != next {
                complaints.push(format!("roll-up {key}: revision {revision} where {next} is due, {}", place(record)));
            }
        }
        newest.insert(key, (revision, rollup));
    }
    found.rollups = newest.len() - found.supplements;
    let mut sums = Sums::new();
    for (_, rollup) in newest.into_values() {
        let place = (text(&rollup, "team").to_owned(), hour(text(&rollup, "period_start")));
        add(sums.entry(place).or_default(), nanos(text(&rollup, "cost")), rollup["events"].as_u64().unwrap_or_default());
    }
    sums
}

fn compare(expected: &Sums, rolled_up: &Sums, complaints: &mut Vec<String>) {
    let places: BTreeSet<_> = expected.keys().chain(rolled_up.keys()).collect();
    for place in places {
        let (want, got) = (expected.get(place).copied().unwrap_or_default(), rolled_up.get(place).copied().unwrap_or_default());
        if want != got {
            let (team, hour) = place;
            let (nanos, events) = (got.0 - want.0, i128::from(got.1) - i128::from(want.1));
            complaints.push(format!("{team}, hour {hour}: {nanos:+} nano-dollars and {events:+} events off (want {want:?})"));
        }
    }
}

/// Each broken record has one dead letter, which names its place.
fn check_dead(broken: &BTreeSet<(i32, i64)>, dead: &[Consumed], complaints: &mut Vec<String>) {
    let mut letters: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for letter in dead {
        let number = |name: &str| {
            let header = letter.headers.get(&format!("__connect.errors.{name}")).cloned().flatten();
            header.and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1)
        };
        *letters.entry((i32::try_from(number("partition")).unwrap_or(-1), number("offset"))).or_default() += 1;
    }
    for place in broken {
        if !letters.contains_key(place) {
            complaints.push(format!("no dead letter of broken record {place:?}"));
        }
    }
    for (place, count) in letters {
        if count > 1 {
            complaints.push(format!("{count} dead letters of record {place:?}"));
        }
        if !broken.contains(&place) {
            complaints.push(format!("a dead letter of record {place:?}, which is not broken"));
        }
    }
}

/// Revisions of an id are 1, 2, 3, ... in the order of the topic; only the first one opens.
fn check_alerts(alerts: &[Consumed], found: &mut Found, complaints: &mut Vec<String>) {
    let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
    for record in alerts {
        let alert = record.json();
        let (id, state) = (text(&alert, "id").to_owned(), text(&alert, "state").to_owned());
        let revision = alert["revision"].as_u64().unwrap_or(u64::MAX);
        let last = revisions.entry(id.clone()).or_default();
        if revision != *last + 1 {
            complaints.push(format!("alert {id}: revision {revision} ({state}) where {} is due, {}", *last + 1, place(record)));
        }
        if (state == "open") != (revision == 1) {
            complaints.push(format!("alert {id}: revision {revision} is {state}, {}", place(record)));
        }
        *last = revision;
        found.alert_revisions += 1;
        found.resolved += usize::from(state == "resolved");
    }
    found.alerts = revisions.len();
}

fn add(sum: &mut Sum, nanos: i128, events: u64) {
    *sum = (sum.0 + nanos, sum.1 + events);
}

fn place(record: &Consumed) -> String {
    format!("partition {} offset {}", record.partition, record.offset)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text '{field}' in {value}"))
}

/// Hours since 1970 of an RFC 3339 time.
fn hour(time: &str) -> i64 {
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    time.as_millisecond().div_euclid(HOUR_MS)
}

/// A decimal number, in billionths. Not the program's own parser.
pub fn nanos(amount: &str) -> i128 {
    let (sign, digits) = amount.strip_prefix('-').map_or((1, amount), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 9, "{amount} has more than nine digits behind the point");
    sign * format!("{whole}{fraction:0<9}").parse::<i128>().expect("a decimal number")
}
