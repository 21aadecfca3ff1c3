//! A compiled condition: typed nodes, so that nothing is looked up or checked while it is evaluated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use regex_lite::Regex;

use super::fields::FieldId;
use crate::model::Text;

/// Sorted, without duplicates.
pub type TextSet = Arc<[Text]>;

/// Sets by a key, such as approved providers by team; `*` stands for every key that is not named.
pub type SetsBy = Arc<BTreeMap<Text, TextSet>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Prefix,
    Suffix,
    Inside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Debug)]
pub enum BoolNode {
    Const(bool),
    Not(Box<BoolNode>),
    /// False if one is false, whatever is unknown.
    All(Vec<BoolNode>),
    /// True if one is true, whatever is unknown.
    Any(Vec<BoolNode>),
    Choose(Box<[BoolNode; 3]>),
    /// Both are true or both are false.
    Same(Box<[BoolNode; 2]>),
    Has(FieldId),
    HasTag(FieldId, Text),
    Texts(Compare, TextNode, TextNode),
    Part(Part, TextNode, TextNode),
    Matches(TextNode, Pattern),
    In(TextNode, TextSet),
    /// Is it in the set of this key?
    InSetOf(TextNode, SetsBy, TextNode),
    /// Is it among the texts of this field?
    InField(TextNode, FieldId),
    /// Is there a tag of this name?
    IsTag(TextNode, FieldId),
    Ints(Compare, IntNode, IntNode),
    IntIn(IntNode, Arc<[i64]>),
    Doubles(Compare, DoubleNode, DoubleNode),
}

/// A pattern, and what every text begins with that it matches: nearly all others are told by that alone.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
    /// May be empty.
    prefix: Box<str>,
}

impl Pattern {
    pub fn new(regex: Regex) -> Pattern {
        let prefix = prefix_of(regex.as_str()).into();
        Pattern { regex, prefix }
    }

    pub fn is_match(&self, text: &str) -> bool {
        text.starts_with(&*self.prefix) && self.regex.is_match(text)
    }
}

/// As the pattern alone: hashes of policies are made of it.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regex.fmt(f)
    }
}

/// Letters that stand for themselves behind a `^`; none where alternatives or flags may change what they mean.
fn prefix_of(pattern: &str) -> &str {
    let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|') && !rest.contains("(?")) else { return "" };
    let is_itself = |letter: char| letter.is_ascii_alphanumeric() || "-_/:@".contains(letter);
    let end = rest.find(|letter| !is_itself(letter)).unwrap_or(rest.len());
    let (letters, after) = rest.split_at(end);
    // The last one may be there or not.
    let is_certain = !after.starts_with(['*', '?', '{']);
    letters.get(..end.saturating_sub(usize::from(!is_certain))).unwrap_or_default()
}

#[derive(Clone, Debug)]
pub enum TextNode {
    Const(Text),
    Field(FieldId),
    Tag(FieldId, Text),
    Choose(Box<(BoolNode, TextNode, TextNode)>),
}

#[derive(Clone, Debug)]
pub enum IntNode {
    Const(i64),
    Field(FieldId),
    /// Characters of a text.
    Size(TextNode),
    /// Members of a list or of the tags.
    Count(FieldId),
    Negative(Box<IntNode>),
    Two(Arithmetic, Box<[IntNode; 2]>),
    Choose(Box<(BoolNode, IntNode, IntNode)>),
}

#[derive(Clone, Debug)]
pub enum DoubleNode {
    Const(f64),
    Field(FieldId),
    OfInt(Box<IntNode>),
    Negative(Box<DoubleNode>),
    Two(Arithmetic, Box<[DoubleNode; 2]>),
    Choose(Box<(BoolNode, DoubleNode, DoubleNode)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_begins_with_changes_nothing() {
        let texts = ["", "s", "sv", "svc", "svc-a", "svc-", "svc-A1", "xsvc-a", "user-1", "a\nsvc-a", "b-9", "a|b", "svcc"];
        let cases = [
            ("^svc-[a-z]+$", "svc-"),
            ("^svc-?a", "svc"),
            ("^svc*", "sv"),
            ("^svc{2}", "sv"),
            ("^svc+", "svc"),
            ("^svc", "svc"),
            ("^svc|^b", ""),
            ("^(svc|b)-", ""),
            ("(?m)^svc", ""),
            ("^(?i)SVC", ""),
            ("svc", ""),
            ("^", ""),
            ("^\\w+", ""),
            ("^.b", ""),
        ];
        for (written, prefix) in cases {
            let Ok(regex) = Regex::new(written) else { panic!("{written}") };
            let pattern = Pattern::new(regex.clone());
            assert_eq!(&*pattern.prefix, prefix, "{written}");
            assert_eq!(format!("{pattern:?}"), format!("{regex:?}"));
            for text in texts {
                assert_eq!(pattern.is_match(text), regex.is_match(text), "{written} {text}");
            }
        }
    }
}
