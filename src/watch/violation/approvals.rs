//! Approvals of the teams of a shard.

use super::Violations;
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::{self, About, Approval, Approvals};
use crate::model::time::Timestamp;

impl Violations {
    /// Takes what an activity event says of approvals. Whether that is news.
    pub(super) fn learn_approval(&mut self, activity: &ActivityEvent, now: Timestamp) -> bool {
        if !approval::concerns(activity) {
            return false;
        }
        let team = &activity.team;
        let mut own = self.approvals.get(team).cloned().unwrap_or_default();
        if !own.take(activity, now) {
            return false;
        }
        self.models_revision += 1;
        self.next_look = None;
        self.approvals_changed.insert(team.clone());
        self.approvals.insert(team.clone(), own);
        true
    }

    pub(super) fn approval(&self, team: &Text, about: &About<'_>, at: Timestamp) -> Option<&Approval> {
        self.approvals.get(team)?.find(about, at)
    }

    pub(super) fn approval_named(&self, team: &Text, id: &str) -> Option<&Approval> {
        self.approvals.get(team)?.named(id)
    }

    /// Times at which something stops to hold for a model.
    pub(super) fn ends_of(&self, team: &Text, model: &Text) -> impl Iterator<Item = Timestamp> {
        let own = self.approvals.get(team).into_iter().flat_map(Approvals::iter);
        own.filter(move |approval| approval.model.as_ref().is_none_or(|own| own == model)).filter_map(|approval| approval.until)
    }

    /// On restore.
    pub fn put_approvals(&mut self, team: Text, approvals: Option<Approvals>) {
        match approvals {
            Some(approvals) => self.approvals.insert(team, approvals),
            None => self.approvals.remove(&team),
        };
    }

    pub fn take_changed_approvals(&mut self) -> Vec<(Text, Approvals)> {
        let changed = std::mem::take(&mut self.approvals_changed);
        changed.into_iter().filter_map(|team| Some((team.clone(), self.approvals.get(&team)?.clone()))).collect()
    }
}
