//! Foreign text made fit for people's eyes and for headers: names come from whoever sends usage.

/// More marks than this on one letter are no language.
const MARKS_PER_LETTER: u32 = 3;

/// One line of visible text: control characters and line ends become a space, characters that change the direction or cannot be
/// seen are dropped, runs of spaces shrink to one, and what is longer than `longest` characters is cut with an ellipsis.
pub fn clean(text: &str, longest: usize) -> String {
    let mut cleaned = String::new();
    let (mut length, mut marks, mut space_due) = (0_usize, 0_u32, false);
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            space_due = length > 0;
            continue;
        }
        marks = if is_mark(c) { marks.saturating_add(1) } else { 0 };
        if is_invisible(c) || marks > MARKS_PER_LETTER {
            continue;
        }
        let needed = 1 + usize::from(space_due);
        if length + needed > longest {
            return shortened(cleaned, longest);
        }
        if space_due {
            cleaned.push(' ');
            space_due = false;
        }
        cleaned.push(c);
        length += needed;
    }
    cleaned
}

/// [`clean`], and wrapped in isolates if any of it runs from right to left, so that it cannot reorder the amounts beside it.
pub fn name(text: &str, longest: usize) -> String {
    let cleaned = clean(text, longest);
    if cleaned.chars().any(runs_right_to_left) { format!("\u{2068}{cleaned}\u{2069}") } else { cleaned }
}

/// Cut to so many bytes, between two characters, with an ellipsis: where it is read again, bytes are counted.
pub fn within(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8())));
        text.truncate(text.trim_end().len());
        text.push('…');
    }
    text
}

fn shortened(mut text: String, longest: usize) -> String {
    while text.chars().count() >= longest.max(1) {
        text.pop();
    }
    text.truncate(text.trim_end().len());
    text.push('…');
    text
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Zero-width, direction overrides and isolates, tags, noncharacters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

fn runs_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_visible_line_is_left() {
        let cases = [
            ("  search\r\nBcc: x@y \t z\0", 40, "search Bcc: x@y z"),
            ("a\u{202e}b\u{200b}c\u{2066}", 40, "abc"),
            ("a\u{2028}b\u{85}c", 40, "a b c"),
            ("Z\u{301}\u{302}\u{303}\u{304}\u{305}", 40, "Z\u{301}\u{302}\u{303}"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("abcd efg", 6, "abcd…"),
            ("", 3, ""),
        ];
        for (text, longest, expected) in cases {
            assert_eq!(clean(text, longest), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_counted_where_bytes_matter() {
        for (text, bytes, expected) in [("äää", 6, "äää"), ("äääa", 6, "ä…"), ("a äää", 6, "a…"), ("漢漢漢", 8, "漢…"), ("", 0, "")]
        {
            assert_eq!(within(text.to_string(), bytes), expected, "{text:?}");
        }
    }

    #[test]
    fn right_to_left_names_are_kept_apart() {
        assert_eq!(name("חיפוש", 20), "\u{2068}חיפוש\u{2069}");
        assert_eq!(name("search", 20), "search");
    }
}
