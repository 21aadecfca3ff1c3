//! Where the rules of a file of policies come from, and what somebody should look at: old sources, exemptions that end.

use super::policies::PolicyFolder;
use super::prices::date;
use super::problem::{Place, Problem};
use super::read::{Section, integer};
use crate::model::Text;
use crate::model::time::{DAY_MS, Timestamp};
use crate::policy::Policy;

/// Of a pack that says nothing else.
const GOOD_FOR_DAYS: i64 = 180;
/// So long before it ends somebody is told of an exemption.
const NOTICE_DAYS: i64 = 14;

/// Rules that come from somewhere else: a law, a standard, a decision; they are as good as their source is new.
#[derive(Clone, Debug)]
pub struct Pack {
    pub name: Option<Text>,
    pub source: Option<Text>,
    pub as_of: Option<Timestamp>,
    /// From then on somebody has to look whether it still holds.
    pub stale_at: Option<Timestamp>,
    pub place: Place,
}

/// Where the rules of a file come from, and until when somebody may rely on that.
pub fn pack(root: &mut Section) -> Pack {
    let name = root.optional_text("pack").map(Text::from);
    let source = root.optional_text("source").map(Text::from);
    let as_of = root.optional("as_of", date).flatten().map(|(time, _)| time);
    let days = root.optional("valid_for_days", |item| integer(item, &(1..=3_650))).unwrap_or(GOOD_FOR_DAYS);
    if name.is_some() && as_of.is_none() {
        root.notes().problem(Problem::new(&root.place, "a pack says as of when it holds").hint("add as_of = 2026-11-25"));
    }
    Pack { stale_at: as_of.map(|as_of| as_of.plus_ms(days * DAY_MS)), place: root.place.clone(), name, source, as_of }
}

impl PolicyFolder {
    /// What somebody should look at: packs whose source is old, exemptions that end soon or have ended, messages that name what a violation
    /// does not know.
    pub fn notices(&self, now: Timestamp) -> Vec<Problem> {
        let mut notices = Vec::new();
        for pack in &self.packs {
            let Some(as_of) = pack.as_of.filter(|_| pack.stale_at.is_some_and(|stale| stale <= now)) else { continue };
            let what = format!("'{}' is as of {}, and may be out of date", pack.name.as_deref().unwrap_or("this file"), day(as_of));
            let source = pack.source.as_deref().unwrap_or("the sources of its rules");
            notices.push(Problem::new(&pack.place, what).hint(format!("look at {source}, and set as_of")));
        }
        for exemption in &self.policies.exemptions {
            let what = match exemption.until {
                until if until <= now => format!("the exemption from '{}' has ended on {}", exemption.policy, day(until)),
                until if until <= now.plus_ms(NOTICE_DAYS * DAY_MS) => {
                    format!("the exemption from '{}' ends on {}", exemption.policy, day(until))
                }
                _ => continue,
            };
            let place = self.policies.policies.iter().zip(&self.places).find(|(policy, _)| policy.id == exemption.policy);
            let place = place.map_or_else(|| Place::whole(""), |(_, place)| place.clone());
            let hint = format!("{} approved it: {}; renew it, or remove it", exemption.approved_by, exemption.reason);
            notices.push(Problem::new(&place, what).hint(hint));
        }
        for (policy, place) in self.policies.policies.iter().zip(&self.places) {
            let texts = [("message", Some(&policy.message)), ("remedy", policy.remedy.as_ref())];
            for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
                // Where all events of a series violate, all its users do.
                let is_of_series = self.policies.is_of_series(policy);
                let fields = text.fields_of_events(policy.when.subject).filter(|field| !(is_of_series && *field == "user"));
                notices.extend(fields.map(|field| of_event(policy, place, key, field)));
            }
        }
        notices
    }
}

fn of_event(policy: &Policy, place: &Place, key: &str, field: &str) -> Problem {
    let what = format!("the {key} of '{}' names '{{{field}}}', which is not kept with a violation: it sums up many events", policy.id);
    let hint = match field {
        "user" => "leave it out: users are known for sure only where the conditions ask for nothing that differs from event to event",
        _ => {
            "say the limit in words, as in \"prompts of more than a million tokens\", and name fields of the series, like {project} or {model}"
        }
    };
    Problem::new(place, what).hint(hint)
}

fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fields::Subject;
    use crate::policy::{Condition, Message, Policies, Sets};

    #[test]
    fn a_message_that_names_what_a_violation_does_not_know_is_told_with_its_place() {
        let policy = |subject, when: &str, message: &str| Policy {
            message: Message::parse(message, subject).unwrap(),
            ..Policy::new("big", Condition::compile(when, subject, &Sets::default()).unwrap())
        };
        let policies = vec![
            policy(Subject::Usage, "input_tokens > 9", "{project} sends {input_tokens} tokens"),
            policy(Subject::Usage, "input_tokens > 9", "{project} sends more than 9 tokens"),
            policy(Subject::Resource, "capacity > 16.0", "{resource_id} has {capacity} GPUs"),
        ];
        let places = (1..=3).map(|line| Place { line, ..Place::whole("global/p.toml") }).collect();
        let folder = PolicyFolder { policies: Policies { policies, ..Policies::default() }, places, ..PolicyFolder::default() };
        let told: Vec<String> = folder.notices(Timestamp(0)).iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].starts_with("global/p.toml:1: the message of 'big' names '{input_tokens}'"), "{told:?}");
    }
}
