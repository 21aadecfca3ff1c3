//! What a receipt remembers, and what follows from it.

use super::*;
use crate::deliver::render::sample;

fn ada() -> Receiver {
    Receiver::Mail("ada@example.com".into())
}

#[test]
fn a_receipt_survives_its_json() {
    let alert = sample::spike();
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(&alert, &ada(), "<1@x>", Timestamp(5));
    receipt.record_failed(&alert, &Receiver::Mail("bob@x".into()), "a\r\nb", Timestamp(6), Some(Timestamp(9)));
    assert_eq!(Receipt::decode(&receipt.encode().unwrap()).unwrap(), receipt);
    assert_eq!(receipt.receivers["mail:bob@x"].retry.as_ref().unwrap().error, "a b");
    assert_eq!((receipt.next_attempt(), receipt.due(Timestamp(8)).len(), receipt.due(Timestamp(9)).len()), (Some(Timestamp(9)), 0, 1));
}

#[test]
fn a_newer_form_is_refused() {
    let newer = Receipt::decode(br#"{"version":2,"shape":"unknown"}"#);
    assert!(matches!(newer, Err(ReceiptError::TooNew { found: 2 })));
    assert!(matches!(Receipt::decode(b"nonsense"), Err(ReceiptError::Unreadable(_))));
}

#[test]
fn the_first_mail_opens_the_conversation_for_good() {
    let mut alert = sample::spike();
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(&alert, &ada(), "<1@x>", Timestamp(5));
    alert.revision += 1;
    receipt.record_sent(&alert, &ada(), "<2@x>", Timestamp(6));
    let told = receipt.told(&ada()).unwrap();
    assert_eq!((told.first_message_id.as_str(), told.last_message_id.as_str(), told.revision), ("<1@x>", "<2@x>", 2));
}

#[test]
fn what_stays_open_is_told_again() {
    const DAY: i64 = 1_000;
    let alert = sample::spike();
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(&alert, &ada(), "<1@x>", Timestamp(5));
    // From its own bytes: a restart knows as much.
    let mut receipt = Receipt::decode(&receipt.encode().unwrap()).unwrap();
    assert_eq!((receipt.due_again(Timestamp(1_004), DAY), receipt.due_again(Timestamp(1_005), DAY)), (vec![], vec![ada()]));
    assert_eq!(receipt.due_again(Timestamp(i64::MAX), 0), [], "0 = never");
    assert_eq!((receipt.open.as_deref(), repeat_number(receipt.told(&ada()), &alert)), (Some(&alert), 1));
    receipt.record_sent(&alert, &ada(), "<2@x>", Timestamp(1_005));
    assert_eq!((receipt.due_again(Timestamp(2_004), DAY), repeat_number(receipt.told(&ada()), &alert)), (vec![], 2));

    // A revision that was no news is what is told next; a mail that waits or was refused is not told again.
    let newer = Alert { revision: 2, state: AlertState::Updated, ..alert.clone() };
    receipt.supersede(&newer, Timestamp(2_005));
    assert_eq!((receipt.open.as_deref(), receipt.due_again(Timestamp(2_005), DAY)), (Some(&newer), vec![ada()]));
    assert_eq!(repeat_number(receipt.told(&ada()), &newer), 0);
    let mut refused = receipt.clone();
    refused.record_failed(&newer, &ada(), "451", Timestamp(2_005), Some(Timestamp(3_000)));
    assert_eq!(refused.due_again(Timestamp(9_000), DAY), []);
    refused.record_failed(&newer, &ada(), "550", Timestamp(2_005), None);
    assert_eq!(refused.due_again(Timestamp(9_000), DAY), []);

    // What is in hand, for topics only, or over, is not.
    for other in [Alert { state: AlertState::Acknowledged, ..newer.clone() }, Alert { notify: false, ..newer.clone() }, sample::resolved()]
    {
        let mut receipt = receipt.clone();
        receipt.supersede(&Alert { revision: 3, ..other }, Timestamp(2_005));
        assert_eq!(receipt.due_again(Timestamp(9_000), DAY), []);
    }
    receipt.record_sent(&Alert { revision: 4, ..sample::resolved() }, &ada(), "<3@x>", Timestamp(3_000));
    assert_eq!((receipt.open.as_deref(), receipt.due_again(Timestamp(9_000), DAY)), (None, vec![]));
}

/// A receipt of a version before there were repeats.
#[test]
fn older_receipts_are_read() {
    let alert = sample::spike();
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_sent(&alert, &ada(), "<1@x>", Timestamp(5));
    let mut old: serde_json::Value = serde_json::from_slice(&receipt.encode().unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("open").unwrap();
    old["receivers"]["mail:ada@example.com"]["told"].as_object_mut().unwrap().remove("repeats").unwrap();
    let read = Receipt::decode(old.to_string().as_bytes()).unwrap();
    assert_eq!((read.open.as_deref(), read.told(&ada()).unwrap().repeats), (None, 0));
    assert_eq!(read.due_again(Timestamp(i64::MAX), 1), [], "until its next revision there is nothing to tell");
}

#[test]
fn failures_count_and_end() {
    let mut alert = sample::spike();
    let mut receipt = Receipt::new(&alert.id);
    receipt.record_failed(&alert, &ada(), "451", Timestamp(1), Some(Timestamp(2)));
    receipt.record_failed(&alert, &ada(), "451", Timestamp(2), Some(Timestamp(4)));
    assert_eq!((receipt.attempts(&ada(), 1), receipt.attempts(&ada(), 2)), (2, 0));
    assert_eq!(receipt.waiting.as_deref(), Some(&alert));
    alert.revision = 2;
    receipt.supersede(&alert, Timestamp(4));
    assert_eq!((receipt.waiting.as_deref(), receipt.next_attempt()), (None, None));
    receipt.postpone(&alert, &ada(), Timestamp(5), "muted");
    assert_eq!(receipt.receivers["mail:ada@example.com"].retry.as_ref().unwrap().error, "not tried: muted");
    assert_eq!((receipt.attempts(&ada(), 2), receipt.due(Timestamp(5)), receipt.waiting.as_deref()), (0, vec![ada()], Some(&alert)));
    receipt.look_anew(&["out_of_hours"], Timestamp(4));
    assert_eq!(receipt.next_attempt(), Some(Timestamp(5)));
    receipt.look_anew(&["out_of_hours", "muted"], Timestamp(4));
    assert_eq!(receipt.next_attempt(), Some(Timestamp(4)), "the mute may be another one");
    receipt.record_failed(&alert, &ada(), "550", Timestamp(3), None);
    assert_eq!(receipt.receivers["mail:ada@example.com"].gave_up.as_ref().unwrap().revision, 2);
    assert!(!receipt.may_forget(Timestamp(10), 10) && receipt.may_forget(Timestamp(20), 10));
}
