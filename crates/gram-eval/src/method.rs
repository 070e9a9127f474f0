//! How each method of the paper's tables starts and descends.

use std::collections::BTreeMap;

use burn::tensor::Device;
use gram_clip::{ClipError, Model};
use gram_meta::{MetaState, Regulator};
use gram_prompt::meta_net::MetaNet;
use gram_prompt::{Part, Prompt, PromptKind, Template};

use crate::results::Method;

/// Where a method's prompt starts, and how its gradient is bent.
#[derive(Clone, Debug)]
pub struct Start {
    /// The first prompt; empty for zero-shot.
    pub theta: Prompt,
    /// The regulator, for methods with GRAM.
    pub phi: Option<Regulator>,
}

/// The starts of every method that can be run.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    meta_trained: BTreeMap<&'static str, MetaState>,
}

/// Standard deviation of a visual prompt's random start.
pub const VISUAL_DEVIATION: f32 = 0.02;

impl Method {
    /// Which prompt the method learns; none for zero-shot.
    pub fn kind(self) -> Option<PromptKind> {
        match self {
            Method::ZeroShot => None,
            Method::Coop | Method::CoopGram => Some(PromptKind::Textual),
            Method::Vpt | Method::VptGram => Some(PromptKind::Visual),
            Method::Joint | Method::Unigram => Some(PromptKind::Joint),
        }
    }

    /// Whether the method learns that part.
    pub fn prompts(self, part: Part) -> bool {
        self.kind().is_some_and(|kind| kind.has(part))
    }
}

impl Starts {
    /// Adds the meta-trained start of a method with GRAM.
    pub fn insert(&mut self, method: Method, state: MetaState) {
        self.meta_trained.insert(method.key(), state);
    }

    /// Whether the method can be run.
    pub fn has(&self, method: Method) -> bool {
        method.baseline().is_none() || self.meta_trained.contains_key(method.key())
    }

    /// The start of `method`; `None` if it needs a meta-trained one that is not here.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the template's words cannot be read.
    pub fn of(
        &self,
        method: Method,
        model: &Model,
        template: &Template,
        visual_tokens: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Option<Start>, ClipError> {
        if method.baseline().is_some() {
            let start = |state: &MetaState| Start { theta: state.theta.clone(), phi: state.phi.clone() };
            return Ok(self.meta_trained.get(method.key()).map(start));
        }
        let theta = match method.kind() {
            Some(kind) => usual_start(kind, model, template, visual_tokens, seed, device)?,
            None => Prompt::none(),
        };
        Ok(Some(Start { theta, phi: None }))
    }
}

/// The start that is not meta-learned: context tokens from the template's words, visual vectors N(0, 0.02²), CoCoOp's net
/// as PyTorch starts its layers. It is also where meta-training starts.
///
/// # Errors
/// [`ClipError::Tokenizer`] if the template's words cannot be read.
pub fn usual_start(
    kind: PromptKind,
    model: &Model,
    template: &Template,
    visual_tokens: usize,
    seed: u64,
    device: &Device,
) -> Result<Prompt, ClipError> {
    let clip = &model.clip;
    let mut prompt = Prompt::none();
    if kind.has(Part::Text) {
        let context = template.context(clip, &model.tokenizer)?;
        prompt = prompt.with(context.map(|context| (Part::Text, context)).into_iter().collect());
    }
    if kind.has(Part::Visual) {
        let shape = [visual_tokens, Part::Visual.width(clip)];
        let vectors = Prompt::random(Part::Visual, shape, VISUAL_DEVIATION, seed, device);
        prompt = prompt.with([(Part::Visual, vectors)].into_iter().collect());
    }
    if kind == PromptKind::Conditional {
        let (joint, text) = (Part::HiddenWeight.width(clip), Part::Text.width(clip));
        prompt = prompt.with(MetaNet::start(joint, text, seed, device));
    }
    Ok(prompt)
}
