//! A dataset from a folder as Hugging Face's `datasets` reads and writes it: tables of images and labels, or
//! a table beside images.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::folder::Found;
use super::{Described, Split, manifest};
use crate::hugging_face::{Tables, tables};
use crate::table::Table;
use crate::{DataError, ImageFile};

/// A table, with what its keys begin with and the split that its name says.
struct Part {
    prefix: String,
    path: PathBuf,
    split: Option<Split>,
    table: Table,
}

/// Reads the dataset in `folder`, if it has such tables, and images and labels in them.
///
/// Splits are in the names of the tables, `train-00000-of-00002.parquet` or `train/metadata.csv`. A column
/// `split` comes first. Images that no table names are left out and named.
pub(super) fn read(folder: &Path) -> Result<Option<Found>, DataError> {
    let (all, are_parts) = match tables(folder)? {
        Some(Tables::Metadata(all)) => (all, false),
        Some(Tables::Whole(all)) => (all, true),
        None => return Ok(None),
    };
    let mut parts = Vec::new();
    for (prefix, path) in all {
        let name = prefix.trim_end_matches('/');
        let split = if are_parts { split_of_part(name, &path)? } else { name.parse().ok() };
        if !are_parts && !name.is_empty() && split.is_none() {
            // A table in a class's folder says nothing of the dataset.
            continue;
        }
        // A table without labels says nothing of classes: the folders may.
        let Some(table) = manifest::labelled_table(&path)? else { return Ok(None) };
        parts.push(Part { prefix, path, split, table });
    }
    if parts.is_empty() {
        return Ok(None);
    }
    agree_on_names(&mut parts)?;
    let mut images = Vec::new();
    for Part { prefix, path, split, table } in parts {
        let described = manifest::of_table(&table, &path)?;
        images.extend(described.into_iter().map(|image| Described {
            key: format!("{prefix}{}", image.key),
            split: image.split.or(split),
            ..image
        }));
    }
    let left_out = if are_parts { Vec::new() } else { unnamed(folder, &images)? };
    Ok(Some(Found { images, left_out }))
}

/// Gives all parts the class names of those that have some, which have to be the same.
fn agree_on_names(parts: &mut [Part]) -> Result<(), DataError> {
    let named =
        parts.iter().find_map(|part| Some((part.path.clone(), manifest::class_names(&part.table)?.clone())));
    let Some((first, names)) = named else { return Ok(()) };
    for part in parts {
        if manifest::class_names(&part.table).is_some_and(|own| *own != names) {
            return Err(DataError::Listing {
                place: part.path.display().to_string(),
                problem: format!("its class names are not those of {}: give both the same", first.display()),
            });
        }
        manifest::name_classes(&mut part.table, &names);
    }
    Ok(())
}

/// The images below a folder that no table names.
fn unnamed(folder: &Path, images: &[Described]) -> Result<Vec<String>, DataError> {
    let path = |image: &ImageFile| match image {
        ImageFile::Path(path) => Some(path.clone()),
        _ => None,
    };
    let named: HashSet<PathBuf> = images.iter().filter_map(|image| path(&image.image)).collect();
    let below = ImageFile::in_folder(folder)?;
    let others = below.iter().filter_map(path).filter(|image| !named.contains(image));
    Ok(others.map(|image| image.strip_prefix(folder).unwrap_or(&image).display().to_string()).collect())
}

/// The split in a table's name: `train` in `train-00000-of-00002`, which has to be one.
fn split_of_part(name: &str, path: &Path) -> Result<Option<Split>, DataError> {
    let (split, part) = name.split_once('-').unwrap_or((name, ""));
    match split.parse() {
        Ok(split) => Ok(Some(split)),
        Err(_) if part.contains("-of-") => {
            Err(DataError::UnknownSplit { place: path.display().to_string(), found: split.to_owned() })
        }
        Err(_) => Ok(None),
    }
}
