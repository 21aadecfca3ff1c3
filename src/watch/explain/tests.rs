//! Cases with a known cause.

use proptest::prelude::*;

use super::*;

/// `project model region expected actual`, one leaf per line; `-` = not stated.
fn leaves(table: &str) -> Vec<LeafDeviation> {
    let text = |word: &str| Text::from(if word == "-" { "" } else { word });
    let leaf = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let dimensions = LeafDimensions {
            project: text(words[0]),
            model: text(words[1]),
            provider: text("openai"),
            region: text(words[2]),
            environment: text("-"),
            meter: text("llm.tokens"),
        };
        LeafDeviation { dimensions, expected: words[3].parse().unwrap(), actual: words[4].parse().unwrap() }
    };
    table.lines().map(str::trim).filter(|line| !line.is_empty()).map(leaf).collect()
}

/// `project=a;model=m 0.75, ...; unexplained 0.25`
fn words(explanation: &Explanation) -> String {
    let cause = |cause: &Cause| {
        let pairs: Vec<String> = cause.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {:.2}", pairs.join(";"), cause.share)
    };
    let causes: Vec<String> = explanation.causes.iter().map(cause).collect();
    format!("{}; unexplained {:.2}", causes.join(", "), explanation.unexplained)
}

fn user(name: &str, actual: f64, expected: Option<f64>) -> UserDeviation {
    UserDeviation { user: Text::from(name), project: Text::from("ranker"), actual, expected }
}

#[test]
fn names_the_coarsest_combination_that_moved() {
    let cases = [
        (
            "a project, whatever the model",
            "ranker gpt eu 10 50 \n ranker mini eu 2 10 \n search gpt eu 20 21",
            "project=ranker 0.98; unexplained 0.02",
        ),
        (
            "a model of one project",
            "ranker gpt eu 10 60 \n ranker mini eu 12 12 \n search gpt eu 20 20 \n search mini eu 5 5",
            "model=gpt;project=ranker 1.00; unexplained 0.00",
        ),
        (
            "two causes",
            "a m eu 10 70 \n a n eu 10 70 \n b m us 10 30 \n b n us 10 30 \n c m ap 10 10 \n c n ap 9 9",
            "project=a 0.75, project=b 0.25; unexplained 0.00",
        ),
        ("something new", "ranker gpt eu 50 50 \n search gpt eu 20 20 \n shadow gpt eu 0 90", "project=shadow 1.00; unexplained 0.00"),
        (
            "something new with two models, beside as many leaves that stay",
            "ranker gpt eu 50 50 \n search mini eu 20 20 \n shadow gpt eu 0 100 \n shadow mini eu 0 100",
            "project=shadow 1.00; unexplained 0.00",
        ),
        (
            "all alike, and something new beside",
            "a m1 eu 10 30 \n b m2 eu 20 60 \n c m3 eu 5 15 \n s gpt eu 0 100 \n s mini eu 0 100",
            "project=s 0.74; unexplained 0.26",
        ),
        (
            "all alike, and a new model everywhere",
            "a m eu 10 30 \n b m eu 20 60 \n c m eu 5 15 \n a n eu 0 5 \n b n eu 0 10 \n c n eu 0 3",
            "model=n 0.20; unexplained 0.80",
        ),
        ("all new", "a m eu 0 30 \n b m eu 0 60", "; unexplained 1.00"),
        ("all alike", "a m eu 10 30 \n b m eu 20 60 \n c m eu 5 15", "; unexplained 1.00"),
        ("a single leaf", "a m eu 10 30", "; unexplained 1.00"),
        ("less than expected", "a m eu 10 3 \n b m eu 10 10", "; unexplained 0.00"),
        ("nothing", "", "; unexplained 0.00"),
        ("a fall beside the rise", "a m eu 10 2 \n b m eu 10 50 \n c m eu 10 10", "project=b 1.00; unexplained 0.00"),
        ("not stated", "- m eu 10 90 \n b m eu 10 10 \n c m eu 10 10", "; unexplained 1.00"),
    ];
    for (name, table, wanted) in cases {
        assert_eq!(words(&causes(&leaves(table), &[])), wanted, "{name}");
    }
}

#[test]
fn users_are_named_against_what_they_usually_take() {
    let table = leaves("ranker gpt eu 10 60");
    let heavy_as_ever = [user("ann", 30.0, Some(28.0)), user("bob", 30.0, Some(2.0))];
    assert_eq!(words(&causes(&table, &heavy_as_ever)), "project=ranker;user=bob 0.56; unexplained 0.44");
    let unknown = [user("ann", 5.0, None), user("bob", 55.0, None)];
    assert_eq!(words(&causes(&table, &unknown)), "project=ranker;user=bob 0.92; unexplained 0.08");
    let many: Vec<UserDeviation> = (0..12).map(|_| user("ann", 5.0, None)).collect();
    assert_eq!(words(&causes(&table, &many)), "; unexplained 1.00", "spread over all: nobody's doing");
}

proptest! {
    #[test]
    fn shares_stay_shares(amounts in prop::collection::vec((0_usize..4, 0_usize..3, 0.0_f64..100.0, 0.0_f64..300.0), 0..60)) {
        let table: Vec<String> = amounts.iter().map(|(p, m, expected, actual)| format!("p{p} m{m} eu {expected} {actual}")).collect();
        let explanation = causes(&leaves(&table.join("\n")), &[]);
        prop_assert!((0.0..=1.0).contains(&explanation.unexplained));
        prop_assert!(explanation.causes.len() <= 3);
        for cause in &explanation.causes {
            prop_assert!(cause.share > 0.0 && cause.share <= 1.0 && !cause.dimensions.is_empty());
            prop_assert!(!cause.dimensions.contains_key("provider"), "the same for all leaves, so it explains nothing");
        }
        prop_assert!(explanation.causes.windows(2).all(|pair| pair[0].share >= pair[1].share));
    }
}

/// An alert with more money in it than an amount may be could be read by nobody.
#[test]
fn the_dearest_cause_is_an_amount_that_can_be_read() {
    let dimensions = [("project".to_string(), "ranker".to_string())].into();
    let dearest = cause(Part { dimensions, expected: -2e18, actual: 2e18, deviation: 1.0 }, 4e18);
    for amount in [dearest.actual, dearest.expected] {
        assert_eq!(amount.to_string().parse(), Ok(amount), "{dearest:?}");
    }
    for units in [1e18, -1e18, 1e300] {
        let amount = crate::watch::series::from_units(units);
        assert_eq!(amount.to_string().parse(), Ok(amount), "{units}");
    }
}
