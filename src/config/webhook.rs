//! [[webhook]]: places that alerts are posted to, as receivers of routes.

use super::read::Section;
use super::settings::{WebhookForm, WebhookSettings};
use super::units::Complaint;

const FORMS: [(&str, WebhookForm); 6] = [
    ("cloudevents", WebhookForm::CloudEvents),
    ("slack", WebhookForm::Slack),
    ("teams", WebhookForm::Teams),
    ("alertmanager", WebhookForm::Alertmanager),
    ("pagerduty", WebhookForm::PagerDuty),
    ("ocsf", WebhookForm::Ocsf),
];
const PAGER_DUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const TIMEOUT_MS: i64 = 10_000;

pub fn webhooks(sections: Vec<Section>) -> Vec<WebhookSettings> {
    let mut webhooks: Vec<WebhookSettings> = Vec::new();
    for mut section in sections {
        let webhook = webhook(&mut section);
        if webhooks.iter().any(|known| known.name == webhook.name) && !webhook.name.is_empty() {
            section.complain("name", Complaint::new(format!("is '{}', as that of another webhook", webhook.name), "give each its own"));
        }
        webhooks.push(webhook);
        section.finish();
    }
    webhooks
}

fn webhook(section: &mut Section) -> WebhookSettings {
    let name = section.text("name");
    if name.contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '_') {
        section.complain("name", Complaint::new(format!("is '{name}'"), "write letters, digits, - and _: receivers = [\"hook:ops-chat\"]"));
    }
    let form = section.choice("form", &FORMS);
    let url = section.secret("url", "url_file");
    let secret = section.secret("secret", "secret_file");
    let timeout_ms = section.optional_duration("timeout", "1s", "30s").unwrap_or(TIMEOUT_MS);
    if url.is_none() && form != WebhookForm::PagerDuty && !section.has("url") && !section.has("url_file") {
        section.complain("name", Complaint::new("has no 'url'", "add url = \"https://...\", or url_file where the address is a secret"));
    }
    if secret.is_none() && form == WebhookForm::PagerDuty {
        section.complain("form", Complaint::new("is \"pagerduty\" without a 'secret'", "give the routing key of the service: secret_file"));
    }
    let url = url.unwrap_or_else(|| PAGER_DUTY.into());
    if let Some(complaint) = address(&url) {
        section.complain(if section.has("url_file") { "url_file" } else { "url" }, complaint);
    }
    let per_minute = section.optional_integer("most_per_minute", 0..=1_000_000).unwrap_or_default();
    let watchdog_ms = section.optional_duration("watchdog", "1s", "1h").unwrap_or_default();
    if watchdog_ms > 0 && form != WebhookForm::Alertmanager {
        section.complain("watchdog", Complaint::new("is for Alertmanager only", "leave it out, or set form = \"alertmanager\""));
    }
    WebhookSettings { name, form, url, secret, timeout_ms, per_minute: u32::try_from(per_minute).unwrap_or_default(), watchdog_ms }
}

/// Never what it is: it may be a secret.
fn address(url: &secrecy::SecretString) -> Option<Complaint> {
    use secrecy::ExposeSecret as _;
    let parsed = reqwest::Url::parse(url.expose_secret()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let Some((url, host)) = parsed.as_ref().and_then(|url| Some((url, url.host_str()?))) else {
        return Some(Complaint::new("is no address that can be posted to", "write https:// and all that the other side gave you"));
    };
    let is_near = ["localhost", "127.0.0.1", "["].iter().any(|near| host.starts_with(near)) || !host.contains('.');
    (url.scheme() == "http" && !is_near).then(|| {
        Complaint::new("begins with http://: alerts would travel readable", "use https://, or a host of your own network by its short name")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load_text;

    fn problems(text: &str) -> Vec<String> {
        let text = format!("version = 1\n{text}");
        let loaded = load_text("t.toml", &text, Path::new(""), std::iter::empty());
        loaded.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn webhooks_are_receivers_of_routes() {
        let good = "[[webhook]]\nname = 'ops-chat'\nform = 'slack'\nurl = 'https://hooks.example.com/T0/B0/x'\n";
        assert_eq!(problems(&format!("{good}[[route]]\nreceivers = ['hook:ops-chat', 'a@example.com']\n")), [""; 0]);
        for (text, says) in [
            (format!("{good}[[route]]\nreceivers = ['hook:opschat']\n"), "no such webhook; did you mean 'ops-chat'?"),
            (format!("{good}{good}"), "as that of another webhook"),
            (good.replace("slack", "slak"), "did you mean 'slack'?"),
            (good.replace("https", "http"), "begins with http://"),
            (good.replace("https://", ""), "'url' in [[webhook]] is no address that can be posted to"),
            (good.replace("https", "ftp"), "no address"),
            (good.replace("hooks.example.com/T0/B0/x", ""), "no address"),
            (good.replace("https://hooks.example.com/T0/B0/x", ""), "no address"),
            (good.replace("ops-chat", "ops chat"), "write letters, digits"),
            ("[[webhook]]\nname = 'x'\nform = 'teams'\n".to_owned(), "has no 'url'"),
            ("[[webhook]]\nname = 'x'\nform = 'pagerduty'\n".to_owned(), "without a 'secret'"),
            (format!("{good}timeout = '5m'\n"), "from 1s to 30s"),
            (format!("{good}watchdog = '1m'\n"), "for Alertmanager only"),
        ] {
            let found = problems(&text);
            assert!(found.len() == 1 && found[0].contains(says), "{text}\n{found:?}");
            assert!(!found[0].contains("B0"), "an address may be a secret: {found:?}");
        }
    }
}
