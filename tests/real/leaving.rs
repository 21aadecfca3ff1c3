//! Members without a name that go again while the group is about to let them in.

use std::time::{Duration, Instant};

use tollgate::kafka::client::Connection;
use tollgate::kafka::consumer::Consumer;
use tollgate::kafka::link::Rebalance;

use super::parts::wait_for;
use super::path::Deployment;

const GROUPS: u32 = 40;
/// What each of them stays longer than the one before it: together they cover what joining takes.
const STEP: Duration = Duration::from_millis(5);
/// What a group waits for one of whom it never hears again.
const SESSION: Duration = Duration::from_secs(45);

/// The group would wait for a session before it lets anybody else in; a process that had refused to start was followed by one that did nothing
/// for as long.
#[test]
fn who_goes_while_it_is_let_in_keeps_nobody_waiting() {
    let deployment = Deployment::without_mail("leaving", "");
    let connection = Connection {
        bootstrap_servers: deployment.broker.bootstrap().to_string(),
        application_id: deployment.topic("app"),
        instance_id: "one".to_string(),
        session_timeout_ms: u32::try_from(SESSION.as_millis()).unwrap(),
        ..Connection::default()
    };
    let topic = deployment.topic("usage-events");
    let subscribe = |number: u32| Consumer::subscribe(&connection.member_config(&format!("role-{number}"), 0), &[&topic]).unwrap();
    for number in 0..GROUPS {
        let mut goes = subscribe(number);
        let since = Instant::now();
        while since.elapsed() < STEP * number {
            let _ = goes.event().unwrap();
            goes.wait(Duration::from_millis(1));
        }
    }
    let mut waiting: Vec<Consumer> = (0..GROUPS).map(subscribe).collect();
    wait_for("all groups to let the next one in", SESSION / 2, || {
        waiting.retain_mut(|consumer| !matches!(consumer.event().unwrap(), Some(Rebalance::Assign(_))));
        waiting.is_empty().then_some(())
    });
}
