//! Words of people for which nothing was found: somebody believes that they hold.

use std::collections::BTreeMap;

use super::super::Shard;
use crate::model::Text;
use crate::model::feedback::Feedback;

/// That wait to be asked for; more are counted only.
const MOST_KEPT: usize = 1_000;

/// A word, and what it was to be about.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmatched {
    pub feedback: Feedback,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No alert, violation or matter has this id.
    UnknownAlert,
    /// Nothing is told of the spend that is named.
    NothingOpen,
    /// Announced for spend that there is not: it may come yet.
    NoSeries,
    /// Of too many teams something stands.
    NoRoom,
}

/// Since the start, and since they were last asked for.
#[derive(Clone, Debug, Default)]
pub(in crate::watch) struct Waiting {
    words: Vec<Unmatched>,
    count: u64,
}

impl Waiting {
    pub fn note(&mut self, feedback: &Feedback, why: Why) {
        // What is announced for later is heard all the same.
        self.count = self.count.saturating_add(u64::from(why != Why::NoSeries));
        if self.words.len() < MOST_KEPT {
            self.words.push(Unmatched { feedback: feedback.clone(), why });
        }
    }
}

impl Unmatched {
    /// What was not found, and what to look at.
    pub fn message(&self) -> String {
        let Feedback { team, alert_id, .. } = &self.feedback;
        match self.why {
            Why::UnknownAlert => format!(
                "no alert or violation '{}' is known: the id has to be whole, and an alert on spend is forgotten three days after its end",
                alert_id.as_deref().unwrap_or_default()
            ),
            Why::NothingOpen => format!("no open alert of team '{team}' is about {}: name an alert by its alert_id", self.spend()),
            Why::NoSeries => format!("no usage of team '{team}' falls under {}: compare the names, letter by letter", self.spend()),
            Why::NoRoom => format!("words of too many teams stand already, none of team '{team}' is taken: say it again later"),
        }
    }

    fn spend(&self) -> String {
        let named: Vec<String> = self.feedback.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if named.is_empty() { "its spend as a whole".to_string() } else { named.join(", ") }
    }
}

impl Shard {
    /// Words since the start that nothing was found for: about what nobody here knows, or what is over for long.
    pub fn unmatched_feedback(&self) -> u64 {
        self.unmatched_feedback.count
    }

    /// Those since this was last asked for, what is announced for spend that there is not yet among them.
    pub fn take_unmatched_feedback(&mut self) -> Vec<Unmatched> {
        std::mem::take(&mut self.unmatched_feedback.words)
    }

    /// Whether a team has a series that dimensions are about.
    pub fn has_series(&self, team: &Text, dimensions: &BTreeMap<Text, Text>) -> bool {
        let nodes = self.accounts.of_team(team).flat_map(|(_, state)| state.nodes());
        let mut scopes = nodes.map(|node| node.scope.dimensions());
        scopes.any(|own| dimensions.iter().all(|(name, value)| own.get(&**name).is_some_and(|known| **known == **value)))
    }
}
