//! Few-shot sampling: K images of every class, and a file in which they are exchanged.

mod coop;
mod shortfall;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::random::indexed_stream;
use crate::whole_file::write_whole;
use crate::{ClassSubset, DataError, LabelledDataset, Split};

pub use shortfall::Shortfall;

/// Draws `shots` images of every class of a subset without replacement, of one domain if it is given: sorted
/// indices into [`LabelledDataset::images`]. A class with fewer images gives them all.
///
/// Every class draws from a stream of its own, so that one class's images do not move another's, and base
/// classes get the same images whether they are sampled alone or with all others. Fewer shots are a part of
/// more shots.
pub fn sample(
    dataset: &LabelledDataset,
    split: Split,
    classes: ClassSubset,
    domain: Option<usize>,
    shots: usize,
    seed: u64,
) -> Vec<usize> {
    let mut candidates = vec![Vec::new(); dataset.classes.len()];
    for index in dataset.select(split, classes, domain) {
        candidates[dataset.images[index].class].push(index);
    }
    let mut chosen = Vec::new();
    for (class, mut candidates) in candidates.into_iter().enumerate() {
        candidates.shuffle(&mut indexed_stream(seed, "few-shot sample", class as u64));
        chosen.extend(candidates.into_iter().take(shots));
    }
    chosen.sort_unstable();
    chosen
}

/// Whose draws shots are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Those of [`sample`]: a class's images do not depend on other classes, and fewer shots are a part of
    /// more.
    #[default]
    Gram,
    /// Those of CoOp's code for the same seed, from a shared split.
    Coop,
}

impl fmt::Display for Sampling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Sampling::Gram => "gram",
            Sampling::Coop => "coop",
        })
    }
}

impl FromStr for Sampling {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Sampling::Gram, Sampling::Coop].into_iter().find(|known| known.to_string() == name);
        known.ok_or_else(|| format!("no sampling is called `{name}`: gram or coop"))
    }
}

impl Sampling {
    /// Training and validation images of a subset, of one domain if it is given: sorted indices into
    /// [`LabelledDataset::images`].
    pub fn draw(
        self,
        dataset: &LabelledDataset,
        classes: ClassSubset,
        domain: Option<usize>,
        shots: usize,
        seed: u64,
    ) -> (Vec<usize>, Vec<usize>) {
        match self {
            Self::Gram => {
                let draw = |split, shots| sample(dataset, split, classes, domain, shots, seed);
                (draw(Split::Train, shots), draw(Split::Validation, validation_shots(shots)))
            }
            Self::Coop => {
                let range = classes.indices(dataset.classes.len());
                let belongs = |index: &usize| {
                    let image = &dataset.images[*index];
                    range.contains(&image.class) && domain.is_none_or(|domain| image.domain == Some(domain))
                };
                let (mut train, mut validation) = coop::draw(dataset, shots, seed);
                train.retain(belongs);
                validation.retain(belongs);
                (train, validation)
            }
        }
    }
}

/// Validation images of a class where so many are tuned on: at most 4, as in CoOp.
pub fn validation_shots(shots: usize) -> usize {
    shots.min(4)
}

/// Few shots of a dataset, as a file of JSON: images by their paths in the dataset, classes by their names,
/// so that the same images are found on any machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotSplit {
    /// The dataset's name.
    pub dataset: String,
    /// Training images of a class.
    pub shots: usize,
    /// What drew them.
    pub seed: u64,
    /// Images that are tuned on.
    pub train: Vec<Shot>,
    /// Images that settings are chosen on: as many of a class, but at most 4.
    pub val: Vec<Shot>,
}

/// An image with its class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shot {
    /// Its path in the dataset.
    pub image: String,
    /// The name of its class.
    pub class: String,
}

impl FewShotSplit {
    /// Draws the shots of a seed.
    pub fn draw(dataset: &LabelledDataset, sampling: Sampling, shots: usize, seed: u64) -> Self {
        let shot = |index: usize| {
            let image = &dataset.images[index];
            Shot { image: image.key.clone(), class: dataset.classes[image.class].clone() }
        };
        let (train, val) = sampling.draw(dataset, ClassSubset::All, None, shots, seed);
        let [train, val] = [train, val].map(|drawn| drawn.into_iter().map(shot).collect());
        Self { dataset: dataset.name.clone(), shots, seed, train, val }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`DataError`] names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = fs::read(path).map_err(DataError::at(path))?;
        serde_json::from_slice(crate::without_mark(&text)).map_err(|error| DataError::Listing {
            place: path.display().to_string(),
            problem: format!("{error}: is this a file of `gram data few-shot`?"),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`DataError::File`].
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| DataError::Listing {
            place: path.display().to_string(),
            problem: error.to_string(),
        })?;
        write_whole(path, (text + "\n").as_bytes()).map_err(DataError::at(path))
    }

    /// Where the shots of some classes are among the images of `dataset`: those that are tuned on, and those
    /// that settings are chosen on.
    ///
    /// # Errors
    /// [`DataError::Listing`] names a shot of the file `path` that is not there, is of another class, or is a
    /// test image.
    pub fn find(
        &self,
        dataset: &LabelledDataset,
        classes: ClassSubset,
        path: &Path,
    ) -> Result<(Vec<usize>, Vec<usize>), DataError> {
        let images = dataset.images.iter().enumerate();
        let known: HashMap<&str, usize> = images.map(|(index, image)| (image.key.as_str(), index)).collect();
        let wrong = |shot: &Shot, problem: &str| DataError::Listing {
            place: path.display().to_string(),
            problem: format!("image `{}` {problem}", shot.image),
        };
        let range = classes.indices(dataset.classes.len());
        let find = |shots: &[Shot]| {
            let mut found = Vec::with_capacity(shots.len());
            for shot in shots {
                let index = *known
                    .get(shot.image.as_str())
                    .ok_or_else(|| wrong(shot, &format!("is not in dataset {}", dataset.name)))?;
                let image = &dataset.images[index];
                if dataset.classes[image.class] != shot.class {
                    let own = &dataset.classes[image.class];
                    return Err(wrong(shot, &format!("is of class `{own}`, not `{}`", shot.class)));
                }
                if image.split == Split::Test {
                    return Err(wrong(shot, "is a test image: nothing may be tuned on it"));
                }
                if range.contains(&image.class) {
                    found.push(index);
                }
            }
            found.sort_unstable();
            Ok(found)
        };
        Ok((find(&self.train)?, find(&self.val)?))
    }
}
