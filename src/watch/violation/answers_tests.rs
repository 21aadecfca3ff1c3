//! What people say of violations: what it does to them, when it ends, and that it outlives the process.

use std::collections::BTreeMap;

use super::Tracked;
use super::tests::{Bench, states, used};
use crate::model::alert::AlertState::{self, Acknowledged, Expected, Open, Reopened, Resolved, Retracted, Updated};
use crate::model::alert::Severity;
use crate::model::feedback::{Feedback, Verdict};
use crate::model::partial::ShardEvent;
use crate::model::time::Minute;
use crate::model::violation::Violation;
use crate::policy::Policy;
use crate::policy::fields::Subject;
use crate::policy::stream::tests::{policy, policy_over, stream};
use crate::watch::Restorer;
use crate::watch::state::encode;
use crate::watch::tests::START;

const UNAPPROVED: &str = "!(provider in ['openai', 'aws'])";
const DAY: i64 = 1440;

/// Violations and those who answer them; the state goes through the changelog after each step, and is the same behind it.
struct Life {
    bench: Bench,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    id: String,
}

impl Life {
    fn new(policies: Vec<Policy>) -> Life {
        Life { bench: Bench::new(policies), changelog: BTreeMap::new(), id: String::new() }
    }

    fn shadow_ai() -> Life {
        let mut life = Life::new(vec![policy("approved", UNAPPROVED)]);
        assert_eq!(states(&life.uses(1)), [(Open, 1)]);
        life
    }

    /// Usage of a provider that is not approved.
    fn uses(&mut self, minute: i64) -> Vec<Violation> {
        let told = self.bench.minute(minute, vec![used(minute, "deepseek", "ranker", 0.5)]);
        self.kept(told)
    }

    fn quiet(&mut self, minute: i64) -> Vec<Violation> {
        let told = self.bench.minute(minute, vec![]);
        self.kept(told)
    }

    fn says(&mut self, minute: i64, verdict: Verdict, until: Option<i64>) -> Vec<Violation> {
        let said = Feedback {
            event_id: format!("{minute}").as_str().into(),
            source: "page".into(),
            event_time: Minute(START.0 + minute).start(),
            actor: Some("ann@example.com".into()),
            alert_id: Some(self.id.as_str().into()),
            team: "search".into(),
            verdict,
            until: until.map(|minute| Minute(START.0 + minute).start()),
            note: Some("trial".into()),
            ..Feedback::default()
        };
        let told = self.bench.record(minute, Vec::new(), vec![ShardEvent::Feedback(Box::new(said))]);
        self.kept(told)
    }

    fn kept(&mut self, told: Vec<Violation>) -> Vec<Violation> {
        if let Some(violation) = told.last() {
            self.id = violation.id.clone();
        }
        self.bench.shard.save_all();
        for change in self.bench.shard.take_changes() {
            match change.value {
                Some(value) => self.changelog.insert(change.key, value),
                None => self.changelog.remove(&change.key),
            };
        }
        let mut restorer = Restorer::new(1);
        self.changelog.iter().for_each(|(key, value)| restorer.put(key, Some(value)).unwrap());
        restorer.changelog_read(&self.bench.rules).unwrap();
        let restored = restorer.finish().unwrap();
        assert_eq!(restored, self.bench.shard);
        self.bench.shard = restored;
        told
    }
}

fn only(told: &[Violation]) -> (AlertState, bool) {
    let [violation] = told else { panic!("{told:#?}") };
    (violation.state, violation.notify)
}

#[test]
fn what_is_accepted_until_a_time_is_silent_until_then_and_open_again_if_it_goes_on() {
    let mut life = Life::shadow_ai();
    let accepted = life.says(10, Verdict::Expected, Some(300));
    assert_eq!((only(&accepted), accepted[0].revision), ((Expected, false), 2));
    let said = &accepted[0].feedback[0];
    let until = Minute(START.0 + 300).start();
    assert_eq!((said.verdict.as_str(), said.actor.as_deref(), said.until), ("expected", Some("ann@example.com"), Some(until)));
    assert_eq!((said.note.as_deref(), said.said_at), (Some("trial"), Minute(START.0 + 10).start()));
    assert_eq!(only(&life.uses(70)), (Expected, false), "each hour on the topic, and to nobody's inbox");
    // A later event that is told late was still accepted; nothing comes of the time alone, as nobody knows whether it goes on.
    assert_eq!(life.quiet(310), []);
    let late = life.bench.minute(311, vec![used(290, "deepseek", "ranker", 0.5)]);
    assert_eq!(only(&life.kept(late)), (Expected, false));
    let over = life.uses(320);
    assert_eq!((only(&over), over[0].count, over[0].feedback.len()), ((Reopened, true), 12, 1), "it goes on where the count was");
    assert_eq!(only(&life.uses(400)), (Updated, true));
}

#[test]
fn what_ends_while_it_is_accepted_is_over_and_may_come_again_until_then() {
    let mut life = Life::shadow_ai();
    life.says(10, Verdict::Expected, Some(10 * DAY));
    assert_eq!(only(&life.quiet(2 + DAY)), (Resolved, true), "who knew of it hears of its end");
    assert_eq!(only(&life.uses(5 * DAY)), (Expected, false), "the same again is still accepted");
    assert_eq!(only(&life.quiet(6 * DAY + 1)), (Resolved, true));
    assert_eq!(only(&life.uses(11 * DAY)), (Reopened, true), "and no longer now");
    // A word that holds for longer than what is over is remembered.
    let mut life = Life::shadow_ai();
    life.says(10, Verdict::Expected, Some(60 * DAY));
    life.quiet(2 + DAY);
    life.quiet(45 * DAY);
    assert_eq!(only(&life.uses(50 * DAY)), (Expected, false));
    // By itself it ends after a week, and never later than after 90 days.
    for (until, holds) in [(None, 7), (Some(1000 * DAY), 90)] {
        let mut life = Life::shadow_ai();
        life.says(10, Verdict::Expected, until);
        assert_eq!(only(&life.uses(holds * DAY)).0, Expected);
        assert_eq!(only(&life.uses(holds * DAY + 20)), (Reopened, true));
    }
}

#[test]
fn what_lasts_is_open_again_when_its_time_is_over_whatever_comes() {
    let model = vec![Subject::Activity.field("model").unwrap()];
    let forbidden = Policy { per: model, ..policy_over(Subject::Activity, "forbidden", "action == 'deployment'", None) };
    for (is_undeployed, after) in [(false, vec![(Reopened, true)]), (true, vec![])] {
        let mut life = Life::new(vec![forbidden.clone()]);
        let told = life.bench.activity(0, "deployment", |_| {});
        assert_eq!(only(&life.kept(told)), (Open, true));
        assert_eq!(only(&life.says(10, Verdict::Expected, Some(3 * DAY))), (Expected, false));
        assert_eq!(life.quiet(2 * DAY), []);
        if is_undeployed {
            let told = life.bench.activity(2 * DAY + 1, "undeployment", |_| {});
            assert_eq!(only(&life.kept(told)), (Resolved, true));
        }
        assert_eq!(life.quiet(3 * DAY - 2), []);
        let over = life.quiet(3 * DAY);
        assert_eq!(over.iter().map(|told| (told.state, told.notify)).collect::<Vec<_>>(), after);
        assert_eq!(life.quiet(3 * DAY + 1), [], "once");
    }
}

#[test]
fn who_looks_after_it_is_named_until_its_end_and_told_again_if_it_gets_worse() {
    let mut life = Life::shadow_ai();
    let taken = life.says(10, Verdict::Ack, None);
    assert_eq!((only(&taken), taken[0].feedback[0].until), ((Acknowledged, true), None));
    assert_eq!(only(&life.uses(70)).0, Acknowledged);
    let worse = Policy { severity: Severity::Critical, ..policy("approved", UNAPPROVED) };
    life.bench.rules.policies = stream(vec![worse], Vec::new());
    let told = life.uses(71);
    assert_eq!((only(&told), told[0].severity), ((Reopened, true), Severity::Critical));
    assert_eq!(only(&life.says(72, Verdict::Ack, None)).0, Acknowledged);
    assert_eq!(only(&life.quiet(72 + DAY)), (Resolved, true));
    assert_eq!(only(&life.says(73 + DAY, Verdict::Ack, None)).0, Resolved, "what is over stays over");
    assert_eq!(only(&life.uses(2 * DAY + 200)), (Reopened, true), "nobody looks after what comes later");
}

#[test]
fn a_false_alarm_is_taken_back_and_stays_silent_for_a_while() {
    let mut life = Life::shadow_ai();
    let taken_back = life.says(10, Verdict::NotAnAnomaly, Some(3 * DAY));
    assert_eq!((only(&taken_back).0, life.bench.shard.open_violations()), (Retracted, 0));
    assert_eq!(taken_back[0].closed_at, Some(taken_back[0].decided_at), "over as of now");
    assert_eq!(life.uses(100), []);
    assert_eq!(life.quiet(102 + DAY), [], "it was over already");
    assert_eq!(life.uses(2 * DAY), []);
    let again = life.uses(3 * DAY + 1);
    assert_eq!((only(&again), again[0].closed_at, again[0].revision), ((Reopened, true), None, 3));
    assert_eq!(life.bench.shard.open_violations(), 1);
    // Somebody takes it back.
    life.says(3 * DAY + 2, Verdict::NotAnAnomaly, None);
    let back = life.says(3 * DAY + 3, Verdict::Reopen, None);
    assert_eq!((only(&back), back[0].closed_at, back[0].feedback.len()), ((Reopened, true), None, 3));
    assert_eq!(only(&life.uses(3 * DAY + 70)), (Updated, true));
    // A later answer takes the place of an earlier one.
    life.says(3 * DAY + 71, Verdict::NotAnAnomaly, None);
    assert_eq!(only(&life.says(3 * DAY + 72, Verdict::Ack, None)).0, Acknowledged);
    assert_eq!(only(&life.quiet(5 * DAY)).0, Resolved);
    // Of what is over it says that it was nothing; what was over is not begun again by a word.
    assert_eq!(only(&life.says(5 * DAY + 1, Verdict::NotAnAnomaly, None)).0, Retracted);
    assert_eq!(only(&life.says(5 * DAY + 2, Verdict::Reopen, None)).0, Resolved);
}

#[test]
fn words_about_nobodys_violation_are_counted_and_the_last_ones_kept() {
    let mut life = Life::shadow_ai();
    let own = std::mem::replace(&mut life.id, "search/00".to_string());
    assert_eq!(life.bench.shard.unmatched_feedback(), 0);
    let unknown = Feedback { alert_id: Some("search/00".into()), team: "search".into(), ..Feedback::default() };
    assert_eq!(life.bench.record(10, Vec::new(), vec![ShardEvent::Feedback(Box::new(unknown))]), []);
    assert_eq!(life.bench.shard.unmatched_feedback(), 1);
    life.id = own;
    let told: Vec<usize> = (11..60).map(|minute| life.says(minute, Verdict::Ack, None)[0].feedback.len()).collect();
    assert_eq!((told[0], told[19], told[48]), (1, 20, 20));
}

#[test]
fn what_is_sent_twice_is_heard_once() {
    let mut life = Life::shadow_ai();
    let first = life.says(10, Verdict::Ack, None);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(life.says(10, Verdict::Ack, None), Vec::new());
    assert_eq!(life.says(11, Verdict::Reopen, None).len(), 1);
    assert_eq!(life.says(10, Verdict::Ack, None), Vec::new());
}

#[test]
fn what_was_written_before_there_were_answers_is_read() {
    let life = Life::shadow_ai();
    let tracked = life.bench.shard.violations.known.values().next().unwrap();
    let sealed = encode(tracked);
    let payload = &sealed[6..];
    // The bytes at the end are what has been added: no words, none that holds; and later no grants.
    assert_eq!(payload[payload.len() - 3..], [0, 0, 0]);
    assert_eq!(Tracked::restored(&payload[..payload.len() - 3]).as_ref(), Ok(tracked));
    assert_eq!(Tracked::restored(&payload[..payload.len() - 1]).as_ref(), Ok(tracked));
    assert_eq!(Tracked::restored(payload).as_ref(), Ok(tracked));
    assert!(Tracked::restored(&payload[..payload.len() / 2]).is_err());
}
