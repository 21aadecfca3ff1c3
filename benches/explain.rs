//! What an explanation costs: 10,000 leaves of five dimensions, with two causes among them. `cargo bench --bench explain [LEAVES]`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]

use tollgate::clock::Stopwatch;
use tollgate::watch::explain::{Row, split};

const NAMES: [&str; 5] = ["project", "model", "provider", "region", "user"];
const SIZES: [u64; 5] = [20, 15, 12, 10, 8];
const ROUNDS: usize = 20;

/// 0..1, the same in every run.
fn unit(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

fn main() {
    let leaves: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let mut state = 88_172_645_463_325_252;
    let mut codes = Vec::new();
    for _ in 0..leaves {
        codes.push(SIZES.map(|size| (unit(&mut state) * size as f64) as u64));
    }
    let texts: Vec<Vec<String>> = codes.iter().map(|leaf| leaf.iter().map(u64::to_string).collect()).collect();
    let rows: Vec<Row<'_>> = codes
        .iter()
        .zip(&texts)
        .map(|(code, text)| {
            let expected = 10.0 / (0.05 + unit(&mut state));
            let factor = if code[0] == 3 { 2.5 } else { 1.0 } * if (code[1], code[2]) == (2, 4) { 3.0 } else { 1.0 };
            let actual = expected * factor * (0.8 + 0.4 * unit(&mut state));
            Row { values: text.iter().map(String::as_str).collect(), expected, actual }
        })
        .collect();
    assert_eq!(split(&NAMES, &rows).len(), 2, "both causes are found");
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let watch = Stopwatch::start();
            std::hint::black_box(split(&NAMES, &rows));
            watch.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{leaves} leaves x {} dimensions: {:.1} ms (median of {ROUNDS}, best {:.1})", NAMES.len(), times[ROUNDS / 2], times[0]);
}
