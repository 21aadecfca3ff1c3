//! A mail as bytes: headers, text, HTML and picture.

use lettre::Message;
use lettre::message::header::{ContentType, Date, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, MultiPartKind, SinglePart};

use crate::deliver::receipt::Told;
use crate::deliver::render::clean::clean;
use crate::deliver::render::{Picture, Rendered, when};
use crate::model::alert::{Alert, Severity};
use crate::model::hash::hash128;

use super::{Letter, digest_id, letter_id};

/// Whom mails come from, and how a receiver has himself taken off.
#[derive(Clone, Debug)]
pub struct Sender {
    pub from: Mailbox,
    /// `mailto:` and `https:` addresses; `{address}` stands for the receiver's.
    pub unsubscribe: Vec<String>,
    /// A POST to the https address is enough (RFC 8058).
    pub one_click: bool,
}

impl Sender {
    /// # Errors
    /// `from` is no mail address.
    pub fn new(from: &str) -> Result<Sender, ComposeError> {
        Ok(Sender { from: mailbox(from)?, unsubscribe: Vec::new(), one_click: false })
    }
}

/// In characters; a header line of a mail has 998 bytes at most, and encoding may make six of one.
const LONGEST_SUBJECT: usize = 150;
const LONGEST_ID: usize = 150;

#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error("'{address}' is not a mail address: {why}")]
    Address { address: String, why: String },
    #[error("not a mail: {0}")]
    Message(#[from] lettre::error::Error),
    #[error("a header cannot be written: {0}")]
    Header(String),
}

pub fn compose(sender: &Sender, letter: &Letter, rendered: &Rendered) -> Result<Message, ComposeError> {
    message(sender, letter, message_id(letter, &sender.from), letter.earlier, rendered, own_headers(letter.alert, sender))
}

/// One mail about all of these letters, which have one receiver. It answers no other mail; what follows answers it.
pub fn compose_digest(sender: &Sender, letters: &[Letter], rendered: &Rendered) -> Result<Message, ComposeError> {
    let first = letters.first().ok_or_else(|| ComposeError::Header("a digest of nothing".to_string()))?;
    let mut headers = common_headers(sender);
    headers.push(("X-Tollgate-Alerts", letters.len().to_string()));
    if letters.iter().any(|letter| is_urgent(letter.alert)) {
        headers.push(("Importance", "high".to_string()));
    }
    message(sender, first, digest_message_id(letters, &sender.from), None, rendered, headers)
}

fn message(
    sender: &Sender,
    letter: &Letter,
    id: String,
    earlier: Option<&Told>,
    rendered: &Rendered,
    mut headers: Vec<(&'static str, String)>,
) -> Result<Message, ComposeError> {
    let to = mailbox(letter.receiver.address())?;
    headers.extend(unsubscribe(sender, &to));
    let mut builder = Message::builder()
        .from(sender.from.clone())
        .to(to)
        .subject(header_text(&rendered.subject, LONGEST_SUBJECT))
        .header(date(letter)?)
        .message_id(Some(id.clone()));
    if let Some(earlier) = earlier {
        let (first, last) = (&earlier.first_message_id, &earlier.last_message_id);
        let references = if first == last { first.clone() } else { format!("{first} {last}") };
        builder = builder.in_reply_to(first.clone()).references(references);
    }
    for (name, value) in headers {
        let name = HeaderName::new_from_ascii(name.to_string()).map_err(|error| ComposeError::Header(error.to_string()))?;
        builder = builder.raw_header(HeaderValue::new(name, value));
    }
    let html = SinglePart::html(rendered.html.clone());
    let shown = match &rendered.chart {
        Some(picture) => part(MultiPartKind::Related, &id).singlepart(html).singlepart(inline(picture)?),
        None => part(MultiPartKind::Related, &id).singlepart(html),
    };
    let body = part(MultiPartKind::Alternative, &id).singlepart(SinglePart::plain(rendered.text.clone())).multipart(shown);
    Ok(builder.multipart(body)?)
}

/// `<hash.revision@domain of the sender>`: the same for each attempt, so that whoever gets a mail twice can tell. A mail that tells the
/// same revision again is another one, and is numbered.
pub fn message_id(letter: &Letter, from: &Mailbox) -> String {
    format!("<{}@{}>", letter_id(letter), from.email.domain())
}

/// The same as long as it tells the same.
pub fn digest_message_id(letters: &[Letter], from: &Mailbox) -> String {
    format!("<{}@{}>", digest_id(letters), from.email.domain())
}

pub fn mailbox(address: &str) -> Result<Mailbox, ComposeError> {
    let unusable = |why: String| ComposeError::Address { address: clean(address, 200), why };
    if address.chars().any(char::is_control) {
        return Err(unusable("it holds control characters".to_string()));
    }
    address.trim().parse().map_err(|error: lettre::address::AddressError| unusable(error.to_string()))
}

/// Fit for a header: a name that looks like an encoded word (RFC 2047) would be decoded by whoever reads the mail, and show
/// what we never wrote.
pub fn header_text(text: &str, longest: usize) -> String {
    clean(&text.replace("=?", "= ?"), longest)
}

fn own_headers(alert: &Alert, sender: &Sender) -> Vec<(&'static str, String)> {
    let mut headers = common_headers(sender);
    headers.extend([
        ("X-Tollgate-Alert-Id", header_text(&alert.id, LONGEST_ID)),
        ("X-Tollgate-Revision", alert.revision.to_string()),
        ("X-Tollgate-State", alert.state.as_str().to_string()),
    ]);
    if is_urgent(alert) {
        headers.push(("Importance", "high".to_string()));
    }
    headers
}

fn common_headers(sender: &Sender) -> Vec<(&'static str, String)> {
    vec![
        ("Auto-Submitted", "auto-generated".to_string()),
        // Keeps Exchange from answering with absences.
        ("X-Auto-Response-Suppress", "All".to_string()),
        ("List-Id", format!("Tollgate alerts <alerts.tollgate.{}>", sender.from.email.domain())),
    ]
}

/// List-Unsubscribe (RFC 2369), and List-Unsubscribe-Post (RFC 8058).
fn unsubscribe(sender: &Sender, to: &Mailbox) -> Vec<(&'static str, String)> {
    if sender.unsubscribe.is_empty() {
        return Vec::new();
    }
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let address: String = to.email.to_string().bytes().map(encode).collect();
    let addresses = sender.unsubscribe.iter().map(|written| format!("<{}>", written.replace("{address}", &address)));
    let mut headers = vec![("List-Unsubscribe", addresses.collect::<Vec<_>>().join(", "))];
    if sender.one_click {
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_string()));
    }
    headers
}

fn is_urgent(alert: &Alert) -> bool {
    alert.severity == Severity::Critical && alert.closed_at.is_none()
}

fn date(letter: &Letter) -> Result<Date, ComposeError> {
    Date::parse(&when::http_date(letter.date)).map_err(|error| ComposeError::Header(error.to_string()))
}

/// With a boundary made of the mail's id: the same mail has the same bytes.
fn part(kind: MultiPartKind, id: &str) -> lettre::message::MultiPartBuilder {
    let name = match kind {
        MultiPartKind::Related => "related",
        _ => "alternative",
    };
    let hash = hash128(&[id.as_bytes(), name.as_bytes()]);
    MultiPart::builder().kind(kind).boundary(format!("=_{hash:032x}"))
}

fn inline(picture: &Picture) -> Result<SinglePart, ComposeError> {
    let png = ContentType::parse("image/png").map_err(|error| ComposeError::Header(error.to_string()))?;
    Ok(Attachment::new_inline_with_name(picture.content_id.clone(), "spend.png".to_string()).body(picture.png.to_vec(), png))
}
