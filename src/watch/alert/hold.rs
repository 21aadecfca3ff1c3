//! Weak evidence waits for the next hour, where a team wants that. Most single hours that are strange are over before anybody could have looked at them; so an
//! episode is held back, and told when the next hour is abnormal too, or as soon as waiting would be dear. One that ends before that is
//! nobody's news.

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::LocalHour;
use super::super::rules::Thresholds;
use super::super::series::{Node, to_units};
use super::episode::{Episode, emit};
use super::open::{Trigger, class, spend};
use crate::model::alert::AlertState;
use crate::model::effect::Effect;
use crate::model::leaf::{Account, Scope};
use crate::model::time::Hour;

/// So many abnormal hours in a row are no accident.
const HOURS: usize = 2;
/// Part of the first hour's excess that the next one has to have.
const PERSISTS: f64 = 0.5;

impl Episode {
    /// Not told to anybody yet.
    pub(crate) fn is_held(&self) -> bool {
        self.revision == 0
    }
}

/// Whether an episode that begins has to wait. What was told before, what a user stands out with, what days show, what is certain: none
/// of them waits.
pub(super) fn waits(state: &AccountState, episode: &Episode, trigger: &Trigger, limits: &Thresholds) -> bool {
    episode.is_held() && class(episode.kind) == 0 && trigger.since.is_none() && !trigger.at_once && !is_dear(state, episode, limits)
}

/// Whether an hour after the first one still takes much of what that took too much. Forecasts may have followed by then.
pub(super) fn persists(episode: &Episode, node: &Node, hour: Hour, local: LocalHour) -> bool {
    let Some((first, part)) = episode.hours.first_key_value() else { return false };
    let excess = to_units(node.hour(hour).cost) - normal_of(episode, node, local);
    hour > *first && excess >= PERSISTS * part.excess_units()
}

/// What an hour after the first one would have taken.
pub(super) fn normal_of(episode: &Episode, node: &Node, local: LocalHour) -> f64 {
    let first = episode.hours.values().next().map_or(0.0, |part| to_units(part.expected));
    node.closed.baseline.wake().of_day(local.hour_of_day).map_or(first, |usual| usual.max(first))
}

/// Whether one that was held is held no longer.
pub(super) fn is_ripe(state: &AccountState, episode: &Episode, limits: &Thresholds) -> bool {
    episode.hours.len() >= HOURS || is_dear(state, episode, limits)
}

fn is_dear(state: &AccountState, episode: &Episode, limits: &Thresholds) -> bool {
    if limits.wait_below_team_hours <= 0.0 {
        return true;
    }
    let usual = state.get(&Scope::Team).map_or(0.0, |team| team.closed.baseline.wake().usual_hour());
    to_units(episode.excess()) >= limits.wait_below_team_hours * usual
}

/// Tells of an episode that was held.
pub(super) fn tell(state: &mut AccountState, account: &Account, id: &str, hour: Hour, moment: Moment<'_>, effects: &mut Vec<Effect>) {
    let Some(episode) = state.episodes.get_mut(id) else { return };
    episode.detected_at = moment.shard_time;
    let episode = episode.clone();
    spend(state, account, &episode, hour, 1.0, moment);
    emit(state, account, id, hour, AlertState::Open, true, moment, effects);
}
