//! Cost per token: was it the price, the number of tokens, or another model? And the guard that speaks when it jumps.
//!
//! Nothing is kept for it: what is usual stands in the leaves' recent hours, some two days. So a new price is a new normal after them.

use std::collections::BTreeMap;

use super::super::Moment;
use super::super::account::AccountState;
use super::super::baseline::Channel;
use super::super::explain::split::{self, Part};
use super::super::judge::{self, Judged};
use super::super::rules::Thresholds;
use super::super::series::{HourTotals, from_units, to_units};
use super::episode::{Episode, Trigger};
use super::select;
use crate::model::alert::{AlertKind, Split};
use crate::model::leaf::{Account, LeafDimensions, Scope};
use crate::model::money::Nanos;
use crate::model::time::Hour;

/// An output token costs about so many input tokens on every price list; so a change of their shares is not taken for one of prices.
const OUTPUT_WEIGHT: u64 = 4;
/// The guard wants so many hours that say what is usual, and a cost per token so many times the highest of them, ...
const LEAST_HOURS: usize = 12;
const LEAST_JUMP: f64 = 1.3;
/// ... after an hour that was on its way there already, so that no odd hour makes an alert.
const ON_ITS_WAY: f64 = 1.15;
/// Hours with less than this part of the usual tokens say little about what a token costs.
const LEAST_TOKENS: f64 = 0.1;
/// The excess of so many hours has to be worth an alert: a price stays.
const HOURS_THAT_COUNT: f64 = 12.0;
/// Part of an episode's money that the leaves' hours may lack.
const MOST_UNKNOWN: f64 = 0.1;
/// A part stands for the whole from this share on.
const MOST: f64 = 0.6;
/// ... and a leaf for its project from this one.
const MOST_OF_PROJECT: f64 = 0.9;

/// What a node's leaves used in some hours, against the hours before.
pub(crate) struct Comparison {
    parts: Vec<(LeafDimensions, Part)>,
    /// Cost and weighted tokens of all leaves: by usual hour, and now.
    usual: BTreeMap<Hour, (f64, f64)>,
    now: (f64, f64),
}

/// Tokens as the guard counts them: input has cached ones and cache writes in it, output reasoning.
fn weighted(totals: &HourTotals) -> f64 {
    let [input, output, ..] = totals.tokens;
    input.saturating_add(output.saturating_mul(OUTPUT_WEIGHT)) as f64
}

fn tokens(totals: &HourTotals) -> u64 {
    let [input, output, ..] = totals.tokens;
    input.saturating_add(output)
}

impl Comparison {
    /// Of `hours` against those before `onset`.
    pub fn new(state: &AccountState, scope: &Scope, hours: &[Hour], onset: Hour) -> Comparison {
        let mut comparison = Comparison { parts: Vec::new(), usual: BTreeMap::new(), now: (0.0, 0.0) };
        for (dimensions, _, leaf) in state.leaves().filter(|(_, node, _)| node.scope.within(scope)) {
            let mut part = Part::default();
            for (hour, totals) in leaf.recent.hours().into_iter().filter(|(hour, _)| *hour < onset) {
                let sum = comparison.usual.entry(hour).or_default();
                (sum.0, sum.1) = (sum.0 + to_units(totals.cost), sum.1 + weighted(&totals));
                part.usual_cost = part.usual_cost.saturating_add(totals.cost);
                part.usual_tokens = part.usual_tokens.saturating_add(tokens(&totals));
            }
            for totals in hours.iter().filter_map(|hour| leaf.totals(*hour)) {
                let now = &mut comparison.now;
                (now.0, now.1) = (now.0 + to_units(totals.cost), now.1 + weighted(&totals));
                part.cost = part.cost.saturating_add(totals.cost);
                part.tokens = part.tokens.saturating_add(tokens(&totals));
            }
            comparison.parts.push((dimensions.clone(), part));
        }
        comparison
    }

    /// What the tokens of now cost per token, in multiples of the dearest usual hour; `None` while too little is known.
    fn jump(&self) -> Option<f64> {
        let mean = self.usual.values().map(|(_, tokens)| tokens).sum::<f64>() / self.usual.len().max(1) as f64;
        let telling = self.usual.values().filter(|(_, tokens)| *tokens > 0.0 && *tokens >= LEAST_TOKENS * mean);
        let rates: Vec<f64> = telling.map(|(cost, tokens)| cost / tokens).collect();
        let dearest = rates.iter().copied().fold(0.0, f64::max);
        let enough = rates.len() >= LEAST_HOURS && dearest > 0.0 && self.now.1 >= LEAST_TOKENS * mean && self.now.1 > 0.0;
        enough.then(|| self.now.0 / self.now.1 / dearest)
    }

    /// The usual average price of a token.
    fn usual_price(&self) -> Option<f64> {
        let (cost, tokens) = self.usual.values().fold((0.0, 0.0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
        (tokens > 0.0).then(|| cost / tokens)
    }

    /// What the tokens of now would have cost at that.
    fn usual_money(&self) -> Option<f64> {
        self.usual_price().map(|price| self.now.1 * price)
    }

    fn plain_parts(&self) -> Vec<Part> {
        self.parts.iter().map(|(_, part)| *part).collect()
    }

    /// Whether most of the money now is in tokens: else the split would speak of a side issue.
    fn is_of_tokens(&self) -> bool {
        let counted: f64 = self.parts.iter().filter(|(_, part)| part.tokens > 0).map(|(_, part)| to_units(part.cost)).sum();
        self.now.0 > 0.0 && counted >= 0.8 * self.now.0
    }

    /// The leaf with most of the money that prices have changed, or that came in at another price than the usual one.
    fn main(&self, kind: AlertKind) -> Option<&(LeafDimensions, Part)> {
        let weight = |part: &Part| if kind == AlertKind::PriceChange { part.price() } else { newcomer(part) };
        let total: f64 = self.parts.iter().map(|(_, part)| to_units(weight(part)).max(0.0)).sum();
        let main = self.parts.iter().max_by(|a, b| weight(&a.1).cmp(&weight(&b.1)).then(b.0.cmp(&a.0)))?;
        (total > 0.0 && to_units(weight(&main.1)) >= MOST * total).then_some(main)
    }

    /// The leaf that lost most tokens to others.
    fn loser(&self, hours: usize) -> Option<&(LeafDimensions, Part)> {
        let each = |part: &Part| part.usual_tokens as f64 / self.usual.len().max(1) as f64 * hours as f64;
        let lost = |part: &Part| each(part) - part.tokens as f64;
        let loser = self.parts.iter().max_by(|a, b| lost(&a.1).total_cmp(&lost(&b.1)).then(b.0.cmp(&a.0)))?;
        (lost(&loser.1) >= 0.5 * each(&loser.1) && lost(&loser.1) > 0.0).then_some(loser)
    }
}

/// Money of tokens that have no usual price here.
fn newcomer(part: &Part) -> Nanos {
    if part.usual_tokens == 0 { part.cost } else { Nanos::ZERO }
}

/// What an episode's excess is made of, and in words what changed, if one thing did.
pub(crate) fn of_episode(state: &AccountState, episode: &Episode) -> Option<(Split, Option<String>)> {
    let hours: Vec<Hour> = episode.hours.keys().copied().collect();
    let scope = around(&episode.scope, episode.kind);
    let comparison = Comparison::new(state, &scope, &hours, episode.onset.hour());
    // Of hours that are forgotten, or not all told yet, there is no split.
    let known = (comparison.now.0 - to_units(episode.actual())).abs() <= MOST_UNKNOWN * to_units(episode.actual());
    if !known || !comparison.is_of_tokens() {
        return None;
    }
    let split = split::split(&comparison.plain_parts(), episode.actual(), episode.expected())?;
    let changed = what_changed(&comparison, &split, episode.excess(), hours.len());
    Some((split, changed))
}

/// Another model is seen from the project only: the leaf alone has no other one.
fn around(scope: &Scope, kind: AlertKind) -> Scope {
    match (scope, kind) {
        (Scope::Leaf(leaf), AlertKind::ModelSwitch) => Scope::Project(leaf.project.clone()),
        (scope, _) => scope.clone(),
    }
}

/// What the tokens of a node's hour would have cost before `onset`.
fn usual_money(state: &AccountState, scope: &Scope, kind: AlertKind, hour: Hour, onset: Hour) -> Option<f64> {
    let before = Comparison::new(state, &around(scope, kind), &[hour], onset);
    let own = Comparison::new(state, scope, &[hour], onset);
    before.usual_price().map(|price| own.now.1 * price)
}

fn what_changed(comparison: &Comparison, split: &Split, excess: Nanos, hours: usize) -> Option<String> {
    let [excess, price, mix] = [excess, split.price, split.mix].map(to_units);
    if excess <= 0.0 {
        return None;
    }
    if price >= MOST * excess {
        let (leaf, part) = comparison.main(AlertKind::PriceChange)?;
        let times = to_units(part.cost) / to_units(part.at_usual_price()?);
        let by = if (1.9..2.1).contains(&times) { "doubled".to_string() } else { format!("is {times:.1} times what it was") };
        return Some(format!("the price of {} per token {by}", name(leaf)));
    }
    if mix >= MOST * excess {
        let (to, _) = comparison.main(AlertKind::ModelSwitch)?;
        return Some(match comparison.loser(hours) {
            Some((from, _)) if name(from) != name(to) => format!("traffic moved from {} to {}", name(from), name(to)),
            _ => format!("{} came in, which costs more per token", name(to)),
        });
    }
    None
}

fn name(leaf: &LeafDimensions) -> &str {
    [&leaf.model, &leaf.provider, &leaf.project].into_iter().find(|name| !name.is_empty()).map_or("it", |name| name)
}

/// Projects whose tokens cost more each than they did, in a closed hour and in the one before: what an episode of a price or of another
/// model opens with. None where an open episode is about it already.
pub(crate) fn triggers(state: &AccountState, account: &Account, hour: Hour, judged: &[Judged], moment: Moment<'_>) -> Vec<Trigger> {
    let is_told = |scope: &Scope| {
        state
            .open_rises()
            .filter(|episode| !select::is_slow(episode, hour))
            .any(|episode| episode.scope.within(scope) || scope.within(&episode.scope))
    };
    let projects = judged.iter().filter(|judged| matches!(judged.scope, Scope::Project(_)) && !is_told(&judged.scope));
    projects.filter_map(|judged| guard(state, judged, hour, judge::thresholds(moment.rules, account, &judged.scope))).collect()
}

fn guard(state: &AccountState, judged: &Judged, hour: Hour, limits: &Thresholds) -> Option<Trigger> {
    let gate = to_units(limits.least_excess);
    // Most series are so small that a jump is worth nothing; a dear token may be ten times as dear, not more.
    if judged.actual * HOURS_THAT_COUNT < gate {
        return None;
    }
    let before = Hour(hour.0 - 1);
    let now = Comparison::new(state, &judged.scope, &[hour], before);
    let jump = now.jump().filter(|jump| *jump >= LEAST_JUMP)?;
    Comparison::new(state, &judged.scope, &[before], before).jump().filter(|jump| *jump >= ON_ITS_WAY)?;
    let expected = now.usual_money()?;
    if !now.is_of_tokens() || (judged.actual - expected) * HOURS_THAT_COUNT < gate {
        return None;
    }
    let split = split::split(&now.plain_parts(), from_units(judged.actual), from_units(expected))?;
    let kind = if split.price >= split.mix { AlertKind::PriceChange } else { AlertKind::ModelSwitch };
    let main = now.main(kind).filter(|(_, part)| to_units(part.cost) >= MOST_OF_PROJECT * judged.actual);
    let scope = main.map_or_else(|| judged.scope.clone(), |(leaf, _)| Scope::Leaf(leaf.clone()));
    let expected = usual_money(state, &scope, kind, hour, before)?;
    let mut judged = Judged { scope, ..judged.clone() }.seen_on(Channel::Bucket);
    judged.verdict.normals[Channel::Bucket as usize] = expected;
    judged.expectation.expected = expected;
    judged.verdict.score = (1.0 - 0.05 / jump).clamp(0.0, 1.0);
    Some(Trigger::ratio(judged, kind, before))
}

/// What an hour of such an episode would have cost at the price before it; `None` once that is not told from usual any more.
pub(crate) fn goes_on(state: &AccountState, episode: &Episode, hour: Hour) -> Option<f64> {
    let scope = match &episode.scope {
        Scope::Leaf(leaf) => Scope::Project(leaf.project.clone()),
        other => other.clone(),
    };
    let comparison = Comparison::new(state, &scope, &[hour], episode.onset.hour());
    comparison.jump().filter(|jump| *jump >= ON_ITS_WAY)?;
    usual_money(state, &episode.scope, episode.kind, hour, episode.onset.hour())
}

impl Episode {
    /// Opened by the guard on the cost per token.
    pub(crate) fn is_of_ratio(&self) -> bool {
        matches!(self.kind, AlertKind::PriceChange | AlertKind::ModelSwitch)
    }
}
