//! The one loop of tuning: batches of an epoch, the gradient of each, a step.
//!
//! ```text
//! for each epoch, for each batch:   theta <- step(g(theta, batch)),   step by the chain of transformations
//! ```
//!
//! Every method that learns descends here: prompts ([`adaptation`](crate::adaptation)), Tip-Adapter's keys
//! ([`tip_adapter`](crate::tip_adapter)), ProDA's collection
//! ([`prompt_distribution`](crate::prompt_distribution)). They differ in what is learned, in the loss, and in
//! the [chain](crate::gradient_chain). This code sees the tuning images only.

use burn::tensor::{Device, Tensor};
use gram_clip::Clip;
use gram_clip::layers::indices;
use gram_clip::scalars::read;
use gram_data::random::indexed_stream;
use gram_features::Images;
use gram_prompt::{Classes, LabelledImages};
use rand::seq::SliceRandom;

use crate::gradient_chain::{Chain, GradientTransformation, Moment, Parameters, Step};
use crate::prepared::EvaluationError;

/// What is tuned on.
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

/// A loss, and its gradient.
pub struct LossGradient<P> {
    /// The loss, `[1]`.
    pub loss: Tensor<1>,
    /// Its gradient for what is learned.
    pub gradient: P,
}

impl LossGradient<Tensor<2>> {
    /// The loss `[1]` and its gradient for a leaf; zero where the loss does not depend on it.
    pub fn of(loss: Tensor<1>, leaf: &Tensor<2>) -> Self {
        let gradient = leaf.grad(&loss.backward()).unwrap_or_else(|| leaf.clone().inner().zeros_like());
        Self { loss: loss.inner(), gradient }
    }
}

/// How long the loop runs, and in what steps.
pub struct Descent<'a, P> {
    /// What becomes of each gradient.
    pub chain: Chain<'a, P>,
    /// Passes over the tuning images.
    pub epochs: usize,
    /// Images of a step.
    pub batch_size: usize,
    /// Decides the order of the images.
    pub seed: u64,
}

impl<P: Parameters> Descent<'_, P> {
    /// Descends from `start`. `gradient` is asked for every batch, and `observe` sees what is learned and the
    /// losses of the batches after every epoch, numbered from 1.
    ///
    /// # Errors
    /// [`EvaluationError`] for an image that cannot be read.
    pub fn run(
        &self,
        start: P,
        set: &TuningSet,
        device: &Device,
        gradient: &mut dyn FnMut(&P, &LabelledImages) -> LossGradient<P>,
        observe: &mut dyn FnMut(usize, &P, &[f32]),
    ) -> Result<P, EvaluationError> {
        let mut update = self.chain.init(&start);
        let steps = self.epochs * set.labels.len().div_ceil(self.batch_size);
        let (mut theta, mut step) = (start, 0);
        for epoch in 0..self.epochs {
            let mut losses = Vec::new();
            for chosen in batches(set.labels.len(), self.batch_size, self.seed, epoch) {
                let labels: Vec<usize> = chosen.iter().map(|image| set.labels[*image]).collect();
                let images = (set.images)(epoch, &chosen)?;
                let batch = LabelledImages { images, labels: indices(&labels, device) };
                let found = gradient(&theta, &batch);
                let first = Step { from: theta, along: found.gradient };
                theta = update(first, Moment { epoch, step, steps }).taken();
                losses.push(found.loss);
                step += 1;
            }
            // Read together: a GPU that waits for a loss at every step would be idle as long as it computes.
            observe(epoch + 1, &theta, &read(losses));
        }
        Ok(theta)
    }
}

/// Images of each step of an epoch: all of them, in the order that the seed gives.
pub fn batches(images: usize, batch_size: usize, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..images).collect();
    order.shuffle(&mut indexed_stream(seed, "adaptation order", epoch as u64));
    order.chunks(batch_size).map(<[usize]>::to_vec).collect()
}

/// Features of images through the frozen vision tower, `[images, joint width]`: those that are there, or
/// computed now.
pub fn frozen_features(clip: &Clip, images: &Images) -> Tensor<2> {
    match images {
        Images::Features(features) => features.clone(),
        Images::Pixels(pixels) => clip.image_features(pixels.clone(), None),
    }
}
