//! What a run did, cell by cell, as a table for people and for benches/RESULTS.md.

use std::fmt::Write as _;
use std::time::Duration;

use super::faults::Class;

/// One class of faults, as it was inflicted.
#[derive(Clone, Debug)]
pub struct Cell {
    pub class: Class,
    /// Processes killed, paused or restarted, brokers killed, rounds of moves, cuts and stalls.
    pub faults: usize,
    /// Of those in the mixed cell, by class; elsewhere its own.
    pub by_class: Vec<(Class, usize)>,
    pub leaders_moved: u64,
    pub connections_cut: u64,
    /// Input records that were written meanwhile.
    pub records: u64,
    /// From the fault until both groups had passed all that was written before its end.
    pub recoveries: Vec<Duration>,
    pub took: Duration,
    /// Worker processes that gave up and were started again.
    pub gave_up: usize,
}

impl Cell {
    pub fn new(class: Class) -> Cell {
        Cell {
            class,
            faults: 0,
            by_class: Vec::new(),
            leaders_moved: 0,
            connections_cut: 0,
            records: 0,
            recoveries: Vec::new(),
            took: Duration::ZERO,
            gave_up: 0,
        }
    }

    pub fn count(&mut self, class: Class) {
        self.faults += 1;
        match self.by_class.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => self.by_class.push((class, 1)),
        }
    }
}

pub fn table(cells: &[Cell]) -> String {
    let mut text = String::from(
        "| class | faults | leaders moved | connections cut | records meanwhile | recovery p50, s | longest, s | gave up | took, s |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for cell in cells {
        let mut sorted = cell.recoveries.clone();
        sorted.sort_unstable();
        let seconds = |time: Option<&Duration>| time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        let Cell { faults, leaders_moved, connections_cut, records, gave_up, .. } = cell;
        let (p50, longest, took) = (seconds(sorted.get(sorted.len() / 2)), seconds(sorted.last()), cell.took.as_secs());
        let name = cell.class.name();
        writeln!(text, "| {name} | {faults} | {leaders_moved} | {connections_cut} | {records} | {p50} | {longest} | {gave_up} | {took} |")
            .unwrap();
    }
    let all = Class::ALL.map(|class| (class.name(), of_class(cells, class)));
    let counted = all.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}"));
    let cut: u64 = cells.iter().map(|cell| cell.connections_cut).sum();
    let processes = process_and_broker_faults(cells);
    let by_class = counted.collect::<Vec<_>>().join(", ");
    writeln!(text, "\nIn all, the mixed ones under their class: {by_class}.").unwrap();
    writeln!(text, "Process and broker faults (leader moves among them): {processes}. Connections cut: {cut}.").unwrap();
    text
}

pub fn of_class(cells: &[Cell], class: Class) -> usize {
    cells.iter().flat_map(|cell| &cell.by_class).filter(|(of, _)| *of == class).map(|(_, count)| count).sum()
}

pub fn process_and_broker_faults(cells: &[Cell]) -> usize {
    use Class as C;
    [C::WorkerKill, C::WorkerPause, C::BrokerKill, C::LeaderMove, C::RollingRestart].iter().map(|class| of_class(cells, *class)).sum()
}
