//! Meta-training: the outer loop over batches of episodes (eqs. 8 to 10), checked on topics it never learns
//! from.
//!
//! Each step draws B episodes, sums their meta-gradients, and moves the start `theta` and the regulator
//! `phi`. Every so often the query loss after the inner loop is measured on fixed episodes of held-out
//! topics; the best state is the one in which it was smallest. Every draw has a random stream of its own, by
//! the number of its step, so that a [`TrainingState`] is all that a run goes on from, to the same bits.

mod data;
mod error;
mod settings;
mod state;
mod step;
mod step_gradients;

use burn::tensor::{Device, Tensor, TensorData};
pub use data::{
    EpisodeData, EpisodeSource, LearnedEpisodes, held_out_topics, learned_topics, sampled_episode,
};
pub use error::MetaTrainingError;
use gram_prompt::{PromptedClip, Rates};
pub use settings::MetaTrainingSettings;
pub use state::{Best, MetaState, TrainingState};
pub use step::{MetaStep, Validation};
pub use step_gradients::StepGradients;

use crate::meta_gradient::Task;
use crate::outer_optimizer::OuterStep;

/// A meta-training under way.
pub struct MetaTraining<'a> {
    clip: &'a PromptedClip<'a>,
    episode_data: &'a EpisodeData,
    settings: &'a MetaTrainingSettings,
    device: &'a Device,
    learned: LearnedEpisodes,
    validation: Vec<Task>,
    training_state: TrainingState,
}

impl<'a> MetaTraining<'a> {
    /// Begins from `start`.
    ///
    /// # Errors
    /// [`MetaTrainingError`] if a setting is out of range, or there are too few topics or episodes.
    pub fn new(
        clip: &'a PromptedClip<'a>,
        episode_data: &'a EpisodeData,
        start: MetaState,
        episodes: EpisodeSource,
        settings: &'a MetaTrainingSettings,
        device: &'a Device,
    ) -> Result<Self, MetaTrainingError> {
        settings.validate()?;
        let validation = episodes.held_out(episode_data, settings, device)?;
        let learned = episodes.learned(episode_data, settings)?;
        let Rates { text, visual } = settings.inner.rates;
        let log_rates =
            Tensor::from_data(TensorData::new(vec![text.ln(), visual.ln()], [1, 2]), &Device::flex());
        let outer = OuterStep::new(settings.optimizer);
        let training_state =
            TrainingState { step: 0, state: start, log_rates, outer, best: None, without_gain: 0 };
        Ok(Self { clip, episode_data, settings, device, learned, validation, training_state })
    }

    /// Its state.
    pub fn training_state(&self) -> &TrainingState {
        &self.training_state
    }

    /// Continues from the state of a run of the same settings.
    pub fn go_on_from(&mut self, training_state: TrainingState) {
        self.training_state = training_state;
    }

    /// Whether all steps are done, or no gain is to be expected.
    pub fn is_finished(&self) -> bool {
        let tired =
            self.settings.patience.is_some_and(|patience| self.training_state.without_gain >= patience);
        self.training_state.step >= self.settings.steps || tired
    }

    /// What was best on held-out topics; the last state where nothing is held out.
    pub fn result(&self) -> &MetaState {
        self.training_state.best.as_ref().map_or(&self.training_state.state, |best| &best.state)
    }

    fn step_gradients(&self) -> StepGradients<'_> {
        let Self { clip, episode_data, settings, device, learned: episodes, .. } = self;
        StepGradients { clip, episode_data, episodes, settings, device }
    }
}
