//! Few-shot adaptation: descent from a start on a few labelled images, with the regulated gradient if there is a
//! regulator.
//!
//! SGD with momentum, the same shots, views, schedule and epochs for every method. With `g` the batch's gradient:
//!
//! ```text
//! velocity <- momentum * velocity + R(g) + decay * theta,    theta <- theta - rate * velocity
//! ```
//!
//! or, with [`Regulated::Velocity`], the regulator bends what momentum has gathered:
//!
//! ```text
//! velocity <- momentum * velocity + g + decay * theta,       theta <- theta - rate * R(velocity)
//! ```
//!
//! The rate is constant and small in the warm-up epochs, then falls along a cosine whose period is all epochs, as in CoOp:
//! it does not reach zero. This code sees the tuning images only.

use burn::tensor::Device;
use gram_clip::layers::indices;
use gram_data::random::indexed_stream;
use gram_features::Images;
pub use gram_meta::Regulated;
use gram_prompt::{Classes, LabelledImages, Part, Prompt, PromptedClip, Rates};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::method::Start;
use crate::prepared::EvaluationError;

/// How a prompt is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptationSettings {
    /// Passes over the tuning images.
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// Highest learning rates.
    pub rates: Rates,
    /// Those of joint prompts, where they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint_rates: Option<Rates>,
    /// SGD's momentum.
    pub momentum: f32,
    /// What is added of the prompt to its gradient.
    pub weight_decay: f32,
    /// Epochs at the warm-up rate.
    pub warmup_epochs: usize,
    /// The rate of these epochs.
    pub warmup_rate: f32,
    /// What the regulator bends, if there is one.
    #[serde(default)]
    pub regulated: Regulated,
}

impl AdaptationSettings {
    /// The velocity after a step with `gradient`, regulated where it is.
    pub(crate) fn velocity(&self, velocity: &Prompt, theta: &Prompt, gradient: &Prompt) -> Prompt {
        gradient.add_scaled(theta, self.weight_decay).add_scaled(velocity, self.momentum)
    }

    /// A step of `epoch` along `velocity`.
    pub(crate) fn step(&self, velocity: &Prompt, epoch: usize) -> Prompt {
        match epoch < self.warmup_epochs {
            true => Rates::both(self.warmup_rate).scale(velocity, 1.0),
            false => self.rates_of(velocity).scale(velocity, self.annealing(epoch)),
        }
    }

    fn rates_of(&self, prompt: &Prompt) -> Rates {
        let joint = [Part::Text, Part::Visual].iter().all(|part| prompt.get(*part).is_some());
        self.joint_rates.filter(|_| joint).unwrap_or(self.rates)
    }

    /// What the highest rates are multiplied with in `epoch`, after the warm-up.
    fn annealing(&self, epoch: usize) -> f32 {
        let done = (epoch - self.warmup_epochs) as f32 / self.epochs.max(1) as f32;
        0.5 * (1.0 + (std::f32::consts::PI * done).cos())
    }
}

/// What a prompt is tuned on.
pub struct TuningSet<'a> {
    /// The classes.
    pub classes: Classes,
    /// Chosen images as an epoch sees them, augmented anew.
    pub images: &'a View<'a>,
    /// Class of every image.
    pub labels: Vec<usize>,
}

/// From an epoch and the numbers of some images to these images.
pub type View<'a> = dyn Fn(usize, &[usize]) -> Result<Images, EvaluationError> + 'a;

/// Images of each step of an epoch: all of them, in the order that the seed gives.
pub fn batches(images: usize, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut indexed_stream(seed, "adaptation order", epoch as u64));
    order.chunks(batch_size).map(<[usize]>::to_vec).collect()
}

/// Tunes a prompt. `observe` sees the prompt and the losses of its batches after every epoch, numbered from 1.
///
/// # Errors
/// [`EvaluationError`] for an image that cannot be read.
pub fn adapt(
    clip: &PromptedClip,
    set: &TuningSet,
    start: &Start,
    settings: &AdaptationSettings,
    seed: u64,
    device: &Device,
    observe: &mut dyn FnMut(usize, &Prompt, &[f32]),
) -> Result<Prompt, EvaluationError> {
    let mut theta = start.theta.clone();
    let mut velocity = theta.map(|_, part| part.zeros_like());
    for epoch in 0..settings.epochs {
        let mut losses = Vec::new();
        for chosen in batches(set.labels.len(), settings.batch_size, seed, epoch) {
            let labels: Vec<usize> = chosen.iter().map(|image| set.labels[*image]).collect();
            let images = (set.images)(epoch, &chosen)?;
            let batch = LabelledImages { images, labels: indices(&labels, device) };
            let found = clip.gradient(&theta, &set.classes, &batch);
            let phi = start.phi.as_ref();
            let gathered = settings.regulated.gathered(phi, &found.gradient);
            velocity = settings.velocity(&velocity, &theta, &gathered);
            let direction = settings.regulated.direction(phi, &velocity);
            theta = theta.add_scaled(&settings.step(&direction, epoch), -1.0);
            losses.push(found.loss);
        }
        observe(epoch + 1, &theta, &losses);
    }
    Ok(theta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_falls_along_a_cosine() {
        let settings = AdaptationSettings {
            epochs: 10,
            batch_size: 32,
            rates: Rates::both(0.002),
            joint_rates: Some(Rates { text: 0.001, visual: 0.003 }),
            momentum: 0.9,
            weight_decay: 5e-4,
            warmup_epochs: 1,
            warmup_rate: 1e-5,
            regulated: Regulated::Gradient,
        };
        let ones = burn::tensor::Tensor::ones([1, 1], &Device::default());
        let velocity: Prompt = [(Part::Text, ones.clone())].into_iter().collect();
        let rate = |epoch| settings.step(&velocity, epoch).norm();
        assert_eq!((rate(0), rate(1)), (1e-5, 0.002));
        // From Dassl's scheduler around PyTorch's CosineAnnealingLR.
        assert!((rate(2) - 1.951_056_5e-3).abs() < 1e-9 && (rate(9) - 1.909_830_1e-4).abs() < 1e-9);
        let joint: Prompt = [(Part::Text, ones.clone()), (Part::Visual, ones)].into_iter().collect();
        assert!((settings.step(&joint, 1).norm() - 1e-5_f32.sqrt()).abs() < 1e-9);
    }
}
