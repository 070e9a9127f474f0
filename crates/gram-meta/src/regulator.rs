//! The gradient regulating function (section 3.3): it bends the support gradient of a prompt before the prompt moves.
//!
//! One per modality, shared by all prompt vectors. For a gradient `g` `[vectors, width]`, rows as the paper's columns:
//!
//! ```text
//! gamma = tanh(g W_gamma^T + b_gamma)     beta = tanh(g W_beta^T + b_beta)      (eq. 5)
//! R(g)  = gamma * g + beta                                                      (eq. 6)
//! ```
//!
//! It starts near the identity: small random weights, `b_gamma` so that gamma is close to one, `b_beta` zero. It is a
//! gradient transformation: whoever descends passes the gradient through [`Regulator::regulate`] first.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::signal::leaf;
use gram_data::random::{normal, stream};
use gram_prompt::{Part, Prompt};

/// The four parameters of eq. 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// `W_gamma`, `[width, width]`.
    GammaWeight,
    /// `b_gamma`, `[1, width]`.
    GammaBias,
    /// `W_beta`, `[width, width]`.
    BetaWeight,
    /// `b_beta`, `[1, width]`.
    BetaBias,
}

impl Parameter {
    /// All four.
    pub const ALL: [Parameter; 4] =
        [Parameter::GammaWeight, Parameter::GammaBias, Parameter::BetaWeight, Parameter::BetaBias];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::GammaWeight => "gamma_weight",
            Parameter::GammaBias => "gamma_bias",
            Parameter::BetaWeight => "beta_weight",
            Parameter::BetaBias => "beta_bias",
        }
    }
}

/// A regulator's parameters `phi`, or anything of their shape.
#[derive(Clone, Debug, Default)]
pub struct Regulator {
    parameters: BTreeMap<(Part, Parameter), Tensor<2>>,
}

/// How a regulator starts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegulatorStart {
    /// Standard deviation of the weights.
    pub deviation: f32,
    /// `b_gamma`: gamma starts near `tanh` of it.
    pub gamma_bias: f32,
}

impl Regulator {
    /// A start near the identity for the vectors of `prompt`. (CoCoOp's net has no modality of its own, nor a regulator.)
    pub fn near_identity(prompt: &Prompt, start: RegulatorStart, seed: u64, device: &Device) -> Self {
        let mut parameters = BTreeMap::new();
        for (modality, part) in prompt.parts().filter(|(part, _)| part.is_of_tower()) {
            let width = part.dims()[1];
            for parameter in Parameter::ALL {
                let tensor = match parameter {
                    Parameter::GammaBias => Tensor::full([1, width], start.gamma_bias, device),
                    Parameter::BetaBias => Tensor::zeros([1, width], device),
                    Parameter::GammaWeight | Parameter::BetaWeight => {
                        let purpose = format!("regulator {} {}", modality.name(), parameter.name());
                        let mut random = stream(seed, &purpose);
                        let values: Vec<f32> =
                            (0..width * width).map(|_| start.deviation * normal(&mut random)).collect();
                        Tensor::from_data(TensorData::new(values, [width, width]), device)
                    }
                };
                parameters.insert((modality, parameter), tensor);
            }
        }
        Self { parameters }
    }

    /// From tensors by name, `{text|visual}.{gamma_weight|…}`; `None` if there are none.
    ///
    /// # Errors
    /// The name of a tensor that is missing for a part of `prompt`.
    pub fn from_named(prompt: &Prompt, named: &BTreeMap<String, Tensor<2>>) -> Result<Option<Self>, String> {
        if named.is_empty() {
            return Ok(None);
        }
        let mut parameters = BTreeMap::new();
        for (modality, _) in prompt.parts().filter(|(part, _)| part.is_of_tower()) {
            for parameter in Parameter::ALL {
                let name = format!("{}.{}", modality.name(), parameter.name());
                let tensor = named.get(&name).ok_or_else(|| format!("no tensor `regulator.{name}`"))?;
                parameters.insert((modality, parameter), tensor.clone());
            }
        }
        Ok(Some(Self { parameters }))
    }

    /// The tensors by name.
    pub fn named(&self) -> BTreeMap<String, Tensor<2>> {
        let name =
            |(modality, parameter): &(Part, Parameter)| format!("{}.{}", modality.name(), parameter.name());
        self.parameters.iter().map(|(key, tensor)| (name(key), tensor.clone())).collect()
    }

    /// The parameters under their keys.
    pub fn parameters(&self) -> impl Iterator<Item = (&(Part, Parameter), &Tensor<2>)> {
        self.parameters.iter()
    }

    /// Every parameter through `map`.
    pub fn map(&self, mut map: impl FnMut(&(Part, Parameter), Tensor<2>) -> Tensor<2>) -> Self {
        let parameters =
            self.parameters.iter().map(|(key, tensor)| (*key, map(key, tensor.clone()))).collect();
        Self { parameters }
    }

    /// `self + factor * other`, where `self` is empty as if it were zero.
    pub fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        other.map(|key, tensor| match self.parameters.get(key) {
            Some(own) => own.clone() + tensor * factor,
            None => tensor * factor,
        })
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.parameters.values().all(|tensor| tensor.clone().square().sum().into_scalar::<f32>().is_finite())
    }

    /// `R(g)` (eq. 6) of a gradient.
    pub fn regulate(&self, gradient: &Prompt) -> Prompt {
        gradient.map(|modality, g| self.regulate_part(modality, g))
    }

    fn regulate_part(&self, modality: Part, g: Tensor<2>) -> Tensor<2> {
        let (gamma, beta) = self.gamma_beta(modality, &g);
        match (gamma, beta) {
            (Some(gamma), Some(beta)) => gamma * g + beta,
            // A part that the regulator was not made for is left as it is.
            _ => g,
        }
    }

    /// `gamma` and `beta` (eq. 5), `[vectors, width]` each.
    fn gamma_beta(&self, modality: Part, g: &Tensor<2>) -> (Option<Tensor<2>>, Option<Tensor<2>>) {
        let layer = |weight, bias| {
            let weight = self.parameters.get(&(modality, weight))?.clone();
            Some(
                (g.clone().matmul(weight.transpose()) + self.parameters.get(&(modality, bias))?.clone())
                    .tanh(),
            )
        };
        (
            layer(Parameter::GammaWeight, Parameter::GammaBias),
            layer(Parameter::BetaWeight, Parameter::BetaBias),
        )
    }

    /// `(dR/dg at g)^T v` and `(dR/dphi at g)^T v`: one reverse pass through `R(g) . v`.
    pub fn pull_back(&self, gradient: &Prompt, v: &Prompt) -> (Prompt, Regulator) {
        let (g, phi) = (gradient.leaf(), self.map(|_, tensor| leaf(tensor)));
        let product = phi.regulate(&g).zip(v, |regulated, v| regulated * v);
        let Some(scalar) = product.parts().map(|(_, part)| part.clone().sum()).reduce(|sum, part| sum + part)
        else {
            return (gradient.clone(), self.clone());
        };
        let gradients = scalar.backward();
        let of = |tensor: Tensor<2>| tensor.grad(&gradients).unwrap_or_else(|| tensor.inner().zeros_like());
        (g.map(|_, part| of(part)), phi.map(|_, tensor| of(tensor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(seed: u64) -> Prompt {
        let vectors = Prompt::random(Part::Text, [3, 6], 1.0, seed, &Device::default());
        [(Part::Text, vectors)].into_iter().collect()
    }

    #[test]
    fn it_starts_near_the_identity() {
        let start = RegulatorStart { deviation: 1e-3, gamma_bias: 5.0 };
        let g = prompt(1);
        let regulated = Regulator::near_identity(&g, start, 1, &Device::default()).regulate(&g);
        assert!(regulated.add_scaled(&g, -1.0).norm() < 0.02 * g.norm());
    }

    #[test]
    fn pulling_back_is_the_transposed_derivative() {
        let start = RegulatorStart { deviation: 0.5, gamma_bias: 1.0 };
        let (g, direction, v) = (prompt(1), prompt(2), prompt(3));
        let regulator = Regulator::near_identity(&g, start, 1, &Device::default());
        let (u, _) = regulator.pull_back(&g, &v);
        let step = 1e-2;
        let ahead = regulator.regulate(&g.add_scaled(&direction, step));
        let behind = regulator.regulate(&g.add_scaled(&direction, -step));
        let along = ahead.add_scaled(&behind, -1.0).dot(&v) / (2.0 * step);
        assert!((u.dot(&direction) - along).abs() < 2e-3 * along.abs().max(1.0), "{along}");
    }

    #[test]
    fn its_tensors_come_back_under_their_names() {
        let start = RegulatorStart { deviation: 0.5, gamma_bias: 1.0 };
        let g = prompt(1);
        let regulator = Regulator::near_identity(&g, start, 1, &Device::default());
        let mut named = regulator.named();
        let read = Regulator::from_named(&g, &named).unwrap().unwrap();
        assert_eq!(read.regulate(&g).add_scaled(&regulator.regulate(&g), -1.0).norm(), 0.0);
        named.remove("text.beta_bias");
        assert_eq!(Regulator::from_named(&g, &named).unwrap_err(), "no tensor `regulator.text.beta_bias`");
    }
}
