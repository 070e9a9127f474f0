//! Safetensors files, written.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::ClipError;

/// Named tensors on their way into a file.
pub type Named = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of a safetensors file with 16-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f16_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, None, Dtype::F16, |values| {
        values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
    })
}

/// The bytes of a safetensors file with 32-bit values.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f32_bytes(tensors: &Named) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, None, Dtype::F32, f32_bytes)
}

/// The bytes of a safetensors file with 32-bit values, and `header` in its metadata under the key `gram`.
///
/// # Errors
/// [`ClipError::Safetensors`] if the library refuses.
pub fn to_f32_bytes_with_header(tensors: &Named, header: String) -> Result<Vec<u8>, ClipError> {
    serialize(tensors, Some(HashMap::from([("gram".to_owned(), header)])), Dtype::F32, f32_bytes)
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn serialize(
    tensors: &Named,
    metadata: Option<HashMap<String, String>>,
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
    safetensors::serialize(views, metadata).map_err(refused)
}
