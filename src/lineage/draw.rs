//! The map as a picture: columns from data on the left to the regions of answers on the right.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::map::{DataFlow, EdgeState, Kind, MapNode, Relation};

const WIDTH: usize = 230;
const HEIGHT: usize = 46;
const GAP: (usize, usize) = (90, 18);
const MARGIN: usize = 24;
/// Above the columns: title and legend.
const HEAD: usize = 84;
/// Letters of a name and of the line below it that fit into a box.
const LETTERS: (usize, usize) = (28, 34);
const SWEEPS: usize = 6;

/// A drawing of its own, without references to anything outside of it.
pub fn svg(map: &DataFlow, title: &str) -> String {
    let columns = columns(map);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let width = MARGIN * 2 + columns.len().max(2) * WIDTH + columns.len().saturating_sub(1) * GAP.0;
    let height = HEAD + rows * (HEIGHT + GAP.1) + MARGIN;
    let mut places = vec![(0, 0); map.nodes.len()];
    for (column, nodes) in columns.iter().enumerate() {
        let above = (rows - nodes.len()) * (HEIGHT + GAP.1) / 2;
        for (row, node) in nodes.iter().enumerate() {
            if let Some(place) = places.get_mut(*node) {
                *place = (MARGIN + column * (WIDTH + GAP.0), HEAD + above + row * (HEIGHT + GAP.1));
            }
        }
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"34\" font-size=\"18\" font-weight=\"600\" fill=\"#1f2933\">{}</text>\n",
        escaped(title)
    );
    legend(&mut out);
    // What breaks a rule is drawn last, over the rest.
    let mut edges: Vec<_> = map.edges.iter().collect();
    edges.sort_by_key(|edge| edge.state);
    for edge in edges {
        let (Some((x, y)), Some((to_x, to_y))) = (places.get(edge.from), places.get(edge.to)) else { continue };
        let (x, y, to_y) = (x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2);
        let bend = GAP.0 / 2;
        let (far, near) = (x + bend, to_x.saturating_sub(bend));
        let mut policies: Vec<&str> = edge.broken.iter().map(|broken| broken.policy.as_str()).collect();
        policies.dedup();
        let told = if policies.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(&policies.join(", "))) };
        let _ =
            writeln!(out, "<path d=\"M{x} {y} C{far} {y} {near} {to_y} {to_x} {to_y}\" fill=\"none\" {}>{told}</path>", line(edge.state));
    }
    for (node, (x, y)) in map.nodes.iter().zip(&places) {
        box_of(&mut out, node, *x, *y);
    }
    words_on_edges(&mut out, map, &places);
    out.push_str("</svg>\n");
    out
}

/// In the middle of the line: that the two are one piece of data, or once were.
fn words_on_edges(out: &mut String, map: &DataFlow, places: &[(usize, usize)]) {
    for edge in &map.edges {
        let (Some(relation), Some((x, y)), Some((to_x, to_y))) = (edge.relation, places.get(edge.from), places.get(edge.to)) else {
            continue;
        };
        let words = match relation {
            Relation::Renamed => "renamed to",
            Relation::Same => "same data",
        };
        let (x, y) = ((x + WIDTH + to_x) / 2, (y + to_y + HEIGHT) / 2);
        let _ = writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"64\" height=\"16\" fill=\"#ffffff\"/><text x=\"{x}\" y=\"{}\" font-size=\"11\" \
             font-style=\"italic\" text-anchor=\"middle\" fill=\"#3b6ea5\">{words}</text>",
            x.saturating_sub(32),
            y.saturating_sub(8),
            y + 4
        );
    }
}

fn line(state: EdgeState) -> &'static str {
    match state {
        EdgeState::Known => "stroke=\"#9aa5b1\" stroke-width=\"1.5\"",
        EdgeState::Unknown => "stroke=\"#b7791f\" stroke-width=\"1.5\" stroke-dasharray=\"5 4\"",
        EdgeState::Breaks => "stroke=\"#c53030\" stroke-width=\"3\"",
    }
}

fn colours(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Dataset => ("#ebf4ff", "#3b6ea5"),
        Kind::Job => ("#f5f7fa", "#7b8794"),
        Kind::Model => ("#f3ebff", "#6b46c1"),
        Kind::Region => ("#e9f9ee", "#2f855a"),
    }
}

fn legend(out: &mut String) {
    // By how wide the words are, about.
    let width = |name: &str| 48 + 7 * name.len();
    let mut x = MARGIN;
    for (kind, name) in [(Kind::Dataset, "dataset"), (Kind::Job, "job"), (Kind::Model, "model"), (Kind::Region, "answers in")] {
        let (fill, stroke) = colours(kind);
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"50\" width=\"14\" height=\"14\" rx=\"3\" fill=\"{fill}\" stroke=\"{stroke}\"/>\
             <text x=\"{}\" y=\"62\" font-size=\"12\" fill=\"#52606d\">{name}</text>",
            x + 20
        );
        x += width(name);
    }
    for (state, name) in [(EdgeState::Breaks, "breaks a policy"), (EdgeState::Unknown, "no known source")] {
        let _ = writeln!(
            out,
            "<path d=\"M{x} 57 h28\" fill=\"none\" {}/><text x=\"{}\" y=\"62\" font-size=\"12\" fill=\"#52606d\">{name}</text>",
            line(state),
            x + 36
        );
        x += width(name) + 16;
    }
}

fn box_of(out: &mut String, node: &MapNode, x: usize, y: usize) {
    let (fill, stroke) = colours(node.kind);
    let (stroke, dash) = if node.is_unknown { ("#b7791f", " stroke-dasharray=\"5 4\"") } else { (stroke, "") };
    let below = match (&node.owner, node.origins.is_empty(), node.is_unknown) {
        (Some(owner), ..) => format!("owner {owner}"),
        (None, false, is_unknown) => {
            format!("from {}{}", node.origins.join(", "), if is_unknown { " and unknown" } else { "" })
        }
        (None, true, true) => "no known source".to_string(),
        (None, true, false) => String::new(),
    };
    let below = if node.kind == Kind::Region { String::new() } else { below };
    let name_y = if below.is_empty() { y + 28 } else { y + 20 };
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{}\" fill=\"{fill}\" \
         stroke=\"{stroke}\"{dash}/><text x=\"{}\" y=\"{name_y}\" font-size=\"13\" fill=\"#1f2933\">{}</text>\
         <text x=\"{}\" y=\"{}\" font-size=\"11\" fill=\"#52606d\">{}</text></g>",
        escaped(&[node.name.as_str(), &below].join("\n")),
        if node.kind == Kind::Job { HEIGHT / 2 } else { 6 },
        x + 12,
        escaped(&without_middle(&node.name, LETTERS.0)),
        x + 12,
        y + 37,
        escaped(&without_end(&below, LETTERS.1)),
    );
}

/// Nodes by column, each in an order that crosses few lines: a node's column is the longest way to it, regions stand last.
fn columns(map: &DataFlow) -> Vec<Vec<usize>> {
    let count = map.nodes.len();
    let mut column = vec![0_usize; count];
    let mut missing = vec![0_usize; count];
    let mut outs = vec![Vec::new(); count];
    let mut ins = vec![Vec::new(); count];
    for edge in &map.edges {
        if let (Some(out), Some(missing)) = (outs.get_mut(edge.from), missing.get_mut(edge.to)) {
            out.push(edge.to);
            *missing += 1;
        }
        ins.get_mut(edge.to).into_iter().for_each(|ins: &mut Vec<usize>| ins.push(edge.from));
    }
    let mut is_placed = vec![false; count];
    let mut ready: VecDeque<usize> = (0..count).filter(|node| missing.get(*node) == Some(&0)).collect();
    loop {
        while let Some(node) = ready.pop_front() {
            if is_placed.get_mut(node).is_none_or(|is_placed| std::mem::replace(is_placed, true)) {
                continue;
            }
            let next = column.get(node).copied().unwrap_or(0) + 1;
            for out in outs.get(node).into_iter().flatten().copied() {
                let (Some(column), Some(missing), Some(false)) = (column.get_mut(out), missing.get_mut(out), is_placed.get(out)) else {
                    continue;
                };
                *column = next.max(*column);
                *missing = missing.saturating_sub(1);
                if *missing == 0 {
                    ready.push_back(out);
                }
            }
        }
        // A ring: it is opened at the first of its nodes.
        let Some(next) = is_placed.iter().position(|is_placed| !is_placed) else { break };
        ready.push_back(next);
    }
    let last = column.iter().max().copied().unwrap_or(0);
    let mut columns = vec![Vec::new(); if count == 0 { 0 } else { last + 1 }];
    for (node, at) in map.nodes.iter().zip(&column) {
        let at = if node.kind == Kind::Region { last } else { *at };
        columns.get_mut(at).into_iter().for_each(|nodes: &mut Vec<usize>| nodes.push(node.id));
    }
    untangle(&mut columns, &ins, &outs);
    columns
}

/// Sorts each column by the mean row of its neighbours, from left to right and back (Sugiyama, Tagawa, Toda 1981).
fn untangle(columns: &mut [Vec<usize>], ins: &[Vec<usize>], outs: &[Vec<usize>]) {
    let mut row = vec![0.0_f64; ins.len()];
    let place = |nodes: &[usize], row: &mut Vec<f64>| {
        let middle = nodes.len() as f64 / 2.0;
        for (at, node) in nodes.iter().enumerate() {
            row.get_mut(*node).into_iter().for_each(|row| *row = at as f64 - middle);
        }
    };
    columns.iter().for_each(|nodes| place(nodes, &mut row));
    for sweep in 0..SWEEPS {
        let (is_forward, count) = (sweep % 2 == 0, columns.len());
        for step in 0..count {
            let at = if is_forward { step } else { count - 1 - step };
            let Some(nodes) = columns.get_mut(at) else { continue };
            let neighbours = if is_forward { ins } else { outs };
            let mean = |node: &usize| {
                let rows: Vec<f64> = neighbours.get(*node).into_iter().flatten().filter_map(|other| row.get(*other).copied()).collect();
                let own = row.get(*node).copied().unwrap_or_default();
                if rows.is_empty() { own } else { rows.iter().sum::<f64>() / rows.len() as f64 }
            };
            let mut means: Vec<(f64, usize)> = nodes.iter().map(|node| (mean(node), *node)).collect();
            means.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            *nodes = means.into_iter().map(|(_, node)| node).collect();
            place(nodes, &mut row);
        }
    }
}

/// The end of a long name tells more than its beginning.
fn without_middle(text: &str, letters: usize) -> String {
    let count = text.chars().count();
    if count <= letters {
        return text.to_string();
    }
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().skip(count + 9 - letters).collect();
    format!("{head}…{tail}")
}

fn without_end(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_string();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

/// As text of XML; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            letter if letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter) || ('\u{2066}'..='\u{2069}').contains(&letter) => {
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}
