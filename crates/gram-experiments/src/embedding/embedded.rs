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

    /// Its images, a row each.
    pub(super) fn rows(self) -> Vec<Row<'a>> {
        match self {
            Self::Pairs(Pairs { pairs, .. }) => pairs
                .iter()
                .map(|pair| Row {
                    key: &pair.key,
                    image: &pair.image,
                    caption: Some(&pair.caption),
                    line: Box::new(
                        move || json!({"key": pair.key, "image": pair.image.name(), "caption": pair.caption}),
                    ),
                })
                .collect(),
            Self::Dataset(dataset) => dataset
                .images
                .iter()
                .map(|image| Row {
                    key: &image.key,
                    image: &image.image,
                    caption: None,
                    line: Box::new(move || json!(ImageRow::of(dataset, image))),
                })
                .collect(),
        }
    }
}

/// An image that is embedded.
pub(super) struct Row<'a> {
    pub(super) key: &'a str,
    pub(super) image: &'a ImageFile,
    /// None where the image alone is embedded, and counts.
    pub(super) caption: Option<&'a str>,
    /// What its line in the file of rows says.
    pub(super) line: Box<dyn Fn() -> Value + Sync + 'a>,
}
