//! Where prompts enter: logits and losses of a frozen CLIP under a prompt, over values or dual numbers.
//!
//! Frozen means frozen: a tower whose prompt is not learned gives the same features every time, so its side comes in as
//! features that were computed once. Only where the context depends on the image (CoCoOp), classes are computed for each
//! image.

use burn::tensor::{Int, Tensor};
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Clip, Model, Signal};

use crate::meta_net::MetaNet;
use crate::placement::{ClassPosition, ClassSentence, Placement};
use crate::prompt::{Part, Prompt};

/// What images are compared with.
#[derive(Clone, Debug)]
pub enum Classes {
    /// The sentence of every class: the text tower reads it around the context.
    Sentences(Vec<ClassSentence>),
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
    /// Where the prompts enter.
    pub placement: Placement,
    /// Classes whose text features are differentiated at once. More are taken in parts, which gives the same gradient from
    /// less memory, for one forward pass more.
    pub classes_at_once: usize,
}

impl<'a> PromptedClip<'a> {
    /// A model with prompts where `placement` says.
    pub fn new(model: &'a Model, placement: Placement) -> Self {
        Self { clip: &model.clip, start: model.tokenizer.start(), placement, classes_at_once: usize::MAX }
    }

    /// Logits `[images, classes]` (eq. 1) under `prompt`. With `tangent`, the prompt moves along it and so do the logits.
    pub fn logits(
        &self,
        prompt: &Prompt,
        tangent: Option<&Prompt>,
        classes: &Classes,
        images: &Images,
    ) -> Signal<2> {
        let signal = |part| {
            let value = prompt.get(part)?.clone();
            Some(Signal { value, tangent: tangent.and_then(|tangent| tangent.get(part).cloned()) })
        };
        let image = match images {
            Images::Features(features) => features.clone().into(),
            Images::Pixels(pixels) => {
                self.clip.vision.forward(pixels.clone(), self.visual_prompt(signal(Part::Visual)))
            }
        };
        match classes {
            Classes::Features(features) => self.clip.logits(image, features.clone().into()),
            Classes::Sentences(sentences) => match (signal(Part::Text), MetaNet::of(signal)) {
                (Some(context), Some(net)) => self.conditional_logits(context, &net, sentences, image),
                (context, _) => self.clip.logits(image, self.text_features(context, sentences)),
            },
        }
    }

    /// The vectors of a visual prompt in their layers.
    pub fn visual_prompt(&self, vectors: Option<Signal<2>>) -> Option<VisualPrompt> {
        vectors.map(|vectors| VisualPrompt { vectors, depth: self.placement.visual_depth })
    }

    /// Normalised features of classes around a context, `[classes, joint width]`.
    fn text_features(&self, context: Option<Signal<2>>, sentences: &[ClassSentence]) -> Signal<2> {
        let sentences = self.sentences(context.as_ref(), sentences);
        self.clip.text.forward_sentences(&sentences, context, Batching::ByLength)
    }

    fn sentences(&self, context: Option<&Signal<2>>, sentences: &[ClassSentence]) -> Sentences {
        let rows = context.map_or(0, |context| context.value.dims()[0]);
        self.placement.sentences(self.start, sentences, rows)
    }

    /// CoCoOp: each image, `[images, joint width]`, moves the context and is compared with the classes around it.
    fn conditional_logits(
        &self,
        context: Signal<2>,
        net: &MetaNet,
        sentences: &[ClassSentence],
        images: Signal<2>,
    ) -> Signal<2> {
        let shape = context.value.dims();
        let count = images.value.dims()[0];
        let shifts = net.shift(images.clone());
        let row = |signal: &Signal<2>, image| signal.clone().linear_map(|tensor| tensor.narrow(0, image, 1));
        let logits = |image| {
            let shift = row(&shifts, image).linear_map(|tensor| tensor.expand(shape));
            self.clip
                .logits(row(&images, image), self.text_features(Some(context.clone().plus(shift)), sentences))
        };
        Signal::cat((0..count).map(logits).collect(), 0)
    }

    /// The features of classes under a prompt that does not move any more, computed once for all images; the classes as
    /// they are where each image has its own.
    pub fn fixed(&self, prompt: &Prompt, classes: Classes) -> Classes {
        match classes {
            Classes::Sentences(sentences) if prompt.get(Part::HiddenWeight).is_none() => {
                let context = prompt.get(Part::Text).cloned().map(Signal::from);
                Classes::Features(self.text_features(context, &sentences).value)
            }
            classes => classes,
        }
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
        if let (Classes::Sentences(sentences), None, Some(context)) =
            (classes, prompt.get(Part::HiddenWeight), prompt.get(Part::Text))
            && sentences.len() > self.classes_at_once
        {
            return self.gradient_in_parts(prompt, context, sentences, set);
        }
        let prompt = prompt.leaf();
        let logits = self.logits(&prompt, None, classes, &set.images);
        let accuracy = accuracy(logits.value.clone().inner(), set.labels.clone());
        let loss = logits.cross_entropy(set.labels.clone()).value;
        let value = loss.clone().inner().into_scalar::<f32>();
        Gradient { loss: value, accuracy, gradient: derivative(loss, &prompt) }
    }

    /// [`gradient`](Self::gradient) by the chain rule over the classes' features: these are computed part by part without a
    /// gradient, the loss is differentiated for them, and each part is computed again to differentiate it for the context.
    fn gradient_in_parts(
        &self,
        prompt: &Prompt,
        context: &Tensor<2>,
        sentences: &[ClassSentence],
        set: &LabelledImages,
    ) -> Gradient {
        let signal = Signal::from(context.clone());
        let Sentences { prefix, texts } = self.sentences(Some(&signal), sentences);
        let parts = texts.chunks(self.classes_at_once);
        let parts: Vec<Sentences> =
            parts.map(|texts| Sentences { prefix: prefix.clone(), texts: texts.to_vec() }).collect();
        let features = |part: &Sentences, context: &Tensor<2>| {
            let context = Some(Signal::from(context.clone()));
            self.clip.text.forward_sentences(part, context, Batching::ByLength).value
        };
        let text = leaf(Tensor::cat(parts.iter().map(|part| features(part, context)).collect(), 0));
        let other = prompt.leaf();
        let logits = self.logits(&other, None, &Classes::Features(text.clone()), &set.images);
        let accuracy = accuracy(logits.value.clone().inner(), set.labels.clone());
        let loss = logits.cross_entropy(set.labels.clone()).value;
        let value = loss.clone().inner().into_scalar::<f32>();
        let gradients = loss.backward();
        let along = text.grad(&gradients).unwrap_or_else(|| text.clone().inner().zeros_like());
        let mut first = 0;
        let mut of_context = context.zeros_like();
        for part in &parts {
            let own = leaf(context.clone());
            let count = part.texts.len();
            let product = features(part, &own) * along.clone().narrow(0, first, count);
            if let Some(gradient) = own.grad(&product.sum().backward()) {
                of_context = of_context + gradient;
            }
            first += count;
        }
        let gradient = other.map(|part, tensor| match part {
            Part::Text => of_context.clone(),
            _ => tensor.grad(&gradients).unwrap_or_else(|| tensor.inner().zeros_like()),
        });
        Gradient { loss: value, accuracy, gradient }
    }

    /// Bytes, about, that the gradient for the context keeps of each of `classes`: what the layers keep of every position
    /// of a class's own.
    pub fn bytes_of_class(&self, sentences: &[ClassSentence], context_tokens: usize) -> usize {
        /// Values of the width of the tower that a layer keeps of a position (measured: see docs/method.md).
        const KEPT: usize = 18;
        let own = sentences.iter().map(|sentence| sentence.ids.len()).max().unwrap_or(0);
        let shared =
            self.placement.class_position == ClassPosition::End && !self.placement.is_class_specific();
        let positions = own + if shared { 0 } else { context_tokens };
        let config = &self.clip.config.text_config;
        positions * config.num_hidden_layers * KEPT * config.hidden_size * size_of::<f32>()
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
            None => prompt.map(|_, tensor| tensor.zeros_like()),
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
