//! Writer schemas by id: what the shell has looked up so far.

use std::collections::BTreeMap;

use super::plan::{self, Plan};
use super::{Stop, short};
use crate::model::record::{Reject, RejectReason};

/// Ids that are not in here have to be looked up: a registry that is down delays records, it never drops them.
#[derive(Debug, Default)]
pub struct SchemaTable {
    ids: BTreeMap<u32, Entry>,
}

#[derive(Debug)]
enum Entry {
    Known(Plan),
    /// The registry is there and says that it has no such id.
    Unknown,
    /// A schema that no usage event can be read with, and why.
    Unusable(String),
}

impl SchemaTable {
    /// Takes the text of a writer schema as the registry has it.
    pub fn insert(&mut self, id: u32, text: &str) {
        let entry = match plan::compile(text) {
            Ok(plan) => Entry::Known(plan),
            Err(why) => Entry::Unusable(why),
        };
        self.ids.insert(id, entry);
    }

    pub fn insert_unknown(&mut self, id: u32) {
        self.ids.insert(id, Entry::Unknown);
    }

    /// Has to be looked up anew.
    pub fn forget(&mut self, id: u32) {
        self.ids.remove(&id);
    }

    /// Of a schema that is known and usable.
    pub(super) fn known(&self, id: u32) -> Option<&Plan> {
        match self.ids.get(&id)? {
            Entry::Known(plan) => Some(plan),
            Entry::Unknown | Entry::Unusable(_) => None,
        }
    }

    pub(super) fn plan(&self, id: u32) -> Result<&Plan, Stop> {
        let why = match self.ids.get(&id) {
            None => return Err(Stop::NeedsSchema(id)),
            Some(Entry::Known(plan)) => return Ok(plan),
            Some(Entry::Unknown) => format!("nobody knows schema {id}"),
            Some(Entry::Unusable(why)) => format!("schema {id} is no usage event's: {}", short(why)),
        };
        Err(Reject::new(RejectReason::UnknownSchema, why).into())
    }
}
