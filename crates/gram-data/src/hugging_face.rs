//! Folders as Hugging Face's `datasets` reads and writes them.
//!
//! A folder of images has a `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, whose column `file_name`
//! names them (`ImageFolder`), itself or in the folders inside it, as `train` and `test`. A dataset of the
//! hub is one or more Parquet tables, `train-00000-of-00002.parquet`, which hold the images, in its folder or
//! in `data` inside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::archive::archive_stem;
use crate::image_folder::sub_folders;

/// What the table beside images is called, the better name first.
const METADATA: [&str; 3] = ["metadata.jsonl", "metadata.csv", "metadata.parquet"];

/// Where a dataset of the hub keeps its tables.
const DATA: &str = "data";

/// The tables of a folder.
pub(crate) enum Tables {
    /// Of images, each with what its keys begin with.
    Metadata(Vec<(String, PathBuf)>),
    /// With the images in them, the same.
    Whole(Vec<(String, PathBuf)>),
}

/// The tables in `folder`; nothing if there are none, or shards, which come first.
pub(crate) fn tables(folder: &Path) -> Result<Option<Tables>, DataError> {
    let files = files(folder)?;
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
    // What lies beside `data` is no part of the dataset.
    let inside = folder.join(DATA);
    let mut whole = if inside.is_dir() { parquet(self::files(&inside)?) } else { Vec::new() };
    if whole.is_empty() {
        whole = parquet(files);
    }
    check_parts(folder, &whole)?;
    Ok((!whole.is_empty()).then_some(Tables::Whole(whole)))
}

/// Checks that of tables like `train-00000-of-00002` as many are there as their names say.
fn check_parts(folder: &Path, tables: &[(String, PathBuf)]) -> Result<(), DataError> {
    let mut parts: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for (name, _) in tables {
        let part = || {
            let (before, all) = name.trim_end_matches('/').split_once("-of-")?;
            let (split, _) = before.rsplit_once('-')?;
            Some((split, all.split('-').next()?.parse().ok()?))
        };
        if let Some(part) = part() {
            *parts.entry(part).or_default() += 1;
        }
    }
    match parts.iter().find(|((_, all), found)| *found != all) {
        None => Ok(()),
        Some(((split, all), found)) => Err(DataError::Listing {
            place: folder.display().to_string(),
            problem: format!("{found} of the {all} tables of `{split}` are there: fetch the others"),
        }),
    }
}

/// The files of a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<PathBuf> =
        entries.map_err(DataError::at(folder))?.iter().map(fs::DirEntry::path).collect();
    files.sort();
    Ok(files)
}

/// The Parquet tables among files, each with its name, as what its keys begin with.
fn parquet(files: Vec<PathBuf>) -> Vec<(String, PathBuf)> {
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let stem = |path: &Path| format!("{}/", path.file_stem().unwrap_or_default().to_string_lossy());
    files.into_iter().filter(is_table).map(|path| (stem(&path), path)).collect()
}

fn metadata_of(folder: &Path) -> Option<PathBuf> {
    METADATA.into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
