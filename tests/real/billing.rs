//! A real bill, imported into a real Kafka: every sum is what another program makes of the file, however often and however interrupted.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;
use tollgate::model::money::Nanos;

use super::parts::{Ended, Guarded, consume, produce, run, run_tool, wait_for};
use super::path::{Deployment, now_ms, rfc3339, sum};

const LIMIT: Duration = Duration::from_secs(90);
const BY_TAG: &str = "[[attribution]]\ntags = { business_unit = \"*\" }\nteam_from_tag = \"business_unit\"\n";
const AMOUNTS: [&str; 8] = [
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ConsumedQuantity",
    "PricingQuantity",
    "ListUnitPrice",
    "ContractedUnitPrice",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample() -> PathBuf {
    root().join("tests/data/focus/focus_1.0_sample.csv.gz")
}

/// The sample, row by row, its head first.
fn sample_rows() -> Vec<csv::StringRecord> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(sample()).unwrap()).read_to_string(&mut text).unwrap();
    csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).records().map(Result::unwrap).collect()
}

fn write(path: &Path, rows: &[Vec<String>]) {
    let mut writer = csv::Writer::from_path(path).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.flush().unwrap();
}

/// As Python's decimals have it.
fn expected(path: &Path) -> Value {
    let mut python = Command::new("python3");
    python.arg(root().join("tests/parts/focus_sums.py")).arg(path);
    serde_json::from_str(&run(&mut python, "", LIMIT).expect_success()).unwrap()
}

fn import_command(deployment: &Deployment, arguments: &[&str], path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["import", "focus", "--config"]).arg(&deployment.config).args(arguments).arg(path);
    command
}

fn import(deployment: &Deployment, arguments: &[&str], path: &Path) -> Ended {
    run(&mut import_command(deployment, arguments, path), "", LIMIT)
}

/// The newest row of each line on the billing topic, and how many records there are.
fn lines(deployment: &Deployment) -> (BTreeMap<String, Value>, usize) {
    let (mut newest, mut count) = (BTreeMap::<String, Value>::new(), 0);
    for record in consume(deployment.broker.bootstrap(), &deployment.topic("billing-events")) {
        let event = record.json();
        if event["line_id"].is_null() {
            continue;
        }
        count += 1;
        let line = event["line_id"].as_str().unwrap().to_string();
        if newest.get(&line).is_none_or(|known| known["revision"].as_i64() <= event["revision"].as_i64()) {
            newest.insert(line, event);
        }
    }
    (newest, count)
}

fn nanos(text: &Value) -> i128 {
    text.as_str().map_or(0, |text| text.parse::<Nanos>().unwrap().0)
}

/// Every column that can be added up, on the topic and in the file.
fn assert_same_rows(deployment: &Deployment, wanted: &Value) {
    let (lines, _) = lines(deployment);
    assert_eq!(lines.len() as u64, wanted["rows"].as_u64().unwrap());
    for column in AMOUNTS {
        let found: i128 = lines.values().map(|event| nanos(&event["row"][column])).sum();
        assert_eq!(found, nanos(&wanted["sums"][column]), "{column}");
    }
}

/// What the ledger's deltas have added up to on spend-rollups, by team.
fn billed(deployment: &Deployment) -> (BTreeMap<String, i128>, i128) {
    let (mut teams, mut quantity) = (BTreeMap::new(), 0);
    for rollup in deployment.newest("spend-rollups").values().filter(|rollup| rollup["measure"] == "billed") {
        *teams.entry(rollup["team"].as_str().unwrap().to_string()).or_insert(0) += nanos(&rollup["cost"]);
        quantity += nanos(&rollup["quantity"]);
    }
    teams.retain(|_, cost| *cost != 0);
    (teams, quantity)
}

fn assert_rolled_up(deployment: &Deployment, wanted: &Value) {
    let teams = wanted["teams"].as_object().unwrap().iter().map(|(team, cost)| (team.clone(), nanos(cost)));
    let teams: BTreeMap<String, i128> = teams.filter(|(_, cost)| *cost != 0).collect();
    let wanted = (teams, nanos(&wanted["sums"]["ConsumedQuantity"]));
    let mut last = None;
    let mut ask = || {
        last = Some(billed(deployment));
        (last.as_ref() == Some(&wanted)).then_some(())
    };
    let started = std::time::Instant::now();
    while ask().is_none() {
        assert!(started.elapsed() < LIMIT, "found {:?}\nwanted {wanted:?}\n{}", billed(deployment), deployment.log());
    }
}

#[test]
fn the_real_sample_again_restated_and_complete() {
    let deployment = Deployment::without_mail("focus", BY_TAG);
    let mut process = deployment.start();
    let said = import(&deployment, &[], &sample()).expect_success();
    assert!(said.contains("1000 rows of FOCUS 1.0") && said.contains("published 1000 events"), "{said}");
    assert!(said.contains("ChargePeriodStart.time_format") && said.contains("Id.custom_prefix"), "{said}");
    let wanted = expected(&sample());
    assert_same_rows(&deployment, &wanted);
    assert_rolled_up(&deployment, &wanted);

    // The same file: nothing to do; and where it is done all the same, nothing changes.
    assert!(import(&deployment, &[], &sample()).expect_success().contains("nothing to do"));
    assert!(import(&deployment, &["--again"], &sample()).expect_success().contains("published 1000 events"));
    assert_same_rows(&deployment, &wanted);
    // As two other programs write it in Parquet: the same lines, so that nothing changes.
    for twin in ["focus_1.0_sample.duckdb.parquet", "focus_1.0_sample.pyarrow.parquet"] {
        let said = import(&deployment, &["--complete"], &sample().with_file_name(twin)).expect_success();
        assert!(said.contains("1000 rows of FOCUS 1.0") && said.contains("published "), "{said}");
        assert_same_rows(&deployment, &wanted);
        assert_rolled_up(&deployment, &wanted);
    }

    // Every twentieth row with another amount, and every other of these under another team.
    let names: Vec<String> = sample_rows()[0].iter().map(str::to_string).collect();
    let place = |name: &str| names.iter().position(|known| known == name).unwrap();
    let mut rows: Vec<Vec<String>> = sample_rows().iter().map(|row| row.iter().map(str::to_string).collect()).collect();
    for (number, row) in rows.iter_mut().enumerate().skip(1).filter(|(number, _)| number % 20 == 0) {
        row[place("EffectiveCost")] = format!("{number}.123456789");
        row[place("BilledCost")] = format!("-{number}.5");
        row[place("ConsumedQuantity")] = "7.25".to_string();
        if number % 40 == 0 {
            row[place("Tags")] = "{\"business_unit\": \"Moved\"}".to_string();
        }
    }
    let restated = deployment.config.with_file_name("restated.csv");
    write(&restated, &rows);
    let said = import(&deployment, &[], &restated).expect_success();
    assert!(said.contains("published 1000 events"), "{said}");
    let wanted = expected(&restated);
    assert_same_rows(&deployment, &wanted);
    assert_rolled_up(&deployment, &wanted);

    // A killed ledger goes on from its changelog; a complete delivery takes back what it does not name.
    process.kill9();
    let mut process = deployment.start();
    rows.drain(100..150);
    let complete = deployment.config.with_file_name("complete.csv");
    write(&complete, &rows);
    import(&deployment, &["--complete"], &complete).expect_success();
    assert_rolled_up(&deployment, &expected(&complete));
    assert_eq!(consume(deployment.broker.bootstrap(), &deployment.topic("dead-letter")).len(), 0);
    // Markers of transactions are nothing to wait for.
    wait_for("no group to be behind", LIMIT, || (deployment.metric("tollgate_consumergroup_lag") == 0).then_some(()));
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());

    // As retention does once a topic has been quiet for long: all that was read is gone, and so are the markers behind it.
    let ledger_log = deployment.topic(&format!("{}-ledger-repartition", deployment.topic("app")));
    for topic in [deployment.topic("billing-events"), ledger_log] {
        delete_all(&deployment, &topic);
    }
    let _process = deployment.start();
}

fn delete_all(deployment: &Deployment, topic: &str) {
    let consumer: BaseConsumer = deployment.broker.client().create().unwrap();
    let partitions = consumer.fetch_metadata(Some(topic), LIMIT).unwrap().topics()[0].partitions().len();
    // -1: all that there is.
    let each = |partition: usize| serde_json::json!({"topic": topic, "partition": partition, "offset": -1});
    let file = deployment.config.with_file_name("delete.json");
    let partitions: Vec<Value> = (0..partitions).map(each).collect();
    std::fs::write(&file, serde_json::json!({"partitions": partitions, "version": 1}).to_string()).unwrap();
    let arguments = ["--bootstrap-server", deployment.broker.bootstrap(), "--offset-json-file", file.to_str().unwrap()];
    run_tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments, "").expect_success();
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let deployment = Deployment::without_mail("focus-kill", "");
    let rows = sample_rows();
    let resource = rows[0].iter().position(|name| name == "ResourceId").unwrap();
    let mut many: Vec<Vec<String>> = vec![rows[0].iter().map(str::to_string).collect()];
    for copy in 0..20 {
        for row in rows.iter().skip(1) {
            let mut row: Vec<String> = row.iter().map(str::to_string).collect();
            row[resource] = format!("{}-{copy}", row[resource]);
            many.push(row);
        }
    }
    let path = deployment.config.with_file_name("many.csv");
    write(&path, &many);
    let mut command = import_command(&deployment, &[], &path);
    let mut importer = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let consumer: BaseConsumer = deployment.broker.client().set("group.id", "unused").create().unwrap();
    let topic = deployment.topic("billing-events");
    let written = || (0..2).map(|partition| consumer.fetch_watermarks(&topic, partition, LIMIT).unwrap().1).sum::<i64>();
    wait_for("some rows to be published", LIMIT, || (written() > 5_500).then_some(()));
    importer.kill9();
    let said = import(&deployment, &[], &path).expect_success();
    assert!(said.contains("going on behind row "), "{said}");
    let (lines, count) = lines(&deployment);
    assert_eq!((lines.len(), count), (20_000, 20_000), "each row once");
    assert_same_rows(&deployment, &expected(&path));
    // All of it once more is a new revision of the same lines.
    assert!(import(&deployment, &[], &path).expect_success().contains("nothing to do"));
    // Who looks at the first line only has asked for all of it as well.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut cut = import_command(&deployment, &[], &sample());
    assert!(cut.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).status().unwrap().success());
    let (lines, count) = self::lines(&deployment);
    assert_eq!((lines.len(), count), (21_000, 21_000), "all of it is published");
}

#[test]
fn what_cannot_be_imported_is_said_and_nothing_is_half_done() {
    let folder = super::parts::temp_folder("focus-bad");
    let said = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let ended = run(command.args(["import", "focus", "--dry-run", "--report"]).arg(folder.join("report.csv")).arg(&path), "", LIMIT);
        (ended.code, ended.stdout + &ended.stderr)
    };
    let (code, text) = said("a.csv", "Date,Cost\n1,2\n");
    assert!(code == Some(2) && text.contains("a.csv:1:") && text.contains("no FOCUS file"), "{code:?} {text}");
    let (code, text) = said("a.parquet", "PAR1 and no end");
    assert!(code == Some(2) && text.contains("a.parquet: is no Parquet file"), "{code:?} {text}");
    let (code, text) = said("a.xlsx", "PK");
    assert!(code == Some(2) && text.contains("ends neither in .csv, nor in .csv.gz or .parquet"), "{code:?} {text}");
    let head = "BilledCost,BillingCurrency,ChargePeriodStart\n";
    let (code, text) = said("b.csv", &format!("{head}1.5,USD,2024-09-01T00:00:00Z\n2,USD\nx,USD,2024-09-01T00:00:00Z\n"));
    assert!(
        code == Some(1) && text.contains("1 row cannot be read") && text.contains("1 row will be published and land"),
        "{code:?} {text}"
    );
    let report = std::fs::read_to_string(folder.join("report.csv")).unwrap();
    assert!(report.contains(",3,\"row.readable\"") && report.contains(",4,\"BilledCost.number\",\"x\""), "{report}");
    let total = sum(std::iter::once("1.5".to_string()));
    assert!(text.contains("USD  1 row  BilledCost 1.5") && total == 1_500_000_000, "{text}");
}

/// A bill in another currency is counted as far as there are rates, the rest when they come, whatever happens to the process in between.
#[test]
fn a_bill_is_counted_when_its_rate_comes() {
    let folder = super::parts::temp_folder("rates");
    // One day all along, also where the test runs past midnight.
    let today = now_ms();
    let day = |ago: i64| rfc3339(today - ago * 86_400_000)[..10].to_string();
    let rates = folder.join("rates.csv");
    let known = format!("date,currency,rate\n{},USD,1.1\n", day(20));
    std::fs::write(&rates, &known).unwrap();
    let settings = format!("[currency]\nrates = ['{}']\nbase = 'EUR'\nmost_age = '3d'\n", rates.display());
    let deployment = Deployment::without_mail("rates", &settings);
    let mut process = deployment.start();
    let bill = folder.join("bill.csv");
    let head = "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName";
    let row = |cost: &str, ago: i64| format!("{cost},{cost},EUR,{0}T00:00:00Z,{0}T01:00:00Z,Usage,Compute\n", day(ago));
    std::fs::write(&bill, format!("{head}\n{}{}", row("10", 19), row("20", 5))).unwrap();
    import(&deployment, &[], &bill).expect_success();
    let counted = |currency: &str, measure: &str| {
        let rollups = deployment.newest("spend-rollups");
        let own = rollups.values().filter(|rollup| rollup["currency"] == currency && rollup["measure"] == measure);
        own.map(|rollup| nanos(&rollup["cost"])).sum::<i128>()
    };
    let is_counted = |usd: i128| {
        let counts = (counted("USD", "billed"), counted("EUR", "billed_original"), counted("EUR", "billed"));
        (counts == (usd, 30_000_000_000, 0)).then_some(())
    };
    wait_for("what has a rate to be counted", LIMIT, || is_counted(11_000_000_000));
    let told = || deployment.newest("alerts").into_values().find(|alert| alert["kind"] == "missing_money" && alert["state"] == "open");
    let alert = wait_for("the alert", LIMIT, told);
    assert!(alert["summary"].as_str().unwrap().contains(&day(5)), "{alert}");

    // The rate comes while nobody runs.
    process.kill9();
    std::fs::write(&rates, format!("{known}{},USD,1.25\n", day(6))).unwrap();
    let config = std::fs::read_to_string(&deployment.config).unwrap();
    std::fs::write(&deployment.config, config.replace("version = 1", "version = 1\nrules_revision = 2")).unwrap();
    let mut process = deployment.start();
    wait_for("all to be counted", LIMIT, || is_counted(36_000_000_000));

    // Then it is corrected, and taken over by the process that runs.
    std::fs::write(&rates, format!("{known}{},USD,1.2\n", day(6))).unwrap();
    std::fs::write(&deployment.config, config.replace("version = 1", "version = 1\nrules_revision = 3")).unwrap();
    process.signal("HUP");
    wait_for("the correction", LIMIT, || is_counted(35_000_000_000));
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
}

/// Watch hears differences of the bill only: a new shard log without what was billed before would make every restatement wrong.
#[test]
fn computing_all_anew_keeps_the_bill_and_reads_again_what_stands_beside_usage() {
    let deployment = Deployment::without_mail("reset-bill", "");
    let config = std::fs::read_to_string(&deployment.config).unwrap();
    let nameless = "instance_id = \"one\"\nstatic_membership = false";
    std::fs::write(&deployment.config, config.replace("instance_id = \"one\"", nameless)).unwrap();
    let mut process = deployment.start();
    let bill = deployment.config.with_file_name("bill.csv");
    let state = |first: &str| {
        let row = |cost: &str, day: &str| format!("{cost},{cost},USD,{day}T00:00:00Z,{day}T01:00:00Z,Usage,Compute\n");
        let head = "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ServiceName";
        let [one, other] = [5, 3].map(|ago: i64| rfc3339(now_ms() - ago * 86_400_000)[..10].to_string());
        std::fs::write(&bill, format!("{head}\n{}{}", row(first, &one), row("20", &other))).unwrap();
        import(&deployment, &[], &bill).expect_success();
    };
    let is_billed = |dollars: i128| (billed(&deployment).0.values().sum::<i128>() == dollars * 1_000_000_000).then_some(());
    state("10");
    wait_for("the bill", LIMIT, || is_billed(30));
    let sample = serde_json::json!({"event_id": "s-1", "source": "s", "event_time": rfc3339(now_ms()), "team": "search",
        "resource_id": "vm/1", "hourly_cost": "0.5", "currency": "USD", "utilization": 0.5});
    produce(deployment.broker.bootstrap(), &[serde_json::json!({"topic": deployment.topic("resource-events"), "value_json": sample})]);
    let read = || deployment.metric("tollgate_forwarded_records_total{role=\"resources\",outcome=\"accepted\"}");
    wait_for("the sample of a resource", LIMIT, || (read() == 1).then_some(()));
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());

    let mut reset = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    reset.args(["reset", "--to-earliest", "--yes", "--wait", "--config"]).arg(&deployment.config);
    let said = run(&mut reset, "", LIMIT).expect_success();
    assert!(said.contains("2 billed hours of leaves") && said.contains("resources "), "{said}");
    let mut process = deployment.start();
    wait_for("the sample of a resource once more", LIMIT, || (read() == 1).then_some(()));
    state("12");
    wait_for("the restated bill", LIMIT, || is_billed(32));
    process.signal("TERM");
    assert!(process.wait(LIMIT).is_some_and(|status| status.success()), "{}", deployment.log());
}
