//! What a shard of WATCH costs: bytes a series, time per amount, per closed hour, per key written and restored.
//!
//! `cargo bench --bench watch_state [SERIES..]`. Every series has seen 15 days, its hours of the week, two days of history and of
//! amendable totals, and usage in the open hour. Teams have 20 series: 12 leaves, 4 projects, 3 models, the team.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(unsafe_code, reason = "counts what the allocator hands out")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate::clock::Stopwatch;
use tollgate::model::leaf::{Leaf, Measure};
use tollgate::model::money::{Currency, Nanos};
use tollgate::model::partial::{Marker, Partial, ShardRecord, Source, UserCost};
use tollgate::model::time::{HOUR_MS, Hour, Minute, SECOND_MS, Timestamp};
use tollgate::watch::rules::{Thresholds, WatchRules};
use tollgate::watch::{Restorer, Shard};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    // Else a buffer that grows would be copied each time, which is not what the program pays.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DAYS: i64 = 15;
/// The best of so many counts: what else the machine does only adds to it.
const RESTORES: usize = 5;
const START: Hour = Hour(480_000);

fn rules() -> WatchRules {
    let defaults = Thresholds {
        alerts_per_team_month: 2.0,
        least_ratio: 1.5,
        least_excess: Nanos::from_units(10),
        runaway_floor: Nanos::from_units(25),
        runaway_factor: 3.0,
        quiet_hours_to_close: 6,
        update_growth: 1.5,
        refractory_hours: 12,
        wait_below_team_hours: 0.0,
    };
    WatchRules {
        revision: 1,
        lateness_ms: 300_000,
        reporting_currency: Currency::USD,
        rates: Default::default(),
        series_per_team: 20_000,
        teams_per_shard: 1_000_000,
        defaults,
        overrides: Vec::new(),
        teams: Vec::new(),
        policies: Default::default(),
        data_origins: Vec::new(),
        lineage_grace_ms: 0,
        matters: Default::default(),
    }
}

fn scrambled(number: u64) -> u64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).wrapping_mul(0x94d0_49bb_1331_11eb) >> 24
}

/// Leaf `number` of 12 in a team, as tens of calls of one or two users in a minute.
fn partial(team: usize, number: usize, minute: Minute) -> Partial {
    let dice = scrambled((team * 12 + number) as u64 * 1_000_003 + minute.0 as u64);
    let hour = minute.0 / 60 % 24;
    let cost = Nanos(i128::from(dice % 20_000_000) + if (8..18).contains(&hour) { 30_000_000 } else { 10_000_000 });
    let user = |n: u64, cost: i128| UserCost { user: format!("user-{}", team as u64 * 10 + n).as_str().into(), cost: Nanos(cost) };
    Partial {
        leaf: Leaf {
            team: format!("team-{team}").as_str().into(),
            project: format!("project-{}", number % 4).as_str().into(),
            model: format!("gpt-{}", number / 4).as_str().into(),
            provider: "openai".into(),
            region: "eu-central-1".into(),
            environment: "prod".into(),
            meter: "llm.tokens".into(),
            currency: Currency::USD,
            measure: Measure::Estimated,
        },
        minute,
        events: 10 + dice % 50,
        unpriced_events: 0,
        cost,
        has_negative: false,
        quantity: Nanos::ZERO,
        requests: 10 + dice % 50,
        tokens_input: 10_000 + dice % 70_000,
        tokens_output: 1_000 + dice % 9_000,
        tokens_cached_input: 0,
        tokens_cache_write: 0,
        tokens_reasoning: 0,
        last_event_time: minute.start().plus_ms((dice % 60_000) as i64),
        last_ingest_time: minute.start().plus_ms(60_500),
        users: vec![user(number as u64 % 3, cost.0 / 3), user(3 + number as u64 % 2, cost.0 - cost.0 / 3)],
        hits: Vec::new(),
        failed: Default::default(),
    }
}

/// Feeds records; time follows.
struct Feed {
    shard: Shard,
    rules: WatchRules,
    offset: i64,
}

impl Feed {
    fn record(&mut self, partials: Vec<Partial>, now: Timestamp, watermark: Timestamp) {
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let markers = vec![Marker { source, watermark: Some(watermark), idle: false, partitions_of_topic: 1 }];
        self.shard.apply(&ShardRecord { partials, markers, events: Vec::new() }, self.offset, now, &self.rules);
        self.offset += 1;
    }

    fn close(&mut self) {
        while self.shard.is_closing() {
            self.shard.close_slice(&self.rules, 10_000);
        }
    }
}

fn build(teams: usize) -> Feed {
    let rules = rules();
    let mut feed = Feed { shard: Shard::new(0, 1, &rules), rules, offset: 0 };
    for hour in (START.0..START.0 + DAYS * 24).map(Hour) {
        // The ring and the open hour fill in the last hour; before it one amount an hour says the same to a baseline.
        let is_last = hour.0 == START.0 + DAYS * 24 - 1;
        let minutes: Vec<i64> = if is_last { (0..60).collect() } else { vec![30] };
        for minute in minutes {
            let minute = Minute(hour.0 * 60 + minute);
            let now = minute.start().plus_ms(30 * SECOND_MS);
            for team in 0..teams {
                let partials = (0..12).map(|number| partial(team, number, minute)).collect();
                // In the last hour it follows as it does live, behind what may still come.
                let watermark = if is_last { minute.start().plus_ms(-30 * SECOND_MS) } else { hour.start().plus_ms(-HOUR_MS) };
                feed.record(partials, now, watermark);
                feed.close();
            }
        }
        feed.record(Vec::new(), hour.end(), hour.start().plus_ms(600_000));
        feed.close();
        feed.shard.take_changes();
    }
    feed
}

fn measure(series: usize) {
    let teams = series / 20;
    let before = LIVE.load(Ordering::Relaxed);
    let mut feed = build(teams);
    let count = feed.shard.series_count();
    let bytes = (LIVE.load(Ordering::Relaxed) - before) as f64 / count as f64;
    println!("{count} series: {bytes:.0} bytes a series, all in");

    let last = Minute((START.0 + DAYS * 24 - 1) * 60 + 59);
    let mut dice = 7;
    let records: Vec<Vec<Partial>> = (0..2_000)
        .map(|_| {
            dice = scrambled(dice) + 1;
            (0..12).map(|number| partial(dice as usize % teams, number, last)).collect()
        })
        .collect();
    let started = Stopwatch::start();
    for partials in records {
        feed.record(partials, last.start().plus_ms(40 * SECOND_MS), last.hour().start().plus_ms(600_000));
    }
    println!("{count} series: {:.0} ns per amount merged, {} amounts", started.elapsed().as_nanos() as f64 / 24_000.0, 24_000);

    let started = Stopwatch::start();
    feed.record(Vec::new(), last.hour().end().plus_ms(HOUR_MS), last.hour().end().plus_ms(600_000));
    feed.close();
    println!("{count} series: {:.0} ns to close an hour of a series", started.elapsed().as_nanos() as f64 / count as f64);

    let started = Stopwatch::start();
    let changes = feed.shard.take_changes();
    let written: usize = changes.iter().map(|change| change.key.len() + change.value.as_ref().map_or(0, Vec::len)).sum();
    let keys = changes.len();
    println!(
        "{count} series: {keys} keys, {} bytes each, {:.0} ns to write a key",
        written / keys,
        started.elapsed().as_nanos() as f64 / keys as f64
    );

    let mut best = f64::INFINITY;
    let mut restored: Option<Shard> = None;
    for _ in 0..RESTORES {
        drop(restored.take());
        let started = Stopwatch::start();
        let mut restorer = Restorer::new(1);
        for change in &changes {
            restorer.put(&change.key, change.value.as_deref()).unwrap();
        }
        let replay = restorer.changelog_read(&feed.rules).unwrap();
        restored = restorer.finish().ok();
        best = (started.elapsed().as_nanos() as f64 / count as f64).min(best);
        assert!(replay.is_some_and(|replay| replay.from == replay.to));
    }
    println!("{count} series: {best:.0} ns to restore a series");
    assert!(restored.as_ref() == Some(&feed.shard));
}

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 20_000] } else { asked };
    sizes.into_iter().for_each(measure);
}
