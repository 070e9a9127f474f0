//! A dataset from a manifest.

use std::collections::HashSet;
use std::path::Path;

use super::{Described, Split};
use crate::table::{Row, Table};
use crate::{DataError, ImageFile};

/// The columns of a manifest; `split` counts only if some row fills it.
struct Columns {
    image: usize,
    label: usize,
    split: Option<usize>,
    domain: Option<usize>,
}

/// Reads the manifest at `path`, whose images are relative to its folder or absolute.
pub(super) fn read(path: &Path) -> Result<Vec<Described>, DataError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    // An absolute path replaces the folder.
    describe(&Table::read(path, &|_| true)?.whole()?, |image| {
        Some(folder.join(image)).filter(|path| path.is_file()).map(ImageFile::Path)
    })
}

/// The images of a manifest, each looked up by its name in the column `image`.
pub(super) fn describe(
    table: &Table,
    find: impl Fn(&str) -> Option<ImageFile>,
) -> Result<Vec<Described>, DataError> {
    let is_filled = |&column: &usize| table.rows.iter().any(|row| row.filled(Some(column)).is_some());
    let columns = Columns {
        image: table.column("image")?,
        label: table.column("label")?,
        split: table.optional_column("split").filter(is_filled),
        domain: table.optional_column("domain"),
    };
    let mut seen = HashSet::new();
    let mut images = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let key = required(table, row, columns.image, "image")?;
        if !seen.insert(key.clone()) {
            return Err(DataError::DuplicateImage { place: table.place(row.line), image: key });
        }
        let missing = || DataError::MissingImage { place: table.place(row.line), image: key.clone() };
        images.push(Described {
            image: find(&key).ok_or_else(missing)?,
            label: required(table, row, columns.label, "label")?,
            number: None,
            domain: row.filled(columns.domain).map(Into::into),
            split: columns.split.map(|column| split(table, row, column)).transpose()?,
            key,
        });
    }
    Ok(images)
}

fn required(table: &Table, row: &Row, column: usize, name: &'static str) -> Result<String, DataError> {
    let cell = row.filled(Some(column)).map(Into::into);
    cell.ok_or_else(|| DataError::EmptyCell { place: table.place(row.line), column: name })
}

fn split(table: &Table, row: &Row, column: usize) -> Result<Split, DataError> {
    let name = required(table, row, column, "split")?;
    name.parse().map_err(|_| DataError::UnknownSplit { place: table.place(row.line), found: name })
}
