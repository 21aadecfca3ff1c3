//! Webhooks: an alert posted as JSON, signed, with one time limit over everything.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use super::email::SendError;
use super::forms::{Around, Form, body, digest, watchdog};
use super::{Letter, digest_id, letter_id};
use crate::clock;
use crate::deliver::answer::Link;
use crate::deliver::render::clean::clean;
use crate::model::time::Timestamp;
use crate::model::wire::{Envelope, OutputForm, cloud_event_headers_alert};

const LONGEST_ANSWER: usize = 300;
/// Of an answer that says what is wrong, so much is read at most: it may be a page, or have no end.
const MOST_READ: usize = 4 * 1024;

/// How to reach a webhook.
#[derive(Clone, Debug)]
pub struct HookSettings {
    pub name: String,
    pub form: Form,
    /// Often a secret itself (Slack, Teams).
    pub url: SecretString,
    /// Signs the body; PagerDuty's routing key; what a SIEM's collector wants in the header `authorization`.
    pub secret: Option<SecretString>,
    /// From connecting to the end of the answer.
    pub timeout: Duration,
    /// URI reference of this deployment, as in the headers of the topic.
    pub source: String,
    pub base_url: Option<String>,
    pub repeat_interval_ms: i64,
    /// Letters a minute at most; 0 = as many as there are.
    pub per_minute: u32,
    /// Of Kafka's groups: tells deployments apart.
    pub application: String,
    /// How often an Alertmanager is told that we are alive; zero = never.
    pub watchdog: Duration,
}

pub struct Hook {
    settings: HookSettings,
    /// For logs: without what may be secret.
    shown: String,
    client: reqwest::Client,
    /// When it was last told that we are alive, as an uptime, and since when.
    alive: Mutex<Option<(Duration, Timestamp)>>,
}

impl Hook {
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(settings: HookSettings) -> Result<Hook, reqwest::Error> {
        // Another part of the program may have set it before: the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = reqwest::Client::builder().timeout(settings.timeout).redirect(reqwest::redirect::Policy::none());
        let client = builder.user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION"))).build()?;
        let host = reqwest::Url::parse(settings.url.expose_secret()).ok().and_then(|url| url.host_str().map(str::to_string));
        let shown = format!("webhook '{}' at {}", settings.name, host.unwrap_or_default());
        Ok(Hook { settings, shown, client, alive: Mutex::default() })
    }

    pub fn per_minute(&self) -> u32 {
        self.settings.per_minute
    }

    /// Posts the letter; answers its id, which is the same for each attempt.
    ///
    /// # Errors
    /// Nobody answers, or not with 2xx. What is worth trying again: no answer, 408, 425, 429, 5xx, after as long as `Retry-After` says.
    pub async fn send(&self, letter: &Letter<'_>, answers: &[Link]) -> Result<String, SendError> {
        let HookSettings { form, secret, base_url, repeat_interval_ms, .. } = &self.settings;
        let id = letter_id(letter);
        let secret = secret.as_ref().map(|secret| secret.expose_secret());
        let around = Around { secret, base_url: base_url.as_deref(), repeat_interval_ms: *repeat_interval_ms, answers };
        let body = body(*form, letter, &around).to_string();
        let headers = self.headers(letter, &id, &body)?;
        self.post(headers, body).await?;
        Ok(id)
    }

    /// Posts one letter about all of these.
    ///
    /// # Errors
    /// As [`Hook::send`].
    pub async fn send_digest(&self, letters: &[Letter<'_>], answers: &[Vec<Link>]) -> Result<String, SendError> {
        let Some(first) = letters.first() else { return Err(SendError::Unsendable { why: "a digest of nothing".to_string() }) };
        let id = digest_id(letters);
        let body = digest(self.settings.form, letters, answers, self.settings.base_url.as_deref()).to_string();
        let headers = self.headers(first, &id, &body)?;
        self.post(headers, body).await?;
        Ok(id)
    }

    /// Posts the alert that always fires, unless that was done less than the interval ago.
    ///
    /// # Errors
    /// As [`Hook::send`]; it is tried again after the interval.
    pub async fn say_alive(&self, uptime: Duration, now: Timestamp) -> Result<(), SendError> {
        let every = self.settings.watchdog;
        if every.is_zero() || self.settings.form != Form::Alertmanager {
            return Ok(());
        }
        let since = {
            let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
            if alive.is_some_and(|(last, _)| uptime.saturating_sub(last) < every) {
                return Ok(());
            }
            let since = alive.map_or(now, |(_, since)| since);
            *alive = Some((uptime, since));
            since
        };
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let body = watchdog(&self.settings.application, every_ms, since, now);
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        self.post(headers, body.to_string()).await
    }

    /// Whether people read it, not programs.
    pub fn is_for_people(&self) -> bool {
        self.settings.form.is_for_people()
    }

    async fn post(&self, headers: HeaderMap, body: String) -> Result<(), SendError> {
        let request = self.client.post(self.settings.url.expose_secret()).headers(headers).body(body);
        let temporary = |error: reqwest::Error| {
            // The address may be a secret.
            let why = clean(&chain(&error.without_url()), LONGEST_ANSWER);
            SendError::Temporary { server: self.shown.clone(), why, is_about_the_letter: false, wait: None }
        };
        let response = request.send().await.map_err(temporary)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, clock::now()));
        let answer = beginning(response).await;
        let (server, why) = (self.shown.clone(), format!("it answered {status}: {}", clean(&answer, LONGEST_ANSWER)));
        Err(match status.as_u16() {
            408 | 425 | 429 | 500..=599 => SendError::Temporary { server, why, is_about_the_letter: false, wait },
            code => SendError::Permanent { server, code, why },
        })
    }

    fn headers(&self, letter: &Letter<'_>, id: &str, body: &str) -> Result<HeaderMap, SendError> {
        let mut named = vec![("idempotency-key".to_owned(), id.to_owned())];
        let secret = self.settings.secret.as_ref().map(|secret| secret.expose_secret());
        if self.settings.form == Form::Ocsf {
            // Collectors of a SIEM want a token of theirs, each with a scheme of its own.
            named.extend(secret.map(|secret| ("authorization".to_owned(), secret.to_owned())));
        }
        if self.settings.form == Form::CloudEvents {
            if let Some(secret) = secret {
                let sent_at = letter.date.0.div_euclid(1_000);
                named.push(("tollgate-signature".to_owned(), signature(secret, sent_at, body)));
            }
            let envelope = Envelope { source: &self.settings.source, form: OutputForm::Json, dataschema: None };
            // Kafka's headers are HTTP's with another sign in between; texts that are no header values are percent-encoded, as the
            // binding says.
            let of_http = |(name, value): (String, String)| (name.replacen("ce_", "ce-", 1), encoded(&value));
            named.extend(cloud_event_headers_alert(letter.alert, &envelope).into_iter().map(of_http));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in named {
            let unsendable = |why: String| SendError::Unsendable { why };
            let name = HeaderName::try_from(name).map_err(|error| unsendable(error.to_string()))?;
            headers.insert(name, HeaderValue::try_from(value).map_err(|error| unsendable(error.to_string()))?);
        }
        Ok(headers)
    }
}

/// Seconds, or a date of HTTP (RFC 9110, 10.2.3).
fn retry_after(written: &str, now: Timestamp) -> Option<Duration> {
    let written = written.trim();
    if let Ok(seconds) = written.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(written).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(at - now.0).unwrap_or_default()))
}

/// What breaks off is worth as much as came.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Some(room) = MOST_READ.checked_sub(bytes.len()).filter(|room| *room > 0) {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend(chunk.iter().take(room));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `t=<seconds>,v1=<hex of HMAC-SHA256 over "<seconds>.<body>">`: the time is signed too, so that an old message cannot be sent again.
pub fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// CloudEvents' HTTP binding, 3.1.3.2: what is not printable ASCII, and space, quote and percent, as %XX.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'!' | b'#'..=b'$' | b'&'..=b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 has the algorithm's own cases; this is the form around it, as computed with `openssl dgst -sha256 -hmac`.
    #[test]
    fn a_signature_is_of_time_and_body() {
        let signed = signature("key", 1_700_000_000, "{}");
        assert!(signed.starts_with("t=1700000000,v1=") && signed.len() == 16 + 64);
        assert_ne!(signed, signature("key", 1_700_000_001, "{}"));
        assert_ne!(signed, signature("kez", 1_700_000_000, "{}"));
    }

    #[test]
    fn an_answer_says_when_to_come_again() {
        let now = Timestamp::parse("2026-11-24T13:14:06Z").unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((retry_after(" 120 ", now), retry_after("0", now)), (seconds(120), seconds(0)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 13:15:36 GMT", now), seconds(90));
        assert_eq!(retry_after("Tue, 24 Nov 2026 13:00:00 GMT", now), seconds(0), "over already");
        assert!(["", "soon", "-5", "1.5"].iter().all(|written| retry_after(written, now).is_none()));
    }

    #[test]
    fn header_values_are_ascii() {
        assert_eq!(encoded("a/b#7"), "a/b#7");
        assert_eq!(encoded("Zoë \"x\"%\r\n"), "Zo%C3%AB%20%22x%22%25%0D%0A");
    }
}
