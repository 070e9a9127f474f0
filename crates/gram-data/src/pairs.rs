//! Image-text pairs: what pre-training, clustering and meta-training learn from.
//!
//! A source is a WebDataset shard (a tar archive in which `dog.jpg`, `dog.txt` and, if there is one,
//! `dog.json` are the image, caption and metadata of the pair `dog`), a folder of shards as img2dataset
//! writes it, a manifest (a table with a column of images and one of captions), or a folder of images or
//! tables as Hugging Face's `datasets` has them. What cannot be used is left out, and counted by its cause;
//! no single pair, row or shard stops the reading.
//!
//! Sources have millions of pairs. Images stay on disk until they are decoded. Metadata take more room than
//! captions in web data, and only studies of labelled pairs ask for them: [`read_pairs_with_metadata`] alone
//! keeps them.

mod collector;
mod hugging_face;
mod manifest;
mod portable;
mod shards;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::Value;

pub use collector::UniqueKeys;

use collector::Collector;

use crate::archive::archive_stem;
use crate::fingerprint::{self, Fingerprinting};
use crate::whole_file::write_whole;
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
    /// Whatever else the source says about the pair, if that was asked for and can be read.
    pub metadata: Option<Value>,
}

/// All pairs of a source, in its order.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// What they are a copy of, if they are one.
    pub copy_of: Option<CopyOf>,
}

/// Files that were copied from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOf {
    /// Where the files were, such as a URL.
    pub place: String,
    /// Where the copies of them are.
    pub copy: PathBuf,
}

/// Something of a source that is no pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its key, or the row of the manifest, the member of the shard or the shard where that says more.
    pub name: String,
    /// Why it was left out.
    pub cause: SkipCause,
    /// What exactly is wrong, where the cause leaves that open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why something is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipCause {
    /// There is no image, or the one that is named does not exist.
    NoImage,
    /// The image cannot be decoded. Whoever decodes it says so.
    UnreadableImage,
    /// The image is named by its address on the web.
    NotDownloaded,
    /// There is no caption.
    NoCaption,
    /// The caption is blank.
    EmptyCaption,
    /// The caption is not UTF-8.
    UnreadableCaption,
    /// A row of a manifest has another number of fields than its first line, a quote that never closes, is no
    /// JSON object or is not UTF-8, or the manifest breaks off there.
    BadRow,
    /// A member of a shard is no part of a pair: its name has no extension or begins with a dot, or it is one
    /// of several images or captions of a key and its name does not say of which pair.
    NoPart,
    /// A feature of the pair is zero, infinite or no number.
    BadFeature,
    /// A shard is damaged, cut short or cannot be opened: what it holds from there on is left out.
    DamagedShard,
    /// An earlier pair has the same image, byte for byte (in a manifest: the same file), and the same
    /// caption.
    Duplicate,
    /// An earlier pair was given this key, or this pair has its image, caption or metadata already.
    DuplicateKey,
}

impl fmt::Display for SkipCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoImage => "no image",
            Self::UnreadableImage => "unreadable image",
            Self::NotDownloaded => "image not downloaded",
            Self::NoCaption => "no caption",
            Self::EmptyCaption => "empty caption",
            Self::UnreadableCaption => "caption is not UTF-8",
            Self::BadRow => "bad row",
            Self::NoPart => "no part of a pair",
            Self::BadFeature => "bad feature",
            Self::DamagedShard => "damaged shard",
            Self::Duplicate => "duplicate",
            Self::DuplicateKey => "duplicate key",
        })
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        write!(formatter, "{}{detail}", self.name)
    }
}

impl Serialize for SkipCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

    /// What was left out in words, for a log: "3 skipped: 2 no image, 1 empty caption". Where rows are bad,
    /// the first of them is quoted.
    pub fn skipped_summary(&self) -> String {
        let causes: Vec<_> =
            self.skipped_by_cause().iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let bad = self.skipped.iter().find(|skipped| skipped.cause == SkipCause::BadRow);
        let quoted = bad.map(|bad| format!("; first bad row {bad}")).unwrap_or_default();
        match self.skipped.len() {
            0 => "nothing skipped".to_owned(),
            count => format!("{count} skipped: {}{quoted}", causes.join(", ")),
        }
    }

    /// Writes what was left out into the file `path`, whole or not at all: a JSON object a line, with `name`,
    /// `cause` in the words of [`skipped_summary`](Self::skipped_summary) and, where there is one, `detail`.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be written.
    pub fn write_skipped(&self, path: &Path) -> Result<(), DataError> {
        let mut lines = Vec::new();
        for skipped in &self.skipped {
            serde_json::to_writer(&mut lines, skipped).map_err(|error| DataError::at(path)(error.into()))?;
            lines.push(b'\n');
        }
        write_whole(path, &lines).map_err(DataError::at(path))
    }

    /// What tells these pairs from all others: 32 hexadecimal digits over their keys, their captions and what
    /// their images hold, in their order. Every image is read, side by side, and not decoded; one that cannot
    /// be read counts as such. Metadata do not count, nor does where the images lie.
    pub fn fingerprint(&self) -> String {
        let images: Vec<&ImageFile> = self.pairs.iter().map(|pair| &pair.image).collect();
        let mut all = Fingerprinting::default();
        all.number(self.pairs.len());
        for (pair, content) in self.pairs.iter().zip(fingerprint::of_contents(&images)) {
            all.text(&pair.key);
            all.text(&pair.caption);
            all.content(content);
        }
        fingerprint::digits(all.finish())
    }

    /// Where the image of a pair comes from.
    pub fn origin(&self, pair: &Pair) -> String {
        self.by_origin(&pair.image.name())
    }

    /// A text that names files, with the place that they were copied from.
    pub fn by_origin(&self, text: &str) -> String {
        match &self.copy_of {
            Some(CopyOf { place, copy }) => {
                text.replace(&*copy.to_string_lossy(), place.trim_end_matches('/'))
            }
            None => text.to_owned(),
        }
    }

    /// The pairs, or that `source` has none and the first reason why.
    fn not_empty(self, source: &str) -> Result<Self, DataError> {
        if !self.pairs.is_empty() {
            return Ok(self);
        }
        let mut skipped = self.skipped_summary();
        if let Some(first) = self.skipped.first().filter(|first| first.cause != SkipCause::BadRow) {
            skipped += &format!("; first {first}");
        }
        Err(DataError::NoPairs { name: source.to_owned(), skipped })
    }
}

/// Reads all pairs of `source`, without metadata:
///
/// - a shard (`*.tar`, `*.tar.gz`, `*.tgz`), or a folder of shards, in the order of their names; a pair's key
///   then begins with its shard's name,
/// - a manifest (`*.tsv`, `*.csv`, `*.jsonl`, `*.json`, these also compressed as `*.gz`, or `*.parquet`), or
///   the list of captions of Flickr8k or Flickr30k (`*.txt`, `*.token`),
/// - a folder of images with `metadata.jsonl`, `metadata.csv` or `metadata.parquet`, or of Parquet tables, as
///   Hugging Face's `datasets` has them; keys then begin with the name of the folder inside it, or of the
///   table.
///
/// Images in plain shards stay in their files; those in compressed ones and in tables are held in memory,
/// encoded. Other files in a folder of shards, such as img2dataset's `00000.parquet` and `00000_stats.json`,
/// are not looked at.
///
/// A manifest's images are relative to its folder, to one in it that has the first of them, or absolute.
/// Several captions of an image are as many pairs. A column `key` names the pairs, else the image does, and
/// pairs of one image are then called `a.jpg`, `a.jpg#1`, `a.jpg#2`, and so on.
///
/// # Errors
/// If the source is of no known kind, cannot be opened, lacks a column, or has no pair that can be used.
pub fn read_pairs(source: &Path) -> Result<Pairs, DataError> {
    read(source, false)
}

/// As [`read_pairs`], and keeps metadata: a shard's `.json`, or the further columns of a manifest. Metadata
/// that is not JSON is left out, and its pair stays; numbers that are none, which Python writes as `NaN`, are
/// null.
///
/// # Errors
/// As [`read_pairs`].
pub fn read_pairs_with_metadata(source: &Path) -> Result<Pairs, DataError> {
    read(source, true)
}

fn read(source: &Path, keep_metadata: bool) -> Result<Pairs, DataError> {
    let kind = fs::metadata(source).map_err(DataError::at(source))?;
    let pairs = if kind.is_dir() {
        match crate::hugging_face::tables(source)? {
            Some(tables) => hugging_face::read(source, &tables, keep_metadata)?,
            None => shards::read_folder(source, keep_metadata)?,
        }
    } else if archive_stem(source).is_some() {
        shards::read_file(source, keep_metadata)?
    } else if manifest::is_manifest(source) {
        manifest::read(source, keep_metadata)?
    } else {
        let expected = "a shard (.tar, .tar.gz, .tgz), a folder of shards, or a manifest (.tsv, .csv, .jsonl, .json, \
                        .parquet)";
        return Err(DataError::UnknownSource { path: source.to_path_buf(), expected });
    };
    pairs.not_empty(&source.display().to_string())
}

/// Reads a WebDataset shard, plain or compressed with gzip, from any reader, with its metadata; `name` is for
/// messages. Images are held in memory, encoded.
///
/// # Errors
/// If it has no pair that can be used. From a shard that is damaged, cut short, or has a member above 256 MB
/// come the pairs before that.
///
/// ```no_run
/// # fn main() -> Result<(), gram_data::DataError> {
/// let pairs = gram_data::read_shard("pairs.tar", std::io::stdin())?;
/// eprintln!("{} pairs, {}", pairs.pairs.len(), pairs.skipped_summary());
/// # Ok(())
/// # }
/// ```
pub fn read_shard(name: &str, reader: impl Read) -> Result<Pairs, DataError> {
    shards::read(name, reader).not_empty(name)
}

/// The caption without surrounding white space, if it says anything.
fn caption(text: Option<&str>) -> Result<String, SkipCause> {
    match text.ok_or(SkipCause::NoCaption)?.trim_start_matches('\u{feff}').trim() {
        "" => Err(SkipCause::EmptyCaption),
        caption => Ok(caption.to_owned()),
    }
}
