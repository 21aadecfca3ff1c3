//! The checks themselves. A rule that has an exception names it here, with the reason.

use super::text::{code_only, has_word, without_tests};

pub type Complaints = Vec<String>;

/// Rooms without clock, randomness, logging, I/O: `(input, rules) -> effects`.
const CORE: [&str; 6] = ["intake", "ledger", "watch", "lineage", "policy", "model"];

/// Rooms that may use the two leaves of the shell, `clock` and `metrics`.
const MAY_USE_LEAVES: [&str; 8] = ["main", "lib", "cli", "runtime", "deliver", "http", "demo", "kafka"];

/// main -> cli -> demo -> {deliver ..} -> runtime -> {view ..} -> {intake ..} -> policy -> model. A room may use every
/// room on the lines after its own, and none beside it.
const LAYERS: [&[&str]; 9] = [
    &["main", "lib"],
    &["cli"],
    &["demo"],
    &["deliver", "http", "lab"],
    &["runtime"],
    &["view", "state", "kafka", "config"],
    &["intake", "ledger", "watch", "lineage"],
    &["policy"],
    &["model"],
];

const LEAVES: [&str; 3] = ["clock", "health", "metrics"];

/// What no core room may name, and why.
const NOT_IN_CORE: [(&str, &str); 18] = [
    ("async fn", "no async"),
    (".await", "no async"),
    ("std::time", "no clock: time is handed in"),
    ("SystemTime", "no clock: time is handed in"),
    ("Instant", "no clock: time is handed in"),
    ("std::fs", "no I/O"),
    ("std::io", "no I/O"),
    ("std::net", "no I/O"),
    ("std::env", "no environment: settings are handed in"),
    ("std::thread", "one thread owns the state"),
    ("println!", "no output: effects are returned"),
    ("eprintln!", "no output: effects are returned"),
    ("tracing", "no logging: effects are returned"),
    ("rand", "no randomness: same input, same output"),
    ("tokio", "no async"),
    ("rdkafka", "no Kafka: bytes are handed in"),
    ("HashMap", "its order differs from run to run: use BTreeMap, or ask for an exception"),
    ("HashSet", "its order differs from run to run: use BTreeSet, or ask for an exception"),
];

/// (file, word, why it is harmless there). A map that is only asked, never walked, may be a hash map.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("src/intake/dedupe.rs", "HashSet", "asked whether an id is known, never iterated; a million ids in a BTreeSet cost twice the memory"),
    (
        "src/watch/places.rs",
        "HashMap",
        "asked where a leaf is kept, never iterated; in a BTreeMap each amount would cost more the more series there are",
    ),
];

/// What only one place of the shell may name: (word, the path it may stand in, why).
const ONE_DOOR: [(&str, &str, &str); 11] = [
    ("rdkafka", "src/kafka/", "only kafka/ knows the client library"),
    ("rdkafka_sys", "src/kafka/", "only kafka/ knows the client library"),
    ("SystemTime", "src/clock.rs", "only clock.rs reads the time"),
    ("Instant::now", "src/clock.rs", "only clock.rs reads the time"),
    ("Timestamp::now", "src/clock.rs", "only clock.rs reads the time"),
    ("Zoned::now", "src/clock.rs", "only clock.rs reads the time"),
    ("prometheus_client", "src/metrics/", "only metrics/ names metrics"),
    ("std::env", "src/config/", "only config/ reads the environment"),
    ("env::var", "src/config/", "only config/ reads the environment"),
    ("println!", "src/cli/mod.rs", "it panics when its reader has seen enough (`| head`): cli::print does not"),
    ("print!", "src/cli/mod.rs", "it panics when its reader has seen enough (`| head`): cli::print does not"),
];

/// Files whose whole subject is money: no floats, not even on the way.
const MONEY: [&str; 4] = ["money", "price", "prices", "amount"];

const LINES_PER_FILE: usize = 500;
const LINES_PER_FUNCTION: usize = 70;

/// One file, read once: its path from the root, its text, and its code without comments and strings.
pub struct File<'a> {
    path: &'a str,
    source: &'a str,
    code: String,
    /// The code without what is compiled for tests only.
    live: String,
}

impl<'a> File<'a> {
    pub fn new(path: &'a str, source: &'a str) -> File<'a> {
        let code = code_only(source);
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/") || !path.starts_with("src/");
        let live = if is_test { String::new() } else { without_tests(&code) };
        File { path, source, code, live }
    }

    /// `src/watch/close.rs` is in `watch`, `src/clock.rs` is `clock`; outside of src there is no room.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(room, _)| room))
    }

    fn stem(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(self.path).trim_end_matches(".rs")
    }

    fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    /// A complaint for each line of the live code that names the word.
    fn naming(&self, word: &str, why: &str) -> Complaints {
        let lines = self.live.lines().enumerate().filter(|(_, line)| has_word(line, word));
        lines.map(|(line, _)| self.complaint(line, &format!("`{word}`: {why}"))).collect()
    }
}

pub fn all(file: &File) -> Complaints {
    let checks = [first_line, imports, pure_core, no_float_money, one_door, lengths, leftovers];
    checks.iter().flat_map(|check| check(file)).collect()
}

fn first_line(file: &File) -> Complaints {
    let says_what_it_is = file.source.lines().next().is_some_and(|line| line.starts_with("//! "));
    if says_what_it_is { Vec::new() } else { vec![file.complaint(0, "the first line is no `//!` that says what the file is")] }
}

fn imports(file: &File) -> Complaints {
    let Some(room) = file.room() else { return Vec::new() };
    if room != "lib" && layer(room).is_none() && !LEAVES.contains(&room) {
        return vec![file.complaint(0, &format!("`{room}` is no room of the plan (LAYERS in tests/tidy/rules.rs)"))];
    }
    let mut complaints = Vec::new();
    for (line, used) in used_rooms(file) {
        if used != room && !may_use(room, &used) {
            complaints.push(file.complaint(line, &format!("`{room}` may not use `{used}` (LAYERS in tests/tidy/rules.rs)")));
        }
    }
    complaints
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(room: &str, used: &str) -> bool {
    if LEAVES.contains(&used) {
        return MAY_USE_LEAVES.contains(&room);
    }
    if LEAVES.contains(&room) {
        // They speak in the nouns.
        return used == "model";
    }
    match (layer(room), layer(used)) {
        (Some(own), Some(other)) => own < other,
        _ => false,
    }
}

/// Rooms named by a path from the crate's root: `crate::room`, `crate::{room, ..}`, in main.rs also
/// `tollgate::..`, and `super::..` where it climbs to the root. Other items of the root are no rooms.
fn used_rooms(file: &File) -> Vec<(usize, String)> {
    let code = &file.code;
    let mut used = Vec::new();
    for root in roots(file) {
        for (at, _) in code.match_indices(root.as_str()) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if code[..at].ends_with(is_part) {
                continue;
            }
            let line = code[..at].matches('\n').count();
            used.extend(first_segments(&code[at + root.len()..]).into_iter().map(|name| (line, name)));
        }
    }
    used.retain(|(_, name)| layer(name).is_some() || LEAVES.contains(&name.as_str()));
    used
}

fn roots(file: &File) -> Vec<String> {
    let mut roots = vec!["crate::".to_owned(), "tollgate::".to_owned()];
    let inside = file.path.trim_start_matches("src/").trim_end_matches("/mod.rs").trim_end_matches(".rs");
    let depth = inside.split('/').count();
    // One more for a module inside the file.
    roots.extend([depth, depth + 1].map(|times| "super::".repeat(times)));
    roots
}

/// `a::b` names `a`; `{a::b, c, d::{e, f}}` names `a`, `c` and `d`.
fn first_segments(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn pure_core(file: &File) -> Complaints {
    let core = file.room().is_some_and(|room| CORE.contains(&room));
    let excepted = |word: &str| EXCEPTIONS.iter().any(|(path, allowed, _)| *path == file.path && *allowed == word);
    let bans = NOT_IN_CORE.iter().filter(|(word, _)| core && !excepted(word));
    bans.flat_map(|(word, why)| file.naming(word, &format!("not in the core: {why}"))).collect()
}

fn no_float_money(file: &File) -> Complaints {
    let core = file.room().is_some_and(|room| CORE.contains(&room));
    if !core || !MONEY.contains(&file.stem()) {
        return Vec::new();
    }
    ["f32", "f64"].iter().flat_map(|word| file.naming(word, "money is integer nano-units")).collect()
}

fn one_door(file: &File) -> Complaints {
    let elsewhere = ONE_DOOR.iter().filter(|(_, door, _)| !file.path.starts_with(door));
    elsewhere.flat_map(|(word, _, why)| file.naming(word, why)).collect()
}

fn lengths(file: &File) -> Complaints {
    let mut complaints = Vec::new();
    let lines: Vec<&str> = file.code.lines().collect();
    if lines.len() > LINES_PER_FILE {
        complaints.push(file.complaint(0, &format!("{} lines; at most {LINES_PER_FILE}", lines.len())));
    }
    for (start, line) in lines.iter().enumerate() {
        let length = function_length(&lines[start..]);
        if length > LINES_PER_FUNCTION {
            let name = line.trim();
            complaints.push(file.complaint(start, &format!("{length} lines; a function has at most {LINES_PER_FUNCTION}: {name}")));
        }
    }
    complaints
}

/// The lines of the function that starts here, 0 if none does. rustfmt puts its closing brace at its
/// own indentation.
fn function_length(lines: &[&str]) -> usize {
    let line = lines[0];
    let trimmed = line.trim_start();
    let mut words = trimmed
        .split_whitespace()
        .skip_while(|word| word.starts_with("pub") || ["const", "async", "unsafe", "extern", "default", "crate)"].contains(word));
    if words.next() != Some("fn") || line.trim_end().ends_with('}') {
        return 0;
    }
    let close = format!("{}}}", &line[..line.len() - trimmed.len()]);
    let has_no_body = |line: &str| line.trim_end().ends_with(';');
    let end = lines.iter().position(|line| *line == close).unwrap_or(0);
    // A declaration in a trait ends with its semicolon before any brace opens.
    let opens = lines.iter().position(|line| line.trim_end().ends_with('{')).unwrap_or(usize::MAX);
    let declared = lines.iter().position(|line| has_no_body(line)).unwrap_or(usize::MAX);
    if declared < opens { 0 } else { end + 1 }
}

fn leftovers(file: &File) -> Complaints {
    // Put together, so that this file does not complain about itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];
    let mut complaints = Vec::new();
    for (line, text) in file.source.lines().enumerate() {
        for word in words.iter().filter(|word| has_word(text, word)) {
            complaints.push(file.complaint(line, &format!("`{word}` is left over")));
        }
    }
    complaints
}

/// Each check is fed something bad and something good.
mod can_fail {
    use super::*;

    /// The source after a good first line: how many complaints there are, and that they say the words.
    fn check(path: &str, source: &str, expected: &[&str]) {
        let source = format!("//! A file.\n{source}");
        let complaints = all(&File::new(path, &source));
        assert_eq!(complaints.len(), expected.len(), "{path}: {source}\n{complaints:#?}");
        for (complaint, words) in complaints.iter().zip(expected) {
            assert!(complaint.contains(words), "{complaint} says nothing of {words}");
        }
    }

    #[test]
    fn first_line() {
        let bare = all(&File::new("src/model/time.rs", "use std::fmt;\n"));
        assert_eq!(bare.len(), 1);
        assert!(bare[0].contains("first line"));
        check("src/model/time.rs", "use std::fmt;\n", &[]);
    }

    #[test]
    fn imports() {
        check("src/model/leaf.rs", "use crate::policy::Rule;\n", &["`model` may not use `policy`"]);
        check("src/policy/mod.rs", "use crate::model::Leaf;\n", &[]);
        check("src/kafka/mod.rs", "fn f() -> crate::state::Key {\n}\n", &["`kafka` may not use `state`"]);
        check("src/runtime/commit.rs", "use crate::{\n    model::Leaf,\n    deliver::{route, kafka},\n};\n", &["not use `deliver`"]);
        check("src/watch/mod.rs", "use super::kafka::Client;\n", &["`watch` may not use `kafka`"]);
        check("src/watch/close.rs", "use super::state::Key;\n", &[]);
        check("src/watch/detect/rate.rs", "use super::super::super::http::Page;\n", &["not use `http`"]);
        check("src/http/mod.rs", "use crate::clock::now;\n/// As [`crate::cli`] does.\nstruct S;\n", &[]);
        check("src/view/mod.rs", "use crate::clock::now;\n", &["`view` may not use `clock`"]);
        check("src/clock.rs", "use crate::kafka::Client;\n", &["`clock` may not use `kafka`"]);
        check("src/clock.rs", "use crate::model::Time;\n", &[]);
        check("src/main.rs", "fn main() {\n    tollgate::cli::run()\n}\n", &[]);
        check("src/shed/mod.rs", "", &["`shed` is no room"]);
    }

    #[test]
    fn pure_core() {
        check("src/watch/mod.rs", "async fn f() {\n    g().await\n}\n", &["`async fn`", "`.await`"]);
        check("src/intake/mod.rs", "use std::time::SystemTime;\n", &["std::time", "SystemTime", "only clock.rs"]);
        check("src/policy/mod.rs", "fn f() {\n    println!(\"x\");\n}\n", &["`println!`: not in the core", "`println!`"]);
        check("src/model/leaf.rs", "use std::collections::HashMap;\n", &["`HashMap`"]);
        check("src/lineage/mod.rs", "fn f() {\n    tracing::info!(\"x\");\n}\n", &["`tracing`"]);
        check("src/ledger/mod.rs", "// tokio and HashMap are not used\nconst A: &str = \"rand\";\n", &[]);
        check("src/ledger/mod.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nuse std::fs;\n", &["mod.rs:6: `std::fs`"]);
        check("src/ledger/tests.rs", "use std::fs;\n", &[]);
        check("src/http/mod.rs", "use std::collections::HashMap;\n", &[]);
    }

    #[test]
    fn no_float_money() {
        check("src/model/money.rs", "fn f(a: f64) {}\n", &["`f64`"]);
        check("src/intake/price.rs", "fn f(a: f32) {}\n", &["`f32`"]);
        check("src/watch/detect/rate.rs", "fn f(a: f64) {}\n", &[]);
    }

    #[test]
    fn one_door() {
        check("src/runtime/worker.rs", "use rdkafka::Message;\n", &["only kafka/"]);
        check("src/kafka/client.rs", "use rdkafka::Message;\n", &[]);
        check("src/http/mod.rs", "fn f() {\n    Instant::now();\n}\n", &["only clock.rs"]);
        check("src/clock.rs", "fn f() {\n    Instant::now();\n}\n", &[]);
        check("src/http/mod.rs", "use prometheus_client::registry::Registry;\n", &["only metrics/"]);
        check("src/cli/run.rs", "fn f() {\n    std::env::var(A);\n}\n", &["`std::env`", "`env::var`"]);
        check("src/config/env.rs", "fn f() {\n    std::env::var(A);\n}\n", &[]);
        check("src/cli/topics.rs", "fn f() {\n    println!();\n    print!(\"x\");\n    eprintln!();\n}\n", &["cli::print", "cli::print"]);
        check("tests/real/parts.rs", "use rdkafka::Message;\n", &[]);
    }

    #[test]
    fn lengths() {
        let body = "    f();\n".repeat(69);
        check("src/model/leaf.rs", &format!("pub(crate) fn f(\n    a: u8,\n) {{\n{body}}}\n"), &["73 lines"]);
        check("src/model/leaf.rs", &format!("fn f() {{\n{}}}\n", "    f();\n".repeat(68)), &[]);
        check("src/model/leaf.rs", &format!("trait T {{\n    fn f();\n    fn g(\n    );\n{body}}}\n"), &[]);
        check("src/model/leaf.rs", &"struct S;\n".repeat(500), &["501 lines"]);
        check("tests/a.rs", &"struct S;\n".repeat(500), &["501 lines"]);
        check("src/model/leaf.rs", &"struct S;\n".repeat(499), &[]);
    }

    #[test]
    fn leftovers() {
        check("src/model/leaf.rs", concat!("// TO", "DO: later\n"), &["left over"]);
        check("tests/a.rs", concat!("fn f() {\n    db", "g!(1);\n}\n"), &["left over"]);
        check("src/model/leaf.rs", "// a todo list in prose\n", &[]);
    }
}
