//! A copy gives back what was put in, whatever is done to the end of its file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{CopyReader, Live};
use super::*;
use crate::model::time::Timestamp;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn origin() -> Origin {
    Origin { topic: "tollgate-watch-changelog".into(), topic_id: "dGVzdA".into(), partition: 3, shard_count: 4 }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("3.copy");
    (folder, path)
}

fn reached(next: i64) -> Reached {
    Reached { next, as_of: Timestamp(1_000 * next) }
}

/// Offsets from `first` on; a value of `None` deletes.
fn append(copy: &mut Copy, first: i64, records: &[(&str, Option<&str>)]) {
    let entries = records
        .iter()
        .zip(first..)
        .map(|((key, value), offset)| (reached(offset + 1), Entry { key: key.as_bytes(), value: value.map(str::as_bytes) }));
    copy.append(entries).unwrap();
}

fn read(path: &Path) -> (Map, Option<Reached>) {
    let Some(mut reader) = CopyReader::open(path, &origin()).unwrap() else { return (Map::new(), None) };
    let (mut found, mut live) = (Map::new(), Live::default());
    while reader.read(&mut live).unwrap() {
        for (key, value) in live.entries() {
            let before = found.insert(key.to_vec(), value.to_vec());
            assert!(before.is_none(), "a key came twice");
        }
    }
    (found, Some(reader.reached()))
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn the_last_value_of_each_key_comes_back_and_deleted_ones_do_not() {
    let (_folder, path) = folder();
    assert_eq!(read(&path), (Map::new(), None), "there is no copy");
    let mut copy = Copy::open(&path, &origin()).unwrap();
    assert_eq!(read(&path), (Map::new(), None), "nothing is in it");
    append(&mut copy, 0, &[("a", Some("1")), ("b", Some("2")), ("c", Some(""))]);
    append(&mut copy, 7, &[("a", Some("3")), ("b", None), ("d", None)]);
    drop(copy);
    assert_eq!(read(&path), (map(&[("a", "3"), ("c", "")]), Some(reached(10))));

    let mut copy = Copy::open(&path, &origin()).unwrap();
    assert_eq!(copy.reached(), Some(reached(10)));
    append(&mut copy, 10, &[("b", Some("5"))]);
    assert_eq!(read(&path), (map(&[("a", "3"), ("b", "5"), ("c", "")]), Some(reached(11))));
}

#[test]
fn a_torn_end_is_cut_wherever_it_was_torn() {
    let (_folder, path) = folder();
    let mut copy = Copy::open(&path, &origin()).unwrap();
    append(&mut copy, 0, &[("a", Some("1")), ("b", Some("2"))]);
    let good = fs::read(&path).unwrap();
    append(&mut copy, 2, &[("a", Some("later")), ("b", None)]);
    let whole = fs::read(&path).unwrap();
    let first = (map(&[("a", "1"), ("b", "2")]), Some(reached(2)));
    for length in good.len()..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(read(&path), first, "cut at {length}");
        // What is appended after a torn end is found again.
        let mut copy = Copy::open(&path, &origin()).unwrap();
        assert_eq!((copy.reached(), copy.length()), (Some(reached(2)), good.len() as u64));
        append(&mut copy, 2, &[("c", Some("3"))]);
        assert_eq!(read(&path), (map(&[("a", "1"), ("b", "2"), ("c", "3")]), Some(reached(3))));
    }
    for at in good.len()..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path), first, "flipped at {at}");
    }
}

/// Batches behind damage would otherwise stand right behind what is written over it, without what was between.
#[test]
fn nothing_behind_damage_comes_back() {
    let (_folder, path) = folder();
    let mut copy = Copy::open(&path, &origin()).unwrap();
    append(&mut copy, 0, &[("a", Some("1"))]);
    let damaged = usize::try_from(copy.length()).unwrap() + 20;
    append(&mut copy, 1, &[("a", Some("2"))]);
    append(&mut copy, 2, &[("b", Some("3"))]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[damaged] ^= 1;
    fs::write(&path, &bytes).unwrap();
    append(&mut Copy::open(&path, &origin()).unwrap(), 1, &[("a", Some("4"))]);
    assert_eq!(read(&path), (map(&[("a", "4")]), Some(reached(2))));
}

#[test]
fn a_copy_of_something_else_is_refused_and_replaced() {
    let (_folder, path) = folder();
    append(&mut Copy::open(&path, &origin()).unwrap(), 0, &[("a", Some("1"))]);
    let others = [
        Origin { topic: "other".into(), ..origin() },
        Origin { topic_id: "b3RoZXI".into(), ..origin() },
        Origin { partition: 2, ..origin() },
        Origin { shard_count: 8, ..origin() },
    ];
    for other in &others {
        assert!(CopyReader::open(&path, other).is_err_and(|error| error.to_string().contains("copy of")), "{other:?}");
    }
    assert!(Copy::open(&path, &others[1]).unwrap().reached().is_none());
    assert!(CopyReader::open(&path, &others[1]).unwrap().is_none());
}

#[test]
fn a_damaged_head_and_another_version_are_refused() {
    let (_folder, path) = folder();
    append(&mut Copy::open(&path, &origin()).unwrap(), 0, &[("a", Some("1"))]);
    let good = fs::read(&path).unwrap();
    let head = file::head(&origin(), 0).unwrap().len();
    for at in 0..head {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(CopyReader::open(&path, &origin()).is_err(), "{at}");
        assert!(Copy::open(&path, &origin()).unwrap().reached().is_none(), "{at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(CopyReader::open(&path, &origin()).is_err(), "cut at {at}");
    }
    let mut bytes = good.clone();
    bytes[6] = 2;
    fs::write(&path, &bytes).unwrap();
    assert!(CopyReader::open(&path, &origin()).is_err_and(|error| error.to_string().contains("version 2")));
}

#[test]
fn a_rewrite_keeps_what_is_live_and_counts_only_as_a_whole() {
    let (_folder, path) = folder();
    let mut copy = Copy::open(&path, &origin()).unwrap();
    let large = "x".repeat(300_000);
    let names: Vec<String> = (0..10).map(|number| format!("key-{number}")).collect();
    for round in 0..10 {
        let records: Vec<_> = names.iter().map(|name| (name.as_str(), Some(large.as_str()))).collect();
        append(&mut copy, round * 11, &records);
        append(&mut copy, round * 11 + 10, &[("key-9", None)]);
    }
    assert!(copy.is_long());
    let before = read(&path);
    assert_eq!(before.0.len(), 9);
    let length = copy.length();
    copy.rewrite().unwrap();
    assert_eq!(read(&path), before);
    assert!(copy.length() < length / 9, "{} of {length}", copy.length());
    assert!(!copy.is_long());
    assert_eq!(copy.length(), fs::metadata(&path).unwrap().len());

    let whole = fs::read(&path).unwrap();
    append(&mut copy, 110, &[("key-0", Some("short"))]);
    let (found, end) = read(&path);
    assert_eq!((found.len(), found[b"key-0".as_slice()].as_slice(), end), (9, b"short".as_slice(), Some(reached(111))));
    drop(copy);
    assert_eq!(Copy::open(&path, &origin()).unwrap().live, whole.len() as u64 - file::head(&origin(), 0).unwrap().len() as u64);

    // Damage within what was rewritten: half of a state is none. A reader finds it on its way.
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (mut reader, mut live) = (CopyReader::open(&path, &origin()).unwrap().unwrap(), Live::default());
    let ended = std::iter::repeat_with(|| reader.read(&mut live)).find(|read| !matches!(read, Ok(true)));
    assert!(ended.is_some_and(|read| read.is_err_and(|error| error.to_string().contains("damaged"))));
    assert!(Copy::open(&path, &origin()).unwrap().reached().is_none());
}

#[test]
fn a_rewrite_that_a_crash_interrupted_is_not_there() {
    let (_folder, path) = folder();
    let mut copy = Copy::open(&path, &origin()).unwrap();
    append(&mut copy, 0, &[("a", Some("1"))]);
    fs::write(path.with_extension("new"), b"TGCOPY half of a file").unwrap();
    assert_eq!(read(&path).0, map(&[("a", "1")]));
    copy.rewrite().unwrap();
    assert_eq!(read(&path), (map(&[("a", "1")]), Some(reached(1))));
    assert!(!path.with_extension("new").exists());
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = super::super::Folder::take(dir.path(), "t").unwrap();
    assert!(folder.is_some());
    assert!(super::super::Folder::take(dir.path(), "t").unwrap().is_none());
    assert!(super::super::Folder::take(dir.path(), "u").unwrap().is_some());
    drop(folder);
    let folder = super::super::Folder::take(dir.path(), "t").unwrap().unwrap();
    fs::write(folder.copy_of(1), b"old").unwrap();
    folder.tidy(Timestamp(1_000)).unwrap();
    assert!(folder.copy_of(1).exists());
    folder.tidy(Timestamp(i64::MAX / 2_000_000)).unwrap();
    assert!(!folder.copy_of(1).exists());
}
