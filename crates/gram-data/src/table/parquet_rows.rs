//! A table from a Parquet file: its flat columns; nested ones are left out.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use super::{Row, Table};
use crate::DataError;

/// Reads the flat columns of a Parquet file. Rows are counted from 1.
pub(super) fn read(name: String, file: File) -> Result<Table, DataError> {
    // The reader panics on some damaged files; what it was building is dropped.
    let read = catch_unwind(AssertUnwindSafe(|| read_rows(file)));
    let damaged = |_| Err(ParquetError::General("damaged: write the file again".to_owned()));
    let (columns, rows) = read.unwrap_or_else(damaged).map_err(DataError::in_table(&name))?;
    Ok(Table { name, columns, rows })
}

fn read_rows(file: File) -> Result<(Vec<String>, Vec<Row>), ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = flat_columns(reader.metadata().file_metadata().schema())?;
    let columns: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    if columns.is_empty() {
        return Ok((columns, rows));
    }
    for (index, row) in reader.get_row_iter(Some(schema))?.enumerate() {
        let fields = row?.into_columns();
        rows.push(Row {
            line: index + 1,
            cells: fields.into_iter().map(|(_, field)| value(field)).collect(),
        });
    }
    Ok((columns, rows))
}

fn flat_columns(schema: &Type) -> Result<Type, ParquetError> {
    let flat = |field: &&Arc<Type>| field.is_primitive() && field.get_basic_info().has_repetition();
    let fields = schema.get_fields().iter().filter(flat).cloned().collect();
    Type::group_type_builder(schema.name()).with_fields(fields).build()
}

/// The value of a field; of times, dates and the like, which no manifest needs, nothing.
fn value(field: Field) -> Value {
    match field {
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => value.into(),
        Field::Double(value) => value.into(),
        Field::Str(value) => value.into(),
        // Some writers do not mark their texts as UTF-8.
        Field::Bytes(value) => std::str::from_utf8(value.data()).map_or(Value::Null, Value::from),
        _ => Value::Null,
    }
}
