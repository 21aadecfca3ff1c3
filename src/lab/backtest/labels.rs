//! LABELS.csv: the incidents that are known to be in the events.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Problem;
use crate::lab::csv;
use crate::lab::read::shown;
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

const COLUMNS: [&str; 5] = ["kind", "team", "start", "end", "dimensions"];

/// # Errors
/// Every line that is no label.
pub fn read(path: &Path) -> Result<Vec<Label>, Vec<Problem>> {
    let text = csv::text(path).map_err(|problem| vec![problem])?;
    parse(&shown(path), &text)
}

fn parse(file: &str, text: &str) -> Result<Vec<Label>, Vec<Problem>> {
    let table = csv::parse(file, text)?;
    let places: Vec<Option<usize>> = COLUMNS.iter().map(|name| table.header.iter().position(|known| known == name)).collect();
    let missing = COLUMNS.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(name, _)| *name);
    let problems: Vec<Problem> = missing
        .map(|name| csv::at(file, 1, format!("there is no column '{name}'")).hint(format!("the header is {}", COLUMNS.join(","))))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut labels = Vec::new();
    let mut problems = Vec::new();
    for (line, row) in &table.rows {
        let field = |column: usize| places[column].and_then(|place| row.get(place)).map_or("", |text| text.trim());
        match label([0, 1, 2, 3, 4].map(field)) {
            Ok(label) => labels.push(label),
            Err(what) => problems.push(csv::at(file, *line, what)),
        }
    }
    if problems.is_empty() { Ok(labels) } else { Err(problems) }
}

fn label([kind, team, start, end, dimensions]: [&str; 5]) -> Result<Label, String> {
    let time = |text: &str| Timestamp::parse(text).ok_or_else(|| format!("'{text}' is no time; write 2026-03-01T10:00:00Z"));
    let (start, end) = (time(start)?, time(end)?);
    if end < start {
        return Err("ends before it starts; swap start and end".to_string());
    }
    let mut named = BTreeMap::new();
    for pair in dimensions.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is no dimension; write name=value;name=value"))?;
        named.insert(name.trim().to_string(), value.trim().to_string());
    }
    Ok(Label { kind: kind.to_string(), team: team.to_string(), start, end, dimensions: named })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_problems_have_their_line() {
        let text = "kind,team,start,end,dimensions\nspend_spike,search,2026-03-01T10:00:00Z,2026-03-01T16:00:00Z,project=ranker;model=m\n";
        let labels = parse("l.csv", text).unwrap();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].dimensions["model"], "m");
        let wrong = "kind,team,start,end,dimensions\na,b,soon,2026-03-01T16:00:00Z,\na,b,2026-03-01T16:00:00Z,2026-03-01T10:00:00Z,\n";
        let problems: Vec<String> = parse("l.csv", wrong).unwrap_err().iter().map(Problem::to_string).collect();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("l.csv:2: 'soon' is no time") && problems[1].starts_with("l.csv:3: ends before it starts"));
        assert!(parse("l.csv", "kind,team\n").unwrap_err().len() == 3);
    }
}
