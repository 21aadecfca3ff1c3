//! Links by which people answer: each names the alert and whom it was sent to, is signed, and ends.

use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::channels::Letter;
use super::feedback::{About, label};
use super::receipt::is_closed;
use super::render::language::Language;
use super::render::subject::subject;
use crate::model::alert::AlertState;
use crate::model::feedback::Verdict;
use crate::model::time::Timestamp;

/// First byte of a token.
const VERSION: u8 = 1;
/// Bytes of the signature that are kept: 128 bits, as RFC 2104 allows.
const SIGNATURE: usize = 16;
/// Shorter keys can be guessed.
pub const SHORTEST_KEY: usize = 32;

/// Signs links and reads them back.
pub struct Signer {
    key: hmac::Key,
    base_url: String,
    valid_ms: i64,
}

/// One way to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Of the verdict, as in the events.
    pub name: &'static str,
    pub label: &'static str,
    pub url: String,
}

/// What a link says: whom it was sent to, and about what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub alert_id: String,
    /// As receipts name him: `mail:ada@example.com`.
    pub receiver: String,
    /// The letter's subject, for the page to show.
    pub subject: String,
    pub time_zone: String,
    pub ends: Timestamp,
    /// Last: links of earlier versions end before it.
    pub about: About,
}

/// Why a link is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not ours, cut short, or signed with another key.
    Forged,
    Ended(Timestamp),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Signer {
    /// `base_url`: where the pages are, `https://tollgate.example.com`; `valid_ms`: how long a link can be used, from its letter on.
    pub fn new(secret: &[u8], base_url: &str, valid_ms: i64) -> Signer {
        let base_url = base_url.trim_end_matches('/').to_string();
        Signer { key: hmac::Key::new(hmac::HMAC_SHA256, secret), base_url, valid_ms }
    }

    /// The answers that make sense: nobody takes up what is over, and a false alarm that was taken back needs none.
    /// `language`: of the letter, and so of the subject that the page shows.
    pub fn links(&self, letter: &Letter<'_>, language: Language) -> Vec<Link> {
        let alert = letter.alert;
        let verdicts: &[Verdict] = match (alert.state, is_closed(alert)) {
            (AlertState::Retracted, _) => &[],
            // What is over is measured: a word does not begin it again.
            (_, true) if alert.kind.is_matter() => &[],
            (_, true) => &[Verdict::Expected, Verdict::NotAnAnomaly],
            (_, false) => &[Verdict::Ack, Verdict::Expected, Verdict::NotAnAnomaly],
        };
        let asked = Asked {
            alert_id: alert.id.clone(),
            receiver: letter.receiver.to_string(),
            subject: subject(alert, letter.earlier, language),
            time_zone: alert.time_zone.clone(),
            ends: letter.date.plus_ms(self.valid_ms),
            about: About::of(alert.kind),
        };
        let Some(token) = self.token(&asked) else { return Vec::new() };
        let link = |verdict: &Verdict| {
            let url = format!("{}/answer/{token}?{}", self.base_url, verdict.name());
            Link { name: verdict.name(), label: label(*verdict, asked.about), url }
        };
        verdicts.iter().map(link).collect()
    }

    /// `None`: what cannot be written down, which no text is.
    fn token(&self, asked: &Asked) -> Option<String> {
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(asked).ok()?);
        let signature = hmac::sign(&self.key, &bytes);
        bytes.extend(signature.as_ref().iter().take(SIGNATURE));
        Some(base64url(&bytes))
    }

    /// # Errors
    /// A link that is not ours, or has ended.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Asked, Refusal> {
        let bytes = from_base64url(token).ok_or(Refusal::Forged)?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().saturating_sub(SIGNATURE)).ok_or(Refusal::Forged)?;
        let right = hmac::sign(&self.key, signed);
        // All bytes, so that the time says nothing about how many were right.
        let differing = right.as_ref().iter().zip(signature).fold(0, |differing, (a, b)| differing | (a ^ b));
        if signature.len() != SIGNATURE || differing != 0 || signed.first() != Some(&VERSION) {
            return Err(Refusal::Forged);
        }
        let body = signed.get(1..).ok_or(Refusal::Forged)?;
        let asked: Asked =
            postcard::from_bytes(body).or_else(|_| postcard::from_bytes(&[body, &[0]].concat())).map_err(|_| Refusal::Forged)?;
        if now > asked.ends { Err(Refusal::Ended(asked.ends)) } else { Ok(asked) }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0; 2]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        text.extend((0..=chunk.len()).map(|place| char::from(DIGITS[word >> (18 - 6 * place) & 63])));
    }
    text
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0_u32;
        for place in 0..4 {
            let digit = match chunk.get(place) {
                Some(digit) => DIGITS.iter().position(|known| known == digit)?,
                None => 0,
            };
            word = word << 6 | u32::try_from(digit).ok()?;
        }
        let whole = word.to_be_bytes();
        // Two digits hold one byte, three two, four three; one alone holds none.
        bytes.extend_from_slice(whole.get(1..chunk.len()).filter(|_| chunk.len() > 1)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;
    use crate::deliver::rules::Receiver;
    use crate::model::alert::{Alert, AlertKind};
    use crate::model::time::DAY_MS;

    const SENT: Timestamp = Timestamp(1_700_000_000_000);

    fn links(signer: &Signer, alert: &Alert) -> Vec<Link> {
        let receiver = Receiver::Mail("ada@example.com".into());
        signer.links(&Letter { alert, receiver: &receiver, earlier: None, date: SENT }, Language::English)
    }

    fn signer() -> Signer {
        Signer::new(&[7; 32], "https://gate.example.com/", DAY_MS)
    }

    fn token(links: &[Link]) -> String {
        links[0].url.rsplit('/').next().unwrap().split('?').next().unwrap().to_string()
    }

    #[test]
    fn a_link_says_who_and_what_and_ends() {
        let links = links(&signer(), &sample::spike());
        assert!(links.iter().all(|link| link.url.starts_with("https://gate.example.com/answer/")));
        let ways: Vec<&str> = links.iter().map(|link| link.url.split('?').nth(1).unwrap()).collect();
        assert_eq!(ways, ["ack", "expected", "not_an_anomaly"]);
        let asked = signer().read(&token(&links), SENT.plus_ms(DAY_MS)).unwrap();
        assert_eq!((asked.alert_id.as_str(), asked.receiver.as_str()), (sample::spike().id.as_str(), "mail:ada@example.com"));
        assert!(asked.subject.starts_with("[critical] search: "), "{asked:?}");
        assert_eq!(signer().read(&token(&links), SENT.plus_ms(DAY_MS + 1)), Err(Refusal::Ended(SENT.plus_ms(DAY_MS))));
    }

    #[test]
    fn no_letter_of_a_link_may_change() {
        let links = links(&signer(), &sample::spike());
        let token = token(&links);
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            // The last digit may hold bits that mean nothing.
            if from_base64url(&changed) != from_base64url(&token) {
                assert_eq!(signer().read(&changed, SENT), Err(Refusal::Forged), "{at}");
            }
        }
        for forged in ["", "A", "AAAA", &token[1..], &token[..token.len() - 4], &format!("{token}AAAA"), "é", "a b"] {
            assert_eq!(signer().read(forged, SENT), Err(Refusal::Forged), "{forged}");
        }
        assert_eq!(Signer::new(&[8; 32], "https://x", DAY_MS).read(&token, SENT), Err(Refusal::Forged));
        assert!(!format!("{:?}", signer()).contains('7'), "the key is shown nowhere");
    }

    #[test]
    fn links_know_violations_and_those_of_earlier_versions_are_read() {
        let violation = Alert { kind: AlertKind::PolicyViolation, ..sample::spike() };
        let labels: Vec<&str> = links(&signer(), &violation).iter().map(|link| link.label).collect();
        assert_eq!(labels, ["Acknowledge", "Accepted until…", "Not a violation"]);
        assert_eq!(signer().read(&token(&links(&signer(), &violation)), SENT).unwrap().about, About::Violation);
        let asked = signer().read(&token(&links(&signer(), &sample::spike())), SENT).unwrap();
        assert_eq!(asked.about, About::Spend);
        let whole = postcard::to_stdvec(&asked).unwrap();
        let mut old = [&[VERSION], &whole[..whole.len() - 1]].concat();
        old.extend(&hmac::sign(&signer().key, &old).as_ref()[..SIGNATURE]);
        assert_eq!(signer().read(&base64url(&old), SENT), Ok(asked));
    }

    #[test]
    fn what_is_over_is_answered_otherwise() {
        let labels = |alert: &Alert| links(&signer(), alert).iter().map(|link| link.label).collect::<Vec<_>>();
        assert_eq!(labels(&sample::resolved()), ["Expected until…", "Not an anomaly"]);
        assert_eq!(labels(&sample::retracted()), [""; 0]);
        let idle = |alert: Alert| Alert { kind: AlertKind::IdleResource, ..alert };
        assert_eq!(labels(&idle(sample::spike())), ["Acknowledge", "Expected until…", "Not a problem"]);
        assert_eq!(labels(&idle(sample::resolved())), [""; 0]);
    }

    #[test]
    fn base64url_as_in_rfc_4648() {
        for (plain, encoded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("\u{fb}\u{ff}", "w7vDvw")] {
            assert_eq!((base64url(plain.as_bytes()).as_str(), from_base64url(encoded)), (encoded, Some(plain.as_bytes().to_vec())));
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
