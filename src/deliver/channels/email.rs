//! Mail by SMTP.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Code};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use crate::clock::Stopwatch;
use crate::deliver::render::clean::clean;
use crate::deliver::rules::{MailSettings, Tls};

use super::compose::{ComposeError, Sender};

const LONGEST_ANSWER: usize = 300;
/// For an answer that no mail depends on.
const PATIENCE: Duration = Duration::from_secs(1);
/// Without a mail for so long a connection is closed; servers do it after minutes.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Many servers refuse more on one connection.
const MAILS_PER_CONNECTION: u32 = 100;

/// Why a message did not go out, and by that, what to do. `server`: what it is and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The server, or the way to it, cannot at the moment: try again later.
    #[error("{server} did not take it for now: {why}")]
    Temporary {
        server: String,
        why: String,
        /// A busy mailbox, a greylist: another letter may well go through.
        is_about_the_letter: bool,
        /// It asks for at least so long.
        wait: Option<Duration>,
    },
    /// Try again later; a mail of this id may have arrived nevertheless.
    #[error("{server} did not finish within {} s ({stage}): check that it can be reached and is not overloaded", limit.as_secs_f64())]
    TimedOut { server: String, stage: &'static str, limit: Duration },
    /// No mail will go out until somebody changes the settings; try again later all the same.
    #[error("{server}: {why}; check the [mail] settings")]
    Settings { server: String, why: String },
    /// The server will never take this mail for this receiver.
    #[error("{server} refused it for good ({code}): {why}")]
    Permanent { server: String, code: u16, why: String },
    /// It is no mail at all: a bad address in the routes, for example.
    #[error("it cannot be composed: {why}")]
    Unsendable { why: String },
}

impl SendError {
    /// Whether the same mail may go out at a later attempt.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            SendError::Temporary { .. } | SendError::TimedOut { .. } | SendError::Settings { .. } => true,
            SendError::Permanent { .. } | SendError::Unsendable { .. } => false,
        }
    }

    /// How long it asks to be left alone at least, in ms; 0 = it does not.
    pub fn least_wait_ms(&self) -> i64 {
        match self {
            SendError::Temporary { wait: Some(wait), .. } => i64::try_from(wait.as_millis()).unwrap_or(i64::MAX),
            _ => 0,
        }
    }

    /// Whether other letters will hardly go this way either.
    pub fn is_about_the_way(&self) -> bool {
        match self {
            SendError::Temporary { is_about_the_letter, .. } => !is_about_the_letter,
            SendError::TimedOut { .. } | SendError::Settings { .. } => true,
            SendError::Permanent { .. } | SendError::Unsendable { .. } => false,
        }
    }
}

/// Settings that no mail can be sent with.
#[derive(Debug, thiserror::Error)]
pub enum MailSettingsError {
    #[error("sender: {0}")]
    From(#[from] ComposeError),
    #[error("CA file: no usable certificate in it: {0}")]
    CaFile(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("a password needs TLS, or a server on this host: set tls to \"starttls\" or \"implicit\"")]
    PasswordInTheClear,
    #[error("a username needs a password, and a password a username")]
    HalfALogin,
}

/// Keeps connections for the next mail: a new one costs several round trips, and the server a signature.
pub struct Mailer {
    pub sender: Sender,
    host: String,
    port: u16,
    tls: Tls,
    parameters: Option<TlsParameters>,
    login: Option<Credentials>,
    hello: ClientId,
    limit: Duration,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Kept>>,
}

/// A connection between two mails.
struct Kept {
    connection: AsyncSmtpConnection,
    /// Since its last mail.
    since: Stopwatch,
    mails: u32,
}

impl Mailer {
    pub fn new(settings: &MailSettings) -> Result<Mailer, MailSettingsError> {
        let login = match (&settings.username, &settings.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.expose_secret().to_string())),
            (None, None) => None,
            _ => return Err(MailSettingsError::HalfALogin),
        };
        if login.is_some() && settings.tls == Tls::None && !is_local(&settings.host) {
            return Err(MailSettingsError::PasswordInTheClear);
        }
        Ok(Mailer {
            sender: Sender { unsubscribe: settings.unsubscribe.clone(), one_click: settings.one_click, ..Sender::new(&settings.from)? },
            host: settings.host.clone(),
            port: settings.port,
            tls: settings.tls,
            parameters: parameters(settings)?,
            login,
            hello: ClientId::default(),
            limit: settings.timeout,
            idle: Mutex::default(),
        })
    }

    /// Returns once the server has taken the mail, with what it answered. The time limit spans everything from the look-up of the host's name to the
    /// server's answer; what then hangs is dropped with its connection.
    pub async fn send(&self, message: &Message) -> Result<String, SendError> {
        let mut stage = "connecting";
        let (mut kept, answer) = match timeout(self.limit, self.submit(message, &mut stage)).await {
            Ok(submitted) => submitted?,
            Err(_) => return Err(SendError::TimedOut { server: self.server(), stage, limit: self.limit }),
        };
        kept.mails += 1;
        kept.since = Stopwatch::start();
        if kept.mails < MAILS_PER_CONNECTION {
            self.idle().push(kept);
        } else {
            self.say_goodbye(kept).await;
        }
        Ok(answer)
    }

    /// Everything up to a mail: connects, negotiates TLS, logs in, names the sender, and goes again. No mail is sent.
    ///
    /// # Errors
    /// What a mail would meet on the way to the server.
    pub async fn try_out(&self) -> Result<(), SendError> {
        let mut stage = "connecting";
        match timeout(self.limit, self.name_sender(&mut stage)).await {
            Ok(tried) => self.say_goodbye(Kept { connection: tried?, since: Stopwatch::start(), mails: 0 }).await,
            Err(_) => return Err(SendError::TimedOut { server: self.server(), stage, limit: self.limit }),
        }
        Ok(())
    }

    async fn name_sender(&self, stage: &mut &'static str) -> Result<AsyncSmtpConnection, SendError> {
        let mut connection = self.connect(stage).await?;
        *stage = "naming the sender";
        let command = lettre::transport::smtp::commands::Mail::new(Some(self.sender.from.email.clone()), Vec::new());
        connection.command(command).await.map_err(|error| self.failure(&error, Stage::Mail))?;
        Ok(connection)
    }

    /// Says goodbye on connections that nobody has used for a while.
    pub async fn tidy(&self) {
        let is_old = |kept: &Kept| kept.since.elapsed() > KEPT_FOR;
        let old: Vec<Kept> = self.idle().extract_if(.., |kept| is_old(kept)).collect();
        for kept in old {
            self.say_goodbye(kept).await;
        }
    }

    async fn submit(&self, message: &Message, stage: &mut &'static str) -> Result<(Kept, String), SendError> {
        let idle = self.idle().pop();
        let alive = match idle {
            Some(kept) => self.if_alive(kept).await,
            None => None,
        };
        let mut kept = match alive {
            Some(kept) => kept,
            None => Kept { connection: self.connect(stage).await?, since: Stopwatch::start(), mails: 0 },
        };
        *stage = "handing over the mail";
        let sending = kept.connection.send(message.envelope(), &message.formatted()).await;
        let answer = sending.map_err(|error| self.failure(&error, Stage::Mail))?;
        let said = answer.message().collect::<Vec<_>>().join(" ");
        Ok((kept, clean(&format!("{} {said}", number(answer.code())), LONGEST_ANSWER)))
    }

    async fn connect(&self, stage: &mut &'static str) -> Result<AsyncSmtpConnection, SendError> {
        let tls_at_once = self.parameters.clone().filter(|_| self.tls == Tls::Implicit);
        let server = (self.host.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, Some(self.limit), &self.hello, tls_at_once, None);
        let mut connection = connecting.await.map_err(|error| self.failure(&error, Stage::Connect))?;
        if let Some(parameters) = self.parameters.clone().filter(|_| self.tls == Tls::StartTls) {
            *stage = "negotiating TLS";
            if !connection.can_starttls() {
                let why = "it does not offer STARTTLS: tls = \"implicit\" is for a port that speaks TLS first, \"none\" for a server on this host";
                return Err(SendError::Settings { server: self.server(), why: why.to_string() });
            }
            connection.starttls(parameters, &self.hello).await.map_err(|error| self.failure(&error, Stage::Connect))?;
        }
        if let Some(login) = &self.login {
            *stage = "logging in";
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|error| self.failure(&error, Stage::Login))?;
        }
        Ok(connection)
    }

    /// A server may have closed it meanwhile, without a word that anybody read: asked before a mail is entrusted to it, because after
    /// that nobody could tell whether the mail arrived.
    async fn if_alive(&self, mut kept: Kept) -> Option<Kept> {
        let answers = kept.since.elapsed() < KEPT_FOR && matches!(timeout(PATIENCE, kept.connection.test_connected()).await, Ok(true));
        answers.then_some(kept)
    }

    /// The mails are the server's by then: an error changes nothing.
    async fn say_goodbye(&self, mut kept: Kept) {
        drop(timeout(PATIENCE.min(self.limit), kept.connection.quit()).await);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> String {
        format!("mail server {}:{}", self.host, self.port)
    }

    fn failure(&self, error: &Error, stage: Stage) -> SendError {
        let (server, why) = (self.server(), clean(&chain(error), LONGEST_ANSWER));
        let code = error.status().map(number);
        match (stage, code) {
            (Stage::Login, Some(code)) if error.is_permanent() => {
                SendError::Settings { server, why: format!("it refused the login ({code}): {why}") }
            }
            // 530: it wants TLS or a login first. 538: it wants TLS before a login.
            (_, Some(code @ (530 | 534 | 535 | 538))) => SendError::Settings { server, why: format!("it answered {code}: {why}") },
            (Stage::Mail, Some(code)) if error.is_permanent() => SendError::Permanent { server, code, why },
            // What we would not even say to this server: an address that needs SMTPUTF8, for example.
            (Stage::Mail, None) if error.is_client() => SendError::Unsendable { why },
            (Stage::Connect, Some(_)) | (_, None) if error.is_permanent() || error.is_client() || is_about_trust(error) => {
                SendError::Settings { server, why }
            }
            // 421: it closes the connection, whatever the mail.
            _ => SendError::Temporary {
                server,
                why,
                is_about_the_letter: matches!(stage, Stage::Mail) && code.is_some_and(|code| code != 421),
                wait: None,
            },
        }
    }
}

#[derive(Clone, Copy)]
enum Stage {
    Connect,
    Login,
    Mail,
}

fn parameters(settings: &MailSettings) -> Result<Option<TlsParameters>, MailSettingsError> {
    if settings.tls == Tls::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.ca_file {
        // An empty file would otherwise trust nothing, silently.
        if !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
            return Err(MailSettingsError::CaFile("no PEM certificate found".to_string()));
        }
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(|error| MailSettingsError::CaFile(chain(&error)))?);
    }
    builder.build_rustls().map(Some).map_err(|error| MailSettingsError::Tls(chain(&error)))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A certificate that is not trusted will not be trusted in a minute either.
fn is_about_trust(error: &Error) -> bool {
    error.is_tls() || chain(error).to_lowercase().contains("certificate")
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn number(code: Code) -> u16 {
    code.into()
}
