//! Approvals: who has reviewed what goes where, what that rests on, and until when it holds.
//!
//! An approval is of a team. It covers what it names: of a model all versions unless it names one, of all regions unless it names one. One
//! that is sent again under its id takes the place of the first; `revoke` with its id takes it back.

use serde::{Deserialize, Serialize};

use super::Text;
use super::activity::ActivityEvent;
use super::time::{DAY_MS, Timestamp};

/// The tag of an activity event that says what its approval rests on: `scc`, `bcr`, `assessment`, ...
pub const BASIS_TAG: &str = "basis";

/// Of a team. What is more takes the place of what has ended first.
/// A value of the state holds all of them, and a record of Kafka that.
const MOST: usize = 1_000;
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
    /// What it rests on, as the tag `basis` says.
    pub basis: Option<Text>,
    /// `None`: until it is taken back.
    pub until: Option<Timestamp>,
    /// Event time of the last word on it: what comes later and is older says nothing.
    pub as_of: Timestamp,
}

/// All of a team, in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals(Vec<Approval>);

/// What somebody does that an approval may cover.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
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

/// Whether somebody says something of approvals.
pub fn concerns(activity: &ActivityEvent) -> bool {
    activity.approval.is_some() && matches!(activity.action.as_deref(), Some("approval" | "revoke"))
}

impl Approvals {
    /// Takes what an activity event says of approvals. Whether that is news. `now`: what has ended long before is forgotten.
    pub fn take(&mut self, activity: &ActivityEvent, now: Timestamp) -> bool {
        let Some(id) = activity.approval.clone().filter(|_| concerns(activity)) else { return false };
        let before = self.named(&id);
        let as_of = activity.event_time;
        if before.is_some_and(|before| as_of < before.as_of) {
            return false;
        }
        let (model, version, dataset) = (activity.model.clone(), activity.model_version.clone(), activity.dataset.clone());
        let (basis, region, until) = (activity.tags.get(BASIS_TAG).cloned(), activity.region.clone(), activity.expires_at);
        let stated = Approval { id, model, version, dataset, region, basis, until, as_of };
        let now_is = if activity.action.as_deref() == Some("revoke") {
            // One that is taken back before it came will come.
            let taken_back = before.cloned().unwrap_or(stated);
            let until = taken_back.until.map_or(as_of, |until| until.min(as_of));
            Approval { until: Some(until), as_of, ..taken_back }
        } else {
            stated
        };
        if before == Some(&now_is) {
            return false;
        }
        self.0.retain(|approval| approval.id != now_is.id && approval.holds_at(Timestamp(now.0.saturating_sub(KEPT_MS))));
        self.0.push(now_is);
        if self.0.len() > MOST {
            let first = self.0.iter().enumerate().min_by_key(|(_, approval)| approval.until.unwrap_or(Timestamp(i64::MAX)));
            if let Some(place) = first.map(|(place, _)| place) {
                self.0.remove(place);
            }
        }
        true
    }

    /// One that covers this and holds at that time; of several the one that was sent last.
    pub fn find(&self, about: &About<'_>, at: Timestamp) -> Option<&Approval> {
        self.0.iter().rev().find(|approval| approval.holds_at(at) && approval.covers(about))
    }

    /// What is known of one that somebody names.
    pub fn named(&self, id: &str) -> Option<&Approval> {
        self.0.iter().find(|approval| *approval.id == *id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Approval> {
        self.0.iter()
    }
}
