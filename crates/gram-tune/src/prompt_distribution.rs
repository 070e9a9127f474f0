//! ProDA: a distribution of textual prompts.
//!
//! Lu et al., "Prompt Distribution Learning", CVPR 2022. Of a collection of `K` prompts, `P` give each class
//! `P` features `w_p`, which are taken for samples of a normal distribution with mean `mu` and covariance
//! `Sigma`. An upper bound of the expected cross-entropy is minimised (`f` the image's feature, `s =
//! exp(scale)`, `y` its class):
//!
//! ```text
//! logits_i = s f . mu_i + s^2/2 f^T A_iy f,    A_iy = Sigma_ii + Sigma_yy - Sigma_iy - Sigma_yi  (diagonal)
//! L        = cross-entropy(logits, y) + weight * mean |u_j . u_k|, j != k
//! ```
//!
//! `u` are the features of the prompts without a name: different prompts shall mean different things. Names
//! stand before, between and behind the context tokens, in a quarter, a quarter and a half of the prompts.
//! Tested is the mean of all prompts. The authors' code is not public; what the paper leaves open
//! (covariances are divided by `P + 1`, the weight is 0.1) follows SADA's, by some of the same authors.

use burn::tensor::{Device, Int, Tensor};
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text, Token};
use gram_clip::{Clip, Model, Signal, product};
use gram_data::random::{Stream, stream};
use gram_prompt::{
    ClassPosition, ClassSentence, Classes, LabelledImages, Part, Placement, Prompt, PromptedClip,
};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::adaptation::AdaptationSettings;
use crate::descent::{LossGradient, TuningSet, frozen_features};
use crate::design::DEVIATION;
use crate::prepared::EvaluationError;

/// How many prompts there are, and how they are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionSettings {
    /// K, prompts of the collection.
    pub prompts: usize,
    /// P, prompts of a step: all of them take turns.
    pub prompts_of_step: usize,
    /// Context tokens of each.
    pub context_tokens: usize,
    /// Weight of the term that keeps them apart.
    pub orthogonality: f32,
}

impl Default for CollectionSettings {
    /// The authors'.
    fn default() -> Self {
        Self { prompts: 32, prompts_of_step: 4, context_tokens: 16, orthogonality: 0.1 }
    }
}

/// A collection of textual prompts.
#[derive(Clone, Debug)]
pub struct PromptCollection {
    /// `[prompts * context tokens, width]`
    pub contexts: Tensor<2>,
    /// How many there are.
    pub prompts: usize,
}

impl PromptCollection {
    /// A collection that starts at random, N(0, 0.02²).
    pub fn random(settings: &CollectionSettings, model: &Model, seed: u64, device: &Device) -> Self {
        let shape = [settings.prompts * settings.context_tokens, Part::Text.width(&model.clip)];
        let contexts = Prompt::random(Part::Text, shape, DEVIATION, seed, device);
        Self { contexts, prompts: settings.prompts }
    }

    /// Context tokens of each prompt.
    pub fn tokens(&self) -> usize {
        self.contexts.dims()[0] / self.prompts
    }

    /// Where names stand in a prompt.
    fn position(&self, prompt: usize) -> ClassPosition {
        match 4 * prompt / self.prompts {
            0 if self.prompts > 1 => ClassPosition::Front,
            1 => ClassPosition::Middle,
            _ => ClassPosition::End,
        }
    }

    /// Normalised features of the classes in one prompt, `[classes, joint width]`.
    fn features(&self, clip: &Clip, start: u32, prompt: usize, classes: &[ClassSentence]) -> Tensor<2> {
        let tokens = self.tokens();
        let placement = Placement { class_position: self.position(prompt), ..Placement::default() };
        let sentences = placement.sentences(start, classes, tokens);
        let context = Signal::from(self.contexts.clone().narrow(0, prompt * tokens, tokens));
        clip.text.forward_sentences(&sentences, Some(context), Batching::ByLength).value
    }

    /// Mean of the normalised features of classes over all prompts, `[classes, joint width]`.
    pub fn mean(&self, clip: &Clip, start: u32, classes: &[ClassSentence]) -> Tensor<2> {
        let all: Vec<usize> = (0..self.prompts).collect();
        mean(&self.of_prompts(clip, start, &all, classes))
    }

    fn of_prompts(
        &self,
        clip: &Clip,
        start: u32,
        prompts: &[usize],
        classes: &[ClassSentence],
    ) -> Vec<Tensor<2>> {
        prompts.iter().map(|prompt| self.features(clip, start, *prompt, classes)).collect()
    }

    /// How alike the prompts are without a name: the mean of `|u_j . u_k|` over all pairs, `[1]`.
    fn likeness(&self, clip: &Clip, start: u32, end_of_sentence: &[u32]) -> Tensor<1> {
        let (tokens, prompts) = (self.tokens(), self.prompts);
        let end = end_of_sentence.iter().copied().map(Token::Word);
        let text = |prompt| Text {
            prefix: 0,
            tokens: (prompt * tokens..(prompt + 1) * tokens).map(Token::Context).chain(end.clone()).collect(),
        };
        let sentences =
            Sentences { prefixes: vec![vec![Token::Word(start)]], texts: (0..prompts).map(text).collect() };
        let context = Signal::from(self.contexts.clone());
        let features = clip.text.forward_sentences(&sentences, Some(context), Batching::ByLength).value;
        let alike = product(features.clone(), features.transpose()).abs();
        let pairs = (prompts * (prompts - 1)).max(1) as f32;
        // The diagonal is that of unit vectors.
        (alike.sum() - prompts as f32) / pairs
    }
}

fn mean(features: &[Tensor<2>]) -> Tensor<2> {
    Tensor::stack::<3>(features.to_vec(), 0).mean_dim(0).squeeze_dim(0)
}

/// The upper bound of the expected cross-entropy, `[1]`.
///
/// # Shapes
/// - features: for each prompt `[classes, joint width]`
/// - images: `[images, joint width]`
/// - labels: `[images]`
fn upper_bound(clip: &Clip, features: &[Tensor<2>], images: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let mean = mean(features);
    let squared = images.clone().square().unsqueeze_dim::<3>(1);
    let spread = features.iter().map(|of_prompt| {
        let centred = of_prompt.clone() - mean.clone();
        let own = centred.clone().select(0, labels.clone()).unsqueeze_dim::<3>(1);
        let apart = (centred.unsqueeze::<3>() - own).square() * squared.clone();
        apart.sum_dim(2).squeeze_dim::<2>(2)
    });
    let spread = spread.reduce(|sum, one| sum + one);
    let logits = clip.logits(images.into(), mean.into()).value;
    let scale = clip.logit_scale.val().exp().square().unsqueeze::<2>();
    let factor = scale / (2.0 * (features.len() + 1) as f32);
    let logits = match spread {
        Some(spread) => logits + spread * factor,
        None => logits,
    };
    Signal::from(logits).cross_entropy(labels).value
}

/// Whose turn it is: prompts of a step, drawn until every prompt had its turn, then anew.
struct Turns {
    left: Vec<usize>,
    random: Stream,
}

impl Turns {
    fn next(&mut self, prompts: usize, of_step: usize) -> Vec<usize> {
        if self.left.is_empty() {
            self.left = (0..prompts).collect();
            self.left.shuffle(&mut self.random);
        }
        let mut now = self.left.split_off(self.left.len().saturating_sub(of_step));
        now.sort_unstable();
        now
    }
}

/// Tunes a collection. After every epoch, counted from 0, `observe` sees the collection with the loss of each
/// batch.
///
/// # Errors
/// [`EvaluationError`] for an image that cannot be read.
pub fn tune(
    clip: &PromptedClip,
    set: &TuningSet,
    start: PromptCollection,
    collection: &CollectionSettings,
    settings: &AdaptationSettings,
    seed: u64,
    observe: &mut dyn FnMut(usize, &PromptCollection, f32),
) -> Result<PromptCollection, EvaluationError> {
    let Classes::Sentences(classes) = &set.classes else { return Ok(start) };
    // What comes after a name is the same for all.
    let end_of_sentence = classes.first().map_or(&[][..], |class| &class.ids[class.name..]);
    let as_prompt = |tensor| [(Part::Text, tensor)].into_iter().collect::<Prompt>();
    let with = |contexts: &Tensor<2>| PromptCollection { contexts: contexts.clone(), ..start.clone() };
    let mut turns = Turns { left: Vec::new(), random: stream(seed, "prompts of a step") };
    let mut gradient = |theta: &Prompt, batch: &LabelledImages| {
        let contexts = leaf(theta.get(Part::Text).unwrap_or(&start.contexts).clone());
        let now = with(&contexts);
        let prompts = turns.next(start.prompts, collection.prompts_of_step);
        let images = frozen_features(clip.clip, &batch.images);
        let features = now.of_prompts(clip.clip, clip.start, &prompts, classes);
        let bound = upper_bound(clip.clip, &features, images, batch.labels.clone());
        let loss = bound + now.likeness(clip.clip, clip.start, end_of_sentence) * collection.orthogonality;
        let found = LossGradient::of(loss, &contexts);
        LossGradient { loss: found.loss, gradient: as_prompt(found.gradient) }
    };
    let device = start.contexts.device();
    let descent = settings.descent(None, seed);
    let mut each = |epoch: usize, theta: &Prompt, losses: &[f32]| {
        if let Some(contexts) = theta.get(Part::Text) {
            let collection = with(contexts);
            losses.iter().for_each(|loss| observe(epoch - 1, &collection, *loss));
        }
    };
    let theta = descent.run(as_prompt(start.contexts.clone()), set, &device, &mut gradient, &mut each)?;
    Ok(theta.get(Part::Text).map_or_else(|| start.clone(), with))
}
