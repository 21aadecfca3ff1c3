//! Greedy ripple gain: which few combinations of dimension values moved together, and how much of the deviation that explains.
//!
//! If a combination is the cause, each of its leaves changed by the same ratio (the ripple effect of HotSpot, 2018). The gain of a
//! combination is the deviation that disappears when its common ratio is applied (DETECTION.md, section 4).

/// Combinations have at most this many dimensions, and at most so many are named.
const MOST_DIMENSIONS: usize = 3;
const MOST_GROUPS: usize = 3;
/// Each further dimension must pay for itself.
const FINER: f64 = 0.95;
/// Least gain, of the total absolute deviation; at this gate no quiet case got a false cause (DETECTION.md, section 4).
const LEAST_GAIN: f64 = 0.03;
/// Expectations below this share of the total count as none: what was spent there is new.
const NOTHING: f64 = 1e-9;

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
    /// Part of the total absolute deviation that it explains, less what its dimensions cost.
    pub gain: f64,
}

/// Leaves grouped by one combination of dimensions.
struct Cuboid {
    dimensions: Vec<usize>,
    /// Group of each leaf, dense.
    group_of: Vec<u32>,
    groups: usize,
}

/// The combinations that explain most, best first; none when all leaves moved alike or nothing stands out.
pub fn groups(table: &Table) -> Vec<Group> {
    let deviations = table.actual.iter().zip(&table.expected).map(|(actual, expected)| (actual - expected).abs());
    let total: f64 = deviations.sum();
    if total <= 0.0 || !total.is_finite() {
        return Vec::new();
    }
    let cuboids = cuboids(table);
    let mut done = vec![false; table.actual.len()];
    let mut found: Vec<Group> = Vec::new();
    while found.len() < MOST_GROUPS {
        let mut best: Option<(f64, &Cuboid, usize)> = None;
        for cuboid in &cuboids {
            let handicap = (1..cuboid.dimensions.len()).fold(1.0, |handicap, _| handicap * FINER);
            for (group, gain) in gains(table, cuboid, &done, total).into_iter().enumerate() {
                if best.is_none_or(|(most, ..)| gain * handicap > most) {
                    best = Some((gain * handicap, cuboid, group));
                }
            }
        }
        let Some((gain, cuboid, group)) = best.filter(|(gain, ..)| *gain >= LEAST_GAIN) else { break };
        if found.is_empty() && gain <= gain_of_whole(table, total) {
            break;
        }
        found.push(take(table, cuboid, group, gain, &mut done));
    }
    found
}

/// Sums a group's live leaves and marks them as explained.
fn take(table: &Table, cuboid: &Cuboid, group: usize, gain: f64, done: &mut [bool]) -> Group {
    let mut taken = Group { values: Vec::new(), expected: 0.0, actual: 0.0, gain };
    for (leaf, of) in cuboid.group_of.iter().enumerate() {
        if *of as usize != group {
            continue;
        }
        if taken.values.is_empty() {
            taken.values = cuboid.dimensions.iter().map(|&dimension| (dimension, table.codes[dimension][leaf])).collect();
        }
        if !done[leaf] {
            taken.expected += table.expected[leaf];
            taken.actual += table.actual[leaf];
            done[leaf] = true;
        }
    }
    taken
}

/// Gain of each group over the leaves not explained yet, as a part of the total deviation.
fn gains(table: &Table, cuboid: &Cuboid, done: &[bool], total: f64) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); cuboid.groups];
    for (leaf, group) in cuboid.group_of.iter().enumerate() {
        if !done[leaf] {
            let sum: &mut (f64, f64) = &mut sums[*group as usize];
            sum.0 += table.expected[leaf];
            sum.1 += table.actual[leaf];
        }
    }
    let mut gains = vec![0.0; cuboid.groups];
    for (leaf, group) in cuboid.group_of.iter().enumerate() {
        if !done[leaf] {
            let (expected, actual) = sums[*group as usize];
            gains[*group as usize] += saved(table.expected[leaf], table.actual[leaf], expected, actual, total) / total;
        }
    }
    gains
}

/// Gain of "everything changed by the same ratio".
fn gain_of_whole(table: &Table, total: f64) -> f64 {
    let (expected, actual) = (table.expected.iter().sum(), table.actual.iter().sum());
    let leaves = table.expected.iter().zip(&table.actual);
    leaves.map(|(own_expected, own_actual)| saved(*own_expected, *own_actual, expected, actual, total) / total).sum()
}

/// How much of a leaf's deviation its group's ratio explains. A group that is new as a whole explains all of it.
fn saved(own_expected: f64, own_actual: f64, group_expected: f64, group_actual: f64, total: f64) -> f64 {
    let deviation = (own_actual - own_expected).abs();
    if group_expected <= NOTHING * total {
        return deviation;
    }
    deviation - (own_actual - own_expected * group_actual / group_expected).abs()
}

/// All combinations of one to three dimensions that tell leaves apart, coarse ones first: of equal gains the coarsest wins.
fn cuboids(table: &Table) -> Vec<Cuboid> {
    let useful: Vec<usize> = (0..table.sizes.len()).filter(|&dimension| table.sizes[dimension] > 1).collect();
    let mut combinations: Vec<Vec<usize>> = vec![Vec::new()];
    let mut all = Vec::new();
    for _ in 0..MOST_DIMENSIONS {
        let mut longer = Vec::new();
        for combination in &combinations {
            let above = combination.last().copied();
            for &dimension in useful.iter().filter(|&&dimension| above.is_none_or(|last| dimension > last)) {
                let mut extended = combination.clone();
                extended.push(dimension);
                all.push(cuboid(table, extended.clone()));
                longer.push(extended);
            }
        }
        combinations = longer;
    }
    all
}

fn cuboid(table: &Table, dimensions: Vec<usize>) -> Cuboid {
    let mut keys = vec![0_u64; table.actual.len()];
    for &dimension in &dimensions {
        let size = u64::from(table.sizes[dimension]);
        for (key, code) in keys.iter_mut().zip(&table.codes[dimension]) {
            *key = *key * size + u64::from(*code);
        }
    }
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let group_of = keys.iter().map(|key| distinct.partition_point(|other| other < key) as u32).collect();
    Cuboid { dimensions, group_of, groups: distinct.len() }
}
