//! JSON twin to Avro value and back, driven by the schema alone: the contract, as an outsider would read it from `schemas/`.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{RecordField, ResolvedSchema};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Map, Value as Json};
use tollgate::model::money::{Currency, Nanos};
use tollgate::model::time::Timestamp;

/// Path and what is wrong there.
type Refusal = (String, String);

pub struct Twin<'s> {
    schema: &'s Schema,
    names: ResolvedSchema<'s>,
}

impl<'s> Twin<'s> {
    pub fn new(schema: &'s Schema) -> Twin<'s> {
        Twin { schema, names: ResolvedSchema::new(schema).unwrap() }
    }

    /// JSON to Avro bytes; the error says where and what.
    pub fn encode(&self, json: &Json) -> Result<Vec<u8>, String> {
        let value = self.value(self.schema, None, json).map_err(|(path, what)| format!("{path}: {what}"))?;
        let writer = GenericDatumWriter::builder(self.schema).build().unwrap();
        writer.write_value_to_vec(value).map_err(|error| error.to_string())
    }

    /// Avro bytes to JSON, as a reader with `self`'s schema sees what `writer` wrote.
    pub fn decode(&self, writer: &Schema, bytes: &[u8]) -> Result<Json, String> {
        let reader = GenericDatumReader::builder(writer).reader_schema(self.schema).build().unwrap();
        let mut rest = bytes;
        let value = reader.read_value(&mut rest).map_err(|error| error.to_string())?;
        assert!(rest.is_empty(), "bytes behind the record");
        Ok(self.json(self.schema, None, &value))
    }

    fn resolve(&self, schema: &'s Schema) -> &'s Schema {
        match schema {
            Schema::Ref { name } => self.names.get_names()[name],
            other => other,
        }
    }

    fn value(&self, schema: &'s Schema, form: Option<&str>, json: &Json) -> Result<Value, Refusal> {
        let wrong = || Err((String::new(), format!("'{json}' is not {}", kind(schema))));
        if let (Some("json"), Schema::String) = (form, schema) {
            return Ok(Value::String(json.to_string()));
        }
        match (self.resolve(schema), json) {
            (Schema::Null, Json::Null) => Ok(Value::Null),
            (Schema::Boolean, Json::Bool(value)) => Ok(Value::Boolean(*value)),
            (Schema::Int, Json::Number(_)) => {
                json.as_i64().and_then(|value| i32::try_from(value).ok()).map_or_else(wrong, |v| Ok(Value::Int(v)))
            }
            (Schema::Long, Json::Number(_)) => {
                let value = json.as_i64().map_or_else(|| wrong().map(|_| 0), Ok)?;
                if form == Some("nonnegative") && value < 0 {
                    Err((String::new(), format!("{value} is negative")))
                } else {
                    Ok(Value::Long(value))
                }
            }
            (Schema::Double, Json::Number(_)) => {
                let value = json.as_f64().map_or_else(|| wrong().map(|_| 0.0), Ok)?;
                if form == Some("nonnegative") && value < 0.0 {
                    Err((String::new(), format!("{value} is negative")))
                } else {
                    Ok(Value::Double(value))
                }
            }
            (Schema::TimestampMillis, Json::String(text)) => {
                Timestamp::parse(text).map_or_else(wrong, |time| Ok(Value::TimestampMillis(time.0)))
            }
            (Schema::String, Json::String(text)) => match has_form(form, text) {
                true => Ok(Value::String(text.clone())),
                false => Err((String::new(), format!("'{text}' is not {}", form.unwrap_or_default()))),
            },
            (Schema::Enum(known), Json::String(text)) => match known.symbols.iter().position(|symbol| symbol == text) {
                Some(index) => Ok(Value::Enum(u32::try_from(index).unwrap(), text.clone())),
                None => Err((String::new(), format!("'{text}' is none of {:?}", known.symbols))),
            },
            (Schema::Union(union), _) => {
                let [null, other] = union.variants() else { panic!("unions are [null, something]") };
                assert_eq!(null, &Schema::Null);
                let (index, variant) = if json.is_null() { (0, null) } else { (1, other) };
                Ok(Value::Union(index, Box::new(self.value(variant, form, json)?)))
            }
            (Schema::Array(array), Json::Array(items)) => {
                let values =
                    items.iter().enumerate().map(|(index, item)| self.value(&array.items, form, item).map_err(at(&format!("[{index}]"))));
                Ok(Value::Array(values.collect::<Result<_, _>>()?))
            }
            (Schema::Map(map), Json::Object(entries)) => {
                let value_of = |(key, item): (&String, &'_ Json)| {
                    let value = self.value(&map.types, form, item).map_err(at(&format!(".{key}")))?;
                    Ok((key.clone(), value))
                };
                Ok(Value::Map(entries.iter().map(value_of).collect::<Result<_, Refusal>>()?))
            }
            (Schema::Record(record), Json::Object(entries)) => self.record(&record.fields, entries),
            _ => wrong(),
        }
    }

    fn record(&self, fields: &'s [RecordField], entries: &Map<String, Json>) -> Result<Value, Refusal> {
        if let Some(unknown) = entries.keys().find(|key| !fields.iter().any(|field| field.name == **key)) {
            return Err((format!(".{unknown}"), "no such field".to_owned()));
        }
        let value_of = |field: &'s RecordField| {
            let json = entries.get(&field.name).or(field.default.as_ref()).ok_or_else(|| (String::new(), "missing".to_owned()));
            let value = json.and_then(|json| self.value(&field.schema, form_of(field), json));
            Ok((field.name.clone(), value.map_err(at(&format!(".{}", field.name)))?))
        };
        Ok(Value::Record(fields.iter().map(value_of).collect::<Result<_, Refusal>>()?))
    }

    fn json(&self, schema: &'s Schema, form: Option<&str>, value: &Value) -> Json {
        match (self.resolve(schema), value) {
            (_, Value::Null) => Json::Null,
            (_, Value::Boolean(value)) => Json::from(*value),
            (_, Value::Int(value)) => Json::from(*value),
            (_, Value::Long(value)) => Json::from(*value),
            (_, Value::Double(value)) => Json::from(*value),
            (_, Value::TimestampMillis(value)) => Json::from(Timestamp(*value).to_string()),
            (_, Value::String(text)) if form == Some("json") => serde_json::from_str(text).unwrap(),
            (_, Value::String(text) | Value::Enum(_, text)) => Json::from(text.clone()),
            (Schema::Union(union), Value::Union(index, inner)) => self.json(&union.variants()[*index as usize], form, inner),
            (Schema::Array(array), Value::Array(items)) => items.iter().map(|item| self.json(&array.items, form, item)).collect(),
            (Schema::Map(map), Value::Map(entries)) => {
                entries.iter().map(|(key, item)| (key.clone(), self.json(&map.types, form, item))).collect()
            }
            (Schema::Record(record), Value::Record(fields)) => {
                let json_of = |(field, (name, value)): (&'s RecordField, &(String, Value))| {
                    assert_eq!(&field.name, name);
                    (name.clone(), self.json(&field.schema, form_of(field), value))
                };
                record.fields.iter().zip(fields).map(json_of).collect()
            }
            (schema, value) => panic!("{value:?} is not {}", kind(schema)),
        }
    }

    /// What a twin says once defaults are filled in and times and numbers are written one way.
    pub fn canonical(&self, json: &Json) -> Json {
        self.canonical_of(self.schema, None, json)
    }

    fn canonical_of(&self, schema: &'s Schema, form: Option<&str>, json: &Json) -> Json {
        match (self.resolve(schema), json) {
            (Schema::String, _) if form == Some("json") => json.clone(),
            (Schema::TimestampMillis, Json::String(text)) => Json::from(Timestamp::parse(text).unwrap().to_string()),
            (Schema::Double, Json::Number(number)) => Json::from(number.as_f64().unwrap()),
            (Schema::Union(union), json) if !json.is_null() => self.canonical_of(&union.variants()[1], form, json),
            (Schema::Array(array), Json::Array(items)) => items.iter().map(|item| self.canonical_of(&array.items, form, item)).collect(),
            (Schema::Map(map), Json::Object(entries)) => {
                entries.iter().map(|(key, item)| (key.clone(), self.canonical_of(&map.types, form, item))).collect()
            }
            (Schema::Record(record), Json::Object(entries)) => {
                let filled = record.fields.iter().map(|field| {
                    let json = entries.get(&field.name).or(field.default.as_ref()).unwrap();
                    (field.name.clone(), self.canonical_of(&field.schema, form_of(field), json))
                });
                filled.collect()
            }
            (_, json) => json.clone(),
        }
    }
}

fn at(step: &str) -> impl Fn(Refusal) -> Refusal {
    let step = step.to_owned();
    move |(path, what)| (format!("{step}{path}"), what)
}

fn form_of(field: &RecordField) -> Option<&str> {
    field.custom_attributes.get("form").and_then(Json::as_str)
}

fn has_form(form: Option<&str>, text: &str) -> bool {
    match form {
        None => true,
        Some("nonempty") => !text.is_empty(),
        Some("decimal") => text.parse::<Nanos>().is_ok(),
        Some("currency") => Currency::parse(text).is_some(),
        Some("month") => text.len() == 7 && Timestamp::parse(&format!("{text}-01T00:00:00Z")).is_some(),
        Some(other) => panic!("no text has the form '{other}'"),
    }
}

fn kind(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "a boolean",
        Schema::Int | Schema::Long => "an integer",
        Schema::Double => "a number",
        Schema::TimestampMillis => "an RFC 3339 time",
        Schema::String | Schema::Enum(_) => "a text",
        Schema::Array(_) => "an array",
        Schema::Map(_) | Schema::Record(_) | Schema::Ref { .. } => "an object",
        other => panic!("the schemas use no {other:?}"),
    }
}
