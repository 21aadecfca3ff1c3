//! A compiled condition: typed nodes, so that nothing is looked up or checked while it is evaluated.

use std::collections::BTreeMap;
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
    Matches(TextNode, Regex),
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
