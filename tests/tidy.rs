//! The rules of the house that no compiler checks. Every check is a function from a path and a text
//! to complaints, and has a test that shows it can fail.

use std::path::{Path, PathBuf};

mod rules;
mod text;

use rules::{Complaints, File};

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut complaints = Complaints::new();
    let mut seen = 0;
    for folder in ["src", "tests", "benches", "examples"] {
        for path in rust_files(&root.join(folder)) {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let source = std::fs::read_to_string(&path).unwrap();
            complaints.extend(rules::all(&File::new(&relative, &source)));
            seen += 1;
        }
    }
    complaints.extend(rooms_without_mod_rs(&root.join("src")));
    assert!(seen > 5, "the walk found {seen} files only");
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A folder with Rust files in it is a room or a part of one, and its door is mod.rs.
fn rooms_without_mod_rs(src: &Path) -> Complaints {
    let mut complaints = Complaints::new();
    for path in rust_files(src) {
        let folder = path.parent().unwrap();
        let complaint = format!("{}: has no mod.rs", folder.display());
        if folder != src && !folder.join("mod.rs").exists() && !complaints.contains(&complaint) {
            complaints.push(complaint);
        }
    }
    complaints
}

#[test]
fn a_room_without_mod_rs_is_found() {
    let src = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(src.path().join("room/inner")).unwrap();
    std::fs::write(src.path().join("lib.rs"), "").unwrap();
    std::fs::write(src.path().join("room/mod.rs"), "").unwrap();
    std::fs::write(src.path().join("room/inner/part.rs"), "").unwrap();
    let complaints = rooms_without_mod_rs(src.path());
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("room/inner"), "{complaints:?}");
}
