//! The environment as a layer over the file: TOLLGATE_`SECTION`__`KEY`.

use super::problem::{Place, Problem, nearest};
use super::read::Notes;
use super::tree::{Item, Table, Value};

const PREFIX: &str = "TOLLGATE_";
const LEVELS: &str = "__";
/// Tables whose keys are librdkafka's, with dots.
const DOTTED: [&str; 4] = ["common", "consumer", "producer", "admin"];

/// The process's variables. The only place that reads them.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn variables() -> impl Iterator<Item = (String, String)> {
    // What is no text cannot be an option of ours.
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Lays the variables over the tree. A value gets the type of what it replaces; names that lead nowhere become unknown keys of the
/// tree, which reading it finds.
///
/// Names with single underscores only are left alone: Kubernetes sets TOLLGATE_PORT and the like for a service of that name, and
/// command-line options have TOLLGATE_CONFIG. One that looks like a mistyped option, or begins with a section, is worth a warning.
pub fn overlay(table: &mut Table, variables: impl Iterator<Item = (String, String)>, notes: &Notes) {
    let mut ours: Vec<(String, String)> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        let path = name.trim_start_matches(PREFIX).to_lowercase();
        if path.contains(LEVELS) {
            let keys: Vec<String> = path.split(LEVELS).map(str::to_string).collect();
            set(table, &dotted(keys), &name, &value, notes);
        } else if let Some((what, hint)) = doubt(table, path.trim_start_matches('_')) {
            notes.warning(Problem::new(&Place::whole(&name), what).hint(hint));
        }
    }
}

fn dotted(mut keys: Vec<String>) -> Vec<String> {
    if let [first, kind, property] = keys.as_mut_slice()
        && first == "kafka"
        && DOTTED.contains(&kind.as_str())
    {
        *property = property.replace('_', ".");
    }
    keys
}

fn set(table: &mut Table, keys: &[String], name: &str, value: &str, notes: &Notes) {
    let place = Place::whole(name);
    let Some((key, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        let value = typed(value, table.get(key).map(|item| &item.value));
        match value {
            Some(value) => {
                table.insert(key.clone(), Item::at(place, value));
            }
            None => notes
                .problem(Problem::new(&place, "a table cannot be set from the environment").hint("set its keys, or write it in the file")),
        }
        return;
    }
    let item = table.entry(key.clone()).or_insert_with(|| Item::at(place.clone(), Value::Table(Table::new())));
    match &mut item.value {
        Value::Table(inner) => set(inner, rest, name, value, notes),
        _ => notes.problem(
            Problem::new(&place, format!("unknown option: '{key}' has no options inside")).hint("lists of tables stand in the file only"),
        ),
    }
}

/// The text as the type that the default has. What does not parse stays a text, and reading complains about it.
fn typed(text: &str, default: Option<&Value>) -> Option<Value> {
    let as_text = || Value::Text(text.to_string());
    Some(match default {
        // A number with a fraction may have been written without one in the file.
        Some(Value::Integer(_)) => {
            let (whole, number) = (text.trim().parse().map(Value::Integer), text.trim().parse().map(Value::Float));
            whole.or(number).unwrap_or_else(|_| as_text())
        }
        Some(Value::Float(_)) => text.trim().parse().map_or_else(|_| as_text(), Value::Float),
        Some(Value::Bool(_)) => text.trim().parse().map_or_else(|_| as_text(), Value::Bool),
        Some(Value::List(_)) => {
            let place = Place::whole("environment");
            Value::List(parts(text).map(|part| Item::at(place.clone(), Value::Text(part.to_string()))).collect())
        }
        Some(Value::Table(_)) => return None,
        Some(Value::Text(_) | Value::Date(_)) | None => as_text(),
    })
}

/// A list as a variable has it.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// What is wrong with a name of single underscores that may have been meant for us, and what would be right.
fn doubt(table: &Table, path: &str) -> Option<(&'static str, String)> {
    let ignored = "has one underscore between section and key and is ignored";
    let write = |option: &str| format!("write {PREFIX}{}", option.to_uppercase());
    let mut options = Vec::new();
    named(table, "", &mut options);
    if let Some(meant) = options.iter().find(|option| option.replace(LEVELS, "_") == path) {
        return Some((ignored, write(meant)));
    }
    // TOLLGATE_VERSION is what people call a release.
    if table.get(path).is_some_and(|item| !matches!(item.value, Value::Table(_))) && path != "version" {
        return Some(("stands in no section and is ignored", "write it into the file".to_string()));
    }
    let is_of_kubernetes =
        path.ends_with("_service_host") || path.contains("_service_port") || path.ends_with("_port") || path.contains("_port_");
    let section = table.iter().find(|(name, item)| {
        matches!(item.value, Value::Table(_)) && path.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('_'))
    });
    match (nearest(path, options.iter().map(String::as_str)), section) {
        _ if is_of_kubernetes => None,
        (Some(meant), _) => Some(("is no option and is ignored", format!("did you mean {PREFIX}{}?", meant.to_uppercase()))),
        (None, Some((name, _))) => Some((ignored, format!("options of [{name}] are {PREFIX}{}{LEVELS} and the key", name.to_uppercase()))),
        (None, None) => None,
    }
}

/// Options within sections, as variables name them in lower case.
fn named(table: &Table, above: &str, options: &mut Vec<String>) {
    for (key, item) in table {
        let name = if above.is_empty() { key.clone() } else { format!("{above}{LEVELS}{key}") };
        match &item.value {
            Value::Table(inner) => named(inner, &name, options),
            _ if above.is_empty() => {}
            _ => options.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Loaded, load_text};

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
        let loaded = load_text("t.toml", &format!("version = 1\n{text}"), Path::new(""), variables);
        loaded.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_fraction_over_a_whole_number_is_a_number() {
        let set = |value: &str| with("[deliver]\nupdate_growth = 2\n", &[("TOLLGATE_DELIVER__UPDATE_GROWTH", value)]);
        assert_eq!(set("1.5").map(|loaded| loaded.settings.deliver.update_growth).ok(), Some(1.5));
        assert_eq!(set("3").map(|loaded| loaded.settings.deliver.update_growth).ok(), Some(3.0));
        assert!(set("NaN").is_err_and(|problem| problem.contains("write a number from 1 to 1000")));
        assert!(with("", &[("TOLLGATE_SHARDS__COUNT", "1.5")]).is_err_and(|problem| problem.contains("should be a whole number")));
    }

    #[test]
    fn names_that_were_meant_for_us_are_not_ignored_in_silence() {
        let warned = |name: &str| with("", &[(name, "x")]).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let cases = [
            (
                "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS",
                "has one underscore between section and key and is ignored; write TOLLGATE_KAFKA__BOOTSTRAP_SERVERS",
            ),
            (
                "TOLLGATE_WATCH_THRESHOLDS_LEAST_EXCESS",
                "has one underscore between section and key and is ignored; write TOLLGATE_WATCH__THRESHOLDS__LEAST_EXCESS",
            ),
            ("TOLLGATE_KAFKA_BOOTSTRAP_SERVER", "is no option and is ignored; did you mean TOLLGATE_KAFKA__BOOTSTRAP_SERVERS?"),
            ("TOLLGATE_KAKFA_BOOTSTRAP_SERVERS", "is no option and is ignored; did you mean TOLLGATE_KAFKA__BOOTSTRAP_SERVERS?"),
            (
                "TOLLGATE_MAIL_WHATEVER_IT_IS",
                "has one underscore between section and key and is ignored; options of [mail] are TOLLGATE_MAIL__ and the key",
            ),
            ("TOLLGATE__RULES_REVISION", "stands in no section and is ignored; write it into the file"),
        ];
        for (name, wanted) in cases {
            assert_eq!(warned(name), format!("{name}: {wanted}"));
        }
        let others = [
            "CONFIG",
            "VERSION",
            "PORT",
            "SERVICE_HOST",
            "HTTP_SERVICE_HOST",
            "HTTP_PORT_8080_TCP_ADDR",
            "KAFKA_PORT",
            "HOME",
            "IMAGE",
            "TEST_BROKERS",
            "BLESS",
            "CHAOS_DIR",
            "CHAOS_RATE",
            "CHAOS_SEED",
            "CHAOS_BINARY",
            "POLICY_EVENTS",
        ];
        others.iter().for_each(|name| assert_eq!(warned(&format!("TOLLGATE_{name}")), ""));
    }

    #[test]
    fn lists_without_a_default_can_be_set() {
        let mail = "[mail]\nhost = 'h'\nfrom = 'a@b'\n[deliver]\nfallback = ['a@b']\n";
        let variables =
            [("TOLLGATE_MAIL__UNSUBSCRIBE", "mailto:a@b.c, https://b.c/off"), ("TOLLGATE_MAIL__LANGUAGES__DE", "*@b.de,ada@b.com")];
        let mail = with(mail, &variables).unwrap().settings.mail.unwrap();
        assert_eq!(mail.unsubscribe, ["mailto:a@b.c", "https://b.c/off"]);
        assert_eq!(mail.languages, [("*@b.de".to_string(), "de"), ("ada@b.com".to_string(), "de")]);
        // In a file a list is written as one.
        assert!(with("[mail]\nunsubscribe = 'mailto:a@b.c'\n", &[]).is_err_and(|problem| problem.contains("should be a list")));
    }
}
