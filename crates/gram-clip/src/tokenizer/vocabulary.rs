//! Byte-pair vocabularies in their older files: `vocab.json` with `merges.txt`, and OpenAI's
//! `bpe_simple_vocab_16e6.txt.gz`, a list of merges from which the vocabulary follows.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::GzDecoder;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::{Merges, Vocab};

use super::pipeline::{WORD_END, around, model};
use super::{END, START};
use crate::error::ClipError;

/// Bytes of a decompressed list of merges that are read at most; OpenAI's has 3.1 MB.
const LARGEST: u64 = 64 << 20;
/// Entries that are no merges in OpenAI's vocabulary: bytes, bytes at the end of a word, SOS and EOS.
const SINGLE: usize = 2 * 256 + 2;
/// Entries of OpenAI's vocabulary. Its file has more merges than it uses.
const OPENAI: usize = 49_408;

/// The tokenizer of `vocab.json` and `merges.txt`.
///
/// # Errors
/// [`ClipError::Tokenizer`] names the file, and the line where there is one.
pub fn of_vocabulary(vocabulary: &[u8], merges: &str) -> Result<Tokenizer, ClipError> {
    let vocabulary: HashMap<String, u32> =
        serde_json::from_slice(vocabulary).map_err(|error| wrong("vocab.json", error))?;
    let vocabulary = vocabulary.into_iter().collect();
    tokenizer("merges.txt", vocabulary, parse_merges("merges.txt", merges, usize::MAX)?)
}

/// The tokenizer of OpenAI's list of merges, gzipped.
///
/// # Errors
/// [`ClipError::Tokenizer`] names the file, and the line where there is one.
pub fn of_openai(file: &str, compressed: &[u8]) -> Result<Tokenizer, ClipError> {
    let mut text = String::new();
    GzDecoder::new(compressed).take(LARGEST).read_to_string(&mut text).map_err(|error| wrong(file, error))?;
    let merges = parse_merges(file, &text, OPENAI - SINGLE)?;
    let bytes = byte_alphabet();
    let ends = bytes.iter().map(|byte| format!("{byte}{WORD_END}"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let marks = [START.to_owned(), END.to_owned()];
    let tokens = bytes.iter().map(char::to_string).chain(ends).chain(merged).chain(marks);
    let vocabulary = tokens.zip(0..).collect();
    tokenizer(file, vocabulary, merges)
}

fn tokenizer(file: &str, vocabulary: Vocab, merges: Merges) -> Result<Tokenizer, ClipError> {
    let id = |token: &str| {
        let problem = format!("no token {token}: this is not the vocabulary of a CLIP model");
        vocabulary.get(token).copied().ok_or_else(|| wrong(file, problem))
    };
    let (start, end) = (id(START)?, id(END)?);
    let build = || {
        let model =
            model().vocab_and_merges(vocabulary, merges).end_of_word_suffix(WORD_END.into()).build()?;
        around(model, start, end)
    };
    build().map_err(|error| wrong(file, error))
}

/// The pairs of a list of merges, a pair on a line; a first line with the version is passed over.
fn parse_merges(file: &str, text: &str, most: usize) -> Result<Vec<(String, String)>, ClipError> {
    let lines = text.lines().enumerate();
    let pairs = lines.filter(|(index, line)| !(line.is_empty() || *index == 0 && line.contains("#version")));
    let pair = |(index, line): (usize, &str)| match line.split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
        _ => Err(wrong(file, format!("line {}: a merge is two tokens with a space between", index + 1))),
    };
    pairs.take(most).map(pair).collect()
}

/// The letters that stand for bytes, in OpenAI's order: bytes that can be printed stand for themselves, and
/// come first.
fn byte_alphabet() -> Vec<char> {
    let printed = ['!'..='~', '\u{a1}'..='\u{ac}', '\u{ae}'..='\u{ff}'];
    let printed: Vec<char> = printed.into_iter().flatten().collect();
    let others = 256 - printed.len() as u32;
    printed.iter().copied().chain((256..256 + others).filter_map(char::from_u32)).collect()
}

fn wrong(file: &str, problem: impl ToString) -> ClipError {
    ClipError::Tokenizer { file: file.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn the_letters_for_bytes_are_those_of_the_library() {
        let letters = byte_alphabet();
        assert_eq!(letters.len(), 256);
        assert_eq!(letters.into_iter().collect::<BTreeSet<_>>(), ByteLevel::alphabet().into_iter().collect());
    }

    #[test]
    fn a_line_that_is_no_merge_is_told() {
        let error =
            parse_merges("merges.txt", "#version: 0.2\nt h\nthree are many\n", usize::MAX).unwrap_err();
        assert_eq!(error.to_string(), "merges.txt: line 3: a merge is two tokens with a space between");
    }

    #[test]
    fn what_is_not_gzipped_is_told() {
        let error = of_openai("bpe.txt.gz", b"#version").unwrap_err().to_string();
        assert!(error.starts_with("bpe.txt.gz: "), "{error}");
    }
}
