//! Weights by name: what is in `model.safetensors`, and what writes it.
//!
//! A [`Source`] is where a model that is built gets the values of its tensors from: a file ([`Weights`]), or a random
//! start before training. Which tensors there are, `names.rs` says.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::ClipError;

/// Where the values of a named tensor come from.
pub trait Source {
    /// The values, row-major, of the tensor `name` of `shape`.
    ///
    /// # Errors
    /// [`ClipError`] says why there are none.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError>;
}

/// The tensors of a safetensors file, as 32-bit values.
pub struct Weights {
    file: String,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Weights {
    /// Reads a file by mapping it into memory.
    ///
    /// # Errors
    /// [`ClipError`] names the file and, where it applies, the tensor.
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let failed = |source| ClipError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = map(&file).map_err(failed)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads the bytes of a file called `file`.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ClipError> {
        let parsed = SafeTensors::deserialize(bytes)
            .map_err(|source| ClipError::Safetensors { file: file.to_owned(), source })?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.tensors() {
            // Counters that old versions of transformers kept among the weights are no weights.
            if let Some(values) = float_values(&view) {
                if values.iter().any(|value| !value.is_finite()) {
                    return Err(ClipError::NotFinite { file: file.to_owned(), name });
                }
                tensors.insert(name, (view.shape().to_vec(), values));
            } else if !name.ends_with("position_ids") {
                let found = format!("{:?}", view.dtype());
                return Err(ClipError::Type { file: file.to_owned(), name, found });
            }
        }
        Ok(Self { file: file.to_owned(), tensors })
    }
}

/// Maps a file into memory.
#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read once, here, and copied out before it is dropped; a model file that another process
    // truncates meanwhile ends this program, as it would end any reader of a mapped file.
    unsafe { Mmap::map(file) }
}

impl Source for Weights {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ClipError> {
        let missing = || ClipError::MissingTensor { file: self.file.clone(), name: name.to_owned() };
        let (found, _) = self.tensors.get(name).ok_or_else(missing)?;
        if found != shape && !(shape == [1] && found.is_empty()) {
            let (found, expected) = (found.clone(), shape.to_vec());
            return Err(ClipError::Shape { file: self.file.clone(), name: name.to_owned(), found, expected });
        }
        Ok(self.tensors.remove(name).map(|(_, values)| values).unwrap_or_default())
    }
}

/// The values of a tensor of floating-point numbers.
pub fn float_values(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}

/// Named tensors on their way into a file.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of a safetensors file with 16-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f16_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, Dtype::F16, |values| {
        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
    })
}

/// The bytes of a safetensors file with 32-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f32_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, Dtype::F32, |values| values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn serialize(
    tensors: &Named,
    dtype: Dtype,
    encode: impl Fn(&[f32]) -> Vec<u8>,
) -> Result<Vec<u8>, ClipError> {
    let encoded: Vec<(&String, &Vec<usize>, Vec<u8>)> =
        tensors.iter().map(|(name, (shape, values))| (name, shape, encode(values))).collect();
    let refused = |source| ClipError::Safetensors { file: "model.safetensors".into(), source };
    let views = encoded
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(dtype, shape.to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    safetensors::serialize(views, None).map_err(refused)
}
