//! Images by number, as a prompt's vision side wants them: features computed once, or pixels for the tower.

use burn::tensor::{Device, Tensor};
use gram_clip::layers::indices;

use crate::{FeatureError, PixelCache};

/// What is classified.
#[derive(Clone, Debug)]
pub enum Images {
    /// Normalised pixels, `[images, 3, side, side]`.
    Pixels(Tensor<4>),
    /// Normalised features, `[images, joint width]`: the vision tower is not prompted.
    Features(Tensor<2>),
}

/// Where a vision side takes its images from.
#[derive(Clone, Debug)]
pub enum ImageStore {
    /// Pixels: the vision tower is prompted.
    Pixels(PixelCache),
    /// Features `[images, joint width]`: it is not.
    Features(Tensor<2>),
}

impl ImageStore {
    /// How many images there are.
    pub fn len(&self) -> usize {
        match self {
            ImageStore::Pixels(cache) => cache.len(),
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
    /// [`FeatureError`] names the image that cannot be read any more.
    pub fn images(&self, chosen: &[usize], device: &Device) -> Result<Images, FeatureError> {
        Ok(match self {
            ImageStore::Pixels(cache) => Images::Pixels(cache.pixels(chosen, device)?),
            ImageStore::Features(features) => {
                Images::Features(features.clone().select(0, indices(chosen, device)))
            }
        })
    }
}
