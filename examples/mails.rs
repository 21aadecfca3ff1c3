//! Writes the mails of the sample alerts to a folder, to be looked at: `cargo run --example mails -- <folder>`.

use std::path::PathBuf;
use std::time::Instant;

use tollgate::deliver::answer::Signer;
use tollgate::deliver::channels::compose::Sender;
use tollgate::deliver::channels::folder::Folder;
use tollgate::deliver::channels::{Channel, Letter};
use tollgate::deliver::receipt::Receipt;
use tollgate::deliver::render::language::Language;
use tollgate::deliver::render::{Context, Renderer};
use tollgate::deliver::rules::Receiver;
use tollgate::model::alert::Alert;
use tollgate::model::time::DAY_MS;

const SAMPLES: [&str; 5] = ["spike", "runaway", "amended", "resolved", "retracted"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "demo-out/mails".to_string()));
    let renderer = Renderer::new()?;
    let receiver = Receiver::Mail("ada@example.com".to_string());
    let mut receipt = Receipt::new("");
    let signer = Signer::new(b"only for looking at, signs nothing", "https://tollgate.example.com", 14 * DAY_MS);
    for name in SAMPLES {
        let path = format!("{}/tests/data/alerts/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let alert: Alert = serde_json::from_slice(&std::fs::read(path)?)?;
        let earlier = receipt.told(&receiver).filter(|_| !matches!(name, "spike" | "runaway"));
        let letter = Letter { alert: &alert, receiver: &receiver, earlier, date: alert.decided_at };
        let answers = signer.links(&letter, Language::default());
        let context =
            Context { topic: "alerts", base_url: Some("https://tollgate.example.com"), earlier, answers: &answers, ..Context::default() };
        #[allow(clippy::disallowed_methods, reason = "a stopwatch for the person who runs this")]
        let start = Instant::now();
        let rendered = renderer.render(&alert, &context)?;
        let took = start.elapsed();
        let channel = Channel::Folder(Folder::new(&root.join(name), Sender::new("Tollgate <tollgate@example.com>")?));
        let id = channel.send(&letter, &rendered).await?;
        println!(
            "{name:10} {took:8.1?}  html {:5} B  png {:5} B  {}",
            rendered.html.len(),
            rendered.chart.map_or(0, |chart| chart.png.len()),
            rendered.subject
        );
        if name == "spike" {
            receipt.record_sent(&alert, &receiver, &id, alert.decided_at);
        }
    }
    Ok(())
}
