//! What every experiment works with: one value for the bench, the studies, the search and the demo.

use std::ops::Deref;
use std::path::Path;

use burn::tensor::Device;
use gram_clip::Model;
use gram_cluster::Clusters;
use gram_data::{Pairs, Progress};
use gram_meta::{EpisodeSource, MetaState, MetaStep, MetaTrainingSettings};
use gram_prompt::{Placement, PromptKind, Template};
use gram_tune::design::PromptDesign;

use crate::error::{Result, require};
use crate::meta_training::{MetaRun, episode_data, start_prompt};
use crate::pair_images::PairImages;
use crate::protocol::ProtocolSettings;
use crate::tuning_settings::check;

/// A model, a prompt template and settings, and who hears of the work.
#[derive(Clone)]
pub struct Workbench<'a> {
    /// The model. Tensors live on its device.
    pub model: &'a Model,
    /// The prompt template of learned prompts; its words before the name are where they start.
    pub template: &'a Template,
    /// How prompts are tuned.
    pub settings: CheckedSettings,
    /// Seeds of shots and tuning.
    pub seeds: Vec<u64>,
    /// The command, for the files that say what made them.
    pub command: &'a str,
    /// Hears of what is being done.
    pub progress: &'a dyn Progress,
}

/// Image-text pairs with their topics and domains: what initialisations are meta-trained on.
#[derive(Clone, Copy)]
pub struct ClusteredPairs<'a> {
    /// The pairs.
    pub pairs: &'a Pairs,
    /// Their topics and domains.
    pub clusters: &'a Clusters,
}

/// Settings of tuning that are in their ranges and fit the model.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSettings(ProtocolSettings);

impl CheckedSettings {
    /// Checks settings for a model.
    ///
    /// # Errors
    /// Names the setting and its range.
    pub fn new(settings: ProtocolSettings, model: &Model) -> Result<Self> {
        check(&settings)?;
        let tokens = settings.design.context_tokens;
        let positions = model.clip.config.text_config.max_position_embeddings;
        // The start token, a name and the end token have a position each, too.
        require!(
            tokens.saturating_add(3) <= positions,
            "context_tokens: {tokens}: {} reads {positions} tokens of a text, the name among them",
            model.name
        );
        Ok(Self(settings))
    }
}

impl Deref for CheckedSettings {
    type Target = ProtocolSettings;

    fn deref(&self) -> &ProtocolSettings {
        &self.0
    }
}

impl Workbench<'_> {
    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`CheckedSettings::new`].
    pub fn with(&self, change: impl FnOnce(&mut ProtocolSettings)) -> Result<Self> {
        let mut settings = self.settings.0.clone();
        change(&mut settings);
        Ok(Self { settings: CheckedSettings::new(settings, self.model)?, ..self.clone() })
    }

    /// Meta-trains an initialisation of a prompt on topics, whose images are `images`, into the file `out`;
    /// what is finished there is not done again. `observe` sees every step.
    ///
    /// # Errors
    /// If a topic's name is too long, the file belongs to another meta-training, or a step diverges.
    pub fn meta_train(
        &self,
        kind: PromptKind,
        design: PromptDesign,
        (clusters, images): (&Clusters, &PairImages),
        settings: &MetaTrainingSettings,
        out: &Path,
        observe: &mut dyn FnMut(&MetaStep),
    ) -> Result<(MetaState, Placement)> {
        let start = start_prompt(self.model, kind, self.template, design, settings.seed)?;
        let store = images.store.clone();
        let episode_data = episode_data(self.model, clusters, store, &start, self.template, settings)?;
        let placement = design.placement(kind, self.model, 1);
        let run = MetaRun {
            model: self.model,
            kind,
            placement,
            template: self.template,
            clusters: clusters.model.as_ref(),
            episode_data: &episode_data,
            images: &images.fingerprint,
            start: MetaState::start(start, settings, &self.device()),
            episodes: EpisodeSource::Sampled,
            settings,
            command: self.command,
            restart: false,
            elsewhere: None,
        };
        Ok((run.run(out, observe)?, placement))
    }
}

#[cfg(test)]
mod tests {
    use gram_clip::Compute;

    use super::*;
    use crate::defaults;

    #[test]
    fn settings_out_of_range_or_too_long_for_the_model_are_refused() {
        let model = gram_hub::assets::tiny(&Compute::cpu()).unwrap();
        let settings = defaults::protocol(4, model.preprocess.crop);
        let refused = |change: fn(&mut ProtocolSettings)| {
            let mut settings = settings.clone();
            change(&mut settings);
            CheckedSettings::new(settings, &model).unwrap_err().to_string()
        };
        assert!(refused(|settings| settings.shots = 0).starts_with("shots: 0"));
        assert!(refused(|settings| settings.regulated.epochs = 0).starts_with("epochs: 0"));
        let positions = model.clip.config.text_config.max_position_embeddings;
        let mut longest = settings.clone();
        longest.design.context_tokens = positions - 3;
        assert!(CheckedSettings::new(longest.clone(), &model).is_ok());
        longest.design.context_tokens += 1;
        let problem = CheckedSettings::new(longest, &model).unwrap_err().to_string();
        assert!(problem.contains(&format!("reads {positions} tokens of a text")), "{problem}");
    }
}
