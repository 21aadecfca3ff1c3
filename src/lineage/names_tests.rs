//! Tests of renames and of data with several names: whatever comes first, the end is the same, and nothing else is touched.

use proptest::prelude::*;

use super::tests::{changelog, facts, known, named, of_dataset, of_model, renamed, run, stated, text};
use super::*;
use crate::model::lineage::{OriginRule, RunState};

fn gap(origins: &[&str]) -> (Vec<String>, bool) {
    (known(origins).0, true)
}

fn with(lifecycle: Lifecycle, name: &str) -> StatedDataset {
    StatedDataset { lifecycle: Some(lifecycle), ..stated(name, &[]) }
}

/// Trained on this dataset.
fn trained(on: &str) -> LineageEvent {
    run(&format!("train-{on}"), RunState::Complete, "train", &[stated(on, &[])], &[of_model("m", "scorer", "1")])
}

fn all(events: &[LineageEvent]) -> Lineage {
    let mut lineage = Lineage::default();
    events.iter().for_each(|event| lineage.apply(event));
    lineage
}

#[test]
fn a_new_name_begins_with_the_data_of_the_old_one() {
    let source = run("load", RunState::Complete, "load", &[stated("crm", &["DE"])], &[stated("old", &[])]);
    // A run that reads nothing; it says so of an output, or of an input; or somebody says it of the dataset alone.
    let told = [
        run("rename", RunState::Complete, "rename", &[], &[renamed("new", "old")]),
        run("rename", RunState::Complete, "rename", &[renamed("new", "old")], &[]),
        of_dataset(renamed("new", "old")),
    ];
    for told in told {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let events = [source.clone(), told.clone(), trained("new")];
            let mut lineage = all(&order.map(|at| events[at].clone()));
            assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]), "{told:?}");
        }
    }
    // What comes under the new name was never under the old one.
    let mut lineage = all(&[source, of_dataset(renamed("new", "old")), of_dataset(stated("new", &["US"])), trained("old")]);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
    lineage.apply(&trained("new"));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE", "US"]));
    let id = lineage.graph.find(&What::Model(ModelName { model: text("scorer"), version: Some(text("1")) })).unwrap();
    let way: Vec<String> = lineage.graph.way(id, Some("DE")).into_iter().map(|id| lineage.name(id)).collect();
    assert_eq!(way, ["lake/crm", "jobs/load", "lake/old", "jobs/train", "lake/m", "scorer 1"]);
}

#[test]
fn an_old_name_whose_origin_is_learnt_late_counts_for_the_new_one() {
    let mut lineage = all(&[trained("new"), of_dataset(renamed("new", "old"))]);
    for n in 0..100 {
        lineage.apply(&run(
            &format!("r{n}"),
            RunState::Complete,
            "other",
            &[stated(&format!("x{n}"), &[])],
            &[stated(&format!("y{n}"), &[])],
        ));
    }
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]), "nobody knows where the old one is from");
    let before = lineage.graph.computed;
    lineage.apply(&of_dataset(stated("old", &["CN"])));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["CN"]));
    // old, new, train, m, version, model: each at most twice.
    assert!(lineage.graph.computed - before <= 12, "{}", lineage.graph.computed - before);
}

#[test]
fn a_rename_that_failed_was_none() {
    let step = |state| run("rename", state, "rename", &[], &[renamed("new", "old")]);
    let mut lineage = all(&[of_dataset(stated("old", &["DE"])), step(RunState::Start), step(RunState::Fail), trained("new")]);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]));
    // What a run has announced holds once it is complete, also where its last event repeats nothing, and after a restart.
    let mut kept = BTreeMap::new();
    changelog(&mut lineage, &mut kept, 1);
    let mut lineage = Lineage::default();
    lineage.restore_all(kept).unwrap();
    lineage.apply(&run("rename", RunState::Complete, "rename", &[], &[]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
}

#[test]
fn renamed_to_and_fro_it_stays_what_it_is() {
    let ring = [of_dataset(renamed("b", "a")), of_dataset(renamed("a", "b")), of_dataset(renamed("a", "a")), trained("b")];
    let mut lineage = all(&ring);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]), "nothing comes into the ring");
    let before = lineage.graph.computed;
    lineage.apply(&of_dataset(stated("a", &["DE"])));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
    assert!(lineage.graph.computed - before <= 16, "{}", lineage.graph.computed - before);
}

#[test]
fn what_is_dropped_emptied_or_altered_is_not_written() {
    let loaded = run("load", RunState::Complete, "load", &[stated("crm", &["DE"])], &[stated("t", &[])]);
    for lifecycle in [Lifecycle::Drop, Lifecycle::Truncate, Lifecycle::Alter, Lifecycle::Rename(None)] {
        let end = run("ddl", RunState::Complete, "ddl", &[], &[with(lifecycle.clone(), "t")]);
        // What was made of it still is; and who wrote nothing has brought nothing of unknown origin.
        let mut lineage = all(&[loaded.clone(), trained("t"), end]);
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]), "{lifecycle:?}");
        // Known only with the last event of the run.
        let begun = run("ddl", RunState::Running, "ddl", &[], &[stated("t", &[])]);
        let mut lineage = all(&[loaded.clone(), trained("t"), begun]);
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&["DE"]));
        lineage.apply(&run("ddl", RunState::Complete, "ddl", &[], &[with(lifecycle.clone(), "t")]));
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]), "{lifecycle:?}");
        // With something read it may be a load that begins with an empty table.
        lineage.apply(&run("etl", RunState::Complete, "etl", &[stated("us", &["US"])], &[with(lifecycle, "t")]));
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE", "US"]));
    }
    for lifecycle in [Lifecycle::Create, Lifecycle::Overwrite] {
        let mut lineage = all(&[loaded.clone(), trained("t"), run("w", RunState::Complete, "w", &[], &[with(lifecycle, "t")])]);
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&["DE"]), "it may have brought data, and from where nobody knows");
    }
}

#[test]
fn names_of_one_piece_of_data_know_the_same() {
    // Written by its place, read by its name, or the other way round.
    let written = |name: &str| run("load", RunState::Complete, "load", &[stated("crm", &["DE"])], &[stated(name, &[])]);
    for (at, read) in [("s3", "hive"), ("hive", "s3")] {
        for (one, other) in [("s3", "hive"), ("hive", "s3")] {
            let mut lineage = all(&[written(at), trained(read), of_dataset(named(one, &[other]))]);
            assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
            lineage.apply(&run("more", RunState::Complete, "more", &[stated("us", &["US"])], &[stated(at, &[])]));
            assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE", "US"]));
        }
    }
    // Nothing comes into any of its names.
    let mut lineage = all(&[trained("a"), of_dataset(named("a", &["b", "c", "a"]))]);
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]));
    // Somebody writes one of them out of what nobody knows; somebody says of another where the data is from.
    lineage.apply(&run("w", RunState::Complete, "w", &[stated("x", &[])], &[stated("b", &[])]));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]));
    lineage.apply(&of_dataset(stated("c", &["JP"])));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["JP"]), "said of one it is said of all");
    lineage.apply(&run("t2", RunState::Complete, "t2", &[stated("b", &[])], &[of_model("n", "other", "1")]));
    assert_eq!(facts(&mut lineage, "other", Some("1")), known(&["JP"]));
    // The config says it, and no longer does.
    let rules = LineageRules { origins: vec![OriginRule { dataset: text("lake/q"), regions: vec![text("FR")] }], steps: vec![] };
    let mut lineage = all(&[trained("p"), run("w", RunState::Complete, "w", &[stated("x", &[])], &[stated("p", &[])])]);
    lineage.follow(&rules);
    lineage.apply(&of_dataset(named("q", &["p"])));
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["FR"]));
    lineage.follow(&LineageRules::default());
    assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]));
}

/// Many names, in the form of a star and of a chain: what changes is carried to each of them a few times, and said again nothing is.
#[test]
fn many_names_cost_as_many_steps() {
    const NAMES: usize = 2_000;
    let star: Vec<String> = (0..NAMES).map(|n| format!("n{n}")).collect();
    let star = vec![of_dataset(named("hub", &star.iter().map(String::as_str).collect::<Vec<_>>())), trained("n77")];
    let link = |n: usize| of_dataset(named(&format!("n{n}"), &[format!("n{}", n + 1).as_str()]));
    let chain: Vec<LineageEvent> = (0..NAMES).map(link).chain([trained("n77")]).collect();
    for events in [star, chain] {
        let mut lineage = all(&events);
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), gap(&[]));
        let before = lineage.graph.computed;
        lineage.apply(&of_dataset(stated("n1999", &["DE"])));
        assert_eq!(facts(&mut lineage, "scorer", Some("1")), known(&["DE"]));
        assert!(lineage.graph.computed - before < 5 * NAMES as u64, "{}", lineage.graph.computed - before);
        lineage.take_changes(1).unwrap();
        let before = lineage.graph.computed;
        events.iter().for_each(|event| lineage.apply(event));
        lineage.take_facts();
        // The position, the run and the file of the model, as they are written each time that somebody names them.
        assert_eq!((lineage.graph.computed - before, lineage.take_changes(2).unwrap().len()), (0, 3), "what is known already is no news");
    }
}

#[test]
fn the_map_says_what_was_renamed_and_what_is_the_same() {
    let events = [
        run("load", RunState::Complete, "load", &[stated("crm", &["DE"])], &[stated("tmp", &[])]),
        run("rename", RunState::Complete, "rename", &[], &[renamed("s3", "tmp")]),
        run("drop", RunState::Complete, "drop", &[], &[with(Lifecycle::Drop, "bak")]),
        of_dataset(named("hive", &["s3"])),
        trained("hive"),
    ];
    let mut lineage = all(&events);
    lineage.take_facts();
    let map = lineage.map(None, Timestamp(0), &|_| Vec::new());
    let related: Vec<_> = map
        .edges
        .iter()
        .filter_map(|edge| Some((map.nodes[edge.from].name.as_str(), map.nodes[edge.to].name.as_str(), edge.relation?)))
        .collect();
    assert_eq!(related, [("lake/tmp", "lake/s3", map::Relation::Renamed), ("lake/s3", "lake/hive", map::Relation::Same)]);
    assert!(!map.nodes.iter().any(|node| ["jobs/rename", "jobs/drop"].contains(&node.name.as_str())), "they moved no data");
    assert!(!map.nodes.iter().any(|node| node.name == "lake/bak"), "nothing came of it, nothing is made of it");
    let json = serde_json::to_value(&map).unwrap();
    let relations: Vec<_> = json["edges"].as_array().unwrap().iter().filter_map(|edge| edge["relation"].as_str()).collect();
    assert_eq!(relations, ["renamed", "same"]);
    let picture = svg(&map, "names");
    assert_eq!((picture.matches(">renamed to<").count(), picture.matches(">same data<").count()), (1, 1));
}

/// A changelog of the version before: without renames, and read as it was.
#[test]
fn a_changelog_of_version_1_is_read() {
    let (mut lineage, mut kept) = (Lineage::default(), BTreeMap::new());
    lineage.apply(&run("load", RunState::Complete, "load", &[stated("crm", &["DE"])], &[of_model("m", "scorer", "1")]));
    changelog(&mut lineage, &mut kept, 7);
    let image = lineage.image();
    let mut old: BTreeMap<Vec<u8>, Vec<u8>> = kept;
    for (key, value) in &mut old {
        assert_eq!(value[0], 2);
        value[0] = 1;
        if key[0] == b'r' {
            *value = b"\x01\x03\x04load\x01\x09jobs/load\x01\x01\x08lake/crm\x01\x06lake/m\x01\x06lake/m\x06scorer\x01\x011".to_vec();
        }
    }
    let mut restored = Lineage::default();
    assert_eq!(restored.restore_all(old), Ok(Some(7)));
    assert!(restored.take_facts().is_empty());
    assert_eq!(restored.image(), image);
    // In words of version 1, byte by byte: a dataset with its origin, and a flow.
    let mut restored = Lineage::default();
    let told = BTreeMap::from([
        (b"d".to_vec(), b"\x01\x01\x08lake/crm\x01\x01\x02DE\x00".to_vec()),
        (b"d2".to_vec(), b"\x01\x01\x06lake/m\x00\x01\x06scorer\x01\x011".to_vec()),
        (b"f".to_vec(), b"\x01\x04\x09jobs/load\x01\x08lake/crm\x01\x06lake/m\x01".to_vec()),
    ]);
    assert_eq!(restored.restore_all(told), Ok(None));
    assert_eq!(facts(&mut restored, "scorer", Some("1")), known(&["DE"]));
}

/// What was told of a small world: which run read and wrote what, what is another name of what, what was renamed to what.
#[derive(Clone, Debug)]
enum Fact {
    Run(u8, Vec<u8>, Vec<u8>),
    Renamed(u8, u8),
    Same(u8, u8),
}

const DATASETS: u8 = 8;

fn fact() -> impl Strategy<Value = Fact> {
    let few = || prop::collection::vec(0..DATASETS, 0..3);
    prop_oneof![
        3 => (0_u8..20, few(), few()).prop_map(|(job, inputs, outputs)| Fact::Run(job, inputs, outputs)),
        1 => (0..DATASETS, 0..DATASETS).prop_map(|(from, to)| Fact::Renamed(from, to)),
        1 => (0..DATASETS, 0..DATASETS).prop_map(|(one, other)| Fact::Same(one, other)),
    ]
}

/// `name` is what a dataset is called, `origins` what is said of each.
fn events(facts: &[Fact], origins: &[Vec<&str>], name: &dyn Fn(u8) -> u8) -> Vec<LineageEvent> {
    let called = |id: u8| format!("d{}", name(id));
    let datasets = |ids: &[u8]| ids.iter().map(|id| stated(&called(*id), &[])).collect::<Vec<_>>();
    let mut events: Vec<LineageEvent> = facts
        .iter()
        .enumerate()
        .map(|(at, fact)| match fact {
            Fact::Run(job, inputs, outputs) => {
                run(&format!("r{at}"), RunState::Complete, &format!("j{job}"), &datasets(inputs), &datasets(outputs))
            }
            Fact::Renamed(from, to) => of_dataset(renamed(&called(*to), &called(*from))),
            Fact::Same(one, other) => of_dataset(named(&called(*one), &[&called(*other)])),
        })
        .collect();
    events.extend(
        (0..DATASETS).zip(origins).filter(|(_, origins)| !origins.is_empty()).map(|(id, origins)| of_dataset(stated(&called(id), origins))),
    );
    for id in 0..DATASETS {
        let model = [of_model(&format!("m{id}"), &format!("model-{id}"), "1")];
        events.push(run(&format!("train-{id}"), RunState::Complete, &format!("train-{id}"), &datasets(&[id]), &model));
    }
    events
}

fn models(lineage: &mut Lineage) -> Vec<(Vec<String>, bool)> {
    (0..DATASETS).map(|id| facts(lineage, &format!("model-{id}"), Some("1"))).collect()
}

fn origins() -> impl Strategy<Value = Vec<Vec<&'static str>>> {
    let some = prop::collection::vec(prop::sample::select(vec!["DE", "US", "JP"]), 0..3);
    prop::collection::vec(prop_oneof![3 => Just(Vec::new()), 1 => some], usize::from(DATASETS))
}

proptest! {
    #[test]
    fn the_order_in_which_it_is_told_does_not_matter(
        (told, shuffled) in (prop::collection::vec(fact(), 0..14), origins())
            .prop_flat_map(|(facts, origins)| {
                let told = events(&facts, &origins, &|id| id);
                (Just(told.clone()), Just(told).prop_shuffle())
            }),
        stops in any::<u64>(),
    ) {
        let mut lineage = all(&told);
        let mut other = Lineage::default();
        for (at, event) in shuffled.iter().enumerate() {
            other.apply(event);
            if stops >> (at % 64) & 1 == 1 {
                other.take_facts();
            }
        }
        prop_assert_eq!(models(&mut lineage), models(&mut other));
    }

    /// As if each piece of data had one name from the start.
    #[test]
    fn many_names_are_as_good_as_one(facts in prop::collection::vec(fact(), 0..14), origins in origins()) {
        let mut first: Vec<u8> = (0..DATASETS).collect();
        for fact in &facts {
            if let Fact::Same(one, other) = fact {
                let (one, other) = (first[usize::from(*one)], first[usize::from(*other)]);
                first.iter_mut().filter(|name| **name == other).for_each(|name| *name = one);
            }
        }
        let mut of_all = vec![Vec::new(); usize::from(DATASETS)];
        for (name, origins) in first.iter().zip(&origins) {
            of_all[usize::from(*name)].extend(origins.iter().copied());
        }
        let plain: Vec<Fact> = facts.iter().filter(|fact| !matches!(fact, Fact::Same(..))).cloned().collect();
        let mut lineage = all(&events(&facts, &origins, &|id| id));
        let mut one = all(&events(&plain, &of_all, &|id| first[usize::from(id)]));
        prop_assert_eq!(models(&mut lineage), models(&mut one));
    }
}
