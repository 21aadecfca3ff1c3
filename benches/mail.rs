//! What a mail costs before it is sent, and what of that is the picture: `cargo bench --bench mail [MAILS]`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]

use tollgate::clock::Stopwatch;
use tollgate::deliver::channels::Letter;
use tollgate::deliver::channels::compose::{Sender, compose};
use tollgate::deliver::render::{Context, Renderer};
use tollgate::deliver::rules::Receiver;
use tollgate::model::alert::Alert;

fn main() {
    let mails: u32 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(500);
    let alert: Alert = serde_json::from_str(include_str!("../tests/data/alerts/spike.json")).unwrap();
    let plain = Alert { history: Vec::new(), ..alert.clone() };
    let renderer = Renderer::new().unwrap();
    let sender = Sender::new("Tollgate <tollgate@example.com>").unwrap();
    let receiver = Receiver::Mail("team@example.com".to_string());
    let context = Context { topic: "alerts", base_url: Some("https://tollgate.example.com"), ..Context::default() };

    let each = |work: &mut dyn FnMut(u32)| {
        let watch = Stopwatch::start();
        (0..mails).for_each(work);
        watch.elapsed().as_secs_f64() * 1e6 / f64::from(mails)
    };
    let of_revision = |alert: &Alert, revision| Alert { revision, ..alert.clone() };
    let anew = each(&mut |number| drop(renderer.render(&of_revision(&alert, number), &context).unwrap()));
    let again = each(&mut |_| drop(renderer.render(&alert, &context).unwrap()));
    let without = each(&mut |number| drop(renderer.render(&of_revision(&plain, number), &context).unwrap()));
    let rendered = renderer.render(&alert, &context).unwrap();
    let letter = Letter { alert: &alert, receiver: &receiver, earlier: None, date: alert.decided_at };
    let composed = each(&mut |_| drop(compose(&sender, &letter, &rendered).unwrap().formatted()));
    let bytes = compose(&sender, &letter, &rendered).unwrap().formatted().len();
    println!("text, HTML and picture  {anew:8.0} us");
    println!("the same revision again {again:8.0} us");
    println!("without a picture       {without:8.0} us");
    println!("headers and encoding    {composed:8.0} us, {bytes} bytes");
}
