//! The program's entry: see `cli`.
fn main() {}
