//! [intake], [[attribution]], [[sources]], [watch], [[override]], [[team]]: what verdicts depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::{Problem, did_you_mean};
use super::read::{Section, text, wrong_kind};
use super::settings::IntakeSettings;
use super::tree::{Item, Value};
use super::units::Complaint;
use crate::intake::rules::{AttributedTeam, AttributionRule, IntakeRules, PriceBook, SourceRule};
use crate::model::Text;
use crate::model::money::{Currency, Nanos};
use crate::model::rates::Rates;
use crate::model::time::{HOUR_MS, zone, zone_names};
use crate::policy::stream::Stream;
use crate::watch::rules::{Override, TeamRule, Thresholds, WatchRules};

/// What several sections need to know of others.
pub struct Common {
    pub revision: u64,
    pub reporting_currency: Currency,
    pub rates: Rates,
    pub policies: Arc<Stream>,
}

pub fn intake(root: &mut Section, common: &Common, prices: PriceBook) -> (IntakeRules, IntakeSettings) {
    let mut section = root.section("intake");
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    let largest_record = usize::try_from(section.size("largest_record", 1024..=64 << 20)).unwrap_or_default();
    let rules = IntakeRules {
        revision: common.revision,
        allowed_skew_ms: section.duration("allowed_skew", "0s", "24h"),
        out_of_orderness_ms: section.duration("out_of_orderness", "0s", "24h"),
        dedupe_window: unsigned(section.integer("dedupe_window", 0..=100_000_000)),
        largest_record,
        reporting_currency: common.reporting_currency,
        attribution: attribution(root.tables("attribution")),
        sources: root.tables("sources").into_iter().map(source).collect(),
        prices,
        rates: common.rates.clone(),
        policies: common.policies.clone(),
    };
    let settings = IntakeSettings {
        threads: usize::try_from(section.integer("threads", 1..=1024)).unwrap_or(1),
        largest_record,
        dead_letter_ratio: section.number("dead_letter_ratio", 0.0..=1.0).unwrap_or_default(),
        dead_letter_sample: u32::try_from(section.integer("dead_letter_sample", 1..=100_000_000)).unwrap_or_default(),
        most_shard_lag: section.integer("most_shard_lag", 100..=1_000_000_000),
    };
    section.finish();
    (rules, settings)
}

fn attribution(sections: Vec<Section>) -> Vec<AttributionRule> {
    let mut catch_all: Option<String> = None;
    let mut rules = Vec::new();
    for mut section in sections {
        let conditions = ["source", "account", "project", "user", "tags"];
        if let Some(place) = &catch_all {
            let problem =
                Problem::new(&section.place, format!("this attribution rule is never reached: the one at {place} has no condition"));
            section.notes().warning(problem.hint("put the rule without conditions last"));
        } else if conditions.iter().all(|key| !section.has(key)) && section.has("team") {
            catch_all = Some(section.place.to_string());
        }
        let mut shared = |key| section.optional_text(key).map(Text::from);
        let (source, account, project, user) = (shared("source"), shared("account"), shared("project"), shared("user"));
        let (named, from_tag) = (shared("team"), shared("team_from_tag"));
        let tags = section.section("tags");
        let mut wanted = Vec::new();
        for (name, item) in tags.entries() {
            match text(item) {
                Ok(value) => wanted.push((Text::from(name.as_str()), Text::from(value))),
                Err(complaint) => tags.complain(name, complaint),
            }
        }
        let team = match (named, from_tag) {
            (Some(team), None) => AttributedTeam::Named(team),
            (None, Some(tag)) => AttributedTeam::FromTag(tag),
            (named, _) => {
                let what = if named.is_some() { "has both 'team' and 'team_from_tag'" } else { "names no team" };
                let hint = "give team = \"search\", or team_from_tag = \"team\"";
                section.notes().problem(Problem::new(&section.place, format!("this attribution rule {what}")).hint(hint));
                AttributedTeam::default()
            }
        };
        rules.push(AttributionRule { source, account, project, user, tags: wanted, team });
        section.finish();
    }
    rules
}

fn source(mut section: Section) -> SourceRule {
    // Absent = OpenTelemetry's convention.
    let rule = SourceRule {
        source: section.text("source").into(),
        input_includes_cached: section.boolean("input_includes_cached").unwrap_or(true),
        input_includes_cache_write: section.boolean("input_includes_cache_write").unwrap_or(true),
        output_includes_reasoning: section.boolean("output_includes_reasoning").unwrap_or(true),
    };
    section.finish();
    rule
}

pub fn watch(root: &mut Section, section: &mut Section, common: &Common) -> WatchRules {
    let lateness_ms = section.duration("lateness", "0s", "24h");
    let series_per_team = usize::try_from(section.integer("series_per_team", 100..=1_000_000)).unwrap_or_default();
    let teams_per_shard = usize::try_from(section.integer("teams_per_shard", 100..=1_000_000)).unwrap_or_default();
    let defaults = thresholds(section.section("thresholds"), &NOTHING);
    WatchRules {
        revision: common.revision,
        lateness_ms,
        series_per_team,
        teams_per_shard,
        reporting_currency: common.reporting_currency,
        rates: common.rates.clone(),
        overrides: overrides(root.tables("override"), &defaults),
        teams: teams(root.tables("team")),
        // Section [lineage].
        data_origins: Vec::new(),
        lineage_grace_ms: 0,
        matters: super::matters::matters(root, common.reporting_currency, common.rates.target().is_some()),
        defaults,
        policies: common.policies.clone(),
    }
}

/// Below the defaults, which name everything.
const NOTHING: Thresholds = Thresholds {
    alerts_per_team_month: 0.0,
    least_ratio: 0.0,
    least_excess: Nanos::ZERO,
    runaway_floor: Nanos::ZERO,
    runaway_factor: 0.0,
    quiet_hours_to_close: 0,
    update_growth: 0.0,
    refractory_hours: 0,
    wait_below_team_hours: 0.0,
};

/// What is not named stays as it is in `base`.
fn thresholds(mut section: Section, base: &Thresholds) -> Thresholds {
    let thresholds = Thresholds {
        alerts_per_team_month: section.number("alerts_per_team_month", 0.001..=10_000.0).unwrap_or(base.alerts_per_team_month),
        least_ratio: section.number("least_ratio", 1.0..=1000.0).unwrap_or(base.least_ratio),
        least_excess: section.money("least_excess").unwrap_or(base.least_excess),
        runaway_floor: section.money("runaway_floor").unwrap_or(base.runaway_floor),
        runaway_factor: section.number("runaway_factor", 1.0..=1000.0).unwrap_or(base.runaway_factor),
        quiet_hours_to_close: hours(&mut section, "quiet_to_close", "1h").unwrap_or(base.quiet_hours_to_close),
        update_growth: section.number("update_growth", 1.0..=1000.0).unwrap_or(base.update_growth),
        refractory_hours: hours(&mut section, "refractory", "0h").unwrap_or(base.refractory_hours),
        wait_below_team_hours: section.number("wait_below_team_hours", 0.0..=168.0).unwrap_or(base.wait_below_team_hours),
    };
    if section.has("update_growth") && thresholds.update_growth <= 1.0 {
        section.complain("update_growth", Complaint::new("is 1", "write a factor above 1, or every event is an update"));
    }
    section.finish();
    thresholds
}

fn hours(section: &mut Section, key: &'static str, least: &str) -> Option<u32> {
    let ms = section.optional_duration(key, least, "31d")?;
    if ms % HOUR_MS != 0 {
        section.complain(key, Complaint::new("is no whole number of hours", "verdicts are hourly: write \"6h\""));
    }
    u32::try_from(ms / HOUR_MS).ok()
}

fn overrides(sections: Vec<Section>, defaults: &Thresholds) -> Vec<Override> {
    let mut seen: BTreeMap<[Option<Text>; 3], super::problem::Place> = BTreeMap::new();
    let mut overrides = Vec::new();
    for mut section in sections {
        let mut shared = |key| section.optional_text(key).map(Text::from);
        let conditions = [shared("team"), shared("project"), shared("environment")];
        if !section.has("thresholds") {
            let problem = Problem::new(&section.place, "this override has no thresholds");
            section.notes().problem(problem.hint("add thresholds = { least_excess = \"50.00\" } with what differs"));
        }
        if conditions.iter().all(Option::is_none) {
            let problem = Problem::new(&section.place, "this override names no team, project or environment, so it is for everyone");
            section.notes().problem(problem.hint("change [watch.thresholds] instead"));
        }
        if let Some(earlier) = seen.insert(conditions.clone(), section.place.clone()) {
            let problem =
                Problem::new(&earlier, format!("this override is never used: the one at {} has the same conditions", section.place));
            section.notes().warning(problem.hint("the last one that matches holds as a whole; write them as one"));
        }
        let thresholds = thresholds(section.section("thresholds"), defaults);
        let [team, project, environment] = conditions;
        overrides.push(Override { team, project, environment, thresholds });
        section.finish();
    }
    overrides
}

fn teams(sections: Vec<Section>) -> Vec<TeamRule> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut teams = Vec::new();
    for mut section in sections {
        let name = section.text("name");
        if let Some(earlier) = seen.insert(name.clone(), section.place.to_string()).filter(|_| !name.is_empty()) {
            section.complain(
                "name",
                Complaint::new(format!("is '{name}', a team that stands at {earlier} already"), "write one [[team]] for it"),
            );
        }
        let time_zone = section.optional("time_zone", time_zone).unwrap_or_else(|| "UTC".into());
        let observe = section.boolean("observe").unwrap_or(false);
        teams.push(TeamRule { team: name.into(), time_zone, observe });
        section.finish();
    }
    teams
}

pub(super) fn time_zone(item: &Item) -> Result<Text, Complaint> {
    let Value::Text(written) = &item.value else { return Err(wrong_kind(item, "a time zone", "\"Europe/Berlin\"")) };
    if let Some(name) = zone(written).and_then(|zone| zone.iana_name().map(Text::from)) {
        return Ok(name);
    }
    let names = zone_names();
    let hint = did_you_mean(written, names.iter().map(String::as_str));
    let hint = hint.unwrap_or_else(|| "write an IANA name: \"Europe/Berlin\", \"America/New_York\", \"UTC\"".to_string());
    Err(Complaint::new(format!("is '{written}', which is no time zone"), hint))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_text;

    /// What a system has beside the zones of IANA, or has and we do not, would be UTC to all who judge by it.
    #[test]
    fn zones_are_those_that_are_compiled_in() {
        let load = |name: &str| {
            let text = format!("version = 1\n[[team]]\nname = 'a'\ntime_zone = '{name}'\n");
            load_text("x.toml", &text, Path::new(""), std::iter::empty()).map_err(|problems| problems[0].to_string())
        };
        for name in ["localtime", "posixrules", "posix/Europe/Berlin", "right/UTC"] {
            let refused = load(name).unwrap_err();
            assert!(refused.starts_with(&format!("x.toml:4: 'time_zone' in [[team]] is '{name}', which is no time zone; ")), "{refused}");
        }
        assert!(zone_names().len() > 400);
        for name in zone_names() {
            let taken = load(&name).unwrap().watch.teams[0].time_zone.to_string();
            assert_eq!((taken.as_str(), zone(&name).as_ref().and_then(jiff::tz::TimeZone::iana_name)), (&*name, Some(&*name)));
        }
    }
}
