//! What is told together: letters of one group wait for each other, and when a receiver would get more letters than anybody reads, those
//! that come next are gathered into one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::alert::Alert;
use crate::model::time::{MINUTE_MS, Timestamp};

use super::lane::Due;
use super::plan::Wait;
use super::rules::{DeliverRules, Receiver, group};

/// Letters of so long ago count towards a storm.
const STORM_OF: i64 = 10 * MINUTE_MS;
/// Alerts in one letter: each is named, so there are several letters if there are more.
const MOST_TOGETHER: usize = 100;
/// Of letters that wait for no group.
const NO_GROUP: &str = "";

/// What a thread knows of the letters of the last minutes; a restart forgets it, and tells a little more.
#[derive(Debug, Default)]
pub struct Gathering {
    /// When the letters of a group go out.
    until: BTreeMap<(Receiver, String), Timestamp>,
    recent: BTreeMap<Receiver, VecDeque<Timestamp>>,
    /// Webhooks that programs read: those take one alert at a time, and all of them.
    machines: BTreeSet<String>,
}

impl Gathering {
    pub fn new(machines: BTreeSet<String>) -> Gathering {
        Gathering { machines, ..Gathering::default() }
    }

    fn takes_digests(&self, receiver: &Receiver) -> bool {
        match receiver {
            Receiver::Mail(_) => true,
            Receiver::Hook(name) => !self.machines.contains(name),
        }
    }

    /// Until when a letter that could go now waits for others, and why; `None` = it goes, and is counted.
    pub fn hold(&mut self, rules: &DeliverRules, alert: &Alert, receiver: &Receiver, now: Timestamp) -> Option<(Timestamp, Wait)> {
        if !self.takes_digests(receiver) {
            return None;
        }
        if let Some(group) = group(&rules.routes, alert, receiver, now) {
            return Some((self.opened(receiver, group.key, group.wait_ms, now), Wait::Group));
        }
        if rules.storm > 0 && self.recent(receiver, now) >= rules.storm {
            return Some((self.opened(receiver, NO_GROUP.to_string(), rules.storm_wait_ms, now), Wait::Storm));
        }
        self.count(receiver, now);
        None
    }

    /// Letters whose time has come, as they go out: those of one group as one, and all others of a receiver as one where each for itself
    /// would be a storm.
    pub fn bundle(&mut self, rules: &DeliverRules, due: Vec<Due>, now: Timestamp) -> Vec<Due> {
        self.until.retain(|_, until| *until > now);
        self.recent.retain(|_, times| times.back().is_some_and(|last| last.plus_ms(STORM_OF) > now));
        let mut groups: BTreeMap<(Receiver, String), Vec<Due>> = BTreeMap::new();
        let mut letters = Vec::new();
        for due in due {
            if !self.takes_digests(&due.receiver) {
                letters.push(due);
                continue;
            }
            let key = group(&rules.routes, &due.alert, &due.receiver, now).map_or_else(|| NO_GROUP.to_string(), |group| group.key);
            groups.entry((due.receiver.clone(), key)).or_default().push(due);
        }
        for ((receiver, key), mut members) in groups {
            let is_storm = rules.storm > 0 && self.recent(&receiver, now) + members.len() > rules.storm;
            if key == NO_GROUP && !is_storm {
                members.iter().for_each(|_| self.count(&receiver, now));
                letters.extend(members);
                continue;
            }
            members.sort_by(|a, b| {
                (b.alert.severity, b.alert.excess).cmp(&(a.alert.severity, a.alert.excess)).then_with(|| a.alert.id.cmp(&b.alert.id))
            });
            while !members.is_empty() {
                let rest = members.split_off(members.len().min(MOST_TOGETHER));
                letters.extend(Due::together(std::mem::replace(&mut members, rest)));
                self.count(&receiver, now);
            }
        }
        letters
    }

    fn opened(&mut self, receiver: &Receiver, key: String, wait_ms: i64, now: Timestamp) -> Timestamp {
        let until = self.until.entry((receiver.clone(), key)).or_insert(now.plus_ms(wait_ms));
        if *until <= now {
            *until = now.plus_ms(wait_ms);
        }
        *until
    }

    fn recent(&mut self, receiver: &Receiver, now: Timestamp) -> usize {
        let Some(times) = self.recent.get_mut(receiver) else { return 0 };
        while times.front().is_some_and(|first| first.plus_ms(STORM_OF) <= now) {
            times.pop_front();
        }
        times.len()
    }

    fn count(&mut self, receiver: &Receiver, now: Timestamp) {
        self.recent.entry(receiver.clone()).or_default().push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::deliver::render::sample;
    use crate::deliver::rules::Route;
    use crate::model::alert::Severity;
    use crate::model::money::Nanos;

    const NOW: Timestamp = Timestamp(1_795_521_600_000);

    fn ada() -> Receiver {
        Receiver::Mail("ada@x".into())
    }

    fn rules(route: Route, storm: usize) -> DeliverRules {
        let mut rules = DeliverRules { storm, storm_wait_ms: MINUTE_MS, ..DeliverRules::default() };
        rules.routes.routes = vec![Route { receivers: vec!["ada@x".into(), "hook:pager".into()], ..route }];
        rules
    }

    fn alert(number: usize) -> Alert {
        let severity = if number == 3 { Severity::Critical } else { Severity::Warning };
        let dimensions = BTreeMap::from([("model".to_string(), format!("m{}", number % 2))]);
        Alert { id: format!("search/{number}"), severity, excess: Nanos::from_units(100 + number as i64), dimensions, ..sample::spike() }
    }

    fn due(number: usize, receiver: &Receiver) -> Due {
        Due { partition: 0, offset: None, alert: Arc::new(alert(number)), receiver: receiver.clone(), earlier: None, with: Vec::new() }
    }

    fn shown(letters: &[Due]) -> Vec<String> {
        let ids =
            |letter: &Due| letter.all().map(|due| due.alert.id.trim_start_matches("search/").to_string()).collect::<Vec<_>>().join("+");
        letters.iter().map(ids).collect()
    }

    #[test]
    fn a_group_waits_for_its_own() {
        let rules = rules(Route { group_wait_ms: 5 * MINUTE_MS, group_by: vec!["model".into()], ..Route::default() }, 0);
        let mut gathering = Gathering::new(["pager".to_string()].into());
        let mut hold =
            |number, after| gathering.hold(&rules, &alert(number), &ada(), NOW.plus_ms(after)).map(|(until, why)| (until.0 - NOW.0, why));
        assert_eq!(hold(1, 0), Some((5 * MINUTE_MS, Wait::Group)));
        assert_eq!(hold(2, MINUTE_MS), Some((6 * MINUTE_MS, Wait::Group)), "another model");
        assert_eq!(hold(3, 2 * MINUTE_MS), Some((5 * MINUTE_MS, Wait::Group)), "with the first");
        assert_eq!(hold(5, 5 * MINUTE_MS), Some((10 * MINUTE_MS, Wait::Group)), "those are out");
        let pager = Receiver::Hook("pager".into());
        assert_eq!(gathering.hold(&rules, &alert(1), &pager, NOW), None, "machines take one at a time");
        let all: Vec<Due> = (1..=4).flat_map(|number| [due(number, &ada()), due(number, &pager)]).collect();
        assert_eq!(shown(&gathering.bundle(&rules, all, NOW)), ["1", "2", "3", "4", "4+2", "3+1"], "the worst first");
    }

    #[test]
    fn a_storm_becomes_a_digest_and_is_over_some_day() {
        let rules = rules(Route::default(), 3);
        let mut gathering = Gathering::default();
        for number in 1..=3 {
            assert_eq!(gathering.hold(&rules, &alert(number), &ada(), NOW), None);
        }
        for number in 4..=9 {
            let later = NOW.plus_ms(number as i64);
            assert_eq!(gathering.hold(&rules, &alert(number), &ada(), later), Some((NOW.plus_ms(MINUTE_MS + 4), Wait::Storm)));
        }
        assert_eq!(gathering.hold(&rules, &alert(4), &Receiver::Mail("bob@x".into()), NOW), None, "it is hers alone");
        let waiting: Vec<Due> = (4..=9).map(|number| due(number, &ada())).collect();
        assert_eq!(shown(&gathering.bundle(&rules, waiting, NOW.plus_ms(MINUTE_MS + 4))), ["9+8+7+6+5+4"]);
        let after = NOW.plus_ms(STORM_OF);
        assert_eq!(gathering.hold(&rules, &alert(10), &ada(), after), None);
        // What waited for something else, and comes all at once.
        let waiting: Vec<Due> = (1..=250).map(|number| due(number, &ada())).collect();
        let letters = gathering.bundle(&rules, waiting, after);
        assert_eq!(letters.iter().map(|letter| letter.all().count()).collect::<Vec<_>>(), [100, 100, 50], "each is named");
        assert_eq!(letters[0].alert.id, "search/3", "the critical one leads");
        let few = vec![due(1, &ada()), due(2, &ada())];
        assert_eq!(shown(&gathering.bundle(&rules, few, after.plus_ms(STORM_OF))), ["1", "2"]);
    }

    #[test]
    fn without_a_limit_each_goes_for_itself() {
        let rules = rules(Route::default(), 0);
        let mut gathering = Gathering::default();
        assert!((0..1_000).all(|number| gathering.hold(&rules, &alert(number), &ada(), NOW).is_none()));
        assert_eq!(gathering.bundle(&rules, (0..1_000).map(|number| due(number, &ada())).collect(), NOW).len(), 1_000);
    }
}
