//! Where prompts enter: logits, losses and derivatives of a frozen CLIP under a prompt.
//!
//! Frozen means frozen: a tower whose prompt is not learned gives the same features every time, so its side
//! comes in as features that were computed once. `features` brings images and classes through the towers,
//! over values or dual numbers; `gradients` differentiates the loss; `classes_in_parts` does so where classes
//! are many.

mod classes_in_parts;
mod features;
mod gradients;

use burn::tensor::{Int, Tensor};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Clip, Model, Signal};
use gram_features::Images;

use crate::placement::{ClassSentence, Placement};
use crate::prompt::Prompt;

/// What images are compared with.
#[derive(Clone, Debug)]
pub enum Classes {
    /// The sentence of every class: the text tower reads it around the context.
    Sentences(Vec<ClassSentence>),
    /// Normalised features, `[classes, joint width]`: the text tower is not prompted.
    Features(Tensor<2>),
}

/// Images with their classes.
#[derive(Clone, Debug)]
pub struct LabelledImages {
    /// The images.
    pub images: Images,
    /// Class of every image, `[images]`.
    pub labels: Tensor<1, Int>,
}

/// A frozen CLIP that takes prompts.
#[derive(Clone, Copy, Debug)]
pub struct PromptedClip<'a> {
    /// The frozen model.
    pub clip: &'a Clip,
    /// Its start-of-text token.
    pub start: u32,
    /// Where the prompts enter.
    pub placement: Placement,
    /// Classes whose text features are differentiated at once. More are taken in parts, which gives the same
    /// gradient from less memory, for one forward pass more.
    pub classes_at_once: usize,
}

impl<'a> PromptedClip<'a> {
    /// A model with prompts where `placement` says.
    pub fn new(model: &'a Model, placement: Placement) -> Self {
        Self { clip: &model.clip, start: model.tokenizer.start(), placement, classes_at_once: usize::MAX }
    }

    /// The vectors of a visual prompt in their layers.
    pub fn visual_prompt(&self, vectors: Option<&Tensor<2>>) -> Option<VisualPrompt> {
        let of = |vectors: &Tensor<2>| VisualPrompt {
            vectors: Signal::from(vectors.clone().unsqueeze::<3>()),
            depth: self.placement.visual_depth,
        };
        vectors.map(of)
    }
}

/// Labelled images to be classified under a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Classification<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The classes.
    pub classes: &'a Classes,
    /// The images.
    pub set: &'a LabelledImages,
}

/// A loss, and what is known once its gradient is.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The loss, `[1]`: mean cross-entropy, or another objective's.
    pub loss: Tensor<1>,
    /// Images whose own class has the largest logit, in percent, `[1]`.
    pub accuracy: Tensor<1>,
    /// The gradient for the prompt.
    pub gradient: Prompt,
}

/// Images whose own class has the largest logit, in percent.
///
/// # Shapes
/// - logits: `[images, classes]`
/// - labels: `[images]`
/// - output: `[1]`
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let images = labels.dims()[0];
    let chosen = logits.argmax(1).reshape([images]);
    chosen.equal(labels).float().mean() * 100.0
}
