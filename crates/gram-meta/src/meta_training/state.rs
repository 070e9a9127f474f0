//! What meta-training learns, and all that a run goes on from.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use gram_data::fingerprint::{Fingerprinting, digits};
use gram_prompt::prompt_file::numbers;
use gram_prompt::{Part, Prompt, Rates};

use super::settings::MetaTrainingSettings;
use crate::meta_gradient::InnerLoop;
use crate::outer_optimizer::OuterStep;
use crate::regulator::{Parameter, Regulator};

/// The state of meta-training: what it learns.
#[derive(Clone, Debug)]
pub struct MetaState {
    /// The start.
    pub theta: Prompt,
    /// The regulator.
    pub phi: Option<Regulator>,
}

impl MetaState {
    /// Before the first step: `theta`, and a regulator near the identity where there is to be one.
    pub fn start(theta: Prompt, settings: &MetaTrainingSettings, device: &Device) -> Self {
        let near_identity = |start| Regulator::near_identity(&theta, start, settings.seed, device);
        let phi = settings.regulator.map(near_identity);
        Self { theta, phi }
    }

    /// Every tensor by name: `theta.text`, …, `phi.text.gamma_weight`, ….
    pub fn named(&self) -> BTreeMap<String, Tensor<2>> {
        let theta =
            self.theta.parts().map(|(part, tensor)| (format!("theta.{}", part.name()), tensor.clone()));
        let phi = self.phi.iter().flat_map(Regulator::named);
        theta.chain(phi.map(|(name, tensor)| (format!("phi.{name}"), tensor))).collect()
    }

    /// The state with every tensor through `map`, which is given its name.
    pub fn map(&self, mut map: impl FnMut(&str, Tensor<2>) -> Tensor<2>) -> Self {
        let theta = self.theta.parts();
        let theta =
            theta.map(|(part, tensor)| (part, map(&format!("theta.{}", part.name()), tensor.clone())));
        let theta = theta.collect();
        let name = |(modality, parameter): &(Part, Parameter)| {
            format!("phi.{}.{}", modality.name(), parameter.name())
        };
        let phi = self.phi.as_ref().map(|phi| phi.map(|key, tensor| map(&name(key), tensor)));
        Self { theta, phi }
    }

    /// A state of the same form, of tensors by their names; each has the shape that it has here.
    ///
    /// # Errors
    /// Those of `tensor`, which is given a name and a shape.
    pub fn of_same_form<E>(
        &self,
        mut tensor: impl FnMut(&str, [usize; 2]) -> Result<Tensor<2>, E>,
    ) -> Result<Self, E> {
        let mut missing = None;
        let state = self.map(|name, own| match tensor(name, own.dims()) {
            Ok(found) => found,
            Err(error) => {
                missing.get_or_insert(error);
                own
            }
        });
        missing.map_or(Ok(state), Err)
    }

    /// What tells it from another state: 32 hexadecimal digits over the names, shapes and values of its
    /// tensors, and the form of its regulator.
    pub fn fingerprint(&self) -> String {
        let mut all = Fingerprinting::default();
        all.text(&format!("{:?}", self.phi.as_ref().map(Regulator::form)));
        for (name, tensor) in self.named() {
            all.text(&name);
            all.values(&numbers(&tensor));
        }
        digits(all.finish())
    }

    /// The sum of the squares of all numbers, `[1]`; none of a state without tensors.
    pub fn sum_of_squares(&self) -> Option<Tensor<1>> {
        let squares = self.named().into_values().map(|tensor| tensor.square().sum());
        squares.reduce(|sum, square| sum + square)
    }
}

/// The state of a meta-training: all that it continues from.
#[derive(Clone)]
pub struct TrainingState {
    /// Steps done.
    pub step: usize,
    /// What is learned.
    pub state: MetaState,
    /// Logarithms of the inner rates of text and vision, `[1, 2]`; on the CPU, for every step reads them.
    pub log_rates: Tensor<2>,
    /// The outer optimiser.
    pub outer: OuterStep,
    /// The best state so far.
    pub best: Option<Best>,
    /// Validations since then.
    pub without_gain: usize,
}

impl TrainingState {
    /// What the meta-gradients of the next step depend on, without what only the outer loop needs.
    pub fn for_gradients(&self, settings: &MetaTrainingSettings) -> Self {
        Self { outer: OuterStep::new(settings.optimizer), best: None, ..self.clone() }
    }

    /// The inner loop with the rates in force.
    pub(crate) fn inner_loop(&self, settings: &MetaTrainingSettings) -> InnerLoop {
        let mut inner = settings.inner;
        if inner.learn_rates {
            let rates = self.log_rates.clone().exp().into_data().try_to_vec::<f32>();
            if let [text, visual] = rates.unwrap_or_default()[..] {
                inner.rates = Rates { text, visual };
            }
        }
        inner
    }
}

/// The state with the smallest loss on held-out topics.
#[derive(Clone)]
pub struct Best {
    /// The loss.
    pub loss: f32,
    /// Steps that were done.
    pub step: usize,
    /// The state.
    pub state: MetaState,
}
