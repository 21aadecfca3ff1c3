//! The one integration binary: `bench` measures a little, `contract` holds schemas to their examples, `cut` reads no output, `dashboard`
//! holds Grafana to the metrics, `data_flow` draws a map, `demo` plays the demo, `lab` tries a setting, `policy` reads policies, `price` asks
//! for prices, `readme` holds the README to the program, `real` runs against real parts, `tidy` holds the rules of the house.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by failing"
)]

mod bench;
mod contract;
mod cut;
mod dashboard;
mod data_flow;
mod demo;
mod lab;
mod policy;
mod price;
mod readme;
mod real;
mod tidy;
