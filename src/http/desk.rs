//! Who may ask, and what they are answered: the compliance check without its HTTP.

use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::compliance;
use super::flow::{Answer, Asked, Lineages, MapFormat};
use crate::config::Loaded;
use crate::config::policies::PolicyFolder;
use crate::intake::rules::PriceBook;
use crate::model::time::Timestamp;

/// Changes with a reload, as a whole.
struct Rules {
    policies: Option<Arc<PolicyFolder>>,
    prices: PriceBook,
}

/// Where somebody who asks before acting is answered.
pub struct Desk {
    rules: ArcSwap<Rules>,
    /// Nobody where it does not listen on loopback.
    tokens: Vec<(String, SecretString)>,
    is_loopback: bool,
    lineages: Option<Lineages>,
}

impl Rules {
    fn of(loaded: &Loaded) -> Rules {
        Rules { policies: loaded.policies.clone(), prices: loaded.intake.prices.clone() }
    }
}

impl Desk {
    /// `lineages`: `None` where nothing is known of where models' data comes from.
    pub fn new(loaded: &Loaded, lineages: Option<Lineages>) -> Desk {
        let http = &loaded.settings.http;
        let (tokens, is_loopback) = (http.tokens.clone(), http.listen.ip().is_loopback());
        Desk { rules: ArcSwap::from_pointee(Rules::of(loaded)), tokens, is_loopback, lineages }
    }

    /// Where nobody is answered: the demo's.
    pub fn closed() -> Desk {
        let rules = Rules { policies: None, prices: PriceBook::default() };
        Desk { rules: ArcSwap::from_pointee(rules), tokens: Vec::new(), is_loopback: true, lineages: None }
    }

    /// After a reload.
    pub fn reload(&self, loaded: &Loaded) {
        self.rules.store(Arc::new(Rules::of(loaded)));
    }

    /// HTTP status and body. `authorization`: the header.
    pub fn answer(&self, authorization: &str, body: &[u8], now: Timestamp) -> (u16, Value) {
        if let Some(refused) = self.refused(authorization) {
            return refused;
        }
        let rules = self.rules.load();
        let Some(folder) = &rules.policies else { return problem(503, "there are no policies: policies.dir is not set") };
        let json: Value = match serde_json::from_slice(body) {
            Ok(json) => json,
            Err(error) => return problem(400, &format!("the plan is no JSON: {error}")),
        };
        let plan = match compliance::plan(&json) {
            Ok(plan) => plan,
            Err(unusable) => return problem(400, &unusable.what),
        };
        let known = self.lineages.as_ref().zip(plan.model()).map(|(lineages, (model, version))| (lineages.known)(model, version, now));
        match known.transpose() {
            Ok(facts) => (200, compliance::answer(plan, folder, &rules.prices, facts.flatten().as_ref(), now).json()),
            Err(error) => problem(503, &format!("what lineage knows of the model cannot be read: {error:#}")),
        }
    }

    /// The map of what runs.
    pub fn data_flow(&self, authorization: &str, asked: &Asked, now: Timestamp) -> Answer {
        if let Some((status, refused)) = self.refused(authorization) {
            return Answer::Json(status, refused);
        }
        let rules = self.rules.load();
        let lineages = self.lineages.as_ref().map(|lineages| (lineages.map)(rules.policies.as_deref(), asked.team.as_deref(), now));
        match lineages {
            Some(Ok(drawn)) if asked.format == MapFormat::Svg => Answer::Svg(drawn.svg),
            Some(Ok(drawn)) => Answer::Json(200, drawn.json),
            Some(Err(error)) => {
                let (status, json) = problem(503, &format!("what lineage knows cannot be read: {error:#}"));
                Answer::Json(status, json)
            }
            None => {
                let (status, json) = problem(404, "no lineage is kept here");
                Answer::Json(status, json)
            }
        }
    }

    /// What somebody is told who may not ask.
    fn refused(&self, authorization: &str) -> Option<(u16, Value)> {
        if !self.is_loopback {
            return Some(problem(403, "this is served on loopback only: http.listen is another address"));
        }
        let Some(token) = authorization.strip_prefix("Bearer ") else {
            return Some(problem(401, "send a token of http.tokens_file: Authorization: Bearer ..."));
        };
        // All of them, so that the time says nothing about which one was near.
        let is_known = self.tokens.iter().fold(false, |known, (_, own)| known | is_same(own.expose_secret(), token.trim()));
        if is_known { None } else { Some(problem(401, "no such token in http.tokens_file")) }
    }
}

fn problem(status: u16, what: &str) -> (u16, Value) {
    (status, json!({ "error": what }))
}

/// Takes as long for a wrong token as for a right one of its length.
fn is_same(own: &str, given: &str) -> bool {
    let differing = own.bytes().zip(given.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    own.len() == given.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn desk(listen: &str, policies: &str) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens"), format!("# who\nci {TOKEN}\n")).unwrap();
        let root = env!("CARGO_MANIFEST_DIR");
        let dir = if policies.is_empty() { String::new() } else { format!("[policies]\ndir = '{root}/{policies}'\n") };
        let text = format!("version = 1\n{dir}[http]\nlisten = '{listen}'\ntokens_file = 'tokens'\n");
        let loaded = config::load_text("t.toml", &text, folder.path(), std::iter::empty());
        Desk::new(&loaded.unwrap_or_else(|problems| panic!("{problems:?}")), None)
    }

    #[test]
    fn who_has_a_token_is_answered() {
        let plan = br#"{"team":"search","provider":"openai","model":"gpt-4o","environment":"dev"}"#;
        let right = format!("Bearer {TOKEN}");
        let loopback = desk("127.0.0.1:8080", "config/policies");
        let (status, answer) = loopback.answer(&right, plan, Timestamp(0));
        assert_eq!((status, &answer["decision"]), (200, &json!("allow")));
        let longer = format!("Bearer {TOKEN}0");
        for (authorization, body, status, says) in [
            ("", &plan[..], 401, "send a token"),
            ("Bearer ", &plan[..], 401, "no such token"),
            (&TOKEN.replace('0', "1"), &plan[..], 401, "send a token"),
            (&longer, &plan[..], 401, "no such token"),
            (&right, b"{", 400, "no JSON"),
            (&right, br#"{"tema":"x"}"#, 400, "did you mean 'team'?"),
        ] {
            let (found, answer) = loopback.answer(authorization, body, Timestamp(0));
            assert!(found == status && answer["error"].as_str().unwrap().contains(says), "{authorization}: {found} {answer}");
        }
        assert_eq!(desk("0.0.0.0:8080", "config/policies").answer(&right, plan, Timestamp(0)).0, 403);
        assert_eq!(desk("127.0.0.1:8080", "").answer(&right, plan, Timestamp(0)).0, 503);
    }

    #[test]
    fn a_file_of_tokens_that_is_none_is_told_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokens"), "ci short\n").unwrap();
        let text = "version = 1\n[http]\ntokens_file = 'tokens'\n";
        let problems = config::load_text("t.toml", text, Path::new(folder.path()), std::iter::empty()).unwrap_err();
        let shown = problems[0].to_string();
        assert!(shown.contains("line 1 is no name and token of at least 20 characters") && !shown.contains("short"), "{shown}");
    }
}
