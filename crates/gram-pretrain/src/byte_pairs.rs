//! A tokenizer of CLIP's kind learned from captions: lower case, CLIP's splitting, byte-pair encoding with `</w>`.
//!
//! Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section
//! 2.4; the pipeline is that of `CLIPTokenizerFast`.

use gram_clip::tokenizer::{END, START};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::{NFC, Replace, Sequence, replace::ReplacePattern, utils::Lowercase};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Splits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer, TokenizerBuilder};

use crate::PretrainError;

const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Learns a tokenizer of at most `vocabulary` entries from `captions`. SOS has id 0 and EOS id 1.
///
/// # Errors
/// [`PretrainError::Tokenizer`] if the library refuses.
pub fn learn_tokenizer(captions: &[&str], vocabulary: usize) -> Result<Tokenizer, PretrainError> {
    build(captions, vocabulary).map_err(|error| PretrainError::Tokenizer { problem: error.to_string() })
}

fn build(captions: &[&str], vocabulary: usize) -> tokenizers::Result<Tokenizer> {
    let model = BPE::builder().end_of_word_suffix("</w>".into()).unk_token(END.into()).build()?;
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ")?;
    let words = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(Some(Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()])))
        .with_pre_tokenizer(Some(Splits::new(vec![words.into(), bytes.into()])))
        .with_post_processor(Some(
            RobertaProcessing::new((END.into(), 1), (START.into(), 0))
                .trim_offsets(false)
                .add_prefix_space(false),
        ))
        .with_decoder(Some(bytes))
        .build()?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![special(START), special(END)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .end_of_word_suffix("</w>".into())
        .build();
    tokenizer.train(&mut trainer, captions.iter().copied())?;
    // Through the file format once: what is trained is then exactly what a reader of tokenizer.json gets.
    Tokenizer::from_bytes(serde_json::to_vec(&tokenizer)?)
}

fn special(token: &str) -> AddedToken {
    AddedToken::from(token, true)
}
