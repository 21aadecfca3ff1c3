//! Ask before you act: a plan in JSON, the answer of the policies in JSON. The same for the API and for `tollgate ask`, but that the API also
//! asks lineage where a model's data comes from.

use serde_json::{Map, Value, json};

use crate::config::policies::PolicyFolder;
use crate::intake::rules::{PriceBook, PriceQuery, TokenKind};
use crate::intake::{SERVICE_TIER, is_batch_tier};
use crate::model::lineage::ModelFacts;
use crate::model::money::{Currency, Nanos};
use crate::model::near::did_you_mean;
use crate::model::time::Timestamp;
use crate::policy::fields::Subject;
use crate::policy::{Advice, Alternative, Decision, Given, Reason, Sample};

/// Parts of a plan that are no fields of an event, and what they are.
const BESIDE: [(&str, &str); 3] = [
    ("kind", "\"usage\" (the default), \"deployment\" or \"resource\""),
    ("input_tokens_per_month", "a whole number"),
    ("output_tokens_per_month", "a whole number"),
];

/// A plan that was understood.
pub struct Plan {
    sample: Sample,
    tokens: [Option<u64>; 2],
}

/// What the policies say, and about what it would cost.
pub struct Answer {
    pub advice: Advice,
    /// A month's, by list prices or those of the config.
    pub cost: Option<(Nanos, Currency)>,
}

/// What is wrong with a plan, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which part of it, if one is.
    pub part: Option<String>,
    pub what: String,
}

impl Unusable {
    fn of(part: &str, what: String) -> Unusable {
        Unusable { part: Some(part.to_string()), what }
    }
}

/// # Errors
/// The first part that is wrong.
pub fn plan(json: &Value) -> Result<Plan, Unusable> {
    let Value::Object(parts) = json else {
        let what = "a plan is an object: {\"team\": \"search\", \"provider\": \"openai\", \"model\": \"gpt-4o\"}".to_string();
        return Err(Unusable { part: None, what });
    };
    let kind = parts.get("kind").map_or(Some("usage"), Value::as_str);
    let (subject, action) = match kind {
        Some("usage") => (Subject::Usage, None),
        Some("deployment") => (Subject::Activity, Some("deployment")),
        Some("resource") => (Subject::Resource, None),
        _ => return Err(Unusable::of("kind", format!("'kind' is not one of {}", BESIDE[0].1))),
    };
    let mut sample = Sample::new(subject);
    if let Some(action) = action {
        let set = sample.set("action", Given::Text(action.to_string()));
        set.map_err(|_| Unusable::of("kind", "a deployment has no action".to_string()))?;
    }
    for (name, value) in parts.iter().filter(|(name, value)| !BESIDE.iter().any(|(beside, _)| beside == name) && !value.is_null()) {
        let Some(field) = subject.field(name).and_then(|id| subject.fields().get(id)) else {
            let known = subject.fields().iter().map(|field| field.name).chain(BESIDE.map(|(name, _)| name));
            let hint = did_you_mean(name, known).map(|hint| format!("; {hint}")).unwrap_or_default();
            return Err(Unusable::of(name, format!("'{name}' is nothing that a plan of this kind has{hint}")));
        };
        let wrong = || Unusable::of(name, format!("'{name}' is {value}, it should be {}", field.kind.shown()));
        sample.set(name, Given::of_json(field.kind, value).ok_or_else(wrong)?).map_err(|_| wrong())?;
    }
    let number = |name: &str| match parts.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let wrong = || Unusable::of(name, format!("'{name}' is {value}, it should be a whole number"));
            value.as_u64().map(Some).ok_or_else(wrong)
        }
    };
    Ok(Plan { sample, tokens: [number("input_tokens_per_month")?, number("output_tokens_per_month")?] })
}

impl Plan {
    /// The model that it is about, and its version.
    pub fn model(&self) -> Option<(&str, Option<&str>)> {
        Some((self.sample.text("model")?, self.sample.text("model_version")))
    }

    /// The plan as the policies see it: once for each origin that its model's data has, where the plan does not say one itself.
    fn samples(&self, known: Option<&ModelFacts>) -> Vec<Sample> {
        let Some(known) = known.filter(|_| self.sample.subject != Subject::Resource) else { return vec![self.sample.clone()] };
        let lineage = match (known.has_gap, known.origins.is_empty()) {
            (true, _) => "unknown",
            (false, true) => "cleared",
            (false, false) => "known",
        };
        let with = |origin: Option<&str>| {
            let mut sample = self.sample.clone();
            for (name, text) in [("origin_region", origin), ("lineage", Some(lineage))] {
                if let Some(text) = text.filter(|_| sample.given(name).is_none()) {
                    // Both are texts of usage and activity.
                    let _ = sample.set(name, Given::Text(text.to_string()));
                }
            }
            sample
        };
        if self.sample.given("origin_region").is_some() {
            return vec![with(None)];
        }
        let unknown = (known.has_gap || known.origins.is_empty()).then_some(None);
        known.origins.iter().map(|origin| Some(&**origin)).chain(unknown).map(with).collect()
    }
}

/// `prices`: for the cost, and for other models and providers to name. `known`: what lineage knows of the plan's model; of the origins of
/// its data the one with the gravest answer counts.
pub fn answer(mut plan: Plan, folder: &PolicyFolder, prices: &PriceBook, known: Option<&ModelFacts>, at: Timestamp) -> Answer {
    plan.sample.locate(&folder.regions);
    let provider = plan.sample.text("provider").unwrap_or_default();
    let named = |of: fn(&crate::intake::rules::Price) -> &str, is: &dyn Fn(&crate::intake::rules::Price) -> bool| {
        let mut names: Vec<String> = prices.prices().iter().filter(|price| is(price)).map(|price| of(price).to_string()).collect();
        names.retain(|name| !name.is_empty() && !name.contains('*'));
        names.sort();
        names.dedup();
        names
    };
    let models = named(|price| &price.model, &|price| &*price.provider == provider);
    let providers = named(|price| &price.provider, &|_| true);
    let choices = [("model", models), ("provider", providers)];
    let cost = cost(&plan, prices, at);
    let is_cleared = known.is_some_and(|known| known.origins.is_empty() && !known.has_gap);
    let advise = |mut sample: Sample| {
        sample.locate(&folder.regions);
        folder.policies.advise(&sample, &folder.regions, &choices, at)
    };
    let samples = plan.samples(known);
    let mut advice: Vec<Advice> = samples.iter().cloned().map(advise).collect();
    for advice in advice.iter_mut().filter(|_| is_cleared) {
        // Free of all origins, where it comes from is no question.
        advice.drop_questions("origin_region");
    }
    let gravest = advice.into_iter().reduce(|gravest, other| if other.decision > gravest.decision { other } else { gravest });
    let mut advice = gravest.unwrap_or_else(|| advise(plan.sample.clone()));
    if samples.len() > 1 {
        advice.alternatives.retain_mut(|alternative| {
            let is_for_all = |value: &String| {
                samples.iter().all(|sample| decision_with(sample, alternative.field, value, folder, at) <= alternative.decision)
            };
            alternative.values.retain(is_for_all);
            !alternative.values.is_empty()
        });
    }
    Answer { advice, cost }
}

fn decision_with(sample: &Sample, field: &str, value: &str, folder: &PolicyFolder, at: Timestamp) -> Decision {
    let mut sample = sample.clone();
    // A field of the plan that was looked for alternatives to.
    let _ = sample.set(field, Given::Text(value.to_string()));
    sample.relocate(&folder.regions);
    folder.policies.decide(&sample, at)
}

/// `None`: no tokens are planned, or there is no price for them.
fn cost(plan: &Plan, prices: &PriceBook, at: Timestamp) -> Option<(Nanos, Currency)> {
    let text = |name: &str| plan.sample.text(name).unwrap_or_default();
    let [provider, model, region] = ["provider", "model", "region"].map(text);
    // How its tokens are spread over requests is not planned: the price of short ones.
    let terms = prices.terms(text("account"), text("team"));
    let tier = match plan.sample.given("tags") {
        Some(Given::Tags(tags)) => tags.get(SERVICE_TIER).map(String::as_str),
        _ => None,
    };
    let (meter, is_batch) = ("llm.tokens", is_batch_tier(tier));
    let tariff = prices.tariff(&PriceQuery { provider, meter, model, region, terms: &terms, at, is_batch, ..PriceQuery::default() });
    let mut sum: Option<(Nanos, Currency)> = None;
    for (kind, tokens) in [TokenKind::Input, TokenKind::Output].into_iter().zip(plan.tokens) {
        let Some(tokens) = tokens else { continue };
        let rate = tariff.rate(Some(kind))?;
        let amount = Nanos(rate.amount.0.checked_mul(i128::from(tokens))? / i128::from(rate.per.max(1)));
        sum = match sum {
            None => Some((amount, rate.currency)),
            Some((so_far, currency)) if currency == rate.currency => Some((so_far.checked_add(amount)?, currency)),
            Some(_) => return None,
        };
    }
    sum
}

impl Answer {
    pub fn json(&self) -> Value {
        let reason = |reason: &Reason| {
            json!({
                "policy": *reason.policy, "owner": *reason.owner, "severity": reason.severity.as_str(), "decision": reason.decision.as_str(),
                "message": reason.message, "remedy": reason.remedy, "is_unknown": reason.is_unknown, "missing": reason.missing,
                "exempt_until": reason.exempt.as_ref().map(|(until, _)| until.to_string()),
                "exempted_by": reason.exempt.as_ref().map(|(_, by)| by.to_string()),
            })
        };
        let alternative = |alternative: &Alternative| json!({"field": alternative.field, "values": alternative.values, "decision": alternative.decision.as_str()});
        let cost = self.cost.map(|(amount, currency)| json!({"amount": amount.to_string(), "currency": currency.as_str()}));
        let mut answer = Map::new();
        answer.insert("decision".to_owned(), json!(self.advice.decision.as_str()));
        answer.insert("reasons".to_owned(), self.advice.reasons.iter().map(reason).collect());
        answer.insert("alternatives".to_owned(), self.advice.alternatives.iter().map(alternative).collect());
        answer.insert("estimated_monthly_cost".to_owned(), json!(cost));
        Value::Object(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::intake::rules::{Agreement, Price};

    fn ask(plan_of: Value) -> Value {
        let folder = config::policies::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies")).unwrap();
        let loaded = config::load_text("", "", Path::new(""), std::iter::empty()).unwrap();
        answer(plan(&plan_of).unwrap(), &folder, &loaded.intake.prices, None, Timestamp::parse("2026-11-25T00:00:00Z").unwrap()).json()
    }

    #[test]
    fn a_plan_gets_a_decision_reasons_ways_out_and_a_price() {
        let plan =
            json!({"team": "search", "provider": "deepseek", "model": "deepseek-chat", "region": "eu-central-1", "environment": "dev"});
        let denied = ask(plan);
        assert_eq!(denied["decision"], "deny");
        assert_eq!(denied["reasons"][0]["policy"], "approved-provider");
        let providers = denied["alternatives"].as_array().unwrap().iter().find(|other| other["field"] == "provider").unwrap();
        assert!(providers["values"].as_array().unwrap().contains(&json!("anthropic")) && providers["decision"] == "allow", "{denied}");

        let tokens = json!({
            "team": "search", "provider": "openai", "model": "gpt-4o", "environment": "dev",
            "input_tokens_per_month": 10_000_000, "output_tokens_per_month": 1_000_000,
        });
        let allowed = ask(tokens);
        assert_eq!((&allowed["decision"], &allowed["reasons"]), (&json!("allow"), &json!([])));
        assert_eq!(allowed["estimated_monthly_cost"]["currency"], "USD");
        let asia = json!({"kind": "deployment", "model": "m", "origin_region": "eu-central-1", "region": "ap-northeast-1", "team": "x"});
        let denied = ask(asia);
        assert_eq!((&denied["decision"], &denied["alternatives"][0]["field"]), (&json!("deny"), &json!("region")));
    }

    #[test]
    fn a_plan_costs_what_its_account_has_negotiated_for_its_tier() {
        let price = |amount, batch, agreement| Price {
            provider: "openai".into(),
            model: "gpt-4o".into(),
            meter: "llm.tokens".into(),
            token_kind: Some(TokenKind::Input),
            region: None,
            amount: Nanos::from_units(amount),
            per: 1_000_000,
            currency: Currency::USD,
            effective_from: Timestamp(0),
            effective_to: None,
            batch: Some(Nanos::from_units(batch)),
            family: None,
            prompt_above: 0,
            agreement,
        };
        let agreement = Agreement { name: "Enterprise".into(), accounts: vec!["acme-*".into()], teams: Vec::new() };
        let prices = PriceBook::with_agreements(vec![price(10, 5, None), price(8, 4, Some(0))], vec![agreement], Vec::new());
        for (account, tier, cost) in
            [("", "", "20"), ("other", "default", "20"), ("acme-1", "", "16"), ("", "batch", "10"), ("acme-1", "batch", "8")]
        {
            let plan_of = json!({
                "team": "search", "provider": "openai", "model": "gpt-4o", "account": account, "tags": {"service_tier": tier},
                "input_tokens_per_month": 2_000_000,
            });
            let (amount, _) = super::cost(&plan(&plan_of).unwrap(), &prices, Timestamp(1)).unwrap();
            assert_eq!(amount.to_string(), cost, "{account} {tier}");
        }
    }

    #[test]
    fn a_plan_that_is_none_is_told_why() {
        for (json, what) in [
            (json!([]), "a plan is an object"),
            (json!({"kind": "party"}), "'kind' is not one of"),
            (json!({"tema": "x"}), "'tema' is nothing that a plan of this kind has; did you mean 'team'?"),
            (json!({"team": 3}), "'team' is 3, it should be a text"),
            (json!({"input_tokens_per_month": "many"}), "it should be a whole number"),
        ] {
            let Err(problem) = plan(&json) else { panic!("{json}") };
            assert!(problem.what.contains(what), "{problem:?}");
        }
    }
}
