//! The tuning images as every epoch sees them, augmented anew, the same for every method.
//!
//! Methods without a visual prompt read features: each view passes the frozen tower once. Pixels are kept for all epochs
//! while they are few, and made again for each epoch where they are many.

use burn::tensor::{Device, Tensor};
use gram_clip::Model;
use gram_clip::layers::indices;
use gram_data::random::indexed_stream;
use gram_data::{Augmentation, LabelledDataset};
use gram_prompt::{Images, PixelStore};
use rayon::prelude::*;

use crate::prepared::EvaluationError;

/// Bytes of pixels that are kept.
const KEPT: usize = 1 << 30;
/// Images that are decoded before they pass the tower.
const BATCH: usize = 256;

/// Views of chosen images.
pub struct Views<'a> {
    dataset: &'a LabelledDataset,
    chosen: Vec<usize>,
    augmentation: Augmentation,
    seed: u64,
    model: &'a Model,
    pixels: Vec<PixelStore>,
    /// By epoch, `[images, joint width]`.
    features: Vec<Tensor<2>>,
}

/// What methods ask of views.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Epochs.
    pub epochs: usize,
    /// Whether some method reads features.
    pub features: bool,
    /// Whether some method reads pixels.
    pub pixels: bool,
}

impl<'a> Views<'a> {
    /// Makes what is wanted of the chosen images.
    ///
    /// # Errors
    /// [`EvaluationError`] for an image that cannot be read.
    pub fn new(
        dataset: &'a LabelledDataset,
        chosen: Vec<usize>,
        augmentation: Augmentation,
        model: &'a Model,
        seed: u64,
        wanted: Wanted,
        device: &Device,
    ) -> Result<Self, EvaluationError> {
        let mut views =
            Self { dataset, chosen, augmentation, seed, model, pixels: Vec::new(), features: Vec::new() };
        let bytes = wanted.epochs * views.chosen.len() * 3 * (augmentation.size * augmentation.size) as usize;
        if wanted.pixels && bytes <= KEPT {
            views.pixels = (0..wanted.epochs)
                .map(|epoch| views.pixels(epoch, 0..views.chosen.len()))
                .collect::<Result<_, _>>()?;
        }
        if wanted.features {
            views.features =
                (0..wanted.epochs).map(|epoch| views.features(epoch, device)).collect::<Result<_, _>>()?;
        }
        Ok(views)
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
        if !pixels && let Some(features) = self.features.get(epoch) {
            return Ok(Images::Features(features.clone().select(0, indices(places, device))));
        }
        let pixels = match self.pixels.get(epoch) {
            Some(kept) => kept.pixels(places, device)?,
            None => {
                let store = self.pixels(epoch, places.iter().copied())?;
                store.pixels(&(0..places.len()).collect::<Vec<_>>(), device)?
            }
        };
        Ok(Images::Pixels(pixels))
    }

    /// The features of all epochs that were wanted, `[images, joint width]` each.
    pub fn all_features(&self) -> &[Tensor<2>] {
        &self.features
    }

    fn features(&self, epoch: usize, device: &Device) -> Result<Tensor<2>, EvaluationError> {
        let all: Vec<usize> = (0..self.chosen.len()).collect();
        let parts = all.chunks(BATCH).map(|places| match self.images(epoch, places, true, device)? {
            Images::Pixels(pixels) => Ok(self.model.clip.vision.features(pixels, None)),
            Images::Features(features) => Ok(features),
        });
        Ok(Tensor::cat(parts.collect::<Result<Vec<_>, EvaluationError>>()?, 0))
    }

    fn pixels(
        &self,
        epoch: usize,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<PixelStore, EvaluationError> {
        let chosen: Vec<usize> = places.into_iter().map(|place| self.chosen[place]).collect();
        let view = |image: &usize| {
            let decoded = self.dataset.images[*image].image.decode()?;
            let draw = (epoch * self.dataset.images.len() + image) as u64;
            let mut random = indexed_stream(self.seed, "adaptation views", draw);
            Ok(self.augmentation.apply(&decoded, &mut random))
        };
        let images = chosen.par_iter().map(view).collect::<Result<Vec<_>, EvaluationError>>()?;
        Ok(PixelStore::new(images, self.model.preprocess.clone()))
    }
}
