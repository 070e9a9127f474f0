//! A table from a Parquet file: its flat columns; nested ones are left out.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use super::{BadRow, Row, Table};
use crate::DataError;

/// Reads the `wanted` flat columns of a Parquet file. Rows are counted from 1; those before damage are kept.
pub(super) fn read(name: String, file: File, wanted: &dyn Fn(&str) -> bool) -> Result<Table, DataError> {
    let mut table = Table::empty(name);
    let Err(error) = unwound(|| read_rows(file, wanted, &mut table)) else { return Ok(table) };
    if table.rows.is_empty() {
        return Err(DataError::in_table(&table.name)(error));
    }
    // What follows in the file may belong to other rows than it says: columns are read side by side.
    let problem = format!("{error}: this row and all after it are left out");
    table.bad_rows.push(BadRow { line: table.rows.len() + 1, problem });
    Ok(table)
}

/// How many rows a Parquet file has.
pub(crate) fn count(name: &str, file: File) -> Result<usize, DataError> {
    let rows = unwound(|| Ok(SerializedFileReader::new(file)?.metadata().file_metadata().num_rows()));
    rows.map(|rows| usize::try_from(rows).unwrap_or(0)).map_err(DataError::in_table(name))
}

/// The reader panics on some damaged files; what it was building is dropped.
fn unwound<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("damaged: write the file again".to_owned()));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(damaged)
}

fn read_rows(file: File, wanted: &dyn Fn(&str) -> bool, table: &mut Table) -> Result<(), ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let flat = flat_columns(reader.metadata().file_metadata().schema());
    let name = |field: &Arc<Type>| field.name().to_owned();
    table.found = flat.iter().map(name).collect();
    let kept: Vec<_> = flat.into_iter().filter(|field| wanted(field.name())).collect();
    table.columns = kept.iter().map(name).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let schema = reader.metadata().file_metadata().schema().name();
    let kept = Type::group_type_builder(schema).with_fields(kept).build()?;
    for (index, row) in reader.get_row_iter(Some(kept))?.enumerate() {
        let cells = row?.into_columns().into_iter().map(|(_, field)| value(field)).collect();
        table.rows.push(Row { line: index + 1, cells });
    }
    Ok(())
}

fn flat_columns(schema: &Type) -> Vec<Arc<Type>> {
    let flat = |field: &&Arc<Type>| field.is_primitive() && field.get_basic_info().has_repetition();
    schema.get_fields().iter().filter(flat).cloned().collect()
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
