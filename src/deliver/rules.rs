//! What deliver is told by config: who is to hear of what, and through which mail server.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::model::alert::{Alert, Severity};

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Team names; `*` stands for any run of characters. Empty = every team.
    pub teams: Vec<String>,
    /// Mail addresses, and `hook:` names.
    pub receivers: Vec<String>,
    pub least_severity: Severity,
    /// Whether the routes below are asked too after this one has matched.
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

/// Who hears of this alert: the receivers of the first route that names its team and whose severity it reaches, and of the
/// routes after it for as long as they say `go_on`. The fallback is for teams that no route names; an alert that is not severe
/// enough for the routes of its team is for nobody.
pub fn route(routes: &Routes, alert: &Alert) -> Vec<Receiver> {
    let mut named = false;
    let mut receivers = Vec::new();
    for route in routes.routes.iter().filter(|route| names_team(route, &alert.team)) {
        named = true;
        if alert.severity < route.least_severity {
            continue;
        }
        receivers.extend(&route.receivers);
        if !route.go_on {
            break;
        }
    }
    if !named {
        receivers.extend(&routes.fallback);
    }
    without_repeats(receivers)
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
        Route { teams: owned(teams), receivers: owned(receivers), least_severity, go_on }
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
