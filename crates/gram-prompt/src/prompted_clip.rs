//! Where prompts enter: logits and losses of a frozen CLIP under a prompt, over values or dual numbers.
//!
//! Frozen means frozen: a tower whose prompt is not learned gives the same features every time, so its side comes in as
//! features that were computed once.

use burn::tensor::{Int, Tensor};
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, Signal};

use crate::prompt::{Modality, Prompt};

/// What images are compared with.
#[derive(Clone, Debug)]
pub enum Classes {
    /// Token ids of every class name, EOS included: the text tower reads them after the context.
    Sentences(Vec<Vec<u32>>),
    /// Normalised features, `[classes, joint width]`: the text tower is not prompted.
    Features(Tensor<2>),
}

/// What is classified.
#[derive(Clone, Debug)]
pub enum Images {
    /// Normalised pixels, `[images, 3, side, side]`.
    Pixels(Tensor<4>),
    /// Normalised features, `[images, joint width]`: the vision tower is not prompted.
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
}

impl PromptedClip<'_> {
    /// Logits `[images, classes]` (eq. 1) under `prompt`. With `tangent`, the prompt moves along it and so do the logits.
    pub fn logits(
        &self,
        prompt: &Prompt,
        tangent: Option<&Prompt>,
        classes: &Classes,
        images: &Images,
    ) -> Signal<2> {
        let signal = |modality| {
            let value = prompt.get(modality)?.clone();
            Some(Signal { value, tangent: tangent.and_then(|tangent| tangent.get(modality).cloned()) })
        };
        let text = match classes {
            Classes::Features(features) => features.clone().into(),
            Classes::Sentences(sentences) => {
                self.clip.text.forward(self.start, signal(Modality::Text), sentences, Batching::ByLength)
            }
        };
        let image = match images {
            Images::Features(features) => features.clone().into(),
            Images::Pixels(pixels) => self.clip.vision.forward(pixels.clone(), signal(Modality::Visual)),
        };
        self.clip.logits(image, text)
    }

    /// The mean cross-entropy `[1]` of labelled images.
    pub fn loss(
        &self,
        prompt: &Prompt,
        tangent: Option<&Prompt>,
        classes: &Classes,
        set: &LabelledImages,
    ) -> Signal<1> {
        self.logits(prompt, tangent, classes, &set.images).cross_entropy(set.labels.clone())
    }

    /// Loss, accuracy and gradient at `prompt`.
    pub fn gradient(&self, prompt: &Prompt, classes: &Classes, set: &LabelledImages) -> Gradient {
        let leaf = prompt.leaf();
        let logits = self.logits(&leaf, None, classes, &set.images);
        let accuracy = accuracy(logits.value.clone().inner(), set.labels.clone());
        let loss = logits.cross_entropy(set.labels.clone()).value;
        let value = loss.clone().inner().into_scalar::<f32>();
        Gradient { loss: value, accuracy, gradient: derivative(loss, &leaf) }
    }

    /// The Hessian of the loss at `prompt` times `direction`: the gradient of the directional derivative, by reverse
    /// over forward.
    pub fn hessian_vector_product(
        &self,
        prompt: &Prompt,
        direction: &Prompt,
        classes: &Classes,
        set: &LabelledImages,
    ) -> Prompt {
        let leaf = prompt.leaf();
        match self.loss(&leaf, Some(direction), classes, set).tangent {
            Some(along) => derivative(along, &leaf),
            None => prompt.map(|_, part| part.zeros_like()),
        }
    }
}

/// A loss, and what is known once its gradient is.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// Mean cross-entropy.
    pub loss: f32,
    /// Images whose own class has the largest logit, in percent.
    pub accuracy: f32,
    /// The gradient for the prompt.
    pub gradient: Prompt,
}

/// Images whose own class has the largest logit, in percent.
///
/// # Shapes
/// - logits: `[images, classes]`
/// - labels: `[images]`
pub fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> f32 {
    let images = labels.dims()[0];
    let chosen = logits.argmax(1).reshape([images]);
    100.0 * chosen.equal(labels).float().mean().into_scalar::<f32>()
}

/// The derivative of a scalar for the vectors of `leaf`; zero where it does not depend on them.
fn derivative(scalar: Tensor<1>, leaf: &Prompt) -> Prompt {
    let gradients = scalar.backward();
    leaf.map(|_, part| part.grad(&gradients).unwrap_or_else(|| part.inner().zeros_like()))
}
