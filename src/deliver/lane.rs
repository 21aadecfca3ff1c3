//! A lane for each way out: what waits for it, how much of it is under way, how fast it may go, and whether it is worth trying at all.
//! What is slow or broken holds up its own lane and no other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::model::alert::Alert;

use super::receipt::Told;
use super::rules::Receiver;

/// After so many failures in a row a way out is left alone ...
const FAILURES: u32 = 3;
/// ... for so long; then one letter tries whether it is back.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// Of a minute's letters, this part may go out at once after a quiet time.
const BURST: u32 = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// What was too much for a lane without a rate comes back so soon, if there is room by then.
const SOON: Duration = Duration::from_secs(1);

/// One revision that is to go out to one receiver.
#[derive(Clone, Debug)]
pub struct Due {
    pub partition: i32,
    /// Of its record on the topic; `None` for what receipts brought up again.
    pub offset: Option<i64>,
    pub alert: Arc<Alert>,
    pub receiver: Receiver,
    pub earlier: Option<Told>,
    /// What the same letter tells besides.
    pub with: Vec<Due>,
}

impl Due {
    /// One letter about all of these; `None`: about nothing.
    pub fn together(all: Vec<Due>) -> Option<Due> {
        let mut all = all.into_iter();
        let first = all.next()?;
        Some(Due { with: all.collect(), ..first })
    }

    /// What it is made of, each for itself.
    pub fn apart(mut self) -> Vec<Due> {
        let with = std::mem::take(&mut self.with);
        std::iter::once(self).chain(with).collect()
    }

    /// Itself first.
    pub fn all(&self) -> impl Iterator<Item = &Due> {
        std::iter::once(self).chain(&self.with)
    }

    pub fn names(&self, alert_id: &str) -> bool {
        self.all().any(|due| due.alert.id == alert_id)
    }
}

/// All moments are uptimes.
#[derive(Debug, Default)]
pub struct Lane {
    pub waiting: VecDeque<Due>,
    /// Sent or being sent, and not yet in a committed receipt: what a crash repeats.
    pub under_way: usize,
    breaker: Breaker,
    meter: Meter,
}

impl Lane {
    /// Whether a letter may go out now. `at_once`: under way at most; `per_minute`: 0 = as many as there are.
    pub fn may_go(&self, at_once: usize, per_minute: u32, now: Duration) -> bool {
        let is_free = self.under_way < at_once && self.breaker.lets_through(now) && self.meter.lets_through(per_minute, now);
        is_free && !self.waiting.is_empty()
    }

    /// The next letter that may go out now.
    pub fn next(&mut self, at_once: usize, per_minute: u32, now: Duration) -> Option<Due> {
        if !self.may_go(at_once, per_minute, now) {
            return None;
        }
        self.breaker.begun();
        self.meter.begun(per_minute, now);
        self.under_way += 1;
        self.waiting.pop_front()
    }

    /// `failed`: the way out itself, not this one letter.
    pub fn ended(&mut self, failed: bool, now: Duration) {
        self.breaker.ended(failed, now);
    }

    /// How long it is left alone from now; `None` = it is not.
    pub fn left_alone(&self, now: Duration) -> Option<Duration> {
        self.breaker.open_until.map(|until| until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// What is too much for it: once `most` letters wait, all but the first `kept`; each with how long it is until about its turn.
    pub fn surplus(&mut self, most: usize, kept: usize, per_minute: u32) -> Vec<(Due, Duration)> {
        if self.waiting.len() < most {
            return Vec::new();
        }
        // Somewhat before its turn, so that the lane does not run dry.
        let turn = |place: usize| u32::try_from(place + kept / 2).unwrap_or(u32::MAX);
        let until = |place| if per_minute == 0 { SOON } else { (MINUTE / per_minute).saturating_mul(turn(place)) };
        let too_much = self.waiting.split_off(kept.min(self.waiting.len()));
        too_much.into_iter().enumerate().map(|(place, due)| (due, until(place))).collect()
    }

    /// Whether more letters make sense: one that waits for a probe gets none but the probe.
    pub fn has_room(&self, most: usize, now: Duration) -> bool {
        let most = if self.breaker.open_until.is_some() { 1 } else { most };
        self.left_alone(now).is_none() && self.waiting.len() + self.under_way < most
    }
}

#[derive(Debug, Default)]
struct Breaker {
    /// In a row.
    failures: u32,
    open_until: Option<Duration>,
    probing: bool,
}

impl Breaker {
    fn lets_through(&self, now: Duration) -> bool {
        self.open_until.is_none_or(|until| now >= until && !self.probing)
    }

    fn begun(&mut self) {
        self.probing = self.open_until.is_some();
    }

    fn ended(&mut self, failed: bool, now: Duration) {
        self.probing = false;
        if !failed {
            (self.failures, self.open_until) = (0, None);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.open_until = Some(now + LEFT_ALONE);
        }
    }
}

/// At most so many letters a minute: the generic cell rate algorithm (ITU-T I.371), which needs one number.
#[derive(Debug, Default)]
struct Meter {
    /// When the next letter would be due if they came evenly.
    expected: Duration,
}

impl Meter {
    fn lets_through(&self, per_minute: u32, now: Duration) -> bool {
        per_minute == 0 || self.expected <= now + (MINUTE / per_minute) * (per_minute / BURST).saturating_sub(1)
    }

    fn begun(&mut self, per_minute: u32, now: Duration) {
        if per_minute > 0 {
            self.expected = self.expected.max(now) + MINUTE / per_minute;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;

    const ALWAYS: usize = 1_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lane(letters: usize) -> Lane {
        let due = Due {
            partition: 0,
            offset: None,
            alert: Arc::new(sample::spike()),
            receiver: Receiver::Hook("ops".into()),
            earlier: None,
            with: Vec::new(),
        };
        Lane { waiting: vec![due; letters].into(), ..Lane::default() }
    }

    /// How many letters it lets go at this moment, all of which end well.
    fn goes(lane: &mut Lane, per_minute: u32, now: Duration) -> usize {
        let mut count = 0;
        while lane.next(ALWAYS, per_minute, now).is_some() {
            lane.ended(false, now);
            count += 1;
        }
        count
    }

    #[test]
    fn no_more_is_under_way_than_a_crash_may_repeat() {
        let mut lane = lane(10);
        let started = (0..10).filter(|_| lane.next(4, 0, seconds(1)).is_some()).count();
        assert_eq!((started, lane.under_way, lane.waiting.len()), (4, 4, 6));
        // That they have ended is not enough: their receipts have to be committed.
        lane.ended(false, seconds(2));
        assert!(lane.next(4, 0, seconds(2)).is_none());
        lane.under_way -= 1;
        assert!(lane.next(4, 0, seconds(2)).is_some());
    }

    #[test]
    fn what_fails_again_and_again_is_left_alone_then_tried_with_one_letter() {
        let mut lane = lane(100);
        for _ in 0..3 {
            assert!(lane.next(ALWAYS, 0, seconds(10)).is_some());
            lane.ended(true, seconds(10));
        }
        assert_eq!((lane.left_alone(seconds(15)), lane.has_room(ALWAYS, seconds(15))), (Some(seconds(25)), false));
        assert!(lane.next(ALWAYS, 0, seconds(39)).is_none());
        assert!(lane.next(ALWAYS, 0, seconds(40)).is_some(), "the probe");
        assert!(lane.next(ALWAYS, 0, seconds(41)).is_none(), "and no other");
        lane.ended(true, seconds(42));
        assert_eq!(lane.left_alone(seconds(42)), Some(seconds(30)));
        assert!(lane.next(ALWAYS, 0, seconds(72)).is_some());
        lane.ended(false, seconds(73));
        assert_eq!(goes(&mut lane, 0, seconds(73)), 95);
    }

    #[test]
    fn failures_between_successes_change_nothing() {
        let mut lane = lane(100);
        for n in 0..100 {
            assert!(lane.next(ALWAYS, 0, seconds(n)).is_some());
            lane.ended(n % 3 > 0, seconds(n));
        }
    }

    #[test]
    fn a_full_lane_keeps_the_first_and_says_when_the_others_have_their_turn() {
        let mut full = lane(100);
        assert_eq!(full.surplus(101, 10, 30).len(), 0);
        let until: Vec<Duration> = full.surplus(100, 10, 30).into_iter().map(|(_, until)| until).collect();
        assert_eq!((full.waiting.len(), until.len(), until[0], until[89]), (10, 90, seconds(10), seconds(188)));
        assert!(lane(100).surplus(100, 10, 0).iter().all(|(_, until)| *until == SOON));
    }

    #[test]
    fn a_rate_holds_over_every_minute_and_leaves_room_for_a_burst() {
        let mut lane = lane(500);
        assert_eq!(goes(&mut lane, 60, seconds(100)), 10, "a sixth of a minute's at once");
        let rest: usize = (101..160).map(|second| goes(&mut lane, 60, seconds(second))).sum();
        assert_eq!(rest, 59);
        assert_eq!(goes(&mut lane, 1, seconds(1_000)), 1);
        assert_eq!((goes(&mut lane, 1, seconds(1_059)), goes(&mut lane, 1, seconds(1_060))), (0, 1));
        assert_eq!(goes(&mut lane, 0, seconds(1_060)), 429, "0 = no limit");
    }
}
