//! What people say of matters: a table over all states and events, and that a word outlives the process and ends by itself.

use super::*;
use crate::model::alert::{Alert, Severity, Stage};
use crate::model::leaf::Measure;
use crate::model::money::Currency;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::watch::feedback::Books;
use crate::watch::matters::matter;
use crate::watch::tests::{START, rules};

const TEAM: &str = "search";

/// A matter of an idle resource, those who speak of it, and what came of it.
#[derive(Clone)]
struct Life {
    slot: Option<Matter>,
    rules: WatchRules,
    hours: i64,
    told: Vec<Alert>,
}

impl Life {
    fn new() -> Life {
        let mut life = Life { slot: None, rules: rules(), hours: 1, told: Vec::new() };
        life.tell(100, 10, Severity::Warning, AlertKind::IdleResource);
        assert_eq!(life.states(), ["open"]);
        life
    }

    fn now(&self) -> Timestamp {
        START.start().plus_ms(self.hours * HOUR_MS)
    }

    fn act(&mut self, act: impl FnOnce(&mut Option<Matter>, Moment<'_>, &mut Vec<Effect>)) {
        let (books, mut effects) = (Books::default(), Vec::new());
        let moment = Moment { rules: &self.rules, books: &books, shard_time: self.now(), closed_through: None };
        act(&mut self.slot, moment, &mut effects);
        self.told.extend(effects.into_iter().filter_map(|effect| if let Effect::Alert(alert) = effect { Some(*alert) } else { None }));
    }

    fn story(&self, excess: i64, rate: i64, severity: Severity, kind: AlertKind) -> Story {
        let (excess, burn_rate) = (Nanos::from_units(excess), Nanos::from_units(rate));
        Story {
            kind,
            severity,
            onset: START.start(),
            dimensions: [("resource_id".to_string(), "gpu-1".to_string())].into(),
            measure: Measure::Estimated,
            currency: Currency::USD,
            event_time: self.now(),
            ingest_time: self.now(),
            actual: excess,
            expected: Nanos::ZERO,
            excess,
            burn_rate,
            score: 0.9,
            stage: Stage::Seasoned,
            normal: String::new(),
            summary: "idle".to_string(),
            causes: Vec::new(),
            next_steps: Vec::new(),
            history: Vec::new(),
        }
    }

    fn tell(&mut self, excess: i64, rate: i64, severity: Severity, kind: AlertKind) {
        let story = self.story(excess, rate, severity, kind);
        self.act(|slot, moment, effects| {
            matter::tell(slot, TEAM, &[b"gpu-1"], story, 1.5, moment, effects);
        });
    }

    fn end(&mut self) {
        let story = self.story(100, 0, Severity::Info, AlertKind::IdleResource);
        let at = self.now();
        self.act(|slot, moment, effects| {
            matter::end(slot, TEAM, AlertState::Resolved, at, story, moment, effects);
        });
    }

    fn say(&mut self, verdict: Verdict) {
        let until = (verdict == Verdict::Expected).then(|| START.start().plus_ms(DAY_MS));
        let feedback = Feedback { verdict, until, event_time: self.now(), team: TEAM.into(), ..Feedback::default() };
        let said = Said {
            verdict: verdict.name().to_string(),
            actor: Some("ann".to_string()),
            source: "page".to_string(),
            said_at: self.now(),
            from: None,
            until,
            note: None,
        };
        self.act(|slot, moment, effects| {
            let matter = slot.as_mut().unwrap();
            let state = matter.hear(&feedback, said, moment.shard_time);
            matter.restate(state, moment, effects);
        });
    }

    fn happens(&mut self, event: &str) {
        let (warning, idle) = (Severity::Warning, AlertKind::IdleResource);
        match event {
            "as it was" => self.tell(100, 10, warning, idle),
            "x2" => self.tell(200, 10, warning, idle),
            "x3" => self.tell(300, 10, warning, idle),
            "severer" => self.tell(100, 10, Severity::Critical, idle),
            "1.3/h" => self.tell(100, 13, warning, idle),
            "2.5/h" => self.tell(100, 25, warning, idle),
            "forgotten" => self.tell(100, 10, warning, AlertKind::ForgottenResource),
            "orphaned" => self.tell(100, 10, warning, AlertKind::OrphanedResource),
            "news" => {
                let story = self.story(100, 10, warning, idle);
                self.act(|slot, moment, effects| matter::advance(slot, TEAM, &[b"gpu-1"], story, moment, effects));
            }
            "amended" => {
                let story = self.story(90, 10, warning, idle);
                self.act(|slot, moment, effects| {
                    matter::amend(slot, TEAM, story, moment, effects);
                });
            }
            "over" => self.end(),
            "the day ends" => {
                self.hours = 25;
                self.act(|slot, moment, effects| {
                    slot.as_mut().unwrap().wake(moment, effects);
                });
            }
            word => self.say(Verdict::named(word).unwrap()),
        }
    }

    fn states(&self) -> Vec<&'static str> {
        self.told.iter().map(|alert| alert.state.as_str()).collect()
    }
}

/// Of each state (how it came to be) and each event: the state of the revision that it leads to; `-`: nobody is told.
const EVENTS: [&str; 16] = [
    "as it was",
    "x2",
    "x3",
    "severer",
    "1.3/h",
    "2.5/h",
    "forgotten",
    "orphaned",
    "news",
    "amended",
    "over",
    "the day ends",
    "ack",
    "expected",
    "not_an_anomaly",
    "reopen",
];
#[rustfmt::skip]
const TABLE: [(&[&str], [&str; 16]); 9] = [
    (&[], ["-", "updated", "updated", "escalated", "-", "-", "escalated", "escalated", "escalated", "amended", "resolved", "-",
        "acknowledged", "expected", "retracted", "reopened"]),
    (&["ack"], ["-", "-", "acknowledged", "acknowledged", "-", "reopened", "acknowledged", "escalated", "escalated", "acknowledged",
        "resolved", "-", "acknowledged", "expected", "retracted", "reopened"]),
    (&["expected"], ["-", "-", "expected", "expected", "-", "-", "expected", "expected", "expected", "expected", "resolved", "reopened",
        "acknowledged", "expected", "retracted", "reopened"]),
    (&["not_an_anomaly"], ["-", "-", "-", "-", "reopened", "reopened", "-", "reopened", "reopened", "-", "-", "-",
        "acknowledged", "expected", "retracted", "reopened"]),
    (&["over"], ["reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "-", "-", "-",
        "resolved", "resolved", "resolved", "resolved"]),
    (&["expected", "over"], ["expected", "expected", "expected", "expected", "expected", "expected", "expected", "expected", "expected",
        "-", "-", "-", "resolved", "resolved", "resolved", "resolved"]),
    (&["ack", "over"], ["reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "-",
        "-", "-", "resolved", "resolved", "resolved", "resolved"]),
    (&["not_an_anomaly", "over"], ["reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened", "reopened",
        "reopened", "-", "-", "-", "retracted", "retracted", "retracted", "retracted"]),
    (&["ack", "reopen"], ["-", "updated", "updated", "escalated", "-", "-", "escalated", "escalated", "escalated", "amended", "resolved",
        "-", "acknowledged", "expected", "retracted", "reopened"]),
];

#[test]
fn every_state_and_every_event() {
    for (before, expected) in TABLE {
        for (event, expected) in EVENTS.iter().zip(expected) {
            let mut life = Life::new();
            before.iter().for_each(|event| life.happens(event));
            life.hours = 3;
            let known = life.told.len();
            life.happens(event);
            let told = life.told[known..].iter().map(|alert| alert.state.as_str()).collect::<Vec<_>>().join(", ");
            assert_eq!(if told.is_empty() { "-" } else { &told }, expected, "{before:?}, then {event}");
            let revisions: Vec<u32> = life.told.iter().map(|alert| alert.revision).collect();
            assert_eq!(
                revisions,
                (1..=revisions.len() as u32).collect::<Vec<_>>(),
                "{before:?}, then {event}: none is skipped or used twice"
            );
            for alert in &life.told {
                let is_over = matches!(alert.state, AlertState::Resolved | AlertState::Retracted);
                assert_eq!(alert.closed_at.is_some(), is_over, "{before:?}, then {event}: {:?}", alert.state);
            }
        }
    }
}

/// What was orphaned and critical is idle again: that is better, whatever was said of it.
#[test]
fn an_owner_who_is_back_breaks_no_word_and_makes_it_less_severe() {
    for (word, told) in [("", "updated"), ("ack", "acknowledged"), ("expected", "expected"), ("not_an_anomaly", "-")] {
        let mut life = Life::new();
        life.tell(100, 10, Severity::Critical, AlertKind::OrphanedResource);
        if !word.is_empty() {
            life.happens(word);
        }
        let known = life.told.len();
        life.happens("as it was");
        let last = life.told[known..].last();
        assert_eq!(last.map_or("-", |alert| alert.state.as_str()), told, "{word}");
        assert!(last.is_none_or(|alert| alert.severity == Severity::Warning), "{word}: {last:?}");
        // Who loses his owner again is worse than what was told, and no worse than what was said of it.
        life.tell(100, 10, Severity::Warning, AlertKind::OrphanedResource);
        let again = [("", "escalated"), ("ack", "acknowledged"), ("expected", "expected"), ("not_an_anomaly", "retracted")];
        assert_eq!(Some(&life.told.last().unwrap().state.as_str()), again.iter().find(|(known, _)| *known == word).map(|(_, state)| state));
    }
}

#[test]
fn what_was_said_stands_on_the_alert_with_who_and_until_when_and_who_expects_it_hears_no_end() {
    let mut life = Life::new();
    life.say(Verdict::Expected);
    life.happens("over");
    let [expected, over] = &life.told[1..] else { panic!("{:?}", life.states()) };
    let said = &expected.feedback[0];
    assert_eq!((said.verdict.as_str(), said.actor.as_deref()), ("expected", Some("ann")));
    assert_eq!((said.until, &expected.feedback), (Some(START.start().plus_ms(DAY_MS)), &over.feedback));
    assert_eq!((expected.notify, over.notify), (false, false));
    // Of how it was, not of nothing.
    assert_eq!((expected.excess, expected.summary.as_str()), (Nanos::from_units(100), "idle"));
    let mut life = Life::new();
    life.say(Verdict::Ack);
    life.happens("over");
    assert!(life.told.iter().all(|alert| alert.notify), "who looks after it hears of its end");
    (0..30).for_each(|_| life.say(Verdict::Ack));
    assert_eq!(life.told.last().unwrap().feedback.len(), crate::watch::feedback::MOST_SAID);
}

#[test]
fn a_dismissal_may_have_an_end_and_what_is_told_then_is_how_things_are() {
    let mut life = Life::new();
    life.say(Verdict::Expected);
    life.hours = 20;
    // Nobody hears how it goes on, but it does.
    life.tell(120, 10, Severity::Warning, AlertKind::IdleResource);
    assert_eq!(life.states(), ["open", "expected"]);
    life.happens("the day ends");
    let back = life.told.last().unwrap();
    assert_eq!((back.state, back.excess, back.revision, back.notify), (AlertState::Reopened, Nanos::from_units(120), 3, true));
    let ends = Feedback {
        verdict: Verdict::NotAnAnomaly,
        until: Some(life.now().plus_ms(HOUR_MS)),
        event_time: life.now(),
        ..Feedback::default()
    };
    let said = back.feedback[0].clone();
    life.act(|slot, moment, effects| {
        let matter = slot.as_mut().unwrap();
        let state = matter.hear(&ends, said, moment.shard_time);
        matter.restate(state, moment, effects);
        assert!(!matter.is_told());
        assert_eq!(matter.answers.span().map(|(_, until)| until), Some(moment.shard_time.plus_ms(HOUR_MS)));
    });
    life.hours += 1;
    life.happens("as it was");
    assert_eq!(life.states()[3..], ["retracted", "reopened"]);
}

/// Nothing arrives but time.
#[test]
fn what_is_announced_for_later_begins_and_ends_by_itself() {
    let mut life = Life::new();
    let (from, until) = (life.now().plus_ms(2 * HOUR_MS), life.now().plus_ms(4 * HOUR_MS));
    let planned =
        Feedback { verdict: Verdict::Planned, from: Some(from), until: Some(until), event_time: life.now(), ..Feedback::default() };
    let said = Said {
        verdict: "planned".to_string(),
        actor: None,
        source: "page".to_string(),
        said_at: life.now(),
        from: Some(from),
        until: Some(until),
        note: None,
    };
    life.act(|slot, moment, effects| {
        let matter = slot.as_mut().unwrap();
        let state = matter.hear(&planned, said, moment.shard_time);
        matter.restate(state, moment, effects);
    });
    let mut looks = Vec::new();
    for _ in 0..5 {
        life.act(|slot, moment, effects| looks.push(slot.as_mut().unwrap().wake(moment, effects).1));
        life.hours += 1;
    }
    assert_eq!(looks, [Some(from), Some(from), Some(until), Some(until), None]);
    assert_eq!(life.states(), ["open", "updated", "expected", "reopened"]);
}

#[test]
fn what_versions_before_answers_wrote_is_read() {
    let life = Life::new();
    let matter = Matter { answers: Answers::default(), story: None, ..life.slot.unwrap() };
    let new = postcard::to_stdvec(&(7_u32, Some(&matter))).unwrap();
    let old = &new[..new.len() - 3];
    assert_eq!(restored::<(u32, Option<Matter>)>(old), Ok((7, Some(matter.clone()))));
    assert_eq!(restored::<(u32, Option<Matter>)>(&new), Ok((7, Some(matter.clone()))));
    assert_eq!(restored::<(u32, Option<Matter>)>(&[7, 0]), Ok((7, None)));
    assert!(restored::<(u32, Option<Matter>)>(&old[..old.len() - 9]).is_err());
    // A word on one of these is told at once, and what it is about with the next that is known of it.
    let mut life = Life { slot: Some(matter.clone()), rules: rules(), hours: 2, told: Vec::new() };
    life.say(Verdict::Ack);
    assert_eq!((life.states(), life.told[0].revision, life.told[0].feedback.len()), (vec!["acknowledged"], 2, 1));
    life.happens("as it was");
    let last = life.told.last().unwrap();
    assert!(life.states() == ["acknowledged"; 2] && (last.revision, last.feedback.len()) == (3, 1) && !last.summary.is_empty());
    let mut life = Life { slot: Some(matter), rules: rules(), hours: 2, told: Vec::new() };
    life.say(Verdict::NotAnAnomaly);
    life.happens("as it was");
    assert_eq!((life.states(), life.told[0].revision), (vec!["retracted"], 2), "and nothing more of it");
}
