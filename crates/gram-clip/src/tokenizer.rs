//! Text to token ids, as `tokenizer.json` says (the format of Hugging Face's `tokenizers`, which reads it here).

use std::fs;
use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::ClipError;

/// CLIP's tokenizer.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
}

/// How CLIP's vocabulary spells SOS.
pub const START: &str = "<|startoftext|>";
/// How CLIP's vocabulary spells EOS.
pub const END: &str = "<|endoftext|>";

impl ClipTokenizer {
    /// Reads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    /// [`ClipError::File`] or [`ClipError::Tokenizer`].
    pub fn open(folder: &Path) -> Result<Self, ClipError> {
        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(|source| ClipError::File { path, source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`ClipError::Tokenizer`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClipError> {
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(failed)?;
        // A text is cut at its EOS and never padded here, whatever the file was saved with.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let id = |token: &str| {
            let problem = format!("no token {token}: this is not the tokenizer of a CLIP model");
            tokenizer.token_to_id(token).ok_or(ClipError::Tokenizer { problem })
        };
        let (start, end) = (id(START)?, id(END)?);
        Ok(Self { tokenizer, start, end })
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
        Ok(self.tokenizer.encode(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The ids of `text` and EOS: what follows the shared prefix. With `before` tokens in front of it (SOS and the
    /// context) it must fit into `positions`.
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
    ClipError::Tokenizer { problem: error.to_string() }
}
