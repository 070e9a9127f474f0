//! Image-text pairs and labelled datasets by name.

use std::ops::Deref;
use std::path::Path;

use gram_data::{CopyOf, ImageFile, LabelledDataset, Pair, Split};
use gram_experiments::pair_images::PairSource;
use gram_hub::model::{open_dataset, open_pairs};

use crate::Error;

/// Images with a class each.
#[derive(Clone, Debug)]
pub struct Dataset(pub(crate) gram_features::Dataset);

impl Dataset {
    /// Opens a dataset: a folder for each class, a manifest, an archive, shards with labels, a standard
    /// benchmark as CoOp keeps it, a folder of Hugging Face's, or one that is built in, as `demo:food`.
    ///
    /// # Errors
    /// If it is none of those, or cannot be read.
    pub fn open(name_or_path: &str) -> Result<Self, Error> {
        Ok(Self(open_dataset(name_or_path)?.into()))
    }

    /// Images with a label each, and what they are used for.
    ///
    /// # Errors
    /// If there are no images or only one class.
    pub fn of_images(
        name: &str,
        images: impl IntoIterator<Item = (ImageFile, String, Split)>,
    ) -> Result<Self, Error> {
        Ok(LabelledDataset::of_images(name, images)?.into())
    }

    /// Opens a folder that `gram embed --data` wrote: labels and features, and no image. Prompts of the text
    /// are tuned and compared on it; a visual prompt is not.
    ///
    /// # Errors
    /// If it is no such folder, or a file of it is damaged.
    pub fn of_features(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self(gram_features::Dataset::of_features(folder.as_ref())?))
    }
}

impl From<LabelledDataset> for Dataset {
    fn from(dataset: LabelledDataset) -> Self {
        Self(dataset.into())
    }
}

impl Deref for Dataset {
    type Target = LabelledDataset;

    fn deref(&self) -> &LabelledDataset {
        &self.0
    }
}

/// Image-text pairs.
#[derive(Clone, Debug)]
pub struct Pairs {
    name: String,
    pairs: gram_data::Pairs,
}

impl Pairs {
    /// Opens pairs: a WebDataset shard or a folder of them, a table with columns `image` and `caption`,
    /// COCO's or Flickr's captions, a folder or tables of Hugging Face's, or `demo`, which is built in.
    ///
    /// # Errors
    /// If it is none of those, cannot be read, or holds no pair.
    pub fn open(name_or_path: &str) -> Result<Self, Error> {
        Ok(Self { name: name_or_path.to_owned(), pairs: open_pairs(name_or_path)? })
    }

    /// As [`Pairs::open`], of a copy: what is written about them names the place that was copied, such as a
    /// URL.
    ///
    /// # Errors
    /// As [`Pairs::open`].
    pub fn open_copy(copy: &str, place: &str) -> Result<Self, Error> {
        let pairs = gram_data::Pairs {
            copy_of: Some(CopyOf { place: place.to_owned(), copy: copy.into() }),
            ..open_pairs(copy)?
        };
        Ok(Self { name: place.to_owned(), pairs })
    }

    /// Images with a caption each.
    ///
    /// # Errors
    /// If there is none, or a caption is blank.
    pub fn of_images(
        name: &str,
        images: impl IntoIterator<Item = (ImageFile, String)>,
    ) -> Result<Self, Error> {
        let pair = |(number, (image, caption)): (usize, (ImageFile, String))| match caption.trim().is_empty()
        {
            true => Err(Error::Refused(format!("{name}: caption {number} is blank"))),
            false => Ok(Pair { key: number.to_string(), image, caption, metadata: None }),
        };
        let pairs: Vec<Pair> = images.into_iter().enumerate().map(pair).collect::<Result<_, _>>()?;
        if pairs.is_empty() {
            return Err(Error::Refused(format!("{name}: there is no pair")));
        }
        let pairs = gram_data::Pairs { pairs, ..gram_data::Pairs::default() };
        Ok(Self { name: name.to_owned(), pairs })
    }

    /// Pairs that another process gave by [`portable`](gram_data::Pairs::portable).
    ///
    /// # Errors
    /// If it gave something else.
    pub fn of_portable(text: &str) -> Result<Self, Error> {
        Ok(Self { name: "pairs".to_owned(), pairs: gram_data::Pairs::of_portable(text)? })
    }

    /// What they were opened by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<'a> From<&'a Pairs> for PairSource<'a> {
    fn from(pairs: &'a Pairs) -> Self {
        Self::Images(&pairs.pairs)
    }
}

impl Deref for Pairs {
    type Target = gram_data::Pairs;

    fn deref(&self) -> &gram_data::Pairs {
        &self.pairs
    }
}
