//! Languages that mails are written in, and the words of templates in each.

use serde::Serialize;

/// English where nobody chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    German,
}

/// By their codes (ISO 639-1), as in the config.
pub const LANGUAGES: [(&str, Language); 2] = [("en", Language::English), ("de", Language::German)];

impl Language {
    pub fn code(self) -> &'static str {
        self.pick("en", "de")
    }

    /// The one that is of this language.
    pub fn pick<T>(self, english: T, german: T) -> T {
        match self {
            Language::English => english,
            Language::German => german,
        }
    }
}

/// Whose mails are in which language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Languages {
    pub usual: Language,
    /// Patterns of addresses, in which `*` stands for any run of characters; the first that fits holds.
    pub others: Vec<(String, Language)>,
}

impl Languages {
    pub fn of(&self, address: &str) -> Language {
        let fits = |(pattern, _): &&(String, Language)| crate::deliver::rules::matches(pattern, address);
        self.others.iter().find(fits).map_or(self.usual, |(_, language)| *language)
    }
}

/// What stands in templates around what is told.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Words {
    pub what_to_do: &'static str,
    pub where_from: &'static str,
    pub details: &'static str,
    pub open_alert: &'static str,
    pub open: &'static str,
    pub answer: &'static str,
    pub asks_first: &'static str,
    pub normally: &'static str,
    pub movers: &'static str,
    pub place: &'static str,
    pub since: &'static str,
    pub alert: &'static str,
    pub chart: &'static str,
    pub sent_by: &'static str,
}

const ENGLISH: Words = Words {
    what_to_do: "What to do next",
    where_from: "Where it comes from",
    details: "Details",
    open_alert: "Open this alert",
    open: "Open",
    answer: "Answer",
    asks_first: "each link leads to a page that asks first",
    normally: "normally",
    movers: "Top movers",
    place: "Where",
    since: "Since",
    alert: "Alert",
    chart: "Chart",
    sent_by: "Sent by Tollgate. Answers to this mail are not read.",
};

const GERMAN: Words = Words {
    what_to_do: "Was jetzt zu tun ist",
    where_from: "Woher es kommt",
    details: "Einzelheiten",
    open_alert: "Diese Meldung öffnen",
    open: "Öffnen",
    answer: "Antworten",
    asks_first: "jeder Link führt auf eine Seite, die erst nachfragt",
    normally: "üblich",
    movers: "Am meisten bewegt",
    place: "Wo",
    since: "Seit",
    alert: "Meldung",
    chart: "Grafik",
    sent_by: "Gesendet von Tollgate. Antworten auf diese E-Mail liest niemand.",
};

pub fn words(language: Language) -> Words {
    language.pick(ENGLISH, GERMAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_fits_chooses() {
        let others = vec![("ada@example.de".to_string(), Language::English), ("*@example.de".to_string(), Language::German)];
        let languages = Languages { usual: Language::English, others };
        let of = |address| languages.of(address).code();
        assert_eq!((of("ada@example.de"), of("bob@example.de"), of("bob@example.com")), ("en", "de", "en"));
    }
}
