//! All accounts of a shard, by number and in the order of their names.

use std::collections::BTreeMap;

use super::account::AccountState;
use crate::model::leaf::{Account, Measure};
use crate::model::money::Currency;

/// Accounts by number and by name. They are few, and stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    states: Vec<AccountState>,
    by_name: BTreeMap<Account, u32>,
}

impl Accounts {
    pub fn get(&self, number: u32) -> Option<&AccountState> {
        self.states.get(number as usize)
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut AccountState> {
        self.states.get_mut(number as usize)
    }

    /// The number of an account, given if it has none yet.
    pub fn number(&mut self, account: Account) -> u32 {
        if let Some(number) = self.by_name.get(&account) {
            return *number;
        }
        let number = self.states.len() as u32;
        self.states.push(AccountState::new(account.clone()));
        self.by_name.insert(account, number);
        number
    }

    pub fn number_of(&self, account: &Account) -> Option<u32> {
        self.by_name.get(account).copied()
    }

    pub fn entry(&mut self, account: Account) -> (u32, &mut AccountState) {
        let number = self.number(account);
        (number, &mut self.states[number as usize])
    }

    /// The accounts of a team, in the order of their names.
    pub fn of_team(&self, team: &str) -> impl Iterator<Item = (u32, &AccountState)> {
        let first = Account { team: team.into(), measure: Measure::Estimated, currency: Currency::BEFORE_ALL };
        let own = self.by_name.range(first..).take_while(move |(account, _)| *account.team == *team);
        own.filter_map(|(_, number)| Some((*number, self.get(*number)?)))
    }

    /// The account behind one in order; the first one behind none.
    pub fn after(&self, done: Option<&Account>) -> Option<(&Account, u32)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = done.map_or(Unbounded, Excluded);
        self.by_name.range((from, Unbounded)).next().map(|(account, number)| (account, *number))
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &AccountState)> {
        self.by_name.values().filter_map(|number| Some((*number, self.get(*number)?)))
    }

    /// Those of which anything is left.
    pub fn used(&self) -> impl Iterator<Item = &AccountState> {
        self.iter().map(|(_, state)| state).filter(|state| state.len() > 0 || !state.episodes.is_empty())
    }
}
