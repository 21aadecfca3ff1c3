//! [log]: how log lines look, and which ones there are.

use tracing_subscriber::filter::{Directive, LevelFilter};

use super::problem::did_you_mean;
use super::read::Section;
use super::settings::{LogFormat, LogSettings};
use super::units::Complaint;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

pub fn log(section: &mut Section) -> LogSettings {
    let written = section.text("level");
    let level = match level(&written) {
        Ok(level) => level,
        // Without a value that has been told already.
        Err(_) if written.is_empty() => written,
        Err((part, hint)) if part == written => {
            section.complain("level", Complaint::new(format!("is '{written}', which is no level"), hint));
            written
        }
        Err((part, hint)) => {
            section.complain("level", Complaint::new(format!("is '{written}', where '{part}' is no level"), hint));
            written
        }
    };
    LogSettings { format: section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]), level }
}

/// Levels, or modules with their levels, separated by commas; as they are used. A word by itself has to be a level: taken for the name of
/// a module, it would silence everything else.
///
/// # Errors
/// The part that is wrong, and what to write.
pub fn level(written: &str) -> Result<String, (String, String)> {
    let parts: Vec<&str> = written.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let wrong = parts.iter().find_map(|part| match part.rsplit_once('=') {
        Some((_, word)) if is_level(word) && part.parse::<Directive>().is_ok() => None,
        None if is_level(part) => None,
        Some((_, word)) => Some((*part, word)),
        None => Some((*part, *part)),
    });
    match wrong {
        Some((part, word)) => Err((part.to_string(), hint(word))),
        None if parts.is_empty() => Err((written.to_string(), hint(""))),
        None => Ok(parts.join(",")),
    }
}

fn hint(word: &str) -> String {
    let lower = word.to_lowercase();
    // "warning" is further from "warn" than a typing error.
    let longer = LEVELS.iter().find(|level| lower.starts_with(**level)).map(|level| format!("did you mean '{level}'?"));
    let known = "write error, warn, info, debug, trace or off, or by module: \"info,tollgate::watch=debug\"";
    match longer.or_else(|| did_you_mean(word, LEVELS)) {
        // Where the level is right, the name of the module is not.
        Some(meant) if !LEVELS.contains(&&*lower) => format!("{meant} {known}"),
        _ => known.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_text;

    #[test]
    fn levels_and_modules_with_levels_are_used() {
        for (written, used) in [
            ("info", "info"),
            ("WARN", "WARN"),
            ("off", "off"),
            ("info,tollgate::watch=debug", "info,tollgate::watch=debug"),
            ("tollgate=debug,rdkafka=warn", "tollgate=debug,rdkafka=warn"),
            (" warn , tollgate=debug,", "warn,tollgate=debug"),
            ("[span{field=1}]=debug", "[span{field=1}]=debug"),
        ] {
            assert_eq!(level(written), Ok(used.to_string()), "{written}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_named() {
        for (written, part, meant) in [
            ("warning", "warning", "did you mean 'warn'? write error, warn, info"),
            ("infos", "infos", "did you mean 'info'? write"),
            ("verbose", "verbose", "write error, warn, info, debug, trace or off"),
            ("info,tollgate::watch", "tollgate::watch", "write error"),
            ("info,tollgate=loud", "tollgate=loud", "write error"),
            ("tollgate=debg,info", "tollgate=debg", "did you mean 'debug'?"),
            ("tollgate=", "tollgate=", "write error"),
            ("!=info", "!=info", "write error"),
            (" , ", " , ", "write error"),
        ] {
            let (wrong, hint) = level(written).unwrap_err();
            assert!(wrong == part && hint.starts_with(meant), "{written}: {wrong}; {hint}");
        }
    }

    #[test]
    fn a_config_with_such_a_level_is_refused() {
        let told = |level: &str| {
            let text = format!("version = 1\n[log]\nlevel = '{level}'\n");
            let loaded = load_text("t.toml", &text, Path::new(""), std::iter::empty());
            loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let known = "write error, warn, info, debug, trace or off, or by module: \"info,tollgate::watch=debug\"";
        assert_eq!(told("warning"), format!("t.toml:3: 'level' in [log] is 'warning', which is no level; did you mean 'warn'? {known}"));
        assert_eq!(told("info,rdkafka"), format!("t.toml:3: 'level' in [log] is 'info,rdkafka', where 'rdkafka' is no level; {known}"));
        assert_eq!(told(" "), "t.toml:3: 'level' in [log] is empty; leave the line out, or give it a value");
        assert_eq!(told("info, rdkafka=warn"), "");
    }
}
