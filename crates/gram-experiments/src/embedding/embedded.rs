//! What is embedded, and what is said of every row of it.

use gram_data::{ImageFile, LabelledDataset, Pairs};
use gram_features::dataset::{IMAGES, ImageRow};
use serde_json::{Value, json};

/// What is embedded.
#[derive(Clone, Copy)]
pub enum Embedded<'a> {
    /// Images and captions. A pair whose image cannot be read is left out and counted.
    Pairs(&'a Pairs),
    /// The images of a labelled dataset, every one of which counts.
    Dataset(&'a LabelledDataset),
}

impl<'a> Embedded<'a> {
    /// What tells it from anything else.
    pub(super) fn fingerprint(self) -> String {
        match self {
            Self::Pairs(pairs) => pairs.fingerprint(),
            Self::Dataset(dataset) => {
                let all: Vec<usize> = (0..dataset.images.len()).collect();
                dataset.fingerprint_of(&all)
            }
        }
    }

    /// The file that says what every row is.
    pub(super) fn rows_file(self) -> &'static str {
        match self {
            Self::Pairs(_) => "pairs.jsonl",
            Self::Dataset(_) => IMAGES,
        }
    }

    /// How many images there are.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.pairs.len(),
            Self::Dataset(dataset) => dataset.images.len(),
        }
    }

    /// The image of that number.
    pub(super) fn image(self, number: usize) -> &'a ImageFile {
        match self {
            Self::Pairs(pairs) => &pairs.pairs[number].image,
            Self::Dataset(dataset) => &dataset.images[number].image,
        }
    }

    /// The caption of that number, where images have captions.
    pub(super) fn caption(self, number: usize) -> Option<&'a str> {
        match self {
            Self::Pairs(pairs) => Some(&pairs.pairs[number].caption),
            Self::Dataset(_) => None,
        }
    }

    /// What is said of its files, with the place that they were copied from.
    pub(super) fn by_origin(self, text: &str) -> String {
        match self {
            Self::Pairs(pairs) => pairs.by_origin(text),
            Self::Dataset(_) => text.to_owned(),
        }
    }

    /// What the file of rows says of the image of that number, if there is one.
    pub(super) fn row(self, number: usize) -> Option<Value> {
        Some(match self {
            Self::Pairs(pairs) => {
                let pair = pairs.pairs.get(number)?;
                json!({"key": pair.key, "image": pairs.origin(pair), "caption": pair.caption})
            }
            Self::Dataset(dataset) => json!(ImageRow::of(dataset, dataset.images.get(number)?)),
        })
    }
}
