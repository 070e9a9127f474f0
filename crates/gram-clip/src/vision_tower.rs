//! The vision transformer: images and visual prompts to features.
//!
//! A visual prompt (VPT, shallow) is a few vectors that join the class token and the patches before the first norm;
//! they have no position. In the last layer only the class token is computed, for nothing else is read.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::config::VisionConfig;
use crate::layers::{Block, LayerNorm, Linear};
use crate::signal::Signal;

/// The vision transformer of CLIP.
#[derive(Module, Debug)]
pub struct VisionTower {
    /// `[3 * patch * patch, width]`, channel before row before column; no bias.
    pub patch_embedding: Linear,
    /// `[width]`
    pub class_embedding: Param<Tensor<1>>,
    /// `[1 + patches, width]`, the class token's first.
    pub position_embedding: Param<Tensor<2>>,
    /// Norm before the first layer.
    pub pre_norm: LayerNorm,
    /// The layers.
    pub blocks: Vec<Block>,
    /// Norm before the projection.
    pub post_norm: LayerNorm,
    /// `[width, joint width]`, no bias.
    pub projection: Linear,
    /// Sizes.
    #[module(skip)]
    pub config: VisionConfig,
}

impl VisionTower {
    /// Normalised features of images.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, side, side]`, normalised
    /// - prompt: `[prompt vectors, width]`
    /// - output: `[images, joint width]`
    pub fn forward(&self, pixels: Tensor<4>, prompt: Option<Signal<2>>) -> Signal<2> {
        let images = pixels.dims()[0];
        let width = self.config.hidden_size;
        let mut x = self.tokens(pixels, prompt).layer_norm(&self.pre_norm);
        let class_token = |tensor: Tensor<3>| tensor.narrow(1, 0, 1);
        if let Some((last, others)) = self.blocks.split_last() {
            for block in others {
                x = block.forward(x, None, None);
            }
            x = last.forward_at(x, None, None, class_token);
        }
        x.linear_map(|tensor| class_token(tensor).reshape([images, width]))
            .layer_norm(&self.post_norm)
            .linear(&self.projection)
            .normalize()
    }

    /// Class token, prompt and patches: `[images, 1 + prompt vectors + patches, width]`.
    fn tokens(&self, pixels: Tensor<4>, prompt: Option<Signal<2>>) -> Signal<3> {
        let images = pixels.dims()[0];
        let width = self.config.hidden_size;
        let positions = self.position_embedding.val();
        let count = positions.dims()[0];
        let class = self.class_embedding.val().reshape([1, width]) + positions.clone().narrow(0, 0, 1);
        let class = class.reshape([1, 1, width]).expand([images, 1, width]);
        let patches = Signal::from(self.patches(pixels)).linear(&self.patch_embedding);
        let patches = patches.add_constant(positions.narrow(0, 1, count - 1).unsqueeze::<3>());
        let mut parts = vec![Signal::from(class)];
        if let Some(prompt) = prompt {
            let vectors = prompt.value.dims()[0];
            parts.push(
                prompt.linear_map(|tensor| {
                    tensor.reshape([1, vectors, width]).expand([images, vectors, width])
                }),
            );
        }
        parts.push(patches);
        Signal::cat(parts, 1)
    }

    /// The pixels of every patch: `[images, patches, 3 * patch * patch]`.
    fn patches(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [images, channels, height, width] = pixels.dims();
        let side = self.config.patch_size;
        let (rows, columns) = (height / side, width / side);
        pixels.reshape([images, channels, rows, side, columns, side]).permute([0, 2, 4, 1, 3, 5]).reshape([
            images,
            rows * columns,
            channels * side * side,
        ])
    }
}
