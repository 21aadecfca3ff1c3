//! Whatever the order, the splits and the restarts: what counts at the end is what the statements say, and deltas add up to it.

use proptest::prelude::*;

use super::*;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;

fn leaf(team: u8, currency: &str) -> Leaf {
    let empty: Text = "".into();
    Leaf {
        team: format!("team-{team}").into(),
        project: empty.clone(),
        model: "service".into(),
        provider: "aws".into(),
        region: empty.clone(),
        environment: empty,
        meter: "Hours".into(),
        currency: Currency::parse(currency).unwrap(),
        measure: Measure::Billed,
    }
}

fn charge(team: u8, hour: i64, cost: i128) -> Charge {
    let currency = ["USD", "EUR", "JPY"][usize::from(team) % 3];
    let amounts = Amounts { effective: Nanos(cost), billed: Nanos(cost * 2 + 1), quantity: Nanos(cost.abs()) };
    Charge { leaf: leaf(team, currency), hour: Hour(hour), amounts }
}

fn line(line: u128, revision: i64, exported: i64, delivery: Option<&str>, charge: Charge) -> LedgerItem {
    let delivery = delivery.map(Text::from);
    LedgerItem::Line(BillingLine { line, revision, exported: Timestamp(exported), delivery, charge })
}

fn complete(delivery: &str, exported: i64, lines: u64) -> LedgerItem {
    LedgerItem::Complete(Completion { delivery: delivery.into(), exported: Timestamp(exported), lines })
}

fn record(items: Vec<LedgerItem>) -> LedgerRecord {
    LedgerRecord { source: "focus".into(), period: "2026-03".into(), items }
}

/// What deltas have added up to, as whoever reads them would know it.
#[derive(Default)]
struct Reader(BTreeMap<(Leaf, Hour), (Amounts, i64)>);

impl Reader {
    fn read(&mut self, ledger: &mut Ledger) {
        for delta in ledger.take_deltas() {
            let (sum, lines) = self.0.entry((delta.leaf, delta.hour)).or_default();
            (*sum, *lines) = (sum.plus(delta.amounts), *lines + delta.lines);
        }
    }

    fn sums(&self) -> BTreeMap<(Leaf, Hour), Amounts> {
        assert!(self.0.values().all(|(amounts, lines)| *lines > 0 || *amounts == Amounts::default()));
        self.0.iter().filter(|(_, (_, lines))| *lines != 0).map(|(at, (amounts, _))| (at.clone(), *amounts)).collect()
    }
}

fn after(items: Vec<LedgerItem>) -> BTreeMap<(Leaf, Hour), Amounts> {
    let mut ledger = Ledger::default();
    ledger.apply(&record(items), 0);
    let mut reader = Reader::default();
    reader.read(&mut ledger);
    assert_eq!(reader.sums(), ledger.totals());
    ledger.totals()
}

fn only(charges: &[Charge]) -> BTreeMap<(Leaf, Hour), Amounts> {
    let items = (1..).zip(charges).map(|(number, charge)| line(number, 1, 1, None, charge.clone()));
    after(items.collect())
}

#[test]
fn a_restated_line_replaces_its_predecessor_and_an_older_one_does_nothing() {
    let new = charge(2, 5, 300);
    assert_eq!(after(vec![line(1, 1, 1, None, charge(1, 5, 100)), line(1, 2, 2, None, new.clone())]), only(std::slice::from_ref(&new)));
    assert_eq!(after(vec![line(1, 2, 2, None, new.clone()), line(1, 1, 1, None, charge(1, 5, 100))]), only(&[new]));
}

#[test]
fn a_line_that_moves_is_taken_from_its_old_team() {
    let mut ledger = Ledger::default();
    ledger.apply(&record(vec![line(1, 1, 1, None, charge(1, 5, 100))]), 0);
    ledger.take_deltas();
    ledger.apply(&record(vec![line(1, 2, 2, None, charge(2, 5, 100))]), 1);
    let deltas = ledger.take_deltas();
    let told: Vec<(&str, i128, i64)> = deltas.iter().map(|delta| (&*delta.leaf.team, delta.amounts.effective.0, delta.lines)).collect();
    assert_eq!(told, [("team-1", -100, -1), ("team-2", 100, 1)]);
    assert_eq!(ledger.position(), 2);
    // The same statement again changes nothing.
    ledger.apply(&record(vec![line(1, 2, 2, None, charge(2, 5, 100))]), 2);
    assert_eq!(ledger.take_deltas(), []);
}

#[test]
fn a_correction_is_a_line_of_its_own_and_adds() {
    let sums = after(vec![line(1, 1, 1, None, charge(1, 5, 100)), line(2, 1, 1, None, charge(1, 5, -30))]);
    let amounts: Vec<i128> = sums.values().map(|amounts| amounts.effective.0).collect();
    assert_eq!(amounts, [70]);
}

#[test]
fn a_complete_delivery_takes_back_what_it_does_not_name_once_all_of_it_is_here() {
    let (a, b, c) = (charge(1, 1, 10), charge(1, 2, 20), charge(1, 3, 30));
    let before = vec![line(1, 1, 1, Some("d1"), a.clone()), line(2, 1, 1, Some("d1"), b)];
    let with = |more: Vec<LedgerItem>| after([before.clone(), more].concat());
    // One of two lines is missing: nothing is taken back yet.
    assert_eq!(with(vec![line(1, 2, 5, Some("d2"), a.clone()), complete("d2", 6, 2)]).len(), 2);
    // A line that is named twice is one line.
    let twice = vec![line(1, 2, 5, Some("d2"), a.clone()), line(1, 2, 5, Some("d2"), a.clone()), complete("d2", 6, 2)];
    assert_eq!(with(twice).len(), 2);
    let all = vec![complete("d2", 6, 2), line(1, 2, 5, Some("d2"), a.clone()), line(3, 2, 5, Some("d2"), c.clone())];
    assert_eq!(with(all.clone()), only(&[a.clone(), c.clone()]));
    // A straggler of the older delivery is not believed, a line of after it is.
    let late = [all.clone(), vec![line(4, 1, 1, Some("d1"), charge(1, 4, 40))]].concat();
    assert_eq!(with(late), only(&[a.clone(), c.clone()]));
    let newer = [all.clone(), vec![line(2, 3, 7, None, charge(1, 2, 25))]].concat();
    assert_eq!(with(newer), only(&[a.clone(), charge(1, 2, 25), c.clone()]));
    // An older delivery that ends later decides nothing.
    assert_eq!(with([all, vec![complete("d1", 2, 2)]].concat()), only(&[a, c]));
}

#[test]
fn an_empty_complete_delivery_takes_back_everything() {
    assert_eq!(after(vec![line(1, 1, 1, Some("d1"), charge(1, 1, 10)), complete("d2", 6, 0)]), BTreeMap::new());
}

#[test]
fn state_of_another_version_is_refused() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.restore(b"p", Some(&[9, 0])), Err(StateError::OtherVersion(9)));
    assert_eq!(ledger.restore(b"x", Some(&[1, 0])), Err(StateError::UnknownKey));
    assert!(matches!(ledger.restore(b"l1", Some(&[1, 0])), Err(StateError::UnknownKey)));
    // The bytes of version 1, as they stand in running deployments.
    assert_eq!(ledger.restore(b"p", Some(&[1, 84])), Ok(true));
    assert_eq!(ledger.position(), 42);
}

/// The definition itself, over all statements at once.
fn expected(items: &[LedgerItem]) -> BTreeMap<(Leaf, Hour), Amounts> {
    let lines = || items.iter().filter_map(|item| if let LedgerItem::Line(line) = item { Some(line) } else { None });
    let names = |delivery: &Text, number: u128| lines().any(|line| line.line == number && line.delivery.as_ref() == Some(delivery));
    let numbers: BTreeSet<u128> = lines().map(|line| line.line).collect();
    let mut ends = BTreeMap::<&Text, (Timestamp, u64)>::new();
    for item in items {
        if let LedgerItem::Complete(Completion { delivery, exported, lines }) = item {
            let end = ends.entry(delivery).or_insert((*exported, *lines));
            *end = (end.0.max(*exported), end.1.min(*lines));
        }
    }
    let is_here = |delivery: &Text, lines: u64| numbers.iter().filter(|number| names(delivery, **number)).count() as u64 >= lines;
    let decides = ends.iter().filter(|(delivery, (_, lines))| is_here(delivery, *lines)).map(|(delivery, (at, _))| (*at, *delivery)).max();
    let mut sums = BTreeMap::<(Leaf, Hour), Amounts>::new();
    for number in numbers {
        let mut stated: Vec<&BillingLine> = lines().filter(|line| line.line == number).collect();
        let last_named = stated.iter().map(|line| line.exported).max().unwrap();
        if decides.is_some_and(|(at, delivery)| last_named <= at && !names(delivery, number)) {
            continue;
        }
        stated.sort_by_key(|line| (line.revision, line.exported, line.charge.amounts, line.charge.hour, line.charge.leaf.clone()));
        let charge = &stated.last().unwrap().charge;
        let sum = sums.entry((charge.leaf.clone(), charge.hour)).or_default();
        *sum = sum.plus(charge.amounts);
    }
    sums
}

fn any_item() -> impl Strategy<Value = LedgerItem> {
    let delivery = || prop_oneof![Just(None), Just(Some("d1")), Just(Some("d2")), Just(Some("d3"))];
    let any_charge =
        (0_u8..5, 0_i64..3, -1_000_000_000_000_i128..1_000_000_000_000).prop_map(|(team, hour, cost)| charge(team, hour, cost));
    let any_line = (0_u128..6, 0_i64..4, 0_i64..6, delivery(), any_charge)
        .prop_map(|(number, revision, exported, delivery, charge)| line(number, revision, exported, delivery, charge));
    let end = (prop_oneof![Just("d1"), Just("d2"), Just("d3")], 0_i64..6, 0_u64..5)
        .prop_map(|(delivery, exported, lines)| complete(delivery, exported, lines));
    prop_oneof![6 => any_line, 1 => end]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Random restatements, re-tags, currencies and deliveries, split into random records, in random order, with restarts in between.
    #[test]
    fn the_end_is_that_of_the_final_rows_alone(
        items in prop::collection::vec(any_item(), 1..40),
        cuts in prop::collection::vec((1_usize..5, any::<bool>()), 40),
        order in any::<prop::sample::Index>(),
    ) {
        let wanted = expected(&items);
        let mut shuffled = items;
        let turn = order.index(shuffled.len());
        shuffled.rotate_left(turn);
        if turn % 2 == 0 {
            shuffled.reverse();
        }
        let (mut ledger, mut reader, mut changelog) = (Ledger::default(), Reader::default(), BTreeMap::new());
        let (mut rest, mut offset) = (shuffled.as_slice(), 0);
        for (size, restarts) in cuts {
            let (now, later) = rest.split_at(size.min(rest.len()));
            ledger.apply(&record(now.to_vec()), offset);
            (rest, offset) = (later, offset + 1);
            reader.read(&mut ledger);
            for change in ledger.take_changes().unwrap() {
                changelog.insert(change.key, change.value);
            }
            if restarts {
                let (position, lines) = (ledger.position(), ledger.lines());
                ledger = Ledger::default();
                // Compaction moves keys: what is read back comes in any order.
                for (key, value) in changelog.iter().rev() {
                    ledger.restore(key, value.as_deref()).unwrap();
                }
                prop_assert_eq!((ledger.position(), ledger.lines()), (position, lines));
            }
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(reader.sums(), wanted.clone());
        prop_assert_eq!(ledger.totals(), wanted);
    }
}

#[test]
fn a_month_of_more_deliveries_than_there_is_room_for_says_so_and_keeps_its_header_small() {
    let mut ledger = Ledger::default();
    let mut largest = 0;
    for number in 0..40 {
        let items =
            vec![line(1, number, number, Some(&format!("d{number}")), charge(1, 5, 100)), complete(&format!("d{number}"), number, 1)];
        ledger.apply(&record(items), number);
        largest =
            ledger.take_changes().unwrap().iter().filter_map(|change| Some(change.value.as_ref()?.len())).chain([largest]).max().unwrap();
        assert_eq!(ledger.take_overfull().is_empty(), number < 8, "{number}");
    }
    assert!(largest < 1_024, "{largest}");
    // What was restated last counts all the same.
    assert_eq!(ledger.totals(), only(&[charge(1, 5, 100)]));
    let mut long = Ledger::default();
    for number in 0..3 {
        long.apply(&record(vec![complete(&format!("{number}{}", "x".repeat(500)), 1, 1)]), number);
    }
    assert!(!long.take_overfull().is_empty());
}
