//! The ways out: each takes a revision for a receiver and either got rid of it or says why not.

pub mod compose;
pub mod email;
pub mod folder;
pub mod forms;
pub mod hook;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::alert::Alert;
use crate::model::hash::hash128;
use crate::model::time::Timestamp;

use super::answer::Signer;
use super::receipt::{Told, repeat_number};
use super::render::{Context, RenderError, Rendered, Renderer};
use super::rules::{HOOK, Receiver};

use compose::{ComposeError, compose};
use email::{Mailer, SendError};
use folder::Folder;
use hook::Hook;

/// One revision for one receiver.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub alert: &'a Alert,
    pub receiver: &'a Receiver,
    /// What he was told before; the letter answers the first mail of that conversation.
    pub earlier: Option<&'a Told>,
    pub date: Timestamp,
}

/// Every way out that is set up.
#[derive(Default)]
pub struct Channels {
    /// Absent: nobody is mailed.
    pub mail: Option<Channel>,
    /// By name.
    pub hooks: BTreeMap<String, Hook>,
    /// Of the links that people answer by; absent: letters have none.
    pub signer: Option<Arc<Signer>>,
    /// Of the web pages, for links.
    pub base_url: Option<String>,
    /// Mails a minute at most; 0 = as many as there are.
    pub mails_per_minute: u32,
}

pub enum Channel {
    Smtp(Mailer),
    /// For the demo and for trying things out.
    Folder(Folder),
}

impl Channels {
    pub fn is_empty(&self) -> bool {
        self.mail.is_none() && self.hooks.is_empty()
    }

    /// Sends the letter and answers its id, which is the same for each attempt.
    ///
    /// # Errors
    /// As the channel has it; a receiver whose channel is not set up waits for it.
    pub async fn send(&self, letter: &Letter<'_>, renderer: &Renderer, topic: &str) -> Result<String, SendError> {
        let missing = |server: String| {
            let why = "it is not set up in this process's config".to_string();
            SendError::Temporary { server, why, is_about_the_letter: false }
        };
        let answers = self.signer.as_ref().map(|signer| signer.links(letter)).unwrap_or_default();
        match letter.receiver {
            Receiver::Mail(_) => {
                let Some(channel) = &self.mail else { return Err(missing("mail server".to_string())) };
                let context = Context { topic, base_url: self.base_url.as_deref(), earlier: letter.earlier, answers: &answers };
                channel.send(letter, &renderer.render(letter.alert, &context)?).await
            }
            Receiver::Hook(name) => match self.hooks.get(name) {
                Some(hook) => hook.send(letter, &answers).await,
                None => Err(missing(format!("webhook '{name}'"))),
            },
        }
    }

    /// Letters a minute that may go this way, `mail` or `hook:name`; 0 = as many as there are.
    pub fn per_minute(&self, way: &str) -> u32 {
        match way.strip_prefix(HOOK) {
            Some(name) => self.hooks.get(name).map_or(0, Hook::per_minute),
            None => self.mails_per_minute,
        }
    }

    /// Closes connections that nobody has used for a while.
    pub async fn tidy(&self) {
        if let Some(Channel::Smtp(mailer)) = &self.mail {
            mailer.tidy().await;
        }
    }
}

/// Of one revision for one receiver; a repetition of the same revision is numbered.
pub fn letter_id(letter: &Letter<'_>) -> String {
    let Letter { alert, receiver, earlier, .. } = letter;
    let hash = hash128(&[alert.id.as_bytes(), receiver.to_string().as_bytes()]);
    match repeat_number(*earlier, alert) {
        0 => format!("{hash:032x}.{}", alert.revision),
        repeat => format!("{hash:032x}.{}.{repeat}", alert.revision),
    }
}

impl Channel {
    /// # Errors
    /// As the mail server, or the folder, has it.
    pub async fn send(&self, letter: &Letter<'_>, rendered: &Rendered) -> Result<String, SendError> {
        let message = compose(self.from(), letter, rendered)?;
        match self {
            Channel::Smtp(mailer) => mailer.send(&message).await?,
            Channel::Folder(folder) => folder.write(letter, rendered, &message).map_err(|error| folder.failure(&error))?,
        }
        Ok(compose::message_id(letter, self.from()))
    }

    fn from(&self) -> &lettre::message::Mailbox {
        match self {
            Channel::Smtp(mailer) => &mailer.from,
            Channel::Folder(folder) => &folder.from,
        }
    }
}

impl From<RenderError> for SendError {
    fn from(error: RenderError) -> SendError {
        SendError::Unsendable { why: error.to_string() }
    }
}

impl From<ComposeError> for SendError {
    fn from(error: ComposeError) -> SendError {
        SendError::Unsendable { why: error.to_string() }
    }
}
