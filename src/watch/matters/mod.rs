//! Matters: what is wrong without being a deviation of a series. Money for nothing (waste), money that is missing, budgets, usage that is
//! bought dearer than it has to be (advice).
//!
//! Each is kept under a name of its own and written whole whenever it changes, so that a restore has nothing to replay for it. `matter`
//! is the life of their alerts, which all have in common, `answers` what people say of them.

pub mod advice;
pub mod answers;
pub mod budget;
pub mod matter;
pub mod missing;
pub mod rules;
mod unwanted;
pub mod waste;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::advice::{Advice, Advised};
use self::answers::restored;
use self::budget::{Budget, Subject};
use self::missing::apart::{Apart, ApartName};
use self::missing::bill::{Day, DayName};
use self::missing::gap::Gap;
use self::missing::rate::Unconverted;
use self::missing::silence::Silence;
use self::missing::unpriced::Unpriced;
use self::missing::untagged::Untagged;
use self::waste::commitment::Commitment;
use self::waste::{Resource, Sizes};
use super::access::{Access, AccessKey};
use super::billed::{self, BilledHours};
use super::originals::{self, ConvertedHour};
use super::rules::WatchRules;
use super::shard::Shard;
use super::state::{StateError, encode, from_payload};
use crate::model::Text;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, LeafDimensions};
use crate::model::time::{Hour, Timestamp};

/// The name of what is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MatterKey {
    /// Team and the resource's own id.
    Resource(Text, Text),
    Gap(Account, LeafDimensions),
    Silence(Account, Text),
    Day(DayName),
    /// By the budget's name.
    Budget(Text),
    /// By account and provider.
    Untagged(Account, Text),
    /// What is billed of a leaf's hour.
    Billed(Account, LeafDimensions, Hour),
    Access(AccessKey),
    Advice(Account, LeafDimensions, Advised),
    /// What a budget is about, by its name.
    BudgetSubject(Text),
    /// Team and the resource's own id.
    Size(Text, Text),
    /// What was counted for a team of a budget that is another's by now: team and the budget's name.
    FormerBudget(Text, Text),
    /// Usage of an account at a provider has reported tokens of a prompt cache.
    Caches(Account, Text),
    /// What of a leaf's hour on a bill was counted in the currency that it was converted into.
    Converted(Account, LeafDimensions, Hour),
    /// Money without a rate.
    Unconverted(Account),
    /// By account, provider and service.
    Commitment(Account, Text, Text),
    /// Days of a bill that are wrong for one reason.
    Apart(ApartName),
    /// By account, provider and model.
    Unpriced(Account, Text, Text),
}

/// All that a shard keeps of matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matters {
    pub resources: BTreeMap<(Text, Text), Resource>,
    pub sizes: Sizes,
    pub gaps: BTreeMap<(Account, LeafDimensions), Gap>,
    /// By account and provider.
    pub silences: BTreeMap<(Account, Text), Silence>,
    pub days: BTreeMap<DayName, Day>,
    pub apart: BTreeMap<ApartName, Apart>,
    pub budgets: BTreeMap<Text, Budget>,
    /// By the budget's name, of all of `budgets`.
    pub subjects: BTreeMap<Text, Subject>,
    /// By team and name, of budgets that are another team's by now.
    pub former_budgets: BTreeMap<(Text, Text), Budget>,
    /// By account (of no team) and provider.
    pub untagged: BTreeMap<(Account, Text), Untagged>,
    pub billed: BilledHours,
    /// What of hours of a bill in another currency was counted so far.
    pub converted: BTreeMap<(Account, LeafDimensions, Hour), ConvertedHour>,
    /// Money that cannot be converted, by the account that it stays in.
    pub unconverted: BTreeMap<Account, Unconverted>,
    /// By account, provider and model.
    pub unpriced: BTreeMap<(Account, Text, Text), Unpriced>,
    /// By account, provider and service.
    pub commitments: BTreeMap<(Account, Text, Text), Commitment>,
    /// Who may use what, and who does.
    pub access: Access,
    pub advice: BTreeMap<(Account, LeafDimensions, Advised), Advice>,
    /// By account and provider, whose usage has reported tokens of a prompt cache: when first.
    pub caches: BTreeMap<(Account, Text), Hour>,
    /// Waits to be written with the next transaction.
    pub changed: BTreeSet<MatterKey>,
    /// When the first word ends, in shard time; `None`: to be looked up.
    pub next_lapse: Option<Timestamp>,
    /// Samples that were not looked at since their team has too many resources; since the start of the process.
    pub capped: u64,
}

impl Matters {
    pub fn take_changes(&mut self) -> Vec<(MatterKey, Option<Vec<u8>>)> {
        self.changed.extend(self.access.take_changed().map(MatterKey::Access));
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| (key.clone(), self.value(&key))).collect()
    }

    fn value(&self, key: &MatterKey) -> Option<Vec<u8>> {
        match key {
            MatterKey::Resource(team, id) => self.resources.get(&(team.clone(), id.clone())).map(encode),
            MatterKey::Gap(account, leaf) => self.gaps.get(&(account.clone(), leaf.clone())).map(encode),
            MatterKey::Silence(account, provider) => self.silences.get(&(account.clone(), provider.clone())).map(encode),
            MatterKey::Day(name) => self.days.get(name).map(encode),
            MatterKey::Apart(name) => self.apart.get(name).map(encode),
            MatterKey::Budget(name) => self.budgets.get(name).map(encode),
            MatterKey::Untagged(account, provider) => self.untagged.get(&(account.clone(), provider.clone())).map(encode),
            MatterKey::Billed(account, leaf, hour) => {
                self.billed.get(&(account.clone(), leaf.clone())).and_then(|hours| hours.get(hour)).map(encode)
            }
            MatterKey::Unpriced(account, provider, model) => {
                self.unpriced.get(&(account.clone(), provider.clone(), model.clone())).map(encode)
            }
            MatterKey::Access(key) => self.access.value(key),
            MatterKey::BudgetSubject(name) => self.subjects.get(name).map(encode),
            MatterKey::Size(team, id) => self.sizes.get(&(team.clone(), id.clone())).map(encode),
            MatterKey::FormerBudget(team, name) => self.former_budgets.get(&(team.clone(), name.clone())).map(encode),
            MatterKey::Caches(account, provider) => self.caches.get(&(account.clone(), provider.clone())).map(encode),
            MatterKey::Converted(account, leaf, hour) => self.converted.get(&(account.clone(), leaf.clone(), *hour)).map(encode),
            MatterKey::Unconverted(account) => self.unconverted.get(account).map(encode),
            MatterKey::Commitment(account, provider, service) => {
                self.commitments.get(&(account.clone(), provider.clone(), service.clone())).map(encode)
            }
            MatterKey::Advice(account, leaf, advised) => self.advice.get(&(account.clone(), leaf.clone(), *advised)).map(encode),
        }
    }

    /// # Errors
    /// Bytes that are not of the key's type.
    pub fn put(&mut self, key: MatterKey, payload: &[u8]) -> Result<(), StateError> {
        match key {
            MatterKey::Resource(team, id) => drop(self.resources.insert((team, id), restored(payload)?)),
            MatterKey::Gap(account, leaf) => drop(self.gaps.insert((account, leaf), restored(payload)?)),
            MatterKey::Silence(account, provider) => drop(self.silences.insert((account, provider), restored(payload)?)),
            MatterKey::Day(name) => drop(self.days.insert(name, restored(payload)?)),
            MatterKey::Apart(name) => drop(self.apart.insert(name, from_payload(payload)?)),
            MatterKey::Budget(name) => drop(self.budgets.insert(name, restored(payload)?)),
            MatterKey::Untagged(account, provider) => drop(self.untagged.insert((account, provider), restored(payload)?)),
            MatterKey::Billed(account, leaf, hour) => {
                self.billed.entry((account, leaf)).or_default().insert(hour, from_payload(payload)?);
            }
            MatterKey::Unpriced(account, provider, model) => {
                drop(self.unpriced.insert((account, provider, model), from_payload(payload)?));
            }
            MatterKey::Access(key) => self.access.put(key, payload)?,
            MatterKey::Size(team, id) => drop(self.sizes.insert((team, id), restored(payload)?)),
            MatterKey::BudgetSubject(name) => drop(self.subjects.insert(name, restored(payload)?)),
            MatterKey::FormerBudget(team, name) => drop(self.former_budgets.insert((team, name), restored(payload)?)),
            MatterKey::Caches(account, provider) => drop(self.caches.insert((account, provider), from_payload(payload)?)),
            MatterKey::Converted(account, leaf, hour) => drop(self.converted.insert((account, leaf, hour), from_payload(payload)?)),
            MatterKey::Unconverted(account) => drop(self.unconverted.insert(account, from_payload(payload)?)),
            MatterKey::Commitment(account, provider, service) => {
                drop(self.commitments.insert((account, provider, service), from_payload(payload)?));
            }
            MatterKey::Advice(account, leaf, advised) => drop(self.advice.insert((account, leaf, advised), restored(payload)?)),
        }
        Ok(())
    }

    pub fn delete(&mut self, key: &MatterKey) {
        match key {
            MatterKey::Resource(team, id) => drop(self.resources.remove(&(team.clone(), id.clone()))),
            MatterKey::Gap(account, leaf) => drop(self.gaps.remove(&(account.clone(), leaf.clone()))),
            MatterKey::Silence(account, provider) => drop(self.silences.remove(&(account.clone(), provider.clone()))),
            MatterKey::Day(name) => drop(self.days.remove(name)),
            MatterKey::Apart(name) => drop(self.apart.remove(name)),
            MatterKey::Budget(name) => drop(self.budgets.remove(name)),
            MatterKey::Untagged(account, provider) => drop(self.untagged.remove(&(account.clone(), provider.clone()))),
            MatterKey::Billed(account, leaf, hour) => {
                let name = (account.clone(), leaf.clone());
                let hours = self.billed.get_mut(&name);
                if hours.is_some_and(|hours| hours.remove(hour).is_some() && hours.is_empty()) {
                    self.billed.remove(&name);
                }
            }
            MatterKey::Unpriced(account, provider, model) => {
                drop(self.unpriced.remove(&(account.clone(), provider.clone(), model.clone())));
            }
            MatterKey::Access(key) => self.access.delete(key),
            MatterKey::Size(team, id) => drop(self.sizes.remove(&(team.clone(), id.clone()))),
            MatterKey::BudgetSubject(name) => drop(self.subjects.remove(name)),
            MatterKey::FormerBudget(team, name) => drop(self.former_budgets.remove(&(team.clone(), name.clone()))),
            MatterKey::Caches(account, provider) => drop(self.caches.remove(&(account.clone(), provider.clone()))),
            MatterKey::Converted(account, leaf, hour) => drop(self.converted.remove(&(account.clone(), leaf.clone(), *hour))),
            MatterKey::Unconverted(account) => drop(self.unconverted.remove(account)),
            MatterKey::Commitment(account, provider, service) => {
                drop(self.commitments.remove(&(account.clone(), provider.clone(), service.clone())));
            }
            MatterKey::Advice(account, leaf, advised) => drop(self.advice.remove(&(account.clone(), leaf.clone(), *advised))),
        }
    }

    /// Whether there is anything that the close of an hour judges, ends or forgets, and that comes without usage too.
    pub fn wait_for_closes(&self) -> bool {
        let bills =
            [self.days.is_empty(), self.apart.is_empty(), self.billed.is_empty(), self.commitments.is_empty(), self.unconverted.is_empty()];
        let others = [self.resources.is_empty(), self.budgets.is_empty(), self.former_budgets.is_empty()];
        bills.contains(&false) || others.contains(&false)
    }

    /// Alerts that are open.
    pub fn open(&self) -> usize {
        let resources = self.resources.values().map(|resource| &resource.matter);
        let gaps = self.gaps.values().map(|gap| &gap.matter);
        let silences = self.silences.values().map(|silence| &silence.matter);
        let days = self.days.values().map(|day| &day.matter).chain(self.apart.values().map(|apart| &apart.matter));
        let past = self.budgets.values().filter_map(|budget| budget.past.as_ref().map(|past| &past.matter));
        let budgets = self.budgets.values().map(|budget| &budget.matter).chain(past);
        let untagged = self.untagged.values().map(|untagged| &untagged.matter);
        let sizes = self.sizes.values().map(|size| &size.matter);
        let advice = self.advice.values().map(|advice| &advice.matter);
        let unpriced = self.unpriced.values().map(|unpriced| &unpriced.matter);
        let unconverted = self.unconverted.values().map(|unconverted| &unconverted.matter).chain(unpriced);
        let commitments = self.commitments.values().map(|commitment| &commitment.matter);
        let all = resources
            .chain(unconverted)
            .chain(commitments)
            .chain(gaps)
            .chain(silences)
            .chain(days)
            .chain(budgets)
            .chain(untagged)
            .chain(advice)
            .chain(sizes);
        all.flatten().filter(|matter| matter.is_told()).count()
    }
}

/// What waits to be written and what was counted for metrics is no part of the state.
impl PartialEq for Matters {
    fn eq(&self, other: &Matters) -> bool {
        let converted = (&self.billed, &self.converted, &self.unconverted, &self.unpriced, &self.commitments);
        let other_converted = (&other.billed, &other.converted, &other.unconverted, &other.unpriced, &other.commitments);
        let bill = ((&self.days, &self.apart), &self.budgets, &self.subjects, &self.former_budgets, &self.untagged, converted);
        let other_bill =
            ((&other.days, &other.apart), &other.budgets, &other.subjects, &other.former_budgets, &other.untagged, other_converted);
        let (advice, other_advice) = ((&self.advice, &self.caches), (&other.advice, &other.caches));
        (&self.resources, &self.sizes, &self.gaps, &self.silences, &self.access, advice, bill)
            == (&other.resources, &other.sizes, &other.gaps, &other.silences, &other.access, other_advice, other_bill)
    }
}

/// All teams are done with an hour: what has to be looked at although nothing came.
pub(crate) fn close_hour(shard: &mut Shard, hour: Hour, rules: &WatchRules, effects: &mut Vec<Effect>) {
    waste::look_for_silence(shard, hour, rules, effects);
    waste::commitment::close_hour(shard, hour, rules, effects);
    unwanted::end(shard, hour, rules, effects);
    advice::end_unwanted(shard, hour, rules, effects);
    missing::bill::close_hour(shard, hour, rules, effects);
    budget::close_hour(shard, hour, rules, effects);
    missing::rate::close_hour(shard, rules, effects);
    originals::close_hour(shard, hour, effects);
    billed::forget(shard, hour);
    forget_providers(shard, hour);
}

/// A day is over: what is known of an account's provider goes with its last leaf, five weeks after its last usage. What comes back is new.
fn forget_providers(shard: &mut Shard, hour: Hour) {
    if hour.0.rem_euclid(24) != 0 {
        return;
    }
    let (accounts, now) = (&shard.accounts, shard.header.watermarks.shard_time());
    let is_used = |(account, provider): &(Account, Text)| {
        let state = accounts.number_of(account).and_then(|number| accounts.get(number));
        state.is_some_and(|state| state.leaves().any(|(leaf, ..)| leaf.provider == *provider))
    };
    let Matters { silences, caches, changed, .. } = &mut shard.matters;
    silences.retain(|name, silence| {
        let stays = silence.matter.as_ref().is_some_and(|matter| !matter.is_done_with(now)) || is_used(name);
        if !stays {
            changed.insert(MatterKey::Silence(name.0.clone(), name.1.clone()));
        }
        stays
    });
    caches.retain(|name, _| {
        let stays = is_used(name);
        if !stays {
            changed.insert(MatterKey::Caches(name.0.clone(), name.1.clone()));
        }
        stays
    });
}
