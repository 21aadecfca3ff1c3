//! Sets of origins, each kept once: a graph of a million nodes has few different ones.

use std::collections::BTreeMap;

use crate::model::Text;

/// Place of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetId(u32);

/// Of no origin.
pub const NOTHING: SetId = SetId(0);

type Members = Box<[u16]>;

#[derive(Clone, Debug)]
pub struct Sets {
    names: Vec<Text>,
    numbers: BTreeMap<Text, u16>,
    sets: Vec<Members>,
    places: BTreeMap<Members, SetId>,
}

impl Default for Sets {
    fn default() -> Sets {
        let nothing = Members::default();
        Sets { names: Vec::new(), numbers: BTreeMap::new(), sets: vec![nothing.clone()], places: BTreeMap::from([(nothing, NOTHING)]) }
    }
}

impl Sets {
    /// The set of these names. `None`: there are more different origins than the graph can tell apart (65,535).
    pub fn of(&mut self, names: &[Text]) -> Option<SetId> {
        let mut numbers = Vec::with_capacity(names.len());
        for name in names {
            numbers.push(self.number(name)?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Some(self.place(numbers))
    }

    pub fn union(&mut self, a: SetId, b: SetId) -> SetId {
        if a == b || b == NOTHING {
            return a;
        }
        if a == NOTHING {
            return b;
        }
        let mut both = [self.members(a), self.members(b)].concat();
        both.sort_unstable();
        both.dedup();
        self.place(both)
    }

    pub fn intersection(&mut self, a: SetId, b: SetId) -> SetId {
        let of_b = self.members(b);
        let both = self.members(a).iter().filter(|number| of_b.contains(number)).copied().collect();
        self.place(both)
    }

    pub fn contains(&self, set: SetId, name: &str) -> bool {
        self.numbers.get(name).is_some_and(|number| self.members(set).contains(number))
    }

    /// Its names, sorted.
    pub fn names(&self, set: SetId) -> Vec<Text> {
        let mut names: Vec<Text> = self.members(set).iter().filter_map(|number| self.names.get(usize::from(*number)).cloned()).collect();
        names.sort();
        names
    }

    fn members(&self, set: SetId) -> &[u16] {
        usize::try_from(set.0).ok().and_then(|place| self.sets.get(place)).map_or(&[], AsRef::as_ref)
    }

    fn number(&mut self, name: &Text) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u16::try_from(self.names.len()).ok().filter(|number| *number < u16::MAX)?;
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        Some(number)
    }

    fn place(&mut self, members: Vec<u16>) -> SetId {
        let members = members.into_boxed_slice();
        if let Some(place) = self.places.get(&members) {
            return *place;
        }
        let place = SetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        assert!(place.0 < u32::MAX, "a graph has fewer different sets of origins than nodes");
        self.sets.push(members.clone());
        self.places.insert(members, place);
        place
    }
}
