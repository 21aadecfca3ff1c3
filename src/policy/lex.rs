//! The words of a condition: names, numbers, texts and signs, each with its place.

use std::ops::Range;

use super::Wrong;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Name(String),
    Int(i64),
    Double(f64),
    Text(String),
    /// `(`, `&&`, `in`-less operators, ...
    Sign(&'static str),
    End,
}

impl Token {
    /// For messages.
    pub fn shown(&self) -> String {
        match self {
            Token::Name(name) => format!("'{name}'"),
            Token::Int(number) => format!("the number {number}"),
            Token::Double(number) => format!("the number {number}"),
            Token::Text(text) => format!("the text \"{text}\""),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::End => "the end".to_string(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub token: Token,
    /// Bytes of the source.
    pub at: Range<usize>,
}

/// Longer ones first, so that `<=` is not `<` and `=`.
const SIGNS: [&str; 22] =
    ["&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", ",", ".", "?", ":", "!", "<", ">", "+", "-", "*", "/", "%"];

/// # Errors
/// What is no word of the language: a text that does not end, a sign that means nothing here, a number that is too large.
pub fn words(source: &str) -> Result<Vec<Placed>, Wrong> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (token, length) = word(rest, first).map_err(|wrong| wrong.moved(at))?;
            words.push(Placed { token, at: at..at + length });
            at += length;
        }
    }
    words.push(Placed { token: Token::End, at: source.len()..source.len() });
    Ok(words)
}

fn word(rest: &str, first: char) -> Result<(Token, usize), Wrong> {
    if first.is_ascii_digit() {
        return number(rest);
    }
    if first == '"' || first == '\'' {
        return text(rest, first, false).map(|(text, length)| (Token::Text(text), length));
    }
    if let Some((quote, raw)) = rest.strip_prefix(['r', 'R']).and_then(|raw| Some((raw.chars().next()?, raw)))
        && (quote == '"' || quote == '\'')
    {
        return text(raw, quote, true).map(|(text, length)| (Token::Text(text), length + 1));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(rest.len());
        return Ok((Token::Name(rest[..length].to_string()), length));
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    let hint = match first {
        '=' => "to compare, write ==",
        '&' => "write && for and",
        '|' => "write || for or",
        _ => "a condition is made of fields, texts in quotes, numbers, and signs like == && || ! in",
    };
    Err(Wrong::new(0..first.len_utf8(), format!("'{first}' means nothing here")).hint(hint))
}

fn number(rest: &str) -> Result<(Token, usize), Wrong> {
    let digits = |from: usize| rest[from..].find(|next: char| !next.is_ascii_digit()).map_or(rest.len(), |length| from + length);
    let mut end = digits(0);
    let mut is_double = false;
    if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|next: char| next.is_ascii_digit()) {
        (end, is_double) = (digits(end + 1), true);
    }
    if let Some(exponent) = rest[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        if exponent[sign..].starts_with(|next: char| next.is_ascii_digit()) {
            (end, is_double) = (digits(end + 1 + sign), true);
        }
    }
    let written = &rest[..end];
    let token = if is_double { written.parse().ok().map(Token::Double) } else { written.parse().ok().map(Token::Int) };
    let too_large = || Wrong::new(0..end, format!("the number {written} is too large"));
    token.map(|token| (token, end)).ok_or_else(too_large)
}

/// Between quotes; answers the bytes that it takes, quotes included.
fn text(rest: &str, quote: char, is_raw: bool) -> Result<(String, usize), Wrong> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, next)) = chars.next() {
        match next {
            _ if next == quote => return Ok((text, at + 1)),
            '\n' => break,
            '\\' if !is_raw => {
                let escaped = chars.next().map(|(_, escaped)| escaped);
                text.push(match escaped {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some(same @ ('\\' | '"' | '\'' | '?' | '`')) => same,
                    _ => {
                        let hint = "write \\\\ for a backslash, or r\"...\" where nothing is to be escaped";
                        return Err(Wrong::new(at..at + 1, "the backslash escapes nothing here").hint(hint));
                    }
                });
            }
            next => text.push(next),
        }
    }
    Err(Wrong::new(0..1, "the text does not end").hint(format!("close it with {quote} on the same line")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(source: &str) -> Vec<Token> {
        words(source).unwrap().into_iter().map(|placed| placed.token).collect()
    }

    #[test]
    fn words_are_told_apart() {
        use Token::{Double, End, Int, Name, Sign, Text};
        let name = |name: &str| Name(name.to_owned());
        let text = |text: &str| Text(text.to_owned());
        assert_eq!(tokens("a.b<=1"), [name("a"), Sign("."), name("b"), Sign("<="), Int(1), End]);
        assert_eq!(
            tokens("1.5e3 2E-1 3.x // rest\n!t"),
            [Double(1_500.0), Double(0.2), Int(3), Sign("."), name("x"), Sign("!"), name("t"), End]
        );
        assert_eq!(tokens(r#""a\"b\n" 'c"' r"\d+" río"#.split(" río").next().unwrap()), [text("a\"b\n"), text("c\""), text("\\d+"), End]);
        let placed = words("é == 'x'").unwrap_err();
        assert_eq!(placed.at, 0..2);
    }

    #[test]
    fn what_is_no_word_is_named_with_its_place() {
        for (source, at, what) in [
            ("a = b", 2..3, "'=' means nothing"),
            ("a & b", 2..3, "'&' means nothing"),
            ("x == 'abc", 5..6, "does not end"),
            ("x == 'a\nb'", 5..6, "does not end"),
            ("99999999999999999999", 0..20, "too large"),
            (r"'\d'", 1..2, "escapes nothing"),
        ] {
            let wrong = words(source).unwrap_err();
            assert_eq!(wrong.at, at, "{source}");
            assert!(wrong.what.contains(what), "{source}: {}", wrong.what);
        }
    }
}
