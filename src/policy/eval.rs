//! True, false or unknown: a compiled condition over the facts of one event. Allocates nothing.

use super::fields::FieldId;
use super::nodes::{Arithmetic, BoolNode, Compare, DoubleNode, IntNode, Part, TextNode, TextSet};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Double(f64),
    Texts(&'a [&'a str]),
    Tags(&'a [(&'a str, &'a str)]),
}

/// What is known of an event, in the order of its subject's fields; `None`: the event does not say.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a>(pub &'a [Option<Value<'a>>]);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The event does not have this field.
    Missing(FieldId),
    /// It has tags, but not the one that is asked for.
    MissingTag(FieldId),
    /// No set is given for this key, and none for all.
    NoSet,
    /// A whole number became too large, or was divided by zero.
    Arithmetic,
}

type Known<T> = Result<T, Unknown>;

impl<'a> Facts<'a> {
    pub fn get(&self, field: FieldId) -> Option<Value<'a>> {
        self.0.get(field).copied().flatten()
    }

    fn text(&self, field: FieldId) -> Known<&'a str> {
        match self.get(field) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Unknown::Missing(field)),
        }
    }

    fn texts(&self, field: FieldId) -> Known<&'a [&'a str]> {
        match self.get(field) {
            Some(Value::Texts(texts)) => Ok(texts),
            _ => Err(Unknown::Missing(field)),
        }
    }

    fn tags(&self, field: FieldId) -> Known<&'a [(&'a str, &'a str)]> {
        match self.get(field) {
            Some(Value::Tags(tags)) => Ok(tags),
            _ => Err(Unknown::Missing(field)),
        }
    }

    fn tag(&self, field: FieldId, name: &str) -> Known<&'a str> {
        let tags = self.tags(field)?;
        tags.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or(Unknown::MissingTag(field))
    }
}

impl BoolNode {
    pub fn eval(&self, facts: &Facts<'_>) -> Known<bool> {
        match self {
            BoolNode::Const(value) => Ok(*value),
            BoolNode::Not(inner) => Ok(!inner.eval(facts)?),
            BoolNode::All(parts) => decided_by(parts, facts, false),
            BoolNode::Any(parts) => decided_by(parts, facts, true),
            BoolNode::Choose(parts) => {
                let [condition, yes, no] = &**parts;
                if condition.eval(facts)? { yes.eval(facts) } else { no.eval(facts) }
            }
            BoolNode::Same(parts) => {
                let [left, right] = &**parts;
                Ok(left.eval(facts)? == right.eval(facts)?)
            }
            BoolNode::Has(field) => Ok(facts.get(*field).is_some()),
            BoolNode::HasTag(field, name) => facts.tags(*field).map(|tags| tags.iter().any(|(known, _)| *known == &**name)),
            // Texts of another length are unequal, whatever is in them.
            BoolNode::Texts(Compare::Equal, left, right) => Ok(left.eval(facts)? == right.eval(facts)?),
            BoolNode::Texts(Compare::Unequal, left, right) => Ok(left.eval(facts)? != right.eval(facts)?),
            BoolNode::Texts(compare, left, right) => Ok(compare.holds(left.eval(facts)?.cmp(right.eval(facts)?))),
            BoolNode::Part(part, text, of) => {
                let (text, of) = (text.eval(facts)?, of.eval(facts)?);
                Ok(match part {
                    Part::Prefix => text.starts_with(of),
                    Part::Suffix => text.ends_with(of),
                    Part::Inside => text.contains(of),
                })
            }
            BoolNode::Matches(text, pattern) => Ok(pattern.is_match(text.eval(facts)?)),
            BoolNode::In(text, set) => Ok(is_in(set, text.eval(facts)?)),
            BoolNode::InSetOf(text, sets, key) => {
                let (text, key) = (text.eval(facts)?, key.eval(facts)?);
                let set = sets.get(key).or_else(|| sets.get("*")).ok_or(Unknown::NoSet)?;
                Ok(is_in(set, text))
            }
            BoolNode::InField(text, field) => {
                let text = text.eval(facts)?;
                Ok(facts.texts(*field)?.contains(&text))
            }
            BoolNode::IsTag(name, field) => {
                let name = name.eval(facts)?;
                Ok(facts.tags(*field)?.iter().any(|(known, _)| *known == name))
            }
            BoolNode::Ints(compare, left, right) => Ok(compare.holds(left.eval(facts)?.cmp(&right.eval(facts)?))),
            BoolNode::IntIn(number, numbers) => Ok(numbers.contains(&number.eval(facts)?)),
            BoolNode::Doubles(compare, left, right) => {
                let (left, right) = (left.eval(facts)?, right.eval(facts)?);
                // Nothing compares to what is no number, and it is unequal to everything.
                Ok(left.partial_cmp(&right).map_or(*compare == Compare::Unequal, |order| compare.holds(order)))
            }
        }
    }
}

/// One part that is `deciding` decides, also behind unknown ones.
fn decided_by(parts: &[BoolNode], facts: &Facts<'_>, deciding: bool) -> Known<bool> {
    let mut unknown = None;
    for part in parts {
        match part.eval(facts) {
            Ok(value) if value == deciding => return Ok(deciding),
            Ok(_) => {}
            Err(why) => unknown = unknown.or(Some(why)),
        }
    }
    unknown.map_or(Ok(!deciding), Err)
}

/// Of a few members the lengths are compared sooner than one is found by order.
const FEW: usize = 16;

fn is_in(set: &TextSet, text: &str) -> bool {
    if set.len() <= FEW {
        return set.iter().any(|member| **member == *text);
    }
    set.binary_search_by(|member| (**member).cmp(text)).is_ok()
}

impl TextNode {
    pub fn eval<'a>(&'a self, facts: &Facts<'a>) -> Known<&'a str> {
        match self {
            TextNode::Const(text) => Ok(text),
            TextNode::Field(field) => facts.text(*field),
            TextNode::Tag(field, name) => facts.tag(*field, name),
            TextNode::Choose(parts) => {
                let (condition, yes, no) = &**parts;
                if condition.eval(facts)? { yes.eval(facts) } else { no.eval(facts) }
            }
        }
    }
}

impl IntNode {
    pub fn eval(&self, facts: &Facts<'_>) -> Known<i64> {
        let length = |length: usize| i64::try_from(length).map_err(|_| Unknown::Arithmetic);
        match self {
            IntNode::Const(number) => Ok(*number),
            IntNode::Field(field) => match facts.get(*field) {
                Some(Value::Int(number)) => Ok(number),
                _ => Err(Unknown::Missing(*field)),
            },
            IntNode::Size(text) => length(text.eval(facts)?.chars().count()),
            IntNode::Count(field) => match facts.get(*field) {
                Some(Value::Texts(texts)) => length(texts.len()),
                Some(Value::Tags(tags)) => length(tags.len()),
                _ => Err(Unknown::Missing(*field)),
            },
            IntNode::Negative(inner) => inner.eval(facts)?.checked_neg().ok_or(Unknown::Arithmetic),
            IntNode::Two(operation, parts) => {
                let [left, right] = &**parts;
                let (left, right) = (left.eval(facts)?, right.eval(facts)?);
                let result = match operation {
                    Arithmetic::Add => left.checked_add(right),
                    Arithmetic::Subtract => left.checked_sub(right),
                    Arithmetic::Multiply => left.checked_mul(right),
                    Arithmetic::Divide => left.checked_div(right),
                    Arithmetic::Remainder => left.checked_rem(right),
                };
                result.ok_or(Unknown::Arithmetic)
            }
            IntNode::Choose(parts) => {
                let (condition, yes, no) = &**parts;
                if condition.eval(facts)? { yes.eval(facts) } else { no.eval(facts) }
            }
        }
    }
}

impl DoubleNode {
    pub fn eval(&self, facts: &Facts<'_>) -> Known<f64> {
        match self {
            DoubleNode::Const(number) => Ok(*number),
            DoubleNode::Field(field) => match facts.get(*field) {
                Some(Value::Double(number)) => Ok(number),
                _ => Err(Unknown::Missing(*field)),
            },
            // Exact up to 2^53, as in CEL.
            DoubleNode::OfInt(inner) => Ok(inner.eval(facts)? as f64),
            DoubleNode::Negative(inner) => Ok(-inner.eval(facts)?),
            DoubleNode::Two(operation, parts) => {
                let [left, right] = &**parts;
                let (left, right) = (left.eval(facts)?, right.eval(facts)?);
                Ok(match operation {
                    Arithmetic::Add => left + right,
                    Arithmetic::Subtract => left - right,
                    Arithmetic::Multiply => left * right,
                    Arithmetic::Divide => left / right,
                    Arithmetic::Remainder => left % right,
                })
            }
            DoubleNode::Choose(parts) => {
                let (condition, yes, no) = &**parts;
                if condition.eval(facts)? { yes.eval(facts) } else { no.eval(facts) }
            }
        }
    }
}

impl Compare {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Unequal => order.is_ne(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }
}
