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
        libm::sqrt(-2.0 * libm::log(self.unit())) * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// The share of hits among `n` tries: by inversion where hits are few, else by the normal.
    fn share(&mut self, n: u64, p: f64) -> f64 {
        let (p, is_turned) = if p > 0.5 { (1.0 - p, true) } else { (p, false) };
        let tries = n as f64;
        let hits = if tries * p > 30.0 {
            (tries * p + self.normal() * (tries * p * (1.0 - p)).sqrt()).round().clamp(0.0, tries)
        } else {
            let (mut left, mut hits) = (self.unit(), 0.0);
            let mut chance = libm::pow(1.0 - p, tries);
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

/// Of 1,000 series with a look a day for a year: how many told a drift that there was not.
fn false_alarms(kind: Kind, first: usize, draw: Draw, rules: &DriftRules) -> usize {
    let mut dice = Dice(20_260_301);
    (0..1000).filter(|_| run(&mut dice, kind, [first, 0, 365], draw, draw, rules).is_some()).count()
}

/// Of 400 series: in how many a shift is told in time.
fn found(kind: Kind, numbers: [usize; 3], before: Draw, after: Draw) -> usize {
    let (rules, mut dice) = (drift_rules(), Dice(7));
    (0..400).filter(|_| run(&mut dice, kind, numbers, before, after, &rules).is_some()).count()
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

/// The figures of README.
#[test]
fn a_stationary_series_is_silent() {
    use Kind::{Evaluation, Usage};
    let rules = drift_rules();
    let rates = [(2, 400, 0.02), (1, 400, 0.1), (1, 2000, 0.5)];
    assert_eq!(rates.map(|(first, n, p)| false_alarms(Evaluation, first, &share(n, p), &rules)), [0, 0, 0]);
    assert_eq!(false_alarms(Evaluation, 5, &dispersed(1000, 0.8, 0.03), &rules), 7, "they differ by more than chance");
    assert_eq!(false_alarms(Evaluation, 8, &mean(4.0, 0.4, 0.0), &rules), 0, "scores");
    let lengths = [0.0, 0.5].map(|memory| false_alarms(Usage, 10, &mean(300.0, 60.0, memory), &rules));
    assert_eq!(lengths, [0, 20], "lengths; of which each resembles the one before");
    // What three looks in a row are for.
    assert_eq!(false_alarms(Evaluation, 1, &share(400, 0.1), &DriftRules { looks: 1, ..rules }), 112);
}

/// The figures of README, of 400.
#[test]
fn shifts_are_found_soon() {
    use Kind::{Evaluation, Usage};
    let rates = [(400, 0.02, 0.09, 5), (400, 0.02, 0.05, 30), (1000, 0.95, 0.90, 10)];
    let told = rates.map(|(n, before, after, within)| found(Evaluation, [2, 20, within], &share(n, before), &share(n, after)));
    assert_eq!(told, [391, 177, 393]);
    let scores = found(Evaluation, [8, 20, 10], &mean(4.0, 0.2, 0.0), &mean(3.0, 0.2, 0.0));
    let lengths = found(Usage, [10, 20, 10], &mean(300.0, 20.0, 0.0), &mean(450.0, 20.0, 0.0));
    assert_eq!((scores, lengths), (309, 400));
}
