//! Splits as CoOp and its successors share them, `split_zhou_*.json`.
//!
//! One object with the lists `train`, `val` and `test`; an entry is `[path of the image, number of the class,
//! its name]`, the path relative to the dataset's image folder. The file does not say which folder that is.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Described, Split};
use crate::text_file::without_mark;
use crate::{DataError, ImageFile, image_folder};

/// What names of such files begin with.
const PREFIX: &str = "split_zhou_";

/// Path, number and name of the class.
type Entry = (String, usize, String);

#[derive(Deserialize)]
struct SplitFile {
    train: Vec<Entry>,
    val: Vec<Entry>,
    test: Vec<Entry>,
}

/// The split file in `folder`, if there is one.
pub(super) fn in_folder(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find(|path| is_split_file(path))
}

/// Whether a file is named as such a split.
pub(super) fn is_split_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(".json")
}

/// Reads the split at `path`. Its images are looked for in the folder `images` beside it, if one is named,
/// else in the folder of the file and those below it.
pub(super) fn read(path: &Path, images: Option<&str>) -> Result<Vec<Described>, DataError> {
    let text = fs::read(path).map_err(DataError::at(path))?;
    let wrong = |problem: String| DataError::Listing { place: path.display().to_string(), problem };
    let file: SplitFile = serde_json::from_slice(without_mark(&text)).map_err(|error| {
        wrong(format!("{error}: lists `train`, `val` and `test` of [path, number, name] are expected"))
    })?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let entries = || file.train.iter().chain(&file.val).chain(&file.test);
    let Some((first, ..)) = entries().next() else { return Ok(Vec::new()) };
    let folder = match images {
        Some(images) => beside.join(images),
        None => image_folder::with_image(beside, first).ok_or_else(|| {
            wrong(format!("its first image `{first}` is in no folder beside it: put the images there"))
        })?,
    };
    let parts = [(&file.train, Split::Train), (&file.val, Split::Validation), (&file.test, Split::Test)];
    let mut described = Vec::with_capacity(entries().count());
    for (entries, split) in parts {
        for (key, number, label) in entries {
            let image = folder.join(key);
            if !image.is_file() {
                let (place, image) = (path.display().to_string(), image.display().to_string());
                return Err(DataError::MissingImage { place, image });
            }
            described.push(Described {
                key: key.clone(),
                image: ImageFile::Path(image),
                label: label.clone(),
                number: Some(*number),
                domain: None,
                split: Some(split),
            });
        }
    }
    Ok(described)
}
