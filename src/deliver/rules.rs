//! What deliver is told by config: who is to hear of what, and through which mail server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::model::alert::{Alert, Severity};
use crate::model::money::Nanos;

use super::retry::Backoff;

/// Everything that deliver is told.
#[derive(Clone, Debug)]
pub struct DeliverRules {
    /// Absent = mails are not sent.
    pub mail: Option<MailSettings>,
    pub routes: Routes,
    pub backoff: Backoff,
    /// An open alert is worth another mail once its excess has grown by this factor since the last one.
    pub update_growth: f64,
    /// ... or once nothing was heard of it for so long, in ms; 0 = never.
    pub repeat_interval_ms: i64,
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
    /// For one mail, from connecting to the server's last word.
    pub timeout: Duration,
    /// Where the web pages of this installation are, for links: `https://tollgate.example.com`.
    pub base_url: Option<String>,
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
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Team names; `*` stands for any run of characters. Empty = every team.
    pub teams: Vec<String>,
    /// Kinds of alerts (`spend_spike`, ...). Empty = every kind.
    pub kinds: Vec<String>,
    /// Dimensions that the alert has to name, and patterns of their values.
    pub only: BTreeMap<String, String>,
    /// Lighter ones are for nobody, whatever they are called.
    pub least_excess: Nanos,
    /// Mail addresses, and `hook:` names.
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

impl Receiver {
    pub fn address(&self) -> &str {
        match self {
            Receiver::Mail(address) => address,
            Receiver::Hook(name) => name,
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Receiver> {
        let hook = || text.strip_prefix(HOOK).map(|name| Receiver::Hook(name.to_string()));
        text.strip_prefix("mail:").map(|address| Receiver::Mail(address.to_string())).or_else(hook)
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
    /// An earlier route has told somebody, and does not go on.
    NotAsked,
}

/// Who hears of this alert: the receivers of the first route that is for it and for which it is not too light, and of the routes
/// after it for as long as they say `go_on`. The fallback is for alerts that no route is for; one that is too light for all routes
/// that are for it is for nobody.
pub fn route(routes: &Routes, alert: &Alert) -> Vec<Receiver> {
    let (steps, falls_back) = explain(routes, alert);
    let told = steps.iter().filter_map(|step| if let Step::Tells(receivers) = step { Some(*receivers) } else { None });
    let fallback = routes.fallback.iter().filter(|_| falls_back);
    without_repeats(told.flatten().chain(fallback).collect())
}

/// What each route says, in their order, and whether the fallback is asked.
pub fn explain<'r>(routes: &'r Routes, alert: &Alert) -> (Vec<Step<'r>>, bool) {
    let (mut steps, mut is_named, mut is_over) = (Vec::new(), false, false);
    for route in &routes.routes {
        let step = if is_over { Step::NotAsked } else { route.says(alert) };
        is_named |= matches!(step, Step::TooLight(_) | Step::Tells(_));
        is_over |= matches!(step, Step::Tells(_)) && !route.go_on;
        steps.push(step);
    }
    (steps, !is_named)
}

impl Route {
    fn says(&self, alert: &Alert) -> Step<'_> {
        if !names_team(self, &alert.team) {
            return Step::Other(format!("team {} is none of {}", alert.team, self.teams.join(", ")));
        }
        if !self.kinds.is_empty() && !self.kinds.iter().any(|kind| kind == alert.kind.as_str()) {
            return Step::Other(format!("kind {} is none of {}", alert.kind.as_str(), self.kinds.join(", ")));
        }
        for (dimension, pattern) in &self.only {
            match alert.dimensions.get(dimension) {
                Some(value) if matches(pattern, value) => {}
                Some(value) => return Step::Other(format!("{dimension} {value} is not {pattern}")),
                None => return Step::Other(format!("the alert names no {dimension}")),
            }
        }
        if alert.severity < self.least_severity {
            return Step::TooLight(format!("{} is less than {}", alert.severity.as_str(), self.least_severity.as_str()));
        }
        if alert.excess < self.least_excess {
            return Step::TooLight(format!("{} extra are less than {}", alert.excess, self.least_excess));
        }
        Step::Tells(&self.receivers)
    }
}

/// Whether this receiver may hear of the team's alerts at all, be the alert as light as it may: follow-ups go to those who were
/// told, also after the severity has fallen, but not to those who were taken off the routes.
pub fn may_hear(routes: &Routes, team: &str, receiver: &Receiver) -> bool {
    let holds = |addresses: &[String]| addresses.iter().any(|address| self::receiver(address) == *receiver);
    let mut named = false;
    for route in routes.routes.iter().filter(|route| names_team(route, team)) {
        named = true;
        if holds(&route.receivers) {
            return true;
        }
    }
    !named && holds(&routes.fallback)
}

fn names_team(route: &Route, team: &str) -> bool {
    route.teams.is_empty() || route.teams.iter().any(|pattern| matches(pattern, team))
}

/// As routes name them: a mail address, or `hook:` and the name of a webhook.
fn receiver(written: &str) -> Receiver {
    match written.trim().strip_prefix(HOOK) {
        Some(name) => Receiver::Hook(name.to_string()),
        None => Receiver::Mail(written.trim().to_string()),
    }
}

fn without_repeats(addresses: Vec<&String>) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for receiver in addresses.into_iter().map(|address| receiver(address)) {
        if !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    receivers
}

/// Whether the text is of the pattern, in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;

    fn to(teams: &[&str], receivers: &[&str], least_severity: Severity, go_on: bool) -> Route {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Route { teams: owned(teams), receivers: owned(receivers), least_severity, go_on, ..Route::default() }
    }

    fn told(routes: &Routes, team: &str, severity: Severity) -> Vec<String> {
        let alert = Alert { team: team.into(), severity, ..sample::spike() };
        route(routes, &alert).iter().map(|receiver| receiver.address().to_string()).collect()
    }

    #[test]
    fn the_first_route_that_fits_tells_its_receivers() {
        let routes = Routes {
            routes: vec![
                to(&["search", "ads-*"], &["pager@x"], Severity::Critical, true),
                to(&["search"], &["search@x", "pager@x"], Severity::Warning, false),
                to(&["search"], &["never@x"], Severity::Info, false),
            ],
            fallback: vec!["finops@x".into()],
        };
        assert_eq!(told(&routes, "search", Severity::Critical), ["pager@x", "search@x"]);
        assert_eq!(told(&routes, "search", Severity::Warning), ["search@x", "pager@x"]);
        assert_eq!(told(&routes, "search", Severity::Info), ["never@x"]);
        assert_eq!(told(&routes, "ads-eu", Severity::Critical), ["pager@x"]);
        assert_eq!(told(&routes, "ads-eu", Severity::Warning), [""; 0], "too light for its team is for nobody");
        assert_eq!(told(&routes, "billing", Severity::Info), ["finops@x"]);
    }

    #[test]
    fn routes_ask_for_kind_dimensions_and_money_too() {
        let only = |dimension: &str, pattern: &str| BTreeMap::from([(dimension.to_owned(), pattern.to_owned())]);
        let base = || to(&[], &["x@x"], Severity::Info, false);
        let of = |route: Route| {
            let routes = Routes { routes: vec![route], fallback: vec!["f@x".into()] };
            let (steps, _) = explain(&routes, &sample::spike());
            let told: Vec<String> = super::route(&routes, &sample::spike()).iter().map(|receiver| receiver.address().to_owned()).collect();
            (format!("{:?}", steps[0]), told)
        };
        for (route, step, told) in [
            (base(), "Tells", "x@x"),
            (Route { only: only("environment", "prod"), ..base() }, "Tells", "x@x"),
            (Route { only: only("model", "gpt-*"), kinds: vec!["spend_spike".into()], ..base() }, "Tells", "x@x"),
            (Route { only: only("environment", "dev"), ..base() }, "Other(\"environment prod is not dev\")", "f@x"),
            (Route { only: only("region", "*"), ..base() }, "Other(\"the alert names no region\")", "f@x"),
            (Route { kinds: vec!["runaway".into()], ..base() }, "Other(\"kind spend_spike is none of runaway\")", "f@x"),
            (Route { least_excess: Nanos::from_units(312), ..base() }, "Tells", "x@x"),
            (Route { least_excess: Nanos::from_units(313), ..base() }, "TooLight(\"312.2 extra are less than 313\")", ""),
        ] {
            let (shown, receivers) = of(route);
            assert!(shown.starts_with(step) && receivers.join(",") == told, "{step}: {shown} {receivers:?}");
        }
    }

    #[test]
    fn those_off_the_routes_hear_no_more() {
        let routes = Routes { routes: vec![to(&[], &["a@x"], Severity::Critical, false)], fallback: vec!["f@x".into()] };
        assert!(may_hear(&routes, "search", &receiver("a@x")));
        assert!(!may_hear(&routes, "search", &receiver("f@x")));
    }

    #[test]
    fn stars_stand_for_any_run() {
        let yes = [("*", ""), ("*", "a"), ("a*", "a"), ("*b", "ab"), ("a*c", "abc"), ("a*b*c", "a-b-b-c"), ("**", "x"), ("é*", "éa")];
        let no = [("", "a"), ("a", "A"), ("a*c", "ab"), ("a*a", "a"), ("*b*", "acd"), ("a*b*c", "acb")];
        assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)));
        assert!(!no.iter().any(|(pattern, text)| matches(pattern, text)));
    }
}
