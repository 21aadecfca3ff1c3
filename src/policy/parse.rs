//! Words to a tree, by the grammar of the Common Expression Language (cel-spec, langdef.md), without what would allocate or loop.

use std::ops::Range;

use super::Wrong;
use super::lex::{Placed, Token, words};

/// A condition as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub node: Node,
    /// Bytes of the source.
    pub at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Name(String),
    /// `x.name`
    Select(Box<Tree>, String),
    /// `x[key]`
    Index(Box<Tree>, Box<Tree>),
    List(Vec<Tree>),
    /// `x.name(arguments)`, `name(arguments)`
    Call(Option<Box<Tree>>, String, Vec<Tree>),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    /// `== != < <= > >= in + - * / % && ||`
    Two(&'static str, Box<Tree>, Box<Tree>),
    /// `condition ? yes : no`
    Choose(Box<Tree>, Box<Tree>, Box<Tree>),
}

impl Tree {
    /// With brackets around everything that belongs together, and no trace of how it was written: two conditions of the same form are one.
    pub fn form(&self) -> String {
        let list = |items: &[Tree]| items.iter().map(Tree::form).collect::<Vec<_>>().join(" ");
        match &self.node {
            Node::Bool(value) => value.to_string(),
            Node::Int(value) => value.to_string(),
            Node::Double(value) => format!("{value:?}"),
            Node::Text(value) => format!("'{value}'"),
            Node::Name(name) => name.clone(),
            Node::Select(of, name) => format!("(. {} {name})", of.form()),
            Node::Index(of, key) => format!("([] {} {})", of.form(), key.form()),
            Node::List(items) => format!("[{}]", list(items)),
            Node::Call(None, name, arguments) => format!("({name} {})", list(arguments)),
            Node::Call(Some(of), name, arguments) => format!("({}.{name} {})", of.form(), list(arguments)),
            Node::Not(inner) => format!("(! {})", inner.form()),
            Node::Negative(inner) => format!("(- {})", inner.form()),
            Node::Two(sign, left, right) => format!("({sign} {} {})", left.form(), right.form()),
            Node::Choose(condition, yes, no) => format!("(? {} {} {})", condition.form(), yes.form(), no.form()),
        }
    }
}

/// Deeper than anybody writes; the parser calls itself.
const DEEPEST: usize = 64;
/// Of the source, in bytes.
const LONGEST: usize = 16 * 1024;

const RELATIONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// # Errors
/// The first place that does not follow the grammar.
pub fn parse(source: &str) -> Result<Tree, Wrong> {
    if source.len() > LONGEST {
        return Err(Wrong::new(0..0, format!("the condition is longer than {LONGEST} bytes")).hint("split it into several policies"));
    }
    let mut parser = Parser { words: words(source)?, next: 0, depth: 0 };
    let tree = parser.choice()?;
    match parser.peek() {
        Token::End => Ok(tree),
        token => Err(Wrong::new(parser.at(), format!("{} comes where the condition should be over", token.shown())).hint(joined(token))),
    }
}

fn joined(token: &Token) -> &'static str {
    match token {
        Token::Name(name) if name == "and" => "write && for and",
        Token::Name(name) if name == "or" => "write || for or",
        Token::Sign(")" | "]") => "a bracket is closed that was not opened",
        _ => "join conditions with && (and) or || (or)",
    }
}

struct Parser {
    words: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.words.get(self.next).map_or(&Token::End, |placed| &placed.token)
    }

    fn at(&self) -> Range<usize> {
        self.words.get(self.next).map_or(0..0, |placed| placed.at.clone())
    }

    fn take(&mut self) -> Option<Placed> {
        let placed = self.words.get(self.next).cloned();
        // The end stays where it is.
        self.next = (self.next + 1).min(self.words.len().saturating_sub(1));
        placed
    }

    /// Takes one of these signs, if it comes next.
    fn sign(&mut self, wanted: &[&'static str]) -> Option<&'static str> {
        let Token::Sign(sign) = *self.peek() else { return None };
        let found = wanted.iter().find(|wanted| **wanted == sign)?;
        self.take();
        Some(found)
    }

    fn expect(&mut self, sign: &'static str, after: &str) -> Result<usize, Wrong> {
        let at = self.at();
        match self.sign(&[sign]) {
            Some(_) => Ok(at.end),
            None => Err(Wrong::new(at, format!("{} comes where '{sign}' should close {after}", self.peek().shown()))),
        }
    }

    fn is_in(&self) -> bool {
        matches!(self.peek(), Token::Name(name) if name == "in")
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Wrong::new(self.at(), format!("the condition is nested more than {DEEPEST} deep")));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn choice(&mut self) -> Result<Tree, Wrong> {
        self.deeper(|parser| {
            let condition = parser.any()?;
            if parser.sign(&["?"]).is_none() {
                return Ok(condition);
            }
            let yes = parser.any()?;
            parser.expect(":", "the first half of ?")?;
            let no = parser.choice()?;
            let at = condition.at.start..no.at.end;
            Ok(Tree { node: Node::Choose(Box::new(condition), Box::new(yes), Box::new(no)), at })
        })
    }

    fn any(&mut self) -> Result<Tree, Wrong> {
        self.left(&["||"], Self::all)
    }

    fn all(&mut self) -> Result<Tree, Wrong> {
        self.left(&["&&"], Self::relation)
    }

    /// `a op b op c`, from left to right.
    fn left(&mut self, signs: &[&'static str], next: fn(&mut Self) -> Result<Tree, Wrong>) -> Result<Tree, Wrong> {
        let mut tree = next(self)?;
        while let Some(sign) = self.sign(signs) {
            tree = two(sign, tree, next(self)?);
        }
        Ok(tree)
    }

    fn relation(&mut self) -> Result<Tree, Wrong> {
        let tree = self.sum()?;
        let sign = if self.is_in() {
            self.take();
            "in"
        } else {
            match self.sign(&RELATIONS) {
                Some(sign) => sign,
                None => return Ok(tree),
            }
        };
        let tree = two(sign, tree, self.sum()?);
        let at = self.at();
        if self.is_in() || self.sign(&RELATIONS).is_some() {
            return Err(Wrong::new(at, "two comparisons in a row").hint("write a < b && b < c"));
        }
        Ok(tree)
    }

    fn sum(&mut self) -> Result<Tree, Wrong> {
        self.left(&["+", "-"], Self::product)
    }

    fn product(&mut self) -> Result<Tree, Wrong> {
        self.left(&["*", "/", "%"], Self::unary)
    }

    fn unary(&mut self) -> Result<Tree, Wrong> {
        let start = self.at().start;
        match self.sign(&["!", "-"]) {
            None => self.member(),
            Some(sign) => {
                let inner = Box::new(self.deeper(Self::unary)?);
                let at = start..inner.at.end;
                Ok(Tree { node: if sign == "!" { Node::Not(inner) } else { Node::Negative(inner) }, at })
            }
        }
    }

    fn member(&mut self) -> Result<Tree, Wrong> {
        let mut tree = self.primary()?;
        loop {
            let start = tree.at.start;
            if self.sign(&["."]).is_some() {
                let (name, at) = self.name("behind '.'")?;
                tree = if self.sign(&["("]).is_some() {
                    let (arguments, end) = self.list(")", "the call")?;
                    Tree { node: Node::Call(Some(Box::new(tree)), name, arguments), at: start..end }
                } else {
                    Tree { node: Node::Select(Box::new(tree), name), at: start..at.end }
                };
            } else if self.sign(&["["]).is_some() {
                let key = self.choice()?;
                let end = self.expect("]", "the index")?;
                tree = Tree { node: Node::Index(Box::new(tree), Box::new(key)), at: start..end };
            } else {
                return Ok(tree);
            }
        }
    }

    fn name(&mut self, place: &str) -> Result<(String, Range<usize>), Wrong> {
        match self.take() {
            Some(Placed { token: Token::Name(name), at }) => Ok((name, at)),
            Some(Placed { token, at }) => Err(Wrong::new(at, format!("{} comes where a name should stand {place}", token.shown()))),
            None => Err(Wrong::new(0..0, "nothing is written")),
        }
    }

    /// Up to the closing sign, which is taken; answers where it ends.
    fn list(&mut self, close: &'static str, of: &str) -> Result<(Vec<Tree>, usize), Wrong> {
        let mut items = Vec::new();
        loop {
            let at = self.at();
            if self.sign(&[close]).is_some() {
                return Ok((items, at.end));
            }
            items.push(self.choice()?);
            if self.sign(&[","]).is_none() {
                return Ok((items, self.expect(close, of)?));
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, Wrong> {
        let Some(Placed { token, at }) = self.take() else { return Err(Wrong::new(0..0, "nothing is written")) };
        let node = match token {
            Token::Int(number) => Node::Int(number),
            Token::Double(number) => Node::Double(number),
            Token::Text(text) => Node::Text(text),
            Token::Name(name) => match name.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                "not" => return Err(Wrong::new(at, "'not' is no word of a condition").hint("write ! for not")),
                "null" => return Err(Wrong::new(at, "null is not used here").hint("ask whether a field is there with has(field)")),
                _ if self.sign(&["("]).is_some() => {
                    let (arguments, end) = self.list(")", "the call")?;
                    return Ok(Tree { node: Node::Call(None, name, arguments), at: at.start..end });
                }
                _ => Node::Name(name),
            },
            Token::Sign("(") => {
                let inner = self.choice()?;
                let end = self.expect(")", "the bracket")?;
                return Ok(Tree { at: at.start..end, ..inner });
            }
            Token::Sign("[") => {
                let (items, end) = self.list("]", "the list")?;
                return Ok(Tree { node: Node::List(items), at: at.start..end });
            }
            token => {
                let what = format!("{} comes where a value should stand", token.shown());
                return Err(Wrong::new(at, what).hint("a value is a field, a text in quotes, a number, true, false, or a list in [ ]"));
            }
        };
        Ok(Tree { node, at })
    }
}

fn two(sign: &'static str, left: Tree, right: Tree) -> Tree {
    let at = left.at.start..right.at.end;
    Tree { node: Node::Two(sign, Box::new(left), Box::new(right)), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_binds_tighter_is_inside() {
        for (source, expected) in [
            ("a || b && c == 1 + 2 * -x", "(|| a (&& b (== c (+ 1 (* 2 (- x))))))"),
            ("a && b && c", "(&& (&& a b) c)"),
            ("!a.b.startsWith('x')", "(! ((. a b).startsWith 'x'))"),
            ("tags['a b'] in ['x', 'y',]", "(in ([] tags 'a b') ['x' 'y'])"),
            ("a ? b : c ? d : e", "(? a b (? c d e))"),
            ("(a || b) && has(tags.x)", "(&& (|| a b) (has (. tags x)))"),
            ("size(team) - 1 - 2 < 3", "(< (- (- (size team) 1) 2) 3)"),
        ] {
            assert_eq!(parse(source).unwrap().form(), expected, "{source}");
        }
        assert_eq!(parse("  (a) ").unwrap().at, 2..5);
    }

    #[test]
    fn what_is_ungrammatical_is_named_with_its_place() {
        for (source, at, what) in [
            ("", 0..0, "the end comes where a value"),
            ("a b", 2..3, "'b' comes where the condition should be over"),
            ("a and b", 2..5, "'and'"),
            ("not a", 0..3, "'not'"),
            ("a == null", 5..9, "null"),
            ("(a", 2..2, "should close the bracket"),
            ("a)", 1..2, "should be over"),
            ("a[1", 3..3, "should close the index"),
            ("a.1", 2..3, "where a name"),
            ("1 < a < 3", 6..7, "two comparisons"),
            ("a ? b", 5..5, "':'"),
            ("f(a b)", 4..5, "should close the call"),
            ("a ==", 4..4, "where a value"),
        ] {
            let wrong = parse(source).unwrap_err();
            assert_eq!(wrong.at, at, "{source}: {}", wrong.what);
            assert!(wrong.what.contains(what), "{source}: {}", wrong.what);
        }
        assert!(parse(&"(".repeat(1_000)).unwrap_err().what.contains("deep"));
        assert!(parse(&"!".repeat(1_000)).unwrap_err().what.contains("deep"));
    }
}
