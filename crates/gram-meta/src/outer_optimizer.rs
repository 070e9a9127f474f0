//! What moves the start and the regulator along the meta-gradient: Adam or plain SGD.

use std::collections::BTreeMap;

use burn::optim::{Adam, AdamConfig, AdamState, Optimizer};
use burn::tensor::Tensor;
use gram_prompt::{Part, Prompt};
use serde::{Deserialize, Serialize};

use crate::regulator::{Parameter, Regulator};

/// The outer loop's optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuterOptimizer {
    /// Adam with its usual moments.
    Adam,
    /// Plain steps: the difference of what is saved is the meta-gradient times the rate.
    Sgd,
}

/// The optimiser with its moments.
pub struct OuterStep {
    kind: OuterOptimizer,
    adam: Adam,
    theta: BTreeMap<Part, AdamState<2>>,
    phi: BTreeMap<(Part, Parameter), AdamState<2>>,
}

impl OuterStep {
    /// Before the first step.
    pub fn new(kind: OuterOptimizer) -> Self {
        let adam = AdamConfig::new().with_epsilon(1e-8).build();
        Self { kind, adam, theta: BTreeMap::new(), phi: BTreeMap::new() }
    }

    /// Moves `theta` against its gradient.
    pub fn step_prompt(&mut self, theta: &Prompt, gradient: &Prompt, rate: f64) -> Prompt {
        let moved = theta.parts().filter_map(|(modality, part)| {
            let gradient = gradient.get(modality)?.clone();
            let (moved, state) =
                descend(self.kind, &self.adam, part, gradient, rate, self.theta.remove(&modality));
            state.map(|state| self.theta.insert(modality, state));
            Some((modality, moved))
        });
        moved.collect()
    }

    /// Moves `phi` against its gradient, whose keys are its own.
    pub fn step_regulator(&mut self, phi: &Regulator, gradient: &Regulator, rate: f64) -> Regulator {
        let gradients: BTreeMap<_, _> = gradient.parameters().collect();
        let (kind, adam, states) = (self.kind, &self.adam, &mut self.phi);
        phi.map(|key, tensor| {
            let Some(gradient) = gradients.get(key) else { return tensor };
            let (moved, state) = descend(kind, adam, &tensor, (*gradient).clone(), rate, states.remove(key));
            state.map(|state| states.insert(*key, state));
            moved
        })
    }
}

fn descend(
    kind: OuterOptimizer,
    adam: &Adam,
    tensor: &Tensor<2>,
    gradient: Tensor<2>,
    rate: f64,
    state: Option<AdamState<2>>,
) -> (Tensor<2>, Option<AdamState<2>>) {
    match kind {
        OuterOptimizer::Adam => adam.step(rate, tensor.clone(), gradient, state),
        OuterOptimizer::Sgd => (tensor.clone() - gradient * rate as f32, None),
    }
}
