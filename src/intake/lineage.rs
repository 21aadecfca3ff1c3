//! OpenLineage events as its clients write them: run, job and dataset events. Read is what the graph needs: names, renames, symlinks and
//! Tollgate's own facets; everything else in them is skipped.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::cells::{event_time, required};
use super::decode::table::Cell;
use super::decode::{cloudevents, json, short};
use super::latest;
use super::rules::IntakeRules;
use super::validate::clean;
use crate::model::Text;
use crate::model::hash::hash128;
use crate::model::lineage::{DatasetName, Job, Lifecycle, LineageEvent, ModelName, RunState, StatedDataset, Told};
use crate::model::record::{InputRecord, Reject, RejectReason};
use crate::model::time::Timestamp;

/// Of one event; a run that touches more says so in several events.
const MOST_DATASETS: usize = 10_000;
/// Of the names in `inputs`, and of those in `outputs`, all together.
const MOST_BYTES: usize = if cfg!(test) { 64 * 1024 } else { 1024 * 1024 };
const MOST_ORIGINS: usize = 300;
/// Other names of one dataset.
const MOST_SYMLINKS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    producer: Option<Cow<'a, str>>,
    #[serde(borrow)]
    run: Option<Run<'a>>,
    #[serde(borrow)]
    job: Option<NamedJob<'a>>,
    #[serde(borrow)]
    dataset: Option<Named<'a>>,
    #[serde(borrow, default)]
    inputs: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    outputs: Option<Vec<Named<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    #[serde(borrow)]
    run_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct NamedJob<'a> {
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    facets: Option<JobFacets<'a>>,
}

#[derive(Deserialize)]
struct JobFacets<'a> {
    /// Somebody else's facet: what cannot be read of it names no owner.
    #[serde(borrow)]
    ownership: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Ownership<'a> {
    #[serde(borrow, default)]
    owners: Vec<Owner<'a>>,
}

#[derive(Deserialize)]
struct Owner<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    facets: Option<DatasetFacets<'a>>,
}

#[derive(Deserialize)]
struct DatasetFacets<'a> {
    #[serde(borrow)]
    tollgate_origin: Option<&'a RawValue>,
    #[serde(borrow)]
    tollgate_model: Option<&'a RawValue>,
    #[serde(borrow, rename = "lifecycleStateChange")]
    lifecycle: Option<&'a RawValue>,
    #[serde(borrow)]
    symlinks: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OriginFacet<'a> {
    #[serde(borrow)]
    regions: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ModelFacet<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
}

/// Everything may be absent: a facet that takes an earlier one back says nothing but `_deleted`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LifecycleFacet<'a> {
    #[serde(borrow)]
    lifecycle_state_change: Option<Cow<'a, str>>,
    #[serde(borrow)]
    previous_identifier: Option<Identifier<'a>>,
}

#[derive(Deserialize)]
struct SymlinksFacet<'a> {
    #[serde(borrow)]
    identifiers: Option<Vec<Identifier<'a>>>,
}

#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// One record of `lineage-events`.
///
/// # Errors
/// Why it goes to dead-letter.
pub fn read(record: &InputRecord<'_>, now: Timestamp, rules: &IntakeRules) -> Result<LineageEvent, Reject> {
    let value = match record.value {
        None => return Err(Reject::new(RejectReason::NoValue, "a record without a value (tombstone)")),
        Some([]) => return Err(Reject::new(RejectReason::EmptyValue, "a value of zero bytes")),
        Some(value) => value,
    };
    if value.len() > rules.largest_record {
        let message = format!("{} bytes, at most {} are taken", value.len(), rules.largest_record);
        return Err(Reject::new(RejectReason::TooLarge, message));
    }
    if !value.trim_ascii_start().starts_with(b"{") {
        return Err(Reject::new(RejectReason::UnknownFormat, "no JSON object: OpenLineage events are JSON"));
    }
    let text = json::text(value)?;
    // An event may come in an envelope of CloudEvents, whatever its headers say.
    let envelope: Option<Envelope<'_>> = serde_json::from_str(text).ok();
    cloudevents::check_version(cloudevents::header(record, cloudevents::VERSION)?)?;
    cloudevents::check_version(envelope.as_ref().and_then(|envelope| envelope.specversion.as_deref()))?;
    let data = envelope.filter(|envelope| envelope.specversion.is_some()).and_then(|envelope| envelope.data);
    event(data.map_or(text, RawValue::get), latest(record, Some(now), rules))
}

fn event(text: &str, end: Timestamp) -> Result<LineageEvent, Reject> {
    let event: Event<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Reject::new(RejectReason::WrongType, short(&error.to_string())),
        _ => json::invalid(&error),
    })?;
    let stated = event.event_time.clone().unwrap_or_default();
    let time = renamed(event_time(&Cell::Text(stated.clone()), end))?;
    let producer = needed("producer", event.producer.as_ref())?;
    let (inputs, outputs) = (datasets("inputs", event.inputs)?, datasets("outputs", event.outputs)?);
    let kind = event.event_type.as_deref().unwrap_or("OTHER");
    let told = match (event.run, event.job, event.dataset) {
        (Some(run), Some(job), _) => {
            let state = RunState::named(kind).ok_or_else(|| {
                let known = RunState::ALL.map(|(name, _)| name).join(", ");
                Reject::new(RejectReason::WrongType, format!("'eventType' is '{}', expected one of {known}", short(kind)))
            })?;
            Told::Run { run_id: needed("run.runId", run.run_id.as_ref())?, state, job: named_job(&job)?, inputs, outputs }
        }
        (None, Some(job), _) => Told::Job { job: named_job(&job)?, inputs, outputs },
        (None, None, Some(named)) => Told::Dataset(dataset("dataset", named)?),
        (Some(_), None, _) => return Err(missing("job")),
        (None, None, None) => return Err(Reject::new(RejectReason::MissingField, "neither 'run' and 'job', nor 'job', nor 'dataset'")),
    };
    let subject = match &told {
        Told::Run { run_id, .. } => run_id.to_string(),
        Told::Job { job, .. } => format!("{}\n{}", job.namespace, job.name),
        Told::Dataset(dataset) => format!("{}\n{}", dataset.namespace, dataset.name),
    };
    let id = hash128(&[producer.as_bytes(), subject.as_bytes(), kind.as_bytes(), stated.as_bytes()]);
    Ok(LineageEvent { event_id: format!("{id:032x}").as_str().into(), producer, event_time: time, told })
}

/// The same finding under the name that OpenLineage has for the field.
fn renamed(time: Result<Timestamp, Reject>) -> Result<Timestamp, Reject> {
    time.map_err(|reject| Reject { message: reject.message.replace("'event_time'", "'eventTime'"), ..reject })
}

fn missing(name: &str) -> Reject {
    Reject::new(RejectReason::MissingField, format!("'{name}' is absent or empty"))
}

/// Cleaned, not empty, not too long.
fn needed(name: &str, value: Option<&Cow<'_, str>>) -> Result<Text, Reject> {
    let text = required(name, value.map(AsRef::as_ref))?;
    Some(clean(Cow::Borrowed(text))).filter(|text| !text.is_empty()).map(|text| text.as_ref().into()).ok_or_else(|| missing(name))
}

fn named_job(job: &NamedJob<'_>) -> Result<Job, Reject> {
    let owned =
        job.facets.as_ref().and_then(|facets| facets.ownership).and_then(|raw| serde_json::from_str::<Ownership<'_>>(raw.get()).ok());
    let owner = owned.and_then(|owned| owned.owners.into_iter().next());
    Ok(Job {
        namespace: needed("job.namespace", job.namespace.as_ref())?,
        name: needed("job.name", job.name.as_ref())?,
        owner: owner.and_then(|owner| needed("", Some(&Cow::Borrowed(owner.name.strip_prefix("team:").unwrap_or(&owner.name)))).ok()),
    })
}

fn datasets(what: &str, named: Option<Vec<Named<'_>>>) -> Result<Vec<StatedDataset>, Reject> {
    let named = named.unwrap_or_default();
    if named.len() > MOST_DATASETS {
        let message = format!("'{what}' has {} datasets, at most {MOST_DATASETS} are taken", named.len());
        return Err(Reject::new(RejectReason::FieldTooLong, message));
    }
    let datasets = named.into_iter().map(|named| dataset(what, named)).collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = datasets.iter().map(|dataset| dataset.namespace.len() + dataset.name.len()).sum();
    if bytes > MOST_BYTES {
        let message = format!("the names of '{what}' have {bytes} bytes together, at most {MOST_BYTES} are taken");
        return Err(Reject::new(RejectReason::FieldTooLong, message));
    }
    Ok(datasets)
}

fn dataset(what: &str, named: Named<'_>) -> Result<StatedDataset, Reject> {
    let facets = named.facets.as_ref();
    let origins = facets.and_then(|facets| facets.tollgate_origin).map(|raw| origins(what, raw)).transpose()?;
    let model = facets.and_then(|facets| facets.tollgate_model).map(|raw| model(what, raw)).transpose()?;
    let lifecycle = facets.and_then(|facets| facets.lifecycle).map(|raw| lifecycle(what, raw)).transpose()?;
    let same_as = facets.and_then(|facets| facets.symlinks).map(|raw| symlinks(what, raw)).transpose()?;
    Ok(StatedDataset {
        namespace: needed(&format!("{what}[].namespace"), named.namespace.as_ref())?,
        name: needed(&format!("{what}[].name"), named.name.as_ref())?,
        origins,
        model,
        lifecycle: lifecycle.flatten(),
        same_as: same_as.unwrap_or_default(),
    })
}

/// These facets say where data may go: one that cannot be read must not pass for one that is not there.
fn wrong(what: &str, facet: &str, example: &str) -> Reject {
    Reject::new(RejectReason::WrongType, format!("'{what}[].facets.{facet}' is not like {example}"))
}

fn origins(what: &str, raw: &RawValue) -> Result<Vec<Text>, Reject> {
    let wrong = || wrong(what, "tollgate_origin", r#"{"regions": ["eu-central-1", "FR"]}"#);
    let facet: OriginFacet<'_> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    if facet.regions.len() > MOST_ORIGINS {
        return Err(wrong());
    }
    facet.regions.iter().map(|region| needed("tollgate_origin.regions[]", Some(region))).collect()
}

fn model(what: &str, raw: &RawValue) -> Result<ModelName, Reject> {
    let facet: ModelFacet<'_> =
        serde_json::from_str(raw.get()).map_err(|_| wrong(what, "tollgate_model", r#"{"model": "risk-scorer", "version": "3"}"#))?;
    let version = facet.version.filter(|version| !version.is_empty());
    Ok(ModelName {
        model: needed("tollgate_model.model", Some(&facet.model))?,
        version: version.map(|version| needed("tollgate_model.version", Some(&version))).transpose()?,
    })
}

/// `None`: a state that the spec does not have, or none.
fn lifecycle(what: &str, raw: &RawValue) -> Result<Option<Lifecycle>, Reject> {
    let example = r#"{"lifecycleStateChange": "RENAME", "previousIdentifier": {"namespace": "s3://lake", "name": "old"}}"#;
    let facet: LifecycleFacet<'_> = serde_json::from_str(raw.get()).map_err(|_| wrong(what, "lifecycleStateChange", example))?;
    Ok(match facet.lifecycle_state_change.as_deref().unwrap_or_default() {
        "ALTER" => Some(Lifecycle::Alter),
        "CREATE" => Some(Lifecycle::Create),
        "DROP" => Some(Lifecycle::Drop),
        "OVERWRITE" => Some(Lifecycle::Overwrite),
        "RENAME" => {
            let previous = facet.previous_identifier.as_ref();
            Some(Lifecycle::Rename(previous.map(|named| identifier("lifecycleStateChange.previousIdentifier", named)).transpose()?))
        }
        "TRUNCATE" => Some(Lifecycle::Truncate),
        _ => None,
    })
}

fn symlinks(what: &str, raw: &RawValue) -> Result<Vec<DatasetName>, Reject> {
    let example = r#"{"identifiers": [{"namespace": "hive://metastore", "name": "db.table", "type": "TABLE"}]}"#;
    let facet: SymlinksFacet<'_> = serde_json::from_str(raw.get()).map_err(|_| wrong(what, "symlinks", example))?;
    let named = facet.identifiers.unwrap_or_default();
    if named.len() > MOST_SYMLINKS {
        let message = format!("'{what}[].facets.symlinks' has {} identifiers, at most {MOST_SYMLINKS} are taken", named.len());
        return Err(Reject::new(RejectReason::FieldTooLong, message));
    }
    named.iter().map(|named| identifier("symlinks.identifiers[]", named)).collect()
}

fn identifier(what: &str, named: &Identifier<'_>) -> Result<DatasetName, Reject> {
    Ok(DatasetName {
        namespace: needed(&format!("{what}.namespace"), Some(&named.namespace))?,
        name: needed(&format!("{what}.name"), Some(&named.name))?,
    })
}
