//! What a prompt looks like before it is tuned: how many vectors, where they stand, and how they start.

use burn::tensor::{Device, Tensor};
use gram_clip::{ClipError, Model};
use gram_prompt::meta_net::MetaNet;
use gram_prompt::{ClassPosition, Part, Placement, Prompt, PromptKind, Template};
use serde::{Deserialize, Serialize};

/// Standard deviation of vectors that start at random.
pub const DEVIATION: f32 = 0.02;

/// The look of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptDesign {
    /// Context tokens that start at random, N(0, 0.02²); 0 for those of the template's words before the
    /// name.
    pub context_tokens: usize,
    /// Where the class name stands.
    pub class_position: ClassPosition,
    /// Whether each class has a context of its own (CoOp's CSC).
    pub class_specific: bool,
    /// Vectors of a visual prompt.
    pub visual_tokens: usize,
    /// Layers of the vision tower that get vectors of their own: 1 is shallow, 0 all of them.
    pub visual_depth: usize,
}

impl Default for PromptDesign {
    /// The paper's: a context from words, two shallow visual vectors.
    fn default() -> Self {
        Self {
            context_tokens: 0,
            class_position: ClassPosition::End,
            class_specific: false,
            visual_tokens: 2,
            visual_depth: 1,
        }
    }
}

impl PromptDesign {
    /// The same, deep: vectors before every layer of the vision tower (VPT-deep).
    pub fn deep(self) -> Self {
        Self { visual_depth: 0, ..self }
    }

    /// Where the vectors of such a prompt enter `model`, for so many classes.
    pub fn placement(&self, kind: PromptKind, model: &Model, classes: usize) -> Placement {
        let layers = model.clip.vision.blocks.len();
        let depth = if self.visual_depth == 0 { layers } else { self.visual_depth.min(layers) };
        Placement {
            class_position: self.class_position,
            contexts: if self.class_specific && kind == PromptKind::Textual { classes } else { 1 },
            visual_depth: if kind.has(Part::Visual) { depth } else { 1 },
        }
    }

    /// The start that is not meta-learned: context tokens from the template's words or at random, visual
    /// vectors at random, CoCoOp's net as PyTorch starts its layers. It is also where meta-training starts.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the template's words cannot be read.
    pub fn start(
        &self,
        kind: PromptKind,
        placement: Placement,
        model: &Model,
        template: &Template,
        seed: u64,
        device: &Device,
    ) -> Result<Prompt, ClipError> {
        let clip = &model.clip;
        let mut prompt = Prompt::none();
        if kind.has(Part::Text) {
            let context = match self.context_tokens {
                0 => template
                    .context(clip, &model.tokenizer)?
                    .map(|words| Tensor::cat(vec![words; placement.contexts], 0)),
                tokens => {
                    let shape = [placement.contexts * tokens, Part::Text.width(clip)];
                    Some(Prompt::random(Part::Text, shape, DEVIATION, seed, device))
                }
            };
            prompt = prompt.with(context.map(|context| (Part::Text, context)).into_iter().collect());
        }
        if kind.has(Part::Visual) {
            let shape = [placement.visual_depth * self.visual_tokens, Part::Visual.width(clip)];
            let vectors = Prompt::random(Part::Visual, shape, DEVIATION, seed, device);
            prompt = prompt.with([(Part::Visual, vectors)].into_iter().collect());
        }
        if kind == PromptKind::Conditional {
            let (joint, text) = (Part::HiddenWeight.width(clip), Part::Text.width(clip));
            prompt = prompt.with(MetaNet::start(joint, text, seed, device));
        }
        Ok(prompt)
    }
}
