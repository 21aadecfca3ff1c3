//! What the pages need to know of lineage, from a room that knows it.

use serde::Deserialize;
use serde_json::Value;

use crate::config::policies::PolicyFolder;
use crate::model::lineage::ModelFacts;
use crate::model::time::Timestamp;

/// A map, as JSON and as a picture.
pub struct Drawn {
    pub json: Value,
    pub svg: String,
}

/// Policies, team, now.
type MapOf = dyn Fn(Option<&PolicyFolder>, Option<&str>, Timestamp) -> anyhow::Result<Drawn> + Send + Sync;
/// Model, version, now.
type KnownOf = dyn Fn(&str, Option<&str>, Timestamp) -> anyhow::Result<Option<ModelFacts>> + Send + Sync;

/// Who is asked for what lineage knows.
pub struct Lineages {
    pub map: Box<MapOf>,
    pub known: Box<KnownOf>,
}

/// Query of `GET /v1/data-flow`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub team: Option<String>,
    #[serde(default)]
    pub format: MapFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapFormat {
    #[default]
    Json,
    Svg,
}

pub enum Answer {
    /// HTTP status and body.
    Json(u16, Value),
    Svg(String),
}
