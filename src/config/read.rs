//! Reads typed values out of a tree. Every problem is noted and reading goes on, so that one run names them all.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::env::parts;
use super::problem::{Place, Problem, did_you_mean};
use super::tree::{Item, Table, Value};
use super::units::{self, Complaint};
use crate::model::money::{Currency, Nanos};

/// What was found while reading.
#[derive(Default)]
pub struct Notes {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    /// Every option that was looked for, for the test that the default file names them all.
    #[cfg(test)]
    pub asked: RefCell<std::collections::BTreeSet<String>>,
}

impl Notes {
    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Problems and warnings, each in the order of the files.
    pub fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |cell: RefCell<Vec<Problem>>| {
            let mut problems = cell.into_inner();
            problems.sort_by(|a, b| a.place.cmp(&b.place));
            problems.dedup();
            problems
        };
        (sorted(self.problems), sorted(self.warnings))
    }
}

/// One table of the file. A value that is missing or wrong is noted and its type's default is returned: what was read is used
/// only if nothing was noted. Keys that nobody asked for are unknown; `finish` says so.
pub struct Section<'a> {
    notes: &'a Notes,
    /// Folder that relative paths start from.
    base: &'a Path,
    /// `watch.thresholds`; empty = the whole file.
    name: String,
    pub place: Place,
    table: Option<&'a Table>,
    asked: Vec<&'static str>,
    /// Else of a file beside it: policies, prices.
    is_of_config: bool,
}

impl<'a> Section<'a> {
    pub fn root(notes: &'a Notes, base: &'a Path, file: &str, table: &'a Table) -> Section<'a> {
        Section { notes, base, name: String::new(), place: Place::whole(file), table: Some(table), asked: Vec::new(), is_of_config: true }
    }

    /// Of a file that the config names, with options of its own.
    pub fn of_other_file(notes: &'a Notes, file: &str, table: &'a Table) -> Section<'a> {
        Section { is_of_config: false, ..Section::root(notes, Path::new(""), file, table) }
    }

    fn inside(&self, name: String, place: Place, table: Option<&'a Table>) -> Section<'a> {
        Section { notes: self.notes, base: self.base, name, place, table, asked: Vec::new(), is_of_config: self.is_of_config }
    }

    pub fn notes(&self) -> &'a Notes {
        self.notes
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Item> {
        #[cfg(test)]
        self.notes.asked.borrow_mut().insert(format!("{}.{key}", self.name));
        self.asked.push(key);
        self.table.and_then(|table| table.get(key))
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the value is the user's and not the built-in default.
    pub fn is_own(&self, key: &str) -> bool {
        self.has(key) && &*self.place_of(key).file != super::DEFAULTS_NAME
    }

    /// Where a key was written, else where its section was.
    pub fn place_of(&self, key: &str) -> Place {
        self.table.and_then(|table| table.get(key)).map_or_else(|| self.place.clone(), |item| item.place.clone())
    }

    fn in_section(&self) -> String {
        // Tables of a list are named with brackets of their own.
        match self.name.split_once("].") {
            Some((list, rest)) => format!(" in '{rest}' of [{list}]]"),
            None if self.name.is_empty() => String::new(),
            None => format!(" in [{}]", self.name),
        }
    }

    /// Notes what is wrong with the value of a key.
    pub fn complain(&self, key: &str, complaint: Complaint) {
        let what = format!("'{key}'{} {}", self.in_section(), complaint.what);
        // A default that does not go with what the user wrote is the user's section's matter.
        let place = if self.is_own(key) { self.place_of(key) } else { self.place.clone() };
        self.notes.problem(Problem { place, what, hint: complaint.hint });
    }

    /// Notes that a key is probably not meant like this.
    pub fn warn(&self, key: &str, what: &str, hint: &str) {
        self.notes.warning(Problem::new(&self.place_of(key), format!("'{key}'{} {what}", self.in_section())).hint(hint));
    }

    pub fn optional<T>(&mut self, key: &'static str, parse: impl FnOnce(&Item) -> Result<T, Complaint>) -> Option<T> {
        let item = self.take(key)?;
        match parse(item) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(key, complaint);
                None
            }
        }
    }

    pub fn required<T: Default>(&mut self, key: &'static str, parse: impl FnOnce(&Item) -> Result<T, Complaint>) -> T {
        if self.table.is_some() && !self.has(key) {
            self.notes.problem(Problem::new(&self.place, format!("'{key}' is missing{}", self.in_section())));
        }
        self.optional(key, parse).unwrap_or_default()
    }

    pub fn text(&mut self, key: &'static str) -> String {
        self.required(key, |item| text(item).map(str::to_string))
    }

    pub fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.optional(key, |item| text(item).map(str::to_string))
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.optional(key, |item| match item.value {
            Value::Bool(value) => Ok(value),
            _ => Err(wrong_kind(item, "true or false", "true")),
        })
    }

    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> i64 {
        self.required(key, |item| integer(item, &range))
    }

    pub fn optional_integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        self.optional(key, |item| integer(item, &range))
    }

    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        self.optional(key, |item| {
            let value = match item.value {
                Value::Float(value) => value,
                // Exact below 2^53, far above every range here.
                Value::Integer(value) => value as f64,
                _ => return Err(wrong_kind(item, "a number", "1.5")),
            };
            let (least, most) = (range.start(), range.end());
            let outside = || Complaint::new(format!("is {value}"), format!("write a number from {least} to {most}"));
            if range.contains(&value) { Ok(value) } else { Err(outside()) }
        })
    }

    /// Milliseconds. The bounds are written like the value: "10ms".
    pub fn duration(&mut self, key: &'static str, least: &str, most: &str) -> i64 {
        self.required(key, |item| duration(item, least, most))
    }

    pub fn optional_duration(&mut self, key: &'static str, least: &str, most: &str) -> Option<i64> {
        self.optional(key, |item| duration(item, least, most))
    }

    pub fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        self.required(key, |item| {
            let Value::Text(written) = &item.value else { return Err(wrong_kind(item, "a size with a unit", "\"1MiB\"")) };
            let bytes = units::size(written)?;
            let (least, most) = (range.start(), range.end());
            let outside = || Complaint::new(format!("is '{written}'"), format!("write a size from {least}B to {most}B"));
            if range.contains(&bytes) { Ok(bytes) } else { Err(outside()) }
        })
    }

    pub fn money(&mut self, key: &'static str) -> Option<Nanos> {
        self.optional(key, money)
    }

    pub fn currency(&mut self, key: &'static str) -> Option<Currency> {
        self.optional(key, |item| units::currency(text(item)?))
    }

    /// One of the named values.
    pub fn choice<T: Copy + Default>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
        self.required(key, |item| choice(item, choices))
    }

    pub fn optional_choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.optional(key, |item| choice(item, choices))
    }

    /// Texts with the place of each.
    pub fn texts(&mut self, key: &'static str) -> Vec<(Place, String)> {
        let parse = |item: &Item| {
            // What has no default has no type yet where a variable sets it.
            if let Value::Text(written) = &item.value
                && item.place.line == 0
            {
                return Ok(parts(written).map(|part| (item.place.clone(), part.to_string())).collect());
            }
            let Value::List(items) = &item.value else { return Err(wrong_kind(item, "a list of texts", "[\"a\", \"b\"]")) };
            items.iter().map(|item| Ok((item.place.clone(), text(item)?.to_string()))).collect()
        };
        self.optional(key, parse).unwrap_or_default()
    }

    /// A path, from the folder of the file it was written in, or from the working directory if it came from the environment.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let from_variable = self.place_of(key).line == 0;
        let written = self.optional_text(key)?;
        Some(if from_variable { PathBuf::from(written) } else { self.base.join(written) })
    }

    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// The content of the file that a key names.
    pub fn file(&mut self, key: &'static str) -> Option<String> {
        let path = self.path(key)?;
        match std::fs::read_to_string(&path) {
            Ok(content) => Some(content),
            Err(error) => {
                let what = format!("names the file '{}', which cannot be read: {error}", path.display());
                self.complain(key, Complaint { what, hint: None });
                None
            }
        }
    }

    /// A password: the text under `key`, or the content of the file under `key_file`; not both.
    pub fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<SecretString> {
        let written = self.optional(key, |item| match &item.value {
            Value::Text(text) => Ok(SecretString::from(text.clone())),
            other => Err(Complaint::new(format!("is {}", other.kind()), "write a text in quotes")),
        });
        let from_file = self.file(key_file).map(|content| SecretString::from(content.trim().to_string()));
        if self.has(key) && self.has(key_file) {
            self.complain(key_file, Complaint::new(format!("stands beside '{key}'"), "keep one of the two"));
        }
        written.or(from_file)
    }

    /// A table inside this one; absent is empty.
    pub fn section(&mut self, key: &'static str) -> Section<'a> {
        let item = self.take(key);
        let name = if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) };
        let place = item.map_or_else(|| self.place.clone(), |item| item.place.clone());
        let table = match item {
            Some(Item { value: Value::Table(table), .. }) => Some(table),
            Some(other) => {
                let shown = name.replace(['[', ']'], "");
                let hint = format!("write [{shown}] on a line of its own and the options below it");
                self.complain(key, Complaint::new(format!("is {}, it should be a table", other.value.kind()), hint));
                None
            }
            None => None,
        };
        self.inside(name, place, table)
    }

    /// The tables of a list: `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let items: &[Item] = match self.take(key) {
            Some(Item { value: Value::List(items), .. }) => items,
            Some(other) => {
                let complaint = format!("is {}, it should be a list of tables", other.value.kind());
                self.complain(key, Complaint::new(complaint, format!("write [[{key}]] with two brackets")));
                &[]
            }
            None => &[],
        };
        let mut sections = Vec::new();
        for item in items {
            if let Value::Table(table) = &item.value {
                let (name, place) = (format!("[{key}]"), item.place.clone());
                sections.push(self.inside(name, place, Some(table)));
            } else {
                self.complain(key, Complaint::new(format!("holds {}", item.value.kind()), format!("write [[{key}]] for each entry")));
            }
        }
        sections
    }

    /// Every entry, for tables whose keys the user chooses.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Item)> + use<'a> {
        self.table.into_iter().flatten()
    }

    fn where_else(&self, key: &str) -> Option<String> {
        if self.is_of_config {
            return moved(&self.name, key).or_else(|| Some("`tollgate config default` prints every option".to_string()));
        }
        Some(format!("known are {}", self.asked.join(", "))).filter(|_| !self.asked.is_empty())
    }

    /// Notes the keys that nobody asked for.
    pub fn finish(self) {
        for (key, item) in self.entries().filter(|(key, _)| !self.asked.contains(&key.as_str())) {
            let kind = if matches!(item.value, Value::Table(_)) { "section" } else { "key" };
            let what = format!("unknown {kind} '{key}'{}", self.in_section());
            let hint = did_you_mean(key, self.asked.iter().copied()).or_else(|| self.where_else(key));
            self.notes.problem(Problem { place: item.place.clone(), what, hint });
        }
    }
}

/// Where people look for an option that stands elsewhere.
fn moved(section: &str, key: &str) -> Option<String> {
    let home = match (section, key) {
        ("kafka", "brokers" | "bootstrap") => "use 'bootstrap_servers'",
        ("kafka", "group_id" | "group") => "groups are named after 'application_id'",
        ("kafka", "username" | "password" | "password_file" | "protocol" | "sasl_mechanism" | "ca_file") => "it stands in [kafka.security]",
        ("watch", "least_excess" | "least_ratio" | "alerts_per_team_month" | "runaway_floor" | "runaway_factor" | "update_growth") => {
            "it stands in [watch.thresholds]"
        }
        ("intake" | "alerts", "reporting_currency") => "it stands in [watch]",
        ("mail", "receivers" | "to") => "receivers stand in [[route]]",
        ("mail" | "", "fallback") => "it stands in [deliver]",
        ("", "smtp") => "use [mail]",
        ("", "registry") => "use 'registry_url' in [schemas]",
        ("", "routes" | "teams" | "overrides") => "write one [[route]], [[team]] or [[override]] per entry",
        _ => return None,
    };
    Some(home.to_string())
}

pub fn wrong_kind(item: &Item, wanted: &str, example: &str) -> Complaint {
    Complaint::new(format!("is {}, it should be {wanted}", item.value.kind()), format!("write it like {example}"))
}

pub fn text(item: &Item) -> Result<&str, Complaint> {
    match &item.value {
        Value::Text(text) if text.trim().is_empty() => Err(Complaint::new("is empty", "leave the line out, or give it a value")),
        Value::Text(text) => Ok(text),
        _ => Err(wrong_kind(item, "a text", "\"text\", in quotes")),
    }
}

pub fn integer(item: &Item, range: &RangeInclusive<i64>) -> Result<i64, Complaint> {
    let Value::Integer(value) = item.value else { return Err(wrong_kind(item, "a whole number", "8, without quotes")) };
    let outside = || Complaint::new(format!("is {value}"), format!("write a whole number from {} to {}", range.start(), range.end()));
    if range.contains(&value) { Ok(value) } else { Err(outside()) }
}

pub fn money(item: &Item) -> Result<Nanos, Complaint> {
    match &item.value {
        Value::Text(written) => units::money(written),
        // A float is not the amount that was written.
        _ => Err(wrong_kind(item, "an amount", "\"25.00\", in quotes")),
    }
}

fn duration(item: &Item, least: &str, most: &str) -> Result<i64, Complaint> {
    let ms = match &item.value {
        Value::Text(written) => units::duration_ms(written)?,
        Value::Integer(number) => units::duration_ms(&number.to_string())?,
        _ => return Err(wrong_kind(item, "a duration with a unit", "\"30s\"")),
    };
    let within = units::duration_ms(least)? <= ms && ms <= units::duration_ms(most)?;
    let outside = || Complaint::new(format!("is {}", units::duration_text(ms)), format!("write a duration from {least} to {most}"));
    if within { Ok(ms) } else { Err(outside()) }
}

fn choice<T: Copy>(item: &Item, choices: &[(&str, T)]) -> Result<T, Complaint> {
    let written = text(item)?;
    let names = || choices.iter().map(|(name, _)| *name);
    let known = choices.iter().find(|(name, _)| *name == written);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let listed = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let hint = did_you_mean(written, names()).unwrap_or_else(|| format!("write one of {listed}"));
        Complaint::new(format!("is '{written}'"), hint)
    })
}
