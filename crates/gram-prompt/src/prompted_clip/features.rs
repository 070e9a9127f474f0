//! Features of images and classes under prompts, over values or dual numbers, and what they are compared to.
//!
//! Several tasks, each with a prompt and classes of its own, pass the towers at once: a context for each, and
//! each class behind the context of its task. Only where the context depends on the image (CoCoOp), classes
//! are computed for each image.

use burn::tensor::Tensor;
use gram_clip::text_tower::{Batching, Sentences};
use gram_clip::vision_tower::VisualPrompt;
use gram_clip::{Products, Signal};
use gram_features::Images;

use super::{Classes, PromptedClip};
use crate::meta_net::MetaNet;
use crate::objective::Answer;
use crate::placement::ClassSentence;
use crate::prompt::{Part, Prompt};

/// Texts of a pass through the tower. More are taken in several passes.
const TEXTS_AT_ONCE: usize = 2048;

impl PromptedClip<'_> {
    /// Logits `[images, classes]` (eq. 1) under `prompt`.
    pub fn logits(&self, prompt: &Prompt, classes: &Classes, images: &Images) -> Tensor<2> {
        self.answer(prompt, classes, images).logits
    }

    /// Features and logits under `prompt`.
    pub fn answer(&self, prompt: &Prompt, classes: &Classes, images: &Images) -> Answer {
        let question = Question { prompt, tangent: None, classes, images };
        let image = self.image_features(&[question], None).remove(0);
        let text = self.class_features(&[question], std::slice::from_ref(&image), None).remove(0);
        let logits = self.compare(&question, image.clone(), text.clone()).value;
        Answer { images: image.value, texts: text.value, logits }
    }

    /// The features of classes under a prompt that does not move any more, computed once for all images; the
    /// classes as they are where each image has its own.
    pub fn fixed(&self, prompt: &Prompt, classes: Classes) -> Classes {
        match &classes {
            Classes::Sentences(sentences) if prompt.get(Part::HiddenWeight).is_none() => {
                let contexts = prompt.get(Part::Text).cloned().map(Signal::from);
                let rows = contexts.as_ref().map_or(0, |contexts| contexts.value.dims()[0]);
                let around = Around { contexts, count: 1, rows, classes: sentences };
                let features = self.texts_around(&[&around], None).into_iter().next();
                features.map_or(classes, |features| Classes::Features(features.value))
            }
            _ => classes,
        }
    }

    /// The answers to several questions, `[images, classes]` each, from one pass through each tower. Their
    /// prompts are of one kind and size. The towers' products are kept in `products`, or taken from there.
    pub(super) fn answers(&self, questions: &[Question], products: Option<&Products>) -> Vec<Signal<2>> {
        let images = self.image_features(questions, products);
        let texts = self.class_features(questions, &images, products);
        let all = questions.iter().zip(images.into_iter().zip(texts));
        all.map(|(question, (image, text))| self.compare(question, image, text)).collect()
    }

    /// Normalised features of each question's images, `[images, joint width]`.
    fn image_features(&self, questions: &[Question], products: Option<&Products>) -> Vec<Signal<2>> {
        let (mut pixels, mut vectors, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for question in questions {
            let Images::Pixels(own) = question.images else { continue };
            let prompt = question.part(Part::Visual);
            vectors.extend(prompt.map(|prompt| prompt.linear_map(|tensor| tensor.unsqueeze::<3>())));
            counts.push(own.dims()[0]);
            pixels.push(own.clone());
        }
        if vectors.len() > 1 {
            let of_images = |(vectors, images): (Signal<3>, &usize)| {
                let [_, rows, width] = vectors.value.dims();
                vectors.linear_map(|tensor| tensor.expand([*images, rows, width]))
            };
            vectors = vec![Signal::cat(vectors.into_iter().zip(&counts).map(of_images).collect(), 0)];
        }
        let prompt =
            vectors.pop().map(|vectors| VisualPrompt { vectors, depth: self.placement.visual_depth });
        let mut seen = match pixels.is_empty() {
            true => Vec::new().into_iter(),
            false => {
                let pixels = Tensor::cat(pixels, 0);
                split(self.clip.vision.forward_keeping(pixels, prompt, products), &counts).into_iter()
            }
        };
        let of = |question: &Question| match question.images {
            Images::Features(features) => Some(features.clone().into()),
            Images::Pixels(_) => seen.next(),
        };
        questions.iter().filter_map(of).collect()
    }

    /// Normalised features of each question's classes, `[classes, joint width]`, or one below the other for
    /// each image.
    fn class_features(
        &self,
        questions: &[Question],
        images: &[Signal<2>],
        products: Option<&Products>,
    ) -> Vec<Signal<2>> {
        let asked: Vec<Vec<Around>> =
            questions.iter().zip(images).map(|(question, images)| self.contexts(question, images)).collect();
        let all: Vec<&Around> = asked.iter().flatten().collect();
        let (mut rest, mut features) = (all.as_slice(), Vec::new());
        while !rest.is_empty() {
            let mut texts = 0;
            let fits = |around: &&&Around| {
                texts += around.texts();
                texts <= TEXTS_AT_ONCE
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            features.extend(self.texts_around(now, products));
            rest = later;
        }
        let mut features = features.into_iter();
        let of = |(question, asked): (&Question, &Vec<Around>)| match question.classes {
            Classes::Features(features) => features.clone().into(),
            Classes::Sentences(_) => Signal::cat(features.by_ref().take(asked.len()).collect(), 0),
        };
        questions.iter().zip(&asked).map(of).collect()
    }

    /// The contexts that a question's classes stand around: the prompt's, or (CoCoOp) each image's own.
    fn contexts<'b>(&self, question: &Question<'b>, images: &Signal<2>) -> Vec<Around<'b>> {
        let Classes::Sentences(classes) = question.classes else { return Vec::new() };
        let context = question.part(Part::Text);
        let (Some(context), Some(net)) = (&context, question.net()) else {
            let rows = context.as_ref().map_or(0, |context| context.value.dims()[0]);
            return vec![Around { contexts: context, count: 1, rows, classes }];
        };
        let [rows, width] = context.value.dims();
        let shifts = net.shift(images.clone());
        let all = shifts.value.dims()[0];
        let at_once = (TEXTS_AT_ONCE / classes.len().max(1)).max(1);
        let of_images = |first: usize| {
            let count = at_once.min(all - first);
            let shape = [count, rows, width];
            let shift = shifts
                .clone()
                .linear_map(|tensor| tensor.narrow(0, first, count).reshape([count, 1, width]).expand(shape));
            let contexts = context.clone().linear_map(|tensor| tensor.unsqueeze::<3>().expand(shape));
            let contexts = contexts.plus(shift).linear_map(|tensor| tensor.reshape([count * rows, width]));
            Around { contexts: Some(contexts), count, rows, classes }
        };
        (0..all).step_by(at_once).map(of_images).collect()
    }

    /// Normalised features of classes around contexts, one pass for all.
    fn texts_around(&self, all: &[&Around], products: Option<&Products>) -> Vec<Signal<2>> {
        let rows = all.first().map_or(0, |around| around.rows);
        let sets = all.iter().flat_map(|around| {
            let sentences = self.placement.sentences(self.start, around.classes, rows);
            std::iter::repeat_n(sentences, around.count)
        });
        let sentences = Sentences::stack(sets, rows);
        let contexts: Vec<Signal<2>> = all.iter().filter_map(|around| around.contexts.clone()).collect();
        let context = (!contexts.is_empty()).then(|| Signal::cat(contexts, 0));
        let features = self.clip.text.forward_keeping(&sentences, context, Batching::ByLength, products);
        split(features, &all.iter().map(|around| around.texts()).collect::<Vec<_>>())
    }

    /// Logits `[images, classes]` from features.
    fn compare(&self, question: &Question, images: Signal<2>, texts: Signal<2>) -> Signal<2> {
        if question.net().is_none() {
            return self.clip.logits(images, texts);
        }
        let ([count, width], [all, _]) = (images.value.dims(), texts.value.dims());
        let classes = all / count.max(1);
        let images = images.linear_map(|tensor| tensor.reshape([count, 1, width]));
        let texts = texts.linear_map(|tensor| tensor.reshape([count, classes, width]).swap_dims(1, 2));
        let scale = self.clip.logit_scale.val().exp().unsqueeze::<2>();
        images.matmul(texts).linear_map(|tensor| tensor.reshape([count, classes]) * scale.clone())
    }
}

/// What the towers are asked: logits of images for classes under a prompt, which may move along a tangent.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) prompt: &'a Prompt,
    pub(super) tangent: Option<&'a Prompt>,
    pub(super) classes: &'a Classes,
    pub(super) images: &'a Images,
}

impl Question<'_> {
    fn part(&self, part: Part) -> Option<Signal<2>> {
        let value = self.prompt.get(part)?.clone();
        Some(Signal { value, tangent: self.tangent.and_then(|tangent| tangent.get(part).cloned()) })
    }

    /// CoCoOp's net, where the classes are read around what it moves.
    fn net(&self) -> Option<MetaNet> {
        let read = matches!(self.classes, Classes::Sentences(_)) && self.prompt.get(Part::Text).is_some();
        if read { MetaNet::of(|part| self.part(part)) } else { None }
    }
}

/// Classes around each of some contexts.
struct Around<'a> {
    /// `[count * rows, width]`
    contexts: Option<Signal<2>>,
    count: usize,
    rows: usize,
    classes: &'a [ClassSentence],
}

impl Around<'_> {
    fn texts(&self) -> usize {
        self.count * self.classes.len()
    }
}

/// Rows of `signal`, so many in each part.
fn split(signal: Signal<2>, counts: &[usize]) -> Vec<Signal<2>> {
    if let [_] = counts {
        return vec![signal];
    }
    let mut first = 0;
    let part = |count: &usize| {
        first += count;
        signal.clone().linear_map(|tensor| tensor.narrow(0, first - count, *count))
    };
    counts.iter().map(part).collect()
}
