//! Class names by number, as a prompt's text side wants them: features computed once, or tokens for the
//! tower.

use burn::tensor::{Device, Tensor};
use gram_clip::layers::indices;
use gram_clip::text_tower::Batching;
use gram_clip::{Clip, ClipError, ClipTokenizer, Signal};

use gram_data::fingerprint::{Fingerprinting, digits};

use crate::placement::ClassSentence;
use crate::prompt_file::numbers;
use crate::prompted_clip::Classes;
use crate::template::Template;

/// Where a text side takes its classes from.
#[derive(Clone, Debug)]
pub enum ClassStore {
    /// Sentences around a context: the text tower is prompted.
    Sentences(Vec<ClassSentence>),
    /// Features `[classes, joint width]` of the hand-written sentences: it is not.
    Features(Tensor<2>),
}

impl ClassStore {
    /// Names for a prompt of `context_tokens` learned vectors.
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the class.
    pub fn prompted(
        names: &[String],
        template: &Template,
        context_tokens: usize,
        clip: &Clip,
        tokenizer: &ClipTokenizer,
    ) -> Result<Self, ClipError> {
        let sentences = names.iter().map(|name| template.name(name, context_tokens, clip, tokenizer));
        Ok(ClassStore::Sentences(sentences.collect::<Result<_, _>>()?))
    }

    /// Features of the hand-written sentences.
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the class.
    pub fn hand_written(
        names: &[String],
        template: &Template,
        clip: &Clip,
        tokenizer: &ClipTokenizer,
    ) -> Result<Self, ClipError> {
        let sentences = names
            .iter()
            .map(|name| template.sentence(name, clip, tokenizer))
            .collect::<Result<Vec<_>, _>>()?;
        let features = clip.text.forward(tokenizer.start(), None, &sentences, Batching::ByLength);
        Ok(ClassStore::Features(features.value))
    }

    /// Features of an ensemble of hand-written sentences: normalised in each, averaged, and normalised again.
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the class.
    pub fn ensemble(
        names: &[String],
        templates: &[Template],
        clip: &Clip,
        tokenizer: &ClipTokenizer,
    ) -> Result<Self, ClipError> {
        let mut sum: Option<Tensor<2>> = None;
        for template in templates {
            if let Self::Features(features) = Self::hand_written(names, template, clip, tokenizer)? {
                sum = Some(sum.map_or(features.clone(), |sum| sum + features));
            }
        }
        let device = clip.logit_scale.val().device();
        let sum = sum.unwrap_or_else(|| Tensor::zeros([names.len(), clip.config.projection_dim], &device));
        Ok(Self::Features(Signal::from(sum).normalize().value))
    }

    /// What tells the classes from others: 32 hexadecimal digits over their tokens or features.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprinting::default();
        match self {
            ClassStore::Sentences(sentences) => all.text(&format!("{sentences:?}")),
            ClassStore::Features(features) => all.values(&numbers(features)),
        }
        digits(all.finish())
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        match self {
            ClassStore::Sentences(all) => all.len(),
            ClassStore::Features(features) => features.dims()[0],
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chosen classes.
    pub fn classes(&self, chosen: &[usize], device: &Device) -> Classes {
        match self {
            ClassStore::Sentences(all) => {
                Classes::Sentences(chosen.iter().map(|class| all[*class].clone()).collect())
            }
            ClassStore::Features(features) => {
                Classes::Features(features.clone().select(0, indices(chosen, device)))
            }
        }
    }
}
