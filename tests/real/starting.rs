//! What `run` refuses to start on, before anything is written.

use super::parts::{consume, kafka};
use super::path::{Deployment, now_ms, usage};

/// Teams would go where nobody looks for them, or live twice, and nothing would ever say so.
#[test]
fn another_number_of_shards_than_the_topic_has_is_refused_by_every_role_alone() {
    let deployment = Deployment::without_mail("count", "");
    let right = std::fs::read_to_string(&deployment.config).unwrap();
    let events: Vec<_> = (0..20).map(|team| usage(&format!("e{team}"), now_ms(), &format!("team-{team}"), "u", "1.00")).collect();
    deployment.produce_usage(&events);
    std::fs::write(&deployment.config, right.replace("count = 4", "count = 2")).unwrap();
    let log = deployment.topic(&format!("{}app-shard-repartition", deployment.prefix));
    for role in ["intake", "watch", "lineage", "ledger"] {
        let (code, said) = deployment.attempt(&["run", "--only", role]);
        assert!(code == Some(1) && said.contains(&format!("{log} has 4 partitions instead of 2")), "{role}: {code:?} {said}");
    }
    assert_eq!(consume(deployment.broker.bootstrap(), &log).len(), 0);
    std::fs::write(&deployment.config, right).unwrap();
    let _running = deployment.start();
}

#[test]
fn a_topic_that_would_lose_state_is_refused() {
    let deployment = Deployment::without_mail("compact", "");
    let changelog = deployment.topic(&format!("{}app-watch-changelog", deployment.prefix));
    super::parts::run_tool(
        "kafka.admin.ConfigCommand",
        &["--bootstrap-server", kafka().bootstrap(), "--alter", "--topic", &changelog, "--add-config", "cleanup.policy=delete"],
        "",
    )
    .expect_success();
    let (code, said) = deployment.attempt(&["run"]);
    assert!(code == Some(1) && said.contains(&format!("{changelog} has cleanup.policy = delete instead of compact")), "{code:?} {said}");
}
