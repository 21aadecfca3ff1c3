//! What is told together, what speaks for what, and templates of one's own.

use std::collections::BTreeMap;

use super::broker::one_of;
use super::problem::Problem;
use super::read::Section;
use super::settings::{InhibitSettings, SelectSettings};
use super::shell::{SEVERITIES, dimensions, kinds, only};
use super::units::Complaint;

/// By what alerts can be told apart, besides their dimensions.
const OTHERS: [&str; 4] = ["team", "kind", "severity", "incident"];

/// How long a route's letters wait for each other, and what those have in common.
pub fn group(section: &mut Section) -> (i64, Vec<String>) {
    let wait_ms = section.optional_duration("group_wait", "1s", "7d").unwrap_or_default();
    let by = properties(section, "group_by");
    if wait_ms == 0 && section.has("group_by") {
        section.complain(
            "group_by",
            Complaint::new("stands without 'group_wait'", "say how long letters wait for each other: group_wait = \"5m\""),
        );
    }
    (wait_ms, by)
}

fn properties(section: &mut Section, key: &'static str) -> Vec<String> {
    let known: Vec<&str> = OTHERS.into_iter().chain(dimensions()).collect();
    let mut properties = Vec::new();
    for (place, property) in section.texts(key) {
        if !known.contains(&property.as_str()) {
            let what = format!("'{key}' names '{property}', by which alerts cannot be told apart");
            section.notes().problem(Problem { place, what, hint: Some(one_of(&property, &known)) });
        }
        properties.push(property);
    }
    properties
}

pub fn inhibits(sections: Vec<Section>) -> Vec<InhibitSettings> {
    let mut inhibits = Vec::new();
    for mut section in sections {
        for key in ["by", "of"] {
            if !section.has(key) {
                let what = format!("this [[inhibit]] has no '{key}'");
                let hint =
                    "say which alerts speak (by) for which (of): by = { kinds = [\"price_change\"] }, of = { kinds = [\"spend_spike\"] }";
                section.notes().problem(Problem::new(&section.place, what).hint(hint));
            }
        }
        let (by, of) = (select(section.section("by")), select(section.section("of")));
        if section.has("by") && by == of {
            section.complain("of", Complaint::new("is the same as 'by'", "an alert does not speak for its own kind: make the two differ"));
        }
        let equal = if section.has("equal") { properties(&mut section, "equal") } else { vec!["team".to_string()] };
        inhibits.push(InhibitSettings { by, of, equal, note: section.optional_text("note").unwrap_or_default() });
        section.finish();
    }
    inhibits
}

fn select(mut section: Section) -> SelectSettings {
    let select = SelectSettings {
        teams: section.texts("teams").into_iter().map(|(_, team)| team).collect(),
        kinds: kinds(&mut section),
        only: only(&mut section),
        least_severity: section.optional_choice("least_severity", &SEVERITIES),
    };
    section.finish();
    select
}

/// Codes of the languages that mails are written in.
pub const LANGUAGES: [(&str, &str); 2] = [("en", "en"), ("de", "de")];

/// Who is written to in another language than the usual one, by patterns of addresses.
pub fn languages(section: &mut Section) -> Vec<(String, &'static str)> {
    let mut written = section.section("languages");
    let languages = LANGUAGES.iter().flat_map(|(key, code)| written.texts(key).into_iter().map(|(_, pattern)| (pattern, *code))).collect();
    written.finish();
    languages
}

/// `mailto:` and `https:` addresses, fit for a header between angle brackets (RFC 2369).
pub fn unsubscribe(section: &mut Section) -> Vec<String> {
    let mut addresses = Vec::new();
    for (place, written) in section.texts("unsubscribe") {
        let is_fit = written.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>,\"".contains(&byte));
        if !is_fit || !(written.starts_with("mailto:") || written.starts_with("https://")) {
            let place = if place.line == 0 { section.place_of("unsubscribe") } else { place };
            let what = format!("an entry of 'unsubscribe' is '{written}', which is no mailto: or https: address");
            let hint = "write \"mailto:finops@example.com?subject=off%20{address}\", spaces and the like as %20";
            section.notes().problem(Problem { place, what, hint: Some(hint.to_string()) });
        }
        addresses.push(written);
    }
    addresses
}

/// The files of the folder, by their names.
pub fn templates(section: &mut Section) -> BTreeMap<String, String> {
    let Some(folder) = section.path("templates") else { return BTreeMap::new() };
    let read = || -> std::io::Result<BTreeMap<String, String>> {
        let mut templates = BTreeMap::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Not what editors leave behind.
            if path.is_file() && !name.starts_with('.') && !name.ends_with('~') {
                templates.insert(name, std::fs::read_to_string(&path)?);
            }
        }
        Ok(templates)
    };
    match read() {
        Ok(templates) => templates,
        Err(error) => {
            let what = format!("is '{}', which cannot be read: {error}", folder.display());
            section.complain(
                "templates",
                Complaint::new(what, "name a folder with base.html, alert.html, alert.txt, digest.html, digest.txt or subject.txt"),
            );
            BTreeMap::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;

    fn problems(text: &str) -> Vec<String> {
        let text = format!("version = 1\n[mail]\nhost = 'h'\nfrom = 'a@b'\n{text}");
        let loaded = load_text("t.toml", &text, Path::new(""), std::iter::empty());
        loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn languages_are_chosen_by_address() {
        let text = "language = 'de'\n[mail.languages]\nen = ['*@example.com', 'ada@example.de']\n";
        let loaded =
            load_text("t.toml", &format!("version = 1\n[mail]\nhost = 'h'\nfrom = 'a@b'\n{text}"), Path::new(""), std::iter::empty());
        let mail = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).settings.mail.unwrap();
        assert_eq!((mail.language, mail.languages.len(), mail.languages[1].clone()), ("de", 2, ("ada@example.de".to_owned(), "en")));
        for (text, says) in [("language = 'fr'", "'fr'"), ("[mail.languages]\nfr = ['*']", "fr")] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(says), "{text}\n{found:#?}");
        }
    }

    #[test]
    fn ways_off_are_addresses_that_a_header_can_hold() {
        let both = "unsubscribe = ['mailto:off@x.org?subject={address}', 'https://x.org/off?who={address}']\n";
        assert_eq!(problems(&format!("{both}unsubscribe_one_click = true\n")), [""; 0]);
        for (text, says) in [
            ("unsubscribe = ['http://x.org/off']", "no mailto: or https: address"),
            ("unsubscribe = ['mailto:a@b?subject=no more']", "spaces and the like as %20"),
            ("unsubscribe = ['https://x.org/>,<mailto:eve@x.org']", "no mailto: or https: address"),
            ("unsubscribe = ['mailto:a@b']\nunsubscribe_one_click = true", "no https address says who"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(says), "{text}\n{found:#?}");
        }
    }

    #[test]
    fn groups_and_inhibitions_are_read_and_mistakes_are_named() {
        let route = "[[route]]\nreceivers = ['a@b']\ngroup_wait = '5m'\ngroup_by = ['team', 'model']\n";
        let inhibit = "[[inhibit]]\nby = { kinds = ['price_change'], least_severity = 'critical' }\nof = { kinds = ['spend_spike'], only = { model = 'gpt-*' } }\nequal = ['model']\n";
        assert_eq!(problems(&format!("{route}{inhibit}")), [""; 0]);
        // What violations, waste and budgets name, too.
        for named in ["policy", "resource_id", "model_version", "principal", "budget", "origin_region"] {
            let (route, inhibit) = (route.replace("model", named), inhibit.replace("'model'", &format!("'{named}'")));
            let only = format!("only = {{ {named} = 'a*' }}\n");
            let mute = format!("[[mute]]\nuntil = '2026-12-01T00:00:00Z'\n{only}");
            assert_eq!(problems(&format!("{route}{only}{inhibit}{mute}")), [""; 0], "{named}");
        }
        for (text, says) in [
            (route.replace("model", "modell"), "did you mean 'model'?"),
            (route.replace("group_wait = '5m'\n", ""), "without 'group_wait'"),
            (inhibit.replace("by = ", "on = "), "has no 'by'"),
            (inhibit.replace("'price_change'", "'price_changes'"), "no kind of alert"),
            (inhibit.replace("equal = ['model']", "equal = ['colour']"), "cannot be told apart"),
            ("[[inhibit]]\nby = { teams = ['a'] }\nof = { teams = ['a'] }\n".to_owned(), "the same as 'by'"),
            (inhibit.replace("model = 'gpt-*'", "modell = 'gpt-*'"), "'modell' in 'of.only' of [[inhibit]] is no dimension of alerts"),
            ("[[inhibit]]\nby = { teams = ['a'], colour = 'red' }\nof = {}\n".to_owned(), "colour"),
        ] {
            let found = problems(&text);
            assert!(found.iter().any(|problem| problem.contains(says)), "{text}\n{found:#?}");
        }
    }
}
