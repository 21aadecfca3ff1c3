//! The nouns: what an event, a leaf, a partial, an alert is. Everybody reads them; nothing here knows Kafka, a clock or a file.

pub mod access;
pub mod activity;
pub mod ahead;
pub mod alert;
pub mod allocation;
pub mod approval;
pub mod billing;
pub mod counted;
pub mod effect;
pub mod feedback;
pub mod focus;
pub mod hash;
pub mod leaf;
pub mod lineage;
pub mod money;
pub mod near;
pub mod partial;
pub mod pattern;
pub mod price;
pub mod rates;
pub mod record;
pub mod resource;
pub mod rollup;
pub mod spent;
pub mod time;
pub mod usage;
pub mod violation;
pub mod wire;

/// Shared immutable text: team, project, model and other dimension values are cloned often and changed never.
pub type Text = std::sync::Arc<str>;
