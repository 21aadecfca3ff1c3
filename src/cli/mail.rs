//! `tollgate mail test`: one alert that never happened goes to somebody, by the way that real ones take.

use anyhow::{Context as _, Result, bail};

use super::{ConfigFile, Ended, assemble, print};
use crate::clock;
use crate::config::settings::Settings;
use crate::deliver::channels::Letter;
use crate::deliver::channels::compose::{compose, message_id};
use crate::deliver::channels::email::Mailer;
use crate::deliver::channels::hook::Hook;
use crate::deliver::render::{self, Context};
use crate::deliver::rules::{HOOK, Receiver};
use crate::model::alert::Alert;

/// Try the ways by which people are told
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Send one test alert to an address or a webhook, and say what the server answers
    ///
    /// The mail is as real ones are, with your templates, picture and language, and says that it is a test; it has no links to answer by. No
    /// topic, route or receipt is touched, and Kafka need not run. It is tried once: ends with 1, and the reason, if it does not go out. A
    /// webhook that wakes somebody wakes somebody.
    #[command(
        after_help = "Examples:\n  tollgate mail test ada@example.com --config tollgate.toml\n  tollgate mail test hook:ops --config tollgate.toml      the [[webhook]] of that name"
    )]
    Test {
        /// Mail address, or hook:NAME for a webhook of the config; several are told one after the other
        #[arg(value_name = "RECEIVER", required = true)]
        receivers: Vec<String>,

        #[command(flatten)]
        config: ConfigFile,
    },
}

/// # Errors
/// It did not go out: what the server said.
pub fn run(arguments: &Arguments) -> Result<Ended> {
    let Action::Test { receivers, config } = &arguments.action;
    let Some(loaded) = config.load_or_say() else { return Ok(Ended::Unusable) };
    let alert = render::sample_at(clock::now())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let mut failed = Vec::new();
    for receiver in receivers {
        let answer = match receiver.strip_prefix(HOOK) {
            Some(name) => by_hook(&loaded.settings, name, &alert, &runtime),
            None => by_mail(&loaded.settings, receiver, &alert, &runtime),
        };
        match answer {
            Ok(answer) => print(&format!("{answer}\n"))?,
            Err(error) => failed.push(format!("no test alert for {receiver}: {error:#}")),
        }
    }
    if failed.is_empty() { Ok(Ended::Well) } else { bail!("{}", failed.join("\n")) }
}

fn by_mail(settings: &Settings, address: &str, alert: &Alert, runtime: &tokio::runtime::Runtime) -> Result<String> {
    let Some(mail) = &settings.mail else { bail!("mail.host is not set: nobody is mailed") };
    let mailer = Mailer::new(&assemble::mail(mail)).context("no mail can be sent with these settings: [mail]")?;
    let renderer = assemble::renderer(settings)?;
    let language = renderer.language_of(address);
    let context = Context { topic: &settings.topics.alerts, base_url: mail.base_url.as_deref(), earlier: None, answers: &[], language };
    let receiver = Receiver::Mail(address.to_string());
    let letter = Letter { alert, receiver: &receiver, earlier: None, date: clock::now() };
    let message = compose(&mailer.sender, &letter, &renderer.render(alert, &context)?)?;
    let answer = runtime.block_on(mailer.send(&message))?;
    let id = message_id(&letter, &mailer.sender.from);
    Ok(format!("{}:{} took the mail for {address}, and answers: {answer}\n  from {}, Message-ID {id}", mail.host, mail.port, mail.from))
}

fn by_hook(settings: &Settings, name: &str, alert: &Alert, runtime: &tokio::runtime::Runtime) -> Result<String> {
    let Some(webhook) = settings.webhooks.iter().find(|webhook| webhook.name == name) else {
        let known: Vec<String> = settings.webhooks.iter().map(|webhook| format!("'{}'", webhook.name)).collect();
        let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
        bail!("the config has no [[webhook]] of that name; it has {known}");
    };
    let hook = Hook::new(assemble::hook(settings, webhook))?;
    let receiver = Receiver::Hook(name.to_string());
    let letter = Letter { alert, receiver: &receiver, earlier: None, date: clock::now() };
    let id = runtime.block_on(hook.send(&letter, &[]))?;
    Ok(format!("webhook '{name}' took the alert, id {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::Renderer;
    use crate::deliver::render::language::Language;

    #[test]
    fn whoever_gets_it_reads_that_it_is_a_test() {
        let alert = render::sample_at(clock::now()).unwrap();
        for (language, said, to_do) in [
            (Language::English, "This is a test, nothing has happened.", "Nothing is to be done"),
            (Language::German, "Das ist ein Test, es ist nichts passiert.", "Nichts zu tun"),
        ] {
            let rendered = Renderer::new().unwrap().render(&alert, &Context { language, ..Context::default() }).unwrap();
            assert!(rendered.text.contains(said) && rendered.text.contains(to_do), "{}", rendered.text);
            assert!(rendered.html.contains(said), "{}", rendered.html);
        }
    }
}
