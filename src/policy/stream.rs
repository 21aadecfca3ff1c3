//! Policies as the stream asks them: which are asked once for each series and which for each event, when an answer may change by itself, and
//! what a violation says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::domains::AiDomains;
use super::eval::{Facts, Value};
use super::fields::{FieldId, Subject, USAGE_FIELDS};
use super::judge::Answer;
use super::regions::{Land, Regions};
use super::rules::{Mode, Policies, Policy, shown};
use super::sample::{Given, Sample};
use crate::model::Text;
use crate::model::activity::ActivityEvent;
use crate::model::approval::BASIS_TAG;
use crate::model::hash::hash128;
use crate::model::leaf::Leaf;
use crate::model::partial::Said;
use crate::model::resource::ResourceSample;
use crate::model::time::Timestamp;

/// Of a value in a violation; what is longer is cut.
const LONGEST_VALUE: usize = 200;

/// Every policy with what the stream needs to know of it. A clone of the `Arc` around it is the same rules.
#[derive(Default)]
pub struct Stream {
    policies: Policies,
    regions: Regions,
    ai_domains: AiDomains,
    /// By policy: 32 hex digits of all that it says.
    hashes: Vec<Text>,
    hash: u64,
    /// Policies over usage whose answer is the same for all events of a leaf, by place.
    of_leaf: Vec<usize>,
    /// Those over usage that ask for what differs from event to event.
    of_event: Vec<usize>,
    /// When a policy begins or ends to hold, or an exemption ends.
    changes: Vec<Timestamp>,
}

/// What a policy says, if it does not just pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// In `Policies::policies`.
    pub policy: usize,
    pub said: Said,
}

/// What a violation says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    pub dimensions: BTreeMap<String, String>,
    pub evidence: BTreeMap<String, String>,
    pub message: String,
    pub remedy: Option<String>,
}

/// What is known of a leaf's model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Where the data comes from that it was trained on.
    pub region: Option<&'a str>,
    pub approval: Option<&'a str>,
    /// What the approval rests on.
    pub basis: Option<&'a str>,
    /// One of [`super::fields::LINEAGE`].
    pub lineage: Option<&'a str>,
}

/// Values in the order of the fields of usage.
pub type UsageFacts<'a> = [Option<Value<'a>>; USAGE_FIELDS];

impl Stream {
    pub fn new(policies: Policies, regions: Regions, ai_domains: AiDomains) -> Stream {
        let hashes: Vec<Text> = policies.policies.iter().map(|policy| hash_of(policy).as_str().into()).collect();
        let exemptions = format!("{:?} {:?} {ai_domains:?}", policies.exemptions, policies.domains);
        let mut parts: Vec<&[u8]> = hashes.iter().map(|hash| hash.as_bytes()).collect();
        parts.push(exemptions.as_bytes());
        let hash = if policies.policies.is_empty() { 0 } else { hash128(&parts) as u64 };
        let of_usage = policies.policies.iter().enumerate().filter(|(_, policy)| policy.when.subject == Subject::Usage);
        let (of_leaf, of_event): (Vec<_>, Vec<_>) = of_usage.partition(|(_, policy)| policies.is_of_series(policy));
        let [of_leaf, of_event] = [of_leaf, of_event].map(|some| some.into_iter().map(|(place, _)| place).collect());
        let times = policies.policies.iter().flat_map(|policy| [policy.since, policy.until]);
        let mut changes: Vec<Timestamp> = times.flatten().chain(policies.exemptions.iter().map(|exemption| exemption.until)).collect();
        changes.sort_unstable();
        changes.dedup();
        Stream { policies, regions, ai_domains, hashes, hash, of_leaf, of_event, changes }
    }

    pub fn is_empty(&self) -> bool {
        self.policies.policies.is_empty()
    }

    /// Differs where anything that a verdict depends on differs; 0 without policies.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    pub fn policy(&self, place: usize) -> Option<&Policy> {
        self.policies.policies.get(place)
    }

    pub fn hash_of(&self, place: usize) -> Text {
        self.hashes.get(place).cloned().unwrap_or_else(|| "".into())
    }

    pub fn place_of(&self, id: &str) -> Option<usize> {
        self.policies.policies.iter().position(|policy| *policy.id == *id)
    }

    pub fn of_event(&self) -> &[usize] {
        &self.of_event
    }

    /// What is said at `at` is said at any time from the first to before the second.
    pub fn window(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let next = self.changes.partition_point(|change| *change <= at);
        let from = next.checked_sub(1).and_then(|last| self.changes.get(last)).copied().unwrap_or(Timestamp(i64::MIN));
        (from, self.changes.get(next).copied().unwrap_or(Timestamp(i64::MAX)))
    }

    /// A leaf's own facts. `texts`: team, project, model, provider, region, environment, meter; empty = not stated.
    pub fn leaf_facts<'a>(&'a self, texts: [&'a str; 7], currency: &'a str, origin: &Origin<'a>) -> UsageFacts<'a> {
        let stated = |text: &'a str| Some(Value::Text(text)).filter(|_| !text.is_empty());
        let [team, project, model, provider, region, environment, meter] = texts.map(stated);
        let mut facts: UsageFacts<'a> = [None; USAGE_FIELDS];
        let land = self.regions.land(texts[4]);
        let country = |land: Option<&'a Land>| land.map(|land| Value::Text(&land.country));
        let blocs = |land: Option<&'a Land>| land.map(|land| Value::Texts(&land.blocs));
        let from = origin.region.and_then(|region| self.regions.land(region));
        let given = [origin.approval, origin.basis, origin.lineage].map(|text| text.and_then(stated));
        let trained = [origin.region.and_then(stated), country(from), blocs(from)].into_iter().chain(given);
        // The first fields of usage are a leaf's, in this order, and then its model's; there is a test of it.
        let own = [team, project, model, provider, region, country(land), blocs(land), environment, meter, stated(currency)];
        let own = own.into_iter().chain(trained);
        facts.iter_mut().zip(own).for_each(|(fact, value)| *fact = value);
        facts
    }

    /// Where a region lies.
    pub fn land(&self, region: &str) -> Option<Arc<Land>> {
        self.regions.shared(region)
    }

    /// Fields that a policy and its exemptions ask for.
    pub fn reads(&self, place: usize) -> Vec<FieldId> {
        let Some(policy) = self.policy(place) else { return Vec::new() };
        let exemptions = self.policies.exemptions.iter().filter(|exemption| exemption.policy == policy.id);
        let asked = policy.when.reads.iter().chain(policy.unless.iter().flat_map(|unless| &unless.reads));
        asked.chain(exemptions.flat_map(|exemption| exemption.only.iter().map(|(field, _)| field))).copied().collect()
    }

    /// Whether it cannot be said for want of an origin, as far as that can be told.
    pub fn asks_for_origin(&self, told: &Told) -> bool {
        told.said == Said::Indeterminate && self.reads_origin(told.policy)
    }

    /// Whether a policy asks where data comes from.
    pub fn reads_origin(&self, place: usize) -> bool {
        let Some(policy) = self.policy(place) else { return false };
        let fields = policy.when.subject.fields();
        let is_origin = |field: FieldId| fields.get(field).is_some_and(|field| field.name.starts_with("origin_"));
        self.reads(place).into_iter().any(is_origin)
    }

    /// What policies that are asked once for all events of a leaf say of one.
    pub fn of_leaf(&self, leaf: &Leaf, origin: &Origin<'_>, at: Timestamp) -> Vec<Told> {
        let facts = self.leaf_facts(texts_of(leaf), leaf.currency.as_str(), origin);
        let facts = Facts(&facts);
        self.of_leaf.iter().filter_map(|place| self.told(*place, &facts, &leaf.team, at)).collect()
    }

    /// A resource as policies see it.
    pub fn of_resource(&self, sample: &ResourceSample) -> Sample {
        let texts = [
            ("team", Some(&sample.team)),
            ("project", sample.project.as_ref()),
            ("provider", sample.provider.as_ref()),
            ("region", sample.region.as_ref()),
            ("environment", sample.environment.as_ref()),
            ("resource_id", sample.resource_id.as_ref()),
            ("resource_type", sample.resource_type.as_ref()),
            ("state", sample.state.as_ref()),
            ("owner", sample.owner.as_ref()),
        ];
        let numbers = [("capacity", sample.capacity), ("utilization", sample.utilization)];
        self.sample(Subject::Resource, &texts, &numbers, &[("requests", sample.requests)], &sample.tags)
    }

    /// What somebody did, as policies see it. Whose host egress went to is told by the list of domains.
    pub fn of_activity(&self, activity: &ActivityEvent) -> Sample {
        let of_host = || self.ai_domains.provider(activity.destination.as_deref()?);
        let texts = [
            ("action", activity.action.as_ref()),
            ("actor", activity.actor.as_ref()),
            ("team", Some(&activity.team)),
            ("model", activity.model.as_ref()),
            ("model_version", activity.model_version.as_ref()),
            ("dataset", activity.dataset.as_ref()),
            ("resource_id", activity.resource_id.as_ref()),
            ("provider", activity.provider.as_ref().or_else(of_host)),
            ("region", activity.region.as_ref()),
            ("origin_region", activity.origin_region.as_ref()),
            ("environment", activity.environment.as_ref()),
            ("principal_type", activity.principal_type.as_ref()),
            ("role", activity.role.as_ref()),
            ("destination", activity.destination.as_ref()),
            ("metric", activity.metric.as_ref()),
            ("approval", activity.approval.as_ref()),
            ("approval_basis", activity.tags.get(BASIS_TAG).filter(|_| activity.approval.is_some())),
        ];
        self.sample(Subject::Activity, &texts, &[("value", activity.value)], &[("samples", activity.samples)], &activity.tags)
    }

    fn sample(
        &self,
        subject: Subject,
        texts: &[(&str, Option<&Text>)],
        numbers: &[(&str, Option<f64>)],
        counts: &[(&str, Option<u64>)],
        tags: &BTreeMap<Text, Text>,
    ) -> Sample {
        let mut sample = Sample::new(subject);
        let texts = texts.iter().filter_map(|(name, text)| Some((*name, Given::Text(text.as_ref()?.to_string()))));
        let numbers = numbers.iter().filter_map(|(name, number)| Some((*name, Given::Double((*number)?))));
        let counts = counts.iter().filter_map(|(name, count)| Some((*name, Given::Int(i64::try_from((*count)?).unwrap_or(i64::MAX)))));
        let tags = Given::Tags(tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
        for (name, given) in texts.chain(numbers).chain(counts).chain([("tags", tags)]) {
            let set = sample.set(name, given);
            assert!(set.is_ok(), "'{name}' is a field of {} and of this kind", subject.name());
        }
        sample.locate(&self.regions);
        sample
    }

    /// Country and blocs, after a region was added.
    pub fn locate(&self, sample: &mut Sample) {
        sample.locate(&self.regions);
    }

    /// Policies for a kind of event.
    pub fn of_subject(&self, subject: Subject) -> Vec<usize> {
        let all = self.policies.policies.iter().enumerate();
        all.filter(|(_, policy)| policy.when.subject == subject).map(|(place, _)| place).collect()
    }

    /// What all policies for its kind say of an event that came whole.
    pub fn of_sample(&self, sample: &Sample, team: &str, at: Timestamp) -> Vec<Told> {
        let places = self.of_subject(sample.subject);
        sample.with_facts(|facts| places.iter().filter_map(|place| self.told(*place, facts, team, at)).collect())
    }

    /// What one policy says; `None`: it passes, or is not for this team or time.
    pub fn told(&self, place: usize, facts: &Facts<'_>, team: &str, at: Timestamp) -> Option<Told> {
        let policy = self.policy(place)?;
        // Nearly all pass, and nothing else needs to be asked of those.
        let answer = policy.answer(facts);
        if answer == Answer::Passes || !policy.holds_at(at) || !self.policies.concerns(policy, team, at) {
            return None;
        }
        let said = match answer {
            Answer::Passes => return None,
            Answer::Indeterminate(_) => Said::Indeterminate,
            Answer::Violates if self.policies.exemption(policy, facts, at).is_some() => Said::Exempt,
            Answer::Violates if policy.mode == Mode::DryRun => Said::DryRun,
            Answer::Violates => Said::Violates,
        };
        Some(Told { policy: place, said })
    }

    /// Whether these facts, less what differs from event to event, may lead to anything but a pass, whatever the event says.
    pub fn may_matter(&self, place: usize, facts: &Facts<'_>) -> bool {
        let Some(policy) = self.policy(place) else { return false };
        let asks_whether_there =
            policy.when.asks_whether_there() || policy.unless.as_ref().is_some_and(|unless| unless.asks_whether_there());
        // Without these questions what is not there is unknown, and a pass is a pass whatever is there.
        asks_whether_there || policy.answer(facts) != Answer::Passes
    }

    /// What a violation of a leaf says. `users`: who did it, as far as that is known; empty = it is not.
    pub fn finding_of_leaf(&self, place: usize, leaf: &Leaf, origin: &Origin<'_>, users: &str) -> Option<Finding> {
        let facts = self.leaf_facts(texts_of(leaf), leaf.currency.as_str(), origin);
        let policy = self.policy(place)?;
        let mut named = facts;
        if let Some(user) = Subject::Usage.field("user").and_then(|user| named.get_mut(user)).filter(|_| !users.is_empty()) {
            *user = Some(Value::Text(users));
        }
        let remedy = policy.remedy.as_ref().map(|remedy| remedy.of_leaf(&Facts(&named)));
        Some(Finding { message: policy.message.of_leaf(&Facts(&named)), remedy, ..policy.finding(&Facts(&facts)) })
    }
}

fn texts_of(leaf: &Leaf) -> [&str; 7] {
    [&leaf.team, &leaf.project, &leaf.model, &leaf.provider, &leaf.region, &leaf.environment, &leaf.meter].map(|text| &**text)
}

fn hash_of(policy: &Policy) -> String {
    format!("{:032x}", hash128(&[format!("{policy:?}").as_bytes()]))
}

impl Policies {
    /// Whether it is asked once for all events of a series: neither its conditions nor its exemptions read anything else.
    pub fn is_of_series(&self, policy: &Policy) -> bool {
        let is_of_series = |field: FieldId| policy.when.subject.fields().get(field).is_some_and(|field| !field.is_of_event);
        let exemptions = self.exemptions.iter().filter(|exemption| exemption.policy == policy.id);
        policy.when.is_of_series()
            && policy.unless.as_ref().is_none_or(|unless| unless.is_of_series())
            && exemptions.flat_map(|exemption| &exemption.only).all(|(field, _)| is_of_series(*field))
    }
}

impl Policy {
    /// Fields whose values tell its violations from one another, beside the team.
    pub fn subject_fields(&self) -> Vec<FieldId> {
        if !self.per.is_empty() {
            return self.per.clone();
        }
        let subject = self.when.subject;
        // Each resource is a matter of its own.
        if subject == Subject::Resource {
            return subject.field("resource_id").into_iter().collect();
        }
        let unless = self.unless.iter().flat_map(|unless| &unless.reads);
        // So is each model and each set of data.
        let own = ["model", "dataset"].into_iter().filter(|_| subject == Subject::Activity);
        let mut fields: Vec<FieldId> = own.filter_map(|name| subject.field(name)).collect();
        for read in self.when.reads.iter().chain(unless) {
            let Some(field) = subject.fields().get(*read).filter(|field| !field.is_of_event) else { continue };
            // Where it is, is told by the region.
            let told_by = match field.name {
                "country" | "blocs" => subject.field("region"),
                "origin_country" | "origin_blocs" => subject.field("origin_region"),
                // Verdicts upon it change while the matter is the same.
                "team" | "lineage" => None,
                _ => Some(*read),
            };
            fields.extend(told_by.filter(|field| !fields.contains(field)));
        }
        fields
    }

    pub fn finding(&self, facts: &Facts<'_>) -> Finding {
        let named = |fields: Vec<FieldId>| -> BTreeMap<String, String> {
            let name = |field: FieldId| self.when.subject.fields().get(field).map(|field| field.name);
            let stated = |field: FieldId| Some((name(field)?.to_string(), cut(shown(Some(facts.get(field)?)))));
            fields.into_iter().filter_map(stated).collect()
        };
        let dimensions = named(self.subject_fields());
        let parts: Vec<String> = dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Finding {
            subject: if parts.is_empty() { "team".to_string() } else { parts.join(";") },
            evidence: named(self.shows()),
            message: self.message.with(facts),
            remedy: self.remedy.as_ref().map(|remedy| remedy.with(facts)),
            dimensions,
        }
    }

    /// What it asks for.
    pub fn action(&self) -> &'static str {
        if self.mode == Mode::Enforce { "block" } else { "review" }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Rules are compared as text where somebody forgets to raise their revision; this says as much as all of it.
impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:016x})", self.hash)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::policy::fields::ORIGIN;
    use crate::policy::{Condition, Exemption, Message, Sets};

    pub fn policy(id: &str, when: &str) -> Policy {
        let message = Message::parse("{team} uses {provider}", Subject::Usage).unwrap();
        Policy { message, ..Policy::new(id, Condition::compile(when, Subject::Usage, &Sets::default()).unwrap()) }
    }

    pub fn policy_over(subject: Subject, id: &str, when: &str, unless: Option<&str>) -> Policy {
        let compile = |source: &str| Condition::compile(source, subject, &Sets::default()).unwrap();
        Policy { unless: unless.map(compile), ..Policy::new(id, compile(when)) }
    }

    pub fn stream(policies: Vec<Policy>, exemptions: Vec<Exemption>) -> Arc<Stream> {
        let regions = Regions::parse(include_str!("../../config/regions.csv")).unwrap();
        let ai_domains = AiDomains::parse(include_str!("../../config/ai_domains.csv")).unwrap();
        Arc::new(Stream::new(Policies { policies, exemptions, domains: Vec::new() }, regions, ai_domains))
    }

    /// What an event states is not said to be stated by none.
    #[test]
    fn a_violation_of_a_leaf_names_what_only_its_events_knew() {
        let message = Message::parse("{project} sends {input_tokens} tokens from {region}", Subject::Usage).unwrap();
        let names: Vec<&str> = message.fields_of_events(Subject::Usage).collect();
        assert_eq!(names, ["input_tokens"]);
        let big = Policy { remedy: Some(message.clone()), message, ..policy("big", "input_tokens > 1000") };
        let stream = stream(vec![big], Vec::new());
        let [team, project, empty] = ["search", "ranker", ""].map(Text::from);
        let leaf = Leaf {
            team,
            project,
            model: empty.clone(),
            provider: empty.clone(),
            region: empty.clone(),
            environment: empty.clone(),
            meter: empty,
            currency: crate::model::money::Currency::USD,
            measure: crate::model::leaf::Measure::Estimated,
        };
        let finding = stream.finding_of_leaf(0, &leaf, &Origin::default(), "").unwrap();
        let expected = "ranker sends (input_tokens of each event) tokens from (not stated)";
        assert_eq!((finding.message.as_str(), finding.remedy.as_deref()), (expected, Some(expected)));
        let message = Message::parse("{user} sends {input_tokens} tokens", Subject::Usage).unwrap();
        let stream = self::stream(vec![Policy { message, ..policy("big", "input_tokens > 1000") }], Vec::new());
        for (users, expected) in [("", "(user of each event)"), ("ann, bob", "ann, bob")] {
            let finding = stream.finding_of_leaf(0, &leaf, &Origin::default(), users).unwrap();
            assert_eq!(finding.message, format!("{expected} sends (input_tokens of each event) tokens"));
        }
    }

    #[test]
    fn a_leafs_fields_come_first_and_in_this_order() {
        let names = ["team", "project", "model", "provider", "region", "country", "blocs", "environment", "meter", "currency"];
        let names = [&names[..], &ORIGIN].concat();
        for (place, name) in names.iter().enumerate() {
            assert_eq!(Subject::Usage.field(name), Some(place), "{name}");
        }
        // Intake gives the rest in this order too.
        let rest: Vec<&str> = Subject::Usage.fields()[names.len()..].iter().map(|field| field.name).collect();
        let tokens = ["input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"];
        let first = ["source", "user", "account", "resource_id", "status", "quantity"];
        assert_eq!(rest, [&first[..], &tokens, &["requests", "tags"]].concat());
        assert!(Subject::Usage.fields()[names.len()..].iter().all(|field| field.is_of_event));
    }
}
