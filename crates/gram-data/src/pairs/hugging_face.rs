//! Pairs from a folder as Hugging Face's `datasets` reads and writes it.
//!
//! A folder of images has a `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, whose column `file_name` names them
//! (`ImageFolder`), itself or in the folders inside it, as `train` and `test`. A dataset of the hub is one or more
//! Parquet tables, `train-00000-of-00002.parquet`, which hold the images.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Collector, Pairs, SkipCause, Skipped, manifest};
use crate::archive::archive_stem;
use crate::image_folder::sub_folders;
use crate::{DataError, ImageFile};

/// What the table beside images is called, the better name first.
const METADATA: [&str; 3] = ["metadata.jsonl", "metadata.csv", "metadata.parquet"];

/// The tables of a folder.
pub(super) enum Tables {
    /// Of images, each with what its keys begin with.
    Metadata(Vec<(String, PathBuf)>),
    /// With the images in them, the same.
    Whole(Vec<(String, PathBuf)>),
}

/// The tables in `folder`; nothing if there are none, or shards, which come first.
pub(super) fn tables(folder: &Path) -> Result<Option<Tables>, DataError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<PathBuf> =
        entries.map_err(DataError::at(folder))?.iter().map(fs::DirEntry::path).collect();
    files.sort();
    if files.iter().any(|path| archive_stem(path).is_some()) {
        return Ok(None);
    }
    if let Some(own) = metadata_of(folder) {
        return Ok(Some(Tables::Metadata(vec![(String::new(), own)])));
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let inside: Vec<_> = sub_folders(folder)
        .iter()
        .filter_map(|folder| Some((format!("{}/", name(folder)), metadata_of(folder)?)))
        .collect();
    if !inside.is_empty() {
        return Ok(Some(Tables::Metadata(inside)));
    }
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let stem = |path: &Path| format!("{}/", path.file_stem().unwrap_or_default().to_string_lossy());
    let whole: Vec<_> = files.into_iter().filter(is_table).map(|path| (stem(&path), path)).collect();
    Ok((!whole.is_empty()).then_some(Tables::Whole(whole)))
}

fn metadata_of(folder: &Path) -> Option<PathBuf> {
    METADATA.into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads the pairs of such tables. An image beside a table that names it in no row has no caption.
pub(super) fn read(folder: &Path, tables: &Tables, keep_metadata: bool) -> Result<Pairs, DataError> {
    let mut collector = Collector::default();
    let mut named = HashSet::new();
    let is_folder = matches!(tables, Tables::Metadata(_));
    let (Tables::Metadata(all) | Tables::Whole(all)) = tables;
    for (prefix, path) in all {
        let mut name = |image: PathBuf| {
            if is_folder {
                named.insert(image);
            }
        };
        manifest::read_into(&mut collector, path, prefix, keep_metadata, &mut name)?;
    }
    for image in if is_folder { ImageFile::in_folder(folder)? } else { Vec::new() } {
        if !matches!(&image, ImageFile::Path(path) if named.contains(path)) {
            let detail = Some("no row of the metadata names it".to_owned());
            collector.skip(Skipped { name: image.name().into_owned(), cause: SkipCause::NoCaption, detail });
        }
    }
    Ok(collector.collected)
}
