//! A dataset from WebDataset shards as CLIP_benchmark keeps them.
//!
//! Beside the folders `train` and `test` lies `classnames.txt`, a name on each line, and, if the dataset has
//! sentences of its own, `zeroshot_classification_templates.txt`. A folder holds `0.tar`, `1.tar`, …, and
//! their number in `nshards.txt`; the members of one key are an image and its class's number, `KEY.cls`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Described, Split};
use crate::archive::{Member, archive_stem, read_members};
use crate::member_name::MemberName;
use crate::text_file::{read_text, without_mark};
use crate::{DataError, ImageFile, UniqueKeys};

const NAMES: &str = "classnames.txt";
const CLASS: &str = "cls";
const TEMPLATES: &str = "zeroshot_classification_templates.txt";
const SHARDS: &str = "nshards.txt";

/// Whether `folder` is such a dataset.
pub(super) fn is_one(folder: &Path) -> bool {
    folder.join(NAMES).is_file() && splits(folder).iter().any(|(_, folder)| !shards(folder).is_empty())
}

/// Reads the dataset in `folder`. Its images stay in memory, encoded.
pub(super) fn read(folder: &Path) -> Result<Vec<Described>, DataError> {
    let text = read_text(&folder.join(NAMES))?;
    let names: Vec<&str> = text.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut described = Vec::new();
    // Keys may begin anew in every shard.
    let mut keys = UniqueKeys::default();
    for (split, folder) in splits(folder) {
        let shards = shards(&folder);
        check_number(&folder, shards.len())?;
        for shard in shards {
            let images = read_shard(&shard, &names, split)?.into_iter();
            described.extend(images.map(|image| Described { key: keys.unique(image.key), ..image }));
        }
    }
    Ok(described)
}

/// The sentences for zero-shot classification that lie beside the shards: a line each, with `{c}` where the
/// name goes.
pub(super) fn templates(folder: &Path) -> Result<Vec<String>, DataError> {
    let path = folder.join(TEMPLATES);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = read_text(&path)?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
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
    let wrong = |key: &str, problem: String| DataError::Listing { place: format!("{shard}: {key}"), problem };
    let describe = |sample: Sample| {
        let (Some((path, bytes)), Some(class)) = (sample.image, sample.class) else {
            return Err(wrong(&sample.key, "one image and its class's number (.cls) belong together".into()));
        };
        let text = String::from_utf8_lossy(without_mark(&class)).trim().to_owned();
        let number = text.parse().ok().filter(|number| *number < names.len());
        let number: usize = number.ok_or_else(|| {
            let problem = format!("class `{text}`: a number below {} is expected, by {NAMES}", names.len());
            wrong(&sample.key, problem)
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
    samples(path, &shard)?.into_iter().map(describe).collect()
}

/// The members of one key.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<Member>,
    class: Option<Arc<[u8]>>,
}

/// The samples of a shard. Where a sample has such a part already, its key begins another.
fn samples(path: &Path, shard: &str) -> Result<Vec<Sample>, DataError> {
    let file = File::open(path).map_err(DataError::at(path))?;
    let wanted = |path: &str| MemberName::of(path).is_some_and(|name| name.is(CLASS) || name.is_image());
    let mut samples: Vec<Sample> = Vec::new();
    let mut last: HashMap<String, usize> = HashMap::new();
    for (path, content) in read_members(shard, BufReader::new(file), wanted)? {
        let Some(name) = MemberName::of(&path) else { continue };
        let is_class = name.is(CLASS);
        let has_part = |index: &usize| match is_class {
            true => samples[*index].class.is_some(),
            false => samples[*index].image.is_some(),
        };
        let index = last.get(name.key).copied().filter(|index| !has_part(index)).unwrap_or_else(|| {
            samples.push(Sample { key: name.key.to_owned(), ..Sample::default() });
            samples.len() - 1
        });
        last.insert(name.key.to_owned(), index);
        match is_class {
            true => samples[index].class = Some(content),
            false => samples[index].image = Some((path, content)),
        }
    }
    Ok(samples)
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
