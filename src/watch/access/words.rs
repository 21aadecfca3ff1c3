//! What is said of access to people: subjects, messages, evidence, what to do.

use std::collections::BTreeMap;

use super::book::{Caller, Grant};
use super::uses::{Seen, why};
use crate::model::Text;
use crate::model::access::{GrantName, Object};
use crate::model::counted::counted;
use crate::model::time::{DAY_MS, Timestamp};
use crate::policy::stream::Finding;

const MOST_NAMED: usize = 20;
const TEAM: &str = "team:";

/// A grant to this principal is one to everybody of the team.
pub(super) fn team_principal(team: &str) -> String {
    format!("{TEAM}{team}")
}

/// From outside the company.
pub(super) fn is_outside(principal_type: Option<&Text>) -> bool {
    matches!(principal_type.map(AsRef::as_ref), Some("third_party" | "contractor"))
}

fn shown(principal: &str, principal_type: Option<&Text>) -> String {
    match principal_type.map(AsRef::as_ref) {
        Some("third_party") => format!("{principal} (third party)"),
        Some("contractor") => format!("{principal} (contractor)"),
        Some("service") => format!("{principal} (service)"),
        _ => principal.to_string(),
    }
}

fn named(object: &Object) -> String {
    format!("{} {}", object.kind(), object.name())
}

fn listed(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<String> = names.map(|name| name.as_ref().to_string()).collect();
    let more = names.len().saturating_sub(MOST_NAMED);
    let first = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

fn of(parts: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
    let subject = parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";");
    (subject, parts.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

fn evidence(parts: Vec<(&str, Option<String>)>) -> BTreeMap<String, String> {
    parts.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}

/// Whether a violation is of this principal.
pub(super) fn is_of(dimensions: &BTreeMap<String, String>, who: &str) -> bool {
    dimensions.get("principal").is_some_and(|named| *named == *who)
}

/// Whether it is of this principal, who may be a whole team.
pub(super) fn may_be(dimensions: &BTreeMap<String, String>, who: &str, team: &str) -> bool {
    is_of(dimensions, who) || who.strip_prefix(TEAM) == Some(team)
}

pub(super) fn is_about(dimensions: &BTreeMap<String, String>, object: &Object) -> bool {
    let of_kind = |named: &String| match object {
        Object::Model(_) => Object::Model(named.as_str().into()),
        Object::Dataset(_) => Object::Dataset(named.as_str().into()),
    };
    dimensions.get(object.kind()).is_some_and(|named| object.covers(&of_kind(named)))
}

pub(super) fn of_object(object: &Object) -> String {
    of(&[(object.kind(), object.name())]).0
}

/// Subject of a violation of this grant.
pub(super) fn of_grant(name: &GrantName) -> String {
    let mut parts: Vec<(&str, &str)> = vec![("principal", &name.principal), (name.object.kind(), name.object.name())];
    parts.extend(name.role.as_deref().map(|role| ("role", role)));
    of(&parts).0
}

pub(super) fn ungranted(
    seen: &Seen<'_>,
    object: &Object,
    who_type: Option<&Text>,
    own: Option<&Grant>,
    givers: &[Text],
    owner: Option<&Text>,
) -> Finding {
    let (subject, dimensions) = of(&[("principal", seen.who), (object.kind(), object.name())]);
    let text = |text: &Text| text.to_string();
    let ask = match (owner, givers) {
        (Some(owner), _) => format!("{owner}, who owns it,"),
        (None, [first, ..]) => format!("{first}, which grants it,"),
        _ => "whoever is responsible for it".to_string(),
    };
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![
            ("principal_type", who_type.map(text)),
            ("used_at", Some(seen.used.at.to_string())),
            ("used_by", Some(text(seen.team))),
            ("granted_from", own.and_then(|grant| grant.from).map(|at| at.to_string())),
            ("granted_until", own.and_then(|grant| grant.until).map(|at| at.to_string())),
            ("granted_by", Some(listed(givers.iter())).filter(|givers| !givers.is_empty())),
            ("owner", owner.map(text)),
        ]),
        message: format!("{} of {} uses {}: {}", shown(seen.who, who_type), seen.team, named(object), why(own, seen.used.at)),
        remedy: Some(format!("Ask {ask} for a grant, or take the access away; until then treat it as unauthorised")),
    }
}

pub(super) fn gone(seen: &Seen<'_>, left: Timestamp, standing: &[Text]) -> Finding {
    let (subject, dimensions) = of(&[("principal", seen.who)]);
    let objects = listed(seen.objects.iter().map(named));
    let what = if objects.is_empty() { seen.what.to_string() } else { format!("{} of {objects}", seen.what) };
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![
            ("offboarded_at", Some(left.to_string())),
            ("used_at", Some(seen.used.at.to_string())),
            ("used", Some(what.clone())),
            ("region", seen.region.map(|region| region.to_string())),
            ("grants_that_stand", Some(listed(standing.iter())).filter(|standing| !standing.is_empty())),
        ]),
        message: format!("{} left at {left} and is still active: {what} in {}", seen.who, seen.team),
        remedy: Some(format!("Disable the account and keys of {} now, revoke what is granted, and find out who uses them", seen.who)),
    }
}

pub(super) fn unused(name: &GrantName, grant: &Grant, team: &Text, at: Timestamp) -> Finding {
    let mut parts: Vec<(&str, &str)> = vec![("principal", &name.principal), (name.object.kind(), name.object.name())];
    parts.extend(name.role.as_deref().map(|role| ("role", role)));
    let (subject, dimensions) = of(&parts);
    let since = grant.idle_since().unwrap_or(at);
    let days = counted((at.0 - since.0) / DAY_MS, "day");
    let who = shown(&name.principal, grant.principal_type.as_ref());
    let message = match grant.last_used {
        Some(_) => format!("{who} may use {} and has not for {days}", named(&name.object)),
        None => format!("{who} may use {} and never has, in {days}", named(&name.object)),
    };
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![
            ("granted_from", grant.from.map(|at| at.to_string())),
            ("granted_until", grant.until.map(|at| at.to_string())),
            ("granted_by", Some(team.to_string())),
            ("last_used", grant.last_used.map(|at| at.to_string())),
            ("principal_type", grant.principal_type.as_ref().map(ToString::to_string)),
        ]),
        message,
        remedy: Some("Revoke it: who needs it again asks again".to_string()),
    }
}

pub(super) fn shared(who: &Text, caller: &Caller) -> Finding {
    let (subject, dimensions) = of(&[("principal", who)]);
    let (regions, users) = (caller.regions.len(), caller.users.len());
    let mut found = Vec::new();
    if regions > 1 {
        found.push(format!("from {regions} regions"));
    }
    if users > 1 {
        found.push(format!("by {users} users"));
    }
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![
            ("regions", Some(listed(caller.regions.keys())).filter(|names| !names.is_empty())),
            ("key_users", Some(listed(caller.users.keys())).filter(|names| !names.is_empty())),
        ]),
        message: format!("{who} was used {} within an hour: it looks shared or stolen", found.join(" and ")),
        remedy: Some(format!("Give each user and each place a key of its own, and replace the secret of {who}")),
    }
}

pub(super) fn hands(object: &Object, hands: &[Text], gone: Option<&Text>) -> Finding {
    let (subject, dimensions) = of(&[(object.kind(), object.name())]);
    let owner = gone.map_or("nobody owns it".to_string(), |gone| format!("its owner {gone} has left"));
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![("principals", Some(listed(hands.iter()))), ("former_owner", gone.map(ToString::to_string))]),
        message: format!("{} principals used {} within 30 days, and {owner}", hands.len(), named(object)),
        remedy: Some("Name an owner: a registration with the tag owner, or a grant of the role owner".to_string()),
    }
}

/// As dimensions have it.
fn both(pair: &[Text; 2]) -> String {
    pair.join(" and ")
}

/// Whether it is a violation of these duties, by anybody else.
pub(super) fn is_of_another(dimensions: &BTreeMap<String, String>, who: &str, object: &Object, what: &str, pair: &[Text; 2]) -> bool {
    let is_about = dimensions.get(object.kind()).is_some_and(|named| *named == *what);
    is_about && dimensions.get("duties") == Some(&both(pair)) && !is_of(dimensions, who)
}

/// Whether the duties of a violation are still to be kept apart.
pub(super) fn is_separate(dimensions: &BTreeMap<String, String>, pairs: &[[Text; 2]]) -> bool {
    dimensions.get("duties").is_some_and(|duties| pairs.iter().any(|pair| both(pair) == *duties))
}

pub(super) fn duties(who: &Text, object: &Object, what: &Text, pair: &[Text; 2], at: [Timestamp; 2]) -> Finding {
    let [first, second] = pair;
    let duties = both(pair);
    let (subject, dimensions) = of(&[("principal", who), (object.kind(), what), ("duties", &duties)]);
    let [first_at, second_at] = at.map(|at| at.to_string());
    Finding {
        subject,
        dimensions,
        evidence: evidence(vec![
            ("first_duty", Some(format!("{first} at {first_at}"))),
            ("second_duty", Some(format!("{second} at {second_at}"))),
        ]),
        message: format!("{who} did both for {} {what}: {first} and {second}", object.kind()),
        remedy: Some(format!("Let somebody else do the {first}: that ends this")),
    }
}
