//! The gradient regulating function (section 3.3): it changes the support gradient of a prompt before
//! the prompt moves.
//!
//! One per modality, shared by all prompt vectors. For a gradient `g` `[vectors, width]`, rows as the paper's
//! columns:
//!
//! ```text
//! gamma = tanh(g W_gamma^T + b_gamma)     beta = tanh(g W_beta^T + b_beta)      (eq. 5)
//! R(g)  = gamma * g + beta                                                      (eq. 6)
//! ```
//!
//! It starts near the identity: small random weights, `b_gamma` so that gamma is close to one, `b_beta` zero.
//! It is a gradient transformation: whoever descends passes the gradient through [`Regulator::regulate`]
//! first.
//!
//! A gradient's numbers are far smaller than one, beta's are not: [`RegulatorForm`] has two forms beside the
//! paper's in which the size of a step stays that of the gradient.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use gram_clip::product;
use gram_clip::scalars::read_one;
use gram_clip::signal::leaf;
use gram_data::random::{normal, stream};
use gram_prompt::{Part, Prompt, RegulatorForm};

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
    form: RegulatorForm,
}

/// How a regulator starts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegulatorStart {
    /// Standard deviation of the weights.
    pub deviation: f32,
    /// `b_gamma`: gamma starts near `tanh` of it.
    pub gamma_bias: f32,
    /// How eqs. 5 and 6 are applied.
    #[serde(default)]
    pub form: RegulatorForm,
}

impl Regulator {
    /// A start near the identity for the vectors of `prompt`. (CoCoOp's net has no modality of its own, nor a
    /// regulator.)
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
        Self { parameters, form: start.form }
    }

    /// From tensors by name, `{text|visual}.{gamma_weight|…}`; `None` if there are none.
    ///
    /// # Errors
    /// The name of a tensor that is missing for a part of `prompt`.
    pub fn from_named(
        prompt: &Prompt,
        named: &BTreeMap<String, Tensor<2>>,
        form: RegulatorForm,
    ) -> Result<Option<Self>, String> {
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
        Ok(Some(Self { parameters, form }))
    }

    /// The tensors by name.
    pub fn named(&self) -> BTreeMap<String, Tensor<2>> {
        let name =
            |(modality, parameter): &(Part, Parameter)| format!("{}.{}", modality.name(), parameter.name());
        self.parameters.iter().map(|(key, tensor)| (name(key), tensor.clone())).collect()
    }

    /// How it is applied.
    pub fn form(&self) -> RegulatorForm {
        self.form
    }

    /// The parameters under their keys.
    pub fn parameters(&self) -> impl Iterator<Item = (&(Part, Parameter), &Tensor<2>)> {
        self.parameters.iter()
    }

    /// Every parameter through `map`.
    pub fn map(&self, mut map: impl FnMut(&(Part, Parameter), Tensor<2>) -> Tensor<2>) -> Self {
        let parameters =
            self.parameters.iter().map(|(key, tensor)| (*key, map(key, tensor.clone()))).collect();
        Self { parameters, form: self.form }
    }

    /// `self + factor * other`, where `self` is empty as if it were zero.
    pub fn add_scaled(&self, other: &Self, factor: f32) -> Self {
        other.map(|key, tensor| match self.parameters.get(key) {
            Some(own) => own.clone() + tensor * factor,
            None => tensor * factor,
        })
    }

    /// The sum of the squares of all numbers, `[1]`; none of a regulator without parameters.
    pub fn sum_of_squares(&self) -> Option<Tensor<1>> {
        let squares = self.parameters.values().map(|tensor| tensor.clone().square().sum());
        squares.reduce(|sum, square| sum + square)
    }

    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.sum_of_squares().is_none_or(|square| read_one(square).is_finite())
    }

    /// `R(g)` (eq. 6) of a gradient.
    pub fn regulate(&self, gradient: &Prompt) -> Prompt {
        gradient.map(|modality, g| self.regulate_part(modality, g))
    }

    fn regulate_part(&self, modality: Part, g: Tensor<2>) -> Tensor<2> {
        let fed = self.fed(g.clone());
        let (Some(gamma), Some(beta)) = self.gamma_beta(modality, &fed) else {
            // A part that the regulator was not made for is left as it is.
            return g;
        };
        let regulated = gamma * fed + beta;
        match self.form {
            RegulatorForm::Paper => regulated,
            RegulatorForm::Unit => regulated * root_mean_square(g),
            RegulatorForm::Rescaled => {
                regulated.clone() * (root_mean_square(g) / root_mean_square(regulated))
            }
        }
    }

    /// What eq. 5 is fed with for a gradient.
    fn fed(&self, g: Tensor<2>) -> Tensor<2> {
        match self.form {
            RegulatorForm::Paper | RegulatorForm::Rescaled => g,
            RegulatorForm::Unit => g.clone() / root_mean_square(g),
        }
    }

    /// The mean of gamma and of the absolute value of beta over all vectors of a gradient, `[1]` each; none
    /// where the regulator was made for none of its parts.
    pub fn mean_gamma_beta(&self, gradient: &Prompt) -> Option<(Tensor<1>, Tensor<1>)> {
        let (mut sums, mut numbers) = (None, 0);
        for (modality, g) in gradient.parts() {
            if let (Some(gamma), Some(beta)) = self.gamma_beta(modality, &self.fed(g.clone())) {
                let own = (gamma.sum(), beta.abs().sum());
                sums = Some(match sums {
                    Some((gammas, betas)) => (gammas + own.0, betas + own.1),
                    None => own,
                });
                numbers += g.dims()[0] * g.dims()[1];
            }
        }
        sums.map(|(gammas, betas)| (gammas / numbers as f32, betas / numbers as f32))
    }

    /// `gamma` and `beta` (eq. 5), `[vectors, width]` each.
    fn gamma_beta(&self, modality: Part, g: &Tensor<2>) -> (Option<Tensor<2>>, Option<Tensor<2>>) {
        let layer = |weight, bias| {
            let weight = self.parameters.get(&(modality, weight))?.clone();
            Some(
                (product(g.clone(), weight.transpose()) + self.parameters.get(&(modality, bias))?.clone())
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

/// The root of the mean square of all numbers, `[1, 1]`. A gradient of zero stays zero when it is divided by
/// it.
fn root_mean_square(g: Tensor<2>) -> Tensor<2> {
    let mean = g.square().mean();
    (mean + 1e-30).sqrt().unsqueeze::<2>()
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;

    use super::*;

    fn prompt(seed: u64) -> Prompt {
        let vectors = Prompt::random(Part::Text, [3, 6], 1.0, seed, &Compute::tested().device());
        [(Part::Text, vectors)].into_iter().collect()
    }

    #[test]
    fn it_starts_near_the_identity() {
        let start = RegulatorStart { deviation: 1e-3, gamma_bias: 5.0, form: RegulatorForm::Paper };
        let g = prompt(1);
        let regulated = Regulator::near_identity(&g, start, 1, &Compute::tested().device()).regulate(&g);
        assert!(regulated.add_scaled(&g, -1.0).norm() < 0.02 * g.norm());
    }

    #[test]
    fn pulling_back_is_the_transposed_derivative_in_every_form() {
        for form in RegulatorForm::ALL {
            let start = RegulatorStart { deviation: 0.5, gamma_bias: 1.0, form };
            let (g, direction, v) = (prompt(1), prompt(2), prompt(3));
            let regulator = Regulator::near_identity(&g, start, 1, &Compute::tested().device());
            let (u, _) = regulator.pull_back(&g, &v);
            let step = 1e-2;
            let ahead = regulator.regulate(&g.add_scaled(&direction, step));
            let behind = regulator.regulate(&g.add_scaled(&direction, -step));
            let along = ahead.add_scaled(&behind, -1.0).dot(&v) / (2.0 * step);
            assert!((u.dot(&direction) - along).abs() < 2e-3 * along.abs().max(1.0), "{form:?}: {along}");
        }
    }

    #[test]
    fn in_the_other_forms_a_step_has_the_size_of_the_gradient_or_grows_with_it() {
        let regulated = |form, g: &Prompt| {
            let start = RegulatorStart { deviation: 0.5, gamma_bias: 1.0, form };
            Regulator::near_identity(g, start, 1, &Compute::tested().device()).regulate(g)
        };
        let g = prompt(1);
        let small = g.map(|_, tensor| tensor * 1e-3);
        let rescaled = regulated(RegulatorForm::Rescaled, &small);
        assert!((rescaled.norm() / small.norm() - 1.0).abs() < 1e-5);
        let (large, scaled) = (regulated(RegulatorForm::Unit, &g), regulated(RegulatorForm::Unit, &small));
        assert!(scaled.add_scaled(&large, -1e-3).norm() < 1e-5 * scaled.norm());
    }

    #[test]
    fn its_tensors_come_back_under_their_names() {
        let form = RegulatorForm::Unit;
        let start = RegulatorStart { deviation: 0.5, gamma_bias: 1.0, form };
        let g = prompt(1);
        let regulator = Regulator::near_identity(&g, start, 1, &Compute::tested().device());
        let mut named = regulator.named();
        let read = Regulator::from_named(&g, &named, form).unwrap().unwrap();
        assert_eq!(read.regulate(&g).add_scaled(&regulator.regulate(&g), -1.0).norm(), 0.0);
        named.remove("text.beta_bias");
        assert_eq!(
            Regulator::from_named(&g, &named, form).unwrap_err(),
            "no tensor `regulator.text.beta_bias`"
        );
    }
}
