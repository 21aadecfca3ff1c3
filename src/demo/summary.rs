//! The last page of the demo: what was found, how fast, at what cost, and what was said for nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::grade::Grade;
use super::incidents::INCIDENTS;
use super::replay::Sent;
use super::words::{clock, dollars, grouped, many, span};

const CAVEATS: [&str; 5] = [
    "In place of Kafka this ran on an in-process broker without transactions: at least once, so",
    "nothing of exactly-once is to be seen here; `tollgate run` does that on a real Kafka.",
    "The tenants were chosen because they are calm: an example of what Tollgate says, not a",
    "measurement of how well it detects. The story lies in the past, so its mails say \"noticed\"",
    "days after the fact; `after` above is in the story's own time.",
];

/// What the counters say at the end.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub duplicates: u64,
    pub dead_letters: u64,
    pub alert_records: u64,
    pub rollups: u64,
}

pub struct Summary<'a> {
    pub grade: &'a Grade,
    pub sent: Sent,
    pub counted: Counted,
    pub took: Duration,
    /// The folder and the files in it that can be opened in a browser, by name.
    pub mails: (&'a Path, Vec<PathBuf>),
    pub log: &'a Path,
}

impl Summary<'_> {
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.incidents();
        lines.push(String::new());
        lines.extend(self.alerts());
        lines.extend(self.records());
        lines.extend(self.files());
        lines.push(String::new());
        lines.extend(CAVEATS.map(str::to_string));
        lines
    }

    fn incidents(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<16} {:<9} {:<7} {:>10} {:>14} {:>15}   {}",
            "incident", "at", "", "after", "spent by then", "spent in all", "named"
        )];
        for (incident, (found, total)) in INCIDENTS.iter().zip(&self.grade.incidents) {
            let (name, value) = incident.cause;
            lines.push(match found {
                Some(found) => format!(
                    "{:<16} {:<9} {:<7} {:>10} {:>14} {:>15}   {}",
                    incident.name,
                    clock(found.alert.event_time),
                    "found",
                    span(found.delay_ms),
                    dollars(found.leaked),
                    dollars(*total),
                    if found.cause_named { format!("{name} {value}") } else { format!("not {name} {value}") },
                ),
                None => format!("{:<16} {:<9} {:<7} {:>10} {:>14} {:>15}", incident.name, "", "MISSED", "", "", dollars(*total)),
            });
            lines.push(format!("    {} / {}: {}", incident.team, incident.project, incident.story));
        }
        lines
    }

    fn alerts(&self) -> Vec<String> {
        let grade = self.grade;
        let mut lines = vec![format!(
            "Incidents   {} of {} found. {} opened: {} {} to an incident, {} false; precision {} %.",
            grade.found(),
            INCIDENTS.len(),
            many((grade.related + grade.unrelated.len()) as u64, "alert"),
            grade.related,
            if grade.related == 1 { "belongs" } else { "belong" },
            grade.unrelated.len(),
            grade.precision_percent(),
        )];
        lines.extend(grade.unrelated.iter().map(|alert| format!("            false: {} {}", clock(alert.event_time), alert.summary)));
        lines
    }

    fn records(&self) -> Vec<String> {
        let records = self.sent.records();
        let per_second = (records as f64 / self.took.as_secs_f64().max(0.001)) as u64;
        vec![
            format!(
                "Records     {} in {:.1} s, {} a second: {}, {} sent twice, {} malformed.",
                grouped(records),
                self.took.as_secs_f64(),
                grouped(per_second),
                many(self.sent.events, "event"),
                grouped(self.sent.repeated),
                grouped(self.sent.malformed),
            ),
            format!(
                "Counted     {}, {}, {}, {}.",
                many(self.counted.duplicates, "duplicate"),
                many(self.counted.dead_letters, "dead letter"),
                many(self.counted.rollups, "roll-up"),
                many(self.counted.alert_records, "alert record"),
            ),
        ]
    }

    fn files(&self) -> Vec<String> {
        let (folder, pages) = &self.mails;
        let mut lines = vec![format!("Mails       {} in {} (.html for a browser, .eml for a mail program)", pages.len(), folder.display())];
        let opening = |page: &&PathBuf| page.to_string_lossy().contains("-1-open-");
        if let Some(first) = pages.iter().find(opening).or(pages.first()) {
            lines.push(format!("            such as {}", first.display()));
        }
        lines.push(format!("Log         {}", self.log.display()));
        lines
    }
}
