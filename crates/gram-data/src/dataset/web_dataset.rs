//! A dataset from WebDataset shards as CLIP_benchmark keeps them.
//!
//! Beside the folders `train` and `test` lies `classnames.txt`, a name on each line, and, if the dataset has sentences of its
//! own, `zeroshot_classification_templates.txt`. A folder holds `0.tar`, `1.tar`, …, and their number in `nshards.txt`; the
//! members of one key are an image and its class's number, `KEY.cls`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Described, Split};
use crate::archive::{Member, archive_stem, read_members};
use crate::image_file::has_image_extension;
use crate::{DataError, ImageFile};

const NAMES: &str = "classnames.txt";
const TEMPLATES: &str = "zeroshot_classification_templates.txt";
const SHARDS: &str = "nshards.txt";
const CLASS: &str = ".cls";

/// Whether `folder` is such a dataset.
pub(super) fn is_one(folder: &Path) -> bool {
    folder.join(NAMES).is_file() && splits(folder).iter().any(|(_, folder)| !shards(folder).is_empty())
}

/// Reads the dataset in `folder`. Its images stay in memory, encoded.
pub(super) fn read(folder: &Path) -> Result<Vec<Described>, DataError> {
    let path = folder.join(NAMES);
    let names = fs::read_to_string(&path).map_err(DataError::at(&path))?;
    let names: Vec<&str> = names.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut described = Vec::new();
    for (split, folder) in splits(folder) {
        let shards = shards(&folder);
        check_number(&folder, shards.len())?;
        for shard in shards {
            described.extend(read_shard(&shard, &names, split)?);
        }
    }
    Ok(described)
}

/// The sentences for zero-shot classification that lie beside the shards: a line each, with `{c}` where the name goes.
pub(super) fn templates(folder: &Path) -> Result<Vec<String>, DataError> {
    let path = folder.join(TEMPLATES);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(DataError::at(&path)(error)),
    }
}

/// Checks that as many shards are there as the folder says, if it says so.
fn check_number(folder: &Path, found: usize) -> Result<(), DataError> {
    let path = folder.join(SHARDS);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    if text.trim().parse() == Ok(found) {
        return Ok(());
    }
    Err(DataError::Listing {
        place: path.display().to_string(),
        problem: format!("{} shards are said to be here, {found} are: fetch the others", text.trim()),
    })
}

fn read_shard(path: &Path, names: &[&str], split: Split) -> Result<Vec<Described>, DataError> {
    let shard = path.display().to_string();
    let file = File::open(path).map_err(DataError::at(path))?;
    let wanted = |path: &str| path.ends_with(CLASS) || has_image_extension(path);
    let mut members: BTreeMap<String, Parts> = BTreeMap::new();
    for (path, content) in read_members(&shard, BufReader::new(file), wanted)? {
        let key = path.rsplit_once('.').map_or(path.as_str(), |(key, _)| key).to_owned();
        let parts = members.entry(key).or_default();
        match path.ends_with(CLASS) {
            true => parts.class = Some(content),
            false => parts.image = Some((path, content)),
        }
    }
    let wrong = |key: &str, problem: String| DataError::Listing { place: format!("{shard}: {key}"), problem };
    let describe = |(key, parts): (String, Parts)| {
        let (Some((path, bytes)), Some(class)) = (parts.image, parts.class) else {
            return Err(wrong(&key, "an image and its class's number (.cls) belong together".into()));
        };
        let text = String::from_utf8_lossy(&class).trim().to_owned();
        let number = text.parse().ok().filter(|number| *number < names.len());
        let number: usize = number.ok_or_else(|| {
            wrong(&key, format!("class `{text}`: a number below {} is expected, by {NAMES}", names.len()))
        })?;
        Ok(Described {
            key: format!("{split}/{path}"),
            image: ImageFile::Bytes { name: format!("{shard}: {path}"), bytes },
            label: names[number].to_owned(),
            number: Some(number),
            domain: None,
            split: Some(split),
        })
    };
    members.into_iter().map(describe).collect()
}

/// The members of one key.
#[derive(Default)]
struct Parts {
    image: Option<Member>,
    class: Option<Arc<[u8]>>,
}

/// The folders named as splits.
fn splits(folder: &Path) -> Vec<(Split, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = |entry: fs::DirEntry| {
        Some((entry.file_name().to_string_lossy().parse::<Split>().ok()?, entry.path()))
    };
    let mut folders: Vec<_> = entries.filter_map(named).collect();
    folders.sort();
    folders
}

/// The shards in a folder, by their numbers.
fn shards(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let path = entry.path();
        Some((archive_stem(&path)?.parse::<usize>().ok()?, path))
    };
    let mut shards: Vec<_> = entries.filter_map(number).collect();
    shards.sort();
    shards.into_iter().map(|(_, path)| path).collect()
}
