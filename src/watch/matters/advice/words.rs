//! The sentences of an alert about usage that is bought too dear: what is seen, what it is taken for, what would be saved, what to do.

use super::{Advice, Advised, Over};
use crate::model::counted::counted;
use crate::model::leaf::{Account, LeafDimensions};
use crate::watch::matters::missing::{many, place};
use crate::watch::matters::rules::AdviceRules;

/// `search (ranker / gpt-4o) sends long prompts and caches none: ...; about 1234 USD a month (low confidence: one sign)`.
pub fn summary(advised: Advised, advice: &Advice, account: &Account, leaf: &LeafDimensions, rules: &AdviceRules) -> String {
    let place = place(account, leaf);
    let (month, currency, days) = (advice.per_month().rounded(0), account.currency, counted(advice.seen, "day"));
    let (requests, input, output) = (many(advice.requests), many(advice.input_per_request), many(advice.output_per_request));
    let seen = match advised {
        Advised::Caching => {
            let share = percent(rules.caching.repeated_per_mille);
            format!(
                "{place} caches no prompts: {requests} requests in {days}, {input} input tokens each, none of them reported as read from the cache; if {share} of the input repeats, caching saves about {month} {currency} a month"
            )
        }
        Advised::Batch => format!(
            "{place} looks like work that can wait, and is not sent in batches: {requests} requests in {days}, {why}; as batches they cost about {month} {currency} a month less",
            why = why_offline(advice, leaf, rules),
        ),
        Advised::CheaperModel => format!(
            "{place} asks a dear model small questions: {requests} requests in {days}, {input} input and {output} output tokens each; the same with {instead} costs about {month} {currency} a month less",
            instead = advice.instead.as_deref().unwrap_or_default(),
        ),
    };
    format!("{seen} ({})", confidence(advice))
}

fn why_offline(advice: &Advice, leaf: &LeafDimensions, rules: &AdviceRules) -> String {
    let named = [&leaf.project, &leaf.environment].into_iter().find(|name| rules.batch.names(name));
    let night = format!("{} or more of them at night", percent(rules.batch.off_hours_per_mille));
    match (named, advice.signs > 1) {
        (Some(name), true) => format!("named '{name}', {night}"),
        (Some(name), false) => format!("named '{name}'"),
        (None, _) => night,
    }
}

fn percent(per_mille: u32) -> String {
    if per_mille.is_multiple_of(10) { format!("{} %", per_mille / 10) } else { format!("{}.{} %", per_mille / 10, per_mille % 10) }
}

fn confidence(advice: &Advice) -> &'static str {
    if advice.signs > 1 { "medium confidence: two signs agree" } else { "low confidence: one sign" }
}

/// What it was held against.
pub fn usual(advised: Advised, advice: &Advice, rules: &AdviceRules) -> String {
    match advised {
        Advised::Caching => format!("prompts of {} tokens and more are worth caching", many(rules.caching.least_input_per_request)),
        Advised::Batch => "work that nobody waits for is cheaper in batches".to_string(),
        Advised::CheaperModel => format!(
            "up to {} input and {} output tokens a request: {} may do",
            many(rules.model.most_input_per_request),
            many(rules.model.most_output_per_request),
            advice.instead.as_deref().unwrap_or("a smaller model")
        ),
    }
}

pub fn over(advised: Advised, advice: &Advice, account: &Account, leaf: &LeafDimensions, over: Over) -> String {
    let place = place(account, leaf);
    let how = match (over, advised) {
        (Over::Off, _) => "is not looked at any more: [advice] is off",
        (Over::Gone, _) => "is not used any more",
        (Over::Unknown, _) => "is hardly used any more, or its price is not known, so that nothing can be said of it",
        (Over::Absent, Advised::Caching) => "reads prompts from the cache by now, or sends short ones",
        (Over::Absent, Advised::Batch) => "is sent in batches by now, or no longer looks like work that can wait",
        (Over::Absent, Advised::CheaperModel) => "no longer asks small questions only, or at another price",
    };
    format!("{place} {how}; about {} {} could have been saved", advice.saved.rounded(2), account.currency)
}

pub fn next_steps(advised: Advised, advice: &Advice, leaf: &LeafDimensions) -> Vec<String> {
    let model = &leaf.model;
    match advised {
        Advised::Caching => vec![
            "Put what is the same in every prompt (instructions, examples, documents) first and what differs last; where the provider wants it, mark the end of it for the cache.".to_string(),
            "How much is saved depends on how much repeats, which only the prompts tell. Cache writes may cost extra.".to_string(),
        ],
        Advised::Batch => vec![
            format!("See whether somebody waits for these answers. If not, send them through the batch interface of {model}'s provider."),
        ],
        Advised::CheaperModel => vec![
            format!("Try {} on a sample of these requests and compare the answers before you switch.", advice.instead.as_deref().unwrap_or("a smaller model")),
            "Tollgate sees the size of the requests, not how hard they are.".to_string(),
        ],
    }
}
