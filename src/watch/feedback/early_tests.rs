//! Words that are read before their time.

use super::*;

/// All is read anew, and what people said before the spend that they said it about.
#[test]
fn a_word_that_is_read_before_its_time_waits() {
    let spike = |life: &mut Life, end: i64| life.usual_with(end, SPIKE, 3);
    let mut live = Life::new();
    spike(&mut live, SPIKE + 100);
    let id = live.last().id.clone();
    let ack = Feedback { alert_id: Some(id.as_str().into()), ..live.word(Verdict::Ack, None) };
    live.say(&ack);
    spike(&mut live, SPIKE + 12 * 60);

    let mut anew = Life::new();
    anew.late_ms = 30 * 24 * HOUR_MS;
    anew.hear(&ack);
    spike(&mut anew, DAY);
    anew.restart();
    assert_eq!((anew.shard.unmatched_feedback(), anew.standing()), (0, 0));
    spike(&mut anew, SPIKE + 12 * 60);
    anew.restart();
    assert_eq!(anew.states(), live.states());
    assert!(live.states().contains(&AlertState::Acknowledged), "{:?}", live.states());
    assert_eq!((anew.last().id.clone(), &anew.last().feedback), (id, &live.last().feedback));

    // One about nothing is named once its time has come.
    let nobody =
        Feedback { alert_id: Some("nobody's".into()), event_time: ack.event_time.plus_ms(DAY * MINUTE_MS), event_id: "f".into(), ..ack };
    anew.hear(&nobody);
    assert_eq!(anew.shard.unmatched_feedback(), 0);
    spike(&mut anew, SPIKE + 3 * DAY);
    assert_eq!(anew.shard.unmatched_feedback(), 1);
}
