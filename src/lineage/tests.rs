//! Tests of the graph: carried on step by step it says what a computation from the start says, and it touches no more than it must.

use proptest::prelude::*;

use super::rules::StepRule;
use super::*;
use crate::model::lineage::{DatasetName, OriginRule, RunState};

pub(super) fn text(text: &str) -> Text {
    text.into()
}

pub(super) fn stated(name: &str, origins: &[&str]) -> StatedDataset {
    let origins = if origins.is_empty() { None } else { Some(origins.iter().map(|origin| text(origin)).collect()) };
    StatedDataset { namespace: text("lake"), name: text(name), origins, ..StatedDataset::default() }
}

pub(super) fn of_model(name: &str, model: &str, version: &str) -> StatedDataset {
    StatedDataset { model: Some(ModelName { model: text(model), version: Some(text(version)) }), ..stated(name, &[]) }
}

pub(super) fn run(id: &str, state: RunState, job: &str, inputs: &[StatedDataset], outputs: &[StatedDataset]) -> LineageEvent {
    let job = Job { namespace: text("jobs"), name: text(job), owner: Some(text("owners")) };
    let told = Told::Run { run_id: text(id), state, job, inputs: inputs.to_vec(), outputs: outputs.to_vec() };
    LineageEvent { event_id: text(id), producer: text("test"), event_time: Timestamp(0), told }
}

pub(super) fn of_dataset(dataset: StatedDataset) -> LineageEvent {
    LineageEvent { event_id: text("d"), producer: text("test"), event_time: Timestamp(0), told: Told::Dataset(dataset) }
}

/// Its new name and the one before.
pub(super) fn renamed(name: &str, before: &str) -> StatedDataset {
    let before = DatasetName { namespace: text("lake"), name: text(before) };
    StatedDataset { lifecycle: Some(Lifecycle::Rename(Some(before))), ..stated(name, &[]) }
}

/// One with other names.
pub(super) fn named(name: &str, others: &[&str]) -> StatedDataset {
    let same_as = others.iter().map(|other| DatasetName { namespace: text("lake"), name: text(other) }).collect();
    StatedDataset { same_as, ..stated(name, &[]) }
}

pub(super) fn facts(lineage: &mut Lineage, model: &str, version: Option<&str>) -> (Vec<String>, bool) {
    lineage.take_facts();
    let name = ModelName { model: text(model), version: version.map(text) };
    let facts = lineage.graph.find(&What::Model(name)).and_then(|id| lineage.facts(id)).unwrap();
    (facts.origins.iter().map(ToString::to_string).collect(), facts.has_gap)
}

pub(super) fn known(origins: &[&str]) -> (Vec<String>, bool) {
    (origins.iter().map(ToString::to_string).collect(), false)
}

#[test]
fn origins_come_by_the_jobs_to_the_model() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("a", RunState::Complete, "clean", &[stated("raw", &["eu-central-1"])], &[stated("clean", &[])]));
    lineage.apply(&run("b", RunState::Start, "train", &[stated("clean", &[])], &[]));
    lineage.apply(&run("b", RunState::Complete, "train", &[stated("more", &["US"])], &[of_model("m", "scorer", "1")]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["US", "eu-central-1"]));
    // Who names no version may get any.
    lineage.apply(&run("c", RunState::Complete, "train", &[stated("jp", &["JP"])], &[of_model("m2", "scorer", "2")]));
    assert_eq!(facts(&mut lineage, "scorer", Some("2")), known(&["JP"]));
    assert_eq!(facts(&mut lineage, "scorer", None), known(&["JP", "US", "eu-central-1"]));
    let names = |model: &str, origin: Option<&str>| -> Vec<String> {
        let id = lineage.graph.find(&What::Model(ModelName { model: text(model), version: None })).unwrap();
        lineage.graph.way(id, origin).into_iter().map(|id| format!("{:?}", lineage.graph.node(id).unwrap().what)).collect()
    };
    let way = names("scorer", Some("eu-central-1"));
    assert!(way[0].contains("lake/raw") && way.iter().any(|step| step.contains("jobs/train")), "{way:?}");
    assert!(names("scorer", None).is_empty(), "no gap, no way to one");
}

#[test]
fn what_only_started_or_failed_has_led_to_nothing() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("a", RunState::Complete, "train", &[stated("eu", &["DE"])], &[of_model("m", "scorer", "1")]));
    for (id, state) in [("b", RunState::Start), ("c", RunState::Fail), ("d", RunState::Abort), ("e", RunState::Other)] {
        lineage.apply(&run(id, state, "train", &[stated("cn", &["CN"])], &[of_model("m", "scorer", "1")]));
    }
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
    lineage.apply(&run("f", RunState::Fail, "train", &[stated("cn", &["CN"])], &[of_model("m2", "scorer", "2")]));
    assert!(lineage.graph.find(&What::Model(ModelName { model: text("scorer"), version: Some(text("2")) })).is_none());
    // A stream never completes.
    lineage.apply(&run("b", RunState::Running, "train", &[], &[]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["CN", "DE"]));
}

#[test]
fn events_of_a_run_add_up_in_any_order() {
    let parts = [
        run("a", RunState::Complete, "train", &[], &[of_model("m", "scorer", "1")]),
        run("a", RunState::Start, "train", &[stated("eu", &["DE"])], &[]),
        run("a", RunState::Other, "train", &[stated("us", &["US"])], &[]),
    ];
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let mut lineage = Lineage::default();
        for (step, part) in order.into_iter().enumerate() {
            lineage.apply(&parts[part]);
            if order[0] == 0 && step == 0 {
                assert_eq!(facts(&mut lineage, "scorer", Some("1")), (vec![], true), "nothing is known of what it read");
            }
        }
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE", "US"]), "{order:?}");
    }
}

#[test]
fn gaps_are_told_and_filled_later() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("a", RunState::Complete, "train", &[stated("x", &[])], &[of_model("m", "scorer", "1")]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), (vec![], true));
    // The registration knows it, or a later event, or the config; an event's word counts more.
    let registered = ActivityEvent {
        action: Some(text("model_registered")),
        model: Some(text("scorer")),
        model_version: Some(text("1")),
        origin_region: Some(text("eu-west-1")),
        ..ActivityEvent::default()
    };
    lineage.take_activity(&registered);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["eu-west-1"]));
    let told = Told::Dataset(stated("x", &["SG"]));
    lineage.apply(&LineageEvent { event_id: text("d"), producer: text("p"), event_time: Timestamp(0), told });
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["SG", "eu-west-1"]));
    // A ring that nothing comes into has no source.
    lineage.apply(&run("r", RunState::Complete, "one", &[stated("p", &[])], &[stated("q", &[])]));
    lineage.apply(&run("s", RunState::Complete, "two", &[stated("q", &[])], &[stated("p", &[]), of_model("n", "ring", "1")]));
    assert_eq!(facts(&mut lineage, "ring", None), (vec![], true));
    lineage.follow(&LineageRules {
        origins: vec![
            OriginRule { dataset: text("lake/p*"), regions: vec![text("FR")] },
            OriginRule { dataset: text("lake/*"), regions: vec![text("GB")] },
        ],
        steps: vec![],
    });
    assert_eq!(facts(&mut lineage, "ring", None), known(&["FR", "GB"]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["GB", "SG", "eu-west-1"]), "the file of the model itself");
}

#[test]
fn a_ring_without_a_source_is_a_gap_whatever_else_is_known() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("r", RunState::Complete, "one", &[stated("p", &[])], &[stated("q", &[])]));
    lineage.apply(&run("s", RunState::Complete, "two", &[stated("q", &[])], &[stated("p", &[])]));
    lineage.apply(&run("a", RunState::Complete, "train", &[stated("q", &[]), stated("eu", &["DE"])], &[of_model("m", "scorer", "1")]));
    lineage.apply(&run("b", RunState::Complete, "anonymise", &[stated("q", &[])], &[of_model("n", "free", "1")]));
    let gap = |origins: &[&str]| (known(origins).0, true);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&["DE"]));
    assert_eq!(facts(&mut lineage, "free", None), gap(&[]));
    let id = lineage.graph.find(&What::Model(ModelName { model: text("scorer"), version: None })).unwrap();
    let way: Vec<String> = lineage.graph.way(id, None).into_iter().map(|id| lineage.name(id)).collect();
    assert_eq!(way, ["lake/q", "jobs/train", "lake/m", "scorer 1", "scorer"]);
    let steps = vec![StepRule { job: text("jobs/anonymise"), passes: vec![] }];
    lineage.follow(&LineageRules { steps, origins: vec![] });
    assert_eq!(facts(&mut lineage, "free", None), known(&[]), "a step ends a gap, too");
    // Somebody feeds the ring.
    lineage.apply(&run("f", RunState::Complete, "feed", &[stated("jp", &["JP"])], &[stated("p", &[])]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE", "JP"]));
}

/// What was unknown while a part of it was not told yet must not go round in a ring for ever.
#[test]
fn a_ring_does_not_hold_on_to_what_is_known_by_now() {
    let round = run("r", RunState::Complete, "round", &[stated("p", &[])], &[stated("q", &[])]);
    let back = run("s", RunState::Complete, "back", &[stated("q", &[])], &[stated("p", &[]), of_model("m", "ring", "1")]);
    let feed = |state, inputs: &[StatedDataset]| run("f", state, "feed", inputs, &[stated("p", &[])]);
    let jp = [stated("jp", &["JP"])];
    // The feeding run names what it reads only at its end; or it comes when the ring is closed already.
    for early in [true, false] {
        let mut lineage = Lineage::default();
        let first = if early { vec![feed(RunState::Running, &[]), round.clone(), back.clone()] } else { vec![round.clone(), back.clone()] };
        for event in first {
            lineage.apply(&event);
            lineage.take_facts();
        }
        assert_eq!(facts(&mut lineage, "ring", Some("1")), (vec![], true));
        lineage.apply(&feed(RunState::Complete, &jp));
        assert_eq!(facts(&mut lineage, "ring", Some("1")), known(&["JP"]), "early: {early}");
    }
}

#[test]
fn a_step_lets_pass_what_its_rule_names() {
    let steps =
        vec![StepRule { job: text("jobs/anonymise*"), passes: vec![] }, StepRule { job: text("jobs/federate"), passes: vec![text("US")] }];
    let mut lineage = Lineage::default();
    lineage.apply(&run("a", RunState::Complete, "anonymise-v2", &[stated("eu", &["DE"]), stated("x", &[])], &[of_model("m", "free", "1")]));
    lineage.apply(&run("b", RunState::Complete, "federate", &[stated("eu", &["DE"]), stated("us", &["US"])], &[of_model("n", "fed", "1")]));
    assert_eq!(facts(&mut lineage, "fed", Some("1")), known(&["DE", "US"]));
    lineage.follow(&LineageRules { steps, origins: vec![] });
    assert_eq!(facts(&mut lineage, "free", None), known(&[]), "free of all, and that is no gap");
    assert_eq!(facts(&mut lineage, "fed", Some("1")), known(&["US"]));
}

#[test]
fn a_late_origin_touches_what_depends_on_it_and_nothing_else() {
    let mut lineage = Lineage::default();
    for n in 0..200 {
        let outputs = [of_model(&format!("m{n}"), &format!("model-{n}"), "1")];
        lineage.apply(&run(
            &format!("a{n}"),
            RunState::Complete,
            &format!("clean{n}"),
            &[stated(&format!("raw{n}"), &[])],
            &[stated(&format!("c{n}"), &[])],
        ));
        lineage.apply(&run(&format!("b{n}"), RunState::Complete, &format!("train{n}"), &[stated(&format!("c{n}"), &[])], &outputs));
    }
    assert_eq!(lineage.take_facts().len(), 400, "each model and its version");
    let before = lineage.graph.computed;
    let told = Told::Dataset(stated("raw7", &["IN"]));
    lineage.apply(&LineageEvent { event_id: text("d"), producer: text("p"), event_time: Timestamp(0), told });
    let changed: Vec<String> = lineage.take_facts().iter().map(|facts| facts.model.to_string()).collect();
    assert_eq!(changed, ["model-7 1", "model-7"]);
    // raw, clean, c, train, m, version, model: each at most twice.
    assert!(lineage.graph.computed - before <= 14, "{}", lineage.graph.computed - before);
    assert!(lineage.take_facts().is_empty());
}

#[test]
fn models_that_nobody_registered_are_named() {
    let mut lineage = Lineage::default();
    let event = |action: &str, model: &str| ActivityEvent {
        action: Some(text(action)),
        model: Some(text(model)),
        model_version: Some(text("1")),
        region: Some(text("ap-southeast-1")),
        team: text("ads"),
        ..ActivityEvent::default()
    };
    lineage.take_activity(&event("model_registered", "known"));
    lineage.take_activity(&event("deployment", "known"));
    lineage.take_activity(&event("deployment", "shadow"));
    lineage.take_answer(&text("known"), &text("eu"), &text("aws"), &text("search"), Timestamp(0));
    lineage.take_answer(&text("gpt"), &text("eu"), &text("openai"), &text("search"), Timestamp(0));
    let names = |lineage: &Lineage| lineage.unregistered(None).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&lineage), ["gpt", "shadow 1"]);
    let of = |team: &str| lineage.unregistered(Some(team)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((of("search"), of("ads"), of("risk")), (vec!["gpt".to_string()], vec!["shadow 1".to_string()], vec![]));
    lineage.take_activity(&event("undeployment", "shadow"));
    assert_eq!(names(&lineage), ["gpt"]);
}

#[test]
fn a_map_says_which_ways_break_a_rule_and_by_what_way() {
    let mut lineage = Lineage::default();
    lineage.apply(&run("a", RunState::Complete, "train", &[stated("eu", &["DE"])], &[of_model("m", "scorer", "1")]));
    lineage.apply(&run("b", RunState::Complete, "train", &[stated("x", &[])], &[of_model("n", "other", "1")]));
    for (model, region) in [("scorer", "ap-southeast-1"), ("other", "eu-central-1")] {
        lineage.take_activity(&ActivityEvent {
            action: Some(text("deployment")),
            model: Some(text(model)),
            model_version: Some(text("1")),
            region: Some(text(region)),
            team: text("risk"),
            ..ActivityEvent::default()
        });
    }
    lineage.take_facts();
    let judge = |crossing: &map::Crossing<'_>| {
        let is_wrong =
            crossing.origin.is_some_and(|origin| **origin == *"DE") && crossing.region.is_some_and(|region| region.starts_with("ap-"));
        let broken = map::Broken { policy: "residency".to_string(), message: "no".to_string(), is_certain: true };
        if is_wrong { vec![broken] } else { vec![] }
    };
    let map = lineage.map(None, Timestamp(0), &judge);
    let broken: Vec<_> = map.edges.iter().filter(|edge| edge.state == map::EdgeState::Breaks).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(map.nodes[broken[0].to].name, "ap-southeast-1");
    assert_eq!(broken[0].way, ["lake/eu", "jobs/train", "lake/m", "scorer 1"]);
    assert!(broken[0].teams.contains("risk"));
    // Somebody has reviewed it, for a time.
    let reviewed = |crossing: &map::Crossing<'_>| if crossing.approval.is_none() { judge(crossing) } else { vec![] };
    lineage.take_activity(&ActivityEvent {
        action: Some(text("approval")),
        approval: Some(text("RV-1")),
        model: Some(text("scorer")),
        region: Some(text("ap-southeast-1")),
        team: text("risk"),
        expires_at: Some(Timestamp(10)),
        ..ActivityEvent::default()
    });
    let broken_at =
        |now| lineage.map(None, Timestamp(now), &reviewed).edges.iter().filter(|edge| edge.state == map::EdgeState::Breaks).count();
    assert_eq!((broken_at(9), broken_at(10)), (0, 1));
    let svg = svg(&map, "a <map> & more");
    assert!(svg.contains("a &lt;map&gt; &amp; more") && svg.contains("#c53030") && svg.ends_with("</svg>\n"));
    // What another team does is not its matter; an owner of jobs sees what they write.
    assert!(lineage.map(Some("nobody"), Timestamp(0), &judge).nodes.is_empty());
    assert_eq!(lineage.map(Some("risk"), Timestamp(0), &judge).nodes.len(), map.nodes.len());
    assert!(!map.nodes.iter().any(|node| node.name == "scorer"), "versions say it all");
    assert!(lineage.map(Some("owners"), Timestamp(0), &judge).nodes.iter().any(|node| node.name == "lake/m"));
}

/// A change to a small graph.
#[derive(Clone, Debug)]
enum Change {
    Run { id: u8, job: u8, inputs: Vec<u8>, outputs: Vec<u8>, counts: bool },
    State { dataset: u8, origins: Vec<u8> },
    Rename { run: Option<(u8, bool)>, from: u8, to: u8 },
    Same { one: u8, other: u8 },
    Rules { origins: Vec<(u8, u8)>, step: Option<(u8, Vec<u8>)> },
}

fn change() -> impl Strategy<Value = Change> {
    let few = || prop::collection::vec(0_u8..8, 0..3);
    prop_oneof![
        6 => (0_u8..6, 0_u8..4, few(), few(), any::<bool>())
            .prop_map(|(id, job, inputs, outputs, counts)| Change::Run { id, job, inputs, outputs, counts }),
        2 => (0_u8..8, prop::collection::vec(0_u8..4, 0..3)).prop_map(|(dataset, origins)| Change::State { dataset, origins }),
        2 => (prop::option::of((0_u8..6, any::<bool>())), 0_u8..8, 0_u8..8).prop_map(|(run, from, to)| Change::Rename { run, from, to }),
        2 => (0_u8..8, 0_u8..8).prop_map(|(one, other)| Change::Same { one, other }),
        1 => (prop::collection::vec((0_u8..8, 0_u8..4), 0..3), prop::option::of((0_u8..4, prop::collection::vec(0_u8..4, 0..2))))
            .prop_map(|(origins, step)| Change::Rules { origins, step }),
    ]
}

fn make(lineage: &mut Lineage, change: &Change) {
    let origin = |n: &u8| text(["DE", "US", "JP", "CN"][usize::from(*n)]);
    let datasets = |ids: &[u8]| -> Vec<StatedDataset> {
        let dataset = |id: &u8| if *id == 7 { of_model("m", "scorer", "1") } else { stated(&format!("d{id}"), &[]) };
        ids.iter().map(dataset).collect()
    };
    let name = |id: &u8| if *id == 7 { "m".to_string() } else { format!("d{id}") };
    let ended = |counts: bool| if counts { RunState::Complete } else { RunState::Start };
    match change {
        Change::Rename { run: None, from, to } => lineage.apply(&of_dataset(renamed(&name(to), &name(from)))),
        Change::Rename { run: Some((id, counts)), from, to } => {
            lineage.apply(&run(&format!("{id}"), ended(*counts), "rename", &[], &[renamed(&name(to), &name(from))]));
        }
        Change::Same { one, other } => lineage.apply(&of_dataset(named(&name(one), &[&name(other)]))),
        Change::Run { id, job, inputs, outputs, counts } => {
            let state = ended(*counts);
            lineage.apply(&run(&format!("{id}"), state, &format!("j{job}"), &datasets(inputs), &datasets(outputs)));
        }
        Change::State { dataset, origins } => {
            let told = StatedDataset { origins: Some(origins.iter().map(origin).collect()), ..stated(&format!("d{dataset}"), &[]) };
            let told = Told::Dataset(told);
            lineage.apply(&LineageEvent { event_id: text("s"), producer: text("p"), event_time: Timestamp(0), told });
        }
        Change::Rules { origins, step } => lineage.follow(&LineageRules {
            origins: origins
                .iter()
                .map(|(dataset, n)| OriginRule { dataset: text(&format!("lake/d{dataset}")), regions: vec![origin(n)] })
                .collect(),
            steps: step
                .iter()
                .map(|(job, passes)| StepRule { job: text(&format!("jobs/j{job}")), passes: passes.iter().map(origin).collect() })
                .collect(),
        }),
    }
}

/// What a changelog holds after these changes; `stops` are the ends of transactions.
pub(super) fn changelog(lineage: &mut Lineage, kept: &mut BTreeMap<Vec<u8>, Vec<u8>>, position: i64) -> Vec<ModelFacts> {
    let facts = lineage.take_facts();
    for change in lineage.take_changes(position).unwrap() {
        match change.value {
            Some(value) => kept.insert(change.key, value),
            None => kept.remove(&change.key),
        };
    }
    facts
}

proptest! {
    #[test]
    fn step_by_step_is_the_same_as_all_at_once(changes in prop::collection::vec(change(), 1..25), stops in any::<u32>()) {
        let (mut slow, mut quick) = (Lineage::default(), Lineage::default());
        for (at, change) in changes.iter().enumerate() {
            make(&mut slow, change);
            make(&mut quick, change);
            if stops >> at & 1 == 1 {
                slow.take_facts();
            }
        }
        slow.take_facts();
        // Everything from the start: all are stated anew.
        quick.take_facts();
        quick.graph.compute_all();
        let all = |lineage: &Lineage| -> Vec<(String, Vec<Text>, bool)> {
            let nodes = lineage.graph.nodes.iter().zip(0..);
            nodes.map(|(node, id)| (format!("{:?}", node.what), lineage.graph.sets.names(node.known.origins), lineage.graph.has_gap(id))).collect()
        };
        prop_assert_eq!(all(&slow), all(&quick));
    }

    #[test]
    fn what_is_restored_goes_on_as_what_ran(changes in prop::collection::vec(change(), 1..25), stops in any::<u32>(), crash in 0_usize..25) {
        let mut running = Lineage::default();
        let mut kept = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            make(&mut running, change);
            if stops >> at & 1 == 1 || at == crash {
                changelog(&mut running, &mut kept, at as i64 + 1);
            }
            if at == crash {
                let mut restored = Lineage::default();
                restored.follow(&running.graph.rules());
                let position = restored.restore_all(kept.clone()).unwrap();
                prop_assert_eq!(position, Some(at as i64 + 1));
                prop_assert!(restored.take_facts().is_empty(), "nothing is told twice");
                prop_assert_eq!(restored.image(), running.image());
                running = restored;
            }
        }
    }
}

/// A stream names ever new data under one run id: neither its key nor what is held of it grows without end, and what it read stays known.
#[test]
fn a_run_that_never_ends_is_bounded() {
    let (mut lineage, mut kept) = (Lineage::default(), BTreeMap::new());
    let mut largest = 0;
    for day in 0..100 {
        let inputs = if day == 0 { vec![stated("raw", &["DE"])] } else { Vec::new() };
        lineage.apply(&run("stream", RunState::Running, "sink", &inputs, &[stated(&format!("day-{day}"), &[])]));
        changelog(&mut lineage, &mut kept, day + 1);
        largest = largest.max(kept.values().map(Vec::len).max().unwrap_or_default());
    }
    assert!(largest < 600, "{largest} bytes");
    assert!(lineage.runs.held() < 200, "{}", lineage.runs.held());
    for day in 0..100 {
        let id = lineage.graph.find(&What::Dataset(text(&format!("lake/day-{day}")))).unwrap();
        let known = lineage.graph.node(id).unwrap().known.origins;
        assert_eq!(lineage.graph.sets.names(known), [text("DE")], "{day}");
    }
    let mut restored = Lineage::default();
    restored.restore_all(kept).unwrap();
    assert_eq!(restored.image(), lineage.image());
}

/// Names may be a hundred times longer than those above.
#[test]
fn a_run_of_long_names_is_bounded_by_their_bytes() {
    let (mut lineage, mut kept) = (Lineage::default(), BTreeMap::new());
    let mut largest = 0;
    for day in 0..40 {
        let outputs: Vec<_> = (0..2).map(|part| stated(&format!("{day}-{part}-{}", "x".repeat(700)), &[])).collect();
        lineage.apply(&run("stream", RunState::Running, "sink", &[], &outputs));
        changelog(&mut lineage, &mut kept, day + 1);
        largest = largest.max(kept.values().map(Vec::len).max().unwrap_or_default());
    }
    assert!(largest < 5_000, "{largest} bytes");
}

#[test]
fn rules_that_changed_while_it_was_down_are_told_after_the_restart() {
    let (mut lineage, mut kept) = (Lineage::default(), BTreeMap::new());
    lineage.apply(&run("a", RunState::Complete, "train", &[stated("x", &[])], &[of_model("m", "scorer", "1")]));
    assert_eq!(changelog(&mut lineage, &mut kept, 1).len(), 2);
    let mut restored = Lineage::default();
    restored.follow(&LineageRules { origins: vec![OriginRule { dataset: text("lake/x"), regions: vec![text("DE")] }], steps: vec![] });
    restored.restore_all(kept).unwrap();
    let told: Vec<_> = restored.take_facts().into_iter().map(|facts| (facts.model.to_string(), facts.has_gap)).collect();
    assert_eq!(told, [("scorer 1".to_string(), false), ("scorer".to_string(), false)]);
    for (key, value) in [(&b"?"[..], &[1][..]), (b"p", b""), (b"p", &[9, 0]), (b"p", &[1, 99])] {
        assert!(restored.restore_all(BTreeMap::from([(key.to_vec(), value.to_vec())])).is_err(), "{key:?}");
    }
}
