//! What moves the start and the regulator along the meta-gradient: Adam or plain SGD.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_optim::{Adam, AdamConfig, AdamState, Optimizer};
use serde::{Deserialize, Serialize};

/// The outer loop's optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuterOptimizer {
    /// Adam with its usual moments.
    Adam,
    /// Plain steps: the difference of what is saved is the meta-gradient times the rate.
    Sgd,
}

/// The optimiser with the moments of every tensor, by the tensor's name.
#[derive(Clone)]
pub struct OuterStep {
    kind: OuterOptimizer,
    adam: Adam,
    moments: BTreeMap<String, AdamState<2>>,
}

impl OuterStep {
    /// Before the first step.
    pub fn new(kind: OuterOptimizer) -> Self {
        Self::with_moments(kind, BTreeMap::new())
    }

    /// With the moments of steps before.
    pub fn with_moments(kind: OuterOptimizer, moments: BTreeMap<String, AdamState<2>>) -> Self {
        Self { kind, adam: AdamConfig::new().with_epsilon(1e-8).build(), moments }
    }

    /// The moments so far.
    pub fn moments(&self) -> &BTreeMap<String, AdamState<2>> {
        &self.moments
    }

    /// The tensor called `name`, moved against its gradient.
    pub fn step(&mut self, name: &str, tensor: Tensor<2>, gradient: Tensor<2>, rate: f64) -> Tensor<2> {
        match self.kind {
            OuterOptimizer::Adam => {
                let (moved, state) = self.adam.step(rate, tensor, gradient, self.moments.remove(name));
                state.map(|state| self.moments.insert(name.to_owned(), state));
                moved
            }
            OuterOptimizer::Sgd => tensor - gradient * rate as f32,
        }
    }
}
