//! Few-shot adaptation: descent from a start on a few labelled images, with the regulated gradient if there
//! is a regulator.
//!
//! SGD with momentum, the same shots, views, schedule and epochs for every method. With `g` the batch's
//! gradient:
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
//! The rate is constant and small in the warm-up epochs, then falls along a cosine whose period is all
//! epochs, as in CoOp: it does not reach zero.

use burn::tensor::Device;
pub use gram_meta::Regulated;
use gram_meta::Regulator;
use gram_prompt::{CrossEntropy, LabelledImages, Objective, Part, Prompt, PromptedClip, Rates};
use serde::{Deserialize, Serialize};

use crate::descent::{Descent, LossGradient};
pub use crate::descent::{TuningSet, View, batches};
use crate::gradient_chain::{Chain, LearningRate, Moment, Momentum, WeightDecay};
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
    /// The descent of a prompt: regulator, weight decay, momentum and schedule, the regulator in front of
    /// momentum or behind it.
    pub fn descent<'a>(&'a self, phi: Option<&'a Regulator>, seed: u64) -> Descent<'a, Prompt> {
        let mut chain: Chain<'a, Prompt> =
            vec![Box::new(WeightDecay(self.weight_decay)), Box::new(Momentum(self.momentum))];
        if let Some(phi) = phi {
            let place = match self.regulated {
                Regulated::Gradient => 0,
                Regulated::Velocity => chain.len(),
            };
            chain.insert(place, Box::new(phi));
        }
        chain.push(Box::new(LearningRate(|along, at: Moment| self.step(&along, at.epoch))));
        Descent { chain, epochs: self.epochs, batch_size: self.batch_size, seed }
    }

    /// A step of `epoch` along `velocity`.
    fn step(&self, velocity: &Prompt, epoch: usize) -> Prompt {
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

/// What a prompt is tuned by.
#[derive(Clone, Copy)]
pub struct Tuner<'a> {
    /// The model that takes the prompt.
    pub clip: &'a PromptedClip<'a>,
    /// What is minimised.
    pub objective: &'a dyn Objective,
    /// The transformations of the gradient, and how long they are repeated.
    pub settings: &'a AdaptationSettings,
}

impl Tuner<'_> {
    /// Tunes a prompt. `observe` sees the prompt and the losses of its batches after every epoch, numbered
    /// from 1.
    ///
    /// # Errors
    /// [`EvaluationError`] for an image that cannot be read.
    pub fn tune(
        &self,
        set: &TuningSet,
        start: &Start,
        seed: u64,
        device: &Device,
        observe: &mut dyn FnMut(usize, &Prompt, &[f32]),
    ) -> Result<Prompt, EvaluationError> {
        let mut gradient = |theta: &Prompt, batch: &LabelledImages| {
            let found = self.clip.gradient_of(self.objective, theta, &set.classes, batch);
            LossGradient { loss: found.loss, gradient: found.gradient }
        };
        let descent = self.settings.descent(start.phi.as_ref(), seed);
        descent.run(start.theta.clone(), set, device, &mut gradient, observe)
    }
}

/// Tunes a prompt by cross-entropy, as [`Tuner::tune`] does.
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
    Tuner { clip, objective: &CrossEntropy, settings }.tune(set, start, seed, device, observe)
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;

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
        let ones = burn::tensor::Tensor::ones([1, 1], &Compute::tested().device());
        let velocity: Prompt = [(Part::Text, ones.clone())].into_iter().collect();
        let rate = |epoch| settings.step(&velocity, epoch).norm();
        assert_eq!((rate(0), rate(1)), (1e-5, 0.002));
        // From Dassl's scheduler around PyTorch's CosineAnnealingLR.
        assert!((rate(2) - 1.951_056_5e-3).abs() < 1e-9 && (rate(9) - 1.909_830_1e-4).abs() < 1e-9);
        let joint: Prompt = [(Part::Text, ones.clone()), (Part::Visual, ones)].into_iter().collect();
        assert!((settings.step(&joint, 1).norm() - 1e-5_f32.sqrt()).abs() < 1e-9);
    }
}
