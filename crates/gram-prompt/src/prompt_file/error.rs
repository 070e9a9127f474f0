//! Why a prompt file cannot be used.

use std::path::PathBuf;

use gram_clip::OtherModel;

use crate::placement::ClassPosition;

/// Why a prompt file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptFileError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is a folder.
    #[error("{}: this is a folder: name a prompt{such_as}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// One that is in it, as an example.
        such_as: String,
    },
    /// It is not a prompt file.
    #[error("{}: {problem}: is this a prompt file of gram?", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It is no prompt of CoOp's that can be used here.
    #[error("{}: {problem}", path.display())]
    Coop {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It was made for a model of other weights.
    #[error("{}: {source}", path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Both models.
        source: OtherModel,
    },
    /// It cannot be told which model is at hand.
    #[error("{}: {source}", path.display())]
    Fingerprint {
        /// The file.
        path: PathBuf,
        /// What the device said.
        source: gram_clip::ClipError,
    },
    /// It was made for a model of other sizes.
    #[error(
        "{}: made for {found}, {part} width {width}, but {model} has width {expected}: pass the model it was made for",
        path.display()
    )]
    Model {
        /// The file.
        path: PathBuf,
        /// The model it was made for.
        found: String,
        /// The model that it was to be used with.
        model: String,
        /// The part that does not fit.
        part: &'static str,
        /// Its width.
        width: usize,
        /// The width that the model reads.
        expected: usize,
    },
    /// Its class names stand elsewhere than whoever reads it says.
    #[error("{}: its class names stand at the {found}, not at the {given}: leave --class-position out", path.display())]
    ClassPosition {
        /// The file.
        path: PathBuf,
        /// Where they stand.
        found: ClassPosition,
        /// Where they should.
        given: ClassPosition,
    },
    /// It enters more layers than there are.
    #[error(
        "{}: made for {found}, prompt tokens for {depth} layers, but {model} has {layers}: pass the model it was made for",
        path.display()
    )]
    Depth {
        /// The file.
        path: PathBuf,
        /// The model it was made for.
        found: String,
        /// The model that it was to be used with.
        model: String,
        /// Layers of the prompt.
        depth: usize,
        /// Layers of the model's vision tower.
        layers: usize,
    },
}
