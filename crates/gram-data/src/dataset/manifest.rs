//! A dataset from a manifest.

use std::collections::HashSet;
use std::path::Path;

use super::{Described, Split};
use crate::image_folder::with_image;
use crate::table::{Cell, Row, Table, Wanted};
use crate::{DataError, ImageFile, UniqueKeys};

/// What the column of the images may be called: by us, and by others who have labels beside images.
const IMAGE: [&str; 7] = ["image", "filepath", "image_path", "file_name", "filename", "file", "img"];

/// What the column of the classes may be called.
const LABEL: [&str; 3] = ["label", "labels", "class"];

/// What is read of a manifest: everything, for few tables have more than that.
pub(super) const WANTED: Wanted<'static> = Wanted { known: &is_known, others: true };

fn is_known(name: &str) -> bool {
    let mut known = IMAGE.iter().chain(&LABEL).chain(&["split", "domain"]);
    known.any(|known| known.eq_ignore_ascii_case(name))
}

/// The columns of a manifest; `split` counts only if some row fills it.
struct Columns {
    image: usize,
    label: usize,
    split: Option<usize>,
    domain: Option<usize>,
    /// Names of the classes by their number, if the label is a number that the table names.
    class_names: Option<Vec<String>>,
}

/// Reads the manifest at `path`, whose images are in it, relative to its folder or to one in it that has the
/// first of them, or absolute.
pub(super) fn read(path: &Path) -> Result<Vec<Described>, DataError> {
    of_table(&Table::read(path, WANTED)?.whole()?, path)
}

/// As [`read`], where images need not be there.
pub(super) fn read_labels(path: &Path) -> Result<Vec<Described>, DataError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    describe(&Table::read(path, WANTED)?.whole()?, |image| Some(ImageFile::Path(folder.join(image))))
}

/// A table of images with labels; nothing if it lacks a column of either.
pub(super) fn labelled_table(path: &Path) -> Result<Option<Table>, DataError> {
    let table = Table::read(path, WANTED)?.whole()?;
    let is_one = table.first_column(&LABEL).is_some() && table.first_column(&IMAGE).is_some();
    Ok(is_one.then_some(table))
}

/// The names that a table has for its labels, which are then numbers.
pub(super) fn class_names(table: &Table) -> Option<&Vec<String>> {
    let label = &table.columns[table.first_column(&LABEL)?];
    table.class_names.iter().find(|(column, _)| column == label).map(|(_, names)| names)
}

/// Gives a table names for its labels, which are numbers.
pub(super) fn name_classes(table: &mut Table, names: &[String]) {
    if let Some(label) = table.first_column(&LABEL) {
        table.class_names = vec![(table.columns[label].clone(), names.to_vec())];
    }
}

/// The images of the table at `path`.
pub(super) fn of_table(table: &Table, path: &Path) -> Result<Vec<Described>, DataError> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let first = table.first_column(&IMAGE).and_then(|column| table.rows.first()?.filled(Some(column)));
    let folder = first.and_then(|image| with_image(beside, &image)).unwrap_or_else(|| beside.to_owned());
    // An absolute path replaces the folder.
    describe(table, |image| Some(folder.join(image)).filter(|path| path.is_file()).map(ImageFile::Path))
}

/// The images of a manifest, each in it or looked up by its name in the column `image`.
pub(super) fn describe(
    table: &Table,
    find: impl Fn(&str) -> Option<ImageFile>,
) -> Result<Vec<Described>, DataError> {
    let columns = Columns::of(table)?;
    let (mut seen, mut keys) = (HashSet::new(), UniqueKeys::default());
    let mut images = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let (key, image) = match row.cell(columns.image) {
            Some(Cell::Image { bytes: Some(bytes), path }) => {
                let name = path.clone().unwrap_or_else(|| format!("row-{}", row.line));
                let place = format!("{}: {name}", table.place(row.line));
                (keys.unique(name), ImageFile::Bytes { name: place, bytes: bytes.clone() })
            }
            cell => {
                let key = match cell {
                    Some(Cell::Image { path: Some(path), .. }) => path.clone(),
                    _ => required(table, row, columns.image, "image")?,
                };
                if !seen.insert(key.clone()) {
                    return Err(DataError::DuplicateImage { place: table.place(row.line), image: key });
                }
                let missing = || DataError::MissingImage { place: table.place(row.line), image: key.clone() };
                let image = find(&key).ok_or_else(missing)?;
                (key, image)
            }
        };
        let (number, label) = columns.class(table, row)?;
        let domain = row.filled(columns.domain).map(Into::into);
        let split = columns.split.map(|column| split(table, row, column)).transpose()?;
        images.push(Described { key, image, label, number, domain, split });
    }
    Ok(images)
}

impl Columns {
    fn of(table: &Table) -> Result<Self, DataError> {
        let is_filled = |&column: &usize| table.rows.iter().any(|row| row.filled(Some(column)).is_some());
        let label = table.first_column(&LABEL).ok_or_else(|| table.missing(&LABEL))?;
        let mut named = table.class_names.iter().filter(|(column, _)| *column == table.columns[label]);
        Ok(Self {
            image: table.first_column(&IMAGE).ok_or_else(|| table.missing(&IMAGE))?,
            label,
            split: table.first_column(&["split"]).filter(is_filled),
            domain: table.first_column(&["domain"]),
            class_names: named.next().map(|(_, names)| names.clone()),
        })
    }

    /// Number, where the source has numbers, and name of a row's class.
    fn class(&self, table: &Table, row: &Row) -> Result<(Option<usize>, String), DataError> {
        let label = required(table, row, self.label, "label")?;
        let Some(names) = &self.class_names else { return Ok((None, label)) };
        let number = label.parse().ok().filter(|number| *number < names.len());
        let number: usize = number.ok_or_else(|| DataError::Listing {
            place: table.place(row.line),
            problem: format!(
                "label {label} is none of its {} classes, 0 to {}: leave out rows without a label",
                names.len(),
                names.len().saturating_sub(1)
            ),
        })?;
        Ok((Some(number), names[number].clone()))
    }
}

fn required(table: &Table, row: &Row, column: usize, name: &'static str) -> Result<String, DataError> {
    let cell = row.filled(Some(column)).map(Into::into);
    cell.ok_or_else(|| DataError::EmptyCell { place: table.place(row.line), column: name })
}

fn split(table: &Table, row: &Row, column: usize) -> Result<Split, DataError> {
    let name = required(table, row, column, "split")?;
    name.parse().map_err(|_| DataError::UnknownSplit { place: table.place(row.line), found: name })
}
