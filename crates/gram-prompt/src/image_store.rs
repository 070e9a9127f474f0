//! Images by number, as a prompt's vision side wants them: features computed once, or pixels for the tower.

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::layers::indices;
use gram_clip::{Clip, ClipError, Preprocess};
use image::RgbImage;

use crate::prompted_clip::Images;

/// Images that pass through the tower at once.
const BATCH: usize = 64;

/// Pixels of many images, 8 bit a channel, and how the model reads them.
#[derive(Clone, Debug)]
pub struct PixelStore {
    images: Vec<RgbImage>,
    preprocess: Preprocess,
}

impl PixelStore {
    /// Keeps `images`.
    pub fn new(images: Vec<RgbImage>, preprocess: Preprocess) -> Self {
        Self { images, preprocess }
    }

    /// The images.
    pub fn images(&self) -> &[RgbImage] {
        &self.images
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Normalised pixels of the chosen images, `[chosen, 3, side, side]`.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image without pixels.
    pub fn pixels(&self, chosen: &[usize], device: &Device) -> Result<Tensor<4>, ClipError> {
        pixels(chosen.iter().map(|image| &self.images[*image]), &self.preprocess, device)
    }

    /// Features of all images through the frozen tower, `[images, joint width]`.
    ///
    /// # Errors
    /// As [`PixelStore::pixels`].
    pub fn features(&self, clip: &Clip, device: &Device) -> Result<Tensor<2>, ClipError> {
        let all: Vec<usize> = (0..self.len()).collect();
        let parts = all
            .chunks(BATCH)
            .map(|chosen| Ok(clip.vision.features(self.pixels(chosen, device)?, None)))
            .collect::<Result<Vec<_>, ClipError>>()?;
        Ok(Tensor::cat(parts, 0))
    }
}

/// Normalised pixels of `images`, `[images, 3, side, side]`.
///
/// # Errors
/// [`ClipError::Image`] for an image without pixels.
pub fn pixels<'a>(
    images: impl Iterator<Item = &'a RgbImage>,
    preprocess: &Preprocess,
    device: &Device,
) -> Result<Tensor<4>, ClipError> {
    let (mut values, mut count) = (Vec::new(), 0);
    for image in images {
        values.extend(preprocess.pixels(image)?);
        count += 1;
    }
    let side = preprocess.crop as usize;
    Ok(Tensor::from_data(TensorData::new(values, [count, 3, side, side]), device))
}

/// Where a vision side takes its images from.
#[derive(Clone, Debug)]
pub enum ImageStore {
    /// Pixels: the vision tower is prompted.
    Pixels(PixelStore),
    /// Features `[images, joint width]`: it is not.
    Features(Tensor<2>),
}

impl ImageStore {
    /// How many images there are.
    pub fn len(&self) -> usize {
        match self {
            ImageStore::Pixels(store) => store.len(),
            ImageStore::Features(features) => features.dims()[0],
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chosen images.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image without pixels.
    pub fn images(&self, chosen: &[usize], device: &Device) -> Result<Images, ClipError> {
        Ok(match self {
            ImageStore::Pixels(store) => Images::Pixels(store.pixels(chosen, device)?),
            ImageStore::Features(features) => {
                Images::Features(features.clone().select(0, indices(chosen, device)))
            }
        })
    }
}
