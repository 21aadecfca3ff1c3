//! From the data to usage: a tenant's requests of 10 minutes split over models, users and minutes, with the incidents mixed in.

use serde::Serialize;

use super::cast::{Model, PROJECTS, Project};
use super::data::{self, Traffic};
use super::incidents::{BUCKET_MINUTES, INCIDENTS, Incident, Stream, What, bucket_ms};
use crate::model::money::Nanos;
use crate::model::time::{HOUR_MS, MINUTE_MS, Timestamp};

pub const METER: &str = "llm.tokens";
const ENVIRONMENT: &str = "prod";
/// Events that one user's requests of 10 minutes are told in.
const EVENTS_PER_USER: u64 = 2;

/// What one usage event says, and what only the demo knows about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    pub at: Timestamp,
    pub team: &'static str,
    pub project: &'static str,
    pub region: &'static str,
    pub user: &'static str,
    pub model: &'static Model,
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The incident that it belongs to (index into `INCIDENTS`), and what would not have been spent without it.
    pub harm: Option<(usize, Nanos)>,
}

/// The whole story, bucket by bucket.
pub struct Story {
    /// Start of bucket 0.
    pub beginning: Timestamp,
    traffic: Vec<Traffic>,
    /// What each tenant's requests are multiplied by.
    factors: Vec<f64>,
}

impl Story {
    /// Ends with the hour that `now` lies in.
    ///
    /// # Errors
    /// The data cannot be read.
    pub fn ending_at(now: Timestamp) -> anyhow::Result<Story> {
        let traffic = data::load()?;
        let factors = PROJECTS.iter().enumerate().map(|(tenant, project)| factor(project, tenant, &traffic)).collect();
        Ok(Story { beginning: now.hour().start().minus_ms(bucket_ms(data::BUCKETS)), traffic, factors })
    }

    pub fn start_of(&self, bucket: usize) -> Timestamp {
        self.beginning.plus_ms(bucket_ms(bucket))
    }

    /// All usage of 10 minutes, by time.
    pub fn bucket(&self, bucket: usize) -> Vec<Usage> {
        let first = self.traffic.partition_point(|row| row.bucket < bucket);
        let rows = self.traffic.iter().skip(first).take_while(|row| row.bucket == bucket);
        let mut usage = Vec::new();
        for row in rows {
            if let (Some(project), Some(factor)) = (PROJECTS.get(row.tenant), self.factors.get(row.tenant)) {
                let requests = (row.requests as f64 * factor).round() as u64;
                self.play(project, &Traffic { requests, ..*row }, &mut usage);
            }
        }
        for (index, incident) in INCIDENTS.iter().enumerate().filter(|(_, incident)| incident.is_on(bucket)) {
            self.spoil(index, incident, bucket, &mut usage);
        }
        usage.sort_by_key(|usage| usage.at);
        usage
    }

    /// Splits a project's requests over its models and users; larger shares first, a little different each time.
    fn play(&self, project: &'static Project, row: &Traffic, usage: &mut Vec<Usage>) {
        let mut dice = Dice::new(row.tenant as u64, row.bucket as u64);
        let shares: Vec<u64> = (1..=project.users.len() as u64).map(|rank| (700 + dice.below(600)) / rank).collect();
        let total: u64 = shares.iter().sum::<u64>().max(1);
        let mut rest = row.requests;
        for (rank, (user, share)) in project.users.iter().zip(&shares).enumerate().rev() {
            let requests = if rank == 0 { rest } else { (row.requests * share / total).min(rest) };
            rest -= requests;
            for (model, percent) in project.models {
                for part in 0..EVENTS_PER_USER {
                    let requests = share_of(requests * percent / 100, part, EVENTS_PER_USER);
                    if requests == 0 {
                        continue;
                    }
                    let minutes = BUCKET_MINUTES.unsigned_abs() / EVENTS_PER_USER;
                    usage.push(Usage {
                        at: self.moment(row.bucket, part * minutes + dice.below(minutes), &mut dice),
                        team: project.team,
                        project: project.project,
                        region: project.region,
                        user,
                        model,
                        requests,
                        input_tokens: requests * row.input_tokens,
                        output_tokens: requests * row.output_tokens,
                        harm: None,
                    });
                }
            }
        }
    }

    fn spoil(&self, index: usize, incident: &Incident, bucket: usize, usage: &mut Vec<Usage>) {
        match &incident.what {
            What::Extra { user, times } => {
                let extra: Vec<Usage> = usage
                    .iter()
                    .filter(|usage| usage.project == incident.project)
                    .map(|usage| usage.times(*times, user))
                    .map(|usage| Usage { harm: Some((index, usage.cost())), ..usage })
                    .collect();
                usage.extend(extra);
            }
            What::Switch { model } => {
                for usage in usage.iter_mut().filter(|usage| usage.project == incident.project) {
                    let before = usage.cost();
                    usage.model = model;
                    usage.harm = Some((index, usage.cost().saturating_sub(before)));
                }
            }
            What::Stream(stream) => self.stream(index, incident, stream, bucket, usage),
        }
    }

    fn stream(&self, index: usize, incident: &Incident, stream: &Stream, bucket: usize, usage: &mut Vec<Usage>) {
        let mut dice = Dice::new(1_000 + index as u64, bucket as u64);
        for minute in 0..BUCKET_MINUTES.unsigned_abs() {
            let requests = stream.requests_per_minute * (90 + dice.below(21)) / 100;
            let one = Usage {
                at: self.moment(bucket, minute, &mut dice),
                team: incident.team,
                project: incident.project,
                region: stream.region,
                user: stream.user,
                model: stream.model,
                requests,
                input_tokens: requests * stream.input_tokens,
                output_tokens: requests * stream.output_tokens,
                harm: None,
            };
            usage.push(Usage { harm: Some((index, one.cost())), ..one });
        }
    }

    /// Some second of this minute of a bucket.
    fn moment(&self, bucket: usize, minute: u64, dice: &mut Dice) -> Timestamp {
        let ms = i64::try_from(minute).unwrap_or_default() * MINUTE_MS + i64::try_from(dice.below(60_000)).unwrap_or_default();
        self.start_of(bucket).plus_ms(ms)
    }
}

impl Usage {
    pub fn cost(&self) -> Nanos {
        self.model.cost(self.input_tokens, self.output_tokens)
    }

    fn times(&self, times: u64, user: &'static str) -> Usage {
        Usage {
            user,
            requests: self.requests * times,
            input_tokens: self.input_tokens * times,
            output_tokens: self.output_tokens * times,
            ..*self
        }
    }

    /// The event as a gateway would send it: the JSON twin of `schemas/usage_event.avsc`.
    ///
    /// # Errors
    /// None that is known of.
    pub fn json(&self, event_id: &str) -> serde_json::Result<Vec<u8>> {
        let cost = self.model.own_cost.then(|| self.cost());
        serde_json::to_vec(&Event {
            event_id,
            source: if self.model.own_cost { "inhouse/gateway" } else { "gateway/eu1" },
            event_time: self.at,
            meter: METER,
            team: self.team,
            project: self.project,
            model: self.model.name,
            provider: self.model.provider,
            region: self.region,
            environment: ENVIRONMENT,
            user: self.user,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            requests: self.requests,
            cost: cost.map(|cost| cost.to_string()),
            currency: cost.map(|_| "USD"),
        })
    }
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: &'a str,
    source: &'a str,
    event_time: Timestamp,
    meter: &'a str,
    team: &'a str,
    project: &'a str,
    model: &'a str,
    provider: &'a str,
    region: &'a str,
    environment: &'a str,
    user: &'a str,
    input_tokens: u64,
    output_tokens: u64,
    requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
}

/// So that the project's mean hour costs what the cast says.
fn factor(project: &Project, tenant: usize, traffic: &[Traffic]) -> f64 {
    let rows = traffic.iter().filter(|row| row.tenant == tenant);
    let nanos: f64 = rows
        .flat_map(|row| {
            let tokens = (row.requests * row.input_tokens, row.requests * row.output_tokens);
            project.models.iter().map(move |(model, percent)| model.cost(tokens.0, tokens.1).0 as f64 * *percent as f64 / 100.0)
        })
        .sum();
    let hours = (bucket_ms(data::BUCKETS) / HOUR_MS) as f64;
    project.mean_hour * hours * 1e9 / nanos.max(1.0)
}

/// One of `parts` about equal parts; they add up to the whole.
fn share_of(whole: u64, part: u64, parts: u64) -> u64 {
    whole * (part + 1) / parts - whole * part / parts
}

/// splitmix64: the same story each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, step: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// 0..bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_story_spends_what_the_cast_says() {
        let story = Story::ending_at(Timestamp(1_800_000_000_000)).unwrap();
        let mut spent: BTreeMap<&str, f64> = BTreeMap::new();
        let mut harm = [0.0; INCIDENTS.len()];
        let mut events = 0;
        for usage in (0..data::BUCKETS).flat_map(|bucket| story.bucket(bucket)) {
            events += 1;
            match usage.harm {
                Some((incident, excess)) => harm[incident] += excess.0 as f64 / 1e9,
                None => *spent.entry(usage.project).or_default() += usage.cost().0 as f64 / 1e9,
            }
        }
        println!("{events} events, harm {harm:?}, spent {spent:?}");
        assert!((100_000..250_000).contains(&events), "{events}");
        for project in PROJECTS.iter().filter(|project| project.project != "assist") {
            let mean = spent[project.project] / 336.0;
            assert!((mean / project.mean_hour - 1.0).abs() < 0.05, "{}: {mean}", project.project);
        }
        assert!(harm.iter().all(|dollars| (200.0..5_000.0).contains(dollars)), "{harm:?}");
    }

    #[test]
    fn buckets_are_the_same_each_time_and_keep_to_their_time() {
        let story = Story::ending_at(Timestamp(1_800_000_000_000)).unwrap();
        assert_eq!(story.start_of(data::BUCKETS), Timestamp(1_800_000_000_000).hour().start());
        for bucket in [0, INCIDENTS[1].first_bucket, data::BUCKETS - 1] {
            let usage = story.bucket(bucket);
            assert_eq!(usage, story.bucket(bucket));
            assert!(usage.is_sorted_by_key(|usage| usage.at));
            assert!(usage.iter().all(|usage| usage.at >= story.start_of(bucket) && usage.at < story.start_of(bucket + 1)));
        }
    }

    #[test]
    fn only_sources_that_know_their_cost_state_it() {
        let story = Story::ending_at(Timestamp(1_800_000_000_000)).unwrap();
        let usage = story.bucket(700);
        let json = |usage: &Usage| serde_json::from_slice::<serde_json::Value>(&usage.json("e-1").unwrap()).unwrap();
        let own = json(usage.iter().find(|usage| usage.team == "data").unwrap());
        assert!(own["cost"].is_string() && own["currency"] == "USD", "{own}");
        let priced = json(usage.iter().find(|usage| usage.team == "ads").unwrap());
        assert!(priced.get("cost").is_none() && priced["input_tokens"].as_u64() > Some(0), "{priced}");
    }
}
