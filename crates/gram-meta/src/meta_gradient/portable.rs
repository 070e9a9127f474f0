//! A meta-gradient as bytes, for another machine: safetensors, with the names of its scalars in the header.
//!
//! Tensors: `gradient.theta.…` and `gradient.phi.…` as in [`MetaState::named`], and `scalars` `[1, scalars]`.

use burn::tensor::{Device, Tensor};
use gram_clip::checkpoint::{Named, to_f32_bytes_with_header};
use gram_clip::scalars::read;
use gram_prompt::prompt_file::numbers;

use super::MetaGradient;
use super::scalars::{Name, Scalars};
use crate::checkpoint::{Tensors, damaged, header_of};
use crate::meta_training::{MetaState, MetaTrainingError};

impl MetaGradient {
    /// Its bytes.
    ///
    /// # Errors
    /// [`MetaTrainingError::Clip`] if the library refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MetaTrainingError> {
        let gradient = MetaState { theta: self.theta.clone(), phi: self.phi.clone() };
        let named = gradient.named().into_iter();
        let mut tensors: Named =
            named.map(|(name, tensor)| (format!("gradient.{name}"), numbers(&tensor))).collect();
        let values = read(self.scalars.tensors());
        tensors.insert("scalars".into(), (vec![1, values.len()], values));
        let header = serde_json::to_string(&self.scalars.names()).map_err(|error| damaged(&error))?;
        Ok(to_f32_bytes_with_header(&tensors, header)?)
    }

    /// The meta-gradient for a state that looks like `like`, from its bytes.
    ///
    /// # Errors
    /// [`MetaTrainingError::Checkpoint`] if they are not those of one.
    pub fn from_bytes(bytes: &[u8], like: &MetaState, device: &Device) -> Result<Self, MetaTrainingError> {
        let names: Vec<Name> = header_of(bytes)?;
        let tensors = Tensors::read(bytes)?;
        let MetaState { theta, phi } = tensors.state("gradient", like, device)?;
        let values: Tensor<1> = tensors.tensor("scalars", Some([1, names.len()]), device)?.flatten(0, 1);
        let has_regulator = like.phi.is_some();
        Ok(Self { theta, phi, scalars: Scalars::of_values(names, values, has_regulator) })
    }
}

#[cfg(test)]
mod tests {
    use gram_prompt::{Part, Prompt, RegulatorForm};

    use super::*;
    use crate::regulator::{Regulator, RegulatorStart};

    fn state(vectors: usize) -> MetaState {
        let device = Device::flex();
        let theta: Prompt =
            [(Part::Text, Prompt::random(Part::Text, [vectors, 8], 1.0, 1, &device))].into_iter().collect();
        let start = RegulatorStart { deviation: 0.1, gamma_bias: 2.0, form: RegulatorForm::Paper };
        let phi = Some(Regulator::near_identity(&theta, start, 1, &device));
        MetaState { theta, phi }
    }

    fn meta_gradient() -> MetaGradient {
        let MetaState { theta, phi } = state(4);
        let names = vec![Name::QueryLoss, Name::QueryAccuracy, Name::Gamma, Name::Theta];
        let values = Tensor::from_data([0.1_f32, 62.5, f32::NAN, 1e-30], &Device::flex());
        MetaGradient { theta, phi, scalars: Scalars::of_values(names, values, true) }
    }

    #[test]
    fn a_meta_gradient_comes_back_from_its_bytes_to_the_bit() {
        let before = meta_gradient();
        let bytes = before.to_bytes().unwrap();
        let after = MetaGradient::from_bytes(&bytes, &state(4), &Device::flex()).unwrap();
        assert_eq!(after.to_bytes().unwrap(), bytes);
        assert_eq!(format!("{:?}", after.read()), format!("{:?}", before.read()));
        assert_eq!(after.read().query_loss, 0.1);
    }

    #[test]
    fn bytes_of_something_else_are_refused() {
        let bytes = meta_gradient().to_bytes().unwrap();
        let read = |bytes: &[u8], like| MetaGradient::from_bytes(bytes, &like, &Device::flex());
        assert!(read(&bytes[..bytes.len() - 1], state(4)).is_err());
        assert!(read(b"nothing", state(4)).is_err());
        assert!(read(&bytes, state(5)).unwrap_err().to_string().contains("gradient.theta.text"));
    }
}
