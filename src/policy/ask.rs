//! Ask before you act: what the policies would say of a plan, and what else would be allowed. The same evaluator and the same policies as
//! for events.

use super::judge::{Judged, Verdict};
use super::regions::Regions;
use super::rules::{Mode, Policies};
use super::sample::{Given, Sample};
use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::time::Timestamp;

/// The worst that any policy says; later ones are worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Allow,
    /// Somebody has to look at it: a policy that only warns, or a plan that does not say enough.
    Review,
    Deny,
}

/// Why it is not simply allowed, or is in spite of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub policy: Text,
    pub owner: Text,
    pub severity: Severity,
    pub decision: Decision,
    pub message: String,
    pub remedy: Option<String>,
    /// The plan does not say enough for a verdict.
    pub is_unknown: bool,
    /// Fields that it would have to state; of tags that are not there none is named.
    pub missing: Vec<&'static str>,
    /// Allowed until then, by whom.
    pub exempt: Option<(Timestamp, Text)>,
}

/// Another value of one field, with which the plan would get a better answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    pub field: &'static str,
    /// The nearest first.
    pub values: Vec<String>,
    /// What the answer would be.
    pub decision: Decision,
}

#[derive(Clone, Debug)]
pub struct Advice {
    pub decision: Decision,
    pub reasons: Vec<Reason>,
    pub alternatives: Vec<Alternative>,
}

/// Named for each field; more would be a list to search through.
const MOST_VALUES: usize = 5;

impl Advice {
    /// Takes back what could not be said for want of a field of which it is known that it does not matter.
    pub fn drop_questions(&mut self, field: &str) {
        self.reasons.retain(|reason| !(reason.is_unknown && reason.missing.contains(&field)));
        self.decision = worst(&self.reasons);
        if self.decision == Decision::Allow {
            self.alternatives.clear();
        }
    }
}

impl Policies {
    /// The decision alone.
    pub fn decide(&self, plan: &Sample, at: Timestamp) -> Decision {
        worst(&self.reasons(plan, at))
    }

    /// `choices`: values of a field among which alternatives are looked for, besides regions.
    pub fn advise(&self, plan: &Sample, regions: &Regions, choices: &[(&'static str, Vec<String>)], at: Timestamp) -> Advice {
        let reasons = self.reasons(plan, at);
        let decision = worst(&reasons);
        let mut alternatives = Vec::new();
        if decision > Decision::Allow {
            let other_regions = regions.nearest(plan.text("provider").unwrap_or_default(), plan.text("region").unwrap_or_default());
            let regions_of_plan = plan.text("region").map(|_| ("region", other_regions));
            for (field, values) in regions_of_plan.iter().chain(choices) {
                alternatives.extend(self.alternative(plan, regions, field, values, decision, at));
            }
        }
        Advice { decision, reasons, alternatives }
    }

    fn alternative(
        &self,
        plan: &Sample,
        regions: &Regions,
        field: &'static str,
        values: &[String],
        now: Decision,
        at: Timestamp,
    ) -> Option<Alternative> {
        let mut best: Option<Alternative> = None;
        for value in values.iter().filter(|value| plan.text(field) != Some(value)) {
            let mut other = plan.clone();
            other.set(field, Given::Text(value.clone())).ok()?;
            if field == "region" {
                other.relocate(regions);
            }
            let decision = worst(&self.reasons(&other, at));
            match &mut best {
                _ if decision >= now => {}
                Some(known) if known.decision == decision => {
                    if known.values.len() < MOST_VALUES {
                        known.values.push(value.clone());
                    }
                }
                Some(known) if known.decision < decision => {}
                _ => best = Some(Alternative { field, values: vec![value.clone()], decision }),
            }
        }
        best
    }

    fn reasons(&self, plan: &Sample, at: Timestamp) -> Vec<Reason> {
        let team = plan.text("team").unwrap_or_default();
        plan.with_facts(|facts| {
            let mut reasons = Vec::new();
            for Judged { policy, verdict } in self.judge(plan.subject, facts, team, at) {
                let (decision, exempt) = match (&verdict, policy.mode) {
                    (Verdict::Passes, _) | (_, Mode::DryRun) => continue,
                    (Verdict::Exempt(exemption), _) => (Decision::Allow, Some((exemption.until, exemption.approved_by.clone()))),
                    (Verdict::Violates, Mode::Enforce) => (Decision::Deny, None),
                    (Verdict::Violates, Mode::Warn) | (Verdict::Indeterminate(_), _) => (Decision::Review, None),
                };
                let is_unknown = matches!(verdict, Verdict::Indeterminate(_));
                let unless = policy.unless.iter().flat_map(|unless| &unless.reads);
                let asked = policy.when.reads.iter().chain(unless);
                let mut missing: Vec<&str> = Vec::new();
                for field in asked.filter(|field| is_unknown && facts.get(**field).is_none()) {
                    // Country and blocs come from the region.
                    let name = match plan.subject.fields().get(*field).map_or("", |field| field.name) {
                        "country" | "blocs" => "region",
                        "origin_country" | "origin_blocs" => "origin_region",
                        name => name,
                    };
                    if !missing.contains(&name) {
                        missing.push(name);
                    }
                }
                reasons.push(Reason {
                    policy: policy.id.clone(),
                    owner: policy.owner.clone(),
                    severity: policy.severity,
                    decision,
                    message: policy.message.with(facts),
                    remedy: policy.remedy.as_ref().map(|remedy| remedy.with(facts)),
                    is_unknown,
                    missing,
                    exempt,
                });
            }
            // The gravest first, each kind in the order of the files.
            reasons.sort_by_key(|reason| std::cmp::Reverse((reason.decision, reason.severity)));
            reasons
        })
    }
}

fn worst(reasons: &[Reason]) -> Decision {
    reasons.iter().map(|reason| reason.decision).max().unwrap_or(Decision::Allow)
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Review => "review",
            Decision::Deny => "deny",
        }
    }
}
