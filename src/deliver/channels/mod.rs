//! The ways out: each takes a rendered mail and either got rid of it or says why not.

pub mod compose;
pub mod email;
pub mod folder;

use crate::model::alert::Alert;
use crate::model::time::Timestamp;

use super::receipt::Told;
use super::render::Rendered;
use super::rules::Receiver;

use compose::{ComposeError, compose};
use email::{Mailer, SendError};
use folder::Folder;

/// One revision for one receiver.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub alert: &'a Alert,
    pub receiver: &'a Receiver,
    /// What he was told before; the letter answers the first mail of that conversation.
    pub earlier: Option<&'a Told>,
    pub rendered: &'a Rendered,
    pub date: Timestamp,
}

pub enum Channel {
    Smtp(Mailer),
    /// For the demo and for trying things out.
    Folder(Folder),
}

impl Channel {
    /// Sends the letter and answers its Message-ID, which is the same for each attempt.
    pub async fn send(&self, letter: &Letter<'_>) -> Result<String, SendError> {
        let message = compose(self.from(), letter)?;
        match self {
            Channel::Smtp(mailer) => mailer.send(&message).await?,
            Channel::Folder(folder) => folder.write(letter, &message).map_err(|error| folder.failure(&error))?,
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

impl From<ComposeError> for SendError {
    fn from(error: ComposeError) -> SendError {
        SendError::Unsendable { why: error.to_string() }
    }
}
