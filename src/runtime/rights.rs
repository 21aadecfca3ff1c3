//! What each role may have to do with which topic: what its user must be allowed, and which topics must be there.

use super::whole;
use crate::kafka::access::{Operation, Right};
use crate::kafka::topics::TopicNames;

/// Of one role; in groups and transactions there is no difference between them.
pub fn of_role(role: &str, topics: &TopicNames) -> Vec<Right> {
    use Operation::{Read, Write};
    let t = topics;
    let rights: Vec<(Operation, &String)> = match role {
        "intake" => vec![
            (Read, &t.usage_events),
            (Read, &t.intake_changelog),
            (Write, &t.intake_changelog),
            (Write, &t.shard_log),
            (Write, &t.dead_letter),
        ],
        "billing" => vec![(Read, &t.billing_events), (Write, &t.ledger_log), (Write, &t.dead_letter)],
        "ledger" => vec![(Read, &t.ledger_log), (Read, &t.ledger_changelog), (Write, &t.ledger_changelog), (Write, &t.shard_log)],
        "lineage" => vec![(Read, &t.lineage_log), (Read, &t.lineage_changelog), (Write, &t.lineage_changelog), (Write, &t.shard_log)],
        "watch" => vec![
            (Read, &t.shard_log),
            (Read, &t.watch_changelog),
            (Write, &t.watch_changelog),
            (Write, &t.shard_log),
            (Write, &t.alerts),
            (Write, &t.governance_violations),
            (Write, &t.spend_rollups),
        ],
        "deliver" => vec![(Read, &t.alerts), (Read, &t.receipts), (Write, &t.receipts)],
        "deliver-violations" => {
            vec![(Read, &t.governance_violations), (Read, &t.violation_receipts), (Write, &t.violation_receipts)]
        }
        other => of_inputs(other, t),
    };
    rights.into_iter().map(|(operation, topic)| Right::on_topic(operation, topic)).collect()
}

/// Of a role that passes whole events on.
fn of_inputs<'t>(role: &str, t: &'t TopicNames) -> Vec<(Operation, &'t String)> {
    use Operation::{Read, Write};
    let [resources, activity, feedback, openlineage] = whole::NAMES;
    let (input, outputs) = match role {
        _ if role == resources => (&t.resource_events, vec![&t.shard_log]),
        _ if role == activity => (&t.activity_events, vec![&t.shard_log, &t.lineage_log]),
        _ if role == feedback => (&t.feedback, vec![&t.shard_log]),
        _ if role == openlineage => (&t.lineage_events, vec![&t.lineage_log]),
        // Housekeeping: works without.
        _ => return Vec::new(),
    };
    let writes = outputs.into_iter().chain([&t.dead_letter]).map(|topic| (Write, topic));
    std::iter::once((Read, input)).chain(writes).collect()
}

/// All roles that read or write topics.
pub fn roles() -> Vec<&'static str> {
    let mut roles = vec!["intake"];
    roles.extend(whole::NAMES);
    roles.extend(["billing", "ledger", "lineage", "watch", "deliver", "deliver-violations"]);
    roles
}
