//! What is wrong although nothing comes: once an hour of event time, and once new grants have waited for their uses, all grants are looked
//! at, and what nobody asks for any more is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Grant, Looked};
use super::keys::{self, KEEP_DUTIES_MS};
use super::rules::{AccessRules, Kind};
use super::{Wrong, end, is_open, key, tell, words};
use crate::model::Text;
use crate::model::access::{GrantName, Object};
use crate::model::alert::Severity;
use crate::model::effect::Effect;
use crate::model::hash::shard_of;
use crate::model::leaf::OTHER;
use crate::model::time::{DAY_MS, Timestamp};
use crate::watch::rules::WatchRules;
use crate::watch::shard::Shard;
use crate::watch::violation::{self, Key};

/// Who used it within this time has a hand on it.
pub(super) const HANDS_MS: i64 = 30 * DAY_MS;

/// When the watermark has come to another hour, or a new grant has waited long enough.
pub(super) fn look(shard: &mut Shard, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let Some(at) = shard.header.watermarks.watermark() else { return };
    let book = &mut shard.matters.access;
    let is_idle = book.is_empty() && book.callers.is_empty() && book.duties.is_empty() && book.looked.hour.is_none();
    let is_due = book.looked.again.is_some_and(|again| again <= shard.header.watermarks.shard_time());
    if is_idle || (!is_due && book.looked.hour.is_some_and(|looked| at.hour() <= looked)) {
        return;
    }
    let again = book.looked.again.filter(|_| !is_due);
    book.look(Looked { hour: Some(at.hour()), again });
    book.forget(at, KEEP_DUTIES_MS);
    violation::expire(shard, at, rules, effects);
    look_for_unused(shard, at, access, rules, effects);
    look_for_hands(shard, at, access, rules, effects);
    end_of_duties(shard, at, access, rules, effects);
}

/// Nobody asks any more that they are kept apart, or nothing is left of what was told together.
fn end_of_duties(shard: &mut Shard, at: Timestamp, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let kind = Kind::SeparationOfDuties;
    let is_asked = |key: &Key, named: &BTreeMap<String, String>| *key.subject == *OTHER || words::is_separate(named, &access.separate);
    let is_on = access.is_on(kind) && !access.separate.is_empty();
    for key in shard.violations.open_of(kind.id(), |key, named| !is_on || !is_asked(key, named)) {
        end(shard, key, at, rules, effects);
    }
    for team in told_together(shard, kind) {
        if !keys::is_told_with_others(shard, &team, access) {
            end(shard, key(kind, &team, OTHER), at, rules, effects);
        }
    }
}

/// Grants that teams of this shard gave.
fn own(shard: &Shard) -> impl Iterator<Item = (&GrantName, &Grant, &Text)> {
    let all = shard.matters.access.grants.iter().filter_map(|(name, grant)| Some((name, grant, grant.team.as_ref()?)));
    all.filter(|(.., team)| shard_of(team, shard.header.shard_count) == shard.header.shard)
}

/// Teams of which so much is wrong that it is told together.
fn told_together(shard: &Shard, kind: Kind) -> BTreeSet<Text> {
    let together = shard.violations.open_of(kind.id(), |key, _| *key.subject == *OTHER);
    together.into_iter().map(|key| key.team).collect()
}

/// Whether it is open, by itself or together with others: that it still is is no news.
fn is_told(shard: &Shard, key: &Key, together: &BTreeSet<Text>) -> bool {
    is_open(shard, key) || (together.contains(&key.team) && shard.violations.get(key).is_none())
}

fn look_for_unused(shard: &mut Shard, at: Timestamp, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let now = shard.header.watermarks.shard_time();
    let is_unused = |grant: &Grant| {
        let since = grant.idle_since().filter(|since| at.0 - since.0 >= access.unused_after_ms);
        // Owners answer for it, whether they use it or not. Uses may still be on their way where all is read from the beginning.
        since.filter(|_| grant.holds(at, 0) && now.0 - grant.known_since.0 >= access.grace_ms && access.is_on(Kind::UnusedGrant))
    };
    let is_owner = |name: &GrantName| name.role.as_deref() == Some(super::told::OWNER);
    let all: Vec<(GrantName, Text, Option<Grant>)> = own(shard)
        .filter(|(name, ..)| !is_owner(name))
        .map(|(name, grant, team)| (name.clone(), team.clone(), is_unused(grant).map(|_| grant.clone())))
        .collect();
    let together = told_together(shard, Kind::UnusedGrant);
    let mut unused: BTreeMap<Text, usize> = BTreeMap::new();
    for (name, team, grant) in &all {
        *unused.entry(team.clone()).or_default() += usize::from(grant.is_some());
        let key = key(Kind::UnusedGrant, team, &words::of_grant(name));
        match grant {
            None => end(shard, key, at, rules, effects),
            Some(_) if is_told(shard, &key, &together) => {}
            Some(grant) => {
                let wrong = Wrong {
                    kind: Kind::UnusedGrant,
                    severity: if words::is_outside(grant.principal_type.as_ref()) { Severity::Warning } else { Severity::Info },
                    team,
                    finding: words::unused(name, grant, team, at),
                    at,
                    ingest: at,
                    identity: None,
                    events: 1,
                    users: Vec::new(),
                    lasts: true,
                };
                tell(shard, wrong, access, rules, effects);
            }
        }
    }
    // So many that they are told together.
    for (team, _) in unused.into_iter().filter(|(_, count)| *count == 0) {
        end(shard, key(Kind::UnusedGrant, &team, OTHER), at, rules, effects);
    }
}

/// How many use what somebody of this shard grants, and nobody owns.
fn look_for_hands(shard: &mut Shard, at: Timestamp, access: &AccessRules, rules: &WatchRules, effects: &mut Vec<Effect>) {
    let mut objects: BTreeMap<(Object, Text), BTreeSet<Text>> = BTreeMap::new();
    for (name, grant, team) in own(shard) {
        let object = name.object.whole().unwrap_or_else(|| name.object.clone());
        let hands = objects.entry((object, team.clone())).or_default();
        let is_recent = grant.last_used.is_some_and(|used| at.0 - used.0 <= HANDS_MS);
        if is_recent {
            hands.insert(name.principal.clone());
        }
    }
    let together = told_together(shard, Kind::TooManyHands);
    let mut wrong: BTreeSet<Text> = BTreeSet::new();
    for ((object, team), hands) in objects {
        let hands: Vec<Text> = hands.into_iter().collect();
        let book = &shard.matters.access;
        let owner = book.owner(&object);
        let gone = owner.filter(|owner| book.gone.contains_key(*owner)).cloned();
        let is_owned = owner.is_some() && gone.is_none();
        let key = key(Kind::TooManyHands, &team, &words::of_object(&object));
        let is_wrong = access.hands > 0 && hands.len() >= access.hands && !is_owned && access.is_on(Kind::TooManyHands);
        if is_wrong {
            wrong.insert(team.clone());
        }
        if !is_wrong {
            end(shard, key, at, rules, effects);
        } else if !is_told(shard, &key, &together) {
            let wrong = Wrong {
                kind: Kind::TooManyHands,
                severity: Severity::Warning,
                team: &team,
                finding: words::hands(&object, &hands, gone.as_ref()),
                at,
                ingest: at,
                identity: None,
                events: 1,
                users: hands.iter().collect(),
                lasts: true,
            };
            tell(shard, wrong, access, rules, effects);
        }
    }
    for team in together.into_iter().filter(|team| !wrong.contains(team)) {
        end(shard, key(Kind::TooManyHands, &team, OTHER), at, rules, effects);
    }
}
