//! What tuning minimises, from what a frozen CLIP answers under a prompt.
//!
//! An [`Objective`] sees the features and the logits of a batch, and need not know how they came about:
//! whether classes pass the text tower at once or in parts, its derivative with respect to their features is
//! sent back to the prompt.

use burn::tensor::{Int, Tensor};
use gram_clip::Signal;

/// What a frozen CLIP answers to a batch under a prompt.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Normalised features of the images, `[images, joint width]`.
    pub images: Tensor<2>,
    /// Normalised features of the classes, `[classes, joint width]`; where the image moves the context
    /// (CoCoOp) those of each image, one below the other.
    pub texts: Tensor<2>,
    /// Logits, `[images, classes]` (eq. 1).
    pub logits: Tensor<2>,
}

/// A loss to be minimised.
pub trait Objective {
    /// The loss, `[1]`.
    ///
    /// # Shapes
    /// - labels: `[images]`
    fn loss(&self, answer: Answer, labels: Tensor<1, Int>) -> Tensor<1>;
}

/// The mean cross-entropy of the logits: the loss of eq. 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn loss(&self, answer: Answer, labels: Tensor<1, Int>) -> Tensor<1> {
        Signal::from(answer.logits).cross_entropy(labels).value
    }
}
