//! Tests of uses of datasets: judged by what is known of their data, once, and again when something else is.

use super::tests::{changelog, of_dataset, renamed, run, stated, text};
use super::*;
use crate::model::lineage::{OriginRule, RunState};
use crate::model::time::HOUR_MS;

fn read(id: &str, dataset: &str, hour: i64) -> ActivityEvent {
    ActivityEvent {
        event_id: text(id),
        source: text("catalogue"),
        event_time: Timestamp(hour * HOUR_MS),
        action: Some(text("access")),
        actor: Some(text("kim")),
        team: text("lab"),
        dataset: Some(text(&format!("lake/{dataset}"))),
        region: Some(text("us-east-1")),
        ..ActivityEvent::default()
    }
}

/// Ids and origins of the uses that are to be judged.
fn told(lineage: &mut Lineage) -> Vec<(String, Vec<String>)> {
    lineage.take_facts();
    let uses = lineage.take_uses().into_iter();
    uses.map(|used| (used.activity.event_id.to_string(), used.origins.iter().map(ToString::to_string).collect())).collect()
}

fn by(id: &str, origins: &[&str]) -> (String, Vec<String>) {
    (id.to_string(), origins.iter().map(ToString::to_string).collect())
}

#[test]
fn what_is_read_is_judged_by_where_it_comes_from() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("r", RunState::Complete, "clean", &[stated("raw", &["DE"])], &[stated("clean", &[])]));
    lineage.take_activity(&read("a", "clean", 0));
    lineage.take_activity(&read("b", "clean", 0));
    lineage.take_activity(&read("c", "elsewhere", 0));
    // These say themselves where it comes from, or are of a model, or no use.
    for event in [
        ActivityEvent { origin_region: Some(text("FR")), ..read("d", "clean", 0) },
        ActivityEvent { model: Some(text("m")), ..read("e", "clean", 0) },
        ActivityEvent { action: Some(text("evaluation")), ..read("f", "clean", 0) },
    ] {
        assert!(!concerns(&event));
        lineage.take_activity(&event);
    }
    assert!(concerns(&read("a", "clean", 0)));
    assert_eq!(told(&mut lineage), [by("a", &["DE"]), by("b", &["DE"])]);
    assert!(told(&mut lineage).is_empty(), "once");
    assert!(!lineage.map(None, Timestamp(0), &|_| Vec::new()).nodes.iter().any(|node| node.name == "lake/elsewhere"), "no lineage of it");
}

#[test]
fn a_late_origin_is_held_against_what_was_read_before() {
    let (mut lineage, mut kept) = (Lineage::default(), BTreeMap::new());
    // Read before anybody has ever named it; of one hour the first stands for all, later ones come in its place.
    for (id, hour) in [("a", 0), ("b", 0), ("c", 5)] {
        lineage.take_activity(&read(id, "new", hour));
    }
    lineage.take_activity(&ActivityEvent { region: Some(text("eu-west-1")), ..read("d", "new", 0) });
    assert!(told(&mut lineage).is_empty());
    changelog(&mut lineage, &mut kept, 1);
    // A restart in between.
    let mut lineage = Lineage::default();
    lineage.restore_all(kept.clone()).unwrap();
    lineage.apply(&of_dataset(renamed("new", "old")));
    assert!(told(&mut lineage).is_empty());
    lineage.apply(&of_dataset(stated("old", &["CN"])));
    assert_eq!(told(&mut lineage), [by("d", &["CN"]), by("c", &["CN"])]);
    changelog(&mut lineage, &mut kept, 2);
    let image = lineage.image();
    let mut lineage = Lineage::default();
    lineage.restore_all(kept).unwrap();
    assert!(told(&mut lineage).is_empty(), "nothing is told twice");
    assert_eq!(lineage.image(), image);
    // By rules of the config as well.
    lineage.follow(&LineageRules { origins: vec![OriginRule { dataset: text("lake/new"), regions: vec![text("IN")] }], steps: vec![] });
    assert_eq!(told(&mut lineage), [by("d", &["CN", "IN"]), by("c", &["CN", "IN"])]);
}

#[test]
fn so_many_are_kept_and_no_more() {
    let mut lineage = Lineage::default();
    for n in 0..20_050 {
        lineage.take_activity(&read(&format!("u{n}"), &format!("d{n}"), 0));
    }
    assert!(told(&mut lineage).is_empty());
    lineage.take_changes(1).unwrap();
    let keys = lineage.take_changes(2).unwrap().len();
    for n in [49, 50] {
        lineage.apply(&of_dataset(stated(&format!("d{n}"), &["DE"])));
    }
    assert_eq!((told(&mut lineage), keys), (vec![by("u50", &["DE"])], 1));
}
