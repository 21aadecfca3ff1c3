//! Finds the type of every part of a condition and compiles it; what does not fit is told with its place and what would.

use std::collections::BTreeMap;

use super::fields::{Field, FieldId, Kind, Subject};
use super::nodes::{Arithmetic, BoolNode, Compare, DoubleNode, IntNode, Part, Pattern, SetsBy, TextNode, TextSet};
use super::parse::{Node, Tree, parse};
use super::{Wrong, fields};
use crate::model::Text;
use crate::model::near::did_you_mean;

/// Lists that conditions name: `provider in sets.approved`, `provider in sets.approved[team]`.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    pub plain: BTreeMap<String, TextSet>,
    pub by_key: BTreeMap<String, SetsBy>,
}

/// A condition that can be asked.
#[derive(Clone, Debug)]
pub struct Condition {
    pub source: String,
    pub subject: Subject,
    pub(super) tree: Tree,
    pub(super) test: BoolNode,
    /// Fields that it asks for, each once.
    pub reads: Vec<FieldId>,
}

impl Condition {
    /// # Errors
    /// The first place that cannot be read or whose type does not fit.
    pub fn compile(source: &str, subject: Subject, sets: &Sets) -> Result<Condition, Wrong> {
        let tree = parse(source)?;
        let mut checker = Checker { subject, sets, reads: Vec::new() };
        let test = checker.bool(&tree)?;
        let Checker { mut reads, .. } = checker;
        reads.sort_unstable();
        reads.dedup();
        if reads.is_empty() {
            return Err(Wrong::new(tree.at.clone(), "the condition asks for no field, so that it is always the same"));
        }
        Ok(Condition { source: source.to_string(), subject, tree, test, reads })
    }

    /// Of a policy that code judges, and no condition: never true by itself.
    pub fn by_code(subject: Subject) -> Condition {
        let tree = Tree { node: Node::Bool(false), at: 0..0 };
        Condition { source: String::new(), subject, tree, test: BoolNode::Const(false), reads: Vec::new() }
    }

    /// Whether it asks if a field of the single event is there: then what is not known yet is no unknown.
    pub fn asks_whether_there(&self) -> bool {
        let is_of_event = |field: &FieldId| self.subject.fields().get(*field).is_some_and(|field| field.is_of_event);
        // A choice may hide the question within a text or a number; choices are rare.
        self.source.contains('?') || self.test.any(&|node| matches!(node, BoolNode::Has(field) if is_of_event(field)))
    }

    /// Whether it is the same for all events of a series, so that it is asked once for each series and not for each event.
    pub fn is_of_series(&self) -> bool {
        let fields = self.subject.fields();
        self.reads.iter().all(|read| fields.get(*read).is_some_and(|field| !field.is_of_event))
    }
}

impl BoolNode {
    fn any(&self, is: &dyn Fn(&BoolNode) -> bool) -> bool {
        is(self)
            || match self {
                BoolNode::Not(inner) => inner.any(is),
                BoolNode::All(parts) | BoolNode::Any(parts) => parts.iter().any(|part| part.any(is)),
                BoolNode::Choose(parts) => parts.iter().any(|part| part.any(is)),
                BoolNode::Same(parts) => parts.iter().any(|part| part.any(is)),
                _ => false,
            }
    }
}

/// A part with its type.
pub(super) enum Typed {
    Bool(BoolNode),
    Int(IntNode),
    Double(DoubleNode),
    Text(TextNode),
    Texts(FieldId),
    Tags(FieldId),
    Set(TextSet),
    Ints(Vec<i64>),
    SetOf(SetsBy, TextNode),
}

impl Typed {
    fn shown(&self) -> &'static str {
        match self {
            Typed::Bool(_) => "true or false",
            Typed::Int(_) => Kind::Int.shown(),
            Typed::Double(_) => Kind::Double.shown(),
            Typed::Text(_) => Kind::Text.shown(),
            Typed::Texts(_) | Typed::Set(_) | Typed::SetOf(..) => Kind::Texts.shown(),
            Typed::Tags(_) => Kind::Tags.shown(),
            Typed::Ints(_) => "a list of whole numbers",
        }
    }
}

pub(super) struct Checker<'c> {
    pub subject: Subject,
    pub sets: &'c Sets,
    pub reads: Vec<FieldId>,
}

type Checked<T> = Result<T, Wrong>;

impl Checker<'_> {
    pub fn bool(&mut self, tree: &Tree) -> Checked<BoolNode> {
        match self.typed(tree)? {
            Typed::Bool(node) => Ok(node),
            other => {
                let wrong = Wrong::new(tree.at.clone(), format!("this is {}, a condition is true or false", other.shown()));
                Err(match other {
                    Typed::Text(_) => wrong.hint("compare it: == \"...\", in [\"...\"], or ask has(...)"),
                    _ => wrong.hint("compare it with something"),
                })
            }
        }
    }

    fn text(&mut self, tree: &Tree) -> Checked<TextNode> {
        match self.typed(tree)? {
            Typed::Text(node) => Ok(node),
            other => Err(Wrong::new(tree.at.clone(), format!("this is {}, it should be a text", other.shown()))),
        }
    }

    fn typed(&mut self, tree: &Tree) -> Checked<Typed> {
        Ok(match &tree.node {
            Node::Bool(value) => Typed::Bool(BoolNode::Const(*value)),
            Node::Int(number) => Typed::Int(IntNode::Const(*number)),
            Node::Double(number) => Typed::Double(DoubleNode::Const(*number)),
            Node::Text(text) => Typed::Text(TextNode::Const(text.as_str().into())),
            Node::Name(name) => self.field(tree, name)?,
            Node::Select(of, name) => self.select(tree, of, name)?,
            Node::Index(of, key) => self.index(tree, of, key)?,
            Node::List(items) => self.list(tree, items)?,
            Node::Call(of, name, arguments) => self.call(tree, of.as_deref(), name, arguments)?,
            Node::Not(inner) => Typed::Bool(BoolNode::Not(Box::new(self.bool(inner)?))),
            Node::Negative(inner) => match self.typed(inner)? {
                Typed::Int(node) => Typed::Int(IntNode::Negative(Box::new(node))),
                Typed::Double(node) => Typed::Double(DoubleNode::Negative(Box::new(node))),
                other => return Err(Wrong::new(inner.at.clone(), format!("this is {}, - wants a number", other.shown()))),
            },
            Node::Two(sign @ ("&&" | "||"), ..) => self.joined(tree, sign)?,
            Node::Two("in", left, right) => Typed::Bool(self.member(left, right)?),
            Node::Two(sign, left, right) => match compare(sign) {
                Some(compare) => Typed::Bool(self.compare(tree, compare, left, right)?),
                None => self.arithmetic(tree, sign, left, right)?,
            },
            Node::Choose(condition, yes, no) => self.choose(tree, condition, yes, no)?,
        })
    }

    /// `a && b && c` as one list.
    fn joined(&mut self, tree: &Tree, sign: &str) -> Checked<Typed> {
        let mut parts = Vec::new();
        for part in parts_of(tree, sign) {
            parts.push(self.bool(part)?);
        }
        Ok(Typed::Bool(if sign == "&&" { BoolNode::All(parts) } else { BoolNode::Any(parts) }))
    }

    fn field(&mut self, tree: &Tree, name: &str) -> Checked<Typed> {
        let Some(id) = self.subject.field(name) else { return Err(self.unknown(tree, name)) };
        self.reads.push(id);
        let kind = self.field_of(id).map_or(Kind::Text, |field| field.kind);
        Ok(match kind {
            Kind::Text => Typed::Text(TextNode::Field(id)),
            Kind::Int => Typed::Int(IntNode::Field(id)),
            Kind::Double => Typed::Double(DoubleNode::Field(id)),
            Kind::Texts => Typed::Texts(id),
            Kind::Tags => Typed::Tags(id),
        })
    }

    fn field_of(&self, id: FieldId) -> Option<&'static Field> {
        self.subject.fields().get(id)
    }

    fn unknown(&self, tree: &Tree, name: &str) -> Wrong {
        let subject = self.subject;
        let wrong = Wrong::new(tree.at.clone(), format!("{} has no field '{name}'", subject.name()));
        let names = subject.fields().iter().map(|field| field.name);
        let elsewhere = || fields::Subject::ALL.into_iter().find(|other| other.field(name).is_some());
        if name == "sets" {
            return wrong.hint("name one of them: sets.approved");
        }
        match did_you_mean(name, names.clone()) {
            Some(hint) => wrong.hint(hint),
            None => match elsewhere() {
                Some(other) => wrong.hint(format!("{} has it: applies_to = \"{}\"", other.name(), other.name())),
                None => wrong.hint(format!("it has {}", names.collect::<Vec<_>>().join(", "))),
            },
        }
    }

    /// `usage.team`, `tags.owner`, `sets.approved`.
    fn select(&mut self, tree: &Tree, of: &Tree, name: &str) -> Checked<Typed> {
        match &of.node {
            Node::Name(root) if root == self.subject.name() => self.field(tree, name),
            Node::Name(root) if let Some(other) = Subject::ALL.into_iter().find(|other| other.name() == root) => {
                let wrong = Wrong::new(of.at.clone(), format!("the policy is for {}, not for {root}", self.subject.name()));
                Err(wrong.hint(format!("write {}.{name}, or applies_to = \"{}\"", self.subject.name(), other.name())))
            }
            Node::Name(root) if root == "sets" => match self.sets.plain.get(name) {
                Some(set) => Ok(Typed::Set(set.clone())),
                None if self.sets.by_key.contains_key(name) => {
                    Err(Wrong::new(tree.at.clone(), format!("'{name}' is a set for each key")).hint(format!("sets.{name}[team]")))
                }
                None => {
                    let wrong = Wrong::new(tree.at.clone(), format!("there is no set '{name}'"));
                    let known = self.sets.plain.keys().chain(self.sets.by_key.keys()).map(String::as_str);
                    Err(wrong.hint(did_you_mean(name, known).unwrap_or_else(|| format!("add {name} = [\"...\"] to [sets]"))))
                }
            },
            _ => match self.typed(of)? {
                Typed::Tags(id) => Ok(Typed::Text(TextNode::Tag(id, name.into()))),
                other => Err(Wrong::new(tree.at.clone(), format!("{} has no '{name}'", other.shown()))),
            },
        }
    }

    fn index(&mut self, tree: &Tree, of: &Tree, key: &Tree) -> Checked<Typed> {
        if let Node::Select(root, name) = &of.node
            && matches!(&root.node, Node::Name(root) if root == "sets")
            && let Some(sets) = self.sets.by_key.get(name).cloned()
        {
            return Ok(Typed::SetOf(sets, self.text(key)?));
        }
        match (self.typed(of)?, &key.node) {
            (Typed::Tags(id), Node::Text(name)) => Ok(Typed::Text(TextNode::Tag(id, name.as_str().into()))),
            (Typed::Tags(_), _) => Err(Wrong::new(key.at.clone(), "the name of a tag is a text in quotes").hint("tags[\"cost_center\"]")),
            (other, _) => Err(Wrong::new(tree.at.clone(), format!("{} has no parts to pick by [ ]", other.shown()))),
        }
    }

    fn list(&mut self, tree: &Tree, items: &[Tree]) -> Checked<Typed> {
        let constant = |item: &Tree| Wrong::new(item.at.clone(), "a list holds texts in quotes, or whole numbers");
        match items.first().map(|item| &item.node) {
            None => Err(Wrong::new(tree.at.clone(), "nothing is in an empty list")),
            Some(Node::Int(_) | Node::Negative(_)) => {
                let numbers = items.iter().map(|item| match &item.node {
                    Node::Int(number) => Ok(*number),
                    Node::Negative(inner) if matches!(inner.node, Node::Int(_)) => match inner.node {
                        Node::Int(number) => Ok(-number),
                        _ => Err(constant(item)),
                    },
                    _ => Err(constant(item)),
                });
                Ok(Typed::Ints(numbers.collect::<Checked<_>>()?))
            }
            Some(_) => {
                let texts = items.iter().map(|item| match &item.node {
                    Node::Text(text) => Ok(Text::from(text.as_str())),
                    _ => Err(constant(item)),
                });
                Ok(Typed::Set(set(texts.collect::<Checked<_>>()?)))
            }
        }
    }

    fn member(&mut self, left: &Tree, right: &Tree) -> Checked<BoolNode> {
        let of = self.typed(right)?;
        match (self.typed(left)?, of) {
            (Typed::Text(text), Typed::Set(set)) => {
                set.iter().try_for_each(|member| self.is_possible(left, member, right))?;
                Ok(BoolNode::In(text, set))
            }
            (Typed::Text(text), Typed::SetOf(sets, key)) => Ok(BoolNode::InSetOf(text, sets, key)),
            (Typed::Text(text), Typed::Texts(field)) => Ok(BoolNode::InField(text, field)),
            (Typed::Text(text), Typed::Tags(field)) => Ok(BoolNode::IsTag(text, field)),
            (Typed::Int(number), Typed::Ints(numbers)) => Ok(BoolNode::IntIn(number, numbers.into())),
            (_, of @ (Typed::Text(_) | Typed::Bool(_) | Typed::Int(_) | Typed::Double(_))) => {
                let wrong = Wrong::new(right.at.clone(), format!("this is {}, in wants a list", of.shown()));
                Err(if matches!(of, Typed::Text(_)) { wrong.hint("for a part of a text: text.contains(\"...\")") } else { wrong })
            }
            (what, of) => Err(Wrong::new(left.at.clone(), format!("{} is never in {}", what.shown(), of.shown()))),
        }
    }

    fn compare(&mut self, tree: &Tree, compare: Compare, left: &Tree, right: &Tree) -> Checked<BoolNode> {
        for (field, other) in [(left, right), (right, left)] {
            if let Node::Text(text) = &other.node {
                self.is_possible(field, text, other)?;
            }
        }
        match (self.typed(left)?, self.typed(right)?) {
            (Typed::Text(a), Typed::Text(b)) => Ok(BoolNode::Texts(compare, a, b)),
            (Typed::Int(a), Typed::Int(b)) => Ok(BoolNode::Ints(compare, a, b)),
            (Typed::Double(a), Typed::Double(b)) => Ok(BoolNode::Doubles(compare, a, b)),
            (Typed::Bool(a), Typed::Bool(b)) => match compare {
                Compare::Equal => Ok(BoolNode::Same(Box::new([a, b]))),
                Compare::Unequal => Ok(BoolNode::Not(Box::new(BoolNode::Same(Box::new([a, b]))))),
                _ => Err(Wrong::new(tree.at.clone(), "true and false have no order")),
            },
            (Typed::Double(_), Typed::Int(_)) => Err(mixed(&right.at, &right.node)),
            (Typed::Int(_), Typed::Double(_)) => Err(mixed(&left.at, &left.node)),
            (a, b) => {
                let wrong = Wrong::new(tree.at.clone(), format!("{} is compared with {}", a.shown(), b.shown()));
                Err(match (a, b) {
                    (_, Typed::Set(_) | Typed::SetOf(..) | Typed::Texts(_)) => wrong.hint("use in, for one of several"),
                    (Typed::Int(_) | Typed::Double(_), Typed::Text(_)) => wrong.hint("write the number without quotes"),
                    _ => wrong,
                })
            }
        }
    }

    /// A field that has few values is compared with one of them, or the comparison is always the same.
    fn is_possible(&self, field: &Tree, text: &str, at: &Tree) -> Checked<()> {
        let name = match &field.node {
            Node::Name(name) => name,
            Node::Select(root, name) if matches!(&root.node, Node::Name(root) if root == self.subject.name()) => name,
            _ => return Ok(()),
        };
        let Some(field) = self.subject.field(name).and_then(|id| self.field_of(id)) else { return Ok(()) };
        if field.values.is_empty() || field.values.contains(&text) {
            return Ok(());
        }
        let wrong = Wrong::new(at.at.clone(), format!("{} is never \"{text}\"", field.name));
        let hint = did_you_mean(text, field.values.iter().copied()).unwrap_or_else(|| format!("it is one of {}", field.values.join(", ")));
        Err(wrong.hint(hint))
    }

    fn arithmetic(&mut self, tree: &Tree, sign: &str, left: &Tree, right: &Tree) -> Checked<Typed> {
        let operation = match sign {
            "+" => Arithmetic::Add,
            "-" => Arithmetic::Subtract,
            "*" => Arithmetic::Multiply,
            "/" => Arithmetic::Divide,
            _ => Arithmetic::Remainder,
        };
        match (self.typed(left)?, self.typed(right)?) {
            (Typed::Int(a), Typed::Int(b)) => Ok(Typed::Int(IntNode::Two(operation, Box::new([a, b])))),
            (Typed::Double(a), Typed::Double(b)) => Ok(Typed::Double(DoubleNode::Two(operation, Box::new([a, b])))),
            (Typed::Double(_), Typed::Int(_)) => Err(mixed(&right.at, &right.node)),
            (Typed::Int(_), Typed::Double(_)) => Err(mixed(&left.at, &left.node)),
            (a, b) => Err(Wrong::new(tree.at.clone(), format!("{sign} of {} and {}; it wants two numbers", a.shown(), b.shown()))),
        }
    }

    fn choose(&mut self, tree: &Tree, condition: &Tree, yes: &Tree, no: &Tree) -> Checked<Typed> {
        let condition = self.bool(condition)?;
        Ok(match (self.typed(yes)?, self.typed(no)?) {
            (Typed::Bool(a), Typed::Bool(b)) => Typed::Bool(BoolNode::Choose(Box::new([condition, a, b]))),
            (Typed::Int(a), Typed::Int(b)) => Typed::Int(IntNode::Choose(Box::new((condition, a, b)))),
            (Typed::Double(a), Typed::Double(b)) => Typed::Double(DoubleNode::Choose(Box::new((condition, a, b)))),
            (Typed::Text(a), Typed::Text(b)) => Typed::Text(TextNode::Choose(Box::new((condition, a, b)))),
            (a, b) => return Err(Wrong::new(tree.at.clone(), format!("? gives {} or {}; both have to be alike", a.shown(), b.shown()))),
        })
    }

    fn call(&mut self, tree: &Tree, of: Option<&Tree>, name: &str, arguments: &[Tree]) -> Checked<Typed> {
        match (of, name, arguments) {
            (None, "has", [field]) => Ok(Typed::Bool(self.has(field)?)),
            (None, "size", [text]) | (Some(text), "size", []) => Ok(Typed::Int(match self.typed(text)? {
                Typed::Text(text) => IntNode::Size(text),
                Typed::Texts(field) | Typed::Tags(field) => IntNode::Count(field),
                other => return Err(Wrong::new(text.at.clone(), format!("{} has no size", other.shown()))),
            })),
            (None, "double", [number]) => Ok(Typed::Double(match self.typed(number)? {
                Typed::Int(node) => DoubleNode::OfInt(Box::new(node)),
                Typed::Double(node) => node,
                other => return Err(Wrong::new(number.at.clone(), format!("{} is made no number", other.shown()))),
            })),
            (Some(text), "startsWith" | "endsWith" | "contains", [part]) => {
                let what = match name {
                    "startsWith" => Part::Prefix,
                    "endsWith" => Part::Suffix,
                    _ => Part::Inside,
                };
                Ok(Typed::Bool(BoolNode::Part(what, self.text(text)?, self.text(part)?)))
            }
            (Some(text), "matches", [pattern]) | (None, "matches", [text, pattern]) => {
                let text = self.text(text)?;
                let Node::Text(written) = &pattern.node else {
                    return Err(Wrong::new(pattern.at.clone(), "the pattern is a text in quotes, so that it is checked here"));
                };
                let regex =
                    regex_lite::Regex::new(written).map_err(|error| Wrong::new(pattern.at.clone(), format!("no pattern: {error}")))?;
                Ok(Typed::Bool(BoolNode::Matches(text, Pattern::new(regex))))
            }
            _ => Err(unknown_call(tree, of.is_some(), name, arguments.len())),
        }
    }

    fn has(&mut self, field: &Tree) -> Checked<BoolNode> {
        let start = self.reads.len();
        let typed = self.typed(field)?;
        match (&typed, self.reads.get(start..)) {
            (Typed::Text(TextNode::Tag(id, name)), _) => Ok(BoolNode::HasTag(*id, name.clone())),
            (_, Some([id])) if matches!(field.node, Node::Select(..)) => Ok(BoolNode::Has(*id)),
            // As CEL has it: `has` takes a member of something.
            (_, Some([_])) if matches!(field.node, Node::Name(_)) => {
                let name = self.subject.fields().get(self.reads.last().copied().unwrap_or_default()).map_or("team", |field| field.name);
                let wrong = Wrong::new(field.at.clone(), "has asks whether something is a part of something");
                Err(wrong.hint(format!("write has({}.{name})", self.subject.name())))
            }
            _ => Err(Wrong::new(field.at.clone(), "has asks whether a field or a tag is there").hint("has(usage.team), has(tags.owner)")),
        }
    }
}

const FUNCTIONS: [&str; 3] = ["has", "size", "double"];
const METHODS: [&str; 5] = ["startsWith", "endsWith", "contains", "matches", "size"];

fn unknown_call(tree: &Tree, is_method: bool, name: &str, arguments: usize) -> Wrong {
    let known: &[&str] = if is_method { &METHODS } else { &FUNCTIONS };
    if known.contains(&name) {
        return Wrong::new(tree.at.clone(), format!("{name} is called with {arguments} arguments")).hint("it takes one");
    }
    let wrong = Wrong::new(tree.at.clone(), format!("there is no function '{name}'"));
    match name {
        "exists" | "all" | "filter" | "map" | "exists_one" => wrong.hint("there are no loops: use in, or has(tags.name)"),
        _ => match did_you_mean(name, known.iter().copied()) {
            Some(hint) => wrong.hint(hint),
            None if FUNCTIONS.contains(&name) => wrong.hint(format!("write {name}(...)")),
            None if METHODS.contains(&name) => wrong.hint(format!("write text.{name}(...)")),
            None => wrong.hint(format!("there are {}", known.join(", "))),
        },
    }
}

fn mixed(at: &std::ops::Range<usize>, node: &Node) -> Wrong {
    let wrong = Wrong::new(at.clone(), "a whole number meets a number with a fraction");
    match node {
        Node::Int(number) => wrong.hint(format!("write {number}.0")),
        _ => wrong.hint("write double(...) around the whole number"),
    }
}

fn compare(sign: &str) -> Option<Compare> {
    Some(match sign {
        "==" => Compare::Equal,
        "!=" => Compare::Unequal,
        "<" => Compare::Less,
        "<=" => Compare::LessOrEqual,
        ">" => Compare::Greater,
        ">=" => Compare::GreaterOrEqual,
        _ => return None,
    })
}

/// The parts that a sign joins, from left to right.
pub(super) fn parts_of<'t>(tree: &'t Tree, sign: &str) -> Vec<&'t Tree> {
    match &tree.node {
        Node::Two(joined, left, right) if *joined == sign => {
            let mut parts = parts_of(left, sign);
            parts.extend(parts_of(right, sign));
            parts
        }
        _ => vec![tree],
    }
}

/// Sorted, each once.
pub fn set(mut texts: Vec<Text>) -> TextSet {
    texts.sort();
    texts.dedup();
    texts.into()
}
