//! Many alerts to a mail server that fails in every way it can, while the sender is killed: nothing is lost, and what comes twice says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::parts::{Brief, Guarded, Smtp, SmtpOptions, consume, produce, produce_with, test_ca, wait_for};
use super::path::Deployment;

/// Of the config: letters under way at once.
const IN_FLIGHT: usize = 16;

struct Size {
    alerts: usize,
    teams: usize,
    kills: usize,
    /// Alerts whose end is told afterwards.
    resolved: usize,
    /// Alerts that come one by one at the end, for their delay.
    paced: usize,
    /// Whether alerts bring the hours that a chart is made of.
    charts: bool,
    limit: Duration,
}

/// Alert, revision and address: what has to arrive.
type Told = (String, u32, String);

fn team(number: usize) -> String {
    format!("team-{number:03}")
}

/// Routes of their own for each team; each fifth has a lead beside its on-call; critical ones go to the pager as well.
fn config(size: &Size, port: u16) -> String {
    let mut text = format!(
        "[mail]\nhost = 'localhost'\nport = {port}\nusername = 'tollgate'\npassword_file = 'password'\nca_file = '{}'\n\
         from = 'Tollgate <tollgate@example.com>'\ntimeout = '3s'\n\
         [deliver]\nrepeat_interval = '0s'\nfirst_retry = '1s'\nlongest_retry = '2s'\nin_flight = {IN_FLIGHT}\nstorm = 0\nparents_inhibit = false\n\
         [[route]]\nreceivers = ['pager@example.com']\nleast_severity = 'critical'\ngo_on = true\n",
        test_ca().ca.display()
    );
    for number in 0..size.teams {
        let lead = if number % 5 == 0 { format!(", '{}-lead@example.com'", team(number)) } else { String::new() };
        text += &format!("[[route]]\nteams = ['{0}']\nreceivers = ['{0}@example.com'{lead}]\nleast_severity = 'info'\n", team(number));
    }
    text
}

/// As the routes above say, in other words.
fn receivers(number: usize, is_critical: bool) -> Vec<String> {
    let mut all = vec![format!("{}@example.com", team(number))];
    if number.is_multiple_of(5) {
        all.push(format!("{}-lead@example.com", team(number)));
    }
    if is_critical {
        all.push("pager@example.com".to_owned());
    }
    all
}

struct Story {
    size: Size,
    deployment: Deployment,
    smtp: Smtp,
    template: Value,
    expected: BTreeSet<Told>,
}

impl Story {
    fn new(size: Size) -> Story {
        let trouble = ["--brief", "--busy-every", "20", "--cut-every", "200", "--silent-at", "150"];
        let smtp = Smtp::start_with(&SmtpOptions::default(), &trouble);
        let deployment = Deployment::without_mail("bulk", &config(&size, smtp.port));
        let mut template: Value = serde_json::from_str(include_str!("../data/alerts/spike.json")).unwrap();
        if !size.charts {
            template["history"] = json!([]);
        }
        Story { size, deployment, smtp, template, expected: BTreeSet::new() }
    }

    /// A line for the producer; notes who has to hear of it.
    fn alert(&mut self, number: usize, revision: u32) -> Value {
        let of_team = number % self.size.teams;
        let is_critical = number % 10 == 3;
        let id = format!("{}/{number:032x}", team(of_team));
        let mut alert = self.template.clone();
        alert["id"] = json!(id);
        alert["incident_id"] = json!(id);
        alert["team"] = json!(team(of_team));
        alert["revision"] = json!(revision);
        alert["severity"] = json!(if is_critical { "critical" } else { "warning" });
        if revision > 1 {
            alert["state"] = json!("resolved");
            alert["closed_at"] = json!("2026-11-24T15:00:00Z");
        }
        self.expected.extend(receivers(of_team, is_critical).into_iter().map(|to| (id.clone(), revision, to)));
        json!({"topic": self.deployment.topic("alerts"), "key": id, "headers": {"content-type": "application/json"}, "value_json": alert})
    }

    fn start(&self) -> Guarded {
        self.deployment.start_with(&["--only", "deliver"])
    }

    /// Until so many of the expected mails have arrived, whichever.
    fn wait_until(&self, count: usize) -> Vec<Brief> {
        let (mut seen, mut arrived) = (0, BTreeSet::new());
        wait_for(&format!("{count} of {} mails", self.expected.len()), self.size.limit, || {
            let new = self.smtp.brief_from(seen);
            seen += new.len();
            arrived.extend(new.iter().map(told));
            (arrived.len() >= count).then(|| self.smtp.brief())
        })
    }

    /// Everything that was read is done with: no letter waits.
    fn wait_until_done(&self) {
        wait_for("the last receipts", self.size.limit, || {
            let page = self.deployment.get("/metrics").1;
            let lags: Vec<&str> =
                page.lines().filter(|line| line.starts_with("tollgate_consumergroup_lag{") && line.contains("-deliver")).collect();
            (lags.len() >= 2 && lags.iter().all(|line| line.ends_with(" 0"))).then_some(())
        });
    }
}

fn told(mail: &Brief) -> Told {
    (mail.alert_id.clone(), mail.revision, mail.to.clone())
}

/// Nothing is lost, nothing goes to anybody else, and what came more than once carries the same Message-ID. How many came again.
fn judge(story: &Story, mails: &[Brief]) -> usize {
    let mut ids: BTreeMap<Told, Vec<&str>> = BTreeMap::new();
    for mail in mails {
        ids.entry(told(mail)).or_default().push(&mail.message_id);
    }
    let arrived: BTreeSet<Told> = ids.keys().cloned().collect();
    let lost: Vec<_> = story.expected.difference(&arrived).collect();
    let astray: Vec<_> = arrived.difference(&story.expected).collect();
    assert!(lost.is_empty() && astray.is_empty(), "lost: {lost:?}, not asked for: {astray:?}");
    for (told, ids) in &ids {
        assert!(ids.iter().all(|id| *id == ids[0]), "{told:?} came as different mails: {ids:?}");
    }
    let distinct: BTreeSet<&str> = ids.values().map(|ids| ids[0]).collect();
    assert_eq!(distinct.len(), ids.len(), "each has an id of its own");
    mails.len() - ids.len()
}

fn run(size: Size) -> (f64, f64) {
    let (alerts, kills, resolved, paced) = (size.alerts, size.kills, size.resolved, size.paced);
    let mut story = Story::new(size);
    let lines: Vec<Value> = (0..alerts).map(|number| story.alert(number, 1)).collect();
    produce(story.deployment.broker.bootstrap(), &lines);
    let mut process = story.start();
    let opened = story.expected.len();
    let mut rate = 0.0;
    for kill in 1..=kills {
        let mails = story.wait_until(opened * kill / (kills + 1));
        if kill == 1 {
            let (first, last) = (mails.first().unwrap().unix_ms, mails.last().unwrap().unix_ms);
            rate = mails.len() as f64 / ((last - first).max(1) as f64 / 1000.0);
            let ms = |seconds: f64| seconds * 1000.0 / mails.len() as f64;
            let (server, ours) = (ms(story.smtp.cpu()), ms(process.cpu()));
            println!("{} mails at {rate:.0} a second; processor time a mail: {ours:.1} ms, of the server {server:.1} ms", mails.len());
        }
        process.kill9();
        process = story.start();
    }
    story.wait_until(opened);
    // Each end is part of the conversation that its beginning opened.
    let lines: Vec<Value> = (0..resolved).map(|number| story.alert(number, 2)).collect();
    produce(story.deployment.broker.bootstrap(), &lines);
    story.wait_until(story.expected.len());
    story.wait_until_done();
    let mails = story.smtp.brief();
    let again = judge(&story, &mails);
    assert!(again <= kills * IN_FLIGHT, "{again} mails came again after {kills} kills");
    let openings: BTreeMap<(&str, &str), &str> = mails
        .iter()
        .filter(|mail| mail.revision == 1)
        .map(|mail| ((mail.alert_id.as_str(), mail.to.as_str()), mail.message_id.as_str()))
        .collect();
    for end in mails.iter().filter(|mail| mail.revision == 2) {
        assert_eq!(end.in_reply_to.as_deref(), Some(openings[&(end.alert_id.as_str(), end.to.as_str())]));
    }
    story.smtp.calm();
    let p99 = delays(&mut story, alerts, paced);
    println!("{} mails, {again} again after {kills} kills, {rate:.0} a second, record to acceptance p99 {p99:.0} ms", mails.len());
    drop(process);
    (rate, p99)
}

/// Alerts that come one by one, twenty a second: milliseconds from the record to the server's acceptance, 99th percentile.
fn delays(story: &mut Story, from: usize, count: usize) -> f64 {
    let before = story.smtp.brief().len();
    let lines: Vec<Value> = (from..from + count).map(|number| story.alert(number, 1)).collect();
    let counts = produce_with(story.deployment.broker.bootstrap(), &lines, &["--rate", "20"]);
    assert_eq!(counts["acked"], lines.len());
    story.wait_until(story.expected.len());
    let records = consume(story.deployment.broker.bootstrap(), &story.deployment.topic("alerts"));
    let written: BTreeMap<String, i64> = records.into_iter().map(|record| (record.key.clone().unwrap(), record.timestamp)).collect();
    let mails = story.smtp.brief();
    let mut delays: Vec<i64> = mails[before..].iter().map(|mail| mail.unix_ms - written[&mail.alert_id]).collect();
    delays.sort_unstable();
    delays[(delays.len() * 99).div_ceil(100) - 1] as f64
}

#[test]
fn nothing_is_lost_and_what_comes_twice_says_so() {
    let start = Instant::now();
    let limit = Duration::from_secs(120);
    run(Size { alerts: 300, teams: 50, kills: 2, resolved: 40, paced: 40, charts: false, limit });
    println!("took {:?}", start.elapsed());
}

/// `make mails`. Unoptimised, where a picture takes longer than all the rest, it is about what arrives only, and not how fast.
#[test]
#[ignore = "long, and about an optimised build"]
fn ten_thousand_alerts() {
    let limit = Duration::from_secs(600);
    let is_optimised = !cfg!(debug_assertions);
    let (rate, p99) = run(Size { alerts: 10_000, teams: 500, kills: 2, resolved: 1_000, paced: 400, charts: is_optimised, limit });
    if !is_optimised {
        return;
    }
    assert!(rate >= 200.0, "{rate:.0} mails a second");
    assert!(p99 <= 1_000.0, "record to acceptance p99 {p99:.0} ms");
}
