//! What decides a meta-training, and the range of each setting.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::error::MetaTrainingError;
use crate::episode::EpisodeSettings;
use crate::meta_gradient::InnerLoop;
use crate::outer_optimizer::OuterOptimizer;
use crate::regulator::RegulatorStart;

/// Everything that decides a meta-training, but for model and clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaTrainingSettings {
    /// Seed of episodes, held-out topics and the regulator's start.
    pub seed: u64,
    /// How large episodes are.
    pub episodes: EpisodeSettings,
    /// The inner loop.
    pub inner: InnerLoop,
    /// The regulator's start; none meta-learns the prompt alone.
    pub regulator: Option<RegulatorStart>,
    /// Outer optimiser.
    pub optimizer: OuterOptimizer,
    /// Outer rate for the prompt.
    pub prompt_rate: f64,
    /// Outer rate for the regulator.
    pub regulator_rate: f64,
    /// Outer steps.
    pub steps: usize,
    /// B, episodes of a step.
    pub meta_batch: usize,
    /// Episodes that pass the towers at once: the same gradients, whatever it is, but for rounding.
    #[serde(default = "one")]
    pub tasks_at_once: usize,
    /// The norm that the summed meta-gradient is shortened to where it is longer; none leaves it.
    #[serde(default)]
    pub clip_norm: Option<f32>,
    /// Outer rate of the logarithm of inner rates that are learned.
    #[serde(default = "inner_rates_rate")]
    pub inner_rates_rate: f64,
    /// The part of the topics that is kept for validation.
    pub validation_topics: f64,
    /// Episodes of a validation.
    pub validation_episodes: usize,
    /// Classes that the query sets of validation show besides, as `new_ways`: with as many as there are
    /// ways, validation is like base-to-new. As in `episodes` where it is not said.
    #[serde(default)]
    pub validation_new_ways: Option<usize>,
    /// Outer steps between validations.
    pub validation_steps: usize,
    /// Validations without a smaller loss after which it ends; none goes through all steps.
    #[serde(default)]
    pub patience: Option<usize>,
}

fn one() -> usize {
    1
}

fn inner_rates_rate() -> f64 {
    1e-2
}

impl MetaTrainingSettings {
    /// The episodes of a step by the pass that they go through the towers in.
    pub fn passes(&self) -> Vec<Range<usize>> {
        let starts = (0..self.meta_batch).step_by(self.tasks_at_once.max(1));
        starts.map(|start| start..(start + self.tasks_at_once).min(self.meta_batch)).collect()
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`MetaTrainingError::Setting`] names the first out of range.
    pub fn validate(&self) -> Result<(), MetaTrainingError> {
        let check = |valid: bool, field, range| match valid {
            true => Ok(()),
            false => Err(MetaTrainingError::Setting { field, range }),
        };
        check(self.episodes.ways >= 2, "episodes.ways", "2 or more")?;
        check(self.episodes.support_shots >= 1, "episodes.support_shots", "1 or more")?;
        check(self.episodes.query_shots >= 1, "episodes.query_shots", "1 or more")?;
        check(self.episodes.new_ways != 1, "episodes.new_ways", "0, or 2 or more")?;
        check(
            self.inner.steps >= 1 || self.regulator.is_none(),
            "inner.steps",
            "1 or more, because a regulator acts on the inner steps",
        )?;
        check(self.inner.rates.are_positive(), "inner.rates", "above 0")?;
        check((0.0..1.0).contains(&self.inner.momentum), "inner.momentum", "at least 0 and below 1")?;
        check(self.meta_batch >= 1, "meta_batch", "1 or more")?;
        check(self.tasks_at_once >= 1, "tasks_at_once", "1 or more")?;
        check(self.clip_norm.is_none_or(|norm| norm > 0.0), "clip_norm", "above 0")?;
        check(self.patience != Some(0), "patience", "1 or more")?;
        let of_validation = self.validation_new_ways;
        check(of_validation != Some(1), "validation_new_ways", "0, or 2 or more")?;
        check(self.validation_steps >= 1, "validation_steps", "1 or more")?;
        check((0.0..1.0).contains(&self.validation_topics), "validation_topics", "at least 0 and below 1")
    }
}
