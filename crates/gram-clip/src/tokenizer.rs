//! Text to token ids.
//!
//! A vocabulary comes as `tokenizer.json` (the format of Hugging Face's `tokenizers`, which reads it here),
//! as `vocab.json` with `merges.txt`, or as OpenAI's `bpe_simple_vocab_16e6.txt.gz`, which is also built in.
//! With OpenAI's file goes OpenAI's cleaning of texts; the others say themselves how a text is prepared.

mod cleaning;
pub mod pipeline;
mod vocabulary;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::ClipError;
use cleaning::clean;

/// CLIP's tokenizer.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    /// Whether texts are cleaned as OpenAI's code does.
    cleaned: bool,
    start: u32,
    end: u32,
}

/// How CLIP's vocabulary spells SOS.
pub const START: &str = "<|startoftext|>";
/// How CLIP's vocabulary spells EOS.
pub const END: &str = "<|endoftext|>";

/// OpenAI's name for the list of its merges.
const OPENAI_FILE: &str = "bpe_simple_vocab_16e6.txt.gz";
/// Entries of OpenAI's vocabulary, which every published CLIP has.
const OPENAI_ENTRIES: usize = 49_408;

impl ClipTokenizer {
    /// Reads the vocabulary of a model folder. A folder without one, of a model with OpenAI's 49,408 entries,
    /// has OpenAI's.
    ///
    /// # Errors
    /// [`ClipError`] names the file that is missing or wrong.
    pub fn open(folder: &Path, entries: usize) -> Result<Self, ClipError> {
        let read = |name: &str| match fs::read(folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClipError::File { path: folder.join(name), source }),
        };
        if let Some(bytes) = read("tokenizer.json")? {
            return Self::from_bytes(&bytes);
        }
        if let (Some(vocabulary), Some(merges)) = (read("vocab.json")?, read("merges.txt")?) {
            return Self::new(
                vocabulary::of_vocabulary(&vocabulary, &String::from_utf8_lossy(&merges))?,
                false,
            );
        }
        match read(OPENAI_FILE)? {
            Some(bytes) => Self::new(vocabulary::of_openai(OPENAI_FILE, &bytes)?, true),
            None if entries == OPENAI_ENTRIES => Self::openai(),
            None => Err(ClipError::Lacking {
                folder: folder.to_owned(),
                what: "tokenizer.json, nor vocab.json with merges.txt, nor bpe_simple_vocab_16e6.txt.gz",
            }),
        }
    }

    /// OpenAI's tokenizer, which is built in.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if this program was built from a damaged file.
    pub fn openai() -> Result<Self, ClipError> {
        let file = include_bytes!("../../../assets/tokenizer/bpe_simple_vocab_16e6.txt.gz");
        Self::new(vocabulary::of_openai(OPENAI_FILE, file)?, true)
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClipError> {
        // The library takes it for granted that what it looks at twice is JSON.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| failed(error.into()))?;
        Self::new(Tokenizer::from_bytes(bytes).map_err(failed)?, false)
    }

    fn new(mut tokenizer: Tokenizer, cleaned: bool) -> Result<Self, ClipError> {
        // A text is cut at its EOS and never padded here, whatever the file was saved with.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let id = |token: &str| {
            let problem = format!("no token {token}: this is not the tokenizer of a CLIP model");
            tokenizer.token_to_id(token).ok_or_else(|| failed(problem.into()))
        };
        let (start, end) = (id(START)?, id(END)?);
        Ok(Self { tokenizer, cleaned, start, end })
    }

    /// The token that starts every text.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The token that ends every text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The ids of `text`, without start and end.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ClipError> {
        let text = if self.cleaned { clean(text) } else { Cow::Borrowed(text) };
        Ok(self.tokenizer.encode(text.as_ref(), false).map_err(failed)?.get_ids().to_vec())
    }

    /// All that decides the ids of a text, as one text: the vocabulary, the merges, every setting.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`] if the library cannot write it.
    pub fn description(&self) -> Result<String, ClipError> {
        let tokenizer = self.tokenizer.to_string(false).map_err(failed)?;
        Ok(format!("cleaned {} start {} end {} {tokenizer}", self.cleaned, self.start, self.end))
    }

    /// The ids of `text` and EOS: what follows the shared prefix. With `before` tokens in front of it (SOS
    /// and the context) it must fit into `positions`.
    ///
    /// # Errors
    /// [`ClipError::TooLong`] names the text.
    pub fn sentence(&self, text: &str, before: usize, positions: usize) -> Result<Vec<u32>, ClipError> {
        let mut ids = self.encode(text)?;
        ids.push(self.end);
        let found = before + ids.len();
        if found > positions {
            return Err(ClipError::TooLong { text: text.to_owned(), found, most: positions });
        }
        Ok(ids)
    }
}

fn failed(error: tokenizers::Error) -> ClipError {
    ClipError::Tokenizer { file: "tokenizer.json".into(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_s_vocabulary_gives_openai_s_ids() {
        let tokenizer = ClipTokenizer::openai().unwrap();
        assert_eq!((tokenizer.start(), tokenizer.end()), (49_406, 49_407));
        // From the examples in OpenAI's repository and its papers' notebooks: "a photo of a cat" and "hello
        // world!".
        assert_eq!(tokenizer.encode("a photo of a cat").unwrap(), [320, 1125, 539, 320, 2368]);
        assert_eq!(tokenizer.encode("Hello  world!").unwrap(), [3306, 1002, 256]);
    }

    #[test]
    fn a_tokenizer_that_is_cut_off_anywhere_is_an_error() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/checkpoints/hugging-face/half/tokenizer.json"
        );
        let whole = fs::read(file).unwrap();
        assert!(ClipTokenizer::from_bytes(&whole).is_ok());
        for length in (0..whole.len() - 1).step_by(97) {
            assert!(ClipTokenizer::from_bytes(&whole[..length]).is_err(), "{length} bytes");
        }
        let broken = String::from_utf8(whole).unwrap().replace("\"trim_offsets\":", "\"trim_offsets\"");
        assert!(ClipTokenizer::from_bytes(broken.as_bytes()).is_err());
    }
}
