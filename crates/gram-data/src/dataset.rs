//! Labelled datasets: what a prompt is tuned and tested on.
//!
//! A dataset is a folder per class, such folders inside `train`, `val` (or `validation`) and `test`, a manifest (a
//! table with columns `image`, `label` and, if known, `split` and `domain`), or a dataset archive: a tar archive with a
//! `manifest.csv` and the images it names. Where the source divides nothing, a fixed, class-balanced division into
//! 60 % training, 20 % validation and 20 % test images is made, the same on every machine.

mod archive;
mod folder;
mod manifest;
mod split;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use crate::archive::archive_stem;
use crate::table::Table;
use crate::{ClassSubset, DataError, ImageFile};

pub use split::{Split, UnknownSplitName};

/// Images with a class each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledDataset {
    /// The dataset's name.
    pub name: String,
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// Domain names, sorted; empty if the dataset knows none.
    pub domains: Vec<String>,
    /// All images of all splits.
    pub images: Vec<LabelledImage>,
}

/// An image of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    /// The image.
    pub image: ImageFile,
    /// Its class, an index into [`LabelledDataset::classes`].
    pub class: usize,
    /// Its domain, an index into [`LabelledDataset::domains`], if known.
    pub domain: Option<usize>,
    /// What it is used for.
    pub split: Split,
}

/// An image as its source describes it.
struct Described {
    /// Its path in the source with `/` on every platform: the source of its place in a division that is made here.
    key: String,
    image: ImageFile,
    label: String,
    domain: Option<String>,
    split: Option<Split>,
}

impl LabelledDataset {
    /// Opens a dataset: a folder, a manifest (`*.csv`, `*.tsv`, `*.jsonl`, `*.parquet`) or a dataset archive (`*.tar`,
    /// `*.tar.gz`, `*.tgz`). A folder with a `manifest.csv` is opened by that manifest.
    ///
    /// # Errors
    /// If the source is of no known kind or cannot be read, a split is unknown, an image is missing or listed twice, or
    /// there are no images or only one class. Images are not decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let kind = fs::metadata(path).map_err(DataError::at(path))?;
        let listed = path.join("manifest.csv");
        if kind.is_dir() {
            let described = if listed.is_file() { manifest::read(&listed)? } else { folder::read(path)? };
            Self::assemble(&file_name(path), described)
        } else if let Some(stem) = archive_stem(path) {
            let file = File::open(path).map_err(DataError::at(path))?;
            let described = archive::read(&path.display().to_string(), BufReader::new(file))?;
            Self::assemble(&stem, described)
        } else if Table::is_table(path) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            Self::assemble(&stem, manifest::read(path)?)
        } else {
            let expected = "a folder per class, a manifest (.csv, .tsv, .jsonl, .parquet) \
                            or a dataset archive (.tar, .tar.gz, .tgz)";
            Err(DataError::UnknownSource { path: path.to_path_buf(), expected })
        }
    }

    /// Reads a dataset archive, plain or compressed with gzip, from any reader.
    ///
    /// # Errors
    /// As [`open`](Self::open); also if it is no tar archive, damaged, cut short, or has a member above 256 MB.
    pub fn from_archive(name: &str, reader: impl Read) -> Result<Self, DataError> {
        Self::assemble(name, archive::read(name, reader)?)
    }

    /// The names of a subset's classes, in the order of its labels.
    pub fn class_names(&self, classes: ClassSubset) -> &[String] {
        &self.classes[classes.indices(self.classes.len())]
    }

    /// Indices into [`images`](Self::images) of a split's images, of some classes, and of one domain if it is given.
    ///
    /// Labels inside the subset are given by [`ClassSubset::label`].
    pub fn select(&self, split: Split, classes: ClassSubset, domain: Option<usize>) -> Vec<usize> {
        let range = classes.indices(self.classes.len());
        let chosen = |image: &LabelledImage| {
            image.split == split
                && range.contains(&image.class)
                && domain.is_none_or(|domain| image.domain == Some(domain))
        };
        (0..self.images.len()).filter(|&index| chosen(&self.images[index])).collect()
    }

    /// Numbers the classes and domains, and divides the images if their source did not.
    fn assemble(name: &str, described: Vec<Described>) -> Result<Self, DataError> {
        let classes = sorted(described.iter().map(|image| image.label.as_str()));
        let domains = sorted(described.iter().filter_map(|image| image.domain.as_deref()));
        match classes.as_slice() {
            [] => return Err(DataError::NoImages { name: name.to_owned() }),
            [class] => return Err(DataError::OneClass { name: name.to_owned(), class: class.clone() }),
            _ => {}
        }
        let splits = split::divide(&described);
        let images = described.into_iter().zip(splits).map(|(image, split)| LabelledImage {
            class: position(&classes, &image.label),
            domain: image.domain.map(|domain| position(&domains, &domain)),
            image: image.image,
            split,
        });
        let images = images.collect();
        Ok(Self { name: name.to_owned(), classes, domains, images })
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

/// The position of a name that is among `names`, which are sorted.
fn position(names: &[String], name: &str) -> usize {
    names.partition_point(|other| other.as_str() < name)
}

/// The last part of a path, also of one like `.`.
fn file_name(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    whole.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
