//! The config room as a user meets it: files and variables in, settings or lines that say what is wrong out.

use std::collections::BTreeSet;
use std::path::Path;

use super::problem::Problem;
use super::read::{Notes, Section};
use super::settings::{Delivery, Form, MailTls};
use super::{DEFAULTS, Loaded, load, load_text, read_all, tree};
use crate::intake::rules::{AttributedTeam, TokenKind};
use crate::model::money::{Currency, Nanos};
use crate::model::time::Timestamp;

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
    load_text("x.toml", text, Path::new("config"), variables)
}

fn good(text: &str) -> Loaded {
    with(&format!("version = 1\n{text}"), &[]).unwrap_or_else(|problems| panic!("{text}\n{}", lines(&problems)))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// The file (behind a first line with the version) gives exactly these problems.
#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let Err(problems) = with(&format!("version = 1\n{text}"), &[]) else { panic!("taken as good: {text}") };
    assert_eq!(lines(&problems), expected.join("\n"), "\n{text}");
}

#[test]
fn defaults_alone_are_usable() {
    let loaded = load(None, std::iter::empty()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(loaded.settings.shard_count, 32);
    assert!(loaded.settings.mail.is_none());
    assert_eq!(loaded.intake.dedupe_window, 1_000_000);
    assert_eq!(loaded.watch.defaults.least_excess, Nanos::from_units(10));
    assert_eq!((loaded.watch.defaults.quiet_hours_to_close, loaded.watch.defaults.refractory_hours), (6, 12));
    assert_eq!(loaded.intake.reporting_currency, Currency::USD);
    assert!(loaded.intake.prices.prices().len() > 200);
}

/// Every option that the code asks for stands in the default file, with a value or as `# key = example`, and nothing else does.
#[test]
fn the_default_file_names_every_option() {
    let example = |line: &str| line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line).to_string() + "\n";
    let full: String = DEFAULTS.lines().map(example).collect();
    let table = tree::parse("full", &full).unwrap_or_else(|problems| panic!("{}\n{full}", lines(&problems)));
    let notes = Notes::default();
    read_all(Section::root(&notes, Path::new("config"), "full", &table), "host");
    let mut named = BTreeSet::new();
    keys(&table, "", &mut named);
    let asked = notes.asked.borrow().clone();
    // Price files have options of their own; an override's thresholds are those of [watch.thresholds].
    let of_price_files =
        [".agreement", ".as_of", ".batch_discount", ".currency", ".discount", ".meter", ".model", ".note", ".providers", ".source"];
    // Told in words, because only one of two fits the example.
    let in_words = ["[showback].teams", "[webhook].secret", "[webhook].url", "mail.languages.en"];
    let within = ["[model].", "[meter].", "[override].thresholds.", "[inhibit].by.", "[inhibit].of."];
    let elsewhere =
        |key: &str| of_price_files.contains(&key) || in_words.contains(&key) || within.iter().any(|start| key.starts_with(start));
    let missing: Vec<&String> = asked.iter().filter(|key| !elsewhere(key) && !named.contains(*key)).collect();
    assert!(missing.is_empty(), "not in config/tollgate.toml: {missing:?}");
    let (problems, _) = notes.into_sorted();
    let unknown: Vec<String> = problems.iter().map(Problem::to_string).filter(|line| line.contains("unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// `name = value`, `[section]` or `[[section]]`, rather than prose.
fn is_toml(line: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    line.split_once(" = ").is_some_and(|(key, _)| is_key(key)) || (line.starts_with('[') && line.ends_with(']'))
}

/// Section and key as the reader notes them: `kafka.security.protocol`, `[team].name`, `.version`.
fn keys(table: &tree::Table, section: &str, into: &mut BTreeSet<String>) {
    for (key, item) in table {
        into.insert(format!("{section}.{key}"));
        match &item.value {
            tree::Value::Table(inner) if section.is_empty() => keys(inner, key, into),
            tree::Value::Table(inner) => keys(inner, &format!("{section}.{key}"), into),
            tree::Value::List(items) => {
                for item in items {
                    if let tree::Value::Table(inner) = &item.value {
                        keys(inner, &format!("[{key}]"), into);
                    }
                }
            }
            _ => {}
        }
    }
}

#[test]
fn examples_load_without_problems_or_warnings() {
    for name in ["llm-gateway", "cloud-bill", "both", "fleet"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/examples/{name}.toml"));
        let loaded = load(Some(&path), std::iter::empty()).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
        assert_eq!(loaded.warnings, [], "{name}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tollgate.toml");
    assert_eq!(load(Some(&file), std::iter::empty()).unwrap().warnings, []);
}

#[test]
fn a_full_file_arrives_where_it_should() {
    let loaded = good(
        "rules_revision = 7\n[kafka]\ndelivery = 'at_least_once'\ntopic_prefix = 'p.'\ninstance_id = 'a-1'\n[kafka.consumer]\n'fetch.min.bytes' = 1\n\
         [kafka.security]\nprotocol = 'sasl_ssl'\nusername = 'u'\npassword = 'secret-word'\n[watch]\nreporting_currency = 'eur'\n\
         [watch.thresholds]\nleast_ratio = 2\n[[override]]\nteam = 'a'\nthresholds = { least_excess = '99' }\n\
         [[team]]\nname = 'a'\ntime_zone = 'europe/berlin'\nobserve = true\n[[attribution]]\nsource = 'x*'\ntags = { k = 'v' }\nteam_from_tag = 'k'\n\
         [[sources]]\nsource = 's'\ninput_includes_cached = false\n[schemas.ids]\n12 = 'alert'\n13 = 'spend_rollup'\n[alerts]\nformat = 'avro'\n\
         [mail]\nhost = 'h'\nfrom = 'A <a@b>'\ntls = 'implicit'\nport = 465\n[deliver]\nfallback = ['f@x']\n[[route]]\nreceivers = ['r@x']\nleast_severity = 'critical'\ngo_on = true\n",
    );
    let (settings, watch, intake) = (&loaded.settings, &loaded.watch, &loaded.intake);
    assert_eq!((watch.revision, intake.revision), (7, 7));
    assert_eq!(settings.kafka.delivery, Delivery::AtLeastOnce);
    assert_eq!(settings.topics.usage_events, "p.usage-events");
    assert_eq!(settings.kafka.consumer.0, [("fetch.min.bytes".to_string(), "1".to_string())]);
    assert_eq!(watch.defaults.least_ratio, 2.0);
    assert_eq!((watch.overrides[0].thresholds.least_excess, watch.overrides[0].thresholds.least_ratio), (Nanos::from_units(99), 2.0));
    assert_eq!((&*watch.teams[0].time_zone, watch.teams[0].observe), ("Europe/Berlin", true));
    assert_eq!(intake.reporting_currency.as_str(), "EUR");
    assert_eq!(intake.attribution[0].team, AttributedTeam::FromTag("k".into()));
    assert!(!intake.sources[0].input_includes_cached && intake.sources[0].output_includes_reasoning);
    assert_eq!((settings.alerts.form, settings.schemas.ids[&12].name.as_str()), (Form::Avro, "alert"));
    assert_eq!(settings.mail.as_ref().map(|mail| (mail.tls, mail.port)), Some((MailTls::Implicit, 465)));
    assert!(settings.deliver.routes[0].go_on);
    assert!(!format!("{loaded:?}").contains("secret-word"), "a secret is printed");
    let warned = lines(&loaded.warnings);
    assert!(warned.starts_with("x.toml:4: 'delivery' in [kafka] is \"at_least_once\""), "{warned}");
}

#[test]
fn wrong_keys_and_kinds() {
    bad("[watch]\ntreshold = 1", &["x.toml:3: unknown key 'treshold' in [watch]; did you mean 'thresholds'?"]);
    bad("[wacth]\nlateness = '5m'", &["x.toml:2: unknown section 'wacth'; did you mean 'watch'?"]);
    bad("[kafka]\npassword = 'x'", &["x.toml:3: unknown key 'password' in [kafka]; it stands in [kafka.security]"]);
    bad("colour = 1", &["x.toml:2: unknown key 'colour'; `tollgate config default` prints every option"]);
    bad(
        "[kafka]\ncommit_interval = 5\nbootstrap_servers = ['a']\n[shards]\ncount = '32'\n[mail]\nport = 70000",
        &[
            "x.toml:3: 'commit_interval' in [kafka] is '5', a duration without a unit; write \"5s\" for seconds, \"5m\" for minutes or \"5ms\" for milliseconds",
            "x.toml:4: 'bootstrap_servers' in [kafka] is a list, it should be a text; write it like \"text\", in quotes",
            "x.toml:6: 'count' in [shards] is a text, it should be a whole number; write it like 8, without quotes",
            "x.toml:8: 'port' in [mail] is 70000; write a whole number from 1 to 65535",
        ],
    );
    bad(
        "watch = 1",
        &["x.toml:2: 'watch' is a whole number, it should be a table; write [watch] on a line of its own and the options below it"],
    );
    bad("[team]\nname = 'a'", &["x.toml:2: 'team' is a table, it should be a list of tables; write [[team]] with two brackets"]);
    bad("[[team]]\nname = 'a'\nobserved = true", &["x.toml:4: unknown key 'observed' in [[team]]; did you mean 'observe'?"]);
    bad("[[team]]\ntime_zone = 'UTC'", &["x.toml:2: 'name' is missing in [[team]]"]);
    bad("[intake\n", &["x.toml:2: not TOML: unclosed table, expected `]`"]);
    bad("[kafka]\ndelivery = 'exactly-once'", &["x.toml:3: 'delivery' in [kafka] is 'exactly-once'; did you mean 'exactly_once'?"]);
}

#[test]
fn wrong_values() {
    bad(
        "[watch]\nreporting_currency = 'BTC'",
        &[
            "x.toml:3: 'reporting_currency' in [watch] is 'BTC', which is no active ISO 4217 currency code; write three letters: \"USD\", \"EUR\", \"INR\", ...",
        ],
    );
    bad(
        "[[team]]\nname = 'a'\ntime_zone = 'Europe/Berln'",
        &["x.toml:4: 'time_zone' in [[team]] is 'Europe/Berln', which is no time zone; did you mean 'Europe/Berlin'?"],
    );
    bad(
        "[watch.thresholds]\nleast_excess = 25.0",
        &[
            "x.toml:3: 'least_excess' in [watch.thresholds] is a number with a fraction, it should be an amount; write it like \"25.00\", in quotes",
        ],
    );
    bad(
        "[watch.thresholds]\nleast_excess = '25 USD'",
        &[
            "x.toml:3: 'least_excess' in [watch.thresholds] is '25 USD'; the amount is in whatever currency the series has; write the number alone: \"25.00\"",
        ],
    );
    bad(
        "[watch.thresholds]\nrefractory = '90m'",
        &["x.toml:3: 'refractory' in [watch.thresholds] is no whole number of hours; verdicts are hourly: write \"6h\""],
    );
    bad(
        "[intake]\nlargest_record = '1MB'",
        &["x.toml:3: 'largest_record' in [intake] is '1MB', which is no size; sizes count in 1024s here: \"1MiB\""],
    );
    bad(
        "[http]\nlisten = 'localhost:8080'",
        &[
            "x.toml:3: 'listen' in [http] is 'localhost:8080'; write address:port, \"127.0.0.1:8080\", or \"0.0.0.0:8080\" for every interface",
        ],
    );
    bad(
        "[log]\nlevel = 'tollgate=loud'",
        &[
            "x.toml:3: 'level' in [log] is 'tollgate=loud', which is no level; write error, warn, info, debug, trace or off, or by module: \"info,tollgate::watch=debug\"",
        ],
    );
    bad(
        "[kafka]\nbootstrap_servers = 'kafka'",
        &[
            "x.toml:3: 'bootstrap_servers' in [kafka] names 'kafka', which is not host:port; write \"host:9092\", several separated by commas",
        ],
    );
    bad(
        "[kafka]\napplication_id = 'a b'",
        &["x.toml:3: 'application_id' in [kafka] is 'a b'; use at most 100 letters, digits, '.', '_' and '-'"],
    );
    bad(
        "[schemas.ids]\n1 = 'usage_evnt'",
        &["x.toml:3: '1' in [schemas.ids] is 'usage_evnt', which is no schema; did you mean 'usage_event'?"],
    );
    bad("[prices]\nbuilt_in = ['opnai']", &["x.toml:3: 'built_in' in [prices] names 'opnai'; did you mean 'openai'?"]);
    bad(
        "[deliver]\nfallback = [\n'a@b',\n'nobody']",
        &["x.toml:5: an entry of 'fallback' is 'nobody', which is no mail address; write \"name@example.com\""],
    );
    bad(
        "[schemas]\nregistry_url = 'http://u:p@host'",
        &["x.toml:3: 'registry_url' in [schemas] holds a user name or password; use username and password_file"],
    );
}

#[test]
fn combinations_that_cannot_work() {
    bad(
        "[kafka]\nmessage_timeout = '30s'\nsession_timeout = '20s'",
        &[
            "x.toml:3: 'message_timeout' in [kafka] is 30s, not less than 'transaction_timeout', which is 30s; commit_interval < message_timeout < transaction_timeout < session_timeout must hold",
            // The default's own line: the file that the user sees has another one to blame.
            "x.toml:4: 'session_timeout' in [kafka] is 20s, not more than 'transaction_timeout', which is 30s; commit_interval < message_timeout < transaction_timeout < session_timeout must hold",
        ],
    );
    bad(
        "[alerts]\nformat = 'avro'",
        &[
            "x.toml:3: 'format' in [alerts] is \"avro\", but there is neither a registry nor an id for alert and spend_rollup; set schemas.registry_url, or add the ids to [schemas.ids], or write \"json\"",
        ],
    );
    bad(
        "[kafka.consumer]\n'isolation.level' = 'read_uncommitted'",
        &["x.toml:3: 'isolation.level' in [kafka.consumer] is not for you to set; exactly-once reads committed records only"],
    );
    bad(
        "[kafka.consumer]\nfetch.min.bytes = 1",
        &[
            "x.toml:3: 'fetch' in [kafka.consumer] is a table, it should be the value of a librdkafka property; put quotes around names with dots: \"fetch.min.bytes\" = 1",
        ],
    );
    bad(
        "[kafka.security]\nprotocol = 'sasl_ssl'",
        &[
            "x.toml:3: 'protocol' in [kafka.security] is \"sasl_ssl\", which needs username and password; add username and password_file to [kafka.security]",
        ],
    );
    bad(
        "[kafka.security]\nusername = 'u'\npassword = 'p'",
        &[
            "x.toml:2: 'protocol' in [kafka.security] is \"plaintext\", but username or password is set; set \"sasl_ssl\" (or \"sasl_plaintext\"), or take them out",
        ],
    );
    bad(
        "[topics]\nalerts = 'usage-events'",
        &["x.toml:3: 'alerts' in [topics] is 'usage-events', the same topic as 'usage_events'; each needs a topic of its own"],
    );
    bad("[mail]\nhost = 'h'", &["x.toml:3: 'host' in [mail] is set, but not 'from'; add from = \"Tollgate <tollgate@example.com>\""]);
    bad(
        "[mail]\nhost = 'h'\nfrom = 'a@b'\npassword_file = 'missing.txt'\n[deliver]\nfallback=['a@b']",
        &[
            "x.toml:5: 'password_file' in [mail] names the file 'config/missing.txt', which cannot be read: No such file or directory (os error 2)",
            "x.toml:5: 'password' is set, but not 'username'; give both or none",
        ],
    );
    bad(
        "[[attribution]]\nsource = 'x'",
        &["x.toml:2: this attribution rule names no team; give team = \"search\", or team_from_tag = \"team\""],
    );
    bad(
        "[[override]]\nthresholds = { least_ratio = 2 }",
        &["x.toml:2: this override names no team, project or environment, so it is for everyone; change [watch.thresholds] instead"],
    );
    bad(
        "[[team]]\nname = 'a'\n[[team]]\nname = 'a'",
        &["x.toml:5: 'name' in [[team]] is 'a', a team that stands at x.toml:2 already; write one [[team]] for it"],
    );
}

#[test]
fn probably_not_meant() {
    let warned = |text: &str| lines(&good(text).warnings);
    assert!(warned("[[route]]\nreceivers = ['a@b']").contains("x.toml:2: receivers are named, but [mail] has no host"));
    assert!(warned("[mail]\nhost = 'h'\nfrom = 'a@b'").contains("no route and no fallback names a receiver"));
    assert!(
        warned("[[attribution]]\nteam = 'a'\n[[attribution]]\nsource = 'x'\nteam = 'b'")
            .contains("x.toml:4: this attribution rule is never reached: the one at x.toml:2")
    );
    let overrides = "[[override]]\nteam = 'a'\nthresholds = { least_ratio = 2 }\n";
    assert!(warned(&overrides.repeat(2)).contains("x.toml:2: this override is never used: the one at x.toml:5"));
    let no_version = lines(&with("[shards]\ncount = 4", &[]).unwrap().warnings);
    assert!(no_version.starts_with("x.toml: has no 'version'"), "{no_version}");
}

#[test]
fn other_versions_are_refused() {
    for (text, expected) in
        [("version = 2\nnew = 1", "for a newer tollgate"), ("version = 0", "CHANGELOG.md"), ("version = '1'", "write version = 1")]
    {
        let problems = with(text, &[]).unwrap_err();
        assert!(problems.len() == 1 && lines(&problems).contains(expected), "{}", lines(&problems));
    }
    let missing = load(Some(Path::new("nowhere/x.toml")), std::iter::empty()).unwrap_err();
    assert!(lines(&missing).starts_with("nowhere/x.toml: cannot be read: No such file"), "{}", lines(&missing));
}

#[test]
fn the_environment_wins() {
    let loaded = with(
        "version = 1\n[kafka]\nbootstrap_servers = 'file:1'",
        &[
            ("TOLLGATE_KAFKA__BOOTSTRAP_SERVERS", "a:1,b:2"),
            ("TOLLGATE_SHARDS__COUNT", "8"),
            ("TOLLGATE_WATCH__THRESHOLDS__LEAST_RATIO", "2.5"),
            ("TOLLGATE_WATCH__THRESHOLDS__LEAST_EXCESS", "50"),
            ("TOLLGATE_KAFKA__CONSUMER__FETCH_MIN_BYTES", "1"),
            ("TOLLGATE_PRICES__BUILT_IN", "openai, gpu"),
            ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
            ("TOLLGATE_MAIL_PORT", "tcp://10.0.0.1:25"),
            ("HOSTNAME", "tollgate-0"),
            ("OTHER__THING", "x"),
        ],
    );
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    assert_eq!(loaded.settings.kafka.bootstrap_servers, "a:1,b:2");
    assert_eq!(loaded.settings.kafka.instance_id, "tollgate-0");
    assert_eq!(loaded.settings.shard_count, 8);
    assert_eq!((loaded.watch.defaults.least_ratio, loaded.watch.defaults.least_excess), (2.5, Nanos::from_units(50)));
    assert_eq!(loaded.settings.kafka.consumer.0, [("fetch.min.bytes".to_string(), "1".to_string())]);
    assert_eq!(loaded.price_files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["openai", "gpu"]);
    assert_eq!(
        lines(&loaded.warnings),
        "TOLLGATE_MAIL_PORT: has one underscore between section and key and is ignored; write TOLLGATE_MAIL__PORT"
    );
}

#[test]
fn wrong_variables_are_problems() {
    let cases = [
        ("TOLLGATE_KAFKA__BOOTSTRAP", "x", "unknown key 'bootstrap' in [kafka]; did you mean 'bootstrap_servers'?"),
        ("TOLLGATE_KAKFA__X", "x", "unknown section 'kakfa'; did you mean 'kafka'?"),
        ("TOLLGATE_SHARDS__COUNT", "many", "'count' in [shards] is a text, it should be a whole number; write it like 8, without quotes"),
        ("TOLLGATE_WATCH__LATENESS", "5", "'lateness' in [watch] is '5', a duration without a unit"),
        ("TOLLGATE_WATCH__THRESHOLDS", "5", "a table cannot be set from the environment"),
        ("TOLLGATE_WATCH__LATENESS__X", "5", "unknown option: 'lateness' has no options inside"),
        ("TOLLGATE_KAFKA__PRODUCER__ACKS", "1", "'acks' in [kafka.producer] is not for you to set"),
    ];
    for (name, value, expected) in cases {
        let problems = lines(&with("version = 1", &[(name, value)]).unwrap_err());
        assert!(problems.starts_with(&format!("{name}: {expected}")), "{problems}");
    }
}

#[test]
fn secrets_come_from_files_and_are_not_printed() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pw"), "hidden\n").unwrap();
    let text = "version = 1\n[mail]\nhost='h'\nfrom='a@b'\nusername='u'\npassword_file='pw'\n[deliver]\nfallback=['a@b']";
    let loaded = load_text("x.toml", text, folder.path(), std::iter::empty()).unwrap();
    let mail = loaded.settings.mail.as_ref().unwrap();
    assert_eq!(mail.password.as_ref().unwrap().expose_secret(), "hidden");
    assert!(!format!("{loaded:?}").contains("hidden"));
    let both = text.replace("password_file", "password='shown'\npassword_file");
    let problems = load_text("x.toml", &both, folder.path(), std::iter::empty()).unwrap_err();
    assert_eq!(lines(&problems), "x.toml:7: 'password_file' in [mail] stands beside 'password'; keep one of the two");
}

fn own_prices(text: &str) -> Result<Loaded, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.toml"), format!("version = 1\nas_of = 2026-01-01\n{text}")).unwrap();
    let loaded = load_text("x.toml", "version = 1\n[prices]\nfiles = ['p.toml']", folder.path(), std::iter::empty());
    let file = folder.path().join("p.toml").display().to_string();
    let shorten = |problem: Problem| Problem {
        place: super::problem::Place { file: problem.place.file.replace(&file, "p.toml").into(), ..problem.place },
        what: problem.what.replace(&file, "p.toml"),
        ..problem
    };
    loaded.map_err(|problems| problems.into_iter().map(shorten).collect())
}

#[test]
fn own_prices_replace_built_in_ones() {
    let text = "currency = 'EUR'\nproviders = ['openai']\n[[model]]\nnames = ['gpt-4o']\neffective_from = 2025-01-01\ninput = '1.00'\n\
                [[meter]]\nmeter = 'gpu.seconds'\nproviders = ['own']\neffective_from = 2025-01-01T12:00:00Z\nprice = '3.60'\nper = 3600\n";
    let loaded = own_prices(text).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    let prices = loaded.intake.prices.prices();
    let of = |kind| prices.iter().filter(move |price| &*price.model == "gpt-4o" && price.token_kind == Some(kind)).collect::<Vec<_>>();
    let input = of(TokenKind::Input);
    assert_eq!(input.len(), 1, "both built-in periods are replaced");
    assert_eq!((input[0].amount, input[0].per, input[0].currency.as_str()), (Nanos::from_units(1), 1_000_000, "EUR"));
    assert_eq!(of(TokenKind::Output).len(), 2, "what is not named stays");
    let own = prices.iter().find(|price| &*price.provider == "own").unwrap();
    assert_eq!((&*own.model, own.token_kind, own.per), ("", None, 3600));
    assert_eq!(own.effective_from, Timestamp::parse("2025-01-01T12:00:00Z").unwrap());
}

#[test]
fn wrong_prices_name_their_line() {
    let head = "currency = 'USD'\nproviders = ['a']\n";
    let cases = [
        (
            "[[model]]\nnames = ['m']\neffective_from = 2025-01-01\ninput = '-1'",
            "p.toml:8: 'input' in [[model]] is '-1', which is negative; write an amount of 0 or more",
        ),
        (
            "[[model]]\nnames = ['m']\neffective_from = 2025-01-01\ninput = '1'\ncurrency = 'XXX'",
            "p.toml:9: 'currency' in [[model]] is 'XXX', which is no active ISO 4217 currency code; write three letters: \"USD\", \"EUR\", \"INR\", ...",
        ),
        (
            "[[model]]\nnames = ['m']\neffective_from = 'soon'\ninput = '1'",
            "p.toml:7: 'effective_from' in [[model]] is 'soon', which is no date; write it like 2026-03-01",
        ),
        (
            "[[model]]\nnames = ['m']\neffective_from = 2025-01-01\ninputs = '1'",
            "p.toml:5: this model has no price; add input = \"2.50\", output = \"10.00\" (and cached_input, cache_write, reasoning where they differ)\np.toml:8: unknown key 'inputs' in [[model]]; did you mean 'input'?",
        ),
        (
            "[[model]]\nnames = ['m']\neffective_from = 2025-01-01\neffective_to = 2025-06-01\ninput = '1'\n[[model]]\nnames = ['m']\neffective_from = 2025-03-01\ninput = '2'",
            "p.toml:13: a m llm.tokens input has a price for the same time at p.toml:9; let one end (effective_to) before the other begins (effective_from)",
        ),
        ("[[model]]\nnames = ['m']\ninput = '1'", "p.toml:5: 'effective_from' is missing in [[model]]"),
        (
            "[[meter]]\nmeter = 'llm.tokens'\neffective_from = 2025-01-01\nprice = '1'",
            "p.toml:6: 'meter' in [[meter]] is \"llm.tokens\"; tokens are priced by kind: write [[model]]",
        ),
    ];
    for (text, expected) in cases {
        let problems = own_prices(&format!("{head}{text}")).unwrap_err();
        assert_eq!(lines(&problems), expected, "{text}");
    }
    // What many price lists write for "until further notice".
    own_prices(&format!("{head}[[model]]\nnames = ['m']\neffective_from = 2025-01-01\neffective_to = 9999-12-31\ninput = '1'")).unwrap();
    let problems = own_prices("[[model]]\nnames = ['m']\neffective_from = 2025-01-01\ninput = '1'").unwrap_err();
    assert!(
        lines(&problems).contains("p.toml:3: this price has no provider") && lines(&problems).contains("no currency"),
        "{}",
        lines(&problems)
    );
}

#[test]
fn what_a_reload_may_change() {
    use super::restart::{carried_over, forgot_revision, refused, restart_needed};
    let old = good("rules_revision = 2");
    let cases = [
        ("[watch.thresholds]\nleast_ratio = 2", vec![]),
        ("[log]\nlevel = 'debug'", vec![]),
        ("[[route]]\nreceivers = ['a@b']", vec![]),
        ("[kafka]\napplication_id = 'b'", vec!["kafka"]),
        ("[kafka.security]\nprotocol = 'sasl_ssl'\nusername = 'u'\npassword = 'p'", vec!["kafka"]),
        ("[kafka.consumer]\n'fetch.min.bytes' = 2", vec!["kafka"]),
        ("[shards]\ncount = 64\n[intake]\nthreads = 2\n[http]\nlisten = '0.0.0.0:80'", vec!["shards.count", "intake.threads", "http"]),
        ("[mail]\nhost = 'h'\nfrom = 'a@b'", vec!["mail"]),
    ];
    for (text, expected) in cases {
        let new = good(&format!("rules_revision = 2\n{text}"));
        assert_eq!(restart_needed(&old, &new), expected, "{text}");
        assert_eq!(refused(&old, &new), None);
    }
    assert!(refused(&old, &good("rules_revision = 1")).unwrap().contains("set it to 3 or more"));
    assert!(forgot_revision(&old, &good("rules_revision = 2\n[watch]\nlateness = '6m'")));
    assert!(!forgot_revision(&old, &good("rules_revision = 3\n[watch]\nlateness = '6m'")));
    let password = |word: &str| good(&format!("[mail]\nhost='h'\nfrom='a@b'\nusername='u'\npassword='{word}'\n"));
    assert_eq!(restart_needed(&password("a"), &password("b")), ["mail"]);
    let hook = |name: &str| good(&format!("[[webhook]]\nname = '{name}'\nform = 'slack'\nurl = 'https://h.example.com/x'\n"));
    assert_eq!(restart_needed(&hook("a"), &hook("b")), ["webhook"]);
    let told = |drift: bool, access: bool| good(&format!("[drift]\nenabled = {drift}\n[access]\nenabled = {access}\n"));
    let new =
        [(true, false), (false, true), (false, false)].map(|(drift, access)| restart_needed(&told(false, false), &told(drift, access)));
    assert_eq!(new, [vec!["drift.enabled".to_owned()], vec!["access.enabled".to_owned()], vec![]]);
    assert!(restart_needed(&told(true, false), &told(true, true)).is_empty(), "somebody tells already");
    // What waits for the next start stays as it is, however often the file is read until then.
    let first = good("rules_revision = 2\n[intake]\ndedupe_window = 7\nlargest_record = '2KiB'\nallowed_skew = '9m'\n");
    let mut rules = old.intake.clone();
    for _ in 0..2 {
        rules = carried_over(&rules, first.intake.clone());
        assert_eq!((rules.dedupe_window, rules.largest_record), (old.intake.dedupe_window, old.intake.largest_record));
        assert_eq!(rules.allowed_skew_ms, 9 * 60_000);
    }
}
