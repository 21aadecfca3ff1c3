//! From an alert to what is sent: subject, plain text, HTML and picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use resvg::usvg::fontdb::Database;
use serde::Serialize;

use crate::model::alert::Alert;
use crate::model::hash::hash128;
use crate::model::time::{DAY_MS, Timestamp};

use super::answer::Link;
use super::channels::Letter;
use super::chart;
use super::receipt::Told;

pub mod amount;
pub mod clean;
#[cfg(test)]
mod clients_tests;
pub mod digest;
mod drawn;
mod german;
pub mod language;
mod matter;
pub mod page;
#[cfg(test)]
mod said_tests;
#[cfg(test)]
pub mod sample;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod when;
pub mod words;

use drawn::Drawn;
use language::{Language, Languages};
use page::{ChartLink, page};

const TEXT_WIDTH: usize = 76;
const LONGEST_SUBJECT: usize = 200;

/// Templates by the names under which a folder of the config may replace them.
pub const TEMPLATES: [(&str, &str); 5] = [
    ("base.html", include_str!("../templates/base.html")),
    ("alert.html", include_str!("../templates/alert.html")),
    ("alert.txt", include_str!("../templates/alert.txt")),
    ("digest.html", include_str!("../templates/digest.html")),
    ("digest.txt", include_str!("../templates/digest.txt")),
];
/// Only there if somebody writes it: one line.
const SUBJECT: &str = "subject.txt";
/// What templates are tried with before anybody waits for a mail.
const SAMPLE: &str = include_str!("../templates/sample.json");
/// Of the alert that tries the way out.
pub(super) const TEST_TEAM: &str = "tollgate-test";

/// An alert that never happened, as of now and called a test: what is sent to see whether anything arrives.
///
/// # Errors
/// The alert that is built in cannot be read.
pub fn sample_at(now: Timestamp) -> Result<Alert, RenderError> {
    let mut alert: Alert = serde_json::from_str(SAMPLE)?;
    // Whole weeks: it tells of a weekday, and of an hour of the day.
    let later = (now.0 - alert.decided_at.0).div_euclid(7 * DAY_MS) * 7 * DAY_MS;
    let times = [&mut alert.onset, &mut alert.event_time, &mut alert.ingest_time, &mut alert.detected_at, &mut alert.decided_at];
    for time in times.into_iter().chain(alert.history.iter_mut().map(|point| &mut point.time)) {
        *time = time.plus_ms(later);
    }
    // Of an id of its own each time, so that nothing takes it for the one before.
    alert.id = format!("{TEST_TEAM}/{:032x}", now.0);
    alert.incident_id.clone_from(&alert.id);
    alert.team = TEST_TEAM.to_string();
    alert.summary = format!("This is a test, nothing has happened. {}", alert.summary);
    alert.next_steps = vec!["Nothing is to be done: somebody sent this with `tollgate mail test`.".to_string()];
    Ok(alert)
}

/// What a mail says depends on the alert and on this.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The topic that holds the alert.
    pub topic: &'a str,
    /// Of the web pages, for links.
    pub base_url: Option<&'a str>,
    /// What the receiver was told before.
    pub earlier: Option<&'a Told>,
    /// By which he can answer.
    pub answers: &'a [Link],
    pub language: Language,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// One line, without control characters.
    pub subject: String,
    pub text: String,
    /// Refers to the picture as `cid:<content id>`.
    pub html: String,
    pub chart: Option<Picture>,
}

/// A PNG, twice as large as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub content_id: String,
    pub alt: String,
    pub png: Arc<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("mail template: {0:#}")]
    Template(#[from] minijinja::Error),
    #[error("chart: {0}")]
    Chart(#[from] chart::ChartError),
    #[error("'{0}' is the name of no template: write base.html, alert.html, alert.txt, digest.html, digest.txt or subject.txt")]
    UnknownTemplate(String),
    #[error("the alert that templates are tried with: {0}")]
    Sample(#[from] serde_json::Error),
}

/// Templates and font, read once.
pub struct Renderer {
    built_in: Environment<'static>,
    /// With those of the config, if there are any.
    own: Option<Environment<'static>>,
    languages: Languages,
    fonts: Arc<Database>,
    drawn: Drawn,
}

/// What templates are given: what is told, made fit for people, and the alerts as they stand on their topic.
#[derive(Serialize)]
struct Given<'a, P: Serialize> {
    #[serde(flatten)]
    page: P,
    alerts: Vec<&'a Alert>,
}

impl Renderer {
    pub fn new() -> Result<Renderer, RenderError> {
        Renderer::with(&BTreeMap::new())
    }

    /// `own`: templates that replace built-in ones, by their names.
    ///
    /// # Errors
    /// Names that are none, and templates that fail with an alert or a digest as they usually are.
    pub fn with(own: &BTreeMap<String, String>) -> Result<Renderer, RenderError> {
        let built_in = environment(&BTreeMap::new())?;
        let mut renderer =
            Renderer { built_in, own: None, languages: Languages::default(), fonts: chart::fonts(), drawn: Drawn::default() };
        if own.is_empty() {
            return Ok(renderer);
        }
        if let Some(unknown) = own.keys().find(|name| *name != SUBJECT && TEMPLATES.iter().all(|(known, _)| known != name)) {
            return Err(RenderError::UnknownTemplate(unknown.clone()));
        }
        let own = environment(own)?;
        let alert: Alert = serde_json::from_str(SAMPLE)?;
        let receiver = super::rules::Receiver::Mail("you@example.com".to_string());
        let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: alert.decided_at };
        let context = Context { topic: "alerts", base_url: Some("https://tollgate.example.com"), ..Context::default() };
        for (_, language) in language::LANGUAGES {
            write(&own, "alert", &page(&alert, &Context { language, ..context }, None), vec![&alert])?;
            write(&own, "digest", &digest::page(&[letter, letter], &[], context.base_url, language), vec![&alert, &alert])?;
        }
        renderer.own = Some(own);
        Ok(renderer)
    }

    /// Writes to whom in which language.
    pub fn speaking(self, languages: Languages) -> Renderer {
        Renderer { languages, ..self }
    }

    pub fn language_of(&self, address: &str) -> Language {
        self.languages.of(address)
    }

    pub fn render(&self, alert: &Alert, context: &Context) -> Result<Rendered, RenderError> {
        let chart = self.picture(alert, context.language)?;
        let link = chart.as_ref().map(|chart| ChartLink { content_id: chart.content_id.clone(), alt: chart.alt.clone() });
        let page = page(alert, context, link);
        let (subject, text, html) = self.write("alert", &page, &page.subject, &[alert])?;
        Ok(Rendered { subject, text, html, chart })
    }

    /// One letter about many alerts; `answers`: of each letter, in their order.
    pub fn digest(&self, letters: &[Letter<'_>], answers: &[Vec<Link>], base_url: Option<&str>) -> Result<Rendered, RenderError> {
        let language = letters.first().map_or(Language::default(), |letter| self.language_of(letter.receiver.address()));
        let page = digest::page(letters, answers, base_url, language);
        let alerts: Vec<&Alert> = letters.iter().map(|letter| letter.alert).collect();
        let (subject, text, html) = self.write("digest", &page, &page.subject, &alerts)?;
        Ok(Rendered { subject, text, html, chart: None })
    }

    /// Subject, text and HTML. A template of the config that fails with this alert keeps nobody from being told.
    fn write<P: Serialize>(&self, name: &str, page: &P, subject: &str, alerts: &[&Alert]) -> Result<(String, String, String), RenderError> {
        let own = self.own.as_ref().map(|own| write(own, name, page, alerts.to_vec()));
        let (own_subject, text, html) = match own {
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "mail.templates: not usable for this letter, the built-in one is sent");
                write(&self.built_in, name, page, alerts.to_vec())?
            }
            None => write(&self.built_in, name, page, alerts.to_vec())?,
        };
        let own_subject = own_subject.map(|line| clean::clean(&line, LONGEST_SUBJECT)).filter(|line| !line.is_empty());
        Ok((own_subject.unwrap_or_else(|| subject.to_string()), text, html))
    }

    fn picture(&self, alert: &Alert, language: Language) -> Result<Option<Picture>, RenderError> {
        let Some(chart) = chart::chart(alert, language) else { return Ok(None) };
        let png = self.drawn.png(&chart.svg, |svg| chart::png(svg, &self.fonts))?;
        // Of its own for each revision: some clients keep pictures by this name.
        let hash = hash128(&[alert.id.as_bytes(), &alert.revision.to_le_bytes()]);
        Ok(Some(Picture { content_id: format!("{hash:032x}@chart.tollgate"), alt: chart.alt, png }))
    }
}

fn environment(own: &BTreeMap<String, String>) -> Result<Environment<'static>, RenderError> {
    let mut templates = Environment::new();
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    templates.add_filter("wrapped", wrapped);
    templates.add_filter("padded", |text: &str, width: usize| format!("{text:<width$}"));
    for (name, built_in) in TEMPLATES {
        match own.get(name) {
            Some(text) => templates.add_template_owned(name, text.clone())?,
            None => templates.add_template(name, built_in)?,
        }
    }
    if let Some(subject) = own.get(SUBJECT) {
        templates.add_template_owned(SUBJECT, subject.clone())?;
    }
    Ok(templates)
}

/// Subject, where there is a template of it, text and HTML.
fn write<P: Serialize>(
    templates: &Environment<'_>,
    name: &str,
    page: &P,
    alerts: Vec<&Alert>,
) -> Result<(Option<String>, String, String), minijinja::Error> {
    let given = Given { page, alerts };
    let text = templates.get_template(&format!("{name}.txt"))?.render(Serde(&given))?;
    let html = templates.get_template(&format!("{name}.html"))?.render(Serde(&given))?;
    let subject = match templates.get_template(SUBJECT) {
        Ok(template) => Some(template.render(Serde(&given))?),
        Err(_) => None,
    };
    Ok((subject, text, html))
}

/// Breaks lines at spaces; lines after the first are indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if column > indent && column + 1 + width > TEXT_WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}
