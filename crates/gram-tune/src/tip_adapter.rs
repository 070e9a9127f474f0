//! Tip-Adapter: a cache of the few shots beside the hand-written classifier.
//!
//! Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022. Keys
//! are the normalised features of the shots, averaged over their views, values their classes. With `f` an
//! image's feature:
//!
//! ```text
//! logits = exp(scale) f W^T + alpha exp(-beta (1 - f K^T)) V
//! ```
//!
//! Tip-Adapter-F also tunes the keys. `alpha` and `beta` are chosen on validation images; a class that has no
//! key keeps the hand-written classifier's logits.

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::layers::indices;
use gram_clip::scalars::read;
use gram_clip::signal::leaf;
use gram_clip::{Clip, Signal, product};
use gram_prompt::prompted_clip::accuracy;
use gram_prompt::{Classes, LabelledImages};
use serde::{Deserialize, Serialize};

use crate::descent::{Descent, LossGradient, TuningSet, frozen_features};
use crate::gradient_chain::{AdaptiveMoments, Chain, DecoupledWeightDecay, LearningRate, Moment};
use crate::prepared::EvaluationError;

/// How keys are tuned, and what weights are tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TipAdapterSettings {
    /// Passes over the shots.
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// AdamW's rate at the start; it falls along a cosine to zero.
    pub rate: f64,
    /// Weight of the cache, where there are no validation images to choose it on.
    pub alpha: f32,
    /// Sharpness of the cache, where there are none.
    pub beta: f32,
}

impl TipAdapterSettings {
    /// AdamW's rate of a moment.
    fn rate_at(&self, at: Moment) -> f64 {
        self.rate * 0.5 * (1.0 + (std::f64::consts::PI * at.step as f64 / at.steps as f64).cos())
    }

    /// The descent of the keys: AdamW.
    fn descent(&self, seed: u64) -> Descent<'_, Tensor<2>> {
        let chain: Chain<'_, Tensor<2>> = vec![
            Box::new(AdaptiveMoments::new(EPSILON)),
            Box::new(LearningRate(|along: Tensor<2>, at| along * self.rate_at(at) as f32)),
            Box::new(DecoupledWeightDecay { decay: f64::from(DECAY), rate: |at| self.rate_at(at) }),
        ];
        Descent { chain, epochs: self.epochs, batch_size: self.batch_size, seed }
    }
}

impl Default for TipAdapterSettings {
    /// The authors'.
    fn default() -> Self {
        Self { epochs: 20, batch_size: 256, rate: 1e-3, alpha: 1.0, beta: 5.5 }
    }
}

/// AdamW's weight decay, PyTorch's.
const DECAY: f32 = 0.01;
/// What AdamW adds to the root of the second moment: the authors'.
const EPSILON: f32 = 1e-4;

/// Values of `beta` and of `alpha` that are tried: the authors' search step.
const TRIED: [usize; 2] = [200, 20];
/// Where they end, itself not tried: the authors' search scale.
const LARGEST: [f32; 2] = [7.0, 3.0];
/// The smallest.
const SMALLEST: f32 = 0.1;

/// A cache beside a classifier.
#[derive(Clone, Debug)]
pub struct TipAdapter {
    /// `[shots, joint width]`
    pub keys: Tensor<2>,
    /// One-hot, `[shots, classes]`
    pub values: Tensor<2>,
    /// Weight of the cache.
    pub alpha: f32,
    /// Its sharpness.
    pub beta: f32,
}

impl TipAdapter {
    /// A cache of the shots.
    ///
    /// # Shapes
    /// - views: `[shots, joint width]` of every view, normalised
    pub fn new(views: &[Tensor<2>], labels: &[usize], classes: usize, alpha: f32, beta: f32) -> Self {
        let sum = views.iter().cloned().reduce(|sum, view| sum + view);
        let keys = sum.map(|sum| Signal::from(sum / views.len() as f32).normalize().value);
        let device = views.first().map_or_else(Device::flex, Tensor::device);
        let mut values = vec![0.0_f32; labels.len() * classes];
        labels.iter().enumerate().for_each(|(shot, label)| values[shot * classes + label] = 1.0);
        let values = Tensor::from_data(TensorData::new(values, [labels.len(), classes]), &device);
        Self { keys: keys.unwrap_or_else(|| Tensor::zeros([0, 0], &device)), values, alpha, beta }
    }

    /// Logits `[images, classes]`.
    ///
    /// # Shapes
    /// - images: `[images, joint width]`, normalised
    /// - text: `[classes, joint width]`, normalised: the hand-written classifier
    pub fn logits(&self, clip: &Clip, images: Tensor<2>, text: Tensor<2>) -> Tensor<2> {
        let affinity = product(images.clone(), self.keys.clone().transpose());
        self.weighed(clip.logits(images.into(), text.into()).value, affinity)
    }

    fn weighed(&self, hand_written: Tensor<2>, affinity: Tensor<2>) -> Tensor<2> {
        let near = ((affinity - 1.0) * self.beta).exp();
        hand_written + product(near, self.values.clone()) * self.alpha
    }

    /// The cache with the weights that name most validation images rightly; the first of equals.
    #[must_use]
    pub fn searched(self, clip: &Clip, images: Tensor<2>, text: Tensor<2>, labels: &[usize]) -> Self {
        if labels.is_empty() {
            return self;
        }
        let labels = indices(labels, &images.device());
        let hand_written = clip.logits(images.clone().into(), text.into()).value;
        let affinity = product(images, self.keys.clone().transpose());
        let tried = |of: usize| {
            let step = (LARGEST[of] - SMALLEST) / TRIED[of] as f32;
            (0..TRIED[of]).map(move |place| SMALLEST + step * place as f32)
        };
        let (mut best, mut most) = (self.clone(), -1.0);
        for beta in tried(0) {
            let candidates: Vec<Self> = tried(1).map(|alpha| Self { alpha, beta, ..self.clone() }).collect();
            let right = candidates.iter().map(|candidate| {
                let logits = candidate.weighed(hand_written.clone(), affinity.clone());
                accuracy(logits, labels.clone())
            });
            let right = read(right.collect());
            for (candidate, right) in candidates.into_iter().zip(right) {
                if right > most {
                    (best, most) = (candidate, right);
                }
            }
        }
        best
    }
}

/// Tunes the keys of a cache (Tip-Adapter-F) by AdamW, on features of the shots beside the hand-written
/// classifier. After every epoch `observe` sees the cache with the loss of each batch.
///
/// # Errors
/// [`EvaluationError`] for an image that cannot be read.
pub fn tune_keys(
    clip: &Clip,
    cache: TipAdapter,
    set: &TuningSet,
    settings: &TipAdapterSettings,
    seed: u64,
    observe: &mut dyn FnMut(&TipAdapter, f32),
) -> Result<TipAdapter, EvaluationError> {
    let Classes::Features(text) = &set.classes else { return Ok(cache) };
    let with = |keys: &Tensor<2>| TipAdapter { keys: keys.clone(), ..cache.clone() };
    let mut gradient = |keys: &Tensor<2>, batch: &LabelledImages| {
        let moved = leaf(keys.clone());
        let features = frozen_features(clip, &batch.images);
        let logits = with(&moved).logits(clip, features, text.clone());
        LossGradient::of(Signal::from(logits).cross_entropy(batch.labels.clone()).value, &moved)
    };
    let mut each = |_: usize, keys: &Tensor<2>, losses: &[f32]| {
        losses.iter().for_each(|loss| observe(&with(keys), *loss));
    };
    let device = cache.keys.device();
    let keys = settings.descent(seed).run(cache.keys.clone(), set, &device, &mut gradient, &mut each)?;
    Ok(with(&keys))
}
