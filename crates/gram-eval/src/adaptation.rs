//! Few-shot adaptation: descent from a start on a few labelled images, with the regulated gradient if there is a
//! regulator.
//!
//! SGD with momentum, the same shots, views, schedule and epochs for every method. With `g` the batch's gradient:
//!
//! ```text
//! velocity <- momentum * velocity + R(g),    theta <- theta - rate * velocity
//! ```
//!
//! The rate is constant and small in the warm-up epochs, then falls along a cosine to zero, as in CoOp. This code sees
//! the tuning images only.

use burn::tensor::Device;
use gram_clip::ClipError;
use gram_data::random::indexed_stream;
use gram_meta::meta_gradient::regulated;
use gram_prompt::image_store::indices;
use gram_prompt::{Classes, ImageStore, LabelledImages, Prompt, PromptedClip, Rates};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::method::Start;

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
    /// SGD's momentum.
    pub momentum: f32,
    /// Epochs at the warm-up rate.
    pub warmup_epochs: usize,
    /// The rate of these epochs.
    pub warmup_rate: f32,
}

impl AdaptationSettings {
    /// A step of `epoch` along `velocity`.
    fn step(&self, velocity: &Prompt, epoch: usize) -> Prompt {
        match epoch < self.warmup_epochs {
            true => Rates::both(self.warmup_rate).scale(velocity, 1.0),
            false => self.rates.scale(velocity, self.annealing(epoch)),
        }
    }

    /// What the highest rates are multiplied with in `epoch`, after the warm-up.
    fn annealing(&self, epoch: usize) -> f32 {
        let done = (epoch - self.warmup_epochs) as f32 / (self.epochs - self.warmup_epochs).max(1) as f32;
        0.5 * (1.0 + (std::f32::consts::PI * done).cos())
    }
}

/// What a prompt is tuned on.
#[derive(Clone, Debug)]
pub struct TuningSet {
    /// The classes.
    pub classes: Classes,
    /// The images as each epoch sees them, augmented anew.
    pub views: Vec<ImageStore>,
    /// Class of every image.
    pub labels: Vec<usize>,
}

/// Tunes a prompt. `observe` sees the prompt and the mean loss after every epoch, numbered from 1.
///
/// # Errors
/// [`ClipError::Image`] for an image without pixels.
pub fn adapt(
    clip: &PromptedClip,
    set: &TuningSet,
    start: &Start,
    settings: &AdaptationSettings,
    seed: u64,
    device: &Device,
    observe: &mut dyn FnMut(usize, &Prompt, f32),
) -> Result<Prompt, ClipError> {
    let mut theta = start.theta.clone();
    let mut velocity = theta.map(|_, part| part.zeros_like());
    for (epoch, view) in set.views.iter().enumerate().take(settings.epochs) {
        let mut order: Vec<usize> = (0..set.labels.len()).collect();
        order.shuffle(&mut indexed_stream(seed, "adaptation order", epoch as u64));
        let mut losses = 0.0;
        for chosen in order.chunks(settings.batch_size) {
            let labels: Vec<usize> = chosen.iter().map(|image| set.labels[*image]).collect();
            let batch =
                LabelledImages { images: view.images(chosen, device)?, labels: indices(&labels, device) };
            let found = clip.gradient(&theta, &set.classes, &batch);
            velocity =
                regulated(start.phi.as_ref(), &found.gradient).add_scaled(&velocity, settings.momentum);
            theta = theta.add_scaled(&settings.step(&velocity, epoch), -1.0);
            losses += found.loss * chosen.len() as f32;
        }
        observe(epoch + 1, &theta, losses / set.labels.len() as f32);
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
            momentum: 0.9,
            warmup_epochs: 1,
            warmup_rate: 1e-5,
        };
        let ones = burn::tensor::Tensor::ones([1, 1], &Device::default());
        let velocity: Prompt = [(gram_prompt::Part::Text, ones)].into_iter().collect();
        let rate = |epoch| settings.step(&velocity, epoch).norm();
        assert_eq!((rate(0), rate(1)), (1e-5, 0.002));
        assert!((rate(1) / 2.0 - rate(5)).abs() < 2e-4);
        assert!(rate(9) > 0.0 && rate(9) < rate(8));
    }
}
