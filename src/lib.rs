//! Tollgate: usage events in, spend alerts out, on Kafka.
//!
//! # Bird's-eye view
//!
//! ```text
//! usage-events ─> INTAKE ─ shard log ─> WATCH ─┬─> alerts ─> DELIVER ─> mail
//!                   │      (by team)    state  ├─> spend-rollups
//!                   └─> dead-letter  ^         └─> changelog
//!                                    │
//! billing-events ─> BILLING ─ ledger log ─> LEDGER
//! lineage-events ─> OPENLINEAGE ─ lineage log ─> LINEAGE
//! ```
//!
//! Roles are consumer groups with threads of their own; one process runs all of them, or one. INTAKE turns events into sums per
//! series and minute. WATCH knows what is normal and decides. BILLING and LEDGER turn a bill that is
//! restated at will into signed differences. LINEAGE knows where a model's data comes from. DELIVER tells people. Between them are Kafka topics and nothing else.
//!
//! The core (`model`, `policy`, `intake`, `ledger`, `lineage`, `watch`) is pure: it is handed bytes, rules and times, and returns effects. The shell around it owns
//! Kafka, clock, files and mail. What a role has read, its state, its results and its offsets are one transaction.
//!
//! # The rooms, in reading order
//!
//! | room | is |
//! |---|---|
//! | [`model`] | the nouns: money, time, leaf, partial, alert; how they stand in records |
//! | [`policy`] | conditions over events: parse, type-check, compile, evaluate, explain; who may loosen what |
//! | [`intake`] | decode, validate, dedupe, attribute, price, combine |
//! | [`ledger`] | lines of the bill, restated and taken back, become signed deltas |
//! | [`lineage`] | which data feeds which model: the graph, what is known of origins, the map of it |
//! | [`watch`] | merge, judge open hours, close hours, explain, the life of an alert |
//! | [`config`] | file and environment become rules for the core and settings for the shell |
//! | [`kafka`] | all of the client library: consumer, transactional producer, topics |
//! | [`state`] | a local copy of the changelog, which makes restarts faster |
//! | [`runtime`] | the loop that all roles share, what each of them does, the commit routine, who starts them again |
//! | [`deliver`] | who is told of what; mails in text, HTML and a picture, webhooks; receipts and retries |
//! | [`lab`] | the engine on files: score, backtest, explain, tune, data-flow, showback |
//! | [`http`] | health, metrics, the compliance check |
//! | [`demo`] | everything in one process, on recorded and invented usage and a broker of its own |
//! | [`cli`] | one file per command; `assemble` puts settings into roles |
//! | [`clock`], [`health`], [`metrics`] | the time, what each thread last said, all counters: used by the shell only |
//!
//! # What is not there
//!
//! - No room of the core knows Kafka, a clock, a thread, a file, a log or a metric, walks over a hash map, or holds money in a float.
//! - Only `kafka` names the client library, only `clock` reads the time, only `metrics` names a metric, only `config` reads the
//!   environment and files of settings.
//! - Nothing but `runtime::commit` makes an effect visible or moves an offset.
//! - Nothing but `watch` writes alerts and roll-ups; nothing but `intake` sees bytes from outside.
//! - No record vanishes: read = combined + duplicates + rejected, asserted at every commit. A rejected one is in dead-letter.
//! - No verdict of `watch` depends on the wall clock, or on how records were batched: the same log and rules give the same alerts.
//! - No room uses one beside or above it. `tests/tidy/rules.rs` holds the order of the rooms, and most of this list.
//!
//! # One event's way
//!
//! A gateway writes "120 million tokens of gpt-4o, team search" to `usage-events`.
//!
//! 1. [`runtime::worker`], the loop of every role, fetches it in a batch; `runtime::intake` hands it to [`intake::process`], which goes
//!    through the stages in order: `decode` the bytes, `validate` the fields, `PartitionState::enter` its id (a second one ends here),
//!    `attribute` a team, `price` it: 500 USD; or `Memory` knows what came out for texts like these. `Batch::combine` adds it to the sum
//!    of its leaf and minute. What cannot be read becomes a [`model::record::Reject`] and a dead letter.
//! 2. Milliseconds later the loop calls `Batch::drain_into_shards`, adds markers (how far event time has come), turns effects into
//!    records with [`runtime::encode::effect`], and [`runtime::commit::attempt`] makes partials, dead letters and offsets visible.
//! 3. `runtime::watch` reads the shard log and hands the record to [`watch::Shard::apply`]. `merge` adds the partial to the open hour of
//!    its leaf and of every sum above it; `early::judge_minute` holds these against their baselines and the last minutes against
//!    the runaway guard, which fires. `select` finds the node that explains it, `episode::open` begins an episode, `record::alert`
//!    writes it up with causes, burn rate and next steps: an `Effect::Alert`, revision 1, provisional.
//! 4. The loop commits at once, since an alert waits: alert, changed state (`Shard::take_changes`) and offsets in one transaction. A
//!    crash before it has done nothing, a crash after it has lost nothing: [`watch::Restorer`] reads the changelog, and from the log
//!    the last amounts, which are written with a delay.
//! 5. [`deliver::worker`] reads `alerts`. `plan::plan` asks routes and receipts who is to hear of it, `Renderer::render` makes the mail,
//!    `Channel::send` sends it, `Receipt::record_sent` notes it; receipts and offsets are committed together.
//! 6. When the watermark has passed the hour, `Shard::close_slice` gives the final verdict (the alert is confirmed, amended or
//!    retracted under the same id), writes the hour's roll-ups, and only then do baselines learn from it.
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod demo;
pub mod health;
pub mod http;
pub mod intake;
pub mod kafka;
pub mod lab;
pub mod ledger;
pub mod lineage;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod runtime;
pub mod state;
pub mod watch;
