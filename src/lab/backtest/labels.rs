//! LABELS.csv: the incidents that are known to be in the events.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Problem;
use crate::config::problem::did_you_mean;
use crate::lab::csv;
use crate::lab::read::shown;
use crate::model::alert::AlertKind;
use crate::model::time::Timestamp;

/// One incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub kind: String,
    pub team: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub dimensions: BTreeMap<String, String>,
}

/// That alerts and their causes may name.
const DIMENSIONS: [&str; 12] = [
    "project",
    "model",
    "provider",
    "region",
    "environment",
    "meter",
    "user",
    "resource_id",
    "resource_type",
    "owner",
    "budget",
    "cost_center",
];

const COLUMNS: [&str; 5] = ["kind", "team", "start", "end", "dimensions"];

/// Labels, and what is probably not meant in them.
pub type Read = (Vec<Label>, Vec<Problem>);

/// # Errors
/// Every line that is no label.
pub fn read(path: &Path) -> Result<Read, Vec<Problem>> {
    let text = csv::text(path).map_err(|problem| vec![problem])?;
    parse(&shown(path), &text)
}

fn parse(file: &str, text: &str) -> Result<Read, Vec<Problem>> {
    let table = csv::parse(file, text)?;
    let places: Vec<Option<usize>> = COLUMNS.iter().map(|name| table.header.iter().position(|known| known == name)).collect();
    let missing = COLUMNS.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(name, _)| *name);
    let problems: Vec<Problem> = missing
        .map(|name| csv::at(file, 1, format!("there is no column '{name}'")).hint(format!("the header is {}", COLUMNS.join(","))))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let (mut labels, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (line, row) in &table.rows {
        let field = |column: usize| places[column].and_then(|place| row.get(place)).map_or("", |text| text.trim());
        match label([0, 1, 2, 3, 4].map(field)) {
            Ok(label) => {
                warnings.extend(doubts(&label).into_iter().map(|(what, hint)| csv::at(file, *line, what).hint(hint)));
                labels.push(label);
            }
            Err(what) => problems.push(csv::at(file, *line, what)),
        }
    }
    if problems.is_empty() { Ok((labels, warnings)) } else { Err(problems) }
}

/// A kind is any word: the report groups by it, and what found the incident may be of any kind. One that is nearly that of alerts is
/// misspelt, and so is a dimension that no alert names.
fn doubts(label: &Label) -> Vec<(String, String)> {
    let kinds = AlertKind::ALL.map(AlertKind::as_str);
    let kind = Some(&*label.kind).filter(|kind| !kinds.contains(kind)).and_then(|kind| did_you_mean(kind, kinds));
    let kind =
        kind.map(|meant| (format!("'{}' is no kind of alerts", label.kind), format!("{meant} It stays a row of its own in the report")));
    let unknown = label.dimensions.keys().filter(|name| !DIMENSIONS.contains(&&***name));
    let unknown = unknown.map(|name| {
        let meant = did_you_mean(name, DIMENSIONS).unwrap_or_else(|| format!("dimensions are {}", DIMENSIONS.join(", ")));
        (format!("no alert names '{name}', so this incident is never attributed"), meant)
    });
    kind.into_iter().chain(unknown).collect()
}

fn label([kind, team, start, end, dimensions]: [&str; 5]) -> Result<Label, String> {
    let time = |text: &str| Timestamp::parse(text).ok_or_else(|| format!("'{text}' is no time; write 2026-03-01T10:00:00Z"));
    let (start, end) = (time(start)?, time(end)?);
    if end < start {
        return Err("ends before it starts; swap start and end".to_string());
    }
    if kind.is_empty() {
        return Err("has no kind; write one of alerts (spend_spike), or a word of your own to group it by".to_string());
    }
    let mut named = BTreeMap::new();
    for pair in dimensions.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is no dimension; write name=value;name=value"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("'{pair}' is no dimension; write name=value;name=value"));
        }
        if named.insert(name.to_string(), value.to_string()).is_some() {
            return Err(format!("names '{name}' twice; an incident of several is several lines"));
        }
    }
    Ok(Label { kind: kind.to_string(), team: team.to_string(), start, end, dimensions: named })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_problems_have_their_line() {
        let text = "kind,team,start,end,dimensions\nspend_spike,search,2026-03-01T10:00:00Z,2026-03-01T16:00:00Z,project=ranker;model=m\n";
        let (labels, warnings) = parse("l.csv", text).unwrap();
        assert_eq!((labels.len(), warnings.len()), (1, 0));
        assert_eq!(labels[0].dimensions["model"], "m");
        let wrong = "kind,team,start,end,dimensions\na,b,soon,2026-03-01T16:00:00Z,\na,b,2026-03-01T16:00:00Z,2026-03-01T10:00:00Z,\n";
        let problems: Vec<String> = parse("l.csv", wrong).unwrap_err().iter().map(Problem::to_string).collect();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("l.csv:2: 'soon' is no time") && problems[1].starts_with("l.csv:3: ends before it starts"));
        assert!(parse("l.csv", "kind,team\n").unwrap_err().len() == 3);
    }

    #[test]
    fn what_is_no_label_is_refused_and_what_is_misspelt_is_said() {
        let with = |rest: &[(&str, &str)]| {
            let rows =
                rest.iter().map(|(kind, dimensions)| format!("{kind},search,2026-03-01T10:00:00Z,2026-03-01T16:00:00Z,{dimensions}\n"));
            format!("kind,team,start,end,dimensions\n{}", rows.collect::<String>())
        };
        let cases = [
            (("", ""), "has no kind; "),
            (("runaway", "project"), "'project' is no dimension; "),
            (("runaway", "project="), "'project=' is no dimension; "),
            (("runaway", "=ranker"), "'=ranker' is no dimension; "),
            (("runaway", "project=a;project=b"), "names 'project' twice; "),
            (("runaway", "project=a,model=b"), "has 6 fields, the header 5; "),
        ];
        for (row, said) in cases {
            let problems = parse("l.csv", &with(&[("runaway", ""), row])).unwrap_err();
            assert!(problems[0].to_string().starts_with(&format!("l.csv:3: {said}")) && problems.len() == 1, "{problems:?}");
        }
        // Words of one's own are kinds to group by.
        let text = with(&[("spend_spkie", ""), ("slow_ramp", "projct=a"), ("residency", "colour=red;resource_id=r")]);
        let (labels, warnings) = parse("l.csv", &text).unwrap();
        let warnings: Vec<String> = warnings.iter().map(Problem::to_string).collect();
        assert_eq!((labels.len(), warnings.len()), (3, 3), "{warnings:?}");
        assert!(warnings[0].starts_with("l.csv:2: 'spend_spkie' is no kind of alerts; did you mean 'spend_spike'?"), "{warnings:?}");
        assert!(
            warnings[1].starts_with("l.csv:3: no alert names 'projct'") && warnings[1].ends_with("did you mean 'project'?"),
            "{warnings:?}"
        );
        assert!(
            warnings[2].starts_with("l.csv:4: no alert names 'colour'") && warnings[2].contains("dimensions are project, "),
            "{warnings:?}"
        );
    }
}
