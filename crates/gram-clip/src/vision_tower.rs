//! The vision transformer: images and visual prompts to features.
//!
//! A visual prompt (VPT) is a few vectors that join the class token and the patches before the first norm;
//! they have no position. Where it is deep, fresh vectors take their places before further layers. Images may
//! have prompts of their own. In the last layer only the class token is computed, for nothing else is read.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use crate::block::{Block, Wanted};
use crate::config::VisionConfig;
use crate::contents::Contents;
use crate::error::ClipError;
use crate::layers::{LayerNorm, Linear};
use crate::product::product;
use crate::products::{Products, Tower};
use crate::signal::Signal;

/// Patches along a side of an image, at most. Attention over so many, squared, takes 1 GB a head.
const MOST_PATCHES_A_SIDE: usize = 128;

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

/// Vectors beside the patches (VPT, section 3.2 of Jia et al., ECCV 2022).
#[derive(Clone, Debug)]
pub struct VisualPrompt {
    /// `[1 or images, depth * prompt vectors, width]`: one prompt for all images, or each image's own; those
    /// of the first layer first.
    pub vectors: Signal<3>,
    /// Layers before which there are vectors of their own: 1 is shallow.
    pub depth: usize,
}

impl VisualPrompt {
    /// The vectors before `layer`, `[images, prompt vectors, width]`.
    fn before(&self, layer: usize, images: usize) -> Signal<3> {
        let [_, rows, width] = self.vectors.value.dims();
        let vectors = rows / self.depth;
        self.vectors
            .clone()
            .linear_map(|tensor| tensor.narrow(1, layer * vectors, vectors).expand([images, vectors, width]))
    }

    /// `x` `[images, tokens, width]` with fresh vectors in the places of the old ones.
    fn replace(&self, x: Signal<3>, layer: usize) -> Signal<3> {
        let [images, tokens, _] = x.value.dims();
        let fresh = self.before(layer, images);
        let rest = 1 + fresh.value.dims()[1];
        let class = x.clone().linear_map(|tensor| tensor.narrow(1, 0, 1));
        let patches = x.linear_map(|tensor| tensor.narrow(1, rest, tokens - rest));
        Signal::cat(vec![class, fresh, patches], 1)
    }
}

impl From<Signal<2>> for VisualPrompt {
    /// A shallow prompt.
    fn from(vectors: Signal<2>) -> Self {
        Self { vectors: vectors.linear_map(|tensor| tensor.unsqueeze::<3>()), depth: 1 }
    }
}

impl From<Tensor<2>> for VisualPrompt {
    /// A shallow prompt.
    fn from(vectors: Tensor<2>) -> Self {
        Signal::from(vectors).into()
    }
}

impl VisionTower {
    /// Normalised features of images.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, side, side]`, normalised
    /// - output: `[images, joint width]`
    pub fn forward(&self, pixels: Tensor<4>, prompt: Option<VisualPrompt>) -> Signal<2> {
        self.forward_keeping(pixels, prompt, None)
    }

    /// [`forward`](Self::forward), whose products are kept in `products` or taken from there.
    pub fn forward_keeping(
        &self,
        pixels: Tensor<4>,
        prompt: Option<VisualPrompt>,
        products: Option<&Products>,
    ) -> Signal<2> {
        let kept = products.map(|products| {
            let mut input = Contents::default();
            input.tensor(&pixels);
            if let Some(VisualPrompt { vectors, depth }) = &prompt {
                input.value(depth);
                input.tensor(&vectors.value);
            }
            products.of_pass(Tower::Vision, &input)
        });
        let images = pixels.dims()[0];
        let width = self.config.hidden_size;
        let mut x = self.tokens(pixels, prompt.as_ref()).layer_norm(&self.pre_norm);
        let class_token = |tensor: Tensor<3>| tensor.narrow(1, 0, 1);
        for (layer, block) in self.blocks.iter().enumerate() {
            if let Some(prompt) = prompt.as_ref().filter(|prompt| (1..prompt.depth).contains(&layer)) {
                x = prompt.replace(x, layer);
            }
            let last = layer + 1 == self.blocks.len();
            let wanted = if last { Wanted::First } else { Wanted::All };
            x = block.forward_sequences(x, wanted, kept.map(|kept| kept.of_layer(layer)));
        }
        x.linear_map(|tensor| class_token(tensor).reshape([images, width]))
            .layer_norm(&self.post_norm)
            .linear(&self.projection)
            .normalize()
    }

    /// The tower for images of `side` pixels: the positions of patches are interpolated (bicubic, a = -3/4,
    /// pixel centres aligned, as `interpolate_pos_encoding` of transformers), that of the class token stays.
    ///
    /// # Errors
    /// [`ClipError::Config`] if patches do not fill such an image.
    pub fn at_image_size(mut self, side: usize) -> Result<Self, ClipError> {
        let (patch, old) = (self.config.patch_size, self.config.image_size);
        if side == 0 || !side.is_multiple_of(patch) {
            let (key, expected) = ("image_size".into(), format!("a multiple of patch_size, {patch}"));
            return Err(ClipError::Config { file: "config.json", key, value: side.to_string(), expected });
        }
        if side / patch > MOST_PATCHES_A_SIDE {
            let (key, most) = ("image_size".into(), MOST_PATCHES_A_SIDE * patch);
            let expected =
                format!("at most {most}: attention over more patches takes more memory than there is");
            return Err(ClipError::Config { file: "config.json", key, value: side.to_string(), expected });
        }
        let (from, to, width) = (old / patch, side / patch, self.config.hidden_size);
        let positions = self.position_embedding.val();
        let device = positions.device().without_autodiff();
        let along = Tensor::<2>::from_data(TensorData::new(bicubic(from, to), [to, from]), &device);
        let patches = positions.clone().narrow(0, 1, from * from);
        let rows = product(along.clone(), patches.reshape([from, from * width])).reshape([to, from, width]);
        let columns =
            product(along, rows.swap_dims(0, 1).reshape([from, to * width])).reshape([to, to, width]);
        let patches = columns.swap_dims(0, 1).reshape([to * to, width]);
        let interpolated = Tensor::cat(vec![positions.narrow(0, 0, 1), patches], 0);
        self.position_embedding = self.position_embedding.map(|_| interpolated);
        self.config.image_size = side;
        Ok(self)
    }

    /// Class token, prompt and patches: `[images, 1 + prompt vectors + patches, width]`.
    fn tokens(&self, pixels: Tensor<4>, prompt: Option<&VisualPrompt>) -> Signal<3> {
        let images = pixels.dims()[0];
        let width = self.config.hidden_size;
        let positions = self.position_embedding.val();
        let count = positions.dims()[0];
        let class = self.class_embedding.val().reshape([1, width]) + positions.clone().narrow(0, 0, 1);
        let class = class.reshape([1, 1, width]).expand([images, 1, width]);
        let patches = Signal::from(self.patches(pixels)).linear(&self.patch_embedding);
        let patches = patches.add_constant(positions.narrow(0, 1, count - 1).unsqueeze::<3>());
        let mut parts = vec![Signal::from(class)];
        parts.extend(prompt.map(|prompt| prompt.before(0, images)));
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

/// Weights `[to, from]` of a bicubic interpolation of `from` values at `to` places; values beyond the ends
/// are the last.
fn bicubic(from: usize, to: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let near = |t: f64| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let mut weights = vec![0.0; to * from];
    for (place, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let (first, t) = (centre.floor(), centre - centre.floor());
        for (offset, weight) in
            [(-1.0, far(1.0 + t)), (0.0, near(t)), (1.0, near(1.0 - t)), (2.0, far(2.0 - t))]
        {
            let value = (first + offset).clamp(0.0, (from - 1) as f64) as usize;
            row[value] += weight as f32;
        }
    }
    weights
}
