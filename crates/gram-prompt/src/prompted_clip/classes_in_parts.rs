//! The gradient of many classes, by the chain rule over their features.
//!
//! The loss is differentiated for the features, and each part of the classes sends its share back to the
//! context, a core each. The parts and the order of their sum are fixed: the number of threads changes no
//! number. Where all classes at once are too many for the memory, nothing is kept of the way to the features,
//! and sections that fit walk it again.

use burn::tensor::Tensor;
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text};

use super::{Classes, Gradient, LabelledImages, PromptedClip, accuracy};
use crate::objective::Objective;
use crate::placement::{ClassPosition, ClassSentence};
use crate::prompt::{Part, Prompt};

impl PromptedClip<'_> {
    /// Whether so many classes pass the text tower in parts.
    pub(super) fn are_taken_in_parts(&self, classes: usize) -> bool {
        classes > self.clip.compute.classes_of_a_pass().min(self.classes_at_once)
    }

    /// [`gradient`](Self::gradient) of a textual prompt, its classes in parts.
    pub(super) fn gradient_in_parts(
        &self,
        objective: &dyn Objective,
        prompt: &Prompt,
        context: &Tensor<2>,
        sentences: &[ClassSentence],
        set: &LabelledImages,
    ) -> Gradient {
        let classes = ClassesInParts::new(self, context, sentences);
        let walked = classes.walk();
        let text = leaf(walked.features.clone());
        let other = prompt.leaf();
        let answer = self.answer(&other, &Classes::Features(text.clone()), &set.images);
        let accuracy = accuracy(answer.logits.clone().inner(), set.labels.clone());
        let loss = objective.loss(answer, set.labels.clone());
        let value = loss.clone().inner();
        let gradients = loss.backward();
        let along = text.grad(&gradients).unwrap_or_else(|| text.inner().zeros_like());
        let of_context = classes.context_gradient(walked.kept, &along);
        let gradient = other.map(|part, tensor| match part {
            Part::Text => of_context.clone(),
            _ => tensor.grad(&gradients).unwrap_or_else(|| tensor.inner().zeros_like()),
        });
        Gradient { loss: value, accuracy, gradient }
    }

    /// Bytes, about, that the gradient for the context keeps of each of `classes`: what the layers keep of
    /// every position of a class's own.
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
}

/// Classes around a context that is differentiated for.
struct ClassesInParts<'a> {
    clip: &'a PromptedClip<'a>,
    /// `[rows, width]`
    context: &'a Tensor<2>,
    sentences: Sentences,
}

/// The way to the features of all classes.
struct Walked {
    /// The parts with their graphs, where all fit into memory.
    kept: Option<Vec<PartOfClasses>>,
    /// `[classes, joint width]`, without a graph.
    features: Tensor<2>,
}

impl<'a> ClassesInParts<'a> {
    fn new(clip: &'a PromptedClip<'a>, context: &'a Tensor<2>, sentences: &[ClassSentence]) -> Self {
        let sentences = clip.placement.sentences(clip.start, sentences, context.dims()[0]);
        Self { clip, context, sentences }
    }

    /// The features of all classes; what is needed to come back is kept where it fits.
    fn walk(&self) -> Walked {
        let (texts, at_once) = (&self.sentences.texts, self.clip.classes_at_once);
        if texts.len() <= at_once {
            let parts = self.recorded(texts);
            let features = parts.iter().map(|part| part.features.clone().inner()).collect();
            return Walked { features: Tensor::cat(features, 0), kept: Some(parts) };
        }
        let parts = texts.chunks(self.part().min(at_once)).collect();
        let compute = &self.clip.clip.compute;
        let features = compute.side_by_side(parts, |part| self.forward(part, self.context.clone()).features);
        Walked { features: Tensor::cat(features, 0), kept: None }
    }

    /// The gradient for the context, from the derivatives of the loss by all features.
    fn context_gradient(&self, kept: Option<Vec<PartOfClasses>>, along: &Tensor<2>) -> Tensor<2> {
        let start = self.context.zeros_like();
        let add = |sum: Tensor<2>, share: Tensor<2>| sum + share;
        let Some(parts) = kept else {
            let at_once = self.clip.classes_at_once;
            let sections = self.sentences.texts.chunks(at_once).enumerate();
            return sections.fold(start, |sum, (section, texts)| {
                self.shares(self.recorded(texts), along, section * at_once).into_iter().fold(sum, add)
            });
        };
        self.shares(parts, along, 0).into_iter().fold(start, add)
    }

    /// The parts of some classes, with the way to their features.
    fn recorded(&self, texts: &[Text]) -> Vec<PartOfClasses> {
        let parts = texts.chunks(self.part()).collect();
        self.clip.clip.compute.side_by_side(parts, |part| self.forward(part, leaf(self.context.clone())))
    }

    /// Classes of a part.
    fn part(&self) -> usize {
        self.clip.clip.compute.classes_of_a_pass()
    }

    /// The share that each of some parts has in the context's gradient; the first class is number `first`.
    fn shares(&self, parts: Vec<PartOfClasses>, along: &Tensor<2>, first: usize) -> Vec<Tensor<2>> {
        let part = self.part();
        let parts = parts.into_iter().enumerate().collect();
        self.clip.clip.compute.side_by_side(parts, |(number, of): (usize, PartOfClasses)| {
            of.backward(along, first + number.saturating_mul(part))
        })
    }

    fn forward(&self, texts: &[Text], context: Tensor<2>) -> PartOfClasses {
        let part = Sentences { prefixes: self.sentences.prefixes.clone(), texts: texts.to_vec() };
        let tower = &self.clip.clip.text;
        let features = tower.forward_sentences(&part, Some(context.clone().into()), Batching::ByLength);
        PartOfClasses { context, features: features.value }
    }
}

/// Some classes on their way through a tower that shares its weights, and nothing of the graph, with the
/// others.
struct PartOfClasses {
    /// A leaf of this part alone, `[rows, width]`.
    context: Tensor<2>,
    /// `[classes, joint width]`
    features: Tensor<2>,
}

impl PartOfClasses {
    /// The part's share of the context's gradient, from the derivatives of the loss by all features; its own
    /// begin at `first`.
    fn backward(self, along: &Tensor<2>, first: usize) -> Tensor<2> {
        let own = along.clone().narrow(0, first, self.features.dims()[0]);
        let gradients = (self.features * own).sum().backward();
        self.context.grad(&gradients).unwrap_or_else(|| self.context.inner().zeros_like())
    }
}
