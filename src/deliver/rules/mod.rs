//! What deliver is told by config: who is to hear of what, and through which mail server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::model::alert::{Alert, AlertKind, AlertState, Severity};
use crate::model::money::Nanos;
use crate::model::time::{DAY_MS, Timestamp};

use super::calendar::{Rotation, Schedule};
use super::channels::forms::Form;
use super::inhibit::{Inhibit, value};
use super::retry::Backoff;

#[cfg(test)]
mod tests;

/// Everything that deliver is told.
#[derive(Clone, Debug, Default)]
pub struct DeliverRules {
    /// Absent = mails are not sent.
    pub mail: Option<MailSettings>,
    pub routes: Routes,
    pub backoff: Backoff,
    /// An open alert is worth another mail once its excess has grown by this factor since the last one.
    pub update_growth: f64,
    /// ... or once nothing was heard of it for so long, in ms; 0 = never.
    pub repeat_interval_ms: i64,
    /// Letters under way at once on each way out; after a crash at most these are sent again, under the same ids.
    pub in_flight: usize,
    /// Letters to one receiver in ten minutes; those after them are gathered. 0 = never.
    pub storm: usize,
    /// For how long.
    pub storm_wait_ms: i64,
    /// Whether an alert that somebody knows of speaks for those that are a part of it.
    pub parents_inhibit: bool,
    pub inhibits: Vec<Inhibit>,
    /// Forms of webhooks, by their names.
    pub hooks: BTreeMap<String, Form>,
}

impl DeliverRules {
    /// `None`: he is told by mail.
    pub fn form(&self, receiver: &Receiver) -> Option<Form> {
        match receiver {
            Receiver::Mail(_) => None,
            Receiver::Hook(name) => self.hooks.get(name).copied(),
        }
    }
}

/// How to reach the mail server.
#[derive(Clone, Debug)]
pub struct MailSettings {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// PEM; trusted besides the roots of the platform.
    pub ca_file: Option<Vec<u8>>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// `Tollgate <tollgate@example.com>` or the bare address.
    pub from: String,
    /// `mailto:` and `https:` addresses by which a receiver has himself taken off; `{address}` stands for his.
    pub unsubscribe: Vec<String>,
    /// A POST to the https address is enough.
    pub one_click: bool,
    /// For one mail, from connecting to the server's last word.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing is encrypted, passwords neither: for a relay on the same host.
    None,
    /// Plain at first, then TLS or nothing (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Implicit,
}

/// Who is told. Routes are tried in order; see [`route`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub routes: Vec<Route>,
    /// Receivers of alerts of teams that no route names.
    pub fallback: Vec<String>,
    /// By name, for `oncall:` receivers.
    pub rotations: BTreeMap<String, Rotation>,
    pub mutes: Vec<Mute>,
}

/// Alerts that nobody is told of for a while: maintenance, a planned change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// As in routes: empty = every one.
    pub teams: Vec<String>,
    pub kinds: Vec<String>,
    pub only: BTreeMap<String, String>,
    pub when: When,
    /// Why, for `route --explain`.
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Between(Timestamp, Timestamp),
    Hours(Hours),
}

/// Whether something holds during a schedule, or outside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    pub name: String,
    pub schedule: Schedule,
    pub outside: bool,
}

impl Hours {
    fn hold(&self, at: Timestamp) -> bool {
        self.schedule.holds(at) != self.outside
    }

    /// When that changes; `None` = never.
    fn change(&self, at: Timestamp) -> Option<Timestamp> {
        let (begin, _) = self.schedule.window(at)?;
        if begin > at { Some(begin) } else { self.schedule.ends(at) }
    }

    fn shown(&self) -> String {
        format!("{} {}", if self.outside { "outside of" } else { "during" }, self.name)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Team names; `*` stands for any run of characters. Empty = every team.
    pub teams: Vec<String>,
    /// Kinds of alerts (`spend_spike`, ...). Empty = every kind.
    pub kinds: Vec<String>,
    /// Dimensions that the alert has to name, and patterns of their values.
    pub only: BTreeMap<String, String>,
    /// Lighter ones are for nobody, whatever they are called: by what is extra or missing, or by what is spent of a budget.
    pub least_excess: Nanos,
    /// When it is asked; `None` = always.
    pub hours: Option<Hours>,
    /// At other times its letters wait, instead of the routes below being asked.
    pub waits: bool,
    /// Who is told as well if the alert is still open and nobody has answered so long after its receivers were first told, in ms; 0 =
    /// nobody.
    pub escalate_after_ms: i64,
    pub escalate_to: Vec<String>,
    /// Letters wait so long for others of their group, in ms; 0 = not at all.
    pub group_wait_ms: i64,
    /// What the alerts of a group have in common: dimensions, `team`, `kind`, `severity`, `incident`.
    pub group_by: Vec<String>,
    /// Mail addresses, `hook:` and `oncall:` names.
    pub receivers: Vec<String>,
    pub least_severity: Severity,
    /// Whether the routes below are asked too after this one has told somebody.
    pub go_on: bool,
}

/// One who can be told, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    Mail(String),
    /// By its name in the config: the address may be a secret, and may change.
    Hook(String),
}

/// In routes, in front of a webhook's name.
pub const HOOK: &str = "hook:";
/// In routes, in front of a rotation's name.
pub const ON_CALL: &str = "oncall:";

impl Receiver {
    pub fn address(&self) -> &str {
        match self {
            Receiver::Mail(address) => address,
            Receiver::Hook(name) => name,
        }
    }

    /// As `Display` writes it; earlier versions kept an address as it stood in the config.
    pub fn key(written: String) -> String {
        Receiver::parse(&written).map_or(written, |receiver| receiver.to_string())
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Receiver> {
        let hook = || text.strip_prefix(HOOK).map(|name| Receiver::Hook(name.to_string()));
        text.strip_prefix("mail:").map(|address| Receiver::Mail(bare(address))).or_else(hook)
    }
}

impl fmt::Display for Receiver {
    /// `mail:ada@example.com`: stable, receipts are kept under it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Mail(address) => write!(f, "mail:{address}"),
            Receiver::Hook(name) => write!(f, "{HOOK}{name}"),
        }
    }
}

/// What a route says of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'r> {
    /// It is for other alerts: which condition says so.
    Other(String),
    /// It is for this one, which is too light for it: by what.
    TooLight(String),
    Tells(&'r [String]),
    /// It tells them once its hours begin.
    TellsLater(&'r [String], Timestamp, String),
    /// An earlier route has told somebody, and does not go on.
    NotAsked,
}

impl<'r> Step<'r> {
    /// Whom it tells, and from when on if not at once.
    fn told(&self) -> Option<(&'r [String], Option<Timestamp>)> {
        match self {
            Step::Tells(receivers) => Some((receivers, None)),
            Step::TellsLater(receivers, until, _) => Some((receivers, Some(*until))),
            Step::Other(_) | Step::TooLight(_) | Step::NotAsked => None,
        }
    }
}

/// Who hears of this alert: the receivers of the first route that is for it and for which it is not too light, and of the routes
/// after it for as long as they say `go_on`. The fallback is for alerts that no route is for, as a route that says nothing else; one that is
/// too light for all routes that are for it is for nobody.
pub fn route(routes: &Routes, alert: &Alert, at: Timestamp) -> Vec<Named> {
    let (steps, fallback) = explain(routes, alert, at);
    let mut named: Vec<Named> = Vec::new();
    let mut add = |written: &String, waits_until: Option<Timestamp>| {
        // Whoever is on call when it is told, not when it came.
        let Some(receiver) = routes.receiver(written, waits_until.unwrap_or(at)) else { return };
        match named.iter_mut().find(|known| known.receiver == receiver) {
            // One route that does not wait is enough.
            Some(known) => known.waits_until = known.waits_until.filter(|_| waits_until.is_some()),
            None => named.push(Named { receiver, waits_until }),
        }
    };
    for (receivers, waits_until) in steps.iter().chain(&fallback).filter_map(Step::told) {
        receivers.iter().for_each(|written| add(written, waits_until));
    }
    named
}

/// A receiver that routes name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub receiver: Receiver,
    pub waits_until: Option<Timestamp>,
}

/// Until when a letter to this receiver waits for the hours of a route, wherever it comes from; `None`: it does not.
pub fn waits(routes: &Routes, alert: &Alert, receiver: &Receiver, at: Timestamp) -> Option<Timestamp> {
    let is_escalated = alert.state == AlertState::Escalated;
    let (steps, _) = explain(routes, alert, at);
    let mut until = None;
    for (route, step) in routes.routes.iter().zip(steps) {
        match step {
            // One route that does not wait is enough; whom an escalation is for waits for no hours.
            Step::Tells(receivers) if receivers.iter().any(|written| routes.receiver(written, at).as_ref() == Some(receiver)) => {
                return None;
            }
            Step::Tells(_) | Step::TellsLater(..) if is_escalated && routes.may_be(&route.escalate_to, receiver) => return None,
            // Also who was on call when it was first told.
            Step::TellsLater(receivers, begin, _) if routes.may_be(receivers, receiver) => until = until.or(Some(begin)),
            Step::Tells(_) | Step::TellsLater(..) | Step::Other(_) | Step::TooLight(_) | Step::NotAsked => {}
        }
    }
    until
}

/// What each route says, in their order, and the fallback, if it is asked.
pub fn explain<'r>(routes: &'r Routes, alert: &Alert, at: Timestamp) -> (Vec<Step<'r>>, Option<Step<'r>>) {
    let (mut steps, mut is_named, mut is_over) = (Vec::new(), false, false);
    for route in &routes.routes {
        let step = if is_over { Step::NotAsked } else { route.says(alert, at) };
        let tells = step.told().is_some();
        is_named |= tells || matches!(step, Step::TooLight(_));
        is_over |= tells && !route.go_on;
        steps.push(step);
    }
    let fallback = || too_light(alert, Severity::Warning).unwrap_or(Step::Tells(&routes.fallback));
    (steps, (!is_named).then(fallback))
}

fn too_light<'r>(alert: &Alert, least: Severity) -> Option<Step<'r>> {
    (alert.severity < least).then(|| Step::TooLight(format!("{} is less than {}", alert.severity.as_str(), least.as_str())))
}

/// Whether nobody is told of it now: until when, and why.
pub fn muted<'r>(routes: &'r Routes, alert: &Alert, at: Timestamp) -> Option<(Timestamp, &'r Mute)> {
    let until = |mute: &Mute| match &mute.when {
        When::Between(from, until) => (*from <= at && at < *until).then_some(*until),
        // One without an end is looked at again.
        When::Hours(hours) => hours.hold(at).then(|| hours.change(at).unwrap_or(at.plus_ms(DAY_MS))),
    };
    let is_for = |mute: &&Mute| names(&mute.teams, &mute.kinds, &mute.only, alert).is_ok();
    let now = routes.mutes.iter().filter(is_for).filter_map(|mute| Some((until(mute)?, mute)));
    now.max_by_key(|(until, _)| *until)
}

/// Letters of one receiver that are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub key: String,
    pub wait_ms: i64,
}

/// The group that a letter about this alert waits for; `None`: a route that tells him waits for none.
pub fn group(routes: &Routes, alert: &Alert, receiver: &Receiver, at: Timestamp) -> Option<Group> {
    let (steps, _) = explain(routes, alert, at);
    let mut found = None;
    for (number, (route, step)) in routes.routes.iter().zip(&steps).enumerate() {
        let Some((receivers, waits_until)) = step.told() else { continue };
        let told_at = waits_until.unwrap_or(at);
        if !receivers.iter().any(|written| routes.receiver(written, told_at).as_ref() == Some(receiver)) {
            continue;
        }
        if route.group_wait_ms == 0 {
            return None;
        }
        let values: Vec<String> = route.group_by.iter().map(|key| format!("{key}={:?}", value(alert, key))).collect();
        found = found.or(Some(Group { key: format!("{number} {}", values.join(" ")), wait_ms: route.group_wait_ms }));
    }
    found
}

/// Who is told as well, because those whom a route tells were first told so long ago and nobody has answered. `told`: who was, and when.
pub fn escalation(routes: &Routes, alert: &Alert, told: &[(Receiver, Timestamp)], now: Timestamp) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for (number, route) in routes.routes.iter().enumerate().filter(|(_, route)| route.escalate_after_ms > 0) {
        // Of those whom no route has any more nobody knows which one told them; somebody has to answer all the same.
        let is_its_own = |who: &Receiver| routes.may_be(&route.receivers, who) || !may_hear(routes, &alert.team, who);
        let its_own = told.iter().filter(|(receiver, _)| is_its_own(receiver));
        let Some(since) = its_own.map(|(_, since)| *since).min().filter(|since| since.plus_ms(route.escalate_after_ms) <= now) else {
            continue;
        };
        if explain(routes, alert, since).0.get(number).is_some_and(|step| step.told().is_some()) {
            receivers.extend(route.escalate_to.iter().filter_map(|written| routes.receiver(written, now)));
        }
    }
    receivers
}

impl Routes {
    /// As routes name them: a mail address, `hook:` and the name of a webhook, or `oncall:` and that of a rotation. `None`: nobody is on
    /// call there.
    fn receiver(&self, written: &str, at: Timestamp) -> Option<Receiver> {
        match written.trim().strip_prefix(ON_CALL) {
            Some(name) => self.rotations.get(name)?.on_call(at).map(receiver),
            None => Some(receiver(written)),
        }
    }

    pub fn is_fallback(&self, who: &Receiver) -> bool {
        self.may_be(&self.fallback, who)
    }

    /// Whether he is told of alerts while he is on call only, and is not now.
    pub fn is_off_duty(&self, who: &Receiver, at: Timestamp) -> bool {
        let told = || self.routes.iter().map(|route| &route.receivers).chain([&self.fallback]);
        let is_told = told().flatten().any(|written| self.receiver(written, at).as_ref() == Some(who));
        let is_told_later = self.routes.iter().any(|route| self.may_be(&route.escalate_to, who));
        !is_told && !is_told_later && told().any(|written| self.may_be(written, who))
    }

    /// Whether he is among those that are written here, or may be on call there.
    fn may_be(&self, written: &[String], who: &Receiver) -> bool {
        written.iter().any(|written| match written.trim().strip_prefix(ON_CALL) {
            Some(name) => self.rotations.get(name).is_some_and(|rotation| rotation.everybody().any(|written| receiver(written) == *who)),
            None => receiver(written) == *who,
        })
    }
}

/// # Errors
/// Which condition says that it is for other alerts.
pub(super) fn names(teams: &[String], kinds: &[String], only: &BTreeMap<String, String>, alert: &Alert) -> Result<(), String> {
    if !names_team(teams, &alert.team) {
        return Err(format!("team {} is none of {}", alert.team, teams.join(", ")));
    }
    if !kinds.is_empty() && !kinds.iter().any(|kind| kind == alert.kind.as_str()) {
        return Err(format!("kind {} is none of {}", alert.kind.as_str(), kinds.join(", ")));
    }
    for (dimension, pattern) in only {
        match alert.dimensions.get(dimension) {
            Some(value) if matches(pattern, value) => {}
            Some(value) => return Err(format!("{dimension} {value} is not {pattern}")),
            None => return Err(format!("the alert names no {dimension}")),
        }
    }
    Ok(())
}

impl Route {
    fn says(&self, alert: &Alert, at: Timestamp) -> Step<'_> {
        if let Err(why) = names(&self.teams, &self.kinds, &self.only, alert) {
            return Step::Other(why);
        }
        let closed = self.hours.as_ref().filter(|hours| !hours.hold(at));
        if let Some(hours) = closed.filter(|_| !self.waits) {
            return Step::Other(format!("it is asked {} only", hours.shown()));
        }
        if let Some(too_light) = too_light(alert, self.least_severity) {
            return too_light;
        }
        let (weight, of) = weight(alert);
        if weight < self.least_excess {
            return Step::TooLight(format!("{weight} {of} are less than {}", self.least_excess));
        }
        match closed {
            None => Step::Tells(&self.receivers),
            // Hours that never come are no reason to tell nobody.
            Some(hours) => {
                hours.change(at).map_or(Step::Tells(&self.receivers), |begin| Step::TellsLater(&self.receivers, begin, hours.shown()))
            }
        }
    }
}

/// What an alert weighs, and what that is. The excess of a silence is negative, as that of a budget that is not used up: neither is light.
fn weight(alert: &Alert) -> (Nanos, &'static str) {
    match alert.kind {
        AlertKind::Budget => (alert.actual, "spent"),
        _ if alert.excess < Nanos::ZERO => (Nanos::ZERO.saturating_sub(alert.excess), "missing"),
        _ => (alert.excess, "extra"),
    }
}

/// Whether this receiver may hear of the team's alerts at all, be the alert as light as it may: follow-ups go to those who were
/// told, also after the severity has fallen, but not to those who were taken off the routes.
pub fn may_hear(routes: &Routes, team: &str, receiver: &Receiver) -> bool {
    let mut named = false;
    for route in routes.routes.iter().filter(|route| names_team(&route.teams, team)) {
        named = true;
        if routes.may_be(&route.receivers, receiver) || routes.may_be(&route.escalate_to, receiver) {
            return true;
        }
    }
    !named && routes.may_be(&routes.fallback, receiver)
}

fn names_team(teams: &[String], team: &str) -> bool {
    teams.is_empty() || teams.iter().any(|pattern| matches(pattern, team))
}

/// A mail address, or `hook:` and the name of a webhook.
fn receiver(written: &str) -> Receiver {
    match written.trim().strip_prefix(HOOK) {
        Some(name) => Receiver::Hook(name.to_string()),
        None => Receiver::Mail(bare(written)),
    }
}

/// `Ada <ada@Example.com>` is told as `ada@example.com`: however it is written, it is one mailbox. What stands before the `@` may differ by
/// large and small letters.
fn bare(written: &str) -> String {
    let bare = written.rsplit_once('<').map_or(written, |(_, rest)| rest.trim_end().trim_end_matches('>')).trim();
    bare.rsplit_once('@').map_or_else(|| bare.to_string(), |(name, domain)| format!("{name}@{}", domain.to_lowercase()))
}

/// Whether the text is of the pattern, in which `*` stands for any run of characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // The earliest place for each middle part leaves the most to the parts after it.
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = text.get(at + part.len()..).unwrap_or_default();
        rest = after;
    }
    text.ends_with(rest)
}
