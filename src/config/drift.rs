//! [drift] and [[drift.accepted]]: when a model version behaves otherwise than it did when it was accepted.

use super::prices::date;
use super::read::Section;
use super::units::Complaint;
use crate::model::Text;
use crate::model::alert::Severity;
use crate::watch::drift::rules::{AcceptedRule, DriftRules};

pub fn drift(mut section: Section) -> Option<DriftRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let severities = [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
    let small = |number: i64| u32::try_from(number).unwrap_or_default();
    let large = |number: i64| u64::try_from(number).unwrap_or_default();
    let alpha = section.number("alpha", 0.0..=0.1).unwrap_or_default();
    if section.is_own("alpha") && alpha < 1e-9 {
        section.complain("alpha", Complaint::new("is too small for anything ever to drift", "write the level of one look: 0.001"));
    }
    let rules = DriftRules {
        owner: section.optional_text("owner").unwrap_or_default().into(),
        severity: section.optional_choice("severity", &severities).unwrap_or(Severity::Warning),
        looks: small(section.integer("looks", 1..=100)),
        alpha,
        least_samples: large(section.integer("least_samples", 1..=1_000_000_000)),
        reference_samples: large(section.integer("reference_samples", 1..=1_000_000_000)),
        reference_values: small(section.integer("reference_values", 3..=1_000_000)),
        first_days: section.integer("first_days", 0..=365),
        least_share_change: section.number("least_share_change", 0.0..=100.0).unwrap_or_default(),
        least_mean_change: section.number("least_mean_change", 0.0..=100.0).unwrap_or_default(),
        least_usage_change: section.number("least_usage_change", 0.0..=100.0).unwrap_or_default(),
        least_requests: large(section.integer("least_requests", 1..=1_000_000_000)),
        usage_days: small(section.integer("usage_days", 3..=365)),
        psi: section.number("psi", 0.01..=100.0).unwrap_or_default(),
        ignore: section.texts("ignore").into_iter().map(|(_, name)| Text::from(name)).collect(),
        accepted: section.tables("accepted").into_iter().filter_map(accepted).collect(),
    };
    section.finish();
    is_on.then_some(rules)
}

fn accepted(mut section: Section) -> Option<AcceptedRule> {
    let mut shared = |key| section.optional_text(key).map(Text::from);
    let (team, version) = (shared("team"), shared("version"));
    let model = Text::from(section.text("model"));
    let at = section.optional("at", date).flatten().map(|(time, _)| time);
    if at.is_none() && !section.has("at") {
        section.complain("at", Complaint::new("is missing", "write when it was accepted: at = \"2026-03-01\""));
    }
    section.finish();
    Some(AcceptedRule { team, model, version, at: at? })
}
