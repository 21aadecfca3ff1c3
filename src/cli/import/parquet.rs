//! Rows of Parquet files as texts, as a CSV file would have them: decimals to the last digit, times in RFC 3339, maps and lists as JSON. One
//! page of each column in memory, whatever the file's size.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::data_type::Decimal;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Map};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use serde_json::Value;

use super::rows::BytesRead;

const DAY_S: i64 = 86_400;

/// One open file.
pub struct Table {
    pub names: Vec<String>,
    /// Per column: whole numbers that are times in nanoseconds.
    in_nanos: Vec<bool>,
    rows: RowIter<'static>,
    /// Of the file, spread evenly over its rows for the progress bar.
    size: u64,
    count: u64,
}

impl Table {
    /// # Errors
    /// It cannot be read, or has a column of a type that FOCUS has no use for.
    pub fn open(path: &Path) -> Result<Table> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot be read"))?;
        let size = file.metadata().with_context(|| format!("{shown}: cannot be read"))?.len();
        let reader = SerializedFileReader::new(file).with_context(|| format!("{shown}: is no Parquet file"))?;
        let metadata = reader.metadata().file_metadata();
        let schema = metadata.schema_descr();
        if let Some(odd) = schema.columns().iter().find(|column| !is_readable(column)) {
            let (name, converted) = (odd.path().string(), odd.converted_type());
            bail!("{shown}: column {name} is of a type that no FOCUS column has ({} {converted})", odd.physical_type());
        }
        let fields = schema.root_schema().get_fields();
        let names = fields.iter().map(|field| field.name().to_string()).collect();
        let in_nanos = (0..fields.len()).map(|place| is_in_nanos(schema, place)).collect();
        let count = u64::try_from(metadata.num_rows()).unwrap_or_default();
        Ok(Table { names, in_nanos, rows: RowIter::from_file_into(Box::new(reader)), size, count })
    }

    /// Hands out each row's texts with its number, from 1 on, or why it has none.
    ///
    /// # Errors
    /// The file cannot be read on, or what `each` returns.
    pub fn each(self, shown: &str, bytes: &BytesRead, mut each: impl FnMut(u64, Result<&[&str], String>) -> Result<()>) -> Result<()> {
        let (mut number, mut told) = (0_u64, 0_u64);
        for row in self.rows {
            let row = row.with_context(|| format!("{shown}: cannot be read on behind row {number}"))?;
            number = number.saturating_add(1);
            let read = u128::from(self.size) * u128::from(number) / u128::from(self.count.max(1));
            let read = u64::try_from(read).unwrap_or(self.size).min(self.size);
            bytes.fetch_add(read.saturating_sub(told), Ordering::Relaxed);
            told = told.max(read);
            let columns = row.into_columns().into_iter().zip(&self.in_nanos);
            let texts: Result<Vec<String>, String> = columns.map(|((name, field), in_nanos)| text(&name, field, *in_nanos)).collect();
            match texts {
                Ok(texts) => each(number, Ok(&texts.iter().map(String::as_str).collect::<Vec<_>>()))?,
                Err(why) => each(number, Err(why))?,
            }
        }
        Ok(())
    }
}

/// The crate ends the process over others.
fn is_readable(column: &ColumnDescriptor) -> bool {
    use ConvertedType as Known;
    match column.physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE | Physical::INT96 => true,
        Physical::INT32 => !matches!(
            column.converted_type(),
            Known::TIME_MICROS | Known::TIMESTAMP_MILLIS | Known::TIMESTAMP_MICROS | Known::INT_64 | Known::UINT_64 | Known::INTERVAL
        ),
        Physical::INT64 => matches!(
            column.converted_type(),
            Known::NONE | Known::INT_64 | Known::UINT_64 | Known::TIMESTAMP_MILLIS | Known::TIMESTAMP_MICROS | Known::DECIMAL
        ),
        Physical::BYTE_ARRAY => {
            matches!(column.converted_type(), Known::NONE | Known::UTF8 | Known::ENUM | Known::JSON | Known::BSON | Known::DECIMAL)
        }
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(column.converted_type(), Known::NONE | Known::DECIMAL),
    }
}

fn is_in_nanos(schema: &SchemaDescriptor, field: usize) -> bool {
    let mut own = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == field);
    let logical = own.next().and_then(|leaf| schema.columns().get(leaf)).and_then(|column| column.logical_type_ref());
    matches!(logical, Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS)
}

/// # Errors
/// What a field holds that cannot be written down.
fn text(name: &str, field: Field, in_nanos: bool) -> Result<String, String> {
    let moment = |seconds: i64, nanos: i64| {
        let nanos = i32::try_from(nanos).unwrap_or_default();
        let instant = jiff::Timestamp::new(seconds, nanos);
        instant.map(|instant| instant.to_string()).map_err(|_| format!("{name} is no time of this calendar"))
    };
    let in_parts = |value: i64, parts: i64| moment(value.div_euclid(parts), value.rem_euclid(parts) * (1_000_000_000 / parts));
    Ok(match field {
        Field::Null => String::new(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) if in_nanos => return in_parts(value, 1_000_000_000),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        // The file has no more than that: the shortest text that is the same number.
        Field::Float16(value) => value.to_f32().to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        Field::Decimal(decimal) => self::decimal(&decimal).ok_or_else(|| format!("{name} has more than 38 digits"))?,
        Field::Str(text) => text,
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).map_err(|_| format!("{name} is no UTF-8"))?,
        Field::Date(days) => return moment(i64::from(days) * DAY_S, 0),
        Field::TimestampMillis(value) => return in_parts(value, 1_000),
        Field::TimestampMicros(value) => return in_parts(value, 1_000_000),
        Field::TimeMillis(_) | Field::TimeMicros(_) => return Err(format!("{name} is a time without a day")),
        nested @ (Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_)) => json(name, nested)?.to_string(),
    })
}

/// Of tags, above all.
fn json(name: &str, field: Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(value),
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            Value::Object(fields.map(|(name, field)| Ok((name.clone(), json(&name, field)?))).collect::<Result<_, String>>()?)
        }
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().map(|element| json(name, element.clone())).collect::<Result<_, String>>()?)
        }
        Field::MapInternal(map) => object(name, &map)?,
        other => Value::String(text(name, other, false)?),
    })
}

fn object(name: &str, map: &Map) -> Result<Value, String> {
    let entry = |(key, value): &(Field, Field)| Ok((text(name, key.clone(), false)?, json(name, value.clone())?));
    Ok(Value::Object(map.entries().iter().map(entry).collect::<Result<_, String>>()?))
}

/// To the last digit; `None` beyond 128 bits.
fn decimal(decimal: &Decimal) -> Option<String> {
    let bytes = decimal.data();
    let sign = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let fill = if sign { 0xff } else { 0 };
    let beyond = bytes.len().saturating_sub(16);
    let (head, low) = bytes.split_at_checked(beyond)?;
    let mut whole = [fill; 16];
    whole.get_mut(16 - low.len()..)?.copy_from_slice(low);
    let unscaled = i128::from_be_bytes(whole);
    if head.iter().any(|byte| *byte != fill) || (unscaled < 0) != sign {
        return None;
    }
    let scale = usize::try_from(decimal.scale()).ok()?;
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (units, part) = digits.split_at_checked(digits.len() - scale)?;
    let minus = if unscaled < 0 { "-" } else { "" };
    Some(if part.is_empty() { format!("{minus}{units}") } else { format!("{minus}{units}.{part}") })
}

#[cfg(test)]
mod tests {
    use parquet::data_type::ByteArray;

    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        let of = |unscaled: i128, scale| decimal(&Decimal::from_bytes(ByteArray::from(unscaled.to_be_bytes().to_vec()), 38, scale));
        assert_eq!(of(80, 11).as_deref(), Some("0.00000000080"));
        assert_eq!(of(-80, 2).as_deref(), Some("-0.80"));
        assert_eq!(of(12_345, 0).as_deref(), Some("12345"));
        assert_eq!(of(0, 3).as_deref(), Some("0.000"));
        let most = 10_i128.pow(38) - 1;
        assert_eq!(of(most, 20).as_deref(), Some("999999999999999999.99999999999999999999"));
        assert_eq!(of(-most, 38).as_deref(), Some(format!("-0.{}", "9".repeat(38)).as_str()));
        assert_eq!(decimal(&Decimal::from_i32(-5, 9, 4)).as_deref(), Some("-0.0005"));
        assert_eq!(decimal(&Decimal::from_i64(5, 18, 1)).as_deref(), Some("0.5"));
        let short = |bytes: &[u8]| decimal(&Decimal::from_bytes(ByteArray::from(bytes.to_vec()), 38, 1));
        assert_eq!((short(&[0xff]).as_deref(), short(&[]).as_deref()), (Some("-0.1"), Some("0.0")));
        // Longer than it needs to be, and longer than anybody can use.
        assert_eq!(short(&[&[0xff; 4][..], &(-7_i128).to_be_bytes()[..]].concat()).as_deref(), Some("-0.7"));
        assert_eq!((short(&[&[1][..], &[0; 16]].concat()), short(&[&[0][..], &[0xff; 16]].concat())), (None, None));
    }

    #[test]
    fn fields_are_written_as_a_csv_file_would_have_them() {
        let of = |field, in_nanos| text("x", field, in_nanos).unwrap();
        assert_eq!(of(Field::TimestampMicros(1_726_696_800_000_000), false), "2024-09-18T22:00:00Z");
        assert_eq!(of(Field::TimestampMillis(-1), false), "1969-12-31T23:59:59.999Z");
        assert_eq!(of(Field::Long(1_726_696_800_000_000_000), true), "2024-09-18T22:00:00Z");
        assert_eq!((of(Field::Long(7), false), of(Field::Date(19_984), false)), ("7".into(), "2024-09-18T00:00:00Z".into()));
        assert_eq!((of(Field::Double(0.1), false), of(Field::Double(1e-11), false)), ("0.1".into(), "0.00000000001".into()));
        assert_eq!((of(Field::Null, false), of(Field::Bytes("ä".into()), false)), (String::new(), "ä".into()));
        for odd in [Field::TimeMillis(1), Field::Bytes(vec![0xff].into()), Field::Long(i64::MIN)] {
            let in_nanos = false;
            assert_eq!(text("x", odd.clone(), in_nanos).is_err(), !matches!(odd, Field::Long(_)));
        }
        assert!(text("x", Field::TimestampMillis(i64::MAX), false).is_err());
    }
}
