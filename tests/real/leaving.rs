//! Members without a name that go again while the group is about to let them in.

use std::time::{Duration, Instant};

use tollgate::kafka::client::Connection;
use tollgate::kafka::consumer::Consumer;
use tollgate::kafka::link::Rebalance;

use super::parts::{free_port, wait_for};
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

/// Its client has let go of everything by then. Who gives that up once more is never answered: a process hung so until it was killed.
#[test]
fn who_has_lost_its_name_to_another_process_says_so_and_ends_when_asked() {
    let one = Deployment::without_mail("namesake", "");
    let mut first = one.start();
    let other = one.config.with_file_name("other.toml");
    let http = free_port();
    let text = std::fs::read_to_string(&one.config).unwrap().replace(&format!("127.0.0.1:{}", one.http), &format!("127.0.0.1:{http}"));
    std::fs::write(&other, text).unwrap();
    let other = Deployment { config: other, http, prefix: one.prefix.clone(), broker: one.broker };
    let mut second = other.start();
    // They take it from each other for a while.
    wait_for("them to say what is wrong", SESSION, || {
        let said = one.log() + &other.log();
        (said.matches("another process runs under the same kafka.instance_id").count() >= 20).then_some(())
    });
    for (process, deployment) in [(&mut second, &other), (&mut first, &one)] {
        process.signal("TERM");
        // Before the limit of 90 seconds that ends it whatever holds it up.
        assert!(process.wait(Duration::from_secs(75)).is_some(), "still there:\n{}", deployment.log());
    }
}
