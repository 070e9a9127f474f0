//! The tuning images as every epoch sees them, augmented anew, the same for every method. Where nothing is
//! augmented all epochs see the same: each image once, as the model's preprocessing brings it, or its
//! features that were computed before.
//!
//! Methods without a visual prompt read features: each view passes the frozen tower once. Pixels are kept at
//! the model's side for as many epochs as there is room for, and those of later epochs are made again
//! whenever they are asked for. A view has a random stream of its own, so that it is the same whether it was
//! kept or not.

use burn::tensor::{Device, Tensor};
use gram_clip::Model;
use gram_clip::layers::indices;
use gram_data::random::indexed_stream;
use gram_data::{Augmentation, Progress};
use gram_features::image_batches::frozen_features;
use gram_features::{Dataset, FeatureError, Images, pixel_cache};
use image::RgbImage;
use rayon::prelude::*;

use crate::prepared::EvaluationError;

/// Bytes of pixels that are kept, at most.
const KEPT: usize = 1 << 30;

/// Views of chosen images.
pub struct Views<'a> {
    dataset: &'a Dataset,
    chosen: Vec<usize>,
    augmentation: Augmentation,
    seed: u64,
    model: &'a Model,
    /// Of the first epochs.
    pixels: Vec<Vec<RgbImage>>,
    /// By epoch, `[images, joint width]`; of the first alone where all are the same.
    features: Vec<Tensor<2>>,
    /// Whether no epoch is different.
    all_the_same: bool,
}

/// What methods ask of views.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Epochs.
    pub epochs: usize,
    /// Whether some method reads features.
    pub features: bool,
    /// Whether some method reads pixels.
    pub pixels: bool,
    /// Bytes of pixels that are kept, at most; no number depends on it.
    pub kept: usize,
    /// Hears of every epoch's images.
    pub progress: &'a dyn Progress,
}

impl Wanted<'static> {
    /// So many epochs of both kinds or of one, with the usual room for pixels.
    pub fn new(epochs: usize, features: bool, pixels: bool) -> Self {
        Self { epochs, features, pixels, kept: KEPT, progress: &() }
    }
}

impl<'a> Views<'a> {
    /// Makes what is wanted of the chosen images.
    ///
    /// # Errors
    /// [`EvaluationError`] for an image that cannot be read.
    pub fn new(
        dataset: &'a Dataset,
        chosen: Vec<usize>,
        augmentation: Augmentation,
        model: &'a Model,
        seed: u64,
        wanted: Wanted<'_>,
    ) -> Result<Self, EvaluationError> {
        let all_the_same = augmentation.is_none() || dataset.has_features();
        let (pixels, features) = (Vec::new(), Vec::new());
        let mut views = Self { dataset, chosen, augmentation, seed, model, pixels, features, all_the_same };
        let epochs = if all_the_same { wanted.epochs.min(1) } else { wanted.epochs };
        if wanted.pixels {
            let side = model.preprocess.crop as usize;
            let bytes_of_epoch = (views.chosen.len() * 3 * side * side).max(1);
            let epochs = epochs.min(wanted.kept / bytes_of_epoch);
            wanted.progress.begin("augmented images", epochs);
            for epoch in 0..epochs {
                views.pixels.push(views.views(epoch, 0..views.chosen.len())?);
                wanted.progress.advance("");
            }
        }
        if wanted.features {
            wanted.progress.begin("image features", epochs);
            for epoch in 0..epochs {
                views.features.push(views.features_of(epoch)?);
                wanted.progress.advance("");
            }
        }
        Ok(views)
    }

    /// The epoch whose views an epoch sees.
    fn source(&self, epoch: usize) -> usize {
        if self.all_the_same { 0 } else { epoch }
    }

    /// Some of the images, by their places, as an epoch sees them: as pixels, or as features.
    ///
    /// # Errors
    /// As [`Views::new`].
    pub fn images(
        &self,
        epoch: usize,
        places: &[usize],
        pixels: bool,
        device: &Device,
    ) -> Result<Images, EvaluationError> {
        let epoch = self.source(epoch);
        if !pixels && let Some(features) = self.features.get(epoch) {
            return Ok(Images::Features(features.clone().select(0, indices(places, device))));
        }
        let preprocess = &self.model.preprocess;
        Ok(Images::Pixels(match self.pixels.get(epoch) {
            Some(kept) => pixel_cache::pixels(places.iter().map(|place| &kept[*place]), preprocess, device),
            None => {
                pixel_cache::pixels(self.views(epoch, places.iter().copied())?.iter(), preprocess, device)
            }
        }))
    }

    /// The features of the first epochs, so many, `[images, joint width]` each; of one where all are the
    /// same.
    pub fn features(&self, epochs: usize) -> &[Tensor<2>] {
        &self.features[..epochs.min(self.features.len())]
    }

    /// The features of an epoch: computed now, or before.
    fn features_of(&self, epoch: usize) -> Result<Tensor<2>, EvaluationError> {
        if self.dataset.has_features() {
            return Ok(self.dataset.features(&self.chosen, self.model)?);
        }
        let decode = |place: usize| match self.pixels.get(epoch) {
            Some(kept) => Ok(kept[place].clone()),
            None => self.view(epoch, self.chosen[place]),
        };
        Ok(frozen_features(self.model, self.chosen.len(), &decode)?)
    }

    /// Some of the images, by their places, as an epoch sees them, at the model's side.
    fn views(
        &self,
        epoch: usize,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<RgbImage>, EvaluationError> {
        let chosen: Vec<usize> = places.into_iter().map(|place| self.chosen[place]).collect();
        Ok(chosen.par_iter().map(|image| self.view(epoch, *image)).collect::<Result<_, FeatureError>>()?)
    }

    /// An image of the dataset as an epoch sees it, at the model's side.
    fn view(&self, epoch: usize, image: usize) -> Result<RgbImage, FeatureError> {
        if self.augmentation.is_none() {
            return self.dataset.at_model_side(image, self.model);
        }
        let file = self.dataset.image(image)?;
        let decoded = file.decode()?;
        let draw = (epoch * self.dataset.images.len() + image) as u64;
        let mut random = indexed_stream(self.seed, "adaptation views", draw);
        let view = self.augmentation.apply(&decoded, &mut random);
        let (preprocess, side) = (&self.model.preprocess, self.model.preprocess.crop);
        if view.dimensions() == (side, side) {
            return Ok(view);
        }
        let resized = preprocess.resized(&view);
        resized.map_err(|source| FeatureError::Clip { image: file.name().into_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use gram_clip::Compute;
    use gram_data::{ImageFile, LabelledDataset, LabelledImage, Split};
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    /// Pictures of three sizes.
    fn dataset() -> Dataset {
        let image = |index: u32| {
            let picture =
                RgbImage::from_fn(50 + 20 * index, 70, |x, y| Rgb([(x * y) as u8, y as u8, index as u8]));
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
            LabelledImage {
                key: index.to_string(),
                image: ImageFile::Bytes { name: index.to_string(), bytes: bytes.into_inner().into() },
                class: 0,
                domain: None,
                split: Split::Train,
            }
        };
        Dataset::from(LabelledDataset {
            name: "pictures".into(),
            classes: vec!["picture".into()],
            domains: Vec::new(),
            images: (0..3).map(image).collect(),
            ..LabelledDataset::default()
        })
    }

    #[test]
    fn views_are_the_same_whatever_there_is_room_for() {
        let device = Compute::tested().device();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-clip/tests/fixtures/gelu-new-eos");
        let model = Model::open(Path::new(folder), &Compute::tested()).unwrap();
        let (dataset, side) = (dataset(), model.preprocess.crop);
        let values = |kept: usize| {
            let wanted = Wanted { kept, ..Wanted::new(3, true, true) };
            let augmentation = Augmentation::coop(side);
            let views = Views::new(&dataset, vec![2, 0, 1], augmentation, &model, 5, wanted).unwrap();
            let seen = (0..3).flat_map(|epoch| [true, false].map(|pixels| (epoch, pixels)));
            let seen = seen.flat_map(|(epoch, pixels)| {
                let data = match views.images(epoch, &[1, 0], pixels, &device).unwrap() {
                    Images::Pixels(pixels) => pixels.into_data(),
                    Images::Features(features) => features.into_data(),
                };
                data.try_to_vec::<f32>().unwrap()
            });
            (views.pixels.len(), seen.collect::<Vec<f32>>())
        };
        let of_epoch = 3 * 3 * (side * side) as usize;
        let (all, expected) = values(usize::MAX);
        assert_eq!(all, 3);
        for (room, epochs) in [(0, 0), (of_epoch - 1, 0), (2 * of_epoch, 2)] {
            assert_eq!(values(room), (epochs, expected.clone()));
        }
    }
}
