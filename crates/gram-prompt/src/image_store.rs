//! Images by number, as a prompt's vision side wants them: features computed once, or pixels for the tower.

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::layers::indices;
use gram_clip::{ClipError, Preprocess};
use image::RgbImage;

use crate::prompted_clip::Images;

/// Pixels of many images at the model's side, 8 bit a channel: what is needed of an image, whatever its own size.
#[derive(Clone, Debug)]
pub struct PixelStore {
    images: Vec<RgbImage>,
    preprocess: Preprocess,
}

impl PixelStore {
    /// Keeps `images`, which have the side of `preprocess`, as [`Preprocess::resized`] gives them.
    ///
    /// # Errors
    /// [`ClipError::Image`] for an image of another size.
    pub fn new(images: Vec<RgbImage>, preprocess: Preprocess) -> Result<Self, ClipError> {
        let side = preprocess.crop;
        if let Some(image) = images.iter().find(|image| image.dimensions() != (side, side)) {
            let (width, height) = image.dimensions();
            let problem = format!("the model reads images of {side} pixels");
            return Err(ClipError::Image { width, height, problem });
        }
        Ok(Self { images, preprocess })
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
    pub fn pixels(&self, chosen: &[usize], device: &Device) -> Tensor<4> {
        pixels(chosen.iter().map(|image| &self.images[*image]), &self.preprocess, device)
    }
}

/// Normalised pixels of `images`, which have the side of `preprocess`: `[images, 3, side, side]`.
pub fn pixels<'a>(
    images: impl ExactSizeIterator<Item = &'a RgbImage>,
    preprocess: &Preprocess,
    device: &Device,
) -> Tensor<4> {
    let (count, side) = (images.len(), preprocess.crop as usize);
    let mut values = Vec::with_capacity(count * 3 * side * side);
    images.for_each(|image| values.extend(preprocess.normalised(image)));
    Tensor::from_data(TensorData::new(values, [count, 3, side, side]), device)
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
    pub fn images(&self, chosen: &[usize], device: &Device) -> Images {
        match self {
            ImageStore::Pixels(store) => Images::Pixels(store.pixels(chosen, device)),
            ImageStore::Features(features) => {
                Images::Features(features.clone().select(0, indices(chosen, device)))
            }
        }
    }
}
