//! Names of one piece of data, by the facet `symlinks`: which datasets are the same, and whether anybody says of one of them where it
//! comes from. That origins pass between them is the business of the graph's edges; what is said of one is said of all.

use std::collections::BTreeMap;

use super::graph::NodeId;

#[derive(Clone, Debug, Default)]
pub struct Same {
    /// The class of a dataset, named by one of its members.
    class_of: BTreeMap<NodeId, NodeId>,
    classes: BTreeMap<NodeId, Class>,
}

#[derive(Clone, Debug, Default)]
struct Class {
    members: Vec<NodeId>,
    /// How many of them have origins of their own.
    said: usize,
}

impl Same {
    /// Of this dataset, or of another name of it, somebody says where it comes from. Asked of those that have more names than one.
    pub fn is_said(&self, id: NodeId) -> bool {
        self.class(id).is_some_and(|class| class.said > 0)
    }

    pub fn are(&self, a: NodeId, b: NodeId) -> bool {
        self.class_of.get(&a).is_some_and(|class| self.class_of.get(&b) == Some(class))
    }

    /// The two are one from now on; with each whether it has origins of its own. Members of which that is news are returned; `None`: they
    /// are one already.
    pub fn join(&mut self, a: (NodeId, bool), b: (NodeId, bool)) -> Option<Vec<NodeId>> {
        let [a, b] = [a, b].map(|(id, is_said)| self.class_with(id, is_said));
        if a == b {
            return None;
        }
        let [one, other] = [a, b].map(|class| self.classes.remove(&class).unwrap_or_default());
        let news = match (one.said, other.said) {
            (0, 0) => Vec::new(),
            (0, _) => one.members.clone(),
            (_, 0) => other.members.clone(),
            _ => Vec::new(),
        };
        // The smaller one moves: each dataset moves as often as its class doubles.
        let (name, mut large, small) = if one.members.len() >= other.members.len() { (a, one, other) } else { (b, other, one) };
        self.class_of.extend(small.members.iter().map(|member| (*member, name)));
        large.members.extend(small.members);
        large.said += small.said;
        self.classes.insert(name, large);
        Some(news)
    }

    /// A dataset has origins of its own from now on, or none any more. Those of whom that is news, if it has more names than one.
    pub fn say(&mut self, id: NodeId, is_said: bool) -> Vec<NodeId> {
        let Some(class) = self.class_of.get(&id).and_then(|class| self.classes.get_mut(class)) else { return Vec::new() };
        let before = class.said > 0;
        class.said = if is_said { class.said + 1 } else { class.said.saturating_sub(1) };
        if before == (class.said > 0) { Vec::new() } else { class.members.clone() }
    }

    fn class(&self, id: NodeId) -> Option<&Class> {
        self.classes.get(self.class_of.get(&id)?)
    }

    fn class_with(&mut self, id: NodeId, is_said: bool) -> NodeId {
        let class = *self.class_of.entry(id).or_insert(id);
        if class == id {
            self.classes.entry(id).or_insert_with(|| Class { members: vec![id], said: usize::from(is_said) });
        }
        class
    }
}
