//! The tensors of `model.safetensors`, by name and shape.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData, module};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::SentenceBertError;
use super::settings;

/// An affine map, `[inputs, outputs]`.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Linear {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        gram_clip::linear(x, self.weight.clone(), Some(self.bias.clone()))
    }
}

/// Layer normalisation over the last dimension.
#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        module::layer_norm(x, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}

/// A weights file, and the device its tensors go to.
pub(super) struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
    device: Device,
}

impl Weights {
    /// Reads a file.
    pub(super) fn open(path: &Path, device: &Device) -> Result<Self, SentenceBertError> {
        let weights = Self { path: path.to_owned(), bytes: settings::read(path)?, device: device.clone() };
        weights.parse()?;
        Ok(weights)
    }

    /// The header alone is parsed: a view of the bytes costs little, so none needs to be kept.
    fn parse(&self) -> Result<SafeTensors<'_>, SentenceBertError> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|source| SentenceBertError::Safetensors { path: self.path.clone(), source })
    }

    /// The tensor `name`, which a file saved with more than the encoder calls `bert.name`.
    pub(super) fn tensor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, SentenceBertError> {
        let (path, tensor) = (self.path.clone(), name.to_owned());
        let parsed = self.parse()?;
        let Ok(view) = parsed.tensor(name).or_else(|_| parsed.tensor(&format!("bert.{name}"))) else {
            return Err(SentenceBertError::MissingTensor { path, tensor });
        };
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(SentenceBertError::Shape { path, tensor, found, expected });
        }
        let Some(values) = float_values(&view) else {
            return Err(SentenceBertError::Type { path, tensor, found: format!("{:?}", view.dtype()) });
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(SentenceBertError::NotFinite { path, tensor });
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// The affine map `name`, which the file stores as `[outputs, inputs]`.
    pub(super) fn linear(
        &self,
        name: &str,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Linear, SentenceBertError> {
        let stored = self.tensor(&format!("{name}.weight"), [outputs, inputs])?;
        // A copy in the new order: products with a transposed view would reorder it every time.
        let weight = Tensor::from_data(stored.transpose().into_data(), &self.device);
        Ok(Linear { weight, bias: self.tensor(&format!("{name}.bias"), [outputs])? })
    }

    /// The norm `name`.
    pub(super) fn layer_norm(
        &self,
        name: &str,
        width: usize,
        epsilon: f64,
    ) -> Result<LayerNorm, SentenceBertError> {
        let weight = self.tensor(&format!("{name}.weight"), [width])?;
        Ok(LayerNorm { weight, bias: self.tensor(&format!("{name}.bias"), [width])?, epsilon })
    }
}

/// The values of a tensor of floating-point numbers, none for other types.
fn float_values(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => return None,
    })
}
