//! What can go wrong with a sentence encoder, and the way out.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why a Sentence-BERT folder could not be read, or a sentence not be embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SentenceBertError {
    /// A file cannot be read.
    #[error("{}: {source}: give a folder as sentence-transformers saves it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file does not say what it should.
    #[error("{}: {source}: give a folder as sentence-transformers saves it", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text departs from the format.
        source: serde_json::Error,
    },
    /// The model is of a kind that is not read here, or a size makes no sense.
    #[error("{}: {key} is {found}, must be {expected}: give a BERT model with mean pooling", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The weights are no safetensors file.
    #[error("{}: not a safetensors file: {source}: get it again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing.
    #[error("{}: no tensor `{tensor}`: give the weights that belong to config.json", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{}: tensor `{tensor}` is {found:?}, config.json says {expected:?}: give the weights that belong to it",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor is of a type that is no weight.
    #[error("{}: tensor `{tensor}` is of type {found}: save the weights as F32, F16 or BF16", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds a value that is not a number, or infinite.
    #[error("{}: tensor `{tensor}` holds a value that is not finite: get the file again", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// The tokenizer cannot be read, or cannot read a sentence.
    #[error("{}: {problem}: give the tokenizer that was saved with the model", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The device did not hand out its result.
    #[error("embeddings cannot be read back: {problem}: try another device")]
    Readback {
        /// What the device said.
        problem: String,
    },
}

impl SentenceBertError {
    pub(super) fn tokenizer(path: &Path, problem: impl Display) -> Self {
        Self::Tokenizer { path: path.to_owned(), problem: problem.to_string() }
    }

    pub(super) fn readback(problem: &impl Display) -> Self {
        Self::Readback { problem: problem.to_string() }
    }
}
