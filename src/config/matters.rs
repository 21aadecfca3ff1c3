//! [waste], [missing_money], [advice], [[budget]]: what is watched besides series.

use super::drift::drift;
use super::read::{Section, wrong_kind};
use super::tree::{Item, Value};
use super::units::Complaint;
use crate::model::Text;
use crate::model::leaf::Measure;
use crate::model::money::{Currency, Nanos};
use crate::model::price::PriceBook;
use crate::model::time::DAY_MS;
use crate::watch::matters::rules::{
    AdviceRules, BatchRules, BudgetRule, CachingRules, CheaperModelRules, CommitmentRules, CostCenterRule, MatterRules, MissingRules,
    OversizedRules, Period, Sign, WasteClass, WasteRules,
};

pub fn matters(root: &mut Section, reporting_currency: Currency, converts: bool) -> MatterRules {
    let mut budgets: Vec<BudgetRule> = Vec::new();
    let cost_centers: Vec<CostCenterRule> = root.tables("cost_center").into_iter().map(cost_center).collect();
    for section in root.tables("budget") {
        budgets.push(budget(section, (reporting_currency, converts), &budgets, &cost_centers));
    }
    MatterRules {
        waste: waste(root.section("waste")),
        missing: missing(root.section("missing_money")),
        budgets,
        cost_centers,
        advice: advice(root.section("advice")),
        access: super::access::access(root.section("access")),
        drift: drift(root.section("drift")),
    }
}

/// Sections below [waste], and what has to be known of resources of that class.
const CLASSES: [(&str, Sign); 5] = [
    ("gpu", Sign::Utilization),
    ("compute", Sign::Utilization),
    ("endpoint", Sign::Requests),
    ("disk", Sign::Attachment),
    ("other", Sign::Any),
];

fn waste(mut section: Section) -> Option<WasteRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let rules = WasteRules {
        resources_per_team: usize::try_from(section.integer("resources_per_team", 1..=1_000_000)).unwrap_or_default(),
        least_per_month: section.money("least_per_month").unwrap_or_default(),
        critical_per_month: section.money("critical_per_month").unwrap_or_default(),
        grace_ms: section.duration("grace", "0s", "365d"),
        forgotten_after_ms: section.duration("forgotten_after", "1h", "365d"),
        orphaned_after_ms: section.duration("orphaned_after", "0s", "365d"),
        silent_after_ms: section.duration("silent_after", "1h", "30d"),
        most_unknown: section.number("most_unknown", 0.0..=1.0).unwrap_or_default(),
        classes: CLASSES.into_iter().map(|(name, sign)| class(section.section(name), sign)).collect(),
        oversized: oversized(section.section("oversized")),
        commitment: commitment(section.section("commitment")),
    };
    section.finish();
    is_on.then_some(rules)
}

fn commitment(mut section: Section) -> Option<CommitmentRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let rules = CommitmentRules {
        window_days: section.duration("window", "1d", "90d") / DAY_MS,
        least_days: usize::try_from(section.integer("least_days", 1..=90)).unwrap_or_default(),
    };
    if rules.least_days as i64 > rules.window_days {
        section
            .complain("least_days", Complaint::new("is more than window has days", "it could never be reached: lower it, or widen window"));
    }
    section.finish();
    is_on.then_some(rules)
}

fn oversized(mut section: Section) -> Option<OversizedRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let rules = OversizedRules {
        window_days: section.duration("window", "1d", "90d") / DAY_MS,
        most_peak: section.number("most_peak", 0.01..=1.0).unwrap_or_default(),
        most_mean: section.number("most_mean", 0.01..=1.0).unwrap_or_default(),
        target: section.number("target", 0.1..=1.0).unwrap_or_default(),
    };
    section.finish();
    is_on.then_some(rules)
}

fn class(mut section: Section, sign: Sign) -> WasteClass {
    let class = WasteClass {
        types: section.texts("types").into_iter().map(|(_, name)| Text::from(name)).collect(),
        sign,
        window_ms: section.duration("window", "1h", "365d"),
        least_utilization: section.number("least_utilization", 0.0..=1.0).unwrap_or_default(),
    };
    section.finish();
    class
}

fn missing(mut section: Section) -> Option<MissingRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let small = |(_, name): (_, String)| Text::from(name.trim().to_lowercase());
    let rules = MissingRules {
        silent_after_ms: section.duration("silent_after", "1h", "7d"),
        first_tolerance: section.number("first_tolerance", 0.01..=1.0).unwrap_or_default(),
        untagged_per_day: section.money("untagged_per_day").unwrap_or_default(),
        metered: section.texts("metered").into_iter().map(small).collect(),
        names: names(section.section("names")),
    };
    section.finish();
    is_on.then_some(rules)
}

/// Prices follow once they are read.
fn advice(mut section: Section) -> Option<AdviceRules> {
    let is_on = section.boolean("enabled").unwrap_or_default();
    let rules = AdviceRules {
        rates: crate::model::rates::Rates::default(),
        prices: PriceBook::default(),
        least_per_month: section.money("least_per_month").unwrap_or_default(),
        least_requests_per_day: count(&mut section, "least_requests_per_day"),
        least_days: u32::try_from(section.integer("least_days", 1..=90)).unwrap_or_default(),
        grace_ms: section.duration("grace", "0s", "365d"),
        caching: caching(section.section("caching")),
        batch: batch(section.section("batch")),
        model: cheaper_model(section.section("model")),
    };
    section.finish();
    is_on.then_some(rules)
}

fn count(section: &mut Section, key: &'static str) -> u64 {
    u64::try_from(section.integer(key, 0..=1_000_000_000)).unwrap_or_default()
}

fn per_mille(section: &mut Section, key: &'static str, range: std::ops::RangeInclusive<f64>) -> u32 {
    (section.number(key, range).unwrap_or_default() * 1000.0).round() as u32
}

fn caching(mut section: Section) -> CachingRules {
    let rules = CachingRules {
        least_input_per_request: count(&mut section, "least_input_per_request"),
        repeated_per_mille: per_mille(&mut section, "repeated_share", 0.01..=1.0),
    };
    section.finish();
    rules
}

fn batch(mut section: Section) -> BatchRules {
    let mut hour = |key| u8::try_from(section.integer(key, 0..=24)).unwrap_or_default();
    let (day_from, day_to) = (hour("day_from"), hour("day_to"));
    if day_from > day_to {
        section
            .complain("day_to", Complaint::new("is before 'day_from'", "write the hours in which people work: day_from = 6, day_to = 20"));
    }
    let small = |(_, name): (_, String)| Text::from(name.trim().to_lowercase());
    let rules = BatchRules {
        names: section.texts("names").into_iter().map(small).collect(),
        day_from,
        day_to,
        off_hours_per_mille: per_mille(&mut section, "off_hours_share", 0.5..=1.0),
    };
    section.finish();
    rules
}

fn cheaper_model(mut section: Section) -> CheaperModelRules {
    let rules = CheaperModelRules {
        most_input_per_request: count(&mut section, "most_input_per_request"),
        most_output_per_request: count(&mut section, "most_output_per_request"),
        least_saving_per_mille: per_mille(&mut section, "least_saving", 0.01..=0.99),
    };
    section.finish();
    rules
}

/// What bills call a provider = what usage calls it.
fn names(section: Section) -> Vec<(Text, Text)> {
    let mut names = Vec::new();
    for (billed, item) in section.entries() {
        match super::read::text(item) {
            Ok(usage) => names.push((Text::from(billed.trim().to_lowercase()), Text::from(usage.trim().to_lowercase()))),
            Err(complaint) => section.complain(billed, complaint),
        }
    }
    names
}

fn cost_center(mut section: Section) -> CostCenterRule {
    let rule = CostCenterRule {
        name: section.text("name").into(),
        team: section.text("team").into(),
        project: section.optional_text("project").map(Text::from),
    };
    section.finish();
    rule
}

fn budget(
    mut section: Section,
    (reporting_currency, converts): (Currency, bool),
    others: &[BudgetRule],
    cost_centers: &[CostCenterRule],
) -> BudgetRule {
    let mut shared = |key| section.optional_text(key).map(Text::from);
    let (cost_center, project, model) = (shared("cost_center"), shared("project"), shared("model"));
    if let Some(name) = cost_center.as_ref().filter(|name| !cost_centers.iter().any(|known| known.name == **name)) {
        let what = format!("is '{name}', to which no [[cost_center]] gives anybody's spend");
        section.complain("cost_center", Complaint::new(what, "add [[cost_center]] with this name and a team, for each of its teams"));
    }
    if cost_center.is_some() && project.is_some() {
        section.complain("project", Complaint::new("stands beside a cost_center", "say in [[cost_center]] which projects belong to it"));
    }
    let rule = BudgetRule {
        name: section.text("name").into(),
        team: section.text("team").into(),
        cost_center,
        project,
        model,
        measure: section
            .optional_choice("measure", &[("estimated", Measure::Estimated), ("billed", Measure::Billed)])
            .unwrap_or(Measure::Estimated),
        currency: section.currency("currency").unwrap_or(reporting_currency),
        amount: section.required("amount", super::read::money),
        period: section.optional("period", period).unwrap_or(Period::Month),
        thresholds: section.optional("thresholds", parts).unwrap_or_else(|| vec![0.5, 0.8, 1.0]),
        forecast: section.boolean("forecast").unwrap_or(true),
        burn_rate: section.number("burn_rate", 0.0..=1000.0).unwrap_or(6.0),
    };
    if converts && rule.currency != reporting_currency {
        let what = format!("is {}, but all is converted into {reporting_currency} by [currency]", rule.currency);
        section.complain("currency", Complaint::new(what, format!("write the amount in {reporting_currency}")));
    }
    if section.has("amount") && rule.amount == Nanos::ZERO {
        section.complain("amount", Complaint::new("is 0", "write what may be spent: \"20000.00\""));
    }
    if others.iter().any(|other| other.name == rule.name && !rule.name.is_empty()) {
        section.complain(
            "name",
            Complaint::new(format!("is '{}', which another budget has", rule.name), "give each [[budget]] a name of its own"),
        );
    }
    section.finish();
    rule
}

/// "month", or "30d" for the last 30 days.
fn period(item: &Item) -> Result<Period, Complaint> {
    let Value::Text(written) = &item.value else { return Err(wrong_kind(item, "a period", "\"month\" or \"30d\"")) };
    if written == "month" {
        return Ok(Period::Month);
    }
    let days: Option<i64> = written.strip_suffix('d').and_then(|days| days.parse().ok());
    days.filter(|days| (1..=90).contains(days)).map(Period::Rolling).ok_or_else(|| {
        Complaint::new(format!("is '{written}', which is no period"), "write \"month\", or \"30d\" for the last 30 days (1 to 90)")
    })
}

/// Parts of the amount, ascending.
fn parts(item: &Item) -> Result<Vec<f64>, Complaint> {
    let wrong = || Complaint::new("is no list of parts above 0 and up to 10", "write thresholds = [0.5, 0.8, 1.0]");
    let Value::List(items) = &item.value else { return Err(wrong()) };
    let mut parts = Vec::new();
    for item in items {
        let part = match item.value {
            Value::Float(part) => part,
            Value::Integer(part) => part as f64,
            _ => return Err(wrong()),
        };
        if !(part > 0.0 && part <= 10.0) {
            return Err(wrong());
        }
        parts.push(part);
    }
    parts.sort_by(f64::total_cmp);
    if parts.is_empty() { Err(wrong()) } else { Ok(parts) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(rules: &str) -> Result<MatterRules, String> {
        let text = format!("version = 1\n{rules}");
        let loaded = crate::config::load_text("t.toml", &text, Path::new(""), std::iter::empty());
        loaded.map(|loaded| loaded.watch.matters).map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect())
    }

    #[test]
    fn budgets_of_cost_centres_name_one_that_somebody_is_booked_to() {
        let centres = "[[cost_center]]\nname = 'cc-12'\nteam = 'search'\n[[cost_center]]\nname = 'cc-12'\nteam = 'ads'\nproject = 'bid*'\n";
        let budget = |more: &str| format!("[[budget]]\nname = 'b'\nteam = 'platform'\namount = '5'\n{more}\n{centres}");
        let rules = load(&budget("cost_center = 'cc-12'")).unwrap();
        assert_eq!((rules.budgets[0].cost_center.as_deref(), rules.cost_centers.len()), (Some("cc-12"), 2));
        let problems = load(&budget("cost_center = 'cc-1'")).unwrap_err();
        assert!(problems.contains("to which no [[cost_center]] gives") && problems.contains("t.toml:"), "{problems}");
        let problems = load(&budget("cost_center = 'cc-12'\nproject = 'x'")).unwrap_err();
        assert!(problems.contains("stands beside a cost_center"), "{problems}");
    }
}
