//! Between tensors and matrices.

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::Array2;

use crate::FeatureError;

/// A matrix as a tensor.
pub fn tensor(matrix: &Array2<f32>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = matrix.iter().copied().collect();
    Tensor::from_data(TensorData::new(values, [matrix.nrows(), matrix.ncols()]), device)
}

/// A tensor's numbers as a matrix.
///
/// # Errors
/// [`FeatureError::Device`] if the device does not hand them out.
pub fn matrix(tensor: Tensor<2>) -> Result<Array2<f32>, FeatureError> {
    let [rows, columns] = tensor.dims();
    let values = values(tensor)?;
    Array2::from_shape_vec((rows, columns), values).map_err(|error| FeatureError::Device(error.to_string()))
}

/// A tensor's numbers, row-major.
///
/// # Errors
/// [`FeatureError::Device`] if the device does not hand them out.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, FeatureError> {
    let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>();
    values.map_err(|error| FeatureError::Device(format!("{error:?}")))
}
