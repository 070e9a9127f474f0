//! A dataset from a folder per class, or from such folders inside `train`, `val` (or `validation`) and `test`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Described, Split};
use crate::image_file::has_image_extension;
use crate::{DataError, ImageFile};

/// A file or folder with its name.
type Named = (String, PathBuf);

/// Reads the dataset in `folder`.
pub(super) fn read(folder: &Path) -> Result<Vec<Described>, DataError> {
    let folders = sub_folders(folder)?;
    let mut images = Vec::new();
    if is_divided(&folders)? {
        for (name, path) in folders {
            let unknown =
                |_| DataError::UnknownSplit { place: path.display().to_string(), found: name.clone() };
            let split: Split = name.parse().map_err(unknown)?;
            read_classes(&path, &format!("{name}/"), Some(split), &mut images)?;
        }
    } else {
        read_classes(folder, "", None, &mut images)?;
    }
    Ok(images)
}

/// Whether some folder is named as a split and holds folders itself: one that holds images is a class of that name.
fn is_divided(folders: &[Named]) -> Result<bool, DataError> {
    for (_, path) in folders.iter().filter(|(name, _)| name.parse::<Split>().is_ok()) {
        if !sub_folders(path)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the images in a folder for each class.
pub(super) fn read_classes(
    folder: &Path,
    prefix: &str,
    split: Option<Split>,
    images: &mut Vec<Described>,
) -> Result<(), DataError> {
    for (label, path) in sub_folders(folder)? {
        let files: Vec<Named> = visible(&path)?
            .into_iter()
            .filter(|(name, path)| has_image_extension(name) && path.is_file())
            .collect();
        if files.is_empty() {
            return Err(DataError::NoImages { name: path.display().to_string() });
        }
        images.extend(files.into_iter().map(|(name, path)| Described {
            key: format!("{prefix}{label}/{name}"),
            image: ImageFile::Path(path),
            label: label.clone(),
            number: None,
            domain: None,
            split,
        }));
    }
    Ok(())
}

fn sub_folders(folder: &Path) -> Result<Vec<Named>, DataError> {
    Ok(visible(folder)?.into_iter().filter(|(_, path)| path.is_dir()).collect())
}

/// What a folder holds, sorted by name, without what is hidden.
fn visible(folder: &Path) -> Result<Vec<Named>, DataError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let named = |entry: &fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path());
    let mut entries: Vec<Named> = entries.map_err(DataError::at(folder))?.iter().map(named).collect();
    entries.retain(|(name, _)| !name.starts_with('.'));
    entries.sort();
    Ok(entries)
}
