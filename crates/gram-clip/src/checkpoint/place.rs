//! Where the values of a tensor lie in a file, and how they are read.

use std::ops::Range;

use half::{bf16, f16};
use safetensors::tensor::Dtype;

/// What stands under a name in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A tensor.
    Tensor(Place),
    /// Something that is not read, and that a tensor may be inside of.
    Unread(Unread),
}

/// Why something in a file is not read. It matters only where a tensor that is needed is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// An object of a class, or what a function would make: their name.
    Object(String),
    /// A tensor that contradicts itself or the file, or is of a kind that is no weight: what is wrong.
    Tensor(String),
}

impl Unread {
    /// The name of what would make it, if it is an object.
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Object(name) => Some(name),
            Self::Tensor(_) => None,
        }
    }

    /// The reason in words, of what stands under `path`.
    pub fn reason(&self, path: &str) -> String {
        match self {
            Self::Object(name) if path.is_empty() => format!("it asks for {name}, {NEVER_RUN}"),
            Self::Object(name) => format!("`{path}` asks for {name}, {NEVER_RUN}"),
            Self::Tensor(problem) => format!("tensor `{path}`: {problem}"),
        }
    }
}

/// What happens to objects, and the way out.
pub const NEVER_RUN: &str =
    "which is never run: save the weights alone, with torch.save(model.state_dict(), \u{2026})";

/// A tensor's place in the bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    bytes: Range<usize>,
    dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Elements between neighbours of each dimension, where they are not in order.
    strides: Option<Vec<usize>>,
}

impl Place {
    /// A tensor whose values lie in order in `bytes`; [`None`] if they are not as many as its shape says.
    pub fn ordered(bytes: Range<usize>, dtype: Dtype, shape: Vec<usize>) -> Option<Self> {
        let size = count(&shape)?.checked_mul(dtype.bitsize() / 8)?;
        (bytes.len() == size).then_some(Self { bytes, dtype, shape, strides: None })
    }

    /// A tensor in a storage: its first element at `offset`, the others by `strides`; [`None`] if it leaves
    /// the storage.
    pub fn strided(
        storage: Range<usize>,
        dtype: Dtype,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Option<Self> {
        let width = dtype.bitsize() / 8;
        let elements = count(&shape)?;
        if strides.len() != shape.len() {
            return None;
        }
        let reach = |reach: usize, (size, stride): (&usize, &usize)| {
            reach.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
        };
        let last = shape.iter().zip(&strides).try_fold(0, reach)?;
        let length = if elements == 0 { 0 } else { last.checked_add(1)? };
        // Repeated elements (a stride of zero) would be larger than the file says.
        if elements > length {
            return None;
        }
        let start = storage.start.checked_add(offset.checked_mul(width)?)?;
        let end = start.checked_add(length.checked_mul(width)?).filter(|end| *end <= storage.end)?;
        let ordered = strides == row_major(&shape);
        let strides = (!ordered).then_some(strides);
        Some(Self { bytes: start..end, dtype, shape, strides })
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The values, row-major, from the bytes of the file; [`None`] if they are no floating-point numbers.
    pub fn values(&self, file: &[u8]) -> Option<Vec<f32>> {
        let values = float_values(self.dtype, &file[self.bytes.clone()])?;
        Some(match &self.strides {
            None => values,
            Some(strides) => in_order(&values, &self.shape, strides),
        })
    }
}

/// Elements of a tensor.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1, |count: usize, size| count.checked_mul(*size))
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension].saturating_mul(shape[dimension]);
    }
    strides
}

fn in_order(values: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut places = vec![0];
    for (size, stride) in shape.iter().zip(strides) {
        places = places.iter().flat_map(|first| (0..*size).map(move |step| first + step * stride)).collect();
    }
    places.into_iter().map(|place| values[place]).collect()
}

/// Floating-point numbers of any width as 32-bit ones; [`None`] for another type.
pub fn float_values(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_transposed_view_is_read_in_its_own_order() {
        let file = bytes(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let place = Place::strided(0..28, Dtype::F32, 1, vec![3, 2], vec![1, 3]).unwrap();
        assert_eq!(place.values(&file).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn a_tensor_never_leaves_its_storage() {
        let strided = |offset, shape, strides| Place::strided(0..24, Dtype::F32, offset, shape, strides);
        assert!(strided(0, vec![2, 3], vec![3, 1]).is_some());
        assert!(strided(1, vec![2, 3], vec![3, 1]).is_none());
        assert!(strided(0, vec![2, 3], vec![4, 1]).is_none());
        assert!(strided(0, vec![usize::MAX, 3], vec![3, 1]).is_none());
        assert!(strided(0, vec![1_000_000_000], vec![0]).is_none());
        assert!(strided(usize::MAX, vec![1], vec![1]).is_none());
        assert!(strided(0, vec![2], vec![1, 1]).is_none());
        assert!(Place::ordered(0..24, Dtype::F32, vec![7]).is_none());
    }
}
