//! What can go wrong in pre-training, and the way out.

use std::path::PathBuf;

/// Why pre-training stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The configuration is not what it should be.
    #[error("{file}: {source}")]
    Toml {
        /// The file's name.
        file: String,
        /// Where the text departs from the format.
        source: Box<toml::de::Error>,
    },
    /// A setting is out of range.
    #[error("{file}: {key} must be {range}")]
    Setting {
        /// The file's name.
        file: String,
        /// The key.
        key: &'static str,
        /// What it must be.
        range: &'static str,
    },
    /// A model cannot be built, read or written.
    #[error(transparent)]
    Clip(#[from] gram_clip::ClipError),
    /// Pairs or a labelled dataset cannot be read.
    #[error(transparent)]
    Data(#[from] gram_data::DataError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tokenizer could not be trained.
    #[error("the tokenizer cannot be learned from the captions: {problem}")]
    Tokenizer {
        /// What the library says.
        problem: String,
    },
    /// Fewer pairs than make a batch.
    #[error("{found} pairs make no batch of {batch_size}: give more pairs or lower training.batch_size")]
    TooFewPairs {
        /// Pairs given.
        found: usize,
        /// Pairs of a step.
        batch_size: usize,
    },
    /// The loss is not a number any more.
    #[error(
        "the loss of step {step} is not finite: lower training.learning_rate and start again from a checkpoint"
    )]
    Diverged {
        /// The step.
        step: usize,
    },
    /// A checkpoint belongs to another run or is damaged.
    #[error("{}: {problem}: pass another --out, or remove the folder to start anew", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}
