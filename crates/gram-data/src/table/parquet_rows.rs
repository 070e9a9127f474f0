//! A table from a Parquet file: its flat columns, lists, and images as Hugging Face's `datasets` keeps them.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde::Deserialize;
use serde_json::Value;

use super::{BadRow, Cell, Row, Table, Wanted};
use crate::DataError;

/// The key of a file's metadata under which `datasets` describes its columns.
const FEATURES: &str = "huggingface";

/// Reads the wanted columns of a Parquet file. Rows are counted from 1; those before damage are kept.
pub(super) fn read(name: String, file: File, wanted: Wanted<'_>) -> Result<Table, DataError> {
    let mut table = Table { unit: "row", ..Table::empty(name) };
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

fn read_rows(file: File, wanted: Wanted<'_>, table: &mut Table) -> Result<(), ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata().file_metadata();
    let name = |field: &Arc<Type>| field.name().to_owned();
    let columns: Vec<Arc<Type>> = metadata.schema().get_fields().to_vec();
    table.found = columns.iter().map(name).collect();
    table.class_names = class_names(metadata);
    let kept: Vec<_> = columns.into_iter().filter(|field| wanted.has(field.name())).collect();
    table.columns = kept.iter().map(name).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let kept = Type::group_type_builder(metadata.schema().name()).with_fields(kept).build()?;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        check_dictionaries(group.as_ref(), &table.columns)?;
        for row in RowIter::from_row_group(Some(kept.clone()), group.as_ref())? {
            let cells = row?.into_columns().into_iter().map(|(_, field)| cell(field)).collect();
            table.rows.push(Row { line: table.rows.len() + 1, cells });
        }
    }
    Ok(())
}

/// Refuses a dictionary that says it has more values than bytes: the reader makes room for all that it says.
fn check_dictionaries(group: &dyn RowGroupReader, wanted: &[String]) -> Result<(), ParquetError> {
    for column in 0..group.num_columns() {
        let path = group.metadata().column(column).column_path().parts().first().cloned().unwrap_or_default();
        if !wanted.contains(&path) {
            continue;
        }
        let mut pages = group.get_column_page_reader(column)?;
        if !pages.peek_next_page()?.is_some_and(|page| page.is_dict) {
            continue;
        }
        if let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()?
            && num_values as usize > buf.len()
        {
            let problem = format!(
                "column {path}: a dictionary of {} bytes says it has {num_values} values: write the file again",
                buf.len()
            );
            return Err(ParquetError::General(problem));
        }
    }
    Ok(())
}

/// How `datasets` describes the columns of a table.
#[derive(Deserialize)]
struct Description {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: HashMap<String, Value>,
}

/// Names of the classes of every column that `datasets` describes as a `ClassLabel`.
fn class_names(metadata: &FileMetaData) -> Vec<(String, Vec<String>)> {
    let described = metadata.key_value_metadata().into_iter().flatten().find(|entry| entry.key == FEATURES);
    let text = described.and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let Ok(description) = serde_json::from_str::<Description>(text) else { return Vec::new() };
    let names = |(column, feature): (String, Value)| {
        let names = feature.get("names")?.as_array()?.iter();
        Some((column, names.filter_map(|name| name.as_str().map(str::to_owned)).collect()))
    };
    description.info.features.into_iter().filter_map(names).collect()
}

/// A field with what it holds: bytes that are no text, alone or beside a `path`, are an image.
fn cell(field: Field) -> Cell {
    match field {
        Field::Bytes(bytes) => match text(bytes.data()) {
            Some(text) => Value::from(text).into(),
            None => Cell::Image { bytes: Some(bytes.data().into()), path: None },
        },
        Field::Group(row) => {
            let columns = row.into_columns();
            if !columns.iter().any(|(name, _)| name == "bytes" || name == "path") {
                return value(&Field::Group(parquet::record::Row::new(columns))).into();
            }
            let (mut bytes, mut path) = (None, None);
            for (name, field) in columns {
                match (name.as_str(), field) {
                    ("bytes", Field::Bytes(found)) => bytes = Some(found.data().into()),
                    ("path", Field::Str(found)) => path = Some(found),
                    _ => {}
                }
            }
            match (bytes, path) {
                (None, None) => Cell::default(),
                (bytes, path) => Cell::Image { bytes, path },
            }
        }
        other => value(&other).into(),
    }
}

/// The value of a field; of times, dates and the like, which no manifest needs, nothing.
fn value(field: &Field) -> Value {
    match field {
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.as_str().into(),
        // Some writers do not mark their texts as UTF-8.
        Field::Bytes(value) => text(value.data()).map_or(Value::Null, Value::from),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Group(row) => {
            Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
        }
        _ => Value::Null,
    }
}

/// Bytes as a text, if they are one.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}
