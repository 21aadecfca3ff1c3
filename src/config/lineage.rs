//! [[lineage.origin]] and [[lineage.step]]: where data comes from that no event says the origin of, and what jobs let pass.

use super::read::Section;
use crate::lineage::rules::{LineageRules, OriginRule, StepRule};
use crate::model::Text;

pub fn lineage(section: &mut Section) -> LineageRules {
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
    rules
}
