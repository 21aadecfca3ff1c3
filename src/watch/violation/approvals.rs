//! Approvals: who has reviewed what goes where, what that rests on, and until when it holds.
//!
//! An approval is of a team. It covers what it names: of a model all versions unless it names one, of all regions unless it names one. One
//! that is sent again under its id takes the place of the first; `revoke` with its id takes it back.

use serde::{Deserialize, Serialize};

use super::Violations;
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::time::{DAY_MS, Timestamp};
use crate::policy::stream::BASIS_TAG;

/// Of a team. What is more takes the place of what has ended first.
const MOST: usize = 2_000;
/// One that has ended is kept for so long: late events are judged as of their own time, and who names it is told that it has ended.
const KEPT_MS: i64 = 35 * DAY_MS;

/// See `approval` in the topic `activity-events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub id: Text,
    pub model: Option<Text>,
    pub version: Option<Text>,
    pub dataset: Option<Text>,
    pub region: Option<Text>,
    /// What it rests on, as the tag `basis` says: `scc`, `bcr`, `assessment`, ...
    pub basis: Option<Text>,
    /// `None`: until it is taken back.
    pub until: Option<Timestamp>,
}

/// What somebody does that an approval may cover.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub model: Option<&'a str>,
    pub version: Option<&'a str>,
    pub dataset: Option<&'a str>,
    pub region: Option<&'a str>,
}

impl<'a> About<'a> {
    pub fn of(activity: &'a ActivityEvent) -> About<'a> {
        About {
            model: activity.model.as_deref(),
            version: activity.model_version.as_deref(),
            dataset: activity.dataset.as_deref(),
            region: activity.region.as_deref(),
        }
    }
}

impl Approval {
    /// One that names neither a model nor a dataset says nothing about any.
    fn covers(&self, about: &About<'_>) -> bool {
        let named =
            [(&self.model, about.model), (&self.version, about.version), (&self.dataset, about.dataset), (&self.region, about.region)];
        let is_of_something = self.model.is_some() || self.dataset.is_some();
        is_of_something && named.iter().all(|(own, asked)| own.as_deref().is_none_or(|own| *asked == Some(own)))
    }

    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

impl Violations {
    /// Takes what an activity event says of approvals. Whether that is news.
    pub(super) fn learn_approval(&mut self, activity: &ActivityEvent, now: Timestamp) -> bool {
        let Some(id) = activity.approval.clone() else { return false };
        let team = &activity.team;
        let known = self.approvals.get(team).map(Vec::as_slice).unwrap_or_default();
        let before = known.iter().find(|approval| approval.id == id);
        let now_is = match (activity.action.as_deref(), before) {
            (Some("approval"), _) => {
                let (model, version, dataset) = (activity.model.clone(), activity.model_version.clone(), activity.dataset.clone());
                let basis = activity.tags.get(BASIS_TAG).cloned();
                Approval { id, model, version, dataset, region: activity.region.clone(), basis, until: activity.expires_at }
            }
            (Some("revoke"), Some(before)) => {
                let until = before.until.map_or(activity.event_time, |until| until.min(activity.event_time));
                Approval { until: Some(until), ..before.clone() }
            }
            _ => return false,
        };
        if before == Some(&now_is) {
            return false;
        }
        let mut next: Vec<Approval> = known.iter().filter(|approval| approval.id != now_is.id).cloned().collect();
        next.push(now_is);
        next.retain(|approval| approval.holds_at(Timestamp(now.0.saturating_sub(KEPT_MS))));
        if next.len() > MOST {
            let first = next.iter().enumerate().min_by_key(|(_, approval)| approval.until.unwrap_or(Timestamp(i64::MAX)));
            if let Some(place) = first.map(|(place, _)| place) {
                next.remove(place);
            }
        }
        self.models_revision += 1;
        self.next_look = None;
        self.approvals_changed.insert(team.clone());
        self.approvals.insert(team.clone(), next);
        true
    }

    /// An approval of the team that covers this and holds at that time; of several the one that was sent last.
    pub(super) fn approval(&self, team: &Text, about: &About<'_>, at: Timestamp) -> Option<&Approval> {
        let own = self.approvals.get(team)?;
        own.iter().rev().find(|approval| approval.holds_at(at) && approval.covers(about))
    }

    /// What is known of an approval that somebody names.
    pub(super) fn approval_named(&self, team: &Text, id: &str) -> Option<&Approval> {
        self.approvals.get(team)?.iter().find(|approval| *approval.id == *id)
    }

    /// Times at which something stops to hold for a model.
    pub(super) fn ends_of(&self, team: &Text, model: &Text) -> impl Iterator<Item = Timestamp> {
        let own = self.approvals.get(team).map(Vec::as_slice).unwrap_or_default();
        own.iter().filter(move |approval| approval.model.as_ref().is_none_or(|own| own == model)).filter_map(|approval| approval.until)
    }

    /// On restore.
    pub fn put_approvals(&mut self, team: Text, approvals: Option<Vec<Approval>>) {
        match approvals {
            Some(approvals) => self.approvals.insert(team, approvals),
            None => self.approvals.remove(&team),
        };
    }

    pub fn take_changed_approvals(&mut self) -> Vec<(Text, Vec<Approval>)> {
        let changed = std::mem::take(&mut self.approvals_changed);
        changed.into_iter().filter_map(|team| Some((team.clone(), self.approvals.get(&team)?.clone()))).collect()
    }
}
