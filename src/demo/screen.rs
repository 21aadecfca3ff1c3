//! What is seen while the demo runs: alerts as they come, below them progress and a table of teams; plain lines where there is no terminal.

use std::io::{self, IsTerminal as _, Write as _, stdout};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::view::TeamLine;
use super::words::{clock, day, dollars, figure, grouped, many};
use crate::model::alert::{Alert, AlertKind, AlertState, Severity, Stage};
use crate::model::time::Timestamp;

const RED: &str = "\x1b[31;1m";
const YELLOW: &str = "\x1b[33;1m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

pub struct Screen {
    live: Option<Live>,
    length: u64,
    last_day: Option<i64>,
}

struct Live {
    all: MultiProgress,
    progress: ProgressBar,
    header: ProgressBar,
    teams: Vec<ProgressBar>,
}

/// How far the replay is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub step: u64,
    pub at: Timestamp,
    pub events: u64,
    pub events_per_second: u64,
}

/// A line on stdout.
///
/// # Errors
/// Nobody reads it any more.
pub fn line(line: &str) -> io::Result<()> {
    writeln!(stdout().lock(), "{line}")
}

impl Screen {
    /// `length`: steps of the whole replay.
    pub fn new(length: u64, teams: usize) -> Screen {
        let live = stdout().is_terminal().then(|| Live::new(length, teams));
        Screen { live, length, last_day: None }
    }

    /// A line that stays.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub fn say(&self, said: &str) -> io::Result<()> {
        match &self.live {
            // A terminal that is gone shows nothing, which is no reason to stop.
            Some(live) => drop(live.all.println(said)),
            None => line(said)?,
        }
        Ok(())
    }

    /// One line for what opens, with its cause, and one for what is over.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub fn alert(&self, alert: &Alert) -> io::Result<()> {
        match alert.state {
            AlertState::Open | AlertState::Reopened => {
                let color = if alert.severity == Severity::Critical { RED } else { YELLOW };
                let kind = match alert.kind {
                    AlertKind::Runaway => "RUNAWAY",
                    AlertKind::SpendSpike => "SPIKE",
                    AlertKind::Sustained => "LASTING",
                    AlertKind::LevelShift => "LEVEL",
                    AlertKind::PriceChange => "PRICE",
                    AlertKind::ModelSwitch => "MODEL",
                    AlertKind::SpendMoved => "MOVED",
                    AlertKind::SpendDrop => "DROP",
                    AlertKind::PolicyViolation => "POLICY",
                    AlertKind::IdleResource | AlertKind::ForgottenResource | AlertKind::OrphanedResource | AlertKind::UnusedCommitment => {
                        "WASTE"
                    }
                    AlertKind::MissingMoney | AlertKind::UnseenSpend | AlertKind::UntaggedSpend | AlertKind::BillMismatch => "MISSING",
                    AlertKind::ProviderSilent => "SILENT",
                    AlertKind::NoPromptCaching | AlertKind::NoBatch | AlertKind::DearModel | AlertKind::OversizedResource => "SAVING",
                    AlertKind::Budget => "BUDGET",
                };
                self.say(&format!("{} {}", self.paint(color, &format!("{kind:<8}")), opened(alert)))?;
            }
            AlertState::Resolved | AlertState::Retracted => {
                let word = if alert.state == AlertState::Resolved { "over" } else { "withdrawn" };
                self.say(&self.paint(DIM, &format!("{word:<8} {}", closed(alert))))?;
            }
            AlertState::Updated | AlertState::Acknowledged | AlertState::Expected | AlertState::Amended | AlertState::Escalated => {}
        }
        Ok(())
    }

    /// # Errors
    /// Nobody reads it any more.
    pub fn progress(&mut self, progress: Progress, table: &[TeamLine]) -> io::Result<()> {
        let Some(live) = &self.live else { return self.plain_progress(progress, table) };
        live.progress.set_position(progress.step);
        live.progress.set_message(format!(
            "{} {}  {}  {}/s",
            day(progress.at),
            clock(progress.at),
            many(progress.events, "event"),
            grouped(progress.events_per_second)
        ));
        if !table.is_empty() {
            live.header.set_message(format!("  {:<12} {:>12} {:>12}   state", "team", "USD an hour", "usual now"));
        }
        for (bar, line) in live.teams.iter().zip(table) {
            bar.set_message(self.team(line));
        }
        Ok(())
    }

    /// Takes progress and table away.
    pub fn clear(&mut self) {
        if let Some(live) = self.live.take() {
            live.progress.finish_and_clear();
            live.header.finish_and_clear();
            live.teams.iter().for_each(ProgressBar::finish_and_clear);
        }
    }

    fn team(&self, line: &TeamLine) -> String {
        let state = if line.alarmed.is_empty() {
            self.paint(GREEN, "normal")
        } else {
            self.paint(RED, &format!("ALERT {}: {} too much", line.alarmed.join(", "), dollars(line.excess)))
        };
        let normal = line.normal.map_or("-".to_string(), figure);
        format!("  {:<12} {:>12} {:>12}   {state}", line.team, figure(line.now), normal)
    }

    fn plain_progress(&mut self, progress: Progress, table: &[TeamLine]) -> io::Result<()> {
        let today = progress.at.0.div_euclid(crate::model::time::DAY_MS);
        if self.last_day == Some(today) {
            return Ok(());
        }
        self.last_day = Some(today);
        let percent = progress.step * 100 / self.length.max(1);
        let alarmed: Vec<&str> = table.iter().filter(|line| !line.alarmed.is_empty()).map(|line| line.team.as_str()).collect();
        let state = if alarmed.is_empty() { String::new() } else { format!(", alerts open: {}", alarmed.join(", ")) };
        line(&format!("{percent:>3} %    {} {}: {}{state}", day(progress.at), clock(progress.at), many(progress.events, "event")))
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.live.is_some() { format!("{color}{text}{PLAIN}") } else { text.to_string() }
    }
}

impl Live {
    fn new(length: u64, teams: usize) -> Live {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let progress = all.add(ProgressBar::new(length));
        progress.set_style(style("\n  [{bar:30}] {percent:>3} %  {msg}").progress_chars("=> "));
        let line = || {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("{wide_msg}"));
            bar
        };
        let header = line();
        let teams = (0..teams).map(|_| line()).collect();
        Live { all, progress, header, teams }
    }
}

fn opened(alert: &Alert) -> String {
    let since = clock(alert.onset);
    let since = since.split(' ').next_back().unwrap_or_default();
    format!("{}  {:<18} {} since {since}, {}", clock(alert.event_time), place(alert), dollars(alert.actual), because(alert))
}

fn closed(alert: &Alert) -> String {
    let (actual, expected) = (dollars(alert.actual), figure(alert.expected));
    format!("{}  {:<18} {actual} in all, usual {expected}", clock(alert.event_time), place(alert))
}

/// `search/ranker`.
fn place(alert: &Alert) -> String {
    let below = ["project", "model"].iter().find_map(|name| alert.dimensions.get(*name));
    below.map_or_else(|| alert.team.clone(), |below| format!("{}/{below}", alert.team))
}

/// What it is held against, and who or what is behind it: `usual 66.61; user jonas`, `new nimbus-pro in eu-west-3; user ci`.
fn because(alert: &Alert) -> String {
    let stated = |name: &str| alert.dimensions.get(name).map(String::as_str);
    let against = match (alert.stage, stated("model"), stated("region")) {
        (Stage::New, Some(model), Some(region)) => format!("new {model} in {region}"),
        (Stage::New, ..) => "new".to_string(),
        (Stage::FirstDay | Stage::FirstWeeks | Stage::Seasoned, ..) => format!("usual {}", figure(alert.expected)),
    };
    let cause = alert.causes.first().map(|cause| &cause.dimensions);
    let telling = ["user", "region", "model", "project"];
    let named = telling.iter().find_map(|name| cause?.get(*name).map(|value| format!("{name} {value}")));
    format!("{against}; {}", named.unwrap_or_else(|| "all users alike".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::money::Nanos;
    use crate::model::wire::alert_from_json;

    #[test]
    fn an_alert_is_a_line() {
        let alert = alert_from_json(include_bytes!("../../tests/data/alerts/spike.json")).unwrap();
        let line = opened(&alert);
        assert!(line.starts_with(&clock(alert.event_time)) && line.contains(&alert.team) && line.contains("usual"), "{line}");
        let nobody = Alert { causes: Vec::new(), stage: Stage::New, dimensions: Default::default(), ..alert.clone() };
        assert!(opened(&nobody).ends_with("new; all users alike"), "{}", opened(&nobody));
        assert!(closed(&alert).contains("in all"), "{}", closed(&alert));
        let large = Alert { expected: Nanos::from_units(1_337), ..alert };
        assert!(opened(&large).contains("usual 1,337.00;") && closed(&large).ends_with("usual 1,337.00"), "{}", opened(&large));
        let team =
            TeamLine { team: "search".into(), now: Nanos::from_units(12_345), normal: None, alarmed: Vec::new(), excess: Nanos::ZERO };
        let table = Screen { live: None, length: 1, last_day: None }.team(&TeamLine { normal: Some(team.now), ..team });
        assert_eq!(table.matches("12,345.00").count(), 2, "{table}");
    }
}
