//! What can be wrong with a file of PyTorch.

use super::pickle::PickleError;

/// Why a file of PyTorch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// Its pickle.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// Its archive.
    #[error("not a readable ZIP archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// Something in it that contradicts itself.
    #[error("{0}")]
    Content(String),
}

pub(super) fn content(problem: impl Into<String>) -> TorchError {
    TorchError::Content(problem.into())
}
