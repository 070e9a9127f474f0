//! Why an experiment cannot be run, or cannot go on.

use std::fmt::Display;
use std::io;

use gram_clip::{ClipError, ComputeError, OtherModel};
use gram_cluster::ClusterError;
use gram_data::DataError;
use gram_features::FeatureError;
use gram_features::sentence_bert::SentenceBertError;
use gram_hub::OpenError;
use gram_meta::MetaTrainingError;
use gram_meta::episode::TooFewTopics;
use gram_prompt::{PromptFileError, TemplateError};
use gram_report::report::ReportError;
use gram_report::results::ResultsError;
use gram_tune::out_of_range::OutOfRange;
use gram_tune::prepared::EvaluationError;

/// Why an experiment cannot be run, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// What was asked for cannot be done; says why, and the way out.
    #[error("{0}")]
    Refused(String),
    /// What went wrong with a file, or in a part of the work.
    #[error("{place}: {cause}")]
    At {
        /// The file, or the part of the work.
        place: String,
        /// What went wrong.
        cause: Box<ExperimentError>,
    },
    /// Something that was named cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Pairs or a dataset cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model cannot be used.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// There is nothing to compute on.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// A file is of another model.
    #[error(transparent)]
    OtherModel(#[from] OtherModel),
    /// A prompt file cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptFileError),
    /// A prompt template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Features cannot be computed or read.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// Captions cannot be encoded.
    #[error(transparent)]
    SentenceBert(#[from] SentenceBertError),
    /// Pairs cannot be clustered.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A meta-training cannot go on.
    #[error(transparent)]
    MetaTraining(#[from] MetaTrainingError),
    /// There are too few topics for the episodes that are asked for.
    #[error(transparent)]
    TooFewTopics(#[from] TooFewTopics),
    /// A setting of an objective is out of its range.
    #[error(transparent)]
    Objective(#[from] OutOfRange),
    /// A method cannot be tuned or measured.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Results cannot be read or written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A page cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The system cannot read or write.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A JSON file is wrong.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Settings cannot be written as TOML.
    #[error(transparent)]
    Toml(#[from] toml::ser::Error),
    /// A file of tensors is wrong.
    #[error(transparent)]
    Safetensors(#[from] safetensors::SafeTensorError),
}

/// What an experiment gives, or why it cannot.
pub type Result<T, E = ExperimentError> = std::result::Result<T, E>;

/// Says where something went wrong.
pub(crate) trait Context<T> {
    /// At this file, or in this part of the work.
    fn context(self, place: impl Display) -> Result<T>;
    /// The same, in words that are made only if they are needed.
    fn with_context<D: Display>(self, place: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<ExperimentError>> Context<T> for Result<T, E> {
    fn context(self, place: impl Display) -> Result<T> {
        self.with_context(|| place)
    }

    fn with_context<D: Display>(self, place: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| ExperimentError::At {
            place: place().to_string(),
            cause: Box::new(cause.into()),
        })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, place: impl Display) -> Result<T> {
        self.with_context(|| place)
    }

    fn with_context<D: Display>(self, place: impl FnOnce() -> D) -> Result<T> {
        self.ok_or_else(|| ExperimentError::Refused(place().to_string()))
    }
}

/// [`ExperimentError::Refused`], in words as of `format!`.
macro_rules! refused {
    ($($words:tt)*) => { $crate::error::ExperimentError::Refused(format!($($words)*)) };
}

/// Ends the function with [`ExperimentError::Refused`].
macro_rules! refuse {
    ($($words:tt)*) => { return Err($crate::error::refused!($($words)*)) };
}

/// Ends the function with [`ExperimentError::Refused`] unless something holds.
macro_rules! require {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            $crate::error::refuse!($($words)*);
        }
    };
}

pub(crate) use {refuse, refused, require};
