//! `pairs.parquet`: one row a pair, in the order given.
//!
//! | column | type | |
//! |---|---|---|
//! | key, caption | text | |
//! | topic, domain | integer or null | topic in `topics.json`, domain within the topic |
//! | strength, similarity | number | |
//! | x, y | number or null | place on the map; null if the pair was filtered out |

use std::fs::File;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

use super::{ClusteredPair, Clusters};

const SCHEMA: &str = "message pairs {
    REQUIRED BYTE_ARRAY key (STRING);
    REQUIRED BYTE_ARRAY caption (STRING);
    OPTIONAL INT64 topic;
    OPTIONAL INT64 domain;
    REQUIRED DOUBLE strength;
    REQUIRED FLOAT similarity;
    OPTIONAL FLOAT x;
    OPTIONAL FLOAT y;
}";

/// Pairs written at a time: columns of a group are gathered in memory.
const GROUP_ROWS: usize = 1 << 17;

type Place = Option<[f32; 2]>;

/// Writes every pair.
pub(super) fn write(path: &Path, clusters: &Clusters) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
    for (pairs, layout) in clusters.pairs.chunks(GROUP_ROWS).zip(clusters.layout.chunks(GROUP_ROWS)) {
        let mut group = writer.next_row_group()?;
        write_group(&mut group, pairs, layout)?;
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn write_group(
    group: &mut SerializedRowGroupWriter<'_, File>,
    pairs: &[ClusteredPair],
    layout: &[Place],
) -> Result<()> {
    let index = |index: Option<usize>| index.map(|index| index as i64);
    write_required::<ByteArrayType>(group, pairs.iter().map(|pair| pair.key.as_str().into()))?;
    write_required::<ByteArrayType>(group, pairs.iter().map(|pair| pair.caption.as_str().into()))?;
    write_optional::<Int64Type>(group, pairs.iter().map(|pair| index(pair.topic)))?;
    write_optional::<Int64Type>(group, pairs.iter().map(|pair| index(pair.domain)))?;
    write_required::<DoubleType>(group, pairs.iter().map(|pair| pair.strength))?;
    write_required::<FloatType>(group, pairs.iter().map(|pair| pair.similarity))?;
    write_optional::<FloatType>(group, layout.iter().map(|place| place.map(|[x, _]| x)))?;
    write_optional::<FloatType>(group, layout.iter().map(|place| place.map(|[_, y]| y)))
}

fn write_required<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: impl Iterator<Item = T::T>,
) -> Result<()> {
    write_column::<T>(group, &values.collect::<Vec<_>>(), None)
}

fn write_optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<()> {
    let values: Vec<Option<T::T>> = values.collect();
    // Parquet's definition levels: 1 where there is a value, 0 where there is none.
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    write_column::<T>(group, &values.into_iter().flatten().collect::<Vec<_>>(), Some(&levels))
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()?;
    }
    Ok(())
}

/// Reads every pair and its place on the map.
pub(super) fn read(path: &Path) -> Result<(Vec<ClusteredPair>, Vec<Place>)> {
    // The Parquet reader refuses most damage with an error, and some by panicking.
    catch_unwind(|| read_groups(path))
        .unwrap_or_else(|_| Err(ParquetError::General("a column is damaged".to_owned())))
}

fn read_groups(path: &Path) -> Result<(Vec<ClusteredPair>, Vec<Place>)> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    check_schema(reader.metadata().file_metadata().schema())?;
    let (mut pairs, mut layout) = (vec![], vec![]);
    for group in 0..reader.num_row_groups() {
        read_group(reader.get_row_group(group)?.as_ref(), &mut pairs, &mut layout)?;
    }
    Ok((pairs, layout))
}

/// Columns are read by position and type: both must be those written.
fn check_schema(found: &Type) -> Result<()> {
    let describe = |schema: &Type| -> Vec<String> {
        let column = |column: &Arc<Type>| {
            let info = column.get_basic_info();
            let repetition = info.has_repetition().then(|| info.repetition());
            let physical = column.is_primitive().then(|| column.get_physical_type());
            format!("{} {physical:?} {repetition:?}", column.name())
        };
        schema.get_fields().iter().map(column).collect()
    };
    let expected = parse_message_type(SCHEMA)?;
    if describe(found) == describe(&expected) {
        return Ok(());
    }
    let names = |schema: &Type| -> Vec<String> {
        schema.get_fields().iter().map(|column| column.name().to_owned()).collect()
    };
    let (found, expected) = (names(found).join(", "), names(&expected).join(", "));
    Err(ParquetError::General(format!(
        "has columns {found}; expected {expected}, typed as this program writes them"
    )))
}

fn read_group(
    group: &dyn RowGroupReader,
    pairs: &mut Vec<ClusteredPair>,
    layout: &mut Vec<Place>,
) -> Result<()> {
    let keys = read_required::<ByteArrayType>(group, 0)?;
    let captions = read_required::<ByteArrayType>(group, 1)?;
    let topics = read_optional::<Int64Type>(group, 2)?;
    let domains = read_optional::<Int64Type>(group, 3)?;
    let strengths = read_required::<DoubleType>(group, 4)?;
    let similarities = read_required::<FloatType>(group, 5)?;
    let (xs, ys) = (read_optional::<FloatType>(group, 6)?, read_optional::<FloatType>(group, 7)?);
    for row in 0..keys.len() {
        let place = xs[row].zip(ys[row]).map(|(x, y)| [x, y]);
        pairs.push(ClusteredPair {
            key: keys[row].as_utf8()?.to_owned(),
            caption: captions[row].as_utf8()?.to_owned(),
            topic: topics[row].map(index).transpose()?,
            domain: domains[row].map(index).transpose()?,
            strength: strengths[row],
            similarity: similarities[row],
            kept: place.is_some(),
        });
        layout.push(place);
    }
    Ok(())
}

/// A column of a row group, one value for each of its rows.
fn read_required<T: DataType>(group: &dyn RowGroupReader, column: usize) -> Result<Vec<T::T>> {
    let (values, _) = read_column::<T>(group, column)?;
    check_length(values.len(), group, column)?;
    Ok(values)
}

/// A column of a row group, one value or null for each of its rows.
fn read_optional<T: DataType>(group: &dyn RowGroupReader, column: usize) -> Result<Vec<Option<T::T>>> {
    let (values, levels) = read_column::<T>(group, column)?;
    check_length(levels.len(), group, column)?;
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
}

/// The values that are there, and the definition levels that say where.
fn read_column<T: DataType>(group: &dyn RowGroupReader, column: usize) -> Result<(Vec<T::T>, Vec<i16>)> {
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    let (mut values, mut levels, mut left) = (vec![], vec![], rows(group));
    while left > 0 {
        let (records, _, _) = reader.read_records(left, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            break;
        }
        left = left.saturating_sub(records);
    }
    Ok((values, levels))
}

fn rows(group: &dyn RowGroupReader) -> usize {
    usize::try_from(group.metadata().num_rows()).unwrap_or(0)
}

fn check_length(found: usize, group: &dyn RowGroupReader, column: usize) -> Result<()> {
    let expected = rows(group);
    if found == expected {
        return Ok(());
    }
    Err(ParquetError::EOF(format!("column {column} has {found} of {expected} rows")))
}

fn index(value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| ParquetError::General(format!("{value} is no topic or domain")))
}
