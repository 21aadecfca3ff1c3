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
use crate::model::time::Timestamp;

/// What leaves spent within a time: the newest revision of each hour, and what was added later.
#[derive(Debug, Default)]
pub struct Spend {
    leaves: BTreeMap<Leaf, Nanos>,
    /// Revision and cost of a leaf's hour, by a hash of both.
    newest: BTreeMap<u128, (u32, Nanos)>,
    pub read: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
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
    /// Takes a roll-up, in whatever order they come; one of an hour that is known replaces it if it is newer.
    pub fn add(&mut self, rollup: &SpendRollup) {
        self.read = self.read.saturating_add(1);
        self.first = Some(self.first.map_or(rollup.period_start, |first| first.min(rollup.period_start)));
        self.last = Some(self.last.map_or(rollup.period_end, |last| last.max(rollup.period_end)));
        let mut added = rollup.cost;
        // Revision 0 is an amount that comes on top.
        if rollup.revision > 0 {
            let known = self.newest.entry(name_of(rollup)).or_default();
            if rollup.revision < known.0 {
                return;
            }
            added = rollup.cost.saturating_sub(known.1);
            *known = (rollup.revision, rollup.cost);
        }
        let sum = self.leaves.entry(rollup.leaf.clone()).or_default();
        *sum = sum.saturating_add(added);
    }

    /// By measure and currency; what was converted counts as what it was converted into.
    pub fn showback(&self, rules: &[SharedCost]) -> Vec<Showback> {
        let mut kinds: BTreeMap<(Measure, Currency), Vec<(&Leaf, Nanos)>> = BTreeMap::new();
        for (leaf, cost) in self.leaves.iter().filter(|(leaf, _)| !leaf.measure.is_original()) {
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

/// Of a leaf and its hour.
fn name_of(rollup: &SpendRollup) -> u128 {
    let Leaf { team, project, model, provider, region, environment, meter, currency, measure } = &rollup.leaf;
    let start = rollup.period_start.0.to_be_bytes();
    let texts = [team, project, model, provider, region, environment, meter].map(|text| text.as_bytes());
    let parts: Vec<&[u8]> = texts.into_iter().chain([currency.as_str().as_bytes(), measure.as_str().as_bytes(), &start]).collect();
    hash128(&parts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::allocation::Split;
    use crate::model::time::Hour;

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

    fn money(text: &str) -> Nanos {
        text.parse().unwrap()
    }

    #[test]
    fn shares_follow_their_rules_and_nothing_is_made_or_lost() {
        let mut spend = Spend::default();
        for rollup in [
            rollup("search", "ranker", 1, 1, "60"),
            rollup("ads", "bidder", 1, 1, "20"),
            // Restated, and older revisions that come late.
            rollup("ads", "bidder", 2, 3, "10"),
            rollup("ads", "bidder", 2, 1, "70"),
            rollup("ads", "bidder", 2, 0, "10"),
            rollup("platform", "gateway", 1, 1, "10"),
            rollup("platform", "cluster", 1, 1, "100"),
            rollup("platform", "support", 1, 1, "0.000000010"),
            rollup("platform", "own", 1, 1, "5"),
        ] {
            spend.add(&rollup);
        }
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

    #[test]
    fn what_nobody_takes_stays_where_it_was_booked() {
        let mut spend = Spend::default();
        spend.add(&rollup("platform", "gateway", 1, 1, "10"));
        let rules = [rule("gateway", "gateway", Split::Proportional(None))];
        let showback = &spend.showback(&rules)[0];
        assert_eq!((showback.teams["platform"].total(), &showback.unallocated["gateway"]), (money("10"), &money("10")));
    }
}
