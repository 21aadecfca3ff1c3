//! Which few combinations of dimension values moved together, and how much of the deviation each of them explains.
//!
//! If a combination is the cause, its leaves changed by about the same ratio (the ripple effect of HotSpot, 2018) and others did not.
//! Each combination of up to three dimensions is scored by how much better a ratio of its own describes its leaves than the noise that
//! all leaves have: a likelihood ratio in nats, less what it costs to say which of the many combinations is meant (minimum description
//! length). A wider combination loses by the leaves in it that did not move, a narrower one by the moved leaves outside of it. The best
//! one is taken, its leaves are set aside, and so on; what was taken is looked at again in the light of what came later.

use super::groups::{Cuboid, cuboids};
use super::noise::{Log, logs};

/// So many combinations are named at most.
const MOST_GROUPS: usize = 3;
/// Least gain, of the total absolute deviation, for a combination to be worth naming: it must matter in money, too.
const LEAST_GAIN: f64 = 0.025;
/// Degrees of freedom of the noise: heavier tails than the normal distribution's, so that no single odd leaf makes a cause.
const DEGREES: f64 = 5.0;
/// Leaves of one combination may differ by so much from their common ratio, on the scale of logarithms.
const MOST_SPREAD: f64 = 0.5;
/// Least uncertainty of a leaf as a witness of the common ratio: without it a handful of exact leaves would decide alone.
const LEAST_DOUBT: f64 = 0.05;
/// Probability of a leaf that nobody expected, and weight of what is thought before looking at a combination.
const UNEXPECTED: f64 = 0.005;
const PRIOR: f64 = 0.2;
/// Expectations below this share of the total count as none: what was spent there is new.
pub(super) const NOTHING: f64 = 1e-9;

/// Leaves as columns: `codes[dimension][leaf]` is a dense number of the leaf's value, below `sizes[dimension]`.
#[derive(Clone, Debug)]
pub struct Table {
    pub codes: Vec<Vec<u32>>,
    pub sizes: Vec<u32>,
    pub expected: Vec<f64>,
    pub actual: Vec<f64>,
}

/// One combination of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Dimension and code, by dimension.
    pub values: Vec<(usize, u32)>,
    pub expected: f64,
    pub actual: f64,
    /// Part of the total absolute deviation that lies in its leaves.
    pub deviation: f64,
}

/// What is known of the leaves before any combination is tried.
struct Case<'a> {
    table: &'a Table,
    cuboids: Vec<Cuboid>,
    logs: Vec<Log>,
    /// Absolute deviations, and their sum.
    deviations: Vec<f64>,
    total: f64,
    least_expected: f64,
    /// What each group of each cuboid saves as long as no leaf is taken; `None` where that is not worth naming.
    scores: Vec<Vec<Option<f64>>>,
}

/// A combination that has been taken: cuboid, group in it, nats that it saves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Taken {
    cuboid: usize,
    group: u32,
    score: f64,
}

/// Sums over the live leaves of one combination.
#[derive(Clone, Copy, Default)]
struct Sums {
    expected: f64,
    actual: f64,
    weight: f64,
    weighted: f64,
    known: f64,
    new: f64,
    /// Mean log ratio, and the variance about it that noise does not account for.
    centre: f64,
    spread: f64,
}

/// The combinations that explain most, largest deviation first; none when all leaves moved alike or nothing stands out.
pub fn groups(table: &Table) -> Vec<Group> {
    let deviations: Vec<f64> = table.actual.iter().zip(&table.expected).map(|(actual, expected)| (actual - expected).abs()).collect();
    let total: f64 = deviations.iter().sum();
    if total <= 0.0 || !total.is_finite() {
        return Vec::new();
    }
    let least_expected = NOTHING * table.expected.iter().sum::<f64>().max(total);
    let logs = logs(table, least_expected);
    let leaves = table.actual.len();
    let mut case = Case { table, cuboids: cuboids(table), logs, deviations, total, least_expected, scores: Vec::new() };
    let is_live = vec![true; leaves];
    let scores = |cuboid: &Cuboid| (0..cuboid.groups).map(|group| case.score(cuboid, group, &is_live, true)).collect();
    case.scores = case.cuboids.iter().map(scores).collect();
    let is_known = case.is_known();
    if !is_known.contains(&true) {
        return Vec::new();
    }
    let whole = case.score(&Cuboid::whole(leaves), 0, &is_known, false).unwrap_or(0.0);
    let mut taken: Vec<Taken> = Vec::new();
    while taken.len() < MOST_GROUPS {
        let Some(best) = case.best(&taken) else { break };
        taken.push(best);
        // The last one was chosen in the light of all others; these were not.
        for at in 0..taken.len() - 1 {
            let others: Vec<Taken> = taken.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other).collect();
            if let Some(better) = case.best(&others).filter(|better| better.score > taken[at].score) {
                taken[at] = better;
            }
        }
    }
    let mut groups: Vec<Group> = (0..taken.len()).map(|at| case.group(&taken, at)).collect();
    // All leaves by one ratio: what everything did has no cause among them. Nothing had a ratio that is new, and what is beside is no habit
    // of the whole.
    if whole >= (0..taken.len()).filter_map(|at| case.score_of_known(&taken, at, &is_known)).sum() {
        groups.retain(|group| group.expected <= case.least_expected);
    }
    groups.sort_by(|a, b| b.deviation.total_cmp(&a.deviation));
    groups
}

impl Case<'_> {
    /// The leaves that have a ratio.
    fn is_known(&self) -> Vec<bool> {
        self.logs.iter().map(|log| matches!(log, Log::Known { .. })).collect()
    }

    /// What the one at `at` saves with those of its leaves that have a ratio; `None` if none has.
    fn score_of_known(&self, taken: &[Taken], at: usize, is_known: &[bool]) -> Option<f64> {
        let Taken { cuboid, group, .. } = taken[at];
        let cuboid = &self.cuboids[cuboid];
        let is_live: Vec<bool> = is_known.iter().enumerate().map(|(leaf, known)| *known && !self.is_taken(leaf, &taken[..at])).collect();
        let has_any = cuboid.leaves_of(group as usize).iter().any(|leaf| is_live[*leaf as usize]);
        let score = self.score(cuboid, group as usize, &is_live, false).filter(|_| has_any)?;
        Some(score - self.cost(cuboid))
    }

    /// Nats that it takes to say which cuboid, which of its groups, and that there is one at all.
    fn cost(&self, cuboid: &Cuboid) -> f64 {
        let ways = (self.cuboids.len() * cuboid.groups * self.logs.len()) as f64;
        libm::log(ways.max(1.0))
    }

    /// The combination that saves most, if any saves anything, among the leaves that none of `taken` has.
    fn best(&self, taken: &[Taken]) -> Option<Taken> {
        let mut is_live = vec![true; self.logs.len()];
        let gone: Vec<u32> = taken.iter().flat_map(|taken| self.cuboids[taken.cuboid].leaves_of(taken.group as usize)).copied().collect();
        gone.iter().for_each(|leaf| is_live[*leaf as usize] = false);
        let mut best: Option<Taken> = None;
        for (cuboid, candidate) in self.cuboids.iter().enumerate() {
            let cost = self.cost(candidate);
            // Groups that have lost no leaf are what they were.
            let mut scores = self.scores[cuboid].clone();
            let mut changed: Vec<u32> = gone.iter().map(|leaf| candidate.group_of[*leaf as usize]).collect();
            changed.sort_unstable();
            changed.dedup();
            for group in changed {
                scores[group as usize] = self.score(candidate, group as usize, &is_live, true);
            }
            for (group, score) in (0..).zip(scores) {
                let Some(score) = score.map(|score| score - cost) else { continue };
                // Of equal ones the coarsest wins, which comes first.
                if score > best.map_or(0.0, |best| best.score) {
                    best = Some(Taken { cuboid, group, score });
                }
            }
        }
        best
    }

    /// Nats that a group of a cuboid saves with its live leaves; `None` where its gain is too small, if that is asked for.
    fn score(&self, cuboid: &Cuboid, group: usize, is_live: &[bool], has_to_gain: bool) -> Option<f64> {
        let leaves = || cuboid.leaves_of(group).iter().map(|leaf| *leaf as usize).filter(|leaf| is_live[*leaf]);
        // Most groups are so small that no ratio could gain enough.
        if has_to_gain && leaves().map(|leaf| self.deviations[leaf]).sum::<f64>() < 0.999 * LEAST_GAIN * self.total {
            return None;
        }
        let mut sums = Sums::default();
        for leaf in leaves() {
            self.add(leaf, &mut sums);
        }
        let gain: f64 = leaves().map(|leaf| self.saved(leaf, &sums) / self.total).sum();
        if has_to_gain && gain < LEAST_GAIN {
            return None;
        }
        sums.centre = if sums.weight > 0.0 { sums.weighted / sums.weight } else { 0.0 };
        for leaf in leaves() {
            if let Log::Known { ratio, noise, .. } = self.logs[leaf] {
                let from_centre = ratio - sums.centre;
                sums.spread += (from_centre * from_centre - noise * noise) / sums.known;
            }
        }
        sums.spread = sums.spread.clamp(0.0, MOST_SPREAD * MOST_SPREAD);
        // Two parameters, each known to one part in the root of the number of leaves.
        let parameters = libm::log((sums.known + sums.new).max(1.0));
        Some(leaves().fold(-parameters, |score, leaf| score + self.nats(leaf, &sums)))
    }

    fn add(&self, leaf: usize, sums: &mut Sums) {
        sums.expected += self.table.expected[leaf];
        sums.actual += self.table.actual[leaf];
        match self.logs[leaf] {
            Log::Known { ratio, noise, .. } => {
                let weight = 1.0 / (noise * noise + LEAST_DOUBT * LEAST_DOUBT);
                sums.weight += weight;
                sums.weighted += weight * ratio;
                sums.known += 1.0;
            }
            Log::New => sums.new += 1.0,
            Log::Nothing => {}
        }
    }

    /// How much of a leaf's deviation its group's ratio explains. A group that is new as a whole explains all of it.
    fn saved(&self, leaf: usize, sums: &Sums) -> f64 {
        if sums.expected <= self.least_expected {
            return self.deviations[leaf];
        }
        self.deviations[leaf] - (self.table.actual[leaf] - self.table.expected[leaf] * sums.actual / sums.expected).abs()
    }

    /// How much likelier the leaf is as a part of its group than as noise.
    fn nats(&self, leaf: usize, sums: &Sums) -> f64 {
        let new = (sums.new + PRIOR) / (sums.known + sums.new + 2.0 * PRIOR);
        match self.logs[leaf] {
            Log::Known { ratio, noise, surprise } => {
                let scale = libm::sqrt(noise * noise + sums.spread);
                let within = tail((ratio - sums.centre) / scale) + libm::log(scale / noise);
                libm::log((1.0 - new) / (1.0 - UNEXPECTED)) + surprise - within
            }
            Log::New => libm::log(new / UNEXPECTED),
            Log::Nothing => 0.0,
        }
    }

    fn is_taken(&self, leaf: usize, taken: &[Taken]) -> bool {
        taken.iter().any(|taken| self.cuboids[taken.cuboid].group_of[leaf] == taken.group)
    }

    /// Sums and values of the one at `at`, over the leaves that those before it have not.
    fn group(&self, taken: &[Taken], at: usize) -> Group {
        let Taken { cuboid, group: wanted, .. } = taken[at];
        let cuboid = &self.cuboids[cuboid];
        let mut group = Group { values: Vec::new(), expected: 0.0, actual: 0.0, deviation: 0.0 };
        for leaf in cuboid.leaves_of(wanted as usize).iter().map(|leaf| *leaf as usize) {
            if group.values.is_empty() {
                group.values = cuboid.dimensions.iter().map(|&dimension| (dimension, self.table.codes[dimension][leaf])).collect();
            }
            if !self.is_taken(leaf, &taken[..at]) {
                group.expected += self.table.expected[leaf];
                group.actual += self.table.actual[leaf];
                group.deviation += self.deviations[leaf] / self.total;
            }
        }
        group
    }
}

/// Nats by which a value so many scales off is less likely than the centre: Student's t.
pub(super) fn tail(scales: f64) -> f64 {
    (DEGREES + 1.0) / 2.0 * libm::log1p(scales * scales / DEGREES)
}
