//! From an alert to what is sent: subject, plain text, HTML and picture.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use resvg::usvg::fontdb::Database;

use crate::model::alert::Alert;
use crate::model::hash::hash128;

use super::answer::Link;
use super::chart;
use super::receipt::Told;

pub mod amount;
pub mod clean;
pub mod page;
#[cfg(test)]
pub mod sample;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod when;
pub mod words;

use page::{ChartLink, page};

const TEXT_WIDTH: usize = 76;

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
    pub png: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("mail template: {0:#}")]
    Template(#[from] minijinja::Error),
    #[error("chart: {0}")]
    Chart(#[from] chart::ChartError),
}

/// Templates and font, read once.
pub struct Renderer {
    templates: Environment<'static>,
    fonts: Arc<Database>,
}

impl Renderer {
    pub fn new() -> Result<Renderer, RenderError> {
        let mut templates = Environment::new();
        templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?);
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
        templates.add_filter("wrapped", wrapped);
        templates.add_filter("padded", |text: &str, width: usize| format!("{text:<width$}"));
        templates.add_template("alert.html", include_str!("../templates/alert.html"))?;
        templates.add_template("alert.txt", include_str!("../templates/alert.txt"))?;
        Ok(Renderer { templates, fonts: chart::fonts() })
    }

    pub fn render(&self, alert: &Alert, context: &Context) -> Result<Rendered, RenderError> {
        let chart = self.picture(alert)?;
        let link = chart.as_ref().map(|chart| ChartLink { content_id: chart.content_id.clone(), alt: chart.alt.clone() });
        let page = page(alert, context, link);
        let html = self.templates.get_template("alert.html")?.render(Serde(&page))?;
        let text = self.templates.get_template("alert.txt")?.render(Serde(&page))?;
        Ok(Rendered { subject: page.subject, text, html, chart })
    }

    fn picture(&self, alert: &Alert) -> Result<Option<Picture>, RenderError> {
        let Some(chart) = chart::chart(alert) else { return Ok(None) };
        let png = chart::png(&chart.svg, &self.fonts)?;
        // Of its own for each revision: some clients keep pictures by this name.
        let hash = hash128(&[alert.id.as_bytes(), &alert.revision.to_le_bytes()]);
        Ok(Some(Picture { content_id: format!("{hash:032x}@chart.tollgate"), alt: chart.alt, png }))
    }
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
