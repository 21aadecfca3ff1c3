//! What the page behind the links calls the answers, in both languages.

use super::feedback::{About, label};
use super::render::language::Language;
use crate::model::feedback::Verdict;

/// What an answer says.
pub fn said(verdict: Verdict, about: About, language: Language) -> &'static str {
    match verdict {
        Verdict::Ack => language.pick("I take care of it", "Ich kümmere mich darum"),
        Verdict::Expected if about == About::Violation => language.pick("It is accepted, for a while", "Es ist akzeptiert, für eine Weile"),
        Verdict::Expected => language.pick("It is expected, for a while", "Es ist erwartet, für eine Weile"),
        Verdict::NotAnAnomaly if about == About::Violation => language.pick("It is not a violation", "Es ist kein Verstoß"),
        Verdict::NotAnAnomaly if about == About::Matter => language.pick("It is not a problem", "Es ist kein Problem"),
        Verdict::NotAnAnomaly => language.pick("It is not an anomaly", "Es ist keine Anomalie"),
        Verdict::Planned | Verdict::Reopen => label(verdict, about),
    }
}

/// What follows of it.
pub fn meaning(verdict: Verdict, about: About, language: Language) -> &'static str {
    match verdict {
        Verdict::Ack => language.pick(
            "Nobody is reminded of it while you do; you all hear of its end.",
            "Niemand wird daran erinnert, solange Sie es tun; vom Ende hören alle.",
        ),
        Verdict::Expected if about == About::Violation => language.pick(
            "An exception, in your name. It ends by itself: if the policy is still violated after that time, it is open again.",
            "Eine Ausnahme, in Ihrem Namen. Sie endet von selbst: Wird die Richtlinie danach noch verletzt, ist der Verstoß wieder offen.",
        ),
        Verdict::Expected if about == About::Matter => language.pick(
            "It is kept on purpose, for now. It ends by itself: if it is still so after that time, it is open again.",
            "Es soll vorerst so sein. Es endet von selbst: Ist es danach noch so, ist die Meldung wieder offen.",
        ),
        Verdict::Expected => language.pick(
            "A backfill, a launch, a load test. It ends by itself: after that time it counts again.",
            "Ein Nachlauf, ein Start, ein Lasttest. Es endet von selbst: Danach zählt es wieder.",
        ),
        Verdict::NotAnAnomaly if about == About::Violation => language.pick(
            "A false alarm. The same is silent for four weeks; have the policy mended meanwhile.",
            "Ein Fehlalarm. Dasselbe schweigt für vier Wochen; lassen Sie inzwischen die Richtlinie berichtigen.",
        ),
        Verdict::NotAnAnomaly if about == About::Matter => language.pick(
            "It is as it should be. It stays closed until it is over and begins anew, or costs a quarter more an hour.",
            "Es ist, wie es sein soll. Die Meldung bleibt geschlossen, bis es endet und neu beginnt oder in der Stunde ein Viertel mehr kostet.",
        ),
        Verdict::NotAnAnomaly => language.pick(
            "This much is normal here; the alert should not have been.",
            "So viel ist hier üblich; die Meldung hätte es nicht geben sollen.",
        ),
        Verdict::Planned | Verdict::Reopen => "",
    }
}
