//! Showback: what each team's month comes to, its own spend and its part of what is shared, from the hourly roll-ups.
//!
//! Each measure and currency by itself. A roll-up is shared by the first rule that covers it; what is shared is taken from the team it was
//! booked to and split once, over the whole time, so that the parts are the whole to the nano. Shares are split by what teams spend
//! themselves, never by shares they were given: no rule depends on another.

use std::collections::BTreeMap;

use crate::model::Text;
use crate::model::allocation::SharedCost;
use crate::model::hash::hash128;
use crate::model::leaf::{Leaf, Measure};
use crate::model::money::{Currency, Nanos};
use crate::model::rollup::SpendRollup;

/// What leaves spent within a time: the last roll-up of each key. An hour has one key, whatever is added to it later has keys of its own.
#[derive(Debug, Default)]
pub struct Spend {
    /// Each leaf's number.
    leaves: BTreeMap<Leaf, usize>,
    /// The leaf's number and the cost, by a hash of the key.
    newest: BTreeMap<u128, (usize, Nanos)>,
}

/// One team's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What it spends itself, without what is shared.
    pub direct: Nanos,
    /// Its part of each rule's cost, by the rule's name.
    pub shares: BTreeMap<Text, Nanos>,
}

/// One measure and currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showback {
    pub measure: Measure,
    pub currency: Currency,
    pub teams: BTreeMap<Text, Line>,
    /// By rule: the whole of what was split, by whom it was booked.
    pub shared: BTreeMap<Text, Nanos>,
    /// Rules whose cost stays where it was booked, because nobody is there to take it.
    pub unallocated: BTreeMap<Text, Nanos>,
}

impl Line {
    pub fn total(&self) -> Nanos {
        self.shares.values().fold(self.direct, |sum, share| sum.saturating_add(*share))
    }
}

impl Showback {
    pub fn total(&self) -> Nanos {
        self.teams.values().fold(Nanos::ZERO, |sum, line| sum.saturating_add(line.total()))
    }
}

impl Spend {
    /// Takes a roll-up, in the order of the topic: it replaces what its key had, whatever their revisions are. After a reset they begin
    /// again.
    pub fn add(&mut self, key: &[u8], rollup: &SpendRollup) {
        let next = self.leaves.len();
        let leaf = *self.leaves.entry(rollup.leaf.clone()).or_insert(next);
        self.newest.insert(hash128(&[key]), (leaf, rollup.cost));
    }

    /// The topic no longer has the key.
    pub fn remove(&mut self, key: &[u8]) {
        self.newest.remove(&hash128(&[key]));
    }

    /// By measure and currency; what was converted counts as what it was converted into.
    pub fn showback(&self, rules: &[SharedCost]) -> Vec<Showback> {
        let mut kinds: BTreeMap<(Measure, Currency), Vec<(&Leaf, Nanos)>> = BTreeMap::new();
        let mut sums: BTreeMap<usize, Nanos> = BTreeMap::new();
        for (leaf, cost) in self.newest.values() {
            let sum = sums.entry(*leaf).or_default();
            *sum = sum.saturating_add(*cost);
        }
        for (leaf, number) in self.leaves.iter().filter(|(leaf, _)| !leaf.measure.is_original()) {
            let Some(cost) = sums.get(number) else { continue };
            kinds.entry((leaf.measure, leaf.currency)).or_default().push((leaf, *cost));
        }
        kinds.into_iter().map(|((measure, currency), leaves)| of_kind(measure, currency, &leaves, rules)).collect()
    }
}

fn of_kind(measure: Measure, currency: Currency, leaves: &[(&Leaf, Nanos)], rules: &[SharedCost]) -> Showback {
    let mut showback = Showback { measure, currency, teams: BTreeMap::new(), shared: BTreeMap::new(), unallocated: BTreeMap::new() };
    let mut direct: BTreeMap<Text, Nanos> = BTreeMap::new();
    // By rule, then the team that it is booked to.
    let mut booked: BTreeMap<usize, BTreeMap<Text, Nanos>> = BTreeMap::new();
    for (leaf, cost) in leaves {
        let sums = match rules.iter().position(|rule| rule.covers(leaf)) {
            Some(rule) => booked.entry(rule).or_default(),
            None => &mut direct,
        };
        add(sums, &leaf.team, *cost);
    }
    for (rule, booked) in booked {
        let Some(rule) = rules.get(rule) else { continue };
        let amount = booked.values().fold(Nanos::ZERO, |sum, cost| sum.saturating_add(*cost));
        let to = match rule.split(amount, &direct) {
            Some(parts) => {
                showback.shared.insert(rule.name.clone(), amount);
                parts
            }
            None => {
                showback.unallocated.insert(rule.name.clone(), amount);
                booked
            }
        };
        for (team, part) in to {
            add(&mut showback.teams.entry(team).or_default().shares, &rule.name, part);
        }
    }
    for (team, cost) in direct {
        showback.teams.entry(team).or_default().direct = cost;
    }
    showback
}

fn add(sums: &mut BTreeMap<Text, Nanos>, name: &Text, amount: Nanos) {
    let sum = sums.entry(name.clone()).or_default();
    *sum = sum.saturating_add(amount);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::allocation::Split;
    use crate::model::time::Hour;
    use crate::model::wire::rollup_id;

    fn rollup(team: &str, project: &str, hour: i64, revision: u32, cost: &str) -> SpendRollup {
        let leaf = Leaf {
            team: team.into(),
            project: project.into(),
            model: "m".into(),
            provider: "openai".into(),
            region: "".into(),
            environment: "prod".into(),
            meter: "llm.tokens".into(),
            currency: Currency::USD,
            measure: Measure::Billed,
        };
        SpendRollup {
            leaf,
            period_start: Hour(hour).start(),
            period_end: Hour(hour).end(),
            revision,
            cost: cost.parse().unwrap(),
            quantity: Nanos::ZERO,
            events: 1,
            unpriced_events: 0,
            requests: 0,
            tokens_input: 0,
            tokens_output: 0,
            tokens_cached_input: 0,
            tokens_cache_write: 0,
            tokens_reasoning: 0,
        }
    }

    fn rule(name: &str, project: &str, split: Split) -> SharedCost {
        SharedCost {
            name: name.into(),
            team: Some("platform".into()),
            project: Some(project.into()),
            model: None,
            provider: None,
            environment: None,
            split,
        }
    }

    /// Under the key that it has on the topic; supplements have one each.
    fn add(spend: &mut Spend, supplement: &str, rollup: &SpendRollup) {
        spend.add(format!("{}{supplement}", rollup_id(rollup)).as_bytes(), rollup);
    }

    fn money(text: &str) -> Nanos {
        text.parse().unwrap()
    }

    #[test]
    fn shares_follow_their_rules_and_nothing_is_made_or_lost() {
        let mut spend = Spend::default();
        for rollup in [
            rollup("search", "ranker", 1, 1, "60"),
            rollup("ads", "bidder", 1, 1, "20"),
            // Restated.
            rollup("ads", "bidder", 2, 1, "70"),
            rollup("ads", "bidder", 2, 3, "10"),
            rollup("platform", "gateway", 1, 1, "10"),
            rollup("platform", "cluster", 1, 1, "100"),
            rollup("platform", "support", 1, 1, "0.000000010"),
            rollup("platform", "own", 1, 1, "5"),
        ] {
            add(&mut spend, "", &rollup);
        }
        add(&mut spend, "/late/3-1", &rollup("ads", "bidder", 2, 0, "10"));
        let both: BTreeSet<Text> = ["search".into(), "ads".into(), "maps".into()].into();
        let rules = [
            rule("gateway", "gateway", Split::Proportional(Some(["search".into(), "ads".into()].into()))),
            rule("cluster", "cluster", Split::Fixed([("search".into(), money("75")), ("ads".into(), money("25"))].into())),
            rule("support", "support", Split::Even(both)),
        ];
        let [showback] = &spend.showback(&rules)[..] else { panic!("one measure and currency") };
        let total = |team: &str| showback.teams[team].total();
        // 60 of 100 direct, 75 % of the cluster, a third of ten nanos.
        assert_eq!(showback.teams["search"].shares["gateway"], money("6"));
        assert_eq!(total("search"), money("141.000000003"));
        assert_eq!(total("ads"), money("69.000000004"), "of equals the first gets what is left over");
        assert_eq!((total("maps"), total("platform")), (money("0.000000003"), money("5")));
        assert_eq!(showback.total(), money("215.000000010"));
        assert_eq!(showback.shared["cluster"], money("100"));
    }

    /// A reset writes what is computed again under the same keys, and counts revisions from 1 again.
    #[test]
    fn the_last_roll_up_of_a_key_holds() {
        let mut spend = Spend::default();
        let total = |spend: &Spend| spend.showback(&[]).first().map(|showback| showback.total().to_string());
        add(&mut spend, "", &rollup("ads", "bidder", 1, 1, "70"));
        add(&mut spend, "", &rollup("ads", "bidder", 1, 4, "75"));
        add(&mut spend, "/late/3-1", &rollup("ads", "bidder", 1, 0, "5"));
        add(&mut spend, "/late/3-2", &rollup("ads", "bidder", 1, 0, "2"));
        assert_eq!(total(&spend).as_deref(), Some("82"));
        // Attributed otherwise now; what came late comes late again.
        add(&mut spend, "", &rollup("ads", "bidder", 1, 1, "40"));
        add(&mut spend, "/late/3-1", &rollup("ads", "bidder", 1, 0, "4"));
        assert_eq!(total(&spend).as_deref(), Some("46"));
        spend.remove(format!("{}/late/3-2", rollup_id(&rollup("ads", "bidder", 1, 0, "2"))).as_bytes());
        assert_eq!(total(&spend).as_deref(), Some("44"));
        for end in ["", "/late/3-1"] {
            spend.remove(format!("{}{end}", rollup_id(&rollup("ads", "bidder", 1, 1, "40"))).as_bytes());
        }
        assert_eq!(total(&spend), None, "nothing is left");
    }

    #[test]
    fn what_nobody_takes_stays_where_it_was_booked() {
        let mut spend = Spend::default();
        add(&mut spend, "", &rollup("platform", "gateway", 1, 1, "10"));
        let rules = [rule("gateway", "gateway", Split::Proportional(None))];
        let showback = &spend.showback(&rules)[0];
        assert_eq!((showback.teams["platform"].total(), &showback.unallocated["gateway"]), (money("10"), &money("10")));
    }
}
