//! The meta-gradients of a step's episodes, in passes that any machine can compute.

use std::ops::Range;

use burn::tensor::Device;
use gram_prompt::PromptedClip;

use super::data::{EpisodeData, LearnedEpisodes};
use super::error::MetaTrainingError;
use super::settings::MetaTrainingSettings;
use super::state::{MetaState, TrainingState};
use crate::meta_gradient::MetaGradient;

/// Computes meta-gradients of episodes. They depend on the state and the settings, and not on what was
/// computed before.
#[derive(Clone, Copy)]
pub struct StepGradients<'a> {
    /// The frozen model.
    pub clip: &'a PromptedClip<'a>,
    /// What episodes are made of.
    pub episode_data: &'a EpisodeData,
    /// The episodes that are learned from.
    pub episodes: &'a LearnedEpisodes,
    /// The settings.
    pub settings: &'a MetaTrainingSettings,
    /// Where it computes.
    pub device: &'a Device,
}

impl StepGradients<'_> {
    /// Those of all episodes of the step that follows a state.
    ///
    /// # Errors
    /// If an episode cannot be drawn, or its images not be read.
    pub fn of_step(&self, at: &TrainingState) -> Result<Vec<MetaGradient>, MetaTrainingError> {
        let compute = &self.clip.clip.compute;
        let found = compute.try_side_by_side(self.settings.passes(), |pass| self.of_pass(at, pass))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Those of some episodes of the step, in one pass: the same bits wherever it is computed, if the pass is
    /// one of [`passes`](MetaTrainingSettings::passes).
    ///
    /// # Errors
    /// As [`of_step`](Self::of_step).
    pub fn of_pass(
        &self,
        at: &TrainingState,
        pass: Range<usize>,
    ) -> Result<Vec<MetaGradient>, MetaTrainingError> {
        let first = at.step * self.settings.meta_batch;
        let task = |episode: usize| {
            let episode = self.episodes.episode(self.settings, first + episode)?;
            Ok(self.episode_data.task(&episode, self.device)?)
        };
        let tasks = pass.map(task).collect::<Result<Vec<_>, MetaTrainingError>>()?;
        let MetaState { theta, phi } = &at.state;
        Ok(at.inner_loop(self.settings).meta_gradients(self.clip, theta, phi.as_ref(), &tasks))
    }
}
