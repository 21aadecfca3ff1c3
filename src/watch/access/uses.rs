//! Uses: each is held against the grants that are known, and against who has left. One without a grant waits a little, since topics keep no
//! order among partitions and its grant may be on the way.

use super::book::{Grant, MOST_WAITING, Use, UseName, Waiting};
use super::rules::{AccessRules, Kind};
use super::told::end_unused;
use super::{Wrong, end, key, tell, words};
use crate::model::Text;
use crate::model::access::{GrantName, GrantUsed, Object};
use crate::model::activity::ActivityEvent;
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::hash::{hash128, shard_of};
use crate::model::leaf::OTHER;
use crate::model::partial::{Partial, ShardEvent, ShardRecord};
use crate::model::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::policy::stream::Finding;
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;

/// Uses that wait one by one; more of the same are counted with the last.
const MOST_USES: usize = 16;

/// Somebody uses something.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub team: &'a Text,
    pub who: &'a Text,
    pub who_type: Option<&'a Text>,
    pub objects: Vec<Object>,
    /// What they did, for people.
    pub what: &'a str,
    pub region: Option<&'a Text>,
    pub used: Use,
}

impl<'a> Seen<'a> {
    /// A use of before, of which no more is known.
    pub fn late(team: &'a Text, who: &'a Text, object: &Object, at: Timestamp) -> Seen<'a> {
        let used = Use { due: at, at, ingest: at, identity: None, events: 1 };
        Seen { team, who, who_type: None, objects: vec![object.clone()], what: "access", region: None, used }
    }

    fn wrong(&self, kind: Kind, severity: Severity, finding: Finding) -> Wrong<'a> {
        let Use { at, ingest, identity, events, .. } = self.used;
        Wrong { kind, severity, team: self.team, finding, at, ingest, identity, events, users: vec![self.who], lasts: false }
    }
}

/// What somebody did.
pub(super) fn take_activity(shard: &mut Shard, event: &ActivityEvent, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let (Some(action), Some(who)) = (event.action.as_deref(), event.actor.as_ref()) else { return };
    // Here the actor may be the one it is done to.
    if matches!(action, "grant" | "revoke" | "offboarded") {
        return;
    }
    let is_use = matches!(action, "access" | "transfer");
    let used = Use {
        due: shard.header.watermarks.shard_time().plus_ms(access.grace_ms),
        at: event.event_time,
        ingest: event.event_time,
        identity: Some(hash128(&[event.source.as_bytes(), event.event_id.as_bytes()])),
        events: 1,
    };
    let seen = Seen {
        team: &event.team,
        who,
        who_type: event.principal_type.as_ref(),
        objects: if is_use { Object::versions_of(event) } else { Vec::new() },
        what: action,
        region: event.region.as_ref(),
        used,
    };
    take(shard, &seen, access, rules, effects);
}

/// Users of a model, as far as usage names them.
pub(super) fn take_partial(shard: &mut Shard, partial: &Partial, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let leaf = &partial.leaf;
    let due = shard.header.watermarks.shard_time().plus_ms(access.grace_ms);
    let objects = Some(leaf.model.clone()).filter(|model| !model.is_empty()).map(Object::Model);
    for user in partial.users.iter().map(|user| &user.user).filter(|user| !user.is_empty() && ***user != *OTHER) {
        let seen = Seen {
            team: &leaf.team,
            who: user,
            who_type: None,
            objects: objects.clone().into_iter().collect(),
            what: "usage",
            region: Some(&leaf.region).filter(|region| !region.is_empty()),
            used: Use { due, at: partial.last_event_time, ingest: partial.last_ingest_time, identity: None, events: 1 },
        };
        take(shard, &seen, access, rules, effects);
    }
}

fn take(shard: &mut Shard, seen: &Seen<'_>, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if let Some(left) = shard.matters.access.gone.get(seen.who).copied().filter(|left| *left < seen.used.at) {
        tell_gone(shard, seen, left, access, rules, effects);
        return;
    }
    for object in &seen.objects {
        if !is_governed(shard, object, access) {
            continue;
        }
        let holding = holding(shard, object, seen.who, seen.team, seen.used.at, access);
        if holding.is_empty() {
            wait(shard, seen, object, access, rules, effects);
        }
        for name in holding {
            mark_used(shard, &name, seen, rules, effects);
        }
    }
}

pub(super) fn is_governed(shard: &Shard, object: &Object, access: &AccessRules) -> bool {
    shard.matters.access.is_granted(object)
        || access.governs(object.name())
        || object.whole().is_some_and(|whole| access.governs(whole.name()))
}

/// Grants that allow a use: to whom it is, or to their team.
fn holding(shard: &Shard, object: &Object, who: &str, team: &str, at: Timestamp, access: &AccessRules) -> Vec<GrantName> {
    let book = &shard.matters.access;
    let all = book.grants_for(object, who).into_iter().chain(book.grants_for(object, &words::team_principal(team)));
    all.filter(|(_, grant)| grant.holds(at, access.grace_ms)).map(|(name, _)| name.clone()).collect()
}

fn mark_used(shard: &mut Shard, name: &GrantName, seen: &Seen<'_>, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let at = seen.used.at;
    let Some(grant) = shard.matters.access.grants.get(name) else { return };
    if grant.last_used.is_some_and(|last| at.0 - last.0 < HOUR_MS) {
        return;
    }
    let (giver, day) = (grant.team.clone(), at.0.div_euclid(DAY_MS));
    let home = giver.as_ref().map_or(shard.header.shard, |team| shard_of(team, shard.header.shard_count));
    let is_news = home != shard.header.shard && day > grant.told_day;
    shard.matters.access.change_grant(name, |grant| {
        grant.last_used = Some(at);
        grant.used_by = Some(seen.team.clone());
        grant.told_day = if is_news { day } else { grant.told_day };
    });
    match giver.filter(|_| is_news) {
        // Who gave it knows of no other shard's uses.
        Some(team) => {
            let used = GrantUsed { team, grant: name.clone(), at };
            let record = ShardRecord { events: vec![ShardEvent::GrantUsed(Box::new(used))], ..ShardRecord::default() };
            effects.push(Effect::Shard { shard: home, record });
        }
        None => end_unused(shard, name, at, rules, effects),
    }
}

fn wait(shard: &mut Shard, seen: &Seen<'_>, object: &Object, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let name = UseName { team: seen.team.clone(), principal: seen.who.clone(), object: object.clone() };
    let book = &mut shard.matters.access;
    let known = book.waiting.get(&name).cloned();
    if book.is_full {
        return;
    }
    let waits = known.is_some() || (access.grace_ms > 0 && book.waiting.len() < MOST_WAITING);
    let mut waiting = known.unwrap_or(Waiting { principal_type: None, uses: Vec::new() });
    waiting.principal_type = seen.who_type.cloned().or(waiting.principal_type);
    match waiting.uses.last_mut().filter(|_| waits) {
        Some(last) if seen.used.identity.is_some() && last.identity == seen.used.identity => {}
        Some(last) if last.identity.is_none() && seen.used.identity.is_none() => last.grow(&seen.used),
        Some(last) if waiting_is_full(book, &name) => last.grow(&seen.used),
        _ => waiting.uses.push(seen.used.clone()),
    }
    if waits {
        book.set_waiting(&name, Some(waiting));
    } else {
        judge(shard, &name, &waiting, access, rules, effects);
    }
}

fn waiting_is_full(book: &super::Access, name: &UseName) -> bool {
    book.waiting.get(name).is_some_and(|waiting| waiting.uses.len() >= MOST_USES)
}

impl Use {
    fn grow(&mut self, other: &Use) {
        // Who never pauses is judged by the first of them, too.
        self.due = self.due.min(other.due);
        self.at = self.at.max(other.at);
        self.ingest = self.ingest.max(other.ingest);
        self.events = self.events.saturating_add(other.events);
        self.identity = None;
    }
}

/// Uses whose grant has not come.
pub(super) fn judge_waiting(shard: &mut Shard, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    if !shard.matters.access.waiting.is_empty() {
        let now = shard.header.watermarks.shard_time();
        judge_those(shard, |_, used| used.due <= now, access, rules, effects);
    }
}

/// Uses that wait no longer.
pub(super) fn judge_those(
    shard: &mut Shard,
    is_due: impl Fn(&UseName, &Use) -> bool,
    access: &AccessRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let due = shard.matters.access.waiting.iter().filter(|(name, waiting)| waiting.uses.iter().any(|used| is_due(name, used)));
    let due: Vec<(UseName, Waiting)> = due.map(|(name, waiting)| (name.clone(), waiting.clone())).collect();
    for (name, mut waiting) in due {
        let (now_due, later): (Vec<Use>, Vec<Use>) = std::mem::take(&mut waiting.uses).into_iter().partition(|used| is_due(&name, used));
        let still = Some(Waiting { uses: later, ..waiting.clone() }).filter(|still| !still.uses.is_empty());
        shard.matters.access.set_waiting(&name, still);
        judge(shard, &name, &Waiting { uses: now_due, ..waiting }, access, rules, effects);
    }
}

fn judge(shard: &mut Shard, name: &UseName, waiting: &Waiting, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    for used in &waiting.uses {
        let seen = Seen {
            team: &name.team,
            who: &name.principal,
            who_type: waiting.principal_type.as_ref(),
            objects: Vec::new(),
            what: "access",
            region: None,
            used: used.clone(),
        };
        let holding = holding(shard, &name.object, &name.principal, &name.team, used.at, access);
        if holding.is_empty() && !shard.matters.access.is_full {
            judge_ungranted(shard, &seen, &name.object, access, rules, effects);
        }
        for grant in holding {
            mark_used(shard, &grant, &seen, rules, effects);
        }
    }
}

/// What was granted since is settled by that, however late the use is heard of.
fn judge_ungranted(
    shard: &mut Shard,
    seen: &Seen<'_>,
    object: &Object,
    access: &AccessRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let name = GrantName { object: object.clone(), principal: seen.who.clone(), role: None };
    let key = key(Kind::Ungranted, seen.team, &words::of_grant(&name));
    let Some(settled) = granted_since(shard, object, seen) else {
        tell_ungranted(shard, seen, object, access, rules, effects);
        return;
    };
    let known = shard.violations.get(&key);
    // One that goes on for later uses has this one, too; one that was over after it has been told.
    let is_over = known.and_then(|known| known.closed_at).is_some_and(|closed| closed > seen.used.at);
    let goes_on = known.is_some_and(|known| known.is_open() && known.last_seen >= settled);
    if !is_over {
        tell_ungranted(shard, seen, object, access, rules, effects);
    }
    if !is_over && !goes_on {
        end(shard, key, settled, rules, effects);
    }
}

/// When somebody was first granted what they had used without it.
fn granted_since(shard: &Shard, object: &Object, seen: &Seen<'_>) -> Option<Timestamp> {
    let book = &shard.matters.access;
    let all = book.grants_for(object, seen.who).into_iter().chain(book.grants_for(object, &words::team_principal(seen.team)));
    let given = all.filter_map(|(_, grant)| grant.from.filter(|from| *from > seen.used.at && grant.holds(*from, 0)));
    given.min()
}

fn tell_ungranted(
    shard: &mut Shard,
    seen: &Seen<'_>,
    object: &Object,
    access: &AccessRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let book = &shard.matters.access;
    let own = book.grants_for(object, seen.who).into_iter().map(|(_, grant)| grant).max_by_key(|grant| grant.until).cloned();
    // Of the model or of all its versions, whichever there are.
    let whole = object.whole().unwrap_or_else(|| object.clone());
    let of = |object: Object| {
        let all = book.grants.range(GrantName { object: object.clone(), principal: "".into(), role: None }..);
        all.take_while(move |(name, _)| name.object == object)
    };
    let givers = std::iter::once(whole.clone()).chain(book.versions(&whole)).flat_map(of);
    let givers = givers.filter_map(|(_, grant)| grant.team.clone()).take(100);
    let mut givers: Vec<Text> = givers.collect();
    givers.sort();
    givers.dedup();
    let who_type = seen.who_type.cloned().or_else(|| own.as_ref().and_then(|grant| grant.principal_type.clone()));
    let owner = book.owner(object).cloned();
    let is_outside = matches!(who_type.as_deref(), Some("third_party" | "contractor"));
    let severity = if is_outside { Severity::Critical } else { Severity::Warning };
    let finding = words::ungranted(seen, object, who_type.as_ref(), own.as_ref(), &givers, owner.as_ref());
    tell(shard, seen.wrong(Kind::Ungranted, severity, finding), access, rules, effects);
}

/// Somebody who left at `left` did something.
pub(super) fn tell_gone(
    shard: &mut Shard,
    seen: &Seen<'_>,
    left: Timestamp,
    access: &AccessRules,
    rules: &WatchRules,
    effects: &mut Vec<Effect>,
) {
    let holds = |object: &&Object| shard.matters.access.grants_for(object, seen.who).iter().any(|(_, grant)| grant.holds(seen.used.at, 0));
    let standing: Vec<Text> = seen.objects.iter().filter(holds).map(|object| object.name().clone()).collect();
    let finding = words::gone(seen, left, &standing);
    tell(shard, seen.wrong(Kind::Offboarded, Severity::Critical, finding), access, rules, effects);
}

/// Why somebody has no grant, for people.
pub(super) fn why(own: Option<&Grant>, at: Timestamp) -> String {
    match own {
        Some(Grant { until: Some(until), is_revoked: true, .. }) if *until <= at => format!("their grant was revoked at {until}"),
        Some(Grant { until: Some(until), .. }) if *until <= at => format!("their grant expired at {until}"),
        Some(Grant { from: Some(from), .. }) if *from > at => format!("their grant holds from {from} on"),
        _ => "nobody has granted it to them".to_string(),
    }
}
