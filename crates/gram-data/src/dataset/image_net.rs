//! ImageNet and its variants: a folder for each class, named by synset or number, and `classnames.txt` beside
//! them.
//!
//! `classnames.txt` has a line `n01440764 tench` for each of the 1,000 classes, in the order of their
//! numbers. Variants have the names of ImageNet; A and R have 200 classes each, which keep ImageNet's order.

use std::collections::HashMap;
use std::path::Path;

use super::{Described, Split, folder};
use crate::DataError;
use crate::text_file::lines;

/// The file of names.
pub(super) const NAMES: &str = "classnames.txt";

/// Synset and name of every class, in the order of their numbers.
fn names(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let path = path.join(NAMES);
    let named = |(line, text): (usize, &String)| {
        text.split_once(' ').map(|(synset, name)| (synset.to_owned(), name.trim().to_owned())).ok_or_else(
            || DataError::Listing {
                place: format!("{}, line {}", path.display(), line + 1),
                problem: format!("`{text}`: a synset and a name are expected, as in `n01440764 tench`"),
            },
        )
    };
    lines(&path)?.iter().enumerate().map(named).collect()
}

/// ImageNet: `images/train` is tuned on, `images/val` is tested.
pub(super) fn read(path: &Path) -> Result<Vec<Described>, DataError> {
    let mut described = Vec::new();
    for (name, split) in [("train", Split::Train), ("val", Split::Test)] {
        let images = path.join("images").join(name);
        if images.is_dir() {
            described.extend(by_synset(path, &images, &format!("{name}/"), split)?);
        }
    }
    Ok(described)
}

/// A variant whose folders are named by synset: all images are tested.
pub(super) fn read_variant(path: &Path, images: &str) -> Result<Vec<Described>, DataError> {
    by_synset(path, &path.join(images), "", Split::Test)
}

/// ImageNetV2, whose folders are the numbers of ImageNet's classes: all images are tested.
pub(super) fn read_numbered(path: &Path, images: &str) -> Result<Vec<Described>, DataError> {
    let names = names(path)?;
    renamed(&path.join(images), "", Split::Test, |folder| {
        let number: usize = folder.parse().ok()?;
        Some((number, names.get(number)?.1.clone()))
    })
}

fn by_synset(path: &Path, images: &Path, prefix: &str, split: Split) -> Result<Vec<Described>, DataError> {
    let numbered = names(path)?.into_iter().enumerate();
    let known: HashMap<String, (usize, String)> =
        numbered.map(|(number, (synset, name))| (synset, (number, name))).collect();
    renamed(images, prefix, split, |folder| known.get(folder).cloned())
}

/// The folders in `images`, with the number and name that `class` knows for each.
fn renamed(
    images: &Path,
    prefix: &str,
    split: Split,
    class: impl Fn(&str) -> Option<(usize, String)>,
) -> Result<Vec<Described>, DataError> {
    let mut found = folder::Found::default();
    found.read_classes(images, prefix, Some(split))?;
    let mut described = found.images;
    for image in &mut described {
        let (number, name) = class(&image.label).ok_or_else(|| DataError::Listing {
            place: images.join(&image.label).display().to_string(),
            problem: format!("{NAMES} has no such class: is it ImageNet's, with 1,000 lines?"),
        })?;
        (image.number, image.label) = (Some(number), name);
    }
    Ok(described)
}
