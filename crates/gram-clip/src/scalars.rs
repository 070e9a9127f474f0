//! Numbers that are read back from where they were computed.
//!
//! Reading waits until the device has done all that was asked of it, and a GPU then waits for the next
//! request. So a step gathers its losses and norms as tensors and reads them together, once.

use burn::tensor::Tensor;

/// The values of scalars, `[1]` each, in one read.
///
/// # Panics
/// If the device has failed on the way to them, as where its memory was not enough.
pub fn read(scalars: Vec<Tensor<1>>) -> Vec<f32> {
    if scalars.is_empty() {
        return Vec::new();
    }
    Tensor::cat(scalars, 0).inner().into_data().convert::<f32>().try_to_vec().unwrap_or_default()
}

/// The value of one scalar, `[1]`.
///
/// # Panics
/// As [`read`].
pub fn read_one(scalar: Tensor<1>) -> f32 {
    scalar.inner().into_scalar::<f32>()
}
