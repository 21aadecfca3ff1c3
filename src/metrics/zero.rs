//! Counters at zero before anything has happened. One that comes with its first value hides it: `increase()` of one that has just appeared
//! is 0, so that the first failure of all rings nowhere.

use super::{Metrics, TransactionEnd, UNKNOWN_ACTION, by_role};
use crate::model::alert::{AlertKind, AlertState};
use crate::model::partial::Said;
use crate::model::record::RejectReason;

impl Metrics {
    /// What the roles of this process may come to count, where the labels are known: the other ones, of a topic or a receiver say, come with
    /// their first value.
    pub fn begin(&self, roles: &[&str]) {
        for role in roles {
            drop(self.failures.get_or_create(&by_role(role)));
            match *role {
                // Neither groups nor transactions.
                "caretaker" | "owners" => continue,
                "intake" => self.begin_intake(),
                "billing" => outcomes().for_each(|outcome| self.billing(outcome, 0)),
                "activity" => outcomes().chain([UNKNOWN_ACTION]).for_each(|outcome| self.forwarded(role, outcome, 0)),
                "resources" | "feedback" | "openlineage" => outcomes().for_each(|outcome| self.forwarded(role, outcome, 0)),
                "watch" => self.begin_watch(),
                "deliver" => self.begin_mails(),
                _ => {}
            }
            self.begin_loop(role);
        }
    }

    /// Of these policies, also of those that come with a reload.
    pub fn begin_policies<'p>(&self, policies: impl Iterator<Item = &'p str>) {
        for policy in policies {
            for said in Said::ALL {
                self.verdict(policy, said.as_str(), 0);
            }
            let opened = vec![("policy", policy.to_string()), ("state", AlertState::Open.as_str().to_string())];
            drop(self.violations.get_or_create(&opened));
        }
    }

    fn begin_intake(&self) {
        RejectReason::ALL.into_iter().for_each(|reason| self.rejected(reason, 0));
    }

    /// Of the many ways in which an alert changes only its beginning.
    fn begin_watch(&self) {
        for kind in AlertKind::ALL {
            let opened = vec![("kind", kind.as_str().to_string()), ("state", AlertState::Open.as_str().to_string())];
            drop(self.alerts.get_or_create(&opened));
        }
        for from in ["copy", "changelog"] {
            drop(self.restored_from.get_or_create(&vec![("from", from.to_string())]));
        }
    }

    fn begin_mails(&self) {
        for outcome in ["sent", "repeated", "retried", "given_up", "unreadable"] {
            drop(self.mails.get_or_create(&vec![("outcome", outcome.to_string())]));
        }
    }

    fn begin_loop(&self, role: &str) {
        drop(self.commits.get_or_create(&by_role(role)));
        drop(self.restores.get_or_create(&by_role(role)));
        drop(self.loops.rebuilds.get_or_create(&by_role(role)));
        for end in TransactionEnd::ALL {
            let labels = vec![("role", role.to_string()), ("outcome", end.as_str().to_string())];
            drop(self.loops.transactions.get_or_create(&labels));
        }
        for what in ["assigned", "revoked", "lost"] {
            drop(self.loops.rebalances.get_or_create(&vec![("role", role.to_string()), ("what", what.to_string())]));
        }
    }
}

fn outcomes() -> impl Iterator<Item = &'static str> {
    RejectReason::ALL.into_iter().map(RejectReason::as_str).chain(["accepted"])
}
