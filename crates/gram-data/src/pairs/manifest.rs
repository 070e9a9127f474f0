//! Pairs from a manifest.

use std::path::Path;

use super::{Collector, Pair, Pairs, SkipCause, caption};
use crate::table::{Row, Table};
use crate::{DataError, ImageFile};

/// The columns of a manifest that have a meaning of their own.
struct Columns {
    image: usize,
    caption: usize,
    key: Option<usize>,
}

/// Reads the manifest at `path`.
pub(super) fn read(path: &Path) -> Result<Pairs, DataError> {
    let table = Table::read(path)?;
    let columns = Columns {
        image: table.column("image")?,
        caption: table.column("caption")?,
        key: table.optional_column("key"),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut collector = Collector::default();
    for row in &table.rows {
        collector.add(table.place(row), pair(&table, row, &columns, folder));
    }
    Ok(collector.collected)
}

fn pair(table: &Table, row: &Row, columns: &Columns, folder: &Path) -> Result<Pair, SkipCause> {
    let image = row.filled(Some(columns.image)).ok_or(SkipCause::NoImage)?;
    // An absolute path replaces the folder.
    let path = folder.join(image.as_ref());
    if !path.is_file() {
        return Err(SkipCause::NoImage);
    }
    Ok(Pair {
        caption: caption(row.text(columns.caption).as_deref())?,
        key: row.filled(columns.key).unwrap_or(image).into_owned(),
        image: ImageFile::Path(path),
        metadata: table.rest(row, &[Some(columns.image), Some(columns.caption), columns.key]),
    })
}
