//! The invented part of the demo: who the tenants are, which models they use, and what these cost.

use crate::intake::rules::{Price, PriceBook, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;

/// A project that one tenant's traffic is played by.
#[derive(Clone, Copy, Debug)]
pub struct Project {
    pub team: &'static str,
    pub project: &'static str,
    /// (model, part of the requests in percent).
    pub models: &'static [(&'static Model, u64)],
    pub region: &'static str,
    pub users: &'static [&'static str],
    /// What it spends in a mean hour, in USD: the tenant's requests are multiplied to come to that.
    pub mean_hour: f64,
}

/// Per million tokens, in thousandths of a USD.
#[derive(Debug, PartialEq)]
pub struct Model {
    pub name: &'static str,
    pub provider: &'static str,
    pub input: u64,
    pub output: u64,
    /// Whether the source states the cost itself; else the price book decides.
    pub own_cost: bool,
}

pub static NIMBUS_MINI: Model = Model { name: "nimbus-mini", provider: "nimbus", input: 400, output: 1_600, own_cost: false };
pub static NIMBUS_PRO: Model = Model { name: "nimbus-pro", provider: "nimbus", input: 2_500, output: 10_000, own_cost: false };
pub static CORVID_FAST: Model = Model { name: "corvid-fast", provider: "corvid", input: 800, output: 4_000, own_cost: false };
pub static CORVID_MAX: Model = Model { name: "corvid-max", provider: "corvid", input: 3_000, output: 15_000, own_cost: false };
/// Runs on machines of our own; its gateway knows what they cost.
pub static HERON_70B: Model = Model { name: "heron-70b", provider: "inhouse", input: 700, output: 900, own_cost: true };

static MODELS: [&Model; 5] = [&NIMBUS_MINI, &NIMBUS_PRO, &CORVID_FAST, &CORVID_MAX, &HERON_70B];

/// In the order of the tenants in the data.
pub static PROJECTS: [Project; super::data::TENANTS] = [
    Project {
        team: "search",
        project: "ranker",
        models: &[(&NIMBUS_MINI, 100)],
        region: "eu-central-1",
        users: &["svc-ranker", "svc-ranker-batch", "ana", "svc-ranker-canary", "jonas"],
        mean_hour: 60.0,
    },
    Project {
        team: "search",
        project: "query-rewrite",
        models: &[(&CORVID_FAST, 100)],
        region: "eu-central-1",
        users: &["svc-rewrite", "svc-rewrite-canary", "mei"],
        mean_hour: 14.0,
    },
    Project {
        team: "support",
        project: "assist",
        models: &[(&CORVID_FAST, 100)],
        region: "eu-west-1",
        users: &["svc-assist", "svc-assist-voice", "desk-1", "desk-2", "desk-3", "desk-4"],
        mean_hour: 40.0,
    },
    Project {
        team: "support",
        project: "summaries",
        models: &[(&NIMBUS_MINI, 100)],
        region: "eu-west-1",
        users: &["svc-summaries", "olu"],
        mean_hour: 9.0,
    },
    Project {
        team: "growth",
        project: "campaigns",
        models: &[(&NIMBUS_PRO, 60), (&NIMBUS_MINI, 40)],
        region: "us-east-1",
        users: &["svc-campaigns", "lea", "tomasz"],
        mean_hour: 25.0,
    },
    Project {
        team: "platform",
        project: "coding-agents",
        models: &[(&CORVID_MAX, 70), (&CORVID_FAST, 30)],
        region: "us-east-1",
        users: &["agent-1", "agent-2", "agent-3", "agent-4", "priya", "sam"],
        mean_hour: 110.0,
    },
    Project {
        team: "platform",
        project: "ci-review",
        models: &[(&CORVID_MAX, 100)],
        region: "us-east-1",
        users: &["ci-bot", "ci-bot-nightly", "agent-review"],
        mean_hour: 18.0,
    },
    Project {
        team: "ads",
        project: "copywriter",
        models: &[(&NIMBUS_PRO, 100)],
        region: "us-east-1",
        users: &["svc-copy", "svc-copy-eu", "svc-copy-apac", "dario"],
        mean_hour: 80.0,
    },
    Project {
        team: "data",
        project: "extraction",
        models: &[(&HERON_70B, 100)],
        region: "dc-ffm-2",
        users: &["svc-extract-a", "svc-extract-b", "svc-extract-c", "nightly"],
        mean_hour: 140.0,
    },
    Project {
        team: "data",
        project: "labelling",
        models: &[(&HERON_70B, 100)],
        region: "dc-ffm-2",
        users: &["svc-label", "hanna", "yusuf"],
        mean_hour: 30.0,
    },
    Project {
        team: "mobile",
        project: "voice",
        models: &[(&NIMBUS_PRO, 100)],
        region: "us-west-2",
        users: &["svc-voice-ios", "svc-voice-android", "svc-voice-beta"],
        mean_hour: 35.0,
    },
    Project {
        team: "legal",
        project: "contracts",
        models: &[(&CORVID_MAX, 100)],
        region: "eu-central-1",
        users: &["svc-contracts", "ines", "paul"],
        mean_hour: 16.0,
    },
];

impl Model {
    /// What these tokens cost, exactly.
    pub fn cost(&self, input: u64, output: u64) -> Nanos {
        // Thousandths of a USD per million tokens = nano-USD per token.
        Nanos(i128::from(input) * i128::from(self.input) + i128::from(output) * i128::from(self.output))
    }
}

/// Prices of everything whose source does not state its cost.
pub fn price_book() -> PriceBook {
    let mut prices = Vec::new();
    for model in MODELS.iter().filter(|model| !model.own_cost) {
        for (kind, thousandths) in [(TokenKind::Input, model.input), (TokenKind::Output, model.output)] {
            prices.push(Price {
                provider: model.provider.into(),
                model: model.name.into(),
                meter: super::usage::METER.into(),
                token_kind: Some(kind),
                region: None,
                amount: Nanos(i128::from(thousandths) * 1_000_000),
                per: 1_000_000,
                currency: Currency::USD,
                effective_from: Timestamp(0),
                effective_to: None,
                batch: None,
                family: None,
                prompt_above: 0,
                agreement: None,
            });
        }
    }
    PriceBook::new(prices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_book_says_what_the_cast_says() {
        let book = price_book();
        assert_eq!(book.prices().len(), 8, "two kinds of tokens of four models");
        let input = book.prices().iter().find(|price| *price.model == *"corvid-max" && price.token_kind == Some(TokenKind::Input));
        assert_eq!(input.map(|price| price.amount), Some(Nanos::from_units(3)), "3 USD per million");
        assert_eq!(CORVID_MAX.cost(1_000_000, 100_000), Nanos("4.5".parse::<Nanos>().unwrap().0));
    }
}
