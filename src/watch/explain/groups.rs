//! Leaves grouped by each combination of up to three dimensions.

use super::ripple::Table;

/// Combinations have at most this many dimensions.
const MOST_DIMENSIONS: usize = 3;
/// Numbers of groups are made dense by a table of so many places per leaf; where it would be larger, by sorting.
const PLACES_PER_LEAF: usize = 8;

/// Leaves grouped by one combination of dimensions.
pub struct Cuboid {
    pub dimensions: Vec<usize>,
    /// Group of each leaf, dense.
    pub group_of: Vec<u32>,
    pub groups: usize,
    /// Leaves in the order of their groups, and where each group begins; one place more for the end of the last.
    leaves: Vec<u32>,
    begins: Vec<u32>,
}

impl Cuboid {
    /// All leaves in one group.
    pub fn whole(leaves: usize) -> Cuboid {
        Cuboid::new(Vec::new(), vec![0; leaves], 1)
    }

    fn new(dimensions: Vec<usize>, group_of: Vec<u32>, groups: usize) -> Cuboid {
        let mut begins = vec![0; groups + 1];
        group_of.iter().for_each(|group| begins[*group as usize + 1] += 1);
        for group in 0..groups {
            begins[group + 1] += begins[group];
        }
        let mut next = begins.clone();
        let mut leaves = vec![0; group_of.len()];
        for (leaf, group) in (0..).zip(&group_of) {
            let place = &mut next[*group as usize];
            leaves[*place as usize] = leaf;
            *place += 1;
        }
        Cuboid { dimensions, group_of, groups, leaves, begins }
    }

    /// Leaves of a group, in their order.
    pub fn leaves_of(&self, group: usize) -> &[u32] {
        &self.leaves[self.begins[group] as usize..self.begins[group + 1] as usize]
    }
}

/// All combinations of one to three dimensions that tell leaves apart, coarse ones first.
pub fn cuboids(table: &Table) -> Vec<Cuboid> {
    let useful: Vec<usize> = (0..table.sizes.len()).filter(|&dimension| table.sizes[dimension] > 1).collect();
    let leaves = table.actual.len();
    let mut all: Vec<Cuboid> = Vec::new();
    let mut last = 0..0;
    for depth in 1..=MOST_DIMENSIONS {
        let mut longer = Vec::new();
        let whole = Cuboid::whole(leaves);
        let shorter = if depth == 1 { std::slice::from_ref(&whole) } else { &all[last.clone()] };
        for cuboid in shorter {
            let above = cuboid.dimensions.last().copied();
            for &dimension in useful.iter().filter(|&&dimension| above.is_none_or(|last| dimension > last)) {
                longer.push(divide(cuboid, table, dimension));
            }
        }
        last = all.len()..all.len() + longer.len();
        all.extend(longer);
    }
    all
}

/// Groups of a cuboid divided by one more dimension, in the order of their values.
fn divide(cuboid: &Cuboid, table: &Table, dimension: usize) -> Cuboid {
    let size = table.sizes[dimension] as usize;
    let keys = cuboid.group_of.iter().zip(&table.codes[dimension]).map(|(group, code)| *group as usize * size + *code as usize);
    let dimensions = cuboid.dimensions.iter().copied().chain([dimension]).collect();
    let places = cuboid.groups * size;
    if places <= PLACES_PER_LEAF * cuboid.group_of.len() + PLACES_PER_LEAF {
        let mut number_of = vec![u32::MAX; places];
        keys.clone().for_each(|key| number_of[key] = 0);
        let mut groups = 0;
        for number in number_of.iter_mut().filter(|number| **number == 0) {
            *number = groups;
            groups += 1;
        }
        return Cuboid::new(dimensions, keys.map(|key| number_of[key]).collect(), groups as usize);
    }
    let keys: Vec<usize> = keys.collect();
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let group_of = keys.iter().map(|key| distinct.partition_point(|other| other < key) as u32).collect();
    Cuboid::new(dimensions, group_of, distinct.len())
}
