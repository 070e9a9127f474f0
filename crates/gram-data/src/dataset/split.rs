//! What an image is used for, and a fixed division where the source makes none.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::Described;
use crate::random::stream;

/// The seed of every division made here: constant, so that a dataset has one division for all its users.
const SEED: u64 = 0;

/// What an image is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Tuning.
    Train,
    /// Choosing settings.
    #[serde(alias = "val")]
    Validation,
    /// Measuring.
    Test,
}

/// A name that is no split's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected train, val (or valid, validation) or test, in any case")]
pub struct UnknownSplitName;

impl FromStr for Split {
    type Err = UnknownSplitName;

    fn from_str(name: &str) -> Result<Self, UnknownSplitName> {
        match name.to_ascii_lowercase().as_str() {
            "train" => Ok(Self::Train),
            "val" | "valid" | "validation" => Ok(Self::Validation),
            "test" => Ok(Self::Test),
            _ => Err(UnknownSplitName),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// The split of every image: as the source says, else drawn class by class, 60 % to train, 20 % to validate
/// and 20 % to test.
///
/// A class's division depends on its name and its images' keys only, not on other classes or the order of the
/// source.
pub(super) fn divide(images: &[Described]) -> Vec<Split> {
    let mut splits: Vec<Split> = images.iter().map(|image| image.split.unwrap_or(Split::Train)).collect();
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate().filter(|(_, image)| image.split.is_none()) {
        classes.entry(&image.label).or_default().push(index);
    }
    for (label, mut members) in classes {
        members.sort_by_key(|&index| &images[index].key);
        members.shuffle(&mut stream(SEED, &format!("split of {label}")));
        let (test, validation) = counts(members.len());
        for (place, &index) in members.iter().enumerate() {
            splits[index] = match place {
                _ if place < test => Split::Test,
                _ if place < test + validation => Split::Validation,
                _ => Split::Train,
            };
        }
    }
    splits
}

/// Makes a fifth of every class's training images validation images, where the source tells training from
/// test only.
pub(super) fn validate_a_fifth(images: &mut [Described]) {
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate().filter(|(_, image)| image.split == Some(Split::Train)) {
        classes.entry(&image.label).or_default().push(index);
    }
    let mut chosen = Vec::new();
    for (label, mut members) in classes {
        members.sort_by_key(|&index| &images[index].key);
        members.shuffle(&mut stream(SEED, &format!("validation of {label}")));
        chosen.extend_from_slice(&members[..(members.len() + 2) / 5]);
    }
    chosen.into_iter().for_each(|index| images[index].split = Some(Split::Validation));
}

/// The number of test and validation images of a class: a fifth each, rounded to the nearest; two images are
/// enough for a test image, one is kept for training.
fn counts(images: usize) -> (usize, usize) {
    let fifth = (images + 2) / 5;
    if images == 2 { (1, 0) } else { (fifth, fifth) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ImageFile;

    fn described(label: &str, number: usize) -> Described {
        let key = format!("{label}/{number:02}.png");
        let image = ImageFile::Path(PathBuf::from(&key));
        Described { key, image, label: label.to_owned(), number: None, domain: None, split: None }
    }

    #[test]
    fn every_class_is_divided_sixty_twenty_twenty() {
        let images: Vec<_> =
            ["cat", "dog"].iter().flat_map(|label| (0..10).map(|n| described(label, n))).collect();
        let splits = divide(&images);
        for class in splits.chunks(10) {
            let count = |split| class.iter().filter(|&&other| other == split).count();
            assert_eq!([Split::Train, Split::Validation, Split::Test].map(count), [6, 2, 2]);
        }
    }

    #[test]
    fn small_classes_keep_a_training_image_and_then_a_test_image() {
        assert_eq!([1, 2, 3, 4, 5, 8].map(counts), [(0, 0), (1, 0), (1, 1), (1, 1), (1, 1), (2, 2)]);
    }

    #[test]
    fn the_division_of_a_class_is_fixed_whatever_stands_around_it() {
        let cats: Vec<_> = (0..10).map(|number| described("cat", number)).collect();
        let alone = divide(&cats);
        let test: Vec<_> = (0..10).filter(|&index| alone[index] == Split::Test).collect();
        assert_eq!(test, TEST_CATS);
        let mixed: Vec<_> = (0..7).map(|n| described("ape", n)).chain(cats.into_iter().rev()).collect();
        let mut among_others = divide(&mixed)[7..].to_vec();
        among_others.reverse();
        assert_eq!(among_others, alone);
    }

    /// Drawn once: another platform or release must draw the same.
    const TEST_CATS: [usize; 2] = [6, 7];

    #[test]
    fn a_split_is_read_by_its_long_and_its_short_name() {
        assert_eq!("val".parse(), Ok(Split::Validation));
        assert_eq!(Split::Validation.to_string().parse(), Ok(Split::Validation));
        assert_eq!("Train".parse::<Split>(), Ok(Split::Train));
        assert_eq!("trainer".parse::<Split>(), Err(UnknownSplitName));
    }
}
