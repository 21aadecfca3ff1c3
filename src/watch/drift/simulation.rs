//! How often drift is told when there is none, and how soon when there is: measured on series of a fixed seed.

use super::rules::DriftRules;
use super::series::{Series, Step, Value};
use super::sums::Kind;
use super::tests::{at, drift_rules};

/// Small and seeded (SplitMix64).
struct Dice(u64);

impl Dice {
    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::MIN_POSITIVE
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The share of hits among `n` tries: by inversion where hits are few, else by the normal.
    fn share(&mut self, n: u64, p: f64) -> f64 {
        let (p, is_turned) = if p > 0.5 { (1.0 - p, true) } else { (p, false) };
        let tries = n as f64;
        let hits = if tries * p > 30.0 {
            (tries * p + self.normal() * (tries * p * (1.0 - p)).sqrt()).round().clamp(0.0, tries)
        } else {
            let (mut left, mut hits) = (self.unit(), 0.0);
            let mut chance = (1.0 - p).powf(tries);
            while left > chance && hits < tries {
                left -= chance;
                chance *= (tries - hits) / (hits + 1.0) * p / (1.0 - p);
                hits += 1.0;
            }
            hits
        };
        if is_turned { 1.0 - hits / tries } else { hits / tries }
    }
}

/// What one look says.
type Draw<'a> = &'a dyn Fn(&mut Dice, &mut f64) -> (f64, Option<u64>);

/// Looks until drift is told, at most `most`; `None`: it is not. The first `first` values are the reference, and `calm` more like them follow.
fn run(dice: &mut Dice, kind: Kind, [first, calm, most]: [usize; 3], before: Draw, after: Draw, rules: &DriftRules) -> Option<usize> {
    let mut series = Series::new(kind, at(0), None);
    let mut memory = 0.0;
    for number in 0..first + calm + most {
        let (value, samples) = if number < first + calm { before(dice, &mut memory) } else { after(dice, &mut memory) };
        let value = Value { at: at(number as i64), value, samples, identity: number as u128 };
        if number == first {
            series.freeze(true, value.at, rules);
        }
        if series.take(value, number >= first, rules) == Step::Opened {
            return (number >= first + calm).then(|| number - first - calm + 1);
        }
    }
    None
}

/// Of `series` with a look a day for a year: how many told a drift that there was not.
fn false_alarms(name: &str, series: usize, kind: Kind, first: usize, draw: Draw, rules: &DriftRules) -> usize {
    let mut dice = Dice(20_260_301);
    let told = (0..series).filter(|_| run(&mut dice, kind, [first, 0, 365], draw, draw, rules).is_some()).count();
    println!("false alarms, {name}: {told} in {series} series of a year");
    told
}

/// Part of the series in which a shift is told within so many looks, and the median of the looks it takes.
fn power(name: &str, kind: Kind, [first, calm, within]: [usize; 3], before: Draw, after: Draw) -> f64 {
    let (rules, mut dice) = (drift_rules(), Dice(7));
    let mut looks: Vec<usize> = (0..400).filter_map(|_| run(&mut dice, kind, [first, calm, within], before, after, &rules)).collect();
    looks.sort_unstable();
    let median = looks.get(looks.len() / 2).copied().unwrap_or_default();
    let part = looks.len() as f64 / 400.0;
    println!("power, {name}, after {calm}: {:.1} % within {within} looks, median {median}", 100.0 * part);
    part
}

fn share(n: u64, p: f64) -> impl Fn(&mut Dice, &mut f64) -> (f64, Option<u64>) {
    move |dice, _| (dice.share(n, p), Some(n))
}

/// Each evaluation has a share of its own.
fn dispersed(n: u64, p: f64, deviation: f64) -> impl Fn(&mut Dice, &mut f64) -> (f64, Option<u64>) {
    move |dice, _| {
        let own = (p + deviation * dice.normal()).clamp(0.001, 0.999);
        (dice.share(n, own), Some(n))
    }
}

/// Each value resembles the one before.
fn mean(mean: f64, deviation: f64, memory: f64) -> impl Fn(&mut Dice, &mut f64) -> (f64, Option<u64>) {
    move |dice, last| {
        *last = memory * *last + (1.0 - memory * memory).sqrt() * dice.normal();
        (mean + deviation * *last, None)
    }
}

#[test]
fn a_stationary_series_is_silent() {
    let rules = drift_rules();
    let shares = [
        (
            "2 % of 400, reference of 800",
            false_alarms("2 % of 400, reference of 800", 1000, Kind::Evaluation, 2, &share(400, 0.02), &rules),
        ),
        (
            "10 % of 400, reference of 400",
            false_alarms("10 % of 400, reference of 400", 1000, Kind::Evaluation, 1, &share(400, 0.1), &rules),
        ),
        ("50 % of 2,000, reference of 2,000", false_alarms("50 % of 2,000", 1000, Kind::Evaluation, 1, &share(2000, 0.5), &rules)),
        (
            "80 % +- 3 points of 1,000",
            false_alarms("80 % +- 3 points, 5 evaluations", 1000, Kind::Evaluation, 5, &dispersed(1000, 0.8, 0.03), &rules),
        ),
        ("scores", false_alarms("scores 4 +- 0.4, 8 values", 1000, Kind::Evaluation, 8, &mean(4.0, 0.4, 0.0), &rules)),
        ("usage", false_alarms("lengths 300 +- 60, 10 days", 1000, Kind::Usage, 10, &mean(300.0, 60.0, 0.0), &rules)),
        ("usage with memory", false_alarms("the same, correlated by 0.5", 1000, Kind::Usage, 10, &mean(300.0, 60.0, 0.5), &rules)),
    ];
    for (name, told) in shares {
        let most = if name == "usage with memory" { 30 } else { 10 };
        assert!(told <= most, "{name}: {told} of 1,000");
    }
    // What the guard is for: one look instead of three.
    let single = false_alarms("10 % of 400, one look", 1000, Kind::Evaluation, 1, &share(400, 0.1), &DriftRules { looks: 1, ..rules });
    assert!(single >= 10, "{single}");
}

#[test]
fn shifts_are_found_soon() {
    let shifts = [
        (power("2 % to 9 %, 400 each", Kind::Evaluation, [2, 20, 5], &share(400, 0.02), &share(400, 0.09)), 0.85),
        (power("2 % to 5 %, 400 each", Kind::Evaluation, [2, 20, 30], &share(400, 0.02), &share(400, 0.05)), 0.2),
        (power("95 % to 90 %, 1,000 each", Kind::Evaluation, [2, 20, 10], &share(1000, 0.95), &share(1000, 0.90)), 0.85),
        (power("score 4 +- 0.2 to 3, 8 values", Kind::Evaluation, [8, 20, 10], &mean(4.0, 0.2, 0.0), &mean(3.0, 0.2, 0.0)), 0.5),
        (power("length 300 +- 20 to 450, 10 days", Kind::Usage, [10, 20, 10], &mean(300.0, 20.0, 0.0), &mean(450.0, 20.0, 0.0)), 0.9),
    ];
    for (number, (found, least)) in shifts.into_iter().enumerate() {
        assert!(found >= least, "shift {number}: {found}");
    }
}
