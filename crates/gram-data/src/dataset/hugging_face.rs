//! A dataset from a folder as Hugging Face's `datasets` reads and writes it: tables of images and labels, or
//! a table beside images.

use std::path::Path;

use super::{Described, Split, manifest};
use crate::DataError;
use crate::hugging_face::{Tables, tables};

/// Reads the dataset in `folder`, if it has such tables, and labels in them.
///
/// Splits are in the names of the tables, `train-00000-of-00002.parquet` or `train/metadata.csv`. A column
/// `split` comes first.
pub(super) fn read(folder: &Path) -> Result<Option<Vec<Described>>, DataError> {
    let (all, are_parts) = match tables(folder)? {
        Some(Tables::Metadata(all)) => (all, false),
        Some(Tables::Whole(all)) => (all, true),
        None => return Ok(None),
    };
    let mut images = Vec::new();
    for (prefix, path) in all {
        // A table without labels says nothing of classes: the folders may.
        let Some(described) = manifest::read_if_labelled(&path)? else { return Ok(None) };
        let name = prefix.trim_end_matches('/');
        let split = if are_parts { split_of_part(name, &path)? } else { name.parse().ok() };
        images.extend(described.into_iter().map(|image| Described {
            key: format!("{prefix}{}", image.key),
            split: image.split.or(split),
            ..image
        }));
    }
    Ok(Some(images))
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
