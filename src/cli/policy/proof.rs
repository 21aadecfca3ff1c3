//! Runs the tests beside the policies, and says what they leave untested.

use std::collections::BTreeMap;

use crate::config::policies::{Expected, PolicyFolder, PolicyTest};
use crate::policy::{Answer, Policy};

/// What fails and what is untested, to be printed; and whether all tests pass.
pub fn run(read: &PolicyFolder) -> (String, bool) {
    let policies = &read.policies.policies;
    let (mut out, mut failed) = (String::new(), 0);
    let mut answers: Vec<[usize; 3]> = vec![[0; 3]; policies.len()];
    // Whether a part of a condition was seen true, and seen false.
    let mut seen: BTreeMap<(usize, &str, String), [bool; 2]> = BTreeMap::new();
    for test in &read.tests {
        let Some(policy) = policies.get(test.policy) else { continue };
        let answer = test.event.with_facts(|facts| policy.answer(facts));
        if let Some(counts) = answers.get_mut(test.policy) {
            counts[place_of(answer)] += 1;
        }
        let [when, unless] = super::clauses(policy, read, &test.event);
        for (word, clauses) in [("when", &when), ("unless", &unless)] {
            for clause in clauses {
                let both = seen.entry((test.policy, word, clause.source.clone())).or_default();
                both[0] |= clause.holds == Some(true);
                both[1] |= clause.holds == Some(false);
            }
        }
        if !is_expected(answer, test.expected) {
            failed += 1;
            out.push_str(&format!("{}\n", failure(test, policy, answer)));
            let lines = super::as_text(policy, &verdict(answer), &[when, unless], "", None);
            lines.lines().skip(1).for_each(|line| out.push_str(&format!("{line}\n")));
        }
    }
    let untested = untested(policies, &answers, &seen);
    untested.iter().for_each(|line| out.push_str(&format!("{line}\n")));
    let whole = seen.values().filter(|both| **both == [true, true]).count();
    out.push_str(&format!(
        "{} of {} tests pass; {} of {} policies were seen violated and kept; {whole} of {} parts of conditions were seen true and false\n",
        read.tests.len() - failed,
        read.tests.len(),
        answers.iter().filter(|[violated, kept, _]| *violated > 0 && *kept > 0).count(),
        policies.len(),
        seen.len().max(whole),
    ));
    (out, failed == 0)
}

fn place_of(answer: Answer) -> usize {
    match answer {
        Answer::Violates => 0,
        Answer::Passes => 1,
        Answer::Indeterminate(_) => 2,
    }
}

fn is_expected(answer: Answer, expected: Expected) -> bool {
    matches!(
        (answer, expected),
        (Answer::Violates, Expected::Violation) | (Answer::Passes, Expected::Pass) | (Answer::Indeterminate(_), Expected::Indeterminate)
    )
}

fn verdict(answer: Answer) -> crate::policy::Verdict<'static> {
    match answer {
        Answer::Violates => crate::policy::Verdict::Violates,
        Answer::Passes => crate::policy::Verdict::Passes,
        Answer::Indeterminate(why) => crate::policy::Verdict::Indeterminate(why),
    }
}

fn failure(test: &PolicyTest, policy: &Policy, answer: Answer) -> String {
    let expected = match test.expected {
        Expected::Violation => "a violation",
        Expected::Pass => "no violation",
        Expected::Indeterminate => "no answer",
    };
    let found = match answer {
        Answer::Violates => "is a violation".to_string(),
        Answer::Passes => "is none".to_string(),
        Answer::Indeterminate(why) => format!("cannot be told: {}", super::unknown(why, policy.when.subject)),
    };
    let name = if test.name.is_empty() { String::new() } else { format!(" \"{}\"", test.name) };
    format!("{}: FAILED test{name} of '{}': expected {expected}, it {found}", test.place, policy.id)
}

fn untested(policies: &[Policy], answers: &[[usize; 3]], seen: &BTreeMap<(usize, &str, String), [bool; 2]>) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, (policy, [violated, kept, _])) in policies.iter().zip(answers).enumerate() {
        let mut missing = Vec::new();
        if *violated == 0 {
            missing.push("no test violates it".to_string());
        }
        if *kept == 0 {
            missing.push("no test keeps it".to_string());
        }
        if missing.is_empty() {
            let parts = seen.range((number, "", String::new())..(number + 1, "", String::new()));
            for ((_, word, source), both) in parts {
                match both {
                    [true, true] => {}
                    [true, false] => missing.push(format!("no test has seen false: {word} {source}")),
                    [false, _] => missing.push(format!("no test has seen true: {word} {source}")),
                }
            }
        }
        lines.extend(missing.into_iter().map(|what| format!("untested '{}': {what}", policy.id)));
    }
    lines
}
