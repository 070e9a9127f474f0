//! The sentence around a class name: what a hand-written prompt says, and what a learned one starts from.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use gram_clip::{Clip, ClipError, ClipTokenizer};
use gram_data::readable_name;

use crate::placement::ClassSentence;

/// A sentence with a place `{}` for the name, such as `a photo of a {}.`, or `{c}`, as CLIP_benchmark writes
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    before: String,
    after: String,
}

/// A template without exactly one `{}` or `{c}`.
#[derive(Debug, thiserror::Error)]
#[error("template `{0}`: write {{}} once, where the name goes, as in `a photo of a {{}}.`")]
pub struct TemplateError(String);

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.replace("{c}", "{}").split("{}").collect::<Vec<_>>()[..] {
            [before, after] => Ok(Self { before: before.trim().to_owned(), after: after.to_owned() }),
            _ => Err(TemplateError(text.to_owned())),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(format!("{} {{}}{}", self.before, self.after).trim_start())
    }
}

impl Template {
    /// Token ids of the whole sentence about `name`, EOS included: what follows SOS in a hand-written prompt.
    /// The name is read with blanks for underscores ([`readable_name`]).
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the sentence.
    pub fn sentence(
        &self,
        name: &str,
        clip: &Clip,
        tokenizer: &ClipTokenizer,
    ) -> Result<Vec<u32>, ClipError> {
        let positions = clip.config.text_config.max_position_embeddings;
        let name = readable_name(name);
        tokenizer.sentence(&format!("{} {name}{}", self.before, self.after), 1, positions)
    }

    /// Token ids of the name, read with blanks for underscores, and what comes after it, EOS included: what
    /// stands with SOS and `context_tokens` learned vectors in a sentence (eq. 2).
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the sentence.
    pub fn name(
        &self,
        name: &str,
        context_tokens: usize,
        clip: &Clip,
        tokenizer: &ClipTokenizer,
    ) -> Result<ClassSentence, ClipError> {
        let positions = clip.config.text_config.max_position_embeddings;
        let name = readable_name(name);
        let ids = tokenizer.sentence(&format!("{name}{}", self.after), 1 + context_tokens, positions)?;
        Ok(ClassSentence { ids, name: tokenizer.encode(&name)?.len() })
    }

    /// Embeddings of the words before the name, `[context tokens, width]`: a learned prompt's start. `None`
    /// if there are no words.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the words cannot be read.
    pub fn context(&self, clip: &Clip, tokenizer: &ClipTokenizer) -> Result<Option<Tensor<2>>, ClipError> {
        let ids = tokenizer.encode(&self.before)?;
        Ok((!ids.is_empty()).then(|| clip.text.embed(&ids)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_keeps_what_is_before_and_after_the_name() {
        let template: Template = "a photo of a {}.".parse().unwrap();
        assert_eq!((template.before.as_str(), template.after.as_str()), ("a photo of a", "."));
        assert_eq!(template.to_string(), "a photo of a {}.");
        assert_eq!("a photo of a {c}.".parse::<Template>().unwrap(), template);
    }

    #[test]
    fn a_template_has_one_place_for_the_name() {
        assert!("a photo".parse::<Template>().is_err());
        assert!("{} and {}".parse::<Template>().is_err());
        assert!("{} and {c}".parse::<Template>().is_err());
    }
}
