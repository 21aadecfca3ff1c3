//! A plan once more, straightened for the quick reader: what can be decided by the schema is decided here, once, and what is left for each
//! event is a row of small acts.

use super::Field;
use super::plan::{Read, Shape, Step};

/// What the quick reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// From here on bytes belong to the key.
    KeyBegins,
    KeyEnds,
    /// A union of null and one other type; the bytes that say which. Where it is null, the next act is left out.
    Optional {
        null: u8,
        value: u8,
    },
    Keep(Kept),
    /// So many texts that nobody looks into.
    Pass(u8),
    PassLong,
    PassFixed(usize),
    Millis,
    Micros,
    Count(Counted),
    Tags,
    /// Whatever is rare: this step of the plan.
    Step(usize),
}

/// Texts that intake looks at, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    EventId,
    Source,
    Team,
    Meter,
    User,
    ResourceId,
    Status,
}

/// Counts, by place; tokens come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Input,
    Output,
    CachedInput,
    CacheWrite,
    Reasoning,
    Requests,
}

impl Kept {
    pub fn of(field: Field) -> Option<Kept> {
        Some(match field {
            Field::EventId => Kept::EventId,
            Field::Source => Kept::Source,
            Field::Team => Kept::Team,
            Field::Meter => Kept::Meter,
            Field::User => Kept::User,
            Field::ResourceId => Kept::ResourceId,
            _ => return None,
        })
    }
}

impl Counted {
    pub fn of(field: Field) -> Option<Counted> {
        Some(match field {
            Field::InputTokens => Counted::Input,
            Field::OutputTokens => Counted::Output,
            Field::CachedInputTokens => Counted::CachedInput,
            Field::CacheWriteTokens => Counted::CacheWrite,
            Field::ReasoningTokens => Counted::Reasoning,
            Field::Requests => Counted::Requests,
            _ => return None,
        })
    }
}

pub fn straighten(steps: &[Step], shapes: &[Shape]) -> Vec<Act> {
    let (mut acts, mut is_key) = (Vec::new(), false);
    for (place, step) in steps.iter().enumerate() {
        let belongs = matches!(step, Step::Take(field, _) if is_in_key(*field));
        if belongs != is_key {
            acts.push(if belongs { Act::KeyBegins } else { Act::KeyEnds });
            is_key = belongs;
        }
        let plain = match step {
            Step::Take(field, read) => of_union(read, |read| value(*field, read)),
            Step::Status(read) => of_union(read, |read| matches!(read, Read::Text).then_some(Act::Keep(Kept::Status))),
            Step::Skip(shape) => of_shape(*shape, shapes),
        };
        let (optional, act) = plain.unwrap_or((None, Act::Step(place)));
        acts.extend(optional);
        match (acts.as_mut_slice(), act) {
            // The first of them may be left out, the second may not.
            ([.., Act::Optional { .. }, Act::Pass(_)], act) => acts.push(act),
            ([.., Act::Pass(more @ ..=254)], Act::Pass(_)) => *more += 1,
            (_, act) => acts.push(act),
        }
    }
    acts.extend(is_key.then_some(Act::KeyEnds));
    acts
}

/// Texts that may decide who pays and what it costs, but for user and tags.
fn is_in_key(field: Field) -> bool {
    match field {
        Field::Source
        | Field::Meter
        | Field::Team
        | Field::Project
        | Field::Model
        | Field::Provider
        | Field::Region
        | Field::Environment
        | Field::Account
        | Field::Currency => true,
        Field::EventId | Field::EventTime | Field::User | Field::ResourceId | Field::Quantity | Field::Cost | Field::Tags => false,
        Field::InputTokens | Field::OutputTokens | Field::CachedInputTokens | Field::CacheWriteTokens | Field::ReasoningTokens => false,
        Field::Requests => false,
    }
}

type Plain = (Option<Act>, Act);

fn of_union(read: &Read, act: impl Fn(&Read) -> Option<Act>) -> Option<Plain> {
    match read {
        Read::Union(variants) => match variants.as_slice() {
            [Read::Null, read] => Some((Some(Act::Optional { null: 0, value: 2 }), act(read)?)),
            [read, Read::Null] => Some((Some(Act::Optional { null: 2, value: 0 }), act(read)?)),
            _ => None,
        },
        read => Some((None, act(read)?)),
    }
}

fn value(field: Field, read: &Read) -> Option<Act> {
    match (field, read) {
        (Field::EventTime, Read::Time(1)) => Some(Act::Millis),
        (Field::EventTime, Read::Time(1_000)) => Some(Act::Micros),
        (Field::EventTime | Field::Quantity | Field::Cost, _) => None,
        (Field::Tags, Read::Map(values)) => matches!(**values, Read::Text).then_some(Act::Tags),
        (field, Read::Text) => Some(Kept::of(field).map_or(Act::Pass(1), Act::Keep)),
        (field, Read::Long) => Counted::of(field).map(Act::Count),
        _ => None,
    }
}

fn of_shape(place: usize, shapes: &[Shape]) -> Option<Plain> {
    let passed = |place: &usize| match shapes.get(*place)? {
        Shape::Fixed(size) => Some(Act::PassFixed(*size)),
        Shape::Varint => Some(Act::PassLong),
        Shape::Bytes => Some(Act::Pass(1)),
        Shape::Array(_) | Shape::Map(_) | Shape::Union(_) | Shape::Record(_) => None,
    };
    let is_null = |place: &usize| matches!(shapes.get(*place), Some(Shape::Fixed(0)));
    match shapes.get(place)? {
        Shape::Union(variants) => match variants.as_slice() {
            [null, shape] if is_null(null) => Some((Some(Act::Optional { null: 0, value: 2 }), passed(shape)?)),
            [shape, null] if is_null(null) => Some((Some(Act::Optional { null: 2, value: 0 }), passed(shape)?)),
            _ => None,
        },
        _ => Some((None, passed(&place)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::decode::plan;

    #[test]
    fn what_may_be_left_out_is_not_joined_with_what_may_not() {
        let schema = r#"{"type":"record","name":"U","fields":[
            {"name":"x","type":"string"},{"name":"y","type":"bytes"},{"name":"z","type":["null","string"]},{"name":"w","type":"string"},
            {"name":"v","type":"string"},{"name":"team","type":["string","null"]},{"name":"region","type":"string"},
            {"name":"model","type":{"type":"enum","name":"M","symbols":["a"]}},{"name":"input_tokens","type":["null","int"]},
            {"name":"event_time","type":{"type":"long","logicalType":"timestamp-nanos"}},{"name":"environment","type":"string"}]}"#;
        let expected = [
            Act::Pass(2),
            Act::Optional { null: 0, value: 2 },
            Act::Pass(1),
            Act::Pass(2),
            Act::KeyBegins,
            Act::Optional { null: 2, value: 0 },
            Act::Keep(Kept::Team),
            Act::Pass(1),
            Act::Step(7),
            Act::KeyEnds,
            Act::Optional { null: 0, value: 2 },
            Act::Count(Counted::Input),
            Act::Step(9),
            Act::KeyBegins,
            Act::Pass(1),
            Act::KeyEnds,
        ];
        assert_eq!(plan::compile(schema).unwrap().acts, expected);
    }
}
