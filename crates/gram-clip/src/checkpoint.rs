//! Weights by name: what is in the files that people have, and what writes them.
//!
//! A [`Source`] is where a model that is built gets the values of its tensors from: a file ([`Weights`]), or
//! a random start before training. Which tensors there are, `names.rs` says, in Hugging Face's words.
//!
//! Files are told apart by what is in them, not by their names: safetensors, an index of several files, what
//! `torch.save` writes, and TorchScript archives; with tensors named as in Hugging Face's or in OpenAI's
//! layout.

mod contents;
mod openai_names;
pub mod pickle;
mod pickled_tensors;
mod place;
mod torch;
mod torch_error;
mod torch_writer;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::tensor::TensorView;

pub use contents::{Contents, read_anything, read_contents, read_tensors};
pub use place::{Entry, NEVER_RUN, Place, Unread};
pub use torch::is_torch;
pub use torch_error::TorchError;
pub use torch_writer::to_torch_bytes;
pub use write::{Named, to_f16_bytes, to_f32_bytes, to_f32_bytes_with_header};

use self::contents::{entries, unwrapped};
use crate::error::ClipError;
use crate::signal::Activation;

/// Where the values of a named tensor come from.
pub trait Source {
    /// The values, row-major, of the tensor `name` of `shape`.
    ///
    /// # Errors
    /// [`ClipError`] says why there are none.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError>;
}

/// The bytes of a file, in memory or mapped into it.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The tensors of a checkpoint. They stay in the file until they are asked for.
pub struct Weights {
    /// What messages call the checkpoint.
    file: String,
    /// The bytes of its files.
    files: Vec<Bytes>,
    /// File and place of every tensor.
    tensors: BTreeMap<String, (usize, Place)>,
    /// What else stands under a name, and is not read.
    unread: BTreeMap<String, Unread>,
    layout: Layout,
    activation: Option<Activation>,
}

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Those of transformers' `CLIPModel`.
    HuggingFace,
    /// Those of OpenAI and open_clip, the text tower's after this prefix.
    OpenAi(&'static str),
}

impl Weights {
    /// Reads a file by mapping it into memory.
    ///
    /// # Errors
    /// [`ClipError`] names the file and, where it applies, the tensor.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let file = path.display().to_string();
        let bytes = map(path)?;
        match shards(&file, bytes.as_ref().as_ref())? {
            Some(shards) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let files = shards.iter().map(|shard| Ok((shard.clone(), map(&folder.join(shard))?)));
                Self::of_files(file, files.collect::<Result<_, ClipError>>()?)
            }
            None => Self::of_files(file.clone(), vec![(file, bytes)]),
        }
    }

    /// Reads the bytes of a file called `file`.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn parse(file: &str, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, ClipError> {
        Self::of_files(file.to_owned(), vec![(file.to_owned(), Arc::new(bytes))])
    }

    fn of_files(file: String, parts: Vec<(String, Bytes)>) -> Result<Self, ClipError> {
        let (mut all, mut files, mut activation) = (BTreeMap::new(), Vec::new(), None);
        for (index, (name, bytes)) in parts.into_iter().enumerate() {
            let content = bytes.as_ref().as_ref();
            if torch::is_torch_script(content) {
                activation = torch::torch_script_activation(content);
            }
            all.extend(entries(&name, content)?.into_iter().map(|(name, entry)| (name, (index, entry))));
            files.push(bytes);
        }
        let all = unwrapped(all, |(_, entry)| matches!(entry, Entry::Tensor(_)));
        let (mut tensors, mut unread) = (BTreeMap::new(), BTreeMap::new());
        for (name, (index, entry)) in all {
            match entry {
                Entry::Tensor(place) => _ = tensors.insert(name, (index, place)),
                Entry::Unread(what) => _ = unread.insert(name, what),
            }
        }
        let layout = Layout::of(&file, &tensors, &unread)?;
        Ok(Self { file, files, tensors, unread, layout, activation })
    }

    /// Whose names the tensors have.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The activation that the file itself names: a TorchScript archive does, as OpenAI's own files are.
    pub fn activation(&self) -> Option<Activation> {
        self.activation
    }

    /// The shape of the tensor that Hugging Face calls `name`.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let (_, place, part) = self.find(name)?;
        Some(part.shape(&place.shape))
    }

    /// What messages call the checkpoint.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Why the tensor that Hugging Face calls `name` is not there: because something that is not read stands
    /// in its place or around it, or because nothing does.
    pub fn missing(&self, name: &str) -> ClipError {
        let (file, name) = (self.file.clone(), name.to_owned());
        match self.unread_around(&name) {
            Some((path, what)) => ClipError::Unread { file, problem: what.reason(path) },
            None => ClipError::MissingTensor { file, name },
        }
    }

    /// What is not read and stands in the place of the tensor that Hugging Face calls `name`, or around it.
    pub fn unread_around(&self, name: &str) -> Option<(&str, &Unread)> {
        let stored = self.stored(name)?.name;
        let around = |path: &str| {
            let rest = stored.strip_prefix(path);
            path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.unread.iter().find(|(path, _)| around(path)).map(|(path, what)| (path.as_str(), what))
    }

    fn stored(&self, name: &str) -> Option<openai_names::Stored> {
        match self.layout {
            Layout::HuggingFace => {
                Some(openai_names::Stored { name: name.to_owned(), part: openai_names::Part::Whole })
            }
            Layout::OpenAi(text) => openai_names::stored(name, text),
        }
    }

    fn find(&self, name: &str) -> Option<(usize, &Place, openai_names::Part)> {
        let stored = self.stored(name)?;
        let (file, place) = self.tensors.get(&stored.name)?;
        // A part is one of a matrix, or of a vector of biases.
        let divides = match stored.part {
            openai_names::Part::Whole => true,
            openai_names::Part::Third(_) => place.shape.first().is_some_and(|rows| rows.is_multiple_of(3)),
            openai_names::Part::Transposed => place.shape.len() == 2,
        };
        divides.then_some((*file, place, stored.part))
    }
}

impl Source for Weights {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let (file, place, part) = self.find(name).ok_or_else(|| self.missing(name))?;
        let found = part.shape(&place.shape);
        if found != shape && !(shape == [1] && found.is_empty()) {
            let expected = shape.to_vec();
            return Err(ClipError::Shape { file: self.file.clone(), name: name.to_owned(), found, expected });
        }
        let values = place.values((*self.files[file]).as_ref()).ok_or_else(|| {
            let found = format!("{:?}", place.dtype());
            ClipError::Type { file: self.file.clone(), name: name.to_owned(), found }
        })?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ClipError::NotFinite { file: self.file.clone(), name: name.to_owned() });
        }
        Ok(part.of(values, &place.shape))
    }
}

impl Layout {
    /// Told from the names of the tensors.
    fn of(
        file: &str,
        tensors: &BTreeMap<String, (usize, Place)>,
        unread: &BTreeMap<String, Unread>,
    ) -> Result<Self, ClipError> {
        let has = |name: &str| tensors.contains_key(name);
        let begins = |prefix: &str| {
            tensors.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
        };
        let other = |found| Err(ClipError::Architecture { file: file.to_owned(), found });
        if begins("visual.layer1.") || begins("visual.attnpool.") {
            other("a ResNet in the vision tower")
        } else if begins("visual.trunk.") {
            other("a vision tower of timm")
        } else if begins("text.transformer.encoder.") || begins("text.transformer.embeddings.") {
            other("a text tower of another family")
        } else if has("visual.class_embedding") && has("token_embedding.weight") {
            Ok(Self::OpenAi(""))
        } else if has("visual.class_embedding") && has("text.token_embedding.weight") {
            Ok(Self::OpenAi("text."))
        } else if begins("text_model.") || begins("vision_model.") {
            Ok(Self::HuggingFace)
        } else {
            let objects: BTreeSet<&str> = unread.values().filter_map(Unread::object).collect();
            Err(ClipError::NoClip {
                file: file.to_owned(),
                tensors: tensors.len(),
                some: tensors.keys().next().cloned(),
                objects: objects.into_iter().take(3).map(str::to_owned).collect(),
            })
        }
    }
}

/// Maps a file into memory: what of it is read is loaded, and no more.
///
/// # Errors
/// [`ClipError::File`] if it cannot be opened.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> Result<Bytes, ClipError> {
    let failed = |source| ClipError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: nothing here writes to the map; a model file that another process truncates while it is read
    // ends this program, as it would end any reader of a mapped file.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok(Arc::new(map))
}

/// The files that an index lists (`model.safetensors.index.json`); [`None`] if the bytes are no index.
fn shards(file: &str, bytes: &[u8]) -> Result<Option<BTreeSet<String>>, ClipError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let index: Index =
        serde_json::from_slice(bytes).map_err(|source| ClipError::Json { file: file.to_owned(), source })?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| shard.contains(['/', '\\'])) {
        Some(outside) => Err(ClipError::Index { file: file.to_owned(), shard: outside.clone() }),
        None => Ok(Some(shards)),
    }
}

/// The values of a tensor of floating-point numbers.
pub fn float_values(view: &TensorView) -> Option<Vec<f32>> {
    place::float_values(view.dtype(), view.data())
}
