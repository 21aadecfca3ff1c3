//! What watch says in English sentences of its own, said in German: what happened, and what to do. From the alert's fields, since its
//! sentences cannot be translated.

use crate::deliver::receipt::is_closed;
use crate::model::alert::{Alert, AlertKind, CAPACITY, INSTEAD, NOT_CONFIGURED, team_moved_to};
use crate::model::leaf::UNATTRIBUTED;

use super::amount::{brief, exact};
use super::clean::name;
use super::language::Language;
use super::subject::{last_seen, team};
use super::{matter, when, words};

const LONGEST_NAME: usize = 80;
const DE: Language = Language::German;

/// The model or size that would do.
fn instead(alert: &Alert) -> Option<String> {
    alert.causes.first()?.dimensions.get(INSTEAD).map(|value| name(value, LONGEST_NAME))
}

/// One sentence on what is wrong, of an alert that is open.
pub fn lead(alert: &Alert, zone: &jiff::tz::TimeZone) -> String {
    let money = |amount| exact(amount, alert.currency, DE);
    let (team, place) = (team(alert), words::place(&alert.dimensions, DE));
    let since = when::moment(alert.onset, zone, DE);
    if alert.kind == AlertKind::PolicyViolation {
        return format!("{team} verstößt seit {since} gegen eine Richtlinie ({place}).");
    }
    if alert.kind.is_matter() {
        return matter(alert, &team, &place, &since);
    }
    let span = when::within(alert.onset, last_seen(alert), DE);
    let what = format!("{team} ({place}) hat in {span} {} ausgegeben, seit {since}", money(alert.actual));
    if alert.kind == AlertKind::SpendDrop {
        return format!(
            "{team} ({place}) hat seit {since} nur {} ausgegeben; üblich wären {}.",
            money(alert.actual),
            money(alert.expected)
        );
    }
    format!("{what}; üblich wären {}.", money(alert.expected))
}

fn matter(alert: &Alert, team: &str, place: &str, since: &str) -> String {
    let money = |amount| exact(amount, alert.currency, DE);
    let over = match (is_closed(alert), team_moved_to(&alert.normal)) {
        (true, Some(other)) => format!(" Das Budget gehört jetzt zum Team {}, deshalb endet die Meldung.", name(other, LONGEST_NAME)),
        (true, None) if alert.normal == NOT_CONFIGURED => {
            " Das steht nicht mehr in der Konfiguration, deshalb endet die Meldung.".to_string()
        }
        (true, None) => " Das ist vorbei.".to_string(),
        (false, _) => saving(alert),
    };
    let said = match alert.kind {
        AlertKind::IdleResource => format!("Eine Ressource von {team} kostet Geld, und niemand nutzt sie: {place}, seit {since}."),
        AlertKind::ForgottenResource => format!("Eine Ressource von {team} ist wohl vergessen worden: {place}, seit {since} ungenutzt."),
        AlertKind::OrphanedResource => format!("Eine Ressource von {team} hat niemanden mehr, dem sie gehört: {place}, seit {since}."),
        AlertKind::UnusedCommitment => {
            format!("{team} bezahlt eine Zusage (Reservierung, Savings Plan) und nutzt sie nicht: {place}, seit {since}.")
        }
        AlertKind::MissingMoney if alert.dimensions.contains_key("currency") => {
            format!("Für {} von {team} fehlt der Wechselkurs ({place}): Kein Budget zählt sie.", money(alert.actual))
        }
        AlertKind::ProviderSilent => format!("Seit {since} kommt keine Nutzung mehr an, die bisher stetig kam ({place})."),
        AlertKind::BillMismatch => {
            format!("Die Rechnung weicht von der Schätzung ab ({place}): {} statt {}.", money(alert.actual), money(alert.expected))
        }
        AlertKind::UnseenSpend => format!("Berechnet wurden {}, ohne dass je eine Nutzung gemeldet wurde ({place}).", money(alert.actual)),
        AlertKind::UntaggedSpend => format!("An einem Tag gehörten {} zu keinem Team ({place}).", money(alert.actual)),
        AlertKind::Budget => format!("Vom Budget sind {} von {} verbraucht ({place}).", money(alert.actual), money(alert.expected)),
        AlertKind::NoPromptCaching => {
            format!("{team} schickt lange Prompts, von denen keiner aus dem Cache gelesen wird ({place}), seit {since}.")
        }
        AlertKind::NoBatch => {
            format!("{team} hat Arbeit, auf die wohl niemand wartet und die nicht in Batches geschickt wird ({place}), seit {since}.")
        }
        AlertKind::DearModel => format!("{team} stellt einem teuren Modell kleine Fragen ({place}), seit {since}."),
        AlertKind::OversizedResource => format!("Eine Ressource von {team} ist größer, als sie sein müsste: {place}, seit {since}."),
        _ => format!("Es gibt Nutzung von {team}, die mit keinen Kosten erfasst ist ({place}), seit {since}."),
    };
    format!("{said}{over}")
}

/// What an open alert on usage or a resource that is dearer than it has to be says in figures: what would do, and what that saves.
fn saving(alert: &Alert) -> String {
    if !alert.kind.is_saving() {
        return String::new();
    }
    let money = |amount| exact(amount, alert.currency, DE);
    let capacity = alert.causes.first().and_then(|cause| cause.dimensions.get(CAPACITY)).map(|value| name(value, LONGEST_NAME));
    let instead = match (alert.kind, instead(alert), capacity) {
        (AlertKind::DearModel, Some(model), _) => format!("Mit {model}"),
        (AlertKind::OversizedResource, Some(size), Some(capacity)) => format!("Mit Größe {size} statt {capacity}"),
        (AlertKind::NoPromptCaching, ..) => "Mit dem Cache, wenn sich so viel wiederholt wie angenommen,".to_string(),
        (AlertKind::NoBatch, ..) => "In Batches".to_string(),
        _ => "Damit".to_string(),
    };
    let (month, so_far) = (brief(matter::monthly(alert), alert.currency, DE), money(alert.actual));
    format!(" {instead} wären es im Monat etwa {month} weniger; von bisher {so_far} wären {} zu sparen gewesen.", money(alert.excess))
}

/// What to do next, of an alert that is open. What a policy asks for stands in the policy, in its language.
pub fn steps(alert: &Alert) -> Vec<String> {
    let onset = when::moment(alert.onset, &when::zone(&alert.time_zone), DE);
    let user = alert.causes.first().and_then(|cause| cause.dimensions.get("user")).map(|user| name(user, LONGEST_NAME));
    let mut steps = match user {
        _ if alert.kind.is_matter() || alert.kind == AlertKind::SpendDrop => Vec::new(),
        Some(user) => vec![format!("Fragen Sie {user}, was seit {onset} läuft: Von dort kommt das meiste.")],
        None => vec![format!("Sehen Sie nach, was sich seit {onset} geändert hat: Deployments, Batch-Läufe, Wiederholungen.")],
    };
    let step = match alert.kind {
        AlertKind::PolicyViolation => return alert.next_steps.iter().map(|step| words::sentence(step)).collect(),
        AlertKind::Runaway => "Wenn es niemand erklären kann: jetzt anhalten, den Schlüssel sperren oder am Gateway begrenzen.",
        AlertKind::LevelShift => "Wenn das jetzt so bleiben soll, ist nichts zu tun: In einigen Tagen gilt es als üblich.",
        AlertKind::PriceChange => {
            "Prüfen Sie die Preisliste des Anbieters und Ihren Vertrag, oder wechseln Sie auf ein günstigeres Modell."
        }
        AlertKind::ModelSwitch => "Fragen Sie, wer das Modell gewechselt hat, und ob das teurere sich lohnt.",
        AlertKind::SpendMoved => "Nichts zu tun, außer Budgets gelten je Projekt: Dann zieht auch das Budget um.",
        AlertKind::SpendDrop => {
            "Wenn es nicht abgeschaltet wurde: Was hat aufgehört (Läufe, Schlüssel, Kontingente), und wird Nutzung noch gemeldet?"
        }
        AlertKind::SpendSpike | AlertKind::Sustained => {
            "Wenn es so gewollt ist, antworten Sie „Erwartet bis …“: Dann endet diese Meldung von selbst."
        }
        AlertKind::IdleResource | AlertKind::ForgottenResource => "Schalten Sie sie ab, wenn niemand sie mehr braucht.",
        AlertKind::OrphanedResource => "Klären Sie, wem sie gehört, oder schalten Sie sie ab.",
        AlertKind::UnusedCommitment => "Verlagern Sie Last dorthin, oder verlängern Sie die Zusage nicht in dieser Größe.",
        AlertKind::MissingMoney if alert.dimensions.contains_key("currency") => {
            "Ergänzen Sie Kurse für diese Tage in einer Datei von currency.rates."
        }
        AlertKind::MissingMoney => "Ergänzen Sie den Preis des Modells, oder lassen Sie die Quelle Token und Kosten melden.",
        AlertKind::ProviderSilent => "Prüfen Sie, ob der Anbieter noch genutzt wird, und ob dessen Nutzung noch gemeldet wird.",
        AlertKind::BillMismatch => "Vergleichen Sie Preise und Mengen der Rechnung mit der Schätzung dieser Tage.",
        AlertKind::UnseenSpend => "Finden Sie heraus, welcher Schlüssel am Gateway vorbei genutzt wird.",
        AlertKind::UntaggedSpend => "Ergänzen Sie Tags oder eine Regel [[attribution]], die diese Kosten einem Team gibt.",
        AlertKind::NoPromptCaching => {
            "Stellen Sie an den Anfang der Prompts, was in allen gleich ist, und lassen Sie es vom Anbieter zwischenspeichern."
        }
        AlertKind::NoBatch => {
            "Prüfen Sie, ob jemand auf die Antworten wartet. Wenn nicht: über die Batch-Schnittstelle des Anbieters schicken."
        }
        AlertKind::DearModel => {
            steps.extend(instead(alert).map(|model| format!("Vergleichen Sie an einer Stichprobe, ob {model} genügt.")));
            "Bekannt ist die Größe der Anfragen, nicht wie schwer sie sind."
        }
        AlertKind::OversizedResource => {
            steps.extend(instead(alert).map(|size| format!("Versuchen Sie es beim nächsten Neustart mit Größe {size}.")));
            "Prüfen Sie, ob Speicher oder Netz die Größe brauchen: Bekannt ist nur, was gemessen wird."
        }
        AlertKind::Budget => "Stimmen Sie ab, ob das Budget erhöht oder weniger ausgegeben wird.",
    };
    steps.push(step.to_string());
    if alert.team == UNATTRIBUTED {
        steps.push("Niemandem gehört diese Nutzung: Ergänzen Sie eine Regel [[attribution]] für Quelle, Konto oder Tags.".to_string());
    }
    steps
}
