//! What people say changes alerts and what comes after them, ends by itself, stands on the alert, and outlives the process.

use std::collections::BTreeMap;

use super::*;
use crate::model::alert::{Alert, AlertKind};
use crate::model::effect::Effect;
use crate::model::feedback::Feedback;
use crate::model::money::Nanos;
use crate::model::partial::{Marker, ShardEvent, ShardRecord, Source};
use crate::model::time::{HOUR_MS, MINUTE_MS, Minute};
use crate::watch::rules::WatchRules;
use crate::watch::tests::{START, partial, rules};
use crate::watch::{Restorer, Shard};

const DAY: i64 = 1440;
/// The spike of [`Life::usual_with`] begins ten days in, at ten o'clock.
const SPIKE: i64 = 10 * DAY + 600;

#[path = "early_tests.rs"]
mod early;

/// A team with two projects, a record every ten minutes.
struct Life {
    shard: Shard,
    rules: WatchRules,
    offset: i64,
    /// Minutes so far.
    now: i64,
    alerts: Vec<Alert>,
    /// By how much all is read later than it was written.
    late_ms: i64,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Life {
    fn new() -> Life {
        let rules = rules();
        Life { shard: Shard::new(0, 1, &rules), rules, offset: 0, now: 0, alerts: Vec::new(), late_ms: 0, changelog: BTreeMap::new() }
    }

    /// Up to a minute; `times` says how much more than usual the ranker takes.
    fn until(&mut self, end: i64, times: impl Fn(i64) -> f64) {
        while self.now < end {
            let minute = Minute(START.0 + self.now);
            let hour = self.now / 60;
            let level = if (8..18).contains(&(hour % 24)) { 30.0 } else { 10.0 };
            let money = level / 6.0 * (1.0 + f64::from(u32::try_from(hour * 7919 % 13).unwrap()) / 100.0);
            let spends = [("ranker", 0.7 * money * times(self.now)), ("crawler", 0.3 * money)];
            let partials = spends.iter().map(|(project, money)| partial(minute, "search", project, "ann", *money)).collect();
            let source = Source { topic: "usage-events".into(), partition: 0 };
            let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
            let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
            let effects = self.shard.apply_whole(&record, self.offset, minute.start().plus_ms(MINUTE_MS + self.late_ms), &self.rules);
            self.take(effects);
            self.offset += 1;
            self.now += 10;
        }
    }

    /// Usual spend, but for the spike: eight times as much for `hours`, which is dear enough to be told within the first one.
    fn usual_with(&mut self, end: i64, begin: i64, hours: i64) {
        self.until(end, |minute| if (begin..begin + hours * 60).contains(&minute) { 8.0 } else { 1.0 });
    }

    fn take(&mut self, effects: Vec<Effect>) {
        self.alerts.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }

    fn say(&mut self, said: &Feedback) {
        self.hear(said);
        self.restart();
    }

    fn hear(&mut self, said: &Feedback) {
        let record = ShardRecord { events: vec![ShardEvent::Feedback(Box::new(said.clone()))], ..ShardRecord::default() };
        let effects = self.shard.apply_whole(&record, self.offset, said.event_time.plus_ms(self.late_ms), &self.rules);
        self.offset += 1;
        self.take(effects);
    }

    /// A word about the last alert.
    fn say_of_alert(&mut self, verdict: Verdict, until: Option<i64>) {
        let id = self.alerts.last().expect("an alert").id.clone();
        self.say(&Feedback { alert_id: Some(id.as_str().into()), ..self.word(verdict, until) });
    }

    fn word(&self, verdict: Verdict, until: Option<i64>) -> Feedback {
        Feedback {
            event_id: format!("f{}", self.offset).as_str().into(),
            source: "mail".into(),
            event_time: Minute(START.0 + self.now).start(),
            actor: Some("ann@example.com".into()),
            team: "search".into(),
            verdict,
            until: until.map(|minute| Minute(START.0 + minute).start()),
            note: Some("load test".into()),
            ..Feedback::default()
        }
    }

    /// The state goes through the changelog, and is the same behind it.
    fn restart(&mut self) {
        self.shard.save_all();
        for change in self.shard.take_changes() {
            match change.value {
                Some(value) => self.changelog.insert(change.key, value),
                None => self.changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        self.changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&self.rules).unwrap();
        let restored = restorer.finish().unwrap();
        assert_eq!(restored, self.shard);
        self.shard = restored;
    }

    fn states(&self) -> Vec<AlertState> {
        self.alerts.iter().map(|alert| alert.state).collect()
    }

    fn last(&self) -> &Alert {
        self.alerts.last().expect("an alert")
    }

    fn standing(&self) -> usize {
        self.shard.books.values().map(|book| book.standing.len()).sum()
    }
}

#[test]
fn who_acknowledges_is_named_and_not_told_again_until_it_gets_worse() {
    // The spike is critical from ten times the least excess on. What it has come to in forty minutes it has more than doubled in three hours.
    for (least_excess, minutes, gets_worse) in [(60, 100, false), (30, 100, true), (60, 40, true)] {
        let mut life = Life::new();
        life.rules.defaults.least_excess = Nanos::from_units(least_excess);
        life.rules.defaults.runaway_floor = Nanos::from_units(1_000);
        life.usual_with(SPIKE + minutes, SPIKE, 3);
        assert!(matches!(life.last().state, AlertState::Open | AlertState::Updated), "{:?}", life.states());
        life.say_of_alert(Verdict::Ack, None);
        let acknowledged = life.last().clone();
        assert_eq!((acknowledged.state, acknowledged.feedback.len()), (AlertState::Acknowledged, 1));
        let said = &acknowledged.feedback[0];
        assert_eq!(
            (said.actor.as_deref(), said.verdict.as_str(), said.note.as_deref()),
            (Some("ann@example.com"), "ack", Some("load test"))
        );
        let told = life.alerts.len();
        life.usual_with(SPIKE + 12 * 60, SPIKE, 3);
        let after: Vec<AlertState> = life.states().split_off(told);
        let is_patient = after.iter().all(|state| matches!(state, AlertState::Acknowledged | AlertState::Resolved));
        assert_eq!(is_patient, !gets_worse, "{after:?}");
        assert_eq!(after.iter().filter(|state| **state == AlertState::Reopened).count(), usize::from(gets_worse), "{after:?}");
        assert!(!gets_worse || life.alerts.iter().any(|alert| alert.state == AlertState::Reopened && alert.notify));
        assert_eq!((life.last().state, life.last().feedback.len(), life.standing()), (AlertState::Resolved, 1, 0));
    }
}

#[test]
fn what_is_expected_is_silent_until_then_and_told_if_it_goes_on() {
    for (hours, last, is_told) in [(2, AlertState::Resolved, false), (9, AlertState::Reopened, true)] {
        let mut life = Life::new();
        life.usual_with(SPIKE + 60, SPIKE, hours);
        life.say_of_alert(Verdict::Expected, Some(SPIKE + 5 * 60));
        assert_eq!((life.last().state, life.last().notify), (AlertState::Expected, false));
        let told = life.alerts.len();
        life.usual_with(SPIKE + 8 * 60, SPIKE, hours);
        let after = &life.alerts[told..];
        assert_eq!(after.iter().any(|alert| alert.notify), is_told, "{hours} hours: {:?}", life.states());
        assert!(after.iter().any(|alert| alert.state == last), "{hours} hours: {:?}", life.states());
        assert_eq!(life.standing(), 0, "it ends by itself");
    }
}

/// Said of the spend, not of the alert, two minutes after the hour and before that is settled.
#[test]
fn what_is_announced_while_an_hour_is_being_settled_stands() {
    let mut life = Life::new();
    life.usual_with(SPIKE + 122, SPIKE, 4);
    assert_eq!(life.last().state, AlertState::Updated, "{:?}", life.states());
    let word = life.word(Verdict::Expected, Some(SPIKE + 600));
    life.say(&word);
    assert_eq!(life.last().state, AlertState::Expected);
    let said = life.alerts.len();
    life.usual_with(SPIKE + 239, SPIKE, 4);
    assert!(life.alerts[said..].iter().all(|alert| alert.state == AlertState::Expected), "{:?}", life.states());
    // It is no word about the day before.
    let (open, _) =
        life.shard.accounts.used().flat_map(|state| state.episodes.values()).map(|episode| (episode.clone(), ())).next().unwrap();
    let book = life.shard.books.values().next().unwrap();
    let of = |minute: i64| book.state_of(&open, AlertState::Updated, Minute(START.0 + minute).hour(), HOUR_MS);
    assert_eq!((of(SPIKE + 60), of(SPIKE - DAY)), (AlertState::Expected, AlertState::Reopened));
}

/// However old the alert is by then.
#[test]
fn a_word_without_an_end_holds_for_its_days_from_when_it_is_said() {
    for (verdict, days) in [(Verdict::Expected, 7), (Verdict::NotAnAnomaly, 28)] {
        let mut life = Life::new();
        life.usual_with(SPIKE + 60, SPIKE, 3);
        let at = life.word(verdict, None).event_time.plus_ms(8 * DAY * MINUTE_MS);
        let id = life.last().id.clone();
        life.say(&Feedback { alert_id: Some(id.as_str().into()), event_time: at, ..life.word(verdict, None) });
        let said = life.last().clone();
        assert_eq!(said.feedback[0].until, Some(at.plus_ms(days * DAY * MINUTE_MS)), "{verdict:?}");
        assert_eq!(said.notify, verdict == Verdict::NotAnAnomaly, "{verdict:?}: {:?}", said.state);
        // ... and still from the alert's beginning on.
        let hour = Minute(START.0 + SPIKE).hour();
        assert!(life.shard.books.values().all(|book| book.holding(hour).count() == 1), "{verdict:?}");
    }
}

#[test]
fn a_planned_change_is_a_silent_alert_and_teaches_nothing() {
    let mut life = Life::new();
    life.usual_with(SPIKE - 60, SPIKE, 0);
    let expected = |life: &Life| {
        let account = life.shard.accounts.of_team("search").next().unwrap().1;
        let node = account.get(&Scope::Project("ranker".into())).unwrap();
        let hour = Minute(START.0 + 12 * DAY + 600).hour();
        node.closed.baseline.wake().expect(hour, crate::watch::baseline::LocalHour::at(hour, 0)).expected
    };
    let before = expected(&life);
    let mut plan = life.word(Verdict::Planned, Some(SPIKE + 30 * 60));
    plan.from = Some(Minute(START.0 + SPIKE - 30).start());
    plan.dimensions = BTreeMap::from([("project".into(), "ranker".into())]);
    life.say(&plan);
    assert_eq!(life.alerts, []);
    life.usual_with(SPIKE + 29 * 60, SPIKE, 28);
    assert!(!life.alerts.is_empty() && life.alerts.iter().all(|alert| !alert.notify), "{:?}", life.states());
    assert_eq!((life.alerts[0].state, life.alerts[0].feedback.len()), (AlertState::Expected, 1));
    life.usual_with(SPIKE + 48 * 60, SPIKE, 28);
    assert!(life.alerts.iter().all(|alert| !alert.notify), "nobody is told of its end: {:?}", life.states());
    assert_eq!((life.last().state, life.last().feedback.len(), life.standing()), (AlertState::Resolved, 1, 0));
    assert!((expected(&life) / before - 1.0).abs() < 0.2, "{before} {}", expected(&life));
    // The other project is nobody's plan.
    let mut life = Life::new();
    life.usual_with(SPIKE - 60, SPIKE, 0);
    plan.dimensions = BTreeMap::from([("project".into(), "crawler".into())]);
    life.say(&plan);
    life.usual_with(SPIKE + 60, SPIKE, 3);
    assert_eq!((life.alerts[0].state, life.alerts[0].notify), (AlertState::Open, true));
}

#[test]
fn what_is_no_anomaly_may_come_again_as_large_for_a_while() {
    let spikes = |minute: i64| match minute - SPIKE {
        at if (0..180).contains(&at) || (DAY + 300..DAY + 480).contains(&at) => 5.0,
        at if (2 * DAY..2 * DAY + 180).contains(&at) => 30.0,
        at if (6 * DAY + 900..6 * DAY + 1080).contains(&at) => 5.0,
        _ => 1.0,
    };
    let mut life = Life::new();
    life.until(SPIKE + 120, spikes);
    life.say_of_alert(Verdict::NotAnAnomaly, Some(SPIKE + 5 * DAY));
    assert_eq!((life.last().state, life.last().feedback[0].verdict.as_str()), (AlertState::Resolved, "not_an_anomaly"));
    let told = life.alerts.len();
    life.until(SPIKE + 2 * DAY, spikes);
    assert_eq!(life.states()[told..], [], "as large is nothing to tell");
    life.until(SPIKE + 3 * DAY, spikes);
    assert!(life.alerts.len() > told, "six times as large is");
    let told = life.alerts.len();
    life.until(SPIKE + 7 * DAY, spikes);
    assert!(life.alerts.len() > told && life.standing() == 0, "and when it is over, as large is, too");
}

/// What has no normal may take as much money again, and a quarter more.
#[test]
fn what_is_no_anomaly_of_a_new_team_may_cost_as_much_again() {
    let mut life = Life::new();
    let spend = |life: &mut Life, minute: i64, money: f64| {
        let minute = Minute(START.0 + minute);
        let source = Source { topic: "usage-events".into(), partition: 0 };
        let marker = Marker { source, watermark: Some(minute.start()), idle: false, partitions_of_topic: 1 };
        let partials = vec![partial(minute, "search", "agent", "ann", money)];
        let record = ShardRecord { partials, markers: vec![marker], events: Vec::new() };
        let effects = life.shard.apply_whole(&record, life.offset, minute.start().plus_ms(MINUTE_MS), &life.rules);
        life.take(effects);
        (life.offset, life.now) = (life.offset + 1, minute.0 - START.0);
    };
    spend(&mut life, 0, 500.0);
    assert_eq!((life.states(), life.last().expected), (vec![AlertState::Open], Nanos::ZERO), "{}", life.last().summary);
    life.say_of_alert(Verdict::NotAnAnomaly, None);
    assert_eq!(life.last().state, AlertState::Resolved);
    let told = life.alerts.len();
    // Within the window of the guard, and up to a quarter more.
    spend(&mut life, 2, 1.0);
    spend(&mut life, 3, 120.0);
    assert_eq!(life.states()[told..], []);
    life.restart();
    spend(&mut life, 4, 10.0);
    assert_eq!(life.states()[told..], [AlertState::Reopened], "631 of 625");
}

/// A word about a fall mutes no rise, and one about a rise no fall.
#[test]
fn what_is_no_anomaly_is_so_in_its_own_direction() {
    let silent = 9 * DAY + 600;
    let kinds = |life: &Life, told: usize| -> Vec<AlertKind> {
        let opened = |alert: &&Alert| matches!(alert.state, AlertState::Open | AlertState::Reopened);
        life.alerts[told..].iter().filter(opened).map(|alert| alert.kind).collect()
    };
    // Each is dismissed; a second time, nobody hears of it.
    let story = |minute: i64| match minute - silent {
        at if (0..360).contains(&at) || (6 * DAY..6 * DAY + 360).contains(&at) => 0.0,
        at if (2 * DAY..2 * DAY + 360).contains(&at) || (4 * DAY..4 * DAY + 360).contains(&at) => 2.4,
        _ => 1.0,
    };
    let mut life = Life::new();
    life.until(silent + 300, story);
    assert_eq!(kinds(&life, 0), [AlertKind::SpendDrop]);
    life.say_of_alert(Verdict::NotAnAnomaly, None);
    let told = life.alerts.len();
    life.until(silent + 2 * DAY + 360, story);
    assert_eq!(kinds(&life, told), [AlertKind::SpendSpike], "the project may fall, not rise");
    life.say_of_alert(Verdict::NotAnAnomaly, None);
    let told = life.alerts.len();
    life.until(silent + 6 * DAY + 720, story);
    assert_eq!(kinds(&life, told), []);
    // The rise alone allows no fall.
    let mut life = Life::new();
    let story = |minute: i64| if minute < silent + DAY && story(minute) == 0.0 { 2.4 } else { story(minute) };
    life.until(silent + 300, story);
    assert_eq!(kinds(&life, 0), [AlertKind::SpendSpike]);
    life.say_of_alert(Verdict::NotAnAnomaly, None);
    let told = life.alerts.len();
    life.until(silent + 6 * DAY + 720, story);
    assert_eq!(kinds(&life, told), [AlertKind::SpendDrop]);
}

#[test]
fn reopen_takes_back_what_was_said() {
    let mut life = Life::new();
    life.usual_with(SPIKE + 60, SPIKE, 6);
    life.say_of_alert(Verdict::NotAnAnomaly, None);
    life.usual_with(SPIKE + 120, SPIKE, 6);
    assert_eq!(life.last().state, AlertState::Resolved);
    life.say_of_alert(Verdict::Reopen, None);
    assert_eq!((life.last().state, life.last().notify, life.last().feedback.len()), (AlertState::Reopened, true, 2));
    assert_eq!((life.standing(), life.shard.open_alerts()), (0, 1));
    let told = life.alerts.len();
    life.usual_with(SPIKE + 14 * 60, SPIKE, 6);
    assert_eq!(life.last().state, AlertState::Resolved, "{:?}", life.states());
    assert!(life.states()[told..].contains(&AlertState::Updated), "{:?}", life.states());
    life.say_of_alert(Verdict::Ack, None);
    assert_eq!((life.last().state, life.last().feedback.len()), (AlertState::Resolved, 3), "what is over stays over");
}

/// A bridge that sends at least once, and a second click, send the same event again.
#[test]
fn what_is_sent_twice_is_heard_once() {
    let mut life = Life::new();
    life.usual_with(SPIKE + 60, SPIKE, 6);
    let id: Text = life.last().id.as_str().into();
    let expected = Feedback { alert_id: Some(id.clone()), ..life.word(Verdict::Expected, None) };
    life.say(&expected);
    life.say_of_alert(Verdict::Reopen, None);
    let (told, standing) = (life.alerts.len(), life.standing());
    life.say(&Feedback { event_time: expected.event_time.plus_ms(MINUTE_MS), ..expected.clone() });
    assert_eq!((life.alerts.len(), life.standing(), life.last().state), (told, standing, AlertState::Reopened));
    life.usual_with(SPIKE + 120, SPIKE, 6);
    assert_eq!(life.last().feedback.len(), 2);
    let announced = life.word(Verdict::Planned, Some(20 * DAY));
    life.say(&announced);
    life.say(&announced);
    assert_eq!(life.standing(), 1);
    // The same id of somebody else is another word.
    life.say(&Feedback { source: "chat".into(), ..announced });
    assert_eq!(life.standing(), 2);
}

#[test]
fn what_was_heard_is_forgotten_and_what_was_written_before_is_read() {
    let mut life = Life::new();
    life.usual_with(SPIKE + 60, SPIKE, 6);
    life.say_of_alert(Verdict::Ack, None);
    let heard = |life: &Life| life.shard.books.values().map(|book| book.heard.len()).sum::<usize>();
    assert_eq!(heard(&life), 1);
    for _ in 0..2 * MOST_HEARD {
        life.hear(&life.word(Verdict::Planned, Some(SPIKE + 120)));
    }
    assert_eq!(heard(&life), MOST_HEARD);
    let before = Book { heard: Vec::new(), ..life.shard.books.values().next().unwrap().clone() };
    let bytes = postcard::to_stdvec(&before).unwrap();
    assert_eq!(Book::restored(&bytes[..bytes.len() - 1]), Ok(before));
    life.until(SPIKE + 9 * DAY, |_| 1.0);
    assert_eq!(heard(&life), 0);
    life.restart();
}

#[test]
fn words_about_nothing_known_are_counted_and_words_are_bounded() {
    let mut life = Life::new();
    life.usual_with(DAY, SPIKE, 0);
    let unknown = Feedback { alert_id: Some("search/00".into()), ..life.word(Verdict::Ack, None) };
    let nobodys = Feedback { team: "unheard-of".into(), ..life.word(Verdict::NotAnAnomaly, None) };
    for said in [unknown, nobodys] {
        life.hear(&said);
    }
    assert_eq!((life.alerts.len(), life.shard.unmatched_feedback(), life.shard.books.len()), (0, 2, 0));
    let why = |life: &mut Life| life.shard.take_unmatched_feedback().iter().map(|unmatched| unmatched.why).collect::<Vec<_>>();
    assert_eq!(why(&mut life), [Why::UnknownAlert, Why::NothingOpen]);
    for (dimensions, missing) in [(vec![], false), (vec![("project", "ranker")], false), (vec![("project", "Ranker")], true)] {
        let dimensions = dimensions.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        life.hear(&Feedback { dimensions, ..life.word(Verdict::Planned, Some(SPIKE)) });
        assert_eq!(why(&mut life), vec![Why::NoSeries; usize::from(missing)]);
    }
    assert_eq!((life.standing(), life.shard.unmatched_feedback()), (3, 2), "what comes later may be expected all the same");
    for day in 0..2 * i64::try_from(MOST_STANDING).unwrap() {
        let said = life.word(Verdict::Planned, Some(DAY * (day + 2)));
        life.hear(&said);
    }
    assert_eq!(life.standing(), MOST_STANDING);
    life.restart();
}

/// Each state that an alert may be in, each thing that may happen to it, and whatever people have said of it meanwhile.
#[test]
fn every_state_and_every_event() {
    use AlertState::*;
    const STATES: [AlertState; 9] = [Open, Updated, Acknowledged, Expected, Resolved, Reopened, Amended, Retracted, Escalated];
    const EVENTS: [AlertState; 7] = [Open, Updated, Resolved, Reopened, Amended, Retracted, Escalated];
    let mut life = Life::new();
    life.usual_with(SPIKE + 60, SPIKE, 3);
    let known = life.last().id.clone();
    let episode = life.shard.accounts.of_team(&Text::from("search")).find_map(|(_, state)| state.episodes.get(&known).cloned()).unwrap();
    let hour = Minute(START.0 + life.now).hour();
    let standing = |verdict: Verdict, severity: Severity, from: Hour| Standing {
        verdict,
        alert: Some(known.clone()),
        dimensions: episode.scope.dimensions().into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        from: from.start(),
        until: from.end(),
        limit: f64::INFINITY,
        severity,
        said: said_by_nobody(),
    };
    let ack = || standing(Verdict::Ack, Severity::Critical, hour);
    let expected = || standing(Verdict::Expected, Severity::Critical, hour);
    let last_week = Hour(hour.0 - 168);
    // What stands, and what then becomes of an open alert by each event; of one that somebody had taken on or expected, in the last column,
    // by going on (`updated`).
    let plain = "open updated resolved reopened amended retracted escalated";
    let table = [
        ("nothing", vec![], plain, "reopened"),
        ("an acknowledgement", vec![ack()], &with(plain, "acknowledged"), "acknowledged"),
        ("an acknowledgement of something less bad", vec![standing(Verdict::Ack, Severity::Info, hour)], plain, "reopened"),
        ("that it is expected", vec![expected()], &with(plain, "expected"), "expected"),
        ("a planned change", vec![standing(Verdict::Planned, Severity::Info, hour)], &with(plain, "expected"), "expected"),
        ("both", vec![ack(), expected()], &with(plain, "expected"), "expected"),
        ("what was expected last week", vec![standing(Verdict::Expected, Severity::Critical, last_week)], plain, "reopened"),
        ("that it was no anomaly", vec![standing(Verdict::NotAnAnomaly, Severity::Critical, hour)], plain, "reopened"),
    ];
    for (what, standing, becomes, goes_on) in table {
        let book = Book { standing, ..Book::default() };
        for was in STATES {
            let open = Episode { state: was, closed_at: None, severity: Severity::Critical, ..(*episode).clone() };
            let over = Episode { closed_at: Some(hour.start()), ..open.clone() };
            for (event, then) in EVENTS.into_iter().zip(becomes.split(' ')) {
                let waited = matches!(was, Acknowledged | Expected) && event == Updated;
                let wanted = if waited { goes_on } else { then };
                assert_eq!(book.state_of(&open, event, hour, HOUR_MS).as_str(), wanted, "{what} stands, it was {was:?}, then: {event:?}");
                assert_eq!(book.state_of(&over, event, hour, HOUR_MS), event, "{what} stands, it is over, it was {was:?}");
            }
        }
    }
}

/// What stands takes the place of all but an end.
fn with(plain: &str, state: &str) -> String {
    let is_end = |event: &str| ["resolved", "retracted"].contains(&event);
    plain.split(' ').map(|event| if is_end(event) { event } else { state }).collect::<Vec<_>>().join(" ")
}

fn said_by_nobody() -> Said {
    let at = Minute(START.0).start();
    Said { verdict: String::new(), actor: None, source: String::new(), said_at: at, from: None, until: None, note: None }
}
