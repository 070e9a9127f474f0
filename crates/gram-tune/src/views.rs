//! The tuning images as every epoch sees them, augmented anew, the same for every method.
//!
//! Methods without a visual prompt read features: each view passes the frozen tower once. Pixels are kept at
//! the model's side for as many epochs as there is room for, and those of later epochs are made again
//! whenever they are asked for. A view has a random stream of its own, so that it is the same whether it was
//! kept or not.

use burn::tensor::{Device, Tensor};
use gram_clip::Model;
use gram_clip::layers::indices;
use gram_data::random::indexed_stream;
use gram_data::{Augmentation, LabelledDataset, Progress};
use gram_features::Images;
use gram_features::pixel_cache;
use image::RgbImage;

use rayon::prelude::*;

use crate::prepared::EvaluationError;

/// Bytes of pixels that are kept, at most.
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
    /// Of the first epochs.
    pixels: Vec<Vec<RgbImage>>,
    /// By epoch, `[images, joint width]`.
    features: Vec<Tensor<2>>,
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
        dataset: &'a LabelledDataset,
        chosen: Vec<usize>,
        augmentation: Augmentation,
        model: &'a Model,
        seed: u64,
        wanted: Wanted<'_>,
        device: &Device,
    ) -> Result<Self, EvaluationError> {
        let mut views =
            Self { dataset, chosen, augmentation, seed, model, pixels: Vec::new(), features: Vec::new() };
        if wanted.pixels {
            let side = model.preprocess.crop as usize;
            let bytes_of_epoch = (views.chosen.len() * 3 * side * side).max(1);
            let epochs = wanted.epochs.min(wanted.kept / bytes_of_epoch);
            wanted.progress.begin("augmented images", epochs);
            for epoch in 0..epochs {
                views.pixels.push(views.views(epoch, 0..views.chosen.len())?);
                wanted.progress.advance("");
            }
        }
        if wanted.features {
            wanted.progress.begin("image features", wanted.epochs);
            for epoch in 0..wanted.epochs {
                views.features.push(views.features(epoch, device)?);
                wanted.progress.advance("");
            }
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
        let preprocess = &self.model.preprocess;
        Ok(Images::Pixels(match self.pixels.get(epoch) {
            Some(kept) => pixel_cache::pixels(places.iter().map(|place| &kept[*place]), preprocess, device),
            None => {
                pixel_cache::pixels(self.views(epoch, places.iter().copied())?.iter(), preprocess, device)
            }
        }))
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

    /// Some of the images, by their places, as an epoch sees them, at the model's side.
    fn views(
        &self,
        epoch: usize,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<RgbImage>, EvaluationError> {
        let chosen: Vec<usize> = places.into_iter().map(|place| self.chosen[place]).collect();
        let view = |image: &usize| {
            let decoded = self.dataset.images[*image].image.decode()?;
            let draw = (epoch * self.dataset.images.len() + image) as u64;
            let mut random = indexed_stream(self.seed, "adaptation views", draw);
            let view = self.augmentation.apply(&decoded, &mut random);
            let side = self.model.preprocess.crop;
            Ok(if view.dimensions() == (side, side) { view } else { self.model.preprocess.resized(&view)? })
        };
        chosen.par_iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use gram_data::{ImageFile, LabelledImage, Split};
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    /// Pictures of three sizes.
    fn dataset() -> LabelledDataset {
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
        LabelledDataset {
            name: "pictures".into(),
            classes: vec!["picture".into()],
            domains: Vec::new(),
            images: (0..3).map(image).collect(),
            ..LabelledDataset::default()
        }
    }

    #[test]
    fn views_are_the_same_whatever_there_is_room_for() {
        let device = Device::default();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../gram-clip/tests/fixtures/gelu-new-eos");
        let model = Model::open(Path::new(folder), &device).unwrap();
        let (dataset, side) = (dataset(), model.preprocess.crop);
        let values = |kept: usize| {
            let wanted = Wanted { kept, ..Wanted::new(3, true, true) };
            let augmentation = Augmentation::coop(side);
            let views =
                Views::new(&dataset, vec![2, 0, 1], augmentation, &model, 5, wanted, &device).unwrap();
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
