//! The first look at a delivery, before anything is published: what does not conform, what it sums to, which lines share their identity.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::rows::{BytesRead, Found, Rows};
use crate::intake::focus::{Head, Problem};
use crate::model::hash::hash128;
use crate::model::money::{Currency, Nanos};

/// Bits of the filter for each row, of those that a file of this size is likely to have.
const BITS_PER_ROW: u64 = 16;
const LIKELY_ROW_BYTES: u64 = 100;
/// 64 MB: beyond some 50 million rows more lines than need to are counted one by one.
const MOST_WORDS: u64 = 1 << 23;

/// A set of hashes that sometimes says yes where it should say no, and never the other way around, in memory that does not grow.
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn for_bytes(size: u64) -> Filter {
        let words = (size / LIKELY_ROW_BYTES * BITS_PER_ROW / 64).next_power_of_two().clamp(1 << 12, MOST_WORDS);
        Filter { words: vec![0; usize::try_from(words).unwrap_or(1 << 12)] }
    }

    /// Whether it may have been there before. Four bits in two words.
    fn enter(&mut self, hash: u128) -> bool {
        let mut was_there = true;
        for half in [hash as u64, (hash >> 64) as u64] {
            let bits = 1_u64 << (half & 63) | 1 << (half >> 6 & 63);
            let place = usize::try_from(half >> 12).unwrap_or_default() % self.words.len();
            if let Some(word) = self.words.get_mut(place) {
                was_there &= *word & bits == bits;
                *word |= bits;
            }
        }
        was_there
    }
}

/// How many rows there were so far of the identities, each in its month, that more than one row may have.
#[derive(Clone, Debug, Default)]
pub struct Numbers(HashMap<u128, u32>);

impl Numbers {
    /// The row's line: its identity, and of those of its month that share it which one. The ledger has a book for each month, and a file
    /// of one month alone has to number as a folder of many does.
    pub fn line(&mut self, identity: u128, period: Option<&str>) -> u128 {
        let Some(count) = self.0.get_mut(&in_month(identity, period)) else { return identity };
        let number = *count;
        *count += 1;
        if number == 0 { identity } else { hash128(&[&identity.to_le_bytes(), &number.to_le_bytes()]) }
    }
}

fn in_month(identity: u128, period: Option<&str>) -> u128 {
    hash128(&[&identity.to_le_bytes(), period.unwrap_or_default().as_bytes()])
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    pub rows: u64,
    /// Rows that cannot be told apart from text that is none; they are not published.
    pub broken: u64,
    /// Where the first of these stands, and why.
    pub first_broken: Option<String>,
    /// Rows that are published and that the ledger will refuse.
    pub unusable: u64,
    /// Of these, rows of no month.
    pub without_period: u64,
    /// By column and rule.
    pub problems: BTreeMap<String, u64>,
    /// Publishable rows of each month, and BilledCost and EffectiveCost by currency.
    pub periods: BTreeMap<String, u64>,
    pub sums: BTreeMap<Currency, (u64, Nanos, Nanos)>,
    pub versions: BTreeMap<&'static str, u64>,
    /// Identities that more than one row of a month may have.
    pub shared: Numbers,
}

impl Survey {
    /// Rows of which nobody can tell in which month they would have to be.
    pub fn unread(&self) -> u64 {
        self.broken + self.without_period
    }

    /// Months and how many lines each has, once they are complete. Where some line cannot be read none is: what it said before would be
    /// taken back.
    pub fn ends(&self) -> impl Iterator<Item = (&str, u64)> {
        let ends = self.periods.iter().filter(|_| self.unread() == 0);
        ends.map(|(period, lines)| (period.as_str(), *lines))
    }

    /// Reads all files once. `report` gets each problem as a row of CSV.
    ///
    /// # Errors
    /// A file that cannot be read, or a report that cannot be written.
    pub fn of(files: &[PathBuf], size: u64, line_id: &[String], bytes: &BytesRead, mut report: Option<&mut dyn Write>) -> Result<Survey> {
        let mut survey = Survey::default();
        let mut filter = Filter::for_bytes(size);
        if let Some(report) = &mut report {
            writeln!(report, "file,line,rule,value").context("cannot write the report")?;
        }
        for path in files {
            let rows = Rows::open(path, line_id, bytes)?;
            let file = path.display().to_string();
            *survey.versions.entry(rows.head.version.as_str()).or_default() += 1;
            let mut tell = |survey: &mut Survey, line: u64, rule: String, value: &str| -> Result<()> {
                if let Some(report) = &mut report {
                    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                    writeln!(report, "{},{line},{},{}", quoted(&file), quoted(&rule), quoted(value)).context("cannot write the report")?;
                }
                *survey.problems.entry(rule).or_default() += 1;
                Ok(())
            };
            for problem in rows.head.problems() {
                tell(&mut survey, 1, name(&problem), "")?;
            }
            rows.each(|head, line, found| {
                survey.rows += 1;
                match found {
                    Found::Broken(why) => {
                        survey.broken += 1;
                        survey.first_broken.get_or_insert_with(|| format!("{file}:{line}: {why}"));
                        tell(&mut survey, line, "row.readable".to_owned(), &why)
                    }
                    Found::Row(fields) => {
                        let mut told = Ok(());
                        head.check(fields, |problem| {
                            if told.is_ok() {
                                told = tell(&mut survey, line, name(&problem), &problem.value);
                            }
                        });
                        survey.take(head, fields, &mut filter);
                        told
                    }
                }
            })?;
        }
        Ok(survey)
    }

    fn take(&mut self, head: &Head, fields: &[&str], filter: &mut Filter) {
        let period = head.period(fields);
        let identity = in_month(head.identity(fields), period.as_deref());
        if filter.enter(identity) {
            self.shared.0.insert(identity, 0);
        }
        match period {
            Some(period) => match self.periods.get_mut(&period) {
                Some(rows) => *rows += 1,
                None => drop(self.periods.insert(period, 1)),
            },
            None => {
                self.unusable += 1;
                self.without_period += 1;
                return;
            }
        }
        let Some((currency, billed, effective)) = head.money(fields) else {
            self.unusable += 1;
            return;
        };
        let (rows, sum_billed, sum_effective) = self.sums.entry(currency).or_default();
        *rows += 1;
        (*sum_billed, *sum_effective) = (sum_billed.saturating_add(billed), sum_effective.saturating_add(effective));
    }
}

fn name(problem: &Problem<'_>) -> String {
    format!("{}.{}", problem.column, problem.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &str = "BilledCost,BillingCurrency,BillingPeriodStart,ChargePeriodStart,ResourceId\n";

    fn survey_of(rows: &[&str]) -> Survey {
        lines_of(rows).0
    }

    /// What is found, and the month and the line of each row.
    fn lines_of(rows: &[&str]) -> (Survey, Vec<(Option<String>, u128)>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bill.csv");
        std::fs::write(&path, format!("{COLUMNS}{}\n", rows.join("\n"))).unwrap();
        let survey = Survey::of(std::slice::from_ref(&path), 1, &[], &BytesRead::default(), None).unwrap();
        let (mut numbers, mut lines) = (survey.shared.clone(), Vec::new());
        let all = Rows::open(&path, &[], &BytesRead::default()).unwrap().each(|head, _, found| {
            if let Found::Row(fields) = found {
                let period = head.period(fields);
                lines.push((period.clone(), numbers.line(head.identity(fields), period.as_deref())));
            }
            Ok(())
        });
        all.unwrap();
        (survey, lines)
    }

    #[test]
    fn a_month_has_the_same_lines_alone_and_beside_others() {
        // Late usage of one day: what of it was billed in February, and what in March.
        let february = "10,USD,2026-02-01T00:00:00Z,2026-02-27T00:00:00Z,a";
        let march = ["2,USD,2026-03-01T00:00:00Z,2026-02-27T00:00:00Z,a", "3,USD,2026-03-01T00:00:00Z,2026-02-27T00:00:00Z,a"];
        let (_, both) = lines_of(&[february, march[0], march[1]]);
        let (_, alone) = lines_of(&march);
        assert_eq!(both[1..], alone);
        assert_eq!(both[0].1, both[1].1, "the first of each is its identity");
        assert_ne!(both[1].1, both[2].1, "two of one month are two lines");
    }

    #[test]
    fn no_month_is_complete_where_a_row_cannot_be_read() {
        let good = ["1.00,USD,2026-03-01T00:00:00Z,2026-03-02T00:00:00Z,a", "1.00,USD,,2026-03-02T00:00:00Z,b"];
        let without_cost = ",USD,2026-03-01T00:00:00Z,2026-03-02T00:00:00Z,c";
        let survey = survey_of(&[good[0], good[1], without_cost]);
        assert_eq!((survey.unusable, survey.unread()), (1, 0));
        // The third will not arrive, and so the month never is complete.
        assert_eq!(survey.ends().collect::<Vec<_>>(), [("2026-03", 3)]);
        for bad in ["1.00,USD,2026-03-01T00:00:00Z,2026-03-02T00:00:00Z,a,b", "1.00,USD,March,2nd of March,c"] {
            let survey = survey_of(&[good[0], good[1], bad]);
            assert_eq!((survey.rows, survey.unread(), survey.ends().count()), (3, 1, 0), "{bad}");
        }
    }

    #[test]
    fn what_was_there_is_always_known_and_what_was_not_rarely() {
        let mut filter = Filter::for_bytes(100 * 100_000);
        let hash = |n: u64| hash128(&[&n.to_le_bytes()]);
        let wrong = (0..100_000).filter(|n| filter.enter(hash(*n))).count();
        assert!(wrong < 500, "{wrong}");
        assert!((0..100_000).all(|n| filter.enter(hash(n))));
        assert_eq!(Filter::for_bytes(u64::MAX / 16).words.len(), 1 << 23);
    }
}
