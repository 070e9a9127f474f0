//! What tuning leaves behind: a classifier of any class names, and of images.

use burn::tensor::Tensor;
use gram_prompt::{Part, Placement, Prompt};

use crate::prompt_distribution::PromptCollection;
use crate::tip_adapter::TipAdapter;

/// The result of a method.
#[derive(Clone, Debug)]
pub enum Tuned {
    /// A prompt and where it enters; no prompt for zero-shot.
    Prompt(Prompt, Placement),
    /// A cache beside the hand-written classifier, for the classes of these names.
    Cache(TipAdapter, Vec<String>),
    /// A collection of textual prompts.
    Collection(PromptCollection),
}

impl Tuned {
    /// The hand-written prompt.
    pub fn zero_shot() -> Self {
        Self::Prompt(Prompt::none(), Placement::default())
    }

    /// The visual vectors, if there are any: images then pass the tower anew.
    pub fn visual(&self) -> Option<&Tensor<2>> {
        match self {
            Self::Prompt(prompt, _) => prompt.get(Part::Visual),
            Self::Cache(..) | Self::Collection(_) => None,
        }
    }

    /// The prompt, if it is one.
    pub fn prompt(&self) -> Option<(&Prompt, Placement)> {
        match self {
            Self::Prompt(prompt, placement) => Some((prompt, *placement)),
            Self::Cache(..) | Self::Collection(_) => None,
        }
    }
}
