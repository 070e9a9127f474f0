//! ProDA: a distribution of textual prompts.
//!
//! Lu et al., "Prompt Distribution Learning", CVPR 2022. Of a collection of `K` prompts, `P` give each class `P` features
//! `w_p`, which are taken for samples of a normal distribution with mean `mu` and covariance `Sigma`. An upper bound of the
//! expected cross-entropy is minimised (`f` the image's feature, `s = exp(scale)`, `y` its class):
//!
//! ```text
//! logits_i = s f . mu_i + s^2/2 f^T A_iy f,    A_iy = Sigma_ii + Sigma_yy - Sigma_iy - Sigma_yi  (diagonal)
//! L        = cross-entropy(logits, y) + weight * mean |u_j . u_k|, j != k
//! ```
//!
//! `u` are the features of the prompts without a name: different prompts shall mean different things. Names stand before,
//! between and behind the context tokens, in a quarter, a quarter and a half of the prompts. Tested is the mean of all
//! prompts. The authors' code is not public; what the paper leaves open (covariances are divided by `P + 1`, the weight is
//! 0.1) follows SADA's, by some of the same authors.

use burn::tensor::{Device, Tensor};
use gram_clip::layers::indices;
use gram_clip::signal::leaf;
use gram_clip::text_tower::{Batching, Sentences, Text, Token};
use gram_clip::{Clip, Model, Signal};
use gram_data::random::stream;
use gram_features::Images;
use gram_prompt::{ClassPosition, ClassSentence, Classes, Part, Placement, Prompt, PromptedClip};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::adaptation::{AdaptationSettings, TuningSet, batches};
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
        let alike = features.clone().matmul(features.transpose()).abs();
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
fn upper_bound(clip: &Clip, features: &[Tensor<2>], images: Tensor<2>, labels: &[usize]) -> Tensor<1> {
    let labels = indices(labels, &images.device().without_autodiff());
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

/// Tunes a collection. `observe` sees it and the loss of every batch before its step.
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
    let mut tuned = start;
    let mut velocity = as_prompt(tuned.contexts.zeros_like());
    let mut turns = Vec::new();
    let mut random = stream(seed, "prompts of a step");
    for epoch in 0..settings.epochs {
        for chosen in batches(set.labels.len(), settings.batch_size, seed, epoch) {
            if turns.is_empty() {
                turns = (0..tuned.prompts).collect();
                turns.shuffle(&mut random);
            }
            let mut prompts = turns.split_off(turns.len().saturating_sub(collection.prompts_of_step));
            prompts.sort_unstable();
            let labels: Vec<usize> = chosen.iter().map(|image| set.labels[*image]).collect();
            let images = match (set.images)(epoch, &chosen)? {
                Images::Features(features) => features,
                Images::Pixels(pixels) => clip.clip.vision.features(pixels, None),
            };
            let contexts = leaf(tuned.contexts.clone());
            let now = PromptCollection { contexts: contexts.clone(), ..tuned.clone() };
            let features = now.of_prompts(clip.clip, clip.start, &prompts, classes);
            let bound = upper_bound(clip.clip, &features, images, &labels);
            let loss =
                bound + now.likeness(clip.clip, clip.start, end_of_sentence) * collection.orthogonality;
            observe(epoch, &tuned, loss.clone().inner().into_scalar::<f32>());
            let Some(gradient) = contexts.grad(&loss.backward()) else { return Ok(tuned) };
            let theta = as_prompt(tuned.contexts.clone());
            velocity = settings.velocity(&velocity, &theta, &as_prompt(gradient));
            if let Some(moved) = theta.add_scaled(&settings.step(&velocity, epoch), -1.0).get(Part::Text) {
                tuned.contexts = moved.clone();
            }
        }
    }
    Ok(tuned)
}
