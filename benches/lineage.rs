//! What the lineage graph costs: memory, time to take everything in, and what a late origin touches.
//!
//! `cargo bench --bench lineage [NODES]`, a million by default, with ten edges each: layers of datasets, each job reads nineteen of the layer
//! before and writes one, every hundredth of these is a model. A measurement, not a test.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(unsafe_code, reason = "counts what the allocator hands out")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate::clock::Stopwatch;
use tollgate::lineage::Lineage;
use tollgate::model::Text;
use tollgate::model::lineage::{Job, LineageEvent, ModelName, RunState, StatedDataset, Told};
use tollgate::model::time::Timestamp;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LAYERS: usize = 10;
/// Of a job; with what it writes, twenty edges, ten a node.
const INPUTS: usize = 19;

fn text(text: &str) -> Text {
    text.into()
}

fn dataset(layer: usize, number: usize) -> StatedDataset {
    // Every source says where it is from, but one in a thousand.
    let origins =
        (layer == 0 && !number.is_multiple_of(1_000)).then(|| vec![text(["eu-central-1", "us-east-1", "JP", "ap-south-1"][number % 4])]);
    let model = (layer > 0 && number.is_multiple_of(100))
        .then(|| ModelName { model: text(&format!("model-{layer}-{number}")), version: Some(text("1")) });
    let (namespace, name) = (text(&format!("s3://layer-{layer}")), text(&format!("tables/part-{number}")));
    StatedDataset { namespace, name, origins, model, ..StatedDataset::default() }
}

fn scrambled(number: usize) -> usize {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

fn run(layer: usize, number: usize, width: usize) -> LineageEvent {
    let inputs = (0..INPUTS).map(|input| dataset(layer - 1, scrambled(number * INPUTS + input + layer) % width)).collect();
    let job = Job { namespace: text("airflow"), name: text(&format!("layer-{layer}.build-{number}")), owner: None };
    let told = Told::Run {
        run_id: text(&format!("run-{layer}-{number}")),
        state: RunState::Complete,
        job,
        inputs,
        outputs: vec![dataset(layer, number)],
    };
    LineageEvent { event_id: text("e"), producer: text("bench"), event_time: Timestamp(0), told }
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let nodes: usize = asked.unwrap_or(1_000_000);
    // A dataset and its job for each, but for the first layer.
    let width = (nodes / (2 * LAYERS - 1)).max(10);
    let before = LIVE.load(Ordering::Relaxed);
    let mut lineage = Lineage::default();
    let started = Stopwatch::start();
    let (mut told, mut written, mut runs) = (0, 0, 0);
    for layer in 1..LAYERS {
        for number in 0..width {
            lineage.apply(&run(layer, number, width));
            runs += 1;
            // As many as a transaction of the role may hold.
            if runs % 2_000 == 0 {
                told += lineage.take_facts().len();
                written +=
                    lineage.take_changes(runs).unwrap().iter().filter_map(|change| change.value.as_ref()).map(Vec::len).sum::<usize>();
            }
        }
    }
    told += lineage.take_facts().len();
    let seconds = started.elapsed().as_secs_f64();
    let bytes = LIVE.load(Ordering::Relaxed) - before;
    println!(
        "{} nodes, {} edges of {runs} runs: {:.0} MiB ({:.0} at most), {:.0} bytes a node; {:.1} us a run, {told} facts, {:.0} MiB of changelog",
        lineage.nodes(),
        runs as usize * (INPUTS + 1),
        bytes as f64 / (1 << 20) as f64,
        (MOST.load(Ordering::Relaxed) - before) as f64 / (1 << 20) as f64,
        bytes as f64 / lineage.nodes() as f64,
        seconds * 1e6 / runs as f64,
        written as f64 / (1 << 20) as f64,
    );
    for (what, layer) in [("a source", 0), ("the layer before the last", LAYERS - 2)] {
        let computed = lineage.computed();
        let started = Stopwatch::start();
        let late = StatedDataset { origins: Some(vec![text("BR")]), ..dataset(layer, 1) };
        let event = LineageEvent { event_id: text("l"), producer: text("bench"), event_time: Timestamp(0), told: Told::Dataset(late) };
        lineage.apply(&event);
        let facts = lineage.take_facts().len();
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        println!("late origin of {what}: {} nodes computed, {facts} facts, {milliseconds:.2} ms", lineage.computed() - computed);
    }
}
