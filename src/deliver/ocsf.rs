//! Findings in the form of OCSF 1.8.0 (Open Cybersecurity Schema Framework), as a SIEM reads them: a violation of a policy is a Compliance
//! Finding (class 2003), an alert on spend a Detection Finding (class 2004). What 1.2.0 requires of them is there, too.

use serde_json::{Map, Value, json};

use super::receipt::is_closed;
use super::render::clean::{clean, name};
use super::violation::as_alert;
use crate::model::alert::{Alert, AlertKind, AlertState, POLICY, Said, Severity};
use crate::model::violation::Violation;

/// Of the schema: `metadata.version`.
pub const VERSION: &str = "1.8.0";
const PRODUCT: &str = "Tollgate";
/// The category Findings, and its classes.
const CATEGORY: u32 = 2;
const COMPLIANCE_FINDING: u32 = 2003;
const DETECTION_FINDING: u32 = 2004;
/// Where a policy is of no pack.
const STANDARD: &str = "Tollgate policies";
/// Of what others have written, in characters.
const LONGEST: usize = 1_000;

/// As it stands on its topic: with all of its evidence.
pub fn of_violation(violation: &Violation) -> Value {
    finding(&as_alert(violation), Some(violation), None)
}

/// As routes tell of it. `link`: its page.
pub fn of_alert(alert: &Alert, link: Option<String>) -> Value {
    finding(alert, None, link)
}

/// `record`: what only the violation's own record says.
fn finding(alert: &Alert, record: Option<&Violation>, link: Option<String>) -> Value {
    let is_violation = alert.kind == AlertKind::PolicyViolation;
    let (class, class_name) =
        if is_violation { (COMPLIANCE_FINDING, "Compliance Finding") } else { (DETECTION_FINDING, "Detection Finding") };
    let (activity, activity_name) = activity(alert);
    let (status, status_name) = status(alert.state);
    let (severity, severity_name) = severity(alert.severity);
    let mut finding = json!({
        "activity_id": activity, "activity_name": activity_name,
        "category_uid": CATEGORY, "category_name": "Findings",
        "class_uid": class, "class_name": class_name,
        "type_uid": class * 100 + activity, "type_name": format!("{class_name}: {activity_name}"),
        "severity_id": severity, "severity": severity_name,
        "status_id": status, "status": status_name,
        "time": alert.decided_at.0, "start_time": alert.onset.0, "end_time": alert.event_time.0,
        "message": clean(&alert.summary, LONGEST),
        "metadata": {
            "version": VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": env!("CARGO_PKG_VERSION")},
            "uid": format!("{}#{}", alert.id, alert.revision), "correlation_uid": alert.incident_id, "sequence": alert.revision,
            "event_code": alert.kind.as_str(),
        },
        "finding_info": finding_info(alert, record, link),
        "resources": [resource(alert, record)],
        "unmapped": unmapped(alert, record),
    });
    if let Some(said) = alert.feedback.last() {
        finding["comment"] = json!(comment(said));
    }
    if !alert.next_steps.is_empty() && !is_closed(alert) {
        finding["remediation"] = json!({"desc": clean(&alert.next_steps.join(" "), LONGEST)});
    }
    if is_violation {
        finding["compliance"] = compliance(alert, record);
    } else {
        finding["is_alert"] = json!(alert.notify);
    }
    if let Some(violation) = record {
        finding["count"] = json!(violation.count);
    }
    finding
}

/// Created, updated or closed.
fn activity(alert: &Alert) -> (u32, &'static str) {
    match alert.state {
        _ if is_closed(alert) => (3, "Close"),
        AlertState::Open => (1, "Create"),
        _ => (2, "Update"),
    }
}

fn status(state: AlertState) -> (u32, &'static str) {
    match state {
        AlertState::Open | AlertState::Updated | AlertState::Reopened | AlertState::Amended | AlertState::Escalated => (1, "New"),
        AlertState::Acknowledged => (2, "In Progress"),
        AlertState::Expected | AlertState::Retracted => (3, "Suppressed"),
        AlertState::Resolved => (4, "Resolved"),
    }
}

fn severity(severity: Severity) -> (u32, &'static str) {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Warning => (3, "Medium"),
        Severity::Critical => (5, "Critical"),
    }
}

fn finding_info(alert: &Alert, record: Option<&Violation>, link: Option<String>) -> Value {
    let policy = alert.dimensions.get(POLICY).filter(|_| alert.kind == AlertKind::PolicyViolation);
    // A rule that somebody has written, or what is usual.
    let (kind, kind_name) = if policy.is_some() { (1, "Rule") } else { (3, "Statistical") };
    let by = name(policy.map_or(alert.kind.as_str(), String::as_str), LONGEST);
    let mut analytic = json!({"type_id": kind, "type": kind_name, "name": by, "uid": by});
    let mut info = json!({
        "uid": alert.id, "title": clean(&alert.summary, LONGEST), "types": [alert.kind.as_str()],
        "created_time": alert.detected_at.0, "modified_time": alert.decided_at.0,
        "first_seen_time": alert.onset.0, "last_seen_time": alert.event_time.0,
    });
    if let Some(violation) = record {
        info["related_events_count"] = json!(violation.count);
        if let Some(version) = &violation.policy_version {
            analytic["version"] = json!(version);
        }
    }
    if !alert.normal.is_empty() {
        info["desc"] = json!(clean(&alert.normal, LONGEST));
    }
    if let Some(link) = link {
        info["src_url"] = json!(link);
    }
    info["analytic"] = analytic;
    info
}

/// The check that failed; what has ended passes it, and so does what never was.
fn compliance(alert: &Alert, record: Option<&Violation>) -> Value {
    let (status, status_name) = if is_closed(alert) { (1, "Pass") } else { (3, "Fail") };
    let pack = record.and_then(|violation| violation.pack.as_deref()).unwrap_or(STANDARD);
    let policy = alert.dimensions.get(POLICY).map_or("", String::as_str);
    let mut compliance = json!({
        "control": name(policy, LONGEST), "standards": [name(pack, LONGEST)], "status_id": status, "status": status_name,
        "desc": clean(&alert.summary, LONGEST),
    });
    // What was said of it is why.
    if let Some(said) = alert.feedback.last() {
        compliance["status_details"] = json!([comment(said)]);
    }
    compliance
}

/// What it is about, and whose it is.
fn resource(alert: &Alert, record: Option<&Violation>) -> Value {
    let own: Vec<(&String, &String)> = alert.dimensions.iter().filter(|(field, _)| *field != POLICY).collect();
    let labels: Vec<String> = own.iter().map(|(field, value)| format!("{field}={}", name(value, LONGEST))).collect();
    let whole = labels.join(";");
    let subject = record.map_or(whole.as_str(), |violation| &violation.subject);
    let subject = name(if subject.is_empty() { &alert.team } else { subject }, LONGEST);
    let team = name(&alert.team, LONGEST);
    let mut resource = json!({
        "uid": subject, "name": subject, "labels": labels, "group": {"name": team}, "owner": {"name": team},
        "data": own.into_iter().map(|(field, value)| (field.clone(), json!(name(value, LONGEST)))).collect::<Map<String, Value>>(),
    });
    let kind = ["resource_type", "resource_id", "model", "provider"].into_iter().find(|field| alert.dimensions.contains_key(*field));
    if let Some(kind) = kind {
        resource["type"] = json!(kind.trim_end_matches("_type").trim_end_matches("_id"));
    }
    resource
}

/// What OCSF has no place for.
fn unmapped(alert: &Alert, record: Option<&Violation>) -> Value {
    let mut unmapped = json!({
        "state": alert.state.as_str(), "revision": alert.revision, "time_zone": alert.time_zone, "rules_revision": alert.rules_revision,
        "amount": alert.actual.to_string(), "currency": alert.currency.as_str(), "measure": alert.measure.as_str(),
    });
    if alert.kind != AlertKind::PolicyViolation {
        unmapped["expected"] = json!(alert.expected.to_string());
        unmapped["excess"] = json!(alert.excess.to_string());
    }
    if let Some(violation) = record {
        unmapped["evidence"] = json!(violation.evidence);
        unmapped["policy_hash"] = json!(violation.policy_hash);
        unmapped["action"] = json!(violation.action);
    }
    unmapped
}

/// `expected by ann@example.com until 2026-03-12T00:00:00Z: trial`.
fn comment(said: &Said) -> String {
    let who = name(said.actor.as_deref().unwrap_or("somebody"), LONGEST);
    let until = said.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let note = said.note.as_deref().map(|note| format!(": {}", clean(note, LONGEST))).unwrap_or_default();
    format!("{} by {who}{until}{note}", said.verdict)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::deliver::render::sample;
    use crate::model::money::Nanos;
    use crate::model::time::Timestamp;
    use crate::model::wire;

    /// Attributes, types, requirements and enum values, read from the schema's repository.
    fn schema() -> Value {
        serde_json::from_str(include_str!("testdata/ocsf_1_8_0.json")).unwrap()
    }

    fn violation() -> Violation {
        wire::violation_from_json(include_bytes!("../../schemas/examples/violation/valid/deployment_outside_europe.json")).unwrap()
    }

    fn said(verdict: &str) -> Said {
        let until = Some(Timestamp(1_800_000_000_000));
        let (actor, note) = (Some("ann@example.com".to_string()), Some("trial".to_string()));
        Said { verdict: verdict.into(), actor, source: "page".into(), said_at: Timestamp(0), from: None, until, note }
    }

    /// Complains of every attribute that the schema does not know, misses, or wants to be of another type or value.
    fn check(value: &Value, shape: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
        let Some(own) = value.as_object() else { return wrong.push(format!("{place} is no object")) };
        let texts =
            |list: &Value| list.as_array().map(|list| list.iter().filter_map(Value::as_str).map(str::to_string).collect::<Vec<_>>());
        for required in texts(&shape["required"]).unwrap() {
            if !own.contains_key(&required) {
                wrong.push(format!("{place}.{required} is required"));
            }
        }
        if texts(&shape["at_least_one"]).is_some_and(|some| !some.iter().any(|one| own.contains_key(one))) {
            wrong.push(format!("{place} is named by nothing"));
        }
        for (name, value) in own {
            let attribute = &shape["attributes"][name];
            let place = format!("{place}.{name}");
            if attribute.is_null() {
                wrong.push(format!("{place} is not known"));
                continue;
            }
            let items = if attribute["array"] == true { value.as_array().cloned().unwrap_or_default() } else { vec![value.clone()] };
            if attribute["array"] == true && !value.is_array() {
                wrong.push(format!("{place} is no array"));
            }
            for item in &items {
                let of_type = attribute["type"].as_str().unwrap();
                let is_right = match of_type {
                    "integer_t" | "long_t" | "timestamp_t" => item.is_i64() || item.is_u64(),
                    "boolean_t" => item.is_boolean(),
                    "json_t" | "object" => item.is_object(),
                    text if text.ends_with("_t") => item.as_str().is_some_and(|text| !text.is_empty()),
                    object => {
                        check(item, &schema["objects"][object], schema, &place, wrong);
                        true
                    }
                };
                if !is_right {
                    wrong.push(format!("{place} = {item} is no {of_type}"));
                }
                if let Some(values) = attribute["enum"].as_object() {
                    let caption = values.get(&item.to_string());
                    let stated = name.strip_suffix("_id").and_then(|name| own.get(if name == "activity" { "activity_name" } else { name }));
                    if caption.is_none() || stated != caption {
                        wrong.push(format!("{place} = {item} is {caption:?}, not {stated:?}"));
                    }
                }
            }
        }
    }

    fn problems(finding: &Value) -> Vec<String> {
        let (schema, mut wrong) = (schema(), Vec::new());
        let class = if finding["class_uid"] == 2003 { "compliance_finding" } else { "detection_finding" };
        let shape = &schema["classes"][class];
        check(finding, shape, &schema, class, &mut wrong);
        let known = (&shape["uid"], &schema["category_uid"], &schema["version"]);
        if (&finding["class_uid"], &finding["category_uid"], &finding["metadata"]["version"]) != known {
            wrong.push(format!("it is {known:?}"));
        }
        let number = |name: &str| finding[name].as_u64().unwrap();
        if number("type_uid") != number("class_uid") * 100 + number("activity_id") {
            wrong.push("type_uid".to_string());
        }
        // What an older version of the schema wants of the same classes and objects.
        let places = [
            (class, ""),
            ("metadata", "/metadata"),
            ("product", "/metadata/product"),
            ("finding_info", "/finding_info"),
            ("analytic", "/finding_info/analytic"),
            ("compliance", "/compliance"),
            ("remediation", "/remediation"),
        ];
        for (of, place) in places {
            let Some(value) = finding.pointer(place) else { continue };
            let required = schema["older"]["required"][of].as_array().unwrap();
            wrong.extend(
                required.iter().filter(|name| value.get(name.as_str().unwrap()).is_none()).map(|name| format!("1.2.0: {place} {name}")),
            );
        }
        wrong
    }

    #[test]
    fn a_violation_is_a_compliance_finding_in_each_state() {
        let cases = [
            (AlertState::Open, None, 1, "New", "Fail"),
            (AlertState::Updated, None, 2, "New", "Fail"),
            (AlertState::Acknowledged, Some("ack"), 2, "In Progress", "Fail"),
            (AlertState::Expected, Some("expected"), 2, "Suppressed", "Fail"),
            (AlertState::Reopened, Some("expected"), 2, "New", "Fail"),
            (AlertState::Resolved, None, 3, "Resolved", "Pass"),
            (AlertState::Retracted, Some("not_an_anomaly"), 3, "Suppressed", "Pass"),
        ];
        for (state, verdict, activity, status, check) in cases {
            let feedback: Vec<Said> = verdict.map(said).into_iter().collect();
            let violation = Violation { state, feedback, ..violation() };
            let finding = of_violation(&violation);
            assert_eq!(problems(&finding), [""; 0], "{state:?}: {finding:#}");
            assert_eq!((&finding["activity_id"], &finding["status"]), (&json!(activity), &json!(status)), "{state:?}");
            assert_eq!(finding["compliance"]["status"], check, "{state:?}");
            assert_eq!(finding.get("comment").is_some(), verdict.is_some(), "{state:?}");
            let routed = of_alert(&as_alert(&violation), Some("https://gate.example.com/alerts/x".into()));
            assert_eq!(problems(&routed), [""; 0], "{state:?}: {routed:#}");
        }
        let finding = of_violation(&Violation { feedback: vec![said("expected")], ..violation() });
        assert_eq!(
            (&finding["compliance"]["control"], &finding["compliance"]["standards"]),
            (&json!("eu-data-stays-in-europe"), &json!(["house"]))
        );
        assert_eq!(finding["comment"], "expected by ann@example.com until 2027-01-15T08:00:00Z: trial");
        assert_eq!((&finding["resources"][0]["uid"], &finding["severity"]), (&json!("endpoint/ranker-v3"), &json!("Critical")));
        assert_eq!(finding["unmapped"]["evidence"]["action"], "deployment");
    }

    #[test]
    fn an_alert_on_spend_is_a_detection_finding() {
        for alert in [sample::spike(), sample::resolved(), sample::retracted(), Alert { dimensions: BTreeMap::new(), ..sample::spike() }] {
            let finding = of_alert(&alert, None);
            assert_eq!(problems(&finding), [""; 0], "{finding:#}");
            assert_eq!((&finding["class_uid"], &finding["finding_info"]["analytic"]["type"]), (&json!(2004), &json!("Statistical")));
        }
        let dear = Alert { excess: Nanos::from_units(312), ..sample::spike() };
        assert_eq!(of_alert(&dear, None)["unmapped"]["excess"], "312");
    }

    #[test]
    fn the_check_itself_can_fail() {
        let good = of_violation(&violation());
        let broken = |change: &dyn Fn(&mut Value)| {
            let mut finding = good.clone();
            change(&mut finding);
            problems(&finding).len()
        };
        for change in [
            &|finding: &mut Value| finding["activity_id"] = json!(7),
            &|finding: &mut Value| finding["severity"] = json!("High"),
            &|finding: &mut Value| finding["time"] = json!("2026-03-01T00:00:00Z"),
            &|finding: &mut Value| finding["policy"] = json!("x"),
            &|finding: &mut Value| finding["compliance"]["standards"] = json!("house"),
            &|finding: &mut Value| finding["metadata"]["product"] = json!({"version": "1"}),
            &|finding: &mut Value| drop(finding["finding_info"].as_object_mut().unwrap().remove("uid")),
            &|finding: &mut Value| drop(finding.as_object_mut().unwrap().remove("compliance")),
        ] as [&dyn Fn(&mut Value); 8]
        {
            assert!(broken(change) > 0);
        }
    }
}
