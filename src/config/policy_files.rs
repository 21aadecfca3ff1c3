//! The files of a folder of policies: which there are, whose they are, and what to do where there are none.

use std::path::{Path, PathBuf};

use super::problem::{Place, Problem};
use super::read::Notes;
use super::tree::{self, Table};
use crate::model::Text;

const GLOBAL: &str = "global";
pub const WHAT_TO_NAME: &str = "name the folder that holds global/*.toml, and a folder for each domain";

pub struct File {
    pub shown: String,
    pub domain: Option<Text>,
    pub table: Table,
}

/// Why it is none.
pub fn no_folder(path: &Path) -> Option<&'static str> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("does not exist"),
        Ok(found) if !found.is_dir() => Some("is no folder"),
        // What else is wrong is told when it is read.
        _ => None,
    }
}

/// Sorted by name: the same folder gives the same order everywhere.
pub fn files(folder: &Path, notes: &Notes) -> Vec<File> {
    let (mut files, mut is_empty) = (Vec::new(), folder.is_dir());
    let whole = Place::whole(&folder.display().to_string());
    if let Some(what) = no_folder(folder) {
        notes.problem(Problem::new(&whole, what).hint(WHAT_TO_NAME));
        return files;
    }
    let inside = listed(folder, notes);
    for domain in inside.iter().filter(|path| path.is_dir()) {
        let name = domain.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for path in listed(domain, notes).into_iter().filter(|path| is_toml(path)) {
            is_empty = false;
            let shown = path.display().to_string();
            let content = match std::fs::read_to_string(&path) {
                Ok(content) => content,
                Err(error) => {
                    notes.problem(Problem::new(&Place::whole(&shown), format!("cannot be read: {error}")));
                    continue;
                }
            };
            match tree::parse(&shown, &content) {
                Ok(table) => files.push(File { shown, domain: (name != GLOBAL).then(|| name.as_str().into()), table }),
                Err(problems) => problems.into_iter().for_each(|problem| notes.problem(problem)),
            }
        }
    }
    let problem = |what: &str, hint: &str| notes.problem(Problem::new(&whole, what).hint(hint));
    if is_empty && inside.iter().any(|path| is_toml(path)) {
        problem("holds .toml files, but no folder with any", "move them into global/, or name the folder above if this is one of those");
    } else if is_empty {
        problem("holds no policy file", "policies stand in global/*.toml, and in a folder for each domain");
    }
    files
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn listed(folder: &Path, notes: &Notes) -> Vec<PathBuf> {
    let place = Place::whole(&folder.display().to_string());
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            paths
        }
        Err(error) => {
            notes.problem(Problem::new(&place, format!("cannot be read: {error}")));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    /// What is said of a folder with these files.
    fn told(named: &str, files: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "version = 1\n").unwrap();
        }
        let notes = Notes::default();
        super::files(&folder.path().join(named), &notes);
        let prefix = format!("{}/", folder.path().display());
        notes.into_sorted().0.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn what_is_no_folder_of_policies_is_told_with_what_would_be() {
        assert_eq!(told("", &["global/p.toml", "data/d.toml", "README.md"]), [""; 0]);
        let named = "name the folder that holds global/*.toml, and a folder for each domain";
        assert_eq!(told("policies", &[]), [format!("policies: does not exist; {named}")]);
        assert_eq!(told("p.toml", &["p.toml"]), [format!("p.toml: is no folder; {named}")]);
        let inside = told("global", &["global/p.toml"]);
        assert_eq!(
            inside,
            ["global: holds .toml files, but no folder with any; move them into global/, or name the folder above if this is one of those"]
        );
        let empty = told("", &["global/README.md"]);
        assert!(empty.len() == 1 && empty[0].contains("holds no policy file; policies stand in global/*.toml"), "{empty:?}");
    }

    #[test]
    fn a_config_that_names_none_is_told_on_its_line() {
        let loaded = load_text("t.toml", "version = 1\n[policies]\ndir = 'nowhere'\n", Path::new("etc"), std::iter::empty());
        let problems: Vec<String> = loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("t.toml:3: 'dir' in [policies] names 'etc/nowhere', which does not exist; {WHAT_TO_NAME}")]);
    }
}
