//! Just enough reading of Rust to tell code from comments, strings and tests.

/// The source with the insides of comments, strings and characters blanked; lines and columns stay.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_token(bytes, at);
        if let Some(end) = end {
            for byte in &mut code[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(code).expect("whole characters are blanked")
}

/// Where the comment, string or character that starts here ends; `None` if none starts here.
fn end_of_token(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let inside_a_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return Some(find(bytes, at, b"\n").unwrap_or(bytes.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(bytes, at + 2, b"*/").map_or(bytes.len(), |end| end + 2));
    }
    if !inside_a_word && (rest.starts_with(b"r\"") || rest.starts_with(b"r#\"") || rest.starts_with(b"r##\"")) {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        let close = [&b"\""[..], &b"##"[..hashes]].concat();
        return Some(find(bytes, at + 2 + hashes, &close).map_or(bytes.len(), |end| end + close.len()));
    }
    match rest[0] {
        b'"' => Some(end_of_quoted(bytes, at, b'"')),
        // 'c' and '\n' are characters, 'a in a type is a lifetime.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(end_of_quoted(bytes, at, b'\'')),
        b'\'' => {
            let length = rest[1..].iter().take(5).position(|byte| *byte == b'\'')?;
            let one_character = std::str::from_utf8(&rest[1..=length]).is_ok_and(|text| text.chars().count() == 1);
            one_character.then_some(at + length + 2)
        }
        _ => None,
    }
}

fn end_of_quoted(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let from = from.min(bytes.len());
    bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
}

/// The code with everything under `#[cfg(test)]` blanked, as rustfmt lays it out: an item ends at the
/// closing brace with its own indentation.
pub fn without_tests(code: &str) -> String {
    let mut kept = Vec::new();
    let mut until: Option<String> = None;
    let mut header = false;
    for line in code.lines() {
        if let Some(end) = &until {
            if line == end {
                until = None;
            }
            kept.push("");
            continue;
        }
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            header = true;
        } else if header && !trimmed.starts_with("#[") {
            header = false;
            if trimmed.ends_with('{') {
                until = Some(format!("{}}}", &line[..line.len() - trimmed.len()]));
            }
            kept.push("");
            continue;
        }
        kept.push(if header { "" } else { line });
    }
    kept.join("\n")
}

/// Whether the word stands in the line as a word of its own, not as a part of a longer one.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let starts_as_word = word.starts_with(is_part);
    let ends_as_word = word.ends_with(is_part);
    line.match_indices(word).any(|(at, _)| {
        let free_before = !starts_as_word || !line[..at].ends_with(is_part);
        let free_after = !ends_as_word || !line[at + word.len()..].starts_with(is_part);
        free_before && free_after
    })
}

#[test]
fn comments_strings_and_tests_are_no_code() {
    let code = code_only("let a = \"x // \\\" y\"; // z\nf('\"', r#\"q\"#, 'a', b'\\'');\nfn g<'a>(b: &'a str) {}");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), "let a = ; f( , , , b ); fn g<'a>(b: &'a str) {}");
    let kept = without_tests("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod other;\nd");
    assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["a", "c", "d"]);
    assert!(has_word("x::rand::y", "rand") && !has_word("operand", "rand") && has_word("rand::rng()", "rand::"));
}
