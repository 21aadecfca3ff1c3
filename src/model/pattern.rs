//! Patterns of rules and prices: `*` matches any run of characters, everything else itself.

pub fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Takes at most pattern times text steps, and no recursion: texts are foreign.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the latest star stands, and how far it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(wanted) if wanted == byte => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    p = at + 1;
                    t = reach + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("*", "a"),
            ("gpt-*", "gpt-4o"),
            ("*-mini", "gpt-mini-mini"),
            ("a*b*c", "axbxbxc"),
            ("**", "x"),
            ("ü*", "üx"),
        ];
        let no = [("", "a"), ("gpt", "gpt-4"), ("gpt-*", "GPT-4"), ("a*b", "ab."), ("*a", ""), ("a*a", "a")];
        assert!(yes.iter().all(|(pattern, text)| matches(pattern, text)), "{yes:?}");
        assert!(!no.iter().any(|(pattern, text)| matches(pattern, text)), "{no:?}");
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_its_square() {
        assert!(!matches(&"*a".repeat(500), &"b".repeat(1_024)));
        assert!(!matches(&format!("{}b", "a*".repeat(300)), &"a".repeat(1_024)));
    }
}
