//! What an enterprise has negotiated, in its own price files: whom an agreement is for, and which part of list prices it does not pay.

use super::prices::{Head, part, period};
use super::problem::{Problem, did_you_mean};
use super::read::Section;
use super::units::Complaint;
use crate::intake::rules::{Agreement, Discount};
use crate::model::Text;
use crate::model::money::Nanos;

/// Of all price files so far, in their order.
#[derive(Default)]
pub(super) struct Terms {
    pub agreements: Vec<Agreement>,
    pub discounts: Vec<Discount>,
}

impl Terms {
    /// `[[agreement]]`
    pub fn agreement(&mut self, mut section: Section) {
        let mut texts = |key| section.texts(key).into_iter().map(|(_, text)| Text::from(text)).collect();
        let (accounts, teams): (Vec<Text>, Vec<Text>) = (texts("accounts"), texts("teams"));
        let name: Text = section.text("name").into();
        if self.agreements.iter().any(|known| known.name == name) {
            section.complain("name", Complaint::new(format!("is '{name}', of which there is one already"), "give each a name of its own"));
        }
        self.agreements.push(Agreement { name, accounts, teams });
        section.finish();
    }

    /// Place of the one that an entry names.
    pub fn named(&self, section: &mut Section, is_needed: bool) -> Option<u32> {
        if !is_needed && !section.has("agreement") {
            return section.optional_text("agreement").and(None);
        }
        let name = section.text("agreement");
        let place = self.agreements.iter().position(|known| *known.name == *name);
        if place.is_none() && section.has("agreement") {
            let hint = did_you_mean(&name, self.agreements.iter().map(|known| &*known.name));
            let hint = hint.unwrap_or_else(|| format!("add [[agreement]] with name = \"{name}\" and accounts or teams to this file"));
            section.complain("agreement", Complaint::new(format!("is '{name}', an agreement that nobody knows"), hint));
        }
        place.and_then(|place| u32::try_from(place).ok())
    }

    /// `[[discount]]`, one for each provider and name.
    pub fn discount(&mut self, mut section: Section, head: &Head) {
        let agreement = self.named(&mut section, true);
        let providers = head.providers(&mut section);
        let (effective_from, effective_to) = period(&mut section);
        let mut names: Vec<Text> = section.texts("names").into_iter().map(|(_, name)| name.into()).collect();
        if names.is_empty() {
            names.push("".into());
        }
        let part = section.required("discount", part).unwrap_or_default();
        if part == Nanos::ZERO && section.has("discount") {
            section.notes().warning(Problem::new(&section.place, "this discount takes nothing off"));
        }
        let meter = section.optional_text("meter").map(Text::from);
        let region = section.optional_text("region").map(Text::from);
        for provider in &providers {
            let of = |model: &Text| Discount {
                agreement: agreement.unwrap_or_default(),
                provider: provider.clone(),
                model: model.clone(),
                meter: meter.clone(),
                region: region.clone(),
                part,
                effective_from,
                effective_to,
            };
            self.discounts.extend(names.iter().map(of));
        }
        section.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Loaded, Problem, load_text};
    use crate::model::price::{PriceQuery, TokenKind};
    use crate::model::time::Timestamp;

    fn load(text: &str) -> Result<Loaded, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let head = "version = 1\nas_of = 2026-01-01\ncurrency = 'USD'\nproviders = ['openai']\n";
        std::fs::write(folder.path().join("p.toml"), format!("{head}{text}")).unwrap();
        load_text("x.toml", "version = 1\n[prices]\nfiles = ['p.toml']", folder.path(), std::iter::empty())
    }

    /// List prices stay as they are for everybody else; what was agreed has its dates.
    #[test]
    fn what_was_negotiated_stands_beside_list_prices() {
        let text = "[[agreement]]\nname = 'EA'\naccounts = ['acme-*']\n[[discount]]\nagreement = 'EA'\nnames = ['gpt-*']\ndiscount = '0.1'\n\
                    effective_from = 2026-01-01\neffective_to = 2026-02-01\n\
                    [[model]]\nagreement = 'EA'\nnames = ['gpt-4o']\neffective_from = 2026-01-15\noutput = '8.00'\n";
        let book = load(text).unwrap_or_else(|problems| panic!("{problems:?}")).intake.prices;
        let price = |account: &str, token_kind: TokenKind, day: &str| {
            let terms = book.terms(account, "search");
            let at = Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap();
            let (provider, model, meter) = ("openai", "gpt-4o", "llm.tokens");
            let query = PriceQuery { provider, model, meter, terms: &terms, token_kind: Some(token_kind), at, ..Default::default() };
            book.find(&query).unwrap().rate(false).amount.to_string()
        };
        let (input, output) = (TokenKind::Input, TokenKind::Output);
        let days = ["2025-12-31", "2026-01-14", "2026-01-15", "2026-02-01"];
        assert_eq!(days.map(|day| price("acme-1", input, day)), ["2.5", "2.25", "2.25", "2.5"]);
        assert_eq!(days.map(|day| price("acme-1", output, day)), ["10", "9", "8", "8"]);
        assert_eq!(days.map(|day| price("other", output, day)), ["10"; 4]);
    }

    /// One step by the size of the prompt beside the price of all others; own prices replace a built-in one with its steps.
    #[test]
    fn steps_by_the_size_of_the_prompt() {
        let text = "[[model]]\nproviders = ['google']\nnames = ['gemini-2.5-pro']\neffective_from = 2025-06-17\ninput = '1.00'\n";
        let prices = |text: &str| load(text).unwrap_or_else(|problems| panic!("{problems:?}")).intake.prices;
        let price = |book: &crate::model::price::PriceBook, token_kind: TokenKind, prompt_tokens: u64| {
            let at = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
            let (provider, model, meter) = ("google", "gemini-2.5-pro", "llm.tokens");
            let query = PriceQuery { provider, model, meter, token_kind: Some(token_kind), at, prompt_tokens, ..Default::default() };
            book.find(&query).unwrap().rate(false).amount.to_string()
        };
        let (built_in, own) = (prices(""), prices(text));
        assert_eq!([0, 200_000, 200_001].map(|size| price(&built_in, TokenKind::Input, size)), ["1.25", "1.25", "2.5"]);
        assert_eq!([0, 200_000, 200_001].map(|size| price(&own, TokenKind::Input, size)), ["1"; 3]);
        assert_eq!([0, 200_000, 200_001].map(|size| price(&own, TokenKind::Output, size)), ["10", "10", "15"]);
    }

    #[test]
    fn wrong_agreements_name_their_line() {
        let wrong = |text: &str, expected: &str| {
            let problems = load(text).unwrap_err();
            let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
            assert!(lines.iter().any(|line| line.contains(expected)), "{expected}\n{lines:#?}");
        };
        let known = "[[agreement]]\nname = 'EA'\n";
        let dates = "effective_from = 2026-01-01\n";
        wrong(
            &format!("{known}[[discount]]\nagreement = 'EB'\ndiscount = '0.1'\n{dates}"),
            "is 'EB', an agreement that nobody knows; did you mean 'EA'?",
        );
        wrong(&format!("[[discount]]\ndiscount = '0.1'\n{dates}"), "'agreement' is missing in [[discount]]");
        wrong(&format!("{known}[[discount]]\nagreement = 'EA'\n{dates}"), "'discount' is missing in [[discount]]");
        wrong(&format!("{known}[[discount]]\nagreement = 'EA'\ndiscount = '1'\n{dates}"), "is no part of a price");
        wrong(&format!("{known}{known}"), "p.toml:8: 'name' in [[agreement]] is 'EA', of which there is one already");
        let model = "[[model]]\nnames = ['m']\neffective_from = 2026-01-01\nprompt_above = 9\ninput = '1'\n";
        wrong(&format!("{model}{model}"), "openai m llm.tokens input above 9 tokens of prompt has a price for the same time at");
    }
}
