//! What a FOCUS row is taken for, and what is said about it.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 8] =
    ["BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargePeriodEnd", "ChargeFrequency", "Tags", "ResourceId", "Id"];

fn row<'a>(changes: &[(&str, &'a str)]) -> Vec<&'a str> {
    let plain = ["1.5", "USD", "2024-09-01T00:00:00Z", "2024-09-01T01:00:00Z", "Usage-Based", "{\"a\": \"b\"}", "r-1", "17"];
    let changed = |name: &str, text| changes.iter().find(|(known, _)| *known == name).map_or(text, |(_, text)| *text);
    NAMES.iter().zip(plain).map(|(name, text)| changed(name, text)).collect()
}

fn head() -> Head {
    Head::new(&NAMES, &[]).unwrap()
}

fn rules(changes: &[(&str, &str)]) -> Vec<String> {
    let (head, row) = (head(), row(changes));
    let mut rules = Vec::new();
    head.check(&row, |problem| rules.push(format!("{}.{}", problem.column, problem.rule)));
    rules
}

#[test]
fn each_rule_is_named_where_it_is_broken() {
    assert_eq!(rules(&[]), Vec::<String>::new());
    let table: [(&str, &str, &str); 12] = [
        ("BilledCost", "1,5", "BilledCost.number"),
        ("BilledCost", "", "BilledCost.not_null"),
        ("BillingCurrency", "usd", "BillingCurrency.currency"),
        ("BillingCurrency", "EURO", "BillingCurrency.currency"),
        ("ChargePeriodStart", "2024-09-01 00:00:00", "ChargePeriodStart.time_format"),
        ("ChargePeriodStart", "yesterday", "ChargePeriodStart.time"),
        ("ChargePeriodEnd", "2024-09-01T00:00:00Z", "ChargePeriodEnd.after_start"),
        ("ChargeFrequency", "Usage-based", "ChargeFrequency.allowed"),
        ("Tags", "a=b", "Tags.json"),
        ("Tags", "{\"a\":}", "Tags.json"),
        ("ResourceId", "NULL", "ResourceId.null_literal"),
        ("Id", "null", "Id.null_literal"),
    ];
    for (column, text, rule) in table {
        assert_eq!(rules(&[(column, text)]), [rule], "{column} {text}");
    }
    let told = head().problems().iter().map(|problem| format!("{}.{}", problem.column, problem.rule)).collect::<Vec<_>>();
    assert!(told.contains(&"EffectiveCost.present".to_owned()) && told.contains(&"Id.custom_prefix".to_owned()), "{told:?}");
    assert!(!told.iter().any(|rule| rule.starts_with("ServiceProviderName")), "{told:?}");
}

#[test]
fn the_version_is_that_of_the_newest_column() {
    let version = |name| Head::new(&["BilledCost", "ChargePeriodStart", name], &[]).unwrap().version.as_str();
    let named = ["Tags", "SkuMeter", "InvoiceId", "ServiceProviderName", "InvoiceDetailId"].map(version);
    assert_eq!(named, ["1.0", "1.1", "1.2", "1.3", "1.4"]);
    assert!(Head::new(&["a", "b"], &[]).unwrap_err().contains("no FOCUS file"));
    assert!(Head::new(&["BilledCost", "BilledCost", "ChargePeriodStart"], &[]).unwrap_err().contains("twice"));
    assert!(Head::new(&NAMES, &["LineItem".to_owned()]).unwrap_err().contains("'LineItem'"));
}

#[test]
fn restatements_of_a_line_are_the_same_line() {
    let head = head();
    let identity = |changes: &[(&str, &str)]| head.identity(&row(changes));
    let same: [&[(&str, &str)]; 4] = [
        &[("BilledCost", "9")],
        &[("Tags", "{}")],
        &[("ChargePeriodStart", "2024-09-01 00:00:00"), ("ChargePeriodEnd", "2024-09-01T03:00:00+02:00")],
        &[("Id", "18")],
    ];
    for changes in same {
        assert_eq!(identity(changes), identity(&[]), "{changes:?}");
    }
    let others: [&[(&str, &str)]; 4] =
        [&[("ResourceId", "r-2")], &[("ResourceId", "")], &[("ChargePeriodEnd", "2024-09-01T02:00:00Z")], &[("BillingCurrency", "EUR")]];
    for changes in others {
        assert_ne!(identity(changes), identity(&[]), "{changes:?}");
    }
    assert_eq!(identity(&[("ResourceId", "")]), identity(&[("ResourceId", "NULL")]));
    let by_id = Head::new(&NAMES, &["Id".to_owned()]).unwrap();
    assert_eq!(by_id.identity(&row(&[("ResourceId", "r-2")])), by_id.identity(&row(&[])));
    assert_ne!(by_id.identity(&row(&[("Id", "18")])), by_id.identity(&row(&[])));
}

#[test]
fn a_row_is_written_as_it_is() {
    let mut out = Vec::new();
    head().write_row(&row(&[("ChargePeriodStart", "2024-09-01 00:00:00"), ("ResourceId", "NULL"), ("Id", "a\"\\\n\u{7}ü")]), &mut out);
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(read["ChargePeriodStart"], "2024-09-01T00:00:00Z");
    assert_eq!((read["Id"].as_str(), read["BilledCost"].as_str()), (Some("a\"\\\n\u{7}ü"), Some("1.5")));
    assert!(read.get("ResourceId").is_none());
}

#[test]
fn money_is_what_the_ledger_will_count() {
    let head = head();
    let money = |changes: &[(&str, &str)]| head.money(&row(changes)).map(|(currency, billed, _)| (currency.to_string(), billed.0));
    assert_eq!(money(&[("BilledCost", "-4.2E-3")]), Some(("USD".to_owned(), -4_200_000)));
    for broken in [("BilledCost", "x"), ("BilledCost", ""), ("BillingCurrency", ""), ("ChargePeriodStart", "x")] {
        assert_eq!(money(&[broken]), None, "{broken:?}");
    }
    assert_eq!(head.period(&row(&[])).as_deref(), Some("2024-09"));
}

proptest! {
    #[test]
    fn any_text_is_written_as_json(text in any::<String>()) {
        let mut out = Vec::new();
        write_text(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
