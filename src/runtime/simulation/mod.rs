//! A seeded simulation: the workers, the commit routine and both roles, on a model of a cluster that does to them what clusters do.
//!
//! `log`, `group` and `broker` are the cluster: transactions before KIP-890, last stable offsets, aborted ranges, fencing, generations,
//! requests that arrive late. `member` and `link` are a worker's client, which fails in every call by chance. `world` runs some processes
//! step by step and lets others go on while one stands still inside of a call. `input` writes what comes in and knows what it comes to;
//! `oracle` says what must hold at the end. `scenario` is one run, `tests` are many. Everything that happens comes from the seed.
//!
//! `seam` is all that is known here of how a shard works. Feedback is not simulated: the engine does not read it yet.

mod broker;
mod dice;
mod group;
mod input;
mod link;
mod log;
mod member;
mod oracle;
mod scenario;
mod seam;
mod tests;
mod world;
