//! `[currency]`: files of exchange rates, by which all that is not in the reporting currency is converted. Without files nothing is.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::{Place, Problem};
use super::read::{Notes, Section};
use super::units::Complaint;
use crate::model::focus::moment;
use crate::model::money::{Currency, Nanos};
use crate::model::rates::{DatedRate, Rates};
use crate::model::time::DAY_MS;

/// Where a rate was written, by what it is of.
type Written = BTreeMap<(Currency, i64), (Place, Nanos)>;

pub fn currency(section: &mut Section, target: Currency) -> Rates {
    let base = section.currency("base").unwrap_or(target);
    let most_age = section.duration("most_age", "1d", "400d");
    let next_day = section.choice("hold_from", &[("date", 0), ("next_day", 1)]);
    let files = section.texts("rates");
    let mut written = Written::new();
    for (_, name) in &files {
        let path = section.resolve(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => read(&path, &text, next_day, &mut written, section.notes()),
            Err(error) => {
                let what = format!("names the file '{}', which cannot be read: {error}", path.display());
                section.complain("rates", Complaint { what, hint: None });
            }
        }
    }
    if files.is_empty() {
        return Rates::default();
    }
    if let Some((place, rate)) =
        written.iter().find_map(|((own, _), rate)| Some(rate).filter(|rate| *own == base && rate.1 != Nanos::from_units(1)))
    {
        let problem = Problem::new(place, format!("has {rate} {base} for one {base}"));
        section.notes().problem(problem.hint("set base in [currency] to the currency that the file counts one unit of"));
    }
    let rates = written.into_iter().map(|((currency, day), (_, per_base))| DatedRate { currency, day, per_base });
    let rates: Vec<DatedRate> = rates.collect();
    if base != target && rates.iter().all(|rate| rate.currency != target) {
        let what = format!("has no rate of {target}, into which all is to be converted (watch.reporting_currency)");
        section.complain("rates", Complaint::new(what, format!("add lines like 2026-03-02,{target},1.0823: {target} for one {base}")));
    }
    Rates::new(target, base, most_age / DAY_MS, rates)
}

/// Either `date,currency,rate`, or a column for each currency behind that of the date, as central banks publish them.
fn read(path: &Path, text: &str, next_day: i64, written: &mut Written, notes: &Notes) {
    let shown = path.display().to_string();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut columns: Option<Vec<Option<Currency>>> = None;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return notes.problem(Problem::new(&Place::whole(&shown), format!("is no CSV file: {error}"))),
        };
        let line = record.position().map_or(0, |position| u32::try_from(position.line()).unwrap_or(u32::MAX));
        let place = Place { line, ..Place::whole(&shown) };
        let Some(columns) = &columns else {
            columns = head(&record, &place, notes);
            if columns.is_none() {
                return;
            }
            continue;
        };
        let complain = |what: String, hint: &str| notes.problem(Problem::new(&place, what).hint(hint));
        let Some(date) = record.get(0).filter(|date| date.len() == 10).and_then(moment) else {
            complain(format!("'{}' is no date", record.get(0).unwrap_or_default()), "write it like 2026-03-02");
            continue;
        };
        let day = date.0.div_euclid(DAY_MS) + next_day;
        let mut take = |currency: Currency, rate: &str| {
            let parsed = rate.parse::<Nanos>().ok().filter(|rate| *rate > Nanos::ZERO);
            let Some(per_base) = parsed else {
                return complain(format!("'{rate}' is no rate"), "write how much of the currency one unit of the base is: 1.0823");
            };
            if let Some((earlier, other)) = written.insert((currency, day), (place.clone(), per_base))
                && other != per_base
            {
                complain(format!("the rate of {currency} for this day stands at {earlier} already, as {other}"), "keep one of the two");
            }
        };
        if columns.is_empty() {
            match record.get(1).and_then(Currency::parse) {
                Some(currency) => take(currency, record.get(2).unwrap_or_default()),
                None => complain(
                    format!("'{}' is no active ISO 4217 currency code", record.get(1).unwrap_or_default()),
                    "write three letters: USD, EUR, INR, ...",
                ),
            }
            continue;
        }
        for (currency, rate) in columns.iter().zip(record.iter().skip(1)) {
            if let Some(currency) = currency.filter(|_| !rate.is_empty() && rate != "N/A") {
                take(currency, rate);
            }
        }
    }
    if columns.is_none() {
        notes.problem(Problem::new(&Place::whole(&shown), "is empty").hint("its first line is date,currency,rate"));
    }
}

/// Currencies of the columns behind the date; none where each line names its own. Codes that are no currency any more are passed over.
fn head(record: &csv::StringRecord, place: &Place, notes: &Notes) -> Option<Vec<Option<Currency>>> {
    let first = record.get(0).unwrap_or_default().trim_start_matches('\u{feff}');
    let second = record.get(1).unwrap_or_default();
    let columns: Vec<Option<Currency>> = record.iter().skip(1).map(Currency::parse).collect();
    if first.eq_ignore_ascii_case("date") {
        if second.eq_ignore_ascii_case("currency") && record.len() >= 3 {
            return Some(Vec::new());
        }
        if columns.iter().any(Option::is_some) {
            return Some(columns);
        }
    }
    let problem = Problem::new(place, "is no table of exchange rates");
    notes.problem(problem.hint("its first line is date,currency,rate, or Date,USD,JPY,... with a column for each currency"));
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Loaded, load_text};
    use crate::model::money::{Currency, Nanos};
    use crate::model::time::Timestamp;

    fn load(options: &str, rates: &str) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("r.csv"), rates).unwrap();
        let text = format!("version = 1\n[currency]\nrates = ['r.csv']\n{options}");
        let loaded = load_text("x.toml", &text, folder.path(), std::iter::empty());
        let lines = |problems: Vec<super::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        loaded.map_err(|problems| lines(problems).replace(&format!("{}/", folder.path().display()), ""))
    }

    fn convert(loaded: &Loaded, code: &str, day: &str) -> Option<String> {
        let at = Timestamp::parse(&format!("{day}T23:59:59Z")).unwrap();
        assert!(loaded.watch.rates.is_same(&loaded.intake.rates));
        loaded.intake.rates.convert(Nanos::from_units(10), Currency::parse(code).unwrap(), at).map(|amount| amount.to_string())
    }

    #[test]
    fn both_forms_of_a_table_are_read() {
        let long = "date,currency,rate\n2026-03-02,USD,1.25\n2026-03-03,USD,1.5\n2026-03-02,GBP,0.5\n";
        let wide = "\u{feff}Date, USD, GBP, CYP, \n2026-03-03,1.5,N/A,N/A,\n2026-03-02,1.25,0.5,0.57,\n";
        for table in [long, wide] {
            let loaded = load("", table).unwrap();
            let eur = ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-10", "2026-03-11"].map(|day| convert(&loaded, "EUR", day));
            let some = |text: &str| Some(text.to_string());
            assert_eq!(eur, [None, some("12.5"), some("15"), some("15"), None], "{table}");
            assert_eq!(convert(&loaded, "GBP", "2026-03-03"), some("30"));
            let late = load("hold_from = 'next_day'\nmost_age = '30d'", table).unwrap();
            assert_eq!(["2026-03-02", "2026-03-03", "2026-03-31"].map(|day| convert(&late, "EUR", day)), [None, some("12.5"), some("15")]);
        }
        let usd = load("base = 'USD'", "date,currency,rate\n2026-03-02,EUR,0.8\n").unwrap();
        assert_eq!(convert(&usd, "EUR", "2026-03-02").as_deref(), Some("12.5"));
        let off = load_text("x.toml", "version = 1", std::path::Path::new(""), std::iter::empty()).unwrap();
        assert_eq!(off.intake.rates.target(), None);
    }

    #[test]
    fn wrong_rates_name_their_line() {
        let head = "date,currency,rate\n2026-03-02,USD,1.25\n";
        let cases = [
            (format!("{head}3.3.2026,USD,1"), "r.csv:3: '3.3.2026' is no date; write it like 2026-03-02"),
            (format!("{head}2026-03-03,EURO,1"), "r.csv:3: 'EURO' is no active ISO 4217 currency code"),
            (format!("{head}2026-03-03,USD,0"), "r.csv:3: '0' is no rate; write how much of the currency one unit of the base is"),
            (format!("{head}2026-03-03,USD,\"1,08\""), "r.csv:3: '1,08' is no rate"),
            (format!("{head}2026-03-02,USD,1.26"), "r.csv:3: the rate of USD for this day stands at r.csv:2 already, as 1.25"),
            ("day,rate\n".to_string(), "r.csv:1: is no table of exchange rates; its first line is date,currency,rate"),
            (String::new(), "r.csv: is empty"),
            ("date,currency,rate\n2026-03-02,GBP,0.8".to_string(), "x.toml:3: 'rates' in [currency] has no rate of USD, into which all is"),
        ];
        for (table, expected) in cases {
            let problems = load("", &table).unwrap_err();
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
        let budget = "[[budget]]\nname = 'b'\nteam = 'search'\namount = '1'\ncurrency = 'EUR'\n";
        let problems = load(budget, head).unwrap_err();
        assert!(problems.contains("is EUR, but all is converted into USD"), "{problems}");
    }
}
