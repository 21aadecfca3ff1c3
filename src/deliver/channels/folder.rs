//! Mails as files: what the demo writes, to be opened by a mail program or a browser.

use std::io;
use std::path::{Path, PathBuf};

use lettre::Message;

use crate::deliver::receipt::repeat_number;
use crate::deliver::render::{Rendered, when};

use super::email::SendError;
use super::{Letter, compose};

pub struct Folder {
    pub sender: compose::Sender,
    path: PathBuf,
}

impl Folder {
    pub fn new(path: &Path, sender: compose::Sender) -> Folder {
        Folder { sender, path: path.to_path_buf() }
    }

    /// Writes `<name>.eml`, and `<name>.html` with the picture inside. The same letter has the same name, so a repetition
    /// replaces it.
    pub fn write(&self, letter: &Letter, rendered: &Rendered, message: &Message) -> io::Result<()> {
        self.keep(&file_name(letter, &self.sender.from), rendered, message)
    }

    /// As [`Folder::write`], of one letter about all of these.
    pub fn write_digest(&self, letters: &[Letter], rendered: &Rendered, message: &Message) -> io::Result<()> {
        let Some(first) = letters.first() else { return Ok(()) };
        let id = compose::digest_message_id(letters, &self.sender.from);
        let hash: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        self.keep(&format!("{}-{}-alerts-{hash}", when::compact(first.date), letters.len()), rendered, message)
    }

    fn keep(&self, name: &str, rendered: &Rendered, message: &Message) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        self.replace(&format!("{name}.html"), standalone(rendered).as_bytes())?;
        self.replace(&format!("{name}.eml"), &message.formatted())
    }

    pub fn failure(&self, error: &io::Error) -> SendError {
        SendError::Temporary { server: self.path.display().to_string(), why: error.to_string(), is_about_the_letter: false, wait: None }
    }

    /// Whoever watches the folder never sees half a file.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let partial = self.path.join(format!(".{name}.partial"));
        std::fs::write(&partial, content)?;
        std::fs::rename(&partial, self.path.join(name))
    }
}

/// `20261124T131406Z-search-1-open-5b1f0c3a`: by time of the decision, and safe whatever the team is called.
fn file_name(letter: &Letter, from: &lettre::message::Mailbox) -> String {
    let alert = letter.alert;
    let team: String = alert.team.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let id = compose::message_id(letter, from);
    let hash: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let again = match repeat_number(letter.earlier, alert) {
        0 => String::new(),
        repeat => format!("-again-{repeat}"),
    };
    format!("{}-{team}-{}-{}-{hash}{again}", when::compact(alert.decided_at), alert.revision, alert.state.as_str())
}

fn standalone(rendered: &Rendered) -> String {
    match &rendered.chart {
        Some(picture) => {
            let data = format!("data:image/png;base64,{}", base64(&picture.png));
            rendered.html.replace(&format!("cid:{}", picture.content_id), &data)
        }
        None => rendered.html.clone(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0; 2]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = word >> (18 - 6 * place) & 63;
            text.push(if place <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
