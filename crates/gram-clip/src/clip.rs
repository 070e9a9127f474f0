//! The whole model: two towers and the scale of their logits.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::checkpoint::Weights;
use crate::compute::Compute;
use crate::config::ClipConfig;
use crate::error::ClipError;
use crate::signal::Signal;
use crate::text_tower::{Layouts, TextTower};
use crate::vision_tower::{VisionTower, VisualPrompt};

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
    /// Where and how it computes.
    #[module(skip)]
    pub compute: Compute,
}

impl Clip {
    /// Builds the model from the text of `config.json` and the bytes of `model.safetensors`.
    ///
    /// # Errors
    /// [`ClipError`] names the file, and the key or tensor that is missing or wrong.
    pub fn from_bytes(config: &str, weights: &[u8], compute: &Compute) -> Result<Self, ClipError> {
        let mut weights = Weights::parse("model.safetensors", weights.to_vec())?;
        Self::read(&ClipConfig::parse(config)?, &mut weights, compute)
    }

    /// The model on another device, or with towers in another number format: the weights of their products
    /// are rounded to it, all others are f32.
    pub fn on(self, compute: &Compute) -> Self {
        if *compute == self.compute {
            return self;
        }
        let mut clip = self.to_device(&compute.device());
        let blocks = clip.text.blocks.iter_mut().chain(&mut clip.vision.blocks);
        blocks.for_each(|block| block.round_to(compute.precision()));
        clip.vision.patch_embedding.round_to(compute.precision());
        clip.text.layouts = Layouts::default();
        clip.compute = compute.clone().sized_for(clip.config.vision_config.bytes_of_image());
        clip
    }

    /// Normalised features of images of which no gradient is wanted, `[images, joint width]`, as
    /// [`VisionTower::forward`] gives them: on a CPU, parts of the batch pass through the tower side by side.
    /// A prompt is the same for all images.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, side, side]`, normalised
    pub fn image_features(&self, pixels: Tensor<4>, prompt: Option<&VisualPrompt>) -> Tensor<2> {
        let (images, part) = (pixels.dims()[0], self.compute.images_of_a_pass());
        let pass = |first: &usize| {
            let pixels = pixels.clone().narrow(0, *first, part.min(images - first));
            self.vision.forward(pixels, prompt.cloned()).value
        };
        let firsts: Vec<usize> = (0..images).step_by(part).collect();
        Tensor::cat(self.compute.each(&firsts, pass), 0)
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
