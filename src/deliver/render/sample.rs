//! Alerts for tests, as they stand on the topic.

use crate::model::alert::Alert;

fn read(json: &str) -> Alert {
    serde_json::from_str(json).unwrap()
}

pub fn spike() -> Alert {
    read(include_str!("../../../tests/data/alerts/spike.json"))
}

pub fn runaway() -> Alert {
    read(include_str!("../../../tests/data/alerts/runaway.json"))
}

pub fn resolved() -> Alert {
    read(include_str!("../../../tests/data/alerts/resolved.json"))
}

pub fn retracted() -> Alert {
    read(include_str!("../../../tests/data/alerts/retracted.json"))
}

pub fn amended() -> Alert {
    read(include_str!("../../../tests/data/alerts/amended.json"))
}
