//! Why what is named cannot be opened.

use std::fmt::Display;

use gram_clip::ClipError;
use gram_data::DataError;
use gram_pretrain::PretrainError;
use gram_prompt::TemplateError;

/// Why what is named cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing of that name, or it is not what it should be; says the way out.
    #[error("{0}")]
    Refused(String),
    /// What is wrong with something that was named.
    #[error("{what}: {cause}")]
    Of {
        /// What was opened.
        what: String,
        /// Why that failed.
        cause: Box<OpenError>,
    },
    /// A model's file is wrong.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A source of images is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A prompt template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Settings of pre-training are wrong.
    #[error(transparent)]
    Pretrain(#[from] PretrainError),
    /// The hub's client failed.
    #[error(transparent)]
    Hub(#[from] hf_hub::api::sync::ApiError),
    /// A built-in text is damaged.
    #[error(transparent)]
    Text(#[from] std::str::Utf8Error),
}

impl OpenError {
    /// That `what` could not be opened, for this cause.
    pub fn of<E: Into<Self>>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |cause| Self::Of { what: what.to_string(), cause: Box::new(cause.into()) }
    }
}
