//! [[schedule]], [[oncall]], [[mute]]: hours, people and quiet times that routes refer to by name.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time, Weekday};

use super::problem::did_you_mean;
use super::read::{Section, text};
use super::rules::time_zone;
use super::settings::{HoursSettings, MuteSettings, RotationSettings, ScheduleSettings, SwapSettings, WhenSettings};
use super::shell::{Reach, kinds, only, receivers};
use super::units::Complaint;
use crate::model::time::{DAY_MS, Timestamp};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

pub fn schedules(sections: Vec<Section>) -> Vec<ScheduleSettings> {
    let mut schedules: Vec<ScheduleSettings> = Vec::new();
    for mut section in sections {
        let schedule = ScheduleSettings {
            name: section.text("name"),
            time_zone: section.optional("time_zone", time_zone).map_or_else(|| "UTC".to_string(), |zone| zone.to_string()),
            days: days(&mut section),
            from: time_of_day(&mut section, "from"),
            until: time_of_day(&mut section, "until"),
            holidays: dates(&mut section),
        };
        if schedules.iter().any(|known| known.name == schedule.name) {
            section.complain("name", Complaint::new(format!("is '{}', as that of another schedule", schedule.name), "give each its own"));
        }
        schedules.push(schedule);
        section.finish();
    }
    schedules
}

fn days(section: &mut Section) -> Vec<Weekday> {
    let mut days = Vec::new();
    for (_, written) in section.texts("days") {
        match DAYS.iter().find(|(name, _)| *name == written) {
            Some((_, day)) => days.push(*day),
            None => section
                .complain("days", Complaint::new(format!("names '{written}'"), "write [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]")),
        }
    }
    // A schedule of no day never holds; whoever empties the list may mean the contrary.
    if section.texts("days").is_empty() && section.has("days") {
        section.complain("days", Complaint::new("is empty", "name at least one, or leave the line out: every day"));
    }
    if days.is_empty() && !section.has("days") { DAYS.map(|(_, day)| day).into() } else { days }
}

fn time_of_day(section: &mut Section, key: &'static str) -> Time {
    let parse = |item: &super::tree::Item| {
        let written = text(item)?;
        // A day ends at midnight.
        let usual = if written == "24:00" { "00:00" } else { written };
        let right = usual.len() == 5;
        usual.parse().ok().filter(|_| right).ok_or_else(|| Complaint::new(format!("is '{written}'"), "write a time of the day: \"09:00\""))
    };
    section.required(key, |item| parse(item).map(Some)).unwrap_or(Time::MIN)
}

fn dates(section: &mut Section) -> BTreeSet<Date> {
    let mut dates = BTreeSet::new();
    for (_, written) in section.texts("holidays") {
        match written.parse() {
            Ok(date) => drop(dates.insert(date)),
            Err(_) => section.complain("holidays", Complaint::new(format!("names '{written}'"), "write days: [\"2026-12-25\"]")),
        }
    }
    dates
}

/// `reach`: who can be told; rotations are made of them.
pub fn rotations(sections: Vec<Section>, reach: &Reach) -> Vec<RotationSettings> {
    let mut rotations: Vec<RotationSettings> = Vec::new();
    for mut section in sections {
        let name = section.text("name");
        let people = receivers(&mut section, "people", reach);
        if people.is_empty() {
            section.complain("people", Complaint::new("is empty or missing", "name at least one: people = [\"ada@example.com\"]"));
        }
        let starts = |item: &super::tree::Item| {
            let written = text(item)?;
            let bad = || {
                Complaint::new(format!("is '{written}'"), "write when the first one begins, by the clock on the wall: \"2026-01-05T09:00\"")
            };
            written.parse::<DateTime>().map(Some).map_err(|_| bad())
        };
        let turn_ms = section.duration("turn", "1d", "365d");
        if turn_ms % DAY_MS != 0 {
            section.complain("turn", Complaint::new("is no whole number of days", "write \"1d\" or \"7d\""));
        }
        let rotation = RotationSettings {
            people,
            time_zone: section.optional("time_zone", time_zone).map_or_else(|| "UTC".to_string(), |zone| zone.to_string()),
            starts: section.required("starts", starts).unwrap_or_default(),
            turn_days: i32::try_from(turn_ms / DAY_MS).unwrap_or(1),
            swaps: swaps(&mut section, reach),
            name,
        };
        if rotations.iter().any(|known| known.name == rotation.name) {
            section.complain("name", Complaint::new(format!("is '{}', as that of another rotation", rotation.name), "give each its own"));
        }
        rotations.push(rotation);
        section.finish();
    }
    rotations
}

/// `2026-12-24T09:00:00Z until 2026-12-27T09:00:00Z: eve@example.com`.
fn swaps(section: &mut Section, reach: &Reach) -> Vec<SwapSettings> {
    let mut swaps = Vec::new();
    for (_, written) in section.texts("swaps") {
        let swap = written.split_once(" until ").and_then(|(from, rest)| {
            let (until, who) = rest.split_once(": ")?;
            Some(SwapSettings { from: Timestamp::parse(from.trim())?, until: Timestamp::parse(until.trim())?, who: who.trim().to_string() })
        });
        match swap.filter(|swap| swap.from < swap.until && reach.knows(&swap.who)) {
            Some(swap) => swaps.push(swap),
            None => {
                let hint = "write \"2026-12-24T09:00:00Z until 2026-12-27T09:00:00Z: eve@example.com\"";
                section.complain("swaps", Complaint::new(format!("has '{written}'"), hint));
            }
        }
    }
    swaps
}

/// `during` or `outside`, a schedule's name.
pub fn hours(section: &mut Section, schedules: &[ScheduleSettings]) -> Option<HoursSettings> {
    let (during, outside) = (section.optional_text("during"), section.optional_text("outside"));
    let (key, name) = match (during, outside) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            section.complain("outside", Complaint::new("stands beside 'during'", "keep one of the two"));
            return None;
        }
        (Some(name), None) => ("during", name),
        (None, Some(name)) => ("outside", name),
    };
    let Some(schedule) = schedules.iter().find(|schedule| schedule.name == name) else {
        let hint = did_you_mean(&name, schedules.iter().map(|schedule| schedule.name.as_str()));
        let hint = hint.unwrap_or_else(|| format!("add a [[schedule]] with name = \"{name}\""));
        section.complain(key, Complaint::new(format!("is '{name}', and there is no such schedule"), hint));
        return None;
    };
    Some(HoursSettings { schedule: schedule.clone(), outside: key == "outside" })
}

pub fn mutes(sections: Vec<Section>, schedules: &[ScheduleSettings]) -> Vec<MuteSettings> {
    let mut mutes = Vec::new();
    for mut section in sections {
        let time = |item: &super::tree::Item| {
            let written = text(item)?;
            let bad = || Complaint::new(format!("is '{written}'"), "write a time: \"2026-12-01T22:00:00Z\"");
            Timestamp::parse(written).ok_or_else(bad)
        };
        let (from, until) = (section.optional("from", time), section.optional("until", time));
        let hours = hours(&mut section, schedules);
        let when = match (from, until, hours) {
            (from, Some(until), None) if from.is_none_or(|from| from < until) => {
                Some(WhenSettings::Between(from.unwrap_or(Timestamp(i64::MIN)), until))
            }
            (None, None, Some(hours)) => Some(WhenSettings::Hours(hours)),
            _ => None,
        };
        if when.is_none() && !section.has("during") && !section.has("outside") {
            section.complain("until", Complaint::new("is missing, or not after 'from'", "say until when, or during which [[schedule]]"));
        } else if when.is_none() && (from.is_some() || until.is_some()) {
            section.complain("until", Complaint::new("stands beside a schedule", "write two [[mute]]"));
        }
        let mute = MuteSettings {
            teams: section.texts("teams").into_iter().map(|(_, team)| team).collect(),
            kinds: kinds(&mut section),
            only: only(&mut section),
            when: when.unwrap_or(WhenSettings::Between(Timestamp(0), Timestamp(0))),
            note: section.optional_text("note").unwrap_or_default(),
        };
        mutes.push(mute);
        section.finish();
    }
    mutes
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

    const OFFICE: &str = "[[schedule]]\nname = 'office'\ntime_zone = 'Europe/Berlin'\ndays = ['mon', 'fri']\nfrom = '09:00'\nuntil = '24:00'\nholidays = ['2026-12-25']\n";
    const SEARCH: &str = "[[oncall]]\nname = 'search'\npeople = ['ada@x.org', 'bob@x.org']\nstarts = '2026-01-05T09:00'\nturn = '7d'\n";

    #[test]
    fn duty_is_read_and_mistakes_are_named() {
        let route = "[[route]]\nreceivers = ['oncall:search']\nduring = 'office'\nwait = true\nescalate_after = '30m'\nescalate_to = ['lead@x.org']\n";
        let swap = "swaps = ['2026-12-24T09:00:00Z until 2026-12-27T09:00:00Z: eve@x.org']\n";
        let mute = "[[mute]]\nteams = ['ads']\noutside = 'office'\n[[mute]]\nuntil = '2026-12-01T00:00:00Z'\nnote = 'move'\n";
        assert_eq!(problems(&format!("{OFFICE}{SEARCH}{swap}{route}{mute}")), [""; 0]);
        for (text, says) in [
            (OFFICE.replace("09:00", "9"), "write a time of the day"),
            (OFFICE.replace("'mon'", "'monday'"), "names 'monday'"),
            (OFFICE.replace("'mon', 'fri'", ""), "'days' in [[schedule]] is empty"),
            (OFFICE.replace("2026-12-25", "xmas"), "names 'xmas'"),
            (OFFICE.replace("Berlin", "Berln"), "Europe/Berlin"),
            (format!("{OFFICE}{OFFICE}"), "another schedule"),
            (SEARCH.replace("7d", "36h"), "no whole number of days"),
            (SEARCH.replace("ada@x.org", "ada"), "no mail address"),
            (SEARCH.replace("2026-01-05T09:00", "monday"), "by the clock on the wall"),
            (format!("{SEARCH}swaps = ['eve']\n"), "has 'eve'"),
            (format!("{OFFICE}{SEARCH}{}", route.replace("oncall:search", "oncall:serch")), "did you mean 'search'?"),
            (format!("{SEARCH}{route}"), "there is no such schedule"),
            (format!("{OFFICE}{SEARCH}{}", route.replace("escalate_to = ['lead@x.org']\n", "")), "names nobody"),
            ("[[mute]]\nteams = ['ads']\n".to_owned(), "say until when"),
        ] {
            let found = problems(&text);
            assert!(found.len() == 1 && found[0].contains(says), "{text}\n{found:#?}");
        }
    }
}
