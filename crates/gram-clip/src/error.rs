//! What can go wrong with a model, its tokenizer or its images, and the way out.

use std::path::PathBuf;

use crate::checkpoint::NEVER_RUN;

/// Why a CLIP model could not be read, written or fed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
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
        key: String,
        /// Its value.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// A folder holds no weights.
    #[error(
        "{}: no weights: a model folder holds model.safetensors, pytorch_model.bin, open_clip_model.safetensors, open_clip_pytorch_model.bin, or one other checkpoint", folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder holds several checkpoints, none under a usual name.
    #[error("{}: several checkpoints, {}: name one of them", folder.display(), names.join(", "))]
    ManyWeights {
        /// The folder.
        folder: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// A folder lacks a file that a model needs.
    #[error("{}: no {what}: put it there from where the weights came", folder.display())]
    Lacking {
        /// The folder.
        folder: PathBuf,
        /// The files that would do.
        what: &'static str,
    },
    /// The weights are of a model that is no CLIP with two transformers.
    #[error("{file}: {found}: gram reads CLIP models of a vision transformer and CLIP's own text tower")]
    Architecture {
        /// The file's name.
        file: String,
        /// What was found.
        found: &'static str,
    },
    /// The tensors are of no CLIP.
    #[error("{file}: {}", no_clip(*tensors, some.as_deref(), objects))]
    NoClip {
        /// The file's name.
        file: String,
        /// Tensors in the file.
        tensors: usize,
        /// One of them.
        some: Option<String>,
        /// What makes the objects in it, which are not read.
        objects: Vec<String>,
    },
    /// Something that is not read stands where a tensor is needed.
    #[error("{file}: {problem}")]
    Unread {
        /// The file's name.
        file: String,
        /// What stands there, why it is not read, and the way out.
        problem: String,
    },
    /// An index lists a file that is not beside it.
    #[error("{file}: lists {shard}, which is not the name of a file beside it")]
    Index {
        /// The index.
        file: String,
        /// What it lists.
        shard: String,
    },
    /// The weights are no file that PyTorch wrote.
    #[error("{file}: {source}")]
    Torch {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        source: crate::checkpoint::TorchError,
    },
    /// The weights are no safetensors file.
    #[error("{file}: neither a safetensors file nor one of PyTorch: {source}")]
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
    #[error("{file}: {problem}")]
    Tokenizer {
        /// The file's name.
        file: String,
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
    /// The device does not hand out the values of a weight.
    #[error("weight `{tensor}`: the device does not hand out its values: {problem}")]
    Device {
        /// The weight's name.
        tensor: String,
        /// What the device said.
        problem: String,
    },
}

/// What is wrong with a file that has no tensor of a CLIP.
fn no_clip(tensors: usize, some: Option<&str>, objects: &[String]) -> String {
    let objects = match objects {
        [] => String::new(),
        names => format!(", and it asks for {}, {NEVER_RUN}", names.join(", ")),
    };
    match some {
        None => format!("it holds no tensors{objects}"),
        Some(name) => format!(
            "none of its {tensors} tensors (`{name}`, …) is named as in a CLIP model, by Hugging Face's or OpenAI's names{objects}"
        ),
    }
}
