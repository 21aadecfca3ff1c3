//! The last hours of a series as a picture: bars of what was spent against the range that was normal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use jiff::tz::TimeZone;
use resvg::usvg::fontdb::Database;
use resvg::{tiny_skia, usvg};

use crate::model::alert::{Alert, AlertState, HistoryPoint};
use crate::model::time::{HOUR_MS, Timestamp};

use super::render::language::Language;
use super::render::when;

const FONT: &[u8] = include_bytes!("../../assets/fonts/Inter-Latin-Medium.ttf");
const FONT_FAMILY: &str = "Inter";

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 546.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 188.0;
const PIXELS_PER_POINT: f32 = 2.0;
/// Of deflate, 1 to 9.
const LEVEL: u8 = 2;

/// A week of hours; older ones are left out.
const MOST_HOURS: i64 = 168;

/// As money is bounded.
const LARGEST: f64 = 1e18;

const INK: &str = "#344054";
const SOFT: &str = "#475467";
const GRID: &str = "#eaecf0";
const BAND: &str = "#c7d7fe";
const USUAL: &str = "#3538cd";
const QUIET_BAR: &str = "#98a2b3";
const LOUD_BAR: &str = "#d92d20";

/// A picture, and the same in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    pub svg: String,
    pub alt: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error("not drawable: {0}")]
    Svg(#[from] usvg::Error),
    #[error("not writable as PNG: {0}")]
    Png(String),
}

/// Where things are on the canvas.
struct Scale {
    first: Timestamp,
    hours: f64,
    top: f64,
    step: f64,
}

impl Scale {
    fn x(&self, time: Timestamp) -> f64 {
        let hours = time.0.saturating_sub(self.first.0) as f64 / HOUR_MS as f64;
        LEFT + (hours / self.hours).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (value / self.top).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn slot(&self) -> f64 {
        (RIGHT - LEFT) / self.hours
    }
}

/// `None` without at least two usable hours.
pub fn chart(alert: &Alert, language: Language) -> Option<Chart> {
    let points = usable(&alert.history);
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let zone = when::zone(&alert.time_zone);
    let (top, step) = ceiling(&points);
    let scale = Scale { first: first.time, hours: (last.time.0 - first.time.0) as f64 / HOUR_MS as f64 + 1.0, top, step };
    let svg = draw(alert, &points, &scale, &zone, language).ok()?;
    Some(Chart { svg, alt: in_words(alert, &points, &zone, language) })
}

/// The font of the pictures, and no other: they look the same on every machine.
pub fn fonts() -> Arc<Database> {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FONT_FAMILY);
    Arc::new(fonts)
}

pub fn png(svg: &str, fonts: &Arc<Database>) -> Result<Vec<u8>, ChartError> {
    let options = usvg::Options { fontdb: fonts.clone(), font_family: FONT_FAMILY.to_string(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options)?;
    let scaled = |length: f32| (length * PIXELS_PER_POINT).round() as u32;
    let (width, height) = (scaled(tree.size().width()), scaled(tree.size().height()));
    let mut canvas = tiny_skia::Pixmap::new(width, height).ok_or_else(|| ChartError::Png(format!("no canvas of {width}x{height}")))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(PIXELS_PER_POINT, PIXELS_PER_POINT), &mut canvas.as_mut());
    encode(&canvas, width, height).map_err(|error| ChartError::Png(error.to_string()))
}

/// In the few colours that there are: squeezing four bytes a pixel took more than half of the time of a mail, and made it twice as large.
fn encode(canvas: &tiny_skia::Pixmap, width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_depth(png::BitDepth::Eight);
    // Half of the time of the usual level, for a fifth more bytes.
    encoder.set_deflate_compression(png::DeflateCompression::Level(LEVEL));
    encoder.set_filter(png::Filter::NoFilter);
    let pixels = canvas.data().as_chunks::<4>().0;
    match palette(pixels, width as usize) {
        Some((colours, indices)) => {
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(colours.concat());
            encoder.write_header()?.write_image_data(&indices)?;
        }
        None => {
            encoder.set_color(png::ColorType::Rgb);
            // Nothing shines through: there is a white ground.
            let opaque: Vec<u8> = pixels.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
            encoder.write_header()?.write_image_data(&opaque)?;
        }
    }
    Ok(bytes)
}

/// The colours, and of each pixel which one; `None`: more than a byte can name.
fn palette(pixels: &[[u8; 4]], width: usize) -> Option<(Vec<[u8; 3]>, Vec<u8>)> {
    let (mut colours, mut known) = (Vec::new(), BTreeMap::new());
    let mut indices: Vec<u8> = Vec::with_capacity(pixels.len());
    let (mut above, mut last): (&[[u8; 4]], _) = (&[], None);
    for row in pixels.chunks(width.max(1)) {
        // Bars and bands are tall: most rows are the one above them again.
        if row == above {
            indices.extend_from_within(indices.len() - row.len()..);
            continue;
        }
        above = row;
        for [red, green, blue, _] in row {
            let colour = [*red, *green, *blue];
            let index = match last {
                Some((of, index)) if of == colour => index,
                _ => match known.get(&colour) {
                    Some(index) => *index,
                    None => {
                        let index = u8::try_from(colours.len()).ok()?;
                        colours.push(colour);
                        known.insert(colour, index);
                        index
                    }
                },
            };
            last = Some((colour, index));
            indices.push(index);
        }
    }
    Some((colours, indices))
}

/// In order of time, one per hour, in numbers that fit on an axis, not before the last week.
fn usable(history: &[HistoryPoint]) -> Vec<HistoryPoint> {
    let mut points: Vec<HistoryPoint> = history.iter().filter(|point| is_drawable(point.actual)).copied().collect();
    points.sort_by_key(|point| point.time);
    points.dedup_by_key(|point| point.time.hour());
    let last = points.last().map_or(Timestamp(0), |point| point.time);
    points.retain(|point| last.0.saturating_sub(point.time.0) < MOST_HOURS * HOUR_MS);
    for point in &mut points {
        point.expected = point.expected.filter(|value| is_drawable(*value));
        point.upper = point.upper.filter(|value| is_drawable(*value));
    }
    points
}

fn is_drawable(value: f64) -> bool {
    value.abs() < LARGEST
}

/// The top of the axis and the distance of its lines.
fn ceiling(points: &[HistoryPoint]) -> (f64, f64) {
    let spent = points.iter().flat_map(|point| [Some(point.actual), point.expected]).flatten().fold(0.0, f64::max);
    let upper = points.iter().filter_map(|point| point.upper).fold(0.0, f64::max);
    // A wide band must not press the bars flat.
    let highest = spent.max(upper.min(spent * 1.5)).max(1e-6);
    let raw = highest / 3.5;
    let magnitude = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * magnitude).find(|step| *step >= raw).unwrap_or(raw);
    ((highest / step).ceil() * step, step)
}

fn draw(alert: &Alert, points: &[HistoryPoint], scale: &Scale, zone: &TimeZone, language: Language) -> Result<String, std::fmt::Error> {
    let mut svg = String::new();
    write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT_FAMILY}" font-size="14"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##
    )?;
    grid(&mut svg, alert, scale, language)?;
    band(&mut svg, points, scale)?;
    bars(&mut svg, alert, points, scale)?;
    usual(&mut svg, points, scale)?;
    hours(&mut svg, points, scale, zone, language)?;
    onset(&mut svg, alert, scale, zone, language)?;
    legend(&mut svg, alert, points, language)?;
    svg.push_str("</svg>");
    Ok(svg)
}

fn grid(svg: &mut String, alert: &Alert, scale: &Scale, language: Language) -> std::fmt::Result {
    let lines = (scale.top / scale.step).round() as u32;
    for line in 0..=lines {
        let value = f64::from(line) * scale.step;
        let y = scale.y(value);
        let colour = if line == 0 { QUIET_BAR } else { GRID };
        write!(svg, r#"<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}" stroke="{colour}"/>"#)?;
        let (x, y) = (LEFT - 6.0, y + 5.0);
        write!(
            svg,
            r#"<text x="{x}" y="{y:.1}" text-anchor="end" fill="{SOFT}">{}</text>"#,
            axis_label(value, scale.step, scale.top, language)
        )?;
    }
    write!(svg, r#"<text x="6" y="18" fill="{INK}">{} {}</text>"#, alert.currency, language.pick("per hour", "pro Stunde"))
}

/// What would be drawn lower than this cannot be seen, and zero is no valid height.
const SHORTEST: f64 = 0.01;

fn band(svg: &mut String, points: &[HistoryPoint], scale: &Scale) -> std::fmt::Result {
    for point in points {
        if let (Some(expected), Some(upper)) = (point.expected, point.upper) {
            let (x, width) = (scale.x(point.time), scale.slot());
            let (high, low) = (scale.y(upper), scale.y(expected));
            let height = low - high;
            if height < SHORTEST {
                continue;
            }
            // A little wider than its hour, or thin gaps shine through.
            write!(svg, r#"<rect x="{x:.2}" y="{high:.2}" width="{:.2}" height="{height:.2}" fill="{BAND}"/>"#, width + 0.3)?;
        }
    }
    Ok(())
}

fn bars(svg: &mut String, alert: &Alert, points: &[HistoryPoint], scale: &Scale) -> std::fmt::Result {
    let gap = (scale.slot() * 0.12).min(2.0);
    for point in points {
        let loud = is_loud(alert, point);
        let (x, y) = (scale.x(point.time) + gap, scale.y(point.actual));
        let (width, height) = ((scale.slot() - 2.0 * gap).max(0.8), BOTTOM - y);
        if height < SHORTEST {
            continue;
        }
        let (colour, opacity) = if loud { (LOUD_BAR, 1.0) } else { (QUIET_BAR, 0.85) };
        write!(svg, r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{colour}" fill-opacity="{opacity}"/>"#)?;
    }
    Ok(())
}

/// Whether the hour is part of what is complained about.
fn is_loud(alert: &Alert, point: &HistoryPoint) -> bool {
    let begun = point.time.plus_ms(HOUR_MS) > alert.onset;
    let over = alert.closed_at.is_some_and(|closed| point.time >= closed);
    begun && !over && alert.state != AlertState::Retracted && point.upper.is_none_or(|upper| point.actual > upper)
}

/// What was expected, as steps.
fn usual(svg: &mut String, points: &[HistoryPoint], scale: &Scale) -> std::fmt::Result {
    let mut path = String::new();
    let mut end: Option<Timestamp> = None;
    for point in points {
        let Some(expected) = point.expected else { continue };
        let until = point.time.plus_ms(HOUR_MS);
        let (from, to, y) = (scale.x(point.time), scale.x(until), scale.y(expected));
        let command = if end == Some(point.time) { 'L' } else { 'M' };
        write!(path, "{command}{from:.1} {y:.1}L{to:.1} {y:.1}")?;
        end = Some(until);
    }
    if path.is_empty() { Ok(()) } else { write!(svg, r#"<path d="{path}" fill="none" stroke="{USUAL}" stroke-width="1.5"/>"#) }
}

fn hours(svg: &mut String, points: &[HistoryPoint], scale: &Scale, zone: &TimeZone, language: Language) -> std::fmt::Result {
    let step = [1, 2, 3, 6, 12, 24].into_iter().find(|step| scale.hours / f64::from(*step) <= 8.0).unwrap_or(24);
    let last = points.last().map_or(scale.first, |point| point.time);
    let mut time = scale.first;
    let mut free_from = 0.0;
    while time <= last {
        let (hour, _) = when::hour_and_minute(time, zone);
        let x = scale.x(time);
        if i32::from(hour) % step == 0 && x >= free_from && x < RIGHT - 18.0 {
            let (label, colour) = if hour == 0 { (when::day(time, zone, language), INK) } else { (when::clock(time, zone), SOFT) };
            let tick = BOTTOM + 4.0;
            write!(svg, r#"<line x1="{x:.1}" x2="{x:.1}" y1="{BOTTOM}" y2="{tick}" stroke="{QUIET_BAR}"/>"#)?;
            write!(svg, r#"<text x="{x:.1}" y="208" text-anchor="middle" fill="{colour}">{label}</text>"#)?;
            free_from = x + 50.0;
        }
        time = time.plus_ms(HOUR_MS);
    }
    Ok(())
}

fn onset(svg: &mut String, alert: &Alert, scale: &Scale, zone: &TimeZone, language: Language) -> std::fmt::Result {
    if alert.onset < scale.first || alert.state == AlertState::Retracted {
        return Ok(());
    }
    let x = scale.x(alert.onset);
    let (top, label_y) = (TOP - 18.0, TOP - 8.0);
    let (label_x, anchor) = if x > WIDTH / 2.0 { (x - 5.0, "end") } else { (x + 5.0, "start") };
    write!(
        svg,
        r#"<line x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{BOTTOM}" stroke="{LOUD_BAR}" stroke-width="1.5" stroke-dasharray="3 3"/>"#
    )?;
    let label = format!("{} {}", language.pick("since", "seit"), when::day_and_clock(alert.onset, zone, language));
    write!(svg, r#"<text x="{label_x:.1}" y="{label_y}" text-anchor="{anchor}" fill="{LOUD_BAR}">{label}</text>"#)
}

fn legend(svg: &mut String, alert: &Alert, points: &[HistoryPoint], language: Language) -> std::fmt::Result {
    let known = points.iter().any(|point| point.expected.is_some());
    let loud = if points.iter().any(|point| is_loud(alert, point)) { language.pick("above normal", "ungewöhnlich") } else { "" };
    let entries = [
        (QUIET_BAR, language.pick("spent", "Kosten")),
        (LOUD_BAR, loud),
        (USUAL, if known { language.pick("expected", "erwartet") } else { "" }),
        (BAND, if known { language.pick("normal range", "üblicher Bereich") } else { "" }),
    ];
    let mut x = RIGHT;
    for (colour, label) in entries.into_iter().rev().filter(|(_, label)| !label.is_empty()) {
        // Close enough for this font at this size.
        let width = label.chars().count() as f64 * 7.3;
        x -= width;
        write!(svg, r#"<text x="{x:.1}" y="18" fill="{SOFT}">{label}</text>"#)?;
        x -= 16.0;
        write!(svg, r#"<rect x="{x:.1}" y="8" width="10" height="10" rx="2" fill="{colour}"/>"#)?;
        x -= 12.0;
    }
    Ok(())
}

/// `0`, `0.25`, `400`, `15k`, `2.5M`.
fn axis_label(value: f64, step: f64, top: f64, language: Language) -> String {
    let (scale, unit) = match top {
        top if top >= 1e6 => (1e6, language.pick("M", " Mio.")),
        top if top >= 1e4 => (1e3, language.pick("k", " Tsd.")),
        _ => (1.0, ""),
    };
    if value == 0.0 {
        return "0".to_string();
    }
    let whole = |decimals: &usize| {
        let shifted = step / scale * 10_f64.powi(i32::try_from(*decimals).unwrap_or(0));
        (shifted - shifted.round()).abs() < 1e-6
    };
    let decimals = (0..7).find(whole).unwrap_or(7);
    format!("{:.decimals$}{unit}", value / scale).replacen('.', language.pick(".", ","), 1)
}

fn in_words(alert: &Alert, points: &[HistoryPoint], zone: &TimeZone, language: Language) -> String {
    let (from, to) = (points.first().map(|point| point.time), points.last().map(|point| point.time.plus_ms(HOUR_MS)));
    let shown = when::within(from.unwrap_or_default(), to.unwrap_or_default(), language);
    let Some(peak) = points.iter().max_by(|a, b| a.actual.total_cmp(&b.actual)) else { return String::new() };
    let money = |value: f64| match language {
        Language::English => format!("{value:.2} {}", alert.currency),
        Language::German => format!("{value:.2} {}", alert.currency).replacen('.', ",", 1),
    };
    let (most, at) = (money(peak.actual), when::day_and_clock(peak.time, zone, language));
    let others = points.iter().filter(|point| !is_loud(alert, point)).map(|point| point.actual).fold(0.0, f64::max);
    let others = money(others);
    match (language, is_loud(alert, peak)) {
        (Language::English, false) => format!("Spend per hour over {shown}: at most {most} on {at}; nothing stands out."),
        (Language::German, false) => format!("Kosten pro Stunde in {shown}: höchstens {most}, {at}; nichts fällt auf."),
        (Language::English, true) => {
            format!("Spend per hour over {shown}: {most} on {at} at its highest, at most {others} in the hours that were normal.")
        }
        (Language::German, true) => {
            format!("Kosten pro Stunde in {shown}: bis zu {most}, {at}; in den üblichen Stunden höchstens {others}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::render::sample;

    #[test]
    fn a_week_of_hours_becomes_a_picture() {
        let alert = sample::spike();
        let chart = chart(&alert, Language::English).unwrap();
        assert!(chart.svg.contains("USD per hour") && chart.svg.contains("since Tue 14:00"), "{}", chart.svg);
        assert!(chart.alt.starts_with("Spend per hour over 2 days: 351.40 USD on Tue 14:00 at its highest"), "{}", chart.alt);
        let png = png(&chart.svg, &fonts()).unwrap();
        assert_eq!(png.get(..8), Some(&b"\x89PNG\r\n\x1a\n"[..]));
        // PNG, 11.2.2: the colour type, 3 = with a palette.
        assert!(png.len() < 20_000 && png[25] == 3, "{} bytes, colour type {}", png.len(), png[25]);
        let many: Vec<[u8; 4]> = (0..300_u32).map(|number| [number as u8, (number >> 8) as u8, 0, 255]).collect();
        assert!(
            palette(&many[..256], 16).is_some_and(|(colours, indices)| colours.len() == 256 && indices[255] == 255)
                && palette(&many, 16).is_none()
        );
    }

    #[test]
    fn the_font_is_found() {
        let drawn = |font: &str| {
            let svg = chart(&sample::spike(), Language::English).unwrap().svg.replace(FONT_FAMILY, font);
            png(&svg, &fonts()).unwrap()
        };
        assert!(fonts().faces().any(|face| face.families.iter().any(|(name, _)| name == FONT_FAMILY)));
        assert!(drawn(FONT_FAMILY).len() > drawn("No Such Font").len() + 1_000);
    }

    #[test]
    fn odd_histories_are_drawn_or_left_out() {
        let point = |hour: i64, actual| HistoryPoint { time: Timestamp(hour * HOUR_MS), actual, expected: None, upper: None };
        let drawn = |history: Vec<HistoryPoint>| chart(&Alert { history, ..sample::spike() }, Language::English);
        assert_eq!(drawn(vec![]), None);
        assert_eq!(drawn(vec![point(1, 5.0)]), None);
        assert_eq!(drawn(vec![point(1, f64::NAN), point(2, 1.0), point(3, f64::MAX)]), None);
        for value in [0.0, -5.0, 1e-9, 9e17] {
            let far_apart = drawn(vec![point(5_000_000, value), point(1, value), point(5_000_001, 0.0)]).unwrap();
            assert!(png(&far_apart.svg, &fonts()).is_ok(), "{value}: {}", far_apart.svg);
        }
    }

    #[test]
    fn axis_labels_are_short() {
        let cases = [
            (0.0, 100.0, 400.0, "0"),
            (300.0, 100.0, 400.0, "300"),
            (0.5, 0.25, 1.0, "0.50"),
            (1_500.0, 500.0, 2_000.0, "1500"),
            (20_000.0, 5_000.0, 20_000.0, "20k"),
            (2.5e6, 5e5, 2.5e6, "2.5M"),
        ];
        for (value, step, top, expected) in cases {
            assert_eq!(axis_label(value, step, top, Language::English), expected);
        }
    }
}
