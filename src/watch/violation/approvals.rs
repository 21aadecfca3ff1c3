//! Approvals of the teams of a shard.

use super::{Key, Violations};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::{self, About, Approval, Approvals};
use crate::model::leaf::Leaf;
use crate::model::time::Timestamp;
use crate::policy::Policy;
use crate::watch::rules::WatchRules;

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

    /// Why what violated a policy does so no more, though nothing has undone it.
    pub(super) fn why_allowed(&self, key: &Key, at: Timestamp, rules: &WatchRules) -> String {
        let policy = rules.policies.place_of(&key.policy).and_then(|place| rules.policies.policy(place));
        let asks = |policy: &&Policy| {
            let asked = ["approval", "approval_basis"].map(|name| policy.when.subject.field(name));
            let unless = policy.unless.iter().flat_map(|unless| &unless.reads);
            policy.when.reads.iter().chain(unless).any(|read| asked.contains(&Some(*read)))
        };
        let approval = policy.filter(asks).and(self.get(key)).and_then(|tracked| {
            let of = |name: &str| tracked.dimensions.get(name).map(String::as_str);
            let leaf = |text: fn(&Leaf) -> &Text| tracked.leaf.as_ref().map(|leaf| &**text(leaf)).filter(|text| !text.is_empty());
            let (model, region) = (of("model").or(leaf(|leaf| &leaf.model)), of("region").or(leaf(|leaf| &leaf.region)));
            self.approval(&key.team, &About { model, version: of("model_version"), dataset: of("dataset"), region }, at)
        });
        match approval {
            Some(Approval { id, until: Some(until), .. }) => format!("approved ({id}) until {until}"),
            Some(Approval { id, .. }) => format!("approved ({id})"),
            None => "the policies, or what is known by now, allow it".to_string(),
        }
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
