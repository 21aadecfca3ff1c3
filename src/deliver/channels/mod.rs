//! The ways out: each takes a revision for a receiver and either got rid of it or says why not.

pub mod compose;
pub mod email;
pub mod folder;
pub mod forms;
pub mod hook;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::model::alert::Alert;
use crate::model::hash::hash128;
use crate::model::time::Timestamp;

use super::answer::{Link, Signer};
use super::receipt::{Told, repeat_number};
use super::render::language::Language;
use super::render::{Context, RenderError, Rendered, Renderer};
use super::rules::{HOOK, Receiver};

use compose::{ComposeError, compose, compose_digest};
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
        let language = language_of(letter.receiver, renderer);
        let answers = self.signer.as_ref().map(|signer| signer.links(letter, language)).unwrap_or_default();
        match letter.receiver {
            Receiver::Mail(_) => {
                let Some(channel) = &self.mail else { return Err(missing("mail server".to_string())) };
                let context = Context { topic, base_url: self.base_url.as_deref(), earlier: letter.earlier, answers: &answers, language };
                channel.send(letter, &renderer.render(letter.alert, &context)?).await
            }
            Receiver::Hook(name) => match self.hooks.get(name) {
                Some(hook) => hook.send(letter, &answers).await,
                None => Err(missing(format!("webhook '{name}'"))),
            },
        }
    }

    /// Sends one letter about all of these, which have one receiver; its id is the same as long as it tells the same.
    ///
    /// # Errors
    /// As [`Channels::send`].
    pub async fn send_digest(&self, letters: &[Letter<'_>], renderer: &Renderer) -> Result<String, SendError> {
        let Some(first) = letters.first() else { return Err(SendError::Unsendable { why: "a digest of nothing".to_string() }) };
        let language = language_of(first.receiver, renderer);
        let links = |letter: &Letter<'_>| self.signer.as_ref().map(|signer| signer.links(letter, language)).unwrap_or_default();
        let answers: Vec<Vec<Link>> = letters.iter().map(links).collect();
        match first.receiver {
            Receiver::Mail(_) => {
                let Some(channel) = &self.mail else { return Err(missing("mail server".to_string())) };
                channel.send_digest(letters, &renderer.digest(letters, &answers, self.base_url.as_deref())?).await
            }
            Receiver::Hook(name) => match self.hooks.get(name) {
                Some(hook) => hook.send_digest(letters, &answers).await,
                None => Err(missing(format!("webhook '{name}'"))),
            },
        }
    }

    /// Webhooks that programs read: those take one alert at a time, and all of them.
    pub fn machines(&self) -> BTreeSet<String> {
        self.hooks.iter().filter(|(_, hook)| !hook.is_for_people()).map(|(name, _)| name.clone()).collect()
    }

    /// Letters a minute that may go this way, `mail` or `hook:name`; 0 = as many as there are.
    pub fn per_minute(&self, way: &str) -> u32 {
        match way.strip_prefix(HOOK) {
            Some(name) => self.hooks.get(name).map_or(0, Hook::per_minute),
            None => self.mails_per_minute,
        }
    }

    /// Tells each Alertmanager that asks for it that we are alive, at most once in its interval. `uptime`: now.
    pub async fn say_alive(&self, uptime: Duration) {
        for (name, hook) in &self.hooks {
            if let Err(error) = hook.say_alive(uptime, clock::now()).await {
                tracing::warn!(webhook = name, %error, "the watchdog was not told that we are alive");
            }
        }
    }

    /// Closes connections that nobody has used for a while.
    pub async fn tidy(&self) {
        if let Some(Channel::Smtp(mailer)) = &self.mail {
            mailer.tidy().await;
        }
    }
}

/// Chats and programs are told in English.
fn language_of(receiver: &Receiver, renderer: &Renderer) -> Language {
    match receiver {
        Receiver::Mail(address) => renderer.language_of(address),
        Receiver::Hook(_) => Language::English,
    }
}

fn missing(server: String) -> SendError {
    SendError::Temporary { server, why: "it is not set up in this process's config".to_string(), is_about_the_letter: false, wait: None }
}

/// Of one letter about all of these.
pub fn digest_id(letters: &[Letter<'_>]) -> String {
    let ids: Vec<String> = letters.iter().map(letter_id).collect();
    let ids: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
    format!("{:032x}.{}", hash128(&ids), letters.len())
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
        let message = compose(self.sender(), letter, rendered)?;
        match self {
            Channel::Smtp(mailer) => drop(mailer.send(&message).await?),
            Channel::Folder(folder) => folder.write(letter, rendered, &message).map_err(|error| folder.failure(&error))?,
        }
        Ok(compose::message_id(letter, &self.sender().from))
    }

    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_digest(&self, letters: &[Letter<'_>], rendered: &Rendered) -> Result<String, SendError> {
        let message = compose_digest(self.sender(), letters, rendered)?;
        match self {
            Channel::Smtp(mailer) => drop(mailer.send(&message).await?),
            Channel::Folder(folder) => folder.write_digest(letters, rendered, &message).map_err(|error| folder.failure(&error))?,
        }
        Ok(compose::digest_message_id(letters, &self.sender().from))
    }

    fn sender(&self) -> &compose::Sender {
        match self {
            Channel::Smtp(mailer) => &mailer.sender,
            Channel::Folder(folder) => &folder.sender,
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
