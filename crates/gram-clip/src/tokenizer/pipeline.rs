//! What CLIP does around byte-pair encoding: lower case, splitting into words, and the alphabet of bytes.
//!
//! Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
//! section 2.4; the pipeline is that of `CLIPTokenizerFast`.

use tokenizers::models::bpe::{BPE, BpeBuilder};
use tokenizers::normalizers::{NFC, Replace, Sequence, replace::ReplacePattern, utils::Lowercase};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Splits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer, TokenizerBuilder};

use super::{END, START};

/// What marks the last token of a word.
pub const WORD_END: &str = "</w>";
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Canonical composition, single spaces, lower case.
///
/// # Errors
/// If the library refuses its own pattern.
pub fn normalizer() -> tokenizers::Result<Sequence> {
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ")?;
    Ok(Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]))
}

/// Words, in the alphabet of bytes.
///
/// # Errors
/// If the library refuses its own pattern.
pub fn splitter() -> tokenizers::Result<Splits> {
    let words = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true)?;
    Ok(Splits::new(vec![words.into(), bytes().into()]))
}

fn bytes() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// A byte-pair model as CLIP's: EOS stands for what is unknown.
pub fn model() -> BpeBuilder {
    BPE::builder().unk_token(END.into())
}

/// The tokenizer around a byte-pair model whose SOS and EOS have the ids `start` and `end`.
///
/// # Errors
/// If the library refuses.
pub fn around(model: BPE, start: u32, end: u32) -> tokenizers::Result<Tokenizer> {
    let marks = RobertaProcessing::new((END.into(), end), (START.into(), start));
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(Some(normalizer()?))
        .with_pre_tokenizer(Some(splitter()?))
        .with_post_processor(Some(marks.trim_offsets(false).add_prefix_space(false)))
        .with_decoder(Some(bytes()))
        .build()?;
    tokenizer.add_special_tokens(&[special(START), special(END)]);
    // Through the file format once: what is built is then exactly what a reader of tokenizer.json gets.
    Tokenizer::from_bytes(serde_json::to_vec(&tokenizer)?)
}

/// A token that is never split.
pub fn special(token: &str) -> AddedToken {
    AddedToken::from(token, true)
}
