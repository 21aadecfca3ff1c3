//! What the page behind the links calls the answers, in both languages.

use super::feedback::label;
use super::render::language::Language;
use crate::model::feedback::Verdict;

/// What an answer says, of an alert or of a violation.
pub fn said(verdict: Verdict, of_violation: bool, language: Language) -> &'static str {
    match verdict {
        Verdict::Ack => language.pick("I take care of it", "Ich kümmere mich darum"),
        Verdict::Expected if of_violation => language.pick("It is accepted, for a while", "Es ist akzeptiert, für eine Weile"),
        Verdict::Expected => language.pick("It is expected, for a while", "Es ist erwartet, für eine Weile"),
        Verdict::NotAnAnomaly if of_violation => language.pick("It is not a violation", "Es ist kein Verstoß"),
        Verdict::NotAnAnomaly => language.pick("It is not an anomaly", "Es ist keine Anomalie"),
        Verdict::Planned | Verdict::Reopen => label(verdict, of_violation),
    }
}

/// What follows of it.
pub fn meaning(verdict: Verdict, of_violation: bool, language: Language) -> &'static str {
    match verdict {
        Verdict::Ack => language.pick(
            "Nobody is reminded of it while you do; you all hear of its end.",
            "Niemand wird daran erinnert, solange Sie es tun; vom Ende hören alle.",
        ),
        Verdict::Expected if of_violation => language.pick(
            "An exception, in your name. It ends by itself: if the policy is still violated after that time, it is open again.",
            "Eine Ausnahme, in Ihrem Namen. Sie endet von selbst: Wird die Richtlinie danach noch verletzt, ist der Verstoß wieder offen.",
        ),
        Verdict::Expected => language.pick(
            "A backfill, a launch, a load test. It ends by itself: after that time it counts again.",
            "Ein Nachlauf, ein Start, ein Lasttest. Es endet von selbst: Danach zählt es wieder.",
        ),
        Verdict::NotAnAnomaly if of_violation => language.pick(
            "A false alarm. The same is silent for four weeks; have the policy mended meanwhile.",
            "Ein Fehlalarm. Dasselbe schweigt für vier Wochen; lassen Sie inzwischen die Richtlinie berichtigen.",
        ),
        Verdict::NotAnAnomaly => language.pick(
            "This much is normal here; the alert should not have been.",
            "So viel ist hier üblich; die Meldung hätte es nicht geben sollen.",
        ),
        Verdict::Planned | Verdict::Reopen => "",
    }
}
