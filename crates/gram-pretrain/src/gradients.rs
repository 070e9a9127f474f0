//! The gradient of a batch's contrastive loss.
//!
//! The loss compares every image with every text, but a tower's gradient needs no more of the other pairs
//! than the derivative of the loss by its own features. So the batch goes through the towers in parts, on a
//! CPU side by side; the loss is taken over the features of all, and its derivative sent back through
//! each part (as in GradCache, Gao et al. 2021, arXiv 2101.06983, but with the parts' activations kept). The
//! parts and the order of their sum are fixed: the number of threads changes no number.

use burn::module::Module;
use burn::tensor::Tensor;
use burn_optim::{GradientsAccumulator, GradientsParams};
use gram_clip::Clip;
use gram_clip::signal::leaf;
use gram_clip::text_tower::Batching;

use crate::batches::Batch;
use crate::contrastive_loss::{contrastive_loss, targets};

/// Pairs of a part: few enough that a layer's activations stay near the core.
const PART: usize = 32;

/// A part of the batch on its way through towers that share their weights, and nothing of the graph, with the
/// others.
struct Part {
    clip: Clip,
    /// First pair.
    first: usize,
    /// `[pairs, joint width]`
    text: Tensor<2>,
    /// `[pairs, joint width]`
    image: Tensor<2>,
}

/// The contrastive loss of `batch`, and its gradient by every parameter of `clip`. `start` is the token SOS.
pub fn loss_and_gradients(clip: &Clip, batch: &Batch, start: u32) -> (f32, GradientsParams) {
    let firsts: Vec<usize> = (0..batch.texts.len()).step_by(PART).collect();
    let parts: Vec<Part> = clip.compute.each(firsts, |first| Part::forward(clip, batch, first, start));
    let features = |of: fn(&Part) -> &Tensor<2>| {
        leaf(Tensor::cat(parts.iter().map(|part| of(part).clone().inner()).collect(), 0))
    };
    let (text, image) = (features(|part| &part.text), features(|part| &part.image));
    let logits = clip.logits(image.clone().into(), text.clone().into()).value;
    let loss = contrastive_loss(logits, targets(&batch.captions, &batch.pixels.device()));
    let gradients = loss.backward();
    let derivative =
        |features: &Tensor<2>| features.grad(&gradients).unwrap_or_else(|| features.zeros_like().inner());
    let (text, image) = (derivative(&text), derivative(&image));
    let through_towers: Vec<GradientsParams> = clip.compute.each(parts, |part| part.backward(&text, &image));
    let mut sum = GradientsAccumulator::new();
    sum.accumulate(clip, GradientsParams::from_grads(gradients, clip));
    through_towers.into_iter().for_each(|part| sum.accumulate(clip, part));
    (loss.inner().into_scalar::<f32>(), sum.grads())
}

impl Part {
    fn forward(clip: &Clip, batch: &Batch, first: usize, start: u32) -> Self {
        let pairs = PART.min(batch.texts.len() - first);
        let device = batch.pixels.device().autodiff();
        let clip = clip.clone().fork(&device);
        let text = clip.text.forward(start, None, &batch.texts[first..first + pairs], Batching::Padded).value;
        let image = clip.vision.forward(batch.pixels.clone().narrow(0, first, pairs), None).value;
        Self { clip, first, text, image }
    }

    /// The part's share of the parameters' gradient, from the derivatives of the loss by all features.
    fn backward(self, text: &Tensor<2>, image: &Tensor<2>) -> GradientsParams {
        let own = |features: Tensor<2>, derivative: &Tensor<2>| {
            let derivative = derivative.clone().narrow(0, self.first, features.dims()[0]);
            (features * derivative).sum()
        };
        let pulled = own(self.text, text) + own(self.image, image);
        GradientsParams::from_grads(pulled.backward(), &self.clip)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::{Device, TensorData};
    use gram_clip::{ClipConfig, Compute};
    use gram_data::random::{normal, stream};

    use super::*;
    use crate::random_start::RandomStart;

    /// More pairs than a part, and no multiple of it.
    const PAIRS: usize = PART + 8;

    fn clip() -> Clip {
        let mut config = ClipConfig::parse("{}").unwrap();
        (config.projection_dim, config.text_config.vocab_size) = (16, 40);
        (config.text_config.hidden_size, config.vision_config.hidden_size) = (16, 24);
        (config.text_config.intermediate_size, config.vision_config.intermediate_size) = (32, 32);
        (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers) = (2, 2);
        (config.text_config.num_attention_heads, config.vision_config.num_attention_heads) = (2, 2);
        (config.text_config.max_position_embeddings, config.vision_config.image_size) = (8, 8);
        config.vision_config.patch_size = 4;
        Clip::read(&config, &mut RandomStart::new(&config, 1), &Compute::cpu()).unwrap().train()
    }

    fn batch(device: &Device) -> Batch<'static> {
        let captions = ["a cat", "a dog", "a tree", "a house", "a boat", "a bird", "a fish"];
        let mut random = stream(1, "pixels");
        let pixels: Vec<f32> = (0..PAIRS * 3 * 64).map(|_| normal(&mut random)).collect();
        let text =
            |pair: usize| [vec![2; 1 + pair % 3], vec![3 + (pair % captions.len()) as u32, 39]].concat();
        Batch {
            pixels: Tensor::from_data(TensorData::new(pixels, [PAIRS, 3, 8, 8]), device),
            texts: (0..PAIRS).map(text).collect(),
            captions: (0..PAIRS).map(|pair| captions[pair % captions.len()]).collect(),
        }
    }

    /// Compares two gradients of one model, parameter by parameter.
    struct Compare<'a>(&'a GradientsParams, &'a GradientsParams, usize);

    impl ModuleVisitor for Compare<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let (one, other) = (self.0.get::<D>(parameter.id), self.1.get::<D>(parameter.id));
            let (one, other) = (one.unwrap(), other.unwrap());
            let largest = other.clone().abs().max().into_scalar::<f32>();
            let difference = (one - other).abs().max().into_scalar::<f32>();
            assert!(difference <= 1e-4 * largest.max(1e-3), "{difference} of {largest}");
            self.2 += 1;
        }
    }

    #[test]
    fn parts_give_the_loss_and_the_gradient_of_the_whole_batch() {
        let device = Device::flex();
        let (clip, batch) = (clip(), batch(&device));
        let (loss, gradients) = loss_and_gradients(&clip, &batch, 0);

        let text = clip.text.forward(0, None, &batch.texts, Batching::Padded);
        let image = clip.vision.forward(batch.pixels.clone(), None);
        let whole = contrastive_loss(clip.logits(image, text).value, targets(&batch.captions, &device));
        let expected = GradientsParams::from_grads(whole.backward(), &clip);
        assert!((loss - whole.inner().into_scalar::<f32>()).abs() < 1e-5);
        let mut compare = Compare(&gradients, &expected, 0);
        clip.visit(&mut compare);
        assert!(compare.2 > 50, "{} parameters", compare.2);
    }
}
