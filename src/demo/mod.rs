//! DEMO: the whole path in one process on an in-process broker. Real usage of twelve tenants at high speed, five incidents mixed in.
//!
//! `data` (real) and `cast` (invented) make the usage, `incidents` spoil it, `usage` and `replay` turn it into records; `stage` starts
//! broker and roles, [`run`] feeds them; `view` reads what they write, as any consumer would; `screen` and `summary` show it, `grade`
//! holds it against the truth.

mod cast;
mod data;
mod grade;
mod incidents;
mod replay;
mod screen;
mod stage;
mod summary;
#[cfg(test)]
mod tests;
mod usage;
mod view;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use self::replay::{Parcel, Sent};
use self::screen::{Progress, Screen};
use self::stage::Stage;
use self::summary::{Counted, Summary};
use self::usage::Story;
use self::view::Shared;
use crate::clock::{self, Stopwatch};
use crate::kafka::producer::{OutRecord, Producer};
use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};
use crate::runtime::Stop;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Serve on after the replay, until Ctrl-C.
    pub keep: bool,
    /// Hours of the story per second, at most.
    pub speed: f64,
    /// Mails and log go here.
    pub out: PathBuf,
    pub log: PathBuf,
}

/// What happens within this time is sent at once.
const SLICE_MS: i64 = 5 * MINUTE_MS;
/// The producer is never further ahead of intake than this: the in-process broker keeps little and drops the oldest when it is full,
/// and what intake finds waiting becomes one batch, in which minutes cannot be told apart.
const LEAD_RECORDS: u64 = 80;
/// On a machine that does not keep up, or when told to hurry, the minutes matter less than the end.
const LATE_LEAD_RECORDS: u64 = 500;
const LATE: Duration = Duration::from_secs(3);
/// Nor further ahead of the roll-ups that come out at the other end.
const LEAD_HOURS: i64 = 12;
const REDRAW: Duration = Duration::from_millis(100);
/// Longer than any batch takes; a path that moves nothing for this long is broken.
const STUCK: Duration = Duration::from_secs(60);
/// At the end: nothing new for so long, and not longer than that.
const SETTLED: Duration = Duration::from_millis(1_500);
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends the reader of the topics with whoever needs it, however that ends: it would be waited for for ever.
struct Asking<'a>(&'a Stop);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Plays the story; whether every incident was found.
///
/// # Errors
/// No broker, no folder to write to, or a role that failed.
pub fn run(options: &Options) -> Result<bool> {
    match play(options) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => Ok(true),
        ended => ended,
    }
}

fn play(options: &Options) -> Result<bool> {
    let mails = options.out.join("mails");
    std::fs::create_dir_all(&mails).with_context(|| format!("cannot create {}", mails.display()))?;
    forget_earlier(&mails)?;
    let story = Story::ending_at(clock::now())?;
    screen::line(&format!(
        "Tollgate demo: {} days of usage, {} incidents hidden in the last {}. Starting ...",
        data::DAYS,
        incidents::INCIDENTS.len(),
        data::DAYS - 8
    ))?;
    let stage = stage::start(&mails)?;
    let (view, stop) = (Shared::default(), Stop::default());
    let played = thread::scope(|scope| {
        let follower = scope.spawn(|| view::follow(&stage.setup, &view, &stop));
        let asking = Asking(&stop);
        let played = Player::new(&story, &stage, &view, options.speed).and_then(Player::play);
        drop(asking);
        follower.join().unwrap_or_else(|_| Err(anyhow!("the reader of the topics has ended")))?;
        played
    });
    let concluded = played.and_then(|(sent, took)| {
        let all_found = conclude(&story, &stage, &view, sent, took, &mails, &options.log)?;
        if options.keep {
            screen::line(&format!("\nStill serving: http://{0}/health/ready and http://{0}/metrics. Ctrl-C ends it.", stage.http))?;
            stage.wait_for_interrupt()?;
        }
        Ok(all_found)
    });
    // Why a role has ended says more than that nothing moves any more.
    stage.end().and(concluded)
}

fn conclude(story: &Story, stage: &Stage, view: &Shared, sent: Sent, took: Duration, mails: &Path, log: &Path) -> Result<bool> {
    let view = view.lock();
    let grade = grade::grade(story, &view.alerts, stage.waits);
    let counted = Counted {
        duplicates: counter(&stage.setup.metrics.page(), "tollgate_intake_records_duplicate_total"),
        dead_letters: view.dead_letters,
        alert_records: view.alerts.len() as u64,
        rollups: view.rollups,
    };
    let summary = Summary { grade: &grade, sent, counted, took, mails: (mails, files(mails, &["html"])?), log };
    screen::line("")?;
    for line in summary.lines() {
        screen::line(&line)?;
    }
    Ok(grade.all_found())
}

/// A number off the metrics page, as Prometheus would read it.
fn counter(page: &str, name: &str) -> u64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Mails of an earlier demo are not those of this one.
fn forget_earlier(mails: &Path) -> Result<()> {
    for path in files(mails, &["html", "eml"])? {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Files with these endings, by name.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)));
    files.sort();
    Ok(files)
}

/// In seconds since the start: whether what is waited for since `called` should have moved; before it was `due` there was nothing to.
fn is_stuck(called: f64, due: f64, now: f64) -> bool {
    now - called.max(due) > STUCK.as_secs_f64()
}

/// Feeds the story to the topic and keeps the screen.
struct Player<'a> {
    story: &'a Story,
    stage: &'a Stage,
    view: &'a Shared,
    speed: f64,
    producer: Producer,
    screen: Screen,
    sent: Sent,
    /// Records that the broker has.
    handed: u64,
    shown_alerts: usize,
    started: Stopwatch,
    drawn: Stopwatch,
}

impl<'a> Player<'a> {
    fn new(story: &'a Story, stage: &'a Stage, view: &'a Shared, speed: f64) -> Result<Player<'a>> {
        let producer = Producer::start(&stage.setup.connection.producer_config("demo-source", None), START_TIMEOUT)?;
        let mut teams: Vec<&str> = cast::PROJECTS.iter().map(|project| project.team).collect();
        teams.dedup();
        Ok(Player {
            story,
            stage,
            view,
            speed,
            producer,
            screen: Screen::new(data::BUCKETS as u64, teams.len()),
            sent: Sent::default(),
            handed: 0,
            shown_alerts: 0,
            started: Stopwatch::start(),
            drawn: Stopwatch::start(),
        })
    }

    /// What was sent, and how long it took until intake had all of it.
    fn play(mut self) -> Result<(Sent, Duration)> {
        for bucket in 0..data::BUCKETS {
            let parcels = replay::parcels(self.story, bucket, &mut self.sent)?;
            for slice in parcels.chunk_by(|a, b| a.at.0 / SLICE_MS == b.at.0 / SLICE_MS) {
                self.wait(slice.first().map_or(self.story.start_of(bucket), |parcel| parcel.at))?;
                self.send(slice)?;
            }
        }
        let end = self.story.start_of(data::BUCKETS);
        self.wait(end)?;
        let took = self.started.elapsed();
        view::settle(self.view, SETTLED, SETTLED_WITHIN);
        self.draw(end)?;
        self.screen.clear();
        Ok((self.sent, took))
    }

    fn send(&mut self, parcels: &[Parcel]) -> Result<()> {
        for parcel in parcels {
            self.producer.send(&OutRecord {
                topic: self.stage.setup.topics.usage_events.clone(),
                partition: None,
                key: Some(parcel.key.clone().into_bytes()),
                value: Some(parcel.value.clone()),
                headers: Vec::new(),
            })?;
        }
        self.handed += parcels.len() as u64;
        Ok(self.producer.drain()?)
    }

    /// Until it is time for what happens `at`, and what came before has got through; draws meanwhile.
    fn wait(&mut self, at: Timestamp) -> Result<()> {
        let due = (at.0 - self.story.beginning.0) as f64 / HOUR_MS as f64 / self.speed;
        let end = self.story.start_of(data::BUCKETS);
        let called = self.started.elapsed().as_secs_f64();
        loop {
            if self.drawn.elapsed() >= REDRAW {
                self.draw(at)?;
                self.drawn = Stopwatch::start();
            }
            let is_late = self.started.elapsed().as_secs_f64() > due + LATE.as_secs_f64();
            let lead = match at < end {
                true if is_late => LATE_LEAD_RECORDS,
                true => LEAD_RECORDS,
                false => 0,
            };
            let is_behind = self.stage.setup.metrics.records_read() + lead < self.handed;
            if !is_behind && !self.is_ahead_of_rollups(at) && self.started.elapsed().as_secs_f64() >= due {
                return Ok(());
            }
            if !self.stage.is_running() {
                bail!("the roles have ended");
            }
            if is_stuck(called, due, self.started.elapsed().as_secs_f64()) {
                bail!("nothing has moved for {STUCK:?} at {at}");
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn is_ahead_of_rollups(&self, at: Timestamp) -> bool {
        let beginning = self.story.beginning.hour().0;
        let told = self.view.lock().latest_hour.map_or(beginning, |hour| hour.0);
        at.hour().0 - told > LEAD_HOURS
    }

    fn draw(&mut self, at: Timestamp) -> io::Result<()> {
        let (news, table) = {
            let view = self.view.lock();
            (view.alerts.iter().skip(self.shown_alerts).cloned().collect::<Vec<_>>(), view.table())
        };
        self.shown_alerts += news.len();
        for alert in &news {
            self.screen.alert(alert)?;
        }
        let events = self.handed;
        let events_per_second = (events as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64;
        let step = (at.0 - self.story.beginning.0).unsigned_abs() / incidents::BUCKET_MS.unsigned_abs();
        let progress = Progress { step, at, events, events_per_second };
        self.screen.progress(progress, &table)
    }
}
