//! [lineage], [[lineage.origin]] and [[lineage.step]]: where data comes from that no event says the origin of, and what jobs let pass.

use super::read::Section;
use crate::lineage::rules::{LineageRules, StepRule};
use crate::model::Text;
use crate::model::lineage::OriginRule;
use crate::watch::rules::WatchRules;

/// The rules of the graph, and those of them that watch has to know.
pub fn lineage(section: &mut Section, watch: &mut WatchRules) -> LineageRules {
    let texts = |section: &mut Section, key: &'static str| -> Vec<Text> {
        section.texts(key).into_iter().map(|(_, text)| text.as_str().into()).collect()
    };
    let mut rules = LineageRules::default();
    for mut rule in section.tables("origin") {
        rules.origins.push(OriginRule { dataset: rule.text("dataset").as_str().into(), regions: texts(&mut rule, "regions") });
        rule.finish();
    }
    for mut rule in section.tables("step") {
        rules.steps.push(StepRule { job: rule.text("job").as_str().into(), passes: texts(&mut rule, "passes") });
        rule.finish();
    }
    watch.lineage_grace_ms = section.duration("grace", "0s", "30d");
    watch.data_origins = rules.origins.clone();
    rules
}
