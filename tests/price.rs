//! `tollgate price` as its user runs it: which price it is, what was negotiated, what it comes to in the currency of the reports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::real::parts::{Ended, run, temp_folder};

const PRICES: &str = r#"version = 1
as_of = 2026-01-15
currency = "USD"
providers = ["openai"]
[[agreement]]
name = "Enterprise 2026"
accounts = ["acme-*"]
[[discount]]
agreement = "Enterprise 2026"
names = ["gpt-*"]
discount = "0.12"
effective_from = 2026-01-01
effective_to = 2027-01-01
[[model]]
agreement = "Enterprise 2026"
names = ["gpt-4o"]
effective_from = 2026-01-01
output = "8.00"
"#;

const CONFIG: &str = r#"version = 1
[prices]
files = ["negotiated.toml"]
[watch]
reporting_currency = "EUR"
[currency]
rates = ["rates.csv"]
"#;

fn price(folder: &Path, arguments: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("price").arg("--config").arg(folder.join("tollgate.toml")).args(arguments.split_whitespace());
    run(&mut command, "", Duration::from_secs(60))
}

#[test]
fn a_price_says_its_step_its_agreement_and_its_rate() {
    let folder = temp_folder("price");
    std::fs::write(folder.join("negotiated.toml"), PRICES).unwrap();
    std::fs::write(folder.join("tollgate.toml"), CONFIG).unwrap();
    std::fs::write(folder.join("rates.csv"), "date,currency,rate\n2026-03-02,USD,1.25\n").unwrap();

    let usage = "--provider openai --model gpt-4o --input 1000000 --output 500000 --at 2026-03-03T10:00:00Z";
    let told = price(&folder, &format!("{usage} --account acme-prod"));
    let expected = [
        "x 2.2 USD per 1000000  = 2.2 USD   (openai gpt-4o, from 2024-10-02 on; 12 % off 2.5 by 'Enterprise 2026' to 2027-01-01)",
        "x 8 USD per 1000000  = 4 USD   (openai gpt-4o, from 2026-01-01 on; agreed in 'Enterprise 2026')",
        "6.2 USD = 4.96 EUR   (1.25 USD for 1 EUR since 2026-03-02)",
    ];
    for line in expected {
        assert!(told.stdout.contains(line), "{line}\n{}\n{}", told.stdout, told.stderr);
    }
    // Whoever else asks pays what the list says, and before the agreement began everybody did.
    let list = price(&folder, usage);
    assert!(list.stdout.contains("7.5 USD = 6 EUR") && !list.stdout.contains("Enterprise"), "{}", list.stdout);
    let before = price(&folder, &usage.replace("2026-03-03", "2025-12-31").replace("--input", "--account acme-prod --input"));
    let no_rate = "7.5 USD; there is no rate of USD and EUR that holds on 2025-12-31: add one to currency.rates";
    assert!(before.stdout.contains(no_rate) && !before.stdout.contains("Enterprise"), "{}", before.stdout);

    // The rate is of some day in March: whoever checks the config hears that it is too old, or not there yet.
    let mut check = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    check.args(["check", "--offline", "--config"]).arg(folder.join("tollgate.toml"));
    let checked = run(&mut check, "", Duration::from_secs(60));
    assert!(checked.stdout.contains("today no rate to EUR holds for USD"), "{}", checked.stdout);

    let long = "--provider google --model gemini-2.5-pro --input 900000 --output 1000 --at 2026-03-03T10:00:00Z";
    let told = price(&folder, &format!("{long} --requests 3"));
    assert!(
        told.stdout.contains("x 2.5 USD per 1000000  = 2.25 USD   (google gemini-2.5-pro, prompts above 200000 tokens, from"),
        "{}",
        told.stdout
    );
    let short = price(&folder, &format!("{long} --requests 30"));
    assert!(short.stdout.contains("= 1.125 USD") && !short.stdout.contains("prompts above"), "{}", short.stdout);
}

/// `tollgate price ... | true`: whoever has seen enough is no reason to fail.
#[test]
fn a_reader_that_is_gone_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args("price --provider openai --model gpt-4o --input 1000 --at 2026-03-03T10:00:00Z".split_whitespace());
    let ended = command.stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(0) && !said.contains("panicked"), "{said}");
}
