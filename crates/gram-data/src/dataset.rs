//! Labelled datasets: what a prompt is tuned and tested on.
//!
//! A dataset is a folder per class, such folders inside `train`, `val` (or `valid`, `validation`) and `test`,
//! a manifest (a table with columns `image`, `label` and, if known, `split` and `domain`), a dataset archive
//! (a tar archive with a `manifest.csv` and the images it names), a standard benchmark in CoOp's folders
//! ([`Benchmark`]), a shared split (`split_zhou_*.json`), a folder of WebDataset shards as CLIP_benchmark
//! keeps them, or one of Hugging Face's: Parquet tables with images and labels, or a `metadata` table beside
//! images. Where the source divides nothing, a fixed, class-balanced division into 60 % training, 20 %
//! validation and 20 % test images is made, the same on every machine.

mod archive;
mod benchmark;
mod folder;
mod hugging_face;
mod image_net;
mod manifest;
mod split;
mod split_file;
mod web_dataset;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use crate::archive::archive_stem;
use crate::fingerprint::{self, Fingerprinting};
use crate::table::Table;
use crate::{ClassSubset, DataError, ImageFile, readable_name};

pub use benchmark::Benchmark;
pub use split::{Split, UnknownSplitName};

/// Images with a class each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelledDataset {
    /// The dataset's name.
    pub name: String,
    /// Class names: in the order of their numbers where the source has numbers, else sorted.
    pub classes: Vec<String>,
    /// Domain names, sorted; empty if the dataset knows none.
    pub domains: Vec<String>,
    /// All images of all splits.
    pub images: Vec<LabelledImage>,
    /// The benchmark that it is, if it is a known one.
    pub benchmark: Option<Benchmark>,
    /// Sentences that the dataset brings for zero-shot classification, with `{c}` or `{}` where the name
    /// goes; mostly none.
    pub templates: Vec<String>,
    /// What lies among its folders and is left out, by path: files that are no images, or are in no class.
    pub left_out: Vec<String>,
}

/// An image of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImage {
    /// Its path in the dataset, with `/` on every platform.
    pub key: String,
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
    /// Its path in the source with `/` on every platform: the source of its place in a division that is made
    /// here.
    key: String,
    image: ImageFile,
    label: String,
    /// The class's number, where the source has numbers: different classes may then have one name.
    number: Option<usize>,
    domain: Option<String>,
    split: Option<Split>,
}

impl LabelledDataset {
    /// Opens a dataset: a folder, a manifest (`*.csv`, `*.tsv`, `*.jsonl`, `*.parquet`), a shared split
    /// (`split_zhou_*.json`) or a dataset archive (`*.tar`, `*.tar.gz`, `*.tgz`). What a folder is, its
    /// content says; a `manifest.csv` in it comes first.
    ///
    /// # Errors
    /// If the source is of no known kind or cannot be read, a split is unknown, an image is missing or listed
    /// twice, or there are no images or only one class. Images are not decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let kind = fs::metadata(path).map_err(DataError::at(path))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if kind.is_dir() {
            Self::open_folder(path)
        } else if let Some(stem) = archive_stem(path) {
            let file = File::open(path).map_err(DataError::at(path))?;
            let described = archive::read(&path.display().to_string(), BufReader::new(file))?;
            Self::assemble(&stem, described)
        } else if split_file::is_split_file(path) {
            Self::assemble(&stem, split_file::read(path, None)?)
        } else if Table::is_table(path) {
            Self::assemble(&stem, manifest::read(path)?)
        } else {
            let expected = "a folder per class, a split (split_zhou_*.json), a manifest (.csv, .tsv, .jsonl, .parquet) \
                            or a dataset archive (.tar, .tar.gz, .tgz)";
            Err(DataError::UnknownSource { path: path.to_path_buf(), expected })
        }
    }

    /// Images with a label each, and what they are used for.
    ///
    /// # Errors
    /// If there are no images or only one class.
    pub fn of_images(
        name: &str,
        images: impl IntoIterator<Item = (ImageFile, String, Split)>,
    ) -> Result<Self, DataError> {
        let described = images.into_iter().enumerate().map(|(number, (image, label, split))| Described {
            key: number.to_string(),
            image,
            label,
            number: None,
            domain: None,
            split: Some(split),
        });
        Self::assemble(name, described.collect())
    }

    /// Opens the labels of a dataset whose images need not be there, for their features are: a table of them
    /// (`*.csv`, `*.tsv`, `*.jsonl`, `*.parquet`), of which images are not looked for, or what
    /// [`open`](Self::open) opens.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_labels(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        if !Self::is_table(path) {
            return Self::open(path);
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::assemble(&stem, manifest::read_labels(path)?)
    }

    /// Whether a path is that of a table of images and labels.
    pub fn is_table(path: &Path) -> bool {
        path.is_file() && !split_file::is_split_file(path) && Table::is_table(path)
    }

    fn open_folder(path: &Path) -> Result<Self, DataError> {
        let listed = path.join("manifest.csv");
        if listed.is_file() {
            return Self::assemble(&file_name(path), manifest::read(&listed)?);
        }
        if let Some(benchmark) = Benchmark::of_folder(path) {
            let dataset = Self::assemble(benchmark.key(), benchmark.read(path)?)?;
            return Ok(Self { benchmark: Some(benchmark), ..dataset });
        }
        let name = file_name(path);
        if let Some(split) = split_file::in_folder(path) {
            return Self::assemble(&name, split_file::read(&split, None)?);
        }
        if web_dataset::is_one(path) {
            let templates = web_dataset::templates(path)?;
            return Ok(Self { templates, ..Self::assemble(&name, web_dataset::read(path)?)? });
        }
        let folder::Found { images, left_out } = match hugging_face::read(path)? {
            Some(found) => found,
            None => folder::read(path)?,
        };
        Ok(Self { left_out, ..Self::assemble(&name, images)? })
    }

    /// Reads a dataset archive, plain or compressed with gzip, from any reader.
    ///
    /// # Errors
    /// As [`open`](Self::open); also if it is no tar archive, damaged, cut short, or has a member above 256
    /// MB.
    pub fn from_archive(name: &str, reader: impl Read) -> Result<Self, DataError> {
        Self::assemble(name, archive::read(name, reader)?)
    }

    /// The names of a subset's classes, in the order of its labels.
    pub fn class_names(&self, classes: ClassSubset) -> &[String] {
        &self.classes[classes.indices(self.classes.len())]
    }

    /// Indices into [`images`](Self::images) of a split's images, of some classes, and of one domain if it is
    /// given.
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

    /// What tells these images of this dataset from any others: 32 hexadecimal digits over the names of all
    /// classes and domains, and key, class, domain, split and content of each image, in the order given.
    /// Every image is read, side by side, and not decoded; one that cannot be read counts as such. The
    /// dataset's name and place do not count.
    pub fn fingerprint_of(&self, images: &[usize]) -> String {
        let contents: Vec<&ImageFile> = images.iter().map(|&index| &self.images[index].image).collect();
        self.fingerprint_with(images, fingerprint::of_contents(&contents))
    }

    /// As [`fingerprint_of`](Self::fingerprint_of), where something else stands for the content of each
    /// image.
    pub fn fingerprint_with(
        &self,
        images: &[usize],
        contents: impl IntoIterator<Item = Option<u128>>,
    ) -> String {
        let mut all = Fingerprinting::default();
        for names in [&self.classes, &self.domains] {
            all.number(names.len());
            names.iter().for_each(|name| all.text(name));
        }
        all.number(images.len());
        for (image, content) in images.iter().map(|&index| &self.images[index]).zip(contents) {
            all.text(&image.key);
            all.number(image.class);
            all.number(image.domain.map_or(0, |domain| domain + 1));
            all.text(&image.split.to_string());
            all.content(content);
        }
        fingerprint::digits(all.finish())
    }

    /// Numbers the classes and domains, and divides the images if their source did not.
    fn assemble(name: &str, described: Vec<Described>) -> Result<Self, DataError> {
        let classes = classes(name, &described)?;
        let domains = sorted(described.iter().filter_map(|image| image.domain.as_deref()));
        match classes.as_slice() {
            [] => return Err(DataError::NoImages { name: name.to_owned() }),
            [(_, class)] => return Err(DataError::OneClass { name: name.to_owned(), class: class.clone() }),
            _ => {}
        }
        let splits = split::divide(&described);
        let images = described.into_iter().zip(splits).map(|(image, split)| LabelledImage {
            class: classes.partition_point(|class| class < &(image.number, image.label.clone())),
            domain: image.domain.map(|domain| position(&domains, &domain)),
            key: image.key,
            image: image.image,
            split,
        });
        let images = images.collect();
        let classes = classes.into_iter().map(|(_, name)| readable_name(&name)).collect();
        Ok(Self { name: name.to_owned(), classes, domains, images, ..Self::default() })
    }
}

/// Number and name of every class, sorted.
fn classes(name: &str, described: &[Described]) -> Result<Vec<(Option<usize>, String)>, DataError> {
    let known: BTreeSet<(Option<usize>, &str)> =
        described.iter().map(|image| (image.number, image.label.as_str())).collect();
    let known: Vec<_> = known.into_iter().map(|(number, label)| (number, label.to_owned())).collect();
    for pair in known.windows(2) {
        if let [(Some(one), first), (Some(other), second)] = pair
            && one == other
        {
            return Err(DataError::OneNumber {
                name: name.to_owned(),
                number: *one,
                classes: [first.clone(), second.clone()],
            });
        }
    }
    Ok(known)
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
