//! The whole model: two towers and the scale of their logits.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::checkpoint::Weights;
use crate::config::ClipConfig;
use crate::error::ClipError;
use crate::signal::Signal;
use crate::text_tower::TextTower;
use crate::vision_tower::VisionTower;

/// A CLIP model.
#[derive(Module, Debug)]
pub struct Clip {
    /// The text tower.
    pub text: TextTower,
    /// The vision tower.
    pub vision: VisionTower,
    /// `[1]`: the logarithm of the factor on cosine similarities.
    pub logit_scale: Param<Tensor<1>>,
    /// Sizes.
    #[module(skip)]
    pub config: ClipConfig,
}

impl Clip {
    /// Builds the model from the text of `config.json` and the bytes of `model.safetensors`.
    ///
    /// # Errors
    /// [`ClipError`] names the file, and the key or tensor that is missing or wrong.
    pub fn from_bytes(config: &str, weights: &[u8], device: &Device) -> Result<Self, ClipError> {
        let mut weights = Weights::parse("model.safetensors", weights.to_vec())?;
        Self::read(&ClipConfig::parse(config)?, &mut weights, device)
    }

    /// `exp(logit_scale) * image @ text^T` (eq. 1).
    ///
    /// # Shapes
    /// - image: `[images, joint width]`, normalised
    /// - text: `[classes, joint width]`, normalised
    /// - output: `[images, classes]`
    pub fn logits(&self, image: Signal<2>, text: Signal<2>) -> Signal<2> {
        let scale = self.logit_scale.val().exp().unsqueeze::<2>();
        image.matmul(text.linear_map(|tensor| tensor.transpose())).linear_map(|tensor| tensor * scale.clone())
    }
}
