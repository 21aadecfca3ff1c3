//! What was normal, in words for people.

use super::{Expectation, Expert, LocalHour};
use crate::model::money::Currency;

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// "usually 41.20 USD on a Tuesday at 14:00 (Europe/Berlin)", "usually 41.20 USD at 14:00 (UTC)", "41.20 USD an hour lately".
pub fn describe(expectation: &Expectation, currency: Currency, local: LocalHour, zone: &str) -> String {
    let amount = format!("{} {currency}", rounded(expectation.expected));
    let clock = format!("{:02}:00 ({zone})", local.hour_of_day);
    match expectation.expert {
        Expert::None => "too new to know what is normal".to_string(),
        Expert::RecentMedian => format!("{amount} an hour lately"),
        Expert::LevelledDay => format!("about {amount} at {clock}, going by the last hours"),
        Expert::HourOfDay => format!("usually {amount} at {clock}"),
        Expert::HourOfWeek => {
            let day = DAYS.get(usize::from(local.day_of_week)).copied().unwrap_or("day");
            format!("usually {amount} on a {day} at {clock}")
        }
    }
}

/// Cents as a rule; more digits where cents would hide the amount.
fn rounded(amount: f64) -> String {
    let magnitude = amount.abs();
    if (5e-7..0.1).contains(&magnitude) { format!("{amount:.6}") } else { format!("{amount:.2}") }
}

#[cfg(test)]
mod tests {
    use super::super::Gauge;
    use super::*;
    use crate::model::alert::Stage;

    fn expectation(expected: f64, expert: Expert) -> Expectation {
        Expectation {
            expected,
            lower: 0.0,
            upper: 1.0,
            scale: 1.0,
            ceiling: expected,
            week: None,
            calendar: 0.0,
            expert,
            stage: Stage::Seasoned,
            hours_seen: 400,
            gauges: [Gauge::SILENT; 5],
        }
    }

    #[test]
    fn says_where_the_expectation_comes_from() {
        let tuesday = LocalHour { hour_of_day: 14, day_of_week: 1 };
        let cases = [
            (41.2, Expert::HourOfWeek, "usually 41.20 USD on a Tuesday at 14:00 (Europe/Berlin)"),
            (41.2, Expert::HourOfDay, "usually 41.20 USD at 14:00 (Europe/Berlin)"),
            (41.2, Expert::LevelledDay, "about 41.20 USD at 14:00 (Europe/Berlin), going by the last hours"),
            (41.2, Expert::RecentMedian, "41.20 USD an hour lately"),
            (0.0, Expert::RecentMedian, "0.00 USD an hour lately"),
            (0.00125, Expert::RecentMedian, "0.001250 USD an hour lately"),
            (0.0, Expert::None, "too new to know what is normal"),
        ];
        for (expected, expert, words) in cases {
            assert_eq!(describe(&expectation(expected, expert), Currency::USD, tuesday, "Europe/Berlin"), words);
        }
    }
}
