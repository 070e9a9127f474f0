//! A tokenizer of CLIP's kind learned from captions: CLIP's pipeline around byte pairs that are frequent in
//! them.

use std::collections::BTreeSet;

use gram_clip::tokenizer::pipeline::{WORD_END, around, model, normalizer, special, splitter};
use gram_clip::tokenizer::{END, START};
use tokenizers::models::bpe::{BpeTrainer, BpeTrainerBuilder};
use tokenizers::normalizers::Sequence;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Splits;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
    Trainer,
};

use crate::PretrainError;

/// Learns a tokenizer of at most `vocabulary` entries from `captions`. SOS has id 0 and EOS id 1.
///
/// # Errors
/// [`PretrainError::Tokenizer`] if the library refuses.
pub fn learn_tokenizer(captions: &[&str], vocabulary: usize) -> Result<Tokenizer, PretrainError> {
    build(captions, vocabulary).map_err(|error| PretrainError::Tokenizer { problem: error.to_string() })
}

fn build(captions: &[&str], vocabulary: usize) -> tokenizers::Result<Tokenizer> {
    let (normalizer, splitter) = (normalizer()?, splitter()?);
    let mut trainer = trainer(vocabulary);
    trainer.feed(captions.iter(), |caption| split(&normalizer, &splitter, caption))?;
    let mut model = model().build()?;
    trainer.train(&mut model)?;
    around(model, 0, 1)
}

/// A trainer whose vocabulary begins with SOS, EOS, all bytes, and all bytes as the end of a word.
///
/// Left to itself it knows only the word ends that it has seen, so that EOS, which stands for the unknown,
/// would cut a text in its middle; and it numbers them in the order of a hash table, which is another one in
/// every run.
fn trainer(vocabulary: usize) -> BpeTrainer {
    let bytes: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
    let inside = bytes.iter().map(char::to_string);
    let ends = bytes.iter().map(|byte| format!("{byte}{WORD_END}"));
    let first = [START.to_owned(), END.to_owned()].into_iter().chain(inside).chain(ends);
    BpeTrainerBuilder::new()
        .vocab_size(vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(first.map(|token| special(&token)).collect())
        .end_of_word_suffix(WORD_END.into())
        .build()
}

/// The words of a caption, in the alphabet of bytes.
fn split(normalizer: &Sequence, splitter: &Splits, caption: &str) -> tokenizers::Result<Vec<String>> {
    let mut normalized = NormalizedString::from(caption);
    normalizer.normalize(&mut normalized)?;
    let mut words = PreTokenizedString::from(normalized);
    splitter.pre_tokenize(&mut words)?;
    let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(words.into_iter().map(|(word, _, _)| word.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use gram_clip::{ClipError, ClipTokenizer};

    use super::*;

    const CAPTIONS: [&str; 4] =
        ["a photo of a tiger", "a photo of a cat", "a drawing of a tiger", "A drawing of a TEAPOT"];

    fn learned(vocabulary: usize) -> ClipTokenizer {
        let tokenizer = learn_tokenizer(&CAPTIONS, vocabulary).unwrap();
        ClipTokenizer::from_bytes(tokenizer.to_string(false).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn the_marks_have_the_first_ids_and_stand_around_a_text() {
        let tokenizer = learn_tokenizer(&CAPTIONS, 600).unwrap();
        assert_eq!((tokenizer.token_to_id(START), tokenizer.token_to_id(END)), (Some(0), Some(1)));
        let marked = tokenizer.encode("a tiger", true).unwrap();
        let plain = tokenizer.encode("a tiger", false).unwrap();
        assert_eq!(marked.get_ids(), [&[0], plain.get_ids(), &[1]].concat());
        assert_eq!((learned(600).start(), learned(600).end()), (0, 1));
    }

    #[test]
    fn words_that_were_seen_twice_are_one_token_each() {
        let tokenizer = learn_tokenizer(&CAPTIONS, 600).unwrap();
        let found = tokenizer.encode("a drawing of a tiger", false).unwrap();
        assert_eq!(found.get_tokens(), ["a</w>", "drawing</w>", "of</w>", "a</w>", "tiger</w>"]);
        assert!(tokenizer.encode("teapot", false).unwrap().len() > 1);
    }

    #[test]
    fn capitals_and_spaces_make_no_difference() {
        let tokenizer = learned(600);
        assert_eq!(
            tokenizer.encode("  A  Photo\tof a\nTIGER ").unwrap(),
            tokenizer.encode(CAPTIONS[0]).unwrap()
        );
    }

    #[test]
    fn text_of_any_script_is_read_without_an_end_in_its_middle() {
        let tokenizer = learned(600);
        for text in ["Caf\u{e9} #7", "\u{732b}", "na\u{ef}ve?!", "\u{1f600} x_z"] {
            let ids = tokenizer.encode(text).unwrap();
            assert!(!ids.is_empty() && ids.iter().all(|id| *id > 1), "{text}: {ids:?}");
        }
    }

    #[test]
    fn the_same_captions_give_the_same_tokenizer() {
        let captions: Vec<String> = (0..400_u64)
            .map(|index| format!("{:x} {}", index * 2_654_435_761 % 99_991, index % 37))
            .collect();
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let learn = || learn_tokenizer(&captions, 900).unwrap().to_string(false).unwrap();
        let first = learn();
        assert!((0..5).all(|_| learn() == first));
    }

    #[test]
    fn the_vocabulary_is_as_large_as_was_asked_for_or_as_the_captions_allow() {
        assert_eq!(learn_tokenizer(&CAPTIONS, 520).unwrap().get_vocab_size(true), 520);
        let all = learn_tokenizer(&CAPTIONS, 4096).unwrap().get_vocab_size(true);
        assert!((520..600).contains(&all), "{all}");
    }

    #[test]
    fn a_sentence_that_is_too_long_is_refused_by_its_text() {
        let tokenizer = learned(600);
        assert_eq!(tokenizer.sentence("a tiger", 1, 4).unwrap().len(), 3);
        let error = tokenizer.sentence("a photo of a tiger", 3, 8).unwrap_err();
        assert!(matches!(&error, ClipError::TooLong { found: 9, most: 8, .. }), "{error:?}");
        assert!(error.to_string().starts_with("`a photo of a tiger` is 9 tokens long with its context"));
    }
}
