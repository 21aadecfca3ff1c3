//! Whose host it is: providers of artificial intelligence by the names under which they answer.

use std::collections::BTreeMap;

use crate::model::Text;

/// Providers by domain, the domains from the last label to the first: `ai.mistral`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AiDomains(BTreeMap<String, Text>);

impl AiDomains {
    /// From lines `provider,domain`; `#` begins a comment. Later lines win over earlier ones.
    ///
    /// # Errors
    /// The number of the line and what is wrong with it.
    pub fn parse(table: &str) -> Result<AiDomains, (usize, String)> {
        let mut domains = BTreeMap::new();
        for (number, line) in table.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line == "provider,domain" {
                continue;
            }
            let wrong = || (number + 1, "a line is provider,domain: mistral,mistral.ai".to_string());
            let (provider, domain) = line.split_once(',').ok_or_else(wrong)?;
            let (provider, domain) = (provider.trim(), domain.trim());
            if provider.is_empty() || !domain.contains('.') || domain.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | ','))
            {
                return Err(wrong());
            }
            domains.insert(key(domain), provider.into());
        }
        Ok(AiDomains(domains))
    }

    /// The provider that a host belongs to: `api.mistral.ai`, `https://api.mistral.ai:443/v1`.
    pub fn provider(&self, destination: &str) -> Option<&Text> {
        let host = destination.split_once("://").map_or(destination, |(_, rest)| rest);
        let host = host.split(['/', ':', '?']).next().unwrap_or_default().trim_end_matches('.');
        let key = key(host);
        // The longest domain that it lies in.
        let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
        ends.rev().find_map(|end| self.0.get(key.get(..end)?))
    }

    /// These, and in their place where both know a domain, those.
    pub fn with(mut self, others: AiDomains) -> AiDomains {
        self.0.extend(others.0);
        self
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(domain: &str) -> String {
    let domain = domain.to_ascii_lowercase();
    domain.rsplit('.').collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_belongs_to_the_longest_domain_that_it_lies_in() {
        let shipped = AiDomains::parse(include_str!("../../config/ai_domains.csv")).unwrap();
        assert!(shipped.len() >= 40);
        let own = AiDomains::parse("provider,domain\n# ours\nus, llm.mistral.ai\n").unwrap();
        let domains = shipped.with(own);
        for (destination, provider) in [
            ("api.mistral.ai", Some("mistral")),
            ("mistral.ai", Some("mistral")),
            ("LLM.Mistral.AI.", Some("us")),
            ("https://api.deepseek.com:443/v1?x", Some("deepseek")),
            ("x.openai.azure.com", Some("azure")),
            ("notmistral.ai", None),
            ("mistral.ai.example.com", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(domains.provider(destination).map(|provider| &**provider), provider, "{destination}");
        }
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        for (table, line) in [("mistral", 1), ("#\n\nmistral,ai", 3), (",a.b", 1), ("a,https://b.c", 1), ("a,b.c,d", 1)] {
            assert_eq!(AiDomains::parse(table).unwrap_err().0, line, "{table}");
        }
    }
}
