//! Image-text pairs: what pre-training, clustering and meta-training learn from.
//!
//! A source is a WebDataset shard (a tar archive in which `dog.jpg`, `dog.txt` and, if there is one, `dog.json` are the
//! image, caption and metadata of the pair `dog`), a folder of shards, or a manifest (a table with columns `image` and
//! `caption`). What cannot be used is left out, and counted by its cause.

mod manifest;
mod shards;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::archive::archive_stem;
use crate::table::Table;
use crate::{DataError, ImageFile};

/// An image with a caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The pair's name, unique in its source.
    pub key: String,
    /// The image.
    pub image: ImageFile,
    /// What the image shows, in words; never blank.
    pub caption: String,
    /// Whatever else the source says about the pair.
    pub metadata: Option<Value>,
}

/// All pairs of a source, in its order.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Something of a source that is no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its key, with the row of the manifest or the member of the shard where that says more.
    pub name: String,
    /// Why it was left out.
    pub cause: SkipCause,
}

/// Why something is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipCause {
    /// There is no image, or the one that is named does not exist.
    NoImage,
    /// There is no caption.
    NoCaption,
    /// The caption is blank.
    EmptyCaption,
    /// The caption is not UTF-8.
    UnreadableCaption,
    /// The metadata is not JSON.
    UnreadableJson,
    /// An earlier pair has this key, or this pair has its image, caption or metadata already.
    DuplicateKey,
}

impl fmt::Display for SkipCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoImage => "no image",
            Self::NoCaption => "no caption",
            Self::EmptyCaption => "empty caption",
            Self::UnreadableCaption => "caption is not UTF-8",
            Self::UnreadableJson => "metadata is not JSON",
            Self::DuplicateKey => "duplicate key",
        })
    }
}

impl Pairs {
    /// How much was left out for each cause.
    pub fn skipped_by_cause(&self) -> BTreeMap<SkipCause, usize> {
        let mut counts = BTreeMap::new();
        for skipped in &self.skipped {
            *counts.entry(skipped.cause).or_default() += 1;
        }
        counts
    }

    /// What was left out in words, for a log: "3 skipped: 2 no image, 1 empty caption".
    pub fn skipped_summary(&self) -> String {
        let causes: Vec<_> =
            self.skipped_by_cause().iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        match self.skipped.len() {
            0 => "nothing skipped".to_owned(),
            count => format!("{count} skipped: {}", causes.join(", ")),
        }
    }
}

/// Reads all pairs of `source`: a shard (`*.tar`, `*.tar.gz`, `*.tgz`), a folder of shards (in the order of their
/// names; a pair's key then begins with its shard's name), or a manifest (`*.tsv`, `*.csv`, `*.jsonl`, `*.parquet`).
///
/// A manifest's images are relative to its folder, or absolute. A column `key` names the pairs, else the image does;
/// further columns become metadata.
///
/// # Errors
/// If the source is of no known kind, cannot be read, or has no pair that can be used.
pub fn read_pairs(source: &Path) -> Result<Pairs, DataError> {
    let kind = fs::metadata(source).map_err(DataError::at(source))?;
    let pairs = if kind.is_dir() {
        shards::read_folder(source)?
    } else if archive_stem(source).is_some() {
        shards::read_file(source)?
    } else if Table::is_table(source) {
        manifest::read(source)?
    } else {
        let expected =
            "a shard (.tar, .tar.gz, .tgz), a folder of shards, or a manifest (.tsv, .csv, .jsonl, .parquet)";
        return Err(DataError::UnknownSource { path: source.to_path_buf(), expected });
    };
    if pairs.pairs.is_empty() {
        return Err(DataError::NoPairs { path: source.to_path_buf(), skipped: pairs.skipped_summary() });
    }
    Ok(pairs)
}

/// Reads a WebDataset shard, plain or compressed with gzip, from any reader; `name` is for messages.
///
/// # Errors
/// If it is no tar archive, damaged, cut short, or has a member above 256 MB.
///
/// ```no_run
/// # fn main() -> Result<(), gram_data::DataError> {
/// let pairs = gram_data::read_shard("pairs.tar", std::io::stdin())?;
/// eprintln!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary());
/// # Ok(())
/// # }
/// ```
pub fn read_shard(name: &str, reader: impl Read) -> Result<Pairs, DataError> {
    shards::read(name, reader)
}

/// Collects pairs under unique keys.
#[derive(Default)]
struct Collector {
    collected: Pairs,
    keys: HashSet<String>,
}

impl Collector {
    /// Adds `pair`, or notes why there is none, under `name`.
    fn add(&mut self, name: String, pair: Result<Pair, SkipCause>) {
        match pair {
            Ok(pair) if self.keys.insert(pair.key.clone()) => self.collected.pairs.push(pair),
            Ok(_) => self.skip(name, SkipCause::DuplicateKey),
            Err(cause) => self.skip(name, cause),
        }
    }

    fn skip(&mut self, name: String, cause: SkipCause) {
        self.collected.skipped.push(Skipped { name, cause });
    }
}

/// The caption without surrounding white space, if it says anything.
fn caption(text: Option<&str>) -> Result<String, SkipCause> {
    match text.ok_or(SkipCause::NoCaption)?.trim() {
        "" => Err(SkipCause::EmptyCaption),
        caption => Ok(caption.to_owned()),
    }
}
