//! Policies as they hold: standards for everybody, those of the domains for their own teams, and the exemptions that somebody approved.

use std::collections::BTreeMap;

use super::check::{Condition, parts_of};
use super::eval::{Facts, Value};
use super::fields::{FieldId, ORIGIN, Subject};
use super::nodes::{BoolNode, Compare, TextNode};
use super::parse::Tree;
use crate::model::Text;
use crate::model::alert::Severity;
use crate::model::near::did_you_mean;
use crate::model::time::Timestamp;

/// What a violation leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A violation, and "deny" for who asks before.
    Enforce,
    /// A violation, and "review" for who asks before.
    #[default]
    Warn,
    /// Counted, and shown to nobody else.
    DryRun,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub id: Text,
    /// `None`: a global standard.
    pub domain: Option<Text>,
    pub owner: Text,
    pub severity: Severity,
    pub mode: Mode,
    pub when: Condition,
    pub unless: Option<Condition>,
    pub message: Message,
    pub remedy: Option<Message>,
    /// Fields that a violation shows, beside those that its conditions ask for.
    pub evidence: Vec<FieldId>,
    /// Fields that tell one violation from another, beside the team. Not given: those that the conditions ask for.
    pub per: Vec<FieldId>,
    /// The pack that it is a part of, and its source as of when.
    pub pack: Option<Text>,
    pub source: Option<Text>,
    pub as_of: Option<Timestamp>,
    /// Holds from then on, and until then.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// A domain may put its own policy in the place of this one.
    pub overridable: bool,
    /// The global policy that this one stands for, for the teams of its domain.
    pub replaces: Option<Text>,
}

/// Who owns a folder of policies, and whom they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    pub name: Text,
    pub teams: Vec<Text>,
}

/// Somebody may do for a time what a policy forbids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemption {
    pub policy: Text,
    /// Field and value, all of which have to be there.
    pub only: Vec<(FieldId, Text)>,
    pub reason: String,
    pub approved_by: Text,
    /// It ends by itself.
    pub until: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub policies: Vec<Policy>,
    pub domains: Vec<Domain>,
    pub exemptions: Vec<Exemption>,
}

/// Text with the values of fields in it: `{team} uses {provider}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(FieldId),
}

impl Message {
    /// # Errors
    /// A bracket that does not close, or no such field.
    pub fn parse(text: &str, subject: Subject) -> Result<Message, (String, Option<String>)> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else {
                return Err((
                    "has a '{' that does not close".to_string(),
                    Some("write {team} where the team's name is to stand".to_string()),
                ));
            };
            let Some(field) = subject.field(name) else {
                let hint = did_you_mean(name, subject.fields().iter().map(|field| field.name));
                return Err((format!("names '{{{name}}}', which {} has not", subject.name()), hint));
            };
            pieces.extend([Piece::Text(before.to_string()), Piece::Field(field)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_string()));
        Ok(Message(pieces))
    }

    pub fn fields(&self) -> impl Iterator<Item = &FieldId> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(field),
            Piece::Text(_) => None,
        })
    }

    /// Fields in it that differ from event to event, of usage, whose events are gone once they are summed.
    pub fn fields_of_events(&self, subject: Subject) -> impl Iterator<Item = &'static str> {
        let is_summed = subject == Subject::Usage;
        let fields = self.fields().filter_map(move |field| subject.fields().get(*field));
        fields.filter(move |field| is_summed && field.is_of_event).map(|field| field.name)
    }

    pub fn with(&self, facts: &Facts<'_>) -> String {
        self.told(|field| shown(facts.get(field)))
    }

    /// Of all events of a leaf: what each of them stated for itself is not known any more, which is not to say that none stated it.
    pub fn of_leaf(&self, facts: &Facts<'_>) -> String {
        let of_event = |field: FieldId| Subject::Usage.fields().get(field).filter(|field| field.is_of_event);
        self.told(|field| match (facts.get(field), of_event(field)) {
            (None, Some(field)) => format!("({} of each event)", field.name),
            (value, _) => shown(value),
        })
    }

    fn told(&self, value: impl Fn(FieldId) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(piece) => piece.clone(),
            Piece::Field(field) => value(*field),
        };
        self.0.iter().map(piece).collect()
    }
}

/// As people read it.
pub fn shown(value: Option<Value<'_>>) -> String {
    match value {
        None => "(not stated)".to_string(),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Double(number)) => number.to_string(),
        Some(Value::Texts(texts)) => texts.join(", "),
        Some(Value::Tags(tags)) => tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", "),
    }
}

/// What is wrong with policies among each other: which of them, what, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Place in `Policies::policies`.
    pub policy: usize,
    pub what: String,
    pub hint: String,
}

impl Policies {
    /// Policies that contradict, repeat or never apply: each is an error when it is loaded, because nobody would find it later.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        let mut said: BTreeMap<(Subject, String), usize> = BTreeMap::new();
        for (place, policy) in self.policies.iter().enumerate() {
            let mut conflict = |what: String, hint: &str| conflicts.push(Conflict { policy: place, what, hint: hint.to_string() });
            let is_twice = ids.insert(&policy.id, place).is_some();
            if is_twice {
                conflict(format!("there are two policies '{}'", policy.id), "ids are unique among all files: rename one");
            }
            if policy.since.zip(policy.until).is_some_and(|(since, until)| until <= since) {
                conflict(format!("'{}' never holds: 'until' is not after 'since'", policy.id), "correct one of the two");
            }
            if let Some(why) = never(policy) {
                conflict(format!("'{}' is never violated: {why}", policy.id), "join alternatives with || (or), or use in [...]");
            }
            if let Some(name) = self.never_together(policy) {
                conflict(
                    format!(
                        "'{}' asks for {name}, which is known of all usage of a model, and for what differs from event to event",
                        policy.id
                    ),
                    "make two policies of it",
                );
            }
            if let Some((what, hint)) = policy.replaces.as_ref().and_then(|replaced| self.cannot_replace(policy, replaced)) {
                conflict(what, &hint);
            }
            let key = (policy.when.subject, policy.form());
            let earlier = said.get(&key).and_then(|earlier| self.policies.get(*earlier));
            match earlier.filter(|earlier| earlier.domain.is_none() || earlier.domain == policy.domain) {
                Some(earlier) if !is_twice && policy.replaces.as_ref() != Some(&earlier.id) => {
                    conflict(format!("'{}' says the same as '{}'", policy.id, earlier.id), "remove one of them, or change its conditions");
                }
                _ => drop(said.insert(key, place)),
            }
        }
        conflicts
    }

    /// Single events are asked before they are summed, where nothing is known of models yet.
    fn never_together(&self, policy: &Policy) -> Option<&'static str> {
        let name = |field: FieldId| policy.when.subject.fields().get(field).map(|field| field.name);
        let reads = policy.when.reads.iter().chain(policy.unless.iter().flat_map(|unless| &unless.reads));
        let mut origins = reads.filter_map(|field| name(*field)).filter(|name| ORIGIN.contains(name));
        origins.next().filter(|_| policy.when.subject == Subject::Usage && !self.is_of_series(policy))
    }

    /// A domain may tighten a global standard, by a policy beside it; only where that says so may it put another one in its place.
    fn cannot_replace(&self, policy: &Policy, replaced: &str) -> Option<(String, String)> {
        let globals = || self.policies.iter().filter(|policy| policy.domain.is_none());
        let Some(global) = globals().find(|global| &*global.id == replaced) else {
            let hint = did_you_mean(replaced, globals().map(|global| &*global.id));
            let hint = hint.unwrap_or_else(|| "it names the id of a policy in the folder global".to_string());
            return Some((format!("'{}' replaces '{replaced}', and there is no such global policy", policy.id), hint));
        };
        if policy.domain.is_none() {
            let hint = "change that one instead".to_string();
            return Some((format!("'{}' replaces '{replaced}', and both are global", policy.id), hint));
        }
        let hint = format!("{} may set overridable = true there; a stricter policy of your own needs no 'replaces'", global.owner);
        (!global.overridable)
            .then(|| (format!("'{}' loosens the global policy '{replaced}', which allows no replacement", policy.id), hint))
    }

    /// Whether this policy is for events of this team at this time: before a replacement begins to hold, and after its end, what it stands
    /// for does.
    pub fn concerns(&self, policy: &Policy, team: &str, at: Timestamp) -> bool {
        let is_of = |domain: &Text| self.domains.iter().any(|known| known.name == *domain && known.teams.iter().any(|of| &**of == team));
        let replaces =
            |other: &Policy| other.replaces.as_ref() == Some(&policy.id) && other.holds_at(at) && other.domain.as_ref().is_some_and(is_of);
        match &policy.domain {
            Some(domain) => is_of(domain),
            None => !self.policies.iter().any(replaces),
        }
    }
}

impl Policy {
    /// A global one that forbids what its condition says, and says nothing else.
    pub fn new(id: &str, when: Condition) -> Policy {
        Policy {
            id: id.into(),
            domain: None,
            owner: "".into(),
            severity: Severity::default(),
            mode: Mode::Enforce,
            when,
            unless: None,
            message: Message::default(),
            remedy: None,
            evidence: Vec::new(),
            per: Vec::new(),
            pack: None,
            source: None,
            as_of: None,
            since: None,
            until: None,
            overridable: false,
            replaces: None,
        }
    }

    fn form(&self) -> String {
        let unless = self.unless.as_ref().map_or_else(String::new, |unless| unless.tree.form());
        format!("{} unless {unless}", self.when.tree.form())
    }

    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Fields whose values belong to a violation: what was asked for, then what its message names and what is shown beside it.
    pub fn shows(&self) -> Vec<FieldId> {
        let unless = self.unless.iter().flat_map(|unless| &unless.reads);
        let mut fields: Vec<FieldId> = Vec::new();
        for field in self.when.reads.iter().chain(unless).chain(self.message.fields()).chain(&self.evidence) {
            if !fields.contains(field) {
                fields.push(*field);
            }
        }
        fields
    }
}

/// Why both conditions can never allow a violation, as far as that can be seen without knowing any event.
fn never(policy: &Policy) -> Option<String> {
    if policy.unless.as_ref().is_some_and(|unless| unless.tree.form() == policy.when.tree.form()) {
        return Some("'unless' is the same as 'when'".to_string());
    }
    let BoolNode::All(parts) = &policy.when.test else { return None };
    let mut wanted: BTreeMap<FieldId, Vec<Text>> = BTreeMap::new();
    for part in parts {
        let (field, allowed): (FieldId, Vec<Text>) = match part {
            BoolNode::Texts(Compare::Equal, TextNode::Field(field), TextNode::Const(text))
            | BoolNode::Texts(Compare::Equal, TextNode::Const(text), TextNode::Field(field)) => (*field, vec![text.clone()]),
            BoolNode::In(TextNode::Field(field), set) => (*field, set.to_vec()),
            _ => continue,
        };
        let both = match wanted.get(&field) {
            Some(before) => before.iter().filter(|text| allowed.contains(text)).cloned().collect(),
            None => allowed,
        };
        if both.is_empty() {
            let name = policy.when.subject.fields().get(field).map_or("", |field| field.name);
            return Some(format!("{name} would have to be two values at once"));
        }
        wanted.insert(field, both);
    }
    None
}

/// The parts of a condition that are asked one by one when it is explained.
pub(super) fn clauses_of(tree: &Tree) -> Vec<&Tree> {
    let mut clauses = Vec::new();
    for part in parts_of(tree, "&&") {
        match parts_of(part, "||").as_slice() {
            [single] => clauses.push(*single),
            several => several.iter().for_each(|part| clauses.extend(clauses_of(part))),
        }
    }
    clauses
}
