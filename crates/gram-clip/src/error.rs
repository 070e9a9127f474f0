//! What can go wrong with a model, its tokenizer or its images, and the way out.

use std::path::PathBuf;

/// Why a CLIP model could not be read, written or fed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// A file cannot be read or written.
    #[error("{}: {source}: a model folder holds config.json, model.safetensors, tokenizer.json and preprocessor_config.json", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file does not say what it should.
    #[error("{file}: {source}: is it the file of a CLIP model?")]
    Json {
        /// The file's name.
        file: String,
        /// Where the text departs from the format.
        source: serde_json::Error,
    },
    /// A value of the configuration makes no sense.
    #[error("{file}: {key} = {value}: must be {expected}")]
    Config {
        /// The file's name.
        file: &'static str,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// The weights are no safetensors file.
    #[error("{file}: not a safetensors file: {source}")]
    Safetensors {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing.
    #[error("{file}: no tensor `{name}`: the weights do not belong to the configuration beside them")]
    MissingTensor {
        /// The file's name.
        file: String,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{file}: tensor `{name}` is {found:?}, the configuration says {expected:?}")]
    Shape {
        /// The file's name.
        file: String,
        /// The tensor's name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor is of a type that is no weight.
    #[error("{file}: tensor `{name}` is of type {found}: weights are F32, F16, BF16 or F64")]
    Type {
        /// The file's name.
        file: String,
        /// The tensor's name.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds a value that is not a number, or infinite.
    #[error("{file}: tensor `{name}` holds a value that is not finite: the file is damaged, get it again")]
    NotFinite {
        /// The file's name.
        file: String,
        /// The tensor's name.
        name: String,
    },
    /// The tokenizer cannot be read, or cannot read a text.
    #[error("tokenizer.json: {problem}")]
    Tokenizer {
        /// What is wrong.
        problem: String,
    },
    /// A text has more tokens than the text tower has positions.
    #[error(
        "`{text}` is {found} tokens long with its context, the model reads {most}: shorten the name or the context"
    )]
    TooLong {
        /// The text.
        text: String,
        /// Tokens with start, context and end.
        found: usize,
        /// Positions of the text tower.
        most: usize,
    },
    /// An image cannot be brought to the model's size.
    #[error("image of {width} x {height} pixels: {problem}")]
    Image {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// What is wrong.
        problem: String,
    },
}
