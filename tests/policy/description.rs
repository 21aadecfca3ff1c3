//! The OpenAPI description says what plans and answers have, no more and no less.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollgate::http::{OPENAPI, compliance};
use tollgate::policy::fields::Subject;

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn plans_have_the_fields_that_policies_ask_for() {
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let schemas = &openapi["components"]["schemas"];
    for (schema, subject) in [("UsagePlan", Subject::Usage), ("DeploymentPlan", Subject::Activity), ("ResourcePlan", Subject::Resource)] {
        let fields = subject.fields().iter().map(|field| field.name).filter(|name| *name != "action");
        let expected = fields.chain(["kind", "input_tokens_per_month", "output_tokens_per_month"]).map(str::to_owned).collect();
        assert_eq!(properties(&schemas[schema]), expected, "{schema}");
    }
    // Every reference leads somewhere.
    for reference in OPENAPI.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(schemas[reference].is_object(), "{reference}");
    }
}

#[test]
fn answers_have_what_is_described() {
    let openapi: Value = serde_json::from_str(OPENAPI).unwrap();
    let folder = tollgate::config::policies::load(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies")).unwrap();
    let loaded = tollgate::config::load_text("", "", std::path::Path::new(""), std::iter::empty()).unwrap();
    let plan = compliance::plan(&json!({"team": "x", "provider": "nobody", "environment": "dev"})).unwrap();
    let answer = compliance::answer(plan, &folder, &loaded.intake.prices, None, tollgate::model::time::Timestamp(0)).json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schemas = &openapi["components"]["schemas"];
    assert_eq!(keys(&answer), properties(&schemas["Answer"]));
    assert_eq!(keys(&answer["reasons"][0]), properties(&schemas["Reason"]));
    assert_eq!(keys(&answer["alternatives"][0]), properties(&schemas["Alternative"]));
}
