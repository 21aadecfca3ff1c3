//! Policies that look at the single event: tags, users, amounts. What a leaf's own texts decide is not asked again for each of its events, so
//! that most events are asked nothing, and what is left is asked without an allocation.

use std::sync::Arc;

use super::combine::{Batch, Combined};
use super::decode::quick::QuickEvent;
use super::memory::{Dimensions, User};
use super::price::Usage;
use super::rules::IntakeRules;
use crate::model::Text;
use crate::model::money::Nanos;
use crate::model::partial::{PolicyHit, Said};
use crate::model::time::Timestamp;
use crate::model::usage::UsageEvent;
use crate::policy::fields::{FieldId, Subject};
use crate::policy::regions::Land;
use crate::policy::stream::{Origin, Stream, UsageFacts};
use crate::policy::{Facts, Value};

/// Policies that have to be asked about each event of some texts.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    policies: Box<[u16]>,
    land: Option<Arc<Land>>,
    reads_tags: bool,
    /// They read what the quick reader does not give.
    needs_all: bool,
}

/// What policies said of the events of a transaction's sums.
#[derive(Debug, Default)]
pub struct Hits(Vec<HitOf>);

#[derive(Debug)]
struct HitOf {
    policy: u16,
    said: Said,
    events: u64,
    cost: Nanos,
    /// Another one of the same sum.
    next: Option<u32>,
}

/// An event besides what its leaf says.
struct Seen<'e> {
    source: &'e str,
    account: Option<&'e str>,
    resource_id: Option<&'e str>,
    usage: &'e Usage,
    tags: &'e [(&'e str, &'e str)],
}

impl Asked {
    /// `None`: nothing has to be asked about events of this leaf.
    pub fn of(policies: &Stream, dimensions: &Dimensions) -> Option<Asked> {
        if policies.of_event().is_empty() {
            return None;
        }
        let texts = dimensions.each_ref().map(|text| &**text);
        let facts = policies.leaf_facts(texts, "", &Origin::default());
        let field = |name| Subject::Usage.field(name).unwrap_or(usize::MAX);
        let (currency, tags) = (field("currency"), field("tags"));
        let beyond = ["account", "resource_id", "status"].map(field);
        let mut asked = Asked { land: policies.land(&dimensions[4]), ..Asked::default() };
        let mut places = Vec::new();
        for place in policies.of_event() {
            let reads = policies.reads(*place);
            // The currency is known with the price.
            if !reads.contains(&currency) && !policies.may_matter(*place, &Facts(&facts)) {
                continue;
            }
            asked.reads_tags |= reads.contains(&tags);
            asked.needs_all |= beyond.iter().any(|field: &FieldId| reads.contains(field));
            places.extend(u16::try_from(*place));
        }
        asked.policies = places.into();
        Some(asked).filter(|asked| !asked.policies.is_empty())
    }

    pub fn needs_all(&self) -> bool {
        self.needs_all
    }
}

/// Asks about an event that was read quickly.
pub fn quick(
    batch: &mut Batch,
    known: usize,
    combined: &Combined,
    user: User,
    event: &QuickEvent<'_>,
    time: Timestamp,
    rules: &IntakeRules,
) {
    let Some(asked) = batch.memory.asked(known) else { return };
    let mut tags = emptied(std::mem::take(&mut batch.tags));
    if asked.reads_tags {
        event.each_tag_text(|name, value| tags.push((name, value)));
        tags.reverse();
    }
    let seen = Seen { source: text(event.source), account: None, resource_id: None, usage: &event.usage, tags: &tags };
    ask(batch, known, combined, user, &seen, time, rules);
    batch.tags = emptied(tags);
}

/// Asks about any event.
pub fn thorough(batch: &mut Batch, known: usize, combined: &Combined, user: User, event: &UsageEvent<'_>, rules: &IntakeRules) {
    let Some(asked) = batch.memory.asked(known) else { return };
    let mut tags = emptied(std::mem::take(&mut batch.tags));
    if asked.reads_tags {
        tags.extend(event.tags.iter().rev().map(|(name, value)| (name.as_ref(), value.as_ref())));
    }
    let usage = Usage::of(event);
    let (account, resource_id) = (event.account.as_deref(), event.resource_id.as_deref());
    let seen = Seen { source: &event.source, account, resource_id, usage: &usage, tags: &tags };
    ask(batch, known, combined, user, &seen, event.event_time, rules);
    batch.tags = emptied(tags);
}

/// The quick reader has looked whether it is UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn ask(batch: &mut Batch, known: usize, combined: &Combined, user: User, seen: &Seen<'_>, time: Timestamp, rules: &IntakeRules) {
    let (memory, mut notes) = batch.judging(combined);
    let (Some(asked), Some(dimensions)) = (memory.asked(known), memory.dimensions(combined.leaf)) else { return };
    let user = user.number.and_then(|number| memory.user_name(number)).map(|name| &**name);
    let facts = facts(dimensions, asked, combined.currency.as_str(), user, seen);
    let (facts, policies) = (Facts(&facts), &*rules.policies);
    for place in &asked.policies {
        if let Some(told) = policies.told(usize::from(*place), &facts, &dimensions[0], time) {
            notes.add(*place, told.said);
        }
    }
}

/// In the order of the fields of usage, which `policy::stream` has a test of.
fn facts<'f>(dimensions: &'f Dimensions, asked: &'f Asked, currency: &'f str, user: Option<&'f str>, seen: &'f Seen<'f>) -> UsageFacts<'f> {
    let stated = |text: &'f str| Some(Value::Text(text)).filter(|_| !text.is_empty());
    let given = |text: Option<&'f str>| text.and_then(stated);
    let count = |count: u64| Some(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
    let [team, project, model, provider, region, environment, meter] = dimensions;
    let (land, usage) = (asked.land.as_deref(), seen.usage);
    let tokens = usage.tokens;
    // As a float only where a condition compares it.
    let quantity = usage.quantity.map(|quantity| Value::Double(quantity.0 as f64 / 1e9));
    [
        stated(team),
        stated(project),
        stated(model),
        stated(provider),
        stated(region),
        land.map(|land| Value::Text(&land.country)),
        land.map(|land| Value::Texts(&land.blocs)),
        stated(environment),
        stated(meter),
        stated(currency),
        // Known to watch.
        None,
        None,
        None,
        None,
        None,
        None,
        stated(seen.source),
        given(user),
        given(seen.account),
        given(seen.resource_id),
        // Not read from events.
        None,
        quantity,
        count(tokens.input),
        count(tokens.output),
        count(tokens.cached_input),
        count(tokens.cache_write),
        count(tokens.reasoning),
        count(usage.requests),
        Some(Value::Tags(seen.tags)),
    ]
}

/// Names and values as they are asked for: of a name that comes twice the last holds, so that the last come first.
pub type Tags<'e> = Vec<(&'e str, &'e str)>;

/// The same room for texts of another life: see `decode::emptied`.
fn emptied<'e>(mut tags: Tags<'_>) -> Tags<'e> {
    tags.clear();
    tags.into_iter().map(|_| ("", "")).collect()
}

/// Where what is said of one event is counted.
pub struct Notes<'b> {
    pub hits: &'b mut Hits,
    /// The latest of the event's sum.
    pub latest: &'b mut Option<u32>,
    pub cost: Nanos,
}

impl Notes<'_> {
    fn add(&mut self, policy: u16, said: Said) {
        let mut at = *self.latest;
        while let Some(hit) = at.and_then(|place| self.hits.0.get_mut(index(place))) {
            if (hit.policy, hit.said) == (policy, said) {
                hit.events += 1;
                hit.cost = hit.cost.saturating_add(self.cost);
                return;
            }
            at = hit.next;
        }
        let new = u32::try_from(self.hits.0.len()).unwrap_or(u32::MAX);
        self.hits.0.push(HitOf { policy, said, events: 1, cost: self.cost, next: *self.latest });
        *self.latest = Some(new);
    }
}

impl Hits {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Those of one sum, in the order of their names.
    pub fn of(&self, latest: Option<u32>, policies: &Stream) -> Vec<PolicyHit> {
        let mut all = Vec::new();
        let mut at = latest;
        while let Some(hit) = at.and_then(|place| self.0.get(index(place))) {
            let policy = policies.policy(usize::from(hit.policy)).map(|policy| Text::clone(&policy.id));
            all.extend(policy.map(|policy| PolicyHit { policy, said: hit.said, events: hit.events, cost: hit.cost }));
            at = hit.next;
        }
        all.sort_by(|a, b| (&a.policy, a.said).cmp(&(&b.policy, b.said)));
        all
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
